//! `roundtrip`: what goes in through any receiver comes back equal, from memory, from the write-ahead log and
//! from the block store.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use charts::manifest::{Manifest, lookup};
use charts::render::merge;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use serde_yaml::Value;

use super::{Access, NO_UDP_ROUTE, UDP_ON, doors, values};
use crate::backend::prometheus::selected;
use crate::backend::{Component, Stack};
use crate::client::credentials::http_client;
use crate::client::metrics::Scrape;
use crate::client::tempo::span_count;
use crate::env::Env;
use crate::model::compare::compare;
use crate::model::corpus::{Corpus, RESOURCE_MARKER, SPAN_MARKER, Sample};
use crate::model::door::Door;
use crate::model::expect::expected;
use crate::model::outcome::Outcome;
use crate::wait::{Look, wait_for};

/// How long a trace may take to be found, on a busy two-core machine.
const FOUND: Duration = Duration::from_secs(20);
/// How long a cut, a flush or a restart may take.
const SETTLED: Duration = Duration::from_secs(30);

/// A sample that was sent, and what is expected of it.
struct Sent {
    door: Door,
    sample: Sample,
    spans: usize,
    at: Instant,
}

pub(super) async fn run(env: &Env) -> Result<()> {
    let mut all = values(UDP_ON)?;
    merge(&mut all, values("{tempo-stack: {serviceMonitor: {enabled: true}}}")?);
    let stack = env.ready_stack(all).await?;
    let access = Access::new(stack.as_ref())?;
    let corpus = Corpus::from_now(env.seed)?;

    first(env, &access, &corpus).await?;
    let mut sent = Vec::new();
    for (n, door) in Door::ALL.into_iter().enumerate() {
        if doors(stack.as_ref())?.address(door).is_none() {
            env.recorder.skip(door.to_string(), NO_UDP_ROUTE);
            continue;
        }
        sent.extend(send(env, &access, &corpus, u32::try_from(n)?, door).await?);
    }
    in_memory(env, &access, &sent).await?;
    by_search(env, &access, &sent).await;
    tags(env, &access, &sent).await?;
    let nobody = access.tempo.trace(corpus.sample(u32::MAX - 1).id).await?;
    env.recorder
        .check("a trace that nobody sent is not found", nobody.is_none(), "");
    cut(env, &access).await?;
    compared(env, &access, &sent, "write-ahead log").await?;
    in_the_store(env, stack.as_ref(), &access).await?;
    compared(env, &access, &sent, "block store, after a restart").await?;

    scrape(env, stack.as_ref()).await?;
    datasource(env, stack.as_ref()).await?;
    for (name, reason) in env.backend.unproven() {
        env.recorder.skip(*name, *reason);
    }
    for (name, reason) in stack.unproven() {
        env.recorder.skip(name, reason);
    }
    env.finish(stack).await
}

/// The first trace of a fresh stack: the Collector may still be making its connection to Tempo, so it
/// is measured by itself.
async fn first(env: &Env, access: &Access, corpus: &Corpus) -> Result<()> {
    let sample = corpus.sample(u32::MAX);
    access.sender.send(Door::OtlpGrpc, &sample.traces).await?;
    let waited = access
        .tempo
        .wait_for_trace(sample.id, span_count(&sample.traces), FOUND, &env.cancel)
        .await?;
    report_times(env, "first trace: ack to by-id", vec![waited.elapsed]);
    Ok(())
}

/// Sends one sample; none if the receiver did not take it, which is a failed check.
async fn send(env: &Env, access: &Access, corpus: &Corpus, n: u32, door: Door) -> Result<Option<Sent>> {
    let mut sample = corpus.sample(n);
    let outcome = access.sender.send(door, &sample.traces).await?;
    let at = Instant::now();
    let taken = match outcome {
        Outcome::Sent => !door.acknowledges(),
        ref other => door.acknowledges() && other.is_acked(),
    };
    env.recorder.check(format!("{door}: taken"), taken, outcome.to_string());
    // From here on only what the receiver carries is expected back.
    sample.traces = expected(door, &sample.traces);
    let spans = span_count(&sample.traces);
    Ok(taken.then_some(Sent {
        door,
        sample,
        spans,
        at,
    }))
}

/// At once: Tempo answers from memory.
async fn in_memory(env: &Env, access: &Access, sent: &[Sent]) -> Result<()> {
    let drops = env.engine()?.drops_from_blocks();
    let mut times = Vec::new();
    for Sent {
        door,
        sample,
        spans,
        at,
    } in sent
    {
        match access.tempo.wait_for_trace(sample.id, *spans, FOUND, &env.cancel).await {
            Ok(found) => {
                // UDP has no acknowledgement: it is measured from the send.
                times.push(at.elapsed());
                let (name, comparison) = (
                    format!("{door}: equal in memory"),
                    compare(&sample.traces, &found.value),
                );
                match drops {
                    // After a second it comes from the write-ahead log.
                    Some(reason) if !comparison.is_equal() => env.recorder.skip(name, reason),
                    _ => {
                        env.recorder.check(name, comparison.is_equal(), comparison.summary());
                    }
                }
            }
            Err(error) => {
                env.recorder
                    .check(format!("{door}: equal in memory"), false, format!("{error:#}"));
            }
        }
    }
    report_times(env, "ack to by-id", times);
    Ok(())
}

