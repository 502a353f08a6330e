//! `grow`: one Tempo over a bucket becomes two mirrors, then a fleet, then one Tempo again, by values alone and under
//! load. At every step all that was acknowledged is found by id and by search: what was in the bucket before, what was in
//! a write-ahead log when the switch came, and what waited for the new pods in the Collector's queue. A step that would
//! leave a log behind is refused, and the way back from it loses nothing.
//!
//! In a set one step up and back, from one Tempo to a fleet; chosen by name all of this, and from a volume to a bucket.
//! Of Tempo 3.0 the step to a fleet over Kafka and back, see [`onto_kafka`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use charts::render::{merge, set};
use serde_yaml::Value;

use crate::backend::{Component, ObjectStore, Stack, files_below};
use crate::client::credentials::http_client;
use crate::client::engine::tempo_config;
use crate::client::load::{Batches, Load, Until};
use crate::client::readback::{Readback, read_back, read_by_id, search_windows};
use crate::client::tempo::Client;
use crate::env::Env;
use crate::model::ledger::Ledger;
use crate::scenario::scale::mirror::address;
use crate::scenario::scale::onto_kafka;
use crate::scenario::stores::store::{Example, SECRET_KEY};
use crate::scenario::{Access, drained, judge_ledger, values};
use crate::wait::{Look, wait_for};

const MIRRORS: &str = "{tempo-stack: {tempo: {replicas: 2, mirror: {antiAffinity: preferred}}}}";
/// Of each part as few pods as the chart takes.
const FLEET: &str = "
tempo-stack:
  tempo:
    mode: microservices
    components:
      distributor: {replicas: 1}
      querier: {replicas: 1}
      queryFrontend: {replicas: 1}
    config:
      shutdown_delay: 1s
      compactor: {ring: {wait_stability_min_duration: 0s}}
";
/// Tempos that read no log of 2.x. Their program isn't needed: what refuses the step runs before it.
const OF_3_0: [(&str, &str); 2] = [
    ("one Tempo 3.0", "{tempo-stack: {tempo: {image: {tag: 3.0.3}}}}"),
    (
        "a fleet over Kafka",
        "{tempo-stack: {tempo: {image: {tag: 3.0.3}, mode: microservices, kafka: {address: 'kafka.invalid:9092'}}}}",
    ),
];
/// What a pod says that finds a log of 2.x.
const SAYS: [&str; 3] = ["never reads", "/flush", "tempo.acceptWalLoss"];
/// Spans stay in the write-ahead log until somebody asks for them or the ingester leaves. What others put into the
/// bucket is seen soon, and searched at whatever age: by default that takes 5 and 15 minutes.
const CONFIG: &str = "
ingester: {max_block_duration: 30m}
storage: {trace: {blocklist_poll: 5s}}
query_frontend: {search: {query_backend_after: 0s}}
";
/// Where one Tempo keeps blocks on its volume.
const BLOCKS: &str = "/var/tempo/blocks";
/// Folder of the bucket for those, apart from what the other steps write.
const FROM_A_VOLUME: &str = "from-a-volume";
const RATE: u32 = 250;
/// For how long each step gets spans before the next one.
pub(super) const STEP: Duration = Duration::from_secs(5);
/// Replacing pods one after the other, each of which has its grace period.
const READY: Duration = Duration::from_secs(120);
/// From ready pods until all is found: the Collector tries to reach what was away after pauses that get longer.
pub(super) const FOUND: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(500);
const READ: Duration = Duration::from_secs(120);
/// Traces that are asked for by id at each step, spread over all that was sent.
const BY_ID: usize = 12;

/// A step of the way, and the values that lead to it.
struct Step {
    to: &'static str,
    values: &'static str,
}

