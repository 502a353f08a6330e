//! `cargo xtask test`: all that needs no cluster.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use charts::tools::Group;
use clap::Args;
use kit::failure::{Failure, Kind};
use kit::progress::{Progress, say};
use kit::run_dir::{MARKER, RunDir};
use kit::step::{Output, Step};
use serde::Serialize;

use crate::ctx::{Ctx, print_line};

/// A cold build of the workspace with its tests, on a busy two-core machine.
const CARGO_TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// Cold builds of the tools that a check needs.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Runs every check that needs no cluster: formatting, clippy, unit and render tests, generated files,
/// golden renders, lint.
///
/// All checks run, also after one failed. Tools that are missing are built first. The tests of releases
/// against a real registry, helm 3, cosign and GnuPG run with --releases only: to build their tools takes
/// minutes. A Chromium looks at the page of a report; without one that is skipped, which is said and doesn't
/// count as passed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask test\n  cargo xtask test --releases")]
pub struct TestArgs {
    /// Run the tests of releases, too.
    #[arg(long)]
    releases: bool,
    /// Look at reports with this browser, a Chromium [default: chromium-headless-shell, chromium, chromium-browser or
    /// google-chrome on PATH].
    #[arg(long, value_name = "PATH", env = BROWSER)]
    browser: Option<PathBuf>,
}

/// How one check ended.
#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    passed: bool,
    /// Why it could not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'static str>,
    seconds: f64,
}

pub fn run(ctx: &Ctx, args: &TestArgs) -> Result<()> {
    let mut steps = steps(ctx)?;
    let browser = args.browser.clone().or_else(|| browser(&std::env::var_os("PATH")?));
    if let Some(browser) = &browser {
        steps.push(browser_step(ctx, browser));
    }
    if args.releases {
        steps.extend(release_steps(ctx)?);
    }
    // Tests that are stopped leave temporary files and programs behind: here, these go with the run.
    let run = RunDir::temporary("test")?;
    let folder = run.path().to_string_lossy();
    let mut outcomes = Vec::new();
    for step in &steps {
        if !ctx.runner.plans() {
            ctx.say(format!("== {}", step.name));
        }
        let inside = step.clone().env("TMPDIR", &*folder).env(MARKER, &*folder);
        let mut progress = Progress::start(&step.name, 0, ctx.args.quiet || !std::io::stderr().is_terminal());
        let output = ctx.runner.stream(&inside, &mut |line| {
            if step.name.starts_with(TOOLS) {
                ctx.say(line);
            } else {
                progress.advance(line.trim());
            }
        })?;
        drop(progress);
        if output.success() {
            show_closing_lines(&output)?;
        } else if step.name.starts_with(TOOLS) {
            return Err(broken_tools(&output));
        } else {
            say(format_args!("{}{}", output.stdout, output.stderr));
        }
        let seconds = (output.elapsed.as_secs_f64() * 10.0).round() / 10.0;
        outcomes.push(Outcome {
            name: step.name.clone(),
            passed: output.success(),
            skipped: None,
            seconds,
        });
    }
    if browser.is_none() {
        outcomes.push(Outcome {
            name: IN_BROWSER.to_owned(),
            passed: false,
            skipped: Some("no Chromium on PATH: install chromium-headless-shell, or name one with --browser"),
            seconds: 0.0,
        });
    }
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    conclude(ctx, &steps, &outcomes)
}

/// The step without which no other can judge anything.
const TOOLS: &str = "tools";
/// The same for the tests of releases.
const TOOLS_OF_RELEASES: &str = "tools of releases";

/// The step that opens the page of a report.
const IN_BROWSER: &str = "reports in a browser";
/// Tells that test which browser.
const BROWSER: &str = "XTASK_BROWSER";
/// What a Chromium may be called, the smallest first.
const BROWSERS: [&str; 4] = [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
];

/// The first browser on this PATH.
fn browser(path: &OsStr) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(path).collect();
    let mut programs = BROWSERS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    programs.find(|program| program.is_file())
}

fn browser_step(ctx: &Ctx, browser: &Path) -> Step {
    let step = cargo(ctx)(IN_BROWSER, &["test", "--workspace", "--test", "browser"]);
    step.env(BROWSER, browser.to_string_lossy())
}

/// The checks, as programs to run.
fn steps(ctx: &Ctx) -> Result<Vec<Step>> {
    let (cargo, check) = (cargo(ctx), check(ctx)?);
    Ok(vec![
        check(TOOLS, &["tools", "install"]),
        cargo("formatting", &["fmt", "--all", "--check"]).hint("cargo fmt --all"),
        cargo(
            "clippy",
            &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        ),
        cargo("tests", &["test", "--workspace"]),
        check("generated files", &["docs", "--check"]).hint("cargo xtask docs"),
        check("golden renders", &["template", "--check"]).hint("cargo xtask template"),
        check("lint", &["lint"]),
    ])
}

