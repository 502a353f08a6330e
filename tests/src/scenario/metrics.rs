//! `metrics`: what Prometheus is told of calls between services equals what was sent, exemplars lead to traces,
//! and the queries of the datasource and of the dashboards find something.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use charts::dashboard::{Language, Query, Source, queries};
use charts::manifest::{Manifest, lookup};
use charts::render::merge;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_yaml::Value;

use super::{Access, judge_ledger, values};
use crate::backend::prometheus::{Prometheus, USER, watch};
use crate::backend::{Stack, StackSpec};
use crate::client::prometheus::Client;
use crate::client::readback::read_back;
use crate::client::tempo::Search;
use crate::env::Env;
use crate::model::calls::Calls;
use crate::model::corpus::now_unix_nano;
use crate::model::door::Door;
use crate::model::id::TraceId;
use crate::model::ledger::Ledger;
use crate::wait::{Look, wait_for};

const PASSWORD: &str = "e2e-remote-write";
/// The Secret with it, and the key in that.
const SECRET: (&str, &str) = ("e2e-remote-write", "password");
const READY: Duration = Duration::from_secs(60);
const CALLS: u32 = 1_000;
/// In each request.
const CALLS_PER_REQUEST: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);
/// Tempo's counter of spans.
const SPANS: &str = "traces_spanmetrics_calls_total";
/// How long what was sent may take to show in Prometheus, on a busy two-core machine: an edge is told after the
/// ten seconds for which Tempo waits for the other half of a call, the kubelet counts a volume once a minute.
const TOLD: Duration = Duration::from_secs(90);
const READ: Duration = Duration::from_secs(60);
/// The window of rates in panels.
const WINDOW: &str = "30s";
/// How far the rate that TraceQL tells may be off.
const TOLERANCE: f64 = 0.05;
/// Exemplars that are looked up, of all that came.
const LOOKED_UP: usize = 20;
const SECOND: u64 = 1_000_000_000;

const VALUES: &str = "
tempo-stack:
  serviceMonitor: {enabled: true, interval: 1s, scrapeTimeout: 1s}
  # Of such a volume of the local-path provisioner the kubelet knows how full it is.
  otelCollector: {queue: {persistence: {annotations: {volumeType: local}}}}
  tempo:
    metricsGenerator: {enabled: true, collectionInterval: 1s}
  grafana:
    datasource: {enabled: true, tracesToMetrics: {datasourceUid: prometheus}, serviceMap: {datasourceUid: prometheus}}
    dashboards: {enabled: true}
";

const TRACEQL: &str = "{tempo-stack: {tempo: {traceqlMetrics: {range: recent}}}}";

