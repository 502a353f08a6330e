//! What was sent against what came back.
//!
//! [`expected`](crate::model::expect::expected) says what a receiver carries of a trace; [`compare`] then asks
//! for equality, except for the order of things that have none in OTLP: resources, scopes, spans and
//! attributes. Never compared is what Tempo doesn't keep: `schema_url` of resources and scopes, and the flags
//! of spans and links, which go when a trace is cut to the write-ahead log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, TracesData};
use serde::Serialize;

use crate::model::id::{SpanId, TraceId};

/// How long a value may be in a difference, in characters.
const SHOWN_VALUE: usize = 160;

/// The end of the path of a difference in the order of a span's links.
const LINK_ORDER: &str = ".links (order)";

/// One thing that isn't as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// Where: `resource[0].scope[1].span 00ab….attributes["x"]`, counted as it was sent.
    pub path: String,
    pub sent: String,
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: sent {}, found {}", self.path, self.sent, self.found)
    }
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Comparison {
    /// Everything that differs, missing and unexpected spans included; each once.
    pub differences: Vec<Difference>,
    /// Spans that came back more than once. At-least-once delivery allows that.
    pub duplicates: Vec<SpanId>,
    /// How many spans were compared.
    pub compared: usize,
}

impl Comparison {
    /// Whether everything came back as it was sent.
    pub(crate) fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }

    /// The same without those differences that are only another order of a span's links.
    pub(crate) fn but_for_link_order(mut self) -> Comparison {
        self.differences
            .retain(|difference| !difference.path.ends_with(LINK_ORDER));
        self
    }

    /// The first few differences, one a line, and how many more there are.
    pub fn summary(&self) -> String {
        const LINES: usize = 10;
        let mut lines: Vec<String> = self.differences.iter().take(LINES).map(|d| d.to_string()).collect();
        if self.differences.len() > LINES {
            lines.push(format!("and {} more", self.differences.len() - LINES));
        }
        lines.join("\n")
    }
}

/// Compares what should have come back (see [`expected`](crate::model::expect::expected)) with what did.
pub fn compare(expected: &TracesData, found: &TracesData) -> Comparison {
    let mut report = Comparison::default();
    let mut differences = Differences::default();
    let sent = flatten(expected);
    let mut back: BTreeMap<Key, Vec<Flat>> = BTreeMap::new();
    for flat in flatten(found) {
        back.entry(flat.key.clone()).or_default().push(flat);
    }
    for flat in &sent {
        let copies = back.remove(&flat.key).unwrap_or_default();
        if copies.is_empty() {
            differences.add(&flat.path, "a span", "none");
        }
        if copies.len() > 1 {
            report.duplicates.extend(SpanId::from_bytes(&flat.span.span_id));
        }
        report.compared += usize::from(!copies.is_empty());
        for copy in &copies {
            differences.spans(flat, copy);
        }
    }
    for flat in back.into_values().flatten() {
        differences.add(&flat.path, "nothing", &format!("a span named {:?}", flat.span.name));
    }
    report.differences = differences.0.into_iter().collect();
    report
}

type Key = (Vec<u8>, Vec<u8>);

struct Flat<'a> {
    key: Key,
    path: String,
    resource_path: String,
    scope_path: String,
    resource: Resource,
    scope: InstrumentationScope,
    span: &'a Span,
}

fn flatten(traces: &TracesData) -> Vec<Flat<'_>> {
    let mut flat = Vec::new();
    for (r, resource_spans) in traces.resource_spans.iter().enumerate() {
        for (s, scope_spans) in resource_spans.scope_spans.iter().enumerate() {
            for span in &scope_spans.spans {
                let scope_path = format!("resource[{r}].scope[{s}]");
                flat.push(Flat {
                    key: (span.trace_id.clone(), span.span_id.clone()),
                    path: format!("{scope_path}.span {}", hex(&span.span_id)),
                    resource_path: format!("resource[{r}]"),
                    scope_path,
                    resource: resource_spans.resource.clone().unwrap_or_default(),
                    scope: scope_spans.scope.clone().unwrap_or_default(),
                    span,
                });
            }
        }
    }
    flat
}

/// A set, because all spans of a resource report the same difference of the resource.
#[derive(Default)]
struct Differences(BTreeSet<Difference>);

