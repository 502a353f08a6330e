//! `mirror`: two Tempos that each keep everything. One at a time is killed or away, both are, and both are replaced:
//! every query is answered with all that was acknowledged more than 30 s before, and in the end both hold the same.
//!
//! Chosen by name, 20 kills and ten minutes away; 3 kills and a minute in a set.

mod asking;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::asking::Asking;
use crate::backend::{Component, Stack};
use crate::client::credentials::Credentials;
use crate::client::load::{Batches, Load};
use crate::client::metrics::Scrape;
use crate::client::readback::read_back;
use crate::client::send::Sender;
use crate::client::tempo::{Client, Search};
use crate::env::Env;
use crate::model::corpus::{SPAN_MARKER, now_unix_nano};
use crate::model::door::Doors;
use crate::model::id::{SpanId, TraceId};
use crate::model::ledger::Ledger;
use crate::scenario::{doors, drained, judge_ledger, queue_bytes, values};
use crate::wait::{Look, wait_for};

const VALUES: &str = "{tempo-stack: {tempo: {replicas: 2}}}";
/// Spans per second to the Collector, and as many to the port of Tempo that leads to it.
const RATE: u32 = 250;
/// What a query is about: spans that were sent within so long.
const WINDOW: Duration = Duration::from_secs(5);
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
    let mut torn: Vec<Torn> = Vec::new();
    for n in 0..form.kills {
        let pod = &pods[n % 2];
        kill_program(env, stack.as_ref(), pod).await?;
        let killed = now_unix_nano()? / 1_000_000;
        let took = until_settled(env, stack.as_ref(), pod).await?;
        env.recorder.say(format!(
            "kill {} of {}: {pod} is settled after {:.1} s",
            n + 1,
            form.kills,
            took.as_secs_f64()
        ));
        settled.push(took);
        for block in torn_blocks(&stack.logs(Component::Tempo).await?) {
            if !torn.iter().any(|known| known.block == block) {
                let pod = pod.clone();
                torn.push(Torn { block, pod, killed });
            }
        }
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

    both_away(env, stack.as_ref(), &pods).await?;
    let mut ledgers = Vec::new();
    for (name, load) in loads {
        ledgers.push((name, load.stop().await?.0));
    }
    drained(env, stack.as_ref()).await?;
    // The torn blocks of which something is missing.
    let mut lacking = Vec::new();
    for (name, ledger) in &ledgers {
        let mut lost = Vec::new();
        for (pod, mirror) in pods.iter().zip(&mirrors) {
            let mut ledger = ledger.clone();
            read_back(mirror, &mut ledger, form.read, &env.cancel).await?;
            lost.push(ledger.lost().into_iter().collect::<BTreeSet<_>>());
            let what = format!("{pod}, sent to {name}");
            match excuse(pod, &ledger, &torn) {
                Some(torn) => {
                    let why = format!("{torn}: {}", ledger.summary());
                    env.recorder.skip(format!("{what}: acknowledged spans lost"), why);
                    lacking.push(torn);
                }
                None => judge_ledger(env, &what, &ledger)?,
            }
        }
        let both = lost[0].intersection(&lost[1]).count();
        env.recorder.measure(
            format!("sent to {name}: acknowledged spans that neither mirror has"),
            both as f64,
            "spans",
            both == 0,
            format!(
                "{} of {pods:?} are lost by one of them",
                lost[0].symmetric_difference(&lost[1]).count()
            ),
        );
        same(env, name, ledger, &mirrors, begun, &lacking).await?;
    }
    asked.judge(env, disturbances, &lacking);
    env.finish(stack).await
}

/// A block that a Tempo of the 2.x engine completed, was killed while it deleted that block's log, and made anew from
/// what was left of the log. Tempo 3.0 marks such a log before it deletes it.
struct Torn {
    block: String,
    pod: String,
    /// In milliseconds since 1970.
    killed: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} was killed while it deleted the log of block {}",
            self.pod, self.block
        )
    }
}

