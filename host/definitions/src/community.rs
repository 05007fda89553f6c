//! MCP servers that others have written: what they are called, what they are made of, and what an application says to have one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use nexus_model::SecretName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::yaml;

const SERVERS: &str = include_str!("../servers/community.yaml");

/// An MCP server that others have written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CommunityServer {
    /// What the catalogue calls it.
    #[serde(default)]
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Other words that it is found by.
    #[serde(default)]
    pub words: Vec<String>,
    /// What is put into an image for it; `None` if it runs elsewhere.
    #[serde(default)]
    pub package: Option<Package>,
    /// Programs of Debian's that it calls, by the names of their packages.
    #[serde(default)]
    pub programs: Vec<String>,
    /// How it is started in the image.
    #[serde(default)]
    pub command: Vec<String>,
    /// Its environment.
    #[serde(default)]
    pub env: BTreeMap<String, CommunityEnv>,
    /// Where a folder of its own is to be.
    #[serde(default)]
    pub volume: Option<String>,
    /// Where it is, if it runs elsewhere.
    #[serde(default)]
    pub url: Option<String>,
    /// The secret that it is shown as a bearer token, if it runs elsewhere.
    #[serde(default)]
    pub auth: Option<NeededSecret>,
    /// What it must be granted to be of use.
    #[serde(default)]
    pub needs: Needs,
}

/// A package of a public index, fixed by its digest. What it depends on is what the index has when the image is made, and stays
/// so in the image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Whose index.
    pub index: PackageIndex,
    /// Its name there.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What the index has of it: `sha512-…` in base 64 at npm, the SHA-256 of the wheel in hexadecimal at Python's.
    pub digest: String,
}

/// A public index of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageIndex {
    /// npm's.
    Npm,
    /// Python's.
    Pypi,
}

/// A value in the environment of a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum CommunityEnv {
    /// This text.
    Text(String),
    /// A secret of the application.
    Secret(NeededSecret),
}

/// A secret that a server needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NeededSecret {
    /// What it is called if nobody says otherwise.
    pub secret: SecretName,
    /// What it holds, for people.
    pub holds: String,
}

/// What a server must be granted to be of use, in words for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Needs {
    /// Origins.
    pub http: Option<String>,
    /// Hosts and ports.
    pub tcp: Option<String>,
}

/// What an application decides when it takes a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommunityChoice {
    /// The origins that it may reach.
    pub http: BTreeSet<String>,
    /// The hosts and ports that it may reach, as `db.example:5432`.
    pub tcp: BTreeSet<String>,
    /// The secrets of the application, by the variable that is to hold each; `authorization` for the bearer token.
    pub secrets: BTreeMap<String, SecretName>,
}

/// Why a server cannot be had like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommunityError {
    /// There is none of this name.
    #[error("there is no community server `{name}`{}", near.as_ref().map(|near| format!("; is `{near}` meant?")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest name that there is.
        near: Option<String>,
    },
    /// It is of no use without a grant.
    #[error("`{server}` is of no use without a grant of `{grant}`: {what}")]
    Needs {
        /// The server.
        server: String,
        /// The grant.
        grant: &'static str,
        /// What is to be granted.
        what: String,
    },
    /// It runs elsewhere.
    #[error("`{0}` runs elsewhere and has no grants")]
    Elsewhere(String),
    /// It takes no such secret.
    #[error("`{server}` takes no secret `{variable}`; it takes {}", if takes.is_empty() { "none" } else { takes })]
    NoSecret {
        /// The server.
        server: String,
        /// What was named.
        variable: String,
        /// Those that it takes.
        takes: String,
    },
}

/// The images that packages are put into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImages {
    /// With Node.js and npm.
    pub node: String,
    /// With Python and its module `venv`.
    pub python: String,
}

/// What the bearer token of a server elsewhere is called among its secrets.
const BEARER: &str = "authorization";

