//! `mirror`: two Tempos that each keep everything. One at a time is killed or away, both are, and both are replaced:
//! every query is answered with all that was acknowledged more than 30 s before, and in the end both hold the same.
//!
//! Chosen by name, 20 kills and ten minutes away; 3 kills and a minute in a set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kit::step::Cancel;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;

use crate::backend::{Component, Stack};
use crate::client::credentials::Credentials;
use crate::client::load::{Batches, Load, lock};
use crate::client::metrics::Scrape;
use crate::client::readback::{Readback, read_back, read_by_id, search_windows};
use crate::client::send::Sender;
use crate::client::tempo::{Client, Search};
use crate::env::Env;
use crate::model::corpus::SPAN_MARKER;
use crate::model::door::Doors;
use crate::model::id::{SpanId, TraceId};
use crate::model::ledger::Ledger;
use crate::scenario::{doors, drained, judge_ledger, queue_bytes, values};
use crate::wait::{Look, wait_for};

const VALUES: &str = "{tempo-stack: {tempo: {replicas: 2}}}";
/// Spans per second to the Collector, and as many to the port of Tempo that leads to it.
const RATE: u32 = 250;
/// A span that was sent so long ago has to be in every answer.
const OLD: Duration = Duration::from_secs(30);
/// What a query is about: spans that were sent within so long.
const WINDOW: Duration = Duration::from_secs(5);
/// Time between two rounds of queries.
const PAUSE: Duration = Duration::from_millis(500);
/// Traces that a round asks for by their ids.
const BY_ID: usize = 4;
/// How long a mirror may take to be settled: the Collector tries to reach one that was away every two minutes.
const SETTLED: Duration = Duration::from_secs(240);
const SEND: Duration = Duration::from_secs(10);
/// Seconds that one page of the comparison covers.
const PAGE: u64 = 10;

/// The exporters to the mirrors, by their ordinals.
const EXPORTERS: [&str; 2] = ["otlp", "otlp/mirror-1"];
const QUEUED: &str = "otelcol_exporter_queue_size";
const SENT: &str = "otelcol_exporter_sent_spans";

/// How much is done.
struct Form {
    kills: usize,
    away: Duration,
    replaced: bool,
    /// How long spans are looked for in the end, on each mirror: what is missing is said before the scenario's time is up.
    read: Duration,
}

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    let form = if env.full {
        Form {
            kills: 20,
            away: Duration::from_secs(600),
            replaced: true,
            read: Duration::from_secs(400),
        }
    } else {
        Form {
            kills: 3,
            away: Duration::from_secs(60),
            replaced: false,
            read: Duration::from_secs(60),
        }
    };
    let stack = env.ready_stack(values(VALUES)?).await?;
    let pods = stack.pod_names(Component::Tempo).await?;
    ensure!(pods.len() == 2, "there are not two mirrors but {pods:?}");
    let mirrors: Vec<Client> = pods
        .iter()
        .map(|pod| Client::new(&stack.reach(&address(stack.as_ref(), pod))?))
        .collect::<Result<_>>()?;
    let begun = Instant::now();
    let loads = loads(env, stack.as_ref())?;
    let asking = Asking::start(env, stack.as_ref(), &loads)?;

    // First, so that there is something old enough to ask for when a mirror is killed.
    away(env, stack.as_ref(), &pods[1], form.away).await?;
    let mut settled = Vec::new();
    for n in 0..form.kills {
        let pod = &pods[n % 2];
        kill_program(env, stack.as_ref(), pod).await?;
        settled.push(until_settled(env, stack.as_ref(), pod).await?);
    }
    let slowest = settled.iter().max().copied().unwrap_or_default();
    env.recorder.measured(
        format!("from a kill until the mirror is settled, the longest of {}", form.kills),
        (slowest.as_secs_f64() * 10.0).round() / 10.0,
        "s",
        "with a load of 500 spans/s",
    );
    if form.replaced {
        for pod in pods.iter().rev() {
            stack.stop_one(pod).await?;
            stack.start_one(pod, SETTLED).await?;
        }
    }
    let asked = asking.stop().await?;
    let disturbances = form.kills + 1 + if form.replaced { 2 } else { 0 };
    asked.judge(env, disturbances);

    both_away(env, stack.as_ref(), &pods).await?;
    let mut ledgers = Vec::new();
    for (name, load) in loads {
        ledgers.push((name, load.stop().await?.0));
    }
    drained(env, stack.as_ref()).await?;
    for (name, ledger) in &ledgers {
        for (pod, mirror) in pods.iter().zip(&mirrors) {
            let mut ledger = ledger.clone();
            read_back(mirror, &mut ledger, form.read, &env.cancel).await?;
            judge_ledger(env, &format!("{pod}, sent to {name}"), &ledger)?;
        }
        same(env, name, ledger, &mirrors, begun).await?;
    }
    env.finish(stack).await
}

