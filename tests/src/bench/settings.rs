//! The settings that a Tempo runs with, its own defaults included.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::SignedDuration;
use serde_yaml::Value;

use crate::client::engine::Engine;

/// What decides the figures of a bench.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// How long a trace is idle before it is cut to the log, and how often that is looked at.
    pub cut: [Duration; 2],
    /// Ingesters of a fleet that get each span; of no meaning elsewhere.
    pub replication: u64,
    /// Values by their keys in Tempo's configuration.
    pub by_key: BTreeMap<String, String>,
}

impl Settings {
    /// Reads what Tempo says at `/status/config`. An error if a key isn't there.
    pub fn read(config: &str, engine: Engine) -> Result<Settings> {
        // The path stands before it as a document of its own.
        let config = config.rsplit("---\n").next().unwrap_or_default();
        let config: Value = serde_yaml::from_str(config).context("parsing the configuration that Tempo runs with")?;
        let value = |key: &str| {
            let value = key.split('.').try_fold(&config, |map, part| map.get(part));
            let text = match value {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            text.with_context(|| format!("the configuration that Tempo runs with has no {key}"))
        };
        let keys = engine.cut_keys().into_iter().chain(engine.block_keys().iter().copied());
        let by_key = keys.map(|key| Ok((key.to_owned(), value(key)?)));
        let [idle, check] = engine.cut_keys().map(|key| duration(&value(key)?));
        let replication = ["ingester", "lifecycler", "ring", "replication_factor"];
        let replication = replication.iter().try_fold(&config, |map, part| map.get(part));
        Ok(Settings {
            cut: [idle?, check?],
            replication: replication.and_then(Value::as_u64).unwrap_or(1),
            by_key: by_key.collect::<Result<_>>()?,
        })
    }
}

/// A duration as Go prints it: `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration> {
    let duration: SignedDuration = text.parse().with_context(|| format!("the duration {text:?}"))?;
    Duration::try_from(duration).with_context(|| format!("the duration {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use semver::Version;

    const CONFIG: &str = "GET /status/config
---
ingester: {trace_idle_period: 500ms, flush_check_period: 1m0s, max_block_bytes: 524288000, max_block_duration: 30m0s}
storage: {trace: {block: {version: vParquet4, parquet_row_group_size_bytes: 100000000}}}
compactor: {compaction: {compaction_window: 24h0m0s, compaction_cycle: 2s}}
";

    #[test]
    fn times_and_sizes_are_those_that_tempo_runs_with() {
        let engine = Engine::of(&Version::new(2, 9, 0));
        let settings = Settings::read(CONFIG, engine).unwrap();
        assert_eq!(settings.cut, [Duration::from_millis(500), Duration::from_secs(60)]);
        assert_eq!(settings.by_key["ingester.max_block_bytes"], "524288000");
        let error = Settings::read("ingester: {}", engine).unwrap_err().to_string();
        assert!(error.contains("no ingester.trace_idle_period"), "{error}");
    }
}
