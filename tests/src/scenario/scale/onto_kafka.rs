//! `grow` of Tempo 3.0: one Tempo over a bucket becomes a fleet over Kafka, and one Tempo again. What one Tempo has in its
//! log no live-store would write to the bucket, so the step is refused while there is some, and the way back loses nothing.
//! With the Collectors away, as docs/growing.md says, the log gets into the bucket, and the step loses nothing either; nor
//! does the way back, once block-builders have read all that is in Kafka.

use std::sync::Arc;

use anyhow::{Context, Result};
use charts::render::merge;
use serde_yaml::Value;

use crate::backend::local::Broker;
use crate::backend::{Component, Stack, files_below};
use crate::client::engine::tempo_config;
use crate::client::install::Missing;
use crate::client::metrics::Scrape;
use crate::client::readback::read_back;
use crate::env::Env;
use crate::scenario::scale::fleet_kafka::{CREDENTIALS, READY, TOPIC, broker, built, make_topic, on_topic, secret};
use crate::scenario::scale::grow::{FOUND, STEP, all_found, by_search, has_a_log, refused, so_far, start_load};
use crate::scenario::stores::store::{Example, SECRET_KEY};
use crate::scenario::{Access, drained, judge_ledger};
use crate::wait::{Look, wait_for};

/// What others put into the bucket is seen soon, and searched once it is older than what a search leaves out.
const CONFIG: &str = "
storage: {trace: {blocklist_poll: 5s}}
query_frontend: {search: {query_backend_after: 6s}}
";
/// What a live-store says that finds the log of one Tempo.
const SAYS: [&str; 3] = ["never reads", "it does so by itself", "tempo.acceptWalLoss"];
const ONE: &str = "one Tempo 3.0";
const FLEET: &str = "a fleet over Kafka";

pub(super) async fn run(env: &Env) -> Result<()> {
    let broker = match broker(env).await? {
        Ok(broker) => broker,
        Err(Missing(why)) => {
            env.recorder.skip("the way to a fleet over Kafka and back", why);
            return Ok(());
        }
    };
    make_topic(&broker, TOPIC).await?;
    let example = Example::read(env)?;
    let server = example.server(env).await?;
    let mut one = example.values(server.as_ref(), &example.bucket)?;
    merge(&mut one, tempo_config(CONFIG)?);
    let mut fleet = one.clone();
    merge(&mut fleet, on_topic(&broker, TOPIC)?);

    let mut spec = example.spec(one.clone(), SECRET_KEY);
    spec.objects.push_str(&secret(CREDENTIALS.password)?);
    let mut stack = env.start(&spec).await?;
    stack.wait_ready(READY).await?;
    let load = start_load(env, stack.as_ref())?;
    tokio::time::sleep(STEP).await;
    all_found(env, stack.as_ref(), ONE, &load).await?;
    has_a_log(env, stack.as_ref(), FLEET).await?;
    let before = so_far(&load);
    let what = format!("{FLEET} on the log of {ONE}");
    refused(env, &mut stack, &what, &SAYS, (fleet.clone(), one.clone()), READY).await?;
    // What came in meanwhile is in Kafka, and found by a fleet.
    let tempo = Access::new(stack.as_ref())?.tempo;
    by_search(env, &tempo, before, &format!("{ONE}, once {FLEET} was refused,")).await?;

    stack = without_collectors(env, stack, fleet, None).await?;
    tokio::time::sleep(STEP).await;
    all_found(env, stack.as_ref(), FLEET, &load).await?;
    stack = without_collectors(env, stack, one, Some(&broker)).await?;
    tokio::time::sleep(STEP).await;
    all_found(env, stack.as_ref(), &format!("{ONE} again"), &load).await?;
    let (mut ledger, _) = load.stop().await?;
    drained(env, stack.as_ref()).await?;
    read_back(&Access::new(stack.as_ref())?.tempo, &mut ledger, FOUND, &env.cancel).await?;
    judge_ledger(env, "on the way onto Kafka and back", &ledger)?;
    env.finish(stack).await?;
    broker.stop().await
}

/// Upgrades while no Collector sends: from one Tempo once its log is in the bucket, from a fleet once what is in Kafka is.
async fn without_collectors(
    env: &Env,
    stack: Arc<dyn Stack>,
    wanted: Value,
    kafka: Option<&Broker>,
) -> Result<Arc<dyn Stack>> {
    stack.stop_pod(Component::OtelCollector).await?;
    match kafka {
        Some(broker) => built(env, broker).await?,
        None => written(env, stack.as_ref()).await?,
    }
    let (next, rolled_out) = env.upgrade(&stack, wanted, READY).await?;
    rolled_out.context("upgrading without Collectors")?;
    if next.pids(Component::OtelCollector).await?.is_empty() {
        next.start_pod(Component::OtelCollector).await?;
    }
    next.wait_ready(READY).await?;
    Ok(next)
}

/// Waits until the log of one Tempo 3.0 is in the bucket: no trace is in memory only, and of each block a file says so.
async fn written(env: &Env, stack: &dyn Stack) -> Result<()> {
    let engine = env.engine()?;
    let log = stack.host_folders(Component::Tempo, engine.log())?;
    let log = log.first().context("one Tempo has a volume")?;
    wait_for("a log that is in the bucket", FOUND, &env.cancel, || async {
        let metrics = stack.metrics(Component::Tempo).await?;
        let scrape = Scrape::parse(metrics.values().next().context("there is no Tempo")?)?;
        let live = scrape.sum(engine.live_traces(), &[]);
        let files = files_below(log);
        let blocks = files.iter().filter_map(|file| file.strip_suffix("/meta.json"));
        let left = blocks
            .filter(|block| !files.contains(&format!("{block}/flushed")))
            .count();
        Ok(if live == Some(0.0) && left == 0 {
            Look::Found(())
        } else {
            Look::NotYet(format!("{live:?} traces in memory, {left} blocks in the log"))
        })
    })
    .await?;
    Ok(())
}
