//! The end-to-end harness: what is sent, how it is sent, how it is read back, and the backends that
//! run the stack.

pub mod backend;
pub mod compare;
pub mod corpus;
pub mod diagnostics;
pub mod expect;
pub mod id;
pub mod jaeger;
pub mod ledger;
pub mod load;
pub mod malformed;
pub mod metrics;
pub mod otlp;
pub mod ports;
pub mod readback;
pub mod report;
pub mod run;
pub mod scenario;
pub mod send;
pub mod tempo;
pub mod transport;
pub mod wait;

pub use crate::door;
