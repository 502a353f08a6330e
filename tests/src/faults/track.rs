//! Reads back beside a load what was acknowledged, so that it is known how late it is found, and so that a long load
//! needs no more memory than a short one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::step::Cancel;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::report::Late;
use crate::client::load::{Load, lock};
use crate::client::readback::{Readback, read_back, read_by_id, search_windows};
use crate::client::tempo::Client;
use crate::model::id::{SpanId, TraceId};
use crate::model::ledger::{Ledger, Summary};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// Traces that are kept of a long load, to be looked for again.
const SAMPLE: usize = 1_000;
/// What no search has found after this time is asked for by id, so many traces in a round.
const GIVE_UP: Duration = Duration::from_secs(180);
const READS: usize = 100;
/// The width of a bucket of [`Tracked::late`], in milliseconds.
const BUCKET: u32 = 100;

/// What becomes of traces that were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// They are kept, and all of them are looked for again at the end.
    Kept,
    /// They are counted and forgotten, but for a random sample.
    Forgotten,
}

/// Looks for what a load was acknowledged for. Dropping it ends that.
pub(super) struct Tracker {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Tracked>>,
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What was found so far.
pub(super) struct Tracked {
    client: Client,
    cancel: Cancel,
    found: Found,
    loaded: Arc<Mutex<Ledger>>,
    /// Answered for and not found yet.
    pending: Ledger,
    /// Found.
    kept: Ledger,
    /// Asked for by id long after it was acknowledged, and not there.
    given_up: Ledger,
    /// Of what is forgotten.
    forgotten: Summary,
    sample: Vec<TraceId>,
    seen: usize,
    random: StdRng,
    /// Traces by how late they were found, in units of [`BUCKET`].
    late: BTreeMap<u32, u64>,
}

/// What a load came to.
pub(super) struct Outcome {
    pub summary: Summary,
    pub late: Option<Late>,
    /// Traces that were found while the load ran, to be looked for again.
    pub sample: Vec<TraceId>,
    /// What was acknowledged and not found; with [`Found::Kept`] everything else as well.
    pub ledger: Ledger,
}

impl Tracker {
    /// Begins to look for the traces of a load.
    pub fn start(load: &Load, client: &Client, found: Found, seed: u64, cancel: &Cancel) -> Tracker {
        let loaded = load.shared_ledger();
        let empty = lock(&loaded).empty();
        let mut tracked = Tracked {
            client: client.clone(),
            cancel: cancel.clone(),
            found,
            loaded,
            pending: empty.clone(),
            given_up: empty.clone(),
            kept: empty,
            forgotten: Summary::default(),
            sample: Vec::new(),
            seen: 0,
            random: StdRng::seed_from_u64(seed),
            late: BTreeMap::new(),
        };
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            loop {
                // Its sender gone is as good as told to stop.
                if tokio::time::timeout(PERIOD, stopped.wait_for(|stop| *stop))
                    .await
                    .is_ok()
                {
                    return Ok(tracked);
                }
                tracked.look().await?;
            }
        });
        Tracker { stop, task }
    }

    /// Ends the looks beside the load, which has ended before, and reads back what is left until the deadline.
    pub async fn finish(mut self, deadline: Duration) -> Result<Outcome> {
        // An error means that the task has ended, which the next line tells.
        let _ = self.stop.send(true);
        let tracked = (&mut self.task).await.context("the look-out ended badly")??;
        tracked.finish(deadline).await
    }
}

impl Tracked {
    async fn look(&mut self) -> Result<()> {
        let settled = lock(&self.loaded).take_settled();
        self.pending.absorb(settled);
        let missing = self.pending.incomplete();
        // What goes wrong with a search is looked for again; what never comes is said at the end.
        let mut report = Readback::default();
        search_windows(&self.client, &mut self.pending, &missing, &mut report, &self.cancel).await?;
        self.settle();
        if self.found == Found::Forgotten {
            self.give_up().await?;
        }
        Ok(())
    }