const TO_MIRRORS: Step = Step {
    to: "two mirrors",
    values: MIRRORS,
};
const TO_A_FLEET: Step = Step {
    to: "a fleet",
    values: FLEET,
};
const BACK: Step = Step {
    to: "one Tempo again",
    values: "{}",
};

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    let engine = env.engine()?;
    if engine.runs_on_kafka() {
        return onto_kafka::run(env).await;
    }
    if !engine.runs_as_a_fleet() {
        let reason = "a fleet of this Tempo needs Kafka, or the chart writes none for it";
        env.recorder.skip("the way up and back", reason);
        return Ok(());
    }
    let example = Example::read(env)?;
    let server = example.server(env).await?;
    let base = |step: &str| -> Result<Value> {
        let mut wanted = example.values(server.as_ref(), &example.bucket)?;
        merge(&mut wanted, tempo_config(CONFIG)?);
        merge(&mut wanted, values(step)?);
        Ok(wanted)
    };
    if env.full {
        from_a_volume(env, &example, server.as_ref()).await?;
    }
    let steps: &[Step] = if env.full {
        &[TO_MIRRORS, TO_A_FLEET, BACK]
    } else {
        &[TO_A_FLEET, BACK]
    };

    let mut stack = env.start(&example.spec(base("{}")?, SECRET_KEY)).await?;
    stack.wait_ready(READY).await?;
    let load = start_load(env, stack.as_ref())?;
    tokio::time::sleep(STEP).await;
    flush(env, stack.as_ref()).await?;
    let blocks = server
        .objects()
        .await?
        .iter()
        .filter(|key| key.ends_with("/meta.json"))
        .count();
    env.recorder.check(
        "traces are in the bucket before anything changes",
        blocks > 0,
        format!("{blocks} blocks"),
    );
    if env.full {
        tokio::time::sleep(STEP).await;
        for (what, of_3_0) in OF_3_0 {
            let mut wanted = example.values(server.as_ref(), &example.bucket)?;
            set(&mut wanted, &["tempo-stack", "tempo", "config"], values("{}")?);
            merge(&mut wanted, values(of_3_0)?);
            let what = format!("{what} on the log of 2.x");
            refused(env, &mut stack, &what, &SAYS, (wanted, base("{}")?), READY).await?;
            let whom = format!("one Tempo, once {what} was refused,");
            all_found(env, stack.as_ref(), &whom, &load).await?;
        }
    }
    for step in steps {
        tokio::time::sleep(STEP).await;
        stack = go(env, stack, step, base(step.values)?, &load).await?;
        if step.to == TO_MIRRORS.to {
            let pods = stack.pod_names(Component::Tempo).await?;
            let second = pods.iter().find(|pod| pod.ends_with("-1"));
            let second = second.context("there is no second mirror")?;
            // What the first has of the time before.
            flush(env, stack.as_ref()).await?;
            let blocks = server.objects().await?;
            copy(
                server.as_ref(),
                &blocks,
                &format!("/{}/", example.bucket),
                &format!("{second}/"),
            )
            .await?;
        }
        all_found(env, stack.as_ref(), step.to, &load).await?;
    }
    let (mut ledger, _) = load.stop().await?;
    drained(env, stack.as_ref()).await?;
    read_back(&Access::new(stack.as_ref())?.tempo, &mut ledger, READ, &env.cancel).await?;
    judge_ledger(env, "on the way up and back", &ledger)?;
    env.finish(stack).await
}

/// Starts sending to the Collector.
pub(super) fn start_load(env: &Env, stack: &dyn Stack) -> Result<Load> {
    let batches = Batches {
        rate: RATE,
        ..Batches::new(env.seed)
    };
    Ok(Load::start(Access::new(stack)?.sender, batches, env.cancel.clone()))
}

