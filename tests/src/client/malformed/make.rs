//! Making the inputs of each class.

use anyhow::Result;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValueList};
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::body::Body;
use super::wire::{GrpcRequest, HttpRequest, Wire};
use super::{Allowed, Class, Input, MAX_NESTING};
use crate::client::load::Batches;
use crate::client::otlp::{JSON, PROTOBUF};
use crate::client::{jaeger, otlp};
use crate::model::corpus::{Corpus, attribute, text};
use crate::model::door::Door;
use crate::model::id::{SpanId, TraceId};

const MIB: u64 = 1024 * 1024;

pub fn input(class: Class, number: u32, seed: u64, now: u64) -> Result<Input> {
    // A generator of its own for each input, so that one can be made again alone.
    let mix = seed ^ (class as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number) << 32;
    let mut maker = Maker {
        random: StdRng::seed_from_u64(mix),
        seed: mix,
        marker: super::marker(seed),
        number: number as usize,
        now,
    };
    let made = match class {
        Class::Cut => maker.cut()?,
        Class::BitFlip => maker.bit_flip()?,
        Class::Ids => maker.ids()?,
        Class::ContentType => maker.content_type()?,
        Class::Compression => maker.compression()?,
        Class::Oversize => maker.oversize(),
        Class::GzipBomb => maker.gzip_bomb()?,
        Class::Nesting => maker.nesting()?,
        Class::Empty => maker.empty()?,
        Class::MethodOrPath => maker.method_or_path()?,
    };
    Ok(Input {
        class,
        number,
        door: made.door,
        about: made.about,
        neighbours: made.neighbours,
        wire: made.wire,
        allowed: made.allowed,
    })
}

/// See [`super::crashers`].
pub(crate) fn crashers() -> Vec<Input> {
    // Compact protocol: a one-way call with sequence number 0, its name, no arguments.
    let call = [b"\x82\x81\0\x0f".as_slice(), b"emitZipkinBatch", b"\0"].concat();
    let packets = [
        (Door::JaegerThriftCompactUdp, "emitZipkinBatch", call),
        (Door::JaegerThriftCompactUdp, "an empty packet", vec![]),
        (Door::JaegerThriftBinaryUdp, "an empty packet", vec![]),
    ];
    let inputs = (0..).zip(packets).map(|(number, (door, about, packet))| Input {
        class: Class::Empty,
        number,
        door,
        about: about.into(),
        neighbours: Vec::new(),
        wire: Wire::Udp(packet),
        allowed: Allowed::Either,
    });
    inputs.collect()
}

struct Made {
    door: Door,
    about: String,
    neighbours: Vec<(TraceId, SpanId)>,
    wire: Wire,
    allowed: Allowed,
}

impl Made {
    fn new(door: Door, about: impl Into<String>, wire: Wire, allowed: Allowed) -> Made {
        Made {
            door,
            about: about.into(),
            neighbours: Vec::new(),
            wire,
            allowed,
        }
    }
}

struct Maker {
    random: StdRng,
    seed: u64,
    marker: String,
    number: usize,
    now: u64,
}

impl Maker {
    /// The choice of this input from a list; inputs beyond its end go round.
    fn choose<T: Clone>(&self, from: &[T]) -> T {
        from[self.number % from.len()].clone()
    }

    /// A correct request: what each class then spoils.
    fn good(&self) -> TracesData {
        Corpus::new(self.seed, self.now).sample(self.number as u32).traces
    }

    fn cut(&mut self) -> Result<Made> {
        let door = self.choose(&Door::ALL);
        let whole = encoded(door, &self.good())?;
        // Never to nothing: that is a class of its own.
        let at = self.random.random_range(1..whole.len());
        // Every second round the length is that of the whole, and the connection ends.
        let early_end = self.number / Door::ALL.len() % 2 == 1;
        let about = format!("cut after {at} of {} bytes", whole.len());
        let wire = match request(door, whole.clone()) {
            Wire::Http(request) if early_end => Wire::Http(HttpRequest {
                cut_after: Some(at as u64),
                ..request
            }),
            Wire::Grpc(request) if early_end => Wire::Grpc(GrpcRequest {
                claimed: Some(whole.len() as u32),
                message: Body::of(whole[..at].to_vec()),
                ..request
            }),
            _ => request(door, whole[..at].to_vec()),
        };
        // Protobuf that is cut between two fields is a smaller message.
        let protobuf = matches!(door, Door::OtlpGrpc | Door::OtlpHttpProtobuf | Door::JaegerGrpc);
        let datagram = matches!(wire, Wire::Udp(_));
        let allowed = if datagram || protobuf && !early_end {
            Allowed::Either
        } else {
            Allowed::Refusal
        };
        Ok(Made::new(door, about, wire, allowed))
    }

