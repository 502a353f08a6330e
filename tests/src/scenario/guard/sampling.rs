//! `sampling`: which traces are kept, that they are kept whole, and what waits while it is decided.
//!
//! A share of n traces, each kept with the probability p, has the standard deviation √(np(1−p)); a share that is further from np
//! than five of them comes once in 1.7 million runs, so it is a fault.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::backend::{Component, Stack, StackSpec};
use crate::client::metrics::Scrape;
use crate::client::readback::read_back;
use crate::client::tempo::Search;
use crate::env::Env;
use crate::model::corpus::{SPAN_MARKER, attribute, now_unix_nano, text};
use crate::model::door::Door;
use crate::model::id::{SpanId, TraceId};
use crate::model::ledger::Ledger;
use crate::scenario::{Access, drained, per_pod, values};
use crate::wait::{Look, wait_for};

const READY: Duration = Duration::from_secs(60);
const READ: Duration = Duration::from_secs(60);
/// How long decisions may take on a busy two-core machine.
const DECIDED: Duration = Duration::from_secs(60);
const TRACES: usize = 2_000;
/// Traces of a kind that the tail keeps whole.
const SPECIAL: usize = 40;
/// Spans of a trace, which are sent in two requests.
const SPANS: usize = 4;
const PER_REQUEST: usize = 100;
const SIGMAS: f64 = 5.0;

const HEAD: &str = "{tempo-stack: {otelCollector: {sampling: {head: {percent: 25}}}}}";
const TAIL: &str = "
tempo-stack:
  otelCollector:
    replicas: 1
    sampling:
      tail:
        enabled: true
        decisionWait: 6s
        maxTraces: 10000
        keep: {errors: true, slowerThan: 1s, percent: 10, attributes: {customer.tier: [gold]}}
";
const COUNT: &str = "otelcol_processor_tail_sampling_global_count_traces_sampled";

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    head(env).await?;
    tail(env).await
}

/// A share of the traces, on which two Collectors agree that have halves of them.
async fn head(env: &Env) -> Result<()> {
    let stack = env.start(&StackSpec::new(values(HEAD)?)).await?;
    stack.wait_ready(READY).await?;
    let traces = Traces::new(env.seed, TRACES, |_| Kind::Plain)?;
    // Connections lead to the two in turn.
    for halves in [0..1, 1..2] {
        traces.send(&Access::new(stack.as_ref())?, "head", halves).await?;
    }
    let received = per_pod(stack.as_ref(), "otelcol_receiver_accepted_spans").await?;
    env.recorder.check(
        "each of two Collectors has a part of the traces",
        received.len() == 2 && received.values().all(|spans| *spans > 0.0),
        format!("{received:?}"),
    );
    drained(env, stack.as_ref()).await?;
    let delivered = per_pod(stack.as_ref(), "otelcol_exporter_sent_spans").await?;
    let kept = traces
        .found(env, stack.as_ref(), "head", delivered.values().sum())
        .await?;
    judge_whole(env, "head", &kept, SPANS);
    judge_share(env, "head: 25 % of the traces are kept", kept.len(), TRACES, 0.25);
    env.finish(stack).await
}

async fn tail(env: &Env) -> Result<()> {
    let stack = env.start(&StackSpec::new(values(TAIL)?)).await?;
    stack.wait_ready(READY).await?;
    let access = Access::new(stack.as_ref())?;
    let traces = Traces::new(env.seed ^ 1, TRACES, |n| match n / SPECIAL {
        0 => Kind::Failed,
        1 => Kind::Slow,
        2 => Kind::Gold,
        _ => Kind::Plain,
    })?;
    traces.send(&access, "tail", 0..2).await?;
    decided(env, stack.as_ref(), TRACES as f64).await?;
    // What comes after the decision follows it.
    traces.send(&access, "tail", 2..3).await?;
    let spans = SPANS + SPANS / 2;
    let sampled = count(stack.as_ref(), &[("sampled", "true")]).await?;
    let kept = traces
        .found(env, stack.as_ref(), "tail", sampled * spans as f64)
        .await?;
    judge_whole(env, "tail", &kept, spans);
    let mut plain = 0;
    for (what, kind) in [
        ("with an error", Kind::Failed),
        ("slower than 1 s", Kind::Slow),
        ("of a tier that is asked for", Kind::Gold),
        ("of no interest", Kind::Plain),
    ] {
        let of_kind = traces.all.iter().filter(|trace| trace.kind == kind);
        let there = of_kind.filter(|trace| kept.contains_key(&trace.id)).count();
        if kind == Kind::Plain {
            plain = there;
            continue;
        }
        env.recorder.check(
            format!("tail: every trace {what} is kept"),
            there == SPECIAL,
            format!("{there} of {SPECIAL}"),
        );
    }
    judge_share(
        env,
        "tail: 10 % of the others are kept",
        plain,
        TRACES - 3 * SPECIAL,
        0.1,
    );
    stopped(env, stack.as_ref(), &access).await?;
    killed(env, stack.as_ref(), &access).await?;
    env.finish(stack).await
}

