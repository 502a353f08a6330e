//! How long it takes until a trace that was acknowledged is found, by its id and by a search.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::step::Cancel;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::client::load::Batches;
use crate::client::send::Sender;
use crate::client::tempo::{Client, Search};
use crate::model::corpus::{SPAN_MARKER, now_unix_nano};
use crate::model::door::Door;
use crate::model::id::TraceId;
use crate::wait::{Look, wait_every};

/// Traces that are looked for: as many as the slowest hundredth needs.
const PROBES: u64 = 100;
/// Spans of each.
pub(super) const SPANS: u64 = 2;
/// From one to the next: they come at every phase of Tempo's periods.
const EVERY: Duration = Duration::from_millis(95);
/// Between two reads by id of a trace, and between two searches: a figure is this much too high at most.
const BY_ID_PERIOD: Duration = Duration::from_millis(25);
const SEARCH_PERIOD: Duration = Duration::from_millis(100);
/// How long a trace may take. Tempo 3.0 by itself hides the last half minute from searches.
const FOUND: Duration = Duration::from_secs(90);
/// Seconds before the first probe and after the last that a search looks at: their clocks are the same.
const AROUND: u64 = 60;

/// How long all of it takes unless traces are found late.
pub(super) const TAKES: Duration = EVERY.saturating_mul(PROBES as u32);

/// Seconds from the acknowledgement of each probe.
pub(super) struct Found {
    pub by_id: Vec<f64>,
    pub by_search: Vec<f64>,
}

/// When each probe was acknowledged, and when a search found it.
#[derive(Default)]
struct Board {
    acknowledged: BTreeMap<TraceId, Instant>,
    searched: BTreeMap<TraceId, Duration>,
}

/// Sends traces of two spans one by one, and looks for each of them. An error if one isn't acknowledged or found.
pub(super) async fn find(sender: &Sender, tempo: &Client, seed: u64, cancel: &Cancel) -> Result<Found> {
    let probes = Batches {
        spans_per_trace: SPANS as u32,
        traces_per_request: 1,
        ..Batches::new(seed)
    };
    let board = Arc::new(Mutex::new(Board::default()));
    let (by_id, ()) = tokio::try_join!(
        send(sender, tempo, &probes, &board, cancel),
        search(tempo, &probes.marker, &board, cancel)
    )?;
    let board = board.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Found {
        by_id,
        by_search: board.searched.values().map(Duration::as_secs_f64).collect(),
    })
}

/// Sends the probes and reads each by its id until it is there.
async fn send(
    sender: &Sender,
    tempo: &Client,
    probes: &Batches,
    board: &Arc<Mutex<Board>>,
    cancel: &Cancel,
) -> Result<Vec<f64>> {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reads = JoinSet::new();
    for n in 0..PROBES {
        ticks.tick().await;
        let (traces, ids) = probes.request(n, now_unix_nano()?);
        let (trace, _) = *ids.first().context("a probe without spans")?;
        let (sender, tempo, board, cancel) = (sender.clone(), tempo.clone(), Arc::clone(board), cancel.clone());
        reads.spawn(async move {
            let outcome = sender.send(Door::OtlpGrpc, &traces).await?;
            anyhow::ensure!(outcome.is_acked(), "a probe was {outcome}");
            let acknowledged = Instant::now();
            let entry = |board: &mut Board| board.acknowledged.insert(trace, acknowledged);
            entry(&mut board.lock().unwrap_or_else(PoisonError::into_inner));
            let what = format!("the probe {trace} by its id");
            wait_every(BY_ID_PERIOD, &what, FOUND, &cancel, || async {
                Ok(match tempo.trace(trace).await? {
                    Some(_) => Look::Found(()),
                    None => Look::NotYet("no such trace".into()),
                })
            })
            .await?;
            Ok::<_, anyhow::Error>(acknowledged.elapsed().as_secs_f64())
        });
    }
    let mut seconds = Vec::new();
    while let Some(read) = reads.join_next().await {
        seconds.push(read.context("a probe ended badly")??);
    }
    Ok(seconds)
}

/// Searches for all probes at once until each was found, and notes when each was found first.
async fn search(tempo: &Client, marker: &str, board: &Mutex<Board>, cancel: &Cancel) -> Result<()> {
    let begun = now_unix_nano()? / 1_000_000_000;
    let traceql = format!("{{ span.{SPAN_MARKER} = {marker:?} }}");
    let limit = u32::try_from(PROBES).context("the number of probes")?;
    wait_every(SEARCH_PERIOD, "all probes by search", TAKES + FOUND, cancel, || async {
        let now = now_unix_nano()? / 1_000_000_000;
        let search = Search::new(&traceql).between(begun - AROUND, now + AROUND).limit(limit);
        let found = tempo.search(&search).await?;
        let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
        for trace in found {
            // What is found before its answer came counts from the answer on, with the next search.
            if let Some(acknowledged) = board.acknowledged.get(&trace.id) {
                let elapsed = acknowledged.elapsed();
                board.searched.entry(trace.id).or_insert(elapsed);
            }
        }
        let (found, all) = (board.searched.len(), board.acknowledged.len());
        Ok(if found as u64 == PROBES {
            Look::Found(())
        } else {
            Look::NotYet(format!("{found} of {all}"))
        })
    })
    .await?;
    Ok(())
}
