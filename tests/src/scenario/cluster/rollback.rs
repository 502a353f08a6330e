//! `rollback`: an upgrade that can't work comes back, and one that was killed is recovered from.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::step::Step;
use serde_json::Value;
use tokio::process::Command;

use super::{Lab, READY, deliver, documented, found, quick_values};
use crate::backend::{Component, Stack};
use crate::env::Env;
use crate::model::corpus::Sample;
use crate::wait::{Look, wait_for};

const RELEASE: &str = "tempo-stack";
/// How long helm waits for what can't become ready.
const TIMEOUT: &str = "30s";
/// Within this an upgrade is under way.
const PENDING: Duration = Duration::from_secs(30);

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let lab = Lab::open(env, "rollback").await?;
    let values = quick_values(env)?;
    lab.run(lab.helm_with(&["install", RELEASE, "./tempo-stack"], &values)?)
        .await?;
    let stack = lab.ready(RELEASE).await?;
    let sample = deliver(env, stack.as_ref(), 0).await?;
    broken(env, &lab, "Tempo", "tempo.config.nonsense=1", &sample).await?;
    broken(env, &lab, "the Collector", "otelCollector.config.nonsense=1", &sample).await?;
    killed(env, &lab, &sample).await?;
    env.finish(stack).await
}

/// An upgrade to a configuration that the program refuses, with rollback on failure.
async fn broken(env: &Env, lab: &Lab<'_>, what: &str, set: &str, sample: &Sample) -> Result<()> {
    let before = manifest(lab).await?;
    let upgrade = [
        "upgrade",
        RELEASE,
        "./tempo-stack",
        "--reuse-values",
        "--set-json",
        set,
        "--rollback-on-failure",
        // Helm 4's own way of waiting takes the last pod of the broken revision, which ends with an error while
        // the rollback replaces it, for a failure of the rollback.
        "--wait=legacy",
        "--timeout",
        TIMEOUT,
    ];
    let output = lab.try_run(lab.helm(&upgrade)?).await?;
    let detail = output.stderr.lines().last().unwrap_or_default().to_owned();
    env.recorder.check(
        format!("a configuration that {what} refuses fails the upgrade"),
        !output.success(),
        detail,
    );
    let now = status(lab).await?;
    env.recorder.check(
        format!("{what}: the release is deployed again, as it was"),
        now == "deployed" && manifest(lab).await? == before,
        format!("{now}, {:.1} s with the upgrade", output.elapsed.as_secs_f64()),
    );
    works(env, lab, &format!("{what}: after the rollback"), sample).await
}

/// The stack is ready, keeps what it had and takes more.
async fn works(env: &Env, lab: &Lab<'_>, what: &str, sample: &Sample) -> Result<()> {
    let stack = lab.cluster.attach(&lab.namespace, RELEASE).await?;
    stack.wait_ready(READY).await?;
    let old = found(env, stack.as_ref(), sample).await;
    let detail = old
        .as_ref()
        .map_or_else(|e| format!("{e:#}"), |t| format!("after {} ms", t.as_millis()));
    env.recorder
        .check(format!("{what}: old traces are found"), old.is_ok(), detail);
    let revision = u32::try_from(history(lab).await?.len())?;
    let new = deliver(env, stack.as_ref(), revision).await;
    let detail = new.as_ref().map_or_else(|e| format!("{e:#}"), |_| String::new());
    env.recorder
        .check(format!("{what}: new traces are taken and found"), new.is_ok(), detail);
    Ok(())
}

/// helm is killed while it waits for an upgrade; docs/operations.md says how to go on.
async fn killed(env: &Env, lab: &Lab<'_>, sample: &Sample) -> Result<()> {
    let upgrade = [
        "upgrade",
        RELEASE,
        "./tempo-stack",
        "--reuse-values",
        "--set",
        "tempo.podAnnotations.e2e=killed",
        "--wait",
    ];
    let step = lab.helm(&upgrade)?;
    let mut helm = Command::new(&step.program)
        .args(&step.args)
        .current_dir(lab.charts()?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting helm")?;
    let pending = wait_for("an upgrade under way", PENDING, &env.cancel, || async {
        Ok(match status(lab).await?.as_str() {
            "pending-upgrade" => Look::Found(()),
            other => Look::NotYet(other.to_owned()),
        })
    })
    .await;
    helm.kill().await.context("killing helm")?;
    let now = status(lab).await?;
    env.recorder.check(
        "a killed helm leaves the release pending",
        pending.is_ok() && now == "pending-upgrade",
        &now,
    );
    let next = lab
        .try_run(lab.helm(&["upgrade", RELEASE, "./tempo-stack", "--reuse-values"])?)
        .await?;
    let refused = !next.success() && next.stderr.contains("another operation");
    let said = next.stderr.lines().last().unwrap_or_default().to_owned();
    env.recorder.check("the next upgrade is refused", refused, said);
    recovered(env, lab, sample).await
}

/// The documented command brings the release back, and upgrades work again.
async fn recovered(env: &Env, lab: &Lab<'_>, sample: &Sample) -> Result<()> {
    let readme = env.workspace.root().join("charts/tempo-stack/docs/operations.md");
    let recovery: Vec<String> = documented(&readme)?
        .into_iter()
        .filter(|c| c.starts_with("helm rollback "))
        .collect();
    for command in &recovery {
        let words = lab.own(command.split_whitespace().skip(1).map(str::to_owned).collect());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        lab.run(lab.helm(&words)?).await?;
    }
    let now = status(lab).await?;
    env.recorder.check(
        "the documented command recovers it",
        !recovery.is_empty() && now == "deployed",
        format!("{}: {now}", recovery.join("; ")),
    );
    works(env, lab, "after the recovery", sample).await?;
    let upgrade: Step = lab.helm(&["upgrade", RELEASE, "./tempo-stack", "--reuse-values"])?;
    let again = lab.try_run(upgrade).await?;
    env.recorder.check(
        "upgrades work again",
        again.success(),
        again.stderr.lines().last().unwrap_or_default(),
    );
    let stack = lab.cluster.attach(&lab.namespace, RELEASE).await?;
    stack.wait_ready(READY).await?;
    let crashes = stack.crashes(Component::Tempo).await?;
    env.recorder.check(
        "Tempo never crashed on the way",
        crashes == 0,
        format!("{crashes} crashes"),
    );
    Ok(())
}

/// What helm says of the release: `deployed`, `pending-upgrade`, …
async fn status(lab: &Lab<'_>) -> Result<String> {
    let output = lab.run(lab.helm(&["status", RELEASE, "--output", "json"])?).await?;
    let status: Value = serde_json::from_str(&output.stdout).context("reading the status")?;
    let text = status.pointer("/info/status").and_then(Value::as_str);
    Ok(text.context("the status names no status")?.to_owned())
}

async fn history(lab: &Lab<'_>) -> Result<Vec<Value>> {
    let output = lab.run(lab.helm(&["history", RELEASE, "--output", "json"])?).await?;
    serde_json::from_str(&output.stdout).context("reading the history")
}

async fn manifest(lab: &Lab<'_>) -> Result<String> {
    Ok(lab.run(lab.helm(&["get", "manifest", RELEASE])?).await?.stdout)
}
