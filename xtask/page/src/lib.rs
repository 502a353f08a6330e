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