/// Has the first Tempo write its log to the store, and waits until it did, as docs/growing.md says.
async fn flush(env: &Env, stack: &dyn Stack) -> Result<()> {
    let pods = stack.pod_names(Component::Tempo).await?;
    let first = pods.first().context("there is no Tempo")?;
    let url = format!("{}/flush", stack.reach(&address(stack, first))?);
    let answer = http_client()?.post(&url).send().await;
    let answer = answer.with_context(|| format!("asking {url}"))?;
    anyhow::ensure!(answer.status().is_success(), "{url} answers {}", answer.status());
    // Its queue is empty while a block is on its way: a block that is in the store has a file that says so.
    let log = stack.host_folders(Component::Tempo, env.engine()?.log())?;
    let log = log.first().with_context(|| format!("{first} has no volume"))?;
    let before: BTreeSet<String> = files_below(log).iter().filter_map(|file| block(file)).collect();
    wait_for("a log that is in the store", FOUND, &env.cancel, || async {
        let files = files_below(log);
        let written = |id: &String| files.iter().any(|file| file.ends_with(&format!("/{id}/flushed")));
        let there = |id: &String| files.iter().any(|file| block(file).as_ref() == Some(id));
        let left = before.iter().filter(|id| there(id) && !written(id)).count();
        Ok(if left == 0 {
            Look::Found(())
        } else {
            Look::NotYet(format!("{left} of {} blocks are left", before.len()))
        })
    })
    .await?;
    Ok(())
}

/// The id of the block that a `meta.json` in a log belongs to: `<id>+<tenant>+<version>/meta.json` while it grows,
/// `blocks/<tenant>/<id>/meta.json` once it is complete.
fn block(file: &str) -> Option<String> {
    let folder = file.strip_suffix("/meta.json")?.rsplit('/').next()?;
    folder.split('+').next().map(str::to_owned)
}

/// The log of one Tempo has something in it when the step comes.
pub(super) async fn has_a_log(env: &Env, stack: &dyn Stack, to: &str) -> Result<()> {
    let log = stack
        .files(Component::Tempo, env.engine()?.log())
        .await?
        .unwrap_or_default();
    let blocks = log.iter().filter(|file| file.ends_with("meta.json")).count();
    env.recorder.check(
        format!("traces are in a write-ahead log before it becomes {to}"),
        blocks > 0,
        format!("{blocks} blocks"),
    );
    Ok(())
}

/// Upgrades to a step while there is something in a write-ahead log.
async fn go(env: &Env, stack: Arc<dyn Stack>, step: &Step, wanted: Value, load: &Load) -> Result<Arc<dyn Stack>> {
    has_a_log(env, stack.as_ref(), step.to).await?;
    let before = load.ledger().summary().acked;
    let begun = Instant::now();
    let (next, rolled_out) = env.upgrade(&stack, wanted, READY).await?;
    rolled_out.with_context(|| format!("upgrading to {}", step.to))?;
    let acked = load.ledger().summary().acked - before;
    env.recorder.measured(
        format!("upgrading to {}, until every pod is ready", step.to),
        (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        "s",
        format!("{acked} spans were acknowledged meanwhile"),
    );
    Ok(next)
}

/// What was sent and answered so far.
pub(super) fn so_far(load: &Load) -> Ledger {
    let all = load.ledger();
    let mut part = all.empty();
    part.copy_sent_between(&all, 0, all.now_ms());
    part.take_settled()
}

/// Every span that was acknowledged so far is found, by search and by id; of mirrors by each of them.
pub(super) async fn all_found(env: &Env, stack: &dyn Stack, step: &str, load: &Load) -> Result<()> {
    let so_far = so_far(load);
    let urls = if step == TO_MIRRORS.to {
        let pods = stack.pod_names(Component::Tempo).await?;
        pods.iter()
            .map(|pod| stack.reach(&address(stack, pod)))
            .collect::<Result<_>>()?
    } else {
        vec![stack.endpoints().url(Component::Tempo, "http")?]
    };
    for (n, url) in urls.iter().enumerate() {
        let whom = if urls.len() > 1 {
            format!("{step}, of mirror {n},")
        } else {
            step.to_owned()
        };
        let client = Client::new(url)?;
        by_search(env, &client, so_far.clone(), &whom).await?;
        by_id(env, &client, so_far.clone(), &whom).await?;
    }
    Ok(())
}

pub(super) async fn by_search(env: &Env, client: &Client, mut ledger: Ledger, step: &str) -> Result<()> {
    let mut report = Readback::default();
    let begun = Instant::now();
    let (mut left, mut found) = (ledger.incomplete(), ledger.empty());
    let all = left.len();
    while !left.is_empty() && begun.elapsed() < FOUND {
        search_windows(client, &mut ledger, &left, &mut report, &env.cancel).await?;
        found.absorb(ledger.take_complete());
        left = ledger.incomplete();
        if !left.is_empty() {
            tokio::time::sleep(AGAIN).await;
        }
    }
    let mut detail = format!(
        "{} of {all} traces after {:.1} s",
        all - left.len(),
        begun.elapsed().as_secs_f64()
    );
    let lost = ledger.lost();
    if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
        let seconds = |ms: u32| f64::from(ms) / 1e3;
        detail += &format!(
            ", the others were sent between {:.1} and {:.1} s after the load began",
            seconds(first.sent_ms),
            seconds(last.sent_ms)
        );
    }
    if let Some(error) = report.last_error {
        detail += &format!("; the last error: {error}");
    }
    env.recorder.check(
        format!("as {step} all that was acknowledged is found by search"),
        left.is_empty() && all > 0,
        detail,
    );
    Ok(())
}

