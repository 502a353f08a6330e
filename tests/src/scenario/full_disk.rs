//! `full-disk`: the volume of Tempo fills up under load, and nothing that was acknowledged is lost.
//!
//! Tempo itself loses what it acknowledges once its volume is full, without an error to the client. The chart's
//! container beside it has it refuse spans before. Chosen by name, the same load fills a volume without that
//! container, and what is lost is counted.

use std::time::Duration;

use anyhow::{Context, Result};
use charts::render::merge;

use super::{Access, drained, judge_ledger, values};
use crate::backend::{Component, Stack, StackSpec};
use crate::client::credentials::http_client;
use crate::client::load::{Batches, Load};
use crate::client::metrics::Scrape;
use crate::client::readback::read_back;
use crate::env::Env;
use crate::model::ledger::Ledger;
use crate::wait::{Look, wait_for};

const MIB: u64 = 1 << 20;
/// The volume.
const VOLUME: u64 = 256 * MIB;
/// What is taken of it at first, so that the load fills the rest within half a minute.
const TAKEN: u64 = 192 * MIB;
/// The reserve holds what comes in until Tempo refuses, which takes it up to 14 s. The queue is so small that
/// clients are refused soon after.
const VALUES: &str = "{tempo-stack: {tempo: {limits: {ingestBytesPerSecond: 2900000}, disk: {guard: {reserve: 40Mi}}}, otelCollector: {replicas: 1, queue: {size: 16Mi}}}}";
const UNGUARDED: &str = "{tempo-stack: {tempo: {disk: {guard: {enabled: false}}}}}";
/// Spans per second, of two kilobytes each: few, because each of them is read back.
const RATE: u32 = 700;
const PAYLOAD: usize = 2_000;
/// How long the volume and then the queue may take to fill up, on a busy two-core machine.
const FILLED: Duration = Duration::from_secs(120);
/// The load after the volume is full, without the guard.
const BEYOND: Duration = Duration::from_secs(10);
const READY: Duration = Duration::from_secs(60);
const READ: Duration = Duration::from_secs(180);

pub(super) async fn run(env: &Env) -> Result<()> {
    if let Some(reason) = env.backend.volumes_are_unlimited() {
        env.recorder.skip("a volume that fills up", reason);
        return Ok(());
    }
    guarded(env).await?;
    // What fills an emptyDir in a cluster is evicted.
    if env.full && env.backend.cluster().is_none() {
        unguarded(env).await?;
    }
    Ok(())
}

async fn guarded(env: &Env) -> Result<()> {
    let (stack, access, load) = start(env, VALUES).await?;
    let refusing = filled(env, "a Tempo that refuses spans", || async {
        let refusing = refused(&access).await? > 0.0;
        Ok(refusing.then(|| "Tempo refuses spans".to_owned()))
    })
    .await;
    let free = told(stack.as_ref()).await?;
    env.recorder.check(
        "Tempo refuses spans before its volume is full",
        refusing.is_ok(),
        refusing.unwrap_or_else(|error| format!("{error:#}")),
    );
    match free {
        Some(scrape) => tell_room(env, &scrape)?,
        None => env.recorder.skip(
            "the room on the volume as a metric",
            "this machine has no busybox, whose httpd shows it",
        ),
    }

    // From here on spans wait, until the queue is full as well.
    let client = filled(env, "a client that is refused", || async {
        let summary = load.ledger().summary();
        Ok((summary.refused > 0).then(|| summary.to_string()))
    })
    .await;
    env.recorder.check(
        "clients are refused once the queue is full as well",
        client.is_ok(),
        client.unwrap_or_else(|error| format!("{error:#}")),
    );
    // Blocks are written from the log although spans are refused, and need room of their own.
    if env.engine()?.can_flush() {
        access.tempo.flush().await?;
    }
    let (mut ledger, _) = load.stop().await?;

    stack.take_room(0).await?;
    let begun = std::time::Instant::now();
    drained(env, stack.as_ref()).await?;
    env.recorder.measured(
        "from room on the volume to an empty queue",
        begun.elapsed().as_secs_f64().round(),
        "s",
        "by itself",
    );
    read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    judge_ledger(env, "a volume that was full", &ledger)?;
    let crashes = stack.crashes(Component::Tempo).await?;
    env.recorder
        .check("Tempo never crashed", crashes == 0, format!("{crashes} crashes"));
    env.finish(stack).await
}

