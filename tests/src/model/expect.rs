//! What should come back of a trace that goes in through a receiver.
//!
//! Written from the table of [`Feature`]s alone, not from the encoders: an encoder that forgets
//! something makes a difference.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span, TracesData};
use serde_json::json;

use crate::model::corpus::{attribute, text};
use crate::model::door::{Carried, Door, Feature};

/// What a receiver delivers of a trace, for [`compare`](crate::model::compare::compare).
pub fn expected(door: Door, sent: &TracesData) -> TracesData {
    let lost = |feature| door.carries(feature) != Carried::Whole;
    let mut traces = sent.clone();
    for resource_spans in &mut traces.resource_spans {
        if let Some(resource) = &mut resource_spans.resource {
            values(door, &mut resource.attributes);
            if lost(Feature::DroppedCounts) {
                resource.dropped_attributes_count = 0;
            }
        }
        for scope_spans in &mut resource_spans.scope_spans {
            for span in &mut scope_spans.spans {
                expected_span(door, span);
            }
            expected_scope(door, scope_spans);
        }
    }
    traces
}

fn expected_span(door: Door, span: &mut Span) {
    let lost = |feature| door.carries(feature) != Carried::Whole;
    values(door, &mut span.attributes);
    if lost(Feature::Times) {
        // A start and a duration, each cut to microseconds.
        let duration = span.end_time_unix_nano - span.start_time_unix_nano;
        span.start_time_unix_nano = microseconds(span.start_time_unix_nano);
        span.end_time_unix_nano = span.start_time_unix_nano + microseconds(duration);
    }
    if lost(Feature::TraceState) && !span.trace_state.is_empty() {
        let state = std::mem::take(&mut span.trace_state);
        span.attributes.push(attribute("w3c.tracestate", text(state)));
    }
    for event in &mut span.events {
        values(door, &mut event.attributes);
        if lost(Feature::Times) {
            event.time_unix_nano = microseconds(event.time_unix_nano);
        }
        if lost(Feature::DroppedCounts) {
            event.dropped_attributes_count = 0;
        }
    }
    for link in &mut span.links {
        expected_link(door, link);
    }
    if lost(Feature::DroppedCounts) {
        span.dropped_attributes_count = 0;
        span.dropped_events_count = 0;
        span.dropped_links_count = 0;
    }
}

fn expected_link(door: Door, link: &mut Link) {
    let lost = |feature| door.carries(feature) != Carried::Whole;
    if lost(Feature::LinkAttributes) {
        link.attributes = vec![attribute("opentracing.ref_type", text("follows_from"))];
    }
    if lost(Feature::LinkTraceState) {
        link.trace_state.clear();
    }
    if lost(Feature::DroppedCounts) {
        link.dropped_attributes_count = 0;
    }
}

fn expected_scope(door: Door, scope_spans: &mut ScopeSpans) {
    let Some(scope) = &mut scope_spans.scope else { return };
    values(door, &mut scope.attributes);
    if door.carries(Feature::ScopeAttributes) != Carried::Whole {
        scope.attributes.clear();
    }
    if door.carries(Feature::DroppedCounts) != Carried::Whole {
        scope.dropped_attributes_count = 0;
    }
    if door.carries(Feature::Scope) != Carried::Whole {
        let fields = [("otel.scope.name", &scope.name), ("otel.scope.version", &scope.version)];
        for span in &mut scope_spans.spans {
            let named = fields.iter().filter(|(_, value)| !value.is_empty());
            span.attributes
                .extend(named.map(|(key, value)| attribute(*key, text(value.as_str()))));
        }
        scope_spans.scope = None;
    }
}

fn values(door: Door, attributes: &mut Vec<KeyValue>) {
    if door.carries(Feature::EmptyValue) != Carried::Whole {
        attributes.retain(|a| a.value.as_ref().is_some_and(|v| v.value.is_some()));
    }
    if door.carries(Feature::Nested) == Carried::Whole {
        return;
    }
    for attribute in attributes {
        let Some(any) = &mut attribute.value else { continue };
        if let Some(Value::ArrayValue(_) | Value::KvlistValue(_)) = any.value {
            any.value = Some(text(json_text(any)));
        }
    }
}

/// A value as JSON text, as exporters to Jaeger write arrays and maps
/// (specification/common/README.md, "AnyValue representation for non-OTLP protocols").
pub(crate) fn json_text(value: &AnyValue) -> String {
    to_json(value).to_string()
}

fn to_json(value: &AnyValue) -> serde_json::Value {
    use base64::Engine;
    match &value.value {
        None => serde_json::Value::Null,
        Some(Value::StringValue(text)) => json!(text),
        Some(Value::BoolValue(value)) => json!(value),
        Some(Value::IntValue(value)) => json!(value),
        Some(Value::DoubleValue(value)) => json!(value),
        Some(Value::BytesValue(bytes)) => json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Some(Value::ArrayValue(array)) => array.values.iter().map(to_json).collect(),
        Some(Value::KvlistValue(map)) => map
            .values
            .iter()
            .map(|pair| (pair.key.clone(), pair.value.as_ref().map_or(json!(null), to_json)))
            .collect(),
        Some(Value::StringValueStrindex(index)) => json!(index),
    }
}

fn microseconds(nanoseconds: u64) -> u64 {
    nanoseconds / 1_000 * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::compare::compare;
    use crate::model::corpus::Corpus;

    #[test]
    fn otlp_doors_owe_every_field() {
        let sent = Corpus::new(1, 1_790_000_000_000_000_000).sample(0).traces;
        for door in Door::OTLP {
            assert_eq!(expected(door, &sent), sent);
        }
    }

    #[test]
    fn thrift_owes_less_than_jaeger_grpc_and_that_less_than_otlp() {
        let sent = Corpus::new(1, 1_790_000_000_000_000_000).sample(0).traces;
        let differences = |door| compare(&sent, &expected(door, &sent)).differences.len();
        assert_eq!(differences(Door::OtlpGrpc), 0);
        assert!(differences(Door::JaegerGrpc) > 0);
        assert!(differences(Door::JaegerThriftHttp) > differences(Door::JaegerGrpc));
    }

    #[test]
    fn thrift_times_are_cut_and_never_rounded_up() {
        let sent = Corpus::new(1, 1_790_000_000_000_000_000).sample(0).traces;
        let first = |traces: &TracesData| traces.resource_spans[0].scope_spans[0].spans[0].clone();
        let (before, after) = (first(&sent), first(&expected(Door::JaegerThriftCompactUdp, &sent)));
        assert_eq!(after.start_time_unix_nano % 1_000, 0);
        assert!(before.start_time_unix_nano - after.start_time_unix_nano < 1_000);
        assert!(before.end_time_unix_nano > after.end_time_unix_nano);
    }
}
