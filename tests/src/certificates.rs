//! Certificates for tests, by the program `openssl`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// How to get what is missing.
const MEND: &str = "run `cargo xtask setup`, or install OpenSSL 3 so that `openssl` is found";

/// An authority, and a certificate of its own for 127.0.0.1, as PEM files.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The certificate for 127.0.0.1.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes both in `folder`, good for a day.
    pub fn make(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        request(folder, "authority", &[])?;
        let signed = ["-CA", "authority.pem", "-CAkey", "authority.key", "-addext", "subjectAltName=IP:127.0.0.1"];
        request(folder, "server", &[&signed[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat())?;
        let path = |name| folder.join(name);
        Ok(Self { authority: path("authority.pem"), certificate: path("server.pem"), key: path("server.key") })
    }
}

/// Makes a key and a certificate of this name, signed by itself unless `more` names an authority.
fn request(folder: &Path, name: &str, more: &[&str]) -> Result<()> {
    let (certificate, key, subject) = (format!("{name}.pem"), format!("{name}.key"), format!("/CN=Test {name}"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]);
    command.args(["-subj", &subject, "-keyout", &key, "-out", &certificate]).args(more);
    let output = command.current_dir(folder).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("openssl is missing: {MEND}"))?;
    ensure!(output.status.success(), "openssl: {}; {MEND}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
