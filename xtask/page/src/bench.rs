//! What `cargo xtask bench` found.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use crate::document::{Document, Versions};
use crate::plot::{Group, Mark, Plot, Row as Line};
use crate::view::{Cell, Column, Failed, Section, Status, Table, Verdict, count, facts, number, thousands};

/// The report, as far as a page shows it.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    versions: Versions,
    machine: Load,
    rounds: u32,
    seconds: f64,
    #[serde(default)]
    profiles: Vec<Profile>,
    #[serde(default)]
    variants: Vec<Variant>,
    #[serde(default)]
    figures: Vec<Figure>,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Load {
    load_before: f64,
    load_after: f64,
}

#[derive(Debug, Deserialize)]
struct Profile {
    name: String,
    spans_per_request: u32,
    spans_per_trace: u32,
    connections: u32,
    /// None at full speed.
    spans_per_second: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Variant {
    name: String,
    about: String,
    /// Settings of Tempo that decide the figures.
    tempo: BTreeMap<String, String>,
}

/// How a figure is told to people.
#[derive(Debug, Clone, Deserialize)]
struct Figure {
    name: String,
    title: String,
    unit: String,
    /// What a value is divided by to have it in that unit.
    scale: f64,
}

#[derive(Debug, Deserialize)]
struct Row {
    profile: String,
    variant: String,
    valid: bool,
    median: Figures,
    ratio: Figures,
    samples: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    round: u32,
    invalid: Vec<String>,
    figures: Figures,
    not_measured: BTreeMap<String, String>,
}

type Figures = BTreeMap<String, f64>;

pub(crate) fn section(id: &str, document: &Document, report: &Report) -> Result<Section> {
    let tables = [
        medians(report),
        rounds(report),
        profiles(report),
        variants(report),
        settings(report),
    ];
    Ok(Section {
        id: id.to_owned(),
        title: "What the stack costs".into(),
        verdict: verdict(report),
        facts: facts(document, &report.versions, report.seconds),
        failures: failures(report),
        plots: plots(report)?,
        tables: tables.into(),
        notes: notes(report),
        parts: Vec::new(),
    })
}

fn verdict(report: &Report) -> Verdict {
    let invalid = report.rows.iter().filter(|row| !row.valid).count();
    let all = count(report.rows.len(), "row");
    let (status, valid) = match invalid {
        0 => (Status::Passed, "all of them valid".to_owned()),
        invalid => (Status::Failed, format!("{invalid} of them not valid")),
    };
    let rounds = count(report.rounds as usize, "round");
    Verdict {
        status,
        text: format!("{all} measured in {rounds}, {valid}"),
    }
}

impl Report {
    fn samples(&self) -> impl Iterator<Item = (&Row, &Sample)> {
        self.rows
            .iter()
            .flat_map(|row| row.samples.iter().map(move |sample| (row, sample)))
    }

    /// How those figures are told that one of these has; one that the report doesn't explain by its name, which has
    /// its unit.
    fn told<'r>(&self, some: impl Iterator<Item = &'r Figures> + Clone) -> Vec<Figure> {
        let there = |figure: &&Figure| some.clone().any(|figures| figures.contains_key(&figure.name));
        let mut told: Vec<Figure> = self.figures.iter().filter(there).cloned().collect();
        for name in some.flat_map(Figures::keys) {
            if told.iter().all(|figure| figure.name != *name) {
                told.push(Figure {
                    name: name.clone(),
                    title: name.replace('_', " "),
                    unit: String::new(),
                    scale: 1.0,
                });
            }
        }
        told
    }
}

fn failures(report: &Report) -> Vec<Failed> {
    let why = report
        .samples()
        .flat_map(|(row, sample)| sample.invalid.iter().map(move |why| (row, sample, why)));
    why.map(|(row, sample, why)| Failed {
        part: String::new(),
        name: format!("{}, {}, round {}", row.profile, row.variant, sample.round),
        detail: why.clone(),
    })
    .collect()
}

