//! Traces that use every field of OTLP, the same for the same seed and time.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::model::id::TraceId;

/// The span attribute whose value is the sample's marker; every span of a sample has it.
pub(crate) const SPAN_MARKER: &str = "e2e.marker";
/// The resource attribute whose value is the sample's marker; every resource of a sample has it.
pub(crate) const RESOURCE_MARKER: &str = "e2e.resource.marker";

/// Text in several scripts, with a character outside the basic plane and one that JSON escapes.
const UNICODE: &str = "Grüße, мир, 世界, 🛰 \"quoted\" \\ tab\t";

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// A source of samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Corpus {
    seed: u64,
    now: u64,
}

/// A trace to send, and how to find it again.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its trace id, which begins with at least one zero byte.
    pub id: TraceId,
    /// A value that no other sample has, in [`SPAN_MARKER`] and [`RESOURCE_MARKER`].
    pub marker: String,
    pub traces: TracesData,
}

/// A TraceQL query that finds exactly one sample.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    /// What it searches by: `span attribute`.
    pub by: &'static str,
    /// The TraceQL text.
    pub traceql: String,
}

impl Corpus {
    /// Samples for a seed; their spans end shortly before `now`, in nanoseconds since 1970.
    pub fn new(seed: u64, now: u64) -> Corpus {
        Corpus { seed, now }
    }

    /// Samples whose spans end shortly before this moment. An error if the clock is before 1970.
    pub(crate) fn from_now(seed: u64) -> Result<Corpus> {
        Ok(Corpus::new(seed, now_unix_nano()?))
    }

    /// Sample number `n`: six spans of all kinds below two resources with two scopes each.
    ///
    /// Fields that Tempo drops (`schema_url`, flags) are set too, so that their absence is a fact of
    /// Tempo and not of the sender.
    pub fn sample(&self, n: u32) -> Sample {
        let marker = format!("{:016x}-{n}", self.seed);
        let mut maker = Maker {
            random: StdRng::seed_from_u64(self.seed ^ u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            // Spans that begin 2 s ago and are never on a whole microsecond.
            start: (self.now - 2_000 * MILLISECOND) / 1_000 * 1_000 + 1,
            marker: marker.clone(),
            trace: TraceId([0; 16]),
        };
        maker.trace = maker.trace_id(n);
        Sample {
            id: maker.trace,
            traces: maker.traces(),
            marker,
        }
    }
}

impl Sample {
    /// Queries by a span attribute, by a resource attribute and by status, each of which finds this
    /// sample and no other. All of them hold for every receiver.
    pub fn queries(&self) -> Vec<Query> {
        let marker = &self.marker;
        let query = |by, condition: &str| Query {
            by,
            traceql: format!("{{ {condition} }}"),
        };
        vec![
            query("span attribute", &format!("span.{SPAN_MARKER} = \"{marker}\"")),
            query(
                "resource attribute",
                &format!("resource.{RESOURCE_MARKER} = \"{marker}\""),
            ),
            query(
                "status",
                &format!("status = error && span.{SPAN_MARKER} = \"{marker}\""),
            ),
        ]
    }
}

/// Nanoseconds since 1970. An error if the clock is before that.
pub(crate) fn now_unix_nano() -> Result<u64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("reading the clock")?;
    u64::try_from(since.as_nanos()).context("the clock is after the year 2554")
}

pub(crate) fn attribute(key: impl Into<String>, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        key_strindex: 0,
    }
}

pub fn text(value: impl Into<String>) -> Value {
    Value::StringValue(value.into())
}

struct Maker {
    random: StdRng,
    start: u64,
    marker: String,
    trace: TraceId,
}

impl Maker {
    /// Ids whose first byte, first eight bytes (a 64-bit id) or first digit is zero, in turn.
    fn trace_id(&mut self, n: u32) -> TraceId {
        let mut id = [0; 16];
        self.random.fill_bytes(&mut id);
        match n % 3 {
            0 => id[0] = 0,
            1 => id[..8].fill(0),
            _ => id[..2].copy_from_slice(&[0, 0x0a]),
        }
        id[15] |= 1;
        TraceId(id)
    }

    /// Span ids of which every second one begins with a zero byte.
    fn span_id(&mut self) -> Vec<u8> {
        let mut id = [0; 8];
        self.random.fill_bytes(&mut id);
        id[0] = if id[0] % 2 == 0 { 0 } else { id[0] };
        id[7] |= 1;
        id.to_vec()
    }

    fn traces(&mut self) -> TracesData {
        let root = self.span(SpanKind::Server, "GET /cart/{id}", &[], 0);
        let every = self.span_with_every_value(&root.span_id);
        let failed = self.failed_span(&root.span_id);
        let linked = self.span_with_links(&root.span_id);
        let taken = self.span(SpanKind::Consumer, "orders process", &linked.span_id, 40);
        let long = format!("{}{}", UNICODE.trim_end(), " and so on".repeat(60));
        let unknown = self.span(SpanKind::Unspecified, &long, &taken.span_id, 50);
        TracesData {
            resource_spans: vec![
                self.resource(
                    "checkout",
                    vec![("cart", vec![root, every, failed]), ("queue", vec![linked])],
                ),
                self.resource("shipping ⛴", vec![("queue", vec![taken]), ("", vec![unknown])]),
            ],
        }
    }

