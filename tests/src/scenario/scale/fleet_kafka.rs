//! `fleet-kafka`: the parts of Tempo 3.0 as pods of their own, which share a real Kafka. What goes in through any
//! receiver, and straight into Tempo, is found; one pod of each part is killed under load, a zone is away, the
//! broker is away for a minute, every pod is replaced, and no acknowledged span is lost. What block-builders
//! wrote is found by a fleet whose live-stores have never seen it, and no span twice.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use charts::render::merge;
use serde_yaml::Value;

use crate::backend::local::{Broker, Credentials};
use crate::backend::{Component, ObjectStore, Stack};
use crate::client::install::{JAVA, MAVEN, MAVEN_JARS, Missing, Package, Program};
use crate::client::load::Load;
use crate::client::readback::read_back;
use crate::client::tempo::{Client, Search};
use crate::env::Env;
use crate::model::id::TraceId;
use crate::model::ledger::Ledger;
use crate::scenario::scale::fleet::{
    Queries, batches, every_door, every_pod_anew, goes_on, kills, pods_of, stand_still, tempo_door,
};
use crate::scenario::stores::store::{Example, SECRET_KEY};
use crate::scenario::{Access, drained, judge_ledger, values};
use crate::wait::{Look, wait_for};

/// Apache Kafka 4 needs Java 17 (kafka.apache.org/documentation/#java).
const JAVA_17: Program = Program {
    at_least: (17, 0),
    package: "openjdk-17-jre-headless",
    ..JAVA
};

const KAFKA: Package = Package {
    name: "kafka",
    programs: &[JAVA_17, MAVEN],
    files: &["pom.xml", "SHA256SUMS"],
    registry: "Maven Central",
    install: &[
        MAVEN_JARS,
        &["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
    ],
};

/// With what YAML, a shell and Tempo's own expansion might take for theirs.
pub(in crate::scenario) const CREDENTIALS: Credentials = Credentials {
    username: "tempo",
    password: "it's #1: $HOME {x}",
};

pub(in crate::scenario) const TOPIC_COMMAND: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS_COMMAND: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const PARTITIONS: u32 = 2;
/// The topic of the fleet that takes everything in.
pub(super) const TOPIC: &str = "traces";
/// Fourteen programs on a busy two-core machine; a worker waits for its scheduler.
pub(super) const READY: Duration = Duration::from_secs(240);
const READ: Duration = Duration::from_secs(120);
/// The broker is away for so long.
const BROKER_AWAY: Duration = Duration::from_secs(60);
/// Block-builders have written everything: some of their cycles on a busy machine.
const BUILT: Duration = Duration::from_secs(180);
const CALM: Duration = Duration::from_secs(2);
/// Traces that are read by their ids to see whether a span is in them twice.
const READ_FOR_DOUBLES: usize = 300;

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    if !env.engine()?.runs_on_kafka() {
        let reason = "only the parts of Tempo 3.0 share Kafka: `--tempo PATH` names one";
        env.recorder.skip("Tempo as a fleet over Kafka", reason);
        return Ok(());
    }
    let broker = match broker(env).await? {
        Ok(broker) => broker,
        Err(Missing(why)) => {
            env.recorder.skip("Tempo as a fleet over Kafka", why);
            return Ok(());
        }
    };
    let example = Example::read(env)?;
    let server = example.server(env).await?;
    let begun = Instant::now();
    let stack = start(env, &broker, &example, server.as_ref(), TOPIC, "{}").await?;
    env.recorder.measured(
        "start of a fleet over Kafka",
        begun.elapsed().as_secs_f64(),
        "s",
        format!("{} pods of Tempo", stack.pod_names(Component::Tempo).await?.len()),
    );
    every_door(env, stack.as_ref()).await?;

    let access = Access::new(stack.as_ref())?;
    let load = Load::start(access.sender.clone(), batches(env, 1), env.cancel.clone());
    let direct = Load::start(tempo_door(stack.as_ref())?, batches(env, 2), env.cancel.clone());
    let queries = Queries::start(access.tempo.clone());
    kills(env, stack.as_ref()).await?;
    queries.judge(env, "while a pod of each part is killed").await?;
    let zone = zone(stack.as_ref()).await?;
    stand_still(env, stack.as_ref(), &access.tempo, &load, &zone).await?;
    for pod in &zone {
        stack.recover(pod).await?;
    }
    broker_away(env, &broker, &access.tempo, &load).await?;
    let queries = Queries::start(access.tempo.clone());
    every_pod_anew(env, &stack, &[]).await?;
    let answered = queries.judge(env, "while every pod is replaced").await?;
    env.recorder.check(
        "no query fails while every pod is replaced",
        answered.repeated == 0,
        answered.to_string(),
    );
    let mut ledgers = Vec::new();
    for (what, load) in [("through the Collector", load), ("straight into Tempo", direct)] {
        let (mut ledger, _) = load.stop().await?;
        drained(env, stack.as_ref()).await?;
        read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
        judge_ledger(env, what, &ledger)?;
        ledgers.push((what, ledger));
    }
    built(env, &broker).await?;
    env.remove(stack).await?;
    from_blocks(env, &broker, &example, server.as_ref(), ledgers).await?;
    broker.stop().await
}

