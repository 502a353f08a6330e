//! `retention`: traces go when their time is up, and so do their blocks; younger ones stay.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use charts::render::merge;

use super::{Access, values};
use crate::backend::{Component, Stack};
use crate::client::engine::tempo_config;
use crate::client::metrics::Scrape;
use crate::client::tempo::span_count;
use crate::env::Env;
use crate::model::corpus::{Corpus, Sample, now_unix_nano};
use crate::model::door::Door;
use crate::wait::{Look, wait_for};

/// The retention that the scenario sets.
const RETENTION: Duration = Duration::from_secs(45);
/// A trace goes with the youngest of its block, which spans a window of 5 s; the block is marked in the next
/// cycle of 5 s, and readers learn of it with the next poll, 5 s later. A busy machine may be late by as much
/// again: still far from twice the period, or from any other that the chart could have rendered.
const GONE_AT_AGE: Duration = Duration::from_secs(45 + 2 * 15);
/// How long the old trace is asked for, and how long its blocks may take to leave the disk.
const GONE: Duration = Duration::from_secs(150);
const FOUND: Duration = Duration::from_secs(20);
/// A trace that is missing for this long is gone and not on its way from one place to the next.
const FOR_GOOD: Duration = Duration::from_secs(6);

const VALUES: &str = "{tempo-stack: {tempo: {retention: {period: 45s}}}}";

pub(super) async fn run(env: &Env) -> Result<()> {
    let mut wanted = values(VALUES)?;
    merge(&mut wanted, tempo_config(env.engine()?.quick_retention())?);
    let stack = env.ready_stack(wanted).await?;
    let access = Access::new(stack.as_ref())?;

    let old = Corpus::from_now(env.seed)?.sample(0);
    store(env, &access, &old).await?;
    let (begun, age) = (Instant::now(), age(&old)?);
    let blocks = blocks_on_disk(env, stack.as_ref()).await?;
    env.recorder.say(format!(
        "{} blocks on disk after {:.1} s",
        blocks.len(),
        begun.elapsed().as_secs_f64()
    ));

    let Some(watched) = watch(env, &access, &old, begun).await? else {
        env.recorder.check(
            "old traces go",
            false,
            format!("still found after {} s", GONE.as_secs()),
        );
        return env.finish(stack).await;
    };
    let gone_at = watched.gone_after + age;
    let seconds = gone_at.as_secs_f64().round();
    let detail = format!(
        "the age at which it was not found any more; retention {} s, at most {} s",
        RETENTION.as_secs(),
        GONE_AT_AGE.as_secs()
    );
    env.recorder.measure(
        "old traces go, not too early and not too late",
        seconds,
        "s",
        (RETENTION..=GONE_AT_AGE).contains(&gone_at),
        detail,
    );
    let detail = "answers without the trace although its time was not up";
    env.recorder.measured(
        "gaps on the way from ingester to store",
        f64::from(watched.gaps),
        "answers",
        detail,
    );

    let mut kept = 0;
    let mut lost = Vec::new();
    for (sample, at) in watched.young.iter().filter(|(_, at)| at.elapsed() < RETENTION / 2) {
        let age = at.elapsed().as_secs_f64();
        let spans = span_count(&sample.traces);
        // It may be on its way from the ingester to the store, like the old one was.
        match access
            .tempo
            .wait_for_trace(sample.id, spans, FOR_GOOD, &env.cancel)
            .await
        {
            Ok(_) => kept += 1,
            Err(error) => lost.push(format!("{} of {age:.0} s: {error:#}", sample.id)),
        }
    }
    env.recorder.check(
        "young traces stay",
        kept > 0 && lost.is_empty(),
        format!("{kept} kept, lost: {lost:?}"),
    );
    freed(env, stack.as_ref(), &access, &blocks).await?;
    env.finish(stack).await
}

/// What was seen until the old trace went.
struct Watched {
    /// From the storing of the old trace to the first answer without it that stayed so.
    gone_after: Duration,
    /// Answers without it that did not stay so.
    gaps: u32,
    /// Younger traces and when they were stored.
    young: Vec<(Sample, Instant)>,
}

