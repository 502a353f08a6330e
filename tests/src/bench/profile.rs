//! How the load of a bench looks.

use crate::client::load::{Batches, Shape};

/// A way in which applications send.
#[derive(Debug)]
pub struct Profile {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// Spans of each trace; a trace is whole in one request.
    pub spans_per_trace: u32,
    /// Traces of each request.
    pub traces_per_request: u32,
    /// gRPC connections, which the Service spreads over the Collectors.
    pub connections: u32,
    /// Requests that are unanswered on each connection.
    pub in_flight: usize,
    /// Spans that a round sends unless something else is said: the cheaper a span, the more of them are needed to
    /// tell what it costs.
    pub spans: u64,
}

/// All profiles.
pub const PROFILES: &[Profile] = &[
    full_speed("10-spans", 1, 30_000),
    full_speed("100-spans", 10, 60_000),
    full_speed("500-spans", 50, 100_000),
];

/// Traces of ten spans over two connections, as fast as they are answered.
const fn full_speed(name: &'static str, traces_per_request: u32, spans: u64) -> Profile {
    Profile {
        name,
        spans_per_trace: 10,
        traces_per_request,
        connections: 2,
        in_flight: 4,
        spans,
    }
}

impl Profile {
    /// What one connection sends.
    pub(crate) fn batches(&self, seed: u64) -> Batches {
        Batches {
            spans_per_trace: self.spans_per_trace,
            traces_per_request: self.traces_per_request,
            max_in_flight: self.in_flight,
            shape: Shape::Shop,
            ..Batches::new(seed)
        }
    }
}
