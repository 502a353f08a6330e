//! `cargo xtask bench`: what the stack costs on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;
use kit::disk;
use kit::failure::Failure;
use page::document::{Document, Kind};
use stack_tests::backend::Backend;
use stack_tests::backend::local::LocalBackend;
use stack_tests::bench::plan::{Amount, Beside, Plan};
use stack_tests::bench::profile::{Changes, PROFILES, Profile, TUNED, USUAL};
use stack_tests::bench::variant::{Group, VARIANTS, Variant};
use stack_tests::bench::{self, bounds, compare, report::Report, sizing};

use crate::ctx::Ctx;
use crate::local::programs::Programs;
use crate::local::{RUN_SPACE, runs_dir, runtime, sweep, values};
use crate::outputs::{Outputs, this_run};
use crate::seed::Seed;

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
                  cargo xtask bench --tuning --report target/tuning.json\n  \
                  cargo xtask bench --variant default --variant mine.yaml --report target/bench.json\n  \
                  cargo xtask bench --variant default --compare target/bench.json\n  \
                  cargo xtask bench --sizing --report target/sizing.json\n\n\
                  `cargo xtask bench --list` says what each profile and each variant is."
)]
pub struct BenchArgs {
    /// The short form for CI: the usual profiles and variants in one round, only what they cost while the load runs.
    /// It fails if a ratio between variants is above its bound.
    #[arg(long, conflicts_with_all = ["profiles", "trace_spans", "connections", "rate", "variants", "tuning", "kill"])]
    quick: bool,
    /// Print this run beside an earlier one, whose report this file is: old, new and ratio of each row. It must be of
    /// the same programs and loads.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// List the profiles and the variants that have a name.
    #[arg(long)]
    list: bool,
    /// Send like this profile; may be given more than once [default: 10-spans, 100-spans and
    /// 500-spans, with --tuning 100-spans].
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
    /// Measure how Tempo can run (one, over a bucket, mirrors, a fleet), each part of it by itself, and print what
    /// 10,000, 100,000 and 1,000,000 spans a second need. With a file, print that of an earlier report.
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["quick", "profiles", "trace_spans", "connections", "rate", "variants", "tuning", "kill", "compare"])]
    sizing: Option<Option<PathBuf>>,
    /// Measure too what is lost when Tempo is killed.
    #[arg(long)]
    kill: bool,
    /// How often everything is measured [default: 2, with --quick 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Send so many spans in each measurement [default: 30000 to 100000, more where they cost less].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1000..=100_000_000))]
    spans: Option<u64>,
    /// Send for so long in each measurement.
    #[arg(long, value_name = "S", conflicts_with = "spans", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    #[command(flatten)]
    programs: Programs,
    #[command(flatten)]
    seed: Seed,
    #[command(flatten)]
    outputs: Outputs,
}

fn profile_names() -> PossibleValuesParser {
    PossibleValuesParser::new(PROFILES.iter().map(|profile| profile.name.as_ref()))
}