/// Of ingesters a query waits for two of three, so what only the first has from the time before is in every answer only
/// when it is in the bucket: it is asked for again.
async fn by_id(env: &Env, client: &Client, mut ledger: Ledger, step: &str) -> Result<()> {
    let traces = ledger.incomplete();
    let every = traces.len().div_ceil(BY_ID).max(1);
    let some: Vec<_> = traces.into_iter().step_by(every).collect();
    let (mut left, mut error) = (some.clone(), String::new());
    let begun = Instant::now();
    let deadline = begun + FOUND;
    while !left.is_empty() && Instant::now() < deadline {
        for read in read_by_id(client, &left, deadline, &env.cancel).await? {
            match read {
                Ok((trace, spans)) => ledger.find(trace, &spans),
                // A busy machine takes its time, and an answer is waited for.
                Err(text) => error = format!("; the last error: {text}"),
            }
        }
        let incomplete = ledger.incomplete();
        left.retain(|trace| incomplete.iter().any(|other| other.1 == trace.1));
        if !left.is_empty() {
            tokio::time::sleep(AGAIN).await;
        }
    }
    env.recorder.check(
        format!("as {step} traces of the whole time are found by id"),
        left.is_empty() && !some.is_empty(),
        format!(
            "{} of {} after {:.1} s{error}",
            some.len() - left.len(),
            some.len(),
            begun.elapsed().as_secs_f64()
        ),
    );
    Ok(())
}

/// An upgrade to the first values, whose pods would never read the log that is there: they don't start, say `words`,
/// and the log stays. Then back to the second values.
pub(super) async fn refused(
    env: &Env,
    stack: &mut Arc<dyn Stack>,
    what: &str,
    words: &[&str],
    (wanted, before): (Value, Value),
    ready: Duration,
) -> Result<()> {
    let (next, rolled_out) = env.upgrade(stack, wanted, ready).await?;
    *stack = next;
    let said = stack.logs(Component::Tempo).await?;
    let said = said
        .lines()
        .find(|line| line.starts_with("Error: ") && line.contains("blocks in"))
        .unwrap_or("nothing")
        .to_owned();
    env.recorder.check(
        format!("{what} is refused, with the way out"),
        rolled_out.is_err() && words.iter().all(|word| said.contains(word)),
        said,
    );
    let (next, rolled_out) = env.upgrade(stack, before, ready).await?;
    *stack = next;
    rolled_out.context("going back")
}

