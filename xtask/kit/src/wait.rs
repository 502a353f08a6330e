//! Waiting for something to become true, with a deadline and an end at Ctrl-C.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::step::Cancel;

/// What a probe found.
pub enum Probe<T> {
    /// It is there.
    Found(T),
    /// Not yet; the text says what was found instead and appears in the error at the deadline.
    NotYet(String),
}

/// The deadline passed. The type lets a caller tell this from an error of the probe.
#[derive(Debug)]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub deadline: Duration,
    /// What the last probe found instead.
    pub last: String,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.deadline.as_secs_f64();
        write!(f, "{}: not within {seconds:.1} s; last seen: {}", self.what, self.last)
    }
}

impl std::error::Error for TimedOut {}

/// Calls `probe` every `period` until it finds what is waited for, at least once.
///
/// An error of `probe` ends the wait, as Ctrl-C does; at the deadline the error is a [`TimedOut`].
pub fn until<T>(
    what: &str,
    period: Duration,
    deadline: Duration,
    cancel: &Cancel,
    mut probe: impl FnMut() -> Result<Probe<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        cancel.check()?;
        let last = match probe()? {
            Probe::Found(value) => return Ok(value),
            Probe::NotYet(found) => found,
        };
        if started.elapsed() >= deadline {
            let what = what.to_owned();
            return Err(anyhow::Error::new(TimedOut { what, deadline, last }));
        }
        std::thread::sleep(period);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Kind, kind_of};

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn the_probe_is_repeated_until_it_finds_something() {
        let mut probes = 0;
        let found = until("three", Duration::ZERO, LONG, &Cancel::default(), || {
            probes += 1;
            Ok(if probes == 3 {
                Probe::Found(probes)
            } else {
                Probe::NotYet(String::new())
            })
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn the_deadline_says_what_was_found_instead_and_is_not_an_error_of_the_probe() {
        let wait = |answer: fn() -> Result<Probe<()>>| {
            until("the pod", Duration::ZERO, Duration::ZERO, &Cancel::default(), answer).unwrap_err()
        };
        let late = wait(|| Ok(Probe::NotYet("Pending".into())));
        assert_eq!(late.downcast_ref::<TimedOut>().unwrap().last, "Pending");
        assert!(late.to_string().contains("the pod: not within 0.0 s"), "{late}");
        let broken = wait(|| Err(anyhow::anyhow!("not JSON")));
        assert!(broken.downcast_ref::<TimedOut>().is_none());
    }

    #[test]
    fn a_cancelled_run_stops_waiting() {
        let cancel = Cancel::default();
        let error = until::<()>("nothing", Duration::ZERO, LONG, &cancel, || {
            cancel.cancel();
            Ok(Probe::NotYet(String::new()))
        });
        assert_eq!(kind_of(&error.unwrap_err()), Kind::Interrupted);
    }
}
