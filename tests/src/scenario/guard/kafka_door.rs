//! `kafka-door`: spans come in from a topic of a real Kafka. Who has the wrong password reads nothing; what is on the
//! topic before is read; what nobody can read is left out; and a Collector that is killed again and again loses
//! nothing. They are put there by another Collector, which says yes to its senders once Kafka has them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::backend::local::Broker;
use crate::backend::{Component, Stack, StackSpec};
use crate::client::credentials::Credentials;
use crate::client::install::Missing;
use crate::client::load::{Batches, Load};
use crate::client::metrics::Scrape;
use crate::client::readback::read_back;
use crate::client::send::Sender;
use crate::client::tempo::span_count;
use crate::env::Env;
use crate::model::corpus::Corpus;
use crate::model::door::Door;
use crate::scenario::guard::judge_untold;
use crate::scenario::scale::fleet_kafka::{self, CREDENTIALS, TOPIC_COMMAND};
use crate::scenario::{Access, SEND_TIMEOUT, doors, drained, judge_ledger, per_pod, values};
use crate::wait::{Look, wait_for};

const READY: Duration = Duration::from_secs(60);
/// A group that lost a member without a word waits for its session to end, 10 s, before another reads on.
const READ: Duration = Duration::from_secs(120);
const TOPIC: &str = "spans";
const WRONG: &str = "wrong-password-of-kafka";
const RATE: u32 = 500;
const KILLS: u32 = 2;
const KILLS_IN_FULL: u32 = 10;

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    let broker = match fleet_kafka::broker(env).await? {
        Ok(broker) => broker,
        Err(Missing(why)) => {
            env.recorder.skip("spans from Kafka", why);
            return Ok(());
        }
    };
    let topic = [
        "--create",
        "--topic",
        TOPIC,
        "--partitions",
        "2",
        "--replication-factor",
        "1",
    ];
    broker.command(TOPIC_COMMAND, &topic).await?;
    let producer = env.start(&spec(producer(&broker), CREDENTIALS.password)?).await?;
    producer.wait_ready(READY).await?;
    let sender = Sender::new(
        &doors(producer.as_ref())?,
        &Credentials::rendered(&producer.render().manifests)?,
        SEND_TIMEOUT,
    )?;

    let stack = env.start(&spec(consumer(&broker), WRONG)?).await?;
    stack.wait_ready(READY).await?;
    let first = Corpus::from_now(env.seed)?.sample(0);
    let outcome = sender.send(Door::OtlpGrpc, &first.traces).await?;
    ensure!(outcome.is_acked(), "Kafka did not take a span: {outcome}");
    let access = Access::new(stack.as_ref())?;
    kept_out(env, stack.as_ref(), &access, first.id).await?;

    let password = [("password".to_owned(), CREDENTIALS.password.to_owned())];
    stack.change_secret("kafka", password.into()).await?;
    stack.stop_pod(Component::OtelCollector).await?;
    stack.start_pod(Component::OtelCollector).await?;
    stack.wait_ready(READY).await?;
    let spans = span_count(&first.traces);
    let found = access.tempo.wait_for_trace(first.id, spans, READ, &env.cancel).await;
    let what = "with the right one, what was on the topic before is found";
    env.recorder.worked(what, &found, |found| {
        format!("after {:.1} s", found.elapsed.as_secs_f64())
    });

    unreadable(env, stack.as_ref(), &sender).await?;
    killed(env, &stack, &access, sender).await?;
    untold(env, stack.as_ref()).await?;
    env.finish(producer).await?;
    env.finish(stack).await?;
    broker.stop().await
}

/// A release with this password in the Secret `kafka`.
fn spec(wanted: String, password: &str) -> Result<StackSpec> {
    let mut spec = StackSpec::new(values(&wanted)?);
    spec.objects = fleet_kafka::secret(password)?;
    Ok(spec)
}

/// A Collector that puts what it gets on the topic before it answers: over OTLP as protobuf, over Jaeger as JSON,
/// which nobody can read who expects protobuf.
fn producer(broker: &Broker) -> String {
    let exporter = |encoding: &str| {
        format!(
            "brokers: ['{}'], traces: {{topic: {TOPIC}, encoding: {encoding}}}, producer: {{required_acks: all}}, \
             auth: {{sasl: {{mechanism: PLAIN, username: {}, password: '${{file:/etc/kafka/password}}'}}}}, \
             sending_queue: {{enabled: false}}, retry_on_failure: {{enabled: false}}",
            broker.address(),
            CREDENTIALS.username
        )
    };
    format!(
        "
tempo-stack:
  tempo: {{enabled: false}}
  grafana: {{datasource: {{enabled: false}}}}
  otelCollector:
    replicas: 1
    exporter: {{endpoint: 'nobody.invalid:4317'}}
    extraVolumes: {{kafka: {{mountPath: /etc/kafka, source: {{secret: {{secretName: kafka}}}}}}}}
    config:
      exporters:
        otlp: null
        kafka: {{{}}}
        kafka/json: {{{}}}
      service:
        pipelines:
          traces: {{receivers: [otlp], exporters: [kafka]}}
          traces/json: {{receivers: [jaeger], exporters: [kafka/json]}}
",
        exporter("otlp_proto"),
        exporter("otlp_json")
    )
}