    fn bit_flip(&mut self) -> Result<Made> {
        let door = self.choose(&Door::ALL);
        let mut bytes = encoded(door, &self.good())?;
        let flips = self.random.random_range(1..=16);
        for _ in 0..flips {
            let at = self.random.random_range(0..bytes.len());
            bytes[at] ^= 1 << self.random.random_range(0..8);
        }
        let about = format!("{flips} bits flipped in {} bytes", bytes.len());
        Ok(Made::new(door, about, request(door, bytes), Allowed::Either))
    }

    fn ids(&mut self) -> Result<Made> {
        let (door, which, bytes) = self.choose(&bad_ids());
        let batches = Batches {
            traces_per_request: 2,
            marker: self.marker.clone(),
            ..Batches::new(self.seed)
        };
        let (mut traces, mut ids) = batches.request(0, self.now);
        // The second span of four goes bad; its neighbours are good.
        ids.remove(1);
        let spans = &mut traces.resource_spans[0].scope_spans[0].spans;
        let id = match which {
            Which::Trace => &mut spans[1].trace_id,
            Which::Span => &mut spans[1].span_id,
        };
        let good = std::mem::replace(id, bytes.clone());
        let body = encoded(door, &traces)?;
        let about = format!(
            "a {which:?} id of {} bytes{}",
            bytes.len(),
            if zero(&bytes) { ", all zero" } else { "" }
        );
        // The receiver knows ids of one length, and none at all, which is zero.
        let valid = zero(&bytes) && (bytes.is_empty() || bytes.len() == good.len());
        let otlp = Door::OTLP.contains(&door);
        let allowed = if valid || !otlp {
            Allowed::Either
        } else {
            Allowed::Refusal
        };
        Ok(Made {
            neighbours: ids,
            ..Made::new(door, about.to_lowercase(), request(door, body), allowed)
        })
    }

    fn content_type(&mut self) -> Result<Made> {
        use Door::{JaegerThriftHttp, OtlpGrpc, OtlpHttpJson, OtlpHttpProtobuf};
        let long = format!("application/{}", "x".repeat(4_000));
        let choices: [(Door, &str, Allowed); 20] = [
            (OtlpHttpProtobuf, JSON, Allowed::Refusal),
            (OtlpHttpJson, PROTOBUF, Allowed::Refusal),
            (OtlpGrpc, JSON, Allowed::Refusal),
            (JaegerThriftHttp, PROTOBUF, Allowed::Refusal),
            (OtlpHttpProtobuf, "", Allowed::Refusal),
            (OtlpGrpc, "", Allowed::Refusal),
            (JaegerThriftHttp, "", Allowed::Refusal),
            (OtlpHttpProtobuf, "text/plain", Allowed::Refusal),
            (OtlpHttpJson, "text/json", Allowed::Refusal),
            (OtlpHttpProtobuf, "application/octet-stream", Allowed::Refusal),
            (OtlpHttpProtobuf, "application/grpc", Allowed::Refusal),
            (
                OtlpHttpProtobuf,
                "application/x-protobuf, application/json",
                Allowed::Refusal,
            ),
            (OtlpHttpJson, "application/x-www-form-urlencoded", Allowed::Refusal),
            (OtlpHttpJson, "multipart/form-data; boundary=x", Allowed::Refusal),
            (OtlpHttpProtobuf, "application/x-protobuf;;;=", Allowed::Refusal),
            (OtlpHttpProtobuf, "\u{1f6f0}", Allowed::Refusal),
            (OtlpHttpProtobuf, &long, Allowed::Refusal),
            // grpc-go falls back to protobuf for a codec that it doesn't know.
            (OtlpGrpc, "application/grpc+json", Allowed::Either),
            (OtlpGrpc, "application/grpc-web", Allowed::Refusal),
            (
                JaegerThriftHttp,
                "application/vnd.apache.thrift.compact",
                Allowed::Refusal,
            ),
        ];
        let (door, content_type, allowed) = self.choose(&choices);
        let mut wire = request(door, encoded(door, &self.good())?);
        set_header(&mut wire, "content-type", content_type);
        let shown: String = content_type.chars().take(60).collect();
        let about = format!("content type {shown:?} with a body of {door}");
        Ok(Made::new(door, about, wire, allowed))
    }

