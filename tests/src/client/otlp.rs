//! OTLP over gRPC and HTTP: protobuf, JSON and gzip
//! (opentelemetry.io/docs/specs/otlp, version 1.8).

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;

use crate::client::credentials::Credentials;
use crate::client::transport::{self, Grpc};
use crate::model::door::{Door, Doors};
use crate::model::outcome::Outcome;

/// The gRPC method.
pub(crate) const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(crate) const TRACES_PATH: &str = "/v1/traces";

/// Sends to the OTLP receiver, over connections that are kept.
#[derive(Debug, Clone)]
pub(crate) struct Otlp {
    grpc: Grpc,
    http: reqwest::Client,
    url: String,
    timeout: Duration,
}

impl Otlp {
    /// A sender to the receiver's two ports. Must be called inside a tokio runtime.
    pub fn new(doors: &Doors, credentials: &Credentials, timeout: Duration) -> Result<Otlp> {
        let (url, http) = credentials.http(doors.otlp_http)?;
        Ok(Otlp {
            grpc: Grpc::new(doors.otlp_grpc, credentials)?,
            http,
            url: format!("{url}{TRACES_PATH}"),
            timeout,
        })
    }

    /// Sends one request. An error if the receiver isn't one of OTLP's or the request can't be encoded.
    ///
    /// `TracesData` and `ExportTraceServiceRequest` are the same bytes and the same JSON.
    pub async fn send(&self, door: Door, traces: &TracesData) -> Result<Outcome> {
        let answer = match door {
            Door::OtlpGrpc => self.call(traces, false).await,
            Door::OtlpGrpcGzip => self.call(traces, true).await,
            Door::OtlpHttpProtobuf => self.post(PROTOBUF, None, traces.encode_to_vec()).await?,
            Door::OtlpHttpGzip => {
                let body = gzip(&traces.encode_to_vec())?;
                self.post(PROTOBUF, Some("gzip"), body).await?
            }
            Door::OtlpHttpJson => self.post(JSON, None, json(traces)?).await?,
            _ => anyhow::bail!("{door} is not a receiver of OTLP"),
        };
        Ok(answer.map_or_else(|outcome| outcome, |response| acked(&response)))
    }

    async fn call(&self, traces: &TracesData, gzip: bool) -> Result<ExportTraceServiceResponse, Outcome> {
        self.grpc.unary(EXPORT, traces.clone(), gzip, self.timeout).await
    }

    async fn post(
        &self,
        content_type: &str,
        encoding: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Result<ExportTraceServiceResponse, Outcome>> {
        let mut request = self
            .http
            .post(&self.url)
            .header("content-type", content_type)
            .body(body);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let body = match transport::post(request, self.timeout).await {
            Ok(body) => body,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let response = if content_type == JSON {
            serde_json::from_slice(&body).map_err(anyhow::Error::new)
        } else {
            ExportTraceServiceResponse::decode(body.as_slice()).map_err(anyhow::Error::new)
        };
        let response =
            response.with_context(|| format!("decoding the receiver's answer {:?}", transport::shown(&body)))?;
        Ok(Ok(response))
    }
}

/// Content type of protobuf over HTTP.
pub(crate) const PROTOBUF: &str = "application/x-protobuf";
/// Content type of JSON over HTTP.
pub const JSON: &str = "application/json";

/// The JSON of OTLP: ids in hexadecimal, 64-bit integers as text, enumerations as numbers, bytes in
/// base64.
pub fn json(traces: &TracesData) -> Result<Vec<u8>> {
    serde_json::to_vec(traces).context("encoding spans as OTLP JSON")
}

/// The bytes, compressed with gzip.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).context("compressing with gzip")?;
    encoder.finish().context("compressing with gzip")
}

fn acked(response: &ExportTraceServiceResponse) -> Outcome {
    let rejected = response.partial_success.as_ref().map_or(0, |p| p.rejected_spans);
    Outcome::Acked {
        // A negative count would be the receiver's mistake; nothing is rejected then.
        rejected_spans: u64::try_from(rejected).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::corpus::Corpus;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    #[test]
    fn json_has_the_forms_that_the_specification_asks_for() {
        let sample = Corpus::new(1, 1_790_000_000_000_000_000).sample(0);
        let json: serde_json::Value = serde_json::from_slice(&json(&sample.traces).unwrap()).unwrap();
        let span = &json["resourceSpans"][0]["scopeSpans"][0]["spans"][1];
        assert_eq!(span["traceId"], sample.id.to_string());
        assert_eq!(span["kind"], 1);
        assert_eq!(span["status"]["code"], 1);
        assert!(span["startTimeUnixNano"].is_string());
        let value = |key: &str| {
            let attributes = span["attributes"].as_array().unwrap();
            attributes.iter().find(|a| a["key"] == key).unwrap()["value"].clone()
        };
        assert_eq!(value("attr.int.min")["intValue"], i64::MIN.to_string());
        assert_eq!(value("attr.bytes")["bytesValue"], "AAF/gP8=");
        assert_eq!(value("attr.double")["doubleValue"], 0.1);
        assert_eq!(value("attr.text.empty")["stringValue"], "");
        assert_eq!(value("array.empty")["arrayValue"]["values"], serde_json::json!([]));
    }

    #[test]
    fn rejected_spans_of_a_partial_success_are_counted() {
        let response = |rejected_spans| ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: "full".into(),
            }),
        };
        assert_eq!(acked(&response(3)), Outcome::Acked { rejected_spans: 3 });
        assert!(acked(&response(0)).is_acked());
        assert!(acked(&ExportTraceServiceResponse::default()).is_acked());
    }
}
