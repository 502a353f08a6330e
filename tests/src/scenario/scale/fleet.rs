//! `fleet`: Tempo's parts as pods of their own. What goes in through any receiver, and straight into Tempo, is
//! found; one pod of each part is killed under load, an ingester comes and goes, every pod is replaced and a
//! zone is away, and no acknowledged span is lost and no query fails for good. In full, old traces also go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use charts::render::merge;
use serde_yaml::Value;
use tokio::task::{JoinHandle, JoinSet};

use crate::backend::{Component, Fault, ObjectStore, Stack, Stop};
use crate::client::credentials::{Credentials, http_client};
use crate::client::engine::tempo_config;
use crate::client::load::{Batches, Load};
use crate::client::readback::read_back;
use crate::client::send::Sender;
use crate::client::tempo::{Client, Search, span_count};
use crate::env::Env;
use crate::model::corpus::Corpus;
use crate::model::door::{Door, Doors};
use crate::scenario::stores::store::{Example, SECRET_KEY};
use crate::scenario::{Access, doors, drained, judge_ledger, values};
use crate::wait::{Look, wait_for};

/// Two ingesters in each of three zones, of which one is stopped at first. The compactor doesn't wait for more of its
/// kind, and what stops leaves sooner than in a cluster, where endpoints take time to change.
const FLEET: &str = r#"
tempo-stack:
  tempo:
    mode: microservices
    components: {ingester: {replicas: 6, zones: [zone-a, zone-b, zone-c]}}
    config:
      shutdown_delay: 1s
      compactor: {ring: {wait_stability_min_duration: 0s}}
      # A search reads each block, and those of a few seconds are many.
      ingester: {max_block_duration: 5m}
      memberlist: {cluster_label: 'e2e $x ${POD_NAME} $$ \ end'}
"#;
/// As Tempo has to read it: were it expanded, each pod would have another one, and none would find the others.
const LABEL: &str = r"e2e $x ${POD_NAME} $$ \ end";
/// A fleet of the fewest pods, in which a trace is old soon.
const OLD_SOON: &str = "
tempo-stack:
  tempo:
    mode: microservices
    retention: {period: 45s}
    components:
      distributor: {replicas: 1}
      ingester: {replicas: 3}
      querier: {replicas: 1}
      queryFrontend: {replicas: 1}
    config:
      shutdown_delay: 1s
      compactor: {ring: {wait_stability_min_duration: 0s}}
