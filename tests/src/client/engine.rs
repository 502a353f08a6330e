//! What differs between Tempo's versions in what a proof sets and asks.

use semver::Version;
use serde_yaml::Value;

/// The engine of a version of Tempo: up to 2.x an ingester and a compactor, from 3.0 on a live-store and
/// backend workers (grafana/tempo, CHANGELOG.md of 3.0.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Engine {
    major: u64,
    minor: u64,
}

impl Engine {
    pub fn of(version: &Version) -> Engine {
        Engine {
            major: version.major,
            minor: version.minor,
        }
    }

    /// Whether the chart can run its parts as pods of their own, and these share Kafka.
    pub(crate) fn runs_on_kafka(self) -> bool {
        self.has_live_store()
    }

    /// Whether the chart can run its parts as pods of their own, and these need no Kafka.
    pub(crate) fn runs_as_a_fleet(self) -> bool {
        self.major == 2 && self.minor >= 9
    }

    /// Whether blocks are deleted from a folder of a container at Azure: the chart refuses one where they aren't.
    pub(crate) fn deletes_from_folders_at_azure(self) -> bool {
        self.is_before(2, 10)
    }

    fn has_live_store(self) -> bool {
        self.major >= 3
    }

    fn is_before(self, major: u64, minor: u64) -> bool {
        (self.major, self.minor) < (major, minor)
    }

