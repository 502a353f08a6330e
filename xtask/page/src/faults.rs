//! What `cargo xtask faults` found.

use anyhow::Result;
use serde::Deserialize;

use crate::document::{Document, Versions};
use crate::plot::{Group, Line, Mark, Plot, Row};
use crate::view::{
    Cell, Column, Failed, Part, Section, Status, Table, Verdict, count, duration, facts, number, thousands,
};

/// The report, as far as a page shows it.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    backend: String,
    versions: Versions,
    seconds: f64,
    faults: Vec<Fault>,
    soak: Option<Soak>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Kept,
    Broken,
    Skipped,
}

impl Outcome {
    fn status(self) -> Status {
        match self {
            Outcome::Kept => Status::Passed,
            Outcome::Broken => Status::Failed,
            Outcome::Skipped => Status::Skipped,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Outcome::Kept => "kept",
            Outcome::Broken => "broken",
            Outcome::Skipped => "skipped",
        }
    }
}

#[derive(Debug, Deserialize)]
struct Fault {
    name: String,
    does: String,
    promise: String,
    lost_at_most: Option<u64>,
    status: Outcome,
    proof: Option<String>,
    detail: String,
    spans: Option<Spans>,
    late: Option<Late>,
    recovered_seconds: Option<f64>,
    recovers: Recovers,
}

#[derive(Debug, Deserialize)]
struct Spans {
    acknowledged: u64,
    refused: u64,
    unknown: u64,
    found: u64,
    lost: u64,
    duplicates: u64,
}

