//! What talks to the stack: senders of OTLP and Jaeger, malformed requests, Tempo's query API, metrics.

pub mod engine;
pub mod jaeger;
pub mod load;
pub mod malformed;
pub mod metrics;
pub mod otlp;
pub mod readback;
pub mod send;
pub mod tempo;
pub mod transport;
