//! Reports for people: what `e2e`, `bench` and `faults` found, as one HTML page that needs no network.
//!
//! One direction: a [`document`] is what a run writes as JSON, a [`view`] of it is words, tables and [`plot`]s, and
//! the template `ci/templates/report.html.tera` lays them out. A page is always made from the JSON, so that one that
//! a run writes and one that is made later are the same.

mod bench;
pub mod document;
mod e2e;
mod faults;
pub mod plot;
mod view;

use std::path::Path;

use anyhow::{Context, Result};
use kit::whole_file::{self, Mode};
use tera::{Context as Data, Tera};

use crate::document::{Body, Document};
use crate::plot::Plot;
use crate::view::{Page, Section};

/// How the page is laid out; its data is a [`Page`].
const TEMPLATE: &str = include_str!("../../../ci/templates/report.html.tera");
/// How it looks.
const STYLE: &str = include_str!("../../../ci/templates/report.css");

/// Writes one page about these reports, in their order.
///
/// # Errors
/// A report that hasn't the keys of its format, and whatever keeps the file from being written.
pub fn write(file: &Path, documents: &[Document]) -> Result<()> {
    whole_file::write(file, html(documents)?, Mode::Everybody)
}

/// The page about these reports, in their order.
///
/// # Errors
/// A report that hasn't the keys of its format.
pub fn html(documents: &[Document]) -> Result<String> {
    let sections = documents.iter().enumerate().map(|(n, document)| section(n, document));
    let page = Page::new(sections.collect::<Result<_>>()?);
    let mut data = Data::from_serialize(&page).context("handing the report to its template")?;
    data.insert("style", STYLE);
    // What ends like this has what it is given escaped.
    let name = "report.html";
    let mut tera = Tera::default();
    tera.add_raw_template(name, TEMPLATE)
        .and_then(|()| tera.render(name, &data))
        .context("laying out the report, ci/templates/report.html.tera")
}

/// The plots of a report, each an SVG image of its own.
///
/// # Errors
/// A report that hasn't the keys of its format.
pub fn plots(document: &Document) -> Result<Vec<Plot>> {
    match document.body()? {
        Body::E2e(_) => Ok(Vec::new()),
        Body::Bench(report) => bench::plots(&report),
        Body::Faults(report) => faults::plots(&report),
    }
}

fn section(n: usize, document: &Document) -> Result<Section> {
    let id = format!("report-{}", n + 1);
    match document.body()? {
        Body::E2e(report) => Ok(e2e::section(&id, document, &report)),
        Body::Bench(report) => bench::section(&id, document, &report),
        Body::Faults(report) => faults::section(&id, document, &report),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn document(scenarios: &Value) -> Document {
        let run = document::Run {
            command: "cargo xtask e2e".into(),
            started: "2026-01-02T03:04:05Z".into(),
            seed: 1795775846,
            commit: Some("0123456789ab".into()),
            host: document::Host::default(),
        };
        let report =
            json!({"backend": "local", "versions": {"tempo": "2.10.8"}, "seconds": 1.5, "scenarios": scenarios});
        Document::new(document::Kind::E2e, &run, &report).unwrap()
    }

    fn scenario(name: &str, status: &str) -> Value {
        let check = json!({"name": name, "status": status, "detail": "why"});
        json!({"name": name, "status": status, "seconds": 1.0, "checks": [check]})
    }

    #[test]
    fn names_are_escaped_wherever_they_come_from() {
        let evil = "<script>alert('\"&')</script>";
        let html = html(&[document(&json!([scenario(evil, "failed")]))]).unwrap();
        assert!(!html.contains("<script"), "{html}");
        // In the overview, in the list of what failed, as a heading and as a check.
        assert!(html.matches("&lt;script&gt;").count() >= 4, "{html}");
    }

    #[test]
    fn the_verdict_comes_first_and_what_ran_is_all_there() {
        let html = html(&[document(&json!([
            scenario("outage", "failed"),
            scenario("s3", "passed")
        ]))])
        .unwrap();
        let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is missing: {html}"));
        let verdict = place("1 of 2 scenarios failed: 1 check passed, 1 failed, 0 skipped");
        for fact in [
            "cargo xtask e2e",
            "2026-01-02T03:04:05Z",
            "1795775846",
            "0123456789ab",
            "tempo 2.10.8",
        ] {
            assert!(verdict < place(fact), "{fact}");
        }
    }

    #[test]
    fn what_was_only_skipped_did_not_pass() {
        let html = html(&[document(&json!([scenario("outage", "skipped")]))]).unwrap();
        assert!(
            html.contains("<title>Skipped:") && html.contains("Nothing was checked"),
            "{html}"
        );
        assert!(!html.contains("status passed"), "{html}");
    }
}
