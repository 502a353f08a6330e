//! A long load on one stack, on which something breaks every minute.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::step::Cancel;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use super::inject::Site;
use super::report::{MemoryTrend, Report, SoakFault, SoakReport};
use super::run::{batches, cannot, happen, recovered, site};
use super::table::SMALL_TRACES;
use super::track::{Found, Tracker};
use super::{ALL, Row, SETUP, Setup};
use crate::backend::{Component, Stack, resident_memory};
use crate::client::load::Load;
use crate::client::readback::read_by_id;
use crate::client::tempo::Client;
use crate::env::{Env, Shared};
use crate::model::id::TraceId;
use crate::scenario::drained;
use crate::wait::cancelled;

/// Half of the 2,000 spans/s that the scenarios hold a stack of the defaults to.
const RATE: u32 = 1_000;
/// Between two samples of memory.
const SAMPLES: Duration = Duration::from_secs(15);
/// A soak below this says nothing about memory: Tempo's grows until its blocks are merged the first time.
const TELLING: Duration = Duration::from_secs(20 * 60);
/// The least time between the end of one fault and the next.
const CALM: Duration = Duration::from_secs(10);
/// How long what is missing at the end is looked for.
const READ: Duration = Duration::from_secs(60);
/// By so much the last quarter may be above the second: 6/5, and so many bytes.
const GROWTH: (u64, u64) = (120, 100);
const GROWTH_BYTES: u64 = 16 << 20;

/// Blocks go to a bucket, so that its faults fit; few of them, because a search reads all.
const STACK: Setup = Setup {
    store: true,
    values: SMALL_TRACES,
    block_seconds: 20,
    rate: RATE,
    ..SETUP
};

/// What to do for how long.
pub struct Soak {
    /// How long the load lasts.
    pub duration: Duration,
    /// From the start of one fault to that of the next.
    pub every: Duration,
}

/// Runs the soak. On Ctrl-C what is dropped is stopped.
pub async fn soak(shared: &Arc<Shared>, plan: &Soak) -> Result<Report> {
    let begun = Instant::now();
    let env = Env::new("soak", shared);
    env.forget_evidence();
    let outcome = tokio::select! {
        outcome = drive(&env, plan) => outcome,
        () = cancelled(&env.cancel) => Err(Failure::interrupted()),
    };
    let kept = outcome.as_ref().is_ok_and(|soak| soak.kept);
    let detail = match &outcome {
        Ok(soak) => soak.broken.join("; "),
        Err(error) => format!("{error:#}"),
    };
    env.recorder.check("soak", kept, detail);
    if !env.cancel.is_cancelled() {
        if env.recorder.failed() {
            env.tell_evidence().await;
        }
        env.clean_up().await;
    }
    let soak = outcome?;
    let happened = soak.faults.iter().filter(|fault| fault.proof.is_some()).count();
    Ok(Report {
        backend: shared.backend.name().into(),
        versions: shared.backend.versions(),
        seed: shared.seed,
        quick: false,
        seconds: begun.elapsed().as_secs_f64(),
        happened,
        broken: soak.faults.len() - happened,
        skipped: 0,
        faults: Vec::new(),
        soak: Some(soak),
    })
}