    fn compression(&mut self) -> Result<Made> {
        let body = self.good().encode_to_vec();
        let gzipped = otlp::gzip(&body)?;
        let mut wrong_sum = gzipped.clone();
        let sum = wrong_sum.len() - 8;
        wrong_sum[sum] ^= 1;
        let half = gzipped[..gzipped.len() / 2].to_vec();
        let deflated = gzipped[10..gzipped.len() - 8].to_vec();
        let more = [gzipped.clone(), b"and more".to_vec()].concat();
        let mut choices: Vec<(Door, &str, u8, Vec<u8>)> = Vec::new();
        for encoding in [
            "gzip",
            "zstd",
            "zlib",
            "deflate",
            "snappy",
            "lz4",
            "x-snappy-framed",
            "br",
            "none?",
            "gzip, gzip",
        ] {
            choices.push((Door::OtlpHttpProtobuf, encoding, 0, body.clone()));
        }
        for broken in [wrong_sum, half, deflated, more] {
            choices.push((Door::OtlpHttpProtobuf, "gzip", 0, broken));
        }
        choices.push((Door::OtlpHttpProtobuf, "", 0, gzipped.clone()));
        choices.push((Door::OtlpGrpc, "gzip", 1, body.clone()));
        choices.push((Door::OtlpGrpc, "", 1, gzipped.clone()));
        choices.push((Door::OtlpGrpc, "br", 1, body.clone()));
        choices.push((Door::OtlpGrpc, "gzip", 0, gzipped.clone()));
        choices.push((
            Door::JaegerThriftHttp,
            "gzip",
            0,
            encoded(Door::JaegerThriftHttp, &self.good())?,
        ));
        choices.push((Door::OtlpGrpc, "", 7, body));
        let (door, encoding, flag, bytes) = self.choose(&choices);
        let mut wire = request(door, bytes);
        if let Wire::Grpc(grpc) = &mut wire {
            grpc.flag = flag;
        }
        let name = if door == Door::OtlpGrpc {
            "grpc-encoding"
        } else {
            "content-encoding"
        };
        set_header(&mut wire, name, encoding);
        let about = format!(
            "{name} {encoding:?}, flag {flag}, over other bytes (choice {})",
            self.number % choices.len()
        );
        Ok(Made::new(door, about, wire, Allowed::Refusal))
    }

    fn oversize(&mut self) -> Made {
        let size = 20 * MIB + self.random.random_range(1..12 * MIB);
        let empty_resource = vec![0x0a, 0];
        let doors = [
            Door::OtlpHttpProtobuf,
            Door::OtlpGrpc,
            Door::OtlpHttpJson,
            Door::JaegerThriftHttp,
            Door::JaegerGrpc,
        ];
        let door = self.choose(&doors);
        let round = self.number / doors.len();
        let (about, body) = match (door, round % 2) {
            (Door::OtlpHttpJson, 0) => (
                "spaces before an empty object",
                Body::repeated(vec![], b" ".to_vec(), size, b"{}".to_vec()),
            ),
            (Door::OtlpHttpJson, _) => (
                "one endless string",
                Body::repeated(b"{\"".to_vec(), b"x".to_vec(), size, b"\":1}".to_vec()),
            ),
            (Door::JaegerThriftHttp, _) => ("zeros", Body::repeated(vec![], vec![0], size, vec![])),
            (_, 0) => (
                "empty resources",
                Body::repeated(vec![], empty_resource, size / 2, vec![]),
            ),
            (_, _) => ("one attribute", self.one_attribute(size)),
        };
        let mut wire = request(door, Vec::new());
        match &mut wire {
            Wire::Http(http) => {
                http.body = body;
                http.chunked = round % 4 >= 2;
            }
            // Every other time only the frame's header says so.
            Wire::Grpc(grpc) if round % 4 >= 2 => grpc.claimed = Some(u32::MAX - self.random.random_range(0..1_000)),
            Wire::Grpc(grpc) => grpc.message = body,
            Wire::Tcp(_) | Wire::Udp(_) => {}
        }
        let how = if round % 4 >= 2 {
            ", its length not said or not kept"
        } else {
            ""
        };
        Made::new(door, format!("{about} of {size} bytes{how}"), wire, Allowed::Refusal)
    }

