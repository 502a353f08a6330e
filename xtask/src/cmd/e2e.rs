//! `cargo xtask e2e`: the main job.

mod target;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Args, ValueEnum};
use cluster::kind::DEFAULT_NAME;
use kit::disk;
use kit::failure::Failure;
use serde::Serialize;
use stack_tests::backend::Backend;
use stack_tests::backend::cluster::{ClusterBackend, Setup};
use stack_tests::backend::local::LocalBackend;
use stack_tests::report::{self, Report};
use stack_tests::run::{RunOptions, run as run_scenarios};
use stack_tests::scenario::{self, Scenario};

use crate::ctx::Ctx;
use crate::local::programs::Programs;
use crate::local::{RUN_SPACE, plan, runs_dir, runtime, sweep};

/// Runs the stack for real, sends traces through every door and reads them back.
///
/// Real helm renders the umbrella chart. The local backend runs the rendered containers as processes
/// of this machine: it needs neither root nor containers, chooses free ports and binds 127.0.0.1.
/// What it can't prove it reports as skipped. Tools that are missing are built first.
/// In a cluster helm installs into namespaces of their own, which go with the scenario; what the cluster
/// held before stays as it was. Images that it can't pull are named with --image.
///
/// Files: target/xtask/e2e/<scenario>/ holds the evidence of each failed scenario, target/xtask/e2e/cluster/
/// the logs of our cluster and of its nodes if one failed there.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask e2e\n  cargo xtask e2e --scenario roundtrip --scenario restart\n  \
                  cargo xtask e2e --report target/e2e.json --junit target/e2e.xml\n  cargo xtask e2e --scenario s3 --keep\n  \
                  cargo xtask e2e --backend context --context NAME --scenario install"
)]
pub struct E2eArgs {
    /// Where the stack runs.
    #[arg(long, value_enum, env = "XTASK_BACKEND", default_value_t = BackendName::Local)]
    backend: BackendName,
    /// The name of our cluster, for `--backend kind`; it is brought up if need be.
    #[arg(long, value_name = "NAME", env = "XTASK_CLUSTER", default_value = DEFAULT_NAME)]
    cluster: String,
    /// The kubeconfig context of an existing cluster, for `--backend context`.
    #[arg(
        long,
        value_name = "NAME",
        env = "XTASK_CONTEXT",
        required_if_eq("backend", "context")
    )]
    context: Option<String>,
    /// The kubeconfig file that has the context [default: KUBECONFIG, else ~/.kube/config].
    #[arg(long, value_name = "FILE", env = "XTASK_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// An image that the cluster can have, as NAME=IMAGE, where NAME is tempo, otelcol, versitygw or helper
    /// (a busybox); may be given more than once.
    #[arg(
        long = "image",
        value_name = "NAME=IMAGE",
        env = "XTASK_IMAGES",
        value_delimiter = ','
    )]
    images: Vec<String>,
    #[command(flatten)]
    programs: Programs,
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
    /// The kind cluster of `cargo xtask cluster up`.
    Kind,
    /// An existing cluster, in namespaces of their own.
    Context,
}

impl BackendName {
    fn name(self) -> &'static str {
        match self {
            BackendName::Local => "local",
            BackendName::Kind => "kind",
            BackendName::Context => "context",
        }
    }

    /// The tools of this machine that its scenarios run.
    fn tools(self) -> &'static [&'static str] {
        match self {
            BackendName::Local => &["helm", "otelcol", "tempo", "versitygw"],
            BackendName::Kind | BackendName::Context => &["helm", "helm3"],
        }
    }
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    backends: &'static [&'static str],
    proves: &'static str,
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &E2eArgs) -> Result<()> {
    if args.list {
        let all = scenario::ALL.iter().map(|s| s.name.to_owned());
        let names = if args.scenarios.is_empty() {
            all.collect()
        } else {
            args.scenarios.clone()
        };
        return list(ctx, &scenario::select(&names, args.backend.name())?);
    }
    if args.backend != BackendName::Local {
        args.programs.refuse(args.backend.name())?;
    }
    let ctx = &args.programs.given(ctx)?;
    let scenarios = scenario::select(&args.scenarios, args.backend.name())?;
    if ctx.args.dry_run {
        return ctx.print_plan(&plan(ctx, scenarios.iter().map(|s| s.name), args.backend.tools())?);
    }
    for file in args.report.iter().chain(&args.junit) {
        report::make_way(file)?;
    }
    let begun = Instant::now();
    let seed = args
        .seed
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()));
    let report = match execute(ctx, args, scenarios.clone(), seed) {
        Ok(report) => report,
        Err(error) => {
            // Whoever reads the files learns it as well.
            let names = scenarios.iter().map(|s| s.name);
            let report = Report::not_started(
                args.backend.name(),
                pins(ctx, args.backend)?,
                begun.elapsed(),
                names,
                &format!("{error:#}"),
            );
            write_reports(args, &report)?;
            return Err(error);
        }
    };
    ctx.print(&report, summary(&report))?;
    write_reports(args, &report)?;
    if report.failed > 0 && args.backend == BackendName::Kind && !ctx.runner.cancel().is_cancelled() {
        target::logs(ctx, args)?;
    }
    ctx.runner.cancel().check()?;
    judge(&report, &ctx.artifacts("e2e"), seed)
}