/// Where a pod of Tempo answers, whether it is ready or not.
pub(in crate::scenario) fn address(stack: &dyn Stack, pod: &str) -> String {
    let workload = pod.rsplit_once('-').map_or(pod, |(workload, _)| workload);
    let namespace = stack.namespace();
    format!("http://{pod}.{workload}-headless.{namespace}.svc.cluster.local:3200")
}

/// One load to the Collector and one to the Service of Tempo.
fn loads(env: &Env, stack: &dyn Stack) -> Result<Vec<(&'static str, Load)>> {
    let own = doors(stack)?;
    let tempo = Doors {
        otlp_grpc: stack.endpoints().get(Component::Tempo, "otlp-grpc")?,
        ..own
    };
    let load = |doors: &Doors, n: u64| -> Result<Load> {
        let batches = Batches {
            rate: RATE,
            traces_per_request: 25,
            ..Batches::new(env.seed.wrapping_add(n))
        };
        Ok(Load::start(
            Sender::new(doors, &Credentials::default(), SEND)?,
            batches,
            env.cancel.clone(),
        ))
    };
    Ok(vec![
        ("the Collector", load(&own, 1)?),
        ("the Service of Tempo", load(&tempo, 2)?),
    ])
}

/// SIGKILL to the Tempo of a pod, and its end.
async fn kill_program(env: &Env, stack: &dyn Stack, pod: &str) -> Result<()> {
    let pid = |pids: BTreeMap<String, i32>| pids.get(pod).copied();
    let before = pid(stack.pids(Component::Tempo).await?).with_context(|| format!("{pod} doesn't run"))?;
    stack.kill_one(pod).await?;
    wait_for("another process", SETTLED, &env.cancel, || async {
        Ok(match pid(stack.pids(Component::Tempo).await?) {
            Some(now) if now != before => Look::Found(()),
            now => Look::NotYet(format!("{now:?}")),
        })
    })
    .await?;
    Ok(())
}

/// Waits until a mirror whose program was killed gets spans again, no more waits for it than for the other and Services
/// lead to it, and says how long that took. That it is ready isn't enough: the container beside it looks every two seconds.
async fn until_settled(env: &Env, stack: &dyn Stack, pod: &str) -> Result<Duration> {
    let own = usize::from(pod.ends_with("-1"));
    let before = exporters(stack, SENT).await?;
    let waited = wait_for(&format!("a settled {pod}"), SETTLED, &env.cancel, || async {
        let (sent, waits) = (exporters(stack, SENT).await?, exporters(stack, QUEUED).await?);
        let settled =
            stack.is_ready(pod).await? && sent[own] > before[own] && waits[own] <= 1.5 * waits[1 - own] + 65_536.0;
        Ok(if settled {
            Look::Found(())
        } else {
            Look::NotYet(format!(
                "{sent:?} spans were sent to the mirrors, {waits:?} bytes wait for them"
            ))
        })
    })
    .await?;
    Ok(waited.elapsed)
}

/// A metric of the exporters to both mirrors, over all Collectors.
async fn exporters(stack: &dyn Stack, metric: &str) -> Result<[f64; 2]> {
    let mut sums = [0.0; 2];
    for text in stack.metrics(Component::OtelCollector).await?.values() {
        let scrape = Scrape::parse(text)?;
        for (sum, exporter) in sums.iter_mut().zip(EXPORTERS) {
            *sum += scrape.sum(metric, &[("exporter", exporter)]).unwrap_or(0.0);
        }
    }
    Ok(sums)
}

/// A mirror is away: it stays out of the Service until it has what it missed.
async fn away(env: &Env, stack: &dyn Stack, pod: &str, time: Duration) -> Result<()> {
    stack.stop_one(pod).await?;
    tokio::time::sleep(time).await;
    env.cancel.check()?;
    let waiting = queue_bytes(stack).await?;
    let begun = Instant::now();
    stack.start_one(pod, SETTLED).await?;
    let elapsed = begun.elapsed();
    env.recorder.measured(
        format!(
            "from the start of a mirror that was away for {} s until it is settled",
            time.as_secs()
        ),
        (elapsed.as_secs_f64() * 10.0).round() / 10.0,
        "s",
        format!("{waiting:.0} bytes waited for both"),
    );
    Ok(())
}

