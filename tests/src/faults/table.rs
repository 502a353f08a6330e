//! All faults, with what each needs and what is promised.

use std::time::Duration;

use super::inject::{
    Block, Both, Burst, Disturb, DisturbStore, Kill, Log, Poison, QueueDisk, QueueFile, Replaced, Stop, TempoFull,
    Wrong,
};
use super::{Place, Promise, Recovers, Rights, Row, SETUP, Setup};
use crate::backend::{Component, Fault};

/// What Tempo may lose when it is killed: it cuts traces that are idle for a second to its log, looks for them every
/// second, and writes them then.
const KILLED: Promise = Promise::Seconds(2.5);

/// What a queue may lose when its disk goes away under it: what was taken in the last moments and is neither with Tempo
/// nor on the disk, because the queue leaves it to the kernel when its writes get there.
const UNSYNCED: Promise = Promise::Seconds(1.0);

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
        make: Some(make),
    }
}

/// A fault that can't be made, for this reason.
const fn nowhere(name: &'static str, does: &'static str, reason: &'static str) -> Row {
    Row {
        name,
        does,
        place: Place::Nowhere(reason),
        rights: Rights::User,
        promise: Promise::Nothing,
        recovers: Recovers::ByItself,
        quick: false,
        soak: false,
        setup: SETUP,
        make: None,
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
    local("stop-both", "SIGTERM to Tempo, then to one of the Collectors", || {
        Box::new(Both {
            first: Box::new(Stop::of(Component::Tempo)),
            second: Box::new(Stop::of(Component::OtelCollector)),
        })
    }),
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
    Row {
        setup: Setup {
            hold: Duration::from_secs(10),
            ..SETUP
        },
        ..local(
            "overload",
            "20,000 spans/s, ten times the load of the scenarios",
            || Box::new(Burst::at(20_000)),
        )
    },
    Row {
        setup: Setup {
            values: LITTLE_MEMORY,
            ..SETUP
        },
        ..local(
            "memory-limit",
            "Tempo is cut off, and Collectors with little memory and the queue in it are sent more than fits",
            || {
                Box::new(Both {
                    first: Box::new(Disturb::of(Component::Tempo, Fault::CutOff)),
                    second: Box::new(Burst::up_to_the_memory_limit(10_000)),
                })
            },
        )
    },
    Row {
        quick: true,
        soak: true,
        setup: Setup {
            values: SMALL_TRACES,
            ..SETUP
        },
        ..local(
            "poison-span",
            "spans that Tempo refuses for ever, in requests with good ones",
            || Box::new(Poison::default()),
        )
    },
    Row {
        soak: true,
        ..local(
            "two-at-once",
            "Tempo is cut off, and one of the Collectors is killed meanwhile",
            || {
                Box::new(Both {
                    first: Box::new(Disturb::of(Component::Tempo, Fault::CutOff)),
                    second: Box::new(Kill::of(&[Component::OtelCollector])),
                })
            },
        )
    },
    Row {
        rights: Rights::Mount,
        setup: Setup {
            values: "{tempo-stack: {tempo: {limits: {ingestBytesPerSecond: 2900000}, disk: {guard: {reserve: 40Mi}}}}}",
            tempo_volume: Some(256 * MIB),
            rate: 700,
            payload: 2_000,
            ..SETUP
        },
        ..local("tempo-volume-full", "the volume of Tempo fills up", || {
            Box::new(TempoFull { taken: 192 * MIB })
        })
    },
    Row {
        rights: Rights::Mount,
        setup: DISK,
        ..local(
            "queue-disk-full",
            "the disks of the Collectors' queues are full while Tempo is cut off",
            || Box::new(QueueDisk::that_is(Wrong::Full)),
        )
    },
    Row {
        rights: Rights::Mount,
        promise: UNSYNCED,
        recovers: Recovers::ByHand("somebody repairs the disk and starts the Collectors again"),
        setup: DISK,
        ..local(
            "queue-disk-read-only",
            "the kernel makes the disks of the queues read-only while Tempo is cut off",
            || Box::new(QueueDisk::that_is(Wrong::ReadOnly)),
        )
    },
    Row {
        promise: Promise::Destroyed,
        recovers: Recovers::ByHand("somebody takes the file away"),
        ..local(
            "corrupt-queue",
            "random bytes in the file of a Collector's queue while it is down",
            || Box::new(QueueFile::default()),
        )
    },
    Row {
        promise: Promise::Seconds(5.0),
        recovers: Recovers::ByHand("somebody takes the file away and starts Tempo again"),
        ..local(
            "corrupt-log",
            "random bytes in a file of Tempo's write-ahead log while it is down",
            || Box::new(Log::default()),
        )
    },
    Row {
        promise: Promise::Destroyed,
        recovers: Recovers::ByHand("somebody takes the block away"),
        setup: Setup {
            values: SHORT_BLOCKS,
            ..SETUP
        },
        ..local("corrupt-block", "random bytes in a block that was shipped", || {
            Box::new(Block::default())
        })
    },
    local(
        "upgrade-in-outage",
        "the pods of the Collectors are replaced while Tempo is cut off, as an upgrade does it",
        || Box::new(Replaced::default()),
    ),
    nowhere(
        "queue-disk-slow",
        "the disks of the queues are slow",
        "the queue leaves it to the kernel when its writes reach the disk, so that nothing that slows one process's \
         writes slows them, and there is no device mapper to delay the disk itself",
    ),
    nowhere(
        "clock-jump",
        "the clock of Tempo jumps",
        "Go programs read the clock from a page of the kernel's without a call that could be answered for them, and a \
         time namespace moves the monotonic clocks only; the host's own clock is left alone",
    ),
    nowhere(
        "dns-gone",
        "the names of Services can't be resolved",
        "the local backend replaces names by addresses before programs start, and this command runs in no cluster",
    ),
];

/// Spans in memory take several times the bytes that the queue counts, so that the limiter refuses before it is full.
const LITTLE_MEMORY: &str = "
tempo-stack:
  otelCollector:
    queue: {type: memory, size: 32Mi, persistence: {enabled: false}}
    resources: {requests: {memory: 64Mi}, limits: {memory: 64Mi}}
";

const MIB: u64 = 1 << 20;

/// Tempo refuses traces of more than 200 kB.
pub(super) const SMALL_TRACES: &str = "{tempo-stack: {tempo: {limits: {maxBytesPerTrace: 200000}}}}";

/// Blocks go to the store after three seconds, and are read from there only.
const SHORT_BLOCKS: &str = "
tempo-stack:
  tempo:
    config:
      ingester: {max_block_duration: 3s, complete_block_timeout: 5s}
      storage: {trace: {blocklist_poll: 2s}}
      query_frontend: {search: {query_backend_after: 1s}}
";

/// A disk of their own for the queues.
const DISK: Setup = Setup {
    queue_disk: Some(64 * MIB),
    ..SETUP
};

const DELAY: Duration = Duration::from_secs(2);

/// Blocks go to an S3 server, a new one every three seconds.
const STORE: Setup = Setup { store: true, ..SETUP };
