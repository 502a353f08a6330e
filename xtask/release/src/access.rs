//! How a registry or a web server is reached: credentials, certificates, patience.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use kit::failure::Failure;
use kit::step::Step;
use kit::whole_file::{self, Mode};
use serde_json::{Value, json};

use crate::package::secret;

/// Options of the commands that talk to a registry or a web server.
#[derive(Debug, Clone, Args)]
pub struct Access {
    /// Who logs in [default: what `helm registry login` or `docker login` left].
    #[arg(long, value_name = "NAME", env = "XTASK_REGISTRY_USER")]
    username: Option<String>,
    /// A file whose first line is the password [default: the variable XTASK_REGISTRY_PASSWORD].
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// The certificates of the authorities that vouch for the server, in PEM, instead of the system's.
    #[arg(long, value_name = "FILE", env = "XTASK_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Talk HTTP without TLS to the registry.
    #[arg(long)]
    pub plain_http: bool,
    /// How long one answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, env = "XTASK_REGISTRY_TIMEOUT")]
    timeout: u64,
}

/// Who logs in.
#[derive(Clone)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password; never printed.
    pub password: String,
}

/// Where helm and cosign find the credentials.
const HELM_CONFIG: &str = "HELM_REGISTRY_CONFIG";
const DOCKER_CONFIG: &str = "DOCKER_CONFIG";

impl Access {
    /// How long one answer may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// Who logs in at this host; none for nobody.
    pub fn login(&self, host: &str) -> Result<Option<Login>> {
        let Some(username) = self.username.clone() else {
            return stored(host);
        };
        let password = secret(self.password_file.as_deref(), "XTASK_REGISTRY_PASSWORD")?.ok_or_else(|| {
            Failure::usage(
                format!("there is no password for {username}"),
                "give it with --password-file or XTASK_REGISTRY_PASSWORD",
            )
        })?;
        Ok(Some(Login { username, password }))
    }

    /// The certificates of `--ca-file`.
    pub fn certificates(&self) -> Result<Option<Vec<u8>>> {
        let Some(file) = &self.ca_file else { return Ok(None) };
        let bytes = std::fs::read(file).map_err(|error| {
            Failure::usage(
                format!("the certificates {} can't be read: {error}", file.display()),
                "name a PEM file with --ca-file",
            )
        })?;
        Ok(Some(bytes))
    }

    /// Writes the given credentials where only this user can read them, for programs that take no
    /// secret but in their arguments. Nothing is written where none are given.
    pub fn write_login(&self, host: &str, dir: &Path) -> Result<()> {
        let Some(login) = self.login(host)?.filter(|_| self.username.is_some()) else {
            return Ok(());
        };
        let token = STANDARD.encode(format!("{}:{}", login.username, login.password));
        let config = json!({"auths": {host: {"auth": token}}});
        let file = dir.join("config.json");
        whole_file::write(&file, config.to_string(), Mode::Owner)
    }

    /// A helm step with the credentials that [`Access::write_login`] wrote.
    pub fn helm(&self, step: Step, dir: &Path) -> Step {
        let mut step = step.timeout(self.timeout());
        if self.username.is_some() {
            step = step.env(HELM_CONFIG, dir.join("config.json").to_string_lossy());
        }
        if self.plain_http {
            step = step.arg("--plain-http");
        }
        match &self.ca_file {
            Some(file) => step.arg("--ca-file").path_arg(file),
            None => step,
        }
    }

    /// A cosign step with the credentials that [`Access::write_login`] wrote.
    pub fn cosign(&self, step: Step, dir: &Path) -> Step {
        let mut step = step.timeout(self.timeout());
        if self.username.is_some() {
            step = step.env(DOCKER_CONFIG, dir.to_string_lossy());
        }
        if self.plain_http {
            step = step.arg("--allow-http-registry");
        }
        match &self.ca_file {
            Some(file) => step.arg("--registry-cacert").path_arg(file),
            None => step,
        }
    }
}

/// The credentials that `helm registry login` or `docker login` left for a host.
fn stored(host: &str) -> Result<Option<Login>> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = var("HOME").unwrap_or_default();
    let helm = var("HELM_CONFIG_HOME")
        .or_else(|| var("XDG_CONFIG_HOME").map(|dir| dir.join("helm")))
        .unwrap_or_else(|| home.join(".config/helm"));
    let files = [
        var(HELM_CONFIG).unwrap_or_else(|| helm.join("registry/config.json")),
        var(DOCKER_CONFIG)
            .unwrap_or_else(|| home.join(".docker"))
            .join("config.json"),
    ];
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let config: Value = serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
        // What a credential helper keeps, only helm and cosign can ask it for.
        let Some(token) = config["auths"][host]["auth"].as_str() else {
            continue;
        };
        let plain = STANDARD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((username, password)) = plain.as_deref().and_then(|plain| plain.split_once(':')) {
            return Ok(Some(Login {
                username: username.to_owned(),
                password: password.to_owned(),
            }));
        }
    }
    Ok(None)
}