/// By TraceQL on span, resource and status.
async fn by_search(env: &Env, access: &Access, sent: &[Sent]) {
    let mut times = Vec::new();
    for Sent { door, sample, at, .. } in sent {
        let mut missed = Vec::new();
        for query in sample.queries() {
            match access
                .tempo
                .wait_for_search(sample.id, &query, FOUND, &env.cancel)
                .await
            {
                Ok(_) => times.push(at.elapsed()),
                Err(error) => missed.push(format!("{error:#}")),
            }
        }
        let detail = if missed.is_empty() {
            "span, resource, status".to_owned()
        } else {
            missed.join("; ")
        };
        env.recorder
            .check(format!("{door}: found by TraceQL"), missed.is_empty(), detail);
    }
    report_times(env, "ack to search", times);
}

fn report_times(env: &Env, name: &str, mut times: Vec<Duration>) {
    times.sort();
    if let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) {
        let milliseconds = |d: &Duration| (d.as_secs_f64() * 1000.0).round();
        let detail = format!(
            "median {} ms, longest {} ms of {}",
            milliseconds(median),
            milliseconds(longest),
            times.len()
        );
        env.recorder.measured(name, milliseconds(median), "ms", detail);
    }
}

/// The tags and tag values that Grafana offers.
async fn tags(env: &Env, access: &Access, sent: &[Sent]) -> Result<()> {
    let tags = access.tempo.tags().await?;
    for (scope, marker) in [("span", SPAN_MARKER), ("resource", RESOURCE_MARKER)] {
        let listed = tags.get(scope).is_some_and(|tags| tags.iter().any(|tag| tag == marker));
        env.recorder.check(
            format!("tags list the attribute of the {scope}"),
            listed,
            format!("{} scopes", tags.len()),
        );
        let values = access.tempo.tag_values(&format!("{scope}.{marker}")).await?;
        let missing: Vec<&str> = sent
            .iter()
            .map(|s| s.sample.marker.as_str())
            .filter(|marker| !values.iter().any(|v| v.value == *marker && v.kind == "string"))
            .collect();
        env.recorder.check(
            format!("tag values of the {scope} list every sample"),
            missing.is_empty(),
            format!("missing: {missing:?}"),
        );
    }
    Ok(())
}

/// Waits until Tempo holds no live trace: all are cut to the write-ahead log.
async fn cut(env: &Env, access: &Access) -> Result<()> {
    let gauge = env.engine()?.live_traces();
    let waited = wait_for(
        "every trace cut to the write-ahead log",
        SETTLED,
        &env.cancel,
        || async {
            let metrics = Scrape::parse(&access.tempo.metrics().await?)?;
            Ok(match metrics.sum(gauge, &[]) {
                Some(0.0) => Look::Found(()),
                Some(live) => Look::NotYet(format!("{live} live traces")),
                None => bail!("Tempo reports no {gauge}"),
            })
        },
    )
    .await?;
    env.recorder.say(format!(
        "cut to the write-ahead log after {:.1} s more",
        waited.elapsed.as_secs_f64()
    ));
    Ok(())
}

/// Compares every sample again.
async fn compared(env: &Env, access: &Access, sent: &[Sent], place: &str) -> Result<()> {
    let engine = env.engine()?;
    let drops = engine.drops_from_blocks();
    let mut wrong = Vec::new();
    for Sent {
        door, sample, spans, ..
    } in sent
    {
        match access.tempo.wait_for_trace(sample.id, *spans, FOUND, &env.cancel).await {
            Ok(found) => {
                let mut comparison = compare(&sample.traces, &found.value);
                if !engine.keeps_link_order() {
                    comparison = comparison.but_for_link_order();
                }
                if drops.is_none() && !comparison.is_equal() {
                    wrong.push(format!("{door}: {}", comparison.summary()));
                }
            }
            Err(error) => wrong.push(format!("{door}: {error:#}")),
        }
    }
    let detail = if wrong.is_empty() {
        format!("{} traces", sent.len())
    } else {
        wrong.join("; ")
    };
    let asked = if drops.is_none() { "equal" } else { "found" };
    env.recorder
        .check(format!("{asked} from the {place}"), wrong.is_empty(), detail);
    if let Some(reason) = drops {
        env.recorder.skip(format!("equal from the {place}"), reason);
    }
    Ok(())
}