pub(super) async fn run(env: &Env) -> Result<()> {
    let prometheus = env.prometheus(PASSWORD).await?;
    let mut all = values(VALUES)?;
    merge(&mut all, target(prometheus.as_ref())?);
    let answers = env.engine()?.can_answer_metrics();
    if answers {
        merge(&mut all, values(TRACEQL)?);
    }
    let stack = env.start(&monitored(all, PASSWORD)).await?;
    stack.wait_ready(READY).await?;
    watch(prometheus.as_ref(), stack.as_ref(), PASSWORD).await?;
    let client = Client::new(prometheus.as_ref(), PASSWORD);
    let access = Access::new(stack.as_ref())?;

    let begun = now_unix_nano()? / SECOND;
    let mut calls = Calls::new(env.seed);
    let mut ledger = Ledger::new("metrics");
    for n in 0..CALLS / CALLS_PER_REQUEST {
        let from = calls.ids.len();
        let traces = calls.next(CALLS_PER_REQUEST, now_unix_nano()?);
        let ids = &calls.ids[from..];
        ledger.send_all(ids);
        let outcome = access.sender.send(Door::OtlpGrpc, &traces).await?;
        ledger.settle(&outcome, ids.iter().copied());
        if n == 0 {
            begun_to_write(env, client).await?;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let ended = now_unix_nano()? / SECOND + 1;

    for (what, expression, labels, sent) in [
        (
            "spans by service and status",
            SPANS,
            ["service", "status_code"],
            &calls.spans,
        ),
        (
            "calls of each edge",
            "traces_service_graph_request_total",
            ["client", "server"],
            &calls.edges,
        ),
        (
            "failed calls of each edge",
            "traces_service_graph_request_failed_total > 0",
            ["client", "server"],
            &calls.failed,
        ),
    ] {
        equal(env, client, what, (expression, &labels), sent).await?;
    }
    env.evidence("prometheus.metrics", client.own_metrics().await?);
    exemplars(env, client, &access, (begun, ended)).await?;
    if answers {
        rate(env, &access, (begun, ended), calls.ids.len()).await?;
    } else {
        env.recorder
            .skip("TraceQL's rate", "Tempo answers TraceQL metrics from 2.9 on");
    }
    dashboards(env, client, &access, stack.as_ref()).await?;
    datasource(env, client, stack.as_ref()).await?;
    read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    judge_ledger(env, "calls", &ledger)?;
    env.finish(stack).await
}

/// Waits for the first samples of a new tenant. Tempo's writer may find no log yet, tries again after five seconds and
/// leaves out the samples from before, but not their exemplars, which Prometheus drops because it has no such series:
/// `Watcher.loop` of prometheus/tsdb/wlog, which starts before the log is there (seen with 2.9.0 and 2.10.8).
async fn begun_to_write(env: &Env, client: Client<'_>) -> Result<()> {
    wait_for("the first samples", TOLD, &env.cancel, || async {
        Ok(match client.query(SPANS).await?.is_empty() {
            true => Look::NotYet("none".into()),
            false => Look::Found(()),
        })
    })
    .await?;
    Ok(())
}

/// A stack with these values, and the Secret that they name as [`target`].
pub(super) fn monitored(values: Value, password: &str) -> StackSpec {
    let (secret, key) = SECRET;
    let metadata = format!("metadata: {{name: {secret}}}");
    StackSpec {
        objects: format!("{{apiVersion: v1, kind: Secret, {metadata}, stringData: {{{key}: {password}}}}}"),
        ..StackSpec::new(values)
    }
}

/// The values with which Tempo writes to a Prometheus.
pub(super) fn target(prometheus: &dyn Prometheus) -> Result<Value> {
    let (secret, key) = SECRET;
    let url = format!("http://{}/api/v1/write", prometheus.endpoint());
    let target = format!("{{url: '{url}', existingSecret: {secret}, username: {USER}, passwordKey: {key}}}");
    values(&format!(
        "{{tempo-stack: {{tempo: {{metricsGenerator: {{remoteWrite: {{prometheus: {target}}}}}}}}}}}"
    ))
}

/// A metric has exactly the series that were sent, by these labels, with exactly these values.
async fn equal(
    env: &Env,
    client: Client<'_>,
    what: &str,
    (expression, labels): (&str, &[&str]),
    sent: &BTreeMap<Vec<String>, f64>,
) -> Result<()> {
    let told = wait_for(what, TOLD, &env.cancel, || async {
        let told = client.sums(expression, labels).await?;
        Ok(if told == *sent {
            Look::Found(())
        } else {
            Look::NotYet(format!("{told:?} instead of {sent:?}"))
        })
    })
    .await;
    let detail = told.as_ref().map_or_else(
        |error| format!("{error:#}"),
        |found| {
            format!(
                "{} after {:.1} s",
                sent.values().sum::<f64>(),
                found.elapsed.as_secs_f64()
            )
        },
    );
    env.recorder
        .check(format!("{what} are those that were sent"), told.is_ok(), detail);
    Ok(())
}

/// The traces that exemplars name are there.
async fn exemplars(env: &Env, client: Client<'_>, access: &Access, range: (u64, u64)) -> Result<()> {
    let range = (range.0, range.1 + TOLD.as_secs());
    for metric in [
        "traces_spanmetrics_latency_bucket",
        "traces_service_graph_request_server_seconds_bucket",
    ] {
        let ids = wait_for("exemplars", TOLD, &env.cancel, || async {
            let ids = client.exemplars(metric, range, "traceID").await?;
            Ok(match ids.is_empty() {
                true => Look::NotYet("none".into()),
                false => Look::Found(ids),
            })
        })
        .await
        .map_or_else(|_| BTreeSet::new(), |found| found.value);
        let mut missing = Vec::new();
        for id in ids.iter().take(LOOKED_UP) {
            let trace: TraceId = id.parse().with_context(|| format!("the exemplar {id:?}"))?;
            if access.tempo.trace(trace).await?.is_none() {
                missing.push(id);
            }
        }
        env.recorder.check(
            format!("exemplars of {metric} lead to traces"),
            !ids.is_empty() && missing.is_empty(),
            format!("{} exemplars, not found of {LOOKED_UP}: {missing:?}", ids.len()),
        );
    }
    Ok(())
}

/// TraceQL metrics count what was sent.
async fn rate(env: &Env, access: &Access, range: (u64, u64), sent: usize) -> Result<()> {
    let sent = sent as f64;
    let told = wait_for("TraceQL's rate", TOLD, &env.cancel, || async {
        let told = access.tempo.sum_of_seconds("{} | rate()", range).await?;
        Ok(if (told - sent).abs() <= TOLERANCE * sent {
            Look::Found(told)
        } else {
            Look::NotYet(format!("{told} of {sent} spans"))
        })
    })
    .await;
    let detail = told.as_ref().map_or_else(
        |error| format!("{error:#}"),
        |found| format!("{:.0} of {sent} spans", found.value),
    );
    env.recorder
        .check("TraceQL's rate is what was sent", told.is_ok(), detail);
    Ok(())
}

/// Every query of every panel finds something, where what it asks for is there.
async fn dashboards(env: &Env, client: Client<'_>, access: &Access, stack: &dyn Stack) -> Result<()> {
    let mut asked: BTreeMap<String, Vec<Query>> = BTreeMap::new();
    let kubelets = client.knows_kubelets();
    for query in queries(&stack.render().manifests, WINDOW)? {
        match query.source {
            Source::Stack => asked.entry(query.dashboard.clone()).or_default().push(query),
            Source::Kubelet if kubelets => asked.entry(query.dashboard.clone()).or_default().push(query),
            Source::Kubelet => env.recorder.skip(
                format!("dashboard {}: {}", query.dashboard, query.panel),
                "there is no kubelet here, which has its metrics",
            ),
            Source::Canary => bail!("panel {} is of the canary, which is off", query.panel),
        }
    }
    for (dashboard, queries) in asked {
        let found = wait_for("an answer to each query", TOLD, &env.cancel, || async {
            let mut empty = Vec::new();
            for query in &queries {
                let found = match query.language {
                    Language::PromQl => client.query(&query.expr).await?.len(),
                    Language::TraceQl => access.tempo.search(&Search::new(&query.expr)).await?.len(),
                };
                if found == 0 {
                    empty.push(format!("{}: {}", query.panel, query.expr));
                }
            }
            Ok(match empty.is_empty() {
                true => Look::Found(()),
                false => Look::NotYet(format!("nothing for {}", empty.join("; "))),
            })
        })
        .await;
        let detail = found
            .as_ref()
            .map_or_else(|error| format!("{error:#}"), |_| format!("{} queries", queries.len()));
        let name = format!("dashboard {dashboard}: every query finds something");
        env.recorder.check(name, found.is_ok(), detail);
    }
    Ok(())
}

/// The queries that the datasource offers for a span find something, for a span of each service.
async fn datasource(env: &Env, client: Client<'_>, stack: &dyn Stack) -> Result<()> {
    let offered = offered(&stack.render().manifests)?;
    let mut empty = Vec::new();
    for (name, query) in &offered {
        // What Grafana puts there of a span.
        let query = query.replace("$__tags", r#"service="payment""#);
        if client.query(&query).await?.is_empty() {
            empty.push(format!("{name}: {query}"));
        }
    }
    env.recorder.check(
        "every query that the datasource offers finds something",
        !offered.is_empty() && empty.is_empty(),
        format!("{} queries, without an answer: {empty:?}", offered.len()),
    );
    Ok(())
}

/// Name and text of the queries from a span to metrics, as Grafana has them once it has read the file.
fn offered(manifests: &[Manifest]) -> Result<Vec<(String, String)>> {
    let mut offered = Vec::new();
    for map in manifests.iter().filter(|m| m.kind == "ConfigMap") {
        let data = map.parse::<ConfigMap>()?.data.unwrap_or_default();
        for (_, text) in data.iter().filter(|(name, _)| name.ends_with("-tempo.yaml")) {
            // A dollar is written twice in a file of Grafana's.
            let file: Value = serde_yaml::from_str(&text.replace("$$", "$")).context("reading the datasource")?;
            let datasource = lookup(&file, &["datasources"]).and_then(|all| all.get(0));
            let queries = datasource.and_then(|one| lookup(one, &["jsonData", "tracesToMetrics", "queries"]));
            for query in queries.and_then(Value::as_sequence).into_iter().flatten() {
                let text = |key| query.get(key).and_then(Value::as_str).map(str::to_owned);
                offered.push((
                    text("name").unwrap_or_default(),
                    text("query").context("a query has a text")?,
                ));
            }
        }
    }
    Ok(offered)
}
