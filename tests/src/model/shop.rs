//! Spans as the instrumented services of a shop send them: as many attributes, of names of the semantic
//! conventions, with values that repeat about as often as in real life. What a span costs, on disk above all,
//! depends on that.
//!
//! Names: OpenTelemetry semantic conventions 1.37, HTTP server spans, database client spans, code, thread,
//! Kubernetes and SDK resources.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::model::corpus::{attribute, text};
use crate::model::id::{SpanId, TraceId};

const SERVICES: u32 = 20;
const PODS_PER_SERVICE: u32 = 3;
const NODES: u32 = 12;
const TABLES: u32 = 80;
const BROWSERS: u32 = 20;
const ITEMS: u32 = 100_000;
const USERS: u32 = 1_000_000;
const THREADS: u32 = 64;
/// The spans of a trace that are of the service it enters by; the others are of any.
const OWN_SPANS: u32 = 3;

const METHODS: [&str; 3] = ["GET", "GET", "POST"];
const CODES: [i64; 5] = [200, 200, 200, 404, 500];

/// Traces of `spans` spans each, which began in the second before `now` (nanoseconds since 1970), and the ids
/// of all spans.
///
/// Of ten spans four are HTTP servers, three database clients and three functions, with nine attributes on
/// average; each service of a trace is a resource with eight.
pub(crate) fn request(random: &mut StdRng, traces: u32, spans: u32, now: u64) -> (TracesData, Vec<(TraceId, SpanId)>) {
    let mut resource_spans = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..traces {
        let trace = TraceId(random.random());
        let entry = random.random_range(0..SERVICES);
        let begun = now - random.random_range(100_000_000..1_000_000_000);
        let mut of_service: BTreeMap<u32, Vec<Span>> = BTreeMap::new();
        let mut root = Vec::new();
        for n in 0..spans {
            let service = if n < OWN_SPANS {
                entry
            } else {
                random.random_range(0..SERVICES)
            };
            let id = SpanId::random(random);
            ids.push((trace, id));
            let start = begun + u64::from(n) * 1_000 + random.random_range(0..1_000);
            let span = Span {
                trace_id: trace.0.to_vec(),
                span_id: id.0.to_vec(),
                parent_span_id: root.clone(),
                start_time_unix_nano: start,
                end_time_unix_nano: start + random.random_range(100_000..100_000_000),
                ..match n % 3 {
                    0 => http_server(random, service),
                    1 => database_client(random),
                    _ => function(random),
                }
            };
            of_service.entry(service).or_default().push(span);
            if n == 0 {
                root = id.0.to_vec();
            }
        }
        resource_spans.extend(of_service.into_iter().map(|(service, spans)| ResourceSpans {
            resource: Some(resource(service, random.random_range(0..PODS_PER_SERVICE))),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "io.opentelemetry.auto".into(),
                    ..InstrumentationScope::default()
                }),
                spans,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }));
    }
    (TracesData { resource_spans }, ids)
}

fn resource(service: u32, pod: u32) -> Resource {
    // The name of a pod is that of its ReplicaSet, which a version of a service keeps, and five random characters.
    let replica_set = service.wrapping_mul(0x9e37_79b9);
    let suffix = (service * PODS_PER_SERVICE + pod).wrapping_mul(0x85eb_ca6b) >> 12;
    Resource {
        attributes: vec![
            string("service.name", format!("shop-{service}")),
            string("service.version", "1.4.2"),
            string("deployment.environment.name", "production"),
            string("k8s.namespace.name", "shop"),
            string("k8s.node.name", format!("node-{}", (service + pod) % NODES)),
            string("k8s.pod.name", format!("shop-{service}-{replica_set:08x}-{suffix:05x}")),
            string("telemetry.sdk.language", "java"),
            string("telemetry.sdk.version", "1.50.0"),
        ],
        ..Resource::default()
    }
}

