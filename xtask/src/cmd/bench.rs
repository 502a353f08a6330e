//! `cargo xtask bench`: what the stack costs on this machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;
use kit::disk;
use kit::failure::Failure;
use page::document::{Document, Kind};
use stack_tests::backend::local::LocalBackend;
use stack_tests::bench::plan::{Amount, Beside, Plan};
use stack_tests::bench::profile::{Changes, PROFILES, Profile, USUAL};
use stack_tests::bench::variant::{Group, VARIANTS, Variant};
use stack_tests::bench::{self, report::Report};

use crate::ctx::Ctx;
use crate::local::programs::Programs;
use crate::local::{RUN_SPACE, runs_dir, runtime, sweep, values};
use crate::outputs::{Outputs, this_run};

/// Measures what the stack costs on this machine, variants of it side by side.
///
/// Each round measures each profile with each variant, on a stack of its own; variants follow each other in
/// another order in every round, and are compared within a round only, with the first that is named.
/// Measured are the CPU time of Collector and Tempo for a million spans beyond what they use when idle, their highest
/// resident size, the spans that are acknowledged in a second, the time to an answer, what Tempo reads for a span,
/// how long it takes until a trace is found by its id and by a search, and the bytes of a span in Tempo's
/// write-ahead log and, in the first round, in its blocks before and after compaction.
/// A round in which a span is refused or not answered for is not valid.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --profile 10-spans --rounds 5 --spans 500000\n  \
                  cargo xtask bench --profile 100-spans --rate 2000 --connections 64\n  \
                  cargo xtask bench --tuning --profile 100-spans --report target/tuning.json\n  \
                  cargo xtask bench --variant default --variant mine.yaml --report target/bench.json\n\n\
                  `cargo xtask bench --list` says what each profile and each variant is."
)]
pub struct BenchArgs {
    /// List the profiles and the variants that have a name.
    #[arg(long)]
    list: bool,
    /// Send like this profile; may be given more than once [default: 10-spans, 100-spans and 500-spans].
    #[arg(long = "profile", value_name = "NAME", value_parser = profile_names())]
    profiles: Vec<String>,
    /// Send traces of so many spans, whatever the profiles say.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    trace_spans: Option<u32>,
    /// Send over so many connections, whatever the profiles say.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Option<u32>,
    /// Send so many spans a second, each request at its time whether or not earlier ones are answered, whatever the
    /// profiles say.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Measure this variant: its name, or a file with values of the umbrella chart; may be given more than once
    /// [default: default, memory-queue and upstream].
    #[arg(long = "variant", value_name = "NAME|FILE")]
    variants: Vec<String>,
    /// Measure the settings that could be defaults, and what a kill of Tempo loses with each.
    #[arg(long, conflicts_with = "variants")]
    tuning: bool,
    /// Measure too what is lost when Tempo is killed.
    #[arg(long)]
    kill: bool,
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
    PossibleValuesParser::new(PROFILES.iter().map(|profile| profile.name.as_ref()))
}

impl BenchArgs {
    fn plan(&self) -> Result<Plan> {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let plan = Plan {
            profiles: self.profiles()?,
            variants: self.variants()?,
            rounds: self.rounds,
            amount: match (self.spans, self.seconds) {
                (Some(spans), _) => Amount::Spans(spans),
                (None, Some(seconds)) => Amount::Time(Duration::from_secs(seconds)),
                (None, None) => Amount::OfProfile,
            },
            beside: Beside {
                blocks: true,
                found: true,
                kill: self.kill || self.tuning,
            },
            seed: self.seed.unwrap_or_else(now),
        };
        plan.check()?;
        Ok(plan)
    }

    fn profiles(&self) -> Result<Vec<Profile>> {
        let changes = Changes {
            spans_per_trace: self.trace_spans,
            connections: self.connections,
            spans_per_second: self.rate,
        };
        let named: Vec<&str> = self.profiles.iter().map(String::as_str).collect();
        let names = if named.is_empty() { USUAL } else { &named };
        names.iter().map(|name| Profile::named(name)?.with(&changes)).collect()
    }

    fn variants(&self) -> Result<Vec<Variant>> {
        let group = if self.tuning { Group::Tuning } else { Group::Usual };
        let of_group = || Variant::group(group).filter_map(Variant::named).collect();
        if self.variants.is_empty() {
            return Ok(of_group());
        }
        self.variants.iter().map(|text| variant(text)).collect()
    }
}

/// A variant by its name, or by a values file.
fn variant(text: &str) -> Result<Variant> {
    if let Some(variant) = Variant::named(text) {
        return Ok(variant);
    }
    let file = Path::new(text);
    if !file.is_file() {
        return Err(Failure::unknown(
            "variant, and no values file,",
            text,
            VARIANTS.iter().map(|known| known.name),
        ));
    }
    let stem = file.file_stem().unwrap_or(file.as_os_str());
    let name = stem.to_string_lossy().into_owned();
    Ok(Variant::given(
        name,
        format!("the values of {text}"),
        values::read(file)?,
    ))
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &BenchArgs) -> Result<()> {
    if args.list {
        return list(ctx);
    }
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
    let cells = plan.cells().len();
    let seconds = SECONDS + if plan.beside.kill { KILL_SECONDS } else { 0 };
    ctx.say(format!(
        "{cells} measurements, about {} min on 2 cores unless they are long ones, seed {}",
        (cells * seconds).div_ceil(60),
        plan.seed
    ));
    let run = this_run(ctx, plan.seed);
    let report = runtime()?.block_on(bench::run(
        &backend,
        &plan,
        &run.command,
        ctx.runner.cancel(),
        ctx.args.quiet,
    ))?;
    let document = Document::new(Kind::Bench, &run, &report)?;
    ctx.print(&document, format!("\n{}", report.table()))?;
    args.outputs.write(&document)?;
    judge(&report)
}

/// How long a measurement takes on 2 cores, in seconds.
const SECONDS: usize = 35;
/// How much longer with a kill.
const KILL_SECONDS: usize = 50;

/// Prints what there is.
fn list(ctx: &Ctx) -> Result<()> {
    let pace = |profile: &Profile| match profile.spans_per_second {
        Some(rate) => format!("{rate} spans a second, each request at its time"),
        None => format!(
            "as fast as answered, {} requests unanswered on each",
            profile.unanswered
        ),
    };
    let mut text = String::from("Profiles:\n");
    for profile in PROFILES {
        text += &format!(
            "  {:<18} requests of {}, {} spans a trace, {} connections, {}\n",
            profile.name,
            profile.spans_per_request,
            profile.spans_per_trace,
            profile.connections,
            pace(profile)
        );
    }
    for (group, title) in [(Group::Usual, "Variants:"), (Group::Tuning, "With --tuning:")] {
        text += &format!("{title}\n");
        for known in VARIANTS.iter().filter(|known| known.group == group) {
            text += &format!("  {:<18} {}\n", known.name, known.about);
        }
    }
    let about: BTreeMap<&str, &str> = VARIANTS.iter().map(|known| (known.name, known.about)).collect();
    ctx.print(&serde_json::json!({ "profiles": PROFILES, "variants": about }), text)
}

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
