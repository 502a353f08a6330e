//! The Collector's receivers, and what each of them carries.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use kit::failure::Failure;
use serde::{Serialize, Serializer};

/// A way into the Collector: a protocol, its encoding and its transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Door {
    /// OTLP over gRPC.
    OtlpGrpc,
    /// OTLP over gRPC, messages compressed with gzip.
    OtlpGrpcGzip,
    OtlpHttpProtobuf,
    OtlpHttpJson,
    /// OTLP over HTTP, protobuf compressed with gzip.
    OtlpHttpGzip,
    /// Jaeger's api_v2 over gRPC.
    JaegerGrpc,
    /// Jaeger thrift, binary protocol, over HTTP.
    JaegerThriftHttp,
    /// Jaeger thrift, compact protocol, in UDP packets.
    JaegerThriftCompactUdp,
    /// Jaeger thrift, binary protocol, in UDP packets.
    JaegerThriftBinaryUdp,
}

/// Doors that carry the same things: a column of the table in docs/doors.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// All receivers that speak OTLP.
    Otlp,
    /// Jaeger's api_v2.
    JaegerGrpc,
    JaegerThriftHttp,
    JaegerThriftUdp,
}

/// Something that a span has and a receiver may or may not carry: a row of the table in docs/doors.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// Trace id, span id and parent, with leading zeros.
    Ids,
    /// Start, end and event times.
    Times,
    /// The span's name, in any script.
    Name,
    Kind,
    Status,
    /// The span's W3C trace state.
    TraceState,
    /// Attributes that are text, booleans, 64-bit integers, doubles or bytes.
    Scalars,
    /// Attributes that are arrays or maps, nested or not.
    Nested,
    /// Attributes without a value.
    EmptyValue,
    Events,
    /// Trace and span ids of links.
    Links,
    LinkAttributes,
    LinkTraceState,
    /// Counts of dropped attributes, events and links.
    DroppedCounts,
    /// Resource attributes, several resources.
    Resource,
    /// Name and version of the instrumentation scope.
    Scope,
    ScopeAttributes,
    /// `schema_url`, and the flags of spans and links.
    SchemaUrlAndFlags,
    /// Whether the sender is told that the spans were taken.
    Acknowledgement,
}

