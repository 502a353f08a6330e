//! `cargo xtask e2e`: the main job.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;
use stack_tests::disk;
use stack_tests::e2e::backend::local::LocalBackend;
use stack_tests::e2e::report::Report;
use stack_tests::e2e::run::{RunOptions, run as run_scenarios};
use stack_tests::e2e::run_dir;
use stack_tests::e2e::scenario::{self, Scenario};
use stack_tests::failure::{Failure, Kind};

use crate::ctx::Ctx;

/// Logs, blocks and queues of the scenarios that run at the same time stay under this.
const RUN_SPACE: u64 = 1024 * 1024 * 1024;

/// Runs the stack for real, sends traces through every door and reads them back.
///
/// Real helm renders the umbrella chart. The local backend runs the rendered containers as processes
/// of this machine: it needs neither root nor containers, chooses free ports and binds 127.0.0.1.
/// What it can't prove it reports as skipped. Tools that are missing are built first.
///
/// Files: target/xtask/e2e/<scenario>/ holds the evidence of each failed scenario.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask e2e\n  cargo xtask e2e --scenario roundtrip --scenario restart\n  \
                  cargo xtask e2e --report target/e2e.json --junit target/e2e.xml\n  cargo xtask e2e --scenario s3 --keep"
)]
pub struct E2eArgs {
    /// Where the stack runs.
    #[arg(long, value_enum, env = "XTASK_BACKEND", default_value_t = BackendName::Local)]
    backend: BackendName,
    /// Run only this scenario; may be given more than once.
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// List the scenarios and what each proves.
    #[arg(long)]
    list: bool,
    /// How many scenarios run at the same time.
    #[arg(long, env = "XTASK_JOBS", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    jobs: u8,
    /// What random inputs are made from; printed, so that a run can be repeated.
    #[arg(long, env = "XTASK_SEED")]
    seed: Option<u64>,
    /// Leave the stacks up after their scenarios until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Write the report as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Where the stack runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendName {
    /// Processes of this machine.
    Local,
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    proves: &'static str,
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &E2eArgs) -> Result<()> {
    let scenarios = scenario::select(&args.scenarios)?;
    if args.list {
        return list(ctx, &scenarios);
    }
    if ctx.args.dry_run {
        return dry_run(ctx, &scenarios);
    }
    let runs = runs_dir(ctx);
    sweep(ctx, &runs)?;
    disk::require(&runs, RUN_SPACE, "the end-to-end run")?;
    let seed = args
        .seed
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()));
    let helm = ctx.helm()?;
    let umbrella = helm.prepare(&ctx.workspace.chart("observability")?)?;
    let BackendName::Local = args.backend;
    let backend = Arc::new(LocalBackend::new(&ctx.toolbox, helm, umbrella, runs, "e2e")?);
    let artifacts = ctx.artifacts("e2e");
    ctx.say(format!(
        "{} scenarios on the local backend, seed {seed}, {} at a time",
        scenarios.len(),
        args.jobs
    ));
    let options = RunOptions {
        backend,
        scenarios,
        jobs: args.jobs.into(),
        seed,
        artifacts: artifacts.clone(),
        keep: args.keep,
        quiet: ctx.args.quiet,
        cancel: ctx.runner.cancel().clone(),
        workspace: ctx.workspace.clone(),
        toolbox: ctx.toolbox.clone(),
    };
    let report = runtime()?.block_on(run_scenarios(options))?;
    if let Some(file) = &args.report {
        report.write_json(file)?;
    }
    if let Some(file) = &args.junit {
        report.write_junit(file)?;
    }
    ctx.print(&report, summary(&report))?;
    ctx.runner.cancel().check()?;
    if report.failed > 0 {
        let failed = report
            .scenarios
            .iter()
            .filter(|s| s.status == stack_tests::e2e::report::Status::Failed);
        let names = failed.map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Failure::err(
            Kind::Findings,
            format!(
                "{} of {} scenarios failed: {names}",
                report.failed,
                report.scenarios.len()
            ),
            format!(
                "see {}, then `cargo xtask e2e --scenario NAME --seed {seed}`",
                artifacts.display()
            ),
        ));
    }
    Ok(())
}

/// The folder that all runs of this checkout have their folders in.
pub fn runs_dir(ctx: &Ctx) -> PathBuf {
    ctx.target_dir().join("xtask").join("runs")
}

/// A runtime for the asynchronous part.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")
}

/// Stops what a killed run left behind, so that it can't disturb this one.
pub fn sweep(ctx: &Ctx, runs: &std::path::Path) -> Result<()> {
    let (processes, folders) = run_dir::sweep(runs)?;
    if folders > 0 {
        ctx.say(format!(
            "cleaned up after a killed run: {processes} processes stopped, {folders} folders removed"
        ));
    }
    Ok(())
}

fn list(ctx: &Ctx, scenarios: &[&'static Scenario]) -> Result<()> {
    let rows: Vec<Listed> = scenarios
        .iter()
        .map(|s| Listed {
            name: s.name,
            proves: s.proves,
        })
        .collect();
    let text = rows
        .iter()
        .map(|row| format!("{:<10} {}", row.name, row.proves))
        .collect::<Vec<_>>()
        .join("\n");
    ctx.print(&rows, text)
}

fn dry_run(ctx: &Ctx, scenarios: &[&'static Scenario]) -> Result<()> {
    let chart = ctx.workspace.chart("observability")?;
    let helm = match ctx.toolbox.find("helm")? {
        Some(found) => ctx.helm_at(found.path),
        None => ctx.helm_at("helm".into()),
    };
    let mut steps = Vec::new();
    for tool in ctx
        .toolbox
        .tools()
        .iter()
        .filter(|t| ["helm", "tempo", "otelcol", "versitygw"].contains(&t.name.as_str()))
    {
        if ctx.toolbox.find(&tool.name)?.is_none() {
            steps.push(
                ctx.toolbox
                    .build_step(tool, &ctx.toolbox.cache().join("tools").join(&tool.name)),
            );
        }
    }
    steps.push(helm.dependency_build_step(chart.name(), &chart.dir));
    let prepared = stack_tests::render::Prepared::archive(chart.name(), &chart.dir);
    for scenario in scenarios {
        let options = stack_tests::render::RenderOptions::documented(chart.name());
        let mut step = helm.template_step(&prepared, &options);
        step.name = format!("{}: {}", scenario.name, step.name);
        steps.push(step);
    }
    ctx.print_plan(&steps)
}

/// The report for people: a line a scenario, then the count alone on the last line.
fn summary(report: &Report) -> String {
    let mut text = String::from("\n");
    for scenario in &report.scenarios {
        let status = format!("{:?}", scenario.status).to_lowercase();
        let checks = scenario.checks.len();
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "{:<10} {status:<8} {:>6.1} s  {checks} checks",
            scenario.name, scenario.seconds
        );
    }
    let versions = report
        .versions
        .iter()
        .map(|(tool, version)| format!("{tool} {version}"))
        .collect::<Vec<_>>();
    let _ = writeln!(
        text,
        "{} backend, {}, {:.1} s",
        report.backend,
        versions.join(", "),
        report.seconds
    );
    let _ = writeln!(text, "{}", report.summary());
    text
}
