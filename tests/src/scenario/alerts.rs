//! `alerts`: the rendered rules in a real Prometheus. Each alert comes from a cause that is made, and goes when the
//! cause is gone: inactive, pending, firing, inactive.

use std::time::{Duration, Instant};

use anyhow::Result;
use charts::render::merge;

use super::metrics::{monitored, target};
use super::{Access, drained, judge_ledger, values};
use crate::backend::prometheus::{WEB_CONFIG, watch, web_config};
use crate::backend::{Component, StackSpec};
use crate::client::load::{Batches, Load};
use crate::client::prometheus::Client;
use crate::client::readback::read_back;
use crate::env::Env;
use crate::wait::{Look, wait_for};

const MIB: u64 = 1 << 20;
const PASSWORD: &str = "e2e-remote-write";
/// What Tempo doesn't know.
const CHANGED: &str = "e2e-changed";
/// The volume: it holds all that the load brings.
const VOLUME: u64 = 512 * MIB;
/// What is taken of it: what is left beside that is less than the reserve of the values.
const TAKEN: u64 = 350 * MIB;
/// Spans per second, of three kilobytes each: few, because each of them is read back.
const RATE: u32 = 300;
const PAYLOAD: usize = 3_000;
const READY: Duration = Duration::from_secs(60);
const READ: Duration = Duration::from_secs(180);
/// How long an alert may take to come or to go, on a busy two-core machine.
const TURN: Duration = Duration::from_secs(90);

const VALUES: &str = "
tempo-stack:
  serviceMonitor: {enabled: true, interval: 1s, scrapeTimeout: 1s}
  prometheusRule:
    enabled: true
    rateWindow: 8s
    for: {default: 2s}
    thresholds: {volumeTrend: 8s, volumeFullWithin: 20s, queueUsedPercent: 50}
  tempo:
    limits: {ingestBytesPerSecond: 2900000}
    disk: {guard: {reserve: 128Mi}}
    metricsGenerator: {enabled: true, collectionInterval: 1s}
  otelCollector: {replicas: 1, queue: {size: 16Mi}}
";

/// Alerts by what causes them.
const NO_LOAD: &[&str] = &["TempoStackNoSpans"];
const WRONG_PASSWORD: &[&str] = &["TempoStackRemoteWriteFailing"];
const NO_TEMPO: &[&str] = &[
    "TempoStackTempoDown",
    "TempoStackNothingSent",
    "TempoStackQueueFilling",
    "TempoStackEnqueueFailed",
    "TempoStackCollectorRefuses",
];
const NO_COLLECTOR: &[&str] = &["TempoStackCollectorDown"];
const NO_ROOM: &[&str] = &["TempoStackVolumeFilling", "TempoStackVolumeRefusing"];

pub(super) async fn run(env: &Env) -> Result<()> {
    let unlimited = env.backend.volumes_are_unlimited();
    let prometheus = env.prometheus(PASSWORD).await?;
    let mut all = values(VALUES)?;
    merge(&mut all, target(prometheus.as_ref())?);
    let stack = env
        .start(&StackSpec {
            volume_bytes: unlimited.is_none().then_some(VOLUME),
            ..monitored(all, PASSWORD)
        })
        .await?;
    stack.wait_ready(READY).await?;
    watch(prometheus.as_ref(), stack.as_ref(), PASSWORD).await?;
    let begun = Instant::now();
    let proof = Proof {
        env,
        client: Client::new(prometheus.as_ref(), PASSWORD),
    };

    proof.end("a stack that is up", &of_causes(unlimited.is_none())).await;
    let calm = Instant::now();
    proof.fire("no load", NO_LOAD).await;
    let access = Access::new(stack.as_ref())?;
    let batches = Batches {
        rate: RATE,
        payload_bytes: PAYLOAD,
        ..Batches::new(env.seed)
    };
    let load = Load::start(access.sender.clone(), batches, env.cancel.clone());
    proof.end("load", NO_LOAD).await;

    prometheus.put(WEB_CONFIG, web_config(CHANGED)?).await?;
    let changed = Proof {
        client: Client::new(prometheus.as_ref(), CHANGED),
        ..proof
    };
    changed.fire("another password of Prometheus", WRONG_PASSWORD).await;
    prometheus.put(WEB_CONFIG, web_config(PASSWORD)?).await?;
    proof.end("the first password", WRONG_PASSWORD).await;

    stack.stop_pod(Component::Tempo).await?;
    proof.fire("no Tempo", NO_TEMPO).await;
    stack.start_pod(Component::Tempo).await?;
    stack.wait_ready(READY).await?;
    proof.end("Tempo again", NO_TEMPO).await;

    stack.stop_pod(Component::OtelCollector).await?;
    proof.fire("no Collector", NO_COLLECTOR).await;
    stack.start_pod(Component::OtelCollector).await?;
    stack.wait_ready(READY).await?;
    proof.end("a Collector again", NO_COLLECTOR).await;

    match &unlimited {
        Some(reason) => env.recorder.skip("a volume that fills up", reason),
        None => {
            stack.take_room(TAKEN).await?;
            proof.fire("a full volume", NO_ROOM).await;
            stack.take_room(0).await?;
            proof.end("room on the volume", NO_ROOM).await;
        }
    }
    proof.healthy().await?;
    // There is no load from the beginning; of the others, what they were while the stack came up doesn't count.
    proof.history(NO_LOAD, begun).await?;
    proof.history(&of_causes(unlimited.is_none()), calm).await?;

    let (mut ledger, _) = load.stop().await?;
    drained(env, stack.as_ref()).await?;
    read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    judge_ledger(env, "load", &ledger)?;
    env.finish(stack).await
}