/// Ships the blocks and starts Tempo again.
pub(super) async fn in_the_store(env: &Env, stack: &dyn Stack, access: &Access) -> Result<()> {
    let engine = env.engine()?;
    if engine.can_flush() {
        access.tempo.flush().await?;
    }
    wait_for("a block in the store", SETTLED, &env.cancel, || async {
        let files = stack.files(Component::Tempo, "/var/tempo/blocks").await?;
        let blocks = files.map(|files| files.iter().filter(|f| f.ends_with("meta.json")).count());
        let flushed = Scrape::parse(&access.tempo.metrics().await?)?.sum(engine.blocks_flushed(), &[]);
        Ok(match (blocks, flushed) {
            (None | Some(1..), Some(1.0..)) => Look::Found(()),
            other => Look::NotYet(format!("blocks on disk, blocks flushed: {other:?}")),
        })
    })
    .await?;
    let stop = stack.restart_container(Component::Tempo).await?;
    let how = if stop.killed {
        ", killed at the end of the grace period"
    } else {
        ""
    };
    env.recorder
        .say(format!("Tempo stopped after {:.1} s{how}", stop.elapsed.as_secs_f64()));
    stack.wait_ready(SETTLED).await
}

/// Every port and path that a ServiceMonitor names answers with the program's own series.
async fn scrape(env: &Env, stack: &dyn Stack) -> Result<()> {
    let manifests = &stack.render().manifests;
    let monitors: Vec<&Manifest> = manifests.iter().filter(|m| m.kind == "ServiceMonitor").collect();
    if monitors.is_empty() {
        bail!("no ServiceMonitor was rendered");
    }
    for monitor in monitors {
        let component = monitored(monitor, manifests)?;
        let endpoints = monitor
            .get(&["spec", "endpoints"])
            .and_then(Value::as_sequence)
            .context("a ServiceMonitor has endpoints")?;
        for endpoint in endpoints {
            let text = |key| lookup(endpoint, &[key]).and_then(Value::as_str);
            let (port, path) = (
                text("port").context("an endpoint names its port")?,
                text("path").unwrap_or("/metrics"),
            );
            let url = format!("{}{path}", stack.endpoints().url(component, port)?);
            let response = http_client()?
                .get(&url)
                .send()
                .await
                .with_context(|| format!("asking {url}"))?;
            let (status, body) = (response.status(), response.text().await.unwrap_or_default());
            let prefix = if component == Component::Tempo {
                "tempo_"
            } else {
                "otelcol_"
            };
            let series = body.lines().filter(|line| line.starts_with(prefix)).count();
            let ok = status.is_success() && series > 0;
            env.recorder.check(
                format!("{} scrapes {port}{path}", monitor.name),
                ok,
                format!("{status}, {series} {prefix} series"),
            );
        }
    }
    Ok(())
}

/// The component behind the one Service that a ServiceMonitor selects.
fn monitored(monitor: &Manifest, manifests: &[Manifest]) -> Result<Component> {
    let found = selected(monitor, manifests)?;
    let [service] = found.as_slice() else {
        bail!("{} selects {} Services", monitor.id(), found.len());
    };
    let selector = service
        .parse::<Service>()?
        .spec
        .and_then(|s| s.selector)
        .unwrap_or_default();
    selector
        .get("app.kubernetes.io/component")
        .and_then(|label| Component::from_label(label))
        .with_context(|| format!("{} leads to no known component", service.id()))
}

/// The datasource's URL leads to Tempo.
async fn datasource(env: &Env, stack: &dyn Stack) -> Result<()> {
    let mut urls = Vec::new();
    for manifest in stack.render().manifests.iter().filter(|m| m.kind == "ConfigMap") {
        for text in manifest.parse::<ConfigMap>()?.data.unwrap_or_default().values() {
            let Ok(document) = serde_yaml::from_str::<Value>(text) else {
                continue;
            };
            let sources = lookup(&document, &["datasources"]).and_then(Value::as_sequence);
            urls.extend(
                sources
                    .into_iter()
                    .flatten()
                    .filter_map(|s| s.get("url").and_then(Value::as_str).map(str::to_owned)),
            );
        }
    }
    let [url] = urls.as_slice() else {
        bail!("{} datasource URLs were rendered, not one", urls.len())
    };
    let echo = format!("{}/api/echo", stack.reach(url)?);
    let response = http_client()?
        .get(&echo)
        .send()
        .await
        .with_context(|| format!("asking {echo}"))?;
    let (status, body) = (response.status(), response.text().await.unwrap_or_default());
    env.recorder.check(
        "the datasource's URL answers",
        status.is_success() && body.trim() == "echo",
        format!("{url}: {status}"),
    );
    Ok(())
}
