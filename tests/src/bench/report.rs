//! What a bench found: rows of figures, and how they compare with those of the first variant.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use kit::whole_file::{self, Mode};
use serde::Serialize;

use super::plan::Plan;

/// A figure, named with its unit as JSON has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    /// What a span takes in the write-ahead log.
    #[serde(rename = "write_ahead_log_bytes_per_span")]
    Log,
    /// What a span takes in a block as the ingester ships it.
    #[serde(rename = "flushed_block_bytes_per_span")]
    Flushed,
    /// What a span takes in a block after compaction.
    #[serde(rename = "compacted_block_bytes_per_span")]
    Compacted,
}

/// Figures that were measured.
pub type Figures = BTreeMap<Figure, f64>;

/// A column of the table.
struct Column {
    figure: Figure,
    header: &'static str,
    unit: &'static str,
    /// What one of the table's unit is in the figure's.
    scale: f64,
    decimals: usize,
}

const fn column(figure: Figure, header: &'static str, unit: &'static str) -> Column {
    Column {
        figure,
        header,
        unit,
        scale: 1.0,
        decimals: 1,
    }
}

const COLUMNS: [Column; 9] = [
    column(Figure::CollectorCpu, "Collector CPU", "s/M spans"),
    column(Figure::TempoCpu, "Tempo CPU", "s/M spans"),
    column(Figure::Cpu, "both CPU", "s/M spans"),
    Column {
        scale: 1024.0 * 1024.0,
        decimals: 0,
        ..column(Figure::CollectorMemory, "Collector RSS", "MiB")
    },
    Column {
        scale: 1024.0 * 1024.0,
        decimals: 0,
        ..column(Figure::TempoMemory, "Tempo RSS", "MiB")
    },
    Column {
        decimals: 0,
        ..column(Figure::Throughput, "acknowledged", "spans/s")
    },
    column(Figure::Log, "in log", "B/span"),
    column(Figure::Flushed, "flushed", "B/span"),
    column(Figure::Compacted, "compacted", "B/span"),
];

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// From 1 on.
    pub round: u32,
    /// Spans that were acknowledged.
    pub acknowledged: u64,
    /// Spans that the Collector refused.
    pub refused: u64,
    /// Spans that were sent and not answered for.
    pub unknown: u64,
    /// Why the figures say nothing; empty if they do.
    pub invalid: Vec<String>,
    /// What was measured.
    pub figures: Figures,
    /// Why a figure is missing.
    pub not_measured: BTreeMap<Figure, String>,
}

/// A variant under the load of a profile.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The profile.
    pub profile: String,
    /// The variant.
    pub variant: String,
    /// Whether all rounds are valid.
    pub valid: bool,
    /// The median of the rounds; empty if the row isn't valid.
    pub median: Figures,
    /// The median of the rounds' ratios to the first variant in the same round; empty for that variant itself, and
    /// where one of the two isn't valid.
    pub ratio: Figures,
    /// The rounds.
    pub samples: Vec<Sample>,
}

/// What ran beside the bench can't be known, only how busy the machine was.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The load of the last minute before the bench (proc(5), /proc/loadavg).
    pub load_before: f64,
    /// The load of its last minute, its own included.
    pub load_after: f64,
}

/// The outcome of a bench.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of each program that ran.
    pub versions: BTreeMap<String, String>,
    /// The machine.
    pub machine: Machine,
    /// The seed of the spans.
    pub seed: u64,
    /// Rounds.
    pub rounds: u32,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The rows, by profile and then by variant, in the order in which they were asked for.
    pub rows: Vec<Row>,
}

/// The rows of samples that are named by profile and variant.
pub(super) fn rows(plan: &Plan, samples: &[(&str, &str, Sample)]) -> Vec<Row> {
    let of = |profile: &str, variant: &str| -> Vec<Sample> {
        let these = samples.iter().filter(|(p, v, _)| *p == profile && *v == variant);
        these.map(|(_, _, sample)| sample.clone()).collect()
    };
    let mut rows = Vec::new();
    for profile in &plan.profiles {
        let mut first: Option<Vec<Sample>> = None;
        for variant in &plan.variants {
            let samples = of(profile.name, &variant.name);
            rows.push(Row {
                profile: profile.name.to_owned(),
                variant: variant.name.clone(),
                valid: valid(&samples),
                median: if valid(&samples) {
                    medians(&samples)
                } else {
                    Figures::new()
                },
                ratio: first
                    .as_deref()
                    .map(|first| ratios(first, &samples))
                    .unwrap_or_default(),
                samples: samples.clone(),
            });
            first.get_or_insert(samples);
        }
    }
    rows
}