    /// Asks by id for what no search has found for long, so that what is lost isn't looked for in every round.
    async fn give_up(&mut self) -> Result<()> {
        let now = self.pending.now_ms();
        let old: HashSet<TraceId> = self
            .pending
            .acknowledged()
            .filter(|(_, sent_ms)| u128::from(now - sent_ms) > GIVE_UP.as_millis())
            .map(|(trace, _)| trace)
            .take(READS)
            .collect();
        let asked: Vec<(u64, TraceId)> = old.iter().map(|trace| (0, *trace)).collect();
        let reads = read_by_id(&self.client, &asked, Instant::now() + GIVE_UP, &self.cancel).await?;
        // Who wasn't answered is asked again.
        let answered: HashMap<TraceId, Vec<SpanId>> = reads.into_iter().flatten().collect();
        for (trace, spans) in &answered {
            self.pending.find(*trace, spans);
        }
        self.settle();
        let lost = self.pending.take_those(|trace| answered.contains_key(&trace));
        self.given_up.absorb(lost);
        Ok(())
    }

    /// Moves on what was found.
    fn settle(&mut self) {
        let complete = self.pending.take_complete();
        let now = complete.now_ms();
        for (trace, sent_ms) in complete.acknowledged() {
            *self.late.entry(now.saturating_sub(sent_ms) / BUCKET).or_default() += 1;
            self.seen += 1;
            // Each of all traces has the same chance to be in the sample (reservoir sampling, algorithm R).
            if self.sample.len() < SAMPLE {
                self.sample.push(trace);
            } else if let Some(kept) = self.sample.get_mut(self.random.random_range(0..self.seen)) {
                *kept = trace;
            }
        }
        match self.found {
            Found::Kept => self.kept.absorb(complete),
            Found::Forgotten => self.forgotten.add(&complete.summary()),
        }
    }

    async fn finish(mut self, deadline: Duration) -> Result<Outcome> {
        self.look().await?;
        let rest = lock(&self.loaded).empty();
        let rest = std::mem::replace(&mut *lock(&self.loaded), rest);
        let mut ledger = std::mem::replace(&mut self.pending, rest);
        let late = late(&self.late);
        ledger.absorb(self.pending);
        ledger.absorb(self.kept);
        if self.found == Found::Kept {
            // What was there once may be gone by now.
            ledger.forget_found();
        }
        read_back(&self.client, &mut ledger, deadline, &self.cancel).await?;
        // It may have come after all.
        let missing = self.given_up.incomplete();
        let mut report = Readback::default();
        search_windows(&self.client, &mut self.given_up, &missing, &mut report, &self.cancel).await?;
        ledger.absorb(self.given_up);
        let mut summary = self.forgotten;
        summary.add(&ledger.summary());
        Ok(Outcome {
            summary,
            late,
            sample: self.sample,
            ledger,
        })
    }
}

fn late(buckets: &BTreeMap<u32, u64>) -> Option<Late> {
    let all: u64 = buckets.values().sum();
    let seconds = |bucket: u32| f64::from((bucket + 1) * BUCKET) / 1e3;
    let within = |share: f64| {
        let mut left = (all as f64 * share).ceil() as u64;
        let bucket = buckets.iter().find(|(_, count)| {
            left = left.saturating_sub(**count);
            left == 0
        });
        bucket.map(|(bucket, _)| seconds(*bucket))
    };
    Some(Late {
        median: within(0.5)?,
        p99: within(0.99)?,
        longest: seconds(*buckets.keys().next_back()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_told_by_how_many_were_found_within_it() {
        assert_eq!(late(&BTreeMap::new()), None);
        let buckets = BTreeMap::from([(9, 98), (19, 1), (99, 1)]);
        let told = late(&buckets).unwrap();
        assert_eq!((told.median, told.p99, told.longest), (1.0, 2.0, 10.0));
    }
}
