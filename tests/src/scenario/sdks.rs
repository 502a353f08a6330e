//! `sdks`: applications in four languages, with OpenTelemetry SDKs as their registries have them, deliver their
//! traces with nothing but the variables that the chart's notes and `cargo xtask up` print; telemetrygen counts
//! with us.
//!
//! Why two variables: SDKs differ in what they speak by themselves (opentelemetry-distro of Python chooses gRPC),
//! and one that speaks the other protocol at a port loses all of its spans and exits with 0.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::failure::remedy_of;
use kit::step::{Output, Runner};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use regex::Regex;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::values;
use crate::backend::{Component, Stack};
use crate::client::install::Missing;
use crate::client::metrics::Scrape;
use crate::client::sdk::variables::{ENDPOINT, PROTOCOL, Protocol, Variables};
use crate::client::sdk::{self, Installed, ORDER, SHAPES, Sdk, clean};
use crate::client::tempo::{Client, Search};
use crate::env::Env;
use crate::model::id::TraceId;
use crate::wait::{Look, wait_for};

/// The chart's alternative, for which its notes print other variables.
const WITHOUT_HTTP: &str = "{tempo-stack: {otelCollector: {receivers: {otlpHttp: {enabled: false}}}}}";
/// How many traces an application makes.
const TRACES: usize = 5;
/// How long what was acknowledged may take to show, on a busy two-core machine.
const SEEN: Duration = Duration::from_secs(30);
/// The same for what is missed already.
const BRIEF: Duration = Duration::from_secs(1);
/// How often a line says that an installation goes on.
const PROGRESS: Duration = Duration::from_secs(15);
const GENERATOR: &str = "telemetrygen";
/// Of telemetrygen: workers, traces of each, child spans of each trace. All spans together fit into the 2,048
/// of its SDK's queue, which drops what comes faster than it sends (OTEL_BSP_MAX_QUEUE_SIZE).
const GENERATED: (u64, u64, u64) = (2, 200, 3);

/// What the Collectors count of spans, by what it means: all that is neither of the first two is a loss.
const COUNTERS: [(&str, &str); 6] = [
    ("otelcol_receiver_accepted_spans", "accepted"),
    ("otelcol_exporter_sent_spans", "sent"),
    ("otelcol_receiver_refused_spans", "refused"),
    ("otelcol_receiver_failed_spans", "failed"),
    ("otelcol_exporter_enqueue_failed_spans", "not queued"),
    ("otelcol_exporter_send_failed_spans", "not sent"),
];

/// What telemetrygen logs for each worker.
static SAID: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"traces generated\s+\{"worker": \d+, "traces": (\d+)\}"#).ok());

pub(super) async fn run(env: &Env) -> Result<()> {
    let applications = installed(env).await?;
    let stack = env.ready_stack(values("{}")?).await?;
    let lab = Lab::new(env, stack.clone())?;
    let printed = lab.printed().await?;
    lab.documented(&printed)?;
    lab.as_printed(&applications, &printed).await?;
    lab.by_default(&applications, &printed).await?;
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        lab.generator(protocol).await?;
    }
    env.finish(stack).await?;

    let stack = env.ready_stack(values(WITHOUT_HTTP)?).await?;
    let lab = Lab::new(env, stack.clone())?;
    let printed = lab.printed().await?;
    lab.as_printed(&applications, &printed).await?;
    env.finish(stack).await
}

/// The applications that this machine can run, installed at the same time: what takes long is the network. What
/// it can't run is skipped, and an installation that fails is a failed check.
async fn installed(env: &Env) -> Result<Vec<Arc<Installed>>> {
    let installer = env.installer("sdks");
    let mut tasks = JoinSet::new();
    for (n, sdk) in sdk::ALL.iter().enumerate() {
        let (installer, recorder) = (installer.clone(), env.recorder.clone());
        tasks.spawn_blocking(move || (n, sdk, installer.get(&sdk.package(), &|line| recorder.say(line))));
    }
    let begun = Instant::now();
    let mut left: BTreeSet<&str> = sdk::ALL.iter().map(|sdk| sdk.name).collect();
    let mut ended = BTreeMap::new();
    while !left.is_empty() {
        match timeout(PROGRESS, tasks.join_next()).await {
            Ok(Some(one)) => {
                let (n, sdk, result) = one.context("installing an application")?;
                left.remove(sdk.name);
                ended.insert(n, (sdk, result));
            }
            Ok(None) => break,
            Err(_) => {
                let names: Vec<&str> = left.iter().copied().collect();
                let seconds = begun.elapsed().as_secs();
                env.recorder
                    .say(format!("installing for {seconds} s: {}", names.join(", ")));
            }
        }
    }
    let mut applications = Vec::new();
    for (sdk, result) in ended.into_values() {
        match result {
            Ok(Ok(folder)) => applications.push(Arc::new(Installed { sdk, folder })),
            Ok(Err(Missing(why))) => env.recorder.skip(sdk.name, why),
            Err(error) => {
                let remedy = remedy_of(&error)
                    .map(|remedy| format!("; {remedy}"))
                    .unwrap_or_default();
                env.recorder.check(
                    format!("{}: is installed", sdk.name),
                    false,
                    format!("{error:#}{remedy}"),
                );
            }
        }
    }
    Ok(applications)
}

