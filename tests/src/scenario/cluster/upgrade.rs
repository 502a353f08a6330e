//! `upgrade`: from the last charts to these, under load.
//!
//! With the queue on a claim nothing that was acknowledged may be missing. With the queue on an emptyDir the
//! chart promises only what Tempo already had: the loss is reported, not judged.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::step::Step;
use serde_yaml::Value;

use super::super::{Access, drained, judge_ledger};
use super::baseline::{self, Baseline};
use super::{Lab, READY, cluster, deliver, found, stack_values};
use crate::backend::cluster::{ClusterStack, PartKind};
use crate::backend::{Component, Stack};
use crate::client::load::{Batches, Load};
use crate::client::readback::read_back;
use crate::env::Env;
use crate::model::corpus::Sample;
use crate::model::ledger::Ledger;

const RELEASE: &str = "tempo-stack";
/// The load before an upgrade and after it.
const PAUSE: Duration = Duration::from_secs(2);
const READ: Duration = Duration::from_secs(60);
/// How helm treats the values of the last revision.
const MODES: [&str; 3] = ["--reset-values", "--reuse-values", "--reset-then-reuse-values"];

#[derive(Clone, Copy)]
struct Queue {
    what: &'static str,
    values: &'static str,
    /// Spans per second. Few where some may be lost: what searches don't find is read one trace at a time.
    rate: u32,
}

const QUEUES: [Queue; 2] = [
    Queue {
        what: "queue on a claim",
        values: "{tempo: {terminationGracePeriodSeconds: 5}, otelCollector: {drainSeconds: 1}}",
        rate: 500,
    },
    Queue {
        what: "emptyDir queue",
        values: "{tempo: {terminationGracePeriodSeconds: 5}, otelCollector: {drainSeconds: 1, queue: {persistence: {enabled: false}}}}",
        rate: 100,
    },
];

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let helm = cluster(env)?.helm().clone();
    let from = match tokio::task::block_in_place(|| baseline::find(env, &helm))? {
        Ok(baseline) => baseline,
        Err(reason) => {
            env.recorder.skip("upgrade", reason);
            return Ok(());
        }
    };
    env.recorder.say(format!("from the charts of {}", from.name));
    // Each in a namespace of its own, at the same time.
    let [claim, empty_dir] = QUEUES;
    let (first, second) = tokio::join!(upgrades(env, &from, claim, 0), upgrades(env, &from, empty_dir, 100));
    first.context(claim.what)?;
    second.context(empty_dir.what)
}

async fn upgrades(env: &Env, from: &Baseline, queue: Queue, seed: u64) -> Result<()> {
    let lab = Lab::open(env, "upgrade").await?;
    let values = stack_values(env, queue.values)?;
    let old = from.chart.dir.display().to_string();
    lab.run(lab.helm_with(&["install", RELEASE, &old], &values)?).await?;
    let stack = lab.ready(RELEASE).await?;
    // Delivered before anything is replaced: both queue volumes keep this.
    let sample = deliver(env, stack.as_ref(), u32::try_from(seed)?).await?;
    let mut revision = 1;
    for (n, mode) in MODES.into_iter().enumerate() {
        if n > 0 {
            // Back to the old charts, with the values that they were installed with.
            lab.run(lab.helm(&["rollback", RELEASE, "1"])?).await?;
            revision += 1;
            lab.cluster
                .attach(&lab.namespace, RELEASE)
                .await?
                .wait_ready(READY)
                .await?;
        }
        let step = upgrade(&lab, mode, &values)?;
        under_load(env, &lab, queue, mode, step, seed + n as u64).await?;
        revision += 1;
        old_trace(env, &lab, queue, mode, &sample).await?;
    }
    // From these charts too: a pod stops as the charts say that it came from.
    let step = upgrade(&lab, MODES[0], &values)?;
    under_load(env, &lab, queue, "these charts again", step, seed + MODES.len() as u64).await?;
    revision += 1;
    let history = lab
        .run(lab.helm(&["history", RELEASE, "--output", "yaml"])?)
        .await?
        .stdout;
    let history: Vec<Value> = serde_yaml::from_str(&history).context("reading the history")?;
    env.recorder.check(
        format!("{}: every revision is in the history", queue.what),
        history.len() == revision,
        format!("{} of {revision}", history.len()),
    );
    rolls(env, &lab, queue, &values).await?;
    env.finish(stack).await
}

/// The upgrade; the values are given again only where helm drops those of the last revision. It changes
/// both pods, as a new image would: between two states of the charts maybe only one of them differs.
fn upgrade(lab: &Lab<'_>, mode: &str, values: &Value) -> Result<Step> {
    let args = ["upgrade", RELEASE, "./tempo-stack", mode];
    let step = if mode == "--reset-values" {
        lab.helm_with(&args, values)?
    } else {
        lab.helm(&args)?
    };
    let rolled = Component::ALL.map(|c| format!("{}.podAnnotations.e2e-upgrade={mode}", c.values_key()));
    Ok(step.args(rolled.iter().flat_map(|set| ["--set", set.as_str()])))
}

