//! What a bench found: rows of figures, and how they compare with those of the first variant.
//!
//! [`Report`] is also the JSON that `--report` writes, beside what ran. The format rises there when a key is renamed or
//! means something else; new keys may come at any time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bounds::{self, Verdict};
use super::compare::Comparison;
use super::figure::{COSTS, Column, Figure, Figures, STORED, median};
use super::history::{self, Earlier};
use super::parts::Parts;
use super::plan::Plan;
use super::profile::Profile;
use super::table::aligned;

/// One measurement.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sample {
    /// From 1 on.
    pub round: u32,
    /// Spans that were acknowledged.
    pub acknowledged: u64,
    /// Spans that the Collector refused.
    pub refused: u64,
    /// Spans that were sent and not answered for.
    pub unknown: u64,
    /// Spans that were due and not sent, because too many requests were unanswered.
    pub skipped: u64,
    /// Spans that Tempo turned away, each time it did; a Collector that tries again loses none of them.
    pub turned_away: u64,
    /// Why the figures say nothing; empty if they do.
    pub invalid: Vec<String>,
    /// What was measured.
    pub figures: Figures,
    /// What each part of the stack used.
    #[serde(default)]
    pub parts: Parts,
    /// Why a figure is missing.
    pub not_measured: BTreeMap<Figure, String>,
}

/// A variant under the load of a profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The name of the profile.
    pub profile: String,
    /// The name of the variant.
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
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The load of the last minute before the bench (proc(5), /proc/loadavg).
    pub load_before: f64,
    /// The load of its last minute, its own included.
    pub load_after: f64,
}

/// What a variant is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VariantReport {
    /// Its name.
    pub name: String,
    /// What is different, in a sentence.
    pub about: String,
    /// Its values of the umbrella chart, over the defaults.
    pub values: serde_json::Value,
    /// What it makes of those settings of Tempo that decide the figures, its own defaults included, by the keys of
    /// its configuration. Compaction is the bench's: quick, so that it can be waited for.
    pub tempo: BTreeMap<String, String>,
}

/// How a figure is told to people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FigureReport {
    /// Its name in the rows.
    pub name: Figure,
    /// A few words.
    pub title: String,
    /// The unit that people read.
    pub unit: String,
    /// What a value is divided by to have it in that unit.
    pub scale: f64,
    /// Whether less is better.
    pub lower_is_better: bool,
}

/// The outcome of a bench.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// The name of the variant that ratios are to.
    pub ratio_to: String,
    /// The loads, with the spans that were sent; 0 where time decided.
    pub profiles: Vec<Profile>,
    /// The settings.
    pub variants: Vec<VariantReport>,
    /// What the figures are, in the order of the tables.
    pub figures: Vec<FigureReport>,
    /// The rows, by profile and then by variant, in the order in which they were asked for.
    pub rows: Vec<Row>,
    /// What the same cost before there was a bench.
    #[serde(default)]
    pub history: Vec<Earlier>,
    /// What those rows are that there is a bound for.
    #[serde(default)]
    pub bounds: Vec<Verdict>,
    /// What is different from an earlier run, if it was compared with one.
    #[serde(default)]
    pub comparison: Option<Comparison>,
}

/// The figures with their units.
pub fn figures() -> Vec<FigureReport> {
    let told = |column: &Column| FigureReport {
        name: column.figure,
        title: column.header.to_owned(),
        unit: column.unit.to_owned(),
        scale: column.scale,
        lower_is_better: column.lower_is_better,
    };
    COSTS.iter().chain(STORED).map(told).collect()
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
            let samples = of(&profile.name, &variant.name);
            rows.push(Row {
                profile: profile.name.to_string(),
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

impl Report {
    /// The rows of which a round isn't valid.
    pub fn invalid(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.valid)
    }

    /// The row of a profile with a variant.
    pub fn row(&self, profile: &str, variant: &str) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.profile == profile && row.variant == variant)
    }

    /// The tables for people: medians, and behind them the ratio to the first variant; what the same cost before, the
    /// ratios that are bounded, and an earlier run.
    pub fn table(&self) -> String {
        let tables = [
            self.columns(COSTS),
            self.columns(STORED),
            Some(self.notes().join("\n") + "\n"),
            history::beside(self),
            bounds::table(&self.bounds),
            self.comparison.as_ref().map(Comparison::table),
        ];
        tables.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    /// A table of those columns that some row has a figure for; none if there are none.
    fn columns(&self, columns: &[Column]) -> Option<String> {
        let measured = |column: &&Column| self.rows.iter().any(|row| row.median.contains_key(&column.figure));
        let columns: Vec<&Column> = columns.iter().filter(measured).collect();
        if columns.is_empty() {
            return None;
        }
        // Figures, and what is above them, stand below each other, with a ratio behind them or without.
        let room = " ".repeat(if self.has_ratios() { " (0.00)".len() } else { 0 });
        let head = |names: [&str; 2], text: fn(&Column) -> &'static str| {
            let mut line = names.map(str::to_owned).to_vec();
            line.extend(columns.iter().map(|column| format!("{}{room}", text(column))));
            line
        };
        let mut lines = vec![
            head(["profile", "variant"], |column| column.header),
            head(["", ""], |column| column.unit),
        ];
        for row in &self.rows {
            let mut cells = vec![row.profile.clone(), row.variant.clone()];
            cells.extend(columns.iter().map(|column| cell(column, row, &room)));
            lines.push(cells);
        }
        Some(aligned(&lines, 2))
    }

    fn has_ratios(&self) -> bool {
        self.rows.iter().any(|row| !row.ratio.is_empty())
    }

    /// What isn't valid, what wasn't measured, and under which circumstances the rest was.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for row in &self.rows {
            let Row { profile, variant, .. } = row;
            for sample in &row.samples {
                let round = sample.round;
                let why = sample.invalid.iter();
                notes.extend(why.map(|why| format!("{profile}, {variant}, round {round}: not valid: {why}")));
                if sample.turned_away > 0 {
                    notes.push(format!(
                        "{profile}, {variant}, round {round}: Tempo turned {} spans away, which were sent again",
                        sample.turned_away
                    ));
                }
            }
        }
        let mut missing: Vec<String> = Vec::new();
        for sample in self.rows.iter().flat_map(|row| &row.samples) {
            for (figure, why) in &sample.not_measured {
                let header = figure.column().map(|column| column.header).unwrap_or_default();
                let note = format!("not measured: {header}: {why}");
                if !missing.contains(&note) {
                    missing.push(note);
                }
            }
        }
        notes.extend(missing);
        notes.push(self.circumstances());
        notes
    }

    fn circumstances(&self) -> String {
        let versions = self.versions.iter().map(|(tool, version)| format!("{tool} {version}"));
        let versions: Vec<String> = versions.collect();
        let ratios = if self.has_ratios() {
            format!(", in brackets the ratio to {} in the same round", self.ratio_to)
        } else {
            String::new()
        };
        let Machine {
            cores,
            load_before,
            load_after,
        } = self.machine;
        format!(
            "median of {} round{}{ratios}; seed {}\n\
             {}, {cores} cores, load {load_before} before and {load_after} after, {:.0} s",
            self.rounds,
            if self.rounds == 1 { "" } else { "s" },
            self.seed,
            versions.join(", "),
            self.seconds
        )
    }
}

