//! `autoscale`: the autoscaler adds Collectors under load and takes them away after it, and no span is lost.
//!
//! A Collector that goes takes its queue along: the claim keeps it until the pod of that number is back. So Tempo
//! is away when the load stops, and the pods go with full queues. After the next load brought them back, they go
//! with Tempo there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::super::{Access, drained, judge_ledger, per_pod};
use super::{Lab, READY, stack_values};
use crate::backend::cluster::ClusterStack;
use crate::backend::{Component, Stack};
use crate::client::load::{Batches, Load};
use crate::client::readback::read_back;
use crate::env::Env;
use crate::model::ledger::Ledger;
use crate::wait::{Look, wait_every};

const RELEASE: &str = "tempo-stack";
const LEAST: usize = 2;
const MOST: usize = 4;
/// A little CPU is a lot here: it scales without a load that the machine feels. Connections are ended soon, so that
/// they reach a new pod soon, and the autoscaler doesn't wait before it takes pods away.
const VALUES: &str = "
otelCollector:
  resources: {requests: {cpu: 20m}}
  receivers: {maxConnectionAge: 5s}
  autoscaling:
    enabled: true
    minReplicas: 2
    maxReplicas: 4
    targetCPUUtilizationPercentage: 60
    behavior: {scaleDown: {stabilizationWindowSeconds: 5}}
";
/// The API of the metrics server.
const METRICS: (&str, &str) = ("metrics.k8s.io/v1beta1", "PodMetrics");
/// Each has a connection of its own.
const CLIENTS: u64 = 4;
/// Spans per second of each client, in small requests: they cost CPU, and few spans are to be read back.
const RATE: u32 = 250;
const TRACES_PER_REQUEST: u32 = 5;
/// CPU is measured every 10 s at best and judged every 15 s, and a pod that is young is left out for a while.
const SCALED: Duration = Duration::from_secs(120);
/// Between two looks at the pods.
const PERIOD: Duration = Duration::from_millis(500);
const READ: Duration = Duration::from_secs(120);
const QUEUED: &str = "otelcol_exporter_queue_size";

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let lab = Lab::open(env, "autoscale").await?;
    if !lab.cluster.connection().knows(METRICS.0, METRICS.1).await? {
        env.recorder.skip("autoscale", "the cluster has no metrics server");
        return lab.close().await;
    }
    lab.run(lab.helm_with(&["install", RELEASE, "./tempo-stack"], &stack_values(env, VALUES)?)?)
        .await?;
    let stack = lab.stack(RELEASE).await?;
    scaled(env, &stack, LEAST, "before the load").await?;

    let first = start(env, &stack, 0)?;
    scaled(env, &stack, MOST, "under load").await?;
    stack.stop_pod(Component::Tempo).await?;
    let queues = wait_every(PERIOD, "a backlog in every Collector", READY, &env.cancel, || async {
        let queues = per_pod(stack.as_ref(), QUEUED).await?;
        Ok(if queues.len() == MOST && queues.values().all(|bytes| *bytes > 0.0) {
            Look::Found(queues)
        } else {
            Look::NotYet(format!("{queues:?}"))
        })
    })
    .await?
    .value;
    let mut ledgers = stop(first).await?;
    scaled(env, &stack, LEAST, "after the load, while Tempo is away").await?;
    let stay = stack.pod_names(Component::OtelCollector).await?;
    let gone: f64 = queues
        .iter()
        .filter(|(pod, _)| !stay.contains(pod))
        .map(|(_, bytes)| bytes)
        .sum();
    env.recorder.measure(
        "waiting in the queues of the pods that went",
        gone,
        "bytes",
        gone > 0.0,
        format!("{queues:?}; {stay:?} stayed"),
    );
    stack.start_pod(Component::Tempo).await?;
    stack.wait_ready(READY).await?;

    let second = start(env, &stack, CLIENTS)?;
    scaled(env, &stack, MOST, "under the next load").await?;
    ledgers.extend(stop(second).await?);
    drained(env, stack.as_ref()).await?;
    scaled(env, &stack, LEAST, "after it").await?;
    drained(env, stack.as_ref()).await?;
    let access = Access::new(stack.as_ref())?;
    for (n, ledger) in ledgers.iter_mut().enumerate() {
        read_back(&access.tempo, ledger, READ, &env.cancel).await?;
        judge_ledger(env, &format!("load {}", n + 1), ledger)?;
    }
    env.finish(stack).await
}

/// Waits until there are so many Collectors, all ready and none on its way out.
async fn scaled(env: &Env, stack: &ClusterStack, pods: usize, when: &str) -> Result<()> {
    let begun = Instant::now();
    let waited = wait_every(
        PERIOD,
        &format!("{pods} Collectors {when}"),
        SCALED,
        &env.cancel,
        || async {
            let found = stack.pod_names(Component::OtelCollector).await?.len();
            Ok(if found == pods {
                Look::Found(())
            } else {
                Look::NotYet(format!("{found} Collectors"))
            })
        },
    )
    .await;
    let seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    let detail = waited
        .as_ref()
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    env.recorder.measure(
        format!("{pods} Collectors {when}"),
        seconds,
        "s",
        waited.is_ok(),
        detail,
    );
    waited?;
    stack.wait_ready(READY).await
}

fn start(env: &Env, stack: &ClusterStack, seed: u64) -> Result<Vec<Load>> {
    (seed..seed + CLIENTS)
        .map(|n| {
            let batches = Batches {
                rate: RATE,
                traces_per_request: TRACES_PER_REQUEST,
                ..Batches::new(env.seed.wrapping_add(n))
            };
            Ok(Load::start(Access::new(stack)?.sender, batches, env.cancel.clone()))
        })
        .collect()
}

async fn stop(loads: Vec<Load>) -> Result<Vec<Ledger>> {
    let mut ledgers = Vec::new();
    for load in loads {
        ledgers.push(load.stop().await.context("stopping a load")?.0);
    }
    Ok(ledgers)
}