/// Prepares the backend and runs the scenarios.
fn execute(ctx: &Ctx, args: &E2eArgs, scenarios: Vec<&'static Scenario>, seed: u64) -> Result<Report> {
    let runs = runs_dir(ctx);
    sweep(ctx, &runs)?;
    disk::require(&runs, RUN_SPACE, "the end-to-end run")?;
    // Before the scenarios, whose time a build would use up.
    for tool in args.backend.tools() {
        ctx.toolbox.get(tool)?;
    }
    let helm = ctx.helm()?;
    let umbrella = helm.prepare(&ctx.workspace.chart("observability")?)?;
    let runtime = runtime()?;
    let backend: Arc<dyn Backend> = match args.backend {
        BackendName::Local => Arc::new(LocalBackend::new(&ctx.toolbox, helm, umbrella, runs, "e2e")?),
        BackendName::Kind | BackendName::Context => {
            let (target, images) = target::find(ctx, args)?;
            let setup = Setup {
                name: args.backend.name(),
                target,
                images,
                helm,
                helm_version: ctx.toolbox.get("helm")?.version.to_string(),
                umbrella,
                runs,
            };
            let (backend, swept) = runtime.block_on(ClusterBackend::connect(setup))?;
            for namespace in swept {
                ctx.say(format!("removed namespace {namespace}, which a killed run left"));
            }
            Arc::new(backend)
        }
    };
    ctx.say(format!(
        "{} scenarios on the {} backend, seed {seed}, {} at a time",
        scenarios.len(),
        backend.name(),
        args.jobs
    ));
    let options = RunOptions {
        backend,
        scenarios,
        jobs: args.jobs.into(),
        seed,
        artifacts: ctx.artifacts("e2e"),
        keep: args.keep,
        quiet: ctx.args.quiet,
        cancel: ctx.runner.cancel().clone(),
        workspace: ctx.workspace.clone(),
        toolbox: ctx.toolbox.clone(),
    };
    runtime.block_on(run_scenarios(options))
}

/// The pinned version of each tool that a backend runs.
fn pins(ctx: &Ctx, backend: BackendName) -> Result<BTreeMap<String, String>> {
    let pin = |name: &&str| Ok(((*name).to_owned(), ctx.toolbox.tool(name)?.file.version.to_string()));
    backend.tools().iter().map(pin).collect()
}

fn write_reports(args: &E2eArgs, report: &Report) -> Result<()> {
    if let Some(file) = &args.report {
        report.write_json(file)?;
    }
    if let Some(file) = &args.junit {
        report.write_junit(file)?;
    }
    Ok(())
}

/// The error of a run in which a scenario failed.
fn judge(report: &Report, artifacts: &Path, seed: u64) -> Result<()> {
    if report.failed > 0 {
        let failed = report.scenarios.iter().filter(|s| s.status == report::Status::Failed);
        let names = failed.map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Failure::findings(
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

fn list(ctx: &Ctx, scenarios: &[&'static Scenario]) -> Result<()> {
    let rows: Vec<Listed> = scenarios
        .iter()
        .map(|s| Listed {
            name: s.name,
            backends: s.needs.backends(),
            proves: s.proves,
        })
        .collect();
    let text = rows
        .iter()
        .map(|row| format!("{:<10} {:<18} {}", row.name, row.backends.join(","), row.proves))
        .collect::<Vec<_>>()
        .join("\n");
    ctx.print(&rows, text)
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
