//! `cargo xtask faults`: what the stack loses when something breaks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;
use kit::disk;
use kit::failure::Failure;
use page::document::{Document, Kind};
use serde::Serialize;
use stack_tests::backend::Backend;
use stack_tests::backend::local::LocalBackend;
use stack_tests::env::Shared;
use stack_tests::faults::report::Report;
use stack_tests::faults::{self, Place, Plan, Rights, Row, Soak};

use crate::ctx::Ctx;
use crate::local::programs::Programs;
use crate::local::{RUN_SPACE, runs_dir, runtime, sweep};
use crate::outputs::{Outputs, this_run};
use crate::seed::Seed;

/// Breaks what the stack runs on, under load, and counts what is lost.
///
/// Each fault has a stack of its own. It is made for real and has to be proved to have happened, else it counts as
/// broken; it ends, the stack has to get well again, and every acknowledged span is looked for. What may be lost is
/// promised beforehand: `--list` shows it.
/// `--soak` runs one stack at 1,000 spans/s for so long and makes a fault every minute, in random order.
///
/// Files: target/xtask/faults/<fault>/ holds the evidence of each fault that broke its promise.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask faults --list\n  cargo xtask faults --seed 1 --report target/faults.json\n  \
                  cargo xtask faults --fault kill-tempo --fault s3-down\n  cargo xtask faults --quick\n  \
                  cargo xtask faults --soak 1h --report target/soak.json"
)]
pub struct FaultsArgs {
    /// Make only this fault; may be given more than once [default: all].
    #[arg(long = "fault", value_name = "NAME", value_parser = names(), hide_possible_values = true)]
    faults: Vec<String>,
    /// List the faults: the backend, the rights and the promise of each.
    #[arg(long)]
    list: bool,
    /// Make only some of the faults, and hold each for half as long: less than three minutes on 2 cores.
    #[arg(long, conflicts_with = "faults")]
    quick: bool,
    /// Run one stack for so long and make a fault every minute, as in 90s, 30m or 1h.
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with_all = ["faults", "quick", "list"])]
    soak: Option<Duration>,
    #[command(flatten)]
    programs: Programs,
    #[command(flatten)]
    seed: Seed,
    #[command(flatten)]
    outputs: Outputs,
}

/// From the start of one fault of a soak to that of the next.
const EVERY: Duration = Duration::from_secs(60);
/// The shortest soak: two faults, and what is between them.
const SHORTEST: Duration = Duration::from_secs(90);

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(faults::ALL.iter().map(|row| row.name))
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len());
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("write a number with its unit: 90s, 30m or 1h".into()),
    };
    let duration = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds));
    match duration.map(Duration::from_secs) {
        Some(duration) if duration >= SHORTEST => Ok(duration),
        _ => Err(format!("a soak lasts at least {} s", SHORTEST.as_secs())),
    }
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    place: Place,
    rights: Rights,
    promise: String,
    recovers: &'static str,
    quick: bool,
    soak: bool,
    does: &'static str,
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &FaultsArgs) -> Result<()> {
    if args.list {
        return list(ctx, args);
    }
    let ctx = &args.programs.given(ctx)?;
    let rows = faults::select(&args.faults, args.quick)?;
    if ctx.runner.plans() {
        backend(ctx)?;
        return ctx.print_planned();
    }
    args.outputs.make_way()?;
    let runs = runs_dir(ctx);
    sweep(ctx, &runs)?;
    disk::require(&runs, RUN_SPACE, "breaking the stack")?;
    let shared = Arc::new(Shared {
        backend: backend(ctx)?,
        seed: args.seed.or_now(),
        artifacts: ctx.artifacts("faults"),
        keep: false,
        full: true,
        quiet: ctx.args.quiet,
        cancel: ctx.runner.cancel().clone(),
        workspace: ctx.workspace.clone(),
        toolbox: ctx.toolbox.clone(),
    });
    announce(ctx, args, &rows, shared.seed);
    let run = this_run(ctx, shared.seed);
    let runtime = runtime()?;
    let report = match args.soak {
        Some(duration) => {
            let plan = Soak { duration, every: EVERY };
            runtime.block_on(faults::soak(&shared, &plan))?
        }
        None => {
            let plan = Plan {
                rows,
                quick: args.quick,
            };
            runtime.block_on(faults::run(&shared, &plan))?
        }
    };
    let document = Document::new(Kind::Faults, &run, &report)?;
    ctx.print(&document, format!("\n{}", report.table()))?;
    args.outputs.write(&document)?;
    ctx.runner.cancel().check()?;
    judge(ctx, &report)
}

/// About how long a fault takes on 2 cores with its stack, in seconds.
const SECONDS: usize = 35;

fn announce(ctx: &Ctx, args: &FaultsArgs, rows: &[&Row], seed: u64) {
    match args.soak {
        Some(duration) => ctx.say(format!("a soak of {} min, seed {seed}", duration.as_secs() / 60)),
        None => ctx.say(format!(
            "{} faults, about {} min on 2 cores, seed {seed}",
            rows.len(),
            (rows.len() * SECONDS).div_ceil(60)
        )),
    }
}

fn backend(ctx: &Ctx) -> Result<Arc<dyn Backend>> {
    let helm = ctx.helm()?;
    let umbrella = helm.prepare(&ctx.workspace.chart("observability")?)?;
    let backend = LocalBackend::new(&ctx.toolbox, helm, umbrella, runs_dir(ctx), "faults")?;
    Ok(Arc::new(backend))
}

fn list(ctx: &Ctx, args: &FaultsArgs) -> Result<()> {
    let chosen = |row: &&Row| args.faults.is_empty() || args.faults.iter().any(|name| name == row.name);
    let rows: Vec<Listed> = faults::ALL
        .iter()
        .filter(chosen)
        .map(|row| Listed {
            name: row.name,
            place: row.place,
            rights: row.rights,
            promise: row.promise.told(),
            recovers: row.recovers.told(),
            quick: row.quick,
            soak: row.soak,
            does: row.does,
        })
        .collect();
    let line = |row: &Listed| {
        let (place, why) = match row.place {
            Place::Nowhere(reason) => ("-", format!(" (can't be made: {reason})")),
            place => (place.backend().unwrap_or_default(), String::new()),
        };
        format!(
            "{:<22} {place:<6} {:<6} {:<36} {}{why}",
            row.name,
            row.rights.name(),
            row.promise,
            row.does
        )
    };
    let text = rows.iter().map(line).collect::<Vec<_>>().join("\n");
    ctx.print(&rows, text)
}

/// The error of a run that broke a promise.
fn judge(ctx: &Ctx, report: &Report) -> Result<()> {
    if report.kept() {
        return Ok(());
    }
    let broken = match &report.soak {
        Some(soak) => soak.broken.join("; "),
        None => report.broken_names().join(", "),
    };
    Err(Failure::findings(
        format!("promises were broken: {broken}"),
        format!(
            "see {}, then `cargo xtask faults --fault NAME --seed {}`",
            ctx.artifacts("faults").display(),
            report.seed
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soak_has_a_time_with_its_unit() {
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        for bad in ["", "h", "60", "1d", "5s", "-1h", "99999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