    /// A request with one span with one attribute that has so many bytes of text.
    fn one_attribute(&self, size: u64) -> Body {
        let mut head = Vec::new();
        // From the inside out: each part is a tag, the length of all that follows, and what follows.
        let mut wrap = |tag: u8, before: &[u8]| {
            let mut part = vec![tag];
            let inner = head.len() as u64 + size;
            prost::encoding::encode_varint(inner, &mut part);
            head = [before, &part, &head].concat();
        };
        wrap(0x0a, &[]); // AnyValue.string_value
        wrap(0x12, b"\x0a\x03big"); // KeyValue.key and value
        let mut span = Span {
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            name: "big".into(),
            ..Span::default()
        };
        span.start_time_unix_nano = self.now;
        wrap(0x4a, &span.encode_to_vec()); // Span.attributes
        wrap(0x12, &[]); // ScopeSpans.spans
        wrap(0x12, &[]); // ResourceSpans.scope_spans
        wrap(0x0a, &[]); // TracesData.resource_spans
        Body::repeated(head, b"A".to_vec(), size, Vec::new())
    }

    fn gzip_bomb(&mut self) -> Result<Made> {
        let doors = [
            Door::OtlpHttpGzip,
            Door::OtlpGrpcGzip,
            Door::OtlpHttpJson,
            Door::JaegerThriftHttp,
            Door::JaegerGrpc,
        ];
        let door = self.choose(&doors);
        // 64 MiB to 1 GiB, in units of 64 KiB.
        let units = self.random.random_range(1_024..16_384);
        let fill: &[u8] = match door {
            Door::OtlpHttpJson => b" ",
            Door::JaegerThriftHttp => b"\0",
            _ => b"\x0a\0",
        };
        // Every fourth round over HTTP says deflate, which is zlib.
        let zlib = matches!(door, Door::OtlpHttpGzip | Door::OtlpHttpJson) && self.number / doors.len() % 4 == 3;
        let mut wire = request(door, Vec::new());
        let body = bomb(fill, units, zlib);
        let about = format!("{} bytes that become {} MiB", body.len(), units / 16);
        match &mut wire {
            Wire::Http(http) => http.body = body,
            Wire::Grpc(grpc) => (grpc.message, grpc.flag) = (body, 1),
            Wire::Tcp(_) | Wire::Udp(_) => {}
        }
        match door {
            Door::OtlpGrpcGzip | Door::JaegerGrpc => set_header(&mut wire, "grpc-encoding", "gzip"),
            _ => set_header(&mut wire, "content-encoding", if zlib { "deflate" } else { "gzip" }),
        }
        Ok(Made::new(door, about, wire, Allowed::Refusal))
    }

    fn nesting(&mut self) -> Result<Made> {
        let doors = [Door::OtlpGrpc, Door::OtlpHttpProtobuf, Door::OtlpHttpJson];
        let door = self.choose(&doors);
        let kind = self.choose(&["arrays", "maps", "arrays of maps", "an unknown field"]);
        let depth = self.random.random_range(MAX_NESTING / 10..=MAX_NESTING);
        let mut traces = self.good();
        if kind == "an unknown field" && door == Door::OtlpHttpJson {
            // Skipped by the parser, so that Tempo never sees it.
            let depth = depth as usize * 100;
            let body = format!(
                "{{\"unknown\":{}{},\"resourceSpans\":[]}}",
                "[".repeat(depth),
                "]".repeat(depth)
            );
            let about = format!("an unknown field of arrays, {depth} deep");
            return Ok(Made::new(
                door,
                about,
                request(door, body.into_bytes()),
                Allowed::Either,
            ));
        }
        let mut value = text("bottom");
        for level in 0..depth {
            value = match kind {
                "maps" => map(value),
                "arrays of maps" if level % 2 == 0 => map(value),
                _ => Value::ArrayValue(ArrayValue {
                    values: vec![AnyValue { value: Some(value) }],
                }),
            };
        }
        let deep = attribute("deep", value);
        let spans = &mut traces.resource_spans[0].scope_spans[0].spans;
        match self.number % 5 {
            0 => spans[2].events[0].attributes.push(deep),
            1 => traces.resource_spans[1]
                .resource
                .get_or_insert_default()
                .attributes
                .push(deep),
            _ => spans[1].attributes.push(deep),
        }
        let about = format!("{kind}, {depth} deep");
        Ok(Made::new(
            door,
            about,
            request(door, encoded(door, &traces)?),
            Allowed::Either,
        ))
    }

