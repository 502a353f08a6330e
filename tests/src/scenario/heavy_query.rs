//! `heavy-query`: queries that want more than Tempo has, several at once and under load, are answered or
//! refused. The small Tempo is not killed for them, and no acknowledged span is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::{Access, drained, judge_ledger, mebibytes, values};
use crate::backend::Component;
use crate::client::engine::Engine;
use crate::client::load::{Batches, Load};
use crate::client::metrics::Scrape;
use crate::client::readback::read_back;
use crate::client::tempo::Client;
use crate::env::Env;
use crate::model::corpus::now_unix_nano;
use crate::model::id::TraceId;
use crate::model::ledger::Ledger;
use crate::model::outcome::Outcome;

/// What the chart derives from so little memory, and nothing else.
const VALUES: &str =
    "{tempo-stack: {tempo: {config: null, query: {timeout: 8s}, resources: {limits: {memory: 512Mi}}}}}";
/// Spans per second, before the queries and beside them.
const RATE: u32 = 3_000;
/// As many as a search is asked to list of one trace.
const SPANS_PER_TRACE: u32 = 50;
/// Long enough for as many traces as a search may list.
const FILL: Duration = Duration::from_secs(10);
/// Spans of the large trace, whose bytes stay below what so little memory allows (4 MiB).
const LARGE: u32 = 16_000;
/// Traces of a search that the chart allows for so little memory, and of one that it doesn't.
const FEW: u32 = 512;
const MANY: u32 = 10_000;
/// The kind of the latter.
const TOO_MUCH: &str = "search for too many traces";
/// Kinds of queries at the same time, and queries of each: more than this Tempo lets wait.
const KINDS: usize = 3;
const PARALLEL: usize = 4;
/// Much longer than the time that Tempo gives a query (`tempo.query.timeout`).
const ANSWERED: Duration = Duration::from_secs(45);
const READ: Duration = Duration::from_secs(120);

pub(super) async fn run(env: &Env) -> Result<()> {
    let engine = env.engine()?;
    let stack = env.ready_stack(values(VALUES)?).await?;
    let mut access = Access::new(stack.as_ref())?;
    access.tempo = access.tempo.finding(FEW);
    let begun = now_unix_nano()? / 1_000_000_000;
    let load = Batches {
        rate: RATE,
        spans_per_trace: SPANS_PER_TRACE,
        traces_per_request: 2,
        ..Batches::new(env.seed)
    };
    let load = Load::start(access.sender.clone(), load, env.cancel.clone());
    tokio::time::sleep(FILL).await;
    let (large, mut large_ledger) = send_large(env, &access).await?;

    let range = [("start", begun.to_string()), ("end", (begun + 3_600).to_string())];
    let mut answers: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for kinds in heavy(engine, large, &range).chunks(KINDS) {
        let mut running = JoinSet::new();
        for (kind, path, query) in kinds {
            for _ in 0..PARALLEL {
                let (tempo, kind, path, query) = (access.tempo.clone(), *kind, path.clone(), query.clone());
                running.spawn(async move { (kind, ask(&tempo, &path, &query).await) });
            }
        }
        while let Some(answer) = running.join_next().await {
            let (kind, answer) = answer.context("a query ended badly")?;
            *answers.entry(kind).or_default().entry(answer).or_default() += 1;
        }
        env.cancel.check()?;
    }
    env.evidence(
        "answers.json",
        serde_json::to_string_pretty(&answers).context("writing JSON")?,
    );
    for (kind, answers) in &answers {
        // What asks for too much is told so; the others are served, or refused for want of room or time.
        let clear: &[&str] = if *kind == TOO_MUCH {
            &["400"]
        } else {
            &["200", "429", "503"]
        };
        env.recorder.check(
            format!("each {kind} is answered or refused"),
            answers.keys().all(|answer| clear.contains(&answer.as_str())),
            format!("{answers:?}"),
        );
    }
    let (mut ledger, pace) = load.stop().await?;
    env.recorder.measured(
        "slowest acknowledgement",
        pace.slowest_ms.round(),
        "ms",
        pace.to_string(),
    );
    drained(env, stack.as_ref()).await?;
    let (_, path, query) = search("", "{}", FEW, &range);
    let alone = ask(&access.tempo, &path, &query).await;
    env.recorder.check("a search alone is answered", alone == "200", alone);
    let memory = stack.memory(Component::Tempo).await?;
    let (peak, limit) = (mebibytes(memory.peak as f64), mebibytes(memory.limit as f64));
    env.recorder.measure(
        "peak memory of tempo",
        peak,
        "MiB",
        peak < limit,
        format!("the limit is {limit} MiB"),
    );
    let crashes = stack.crashes(Component::Tempo).await?;
    env.recorder
        .check("tempo was not killed", crashes == 0, format!("{crashes} crashes"));
    let read = read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    env.recorder.say(format!("read back {read}"));
    judge_ledger(env, "load", &ledger)?;
    read_back(&access.tempo, &mut large_ledger, READ, &env.cancel).await?;
    judge_ledger(env, "large trace", &large_ledger)?;
    let scrape = Scrape::parse(&access.tempo.metrics().await?)?;
    let received = scrape.sum("tempo_distributor_spans_received_total", &[]);
    let discarded = scrape.sum("tempo_discarded_spans_total", &[]).unwrap_or(0.0);
    env.recorder.measure(
        "spans that Tempo discarded",
        discarded,
        "spans",
        discarded == 0.0 && received > Some(0.0),
        format!("of {} that Tempo received", received.unwrap_or(0.0)),
    );
    env.finish(stack).await
}