/// The blocks that were completed and whose logs were replayed after that, by what Tempo logs.
fn torn_blocks(log: &str) -> BTreeSet<String> {
    let id = |line: &str, key: &str| {
        let (_, rest) = line.split_once(key)?;
        rest.split([' ', '+']).next().map(str::to_owned)
    };
    let mut completed = BTreeSet::new();
    let mut torn = BTreeSet::new();
    for line in log.lines() {
        if line.contains("msg=\"block completed\"") {
            completed.extend(id(line, " blockID="));
        } else if line.contains("msg=\"beginning replay\"") {
            torn.extend(id(line, " file=").filter(|block| completed.contains(block)));
        }
    }
    torn
}

/// The torn block that a mirror may lack spans by, if it lacks none of after the kill.
fn excuse<'a>(pod: &str, ledger: &Ledger, torn: &'a [Torn]) -> Option<&'a Torn> {
    let last = ledger.incomplete().last()?.0;
    torn.iter().find(|torn| torn.pod == pod && last < torn.killed)
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
    env.recorder.say(format!("{pod} is away for {} s", time.as_secs()));
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

/// Records a check that a torn block may have failed, and can't be judged then.
fn check(env: &Env, what: impl Into<String>, ok: bool, detail: String, torn: &[&Torn]) {
    match torn.first().filter(|_| !ok) {
        Some(torn) => env.recorder.skip(what, format!("{torn}: {detail}")),
        None => {
            env.recorder.check(what, ok, detail);
        }
    }
}

/// Both mirrors hold the same spans of a load, by pages of TraceQL.
async fn same(
    env: &Env,
    name: &str,
    ledger: &Ledger,
    mirrors: &[Client],
    begun: Instant,
    torn: &[&Torn],
) -> Result<()> {
    let end = now_unix_nano()? / 1_000_000_000 + 1;
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
    let what = format!("both mirrors hold the same spans, sent to {name}");
    let detail = format!("{} and {} spans, {differ} of them in one only", sizes[0], sizes[1]);
    check(env, what, differ == 0 && sizes[0] > 0, detail, torn);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::Outcome;

    const REPLAYED: &str = "level=info msg=\"beginning replay\" file=26eca444+single-tenant+vParquet4 size=4096\n";
    const COMPLETED: &str = "level=info msg=\"block completed\" tenant=single-tenant blockID=26eca444 duration=10.4s\n";

    #[test]
    fn only_a_block_that_was_completed_before_its_log_was_replayed_is_torn() {
        assert!(torn_blocks(&[REPLAYED, COMPLETED].concat()).is_empty());
        let torn = torn_blocks(&[REPLAYED, COMPLETED, REPLAYED, COMPLETED].concat());
        assert_eq!(torn, BTreeSet::from(["26eca444".to_owned()]));
    }

    #[test]
    fn a_torn_block_excuses_what_its_own_mirror_got_before_the_kill() {
        let mut ledger = Ledger::new("m");
        let span = (TraceId([1; 16]), SpanId([1; 8]));
        ledger.send_all(&[span]);
        let sent = now_unix_nano().unwrap() / 1_000_000;
        let torn = |pod: &str, killed: u64| {
            let (block, pod) = ("26eca444".to_owned(), pod.to_owned());
            vec![Torn { block, pod, killed }]
        };
        assert!(
            excuse("tempo-0", &ledger, &torn("tempo-0", sent + 1000)).is_none(),
            "nothing is lost"
        );
        ledger.settle(&Outcome::Acked { rejected_spans: 0 }, [span]);
        assert!(excuse("tempo-0", &ledger, &torn("tempo-0", sent + 1000)).is_some());
        assert!(excuse("tempo-0", &ledger, &torn("tempo-1", sent + 1000)).is_none());
        assert!(excuse("tempo-0", &ledger, &torn("tempo-0", sent - 1000)).is_none());
        assert!(excuse("tempo-0", &ledger, &[]).is_none());
    }
}
