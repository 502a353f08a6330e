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
    #[serde(default)]
    history: Vec<Earlier>,
    #[serde(default)]
    bounds: Vec<Bound>,
    comparison: Option<Comparison>,
}

/// What a row cost before there was a bench.
#[derive(Debug, Deserialize)]
struct Earlier {
    profile: String,
    variant: String,
    collector_cpu_seconds_per_million_spans: f64,
    tempo_cpu_seconds_per_million_spans: f64,
}

/// A ratio of this run beside the most that it may be.
#[derive(Debug, Deserialize)]
struct Bound {
    profile: String,
    figure: String,
    variant: String,
    to: String,
    then: Option<f64>,
    ratio: f64,
    goal: Option<f64>,
    at_most: f64,
    holds: bool,
}

/// An earlier run and what is different now.
#[derive(Debug, Deserialize)]
struct Comparison {
    command: String,
    rows: Vec<Compared>,
}

#[derive(Debug, Deserialize)]
struct Compared {
    profile: String,
    variant: String,
    figures: BTreeMap<String, Change>,
}

#[derive(Debug, Deserialize)]
struct Change {
    old: f64,
    new: f64,
    ratio: Option<f64>,
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
    /// Spans that Tempo turned away and the Collector sent again.
    #[serde(default)]
    turned_away: u64,
    invalid: Vec<String>,
    figures: Figures,
    not_measured: BTreeMap<String, String>,
}

type Figures = BTreeMap<String, f64>;

/// Figures beside each other.
const COLUMNS: usize = 9;

pub(crate) fn section(id: &str, document: &Document, report: &Report) -> Result<Section> {
    let mut tables = vec![bounds(report)];
    tables.extend(medians(report));
    tables.extend([history(report), comparison(report)]);
    tables.extend(rounds(report));
    tables.extend([profiles(report), variants(report), settings(report)]);
    Ok(Section {
        id: id.to_owned(),
        title: "What the stack costs".into(),
        verdict: verdict(report),
        facts: facts(document, &report.versions, report.seconds),
        failures: failures(report),
        plots: plots(report)?,
        tables,
        notes: notes(report),
        parts: Vec::new(),
    })
}

fn verdict(report: &Report) -> Verdict {
    let invalid = report.rows.iter().filter(|row| !row.valid).count();
    let broken = report.bounds.iter().filter(|bound| !bound.holds).count();
    let status = if invalid + broken == 0 {
        Status::Passed
    } else {
        Status::Failed
    };
    let valid = match invalid {
        0 => "all of them valid".to_owned(),
        invalid => format!("{invalid} of them not valid"),
    };
    let bounds = match (report.bounds.len(), broken) {
        (0, _) => String::new(),
        (all, 0) => format!("; {} kept", count(all, "bound")),
        (all, broken) => format!("; {broken} of {} broken", count(all, "bound")),
    };
    let (rows, rounds) = (count(report.rows.len(), "row"), count(report.rounds as usize, "round"));
    Verdict {
        status,
        text: format!("{rows} measured in {rounds}, {valid}{bounds}"),
    }
}

impl Report {
    fn samples(&self) -> impl Iterator<Item = (&Row, &Sample)> {
        self.rows
            .iter()
            .flat_map(|row| row.samples.iter().map(move |sample| (row, sample)))
    }

