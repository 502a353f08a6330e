//! Input that no correct sender sends: ten classes of it, the same for the same seed.
//!
//! Each input must be refused, or be harmless: both programs live on, and good spans beside it are
//! stored. Zero ids are the known case: OTLP takes such spans, Tempo 2.9 refuses the whole batch that
//! holds one, so the chart's `filter` processor has to drop them first.

mod body;
mod make;
mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde::{Serialize, Serializer};

use crate::model::door::Door;
use crate::model::id::{SpanId, TraceId};

pub(crate) use wire::Reply;
use wire::Wire;

/// How many inputs of each class are asked for, at least.
pub(crate) const PER_CLASS: u32 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// The request, or the connection, ends too early.
    Cut,
    /// One to sixteen bits are flipped.
    BitFlip,
    /// Trace or span ids are zero, missing, too short or too long.
    Ids,
    /// The content type isn't that of the body, or none that exists.
    ContentType,
    /// The body isn't compressed the way that it says.
    Compression,
    /// A body of 20 MiB or more.
    Oversize,
    /// A small body that decompresses to 64 MiB or more.
    GzipBomb,
    /// Attributes nested up to [`MAX_NESTING`] deep.
    Nesting,
    /// Nothing, or a request without spans.
    Empty,
    /// A method or a path that doesn't exist there, or another protocol.
    MethodOrPath,
}

/// How deep attributes are nested at most.
///
/// Collector 0.155.0 knows no limit (0.165 brings one of 100), and Tempo 2.9.0 needs time that grows
/// with the square of the depth: measured with one span, 0.03 s at 1,000 levels, 3 s at 10,000, and at
/// 50,000 (a request of 390 KB) more than the exporter's timeout of 10 s, so that the batch is sent
/// again without end.
pub(crate) const MAX_NESTING: u32 = 1_000;

impl Class {
    pub const ALL: [Class; 10] = [
        Class::Cut,
        Class::BitFlip,
        Class::Ids,
        Class::ContentType,
        Class::Compression,
        Class::Oversize,
        Class::GzipBomb,
        Class::Nesting,
        Class::Empty,
        Class::MethodOrPath,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Class::Cut => "cut",
            Class::BitFlip => "bit-flip",
            Class::Ids => "ids",
            Class::ContentType => "content-type",
            Class::Compression => "compression",
            Class::Oversize => "oversize",
            Class::GzipBomb => "gzip-bomb",
            Class::Nesting => "nesting",
            Class::Empty => "empty",
            Class::MethodOrPath => "method-or-path",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Whether the receiver may say that it took an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Refusal,
    /// A refusal, or taking it without harm.
    Either,
}

#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub class: Class,
    pub number: u32,
    /// The receiver whose port it is sent to.
    pub door: Door,
    pub about: String,
    /// Good spans in the same request; they must be found if the request was accepted.
    pub neighbours: Vec<(TraceId, SpanId)>,
    wire: Wire,
    allowed: Allowed,
}

/// The marker ([`SPAN_MARKER`](crate::model::corpus::SPAN_MARKER)) of all good neighbours of that seed's inputs.
pub fn marker(seed: u64) -> String {
    format!("malformed-{seed:016x}")
}

/// Packets that crash Collector 0.155.0, whose Jaeger receiver doesn't recover from a panic in its UDP
/// ports. They belong to no class: what they show is that a crash loses nothing acknowledged.
///
/// The first calls `emitZipkinBatch`, where the receiver panics on purpose
/// (open-telemetry/opentelemetry-collector-contrib#50358). The others are empty; one of those crashes
/// it only if its worker has read no packet yet.
pub(crate) fn crashers() -> Vec<Input> {
    make::crashers()
}

impl Input {
    /// Input `number` of a class, for a seed and a time in nanoseconds since 1970 at which its spans
    /// end. Make it just before it is sent: searches look for spans at about the time they were sent.
    pub fn new(class: Class, number: u32, seed: u64, now: u64) -> Result<Input> {
        make::input(class, number, seed, now)
    }

    /// Sends it to the address of its receiver and waits for what comes back, at most for `timeout`.
    pub async fn send(&self, to: SocketAddr, timeout: Duration) -> Reply {
        wire::send(to, &self.wire, timeout).await
    }

    /// Whether that answer is right; if not, why.
    pub fn judge(&self, reply: &Reply) -> Result<(), String> {
        match reply {
            Reply::Late { .. } | Reply::Unreachable { .. } => Err(format!("{self}: {reply}")),
            _ if reply.is_accepted() && self.allowed == Allowed::Refusal => {
                Err(format!("{self}: accepted with {reply}"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{} through {}: {}",
            self.class, self.number, self.door, self.about
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const NOW: u64 = 1_790_000_000_000_000_000;

    fn inputs(seed: u64) -> Vec<Input> {
        let all = Class::ALL
            .into_iter()
            .flat_map(|class| (0..PER_CLASS).map(move |n| (class, n)));
        all.map(|(class, n)| Input::new(class, n, seed, NOW).unwrap()).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_another_seed_others() {
        let all = inputs(1);
        assert_eq!(all.len(), 200);
        let other = inputs(2);
        for (input, other) in all.iter().zip(&other) {
            let again = Input::new(input.class, input.number, 1, NOW).unwrap();
            assert_eq!((&again.wire, &again.about), (&input.wire, &input.about), "{input}");
            if matches!(input.class, Class::BitFlip | Class::Cut | Class::Ids) && input.about != other.about {
                assert_ne!(input.wire, other.wire, "{input}");
            }
        }
    }

    #[test]
    fn no_two_inputs_of_a_class_are_the_same_and_several_doors_get_some() {
        let all = inputs(3);
        for class in Class::ALL {
            let of_class: Vec<_> = all.iter().filter(|i| i.class == class).collect();
            let doors: BTreeSet<_> = of_class.iter().map(|i| i.door).collect();
            assert!(doors.len() >= 2, "{class}: {doors:?}");
            for (n, one) in of_class.iter().enumerate() {
                for two in &of_class[n + 1..] {
                    assert!(one.door != two.door || one.wire != two.wire, "{one} and {two}");
                }
            }
        }
    }

    #[test]
    fn an_answer_is_judged_by_what_the_class_allows() {
        let input = Input::new(Class::GzipBomb, 0, 1, NOW).unwrap();
        let ok = Reply::Http {
            status: 200,
            text: String::new(),
        };
        let no = Reply::Http {
            status: 400,
            text: String::new(),
        };
        assert!(input.judge(&ok).is_err() && input.judge(&no).is_ok());
        assert!(input.judge(&Reply::Late { seconds: 1 }).is_err());
        let harmless = Input::new(Class::Nesting, 0, 1, NOW).unwrap();
        assert!(harmless.judge(&ok).is_ok());
    }
}