    fn empty(&mut self) -> Result<Made> {
        let span = b"\x0a\x04\x12\x02\x12\0".to_vec();
        let choices: Vec<(Door, Vec<u8>)> = vec![
            (Door::OtlpHttpProtobuf, vec![]),
            (Door::OtlpGrpc, vec![]),
            (Door::OtlpHttpJson, vec![]),
            (Door::JaegerGrpc, vec![]),
            (Door::JaegerThriftHttp, vec![]),
            // Nothing but the protocol's first byte; a packet of no bytes is one of the crashers.
            (Door::JaegerThriftCompactUdp, vec![0x82]),
            (Door::JaegerThriftBinaryUdp, vec![0x80]),
            (Door::OtlpHttpGzip, vec![]),
            (Door::OtlpHttpGzip, otlp::gzip(b"")?),
            (Door::OtlpHttpProtobuf, vec![0x0a, 0]),
            (Door::OtlpHttpProtobuf, span.clone()),
            (Door::OtlpGrpc, span),
            (Door::OtlpHttpJson, b"null".to_vec()),
            (Door::OtlpHttpJson, b"{}".to_vec()),
            (Door::OtlpHttpJson, b"[]".to_vec()),
            (Door::OtlpHttpJson, b" \n".to_vec()),
            (Door::OtlpHttpJson, br#"{"resourceSpans":null}"#.to_vec()),
            (
                Door::OtlpHttpJson,
                br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}"#.to_vec(),
            ),
            // An empty batch, and one with an empty span.
            (Door::JaegerGrpc, vec![0x0a, 0]),
            (Door::JaegerGrpc, vec![0x0a, 2, 0x0a, 0]),
            (Door::JaegerThriftHttp, vec![0]),
        ];
        let (door, body) = self.choose(&choices);
        let about = format!("{:?}", String::from_utf8_lossy(&body));
        Ok(Made::new(door, about, request(door, body), Allowed::Either))
    }

