//! How a registry or a web server is reached: credentials, certificates, timeout.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use kit::failure::Failure;
use kit::step::Step;
use kit::whole_file::{self, Mode};
use serde_json::{Value, json};

use crate::package::secret;

/// What to do after most failures.
pub const AGAIN: &str = "run the same command again: what is done already is not done twice";

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
    ca_file: Option<PathBuf>,
    /// Talk HTTP without TLS to the registry.
    #[arg(long)]
    plain_http: bool,
    /// How long one request may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, env = "XTASK_REGISTRY_TIMEOUT")]
    timeout: u64,
}

/// Where helm and cosign find the credentials.
const HELM_CONFIG: &str = "HELM_REGISTRY_CONFIG";
const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// The file in the folder that `DOCKER_CONFIG` names.
const LOGIN: &str = "config.json";

impl Access {
    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// Name and password, `name:password`; none where no name was given.
    fn login(&self) -> Result<Option<String>> {
        let Some(username) = &self.username else {
            return Ok(None);
        };
        let password = secret(self.password_file.as_deref(), "XTASK_REGISTRY_PASSWORD")?.ok_or_else(|| {
            Failure::usage(
                format!("there is no password for {username}"),
                "give it with --password-file or XTASK_REGISTRY_PASSWORD",
            )
        })?;
        Ok(Some(format!("{username}:{password}")))
    }

    /// The file of `--ca-file`, which a step may open in any folder; it must be readable.
    pub fn certificates(&self) -> Result<Option<PathBuf>> {
        let Some(file) = &self.ca_file else { return Ok(None) };
        let readable = fs_err::File::open(file).and_then(|_| std::path::absolute(file));
        readable.map(Some).map_err(|error| {
            Failure::usage(
                format!("the certificates {} can't be read: {}", file.display(), error.kind()),
                "name a PEM file with --ca-file",
            )
        })
    }

    /// Writes the given credentials where only this user can read them, for programs that take no
    /// secret but in their arguments. Nothing is written where none are given.
    pub(crate) fn write_login(&self, host: &str, dir: &Path) -> Result<()> {
        self.certificates()?;
        let Some(login) = self.login()? else { return Ok(()) };
        let config = json!({"auths": {host: {"auth": STANDARD.encode(login)}}});
        whole_file::write(&dir.join(LOGIN), config.to_string(), Mode::Owner)
    }

    /// A helm step with the credentials that [`Access::write_login`] wrote.
    pub fn helm(&self, mut step: Step, dir: &Path) -> Step {
        if self.username.is_some() {
            step = step.env(HELM_CONFIG, dir.join(LOGIN).to_string_lossy());
        }
        self.reach(step, "--plain-http", "--ca-file")
    }

    /// A cosign step with the credentials that [`Access::write_login`] wrote, else with those that
    /// `helm registry login` left for the host.
    pub fn cosign(&self, mut step: Step, host: &str, dir: &Path) -> Result<Step> {
        if self.username.is_some() {
            step = step.env(DOCKER_CONFIG, dir.to_string_lossy());
        } else if let Some(file) = helm_login(host) {
            // It reads a file of this name only.
            let copy = dir.join(LOGIN);
            whole_file::write(&copy, fs_err::read(file)?, Mode::Owner)?;
            step = step.env(DOCKER_CONFIG, dir.to_string_lossy());
        }
        Ok(self.reach(step, "--allow-http-registry", "--registry-cacert"))
    }

    /// An oras step with the credentials that [`Access::write_login`] wrote, else with those that
    /// `helm registry login` left for the host; it finds those of `docker login` itself.
    pub fn oras(&self, mut step: Step, host: &str, dir: &Path) -> Step {
        let written = self.username.is_some().then(|| dir.join(LOGIN));
        if let Some(file) = written.or_else(|| helm_login(host)) {
            step = step.arg("--registry-config").path_arg(&file);
        }
        self.reach(step, "--plain-http", "--ca-file")
    }

    /// A curl step, with the credentials where they are for its host. They go through standard input:
    /// others can read arguments.
    pub fn curl(&self, mut step: Step, ours: bool) -> Result<Step> {
        if let Some(login) = self.login()?.filter(|_| ours) {
            let login = login.replace('\\', "\\\\").replace('"', "\\\"");
            step = step.args(["--config", "-"]).stdin(format!("user = \"{login}\"\n"));
        }
        let https = Access {
            plain_http: false,
            ..self.clone()
        };
        Ok(https.reach(step, "", "--cacert"))
    }

    fn reach(&self, mut step: Step, plain_http: &str, ca_file: &str) -> Step {
        step = step.timeout(self.timeout());
        if self.plain_http {
            step = step.arg(plain_http);
        }
        match self.ca_file.as_ref().and_then(|file| std::path::absolute(file).ok()) {
            Some(file) => step.arg(ca_file).path_arg(&file),
            None => step,
        }
    }
}

/// The file of `helm registry login`, if it has credentials for a host, or names the program that has them: with
/// `credsStore` helm leaves the host's entry in `auths` empty.
fn helm_login(host: &str) -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let file = var(HELM_CONFIG).or_else(|| {
        let helm = var("HELM_CONFIG_HOME")
            .or_else(|| var("XDG_CONFIG_HOME").map(|dir| dir.join("helm")))
            .or_else(|| var("HOME").map(|home| home.join(".config/helm")))?;
        Some(helm.join("registry/config.json"))
    })?;
    let config: Value = serde_json::from_str(&std::fs::read_to_string(&file).ok()?).ok()?;
    let stored = |key: &str| config[key].get(host).is_some();
    (stored("auths") || stored("credHelpers")).then_some(file)
}