/// One Tempo on a volume gets a bucket, and the blocks of the volume are copied there, as docs/growing.md says.
async fn from_a_volume(env: &Env, example: &Example, server: &dyn ObjectStore) -> Result<()> {
    let config = tempo_config(CONFIG).and_then(|mut config| {
        merge(&mut config, tempo_config("{ingester: {complete_block_timeout: 3s}}")?);
        Ok(config)
    })?;
    let mut on_a_volume = values("{}")?;
    merge(&mut on_a_volume, config.clone());
    let stack = env.start(&example.spec(on_a_volume, SECRET_KEY)).await?;
    stack.wait_ready(READY).await?;
    let sender = Access::new(stack.as_ref())?.sender;
    let batches = Batches {
        rate: RATE,
        ..Batches::new(env.seed.wrapping_add(1))
    };
    let until = Until::Elapsed(STEP);
    let (old, _) = Load::at_rate(vec![sender.clone()], batches, until, env.cancel.clone()).await?;
    drained(env, stack.as_ref()).await?;
    let tempo = Access::new(stack.as_ref())?.tempo;
    by_search(env, &tempo, old.clone(), "one Tempo on a volume").await?;
    flush(env, stack.as_ref()).await?;
    let batches = Batches {
        rate: RATE,
        ..Batches::new(env.seed.wrapping_add(2))
    };
    let (logged, _) = Load::at_rate(vec![sender], batches, until, env.cancel.clone()).await?;
    drained(env, stack.as_ref()).await?;

    let mut in_a_bucket = example.values(server, &example.bucket)?;
    set(
        &mut in_a_bucket,
        &["tempo-stack", "tempo", "storage", "s3", "prefix"],
        FROM_A_VOLUME.into(),
    );
    merge(&mut in_a_bucket, config);
    let (stack, rolled_out) = env.upgrade(&stack, in_a_bucket, READY).await?;
    rolled_out.context("giving a bucket to a Tempo on a volume")?;
    let tempo = Access::new(stack.as_ref())?.tempo;
    by_search(
        env,
        &tempo,
        logged,
        "one Tempo with a new bucket, of what was in its log,",
    )
    .await?;
    let volume = stack.host_folders(Component::Tempo, BLOCKS)?;
    let volume = volume.first().context("one Tempo has a volume")?;
    let files = stack.files(Component::Tempo, BLOCKS).await?.unwrap_or_default();
    let files: Vec<String> = files
        .iter()
        .map(|file| volume.join(file).display().to_string())
        .collect();
    copy(
        server,
        &files,
        &format!("{}/", volume.display()),
        &format!("{FROM_A_VOLUME}/"),
    )
    .await?;
    let whom = "one Tempo with a new bucket, of what was on its volume,";
    by_search(env, &tempo, old.clone(), whom).await?;
    by_id(env, &tempo, old, whom).await?;
    env.remove(stack).await
}

/// Copies blocks to another place of the bucket, as docs/growing.md says: whole tenants, without the list of blocks that Tempo
/// makes of each. `from` is what comes before a tenant's name, and `to` what is to come before it.
async fn copy(server: &dyn ObjectStore, files: &[String], from: &str, to: &str) -> Result<()> {
    let tenant = |file: &String| file.split_once(from).map(|(_, key)| key.to_owned());
    let keys: Vec<_> = files.iter().filter_map(|file| Some((file, tenant(file)?))).collect();
    let keys = keys
        .iter()
        .filter(|(_, key)| key.starts_with("single-tenant/") && !key.contains("/index."));
    let mut copied = 0;
    for (file, key) in keys {
        server.put(&format!("{to}{key}"), file.as_ref()).await?;
        copied += 1;
    }
    anyhow::ensure!(copied > 0, "there is no block to copy among {files:?}");
    Ok(())
}