fn runner(env: &Env) -> Runner {
    Runner::new(env.cancel.clone(), false)
}

/// A stack that applications send to.
struct Lab<'a> {
    env: &'a Env,
    stack: Arc<dyn Stack>,
    tempo: Client,
}

/// Spans by what the Collectors say of them.
type Counts = BTreeMap<String, u64>;

impl Lab<'_> {
    fn new(env: &Env, stack: Arc<dyn Stack>) -> Result<Lab<'_>> {
        let tempo = Client::new(&stack.endpoints().url(Component::Tempo, "http")?)?;
        Ok(Lab { env, stack, tempo })
    }

    /// The variables that the notes print, as they are printed. Checks that `cargo xtask up` prints the same.
    async fn printed(&self) -> Result<Variables> {
        let printed = Variables::exported(&self.stack.notes().await?).context("the notes")?;
        let receiver = |port| self.stack.endpoints().get(Component::OtelCollector, port).ok();
        let up = Variables::to(receiver("otlp-http"), receiver("otlp-grpc")).unwrap_or_default();
        self.env.recorder.check(
            format!("the notes and `up` say the same, over {}", printed.get(PROTOCOL)?),
            self.reached(&printed)? == up,
            format!("the notes: {printed}; up: {up}"),
        );
        Ok(printed)
    }

    /// The READMEs name the variables of the notes.
    fn documented(&self, printed: &Variables) -> Result<()> {
        for file in ["README.md", "charts/tempo-stack/README.md"] {
            let text = fs_err::read_to_string(self.env.workspace.root().join(file))?;
            // The name of the application is its user's.
            let named = Variables::exported(&text).context(file)?.without("OTEL_SERVICE_NAME");
            self.env.recorder.check(
                format!("{file} names the variables of the notes"),
                named == *printed,
                named.to_string(),
            );
        }
        Ok(())
    }

    /// The variables with an endpoint that this machine reaches.
    fn reached(&self, variables: &Variables) -> Result<Variables> {
        let endpoint = self.stack.reach(variables.get(ENDPOINT)?)?;
        Ok(variables.clone().at(endpoint))
    }

    /// Each application delivers over the protocol that the variables name.
    async fn as_printed(&self, applications: &[Arc<Installed>], printed: &Variables) -> Result<()> {
        let variables = self.reached(printed)?;
        let protocol = variables.get(PROTOCOL)?.parse()?;
        for application in applications {
            self.delivers(application, "as printed", &variables, protocol).await?;
        }
        Ok(())
    }

    /// Each delivers over the protocol that it chooses by itself if only an endpoint is named that speaks it; one
    /// that chooses another than the notes name needs that name.
    async fn by_default(&self, applications: &[Arc<Installed>], printed: &Variables) -> Result<()> {
        let printed = self.reached(printed)?;
        for application in applications {
            let chosen = application.sdk.default;
            let endpoint = self.stack.endpoints().url(Component::OtelCollector, chosen.port())?;
            let only = Variables::default().at(endpoint);
            self.delivers(application, "by default", &only, chosen).await?;
            if printed.get(PROTOCOL)?.parse::<Protocol>()? != chosen {
                self.misses(application, &printed.clone().without(PROTOCOL)).await?;
            }
        }
        Ok(())
    }

    async fn delivers(
        &self,
        application: &Arc<Installed>,
        how: &str,
        variables: &Variables,
        protocol: Protocol,
    ) -> Result<()> {
        let sdk = application.sdk;
        let what = format!("{}, {how}, {protocol}", sdk.name);
        let service = service(sdk, how);
        let recorder = &self.env.recorder;
        let before = self.counts().await?;
        let (ids, output) = self.run(application, &service, variables).await?;
        let spans = ids.len() * SHAPES.len();
        recorder.check(
            format!("{what}: ends well and names its traces"),
            output.success() && ids.len() == TRACES,
            format!("exit code {:?}, {} traces, {variables}", output.code, ids.len()),
        );
        let counted = self.counted(&before, &delivered(protocol, spans as u64)).await;
        recorder.check(
            format!("{what}: the Collector took and sent its spans"),
            counted.is_ok(),
            seen(&counted),
        );
        // What the Collector didn't send won't come by waiting.
        let patience = if counted.is_ok() { SEEN } else { BRIEF };
        let mut wrong = Vec::new();
        for (n, id) in ids.iter().enumerate() {
            let wanted = expected(sdk, &service, n + 1);
            let found = self
                .tempo
                .wait_for_trace(*id, SHAPES.len(), patience, &self.env.cancel)
                .await;
            match found.map(|trace| described(&trace.value)) {
                Ok(lines) if lines == wanted => {}
                Ok(lines) => wrong.push(format!("trace {id} is {lines:?}, not {wanted:?}")),
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
        let detail = format!(
            "{} of {} traces are as they were made; {}",
            ids.len() - wrong.len(),
            ids.len(),
            wrong.join("; ")
        );
        recorder.check(
            format!("{what}: each trace is found, with its names, parents, kinds and resource"),
            !ids.is_empty() && wrong.is_empty(),
            detail.trim_end_matches("; "),
        );
        let found = self
            .found(&service, patience, |found| {
                found.keys().copied().collect::<BTreeSet<_>>() == ids.iter().copied().collect()
            })
            .await;
        recorder.check(
            format!("{what}: Tempo has no other trace of it"),
            found.is_ok(),
            seen(&found),
        );
        Ok(())
    }

    /// With these variables nothing arrives, which is why there is one more.
    async fn misses(&self, application: &Arc<Installed>, variables: &Variables) -> Result<()> {
        let sdk = application.sdk;
        let before = self.counts().await?;
        let (ids, output) = self.run(application, &service(sdk, "alone"), variables).await?;
        let counted = self.counted(&before, &Counts::new()).await;
        let mut there = 0;
        for id in &ids {
            there += self.tempo.trace(*id).await?.iter().count();
        }
        self.env.recorder.check(
            format!(
                "{}, the endpoint alone: it speaks {} there and nothing arrives",
                sdk.name, sdk.default
            ),
            ids.len() == TRACES && there == 0 && counted.is_ok(),
            format!(
                "{variables}; {}; {there} traces in Tempo; it says: {}",
                seen(&counted),
                output.stderr.lines().last().unwrap_or("nothing")
            ),
        );
        Ok(())
    }

    async fn run(
        &self,
        application: &Arc<Installed>,
        service: &str,
        variables: &Variables,
    ) -> Result<(Vec<TraceId>, Output)> {
        let (runner, folder) = (runner(self.env), self.stack.folder().to_path_buf());
        let (application, name, variables) = (application.clone(), service.to_owned(), variables.clone());
        let said = spawn_blocking(move || application.run(&runner, &folder, &name, &variables, TRACES)).await;
        let said = said.context("running an application")??;
        let text = format!("{}\n{}", said.output.stdout, said.output.stderr);
        self.env.evidence(&format!("{service}.log"), text);
        Ok((said.ids, said.output))
    }

    /// telemetrygen sends what it is told to; its count, the Collector's and Tempo's are the same.
    async fn generator(&self, protocol: Protocol) -> Result<()> {
        let (workers, traces, children) = GENERATED;
        let service = format!("{GENERATOR}-{}", protocol.transport());
        let what = format!("{GENERATOR}, {protocol}");
        let address = self.stack.endpoints().get(Component::OtelCollector, protocol.port())?;
        let toolbox = self.env.toolbox.clone();
        let tool = spawn_blocking(move || toolbox.get(GENERATOR))
            .await
            .context("finding a tool")??;
        let mut step = clean(what.clone(), self.stack.folder())?
            .path_arg(&tool.path)
            .args(["traces", "--otlp-insecure", "--rate=0"])
            .args([format!("--otlp-endpoint={address}"), format!("--service={service}")])
            .args([
                format!("--workers={workers}"),
                format!("--traces={traces}"),
                format!("--child-spans={children}"),
            ]);
        if protocol == Protocol::HttpProtobuf {
            step = step.arg("--otlp-http");
        }
        let before = self.counts().await?;
        let runner = runner(self.env);
        let output = spawn_blocking(move || runner.run(&step))
            .await
            .context("running telemetrygen")??;
        let log = format!("{}{}", output.stdout, output.stderr);
        let regex = SAID.as_ref().context("the pattern of telemetrygen's counts")?;
        let said = regex.captures_iter(&log).map(|found| found[1].parse::<u64>());
        let said = said.sum::<Result<u64, _>>().context("telemetrygen's counts")?;
        let spans = said * (1 + children);
        let recorder = &self.env.recorder;
        recorder.check(
            format!("{what}: says that it made what it was told to"),
            said == workers * traces,
            format!("{workers} times {traces} traces asked for, {said} said"),
        );
        self.env.evidence(&format!("{service}.log"), log);
        let counted = self.counted(&before, &delivered(protocol, spans)).await;
        recorder.check(
            format!("{what}: the Collector took and sent as many spans"),
            counted.is_ok(),
            seen(&counted),
        );
        let found = self.found(&service, SEEN, |found| {
            found.len() as u64 == said && found.values().sum::<u64>() == spans
        });
        let found = found.await;
        recorder.check(
            format!("{what}: Tempo has as many traces and spans"),
            found.is_ok(),
            seen(&found),
        );
        Ok(())
    }

    /// What all Collectors counted so far.
    async fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::new();
        for text in self.stack.metrics(Component::OtelCollector).await?.values() {
            let scrape = Scrape::parse(text)?;
            for (metric, meaning) in COUNTERS {
                for series in scrape.select(metric, &[]) {
                    let transport = series
                        .label("transport")
                        .map(|t| format!(" over {t}"))
                        .unwrap_or_default();
                    *counts.entry(format!("{meaning}{transport}")).or_default() += series.value as u64;
                }
            }
        }
        Ok(counts)
    }

    /// Waits until the Collectors have counted exactly this since then.
    async fn counted(&self, before: &Counts, wanted: &Counts) -> Result<String> {
        let waited = wait_for("the counts of the Collectors", SEEN, &self.env.cancel, || async {
            let mut now = self.counts().await?;
            for (what, count) in before {
                let now = now.entry(what.clone()).or_default();
                *now = now.saturating_sub(*count);
            }
            now.retain(|_, count| *count > 0);
            let shown = format!("spans: {now:?}, expected: {wanted:?}");
            Ok(if now == *wanted {
                Look::Found(shown)
            } else {
                Look::NotYet(shown)
            })
        });
        Ok(waited.await?.value)
    }

    /// Waits until the traces of a service that a search finds, with the spans of each, are what they should be.
    async fn found(
        &self,
        service: &str,
        patience: Duration,
        fits: impl Fn(&BTreeMap<TraceId, u64>) -> bool,
    ) -> Result<String> {
        let (workers, traces, _) = GENERATED;
        let search = Search::new(format!("{{resource.service.name=\"{service}\"}}"));
        // One more than the most that there should be.
        let search = search.limit(u32::try_from(workers * traces)? + 1);
        let fits = &fits;
        let search = &search;
        let waited = wait_for(&search.traceql, patience, &self.env.cancel, || async move {
            let found = self.tempo.search(search).await?;
            let found: BTreeMap<TraceId, u64> = found.into_iter().map(|trace| (trace.id, trace.matched)).collect();
            let shown = format!("{} traces with {} spans", found.len(), found.values().sum::<u64>());
            Ok(if fits(&found) {
                Look::Found(shown)
            } else {
                Look::NotYet(shown)
            })
        });
        Ok(waited.await?.value)
    }
}