/// A value as it is told; a dash if it wasn't measured.
fn shown(figure: &Figure, figures: &Figures) -> String {
    let value = figures.get(&figure.name);
    value.map_or_else(|| "–".into(), |value| number(value / figure.scale))
}

fn figure_columns(figures: &[Figure]) -> impl Iterator<Item = Column> {
    figures.iter().map(|figure| Column::number(&figure.title, &figure.unit))
}

fn medians(report: &Report) -> Table {
    let figures = report.told(report.rows.iter().map(|row| &row.median));
    let rows = report.rows.iter().map(|row| {
        let cells = figures.iter().map(|figure| Cell {
            note: row
                .ratio
                .get(&figure.name)
                .map(|ratio| format!("×{ratio:.2}"))
                .unwrap_or_default(),
            ..Cell::from(shown(figure, &row.median))
        });
        let name = Cell::from(format!("{}, {}", row.profile, row.variant));
        [name].into_iter().chain(cells).collect()
    });
    let first = report
        .rows
        .first()
        .filter(|_| report.rows.iter().any(|row| !row.ratio.is_empty()));
    let ratios = first.map(|row| format!("; × is the ratio to {} in the same round", row.variant));
    Table {
        caption: format!(
            "Medians of {}{}",
            count(report.rounds as usize, "round"),
            ratios.unwrap_or_default()
        ),
        columns: [Column::text("Profile, variant")]
            .into_iter()
            .chain(figure_columns(&figures))
            .collect(),
        rows: rows.collect(),
        folded: false,
    }
}

/// What each round measured.
fn rounds(report: &Report) -> Table {
    let figures = report.told(
        report
            .rows
            .iter()
            .flat_map(|row| &row.samples)
            .map(|sample| &sample.figures),
    );
    let rows = report.samples().map(|(row, sample)| {
        let cells = figures.iter().map(|figure| Cell::from(shown(figure, &sample.figures)));
        let name = format!("{}, {}, {}", row.profile, row.variant, sample.round);
        [Cell::from(name)].into_iter().chain(cells).collect()
    });
    Table {
        caption: "Every round".into(),
        columns: [Column::text("Profile, variant, round")]
            .into_iter()
            .chain(figure_columns(&figures))
            .collect(),
        rows: rows.collect(),
        folded: true,
    }
}

fn profiles(report: &Report) -> Table {
    let rows = report.profiles.iter().map(|profile| {
        let speed = profile.spans_per_second.map_or_else(
            || "as fast as it is answered".into(),
            |rate| format!("{} spans/s, whether or not it is answered", thousands(rate.into())),
        );
        vec![
            Cell::from(&profile.name),
            profile.spans_per_request.to_string().into(),
            profile.spans_per_trace.to_string().into(),
            profile.connections.to_string().into(),
            speed.into(),
        ]
    });
    Table {
        caption: "What is sent: the profiles".into(),
        columns: vec![
            Column::text("Profile"),
            Column::number("spans a request", ""),
            Column::number("spans a trace", ""),
            Column::number("connections", ""),
            Column::text("Speed"),
        ],
        rows: rows.collect(),
        folded: false,
    }
}

fn variants(report: &Report) -> Table {
    let rows = report
        .variants
        .iter()
        .map(|variant| vec![Cell::from(&variant.name), Cell::from(&variant.about)]);
    Table {
        caption: "What is compared: the variants".into(),
        columns: ["Variant", "What is different"].map(Column::text).to_vec(),
        rows: rows.collect(),
        folded: false,
    }
}

