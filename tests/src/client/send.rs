//! Sending spans through any receiver.

use std::time::Duration;

use anyhow::Result;
use opentelemetry_proto::tonic::trace::v1::TracesData;

use crate::client::credentials::Credentials;
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
    /// A sender with these credentials; an answer that takes longer than `timeout` is given up on. Must be called
    /// inside a tokio runtime.
    pub fn new(doors: &Doors, credentials: &Credentials, timeout: Duration) -> Result<Sender> {
        Ok(Sender {
            otlp: Otlp::new(doors, credentials, timeout)?,
            jaeger: Jaeger::new(doors, credentials, timeout)?,
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
