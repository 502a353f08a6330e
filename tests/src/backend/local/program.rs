//! Which program of this machine a container runs, and with what view of it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Container;
use kit::step::{Runner, Step};
use regex::Regex;

use crate::client::install::on_path;

/// The shell of the chart's scripts.
pub const SHELL: &str = "/bin/sh";
/// Where programs look names up before they ask a DNS server (hosts(5)).
pub const HOSTS: &str = "/etc/hosts";
/// The program of the guarded door, which is this machine's.
pub const NGINX: &str = "nginx";
/// What it is told here beside its configuration: one process, which ends with its handle and keeps this user.
pub const NGINX_ALONE: [&str; 2] = ["-g", "master_process off;"];
/// Runs a program with a view of its own of the machine's file systems (unshare(1), util-linux).
pub const UNSHARE: &str = "/usr/bin/unshare";

/// The version of this machine's nginx, as in `1.22.1`; none where there is no nginx.
pub fn nginx_version(runner: &Runner) -> Result<Option<String>> {
    let Some(program) = on_path(NGINX) else {
        return Ok(None);
    };
    // It says it on standard error.
    let said = runner.run(&Step::new("nginx -v", program).args(["-v"]).reads())?.stderr;
    let found = Regex::new(r"nginx/([0-9]+\.[0-9]+\.[0-9]+)")?;
    let found = found
        .captures(&said)
        .with_context(|| format!("nginx -v says {said:?}"))?;
    Ok(Some(found[1].to_owned()))
}

/// Arguments of unshare(1) with which a program sees a hosts file of its own: in a mount namespace, for which a user
/// without rights needs a user namespace too. The process stays the same.
pub fn with_hosts(hosts: &Path, program: &Path) -> Vec<String> {
    let mut args = vec!["--mount".to_owned()];
    if !nix::unistd::geteuid().is_root() {
        args.push("--map-root-user".to_owned());
    }
    let script = format!("mount --bind \"$1\" {HOSTS} && shift && exec \"$@\"");
    let rest = [SHELL, "-c", &script, "sh"].map(str::to_owned);
    args.extend(rest);
    args.extend([hosts, program].map(|path| path.display().to_string()));
    args
}

/// Whether a container runs a script of the chart that needs nothing but a shell and what every machine has beside
/// it. Scripts of others stay where they are: they may count on being alone in a container.
pub fn is_own_script(container: &Container) -> bool {
    ["check-log", "disk-guard", "settle"].contains(&container.name.as_str())
        && container.command.iter().flatten().next().is_some_and(|c| c == SHELL)
}

/// The pinned program that a container runs: its command's, or its image's.
pub fn tool_of(container: &Container) -> Result<&'static str> {
    let image = container.image.as_deref().unwrap_or_default();
    let name = match container.command.iter().flatten().next() {
        Some(command) => command.rsplit('/').next().unwrap_or(command),
        None => {
            let repository = image.split('@').next().unwrap_or(image);
            let last = repository.rsplit('/').next().unwrap_or(repository);
            last.split(':').next().unwrap_or(last)
        }
    };
    match name {
        "tempo" => Ok("tempo"),
        NGINX => Ok(NGINX),
        name if name.starts_with("opentelemetry-collector") || name.starts_with("otelcol") => Ok("otelcol"),
        name => bail!("the local backend has no program {name} for image {image}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(image: &str, command: &[&str]) -> Container {
        Container {
            image: Some(image.into()),
            command: Some(command.iter().map(|&word| word.into()).collect()).filter(|c: &Vec<String>| !c.is_empty()),
            ..Container::default()
        }
    }

    #[test]
    fn a_container_runs_the_program_of_its_image_unless_it_has_a_command() {
        let tool = |image, command: &[&str]| tool_of(&container(image, command)).ok();
        assert_eq!(tool("docker.io/grafana/tempo:2.9.0@sha256:0", &[]), Some("tempo"));
        assert_eq!(
            tool("localhost:5000/otel/opentelemetry-collector-contrib:1", &[]),
            Some("otelcol")
        );
        assert_eq!(tool("docker.io/grafana/tempo:2.9.0", &["/bin/sh", "-c"]), None);
        assert_eq!(tool("private/image", &["/tempo"]), Some("tempo"));
        assert_eq!(tool("docker.io/library/busybox:1", &[]), None);
    }
}