fn http_server(random: &mut StdRng, service: u32) -> Span {
    let method = METHODS[random.random_range(0..METHODS.len())];
    let code = CODES[random.random_range(0..CODES.len())];
    let browser = random.random_range(0..BROWSERS);
    let [a, b, c]: [u8; 3] = random.random();
    let status = (code >= 500).then(|| Status {
        code: StatusCode::Error.into(),
        ..Status::default()
    });
    Span {
        name: format!("{method} /api/v1/items/{{id}}"),
        kind: SpanKind::Server.into(),
        status,
        attributes: vec![
            string("http.request.method", method),
            string("http.route", "/api/v1/items/{id}"),
            integer("http.response.status_code", code),
            string("url.scheme", "http"),
            string("url.path", format!("/api/v1/items/{}", random.random_range(0..ITEMS))),
            string("server.address", format!("shop-{service}.shop.svc")),
            integer("server.port", 8080),
            string("client.address", format!("10.{}.{b}.{c}", a % 4)),
            string(
                "user_agent.original",
                format!(
                    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.{browser} (KHTML, like Gecko) \
                     Chrome/{}.0.0.0 Safari/537.36",
                    120 + browser
                ),
            ),
            string("network.protocol.version", "1.1"),
            thread(random),
        ],
        ..Span::default()
    }
}

fn database_client(random: &mut StdRng) -> Span {
    let table = random.random_range(0..TABLES);
    Span {
        name: format!("SELECT table_{table}"),
        kind: SpanKind::Client.into(),
        attributes: vec![
            string("db.system.name", "postgresql"),
            string("db.namespace", "shop"),
            string("db.operation.name", "SELECT"),
            string("db.collection.name", format!("table_{table}")),
            string("db.query.summary", format!("SELECT table_{table}")),
            string(
                "db.query.text",
                format!(
                    "SELECT id, name, price, stock FROM table_{table} WHERE id = $1 AND tenant = $2 \
                     ORDER BY created_at DESC LIMIT {table}"
                ),
            ),
            string("server.address", "db.shop.svc"),
            integer("server.port", 5432),
            thread(random),
        ],
        ..Span::default()
    }
}

fn function(random: &mut StdRng) -> Span {
    let n = random.random_range(0..30);
    Span {
        name: format!("price-{n}"),
        kind: SpanKind::Internal.into(),
        attributes: vec![
            string("code.function.name", "com.shop.Cart.price"),
            string("code.file.path", "com/shop/Cart.java"),
            integer("code.line.number", 100 + n),
            thread(random),
            integer("cart.size", random.random_range(0..40)),
            string("user.id", format!("u-{}", random.random_range(0..USERS))),
        ],
        ..Span::default()
    }
}

fn thread(random: &mut StdRng) -> KeyValue {
    integer("thread.id", random.random_range(0..THREADS).into())
}

fn string(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, text(value))
}

fn integer(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    const NOW: u64 = 1_790_000_000_000_000_000;

    fn made(seed: u64) -> (TracesData, Vec<(TraceId, SpanId)>) {
        request(&mut StdRng::seed_from_u64(seed), 50, 10, NOW)
    }

    #[test]
    fn a_span_has_nine_attributes_on_average_and_its_resource_eight() {
        let (traces, _) = made(1);
        let resources = &traces.resource_spans;
        assert!(
            resources
                .iter()
                .all(|r| r.resource.as_ref().unwrap().attributes.len() == 8)
        );
        let spans: Vec<&Span> = resources.iter().flat_map(|r| &r.scope_spans[0].spans).collect();
        let attributes: usize = spans.iter().map(|span| span.attributes.len()).sum();
        assert_eq!((spans.len(), attributes.div_ceil(spans.len())), (500, 9));
        assert!(
            spans
                .iter()
                .all(|span| span.end_time_unix_nano > span.start_time_unix_nano)
        );
    }

    #[test]
    fn the_same_seed_makes_the_same_spans_and_another_one_others() {
        assert_eq!(made(1), made(1));
        let (mut ids, others) = (made(1).1, made(2).1);
        ids.extend(others);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 1000);
    }
}