/// Both mirrors are killed while spans come in: what is kept in the queues reaches both once they are back.
async fn both_away(env: &Env, stack: &dyn Stack, pods: &[String]) -> Result<()> {
    for pod in pods {
        stack.stop_one(pod).await?;
    }
    tokio::time::sleep(WINDOW).await;
    let kept = queue_bytes(stack).await?;
    let begun = Instant::now();
    tokio::try_join!(stack.start_one(&pods[0], SETTLED), stack.start_one(&pods[1], SETTLED))?;
    let slowest = begun.elapsed();
    env.recorder.check(
        "with both mirrors away spans are kept, and both answer again",
        kept > 0.0,
        format!("{kept:.0} bytes waited, ready after {:.1} s", slowest.as_secs_f64()),
    );
    Ok(())
}

/// Both mirrors hold the same spans of a load, by pages of TraceQL.
async fn same(env: &Env, name: &str, ledger: &Ledger, mirrors: &[Client], begun: Instant) -> Result<()> {
    let end = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context("the clock")?
        .as_secs()
        + 1;
    let start = end - begun.elapsed().as_secs() - 2;
    let mut sizes = Vec::new();
    let mut held: Vec<BTreeSet<(TraceId, SpanId)>> = Vec::new();
    for mirror in mirrors {
        let mut ids = BTreeSet::new();
        let mut page = start;
        while page < end {
            let search = Search::new(format!("{{ span.{SPAN_MARKER} = {:?} }}", ledger.marker()))
                .between(page, page + PAGE)
                .limit(100_000)
                .spans_per_trace(100);
            let found = mirror.search(&search).await?;
            ids.extend(found.iter().flat_map(|f| f.spans.iter().map(|span| (f.id, *span))));
            page += PAGE;
        }
        sizes.push(ids.len());
        held.push(ids);
    }
    let differ = held[0].symmetric_difference(&held[1]).count();
    env.recorder.check(
        format!("both mirrors hold the same spans, sent to {name}"),
        differ == 0 && sizes[0] > 0,
        format!("{} and {} spans, {differ} of them in one only", sizes[0], sizes[1]),
    );
    Ok(())
}

/// What became of the queries.
#[derive(Debug, Default)]
struct Asked {
    queries: usize,
    /// Queries whose connection broke or that got an error, and were answered when they were asked again.
    repeated: usize,
    /// Those that weren't.
    failed: Vec<String>,
    /// Answers that lacked spans.
    incomplete: Vec<String>,
}

impl Asked {
    fn judge(&self, env: &Env, disturbances: usize) {
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
        env.recorder.check(
            "every answer held what was acknowledged more than 30 s before, by id and by search",
            self.incomplete.is_empty() && self.queries > 0,
            format!(
                "{} answers, {} incomplete {}",
                self.queries,
                self.incomplete.len(),
                shown(&self.incomplete)
            ),
        );
    }
}

/// Queries beside the load.
struct Asking {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Asked>>,
}

impl Asking {
    fn start(env: &Env, stack: &dyn Stack, loads: &[(&'static str, Load)]) -> Result<Asking> {
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

    async fn stop(self) -> Result<Asked> {
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
        // A connection stays with one mirror: each round has one of its own.
        let client = Client::new(&self.url)?;
        let mut found = ledger.clone();
        let traces = found.incomplete();
        let mut error = None;
        for _ in 0..2 {
            let mut report = Readback::default();
            search_windows(&client, &mut found, &traces, &mut report, &self.cancel).await?;
            error = report.last_error;
            if error.is_none() {
                break;
            }
            self.asked.repeated += 1;
        }
        self.note("a search", from, to, error, found.lost().len());

        let mut found = ledger.clone();
        let some: Vec<_> = (0..BY_ID)
            .map(|_| traces[self.random.random_range(0..traces.len())])
            .collect();
        let mut error = None;
        for _ in 0..2 {
            error = None;
            let deadline = Instant::now() + SEND;
            for read in read_by_id(&client, &some, deadline, &self.cancel).await? {
                match read {
                    Ok((trace, spans)) => found.find(trace, &spans),
                    Err(text) => error = Some(text),
                }
            }
            if error.is_none() {
                break;
            }
            self.asked.repeated += 1;
        }
        let wanted: BTreeSet<TraceId> = some.iter().map(|(_, trace)| *trace).collect();
        let missing = found.lost().iter().filter(|lost| wanted.contains(&lost.trace)).count();
        self.note("by id", from, to, error, missing);
        Ok(())
    }

    fn note(&mut self, how: &str, from: u32, to: u32, error: Option<String>, missing: usize) {
        self.asked.queries += 1;
        let what = format!("{how} for {:.1} to {:.1} s", f64::from(from) / 1e3, f64::from(to) / 1e3);
        match error {
            // Asked twice, answered never: it isn't one that was repeated with success.
            Some(error) => {
                self.asked.repeated -= 2;
                self.asked.failed.push(format!("{what}: {error}"));
            }
            None if missing > 0 => self
                .asked
                .incomplete
                .push(format!("{what}: {missing} spans are missing")),
            None => {}
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