/// All of them, by name.
pub fn community_servers() -> Vec<CommunityServer> {
    let parsed = yaml::parse(SERVERS).root.map(|root| root.to_value()).unwrap_or_default();
    let servers: BTreeMap<String, CommunityServer> = serde_json::from_value(parsed).unwrap_or_default();
    servers.into_iter().map(|(name, server)| CommunityServer { name, ..server }).collect()
}

/// The one of this name.
pub fn community_server(name: &str) -> Result<CommunityServer, CommunityError> {
    let servers = community_servers();
    let near = || crate::nearest(name, servers.iter().map(|server| server.name.as_str()));
    let found = servers.iter().find(|server| server.name == name);
    found.cloned().ok_or_else(|| CommunityError::Unknown { name: name.chars().take(80).collect(), near: near() })
}

impl CommunityServer {
    /// How well it answers to words: 0 if one of them is nowhere in it. A word in its name counts most.
    pub fn matches(&self, words: &[String]) -> usize {
        let of = |word: &String| {
            let word = word.to_lowercase();
            let others = self.words.iter().any(|other| other.starts_with(&word) || word.starts_with(other.as_str()));
            match () {
                () if self.name.contains(&word) => 4,
                () if others => 2,
                () if self.description.to_lowercase().contains(&word) => 1,
                () => 0,
            }
        };
        let scores: Vec<usize> = words.iter().map(of).collect();
        if scores.contains(&0) { 0 } else { scores.iter().sum::<usize>().max(1) }
    }

    /// The secrets that it takes, by the variable that holds each; `authorization` for a bearer token.
    pub fn secrets(&self) -> BTreeMap<&str, &NeededSecret> {
        let of_env = self.env.iter().filter_map(|(name, value)| match value {
            CommunityEnv::Secret(secret) => Some((name.as_str(), secret)),
            CommunityEnv::Text(_) => None,
        });
        of_env.chain(self.auth.iter().map(|secret| (BEARER, secret))).collect()
    }

    /// Says what is wrong with a choice, if anything.
    pub fn check(&self, choice: &CommunityChoice) -> Result<(), CommunityError> {
        let (name, secrets) = (|| self.name.clone(), self.secrets());
        if let Some(variable) = choice.secrets.keys().find(|variable| !secrets.contains_key(variable.as_str())) {
            let takes = secrets.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(CommunityError::NoSecret { server: name(), variable: variable.clone(), takes });
        }
        if self.package.is_none() && !(choice.http.is_empty() && choice.tcp.is_empty()) {
            return Err(CommunityError::Elsewhere(name()));
        }
        let needs = [("http", &self.needs.http, &choice.http), ("tcp", &self.needs.tcp, &choice.tcp)];
        let mut missing = needs.into_iter().filter(|(.., given)| given.is_empty());
        match missing.find_map(|(grant, what, _)| Some((grant, what.clone()?))) {
            Some((grant, what)) => Err(CommunityError::Needs { server: name(), grant, what }),
            None => Ok(()),
        }
    }

    /// What stands below its name in `app.yaml`. `image` is the image that has its package.
    pub fn entry(&self, image: Option<&str>, choice: &CommunityChoice) -> Result<Map<String, Value>, CommunityError> {
        self.check(choice)?;
        let secret =
            |variable: &str, needed: &NeededSecret| choice.secrets.get(variable).unwrap_or(&needed.secret).clone();
        let mut entry = Map::new();
        if let Some(url) = &self.url {
            entry.insert("url".to_owned(), url.as_str().into());
            let auth = self.auth.as_ref().map(|needed| json!({ "bearer": { "secret": secret(BEARER, needed) } }));
            entry.extend(auth.map(|auth| ("auth".to_owned(), auth)));
            return Ok(entry);
        }
        entry.extend(image.map(|image| ("image".to_owned(), image.into())));
        entry.extend(self.package.as_ref().map(|package| ("source".to_owned(), package.to_string().into())));
        entry.insert("command".to_owned(), json!(self.command));
        let value = |(name, value): (&String, &CommunityEnv)| match value {
            CommunityEnv::Text(text) => (name.clone(), json!(text)),
            CommunityEnv::Secret(needed) => (name.clone(), json!({ "secret": secret(name, needed) })),
        };
        let env: Map<String, Value> = self.env.iter().map(value).collect();
        let mut grants = Map::new();
        grants.extend(self.volume.as_ref().map(|volume| ("volume".to_owned(), json!(volume))));
        for (name, given) in [("http", &choice.http), ("tcp", &choice.tcp)] {
            grants.extend((!given.is_empty()).then(|| (name.to_owned(), json!(given))));
        }
        for (name, fields) in [("env", env), ("grants", grants)] {
            entry.extend((!fields.is_empty()).then(|| (name.to_owned(), Value::Object(fields))));
        }
        Ok(entry)
    }

