//! What talks to the stack: senders of OTLP and Jaeger with their credentials, malformed requests, Tempo's query API, metrics;
//! applications with an SDK.

pub(crate) mod credentials;
pub(crate) mod engine;
pub(crate) mod install;
pub(crate) mod jaeger;
pub(crate) mod load;
pub(crate) mod malformed;
pub(crate) mod metrics;
pub(crate) mod otlp;
pub(crate) mod prometheus;
pub(crate) mod readback;
pub mod sdk;
pub(crate) mod send;
pub mod tempo;
pub(crate) mod transport;