/// A Collector that is asked to stop decides on what waits.
async fn stopped(env: &Env, stack: &dyn Stack, access: &Access) -> Result<()> {
    let traces = Traces::new(env.seed ^ 2, SPECIAL, |_| Kind::Failed)?;
    let mut ledger = Ledger::new("stopped");
    traces.enter(access, &mut ledger).await?;
    stack.restart_container(Component::OtelCollector).await?;
    stack.wait_ready(READY).await?;
    drained(env, stack).await?;
    let access = Access::new(stack)?;
    read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    crate::scenario::judge_ledger(env, "a Collector is stopped while spans wait for the decision", &ledger)
}

/// One that is killed loses what waits, and nothing else.
async fn killed(env: &Env, stack: &dyn Stack, access: &Access) -> Result<()> {
    let before = Traces::new(env.seed ^ 3, SPECIAL, |_| Kind::Failed)?;
    let mut ledger = Ledger::new("killed, decided");
    before.enter(access, &mut ledger).await?;
    decided(env, stack, SPECIAL as f64).await?;
    let waiting = Traces::new(env.seed ^ 4, SPECIAL, |_| Kind::Failed)?;
    waiting.enter(access, &mut Ledger::new("killed, waiting")).await?;
    let counted = count(stack, &[]).await?;
    for pod in stack.pod_names(Component::OtelCollector).await? {
        stack.kill_one(&pod).await?;
    }
    stack.wait_ready(READY).await?;
    drained(env, stack).await?;
    let access = Access::new(stack)?;
    read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    crate::scenario::judge_ledger(env, "a Collector is killed: spans that were decided on", &ledger)?;
    let mut there = 0;
    for trace in &waiting.all {
        there += usize::from(access.tempo.trace(trace.id).await?.is_some());
    }
    // None was decided on before the kill, or the kill came too late to show anything.
    env.recorder.measure(
        "a Collector is killed: traces lost that waited for the decision, though they were acknowledged",
        (SPECIAL - there) as f64,
        "traces",
        there == 0 && counted == SPECIAL as f64,
        format!("of {SPECIAL}, as docs/presets.md says; {counted} were decided on before"),
    );
    Ok(())
}

/// Traces that the tail has decided on since its start.
async fn count(stack: &dyn Stack, labels: &[(&str, &str)]) -> Result<f64> {
    let pods = stack.metrics(Component::OtelCollector).await?;
    let text = pods.values().next().context("there is no Collector")?;
    Ok(Scrape::parse(text)?.sum(COUNT, labels).unwrap_or_default())
}

async fn decided(env: &Env, stack: &dyn Stack, traces: f64) -> Result<()> {
    wait_for("the decisions", DECIDED, &env.cancel, || async {
        let counted = count(stack, &[]).await?;
        Ok(if counted >= traces {
            Look::Found(())
        } else {
            Look::NotYet(format!("{counted} of {traces} traces are decided on"))
        })
    })
    .await?;
    Ok(())
}

/// Nothing is kept in part.
fn judge_whole(env: &Env, what: &str, kept: &BTreeMap<TraceId, usize>, spans: usize) {
    let parts = kept.values().filter(|found| **found != spans).count();
    env.recorder.measure(
        format!("{what}: traces that are kept in part"),
        parts as f64,
        "traces",
        parts == 0 && !kept.is_empty(),
        format!("of {} that are kept, of {spans} spans each", kept.len()),
    );
}

