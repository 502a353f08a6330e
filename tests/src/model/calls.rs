//! Calls between services: each a trace of the caller's span and the span of the one that answers, as
//! processors of metrics pair them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::model::corpus::{attribute, text};
use crate::model::id::{SpanId, TraceId};

/// Who calls whom, in turn.
const EDGES: [(&str, &str); 4] = [
    ("storefront", "cart"),
    ("storefront", "search"),
    ("cart", "payment"),
    ("search", "catalog"),
];
/// Of so many calls in a row to each service one fails.
const FAILS: u32 = 5;

/// Makes calls, and counts what it made.
pub(crate) struct Calls {
    random: StdRng,
    made: u32,
    /// Spans by service and status (`STATUS_CODE_ERROR`, `STATUS_CODE_UNSET`).
    pub spans: BTreeMap<Vec<String>, f64>,
    /// Calls by caller and called.
    pub edges: BTreeMap<Vec<String>, f64>,
    /// Those that failed.
    pub failed: BTreeMap<Vec<String>, f64>,
    /// The ids of all spans.
    pub ids: Vec<(TraceId, SpanId)>,
}

impl Calls {
    pub fn new(seed: u64) -> Calls {
        Calls {
            random: StdRng::seed_from_u64(seed),
            made: 0,
            spans: BTreeMap::new(),
            edges: BTreeMap::new(),
            failed: BTreeMap::new(),
            ids: Vec::new(),
        }
    }

    /// The next calls, which ended just before `now` (nanoseconds since 1970).
    pub fn next(&mut self, calls: u32, now: u64) -> TracesData {
        let resource_spans = (0..calls).flat_map(|_| self.one(now)).collect();
        TracesData { resource_spans }
    }

    fn one(&mut self, now: u64) -> [ResourceSpans; 2] {
        let turn = self.made as usize % EDGES.len();
        let fails = self.made / EDGES.len() as u32 % FAILS == FAILS - 1;
        self.made += 1;
        let (caller, called) = EDGES[turn];
        let trace = TraceId(self.random.random());
        let (outer, inner) = (SpanId::random(&mut self.random), SpanId::random(&mut self.random));
        self.ids.extend([(trace, outer), (trace, inner)]);
        let edge = vec![caller.to_owned(), called.to_owned()];
        if fails {
            *self.failed.entry(edge.clone()).or_default() += 1.0;
        }
        *self.edges.entry(edge).or_default() += 1.0;
        let took = self.random.random_range(1_000_000..200_000_000);
        let route = format!("/{called}");
        let mut span = |service: &str, id: SpanId, parent: Vec<u8>, kind: SpanKind, around: u64| {
            let status = if fails { StatusCode::Error } else { StatusCode::Unset };
            let key = vec![service.to_owned(), status.as_str_name().to_owned()];
            *self.spans.entry(key).or_default() += 1.0;
            let span = Span {
                trace_id: trace.0.to_vec(),
                span_id: id.0.to_vec(),
                parent_span_id: parent,
                name: format!("GET {route}"),
                kind: kind.into(),
                start_time_unix_nano: now - took - around,
                end_time_unix_nano: now - 1_000_000 + around,
                attributes: vec![
                    attribute("http.request.method", text("GET")),
                    attribute("http.route", text(route.as_str())),
                    attribute(
                        "http.response.status_code",
                        Value::IntValue(if fails { 500 } else { 200 }),
                    ),
                ],
                status: Some(Status {
                    code: status.into(),
                    ..Status::default()
                }),
                ..Span::default()
            };
            ResourceSpans {
                resource: Some(Resource {
                    attributes: vec![attribute("service.name", text(service))],
                    ..Resource::default()
                }),
                scope_spans: vec![ScopeSpans {
                    spans: vec![span],
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }
        };
        [
            span(caller, outer, Vec::new(), SpanKind::Client, 1_000_000),
            span(called, inner, outer.0.to_vec(), SpanKind::Server, 0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_go_round_the_services_and_every_fifth_of_each_fails() {
        let mut calls = Calls::new(1);
        let traces = calls.next(1_000, 1_700_000_000_000_000_000);
        assert_eq!(traces.resource_spans.len(), 2_000);
        assert_eq!(calls.ids.len(), 2_000);
        assert!(calls.edges.values().all(|n| *n == 250.0) && calls.edges.len() == EDGES.len());
        assert!(calls.failed.values().all(|n| *n == 50.0));
        let of = |service: &str, status: &str| calls.spans[&vec![service.to_owned(), status.to_owned()]];
        assert_eq!(of("cart", "STATUS_CODE_UNSET"), 400.0);
        assert_eq!(of("payment", "STATUS_CODE_ERROR"), 50.0);
        let [client, server] = [0, 1].map(|n| &traces.resource_spans[n].scope_spans[0].spans[0]);
        assert_eq!(server.parent_span_id, client.span_id);
        assert!(client.start_time_unix_nano < server.start_time_unix_nano);
        assert!(client.end_time_unix_nano > server.end_time_unix_nano);
    }
}