#[derive(Debug, Deserialize)]
struct Late {
    median: f64,
    p99: f64,
    longest: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Recovers {
    ByItself,
    ByHand(String),
}

#[derive(Debug, Deserialize)]
struct Soak {
    seconds: f64,
    rate: f64,
    kept: bool,
    broken: Vec<String>,
    lost_at_most: u64,
    spans: Spans,
    late: Option<Late>,
    checked_again: u64,
    gone: u64,
    faults: Vec<SoakFault>,
    memory: Vec<Trend>,
}

#[derive(Debug, Deserialize)]
struct SoakFault {
    at: f64,
    name: String,
    proof: Option<String>,
    recovered_seconds: Option<f64>,
    lost_at_most: u64,
    detail: String,
}

#[derive(Debug, Deserialize)]
struct Trend {
    process: String,
    samples: Vec<(f64, u64)>,
    early: u64,
    late: u64,
    flat: Option<bool>,
}

pub(crate) fn section(id: &str, document: &Document, report: &Report) -> Result<Section> {
    let soak = format!("{id}-soak");
    let broken = report.faults.iter().filter(|fault| fault.status == Outcome::Broken);
    let mut failures: Vec<Failed> = broken
        .map(|fault| Failed {
            part: String::new(),
            name: fault.name.clone(),
            detail: fault.detail.clone(),
        })
        .collect();
    failures.extend(report.soak.iter().flat_map(|soak| &soak.broken).map(|why| Failed {
        part: soak.clone(),
        name: "soak".into(),
        detail: why.clone(),
    }));
    Ok(Section {
        id: id.to_owned(),
        title: match &report.soak {
            Some(soak) => format!("A soak of {}, {} backend", duration(soak.seconds), report.backend),
            None => format!("What is lost when something breaks, {} backend", report.backend),
        },
        verdict: verdict(report),
        facts: facts(document, &report.versions, report.seconds),
        failures,
        plots: plots(report)?,
        tables: vec![happened(report), skipped(report)],
        notes: Vec::new(),
        parts: report.soak.iter().map(|found| part(soak.clone(), found)).collect(),
    })
}

fn verdict(report: &Report) -> Verdict {
    let number = |outcome| report.faults.iter().filter(|fault| fault.status == outcome).count();
    let (kept, broken, skipped) = (number(Outcome::Kept), number(Outcome::Broken), number(Outcome::Skipped));
    let lost: u64 = report
        .faults
        .iter()
        .filter_map(|fault| Some(fault.spans.as_ref()?.lost))
        .sum();
    let mut said = Vec::new();
    if !report.faults.is_empty() {
        said.push(format!(
            "{} kept the promise, {broken} broke it, {skipped} skipped; {} acknowledged and lost",
            count(kept, "fault"),
            spans(lost)
        ));
    }
    if let Some(soak) = &report.soak {
        let word = if soak.kept { "kept" } else { "broken" };
        said.push(format!(
            "promise {word} with {}: {} of {} acknowledged and lost",
            count(soak.faults.len(), "fault"),
            thousands(soak.spans.lost as f64),
            spans(soak.spans.acknowledged)
        ));
    }
    let soak = report.soak.as_ref().map(|soak| soak.kept);
    let status = match (broken, soak) {
        (0, Some(true)) => Status::Passed,
        (0, None) if kept > 0 => Status::Passed,
        (0, None) => Status::Skipped,
        _ => Status::Failed,
    };
    Verdict {
        status,
        text: said.join("; "),
    }
}

fn spans(n: u64) -> String {
    format!("{} span{}", thousands(n as f64), if n == 1 { "" } else { "s" })
}

fn seconds(value: Option<f64>) -> Cell {
    Cell::from(value.map_or_else(|| "–".into(), number))
}

/// The faults that were made, or should have been.
fn happened(report: &Report) -> Table {
    let rows = report
        .faults
        .iter()
        .filter(|fault| fault.status != Outcome::Skipped)
        .map(|fault| {
            let spans = |of: fn(&Spans) -> u64| {
                let spans = fault.spans.as_ref();
                spans.map_or_else(|| "–".into(), |spans| thousands(of(spans) as f64))
            };
            let whom = match &fault.recovers {
                Recovers::ByItself => "by itself",
                Recovers::ByHand(action) => action,
            };
            let bound = fault
                .lost_at_most
                .map(|most| format!("of at most {}", thousands(most as f64)));
            let late = fault.late.as_ref();
            let longest = late.map(|late| format!("at most {}", number(late.longest)));
            vec![
                Cell {
                    note: fault.does.clone(),
                    ..Cell::from(&fault.name)
                },
                Cell {
                    note: fault.promise.clone(),
                    ..Cell::status(fault.status.status(), fault.status.word())
                },
                Cell::from(fault.proof.as_deref().unwrap_or("not proved")),
                Cell::from(spans(|spans| spans.acknowledged)),
                Cell {
                    note: bound.unwrap_or_default(),
                    ..Cell::from(spans(|spans| spans.lost))
                },
                Cell::from(spans(|spans| spans.refused)),
                Cell {
                    note: longest.unwrap_or_default(),
                    ..seconds(late.map(|late| late.median))
                },
                seconds(fault.recovered_seconds),
                Cell::from(whom),
            ]
        });
    Table {
        caption: "Every fault: how it was proved, what was lost, and how the stack got well again".into(),
        columns: vec![
            Column::text("Fault"),
            Column::text("Promise"),
            Column::text("What shows that it happened"),
            Column::number("acknowledged", "spans"),
            Column::number("lost", "spans"),
            Column::number("refused", "spans"),
            Column::number("found after", "s, median"),
            Column::number("recovered in", "s"),
            Column::text("By whom"),
        ],
        rows: rows.collect(),
        folded: false,
    }
}

fn skipped(report: &Report) -> Table {
    let skipped = report.faults.iter().filter(|fault| fault.status == Outcome::Skipped);
    let rows = skipped.map(|fault| {
        let name = Cell {
            note: fault.does.clone(),
            ..Cell::from(&fault.name)
        };
        vec![name, Cell::from(&fault.detail)]
    });
    Table {
        caption: "Skipped: this machine can't make them, so they prove nothing".into(),
        columns: ["Fault", "Why"].map(Column::text).to_vec(),
        rows: rows.collect(),
        folded: false,
    }
}

fn part(id: String, soak: &Soak) -> Part {
    let Spans {
        acknowledged,
        refused,
        unknown,
        found,
        lost,
        duplicates,
    } = soak.spans;
    let mut counts = vec![
        ("acknowledged", thousands(acknowledged as f64)),
        ("acknowledged and lost", thousands(lost as f64)),
        (
            "may be lost: the sum of what each fault may cost",
            thousands(soak.lost_at_most as f64),
        ),
        ("refused, which the sender knows", thousands(refused as f64)),
        ("sent and not answered for", thousands(unknown as f64)),
        ("found at the end", thousands(found as f64)),
        ("found more than once", thousands(duplicates as f64)),
    ];
    let gone = format!(
        "{} of {}",
        thousands(soak.gone as f64),
        thousands(soak.checked_again as f64)
    );
    counts.push(("traces that were found and are gone at the end", gone));
    if let Some(late) = &soak.late {
        let late = format!(
            "{}, {}, {}",
            number(late.median),
            number(late.p99),
            number(late.longest)
        );
        counts.push(("found after so many seconds: median, 99th percentile, longest", late));
    }
    let counts = Table {
        caption: "What became of the spans".into(),
        columns: vec![Column::text("What"), Column::number("Count", "")],
        rows: counts
            .into_iter()
            .map(|(what, value)| vec![Cell::from(what), Cell::from(value)])
            .collect(),
        folded: false,
    };
    let memory = soak.memory.iter().map(|trend| {
        let mebibytes = |bytes: u64| Cell::from(number(bytes as f64 / MIB));
        let (status, word) = match trend.flat {
            Some(true) => (Status::Passed, "flat"),
            Some(false) => (Status::Failed, "grows"),
            None => (Status::Skipped, "too short to say"),
        };
        let verdict = Cell::status(status, word);
        vec![
            Cell::from(&trend.process),
            mebibytes(trend.early),
            mebibytes(trend.late),
            verdict,
        ]
    });
    let memory = Table {
        caption: "Resident memory".into(),
        columns: vec![
            Column::text("Process"),
            Column::number("second quarter", "MiB, median"),
            Column::number("last quarter", "MiB, median"),
            Column::text("Trend"),
        ],
        rows: memory.collect(),
        folded: false,
    };
    let faults = soak.faults.iter().map(|fault| {
        let seen = match &fault.proof {
            Some(proof) if fault.detail.is_empty() => proof,
            _ => &fault.detail,
        };
        vec![
            Cell::from(&fault.name),
            Cell::from(number(fault.at.round())),
            Cell::from(seen),
            seconds(fault.recovered_seconds),
            Cell::from(thousands(fault.lost_at_most as f64)),
        ]
    });
    let faults = Table {
        caption: format!("{}, in their order", count(soak.faults.len(), "fault")),
        columns: vec![
            Column::text("Fault"),
            Column::number("at", "s"),
            Column::text("What shows that it happened"),
            Column::number("recovered in", "s"),
            Column::number("may cost", "spans"),
        ],
        rows: faults.collect(),
        folded: false,
    };
    Part {
        id,
        title: "Soak".into(),
        status: if soak.kept { Status::Passed } else { Status::Failed },
        note: format!("{} at {} spans/s", duration(soak.seconds), number(soak.rate)),
        lead: String::new(),
        tables: vec![counts, memory, faults],
    }
}

const MIB: f64 = 1024.0 * 1024.0;

/// The plots of what was found.
pub(crate) fn plots(report: &Report) -> Result<Vec<Plot>> {
    let rows = report.faults.iter().filter_map(|fault| {
        let seconds = fault.recovered_seconds?;
        Some(Row {
            name: fault.name.clone(),
            mark: Mark::Bar(vec![seconds]),
            label: number(seconds),
        })
    });
    let rows = Group {
        name: String::new(),
        rows: rows.collect(),
    };
    let recovered = Plot::marks(
        "recovered",
        "From the end of a fault to a stack that is well again",
        "seconds; less is better",
        &[],
        &[rows],
    )?;
    let lines = report.soak.iter().flat_map(|soak| &soak.memory).map(|trend| Line {
        name: trend.process.clone(),
        points: trend
            .samples
            .iter()
            .map(|(at, bytes)| (at / 60.0, *bytes as f64 / MIB))
            .collect(),
    });
    let lines: Vec<Line> = lines.collect();
    let memory = Plot::lines("memory", "Resident memory in the soak", "MiB, over minutes", &lines)?;
    Ok([recovered, memory].into_iter().flatten().collect())
}
