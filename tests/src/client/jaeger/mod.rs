//! The Jaeger receivers: api_v2 over gRPC, thrift over HTTP and over UDP.

mod model;
mod thrift;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use tokio::net::UdpSocket;

use self::model::{Batch, PostSpansRequest, PostSpansResponse};
use crate::client::credentials::Credentials;
use crate::client::transport::{self, Grpc};
use crate::model::door::{Door, Doors};
use crate::model::outcome::Outcome;

/// The gRPC method (jaegertracing/jaeger-idl proto/api_v2/collector.proto).
pub(crate) const POST_SPANS: &str = "/jaeger.api_v2.CollectorService/PostSpans";
pub(crate) const TRACES_PATH: &str = "/api/traces";
/// Content type of thrift over HTTP.
pub(crate) const THRIFT: &str = "application/x-thrift";
/// The largest packet that the receiver takes, in bytes (its `max_packet_size`).
const MAX_PACKET: usize = 65_000;

#[derive(Debug, Clone)]
pub struct Jaeger {
    grpc: Grpc,
    http: reqwest::Client,
    url: String,
    doors: Doors,
    timeout: Duration,
}

impl Jaeger {
    /// A sender to the receiver's four ports. Must be called inside a tokio runtime.
    pub fn new(doors: &Doors, credentials: &Credentials, timeout: Duration) -> Result<Jaeger> {
        let (url, http) = credentials.http(doors.jaeger_thrift_http)?;
        Ok(Jaeger {
            grpc: Grpc::new(doors.jaeger_grpc, credentials)?,
            http,
            url: format!("{url}{TRACES_PATH}"),
            doors: doors.clone(),
            timeout,
        })
    }

    /// Sends one request or packet per resource, because a Jaeger batch has one process.
    ///
    /// The outcome is that of the first request that wasn't taken. An error if the receiver isn't one of
    /// Jaeger's or a packet would be too large.
    pub async fn send(&self, door: Door, traces: &TracesData) -> Result<Outcome> {
        let mut outcome = Outcome::Acked { rejected_spans: 0 };
        for batch in model::batches(traces)? {
            outcome = self.send_batch(door, batch).await?;
            if matches!(outcome, Outcome::Refused { .. } | Outcome::Unknown { .. }) {
                break;
            }
        }
        Ok(outcome)
    }

    async fn send_batch(&self, door: Door, batch: Batch) -> Result<Outcome> {
        let taken = |_| Outcome::Acked { rejected_spans: 0 };
        let answer = match door {
            Door::JaegerGrpc => {
                let request = PostSpansRequest { batch: Some(batch) };
                let answer = self.grpc.unary(POST_SPANS, request, false, self.timeout);
                answer.await.map(|PostSpansResponse {}| taken(vec![]))
            }
            Door::JaegerThriftHttp => {
                let request = self.http.post(&self.url).header("content-type", THRIFT);
                transport::post(request.body(thrift::body(&batch)?), self.timeout)
                    .await
                    .map(taken)
            }
            Door::JaegerThriftCompactUdp => {
                let packet = thrift::compact_packet(&batch)?;
                send_packet(self.udp(door)?, &packet).await
            }
            Door::JaegerThriftBinaryUdp => {
                let packet = thrift::binary_packet(&batch)?;
                send_packet(self.udp(door)?, &packet).await
            }
            _ => bail!("{door} is not a receiver of Jaeger"),
        };
        Ok(answer.unwrap_or_else(|outcome| outcome))
    }

    fn udp(&self, door: Door) -> Result<SocketAddr> {
        let address = self.doors.address(door);
        address.with_context(|| format!("this machine has no route to {door}"))
    }
}

/// The first request to a Jaeger receiver as bytes: the gRPC message, the HTTP body or the packet.
pub(crate) fn encoded(door: Door, traces: &TracesData) -> Result<Vec<u8>> {
    let first = model::batches(traces)?.into_iter().next();
    let batch = first.context("a request without any resource")?;
    match door {
        Door::JaegerGrpc => Ok(PostSpansRequest { batch: Some(batch) }.encode_to_vec()),
        Door::JaegerThriftHttp => thrift::body(&batch),
        Door::JaegerThriftCompactUdp => thrift::compact_packet(&batch),
        Door::JaegerThriftBinaryUdp => thrift::binary_packet(&batch),
        _ => bail!("{door} is not a receiver of Jaeger"),
    }
}

/// Sends one packet; nothing tells whether it arrived.
async fn send_packet(to: SocketAddr, packet: &[u8]) -> Result<Outcome, Outcome> {
    let unknown = |error: std::io::Error| Outcome::Unknown {
        reason: error.to_string(),
    };
    if packet.len() > MAX_PACKET {
        return Err(Outcome::Unknown {
            reason: format!("a packet of {} bytes; the receiver takes {MAX_PACKET}", packet.len()),
        });
    }
    let any = match to.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(unknown)?;
    socket.send_to(packet, to).await.map_err(unknown)?;
    Ok(Outcome::Sent)
}