/// What an application calls itself: nothing else in the stack has the name.
fn service(sdk: &Sdk, how: &str) -> String {
    format!("sdks-{}-{}", sdk.name, how.replace(' ', "-"))
}

/// What the Collectors count of spans that all arrive.
fn delivered(protocol: Protocol, spans: u64) -> Counts {
    [
        (format!("accepted over {}", protocol.transport()), spans),
        ("sent".to_owned(), spans),
    ]
    .into()
}

fn seen(result: &Result<String>) -> String {
    result.as_ref().map_or_else(|error| format!("{error:#}"), String::clone)
}

/// A line for each span that the trace of that number should have.
fn expected(sdk: &Sdk, service: &str, number: usize) -> Vec<String> {
    let lines = SHAPES.iter().map(|shape| {
        let order = shape.parent.is_none().then_some(number as i64);
        line(
            service,
            sdk.language,
            shape.name,
            shape.kind,
            shape.parent.unwrap_or(ROOT),
            order,
        )
    });
    sorted(lines)
}

/// The same for what Tempo has.
fn described(trace: &TracesData) -> Vec<String> {
    let resources = || trace.resource_spans.iter();
    let spans = || resources().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
    let names: BTreeMap<&[u8], &str> = spans()
        .map(|span| (span.span_id.as_slice(), span.name.as_str()))
        .collect();
    let lines = resources().flat_map(|resource| {
        let attributes = resource.resource.as_ref().map_or(&[][..], |r| &r.attributes);
        let (service, language) = (
            text(attributes, "service.name"),
            text(attributes, "telemetry.sdk.language"),
        );
        let names = &names;
        resource.scope_spans.iter().flat_map(|s| &s.spans).map(move |span| {
            let parent = match span.parent_span_id.as_slice() {
                [] => ROOT,
                id => names.get(id).copied().unwrap_or("a span that isn't there"),
            };
            let order = match value(&span.attributes, ORDER) {
                Some(Value::IntValue(order)) => Some(*order),
                _ => None,
            };
            line(service, language, &span.name, span.kind(), parent, order)
        })
    });
    sorted(lines)
}

