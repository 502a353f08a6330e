//! `cargo xtask e2e`: the main job.

mod target;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use charts::render::{self, Helm};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use cluster::kind::DEFAULT_NAME;
use kit::disk;
use kit::failure::Failure;
use page::document::{Document, Kind};
use serde::Serialize;
use stack_tests::backend::Backend;
use stack_tests::backend::cluster::{ClusterBackend, Setup};
use stack_tests::backend::local::LocalBackend;
use stack_tests::env::Shared;
use stack_tests::report::{self, Report};
use stack_tests::run::{FULL_TIMEOUT, Kept, run as run_scenarios};
use stack_tests::scenario::{self, Choice, Scenario, Set};
use tokio::runtime::Runtime;

use crate::ctx::Ctx;
use crate::local::programs::Programs;
use crate::local::{RUN_SPACE, runs_dir, runtime, sweep};
use crate::outputs::{Outputs, this_run};
use crate::seed::Seed;

/// Runs the stack for real, sends traces to every receiver and reads them back.
///
/// Without options it runs the set `core`: `--set` and `--all` run more, `--scenario` one by name.
/// Real helm renders the umbrella chart. The local backend runs the rendered containers as processes
/// of this machine: it needs neither root nor containers. Each stack is a network of its own in 127.0.0.0/8
/// with an address for every pod and every Service, so that runs side by side don't meet.
/// What it can't prove it reports as skipped. Tools that are missing are built first.
/// In a cluster helm installs into namespaces of their own, which go with the scenario; what the cluster
/// held before stays as it was. Images that it can't pull are named with --image.
///
/// Files: target/xtask/e2e/<scenario>/ holds the evidence of each failed scenario, target/xtask/e2e/cluster/
/// the logs of our cluster and of its nodes if one failed there.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask e2e\n  cargo xtask e2e --scenario roundtrip --scenario restart\n  \
                  cargo xtask e2e --all --backend kind\n  \
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
    /// An image that the cluster can have, as NAME=IMAGE, where NAME is tempo, otelcol, versitygw, prometheus or helper
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
    /// Run this scenario, whatever its set: alone in full, beside a set in its short form; may be given more than once.
    #[arg(long = "scenario", value_name = "NAME", value_parser = scenario_names(), hide_possible_values = true)]
    scenarios: Vec<String>,
    /// Run the scenarios of this set; may be given more than once [default: core].
    #[arg(long = "set", value_name = "NAME", value_parser = set_names())]
    sets: Vec<String>,
    /// Run every scenario of the backend.
    #[arg(long, conflicts_with_all = ["scenarios", "sets"])]
    all: bool,
    /// List the scenarios, with the set and the backends of each and what it proves.
    #[arg(long)]
    list: bool,
    /// How many scenarios run at the same time.
    #[arg(long, env = "XTASK_JOBS", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    jobs: u8,
    #[command(flatten)]
    seed: Seed,
    /// Leave stacks up after the run until Ctrl-C: the last one of each scenario, and those of failed checks.
    #[arg(long)]
    keep: bool,
    /// Write the report as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
}

impl E2eArgs {
    /// Whether long proofs run in full and not in their short forms.
    fn in_full(&self) -> bool {
        self.sets.is_empty() && !self.all && !self.scenarios.is_empty()
    }
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