/// What becomes of a feature on its way through a receiver into Tempo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// It comes back as it was sent.
    Whole,
    /// It comes back as something else.
    As(&'static str),
    /// It doesn't come back.
    Not(&'static str),
}

impl Door {
    /// Every receiver, OTLP first.
    pub const ALL: [Door; 9] = [
        Door::OtlpGrpc,
        Door::OtlpGrpcGzip,
        Door::OtlpHttpProtobuf,
        Door::OtlpHttpJson,
        Door::OtlpHttpGzip,
        Door::JaegerGrpc,
        Door::JaegerThriftHttp,
        Door::JaegerThriftCompactUdp,
        Door::JaegerThriftBinaryUdp,
    ];

    /// The receivers that carry every field.
    pub const OTLP: [Door; 5] = [
        Door::OtlpGrpc,
        Door::OtlpGrpcGzip,
        Door::OtlpHttpProtobuf,
        Door::OtlpHttpJson,
        Door::OtlpHttpGzip,
    ];

    /// The name in reports and on the command line: `otlp-grpc`.
    pub fn name(self) -> &'static str {
        match self {
            Door::OtlpGrpc => "otlp-grpc",
            Door::OtlpGrpcGzip => "otlp-grpc-gzip",
            Door::OtlpHttpProtobuf => "otlp-http-protobuf",
            Door::OtlpHttpJson => "otlp-http-json",
            Door::OtlpHttpGzip => "otlp-http-gzip",
            Door::JaegerGrpc => "jaeger-grpc",
            Door::JaegerThriftHttp => "jaeger-thrift-http",
            Door::JaegerThriftCompactUdp => "jaeger-thrift-compact-udp",
            Door::JaegerThriftBinaryUdp => "jaeger-thrift-binary-udp",
        }
    }

    /// The receivers that carry the same things as this one.
    pub fn family(self) -> Family {
        match self {
            Door::JaegerGrpc => Family::JaegerGrpc,
            Door::JaegerThriftHttp => Family::JaegerThriftHttp,
            Door::JaegerThriftCompactUdp | Door::JaegerThriftBinaryUdp => Family::JaegerThriftUdp,
            _ => Family::Otlp,
        }
    }

    /// Whether the Collector tells the sender that it took the spans.
    pub(crate) fn acknowledges(self) -> bool {
        self.carries(Feature::Acknowledgement) == Carried::Whole
    }

    pub fn carries(self, feature: Feature) -> Carried {
        self.family().carries(feature)
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Door {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Door, anyhow::Error> {
        Door::ALL.into_iter().find(|door| door.name() == text).ok_or_else(|| {
            let names: Vec<_> = Door::ALL.iter().map(|door| door.name()).collect();
            Failure::usage(
                format!("no receiver named {text:?}"),
                format!("receivers: {}", names.join(", ")),
            )
        })
    }
}

impl Serialize for Door {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Family {
    /// Every family, in the order of the table's columns.
    pub const ALL: [Family; 4] = [
        Family::Otlp,
        Family::JaegerGrpc,
        Family::JaegerThriftHttp,
        Family::JaegerThriftUdp,
    ];

    /// The head of the table's column.
    pub fn title(self) -> &'static str {
        match self {
            Family::Otlp => "OTLP",
            Family::JaegerGrpc => "Jaeger gRPC",
            Family::JaegerThriftHttp => "Jaeger thrift HTTP",
            Family::JaegerThriftUdp => "Jaeger thrift UDP",
        }
    }

    /// What these receivers do to a feature: measured with Collector 0.155.0 and Tempo 2.9.0 by
    /// scenario `roundtrip`, for spans that are encoded as the OpenTelemetry specification tells exporters
    /// to Jaeger (specification/trace/sdk_exporters/jaeger.md).
    pub fn carries(self, feature: Feature) -> Carried {
        use Carried::{As, Not, Whole};
        let jaeger = self != Family::Otlp;
        let thrift = jaeger && self != Family::JaegerGrpc;
        match feature {
            Feature::Times if thrift => As("to the microsecond"),
            Feature::TraceState if thrift => As("attribute `w3c.tracestate`"),
            Feature::Nested if jaeger => As("JSON text"),
            Feature::EmptyValue if jaeger => Not("no such type"),
            Feature::LinkAttributes if jaeger => As("`opentracing.ref_type` only"),
            Feature::LinkTraceState | Feature::DroppedCounts | Feature::ScopeAttributes if jaeger => {
                Not("no such field")
            }
            Feature::Scope if thrift => As("attributes `otel.scope.name`, `otel.scope.version`"),
            Feature::SchemaUrlAndFlags => Not("Tempo drops them"),
            Feature::Acknowledgement if self == Family::JaegerThriftUdp => Not("one packet, at most 65,000 bytes"),
            _ => Whole,
        }
    }
}

impl Feature {
    /// Every feature, in the order of the table's rows.
    pub const ALL: [Feature; 19] = [
        Feature::Ids,
        Feature::Times,
        Feature::Name,
        Feature::Kind,
        Feature::Status,
        Feature::TraceState,
        Feature::Scalars,
        Feature::Nested,
        Feature::EmptyValue,
        Feature::Events,
        Feature::Links,
        Feature::LinkAttributes,
        Feature::LinkTraceState,
        Feature::DroppedCounts,
        Feature::Resource,
        Feature::Scope,
        Feature::ScopeAttributes,
        Feature::SchemaUrlAndFlags,
        Feature::Acknowledgement,
    ];

    /// The head of the table's row.
    pub fn title(self) -> &'static str {
        match self {
            Feature::Ids => "Trace, span and parent ids, leading zeros",
            Feature::Times => "Start, end and event times to the nanosecond",
            Feature::Name => "Span names in any script",
            Feature::Kind => "Span kinds",
            Feature::Status => "Status code and message",
            Feature::TraceState => "Trace state",
            Feature::Scalars => "Attributes: text, boolean, 64-bit integer, double, bytes",
            Feature::Nested => "Attributes: arrays and maps",
            Feature::EmptyValue => "Attributes without a value",
            Feature::Events => "Events with attributes",
            Feature::Links => "Links",
            Feature::LinkAttributes => "Link attributes",
            Feature::LinkTraceState => "Link trace state",
            Feature::DroppedCounts => "Dropped counts",
            Feature::Resource => "Resource attributes",
            Feature::Scope => "Scope name and version",
            Feature::ScopeAttributes => "Scope attributes",
            Feature::SchemaUrlAndFlags => "`schema_url`, flags",
            Feature::Acknowledgement => "Acknowledgement",
        }
    }
}

/// The table of what each family of receivers carries, in Markdown, for docs/doors.md.
pub fn markdown_table() -> String {
    let mut table = String::from("| What is sent |");
    for family in Family::ALL {
        table.push_str(&format!(" {} |", family.title()));
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(Family::ALL.len()));
    for feature in Feature::ALL {
        table.push_str(&format!("\n| {} |", feature.title()));
        for family in Family::ALL {
            match family.carries(feature) {
                Carried::Whole => table.push_str(" yes |"),
                Carried::As(what) => table.push_str(&format!(" {what} |")),
                Carried::Not(why) => table.push_str(&format!(" no: {why} |")),
            }
        }
    }
    table.push('\n');
    table
}

/// Where the Collector listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doors {
    /// OTLP over gRPC (4317/tcp).
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP (4318/tcp).
    pub otlp_http: SocketAddr,
    /// Jaeger over gRPC (14250/tcp).
    pub jaeger_grpc: SocketAddr,
    /// Jaeger thrift over HTTP (14268/tcp).
    pub jaeger_thrift_http: SocketAddr,
    /// Jaeger thrift compact (6831/udp), if there is a route to UDP.
    pub jaeger_thrift_compact: Option<SocketAddr>,
    /// Jaeger thrift binary (6832/udp), if there is a route to UDP.
    pub jaeger_thrift_binary: Option<SocketAddr>,
}

impl Doors {
    /// The address of a receiver; none where this machine has no route to it.
    pub fn address(&self, door: Door) -> Option<SocketAddr> {
        match door {
            Door::OtlpGrpc | Door::OtlpGrpcGzip => Some(self.otlp_grpc),
            Door::OtlpHttpProtobuf | Door::OtlpHttpJson | Door::OtlpHttpGzip => Some(self.otlp_http),
            Door::JaegerGrpc => Some(self.jaeger_grpc),
            Door::JaegerThriftHttp => Some(self.jaeger_thrift_http),
            Door::JaegerThriftCompactUdp => self.jaeger_thrift_compact,
            Door::JaegerThriftBinaryUdp => self.jaeger_thrift_binary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_door_is_found_by_its_name() {
        for door in Door::ALL {
            assert_eq!(door.name().parse::<Door>().unwrap(), door);
        }
        assert!("otlp".parse::<Door>().is_err());
    }

    #[test]
    fn the_table_has_a_cell_for_every_feature_and_family() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), 2 + Feature::ALL.len());
        for line in table.lines() {
            assert_eq!(line.matches('|').count(), 2 + Family::ALL.len(), "{line}");
        }
    }
}