fn valid(samples: &[Sample]) -> bool {
    !samples.is_empty() && samples.iter().all(|sample| sample.invalid.is_empty())
}

fn medians(samples: &[Sample]) -> Figures {
    by_figure(samples.iter().flat_map(|sample| sample.figures.clone()))
}

/// Of each figure the median of the rounds' ratios.
fn ratios(first: &[Sample], samples: &[Sample]) -> Figures {
    if !valid(first) || !valid(samples) {
        return Figures::new();
    }
    let pairs = samples.iter().filter_map(|sample| {
        let same = first.iter().find(|other| other.round == sample.round)?;
        Some((sample, same))
    });
    by_figure(pairs.flat_map(|(sample, first)| {
        let figures = sample.figures.iter();
        figures.filter_map(|(figure, value)| {
            let base = first.figures.get(figure).filter(|base| **base > 0.0)?;
            Some((*figure, value / base))
        })
    }))
}

fn by_figure(values: impl Iterator<Item = (Figure, f64)>) -> Figures {
    let mut all: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
    for (figure, value) in values {
        all.entry(figure).or_default().push(value);
    }
    all.into_iter()
        .filter_map(|(figure, values)| Some((figure, median(values)?)))
        .collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 {
        upper
    } else {
        (values[middle - 1] + upper) / 2.0
    })
}

impl Report {
    /// The rows of which a round isn't valid.
    pub fn invalid(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.valid)
    }

    /// Writes the report as JSON.
    pub fn write_json(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("writing JSON")?;
        whole_file::write(file, text + "\n", Mode::Everybody)
    }

    /// The table for people: medians, and behind them the ratio to the first variant.
    pub fn table(&self) -> String {
        let mut lines = vec![
            ["profile", "variant"].map(str::to_owned).to_vec(),
            vec![String::new(); 2],
        ];
        // Figures, and what is above them, stand below each other, with a ratio behind them or without.
        let ratios = self.rows.iter().any(|row| !row.ratio.is_empty());
        let room = " ".repeat(if ratios { " (0.00)".len() } else { 0 });
        lines[0].extend(COLUMNS.iter().map(|column| format!("{}{room}", column.header)));
        lines[1].extend(COLUMNS.iter().map(|column| format!("{}{room}", column.unit)));
        let mut notes = Vec::new();
        for row in &self.rows {
            let mut cells = vec![row.profile.clone(), row.variant.clone()];
            cells.extend(COLUMNS.iter().map(|column| column.cell(row, &room)));
            lines.push(cells);
            for sample in &row.samples {
                let why = sample.invalid.iter();
                notes.extend(why.map(|why| {
                    let (profile, variant) = (&row.profile, &row.variant);
                    format!("{profile}, {variant}, round {}: not valid: {why}", sample.round)
                }));
            }
        }
        let mut missing: Vec<String> = Vec::new();
        for sample in self.rows.iter().flat_map(|row| &row.samples) {
            for (figure, why) in &sample.not_measured {
                let column = COLUMNS.iter().find(|column| column.figure == *figure);
                let header = column.map(|column| column.header).unwrap_or_default();
                let note = format!("not measured: {header}: {why}");
                if !missing.contains(&note) {
                    missing.push(note);
                }
            }
        }
        notes.extend(missing);
        notes.push(self.circumstances(ratios));
        aligned(&lines) + "\n" + &notes.join("\n") + "\n"
    }

    fn circumstances(&self, ratios: bool) -> String {
        let versions = self.versions.iter().map(|(tool, version)| format!("{tool} {version}"));
        let versions: Vec<String> = versions.collect();
        let first = self.rows.first().filter(|_| ratios);
        let ratios = first.map(|row| format!(", in brackets the ratio to {} in the same round", row.variant));
        let Machine {
            cores,
            load_before,
            load_after,
        } = self.machine;
        format!(
            "median of {} round{}{}; seed {}\n\
             {}, {cores} cores, load {load_before} before and {load_after} after, {:.0} s",
            self.rounds,
            if self.rounds == 1 { "" } else { "s" },
            ratios.unwrap_or_default(),
            self.seed,
            versions.join(", "),
            self.seconds
        )
    }
}

impl Column {
    fn cell(&self, row: &Row, room: &str) -> String {
        let median = row.median.get(&self.figure);
        let value = median.map_or_else(
            || "-".into(),
            |value| format!("{:.*}", self.decimals, value / self.scale),
        );
        let ratio = row.ratio.get(&self.figure);
        value + &ratio.map_or_else(|| room.to_owned(), |ratio| format!(" ({ratio:.2})"))
    }
}

