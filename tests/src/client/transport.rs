//! One request over gRPC or HTTP, and what the answer says about the spans in it.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::failure::causes;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::client::credentials::Credentials;
use crate::model::outcome::Outcome;

/// How much of an answer's body an error shows, in bytes.
const SHOWN_BODY: usize = 300;

/// A gRPC connection that is made when it is first needed and made again when it breaks.
#[derive(Debug, Clone)]
pub(crate) struct Grpc {
    channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
}

impl Grpc {
    /// A connection to an address. Must be called inside a tokio runtime.
    pub fn new(address: SocketAddr, credentials: &Credentials) -> Result<Grpc> {
        let endpoint = credentials.endpoint(address)?;
        let authorization = credentials.authorization.as_ref().map(|text| text.parse());
        Ok(Grpc {
            channel: endpoint.connect_timeout(Duration::from_secs(2)).connect_lazy(),
            authorization: authorization.transpose().context("the metadata authorization")?,
        })
    }

    /// Calls a unary method; the error says what became of the spans instead.
    pub async fn unary<M, R>(&self, path: &'static str, message: M, gzip: bool, timeout: Duration) -> Result<R, Outcome>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        let call = async {
            let mut client = tonic::client::Grpc::new(self.channel.clone());
            if gzip {
                client = client
                    .send_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Gzip);
            }
            client
                .ready()
                .await
                .map_err(|error| Outcome::Unknown { reason: causes(&error) })?;
            let mut request = tonic::Request::new(message);
            if let Some(authorization) = &self.authorization {
                request.metadata_mut().insert("authorization", authorization.clone());
            }
            let codec = ProstCodec::<M, R>::default();
            let answer = client.unary(request, PathAndQuery::from_static(path), codec).await;
            answer.map(tonic::Response::into_inner).map_err(|s| from_status(&s))
        };
        tokio::time::timeout(timeout, call)
            .await
            .unwrap_or_else(|_| Err(late(timeout)))
    }
}

/// Tonic makes a status of its own when the connection fails, and gives it a source; a status that
/// the receiver sent has none.
fn from_status(status: &tonic::Status) -> Outcome {
    if status.source().is_some() {
        return Outcome::Unknown { reason: causes(status) };
    }
    Outcome::Refused {
        code: format!("{:?}", status.code()),
        reason: status.message().to_owned(),
    }
}

/// Posts a body; the answer's body if its status is 2xx, else what became of the spans instead.
pub(crate) async fn post(request: reqwest::RequestBuilder, timeout: Duration) -> Result<Vec<u8>, Outcome> {
    let unknown = |error: reqwest::Error| Outcome::Unknown { reason: causes(&error) };
    let exchange = async {
        let answer = request.send().await.map_err(unknown)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unknown)?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        Err(Outcome::Refused {
            code: status.as_u16().to_string(),
            reason: shown(&body),
        })
    };
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or_else(|_| Err(late(timeout)))
}

fn late(timeout: Duration) -> Outcome {
    Outcome::Unknown {
        reason: format!("no answer within {:.1} s", timeout.as_secs_f64()),
    }
}

/// The beginning of a body as text, for messages.
pub fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BODY)]);
    let text = text.trim_end().to_owned();
    if body.len() > SHOWN_BODY { text + "…" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::credentials::http_client;

    #[test]
    fn an_answer_of_the_receiver_is_a_refusal() {
        let status = tonic::Status::invalid_argument("bad span id");
        let outcome = from_status(&status);
        assert_eq!(outcome.to_string(), "refused with InvalidArgument: bad span id");
    }

    #[tokio::test]
    async fn nobody_listening_leaves_the_outcome_unknown() {
        // Bound and closed again, so that nobody listens there.
        let address = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let grpc = Grpc::new(address, &Credentials::default()).unwrap();
        let answer: Result<(), Outcome> = grpc.unary("/x.Y/Z", (), false, Duration::from_secs(5)).await;
        assert!(matches!(answer, Err(Outcome::Unknown { .. })), "{answer:?}");
        let http = http_client().unwrap().post(format!("http://{address}/"));
        let answer = post(http, Duration::from_secs(5)).await;
        assert!(matches!(answer, Err(Outcome::Unknown { .. })), "{answer:?}");
    }

    #[tokio::test]
    async fn a_receiver_that_never_answers_leaves_the_outcome_unknown() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let http = http_client()
            .unwrap()
            .post(format!("http://{}/", listener.local_addr().unwrap()));
        let answer = post(http, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(answer.to_string(), "no answer: no answer within 0.1 s");
    }
}
