//! `presets`: what is said of every span, what nobody wants to keep, and what must never be on a disk.
//!
//! A text that must not be kept is planted in every place of a span that has room for a text, each time another one, and
//! beside it a text that may stay. Tempo is away, so that what was sent lies in the queue's file; then it comes back, writes
//! its log and a block. None of the first texts is in any of these bytes or answers, and the others are.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::json;

use crate::backend::{Component, DATA, QUEUE, Stack, StackSpec};
use crate::client::credentials::http_client;
use crate::client::metrics::Scrape;
use crate::env::Env;
use crate::model::corpus::{attribute, now_unix_nano, text};
use crate::model::door::Door;
use crate::model::id::{SpanId, TraceId};
use crate::scenario::guard::doors::files_of;
use crate::scenario::guard::judge_untold;
use crate::scenario::roundtrip::in_the_store;
use crate::scenario::{Access, drained, queue_bytes, values};
use crate::wait::{Look, wait_for};

const READY: Duration = Duration::from_secs(60);
const READ: Duration = Duration::from_secs(60);
const CLUSTER: &str = "east-1";
/// How many of the texts that may stay can't be read in Tempo's files: Snappy writes a part of a text that it has seen
/// before as a reference. The others show that such texts can be.
const COMPRESSED: usize = PLACES.len() / 2;
/// Spans of each kind that nobody wants.
const UNWANTED: usize = 10;

const VALUES: &str = r"
tempo-stack:
  otelCollector:
    replicas: 1
    receivers: {zipkin: {enabled: true}}
    presets:
      resource: {attributes: {k8s.cluster.name: east-1}}
      drop: {healthChecks: true, names: {ticks: '^cron tick$'}}
      redaction: {enabled: true, patterns: {customers: 'customer-[a-z]{12}'}}
";

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    let stack = env.start(&StackSpec::new(values(VALUES)?)).await?;
    stack.wait_ready(READY).await?;
    let access = Access::new(stack.as_ref())?;
    let planted = Planted::new(env.seed);
    let unwanted = unwanted(env.seed)?;

    stack.stop_pod(Component::Tempo).await?;
    let traces = planted.traces(now_unix_nano()?);
    for (what, door, traces) in [
        ("what must not be kept", Door::OtlpGrpc, &traces),
        ("what nobody wants", Door::OtlpHttpProtobuf, &unwanted.traces),
    ] {
        let outcome = access.sender.send(door, traces).await?;
        env.recorder
            .check(format!("{what} is taken"), outcome.is_acked(), outcome.to_string());
    }
    zipkin(env, stack.as_ref(), &planted).await?;
    wait_for("spans in the queue", READ, &env.cancel, || async {
        let waiting = queue_bytes(stack.as_ref()).await?;
        Ok(if waiting > 0.0 {
            Look::Found(())
        } else {
            Look::NotYet("an empty queue".into())
        })
    })
    .await?;
    planted.judge(
        env,
        "the queue's file",
        &files_of(stack.as_ref(), Component::OtelCollector, QUEUE)?,
        0,
    );

    stack.start_pod(Component::Tempo).await?;
    stack.wait_ready(READY).await?;
    drained(env, stack.as_ref()).await?;
    read(env, &access, &planted, "Tempo").await?;
    // Tempo cuts a trace from memory to its write-ahead log a moment after it is found.
    let logged = wait_for("the write-ahead log", READ, &env.cancel, || async {
        let files = files_of(stack.as_ref(), Component::Tempo, DATA)?;
        let missing = planted.missing(&files);
        Ok(if missing.len() <= COMPRESSED {
            Look::Found(files)
        } else {
            Look::NotYet(format!("these texts are missing: {}", missing.join(", ")))
        })
    })
    .await?;
    planted.judge(env, "Tempo's write-ahead log", &logged.value, COMPRESSED);
    in_the_store(env, stack.as_ref(), &access).await?;
    read(env, &access, &planted, "a block").await?;
    planted.judge(
        env,
        "Tempo's blocks",
        &files_of(stack.as_ref(), Component::Tempo, DATA)?,
        COMPRESSED,
    );
    logs(env, stack.as_ref(), &planted).await?;
    dropped(env, stack.as_ref(), &access, &unwanted).await?;
    env.finish(stack).await
}

/// Texts that must not be kept, by the place that they are planted in, and texts that may.
struct Planted {
    secrets: BTreeMap<&'static str, Secret>,
    kept: BTreeMap<&'static str, String>,
    trace: TraceId,
    zipkin: TraceId,
    span: SpanId,
}

