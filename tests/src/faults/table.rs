//! All faults, with what each needs and what is promised.

use std::time::Duration;

use super::inject::{Disturb, DisturbStore, Kill, Stop};
use super::{Place, Promise, Recovers, Rights, Row, SETUP, Setup};
use crate::backend::{Component, Fault};

/// What Tempo may lose when it is killed: it cuts traces that are idle for a second to its log, looks for them every
/// second, and writes them then.
const KILLED: Promise = Promise::Seconds(2.5);

const fn local(name: &'static str, does: &'static str, make: fn() -> Box<dyn super::Injection>) -> Row {
    Row {
        name,
        does,
        place: Place::Local,
        rights: Rights::User,
        promise: Promise::Nothing,
        recovers: Recovers::ByItself,
        quick: false,
        soak: false,
        setup: SETUP,
        make,
    }
}

/// Every fault, in the order in which they are made.
pub const ALL: &[Row] = &[
    Row {
        promise: KILLED,
        quick: true,
        soak: true,
        ..local("kill-tempo", "SIGKILL to Tempo", || {
            Box::new(Kill::of(&[Component::Tempo]))
        })
    },
    Row {
        soak: true,
        ..local(
            "stop-tempo",
            "SIGTERM to Tempo, and SIGKILL after its grace period",
            || Box::new(Stop::of(Component::Tempo)),
        )
    },
    Row {
        quick: true,
        soak: true,
        ..local("kill-collector", "SIGKILL to one of the Collectors", || {
            Box::new(Kill::of(&[Component::OtelCollector]))
        })
    },
    Row {
        soak: true,
        ..local("stop-collector", "SIGTERM to one of the Collectors", || {
            Box::new(Stop::of(Component::OtelCollector))
        })
    },
    Row {
        promise: KILLED,
        soak: true,
        ..local(
            "kill-both",
            "SIGKILL to Tempo and to one of the Collectors at the same time",
            || Box::new(Kill::of(&[Component::Tempo, Component::OtelCollector])),
        )
    },
    Row {
        quick: true,
        soak: true,
        ..local("freeze-tempo", "Tempo stands still (SIGSTOP)", || {
            Box::new(Disturb::of(Component::Tempo, Fault::Frozen))
        })
    },
    Row {
        soak: true,
        ..local(
            "freeze-collector",
            "one of the Collectors stands still (SIGSTOP)",
            || Box::new(Disturb::of(Component::OtelCollector, Fault::Frozen)),
        )
    },
    Row {
        quick: true,
        soak: true,
        ..local(
            "network-dropped",
            "connections to Tempo end, and new ones are refused",
            || Box::new(Disturb::of(Component::Tempo, Fault::CutOff)),
        )
    },
    Row {
        soak: true,
        ..local(
            "network-slow",
            "what goes to Tempo and comes from it takes 2 s longer each way",
            || Box::new(Disturb::of(Component::Tempo, Fault::Slow(DELAY))),
        )
    },
    Row {
        soak: true,
        ..local(
            "network-half-open",
            "connections to Tempo stay open, and nothing gets through",
            || Box::new(Disturb::of(Component::Tempo, Fault::Silent)),
        )
    },
    Row {
        soak: true,
        setup: STORE,
        ..local(
            "s3-down",
            "connections to the S3 server end, and new ones are refused",
            || Box::new(DisturbStore::with(Fault::CutOff, "connect: connection refused")),
        )
    },
    Row {
        soak: true,
        setup: STORE,
        ..local(
            "s3-slow",
            "what goes to the S3 server and comes from it takes 2 s longer each way",
            || Box::new(DisturbStore::with(Fault::Slow(DELAY), "")),
        )
    },
    Row {
        quick: true,
        soak: true,
        setup: STORE,
        ..local("s3-unavailable", "the S3 server answers every request with 503", || {
            Box::new(DisturbStore::with(Fault::Refusing(503), "503"))
        })
    },
    Row {
        soak: true,
        setup: STORE,
        ..local("s3-forbidden", "the S3 server answers every request with 403", || {
            Box::new(DisturbStore::with(Fault::Refusing(403), "Access Denied"))
        })
    },
    Row {
        soak: true,
        setup: STORE,
        ..local(
            "s3-broken",
            "each connection to the S3 server breaks after 4 KiB",
            || Box::new(DisturbStore::with(Fault::Breaking(4096), "reset by peer")),
        )
    },
];

const DELAY: Duration = Duration::from_secs(2);

/// Blocks go to an S3 server, a new one every three seconds.
const STORE: Setup = Setup { store: true, ..SETUP };