/// Asks for the old trace until it is gone for good; none if it stays. A young trace is sent again and
/// again, so that one is young whenever the old one goes.
async fn watch(env: &Env, access: &Access, old: &Sample, begun: Instant) -> Result<Option<Watched>> {
    let mut young: Vec<(Sample, Instant)> = Vec::new();
    let mut gaps = 0;
    let mut missing_since: Option<Duration> = None;
    while begun.elapsed() < GONE {
        env.cancel.check()?;
        match (access.tempo.trace(old.id).await?, missing_since) {
            (None, None) => missing_since = Some(begun.elapsed()),
            (None, Some(since)) if begun.elapsed() > since + FOR_GOOD => {
                return Ok(Some(Watched {
                    gone_after: since,
                    gaps,
                    young,
                }));
            }
            (Some(_), Some(_)) => {
                gaps += 1;
                missing_since = None;
            }
            _ => {}
        }
        if young.last().is_none_or(|(_, at)| at.elapsed() > RETENTION / 5) {
            // A corpus of its own: retention goes by the spans' own times.
            let sample = Corpus::from_now(env.seed)?.sample(u32::try_from(young.len())? + 1);
            store(env, access, &sample).await?;
            young.push((sample, Instant::now()));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(None)
}

/// The age of a sample as Tempo's retention counts it: from the end of its last span, in whole seconds.
fn age(sample: &Sample) -> Result<Duration> {
    let scopes = sample.traces.resource_spans.iter().flat_map(|r| &r.scope_spans);
    let ends = scopes.flat_map(|s| &s.spans).map(|span| span.end_time_unix_nano);
    let end = Duration::from_nanos(ends.max().context("a sample has spans")?).as_secs();
    let now = Duration::from_nanos(now_unix_nano()?);
    Ok(now.saturating_sub(Duration::from_secs(end)))
}

async fn store(env: &Env, access: &Access, sample: &Sample) -> Result<()> {
    let outcome = access.sender.send(Door::OtlpGrpc, &sample.traces).await?;
    anyhow::ensure!(outcome.is_acked(), "a sample was not taken: {outcome}");
    access
        .tempo
        .wait_for_trace(sample.id, span_count(&sample.traces), FOUND, &env.cancel)
        .await?;
    Ok(())
}

/// The blocks in the store once there is one, by folder.
async fn blocks_on_disk(env: &Env, stack: &dyn Stack) -> Result<Vec<String>> {
    let waited = wait_for("a block on disk", FOUND, &env.cancel, || async {
        let blocks = blocks(stack).await?;
        Ok(if blocks.is_empty() {
            Look::NotYet("no block".into())
        } else {
            Look::Found(blocks)
        })
    })
    .await?;
    Ok(waited.value)
}

async fn blocks(stack: &dyn Stack) -> Result<Vec<String>> {
    let files = stack.files(Component::Tempo, "/var/tempo/blocks").await?;
    let files = files.context("this backend can't look at Tempo's volume")?;
    Ok(files
        .iter()
        .filter_map(|file| file.strip_suffix("/data.parquet"))
        .map(str::to_owned)
        .collect())
}

/// The old blocks' folders go too.
async fn freed(env: &Env, stack: &dyn Stack, access: &Access, old: &[String]) -> Result<()> {
    let freed = wait_for("the old blocks' folders gone", GONE, &env.cancel, || async {
        let left: Vec<String> = blocks(stack)
            .await?
            .into_iter()
            .filter(|block| old.contains(block))
            .collect();
        Ok(if left.is_empty() {
            Look::Found(())
        } else {
            Look::NotYet(format!("still there: {left:?}"))
        })
    })
    .await;
    let deleted = Scrape::parse(&access.tempo.metrics().await?)?.sum("tempodb_retention_deleted_total", &[]);
    let detail = match &freed {
        Ok(_) => format!(
            "{} blocks gone, Tempo counts {} deleted",
            old.len(),
            deleted.unwrap_or(0.0)
        ),
        Err(error) => format!("{error:#}"),
    };
    env.recorder
        .check("blocks leave the disk", freed.is_ok() && deleted > Some(0.0), detail);
    Ok(())
}
