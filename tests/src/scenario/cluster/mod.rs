//! Scenarios that only a cluster can show: the chart's whole life there.

pub(super) mod autoscale;
pub(super) mod canary;
pub(super) mod evict;
pub(super) mod faults;
pub(super) mod fleet;
pub(super) mod helm_cases;
pub(super) mod helm_test;
pub(super) mod install;
pub(super) mod lifecycle;
pub(super) mod policies;
pub(super) mod rollback;
pub(super) mod security;
pub(super) mod stranded;
pub(super) mod uid_range;
pub(super) mod upgrade;

mod baseline;
mod policy;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::step::{Output, Step};
use serde_yaml::Value;

use super::Access;
use crate::backend::cluster::{ClusterBackend, ClusterStack, Namespace};
use crate::backend::{Stack, find_all, stop_soon};
use crate::client::tempo::span_count;
use crate::documented::commands;
use crate::env::Env;
use crate::model::corpus::{Corpus, Sample};
use crate::model::door::Door;

/// A start in a busy cluster.
const READY: Duration = Duration::from_secs(90);
/// How long a trace may take to be found.
const FOUND: Duration = Duration::from_secs(30);

const DOCUMENTED: &str = "observability";

/// A namespace in which a scenario installs, upgrades and removes releases itself.
struct Lab<'a> {
    env: &'a Env,
    cluster: &'a ClusterBackend,
    namespace: Arc<Namespace>,
}

impl<'a> Lab<'a> {
    async fn open(env: &'a Env, prefix: &str) -> Result<Lab<'a>> {
        let cluster = cluster(env)?;
        let namespace = cluster.namespace(prefix).await?;
        Ok(Lab {
            env,
            cluster,
            namespace,
        })
    }

    /// The scenario is done with the namespace: it goes, unless `--keep` leaves its stacks up.
    async fn close(&self) -> Result<()> {
        if self.env.keeps_in(self.namespace.name()) {
            return Ok(());
        }
        self.remove().await
    }

    /// Removes the namespace, once evidence is gathered where a check failed.
    async fn remove(&self) -> Result<()> {
        self.env.release(self.namespace.name()).await?;
        self.namespace.remove().await
    }

    /// The folder with copies of both charts, the umbrella's with its dependencies.
    fn charts(&self) -> Result<PathBuf> {
        let folder = self.cluster.umbrella().dir.parent();
        Ok(folder.context("a chart has a parent folder")?.to_path_buf())
    }

    /// A helm command in the folder of the charts.
    fn helm(&self, args: &[&str]) -> Result<Step> {
        let name = format!("helm {}", args.iter().take(2).copied().collect::<Vec<_>>().join(" "));
        let step = self.cluster.connection().helm(name, self.namespace.name());
        Ok(step.cwd(self.charts()?).args(args.iter().copied()))
    }

    /// The same with values on standard input.
    fn helm_with(&self, args: &[&str], values: &Value) -> Result<Step> {
        let values = serde_yaml::to_string(values).context("writing the values")?;
        Ok(self.helm(args)?.args(["--values", "-"]).stdin(values))
    }

    /// A documented command in this lab's namespace instead of the documented one.
    fn own(&self, words: Vec<String>) -> Vec<String> {
        let own = |word: String| {
            if word == DOCUMENTED {
                self.namespace.name().to_owned()
            } else {
                word
            }
        };
        words.into_iter().map(own).collect()
    }

    /// Runs a command that must succeed. Where it doesn't, there may be no release to gather evidence of
    /// later: it is gathered here.
    async fn run(&self, step: Step) -> Result<Output> {
        let ran = self.cluster.connection().run(step).await;
        if ran.is_err() && !self.env.cancel.is_cancelled() {
            let folder = self.env.evidence_of(self.namespace.name());
            if let Err(error) = self.cluster.evidence(&self.namespace, None, &folder).await {
                self.env.recorder.tell(format!("evidence can't be written: {error:#}"));
            }
        }
        ran
    }

    async fn try_run(&self, step: Step) -> Result<Output> {
        self.cluster.connection().try_run(step).await
    }

    /// A view of a release; its evidence is gathered if the scenario fails.
    async fn stack(&self, release: &str) -> Result<Arc<ClusterStack>> {
        let stack = self.cluster.attach(&self.namespace, release).await?;
        self.env.adopt(stack.clone());
        Ok(stack)
    }

    /// The same, once it is ready.
    async fn ready(&self, release: &str) -> Result<Arc<ClusterStack>> {
        let stack = self.stack(release).await?;
        stack.wait_ready(READY).await?;
        Ok(stack)
    }
}

fn cluster(env: &Env) -> Result<&ClusterBackend> {
    env.backend.cluster().context("this scenario needs a cluster")
}

/// The values of chart `tempo-stack` that a scenario sets, over those of this run.
fn stack_values(env: &Env, yaml: &str) -> Result<Value> {
    let mut values = cluster(env)?.run_values();
    find_all(&mut values);
    charts::render::merge(&mut values, super::values(yaml)?);
    Ok(values)
}

/// Values of chart `tempo-stack` for pods that stop soon, over those of this run.
fn quick_values(env: &Env) -> Result<Value> {
    let mut values = stack_values(env, "{}")?;
    stop_soon(&mut values);
    Ok(values)
}

/// Sends a sample and waits until Tempo answers with it.
async fn deliver(env: &Env, stack: &dyn Stack, n: u32) -> Result<Sample> {
    let access = Access::new(stack)?;
    let sample = Corpus::from_now(env.seed)?.sample(n);
    let outcome = access.sender.send(Door::OtlpGrpc, &sample.traces).await?;
    anyhow::ensure!(outcome.is_acked(), "a sample was not taken: {outcome}");
    found(env, stack, &sample).await?;
    Ok(sample)
}

/// Checks that a trace goes in and is found.
async fn delivers(env: &Env, stack: &dyn Stack, n: u32, what: &str) {
    let delivered = deliver(env, stack, n).await;
    let detail = delivered.as_ref().err().map(|error| format!("{error:#}"));
    env.recorder.check(
        format!("{what}: a trace goes in and is found"),
        delivered.is_ok(),
        detail.unwrap_or_default(),
    );
}

/// Waits until Tempo answers with a sample.
async fn found(env: &Env, stack: &dyn Stack, sample: &Sample) -> Result<Duration> {
    let access = Access::new(stack)?;
    let spans = span_count(&sample.traces);
    let waited = access
        .tempo
        .wait_for_trace(sample.id, spans, FOUND, &env.cancel)
        .await?;
    Ok(waited.elapsed)
}

/// The commands of the `sh` blocks of a README, continued lines joined.
fn documented(readme: &Path) -> Result<Vec<String>> {
    let text = fs_err::read_to_string(readme)?;
    Ok(commands(&text))
}

/// The first documented command that has all of these parts, as the arguments of its program.
fn documented_command(readme: &Path, parts: &[&str]) -> Result<Vec<String>> {
    let all = documented(readme)?;
    let command = all
        .iter()
        .find(|command| parts.iter().all(|part| command.contains(part)))
        .with_context(|| format!("{} documents no command with {parts:?}", readme.display()))?;
    Ok(command.split_whitespace().skip(1).map(str::to_owned).collect())
}
