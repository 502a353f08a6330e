//! `cargo xtask report`: reports for people.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgGroup, Args};
use kit::failure::Failure;
use kit::whole_file::{self, Mode};
use page::document::Document;
use serde::Serialize;
use stack_tests::report::make_way;

use crate::ctx::Ctx;

/// Makes one HTML page, or plots as SVG images, of what `e2e`, `bench` and `faults` wrote with --report.
///
/// The page needs no network and no JavaScript: send it, or keep it, as it is. It says what ran and where, the
/// verdict first, then every check, measurement and table. Plots follow the colours that their reader prefers.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("written").args(["html", "plots"]).required(true).multiple(true),
    after_help = "Examples:\n  cargo xtask report target/e2e.json target/bench.json --html target/report.html\n  \
                  cargo xtask report target/bench.json --plots target/plots"
)]
pub struct ReportArgs {
    /// Files that were written with --report, in the order in which they are shown.
    #[arg(required = true, value_name = "FILE.json")]
    reports: Vec<PathBuf>,
    /// Write the page here.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the plots into this folder, each as <report>-<plot>.svg.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Written {
    written: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &ReportArgs) -> Result<()> {
    let documents = args
        .reports
        .iter()
        .map(|file| Document::read(file))
        .collect::<Result<Vec<_>>>()?;
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    if let Some(file) = &args.html {
        files.push((file.clone(), page::html(&documents)?));
    }
    if let Some(folder) = &args.plots {
        for (file, document) in args.reports.iter().zip(&documents) {
            let report = file.file_stem().unwrap_or_default().to_string_lossy();
            for plot in page::plots(document)? {
                files.push((folder.join(format!("{report}-{}.svg", plot.name)), plot.svg));
            }
        }
        if files.len() == usize::from(args.html.is_some()) {
            return Err(Failure::usage(
                "none of these reports has anything to plot",
                "plots are made of what `cargo xtask bench` or `faults` wrote with --report FILE",
            ));
        }
    }
    let mut names = BTreeSet::new();
    if let Some((twice, _)) = files.iter().find(|(file, _)| !names.insert(file)) {
        return Err(Failure::usage(
            format!("{} would be written twice", twice.display()),
            "give the reports different names",
        ));
    }
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    for (file, text) in &files {
        make_way(file)?;
        whole_file::write(file, text, Mode::Everybody)?;
    }
    let written: Vec<PathBuf> = files.into_iter().map(|(file, _)| file).collect();
    let lines: Vec<String> = written.iter().map(|file| format!("wrote {}", file.display())).collect();
    ctx.conclude(&Written { written }, lines.join("\n"))
}
