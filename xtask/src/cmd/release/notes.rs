//! `cargo xtask release notes`: what a version brings, from its commits.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use kit::whole_file::{self, Mode};
use release::changed::History;
use release::git::Git;
use release::notes::{self, Notes};
use serde::Serialize;

use crate::ctx::Ctx;

/// Prints the notes of the charts' versions, laid out by ci/templates/release-notes.md.tera.
///
/// They come from the commits that touch what is packaged of the chart or of its local dependencies, since
/// that chart's previous tag. A commit and its revert are both left out. With --write they become the
/// version's section in charts/CHART/CHANGELOG.md; run again, it is replaced.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask release notes --chart tempo-stack
  cargo xtask release notes --write && git diff charts/*/CHANGELOG.md")]
pub struct NotesArgs {
    /// Only these charts [default: all].
    #[arg(long, value_name = "CHART")]
    chart: Vec<String>,
    /// Write each chart's CHANGELOG.md.
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    notes: Notes,
    changelog: Option<PathBuf>,
}

pub fn run(ctx: &Ctx, args: &NotesArgs) -> Result<()> {
    for name in &args.chart {
        ctx.workspace.chart(name)?;
    }
    let git = Git::of(ctx)?;
    let history = History::read(&ctx.workspace, git)?;
    let mut reports = Vec::new();
    for chart in history.in_order() {
        if !args.chart.is_empty() && !args.chart.iter().any(|name| name == chart.name()) {
            continue;
        }
        reports.push(Report {
            notes: notes::of(ctx.workspace.root(), &history, chart)?,
            changelog: args.write.then(|| chart.dir.join("CHANGELOG.md")),
        });
    }
    // All notes are made before the first file is written.
    for report in reports.iter().filter(|_| !ctx.args.dry_run) {
        let Some(file) = &report.changelog else { continue };
        let old = match std::fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.with_context(|| format!("reading {}", file.display()))?,
        };
        let new = notes::changelog(&old, &report.notes);
        if new != old {
            whole_file::write(file, new, Mode::Kept)?;
        }
    }
    let text = |r: &Report| format!("## {} {}\n\n{}", r.notes.chart, r.notes.version, r.notes.text);
    ctx.print(&reports, reports.iter().map(text).collect::<Vec<_>>().join("\n"))
}