/// A Kafka without topics that lets [`CREDENTIALS`] in; or why this machine can have none.
pub(in crate::scenario) async fn broker(env: &Env) -> Result<Result<Broker, Missing>> {
    Ok(match env.install("brokers", &KAFKA).await? {
        Ok(installed) => Ok(env.backend.kafka(&installed, CREDENTIALS).await?),
        Err(missing) => Err(missing),
    })
}

/// The Secret `kafka` with this password.
pub(in crate::scenario) fn secret(password: &str) -> Result<String> {
    Ok(format!(
        "\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: kafka}}\nstringData: {{password: {}}}\n",
        serde_json::to_string(password).context("writing JSON")?
    ))
}

/// Makes a topic as docs/fleet.md says.
pub(super) async fn make_topic(broker: &Broker, topic: &str) -> Result<()> {
    let partitions = PARTITIONS.to_string();
    let topic_args = ["--create", "--topic", topic, "--partitions", &partitions];
    let config = [
        "--config",
        "max.message.bytes=16777216",
        "--config",
        "retention.ms=86400000",
    ];
    broker
        .command(
            TOPIC_COMMAND,
            &[&topic_args[..], &["--replication-factor", "1"], &config].concat(),
        )
        .await?;
    Ok(())
}

/// Values of a fleet on a topic.
pub(super) fn on_topic(broker: &Broker, topic: &str) -> Result<Value> {
    values(&format!(
        "
tempo-stack:
  tempo:
    mode: microservices
    kafka:
      address: {}
      topic: {topic}
      partitions: {PARTITIONS}
      sasl: {{username: {}, existingSecret: kafka, passwordKey: password}}
    components: {{blockBuilder: {{cycle: 20s}}}}
",
        broker.address(),
        CREDENTIALS.username
    ))
}

/// A fleet on a topic of its own.
async fn start(
    env: &Env,
    broker: &Broker,
    example: &Example,
    server: &dyn ObjectStore,
    topic: &str,
    more: &str,
) -> Result<Arc<dyn Stack>> {
    make_topic(broker, topic).await?;
    let mut wanted = example.values(server, &example.bucket)?;
    merge(&mut wanted, on_topic(broker, topic)?);
    merge(&mut wanted, values(more)?);
    let mut spec = example.spec(wanted, SECRET_KEY);
    spec.objects.push_str(&secret(CREDENTIALS.password)?);
    let stack = env.start(&spec).await?;
    stack.wait_ready(READY).await?;
    Ok(stack)
}

/// The live-stores of one of the zones.
async fn zone(stack: &dyn Stack) -> Result<Vec<String>> {
    let workload = |pod: &str| pod.rsplit_once('-').map(|(workload, _)| workload.to_owned());
    let mut pods = pods_of(stack, "live-store").await?;
    let first = workload(pods.first().context("no live-store")?);
    pods.retain(|pod| workload(pod) == first);
    Ok(pods)
}