struct Secret {
    text: String,
    /// What of it is random: compression, as of blocks, writes it as it is and may write the rest as a reference.
    part: String,
}

/// Where texts are planted in spans of OTLP.
const PLACES: [&str; 16] = [
    "resource attribute",
    "scope name",
    "scope version",
    "scope attribute",
    "span name",
    "attribute",
    "attribute with a secret's key",
    "attribute with a number",
    "attribute with a list",
    "attribute with a map",
    "status message",
    "trace state",
    "event name",
    "event attribute",
    "link attribute",
    "link trace state",
];
/// And in spans of Zipkin.
const ZIPKIN_PLACES: [&str; 3] = ["Zipkin name", "Zipkin tag", "Zipkin annotation"];
/// What is masked or removed whole, so that nothing beside it stays.
const WHOLE: [&str; 4] = [
    "attribute with a secret's key",
    "attribute with a number",
    "link attribute",
    "link trace state",
];

impl Planted {
    fn new(seed: u64) -> Planted {
        let mut random = StdRng::seed_from_u64(seed);
        let mut secrets = BTreeMap::new();
        let mut kept = BTreeMap::new();
        for (n, place) in PLACES.into_iter().chain(ZIPKIN_PLACES).enumerate() {
            let mut some = |of: std::ops::RangeInclusive<u8>, count: usize| -> String {
                let one = |_| char::from(random.random_range(of.clone()));
                (0..count).map(one).collect()
            };
            let part = some(b'a'..=b'z', 12);
            let mut digits = |count| some(b'0'..=b'9', count);
            let text = match place {
                "attribute with a secret's key" => part.clone(),
                "attribute with a number" => format!("4{}", digits(15)),
                _ => match n % 4 {
                    0 => format!("{part}@example.com"),
                    1 => format!("4{} {} {} {}", digits(3), digits(4), digits(4), digits(4)),
                    2 => format!("eyJhbGciOiJub25lIn0.eyJ{part}.x"),
                    _ => format!("customer-{part}"),
                },
            };
            let part = if text.contains(&part) { part } else { text.clone() };
            kept.insert(place, some(b'a'..=b'z', 12));
            secrets.insert(place, Secret { text, part });
        }
        let mut id = || {
            let mut id = [0; 16];
            random.fill_bytes(&mut id);
            TraceId(id)
        };
        let (trace, zipkin) = (id(), id());
        Planted {
            secrets,
            kept,
            trace,
            zipkin,
            span: SpanId::random(&mut random),
        }
    }

    /// A text for a place: what must not be kept beside what may.
    fn text(&self, place: &str) -> String {
        format!("{} {} and", self.kept[place], self.secrets[place].text)
    }

    fn traces(&self, now: u64) -> TracesData {
        let any = |value: Value| AnyValue { value: Some(value) };
        let here = |place: &str| text(self.text(place));
        let list = ArrayValue {
            values: vec![any(text("first")), any(here("attribute with a list"))],
        };
        let map = KeyValueList {
            values: vec![attribute("inner", here("attribute with a map"))],
        };
        // Digits fit: a number of 16 digits that begins with a 4 is below 2^63.
        let number = self.secrets["attribute with a number"].text.parse().unwrap_or_default();
        let span = Span {
            trace_id: self.trace.0.to_vec(),
            span_id: self.span.0.to_vec(),
            trace_state: format!("shop={}", self.text("trace state")),
            name: self.text("span name"),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: now - 10_000_000,
            end_time_unix_nano: now,
            attributes: vec![
                attribute("note", here("attribute")),
                attribute("db.password", text(&self.secrets["attribute with a secret's key"].text)),
                attribute("card", Value::IntValue(number)),
                attribute("list", Value::ArrayValue(list)),
                attribute("map", Value::KvlistValue(map)),
            ],
            events: vec![Event {
                time_unix_nano: now,
                name: self.text("event name"),
                attributes: vec![attribute("exception.message", here("event attribute"))],
                ..Event::default()
            }],
            links: vec![Link {
                trace_id: vec![1; 16],
                span_id: vec![1; 8],
                trace_state: format!("shop={}", self.text("link trace state")),
                attributes: vec![attribute("reason", here("link attribute"))],
                ..Link::default()
            }],
            status: Some(Status {
                message: self.text("status message"),
                code: StatusCode::Error.into(),
            }),
            ..Span::default()
        };
        let scope = InstrumentationScope {
            name: self.text("scope name"),
            version: self.text("scope version"),
            attributes: vec![attribute("scope.note", here("scope attribute"))],
            ..InstrumentationScope::default()
        };
        let resource = vec![
            attribute("service.name", text("shop")),
            attribute("k8s.cluster.name", text("forged")),
            attribute("owner", here("resource attribute")),
        ];
        of_resource(resource, Some(scope), vec![span])
    }

