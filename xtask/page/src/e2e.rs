//! What `cargo xtask e2e` found.

use serde::Deserialize;

use crate::document::{Document, Versions};
use crate::view::{Cell, Column, Failed, Part, Section, Status, Table, Verdict, count, duration, facts, number};

/// The report, as far as a page shows it.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    backend: String,
    versions: Versions,
    seconds: f64,
    scenarios: Vec<Scenario>,
}

#[derive(Debug, Deserialize)]
struct Scenario {
    name: String,
    #[serde(default)]
    proves: String,
    status: Status,
    seconds: f64,
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Check {
    name: String,
    status: Status,
    detail: String,
    value: Option<f64>,
    unit: Option<String>,
}

impl Check {
    /// The value with its unit; empty if nothing was measured.
    fn measured(&self) -> String {
        let unit = self.unit.as_deref().unwrap_or_default();
        self.value
            .map(|value| format!("{} {unit}", number(value)))
            .unwrap_or_default()
    }
}

impl Scenario {
    fn with(&self, status: Status) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.status == status)
    }

    fn id(&self, section: &str, n: usize) -> String {
        format!("{section}-scenario-{}", n + 1)
    }
}

pub(crate) fn section(id: &str, document: &Document, report: &Report) -> Section {
    let parts = report.scenarios.iter().enumerate();
    let failures = parts.clone().flat_map(|(n, scenario)| {
        scenario.with(Status::Failed).map(move |check| Failed {
            part: scenario.id(id, n),
            name: format!("{}: {}", scenario.name, check.name),
            detail: check.detail.clone(),
        })
    });
    Section {
        id: id.to_owned(),
        title: format!("End-to-end proof, {} backend", report.backend),
        verdict: verdict(report),
        facts: facts(document, &report.versions, report.seconds),
        failures: failures.collect(),
        plots: Vec::new(),
        tables: vec![overview(id, report)],
        notes: Vec::new(),
        parts: parts.map(|(n, scenario)| part(scenario.id(id, n), scenario)).collect(),
    }
}

fn verdict(report: &Report) -> Verdict {
    let number = |status| report.scenarios.iter().filter(|s| s.status == status).count();
    let (failed, skipped, all) = (number(Status::Failed), number(Status::Skipped), report.scenarios.len());
    let checks = |status| report.scenarios.iter().map(|s| s.with(status).count()).sum::<usize>();
    let (status, text) = match (failed, number(Status::Passed)) {
        (0, 0) => (Status::Skipped, "Nothing was checked".to_owned()),
        (0, passed) => (Status::Passed, format!("{} passed", count(passed, "scenario"))),
        (failed, _) => (Status::Failed, format!("{failed} of {} failed", count(all, "scenario"))),
    };
    let skipped = match skipped {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    Verdict {
        status,
        text: format!(
            "{text}{skipped}: {} passed, {} failed, {} skipped",
            count(checks(Status::Passed), "check"),
            checks(Status::Failed),
            checks(Status::Skipped)
        ),
    }
}

fn overview(id: &str, report: &Report) -> Table {
    let number = |title| Column::number(title, "");
    let rows = report.scenarios.iter().enumerate().map(|(n, scenario)| {
        let count = |status| Cell::from(scenario.with(status).count().to_string());
        let name = Cell {
            part: scenario.id(id, n),
            ..Cell::from(&scenario.name)
        };
        vec![
            name,
            Cell::status(scenario.status, scenario.status.word()),
            count(Status::Passed),
            count(Status::Failed),
            count(Status::Skipped),
            count(Status::Measured),
            Cell::from(format!("{:.1}", scenario.seconds)),
        ]
    });
    Table {
        caption: "Scenarios, with the number of their checks and measurements".into(),
        columns: vec![
            Column::text("Scenario"),
            Column::text("Outcome"),
            number("passed"),
            number("failed"),
            number("skipped"),
            number("measured"),
            Column::number("took", "s"),
        ],
        rows: rows.collect(),
        folded: false,
    }
}

fn part(id: String, scenario: &Scenario) -> Part {
    let table = |status, one: &str, many: &str, columns: [&str; 2], folded| {
        let checks: Vec<&Check> = scenario.with(status).collect();
        let rows = checks.iter().map(|check| {
            let seen = Cell {
                lead: check.measured(),
                ..Cell::from(&check.detail)
            };
            vec![Cell::from(&check.name), seen]
        });
        Table {
            caption: format!("{} {}", checks.len(), if checks.len() == 1 { one } else { many }),
            columns: columns.map(Column::text).to_vec(),
            rows: rows.collect(),
            folded,
        }
    };
    let tables = [
        table(
            Status::Failed,
            "check failed",
            "checks failed",
            ["Check", "What was seen"],
            false,
        ),
        table(
            Status::Measured,
            "measurement",
            "measurements",
            ["What", "Measured"],
            false,
        ),
        table(
            Status::Skipped,
            "check skipped: it proves nothing here",
            "checks skipped: they prove nothing here",
            ["Check", "Why"],
            false,
        ),
        table(
            Status::Passed,
            "check passed",
            "checks passed",
            ["Check", "What was seen"],
            true,
        ),
    ];
    Part {
        id,
        title: scenario.name.clone(),
        status: scenario.status,
        note: duration(scenario.seconds),
        lead: scenario.proves.clone(),
        tables: tables.into(),
    }
}
