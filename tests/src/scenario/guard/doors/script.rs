//! The chart's own test and its canary as they are rendered, run by the shell of this machine.
//!
//! Names of Services mean an address because of a configuration file of curl; the scripts are as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use charts::manifest::Manifest;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;

use super::keys::Data;
use crate::backend::{Component, Stack};
use crate::env::Env;
use crate::wait::{Look, wait_for};

/// Longer than the chart's own time for a test.
const ENDS: Duration = Duration::from_secs(60);

/// Where its command looks for programs.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Whether this machine has what the scripts need; records it where it hasn't.
pub(in crate::scenario) fn can_run(env: &Env) -> bool {
    let curl = std::env::split_paths(PATH).any(|folder| folder.join("curl").exists());
    if !curl {
        env.recorder
            .skip("the chart's test and the canary", "this machine has no curl");
    }
    curl
}

/// A container with a script, and what its pod mounts.
pub(in crate::scenario) struct Script {
    container: Container,
    spec: PodSpec,
    home: PathBuf,
}

impl Script {
    /// The test of `helm test`, with `home` as its folder on this machine.
    pub fn test(manifests: &[Manifest], home: PathBuf) -> Result<Script> {
        let pod = find(manifests, "Pod", "-test")?.parse::<Pod>()?;
        Script::new(pod.spec.context("the test has a spec")?, home)
    }

    /// The canary.
    pub fn canary(manifests: &[Manifest], home: PathBuf) -> Result<Script> {
        let deployment = find(manifests, "Deployment", "-canary")?.parse::<Deployment>()?;
        let template = deployment.spec.template;
        Script::new(template.spec.context("the canary's pod has a spec")?, home)
    }

    fn new(spec: PodSpec, home: PathBuf) -> Result<Script> {
        let container = spec.containers.first().context("a pod has a container")?.clone();
        fs_err::create_dir_all(&home)?;
        Ok(Script { container, spec, home })
    }

    /// Its command, with the Secrets that its pod mounts, and with some variables changed.
    fn command(&self, stack: &dyn Stack, secrets: &BTreeMap<&str, Data>, changed: &[(&str, &str)]) -> Result<Command> {
        let doors = self.home.join("doors");
        self.write_secrets(&doors, secrets)?;
        let mut words = self
            .container
            .command
            .iter()
            .flatten()
            .chain(self.container.args.iter().flatten());
        let mut command = Command::new(words.next().context("the script has a program")?);
        command
            .args(words)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", PATH);
        for variable in self.container.env.iter().flatten() {
            let value = variable.value.as_deref().unwrap_or_default();
            let value = match variable.name.as_str() {
                "COLLECTOR" => {
                    self.resolve(stack, value)?;
                    value.to_owned()
                }
                "TEMPO" => stack.reach(value)?,
                "DOORS" => doors.display().to_string(),
                _ => value.to_owned(),
            };
            command.env(&variable.name, value);
        }
        command
            .envs(changed.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// What DNS would say, for curl.
    fn resolve(&self, stack: &dyn Stack, url: &str) -> Result<()> {
        let host = url.rsplit('/').next().unwrap_or(url);
        let address = stack.endpoints().get(Component::OtelCollector, "otlp-http")?;
        let line = format!("resolve = \"{host}:{}\"\n", address.ip());
        Ok(fs_err::write(self.home.join(".curlrc"), line)?)
    }

    fn write_secrets(&self, doors: &Path, secrets: &BTreeMap<&str, Data>) -> Result<()> {
        for volume in self.spec.volumes.iter().flatten() {
            let Some(source) = &volume.secret else { continue };
            let name = source.secret_name.as_deref().unwrap_or_default();
            let data = secrets
                .get(name)
                .with_context(|| format!("there is no Secret {name}"))?;
            let mounts = self.container.volume_mounts.iter().flatten();
            let mount = mounts.into_iter().find(|mount| mount.name == volume.name);
            let mount = mount.with_context(|| format!("{} is mounted", volume.name))?;
            let folder = doors.join(Path::new(&mount.mount_path).file_name().context("a path has a name")?);
            fs_err::create_dir_all(&folder)?;
            for item in source.items.iter().flatten() {
                let text = data
                    .get(&item.key)
                    .with_context(|| format!("{name} has no key {}", item.key))?;
                fs_err::write(folder.join(&item.path), text)?;
            }
        }
        Ok(())
    }

    /// Runs it to its end, which is at most `timeout` seconds away.
    pub async fn run(&self, stack: &dyn Stack, secrets: &BTreeMap<&str, Data>, timeout: u32) -> Result<Output> {
        let timeout = timeout.to_string();
        let mut command = self.command(stack, secrets, &[("TIMEOUT", &timeout)])?;
        let output = tokio::time::timeout(ENDS, command.output());
        output
            .await
            .context("the chart's test goes on")?
            .context("running the chart's test")
    }

    /// Runs it every second until it tried so often, and gives back its metrics.
    pub async fn rounds(
        &self,
        env: &Env,
        stack: &dyn Stack,
        secrets: &BTreeMap<&str, Data>,
        rounds: u32,
    ) -> Result<String> {
        let run = self.home.join("run");
        fs_err::create_dir_all(&run)?;
        let shown = run.display().to_string();
        let mut command = self.command(stack, secrets, &[("PERIOD", "1"), ("RUN", &shown)])?;
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting the canary")?;
        let metrics = run.join("metrics.txt");
        let tried = wait_for("rounds of the canary", ENDS, &env.cancel, || async {
            // It is not there at the beginning.
            let text = std::fs::read_to_string(&metrics).unwrap_or_default();
            let attempts = sample(&text, "tempo_canary_attempts_total");
            Ok(if attempts.is_some_and(|n| n >= f64::from(rounds)) {
                Look::Found(text)
            } else {
                Look::NotYet(format!("{attempts:?} attempts"))
            })
        })
        .await;
        let pid = child.id().context("the canary has ended")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM).context("stopping the canary")?;
        child.wait().await.context("waiting for the canary")?;
        Ok(tried?.value)
    }
}

/// The value of a metric without labels.
pub(in crate::scenario) fn sample(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line?.trim().parse().ok()
}

fn find<'m>(manifests: &'m [Manifest], kind: &str, end: &str) -> Result<&'m Manifest> {
    let found = manifests.iter().find(|m| m.kind == kind && m.name.ends_with(end));
    found.with_context(|| format!("no {kind} …{end} is rendered"))
}
