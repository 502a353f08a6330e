//! `cache`: memcached between Tempo and a bucket.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use charts::render::merge;
use kit::step::Runner;
use tokio::task::spawn_blocking;

use crate::backend::Stack;
use crate::client::engine::tempo_config;
use crate::client::install::{Missing, Program, version};
use crate::client::tempo::{Search, span_count};
use crate::env::Env;
use crate::model::corpus::{Corpus, Sample, now_unix_nano};
use crate::scenario::stores::store::{Example, SECRET_KEY, found, stored};
use crate::scenario::{Access, values};
use crate::wait::{Look, wait_for};

const READY: Duration = Duration::from_secs(60);
const HIT: Duration = Duration::from_secs(30);
/// Queries of each kind while memcached is gone; more than make Tempo leave it out.
const QUERIES: usize = 12;
/// A cache that hangs would cost each of several reads its timeout.
const SLOW: Duration = Duration::from_secs(5);

const MEMCACHED: Program = Program {
    name: "memcached",
    version: &["--version"],
    at_least: (1, 5),
    package: "memcached",
};

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    let runner = Runner::new(env.cancel.clone(), false);
    let asked = spawn_blocking(move || version(&runner, &MEMCACHED)).await;
    if let Err(Missing(why)) = asked.context("asking memcached for its version")?? {
        env.recorder.skip("memcached between Tempo and a bucket", why);
        return Ok(());
    }
    let example = Example::read(env)?;
    let server = example.server(env).await?;
    let memcached = env.backend.memcached().await?;
    let plain = example.values(server.as_ref(), &example.bucket)?;
    let sample = Corpus::from_now(env.seed)?.sample(0);
    let writes = env.start(&example.spec(plain.clone(), SECRET_KEY)).await?;
    writes.wait_ready(READY).await?;
    stored(env, writes.as_ref(), server.as_ref(), &sample).await?;
    env.finish(writes).await?;

    // Another release, which has nothing but the bucket, and asks it for the youngest too.
    let mut cached = plain;
    let cache = format!("{{memcached: {{addresses: ['{}']}}}}", memcached.address());
    merge(
        &mut cached,
        values(&format!("{{tempo-stack: {{tempo: {{cache: {cache}}}}}}}"))?,
    );
    merge(
        &mut cached,
        tempo_config("{query_frontend: {search: {query_backend_after: 0s}}}")?,
    );
    let reads = env.start(&example.spec(cached, SECRET_KEY)).await?;
    reads.wait_ready(READY).await?;
    found(
        env,
        reads.as_ref(),
        &sample,
        "a fresh Tempo with a cache finds the old traces",
    )
    .await?;
    let before = memcached.hits().await?;
    let rise = wait_for("an answer of memcached", HIT, &env.cancel, || async {
        ask(reads.as_ref(), &sample).await?;
        Ok(match memcached.hits().await? - before {
            0 => Look::NotYet("memcached had nothing that it was asked for".into()),
            more => Look::Found(more),
        })
    })
    .await;
    let detail = rise.as_ref().map_or_else(
        |error| format!("{error:#}"),
        |rise| format!("{} more hits after {:.1} s", rise.value, rise.elapsed.as_secs_f64()),
    );
    env.recorder
        .check("memcached answers for the bucket", rise.is_ok(), detail);

    memcached.kill().await?;
    let mut slowest = Duration::ZERO;
    let mut failed = Vec::new();
    for _ in 0..QUERIES {
        let begun = Instant::now();
        if let Err(error) = ask(reads.as_ref(), &sample).await {
            failed.push(format!("{error:#}"));
        }
        slowest = slowest.max(begun.elapsed());
    }
    env.recorder.check(
        "without memcached every query is answered",
        failed.is_empty() && slowest < SLOW,
        format!(
            "{QUERIES} by id and {QUERIES} searches, the slowest pair in {} ms, failed: {failed:?}",
            slowest.as_millis()
        ),
    );
    env.finish(reads).await
}

/// Asks for the trace by its id and by a search; an error if either answers without it.
async fn ask(stack: &dyn Stack, sample: &Sample) -> Result<()> {
    let tempo = Access::new(stack)?.tempo;
    let trace = tempo.trace(sample.id).await?.context("by id it isn't found")?;
    let (has, sent) = (span_count(&trace), span_count(&sample.traces));
    anyhow::ensure!(has == sent, "by id it has {has} of {sent} spans");
    let now = now_unix_nano()? / 1_000_000_000;
    let hits = tempo.search(&Search::new("{}").between(now - 3600, now + 60)).await?;
    anyhow::ensure!(
        hits.iter().any(|hit| hit.id == sample.id),
        "a search finds {} traces without it",
        hits.len()
    );
    Ok(())
}