";
const RETENTION: Duration = Duration::from_secs(45);
/// How long an old trace and its blocks may take to go: each of the cycles of 5 s that it takes may be late.
const GONE: Duration = Duration::from_secs(180);
const RATE: u32 = 250;
const READY: Duration = Duration::from_secs(90);
const BACK: Duration = Duration::from_secs(60);
const FOUND: Duration = Duration::from_secs(20);
const SEND: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_secs(60);
/// Between two disturbances: the parts tell each other within a second or two.
const CALM: Duration = Duration::from_secs(2);
const AWAY: Duration = Duration::from_secs(8);
/// Between two queries.
const ASK: Duration = Duration::from_millis(250);
/// How long a query that failed is asked again: what was open to a killed pod breaks, as it does for Grafana.
const AGAIN: Duration = Duration::from_secs(10);

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    if !env.engine()?.runs_as_a_fleet() {
        let reason = "the chart writes a fleet without Kafka for Tempo 2.9 and 2.10 only: fleet-kafka has those of 3.0";
        env.recorder.skip("Tempo as a fleet", reason);
        return Ok(());
    }
    if env.backend.cluster().is_some() {
        return crate::scenario::cluster::fleet::run(env).await;
    }
    let example = Example::read(env)?;
    let server = example.server(env).await?;
    let stack = start(env, &example, server.as_ref(), values(FLEET)?).await?;
    // Of each zone the second ingester.
    let mut spare = pods_of(stack.as_ref(), "ingester").await?;
    spare.retain(|pod| pod.ends_with("-1"));
    for stop in spare.iter().map(|pod| stop(&stack, pod)).collect::<Vec<_>>() {
        stop.await.context("a stop ended badly")??;
    }
    as_written(env, stack.as_ref()).await?;
    every_door(env, stack.as_ref()).await?;

    let access = Access::new(stack.as_ref())?;
    let through = Load::start(access.sender.clone(), batches(env, 1), env.cancel.clone());
    let straight = Load::start(tempo_door(stack.as_ref())?, batches(env, 2), env.cancel.clone());
    let queries = Queries::start(access.tempo.clone());
    kills(env, stack.as_ref()).await?;
    comes_and_goes(env, stack.as_ref(), spare.first().context("no second ingester")?).await?;
    queries
        .judge(env, "while a pod of each part is killed and an ingester comes and goes")
        .await?;
    let queries = Queries::start(access.tempo.clone());
    every_pod_anew(env, &stack, &spare).await?;
    let answered = queries.judge(env, "while every pod is replaced").await?;
    env.recorder.check(
        "no query fails while every pod is replaced",
        answered.repeated == 0,
        answered.to_string(),
    );
    let zone = a_zone_away(env, stack.as_ref(), &access.tempo, &through).await?;
    let (mut through, _) = through.stop().await?;
    let (mut straight, _) = straight.stop().await?;
    drained(env, stack.as_ref()).await?;
    // Two of three acknowledge a span: what the killed one had in memory may be in this zone alone.
    stack.recover(&zone).await?;
    for (what, ledger) in [
        ("through the Collector", &mut through),
        ("straight into Tempo", &mut straight),
    ] {
        read_back(&access.tempo, ledger, READ, &env.cancel).await?;
        judge_ledger(env, what, ledger)?;
    }
    in_the_bucket(env, server.as_ref()).await?;
    if !env.full {
        return env.finish(stack).await;
    }
    env.remove(stack).await?;
    old_traces_go(env, &example, server.as_ref()).await
}

/// Stops a pod while others are stopped too.
fn stop(stack: &Arc<dyn Stack>, pod: &str) -> JoinHandle<Result<Stop>> {
    let (stack, pod) = (Arc::clone(stack), pod.to_owned());
    tokio::spawn(async move { stack.stop_one(&pod).await })
}

async fn start(env: &Env, example: &Example, server: &dyn ObjectStore, fleet: Value) -> Result<Arc<dyn Stack>> {
    let mut wanted = example.values(server, &example.bucket)?;
    merge(&mut wanted, fleet);
    let stack = env.start(&example.spec(wanted, SECRET_KEY)).await?;
    stack.wait_ready(READY).await?;
    Ok(stack)
}

pub(in crate::scenario) fn batches(env: &Env, n: u64) -> Batches {
    Batches {
        rate: RATE,
        ..Batches::new(env.seed.wrapping_add(n))
    }
}

/// The names of a part's pods, by what its containers run (`-target`).
pub(in crate::scenario) async fn pods_of(stack: &dyn Stack, target: &str) -> Result<Vec<String>> {
    Ok(parts(stack).await?.remove(target).unwrap_or_default())
}

/// The pods of Tempo by what they run; nothing where one program does everything.
pub(crate) async fn parts(stack: &dyn Stack) -> Result<BTreeMap<String, Vec<String>>> {
    let targets: BTreeMap<String, String> = stack
        .render()
        .manifests
        .iter()
        .filter(|manifest| ["Deployment", "StatefulSet"].contains(&manifest.kind.as_str()))
        .filter_map(|manifest| {
            let label = ["spec", "template", "metadata", "labels", "tempo-stack/target"];
            let target = manifest.get(&label)?.as_str()?;
            Some((manifest.name.clone(), target.to_owned()))
        })
        .collect();
    let mut parts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in stack.pod_names(Component::Tempo).await? {
        // The pods of a Deployment have two suffixes, and the names of some workloads begin with that of another.
        let of = |workload: &&String| pod.strip_prefix(*workload).is_some_and(|rest| rest.starts_with('-'));
        let workload = targets.keys().filter(of).max_by_key(|workload| workload.len());
        if let Some(target) = workload.and_then(|workload| targets.get(workload)) {
            parts.entry(target.clone()).or_default().push(pod);
        }
    }
    Ok(parts)
}