async fn drive(env: &Env, plan: &Soak) -> Result<SoakReport> {
    let mut random = StdRng::seed_from_u64(env.seed);
    let mut site = site(env, &STACK, random.random()).await?;
    let load = Load::start(
        site.access.sender.clone(),
        batches(&STACK, env.seed),
        env.cancel.clone(),
    );
    let tracker = Tracker::start(
        &load,
        &site.access.tempo,
        Found::Forgotten,
        random.random(),
        &env.cancel,
    );
    let memory = Memory::start(&site.stack);
    let begun = Instant::now();
    let mut rows = Bag::new(
        ALL.iter()
            .filter(|row| row.soak && cannot(env, row).is_none())
            .collect(),
    );
    anyhow::ensure!(!rows.all.is_empty(), "no fault fits a soak on this backend");

    let mut faults = Vec::new();
    let mut next = plan.every.min(CALM);
    while next + CALM < plan.duration {
        tokio::time::sleep(next.saturating_sub(begun.elapsed())).await;
        let row = rows.draw(&mut random);
        let fault = break_once(&mut site, row, begun).await;
        env.recorder.say(told(&fault));
        faults.push(fault);
        next = (next + plan.every).max(begun.elapsed() + CALM);
    }
    tokio::time::sleep(plan.duration.saturating_sub(begun.elapsed())).await;
    let memory = memory.stop(begun.elapsed());
    let (_, pace) = load.stop().await?;
    drained(env, site.stack.as_ref()).await?;
    let outcome = tracker.finish(READ).await?;
    let lost = serde_json::to_string_pretty(&(&outcome.summary, outcome.ledger.lost())).context("writing JSON")?;
    env.evidence("ledger.json", lost);
    let gone = gone(&site.access.tempo, &outcome.sample, &env.cancel).await?;

    let mut report = SoakReport {
        seconds: pace.seconds,
        rate: pace.rate,
        kept: false,
        broken: Vec::new(),
        lost_at_most: faults.iter().map(|fault| fault.lost_at_most).sum(),
        checked_again: outcome.sample.len() as u64,
        gone,
        spans: outcome.summary.into(),
        late: outcome.late,
        faults,
        memory,
    };
    report.broken = broken(&report);
    let left = (pace.rate * pace.seconds).floor() as u64;
    if report.spans.sent < left {
        let sent = report.spans.sent;
        report.broken.push(format!(
            "the ledger has {sent} of {left} spans that left: it proves nothing"
        ));
    }
    report.kept = report.broken.is_empty();
    Ok(report)
}

/// Everything that a soak must not show.
fn broken(report: &SoakReport) -> Vec<String> {
    let mut broken = Vec::new();
    let spans = &report.spans;
    if spans.acknowledged == 0 {
        broken.push("no span was acknowledged, which proves nothing".to_owned());
    }
    if spans.lost > report.lost_at_most {
        broken.push(format!(
            "{} acknowledged spans were lost, of at most {}",
            spans.lost, report.lost_at_most
        ));
    }
    if report.gone > 0 {
        broken.push(format!("{} traces were found once and are gone", report.gone));
    }
    let bad = report.faults.iter().filter(|fault| !fault.detail.is_empty());
    broken.extend(bad.map(|fault| format!("{} after {:.0} s: {}", fault.name, fault.at, fault.detail)));
    let growing = report.memory.iter().filter(|trend| trend.flat == Some(false));
    broken.extend(growing.map(|trend| format!("the memory of {} grows", trend.process)));
    broken
}

async fn break_once(site: &mut Site<'_>, row: &Row, begun: Instant) -> SoakFault {
    let mut fault = SoakFault {
        at: begun.elapsed().as_secs_f64(),
        name: row.name.into(),
        proof: None,
        recovered_seconds: None,
        lost_at_most: 0,
        detail: String::new(),
    };
    let Some(make) = row.make else {
        fault.detail = "it can't be made".into();
        return fault;
    };
    let mut injection = make();
    let made = happen(site, injection.as_mut(), row.setup.hold).await;
    // Also if it went wrong half way: what it cost then is its own.
    fault.lost_at_most = row.promise.at_most(RATE, injection.destroyed());
    let outcome = async {
        let made = made?;
        fault.proof = made.proof.as_ref().ok().cloned();
        fault.recovered_seconds = Some(
            recovered(site, injection.as_ref(), made.ended)
                .await
                .context("the stack didn't recover")?,
        );
        made.proof.context("nothing shows that it happened")
    };
    if let Err(error) = outcome.await {
        fault.detail = format!("{error:#}");
    }
    fault
}

fn told(fault: &SoakFault) -> String {
    let recovered = fault
        .recovered_seconds
        .map_or_else(String::new, |seconds| format!("recovered in {seconds:.1} s; "));
    let proof = fault.proof.as_deref().unwrap_or("not proved");
    format!("{}: {recovered}{proof} {}", fault.name, fault.detail)
        .trim_end()
        .to_owned()
}

/// How many of these traces are not there.
async fn gone(client: &Client, traces: &[TraceId], cancel: &Cancel) -> Result<u64> {
    let traces: Vec<(u64, TraceId)> = traces.iter().map(|trace| (0, *trace)).collect();
    let mut gone = 0;
    for read in read_by_id(client, &traces, Instant::now() + READ, cancel).await? {
        let (_, spans) = read.map_err(|error| anyhow::anyhow!("looking again for a trace: {error}"))?;
        gone += u64::from(spans.is_empty());
    }
    Ok(gone)
}

