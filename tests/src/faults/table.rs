//! All faults, with what each needs and what is promised.

use super::inject::{Kill, Stop};
use super::{Place, Promise, Recovers, Rights, Row, SETUP};
use crate::backend::Component;

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
];