/// Sends to the port of Tempo's Service that applications without a Collector use.
pub(in crate::scenario) fn tempo_door(stack: &dyn Stack) -> Result<Sender> {
    let otlp_grpc = stack.endpoints().get(Component::Tempo, "otlp-grpc")?;
    Sender::new(
        &Doors {
            otlp_grpc,
            ..doors(stack)?
        },
        &Credentials::default(),
        SEND,
    )
}

/// What a user writes in `tempo.config` reaches Tempo as it stands there, although the file is expanded.
async fn as_written(env: &Env, stack: &dyn Stack) -> Result<()> {
    let url = format!("{}/status/config", stack.endpoints().url(Component::Tempo, "http")?);
    let response = http_client()?.get(&url).send().await;
    let text = response.context("asking for the configuration")?.text().await?;
    // Tempo's pages begin with a line of their own.
    let document = text.rsplit("---\n").next().unwrap_or_default();
    let config: Value = serde_yaml::from_str(document).with_context(|| format!("reading {url}"))?;
    let label = charts::manifest::lookup(&config, &["memberlist", "cluster_label"]).and_then(Value::as_str);
    env.recorder.check(
        "a dollar sign in tempo.config reaches Tempo as it is written",
        label == Some(LABEL),
        format!("{label:?}"),
    );
    Ok(())
}

pub(in crate::scenario) async fn every_door(env: &Env, stack: &dyn Stack) -> Result<()> {
    let access = Access::new(stack)?;
    let corpus = Corpus::from_now(env.seed)?;
    let direct = tempo_door(stack)?;
    let doors = Door::ALL.into_iter().filter(|door| door.acknowledges());
    let ways = doors
        .map(|door| (door.name(), &access.sender, door))
        .chain([("tempo:4317", &direct, Door::OtlpGrpc)]);
    for (n, (name, sender, door)) in ways.enumerate() {
        let sample = corpus.sample(u32::try_from(n)?);
        let outcome = sender.send(door, &sample.traces).await?;
        let sent = outcome.is_acked();
        let found = access
            .tempo
            .wait_for_trace(sample.id, span_count(&sample.traces), FOUND, &env.cancel)
            .await;
        let detail = found.as_ref().map_or_else(
            |error| format!("{outcome}, {error:#}"),
            |found| format!("found after {} ms", found.elapsed.as_millis()),
        );
        env.recorder.check(
            format!("what goes in through {name} is found"),
            sent && found.is_ok(),
            detail,
        );
    }
    Ok(())
}

/// One pod of each part, one after the other.
pub(in crate::scenario) async fn kills(env: &Env, stack: &dyn Stack) -> Result<()> {
    for (target, pods) in parts(stack).await? {
        let Some(pod) = pods.first() else { continue };
        let before = stack.pids(Component::Tempo).await?.get(pod).copied();
        stack.kill_one(pod).await?;
        let back = back(env, stack, pod, before).await;
        let detail = back.as_ref().map_or_else(|error| format!("{error:#}"), String::clone);
        env.recorder
            .check(format!("{target} is back after a kill"), back.is_ok(), detail);
        tokio::time::sleep(CALM).await;
    }
    Ok(())
}

/// Waits until another process is the pod's, and it is ready.
async fn back(env: &Env, stack: &dyn Stack, pod: &str, before: Option<i32>) -> Result<String> {
    let found = wait_for("the pod to be back", BACK, &env.cancel, || async {
        let now = stack.pids(Component::Tempo).await?.get(pod).copied();
        Ok(if now.is_none() || now == before {
            Look::NotYet(format!("process {now:?}"))
        } else {
            Look::Found(())
        })
    })
    .await?;
    stack.wait_ready(BACK).await?;
    Ok(format!("another process after {} ms", found.elapsed.as_millis()))
}

