//! The figures of a bench: what each is, its unit, and how it is shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A figure, named with its unit as JSON has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Figure {
    /// CPU time of the Collectors.
    #[serde(rename = "collector_cpu_seconds_per_million_spans")]
    CollectorCpu,
    /// CPU time of Tempo.
    #[serde(rename = "tempo_cpu_seconds_per_million_spans")]
    TempoCpu,
    /// CPU time of both.
    #[serde(rename = "cpu_seconds_per_million_spans")]
    Cpu,
    /// The highest resident size of a Collector.
    #[serde(rename = "collector_peak_rss_bytes")]
    CollectorMemory,
    /// The highest resident size of Tempo.
    #[serde(rename = "tempo_peak_rss_bytes")]
    TempoMemory,
    /// Spans that were acknowledged, from the first request to the last answer.
    #[serde(rename = "acknowledged_spans_per_second")]
    Throughput,
    /// From the time at which a request was due to its answer; at full speed from when it was sent.
    #[serde(rename = "answer_median_seconds")]
    AnswerMedian,
    /// The same, of the slowest hundredth.
    #[serde(rename = "answer_p99_seconds")]
    AnswerP99,
    /// From the acknowledgement of a trace until it is found by its id.
    #[serde(rename = "found_by_id_median_seconds")]
    ByIdMedian,
    /// The same, of the slowest hundredth.
    #[serde(rename = "found_by_id_p99_seconds")]
    ByIdP99,
    /// From the acknowledgement of a trace until a search finds it.
    #[serde(rename = "found_by_search_median_seconds")]
    BySearchMedian,
    /// The same, of the slowest hundredth.
    #[serde(rename = "found_by_search_p99_seconds")]
    BySearchP99,
    /// The seconds of a steady load that are lost when Tempo is killed.
    #[serde(rename = "lost_on_kill_seconds")]
    LostOnKill,
    /// What Tempo reads: what the Collectors send to it, and in 2.x what its distributor sends on to its ingester.
    #[serde(rename = "read_by_tempo_bytes_per_span")]
    Wire,
    /// What a span takes in the write-ahead log.
    #[serde(rename = "write_ahead_log_bytes_per_span")]
    Log,
    /// What a span takes in a block as the ingester ships it.
    #[serde(rename = "flushed_block_bytes_per_span")]
    Flushed,
    /// What a span takes in a block after compaction.
    #[serde(rename = "compacted_block_bytes_per_span")]
    Compacted,
    /// CPU time of Tempo for a block that it makes of the write-ahead log and ships.
    #[serde(rename = "flush_cpu_seconds_per_million_spans")]
    FlushCpu,
}

/// Figures that were measured.
pub type Figures = BTreeMap<Figure, f64>;

/// How a figure is told to people.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The figure.
    pub figure: Figure,
    /// The head of its column.
    pub header: &'static str,
    /// The unit in tables.
    pub unit: &'static str,
    /// What one of the table's unit is in the figure's.
    pub scale: f64,
    /// Decimals in tables.
    pub decimals: usize,
    /// Whether less is better.
    pub lower_is_better: bool,
}

const fn column(figure: Figure, header: &'static str, unit: &'static str) -> Column {
    Column {
        figure,
        header,
        unit,
        scale: 1.0,
        decimals: 1,
        lower_is_better: true,
    }
}

const fn mebibytes(figure: Figure, header: &'static str) -> Column {
    Column {
        scale: 1024.0 * 1024.0,
        decimals: 0,
        ..column(figure, header, "MiB")
    }
}

const fn milliseconds(figure: Figure, header: &'static str) -> Column {
    Column {
        scale: 1e-3,
        decimals: 0,
        ..column(figure, header, "ms")
    }
}

/// What the load costs while it runs.
pub const COSTS: &[Column] = &[
    column(Figure::CollectorCpu, "Collector CPU", "s/M spans"),
    column(Figure::TempoCpu, "Tempo CPU", "s/M spans"),
    column(Figure::Cpu, "both CPU", "s/M spans"),
    mebibytes(Figure::CollectorMemory, "Collector RSS"),
    mebibytes(Figure::TempoMemory, "Tempo RSS"),
    Column {
        decimals: 0,
        lower_is_better: false,
        ..column(Figure::Throughput, "acknowledged", "spans/s")
    },
    milliseconds(Figure::AnswerMedian, "answer"),
    milliseconds(Figure::AnswerP99, "answer p99"),
    column(Figure::Wire, "Tempo reads", "B/span"),
];

/// What becomes of the spans in Tempo.
pub const STORED: &[Column] = &[
    column(Figure::Log, "in log", "B/span"),
    column(Figure::Flushed, "flushed", "B/span"),
    column(Figure::Compacted, "compacted", "B/span"),
    column(Figure::FlushCpu, "flush CPU", "s/M spans"),
    milliseconds(Figure::ByIdMedian, "by id"),
    milliseconds(Figure::ByIdP99, "by id p99"),
    milliseconds(Figure::BySearchMedian, "search"),
    milliseconds(Figure::BySearchP99, "search p99"),
    column(Figure::LostOnKill, "lost on kill", "s of load"),
];

impl Figure {
    /// How it is told to people.
    pub fn column(self) -> Option<&'static Column> {
        COSTS.iter().chain(STORED).find(|column| column.figure == self)
    }
}

impl Column {
    /// A value of the figure, without its unit.
    pub fn shown(&self, value: f64) -> String {
        format!("{:.*}", self.decimals, value / self.scale)
    }
}

/// The value below which that share of them is, of an even number the one in the middle of both; none of nothing.
pub(super) fn quantile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let place = share * values.len().checked_sub(1)? as f64;
    let below = *values.get(place.floor() as usize)?;
    let above = *values.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

/// The value in the middle.
pub(super) fn median(values: Vec<f64>) -> Option<f64> {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_in_the_middle() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]), Some(3.0));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn a_hundredth_is_slower_than_the_99th_percentile() {
        let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(values, 0.99), Some(99.0));
        assert_eq!(quantile(vec![7.0], 0.99), Some(7.0));
    }

    #[test]
    fn every_column_has_a_figure_of_its_own_with_its_unit_in_its_name() {
        let mut names: Vec<String> = COSTS
            .iter()
            .chain(STORED)
            .map(|column| serde_json::to_string(&column.figure).unwrap())
            .collect();
        for name in &names {
            assert!(
                ["bytes", "seconds", "per_"].iter().any(|unit| name.contains(unit)),
                "{name}"
            );
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), COSTS.len() + STORED.len());
        assert!(Figure::Cpu.column().is_some());
    }
}