/// The tests that need the tools of releases.
fn release_steps(ctx: &Ctx) -> Result<Vec<Step>> {
    let all = ctx.toolbox.tools().iter();
    let tools = all
        .filter(|tool| tool.file.group == Group::Release)
        .map(|tool| tool.name.as_str());
    let install: Vec<&str> = ["tools", "install"].into_iter().chain(tools).collect();
    Ok(vec![
        check(ctx)?(TOOLS_OF_RELEASES, &install),
        cargo(ctx)("tests of releases", &["test", "-p", "xtask", "--test", "releases"]),
    ])
}

fn cargo(ctx: &Ctx) -> impl Fn(&str, &[&str]) -> Step {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    program(ctx, cargo.into(), CARGO_TIMEOUT)
}

/// A command of this program.
fn check(ctx: &Ctx) -> Result<impl Fn(&str, &[&str]) -> Step> {
    let own = std::env::current_exe().context("finding this program")?;
    Ok(program(ctx, own, CHECK_TIMEOUT))
}

fn program(ctx: &Ctx, program: PathBuf, timeout: Duration) -> impl Fn(&str, &[&str]) -> Step {
    let root = ctx.workspace.root().to_path_buf();
    move |name, args| {
        let step = Step::new(name, &program).args(args.iter().copied());
        step.cwd(&root).timeout(timeout)
    }
}

/// The lines with which test runners and checks close, so that what ran is seen and counted.
fn show_closing_lines(output: &Output) -> Result<()> {
    let lines: Vec<&str> = output.stdout.lines().collect();
    let closing: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.starts_with("test result:"))
        .collect();
    if closing.is_empty() {
        return lines.last().map_or(Ok(()), |line| print_line(line));
    }
    print_line(&closing.join("\n"))
}

/// The tools' own error, with its exit code.
fn broken_tools(output: &Output) -> anyhow::Error {
    let kinds = [Kind::Tool, Kind::Environment, Kind::Usage, Kind::Interrupted];
    let kind = kinds
        .into_iter()
        .find(|kind| output.code == Some(i32::from(kind.exit_code())))
        .unwrap_or(Kind::Findings);
    Failure::err(kind, "the tools are unavailable, see above", "cargo xtask doctor")
}

/// A line a check, then the count.
fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::from("\n");
    for outcome in outcomes {
        let name = &outcome.name;
        text.push_str(&match (outcome.skipped, outcome.passed) {
            (Some(why), _) => format!("skipped {name:<36} {why}\n"),
            (None, true) => format!("ok      {name:<36} {:>7.1} s\n", outcome.seconds),
            (None, false) => format!("FAILED  {name:<36} {:>7.1} s\n", outcome.seconds),
        });
    }
    let skipped = outcomes.iter().filter(|outcome| outcome.skipped.is_some()).count();
    let passed = outcomes.iter().filter(|outcome| outcome.passed).count();
    text.push_str(&format!(
        "{passed} passed, {} failed",
        outcomes.len() - passed - skipped
    ));
    if skipped > 0 {
        text.push_str(&format!(", {skipped} skipped"));
    }
    text + "\n"
}

fn conclude(ctx: &Ctx, steps: &[Step], outcomes: &[Outcome]) -> Result<()> {
    ctx.print(&outcomes, summary(outcomes))?;
    let failed: Vec<&Outcome> = outcomes.iter().filter(|o| !o.passed && o.skipped.is_none()).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    let remedy = steps
        .iter()
        .find(|s| s.name == first.name)
        .map(|s| s.hint.clone().unwrap_or_else(|| s.command_line()));
    let names = failed.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(Failure::findings(
        format!("failed: {names}"),
        remedy.unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::failure::kind_of;

    #[test]
    fn the_tools_own_exit_code_is_passed_on() {
        let output = Output {
            code: Some(3),
            stdout: String::new(),
            stderr: String::new(),
            elapsed: Duration::ZERO,
        };
        assert_eq!(kind_of(&broken_tools(&output)), Kind::Tool);
    }

    #[test]
    fn what_was_skipped_counts_neither_as_passed_nor_as_failed() {
        let outcome = |name: &str, passed, skipped| Outcome {
            name: name.into(),
            passed,
            skipped,
            seconds: 1.25,
        };
        let all = [
            outcome("tests", true, None),
            outcome("lint", false, None),
            outcome(IN_BROWSER, false, Some("no Chromium")),
        ];
        let text = summary(&all);
        let lines: Vec<&str> = text.trim().lines().collect();
        assert!(
            lines[0].starts_with("ok      tests") && lines[1].starts_with("FAILED  lint"),
            "{text}"
        );
        assert!(
            lines[2].starts_with("skipped reports") && lines[2].ends_with("no Chromium"),
            "{text}"
        );
        assert_eq!(lines[3], "1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn the_smallest_browser_on_the_path_is_taken_whichever_folder_comes_first() {
        let temp = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| temp.path().join(name));
        let path = std::env::join_paths([&one, &other]).unwrap();
        assert_eq!(browser(&path), None);
        for program in [one.join("chromium"), other.join("chromium-headless-shell")] {
            fs_err::create_dir_all(program.parent().unwrap()).unwrap();
            fs_err::write(&program, "").unwrap();
        }
        assert_eq!(browser(&path), Some(other.join("chromium-headless-shell")));
    }
}
