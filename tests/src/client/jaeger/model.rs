//! Jaeger's model as its api_v2 has it (jaegertracing/jaeger-idl proto/api_v2/model.proto), and OTLP
//! spans in its terms (opentelemetry-specification, specification/trace/sdk_exporters/jaeger.md).

use anyhow::Result;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span, TracesData};
use prost::{Enumeration, Message};

use crate::model::expect::json_text;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PostSpansRequest {
    #[prost(message, optional, tag = "1")]
    pub batch: Option<Batch>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PostSpansResponse {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Batch {
    #[prost(message, repeated, tag = "1")]
    pub spans: Vec<JaegerSpan>,
    #[prost(message, optional, tag = "2")]
    pub process: Option<Process>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Process {
    #[prost(string, tag = "1")]
    pub service_name: String,
    #[prost(message, repeated, tag = "2")]
    pub tags: Vec<Tag>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct JaegerSpan {
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    pub operation_name: String,
    /// The parent, if there is one, comes first.
    #[prost(message, repeated, tag = "4")]
    pub references: Vec<Reference>,
    #[prost(uint32, tag = "5")]
    pub flags: u32,
    #[prost(message, optional, tag = "6")]
    pub start_time: Option<Time>,
    #[prost(message, optional, tag = "7")]
    pub duration: Option<Time>,
    #[prost(message, repeated, tag = "8")]
    pub tags: Vec<Tag>,
    #[prost(message, repeated, tag = "9")]
    pub logs: Vec<Log>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Reference {
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    #[prost(enumeration = "ReferenceType", tag = "3")]
    pub ref_type: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(crate) enum ReferenceType {
    ChildOf = 0,
    FollowsFrom = 1,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Log {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Time>,
    #[prost(message, repeated, tag = "2")]
    pub fields: Vec<Tag>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Tag {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(enumeration = "TagType", tag = "2")]
    pub v_type: i32,
    #[prost(string, tag = "3")]
    pub v_str: String,
    #[prost(bool, tag = "4")]
    pub v_bool: bool,
    #[prost(int64, tag = "5")]
    pub v_int64: i64,
    #[prost(double, tag = "6")]
    pub v_float64: f64,
    #[prost(bytes = "vec", tag = "7")]
    pub v_binary: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(crate) enum TagType {
    String = 0,
    Bool = 1,
    Int64 = 2,
    Float64 = 3,
    Binary = 4,
}

/// `google.protobuf.Timestamp` and `google.protobuf.Duration`, which have the same fields.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Time {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Time {
    fn of(nanoseconds: u64) -> Result<Time> {
        Ok(Time {
            seconds: i64::try_from(nanoseconds / SECOND)?,
            nanos: i32::try_from(nanoseconds % SECOND)?,
        })
    }

    /// Whole microseconds, as thrift has them.
    pub(crate) fn microseconds(self) -> i64 {
        self.seconds * 1_000_000 + i64::from(self.nanos / 1_000)
    }
}

/// One batch per resource. An error if a time doesn't fit.
pub fn batches(traces: &TracesData) -> Result<Vec<Batch>> {
    traces.resource_spans.iter().map(batch).collect()
}

fn batch(resource_spans: &ResourceSpans) -> Result<Batch> {
    let mut process = Process::default();
    for attribute in resource_spans.resource.iter().flat_map(|r| &r.attributes) {
        match value(attribute) {
            Some(Value::StringValue(name)) if attribute.key == "service.name" => process.service_name = name.clone(),
            _ => process.tags.extend(tag(attribute)),
        }
    }
    let mut spans = Vec::new();
    for scope_spans in &resource_spans.scope_spans {
        for span in &scope_spans.spans {
            spans.push(jaeger_span(span, scope_spans.scope.as_ref())?);
        }
    }
    Ok(Batch {
        spans,
        process: Some(process),
    })
}

fn jaeger_span(span: &Span, scope: Option<&InstrumentationScope>) -> Result<JaegerSpan> {
    let mut tags: Vec<Tag> = span.attributes.iter().filter_map(tag).collect();
    tags.extend(meaning_tags(span));
    if let Some(scope) = scope.filter(|s| !s.name.is_empty()) {
        tags.push(text_tag("otel.scope.name", &scope.name));
        if !scope.version.is_empty() {
            tags.push(text_tag("otel.scope.version", &scope.version));
        }
    }
    Ok(JaegerSpan {
        trace_id: span.trace_id.clone(),
        span_id: span.span_id.clone(),
        operation_name: span.name.clone(),
        references: references(span),
        flags: 1,
        start_time: Some(Time::of(span.start_time_unix_nano)?),
        duration: Some(Time::of(
            span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
        )?),
        tags,
        logs: span.events.iter().map(log).collect::<Result<_>>()?,
    })
}

/// Fields that Jaeger has tags for: kind, status and trace state.
fn meaning_tags(span: &Span) -> Vec<Tag> {
    let kind = match span.kind() {
        SpanKind::Unspecified => None,
        SpanKind::Internal => Some("internal"),
        SpanKind::Server => Some("server"),
        SpanKind::Client => Some("client"),
        SpanKind::Producer => Some("producer"),
        SpanKind::Consumer => Some("consumer"),
    };
    let mut tags: Vec<Tag> = kind.map(|kind| text_tag("span.kind", kind)).into_iter().collect();
    let status = span.status.clone().unwrap_or_default();
    match status.code() {
        StatusCode::Unset => {}
        StatusCode::Ok => tags.push(text_tag("otel.status_code", "OK")),
        StatusCode::Error => {
            tags.push(text_tag("otel.status_code", "ERROR"));
            tags.push(Tag {
                key: "error".into(),
                v_type: TagType::Bool.into(),
                v_bool: true,
                ..Tag::default()
            });
        }
    }
    if !status.message.is_empty() {
        tags.push(text_tag("otel.status_description", &status.message));
    }
    if !span.trace_state.is_empty() {
        tags.push(text_tag("w3c.tracestate", &span.trace_state));
    }
    tags
}

fn references(span: &Span) -> Vec<Reference> {
    let mut references = Vec::new();
    if !span.parent_span_id.is_empty() {
        references.push(Reference {
            trace_id: span.trace_id.clone(),
            span_id: span.parent_span_id.clone(),
            ref_type: ReferenceType::ChildOf.into(),
        });
    }
    references.extend(span.links.iter().map(|link| Reference {
        trace_id: link.trace_id.clone(),
        span_id: link.span_id.clone(),
        ref_type: ReferenceType::FollowsFrom.into(),
    }));
    references
}

fn log(event: &Event) -> Result<Log> {
    let mut fields = vec![text_tag("event", &event.name)];
    fields.extend(event.attributes.iter().filter_map(tag));
    Ok(Log {
        timestamp: Some(Time::of(event.time_unix_nano)?),
        fields,
    })
}

fn value(attribute: &KeyValue) -> Option<&Value> {
    attribute.value.as_ref()?.value.as_ref()
}

fn text_tag(key: &str, text: &str) -> Tag {
    Tag {
        key: key.into(),
        v_type: TagType::String.into(),
        v_str: text.into(),
        ..Tag::default()
    }
}

/// The attribute as a tag; none for an attribute without a value.
fn tag(attribute: &KeyValue) -> Option<Tag> {
    let mut tag = Tag {
        key: attribute.key.clone(),
        ..Tag::default()
    };
    match value(attribute)? {
        Value::StringValue(text) => tag.v_str = text.clone(),
        Value::BoolValue(value) => tag.v_bool = *value,
        Value::IntValue(value) => tag.v_int64 = *value,
        Value::DoubleValue(value) => tag.v_float64 = *value,
        Value::BytesValue(bytes) => tag.v_binary = bytes.clone(),
        // Strings in a dictionary belong to profiles, not to spans.
        Value::ArrayValue(_) | Value::KvlistValue(_) | Value::StringValueStrindex(_) => {
            tag.v_str = json_text(attribute.value.as_ref()?);
        }
    }
    tag.set_v_type(match value(attribute)? {
        Value::BoolValue(_) => TagType::Bool,
        Value::IntValue(_) => TagType::Int64,
        Value::DoubleValue(_) => TagType::Float64,
        Value::BytesValue(_) => TagType::Binary,
        _ => TagType::String,
    });
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::corpus::Corpus;

    #[test]
    fn a_failed_span_says_so_in_the_tags_that_jaeger_looks_at() {
        let traces = Corpus::new(1, 1_790_000_000_000_000_000).sample(0).traces;
        let batches = batches(&traces).unwrap();
        let failed = &batches[0].spans[2];
        let tag = |key| failed.tags.iter().find(|t| t.key == key).unwrap();
        assert!(tag("error").v_bool);
        assert_eq!(tag("otel.status_code").v_str, "ERROR");
        assert_eq!(tag("span.kind").v_str, "client");
        assert_eq!(tag("http.status_code").v_int64, 503);
        assert_eq!(failed.logs[0].fields[0].v_str, "exception");
    }

    #[test]
    fn the_service_name_leaves_the_tags_and_becomes_the_process() {
        let traces = Corpus::new(1, 1_790_000_000_000_000_000).sample(0).traces;
        for (batch, name) in batches(&traces).unwrap().iter().zip(["checkout", "shipping ⛴"]) {
            let process = batch.process.clone().unwrap();
            assert_eq!(process.service_name, name);
            assert!(process.tags.iter().all(|t| t.key != "service.name"));
        }
    }

    #[test]
    fn microseconds_are_cut_from_nanoseconds() {
        assert_eq!(Time::of(1_000_001_999).unwrap().microseconds(), 1_000_001);
    }
}