    /// The places whose text that may stay is in none of these.
    fn missing(&self, texts: &[(String, String)]) -> Vec<&'static str> {
        let is_there = |part: &str| texts.iter().any(|(_, text)| text.contains(part));
        let gone = self
            .kept
            .iter()
            .filter(|(name, text)| !WHOLE.contains(*name) && !is_there(text));
        gone.map(|(name, _)| *name).collect()
    }

    /// In these texts none of the secrets is found. What may be kept is, but for as many as compression may have taken
    /// apart: so the search would have found the others.
    fn judge(&self, env: &Env, place: &str, texts: &[(String, String)], compressed: usize) {
        let is_there = |part: &str| texts.iter().any(|(_, text)| text.contains(part));
        let secrets: Vec<&str> = self
            .secrets
            .iter()
            .filter(|(_, secret)| is_there(&secret.part))
            .map(|(name, _)| *name)
            .collect();
        let missing = self.missing(texts);
        env.recorder.measure(
            format!("secrets in {place}"),
            secrets.len() as f64,
            "texts",
            secrets.is_empty() && missing.len() <= compressed,
            format!(
                "of {} planted, in {} files or answers: {}; of the texts beside them these are missing: {}",
                self.secrets.len(),
                texts.len(),
                secrets.join(", "),
                missing.join(", ")
            ),
        );
    }
}

