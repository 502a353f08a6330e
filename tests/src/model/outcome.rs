//! What became of one request.

use std::fmt;

use serde::Serialize;

/// What became of the spans of one request, as far as the sender can know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// The receiver took them and answers for them, except for as many as it rejected.
    Acked {
        /// Spans that the receiver rejected (OTLP's partial success).
        rejected_spans: u64,
    },
    /// They left; the protocol has no acknowledgement (UDP).
    Sent,
    /// The receiver answered that it didn't take them.
    Refused {
        /// The gRPC status code's name or the HTTP status.
        code: String,
        /// The receiver's own words.
        reason: String,
    },
    /// Nobody knows: the connection broke or the answer didn't come in time.
    Unknown {
        /// What happened instead of an answer.
        reason: String,
    },
}

impl Outcome {
    /// Whether all spans of the request were acknowledged.
    pub(crate) fn is_acked(&self) -> bool {
        *self == Outcome::Acked { rejected_spans: 0 }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Acked { rejected_spans: 0 } => f.write_str("acked"),
            Outcome::Acked { rejected_spans } => write!(f, "acked, {rejected_spans} spans rejected"),
            Outcome::Sent => f.write_str("sent"),
            Outcome::Refused { code, reason } => write!(f, "refused with {code}: {reason}"),
            Outcome::Unknown { reason } => write!(f, "no answer: {reason}"),
        }
    }
}