    /// What a figure is called.
    fn title(&self, name: &str) -> String {
        let figure = self.figures.iter().find(|figure| figure.name == name);
        figure.map_or_else(|| name.replace('_', " "), |figure| figure.title.clone())
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
    let broken = report.bounds.iter().filter(|bound| !bound.holds).map(|bound| Failed {
        part: String::new(),
        name: format!("{}, {}", bound.profile, report.title(&bound.figure)),
        detail: format!(
            "{} of {} to {}, and at most {}",
            number(bound.ratio),
            bound.variant,
            bound.to,
            bound.at_most
        ),
    });
    let why = report
        .samples()
        .flat_map(|(row, sample)| sample.invalid.iter().map(move |why| (row, sample, why)));
    let why = why.map(|(row, sample, why)| Failed {
        part: String::new(),
        name: format!("{}, {}, round {}", row.profile, row.variant, sample.round),
        detail: why.clone(),
    });
    why.chain(broken).collect()
}

/// A row of figures: its name, the figures, and ratios of them.
type Told<'r> = (String, &'r Figures, Option<&'r Figures>);

/// Rows of figures, in as many tables as it takes to read each without scrolling on a desk or on paper.
fn tables(report: &Report, caption: &str, name: &str, rows: &[Told], folded: bool) -> Vec<Table> {
    let figures = report.told(rows.iter().map(|(_, figures, _)| *figures));
    let several = figures.len() > COLUMNS;
    let table = |figures: &[Figure]| {
        let rows = rows.iter().map(|(name, values, ratios)| {
            let cells = figures.iter().map(|figure| {
                let value = values.get(&figure.name).map(|value| number(value / figure.scale));
                let ratio = ratios.and_then(|ratios| ratios.get(&figure.name));
                Cell {
                    note: ratio.map(|ratio| format!("×{ratio:.2}")).unwrap_or_default(),
                    ..Cell::from(value.as_deref().unwrap_or("–"))
                }
            });
            [Cell::from(name)].into_iter().chain(cells).collect()
        });
        let columns = figures.iter().map(|figure| Column::number(&figure.title, &figure.unit));
        let which = figures.first().zip(figures.last()).filter(|_| several);
        let which = which.map(|(first, last)| format!(", {} to {}", first.title, last.title));
        Table {
            caption: format!("{caption}{}", which.unwrap_or_default()),
            columns: [Column::text(name)].into_iter().chain(columns).collect(),
            rows: rows.collect(),
            folded,
        }
    };
    figures.chunks(COLUMNS).map(table).collect()
}

fn medians(report: &Report) -> Vec<Table> {
    let first = report
        .rows
        .first()
        .filter(|_| report.rows.iter().any(|row| !row.ratio.is_empty()));
    let ratios = first.map(|row| format!(", × the ratio to {} in the same round", row.variant));
    let rounds = count(report.rounds as usize, "round");
    let caption = format!("Medians of {rounds}{}", ratios.unwrap_or_default());
    let name = |row: &Row| format!("{}, {}", row.profile, row.variant);
    let rows = report.rows.iter().map(|row| (name(row), &row.median, Some(&row.ratio)));
    tables(report, &caption, "Profile, variant", &rows.collect::<Vec<_>>(), false)
}

fn rounds(report: &Report) -> Vec<Table> {
    let name = |row: &Row, round: u32| format!("{}, {}, {round}", row.profile, row.variant);
    let rows = report
        .samples()
        .map(|(row, sample)| (name(row, sample.round), &sample.figures, None));
    tables(
        report,
        "Every round",
        "Profile, variant, round",
        &rows.collect::<Vec<_>>(),
        true,
    )
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

fn bounds(report: &Report) -> Table {
    let rows = report.bounds.iter().map(|bound| {
        let ratio = |ratio: Option<f64>| Cell::from(ratio.map_or_else(|| "–".into(), |ratio| format!("{ratio:.2}")));
        let (status, word) = if bound.holds {
            (Status::Passed, "kept")
        } else {
            (Status::Failed, "broken")
        };
        vec![
            Cell::from(format!("{}, {}", bound.profile, report.title(&bound.figure))),
            Cell::from(format!("{} to {}", bound.variant, bound.to)),
            ratio(bound.then),
            ratio(Some(bound.ratio)),
            ratio(bound.goal),
            ratio(Some(bound.at_most)),
            Cell::status(status, word),
        ]
    });
    let number = |title| Column::number(title, "");
    Table {
        caption: "Ratios that are bounded".into(),
        columns: vec![
            Column::text("Profile, figure"),
            Column::text("Variants"),
            number("before there was a bench"),
            number("now"),
            number("goal"),
            number("at most"),
            Column::text("Bound"),
        ],
        rows: rows.collect(),
        folded: false,
    }
}

fn history(report: &Report) -> Table {
    let rows = report.history.iter().filter_map(|then| {
        let now = report
            .rows
            .iter()
            .find(|row| (&row.profile, &row.variant) == (&then.profile, &then.variant))?;
        let (collector, tempo) = cpu(&now.median)?;
        let (old_collector, old_tempo) = (
            then.collector_cpu_seconds_per_million_spans,
            then.tempo_cpu_seconds_per_million_spans,
        );
        let figures = [
            old_collector,
            old_tempo,
            old_collector + old_tempo,
            collector,
            tempo,
            collector + tempo,
        ];
        let name = Cell::from(format!("{}, {}", now.profile, now.variant));
        Some(
            [name]
                .into_iter()
                .chain(figures.map(|seconds| Cell::from(number(seconds))))
                .collect(),
        )
    });
    let figures = ["then", "now"].iter().flat_map(|when| {
        ["Collector", "Tempo", "both"].map(|what| Column::number(&format!("{what} {when}"), "s/M spans"))
    });
    Table {
        caption: "CPU before there was a bench, of smaller spans, and now: compare the ratios".into(),
        columns: [Column::text("Profile, variant")].into_iter().chain(figures).collect(),
        rows: rows.collect(),
        folded: true,
    }
}

fn comparison(report: &Report) -> Table {
    let rows = report.comparison.iter().flat_map(|comparison| &comparison.rows);
    let rows = rows.flat_map(|row| row.figures.iter().map(move |(name, change)| (row, name, change)));
    let rows = rows.map(|(row, name, change)| {
        let figure = report.figures.iter().find(|figure| figure.name == *name);
        let (unit, scale) = figure.map_or(("", 1.0), |figure| (&figure.unit, figure.scale));
        vec![
            Cell::from(format!("{}, {}, {}", row.profile, row.variant, report.title(name))),
            Cell::from(number(change.old / scale)),
            Cell::from(number(change.new / scale)),
            Cell::from(unit),
            Cell::from(change.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default()),
        ]
    });
    let command = report.comparison.as_ref().map(|comparison| comparison.command.as_str());
    Table {
        caption: format!("Beside an earlier run, {}", command.unwrap_or_default()),
        columns: vec![
            Column::text("Profile, variant, figure"),
            Column::number("then", ""),
            Column::number("now", ""),
            Column::text("Unit"),
            Column::number("now to then", ""),
        ],
        rows: rows.collect(),
        folded: false,
    }
}

/// CPU of the Collector and of Tempo.
fn cpu(figures: &Figures) -> Option<(f64, f64)> {
    let [collector, tempo] = ["collector", "tempo"].map(|part| format!("{part}_cpu_seconds_per_million_spans"));
    Some((*figures.get(&collector)?, *figures.get(&tempo)?))
}

fn notes(report: &Report) -> Vec<String> {
    let mut notes = vec![format!(
        "The load of the machine was {} before the bench and {} after it, its own included.",
        report.machine.load_before, report.machine.load_after
    )];
    let turned_away: u64 = report.samples().map(|(_, sample)| sample.turned_away).sum();
    if turned_away > 0 {
        notes.push(format!("Tempo turned {turned_away} spans away, which were sent again."));
    }
    for (name, why) in report.samples().flat_map(|(_, sample)| &sample.not_measured) {
        let note = format!("Not measured: {}: {why}.", report.title(name));
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

/// The plots of what was measured.
pub(crate) fn plots(report: &Report) -> Result<Vec<Plot>> {
    let cpu = |row: &Row| {
        let (collector, tempo) = cpu(&row.median)?;
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
        let label = [id, search]
            .map(|(median, p99)| format!("{median:.2} to {p99:.2}"))
            .join(", ");
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