fn cell(column: &Column, row: &Row, room: &str) -> String {
    let median = row.median.get(&column.figure);
    let value = median.map_or_else(|| "-".into(), |value| column.shown(*value));
    let ratio = row.ratio.get(&column.figure);
    value + &ratio.map_or_else(|| room.to_owned(), |ratio| format!(" ({ratio:.2})"))
}

#[cfg(test)]
mod examples {
    use super::super::plan::{Amount, Beside};
    use super::super::profile::PROFILES;
    use super::super::variant::Variant;
    use super::*;

    pub(in super::super) fn example_plan() -> Plan {
        let variant = |name: &str| Variant::named(name).unwrap();
        Plan {
            profiles: PROFILES.iter().take(1).cloned().collect(),
            variants: vec![variant("default"), variant("memory-queue")],
            rounds: 3,
            amount: Amount::OfProfile,
            beside: Beside::default(),
            seed: 1,
        }
    }

    pub(super) fn report(samples: &[(&str, &str, Sample)]) -> Report {
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
            ratio_to: "default".into(),
            profiles: example_plan().profiles,
            variants: Vec::new(),
            figures: figures(),
            rows: rows(&example_plan(), samples),
            history: Vec::new(),
            bounds: Vec::new(),
            comparison: None,
        }
    }

    pub(super) fn sample(round: u32, cpu: f64) -> Sample {
        Sample {
            round,
            acknowledged: 1,
            figures: Figures::from([(Figure::Cpu, cpu)]),
            ..Sample::default()
        }
    }

    /// Three rounds on a machine that is busier in each of them.
    pub(super) fn samples() -> Vec<(&'static str, &'static str, Sample)> {
        let pairs = [(10.0, 5.0), (20.0, 12.0), (40.0, 16.0)].into_iter().zip(1..);
        let both = pairs.flat_map(|((default, memory), round)| {
            [
                ("10-spans", "default", sample(round, default)),
                ("10-spans", "memory-queue", sample(round, memory)),
            ]
        });
        both.collect()
    }

    pub(in super::super) fn example() -> Report {
        report(&samples())
    }
}

#[cfg(test)]
pub(super) use examples::{example, example_plan};

#[cfg(test)]
mod tests {
    use super::examples::{report, samples};
    use super::*;

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
        samples[0].2.turned_away = 40;
        let table = report(&samples).table();
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("profile   variant"), "{table}");
        assert!(lines[1].contains("s/M spans") && !table.contains("B/span"), "{table}");
        assert!(
            table.contains("10-spans, default, round 1: Tempo turned 40 spans away"),
            "{table}"
        );
        assert!(lines[3].ends_with(" 12.0 (0.50)"), "{table}");
        assert_eq!(lines[2].find("20.0"), lines[3].find("12.0"), "{table}");
        assert_eq!(
            table.matches("not measured: compacted: Tempo 3 has no /flush").count(),
            1
        );
        assert!(table.contains("2 cores, load 0.5 before and 2.5 after"), "{table}");
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let text = serde_json::to_string(&report(&samples())).unwrap();
        assert!(text.contains("\"cpu_seconds_per_million_spans\":0.5"), "{text}");
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(read.rows[1].ratio[&Figure::Cpu], 0.5);
        assert_eq!(read.profiles, example_plan().profiles);
    }
}