impl Differences {
    fn add(&mut self, path: &str, sent: &str, found: &str) {
        let same = sent.chars().zip(found.chars()).take_while(|(a, b)| a == b).count();
        // Long values are shown from shortly before the place where they part.
        let from = same.saturating_sub(SHOWN_VALUE / 2);
        self.0.insert(Difference {
            path: path.to_owned(),
            sent: short(sent, from),
            found: short(found, from),
        });
    }

    fn value<T: PartialEq + fmt::Debug>(&mut self, path: &str, field: &str, sent: &T, found: &T) {
        if sent != found {
            self.add(&format!("{path}.{field}"), &format!("{sent:?}"), &format!("{found:?}"));
        }
    }

    fn bytes(&mut self, path: &str, field: &str, sent: &[u8], found: &[u8]) {
        if sent != found {
            self.add(&format!("{path}.{field}"), &hex(sent), &hex(found));
        }
    }

    fn spans(&mut self, sent: &Flat, found: &Flat) {
        let (a, b) = (&sent.resource, &found.resource);
        self.attributes(&sent.resource_path, &a.attributes, &b.attributes);
        let path = &sent.resource_path;
        self.dropped(
            path,
            "attributes",
            a.dropped_attributes_count,
            b.dropped_attributes_count,
        );
        let (a, b) = (&sent.scope, &found.scope);
        let path = &sent.scope_path;
        self.value(path, "name", &a.name, &b.name);
        self.value(path, "version", &a.version, &b.version);
        self.attributes(path, &a.attributes, &b.attributes);
        self.dropped(
            path,
            "attributes",
            a.dropped_attributes_count,
            b.dropped_attributes_count,
        );
        self.span(&sent.path, sent.span, found.span);
    }

    fn span(&mut self, path: &str, sent: &Span, found: &Span) {
        self.value(path, "name", &sent.name, &found.name);
        self.value(path, "kind", &sent.kind(), &found.kind());
        self.value(path, "start", &sent.start_time_unix_nano, &found.start_time_unix_nano);
        self.value(path, "end", &sent.end_time_unix_nano, &found.end_time_unix_nano);
        self.bytes(path, "parent", &sent.parent_span_id, &found.parent_span_id);
        self.value(path, "trace_state", &sent.trace_state, &found.trace_state);
        let (a, b) = (status(sent), status(found));
        self.value(path, "status.code", &a.code(), &b.code());
        self.value(path, "status.message", &a.message, &b.message);
        self.attributes(path, &sent.attributes, &found.attributes);
        self.dropped(
            path,
            "attributes",
            sent.dropped_attributes_count,
            found.dropped_attributes_count,
        );
        self.dropped(path, "events", sent.dropped_events_count, found.dropped_events_count);
        self.dropped(path, "links", sent.dropped_links_count, found.dropped_links_count);
        self.value(path, "events (count)", &sent.events.len(), &found.events.len());
        for (i, (a, b)) in sent.events.iter().zip(&found.events).enumerate() {
            self.event(&format!("{path}.event[{i}]"), a, b);
        }
        self.value(path, "links (count)", &sent.links.len(), &found.links.len());
        let ids = |link: &Link| (link.trace_id.clone(), link.span_id.clone());
        let order: Vec<_> = sent.links.iter().map(ids).collect();
        let mut back: Vec<&Link> = found.links.iter().collect();
        back.sort_by_key(|link| order.iter().position(|known| *known == ids(link)).unwrap_or(usize::MAX));
        if back.iter().map(|link| ids(link)).ne(found.links.iter().map(ids)) {
            self.add(&format!("{path}{LINK_ORDER}"), "one order", "another");
        }
        for (i, (a, b)) in sent.links.iter().zip(back).enumerate() {
            self.link(&format!("{path}.link[{i}]"), a, b);
        }
    }

    fn event(&mut self, path: &str, sent: &Event, found: &Event) {
        self.value(path, "name", &sent.name, &found.name);
        self.value(path, "time", &sent.time_unix_nano, &found.time_unix_nano);
        self.attributes(path, &sent.attributes, &found.attributes);
        self.dropped(
            path,
            "attributes",
            sent.dropped_attributes_count,
            found.dropped_attributes_count,
        );
    }