/// Names to the left, figures to the right of their columns.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| lines.iter().filter_map(|line| line.get(n)).map(String::len).max();
    let widths: Vec<usize> = (0..columns).map(|n| width(n).unwrap_or(0)).collect();
    let line = |cells: &Vec<String>| -> String {
        let cells = cells.iter().zip(&widths).enumerate();
        let cells = cells.map(|(n, (cell, width))| match n {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Amount, Variant};
    use super::super::profile::PROFILES;
    use super::*;

    fn sample(round: u32, cpu: f64) -> Sample {
        Sample {
            round,
            acknowledged: 1,
            refused: 0,
            unknown: 0,
            invalid: Vec::new(),
            figures: Figures::from([(Figure::Cpu, cpu)]),
            not_measured: BTreeMap::new(),
        }
    }

    fn plan() -> Plan {
        let variant = |name: &str| Variant::named(name).unwrap().unwrap();
        Plan {
            profiles: PROFILES.iter().take(1).collect(),
            variants: vec![variant("default"), variant("memory-queue")],
            rounds: 3,
            amount: Amount::OfProfile,
            seed: 1,
        }
    }

    fn report(samples: &[(&str, &str, Sample)]) -> Report {
        Report {
            versions: BTreeMap::from([("tempo".into(), "2.10.8".into())]),
            machine: Machine {
                cores: 2,
                load_before: 0.5,
                load_after: 2.5,
            },
            seed: 1,
            rounds: 3,
            seconds: 60.0,
            rows: rows(&plan(), samples),
        }
    }

    /// Three rounds on a machine that is busier in each of them.
    fn samples() -> Vec<(&'static str, &'static str, Sample)> {
        let pairs = [(10.0, 5.0), (20.0, 12.0), (40.0, 16.0)].into_iter().zip(1..);
        let both = pairs.flat_map(|((default, memory), round)| {
            [
                ("10-spans", "default", sample(round, default)),
                ("10-spans", "memory-queue", sample(round, memory)),
            ]
        });
        both.collect()
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_then_the_median() {
        let rows = report(&samples()).rows;
        assert_eq!(
            (rows[0].median[&Figure::Cpu], rows[1].median[&Figure::Cpu]),
            (20.0, 12.0)
        );
        // 0.5, 0.6 and 0.4: not the ratio of the medians, 0.6.
        assert_eq!(rows[1].ratio[&Figure::Cpu], 0.5);
        assert!(rows[0].ratio.is_empty());
    }

    #[test]
    fn the_median_of_an_even_number_is_in_the_middle() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]), Some(3.0));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn a_round_that_is_not_valid_takes_its_row_and_the_ratios_to_it() {
        let mut samples = samples();
        samples[2].2.invalid.push("300 spans were refused".into());
        let report = report(&samples);
        assert_eq!(
            report.invalid().map(|row| row.variant.as_str()).collect::<Vec<_>>(),
            ["default"]
        );
        assert!(report.rows[0].median.is_empty());
        assert!(report.rows[1].valid && report.rows[1].ratio.is_empty());
        let table = report.table();
        assert!(
            table.contains("10-spans, default, round 2: not valid: 300 spans were refused"),
            "{table}"
        );
    }

    #[test]
    fn the_table_has_units_and_says_what_was_not_measured_and_why() {
        let mut samples = samples();
        for (.., sample) in &mut samples {
            sample
                .not_measured
                .insert(Figure::Compacted, "Tempo 3 has no /flush".into());
        }
        let table = report(&samples).table();
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("profile   variant"), "{table}");
        assert!(lines[1].contains("s/M spans") && lines[1].contains("B/span"), "{table}");
        assert!(lines[3].contains(" 12.0 (0.50) "), "{table}");
        assert_eq!(lines[2].find("20.0"), lines[3].find("12.0"), "{table}");
        assert_eq!(
            table.matches("not measured: compacted: Tempo 3 has no /flush").count(),
            1
        );
        assert!(table.contains("2 cores, load 0.5 before and 2.5 after"), "{table}");
    }

    #[test]
    fn every_figure_has_a_column_and_a_name_with_its_unit() {
        for column in &COLUMNS {
            let name = serde_json::to_string(&column.figure).unwrap();
            assert!(name.contains("per_") || name.contains("bytes"), "{name}");
        }
        let json = serde_json::to_value(report(&samples())).unwrap();
        assert_eq!(json["rows"][1]["ratio"]["cpu_seconds_per_million_spans"], 0.5);
    }
}