fn consumer(broker: &Broker) -> String {
    format!(
        "
tempo-stack:
  otelCollector:
    replicas: 1
    receivers:
      kafka:
        enabled: true
        brokers: ['{}']
        topic: {TOPIC}
        sasl: {{username: {}, existingSecret: kafka}}
",
        broker.address(),
        CREDENTIALS.username
    )
}

/// Kafka lets nobody in who has the wrong password, and the Collector says so and goes on.
async fn kept_out(env: &Env, stack: &dyn Stack, access: &Access, id: crate::model::id::TraceId) -> Result<()> {
    let said = wait_for("a word about the password", READ, &env.cancel, || async {
        let log = stack.logs(Component::OtelCollector).await?;
        let line = log.lines().find(|line| line.contains("SASL_AUTHENTICATION_FAILED"));
        Ok(match line {
            Some(line) => Look::Found(line.to_owned()),
            None => Look::NotYet("its log says nothing of SASL".into()),
        })
    })
    .await?;
    let stored = access.tempo.trace(id).await?.is_some();
    env.recorder.check(
        "with the wrong password nothing is read from Kafka, and the log says why",
        !stored,
        said.value,
    );
    Ok(())
}

/// A record that is not what the values say is counted and left out.
async fn unreadable(env: &Env, stack: &dyn Stack, sender: &Sender) -> Result<()> {
    let traces = Corpus::from_now(env.seed)?.sample(1).traces;
    let outcome = sender.send(Door::JaegerGrpc, &traces).await?;
    ensure!(outcome.is_acked(), "Kafka did not take a span: {outcome}");
    let counted = wait_for("a record that can't be read", READ, &env.cancel, || async {
        let metrics = stack.metrics(Component::OtelCollector).await?;
        let text = metrics.values().next().context("there is no Collector")?;
        let counted = Scrape::parse(text)?.sum("otelcol_kafka_receiver_unmarshal_failed_spans", &[]);
        Ok(match counted {
            Some(count) if count > 0.0 => Look::Found(count),
            _ => Look::NotYet("none was counted".into()),
        })
    })
    .await;
    let what = "a record that nobody can read is counted and left out";
    env.recorder
        .worked(what, &counted, |counted| format!("{} records", counted.value));
    Ok(())
}

/// A Collector that is killed reads on after what is in its queue.
async fn killed(env: &Env, stack: &Arc<dyn Stack>, access: &Access, sender: Sender) -> Result<()> {
    let batches = Batches {
        rate: RATE,
        ..Batches::new(env.seed)
    };
    let load = Load::start(sender, batches, env.cancel.clone());
    let pods = stack.pod_names(Component::OtelCollector).await?;
    let pod = pods.first().context("there is no Collector")?;
    let kills = if env.full { KILLS_IN_FULL } else { KILLS };
    for _ in 0..kills {
        wait_for("spans from the topic", READ, &env.cancel, || async {
            let read = per_pod(stack.as_ref(), "otelcol_receiver_accepted_spans").await;
            Ok(match read {
                Ok(read) if read.values().sum::<f64>() > 0.0 => Look::Found(()),
                _ => Look::NotYet("none since its start".into()),
            })
        })
        .await?;
        stack.kill_one(pod).await?;
        stack.wait_ready(READY).await?;
    }
    let (mut ledger, _) = load.stop().await?;
    read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    drained(env, stack.as_ref()).await?;
    judge_ledger(
        env,
        &format!("a Collector that reads from Kafka is killed {kills} times"),
        &ledger,
    )
}

/// The password stands in its Secret and nowhere else.
async fn untold(env: &Env, stack: &dyn Stack) -> Result<()> {
    let mut places = vec![("its log".to_owned(), stack.logs(Component::OtelCollector).await?)];
    places.extend(stack.metrics(Component::OtelCollector).await?);
    places.extend(stack.configs().await?);
    places.push(("a manifest".into(), stack.render().text.clone()));
    let check = "the password of Kafka is in no log, metric, configuration or manifest";
    judge_untold(env, check, &places, &[CREDENTIALS.password, WRONG]);
    Ok(())
}