    fn resource(&mut self, service: &str, scopes: Vec<(&str, Vec<Span>)>) -> ResourceSpans {
        let mut attributes = self.every_scalar("res");
        attributes.push(attribute("service.name", text(service)));
        attributes.push(attribute("k8s.namespace.name", text("shop")));
        attributes.push(attribute("k8s.pod.name", text(format!("{service}-0"))));
        attributes.push(attribute(RESOURCE_MARKER, text(&self.marker)));
        ResourceSpans {
            resource: Some(Resource {
                attributes,
                dropped_attributes_count: 3,
                entity_refs: Vec::new(),
            }),
            scope_spans: scopes.into_iter().map(|(name, spans)| scope(name, spans)).collect(),
            schema_url: "https://opentelemetry.io/schemas/1.37.0".into(),
        }
    }

    fn span(&mut self, kind: SpanKind, name: &str, parent: &[u8], offset_ms: u64) -> Span {
        let start = self.start + offset_ms * MILLISECOND + self.random.random_range(0..500) * 2;
        Span {
            trace_id: self.trace.0.to_vec(),
            span_id: self.span_id(),
            trace_state: String::new(),
            parent_span_id: parent.to_vec(),
            flags: 0x101,
            name: name.into(),
            kind: kind.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: start + 5 * MILLISECOND + self.random.random_range(1..1_000),
            attributes: vec![attribute(SPAN_MARKER, text(&self.marker))],
            status: Some(Status {
                message: String::new(),
                code: StatusCode::Unset.into(),
            }),
            ..Span::default()
        }
    }

    fn span_with_every_value(&mut self, parent: &[u8]) -> Span {
        let mut span = self.span(SpanKind::Internal, UNICODE, parent, 10);
        span.trace_state = "vendor=t61rcWkgMzE,other=00f067aa0ba902b7".into();
        span.attributes.extend(self.every_scalar("attr"));
        span.attributes.extend(nested_values());
        span.attributes.push(KeyValue {
            key: "attr.without value".into(),
            ..KeyValue::default()
        });
        span.status = Some(Status {
            message: String::new(),
            code: StatusCode::Ok.into(),
        });
        span.dropped_attributes_count = 7;
        span.dropped_events_count = u32::from(u16::MAX);
        span.dropped_links_count = 1;
        span
    }

    fn failed_span(&mut self, parent: &[u8]) -> Span {
        let mut span = self.span(SpanKind::Client, "POST /pay", parent, 20);
        // Columns of their own in Tempo's blocks (tempodb/encoding/vparquet4/schema.go).
        span.attributes.push(attribute("http.method", text("POST")));
        span.attributes
            .push(attribute("http.url", text("http://pay.example/pay?ü=1")));
        span.attributes
            .push(attribute("http.status_code", Value::IntValue(503)));
        span.status = Some(Status {
            message: format!("payment failed: {UNICODE}"),
            code: StatusCode::Error.into(),
        });
        let first = span.start_time_unix_nano + MILLISECOND + 7;
        span.events = vec![
            Event {
                time_unix_nano: first,
                name: "exception".into(),
                attributes: self.every_scalar("event"),
                dropped_attributes_count: 2,
            },
            Event {
                time_unix_nano: first + 1_001,
                name: UNICODE.into(),
                ..Event::default()
            },
        ];
        span
    }

    /// Links to another trace and to the own one. Not on the root: there the Jaeger model takes a
    /// reference to the own trace for the parent.
    fn span_with_links(&mut self, parent: &[u8]) -> Span {
        let mut span = self.span(SpanKind::Producer, "orders publish", parent, 30);
        let elsewhere = self.trace_id(0);
        span.links = vec![
            Link {
                trace_id: elsewhere.0.to_vec(),
                span_id: self.span_id(),
                trace_state: "vendor=abc".into(),
                attributes: self.every_scalar("link"),
                dropped_attributes_count: 1,
                flags: 0x300,
            },
            Link {
                trace_id: self.trace.0.to_vec(),
                span_id: self.span_id(),
                ..Link::default()
            },
        ];
        span
    }

    /// One attribute of each type without structure, with its limits.
    fn every_scalar(&mut self, prefix: &str) -> Vec<KeyValue> {
        let value = |name: &str, value| attribute(format!("{prefix}.{name}"), value);
        vec![
            value("text", text(format!("value {}", self.random.random::<u32>()))),
            value("text.empty", text("")),
            value("text.unicode", text(UNICODE)),
            value("ключ with space", text("key")),
            value("true", Value::BoolValue(true)),
            value("false", Value::BoolValue(false)),
            value("int.min", Value::IntValue(i64::MIN)),
            value("int.max", Value::IntValue(i64::MAX)),
            value("int.zero", Value::IntValue(0)),
            // More than the 53 bits that a JSON number holds in most programs.
            value("int.54bits", Value::IntValue((1 << 53) + 1)),
            value("double", Value::DoubleValue(0.1)),
            value("double.huge", Value::DoubleValue(-1.797e308)),
            value("double.tiny", Value::DoubleValue(f64::MIN_POSITIVE)),
            value("double.whole", Value::DoubleValue(3.0)),
            value("bytes", Value::BytesValue(vec![0, 1, 127, 128, 255])),
        ]
    }
}