    fn link(&mut self, path: &str, sent: &Link, found: &Link) {
        self.bytes(path, "trace_id", &sent.trace_id, &found.trace_id);
        self.bytes(path, "span_id", &sent.span_id, &found.span_id);
        self.value(path, "trace_state", &sent.trace_state, &found.trace_state);
        self.attributes(path, &sent.attributes, &found.attributes);
        self.dropped(
            path,
            "attributes",
            sent.dropped_attributes_count,
            found.dropped_attributes_count,
        );
    }

    fn dropped(&mut self, path: &str, what: &str, sent: u32, found: u32) {
        self.value(path, &format!("dropped_{what}_count"), &sent, &found);
    }

    fn attributes(&mut self, path: &str, sent: &[KeyValue], found: &[KeyValue]) {
        let mut left: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for attribute in found {
            left.entry(&attribute.key)
                .or_default()
                .push(render(attribute.value.as_ref()));
        }
        for attribute in sent {
            let path = format!("{path}.attributes[{:?}]", attribute.key);
            let value = render(attribute.value.as_ref());
            match left.remove(attribute.key.as_str()) {
                None => self.add(&path, &value, "no such attribute"),
                Some(values) if values == [value.as_str()] => {}
                Some(values) => self.add(&path, &value, &values.join(" and ")),
            }
        }
        for (key, values) in left {
            self.add(&format!("{path}.attributes[{key:?}]"), "nothing", &values.join(" and "));
        }
    }
}

fn status(span: &Span) -> Status {
    span.status.clone().unwrap_or_default()
}

