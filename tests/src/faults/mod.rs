//! What the stack loses when something breaks: a table of faults, each made for real under load, proved to have
//! happened, ended, and judged by a ledger of every span that was acknowledged.
//!
//! A [`Row`] says what the fault is, what it needs and what is promised; an [`inject`]ion makes it; [`run`] does
//! the rest, one fault on a stack of its own. A [`soak`] makes many of them on one stack.

mod inject;
pub mod report;
mod run;
mod soak;
mod table;
mod track;

use std::time::Duration;

use anyhow::Result;
use kit::failure::Failure;
use serde::Serialize;

use self::inject::Injection;
pub use self::run::{Plan, run};
pub use self::soak::{Soak, soak};
pub use self::table::ALL;

/// One fault.
pub struct Row {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// What goes wrong, in one line.
    pub does: &'static str,
    /// Where it can be made.
    pub place: Place,
    /// What this program has to be allowed to do.
    pub rights: Rights,
    /// What may be lost.
    pub promise: Promise,
    /// How the stack gets well again once the fault is over.
    pub recovers: Recovers,
    /// Whether it is part of the short form.
    pub quick: bool,
    /// Whether a soak makes it: it fits a stack that runs on afterwards.
    pub soak: bool,
    /// The stack that it is made on.
    setup: Setup,
    /// None where it can't be made.
    make: Option<fn() -> Box<dyn Injection>>,
}

/// Where a fault can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// On the local backend: what is broken is a process, a connection or a file of this machine.
    Local,
    /// Nowhere, for this reason.
    #[serde(untagged)]
    Nowhere(&'static str),
}

impl Place {
    /// The backend's name; none where it can be made nowhere.
    pub fn backend(self) -> Option<&'static str> {
        match self {
            Place::Local => Some("local"),
            Place::Nowhere(_) => None,
        }
    }
}

/// What this program has to be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rights {
    /// Nothing that a user may not do.
    User,
    /// Mount a file system: root.
    Mount,
}

/// What may be lost of what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// Nothing.
    Nothing,
    /// What was acknowledged within so many seconds.
    Seconds(f64),
    /// What was in the file that the fault destroys, which it counts.
    Destroyed,
}

impl Promise {
    /// The spans that may be lost at a load of so many spans/s when the fault destroyed a file with so many.
    pub fn at_most(self, rate: u32, destroyed: u64) -> u64 {
        match self {
            Promise::Nothing => 0,
            Promise::Seconds(seconds) => (seconds * f64::from(rate)).ceil() as u64,
            Promise::Destroyed => destroyed,
        }
    }

    /// The promise in words.
    pub fn told(self) -> String {
        match self {
            Promise::Nothing => "0 lost".into(),
            Promise::Seconds(seconds) => format!("at most {seconds} s of spans lost"),
            Promise::Destroyed => "at most what was in the file lost".into(),
        }
    }
}

/// How the stack gets well again once the fault is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovers {
    /// Nobody does anything: programs that ended are started again as Kubernetes does it.
    ByItself,
    /// Somebody does this.
    ByHand(&'static str),
}

impl Recovers {
    /// By itself or by whom.
    pub fn told(self) -> &'static str {
        match self {
            Recovers::ByItself => "by itself",
            Recovers::ByHand(action) => action,
        }
    }
}

/// The stack that a fault is made on, and its load.
#[derive(Debug, Clone, Copy)]
struct Setup {
    /// Values of the umbrella chart, as YAML.
    values: &'static str,
    /// Bytes of Tempo's volume.
    tempo_volume: Option<u64>,
    /// Bytes of a disk of its own for the queue of each Collector.
    queue_disk: Option<u64>,
    /// Whether blocks go to a real S3 server.
    store: bool,
    /// How long a block is written to before it goes to the S3 server, in seconds.
    block_seconds: u32,
    /// Spans per second.
    rate: u32,
    /// Bytes of an attribute of every span.
    payload: usize,
    /// How long it lasts once it was proved.
    hold: Duration,
}

const SETUP: Setup = Setup {
    values: "{}",
    tempo_volume: None,
    queue_disk: None,
    store: false,
    block_seconds: 3,
    rate: RATE,
    payload: 0,
    hold: Duration::from_secs(5),
};

/// Spans per second of a fault's load: enough to have something in every buffer, little enough to be read back soon.
const RATE: u32 = 500;

/// The faults of these names that run on a backend, in the order of the table; with no names all of the backend,
/// and `quick` leaves only those of the short form. An error if there is none.
pub fn select(names: &[String], backend: &str, quick: bool) -> Result<Vec<&'static Row>> {
    let chosen = |row: &&Row| {
        if names.is_empty() {
            row.place.backend().is_none_or(|place| place == backend) && (!quick || row.quick)
        } else {
            names.iter().any(|name| name == row.name)
        }
    };
    let rows: Vec<&'static Row> = ALL.iter().filter(chosen).collect();
    if rows.is_empty() {
        return Err(Failure::usage(
            format!("none of the chosen faults can be made on the {backend} backend"),
            "`cargo xtask faults --list` shows each fault with its backend",
        ));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        let names: BTreeSet<_> = ALL.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn the_short_form_is_a_part_of_what_this_machine_can_do() {
        let quick = select(&[], "local", true).unwrap();
        assert!(quick.len() >= 4 && quick.iter().all(|row| row.place == Place::Local));
        assert!(quick.len() < select(&[], "local", false).unwrap().len());
    }

    #[test]
    fn a_bound_in_seconds_is_one_in_spans_at_the_rate_of_the_load() {
        assert_eq!(Promise::Nothing.at_most(500, 9), 0);
        assert_eq!(Promise::Seconds(2.5).at_most(500, 9), 1250);
        assert_eq!(Promise::Destroyed.at_most(500, 9), 9);
    }
}