/// Sends one trace of many spans, and returns its id with the ledger of it.
async fn send_large(env: &Env, access: &Access) -> Result<(TraceId, Ledger)> {
    let batches = Batches {
        spans_per_trace: LARGE,
        traces_per_request: 1,
        ..Batches::new(!env.seed)
    };
    let (traces, ids) = batches.request(0, now_unix_nano()?);
    let mut ledger = Ledger::new(batches.marker.as_str());
    ledger.send_all(&ids);
    let outcome = access.sender.send(batches.door, &traces).await?;
    anyhow::ensure!(
        matches!(outcome, Outcome::Acked { .. }),
        "the large trace was not taken: {outcome:?}"
    );
    let (id, _) = *ids.first().context("a trace has spans")?;
    ledger.settle(&outcome, ids);
    access
        .tempo
        .wait_for_trace(id, LARGE as usize, READ, &env.cancel)
        .await?;
    Ok((id, ledger))
}

/// A query: its name, its path, its parameters.
type Heavy<'a> = (&'static str, String, Vec<(&'a str, String)>);

/// The heaviest queries of each kind.
fn heavy<'a>(engine: Engine, large: TraceId, range: &[(&'a str, String)]) -> Vec<Heavy<'a>> {
    let search = |kind, traceql, limit| search(kind, traceql, limit, range);
    let mut all = vec![
        search(TOO_MUCH, "{}", MANY),
        search("search for all", "{}", FEW),
        search("search by structure", "{} >> {}", FEW),
        search(
            "search that selects",
            "{} | select(span.url.path, span.http.request.method, span.e2e.marker)",
            FEW,
        ),
        search("search by a pattern", "{ span.url.path =~ `.*[x-z]{9}.*` }", FEW),
        (
            "large trace by id",
            format!("{}/{large}", engine.traces_path()),
            Vec::new(),
        ),
        (
            "list of values",
            "api/v2/search/tag/span.e2e.marker/values".to_owned(),
            range.to_vec(),
        ),
    ];
    if engine.answers_metrics() {
        let mut query = range.to_vec();
        query.extend([("q", "{} | rate() by (name)".to_owned()), ("step", "1s".into())]);
        all.push(("metrics query", "api/metrics/query_range".to_owned(), query));
    }
    all
}

fn search<'a>(kind: &'static str, traceql: &str, limit: u32, range: &[(&'a str, String)]) -> Heavy<'a> {
    let mut query = range.to_vec();
    query.extend([
        ("q", traceql.to_owned()),
        ("limit", limit.to_string()),
        ("spss", SPANS_PER_TRACE.to_string()),
    ]);
    (kind, "api/search".to_owned(), query)
}

/// The status of an answer, or why there is none.
async fn ask(tempo: &Client, path: &str, query: &[(&str, String)]) -> String {
    match tempo.ask(path, query, ANSWERED).await {
        Ok((status, _)) => status.to_string(),
        Err(error) => format!("{error:#}"),
    }
}