fn scope(name: &str, spans: Vec<Span>) -> ScopeSpans {
    // The unnamed scope stands for an SDK that sets none.
    let scope = (!name.is_empty()).then(|| InstrumentationScope {
        name: format!("shop.{name}"),
        version: "1.2.3-β".into(),
        attributes: vec![
            attribute("scope.text", text(UNICODE)),
            attribute("scope.int", Value::IntValue(-1)),
        ],
        dropped_attributes_count: 4,
    });
    ScopeSpans {
        scope,
        spans,
        schema_url: "https://opentelemetry.io/schemas/1.36.0".into(),
    }
}

/// Arrays and maps: empty, of one type, mixed and nested.
fn nested_values() -> Vec<KeyValue> {
    let any = |value| AnyValue { value: Some(value) };
    let array = |values: Vec<Value>| {
        Value::ArrayValue(ArrayValue {
            values: values.into_iter().map(any).collect(),
        })
    };
    let map = |values| Value::KvlistValue(KeyValueList { values });
    let mixed = || {
        array(vec![
            text("one"),
            Value::IntValue(i64::MAX),
            Value::DoubleValue(2.5),
            array(vec![Value::BoolValue(true), text("")]),
        ])
    };
    vec![
        attribute("array.empty", array(vec![])),
        attribute("array.text", array(vec![text("a"), text(""), text(UNICODE)])),
        attribute(
            "array.int",
            array(vec![Value::IntValue(i64::MIN), Value::IntValue(i64::MAX)]),
        ),
        attribute(
            "array.double",
            array(vec![Value::DoubleValue(0.5), Value::DoubleValue(-0.25)]),
        ),
        attribute(
            "array.bool",
            array(vec![Value::BoolValue(true), Value::BoolValue(false)]),
        ),
        attribute("array.mixed", mixed()),
        attribute("map.empty", map(vec![])),
        attribute(
            "map.nested",
            map(vec![
                attribute("text", text(UNICODE)),
                attribute("bytes", Value::BytesValue(vec![255, 0])),
                attribute("array", mixed()),
                attribute("map", map(vec![attribute("int.min", Value::IntValue(i64::MIN))])),
            ]),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const NOW: u64 = 1_790_000_000_000_000_000;

    fn spans(sample: &Sample) -> Vec<&Span> {
        let scopes = sample.traces.resource_spans.iter().flat_map(|r| &r.scope_spans);
        scopes.flat_map(|s| &s.spans).collect()
    }

    #[test]
    fn the_same_seed_and_time_make_the_same_trace() {
        let one = Corpus::new(7, NOW).sample(3);
        assert_eq!(one.traces, Corpus::new(7, NOW).sample(3).traces);
        assert_ne!(one.id, Corpus::new(8, NOW).sample(3).id);
        assert_ne!(one.id, Corpus::new(7, NOW).sample(4).id);
    }

    #[test]
    fn ids_begin_with_zeros_and_are_never_zero() {
        for n in 0..30 {
            let sample = Corpus::new(1, NOW).sample(n);
            assert_eq!(sample.id.0[0], 0);
            assert_ne!(sample.id.0, [0; 16]);
            assert_eq!(sample.id.0[..8] == [0; 8], n % 3 == 1);
            let ids: BTreeSet<_> = spans(&sample).iter().map(|s| s.span_id.clone()).collect();
            assert_eq!(ids.len(), spans(&sample).len());
            assert!(ids.iter().all(|id| *id != [0; 8]));
        }
    }

    #[test]
    fn a_sample_has_every_kind_and_every_status() {
        let sample = Corpus::new(1, NOW).sample(0);
        let kinds: BTreeSet<_> = spans(&sample).iter().map(|s| s.kind).collect();
        assert_eq!(kinds, (0..=5).collect());
        let codes: BTreeSet<_> = spans(&sample)
            .iter()
            .filter_map(|s| s.status.as_ref().map(|s| s.code))
            .collect();
        assert_eq!(codes, (0..=2).collect());
    }

    #[test]
    fn times_need_nanoseconds_and_lie_in_the_recent_past() {
        for span in spans(&Corpus::new(5, NOW).sample(0)) {
            assert_ne!(span.start_time_unix_nano % 1_000, 0);
            assert!(span.end_time_unix_nano < NOW && span.start_time_unix_nano > NOW - 3_000 * MILLISECOND);
        }
    }

    #[test]
    fn no_attribute_is_so_long_that_tempo_would_cut_it() {
        for span in spans(&Corpus::new(5, NOW).sample(0)) {
            for KeyValue { key, value, .. } in &span.attributes {
                let length = prost::Message::encoded_len(&value.clone().unwrap_or_default());
                assert!(length < 2_048, "{key}: {length} bytes");
            }
        }
    }
}