fn judge_share(env: &Env, what: &str, kept: usize, of: usize, share: f64) {
    let mean = of as f64 * share;
    let reach = SIGMAS * (mean * (1.0 - share)).sqrt();
    env.recorder.measure(
        what,
        kept as f64,
        "traces",
        (kept as f64 - mean).abs() <= reach,
        format!(
            "of {of}; {:.0} to {:.0} are within five standard deviations",
            mean - reach,
            mean + reach
        ),
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Failed,
    Slow,
    Gold,
}

struct Trace {
    id: TraceId,
    kind: Kind,
    /// Unix time in ns, one for all spans: a trace lasts as long as its kind says, however long it takes to send it.
    ended: u64,
    /// Two requests of them, and one that is late.
    spans: Vec<SpanId>,
}

struct Traces {
    all: Vec<Trace>,
}

impl Traces {
    fn new(seed: u64, count: usize, kind: impl Fn(usize) -> Kind) -> Result<Traces> {
        let mut random = StdRng::seed_from_u64(seed);
        let ended = now_unix_nano()?;
        let trace = |n| {
            let mut id = [0; 16];
            random.fill_bytes(&mut id);
            Trace {
                id: TraceId(id),
                kind: kind(n),
                ended,
                spans: (0..SPANS + SPANS / 2).map(|_| SpanId::random(&mut random)).collect(),
            }
        };
        Ok(Traces {
            all: (0..count).map(trace).collect(),
        })
    }

    /// Sends halves of each trace, the first (0) and the second (1) one, or what is late (2). Those of one trace are sent right after
    /// each other, because the tail decides on what it has when the time of the first is over.
    async fn send(&self, access: &Access, marker: &str, halves: Range<usize>) -> Result<()> {
        for some in self.all.chunks(PER_REQUEST) {
            for half in halves.clone() {
                let spans = some.iter().flat_map(|trace| trace.half(marker, half)).collect();
                let outcome = access.sender.send(Door::OtlpGrpc, &of_shop(spans)).await?;
                anyhow::ensure!(outcome.is_acked(), "the Collector doesn't take a request: {outcome}");
            }
        }
        Ok(())
    }

    /// Sends both halves and writes them into a ledger, by whose marker they are found.
    async fn enter(&self, access: &Access, ledger: &mut Ledger) -> Result<()> {
        let marker = ledger.marker().to_owned();
        for half in 0..2 {
            let spans = self.all.iter().flat_map(|trace| trace.half(&marker, half)).collect();
            let ids: Vec<(TraceId, SpanId)> = self.all.iter().flat_map(|trace| trace.ids(half)).collect();
            ledger.send_all(&ids);
            let outcome = access.sender.send(Door::OtlpGrpc, &of_shop(spans)).await?;
            anyhow::ensure!(outcome.is_acked(), "the Collector doesn't take a request: {outcome}");
            ledger.settle(&outcome, ids);
        }
        Ok(())
    }

    /// How many spans of each trace are found, once as many are there as were kept, or never will be.
    async fn found(&self, env: &Env, stack: &dyn Stack, marker: &str, kept: f64) -> Result<BTreeMap<TraceId, usize>> {
        let access = Access::new(stack)?;
        let now = now_unix_nano()? / 1_000_000_000;
        let search = Search::new(format!("{{ span.{SPAN_MARKER} = {marker:?} }}"))
            .between(now - 600, now + 60)
            .limit(100_000)
            .spans_per_trace(100);
        let waited = wait_for("all spans that were kept", READ, &env.cancel, || async {
            let found = access.tempo.search(&search).await?;
            let spans: u64 = found.iter().map(|trace| trace.matched).sum();
            Ok(if spans as f64 >= kept {
                Look::Found(())
            } else {
                Look::NotYet(format!("{spans} of {kept}"))
            })
        })
        .await;
        let name = format!("{marker}: Tempo has as many spans as the Collectors kept");
        env.recorder.worked(name, &waited, |_| format!("{kept}"));
        let found = access.tempo.search(&search).await?.into_iter();
        Ok(found.map(|trace| (trace.id, trace.matched as usize)).collect())
    }
}

impl Trace {
    fn ids(&self, half: usize) -> Vec<(TraceId, SpanId)> {
        let of_half = self.spans.iter().skip(half * SPANS / 2).take(SPANS / 2);
        of_half.map(|span| (self.id, *span)).collect()
    }

    fn half(&self, marker: &str, half: usize) -> Vec<Span> {
        let last = self.spans.get(SPANS - 1).copied();
        let root = self.spans.first().copied();
        let span = |(trace, id): (TraceId, SpanId)| {
            // What makes a trace worth keeping comes with the last span.
            let telling = if Some(id) == last { self.kind } else { Kind::Plain };
            let mut attributes = vec![attribute(SPAN_MARKER, text(marker))];
            if telling == Kind::Gold {
                attributes.push(attribute("customer.tier", text("gold")));
            }
            let took = if telling == Kind::Slow {
                1_500_000_000
            } else {
                10_000_000
            };
            Span {
                trace_id: trace.0.to_vec(),
                span_id: id.0.to_vec(),
                parent_span_id: root
                    .filter(|root| *root != id)
                    .map(|root| root.0.to_vec())
                    .unwrap_or_default(),
                name: "GET /cart".into(),
                kind: SpanKind::Server.into(),
                start_time_unix_nano: self.ended - took,
                end_time_unix_nano: self.ended,
                attributes,
                status: (telling == Kind::Failed).then(|| Status {
                    message: String::new(),
                    code: StatusCode::Error.into(),
                }),
                ..Span::default()
            }
        };
        self.ids(half).into_iter().map(span).collect()
    }
}

fn of_shop(spans: Vec<Span>) -> TracesData {
    TracesData {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", text("shop"))],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }],
            schema_url: String::new(),
        }],
    }
}