/// 3 → 4 → 3 ingesters.
async fn comes_and_goes(env: &Env, stack: &dyn Stack, spare: &str) -> Result<()> {
    stack.start_one(spare, BACK).await?;
    tokio::time::sleep(AWAY).await;
    let metrics = stack.metrics(Component::Tempo).await?;
    let took = metrics
        .get(spare)
        .map(|text| crate::client::metrics::Scrape::parse(text))
        .transpose()?
        .and_then(|scrape| scrape.sum("tempo_ingester_traces_created_total", &[]))
        .unwrap_or(0.0);
    env.recorder
        .check("a fourth ingester takes its part", took > 0.0, format!("{took} traces"));
    let stop = stack.stop_one(spare).await?;
    env.recorder.check(
        "an ingester that leaves ends by itself",
        !stop.killed,
        format!("after {:.1} s", stop.elapsed.as_secs_f64()),
    );
    tokio::time::sleep(CALM).await;
    Ok(())
}

/// Each workload one pod at a time and all workloads at once, as an upgrade does it.
pub(in crate::scenario) async fn every_pod_anew(env: &Env, stack: &Arc<dyn Stack>, spare: &[String]) -> Result<()> {
    let begun = Instant::now();
    let mut rolls = JoinSet::new();
    for mut pods in parts(stack.as_ref()).await?.into_values() {
        pods.retain(|pod| !spare.contains(pod));
        let stack = Arc::clone(stack);
        rolls.spawn(async move {
            for pod in &pods {
                stack.stop_one(pod).await?;
                stack.start_one(pod, BACK).await?;
            }
            anyhow::Ok(pods.len())
        });
    }
    let mut replaced = 0;
    while let Some(roll) = rolls.join_next().await {
        replaced += roll.context("a roll ended badly")??;
    }
    env.recorder.measured(
        "replacing every pod of Tempo",
        begun.elapsed().as_secs_f64(),
        "s",
        format!("{replaced} pods"),
    );
    Ok(())
}

pub(in crate::scenario) async fn in_the_bucket(env: &Env, server: &dyn ObjectStore) -> Result<()> {
    let blocks = server.objects().await?;
    let blocks = blocks.iter().filter(|key| key.ends_with("meta.json")).count();
    env.recorder.check(
        "ingesters write blocks to the bucket",
        blocks > 0,
        format!("{blocks} blocks"),
    );
    Ok(())
}

/// The ingester of one of three zones stands still; says which, and leaves it so.
async fn a_zone_away(env: &Env, stack: &dyn Stack, tempo: &Client, load: &Load) -> Result<String> {
    let ingesters = pods_of(stack, "ingester").await?;
    let zone = ingesters.into_iter().find(|pod| pod.contains("-zone-3-"));
    let zone = zone.context("no ingester in the third zone")?;
    stand_still(env, stack, tempo, load, std::slice::from_ref(&zone)).await?;
    Ok(zone)
}

/// The pods of a zone stand still, as behind a cut cable: queries are answered, and spans are taken.
pub(in crate::scenario) async fn stand_still(
    env: &Env,
    stack: &dyn Stack,
    tempo: &Client,
    load: &Load,
    zone: &[String],
) -> Result<()> {
    for pod in zone {
        stack.disturb(pod, Fault::Frozen).await?;
    }
    goes_on(env, tempo, load, "a zone is away", AWAY).await
}

/// For so long, while this is the case, spans are taken and every query is answered.
pub(in crate::scenario) async fn goes_on(
    env: &Env,
    tempo: &Client,
    load: &Load,
    what: &str,
    time: Duration,
) -> Result<()> {
    let queries = Queries::start(tempo.clone());
    let before = load.ledger().summary().acked;
    tokio::time::sleep(time).await;
    let after = load.ledger().summary().acked;
    queries.judge(env, &format!("while {what}")).await?;
    env.recorder.check(
        format!("spans are taken while {what}"),
        after > before,
        format!("{} in {} s", after - before, time.as_secs()),
    );
    Ok(())
}

