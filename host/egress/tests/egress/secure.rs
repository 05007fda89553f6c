//! TLS: the certificate must be for the name, wherever the connection goes.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use nexus_egress::{Egress, EgressError};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::support::{Names, config, get, serve, text};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn openssl(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]);
    let output = command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, and a server with a certificate for `api.example.com` that tells which name it was asked for.
async fn server() -> (CertificateDer<'static>, u16, Arc<Mutex<Vec<String>>>) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    openssl(folder.path(), &["-subj", "/CN=Authority", "-keyout", "ca.key", "-out", "ca.pem"]);
    let signed =
        ["-subj", "/CN=Server", "-keyout", "key.pem", "-out", "server.pem", "-CA", "ca.pem", "-CAkey", "ca.key"];
    let for_name = ["-addext", "subjectAltName=DNS:api.example.com", "-addext", "basicConstraints=critical,CA:FALSE"];
    openssl(folder.path(), &[&signed[..], &for_name].concat());
    let authority = CertificateDer::from_pem_file(at("ca.pem")).unwrap();
    let chain = vec![CertificateDer::from_pem_file(at("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(at("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let names: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = names.clone();
    TaskTracker::new().spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                let name = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
                seen.lock().unwrap().push(name);
                serve(stream, &Mutex::default(), OK.as_bytes()).await;
            }
        }
    });
    (authority, port, names)
}

#[tokio::test]
async fn the_certificate_must_be_for_the_name() {
    let (authority, port, names) = server().await;
    let resolver = || {
        let here: &[&[&str]] = &[&["127.0.0.1"]];
        Arc::new(Names::default().with("api.example.com", here).with("other.example.com", here))
    };
    let mut trusting = config(&["127.0.0.0/8"]);
    trusting.authorities = vec![authority];
    let trusting = Egress::new(trusting, resolver());
    let answer = get(&trusting, &format!("https://api.example.com:{port}")).await.unwrap();
    assert_eq!(text(answer).await.unwrap(), "ok");
    assert_eq!(*names.lock().unwrap(), ["api.example.com"]);
    for origin in ["other.example.com", "127.0.0.1"] {
        let error = get(&trusting, &format!("https://{origin}:{port}")).await.unwrap_err();
        assert!(matches!(error, EgressError::Certificate(_)), "{origin}: {error:?}");
    }
    let stranger = Egress::new(config(&["127.0.0.0/8"]), resolver());
    let error = get(&stranger, &format!("https://api.example.com:{port}")).await.unwrap_err();
    assert!(matches!(error, EgressError::Certificate(_)), "{error:?}");
}
