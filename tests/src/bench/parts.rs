//! What each part of a stack used by itself: the Collectors, and Tempo as one program or as the parts of a fleet.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

use super::figure::median;
use crate::backend::{Component, Stack, cpu_ticks, peak_memory};
use crate::scenario::fleet_parts;

/// A Tempo that does everything.
pub(super) const WHOLE: &str = "tempo";
/// The Collectors.
pub(super) const COLLECTOR: &str = "otel-collector";

/// What a part of the stack used: of several pods the sum of their CPU time, and the highest resident size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its pods.
    pub pods: usize,
    /// CPU time until Tempo has written all spans to its log, for a million of them, without what it uses when idle.
    pub cpu_seconds_per_million_spans: f64,
    /// CPU time for blocks: what makes and ships them, and the compactor of a fleet, which merges them. It is measured
    /// in the first round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks_cpu_seconds_per_million_spans: Option<f64>,
    /// The highest resident size of one of its pods under the load.
    pub peak_rss_bytes: f64,
}

impl Part {
    /// CPU seconds for a million spans, until they are in blocks.
    pub(super) fn cpu(&self) -> f64 {
        self.cpu_seconds_per_million_spans + self.blocks_cpu_seconds_per_million_spans.unwrap_or_default()
    }
}

/// Parts by their names: [`COLLECTOR`], [`WHOLE`], or what a fleet's programs run (`-target`).
pub type Parts = BTreeMap<String, Part>;

/// The processes of each part.
pub(super) struct Processes(BTreeMap<String, Vec<i32>>);

impl Processes {
    /// Those that run now.
    pub async fn of(stack: &dyn Stack) -> Result<Processes> {
        let parts = fleet_parts(stack).await?;
        let mut all: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for component in Component::ALL {
            for (pod, pid) in stack.pids(component).await? {
                let part = parts.iter().find(|(_, pods)| pods.contains(&pod));
                let name = match (component, part) {
                    (Component::OtelCollector, _) => COLLECTOR,
                    (Component::Tempo, Some((target, _))) => target,
                    (Component::Tempo, None) => WHOLE,
                    // No span goes through it.
                    (Component::QueryProxy, _) => continue,
                };
                all.entry(name.to_owned()).or_default().push(pid);
            }
        }
        Ok(Processes(all))
    }

    /// How many pods a part has.
    pub fn pods(&self, part: &str) -> usize {
        self.0.get(part).map_or(0, Vec::len)
    }

    /// CPU seconds that each part used so far (proc(5), /proc/<pid>/stat).
    pub fn cpu_seconds(&self) -> Result<BTreeMap<String, f64>> {
        let per_second = sysconf(SysconfVar::CLK_TCK)
            .context("asking for the length of a clock tick")?
            .context("this machine has no clock ticks")?;
        self.each(|pids| {
            let ticks = pids.iter().map(|pid| cpu_ticks(&about(*pid, "stat")?));
            Ok(ticks.sum::<Result<u64>>()? as f64 / per_second as f64)
        })
    }

    /// The parts with their pods and the highest resident sizes so far (proc(5), /proc/<pid>/status).
    pub fn parts(&self) -> Result<Parts> {
        self.each(|pids| {
            let peaks = pids.iter().map(|pid| peak_memory(&about(*pid, "status")?));
            let peaks: Vec<u64> = peaks.collect::<Result<_>>()?;
            Ok(Part {
                pods: pids.len(),
                peak_rss_bytes: peaks.into_iter().max().unwrap_or_default() as f64,
                ..Part::default()
            })
        })
    }

    fn each<T>(&self, of: impl Fn(&[i32]) -> Result<T>) -> Result<BTreeMap<String, T>> {
        let parts = self.0.iter();
        parts.map(|(name, pids)| Ok((name.clone(), of(pids)?))).collect()
    }
}

fn about(pid: i32, file: &str) -> Result<String> {
    let file = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))
}

/// Of each part the medians of several rounds.
pub(super) fn medians(rounds: &[&Parts]) -> Parts {
    let mut all = Parts::new();
    for name in rounds.iter().flat_map(|round| round.keys()) {
        let these: Vec<&Part> = rounds.iter().filter_map(|round| round.get(name)).collect();
        let of = |value: fn(&Part) -> f64| median(these.iter().map(|part| value(part)).collect()).unwrap_or_default();
        let blocks = these
            .iter()
            .filter_map(|part| part.blocks_cpu_seconds_per_million_spans);
        let part = Part {
            pods: these.first().map(|part| part.pods).unwrap_or_default(),
            cpu_seconds_per_million_spans: of(|part| part.cpu_seconds_per_million_spans),
            blocks_cpu_seconds_per_million_spans: median(blocks.collect()),
            peak_rss_bytes: of(|part| part.peak_rss_bytes),
        };
        all.insert(name.clone(), part);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_median_of_the_rounds_that_measured_it() {
        let round = |cpu: f64| {
            let part = Part {
                pods: 3,
                cpu_seconds_per_million_spans: cpu,
                blocks_cpu_seconds_per_million_spans: (cpu > 8.0).then_some(1.0),
                peak_rss_bytes: cpu * 10.0,
            };
            Parts::from([("ingester".to_owned(), part)])
        };
        let rounds = [round(5.0), round(9.0), round(6.0)];
        let part = medians(&rounds.iter().collect::<Vec<_>>())["ingester"];
        assert_eq!(
            (part.pods, part.cpu_seconds_per_million_spans, part.peak_rss_bytes),
            (3, 6.0, 60.0)
        );
        assert_eq!(part.blocks_cpu_seconds_per_million_spans, Some(1.0));
    }
}
