//! What the template is given: words, tables, plots. Numbers are text here, with their units.

use serde::Serialize;

use crate::document::{Document, Versions};
use crate::plot::Plot;

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Passed,
    Failed,
    Skipped,
    Measured,
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Status::Passed => "passed",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
            Status::Measured => "measured",
        }
    }
}

/// The whole page.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    title: String,
    verdict: Verdict,
    sections: Vec<Section>,
}

/// What a reader must know first.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub status: Status,
    pub text: String,
}

/// A report.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    /// What links name.
    pub id: String,
    pub title: String,
    pub verdict: Verdict,
    pub facts: Vec<Fact>,
    /// What made it fail, each with a link to where more is said.
    pub failures: Vec<Failed>,
    pub plots: Vec<Plot>,
    pub tables: Vec<Table>,
    /// What the tables can't say, a sentence each.
    pub notes: Vec<String>,
    pub parts: Vec<Part>,
}

/// A fact about the run.
#[derive(Debug, Serialize)]
pub(crate) struct Fact {
    name: &'static str,
    value: String,
    /// Whether it is something to be typed.
    code: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Failed {
    /// The id of a part; empty if there is none.
    pub part: String,
    pub name: String,
    pub detail: String,
}

/// A part of a report with a heading of its own.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    pub id: String,
    pub title: String,
    pub status: Status,
    /// Some words behind the heading.
    pub note: String,
    pub lead: String,
    pub tables: Vec<Table>,
}

/// A table whose first column names its rows.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub caption: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
    /// Whether its rows are seen only by those who ask for them.
    pub folded: bool,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Column {
    pub title: String,
    pub unit: String,
    /// Whether it holds numbers, which stand to the right.
    pub number: bool,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Cell {
    /// What stands out before the text.
    pub lead: String,
    pub text: String,
    /// What is said more quietly behind the text.
    pub note: String,
    pub status: Option<Status>,
    /// The id of a part that says more; empty if there is none.
    pub part: String,
}

impl Page {
    /// A page of these; what would be an empty table is left out.
    pub(crate) fn new(mut sections: Vec<Section>) -> Page {
        for section in &mut sections {
            section.tables.retain(Table::has_rows);
            for part in &mut section.parts {
                part.tables.retain(Table::has_rows);
            }
        }
        let failed = sections.iter().filter(|s| s.verdict.status == Status::Failed).count();
        let skipped = sections.iter().all(|s| s.verdict.status == Status::Skipped);
        let verdict = match (sections.as_slice(), failed) {
            ([one], _) => one.verdict.clone(),
            (all, 0) if skipped => Verdict {
                status: Status::Skipped,
                text: format!("Nothing was checked in {} reports", all.len()),
            },
            (all, 0) => Verdict {
                status: Status::Passed,
                text: format!("All {} reports passed", all.len()),
            },
            (all, failed) => Verdict {
                status: Status::Failed,
                text: format!("{failed} of {} reports failed", all.len()),
            },
        };
        let title = match sections.as_slice() {
            [one] => one.title.clone(),
            _ => "Reports".into(),
        };
        Page {
            title,
            verdict,
            sections,
        }
    }
}

impl Table {
    fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }
}

impl Column {
    pub(crate) fn text(title: &str) -> Column {
        Column {
            title: title.into(),
            ..Column::default()
        }
    }

    pub(crate) fn number(title: &str, unit: &str) -> Column {
        Column {
            title: title.into(),
            unit: unit.into(),
            number: true,
        }
    }
}

impl Cell {
    /// How something ended, in a word.
    pub(crate) fn status(status: Status, word: &str) -> Cell {
        Cell {
            status: Some(status),
            ..Cell::from(word)
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell {
            text: text.into(),
            ..Cell::default()
        }
    }
}

/// What ran, for every kind of report.
pub(crate) fn facts(document: &Document, versions: &Versions, seconds: f64) -> Vec<Fact> {
    let run = document.run();
    let host = &run.host;
    let memory = host.memory_bytes.map(|bytes| {
        let gibibytes = bytes as f64 / f64::from(1 << 30);
        format!("{gibibytes:.1} GiB of memory")
    });
    let machine = [
        host.cores.map(|cores| count(cores, "core")),
        memory,
        host.processor.clone(),
        host.system.clone(),
    ];
    let machine: Vec<String> = machine.into_iter().flatten().collect();
    let versions: Vec<String> = versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let text = |name, value| Fact {
        name,
        value,
        code: false,
    };
    let code = |name, value| Fact {
        name,
        value,
        code: true,
    };
    let mut facts = vec![
        code("Command", run.command.clone()),
        text("Started", run.started.clone()),
        text("Took", duration(seconds)),
        text("Programs", versions.join(", ")),
        text("Machine", machine.join(", ")),
        code("Seed", run.seed.to_string()),
    ];
    if let Some(commit) = &run.commit {
        facts.push(code("Commit", commit.clone()));
    }
    facts.retain(|fact| !fact.value.is_empty());
    facts
}

/// `1 check`, `2 checks`.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `12.3 s`, `3 min 44 s`, `2 h 5 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `43,800`.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with three digits that say something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => thousands(value),
        10.0.. => format!("{value:.1}"),
        0.0 => "0".into(),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_numbers_are_read_at_a_glance() {
        let all = [0.04, 59.4, 59.96, 224.0, 7500.0].map(duration);
        assert_eq!(all, ["0.0 s", "59.4 s", "1 min 0 s", "3 min 44 s", "2 h 5 min"]);
        let all = [0.0, 0.1234, 3.0, 3.456, 34.56, 5530.4].map(number);
        assert_eq!(all, ["0", "0.123", "3", "3.46", "34.6", "5,530"]);
        assert_eq!([7.0, 1000.0, 1_234_567.0].map(thousands), ["7", "1,000", "1,234,567"]);
    }
}
