//! How the commands that write committed files end: `--check` or a rewrite, and the same report for both.

use std::path::PathBuf;

use anyhow::Result;
use charts::generated::{self, Departure, Difference, Generated};
use kit::failure::Failure;
use serde::Serialize;

use crate::ctx::Ctx;

/// How many rewritten files are named; more would hide the end.
const WRITTEN_SHOWN: usize = 20;

/// How many differences are shown in full: one change of a template often changes all cases alike.
const DIFFS_SHOWN: usize = 8;

/// What is printed with `--format json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// How many files there should be.
    files: usize,
    /// Whether the files named below were rewritten.
    written: bool,
    /// Those that weren't what they must be.
    differences: &'a [Difference],
}

/// Compares (`check`, or a dry run) or rewrites the files, and prints what differed.
///
/// `owned` are folders that may hold nothing else; `command` rewrites the files. With `check` a
/// difference is an error of [`Kind::Findings`].
pub fn conclude(ctx: &Ctx, wanted: &[Generated], owned: &[PathBuf], check: bool, command: &str) -> Result<()> {
    let only_compare = check || ctx.args.dry_run;
    let differences = if only_compare {
        generated::compare(wanted, owned)?
    } else {
        generated::write(wanted, owned)?
    };
    let report = Report {
        files: wanted.len(),
        written: !only_compare,
        differences: &differences,
    };
    ctx.print(&report, text(ctx, &differences, wanted.len(), check))?;
    if check && !differences.is_empty() {
        return Err(Failure::findings(
            format!(
                "{} of {} generated files are not what they must be",
                differences.len(),
                wanted.len()
            ),
            format!("run `{command}`, look at the difference and commit it"),
        ));
    }
    Ok(())
}

fn text(ctx: &Ctx, differences: &[Difference], files: usize, check: bool) -> String {
    if differences.is_empty() {
        return format!("{files} generated files are up to date");
    }
    let limit = if check { usize::MAX } else { WRITTEN_SHOWN };
    let shown = differences.iter().take(limit).enumerate();
    let mut lines: Vec<_> = shown
        .map(|(index, difference)| {
            let path = ctx.workspace.shown(&difference.path);
            match (check, difference.departure) {
                (true, Departure::Differs) => differs(difference, &path.to_string(), index < DIFFS_SHOWN),
                (true, Departure::Missing) => format!("{path} is missing, follows from {}", difference.source),
                (true, Departure::Orphan) => format!("{path} is an orphan: nothing generates it"),
                (false, Departure::Orphan) => format!("remove {path}"),
                (false, _) => format!("write {path}"),
            }
        })
        .collect();
    if differences.len() > limit {
        lines.push(format!("… {} files in all, see `git status`", differences.len()));
    }
    lines.join("\n")
}

fn differs(difference: &Difference, path: &str, in_full: bool) -> String {
    let mut text = format!("{path} differs, follows from {}", difference.source);
    if in_full {
        text.push('\n');
        text.push_str(&difference.diff);
    }
    text
}