fn settings(report: &Report) -> Table {
    let mut keys: Vec<&String> = report
        .variants
        .iter()
        .flat_map(|variant| variant.tempo.keys())
        .collect();
    keys.sort();
    keys.dedup();
    let rows = keys.iter().map(|key| {
        let value = |variant: &Variant| Cell::from(variant.tempo.get(*key).map_or("–", String::as_str));
        [Cell::from(*key)]
            .into_iter()
            .chain(report.variants.iter().map(value))
            .collect()
    });
    Table {
        caption: "Settings of Tempo that decide the figures".into(),
        columns: [Column::text("Key")]
            .into_iter()
            .chain(report.variants.iter().map(|variant| Column::text(&variant.name)))
            .collect(),
        rows: rows.collect(),
        folded: true,
    }
}

fn notes(report: &Report) -> Vec<String> {
    let mut notes = vec![format!(
        "The load of the machine was {} before the bench and {} after it, its own included.",
        report.machine.load_before, report.machine.load_after
    )];
    for (name, why) in report.samples().flat_map(|(_, sample)| &sample.not_measured) {
        let figure = report.figures.iter().find(|figure| figure.name == *name);
        let title = figure.map_or(name, |figure| &figure.title);
        let note = format!("Not measured: {title}: {why}.");
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

/// The plots of what was measured.
pub(crate) fn plots(report: &Report) -> Result<Vec<Plot>> {
    let cpu = |row: &Row| {
        let [collector, tempo] = ["collector", "tempo"].map(|part| format!("{part}_cpu_seconds_per_million_spans"));
        let (collector, tempo) = (*row.median.get(&collector)?, *row.median.get(&tempo)?);
        let label = format!("{:.1} = {collector:.1} + {tempo:.1}", collector + tempo);
        Some((Mark::Bar(vec![collector, tempo]), label))
    };
    let throughput = |row: &Row| {
        let value = *row.median.get("acknowledged_spans_per_second")?;
        Some((Mark::Bar(vec![value]), thousands(value)))
    };
    let range = |row: &Row, what: &str| {
        let [median, p99] = ["median", "p99"].map(|of| row.median.get(&format!("{what}_{of}_seconds")));
        Some((*median?, *p99?))
    };
    let found = |row: &Row| {
        let (id, search) = (range(row, "found_by_id")?, range(row, "found_by_search")?);
        let label = format!(
            "{} to {}, {} to {}",
            number(id.0),
            number(id.1),
            number(search.0),
            number(search.1)
        );
        Some((Mark::Ranges(vec![id, search]), label))
    };
    let answer = |row: &Row| {
        let (median, p99) = range(row, "answer")?;
        let (median, p99) = (median * 1e3, p99 * 1e3);
        Some((
            Mark::Ranges(vec![(median, p99)]),
            format!("{} to {}", number(median), number(p99)),
        ))
    };
    let all = [
        Plot::marks(
            "cpu",
            "CPU time for a million spans",
            "CPU-seconds; less is better",
            &["Collector", "Tempo"],
            &groups(report, cpu),
        )?,
        Plot::marks(
            "throughput",
            "Acknowledged spans",
            "spans a second, on cores that the sender shares; more is better",
            &[],
            &groups(report, throughput),
        )?,
        Plot::marks(
            "found",
            "From the acknowledgement until a trace is found",
            "seconds, median to 99th percentile; less is better",
            &["by its id", "by a search"],
            &groups(report, found),
        )?,
        Plot::marks(
            "answer",
            "From the request to its answer",
            "milliseconds, median to 99th percentile; less is better",
            &[],
            &groups(report, answer),
        )?,
    ];
    Ok(all.into_iter().flatten().collect())
}

/// A group for each profile, with a line for each of its variants that has the figures.
fn groups(report: &Report, mark: impl Fn(&Row) -> Option<(Mark, String)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in &report.rows {
        let Some((mark, label)) = mark(row) else { continue };
        let line = Line {
            name: row.variant.clone(),
            mark,
            label,
        };
        match groups.iter_mut().find(|group| group.name == row.profile) {
            Some(group) => group.rows.push(line),
            None => groups.push(Group {
                name: row.profile.clone(),
                rows: vec![line],
            }),
        }
    }
    groups
}