    /// Why blocks don't hold all that was sent; none where they do. Up to 2.5 they are vParquet3
    /// (grafana/tempo, tempodb/encoding/versioned.go of each tag).
    pub(crate) fn drops_from_blocks(self) -> Option<&'static str> {
        self.is_before(2, 6)
            .then_some("Tempo before 2.6 keeps neither attributes of scopes nor values of bytes in its blocks")
    }

    /// Why spans may be lost when Tempo is told to stop under load; none where they aren't. The OTLP
    /// receiver of Tempo before 2.5 has no codes that a sender may retry
    /// (opentelemetry-collector, receiver/otlpreceiver/internal/errors).
    pub(crate) fn loses_on_a_stop(self) -> Option<&'static str> {
        self.is_before(2, 5).then_some(
            "Tempo before 2.5 answers with the gRPC code Unknown while it stops, and the Collector drops what it sent",
        )
    }

    /// The gauge of traces that are in memory only.
    pub(crate) fn live_traces(self) -> &'static str {
        if self.has_live_store() {
            "tempo_live_store_live_traces"
        } else {
            "tempo_ingester_live_traces"
        }
    }

    /// The counter of blocks that were shipped to the store.
    pub(crate) fn blocks_flushed(self) -> &'static str {
        if self.has_live_store() {
            "tempo_live_store_local_blocks_flushed_total"
        } else {
            "tempo_ingester_blocks_flushed_total"
        }
    }

    /// Whether `/flush` ships what is held at once. Where it doesn't, blocks go by themselves when they are
    /// half a minute old.
    pub(crate) fn can_flush(self) -> bool {
        !self.has_live_store()
    }

    /// Whether TraceQL metrics are answered as the chart configures it: 2.x needs a processor for them
    /// (grafana/tempo, docs/sources/tempo/metrics-from-traces/metrics-queries).
    pub(crate) fn answers_metrics(self) -> bool {
        self.has_live_store()
    }

    /// Whether TraceQL metrics can be had: before 2.9 the chart refuses a range.
    pub(crate) fn can_answer_metrics(self) -> bool {
        !self.is_before(2, 9)
    }

    /// Where a trace is read by its id: `/api/v2/traces`, which can tell a part of one, came with 2.6.
    pub(crate) fn traces_path(self) -> &'static str {
        if self.is_before(2, 6) {
            "api/traces"
        } else {
            "api/v2/traces"
        }
    }

    /// Whether a span's links come back in the order in which they were sent: 3.0 sorts them by their ids
    /// when it reads from blocks (grafana/tempo, pkg/model/trace/sort.go).
    pub(crate) fn keeps_link_order(self) -> bool {
        !self.has_live_store()
    }

    /// `tempo.config` with blocks of `seconds`, so that one is in the store soon.
    pub(crate) fn short_blocks(self, seconds: u32) -> String {
        if self.has_live_store() {
            format!("{{live_store: {{max_block_duration: {seconds}s}}}}")
        } else {
            format!("{{ingester: {{max_block_duration: {seconds}s}}}}")
        }
    }

    /// `tempo.config` with which a trace is cut to the write-ahead log once it was `idle` for so long, which is
    /// looked at every `check`.
    pub(crate) fn cut_traces(self, idle: &str, check: &str) -> String {
        if self.has_live_store() {
            format!("{{live_store: {{max_trace_idle: {idle}, flush_check_period: {check}}}}}")
        } else {
            format!("{{ingester: {{trace_idle_period: {idle}, flush_check_period: {check}}}}}")
        }
    }

    /// The keys of the two times in Tempo's configuration, as [`Engine::cut_traces`] sets them.
    pub(crate) fn cut_keys(self) -> [&'static str; 2] {
        if self.has_live_store() {
            ["live_store.max_trace_idle", "live_store.flush_check_period"]
        } else {
            ["ingester.trace_idle_period", "ingester.flush_check_period"]
        }
    }

    /// `tempo.config` with which a block is begun after so many bytes of log.
    pub(crate) fn blocks_of(self, bytes: u64) -> String {
        let module = if self.has_live_store() {
            "live_store"
        } else {
            "ingester"
        };
        format!("{{{module}: {{max_block_bytes: {bytes}}}}}")
    }

    /// Further keys of Tempo's configuration that decide what a span costs.
    pub(crate) fn block_keys(self) -> &'static [&'static str] {
        if self.has_live_store() {
            &[
                "live_store.max_block_bytes",
                "live_store.max_block_duration",
                "storage.trace.block.version",
                "storage.trace.block.parquet_row_group_size_bytes",
                "backend_scheduler.provider.compaction.compaction.compaction_window",
            ]
        } else {
            &[
                "ingester.max_block_bytes",
                "ingester.max_block_duration",
                "storage.trace.block.version",
                "storage.trace.block.parquet_row_group_size_bytes",
                "compactor.compaction.compaction_window",
                "compactor.compaction.compaction_cycle",
            ]
        }
    }

    /// `tempo.config` that takes out what the chart sets of times, block sizes and query limits.
    pub(crate) fn own_defaults(self) -> &'static str {
        if self.has_live_store() {
            "
live_store:
  max_trace_idle: null
  flush_check_period: null
  max_live_traces_bytes: null
  query_block_concurrency: null
  complete_block_concurrency: null
storage: {trace: {block: null}}
querier: null
query_frontend: null
"
        } else {
            "
ingester: {trace_idle_period: null, flush_check_period: null, max_block_bytes: null, concurrent_flushes: null}
storage: {trace: {block: null}}
querier: null
query_frontend: null
"
        }
    }

    /// Where the write-ahead log is in the container.
    pub(crate) fn log(self) -> &'static str {
        if self.has_live_store() {
            "/var/tempo/live-store/traces"
        } else {
            "/var/tempo/wal"
        }
    }

    /// `tempo.config` with which blocks are compacted within seconds of being shipped, whatever hour they are of.
    /// Where blocks can't be shipped by request, spans stay in the write-ahead log for long.
    pub(crate) fn quick_compaction(self) -> &'static str {
        if self.has_live_store() {
            "{live_store: {max_block_duration: 10m}}"
        } else {
            "
compactor: {compaction: {compaction_window: 24h, compaction_cycle: 2s}}
storage: {trace: {blocklist_poll: 2s}}
"
        }
    }

    /// `tempo.config` with blocks of a few seconds that are judged every few seconds. Blocks of different
    /// ages are not merged, or the younger would keep the older alive.
    pub(crate) fn quick_retention(self) -> &'static str {
        if self.has_live_store() {
            "
live_store: {max_block_duration: 5s, complete_block_timeout: 12s, flush_op_timeout: 5s}
backend_worker: {compaction: {compaction_window: 5s, compacted_block_retention: 5s}}
backend_scheduler:
  provider:
    retention: {interval: 5s}
    compaction: {measure_interval: 5s, compaction: {compaction_window: 5s, compacted_block_retention: 5s}}
storage: {trace: {blocklist_poll: 5s}}
"
        } else {
            "
ingester: {max_block_duration: 5s, complete_block_timeout: 12s}
compactor: {compaction: {compaction_window: 5s, compacted_block_retention: 5s, compaction_cycle: 5s}}
storage: {trace: {blocklist_poll: 5s}}
"
        }
    }
}

/// Values of the umbrella with this `tempo.config`.
pub(crate) fn tempo_config(config: &str) -> serde_yaml::Result<Value> {
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
        for (version, live_store, keeps_all) in [
            ("2.3.0", false, false),
            ("2.9.0", false, true),
            ("2.10.8", false, true),
            ("3.0.3", true, true),
        ] {
            let engine = Engine::of(&Version::parse(version).unwrap());
            assert_eq!(engine.has_live_store(), live_store, "{version}");
            assert_eq!(engine.drops_from_blocks().is_none(), keeps_all, "{version}");
            assert_eq!(engine.loses_on_a_stop().is_none(), keeps_all, "{version}");
            assert!(
                tempo_config(engine.quick_retention()).is_ok()
                    && tempo_config(engine.quick_compaction()).is_ok()
                    && tempo_config(&engine.short_blocks(3)).is_ok()
            );
        }
    }
}
