//! How the load of a bench looks.

use std::borrow::Cow;
use std::fmt;

use anyhow::Result;
use kit::failure::Failure;
use serde::{Deserialize, Serialize};

use crate::client::load::{Batches, Shape};

/// A way in which applications send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name on the command line and in reports.
    pub name: Cow<'static, str>,
    /// Spans of each request.
    pub spans_per_request: u32,
    /// Spans of each trace; a trace is whole in one request.
    pub spans_per_trace: u32,
    /// gRPC connections, which the Service spreads over the Collectors.
    pub connections: u32,
    /// Spans a second of all connections, sent when they are due whether or not earlier ones are answered; none: as
    /// fast as they are answered.
    pub spans_per_second: Option<u32>,
    /// Requests that may be unanswered: at full speed there are always so many on each connection, at a rate more of
    /// all connections make the measurement invalid.
    pub unanswered: usize,
    /// Spans that a round sends.
    pub spans: u64,
}

/// The profiles that have a name. Anything between them is one of these with [`Changes`].
pub const PROFILES: &[Profile] = &[
    full_speed("10-spans", 10, 10, 30_000),
    full_speed("100-spans", 100, 10, 60_000),
    full_speed("500-spans", 500, 10, 100_000),
    full_speed("long-traces", 100, 50, 60_000),
    steady("steady", 100, 2),
    steady("many-clients", 10, 100),
];

/// Those that are measured unless others are named: what applications flush depends on their traffic, and a request
/// has its price.
pub const USUAL: &[&str] = &["10-spans", "100-spans", "500-spans"];

/// What settings are tuned with, unless others are named: there are many of them.
pub const TUNED: &[&str] = &["100-spans"];

/// At a rate, more requests than that are unanswered only if the stack doesn't keep up.
const UNANSWERED_AT_A_RATE: usize = 1_000;
/// Spans a second of a steady profile: a machine with 2 cores has room for them beside the sender.
const STEADY: u32 = 4_000;
/// How long a steady profile sends, in seconds.
const STEADY_SECONDS: u64 = 10;

/// Over two connections, as fast as they are answered. The cheaper a span, the more of them are needed to tell what it
/// costs.
const fn full_speed(name: &'static str, spans_per_request: u32, spans_per_trace: u32, spans: u64) -> Profile {
    Profile {
        name: Cow::Borrowed(name),
        spans_per_request,
        spans_per_trace,
        connections: 2,
        spans_per_second: None,
        unanswered: 4,
        spans,
    }
}

/// Traces of ten spans at a rate.
const fn steady(name: &'static str, spans_per_request: u32, connections: u32) -> Profile {
    Profile {
        name: Cow::Borrowed(name),
        spans_per_request,
        spans_per_trace: 10,
        connections,
        spans_per_second: Some(STEADY),
        unanswered: UNANSWERED_AT_A_RATE,
        spans: STEADY as u64 * STEADY_SECONDS,
    }
}

/// What is different from a profile that has a name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes {
    /// Spans of each trace.
    pub spans_per_trace: Option<u32>,
    /// Connections.
    pub connections: Option<u32>,
    /// Spans a second of all connections.
    pub spans_per_second: Option<u32>,
}

/// What is sent, without the profile's name.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Profile {
            spans_per_request,
            spans_per_trace,
            connections,
            unanswered,
            ..
        } = self;
        write!(
            f,
            "requests of {spans_per_request}, {spans_per_trace} spans a trace, {connections} connections, "
        )?;
        match self.spans_per_second {
            Some(rate) => write!(f, "{rate} spans a second, each request when it is due")?,
            None => write!(f, "as fast as answered, {unanswered} requests unanswered on each")?,
        }
        write!(f, ", {} spans", self.spans)
    }
}

impl Profile {
    /// The profile of that name.
    pub fn named(name: &str) -> Result<&'static Profile> {
        let known = PROFILES.iter().find(|profile| profile.name == name);
        known.ok_or_else(|| Failure::unknown("profile", name, PROFILES.iter().map(|profile| &*profile.name)))
    }

    /// The profile with these changes, which are in its name: `100-spans/50-a-trace`. An error if a request doesn't
    /// hold whole traces.
    pub fn with(&self, changes: &Changes) -> Result<Profile> {
        let mut profile = self.clone();
        let mut name = vec![self.name.to_string()];
        if let Some(spans) = changes.spans_per_trace {
            profile.spans_per_trace = spans;
            name.push(format!("{spans}-a-trace"));
        }
        if let Some(connections) = changes.connections {
            profile.connections = connections;
            name.push(format!("{connections}-connections"));
        }
        if let Some(rate) = changes.spans_per_second {
            profile.spans_per_second = Some(rate);
            profile.unanswered = UNANSWERED_AT_A_RATE;
            profile.spans = u64::from(rate) * STEADY_SECONDS;
            name.push(format!("{rate}-a-second"));
        }
        let (request, trace) = (profile.spans_per_request, profile.spans_per_trace);
        if trace == 0 || !request.is_multiple_of(trace) {
            return Err(Failure::usage(
                format!(
                    "the {request} spans of a request of {} can't be traces of {trace}",
                    self.name
                ),
                "a trace is whole in one request: give --trace-spans a divisor, or choose profiles with larger requests with --profile",
            ));
        }
        profile.name = name.join("/").into();
        Ok(profile)
    }

    /// What is sent.
    pub(crate) fn batches(&self, seed: u64) -> Batches {
        let batches = Batches::new(seed);
        Batches {
            rate: self.spans_per_second.unwrap_or(batches.rate),
            spans_per_trace: self.spans_per_trace,
            traces_per_request: self.spans_per_request / self.spans_per_trace.max(1),
            max_in_flight: self.unanswered,
            shape: Shape::Shop,
            ..batches
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_has_whole_traces_in_its_requests() {
        for profile in PROFILES {
            assert_eq!(&profile.with(&Changes::default()).unwrap(), profile);
        }
        assert!(USUAL.iter().chain(TUNED).all(|name| Profile::named(name).is_ok()));
    }

    #[test]
    fn a_change_is_in_the_name_and_one_that_breaks_traces_is_refused() {
        let long = Changes {
            spans_per_trace: Some(50),
            connections: Some(64),
            spans_per_second: Some(2_000),
        };
        let profile = Profile::named("500-spans").unwrap().with(&long).unwrap();
        assert_eq!(profile.name, "500-spans/50-a-trace/64-connections/2000-a-second");
        assert_eq!(
            (profile.batches(1).traces_per_request, profile.batches(1).rate),
            (10, 2_000)
        );
        let error = Profile::named("10-spans").unwrap().with(&long).unwrap_err();
        assert!(
            error.to_string().contains("the 10 spans of a request of 10-spans"),
            "{error}"
        );
        assert!(Profile::named("10-span").unwrap_err().to_string().contains("10-span"));
    }
}