    /// The programs of this machine that these scenarios run on it.
    fn tools(self, scenarios: &[&'static Scenario]) -> Vec<&'static str> {
        let mut tools = match self {
            BackendName::Local => vec!["helm", "otelcol", "tempo"],
            BackendName::Kind | BackendName::Context => vec!["helm"],
        };
        for scenario in scenarios.iter().filter(|s| s.runs_on(self.name())) {
            tools.extend(scenario.tools);
            if self == BackendName::Local {
                tools.extend(scenario.local_tools);
            }
        }
        tools.sort_unstable();
        tools.dedup();
        tools
    }

    /// About how long a scenario takes on 2 cores, of which two run at a time, in seconds.
    fn pace(self) -> usize {
        match self {
            BackendName::Local => 15,
            BackendName::Kind | BackendName::Context => 80,
        }
    }
}

fn scenario_names() -> PossibleValuesParser {
    PossibleValuesParser::new(scenario::ALL.iter().map(|s| s.name))
}

fn set_names() -> PossibleValuesParser {
    PossibleValuesParser::new(Set::ALL.map(Set::name))
}

impl E2eArgs {
    /// What the command line chooses; none if it leaves it open.
    fn choice(&self) -> Option<Choice> {
        if self.all {
            return Some(Choice::All);
        }
        let named = |set: &Set| self.sets.iter().any(|name| name == set.name());
        let sets: Vec<Set> = Set::ALL.into_iter().filter(named).collect();
        let names = self.scenarios.clone();
        (!sets.is_empty() || !names.is_empty()).then_some(Choice::Some { sets, names })
    }
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    set: Set,
    backends: &'static [&'static str],
    proves: &'static str,
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &E2eArgs) -> Result<()> {
    let choice = args.choice();
    if args.list {
        let scenarios = match &choice {
            Some(choice) => scenario::select(choice, args.backend.name())?,
            None => scenario::ALL.iter().collect(),
        };
        return list(ctx, &scenarios);
    }
    let ctx = &match args.backend {
        BackendName::Local => args.programs.given(ctx)?,
        other => {
            args.programs.refuse(other.name())?;
            ctx.clone()
        }
    };
    let choice = choice.unwrap_or(Choice::Some {
        sets: vec![Set::Core],
        names: Vec::new(),
    });
    let scenarios = scenario::select(&choice, args.backend.name())?;
    if ctx.runner.plans() {
        prepare(ctx, args, &scenarios)?;
        return ctx.print_planned();
    }
    args.outputs.make_way()?;
    args.junit.iter().try_for_each(|file| report::make_way(file))?;
    let begun = Instant::now();
    let seed = args.seed.or_now();
    let run = this_run(ctx, seed);
    let runtime = runtime()?;
    let (report, kept) = match execute(ctx, args, &scenarios, seed, &runtime) {
        Ok(ran) => ran,
        Err(error) => {
            // Whoever reads the files learns it as well.
            let names = scenarios.iter().map(|s| s.name);
            let report = Report::not_started(
                args.backend.name(),
                pins(ctx, &args.backend.tools(&scenarios))?,
                begun.elapsed(),
                names,
                &format!("{error:#}"),
            );
            write_reports(args, &Document::new(Kind::E2e, &run, &report)?, &report)?;
            return Err(error);
        }
    };
    let document = Document::new(Kind::E2e, &run, &report)?;
    ctx.print(&document, summary(&report))?;
    write_reports(args, &document, &report)?;
    if report.failed > 0 && args.backend == BackendName::Kind && !ctx.runner.cancel().is_cancelled() {
        target::logs(ctx, args)?;
    }
    ctx.runner.cancel().check()?;
    if !kept.is_empty() {
        runtime.block_on(kept.hold(ctx.runner.cancel()));
    }
    judge(&report, &ctx.artifacts("e2e"), seed)
}

/// Prepares the backend and runs the scenarios.
fn execute(
    ctx: &Ctx,
    args: &E2eArgs,
    scenarios: &[&'static Scenario],
    seed: u64,
    runtime: &Runtime,
) -> Result<(Report, Kept)> {
    let runs = runs_dir(ctx);
    sweep(ctx, &runs)?;
    disk::require(&runs, RUN_SPACE, "the end-to-end run")?;
    announce(ctx, args, scenarios)?;
    let Prepared { helm, umbrella, target } = prepare(ctx, args, scenarios)?;
    let backend: Arc<dyn Backend> = match target {
        None => Arc::new(LocalBackend::new(&ctx.toolbox, helm, umbrella, runs, "e2e")?),
        Some(found) => {
            let setup = Setup {
                name: args.backend.name(),
                target: found.target,
                images: found.images,
                helm,
                helm_version: ctx.toolbox.get("helm")?.version.to_string(),
                umbrella,
                runs,
                own: args.backend == BackendName::Kind,
                enforces_policies: found.enforces_policies,
            };
            let (backend, swept) = runtime.block_on(ClusterBackend::connect(setup))?;
            for namespace in swept {
                ctx.say(format!("removed namespace {namespace}, which a killed run left"));
            }
            Arc::new(backend)
        }
    };
    ctx.say(format!("{} at a time, seed {seed}", args.jobs));
    let shared = Arc::new(Shared {
        backend,
        seed,
        artifacts: ctx.artifacts("e2e"),
        keep: args.keep,
        full: args.in_full(),
        quiet: ctx.args.quiet,
        cancel: ctx.runner.cancel().clone(),
        workspace: ctx.workspace.clone(),
        toolbox: ctx.toolbox.clone(),
    });
    runtime.block_on(run_scenarios(&shared, scenarios, args.jobs.into()))
}

/// What is there before the first scenario.
struct Prepared {
    helm: Helm,
    umbrella: render::Prepared,
    target: Option<target::Found>,
}

/// Builds what is missing: the scenarios' time is not for that.
fn prepare(ctx: &Ctx, args: &E2eArgs, scenarios: &[&'static Scenario]) -> Result<Prepared> {
    for tool in args.backend.tools(scenarios) {
        ctx.toolbox.get(tool)?;
    }
    let helm = ctx.helm()?;
    let umbrella = helm.prepare(&ctx.workspace.chart("observability")?)?;
    let target = match args.backend {
        BackendName::Local => None,
        BackendName::Kind | BackendName::Context => Some(target::find(ctx, args)?),
    };
    Ok(Prepared { helm, umbrella, target })
}

/// Says what will happen: which scenarios run, which programs are there and which are built first.
fn announce(ctx: &Ctx, args: &E2eArgs, scenarios: &[&'static Scenario]) -> Result<()> {
    let names: Vec<&str> = scenarios.iter().map(|s| s.name).collect();
    let s = if names.len() == 1 { "" } else { "s" };
    let time = if args.in_full() {
        format!("in full, each at most {} min", FULL_TIMEOUT.as_secs() / 60)
    } else {
        let seconds = names.len() * args.backend.pace();
        format!("about {} min on 2 cores", seconds.div_ceil(60))
    };
    ctx.say(format!(
        "{} scenario{s} on the {} backend, {time}: {}",
        names.len(),
        args.backend.name(),
        names.join(", ")
    ));
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in args.backend.tools(scenarios) {
        match ctx.toolbox.find(name)? {
            Some(tool) => found.push(format!("{name} {}", tool.version)),
            None => missing.push(format!("{name} (about {} min)", build_minutes(name))),
        }
    }
    if missing.is_empty() {
        ctx.say(format!("programs: {}", found.join(", ")));
        return Ok(());
    }
    let found = if found.is_empty() {
        "none".to_owned()
    } else {
        found.join(", ")
    };
    ctx.say(format!(
        "programs: {found} found; to be built first, once, on 2 cores: {}",
        missing.join(", ")
    ));
    Ok(())
}

/// How long a program takes to build on 2 cores with empty caches of Go, in minutes.
fn build_minutes(name: &str) -> u32 {
    match name {
        "otelcol" => 4,
        "tempo" => 2,
        _ => 1,
    }
}

/// The pinned version of each tool.
fn pins(ctx: &Ctx, tools: &[&str]) -> Result<BTreeMap<String, String>> {
    let pin = |name: &&str| Ok(((*name).to_owned(), ctx.toolbox.tool(name)?.file.version.to_string()));
    tools.iter().map(pin).collect()
}

fn write_reports(args: &E2eArgs, document: &Document, report: &Report) -> Result<()> {
    args.outputs.write(document)?;
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
            set: s.set,
            backends: s.needs.backends(),
            proves: s.proves,
        })
        .collect();
    let text = rows
        .iter()
        .map(|row| {
            format!(
                "{:<10} {:<7} {:<18} {}",
                row.name,
                row.set.name(),
                row.backends.join(","),
                row.proves
            )
        })
        .collect::<Vec<_>>()
        .join("\n");
    ctx.print(&rows, text)
}

/// The report for people: a line a scenario, then the count alone on the last line.
fn summary(report: &Report) -> String {
    let mut text = String::from("\n");
    for scenario in &report.scenarios {
        let status = format!("{:?}", scenario.status).to_lowercase();
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "{:<10} {status:<8} {:>6.1} s  {}",
            scenario.name,
            scenario.seconds,
            scenario.counts()
        );
    }
    let versions = report
        .versions
        .iter()
        .map(|(tool, version)| format!("{tool} {version}"))
        .collect::<Vec<_>>();
    let _ = writeln!(
        text,
        "{} backend, {}, {}, {:.1} s",
        report.backend,
        versions.join(", "),
        report.counts(),
        report.seconds
    );
    let _ = writeln!(text, "{}", report.summary());
    text
}