    /// How its image is made, if it has one. `arguments` are the names of what the build is told, such as where a mirror of
    /// an index is. Scripts of npm's packages are not run.
    pub fn dockerfile(&self, bases: &BaseImages, arguments: &BTreeSet<String>) -> Option<String> {
        let Package { index, name, version, digest } = self.package.as_ref()?;
        let (base, folder) = match index {
            PackageIndex::Npm => (&bases.node, "/opt/server/node_modules/.bin"),
            PackageIndex::Pypi => (&bases.python, "/opt/server/bin"),
        };
        let mut file = format!("FROM {base}\n");
        for argument in arguments {
            let _ = writeln!(file, "ARG {argument}");
        }
        if !self.programs.is_empty() {
            let programs = self.programs.join(" ");
            let _ = writeln!(
                file,
                "RUN apt-get update && apt-get install --yes --no-install-recommends {programs} && rm -rf /var/lib/apt/lists/*"
            );
        }
        let other = format!("{{ echo '{name} {version} is not the package that the catalogue means'; exit 1; }}");
        let _ = match index {
            PackageIndex::Npm => write!(
                file,
                "RUN test \"$(npm view '{name}@{version}' dist.integrity)\" = '{digest}' || {other}\n\
                 RUN npm install --prefix /opt/server --ignore-scripts --no-audit --no-fund --cache /tmp/npm '{name}@{version}' && \
                 rm -rf /tmp/npm\n"
            ),
            PackageIndex::Pypi => write!(
                file,
                "RUN python3 -m venv /opt/server && echo '{name}=={version} --hash=sha256:{digest}' > /tmp/package.txt\n\
                 RUN /opt/server/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
                 --requirement /tmp/package.txt || {other}\n\
                 RUN /opt/server/bin/pip install --no-cache-dir --only-binary :all: '{name}=={version}'\n"
            ),
        };
        let _ = write!(file, "ENV PATH={folder}:/usr/local/bin:/usr/bin:/bin\nUSER 65534:65534\n");
        Some(file)
    }
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let index = match self.index {
            PackageIndex::Npm => "npm",
            PackageIndex::Pypi => "pypi",
        };
        write!(f, "{index}:{}@{}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> CommunityServer {
        community_server(name).unwrap()
    }

    fn bases() -> BaseImages {
        BaseImages { node: "node:22".into(), python: "python:3.13".into() }
    }

    fn choice(http: &[&str], tcp: &[&str]) -> CommunityChoice {
        let owned = |given: &[&str]| given.iter().map(|&text| text.to_owned()).collect();
        CommunityChoice { http: owned(http), tcp: owned(tcp), secrets: BTreeMap::new() }
    }

    #[test]
    fn every_entry_can_be_read_and_is_whole() {
        let written = yaml::parse(SERVERS);
        assert!(written.findings.is_empty());
        let names = written.root.unwrap().to_value().as_object().unwrap().len();
        let servers = community_servers();
        assert_eq!((servers.len(), names >= 10), (names, true));
        for server in servers {
            assert!(server.package.is_some() != server.url.is_some(), "{}", server.name);
            assert_eq!(server.package.is_some(), !server.command.is_empty(), "{}", server.name);
            if let Some(package) = &server.package {
                let (length, prefix) = match package.index {
                    PackageIndex::Npm => (95, "sha512-"),
                    PackageIndex::Pypi => (64, ""),
                };
                assert!(package.digest.len() == length && package.digest.starts_with(prefix), "{}", server.name);
                let plain = |c: char| c.is_ascii_alphanumeric() || "@/._-".contains(c);
                assert!([&package.name, &package.version].iter().all(|text| text.chars().all(plain)));
            }
        }
    }

