//! `cargo xtask changed`: the charts that changed, and the bump that each needs.

use anyhow::Result;
use clap::Args;
use kit::failure::Failure;
use release::changed::{Base, Changed, History};
use release::git::Git;
use serde::Serialize;

use crate::ctx::Ctx;

/// Shows the charts that changed since HEAD left the default branch, and the bump that each needs.
///
/// A chart changes with its own folder and with those of the charts that it takes from this workspace,
/// so an umbrella changes with its subcharts. How far a version must move is told by the commits
/// (conventionalcommits.org): `feat` minor, a breaking change major (minor below 1.0.0), all else
/// patch, also a message that doesn't follow the convention. A revert takes its commit back. Files that
/// .helmignore leaves out need no bump. Changes that are not committed count as a patch.
///
/// The comparison begins at the merge base with the remote's default branch, else with a local main or
/// master; on that branch itself, at the chart's last tag, `<chart>-<version>` or as release-tag in
/// Cargo.toml says. A version must also be above
/// that of the branch, and must be no other files' tag. Where a shallow clone, or one without tags, doesn't
/// hold what the answer needs, it says so and exits with 4.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask changed
  cargo xtask changed --since origin/main --format json   # .matrix is ready for a CI matrix
  cargo xtask changed --check                             # exit code 1 if a version is too low")]
pub struct ChangedArgs {
    /// Compare with where HEAD and this branch, tag or commit part.
    #[arg(long, value_name = "REF", env = "XTASK_SINCE")]
    since: Option<String>,
    /// Fail if a chart's version is too low for what changed.
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    charts: Vec<Changed>,
    /// Charts that were there at the base under a name that is gone.
    removed: Vec<String>,
    matrix: Matrix,
}

/// As GitHub Actions' `strategy.matrix` takes it.
#[derive(Debug, Serialize)]
struct Matrix {
    chart: Vec<String>,
}

pub fn run(ctx: &Ctx, args: &ChangedArgs) -> Result<()> {
    let git = Git::of(ctx)?;
    let history = History::read(&ctx.workspace, git)?;
    let (charts, removed) = all(&history, args.since.as_deref())?;
    let low: Vec<_> = charts
        .iter()
        .filter(|c| c.needs_bump)
        .map(|c| c.chart.clone())
        .collect();
    let report = Report {
        matrix: Matrix {
            chart: charts.iter().map(|c| c.chart.clone()).collect(),
        },
        charts,
        removed,
    };
    ctx.print(&report, text(&report))?;
    if args.check && !low.is_empty() {
        return Err(Failure::findings(
            format!(
                "the version of {} is too low for what changed, see above",
                low.join(", ")
            ),
            "run `cargo xtask bump` and commit what it writes",
        ));
    }
    Ok(())
}

/// What changed, in the order in which it is to be released, and what is gone.
fn all(history: &History, since: Option<&str>) -> Result<(Vec<Changed>, Vec<String>)> {
    let (mut charts, mut removed) = (Vec::new(), Vec::new());
    for chart in history.in_order() {
        let base = history.base(chart.name(), since)?;
        charts.extend(history.changed(chart, &base)?);
        if matches!(base, Base::Commit(..)) {
            removed.extend(history.removed(&base)?);
        }
    }
    removed.sort();
    removed.dedup();
    Ok((charts, removed))
}

fn text(report: &Report) -> String {
    let mut lines: Vec<_> = report.charts.iter().map(line).collect();
    lines.extend(report.removed.iter().map(|name| format!("{name}: removed or renamed")));
    if lines.is_empty() {
        lines.push("no chart changed".to_owned());
    }
    lines.join("\n")
}

/// Which higher versions stand for something else, and where.
fn taken(chart: &Changed) -> Option<String> {
    (!chart.taken.is_empty()).then(|| format!("taken elsewhere: {}", chart.taken.join(", ")))
}

fn line(chart: &Changed) -> String {
    let verdict = match (&chart.base_version, &chart.next_version) {
        (None, _) => format!("new, {}", chart.version),
        (Some(_), None) => format!("{}, nothing that is packaged: no bump", chart.version),
        (Some(from), Some(next)) if chart.needs_bump => {
            let before = [format!("{from} before")].into_iter().chain(taken(chart));
            format!(
                "{}, needs {next} ({})",
                chart.version,
                before.collect::<Vec<_>>().join(", ")
            )
        }
        (Some(from), Some(_)) => format!("{}, bumped from {from}", chart.version),
    };
    let others: Vec<_> = chart
        .through
        .iter()
        .filter(|name| **name != chart.chart)
        .cloned()
        .collect();
    let through = if others.is_empty() {
        String::new()
    } else {
        format!(", through {}", others.join(", "))
    };
    format!(
        "{}: {verdict}; {} files since {}{through}",
        chart.chart,
        chart.files.len(),
        chart.base
    )
}