/// The alerts that what is made during the load causes.
fn of_causes(filled: bool) -> Vec<&'static str> {
    let room = if filled { NO_ROOM } else { &[] };
    [WRONG_PASSWORD, NO_TEMPO, NO_COLLECTOR, room].concat()
}

#[derive(Clone, Copy)]
pub(super) struct Proof<'a> {
    pub env: &'a Env,
    pub client: Client<'a>,
}

impl Proof<'_> {
    /// All of these alerts fire, now that there is their cause.
    pub async fn fire(&self, cause: &str, alerts: &[&str]) {
        self.become_state(cause, alerts, "firing").await;
    }

    /// All of these alerts are inactive, now that the cause is gone.
    pub async fn end(&self, cause: &str, alerts: &[&str]) {
        self.become_state(cause, alerts, "inactive").await;
    }

    /// Waits until all of these alerts are in a state.
    async fn become_state(&self, cause: &str, alerts: &[&str], wanted: &str) {
        let turned = wait_for(wanted, TURN, &self.env.cancel, || async {
            let rules = self.client.rules().await?;
            let state = |alert: &str| rules.iter().find(|rule| rule.name == alert)?.state.as_deref();
            let left: Vec<String> = alerts
                .iter()
                .filter(|alert| state(alert) != Some(wanted))
                .map(|alert| format!("{alert} is {}", state(alert).unwrap_or("not there")))
                .collect();
            Ok(match left.is_empty() {
                true => Look::Found(()),
                false => Look::NotYet(left.join(", ")),
            })
        })
        .await;
        let detail = turned.as_ref().map_or_else(
            |error| format!("{error:#}"),
            |turned| format!("{} after {:.1} s", alerts.join(", "), turned.elapsed.as_secs_f64()),
        );
        let name = format!("{cause}: {wanted}");
        self.env.recorder.check(name, turned.is_ok(), detail);
    }

    /// Prometheus can evaluate every rule.
    async fn healthy(&self) -> Result<()> {
        let rules = self.client.rules().await?;
        let ill: Vec<String> = rules
            .iter()
            .filter(|rule| rule.health != "ok")
            .map(|rule| format!("{}: {} {}", rule.name, rule.health, rule.error))
            .collect();
        self.env.recorder.check(
            "every rule is evaluated",
            !rules.is_empty() && ill.is_empty(),
            format!("{} rules, {}", rules.len(), ill.join(", ")),
        );
        Ok(())
    }

    /// As Prometheus remembers it since then, each alert was pending before it fired.
    async fn history(&self, alerts: &[&str], since: Instant) -> Result<()> {
        let seconds = since.elapsed().as_secs();
        for alert in alerts {
            let first = async |state: &str| {
                let series = format!("ALERTS{{alertname='{alert}',alertstate='{state}'}}");
                let times = format!("min_over_time(timestamp({series})[{seconds}s:1s])");
                self.client.least(&times).await
            };
            let (pending, firing) = (first("pending").await?, first("firing").await?);
            self.env.recorder.check(
                format!("{alert} was pending before it fired"),
                pending.is_some() && pending < firing,
                format!("pending at {pending:?}, firing at {firing:?}"),
            );
        }
        Ok(())
    }
}