    fn method_or_path(&mut self) -> Result<Made> {
        use Door::{JaegerThriftHttp, OtlpGrpc, OtlpHttpProtobuf};
        let (traces, jaeger) = (otlp::TRACES_PATH, jaeger::TRACES_PATH);
        let choices: [(Door, &str, &str); 21] = [
            (OtlpHttpProtobuf, "GET", traces),
            (
                OtlpGrpc,
                "POST",
                "/opentelemetry.proto.collector.trace.v1.TraceService/Import",
            ),
            (JaegerThriftHttp, "GET", jaeger),
            (OtlpHttpProtobuf, "PUT", traces),
            (OtlpGrpc, "GET", otlp::EXPORT),
            (JaegerThriftHttp, "POST", traces),
            (
                OtlpGrpc,
                "POST",
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            ),
            (OtlpHttpProtobuf, "TRACE", traces),
            (OtlpHttpProtobuf, "BREW", traces),
            (OtlpHttpProtobuf, "P\u{d6}ST", traces),
            (OtlpHttpProtobuf, "POST", "/"),
            (OtlpHttpProtobuf, "POST", "/v1/trace"),
            (OtlpHttpProtobuf, "POST", "/V1/TRACES"),
            (OtlpHttpProtobuf, "POST", "/v1/logs"),
            (OtlpHttpProtobuf, "POST", "/../../etc/passwd"),
            (OtlpHttpProtobuf, "POST", "/v1/traces%00"),
            (OtlpHttpProtobuf, "DELETE", traces),
            (OtlpHttpProtobuf, "PATCH", traces),
            (OtlpGrpc, "POST", "/"),
            (OtlpHttpProtobuf, "OPTIONS", traces),
            (OtlpHttpProtobuf, "HEAD", traces),
        ];
        // After these, other protocols on each port.
        let others: [(Door, &str, &[u8]); 4] = [
            (
                OtlpGrpc,
                "HTTP/1.1",
                b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
            ),
            (
                OtlpHttpProtobuf,
                "HTTP/2",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            ),
            (OtlpHttpProtobuf, "TLS", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"),
            (OtlpGrpc, "TLS", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"),
        ];
        // One input in six speaks another protocol.
        if self.number % 6 == 5 {
            let (door, protocol, bytes) = others[self.number / 6 % others.len()];
            let about = format!("{protocol} on the port of {door}");
            return Ok(Made::new(door, about, Wire::Tcp(bytes.to_vec()), Allowed::Refusal));
        }
        let (door, method, path) = choices[(self.number - self.number / 6) % choices.len()];
        let mut wire = request(door, encoded(door, &self.good())?);
        match &mut wire {
            Wire::Http(http) => (http.method, http.target) = (method.into(), path.into()),
            Wire::Grpc(grpc) => (grpc.method, grpc.path) = (method.into(), path.into()),
            Wire::Tcp(_) | Wire::Udp(_) => {}
        }
        Ok(Made::new(door, format!("{method} {path}"), wire, Allowed::Refusal))
    }
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Trace,
    Span,
}

/// Receivers, which of the two ids is bad, and what it is: zero through every kind of receiver first.
fn bad_ids() -> Vec<(Door, Which, Vec<u8>)> {
    use Door::{JaegerGrpc, JaegerThriftCompactUdp, JaegerThriftHttp, OtlpGrpc, OtlpHttpJson, OtlpHttpProtobuf};
    let mut bad = Vec::new();
    for door in [
        OtlpGrpc,
        OtlpHttpProtobuf,
        OtlpHttpJson,
        JaegerGrpc,
        JaegerThriftHttp,
        JaegerThriftCompactUdp,
    ] {
        bad.push((door, Which::Trace, vec![0; 16]));
        bad.push((door, Which::Span, vec![0; 8]));
    }
    for door in [OtlpGrpc, OtlpHttpJson, JaegerGrpc] {
        bad.push((door, Which::Trace, vec![7; 5]));
        bad.push((door, Which::Span, vec![7; 5]));
    }
    for door in [OtlpHttpProtobuf, OtlpHttpJson, OtlpGrpc] {
        bad.push((door, Which::Trace, vec![]));
        bad.push((door, Which::Span, vec![]));
        bad.push((door, Which::Trace, vec![7; 17]));
        bad.push((door, Which::Span, vec![7; 16]));
        bad.push((door, Which::Trace, vec![0; 8]));
    }
    bad
}

fn zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn map(value: Value) -> Value {
    Value::KvlistValue(KeyValueList {
        values: vec![attribute("k", value)],
    })
}

/// A request's body or message as the receiver wants it.
fn encoded(door: Door, traces: &TracesData) -> Result<Vec<u8>> {
    match door {
        Door::OtlpGrpc | Door::OtlpHttpProtobuf => Ok(traces.encode_to_vec()),
        Door::OtlpGrpcGzip | Door::OtlpHttpGzip => otlp::gzip(&traces.encode_to_vec()),
        Door::OtlpHttpJson => otlp::json(traces),
        _ => jaeger::encoded(door, traces),
    }
}

/// A request with the right method, path and headers for its receiver.
fn request(door: Door, body: Vec<u8>) -> Wire {
    let (target, content_type, encoding) = match door {
        Door::OtlpGrpc => return grpc(otlp::EXPORT, None, body),
        Door::OtlpGrpcGzip => return grpc(otlp::EXPORT, Some("gzip"), body),
        Door::JaegerGrpc => return grpc(jaeger::POST_SPANS, None, body),
        Door::JaegerThriftCompactUdp | Door::JaegerThriftBinaryUdp => return Wire::Udp(body),
        Door::OtlpHttpProtobuf => (otlp::TRACES_PATH, PROTOBUF, None),
        Door::OtlpHttpGzip => (otlp::TRACES_PATH, PROTOBUF, Some("gzip")),
        Door::OtlpHttpJson => (otlp::TRACES_PATH, JSON, None),
        Door::JaegerThriftHttp => (jaeger::TRACES_PATH, jaeger::THRIFT, None),
    };
    let mut headers = vec![("content-type".to_owned(), content_type.to_owned())];
    headers.extend(encoding.map(|encoding| ("content-encoding".to_owned(), encoding.to_owned())));
    Wire::Http(HttpRequest {
        method: "POST".into(),
        target: target.into(),
        headers,
        body: Body::of(body),
        chunked: false,
        cut_after: None,
    })
}

fn grpc(path: &str, encoding: Option<&str>, message: Vec<u8>) -> Wire {
    let mut headers = vec![("content-type".to_owned(), "application/grpc".to_owned())];
    headers.extend(encoding.map(|encoding| ("grpc-encoding".to_owned(), encoding.to_owned())));
    Wire::Grpc(GrpcRequest {
        method: "POST".into(),
        path: path.into(),
        headers,
        flag: u8::from(encoding.is_some()),
        claimed: None,
        message: Body::of(message),
    })
}

/// Sets a header; an empty value removes it.
fn set_header(wire: &mut Wire, name: &str, value: &str) {
    let headers = match wire {
        Wire::Http(http) => &mut http.headers,
        Wire::Grpc(grpc) => &mut grpc.headers,
        Wire::Tcp(_) | Wire::Udp(_) => return,
    };
    headers.retain(|(header, _)| header != name);
    if !value.is_empty() {
        headers.push((name.into(), value.into()));
    }
}

/// Gzip or zlib data that becomes `units` times 64 KiB of `fill`.
///
/// Compressed once and repeated: a full flush ends on a byte and forgets what went before.
fn bomb(fill: &[u8], units: u64, zlib: bool) -> Body {
    let plain = fill.repeat(64 * 1024 / fill.len());
    let mut deflate = flate2::Compress::new(flate2::Compression::best(), false);
    let mut unit = Vec::with_capacity(4 * 1024);
    // Deflate into a buffer has no way to fail.
    let _ = deflate.compress_vec(&plain, &mut unit, flate2::FlushCompress::Full);
    let head = if zlib {
        vec![0x78, 0xda]
    } else {
        // Magic, deflate, no flags, no time, best compression, Unix (RFC 1952).
        vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3]
    };
    // An empty last block, and the sums, which a receiver only reads if it unpacks everything.
    let mut tail = vec![0x03, 0x00];
    let mut one = flate2::Crc::new();
    one.update(&plain);
    let mut sum = flate2::Crc::new();
    for _ in 0..units {
        sum.combine(&one);
    }
    tail.extend(sum.sum().to_le_bytes());
    tail.extend(sum.amount().to_le_bytes());
    Body::repeated(head, unit, units, tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_bomb_is_small_and_unpacks_to_what_it_says() {
        let body = bomb(b"\x0a\0", 20, false);
        assert!(body.len() < 20 * 1_000, "{} bytes", body.len());
        let bytes: Vec<u8> = body.chunks().flatten().collect();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice())
            .read_to_end(&mut plain)
            .unwrap();
        assert_eq!(plain, b"\x0a\0".repeat(20 * 32 * 1024));
    }

    #[test]
    fn one_attribute_is_a_request_with_one_span() {
        let maker = Maker {
            random: StdRng::seed_from_u64(1),
            seed: 1,
            marker: String::new(),
            number: 0,
            now: 1_790_000_000_000_000_000,
        };
        let bytes: Vec<u8> = maker.one_attribute(100_000).chunks().flatten().collect();
        let traces = TracesData::decode(bytes.as_slice()).unwrap();
        let span = &traces.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!(span.attributes[0], attribute("big", text("A".repeat(100_000))));
    }

    #[test]
    fn zero_ids_come_with_good_neighbours_in_one_request() {
        for number in 0..12 {
            let input = input(Class::Ids, number, 1, 1_790_000_000_000_000_000).unwrap();
            assert_eq!(input.neighbours.len(), 3);
            assert!(input.about.contains("all zero"), "{input}");
        }
    }
}