async fn under_load(env: &Env, lab: &Lab<'_>, queue: Queue, how: &str, step: Step, seed: u64) -> Result<()> {
    let what = format!("{}, {how}", queue.what);
    let stack = lab.cluster.attach(&lab.namespace, RELEASE).await?;
    let access = Access::new(stack.as_ref())?;
    let batches = Batches {
        rate: queue.rate,
        ..Batches::new(env.seed.wrapping_add(seed))
    };
    let load = Load::start(access.sender.clone(), batches, env.cancel.clone());
    tokio::time::sleep(PAUSE).await;
    let before = uids(lab).await?;
    lab.run(step).await?;
    let new = lab.cluster.attach(&lab.namespace, RELEASE).await?;
    new.wait_ready(READY).await?;
    tokio::time::sleep(PAUSE).await;
    let (mut ledger, _) = load.stop().await?;
    let after = uids(lab).await?;
    let replaced = Component::ALL.iter().all(|c| before.get(c) != after.get(c));
    env.recorder.check(
        format!("{what}: both pods are replaced"),
        replaced,
        format!("{after:?}"),
    );
    drained(env, new.as_ref()).await?;
    let keeps_all = stack.part(Component::OtelCollector)?.kind == PartKind::StatefulSet;
    // What may be lost is not waited for as long.
    let deadline = if keeps_all { READ } else { PAUSE * 5 };
    let read = read_back(&access.tempo, &mut ledger, deadline, &env.cancel).await;
    env.cancel.check()?;
    let gap = f64::from(ledger.longest_gap_ms());
    env.recorder.measured(
        format!("{what}: longest time without an acknowledgement"),
        gap,
        "ms",
        "",
    );
    if keeps_all {
        read?;
        return judge_ledger(env, &what, &ledger);
    }
    report(env, &what, &ledger, read.err());
    Ok(())
}

/// What nobody judges need not be read to the last span: it counts as lost, and why it wasn't read is told.
fn report(env: &Env, what: &str, ledger: &Ledger, unread: Option<anyhow::Error>) {
    let summary = ledger.summary();
    let unread = unread.map(|error| format!("; {error:#}")).unwrap_or_default();
    let detail = format!(
        "of {} acknowledged; what waits in an emptyDir may go with its pod{unread}",
        summary.acked
    );
    let ok = summary.acked > 0;
    env.recorder.measure(
        format!("{what}: lost with the pod"),
        summary.lost as f64,
        "spans",
        ok,
        detail,
    );
}

async fn old_trace(env: &Env, lab: &Lab<'_>, queue: Queue, mode: &str, sample: &Sample) -> Result<()> {
    let stack = lab.cluster.attach(&lab.namespace, RELEASE).await?;
    let waited = found(env, stack.as_ref(), sample).await;
    let detail = waited
        .as_ref()
        .map_or_else(|e| format!("{e:#}"), |t| format!("after {} ms", t.as_millis()));
    env.recorder.check(
        format!("{}, {mode}: old traces are found", queue.what),
        waited.is_ok(),
        detail,
    );
    Ok(())
}

/// An upgrade rolls the pods that it concerns and no others.
async fn rolls(env: &Env, lab: &Lab<'_>, queue: Queue, values: &Value) -> Result<()> {
    let cases: [(&str, &str, &[Component]); 3] = [
        ("an unchanged upgrade", "{}", &[]),
        (
            "a changed configuration of Tempo",
            "{tempo: {logLevel: warn}}",
            &[Component::Tempo],
        ),
        (
            "a changed configuration of the Collector",
            "{tempo: {logLevel: warn}, otelCollector: {logLevel: warn}}",
            &[Component::OtelCollector],
        ),
    ];
    apply(lab, values, "{}").await?;
    for (what, change, concerned) in cases {
        let before = uids(lab).await?;
        apply(lab, values, change).await?;
        let after = uids(lab).await?;
        let rolled: Vec<Component> = Component::ALL
            .into_iter()
            .filter(|c| before.get(c) != after.get(c))
            .collect();
        env.recorder.check(
            format!("{}: {what} rolls what it concerns", queue.what),
            rolled == concerned,
            format!("rolled {rolled:?}"),
        );
    }
    Ok(())
}

/// Upgrades to these charts with a change of the values.
async fn apply(lab: &Lab<'_>, values: &Value, change: &str) -> Result<()> {
    let mut values = values.clone();
    charts::render::merge(&mut values, super::super::values(change)?);
    let upgrade = ["upgrade", RELEASE, "./tempo-stack", "--reset-values"];
    lab.run(lab.helm_with(&upgrade, &values)?).await?;
    lab.cluster
        .attach(&lab.namespace, RELEASE)
        .await?
        .wait_ready(READY)
        .await
}

async fn uids(lab: &Lab<'_>) -> Result<BTreeMap<Component, String>> {
    let stack: std::sync::Arc<ClusterStack> = lab.cluster.attach(&lab.namespace, RELEASE).await?;
    let mut uids = BTreeMap::new();
    for component in Component::ALL {
        let pod = stack.pod(component).await?;
        uids.insert(component, pod.metadata.uid.unwrap_or_default());
    }
    Ok(uids)
}
