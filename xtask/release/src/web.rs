//! Files on a web server, by curl.

use std::path::Path;

use anyhow::Result;
use kit::failure::Failure;
use kit::step::{Output, Runner, Step};

use super::access::{AGAIN, Access};

/// A web server.
pub struct Web {
    runner: Runner,
    access: Access,
    host: String,
}

impl Web {
    /// The server of an address; nothing is asked yet.
    pub fn open(url: &str, access: &Access, runner: &Runner) -> Result<Web> {
        access.certificates()?;
        Ok(Web {
            runner: runner.clone(),
            access: access.clone(),
            host: host_of(url).to_owned(),
        })
    }

    /// Fetches a file; false if the server says that there is no such file. A plan believes that there is.
    pub fn fetch(&self, url: &str, to: &Path) -> Result<bool> {
        let host = host_of(url);
        let step = Step::new(format!("reading {url}"), "curl")
            .args([
                "--silent",
                "--show-error",
                "--location",
                "--write-out",
                "%{http_code}",
                "--output",
            ])
            .path_arg(to)
            .arg(url)
            .hint("install curl, or raise --timeout");
        // An index may lead elsewhere: the credentials are not for there.
        let step = self.access.curl(step, host == self.host)?;
        let output = self.runner.try_run(&step)?;
        if self.runner.plans() {
            return Ok(true);
        }
        let what = &step.name;
        let (what, remedy) = match (output.code, output.stdout.trim()) {
            (Some(0), "200") => return Ok(true),
            (Some(0), "404" | "410") => return Ok(false),
            (Some(0), "401" | "403") => (
                format!("{what}: {host} refuses these credentials"),
                "check --username and --password-file".to_owned(),
            ),
            (Some(0), status) => (
                format!("{what}: {host} failed with status {status}"),
                format!("look at that server, then {AGAIN}"),
            ),
            _ => {
                let trusted = "name the certificate of its authority with --ca-file";
                return Err(unreachable(what, host, &output, trusted));
            }
        };
        Err(Failure::environment(what, remedy))
    }
}

/// The error of a curl that got no answer: everything.curl.dev/cmdline/exitcode.html. `trusted` says how to name
/// the authority of a server's certificate.
pub(crate) fn unreachable(what: &str, host: &str, output: &Output, trusted: &str) -> anyhow::Error {
    let why = output.tail();
    match output.code {
        Some(35 | 60) => Failure::environment(
            format!("{what}: the certificate of {host} is not trusted: {why}"),
            trusted,
        ),
        _ => Failure::environment(
            format!("{what}: {host} can't be reached: {why}"),
            format!("check its address and the network, and {AGAIN}"),
        ),
    }
}

/// `host[:port]` of an address.
pub(crate) fn host_of(url: &str) -> &str {
    url.split('/').nth(2).unwrap_or_default()
}
