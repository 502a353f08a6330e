//! `cargo xtask bench`: what the stack costs on this machine.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;
use kit::disk;
use kit::failure::Failure;
use page::document::{Document, Kind};
use stack_tests::backend::local::LocalBackend;
use stack_tests::bench::plan::{Amount, Plan, VARIANTS, Variant};
use stack_tests::bench::profile::PROFILES;
use stack_tests::bench::{self, report::Report};

use crate::ctx::Ctx;
use crate::local::programs::Programs;
use crate::local::{RUN_SPACE, runs_dir, runtime, sweep, values};
use crate::outputs::{Outputs, this_run};

/// Measures what the stack costs on this machine, variants of it side by side.
///
/// Each round measures each profile with each variant, on a stack of its own; variants follow each other in
/// another order in every round, and are compared within a round only, with the first that is named.
/// Measured are the CPU time of Collector and Tempo for a million spans, their highest resident size, the spans
/// that are acknowledged in a second, and the bytes of a span in Tempo's write-ahead log and, in the first round,
/// in its blocks before and after compaction.
/// A round in which a span is refused or not answered for is not valid.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --profile 10-spans --rounds 5 --spans 500000\n  \
                  cargo xtask bench --variant default --variant mine.yaml --report target/bench.json\n\n\
                  Variants: default, the chart as it is; memory-queue, with otelCollector.queue.type memory and 256Mi."
)]
pub struct BenchArgs {
    /// Send requests of so many spans, in traces of ten; may be given more than once [default: all].
    #[arg(long = "profile", value_name = "NAME", value_parser = profile_names())]
    profiles: Vec<String>,
    /// Measure this variant: its name, or a file with values of the umbrella chart; may be given more than once
    /// [default: default and memory-queue].
    #[arg(long = "variant", value_name = "NAME|FILE")]
    variants: Vec<String>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Send so many spans in each measurement [default: 30000 to 100000, more where they cost less].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1000..=100_000_000))]
    spans: Option<u64>,
    /// Send for so long in each measurement.
    #[arg(long, value_name = "S", conflicts_with = "spans", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    #[command(flatten)]
    programs: Programs,
    /// What the spans are made from; printed, so that a run can be repeated.
    #[arg(long, env = "XTASK_SEED")]
    seed: Option<u64>,
    #[command(flatten)]
    outputs: Outputs,
}

fn profile_names() -> PossibleValuesParser {
    PossibleValuesParser::new(PROFILES.iter().map(|profile| profile.name))
}

impl BenchArgs {
    fn plan(&self) -> Result<Plan> {
        let named = |name: &str| self.profiles.is_empty() || self.profiles.iter().any(|wanted| wanted == name);
        let variants = if self.variants.is_empty() {
            VARIANTS.iter().map(|(name, _)| (*name).to_owned()).collect()
        } else {
            self.variants.clone()
        };
        let amount = match (self.spans, self.seconds) {
            (Some(spans), _) => Amount::Spans(spans),
            (None, Some(seconds)) => Amount::Time(Duration::from_secs(seconds)),
            (None, None) => Amount::OfProfile,
        };
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let plan = Plan {
            profiles: PROFILES.iter().filter(|profile| named(profile.name)).collect(),
            variants: variants.iter().map(|text| variant(text)).collect::<Result<_>>()?,
            rounds: self.rounds,
            amount,
            seed: self.seed.unwrap_or_else(now),
        };
        plan.check()?;
        Ok(plan)
    }
}

/// A variant by its name, or by a values file.
fn variant(text: &str) -> Result<Variant> {
    if let Some(variant) = Variant::named(text)? {
        return Ok(variant);
    }
    let file = Path::new(text);
    if !file.is_file() {
        return Err(Failure::unknown(
            "variant, and no values file,",
            text,
            VARIANTS.iter().map(|(name, _)| *name),
        ));
    }
    let stem = file.file_stem().unwrap_or(file.as_os_str());
    Ok(Variant {
        name: stem.to_string_lossy().into_owned(),
        values: values::read(file)?,
    })
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &BenchArgs) -> Result<()> {
    let ctx = &args.programs.given(ctx)?;
    let plan = args.plan()?;
    let runs = runs_dir(ctx);
    if ctx.runner.plans() {
        backend(ctx, &runs)?;
        return ctx.print_planned();
    }
    args.outputs.make_way()?;
    sweep(ctx, &runs)?;
    disk::require(&runs, RUN_SPACE, "the bench")?;
    let backend = backend(ctx, &runs)?;
    ctx.say(format!(
        "{} measurements, about {} min on 2 cores unless they are long ones, seed {}",
        plan.cells().len(),
        (plan.cells().len() * SECONDS).div_ceil(60),
        plan.seed
    ));
    let run = this_run(ctx, plan.seed);
    let report = runtime()?.block_on(bench::run(&backend, &plan, ctx.runner.cancel(), ctx.args.quiet))?;
    let document = Document::new(Kind::Bench, &run, &report)?;
    ctx.print(&document, format!("\n{}", report.table()))?;
    args.outputs.write(&document)?;
    judge(&report)
}

/// How long a measurement takes on 2 cores, in seconds.
const SECONDS: usize = 14;

fn backend(ctx: &Ctx, runs: &Path) -> Result<LocalBackend> {
    let helm = ctx.helm()?;
    let umbrella = helm.prepare(&ctx.workspace.chart("observability")?)?;
    LocalBackend::new(&ctx.toolbox, helm, umbrella, runs.to_path_buf(), "bench")
}

/// The error of a bench of which a row isn't valid.
fn judge(report: &Report) -> Result<()> {
    let invalid: Vec<String> = report
        .invalid()
        .map(|row| format!("{} with {}", row.profile, row.variant))
        .collect();
    if invalid.is_empty() {
        return Ok(());
    }
    Err(Failure::findings(
        format!("not valid: {}", invalid.join(", ")),
        "the lines below the table say why; what is refused at full speed needs fewer --spans or more memory",
    ))
}
