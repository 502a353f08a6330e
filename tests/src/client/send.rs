//! Sending spans through any receiver.

use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::trace::v1::TracesData;

use crate::client::jaeger::Jaeger;
use crate::client::otlp::Otlp;
use crate::model::door::{Door, Doors, Family};
use crate::model::outcome::Outcome;

/// Sends spans through the Collector's receivers, over connections that are kept and made again when
/// they break. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender {
    otlp: Otlp,
    jaeger: Jaeger,
}

impl Sender {
    /// A sender; an answer that takes longer than `timeout` is given up on. Must be called inside a
    /// tokio runtime.
    pub fn new(doors: &Doors, timeout: Duration) -> Result<Sender> {
        let http = http_client()?;
        Ok(Sender {
            otlp: Otlp::new(doors, http.clone(), timeout)?,
            jaeger: Jaeger::new(doors, http, timeout)?,
        })
    }

    /// Sends all spans through one receiver.
    ///
    /// What the receiver says, or doesn't, is the outcome; an error is a mistake of the sender.
    pub async fn send(&self, door: Door, traces: &TracesData) -> Result<Outcome> {
        match door.family() {
            Family::Otlp => self.otlp.send(door, traces).await,
            Family::JaegerGrpc | Family::JaegerThriftHttp | Family::JaegerThriftUdp => {
                self.jaeger.send(door, traces).await
            }
        }
    }
}

/// An HTTP client that never goes through a proxy: everything it talks to is on this machine.
pub(crate) fn http_client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(Duration::from_secs(2))
        .build()
        .context("making an HTTP client")
}