/// What stands for the parent of a root span.
const ROOT: &str = "no span";

fn line(service: &str, language: &str, name: &str, kind: SpanKind, parent: &str, order: Option<i64>) -> String {
    let order = order.map(|order| format!(" {ORDER}={order}")).unwrap_or_default();
    format!(
        "{name} {}{order} below {parent}, {service} in {language}",
        kind.as_str_name()
    )
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text,
        _ => "nothing",
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::AnyValue;
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    }

    /// The second trace of the application in Go.
    fn trace() -> TracesData {
        let id = |name: &str| SHAPES.iter().position(|shape| shape.name == name).unwrap() as u8 + 1;
        let spans = SHAPES.iter().map(|shape| Span {
            span_id: vec![id(shape.name); 8],
            parent_span_id: shape.parent.map(|name| vec![id(name); 8]).unwrap_or_default(),
            name: shape.name.into(),
            kind: shape.kind as i32,
            attributes: match shape.parent {
                None => vec![attribute(ORDER, Value::IntValue(2))],
                Some(_) => Vec::new(),
            },
            ..Span::default()
        });
        let resource = [("service.name", "shop"), ("telemetry.sdk.language", "go")];
        let resource = resource.map(|(key, value)| attribute(key, Value::StringValue(value.into())));
        TracesData {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: resource.into(),
                    ..Resource::default()
                }),
                scope_spans: vec![ScopeSpans {
                    spans: spans.collect(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }

    fn spans(trace: &mut TracesData) -> &mut Vec<Span> {
        &mut trace.resource_spans[0].scope_spans[0].spans
    }

    #[test]
    fn whatever_is_wrong_with_a_trace_shows() {
        let go = sdk::ALL.iter().find(|sdk| sdk.name == "go").unwrap();
        let wanted = expected(go, "shop", 2);
        assert_eq!(described(&trace()), wanted);
        assert_ne!(expected(go, "shop", 3), wanted);
        let faults: [fn(&mut TracesData); 6] = [
            |trace| drop(spans(trace).pop()),
            |trace| {
                let again = spans(trace)[1].clone();
                spans(trace).push(again);
            },
            |trace| spans(trace)[3].parent_span_id = vec![9; 8],
            |trace| spans(trace)[2].kind = SpanKind::Server as i32,
            |trace| spans(trace)[0].attributes.clear(),
            |trace| trace.resource_spans[0].resource = None,
        ];
        for (n, fault) in faults.iter().enumerate() {
            let mut broken = trace();
            fault(&mut broken);
            assert_ne!(described(&broken), wanted, "fault {n}");
        }
    }
}