    #[test]
    fn a_server_is_found_by_what_it_does() {
        let found = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            let mut found: Vec<_> =
                community_servers().into_iter().filter(|server| server.matches(&words) > 0).collect();
            found.sort_by_key(|server| std::cmp::Reverse(server.matches(&words)));
            found.into_iter().map(|server| server.name).collect::<Vec<_>>()
        };
        assert_eq!(found(&["postgres"]), ["postgres"]);
        assert_eq!(found(&["Databases"]), ["mysql", "postgres", "sqlite"]);
        assert_eq!(found(&["time", "zones"]), ["time"]);
        assert_eq!(found(&["time", "database"]), Vec::<String>::new());
        assert_eq!(found(&[]).len(), community_servers().len());
    }

    #[test]
    fn an_entry_says_what_the_server_was_granted_and_nothing_more() {
        let image = format!("sha256:{}", "0a".repeat(32));
        let entry = known("time").entry(Some(&image), &CommunityChoice::default()).unwrap();
        let wanted = json!({
            "image": image, "source": "pypi:mcp-server-time@2026.10.19",
            "command": ["mcp-server-time", "--local-timezone", "Etc/UTC"],
        });
        assert_eq!(Value::Object(entry), wanted);
        let mut postgres = choice(&[], &["db.example:5432"]);
        postgres.secrets.insert("DSN".to_owned(), "shop-db".parse().unwrap());
        let entry = known("postgres").entry(Some(&image), &postgres).unwrap();
        assert_eq!(entry["env"], json!({ "DSN": { "secret": "shop-db" } }));
        assert_eq!(entry["grants"], json!({ "tcp": ["db.example:5432"] }));
        let entry = known("github").entry(None, &CommunityChoice::default()).unwrap();
        assert_eq!(entry["auth"], json!({ "bearer": { "secret": "github-token" } }));
        assert_eq!(entry.get("image"), None);
    }

    #[test]
    fn what_is_missing_or_too_much_is_said() {
        let refused = |name: &str, choice: &CommunityChoice| known(name).check(choice).unwrap_err().to_string();
        assert!(refused("fetch", &choice(&[], &[])).contains("`http`: what it may fetch from"));
        assert!(refused("postgres", &choice(&["https://a.example"], &[])).contains("`tcp`: the database"));
        assert!(refused("github", &choice(&["https://a.example"], &[])).contains("elsewhere"));
        let mut named = choice(&[], &["db.example:5432"]);
        named.secrets.insert("PASSWORD".to_owned(), "x".parse().unwrap());
        assert_eq!(refused("postgres", &named), "`postgres` takes no secret `PASSWORD`; it takes `DSN`");
        assert_eq!(
            community_server("postgress").unwrap_err().to_string(),
            "there is no community server `postgress`; is `postgres` meant?"
        );
    }

    #[test]
    fn an_image_holds_one_package_which_is_compared_with_its_digest() {
        let arguments = BTreeSet::from(["PIP_INDEX_URL".to_owned()]);
        let git = known("git").dockerfile(&bases(), &arguments).unwrap();
        assert!(git.starts_with("FROM python:3.13\nARG PIP_INDEX_URL\nRUN apt-get update"), "{git}");
        assert!(
            git.contains("mcp-server-git==2026.10.19 --hash=sha256:d4bfe888") && git.ends_with("USER 65534:65534\n")
        );
        let memory = known("memory").dockerfile(&bases(), &BTreeSet::new()).unwrap();
        assert!(
            memory.starts_with("FROM node:22\nRUN test \"$(npm view '@modelcontextprotocol/server-memory@2026.8.31'")
        );
        assert!(memory.contains("--ignore-scripts"));
        assert_eq!(known("github").dockerfile(&bases(), &BTreeSet::new()), None);
    }
}