/// The same without the guard: what is lost is counted, and nothing is judged but that the volume was full.
async fn unguarded(env: &Env) -> Result<()> {
    let (stack, access, load) = start(env, UNGUARDED).await?;
    let full = filled(env, "a full volume", || async {
        let log = stack.logs(Component::Tempo).await?;
        Ok(log
            .lines()
            .find(|line| line.contains("no space left on device"))
            .map(str::to_owned))
    })
    .await;
    let shown = full.as_ref().map_or_else(|error| format!("{error:#}"), String::clone);
    env.recorder.check("the volume is full", full.is_ok(), shown);
    tokio::time::sleep(BEYOND).await;
    let (mut ledger, _): (Ledger, _) = load.stop().await?;
    let refused = ledger.summary().refused;
    stack.take_room(0).await?;
    stack.wait_ready(READY).await?;
    drained(env, stack.as_ref()).await?;
    read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    let summary = ledger.summary();
    env.recorder.measured(
        "acknowledged spans lost without the guard",
        summary.lost as f64,
        "spans",
        format!("{summary}; clients were refused {refused} spans"),
    );
    env.finish(stack).await
}

async fn start(env: &Env, wanted: &str) -> Result<(std::sync::Arc<dyn Stack>, Access, Load)> {
    let mut all = values("{tempo-stack: {otelCollector: {replicas: 1}}}")?;
    merge(&mut all, values(wanted)?);
    let spec = StackSpec {
        volume_bytes: Some(VOLUME),
        ..StackSpec::new(all)
    };
    let stack = env.start(&spec).await?;
    stack.wait_ready(READY).await?;
    stack.take_room(TAKEN).await?;
    let access = Access::new(stack.as_ref())?;
    let batches = Batches {
        rate: RATE,
        payload_bytes: PAYLOAD,
        ..Batches::new(env.seed)
    };
    let load = Load::start(access.sender.clone(), batches, env.cancel.clone());
    Ok((stack, access, load))
}

/// Waits until something is seen under load, and says what.
async fn filled<F>(env: &Env, what: &str, look: impl Fn() -> F) -> Result<String>
where
    F: Future<Output = Result<Option<String>>>,
{
    let seen = wait_for(what, FILLED, &env.cancel, || async {
        Ok(look()
            .await?
            .map_or_else(|| Look::NotYet("not yet".into()), Look::Found))
    })
    .await?;
    Ok(format!("{} after {:.1} s", seen.value, seen.elapsed.as_secs_f64()))
}

/// Spans that Tempo refused because of its rate limit.
async fn refused(access: &Access) -> Result<f64> {
    let scrape = Scrape::parse(&access.tempo.metrics().await?)?;
    let refused = scrape.sum("tempo_discarded_spans_total", &[("reason", "rate_limited")]);
    Ok(refused.unwrap_or(0.0))
}

/// What the container beside Tempo tells; none if it can't be asked.
async fn told(stack: &dyn Stack) -> Result<Option<Scrape>> {
    let url = format!(
        "{}/metrics.txt",
        stack.endpoints().url(Component::Tempo, "disk-metrics")?
    );
    let Ok(response) = http_client()?.get(&url).send().await else {
        return Ok(None);
    };
    let text = response.text().await.with_context(|| format!("reading {url}"))?;
    Scrape::parse(&text).map(Some)
}

/// The container's figures are those of the volume.
fn tell_room(env: &Env, scrape: &Scrape) -> Result<()> {
    let of = |name: &str| scrape.sum(name, &[]).with_context(|| format!("{name} is missing"));
    let (size, free) = (of("tempo_volume_size_bytes")?, of("tempo_volume_free_bytes")?);
    let refusing = of("tempo_volume_refusing")?;
    env.recorder.check(
        "the room on the volume as a metric",
        size == VOLUME as f64 && free > 0.0 && free < of("tempo_volume_reserve_bytes")? && refusing == 1.0,
        format!("{free} of {size} bytes are free, refusing {refusing}"),
    );
    Ok(())
}
