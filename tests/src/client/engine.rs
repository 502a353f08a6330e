//! What differs between Tempo's versions in what a proof sets and asks.

use semver::Version;
use serde_yaml::Value;

/// The engine of a version of Tempo: up to 2.x an ingester and a compactor, from 3.0 on a live-store and
/// backend workers (grafana/tempo, CHANGELOG.md of 3.0.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// 2.x.
    Ingester,
    /// 3.0 and later.
    LiveStore,
}

impl Engine {
    /// The engine of a version.
    pub fn of(version: &Version) -> Engine {
        if version.major < 3 {
            Engine::Ingester
        } else {
            Engine::LiveStore
        }
    }

    /// The gauge of traces that are in memory only.
    pub fn live_traces(self) -> &'static str {
        match self {
            Engine::Ingester => "tempo_ingester_live_traces",
            Engine::LiveStore => "tempo_live_store_live_traces",
        }
    }

    /// The counter of blocks that were shipped to the store.
    pub fn blocks_flushed(self) -> &'static str {
        match self {
            Engine::Ingester => "tempo_ingester_blocks_flushed_total",
            Engine::LiveStore => "tempo_live_store_local_blocks_flushed_total",
        }
    }

    /// Whether `/flush` ships what is held at once. Where it doesn't, blocks go by themselves when they are
    /// half a minute old.
    pub fn can_flush(self) -> bool {
        self == Engine::Ingester
    }

    /// Whether a span's links come back in the order in which they were sent: 3.0 sorts them by their ids
    /// when it reads from blocks (grafana/tempo, pkg/model/trace/sort.go).
    pub fn keeps_link_order(self) -> bool {
        self == Engine::Ingester
    }

    /// `tempo.config` with blocks of `seconds`, so that one is in the store soon.
    pub fn short_blocks(self, seconds: u32) -> String {
        match self {
            Engine::Ingester => format!("{{ingester: {{max_block_duration: {seconds}s}}}}"),
            Engine::LiveStore => format!("{{live_store: {{max_block_duration: {seconds}s}}}}"),
        }
    }

    /// `tempo.config` with blocks of a few seconds that are judged every few seconds. Blocks of different
    /// ages are not merged, or the younger would keep the older alive.
    pub fn quick_retention(self) -> &'static str {
        match self {
            Engine::Ingester => {
                "
ingester: {max_block_duration: 5s, complete_block_timeout: 12s}
compactor: {compaction: {compaction_window: 5s, compacted_block_retention: 5s, compaction_cycle: 5s}}
storage: {trace: {blocklist_poll: 5s}}
"
            }
            Engine::LiveStore => {
                "
live_store: {max_block_duration: 5s, complete_block_timeout: 12s, flush_op_timeout: 5s}
backend_worker: {compaction: {compaction_window: 5s, compacted_block_retention: 5s}}
backend_scheduler:
  provider:
    retention: {interval: 5s}
    compaction: {measure_interval: 5s, compaction: {compaction_window: 5s, compacted_block_retention: 5s}}
storage: {trace: {blocklist_poll: 5s}}
"
            }
        }
    }
}

/// Values of the umbrella with this `tempo.config`.
pub fn tempo_config(config: &str) -> serde_yaml::Result<Value> {
    let mut values = Value::Mapping(Default::default());
    charts::render::set(
        &mut values,
        &["tempo-stack", "tempo", "config"],
        serde_yaml::from_str(config)?,
    );
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_follows_from_the_version() {
        for (version, engine) in [
            ("2.3.0", Engine::Ingester),
            ("2.10.8", Engine::Ingester),
            ("3.0.3", Engine::LiveStore),
        ] {
            assert_eq!(Engine::of(&Version::parse(version).unwrap()), engine);
            assert!(tempo_config(engine.quick_retention()).is_ok() && tempo_config(&engine.short_blocks(3)).is_ok());
        }
    }
}