/// A value with its type, equal for equal values: maps have no order, doubles are shown to the last
/// bit.
fn render(value: Option<&AnyValue>) -> String {
    match value.and_then(|v| v.value.as_ref()) {
        None => "no value".into(),
        Some(Value::StringValue(text)) => format!("{text:?}"),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => format!("int {value}"),
        Some(Value::DoubleValue(value)) => format!("double {value:?}"),
        Some(Value::BytesValue(bytes)) => format!("bytes {}", hex(bytes)),
        Some(Value::ArrayValue(array)) => {
            let values: Vec<_> = array.values.iter().map(|v| render(Some(v))).collect();
            format!("[{}]", values.join(", "))
        }
        Some(Value::KvlistValue(map)) => {
            let mut pairs: Vec<_> = map
                .values
                .iter()
                .map(|pair| format!("{:?}: {}", pair.key, render(pair.value.as_ref())))
                .collect();
            pairs.sort();
            format!("{{{}}}", pairs.join(", "))
        }
        Some(Value::StringValueStrindex(index)) => format!("string number {index}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    match (SpanId::from_bytes(bytes), TraceId::from_bytes(bytes)) {
        (Ok(id), _) => id.to_string(),
        (_, Ok(id)) => id.to_string(),
        _ if bytes.is_empty() => "(empty)".into(),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// At most [`SHOWN_VALUE`] characters of a text, from character number `from` on.
fn short(text: &str, from: usize) -> String {
    let length = text.chars().count();
    if length <= SHOWN_VALUE {
        return text.to_owned();
    }
    let part: String = text.chars().skip(from).take(SHOWN_VALUE).collect();
    format!("…{part}… ({length} characters)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::corpus::{Corpus, attribute, text};

    fn sample() -> TracesData {
        Corpus::new(1, 1_790_000_000_000_000_000).sample(0).traces
    }

    fn paths(sent: &TracesData, found: &TracesData) -> Vec<String> {
        compare(sent, found).differences.into_iter().map(|d| d.path).collect()
    }

    fn second_span(traces: &mut TracesData) -> &mut Span {
        &mut traces.resource_spans[0].scope_spans[0].spans[1]
    }

    #[test]
    fn order_and_grouping_do_not_count() {
        let sent = sample();
        let mut found = sample();
        found.resource_spans.reverse();
        for resource in &mut found.resource_spans {
            resource.resource.as_mut().unwrap().attributes.reverse();
            for scope in &mut resource.scope_spans {
                scope.spans.reverse();
                scope.spans.iter_mut().for_each(|s| s.attributes.reverse());
            }
        }
        // Tempo splits a resource that came in several requests.
        let mut split = found.resource_spans[1].clone();
        split.scope_spans.truncate(1);
        found.resource_spans[1].scope_spans.remove(0);
        found.resource_spans.push(split);
        let report = compare(&sent, &found);
        assert_eq!(report.summary(), "");
        assert_eq!((report.compared, report.duplicates.len()), (6, 0));
    }

    #[test]
    fn every_changed_field_is_named_with_its_span() {
        type Change = fn(&mut Span);
        let changes: [(&str, Change); 12] = [
            ("name", |s| s.name.push('x')),
            ("kind", |s| s.kind = 2),
            ("start", |s| s.start_time_unix_nano += 1),
            ("end", |s| s.end_time_unix_nano -= 1),
            ("parent", |s| s.parent_span_id[0] ^= 1),
            ("trace_state", |s| s.trace_state.clear()),
            ("status.code", |s| s.status = None),
            ("dropped_attributes_count", |s| s.dropped_attributes_count = 0),
            ("dropped_events_count", |s| s.dropped_events_count = 0),
            ("dropped_links_count", |s| s.dropped_links_count = 0),
            ("attributes[\"extra\"]", |s| {
                s.attributes.push(attribute("extra", text("")))
            }),
            ("events (count)", |s| s.events.push(Event::default())),
        ];
        for (field, change) in changes {
            let mut found = sample();
            let span = second_span(&mut found);
            change(span);
            let id = SpanId::from_bytes(&span.span_id).unwrap();
            assert_eq!(
                paths(&sample(), &found),
                [format!("resource[0].scope[0].span {id}.{field}")],
                "{field}"
            );
        }
    }

    #[test]
    fn another_order_of_links_is_one_difference_which_can_be_set_aside() {
        let (sent, mut found) = (sample(), sample());
        let links = &mut found.resource_spans[0].scope_spans[1].spans[0].links;
        links.push(Link {
            trace_id: vec![9; 16],
            ..links[0].clone()
        });
        let mut more = sent.clone();
        more.resource_spans[0].scope_spans[1].spans[0].links = links.iter().rev().cloned().collect();
        let report = compare(&more, &found);
        assert_eq!(report.differences.len(), 1, "{}", report.summary());
        assert!(report.but_for_link_order().is_equal());
    }

    #[test]
    fn events_links_scopes_and_resources_are_compared_too() {
        let mut found = sample();
        let resource = &mut found.resource_spans[0];
        resource.resource.as_mut().unwrap().attributes.pop();
        resource.scope_spans[0].scope.as_mut().unwrap().version.clear();
        resource.scope_spans[0].spans[2].events[1].time_unix_nano += 1;
        resource.scope_spans[1].spans[0].links[0].trace_state.clear();
        let paths = paths(&sample(), &found).join(" ");
        for part in [
            "resource[0].attributes[\"e2e.resource.marker\"]",
            "resource[0].scope[0].version",
            "event[1].time",
            "link[0].trace_state",
        ] {
            assert!(paths.contains(part), "{part} in {paths}");
        }
        assert_eq!(paths.split(" resource").count(), 4);
    }

    #[test]
    fn a_value_of_another_type_is_a_difference() {
        let mut found = sample();
        let span = second_span(&mut found);
        let value = span.attributes.iter_mut().find(|a| a.key == "attr.int.zero").unwrap();
        *value = attribute("attr.int.zero", text("0"));
        let report = compare(&sample(), &found);
        assert_eq!(report.differences[0].sent, "int 0");
        assert_eq!(report.differences[0].found, "\"0\"");
    }

    #[test]
    fn missing_unexpected_and_repeated_spans_are_told_apart() {
        let mut found = sample();
        let spans = &mut found.resource_spans[0].scope_spans[0].spans;
        let missing = spans.remove(0);
        let twice = spans[0].clone();
        let mut unexpected = twice.clone();
        unexpected.span_id = vec![9; 8];
        spans.extend([twice.clone(), unexpected]);
        let report = compare(&sample(), &found);
        let found: Vec<_> = report.differences.iter().map(|d| d.found.as_str()).collect();
        assert_eq!(report.differences.len(), 2, "{}", report.summary());
        assert!(found.contains(&"none") && report.summary().contains("0909090909090909"));
        assert!(report.summary().contains(&hex(&missing.span_id)));
        assert_eq!(report.duplicates, [SpanId::from_bytes(&twice.span_id).unwrap()]);
    }

    #[test]
    fn long_values_are_shown_where_they_part() {
        let mut differences = Differences::default();
        let long = "a".repeat(1_000);
        differences.add("x", &format!("{long}1"), &format!("{long}2"));
        let difference = differences.0.first().unwrap();
        assert!(
            difference.sent.contains("a1…") && difference.found.contains("a2…"),
            "{difference}"
        );
    }
}