/// A trace is found until its time is up, then it goes and with it the blocks that the bucket had.
async fn old_traces_go(env: &Env, example: &Example, server: &dyn ObjectStore) -> Result<()> {
    let mut wanted = values(OLD_SOON)?;
    merge(&mut wanted, tempo_config(env.engine()?.quick_retention())?);
    let stack = start(env, example, server, wanted).await?;
    let access = Access::new(stack.as_ref())?;
    let sample = Corpus::from_now(env.seed.wrapping_add(9))?.sample(0);
    let begun = Instant::now();
    let outcome = access.sender.send(Door::OtlpGrpc, &sample.traces).await?;
    anyhow::ensure!(outcome.is_acked(), "the trace was not taken: {outcome}");
    access
        .tempo
        .wait_for_trace(sample.id, span_count(&sample.traces), FOUND, &env.cancel)
        .await?;
    tokio::time::sleep(RETENTION / 2).await;
    // Blocks that were merged go within seconds here, and a querier that still lists one answers with an error.
    let spans = span_count(&sample.traces);
    let young = access.tempo.wait_for_trace(sample.id, spans, AGAIN, &env.cancel).await;
    env.recorder.check(
        "a young trace stays",
        young.is_ok(),
        format!("after {} s", begun.elapsed().as_secs()),
    );
    let blocks = metas(server).await?;
    let gone = wait_for("the old trace to go", GONE, &env.cancel, || async {
        let left: Vec<_> = metas(server)
            .await?
            .into_iter()
            .filter(|key| blocks.contains(key))
            .collect();
        let found = access.tempo.trace(sample.id).await?.is_some();
        Ok(if found || !left.is_empty() {
            Look::NotYet(format!("found: {found}, {} of {} blocks", left.len(), blocks.len()))
        } else {
            Look::Found(())
        })
    })
    .await;
    let age = begun.elapsed();
    let detail = gone.as_ref().map_or_else(
        |error| format!("{error:#}"),
        |_| format!("{} blocks and the trace after {} s", blocks.len(), age.as_secs()),
    );
    env.recorder.check(
        "an old trace goes, and so do the blocks",
        gone.is_ok() && age >= RETENTION && !blocks.is_empty(),
        detail,
    );
    env.finish(stack).await
}

/// The blocks that the bucket holds, those included that are marked to be deleted.
async fn metas(server: &dyn ObjectStore) -> Result<Vec<String>> {
    let mut keys = server.objects().await?;
    keys.retain(|key| key.ends_with("/meta.json") || key.ends_with("/meta.compacted.json"));
    Ok(keys)
}

/// Searches that go on until they are judged.
pub(in crate::scenario) struct Queries {
    done: Arc<AtomicBool>,
    task: JoinHandle<Answered>,
}

/// How they were answered.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Answered {
    pub asked: u32,
    /// Answered when they were asked again.
    pub repeated: u32,
    /// Not answered within [`AGAIN`].
    failed: u32,
    last: Option<String>,
}

impl std::fmt::Display for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Answered {
            asked,
            repeated,
            failed,
            last,
        } = self;
        write!(
            f,
            "{asked} searches, {repeated} answered when asked again, {failed} not at all"
        )?;
        last.as_ref()
            .map_or(Ok(()), |last| write!(f, "; the last error: {last}"))
    }
}

impl Queries {
    pub fn start(client: Client) -> Queries {
        let done = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&done);
        let task = tokio::spawn(async move {
            let mut answered = Answered::default();
            while !until.load(Ordering::Relaxed) {
                answered.ask(&client).await;
                tokio::time::sleep(ASK).await;
            }
            answered
        });
        Queries { done, task }
    }

    /// Ends them. Each was answered, if need be when it was asked again.
    pub async fn judge(self, env: &Env, when: &str) -> Result<Answered> {
        self.done.store(true, Ordering::Relaxed);
        let answered = self.task.await.context("asking queries")?;
        env.recorder.check(
            format!("every query is answered {when}"),
            answered.failed == 0 && answered.asked > 0,
            answered.to_string(),
        );
        Ok(answered)
    }
}

impl Answered {
    async fn ask(&mut self, client: &Client) {
        self.asked += 1;
        let begun = Instant::now();
        let mut first = true;
        loop {
            match client.search(&Search::new("{}").limit(1)).await {
                Ok(_) => {
                    self.repeated += u32::from(!first);
                    return;
                }
                Err(error) => self.last = Some(format!("{error:#}")),
            }
            first = false;
            if begun.elapsed() > AGAIN {
                self.failed += 1;
                return;
            }
            tokio::time::sleep(ASK).await;
        }
    }
}