fn of_resource(attributes: Vec<KeyValue>, scope: Option<InstrumentationScope>, spans: Vec<Span>) -> TracesData {
    TracesData {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes,
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope,
                spans,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

/// Sends a span as Zipkin does (zipkin.io/zipkin-api, version 2, JSON).
async fn zipkin(env: &Env, stack: &dyn Stack, planted: &Planted) -> Result<()> {
    let now = now_unix_nano()? / 1_000;
    let spans = json!([{
        "traceId": planted.zipkin.to_string(),
        "id": planted.span.to_string(),
        "name": planted.text("Zipkin name"),
        "kind": "SERVER",
        "timestamp": now - 10_000,
        "duration": 10_000,
        "localEndpoint": {"serviceName": "zipkin-shop"},
        "tags": {"note": planted.text("Zipkin tag")},
        "annotations": [{"timestamp": now - 5_000, "value": planted.text("Zipkin annotation")}],
    }]);
    let url = stack.endpoints().url(Component::OtelCollector, "zipkin")? + "/api/v2/spans";
    let request = http_client()?.post(&url).header("content-type", "application/json");
    let answer = request.body(spans.to_string()).send().await;
    let answer = answer.with_context(|| format!("sending to {url}"))?;
    env.recorder.check(
        "a span of Zipkin is taken",
        answer.status() == reqwest::StatusCode::ACCEPTED,
        answer.status().to_string(),
    );
    Ok(())
}

/// Both traces are there, with masks in the places of the secrets and with what is said of every span.
async fn read(env: &Env, access: &Access, planted: &Planted, from: &str) -> Result<()> {
    let mut answers = Vec::new();
    for (who, id) in [("OTLP", planted.trace), ("Zipkin", planted.zipkin)] {
        let waited = wait_for("the trace", READ, &env.cancel, || async {
            Ok(match access.tempo.trace(id).await? {
                Some(trace) => Look::Found(trace),
                None => Look::NotYet("no such trace".into()),
            })
        })
        .await?;
        let trace = waited.value;
        let resources = trace.resource_spans.iter().filter_map(|spans| spans.resource.as_ref());
        let clusters: Vec<String> = resources
            .flat_map(|resource| &resource.attributes)
            .filter(|attribute| attribute.key == "k8s.cluster.name")
            .map(|attribute| format!("{:?}", attribute.value))
            .collect();
        env.recorder.check(
            format!("from {from}: a span of {who} names its cluster, whatever it said itself"),
            matches!(clusters.as_slice(), [one] if one.contains(CLUSTER)),
            clusters.join(", "),
        );
        answers.push((who.to_owned(), serde_json::to_string(&trace).context("writing JSON")?));
    }
    let masks: usize = answers.iter().map(|(_, text)| text.matches("****").count()).sum();
    // One for each place but the two in links, which are gone.
    let expected = planted.secrets.len() - 2;
    env.recorder.check(
        format!("from {from}: there is a mask in the place of each secret"),
        masks == expected,
        format!("{masks} masks, {expected} places"),
    );
    for tag in ["span.note", "resource.owner", "name"] {
        let found = access.tempo.tag_values(tag).await?;
        answers.push((tag.into(), found.into_iter().map(|value| value.value).collect()));
    }
    planted.judge(env, &format!("answers from {from}"), &answers, 0);
    Ok(())
}

/// What the programs log or show of themselves has none of the texts at all.
async fn logs(env: &Env, stack: &dyn Stack, planted: &Planted) -> Result<()> {
    let mut places = Vec::new();
    for component in Component::ALL {
        places.push((format!("log of {component}"), stack.logs(component).await?));
        places.extend(stack.metrics(component).await?);
    }
    let secrets: Vec<&str> = planted.secrets.values().map(|secret| secret.part.as_str()).collect();
    judge_untold(env, "no log and no metric tells a secret", &places, &secrets);
    Ok(())
}

/// Spans that nobody wants, and their neighbours.
struct Unwanted {
    traces: TracesData,
    /// The traces that must not be there.
    go: Vec<TraceId>,
    /// Those that are like them and stay.
    stay: Vec<(&'static str, TraceId)>,
}

fn unwanted(seed: u64) -> Result<Unwanted> {
    let now = now_unix_nano()?;
    let mut random = StdRng::seed_from_u64(seed ^ 1);
    let mut spans = Vec::new();
    let mut make = |name: &str, kind: SpanKind, key: &str, value: &str| {
        let mut trace = [0; 16];
        random.fill_bytes(&mut trace);
        spans.push(Span {
            trace_id: trace.to_vec(),
            span_id: SpanId::random(&mut random).0.to_vec(),
            name: name.into(),
            kind: kind.into(),
            start_time_unix_nano: now - 1_000_000,
            end_time_unix_nano: now,
            attributes: vec![attribute(key, text(value))],
            ..Span::default()
        });
        TraceId(trace)
    };
    let mut go = Vec::new();
    for _ in 0..UNWANTED {
        go.push(make("GET /healthz", SpanKind::Server, "url.path", "/healthz"));
        go.push(make("GET", SpanKind::Server, "http.target", "/ready?full=1"));
        go.push(make(
            "GET /",
            SpanKind::Server,
            "user_agent.original",
            "kube-probe/1.34",
        ));
        go.push(make(
            "grpc.health.v1.Health/Check",
            SpanKind::Server,
            "rpc.service",
            "grpc.health.v1.Health",
        ));
        go.push(make("cron tick", SpanKind::Internal, "job", "tick"));
    }
    let stay = vec![
        (
            "a path that only begins like one",
            make("GET", SpanKind::Server, "url.path", "/health-insurance"),
        ),
        (
            "the client of a health check",
            make("GET", SpanKind::Client, "url.path", "/healthz"),
        ),
        (
            "a name that only contains one",
            make("cron ticks", SpanKind::Internal, "job", "tick"),
        ),
    ];
    let resource = vec![attribute("service.name", text("probed"))];
    Ok(Unwanted {
        traces: of_resource(resource, None, spans),
        go,
        stay,
    })
}

async fn dropped(env: &Env, stack: &dyn Stack, access: &Access, unwanted: &Unwanted) -> Result<()> {
    for (what, trace) in &unwanted.stay {
        let found = access.tempo.trace(*trace).await?.is_some();
        env.recorder.check(format!("{what} stays"), found, trace.to_string());
    }
    let mut there = Vec::new();
    for trace in &unwanted.go {
        if access.tempo.trace(*trace).await?.is_some() {
            there.push(trace.to_string());
        }
    }
    env.recorder.measure(
        "spans that nobody wants and that are stored",
        there.len() as f64,
        "spans",
        there.is_empty(),
        format!("of {}: {}", unwanted.go.len(), there.join(", ")),
    );
    let metrics = stack.metrics(Component::OtelCollector).await?;
    let text = metrics.values().next().context("there is no Collector")?;
    let scrape = Scrape::parse(text)?;
    for (filter, expected) in [("filter/drop", unwanted.go.len()), ("filter/redaction", 0)] {
        let counted = scrape.sum("otelcol_processor_filter_spans_filtered", &[("filter", filter)]);
        env.recorder.check(
            format!("{filter} counts what it drops"),
            counted == Some(expected as f64),
            format!("{counted:?} of {expected} spans"),
        );
    }
    Ok(())
}