impl BenchArgs {
    fn plan(&self) -> Result<Plan> {
        let plan = Plan {
            profiles: self.profiles()?,
            variants: self.variants()?,
            rounds: self.rounds.unwrap_or(if self.quick { 1 } else { 2 }),
            amount: match (self.spans, self.seconds) {
                (Some(spans), _) => Amount::Spans(spans),
                (None, Some(seconds)) => Amount::Time(Duration::from_secs(seconds)),
                (None, None) => Amount::OfProfile,
            },
            beside: Beside {
                blocks: !self.quick,
                found: !self.quick && self.sizing.is_none(),
                kill: self.kill || self.tuning,
            },
            seed: self.seed.or_now(),
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
        let names = match (named.is_empty(), self.tuning, &self.sizing) {
            (false, ..) => &named,
            (true, true, _) => TUNED,
            (true, false, Some(_)) => sizing::PROFILES,
            (true, false, None) => USUAL,
        };
        names.iter().map(|name| Profile::named(name)?.with(&changes)).collect()
    }

    fn variants(&self) -> Result<Vec<Variant>> {
        let group = match (self.tuning, &self.sizing) {
            (true, _) => Group::Tuning,
            (false, Some(_)) => Group::Modes,
            (false, None) => Group::Usual,
        };
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
    if let Some(Some(file)) = &args.sizing {
        let document = Document::read(file)?;
        return ctx.print(&document, sizing::table(&document.report(Kind::Bench)?)?);
    }
    let ctx = &args.programs.given(ctx)?;
    let plan = args.plan()?;
    let earlier = args
        .compare
        .as_deref()
        .map(|file| {
            let document = Document::read(file)?;
            let report: Report = document.report(Kind::Bench)?;
            Ok::<_, anyhow::Error>((file, document.run().command.clone(), report))
        })
        .transpose()?;
    let runs = runs_dir(ctx);
    if ctx.runner.plans() {
        backend(ctx, &runs)?;
        return ctx.print_planned();
    }
    args.outputs.make_way()?;
    sweep(ctx, &runs)?;
    disk::require(&runs, RUN_SPACE, "the bench")?;
    let backend = backend(ctx, &runs)?;
    if let Some((file, _, earlier)) = &earlier {
        compare::check(file, earlier, &plan, &backend.versions())?;
    }
    let cells = plan.cells().len();
    let beside = [(plan.beside.found, FOUND_SECONDS), (plan.beside.kill, KILL_SECONDS)];
    let beside: usize = beside
        .iter()
        .filter(|(measured, _)| *measured)
        .map(|(_, seconds)| seconds)
        .sum();
    let seconds = SECONDS + beside;
    ctx.say(format!(
        "{cells} measurements, about {} min on 2 cores unless they are long ones, seed {}",
        (cells * seconds).div_ceil(60),
        plan.seed
    ));
    let run = this_run(ctx, plan.seed);
    let mut report = runtime()?.block_on(bench::run(&backend, &plan, ctx.runner.cancel(), ctx.args.quiet))?;
    report.comparison = earlier.map(|(_, command, earlier)| compare::compare(&command, &earlier, &report));
    let document = Document::new(Kind::Bench, &run, &report)?;
    ctx.print(&document, format!("\n{}", report.table()))?;
    args.outputs.write(&document)?;
    judge(&report)?;
    if args.sizing.is_some() {
        ctx.say(format!("\n{}", sizing::table(&report)?));
    }
    if args.quick {
        bounds::judge(&report.bounds)
    } else {
        Ok(())
    }
}

/// How long a measurement takes on 2 cores, in seconds.
const SECONDS: usize = 15;
/// How much longer it takes with blocks and traces that are looked for.
const FOUND_SECONDS: usize = 20;
/// How much longer it takes with a kill.
const KILL_SECONDS: usize = 30;

/// Prints what there is.
fn list(ctx: &Ctx) -> Result<()> {
    let mut text = String::from("Profiles:\n");
    for profile in PROFILES {
        text += &format!("  {:<18} {profile}\n", profile.name);
    }
    let groups = [
        (Group::Usual, "Variants:"),
        (Group::Tuning, "With --tuning:"),
        (Group::Modes, "With --sizing:"),
    ];
    for (group, title) in groups {
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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use stack_tests::bench::variant::{DEFAULT, MEMORY_QUEUE, UPSTREAM};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn plan(arguments: &[&str]) -> Result<Plan> {
        let cli = Cli::try_parse_from(["bench"].iter().chain(arguments))?;
        cli.bench.plan()
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.variants.iter().map(|variant| variant.name.as_str()).collect()
    }

    #[test]
    fn the_short_form_has_every_row_of_the_table_once_and_nothing_that_takes_long() {
        let plan = plan(&["--quick"]).unwrap();
        assert_eq!((plan.profiles.len(), plan.rounds, plan.cells().len()), (3, 1, 9));
        assert_eq!(names(&plan), [DEFAULT, MEMORY_QUEUE, UPSTREAM]);
        assert!(!plan.beside.blocks && !plan.beside.found && !plan.beside.kill);
    }

    #[test]
    fn the_short_form_is_always_the_same() {
        for other in [["--variant", "default"], ["--profile", "steady"], ["--rate", "100"]] {
            assert!(plan(&["--quick", other[0], other[1]]).is_err(), "{other:?}");
        }
    }

    #[test]
    fn tuning_compares_with_the_default_and_kills() {
        let plan = plan(&["--tuning"]).unwrap();
        assert_eq!((names(&plan)[0], plan.profiles.len()), (DEFAULT, 1));
        assert!(plan.variants.len() > 3 && plan.beside.kill && plan.beside.found);
    }

    #[test]
    fn a_change_holds_for_every_profile() {
        let plan = plan(&["--connections", "64", "--rate", "500"]).unwrap();
        assert!(plan.profiles.iter().all(|profile| profile.connections == 64));
        assert!(
            plan.profiles
                .iter()
                .all(|profile| profile.spans_per_second == Some(500))
        );
    }

    #[test]
    fn a_name_that_is_neither_variant_nor_file_is_answered_with_the_nearest() {
        let error = plan(&["--variant", "memory-queu"]).unwrap_err();
        let remedy = kit::failure::remedy_of(&error).unwrap_or_default();
        assert!(remedy.contains("did you mean memory-queue?"), "{error:#} {remedy}");
    }
}
