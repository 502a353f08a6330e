//! Queries beside the load of `mirror`, and whether each was answered in full.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::step::Cancel;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;

use super::{SEND, Torn, WINDOW, check};
use crate::backend::{Component, Stack};
use crate::client::load::{Load, lock};
use crate::client::readback::{Readback, read_by_id, search_windows};
use crate::client::tempo::Client;
use crate::env::Env;
use crate::model::id::TraceId;
use crate::model::ledger::Ledger;

/// A span that was sent so long ago has to be in every answer.
const OLD: Duration = Duration::from_secs(30);
/// How many times a query is asked that gets no answer: while a Service still leads to a mirror that was just killed, a new
/// connection may break off, too.
const ATTEMPTS: usize = 4;
/// Time between two rounds of queries, and between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Traces that a round asks for by their ids.
const BY_ID: usize = 4;

/// What became of the queries.
#[derive(Debug, Default)]
pub(super) struct Asked {
    queries: usize,
    /// Queries whose connection broke or that got an error, and were answered when they were asked again.
    repeated: usize,
    /// Those that weren't.
    failed: Vec<String>,
    /// Answers that lacked spans.
    incomplete: Vec<String>,
}

impl Asked {
    pub(super) fn judge(&self, env: &Env, disturbances: usize, torn: &[&Torn]) {
        let shown = |texts: &[String]| texts.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
        env.recorder.check(
            "every query was answered",
            self.failed.is_empty() && self.queries > 0,
            format!(
                "{} queries, {} failed {}",
                self.queries,
                self.failed.len(),
                shown(&self.failed)
            ),
        );
        // A query that is on its way to a mirror when that is killed breaks off: one each time, for there is one asker.
        env.recorder.check(
            "no query had to be asked again but those that a kill broke off",
            self.repeated <= disturbances,
            format!("{} asked again, {disturbances} times a mirror went", self.repeated),
        );
        let what = "every answer held what was acknowledged more than 30 s before, by id and by search";
        let incomplete = self.incomplete.len();
        let detail = format!(
            "{} answers, {incomplete} incomplete {}",
            self.queries,
            shown(&self.incomplete)
        );
        check(env, what, incomplete == 0 && self.queries > 0, detail, torn);
    }
}

/// Queries beside the load.
pub(super) struct Asking {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Asked>>,
}

impl Asking {
    pub(super) fn start(env: &Env, stack: &dyn Stack, loads: &[(&'static str, Load)]) -> Result<Asking> {
        let stop = Arc::<AtomicBool>::default();
        let asker = Asker {
            url: stack.endpoints().url(Component::Tempo, "http")?,
            ledgers: loads.iter().map(|(_, load)| load.shared_ledger()).collect(),
            random: StdRng::seed_from_u64(env.seed),
            cancel: env.cancel.clone(),
            asked: Asked::default(),
        };
        let task = tokio::spawn(asker.run(Arc::clone(&stop)));
        Ok(Asking { stop, task })
    }

    pub(super) async fn stop(self) -> Result<Asked> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.context("the queries ended badly")?
    }
}

struct Asker {
    url: String,
    ledgers: Vec<Arc<Mutex<Ledger>>>,
    random: StdRng,
    cancel: Cancel,
    asked: Asked,
}

impl Asker {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Result<Asked> {
        while !stop.load(Ordering::SeqCst) && !self.cancel.is_cancelled() {
            for n in 0..self.ledgers.len() {
                let now = lock(&self.ledgers[n]).now_ms();
                let Some(last) = now.checked_sub(millis(OLD)) else {
                    continue;
                };
                let width = millis(WINDOW);
                // The youngest that have to be there, and any older ones.
                let older = self.random.random_range(0..=last);
                for end in [last, older.max(width).min(last)] {
                    self.round(n, end.saturating_sub(width), end).await?;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.cancel.check()?;
        Ok(self.asked)
    }

    /// Asks for what was sent between two times of the ledger, in milliseconds.
    async fn round(&mut self, n: usize, from: u32, to: u32) -> Result<()> {
        let ledger = {
            let all = lock(&self.ledgers[n]);
            let mut part = all.empty();
            part.copy_sent_between(&all, from, to);
            part
        };
        if ledger.summary().acked == 0 {
            return Ok(());
        }
        let traces = ledger.incomplete();
        let some: Vec<_> = (0..BY_ID)
            .map(|_| traces[self.random.random_range(0..traces.len())])
            .collect();
        let when = format!("{:.1} to {:.1} s", f64::from(from) / 1e3, f64::from(to) / 1e3);
        self.ask(&format!("a search for {when}"), &Query::Search, &ledger, &traces)
            .await?;
        self.ask(&format!("by id for {when}"), &Query::ById, &ledger, &some)
            .await
    }

    /// Asks for traces, again while the answer is an error, and counts what comes of it.
    async fn ask(&mut self, what: &str, query: &Query, ledger: &Ledger, traces: &[(u64, TraceId)]) -> Result<()> {
        self.asked.queries += 1;
        let at = format!("{what}, asked at {:.1} s", f64::from(ledger.now_ms()) / 1e3);
        let mut answer = self.answer(query, ledger, traces).await?;
        if answer.is_err() {
            self.asked.repeated += 1;
        }
        for _ in 1..ATTEMPTS {
            if answer.is_ok() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            answer = self.answer(query, ledger, traces).await?;
        }
        match answer {
            // It isn't one that was repeated with success.
            Err(error) => {
                self.asked.repeated -= 1;
                self.asked.failed.push(format!("{at}: {error}"));
            }
            Ok(0) => {}
            Ok(missing) => {
                let again = match self.answer(query, ledger, traces).await? {
                    Ok(missing) => format!("{missing} right after that"),
                    Err(error) => error,
                };
                let text = format!("{at}: {missing} spans are missing, {again}");
                self.asked.incomplete.push(text);
            }
        }
        Ok(())
    }

    /// How many acknowledged spans of the traces an answer lacks, or the error that came instead of it. A connection
    /// stays with one mirror, so each query has one of its own.
    async fn answer(&self, query: &Query, ledger: &Ledger, traces: &[(u64, TraceId)]) -> Result<Result<usize, String>> {
        let client = Client::new(&self.url)?;
        let mut found = ledger.clone();
        match query {
            Query::Search => {
                let mut report = Readback::default();
                search_windows(&client, &mut found, traces, &mut report, &self.cancel).await?;
                if let Some(error) = report.last_error {
                    return Ok(Err(error));
                }
            }
            Query::ById => {
                for read in read_by_id(&client, traces, Instant::now() + SEND, &self.cancel).await? {
                    match read {
                        Ok((trace, spans)) => found.find(trace, &spans),
                        Err(error) => return Ok(Err(error)),
                    }
                }
            }
        }
        let wanted: BTreeSet<TraceId> = traces.iter().map(|(_, trace)| *trace).collect();
        Ok(Ok(found
            .lost()
            .iter()
            .filter(|lost| wanted.contains(&lost.trace))
            .count()))
    }
}

enum Query {
    Search,
    ById,
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