/// Faults in random order, each as often as any other.
struct Bag {
    all: Vec<&'static Row>,
    left: Vec<&'static Row>,
}

impl Bag {
    fn new(all: Vec<&'static Row>) -> Bag {
        Bag { all, left: Vec::new() }
    }

    fn draw(&mut self, random: &mut StdRng) -> &'static Row {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.left.shuffle(random);
        }
        // It was filled if it was empty, and the caller has seen that there are faults.
        self.left.pop().unwrap_or(&ALL[0])
    }
}

type Samples = BTreeMap<String, Vec<(f64, u64)>>;

/// Samples of the resident memory of every process. Dropping it ends the sampling.
struct Memory {
    samples: Arc<Mutex<Samples>>,
    _task: JoinSet<()>,
}

impl Memory {
    fn start(stack: &Arc<dyn Stack>) -> Memory {
        let samples: Arc<Mutex<Samples>> = Arc::default();
        let (stack, shared) = (Arc::clone(stack), Arc::clone(&samples));
        let begun = Instant::now();
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                tokio::time::sleep(SAMPLES).await;
                let at = begun.elapsed().as_secs_f64();
                for (process, bytes) in resident(stack.as_ref()).await {
                    let mut all = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    all.entry(process).or_default().push((at, bytes));
                }
            }
        });
        Memory { samples, _task: task }
    }

    fn stop(self, lasted: Duration) -> Vec<MemoryTrend> {
        let samples = std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner));
        let trends = samples.into_iter();
        trends
            .map(|(process, samples)| trend(process, samples, lasted))
            .collect()
    }
}

/// The resident memory of what runs now. A process that ended a moment ago has none.
async fn resident(stack: &dyn Stack) -> Vec<(String, u64)> {
    let mut processes = vec![("harness".to_owned(), "self".to_owned())];
    for component in Component::ALL {
        let pids = stack.pids(component).await.unwrap_or_default();
        processes.extend(pids.into_iter().map(|(pod, pid)| (pod, pid.to_string())));
    }
    let size = |pid: &str| {
        let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("status")).ok()?;
        resident_memory(&status).ok()
    };
    let sizes = processes.into_iter();
    sizes.filter_map(|(name, pid)| Some((name, size(&pid)?))).collect()
}

fn trend(process: String, samples: Vec<(f64, u64)>, lasted: Duration) -> MemoryTrend {
    let quarter = lasted.as_secs_f64() / 4.0;
    let median = |from: f64, to: f64| {
        let inside = samples.iter().filter(|(at, _)| (from..to).contains(at));
        let mut inside: Vec<u64> = inside.map(|(_, bytes)| *bytes).collect();
        inside.sort_unstable();
        inside.get(inside.len() / 2).copied().unwrap_or(0)
    };
    let (early, late) = (median(quarter, 2.0 * quarter), median(3.0 * quarter, f64::INFINITY));
    let flat = late <= early * GROWTH.0 / GROWTH.1 + GROWTH_BYTES;
    MemoryTrend {
        process,
        samples,
        early,
        late,
        flat: (lasted >= TELLING).then_some(flat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_is_told_from_memory_that_was_warm() {
        let hour = Duration::from_secs(3_600);
        let of = |bytes: fn(f64) -> f64| {
            (0..240)
                .map(|n| (f64::from(n) * 15.0, bytes(f64::from(n)) as u64))
                .collect()
        };
        let steady = trend("a".into(), of(|n| if n < 30.0 { n * 1e7 } else { 3e8 }), hour);
        assert_eq!((steady.early, steady.flat), (300_000_000, Some(true)));
        let growing = trend("a".into(), of(|n| 1e8 + n * 1e6), hour);
        assert_eq!(growing.flat, Some(false));
        assert_eq!(trend("a".into(), of(|n| n * 1e6), Duration::from_secs(60)).flat, None);
    }

    #[test]
    fn every_fault_comes_once_before_one_comes_twice() {
        let rows: Vec<_> = ALL.iter().filter(|row| row.soak).collect();
        let count = rows.len();
        let mut bag = Bag::new(rows);
        let mut random = StdRng::seed_from_u64(1);
        let mut names: Vec<_> = (0..count).map(|_| bag.draw(&mut random).name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