/// Kafka is killed and comes back: what the Collector takes meanwhile waits in its queue.
async fn broker_away(env: &Env, broker: &Broker, tempo: &Client, load: &Load) -> Result<()> {
    broker.stop().await?;
    goes_on(env, tempo, load, "the broker is away", BROKER_AWAY).await?;
    broker.start_again(&env.cancel).await?;
    tokio::time::sleep(CALM).await;
    Ok(())
}

/// Waits until block-builders have made blocks of all records.
pub(super) async fn built(env: &Env, broker: &Broker) -> Result<()> {
    let found = wait_for(
        "block-builders at the end of their partitions",
        BUILT,
        &env.cancel,
        || async {
            let left = left_to_build(broker).await?;
            let done = left.len() == PARTITIONS as usize && left.iter().all(|left| left == "0");
            Ok(if done {
                Look::Found(())
            } else {
                Look::NotYet(format!("records left in each partition: {left:?}"))
            })
        },
    )
    .await;
    let detail = found.as_ref().map_or_else(
        |error| format!("{error:#}"),
        |found| format!("after {:.1} s", found.elapsed.as_secs_f64()),
    );
    env.recorder
        .check("block-builders write all that is in Kafka", found.is_ok(), detail);
    Ok(())
}

/// Records of each partition of which no block was made, as Kafka has it: the sixth column is the lag
/// (kafka.apache.org/documentation/#basic_ops_consumer_group).
async fn left_to_build(broker: &Broker) -> Result<Vec<String>> {
    let said = broker
        .command(GROUPS_COMMAND, &["--describe", "--group", "block-builder"])
        .await?;
    let rows = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|words| words.get(1) == Some(&TOPIC));
    Ok(rows
        .filter_map(|words| words.get(5).map(|lag| (*lag).to_owned()))
        .collect())
}

/// A fleet on an empty topic has nothing but the bucket: everything is found there, and no span twice.
async fn from_blocks(
    env: &Env,
    broker: &Broker,
    example: &Example,
    server: &dyn ObjectStore,
    ledgers: Vec<(&'static str, Ledger)>,
) -> Result<()> {
    // A search asks live-stores alone for what is younger than this; and what lists the blocks may be as old as the
    // pause between two polls.
    let blocks_at_once = "
tempo-stack:
  tempo:
    config:
      query_frontend: {search: {query_backend_after: 6s}}
      storage: {trace: {blocklist_poll: 5s}}
";
    let stack = start(env, broker, example, server, "empty", blocks_at_once).await?;
    let access = Access::new(stack.as_ref())?;
    for (what, mut ledger) in ledgers {
        ledger.forget_found();
        read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
        judge_ledger(env, &format!("{what}, from blocks alone"), &ledger)?;
        doubles(env, &access.tempo, what, &ledger).await?;
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock")?
        .as_secs();
    let found = access
        .tempo
        .search(&Search::new("{}").between(now - 3600, now).limit(1))
        .await?;
    env.recorder.check(
        "a search finds what only blocks hold",
        !found.is_empty(),
        format!("{} traces", found.len()),
    );
    env.finish(stack).await
}

/// Reads traces by their ids: Kafka and the Collector deliver some of them more than once.
async fn doubles(env: &Env, tempo: &Client, what: &str, ledger: &Ledger) -> Result<()> {
    let (mut spans, mut twice) = (0, 0);
    let ids: Vec<TraceId> = ledger.acknowledged().map(|(id, _)| id).collect();
    let step = (ids.len() / READ_FOR_DOUBLES).max(1);
    for id in ids.into_iter().step_by(step) {
        let trace = tempo.trace(id).await?.with_context(|| format!("trace {id} is gone"))?;
        let scopes = trace
            .resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans);
        let mut seen = HashSet::new();
        for span in scopes.flat_map(|scope| scope.spans) {
            spans += 1;
            twice += u32::from(!seen.insert(span.span_id));
        }
    }
    let listed = ledger.summary().duplicates;
    env.recorder.check(
        format!("{what}: no span is there twice"),
        twice == 0 && listed == 0 && spans > 0,
        format!("{twice} of {spans} spans read by id, {listed} of those that searches list"),
    );
    Ok(())
}
