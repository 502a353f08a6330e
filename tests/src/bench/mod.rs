//! What the stack costs: CPU time, memory and disk of variants of it, side by side in one run.
//!
//! A [`plan`] orders the measurements so that what else the machine does hits all variants alike; each of them
//! has a stack of its own. Figures are compared within a round only, and the [`report`] keeps all of them.

mod blocks;
mod cell;
pub mod plan;
pub mod profile;
pub mod report;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::progress::say;
use kit::step::Cancel;

use self::cell::Bench;
use self::plan::{Cell, Plan};
use self::report::{Figure, Machine, Report, Sample, rows};
use crate::backend::Backend;

/// How often Ctrl-C is looked for.
const CANCEL_PERIOD: Duration = Duration::from_millis(100);

/// Runs the plan, one stack at a time. On Ctrl-C nothing is waited for: the stack that is up is stopped.
pub async fn run(backend: &dyn Backend, plan: &Plan, cancel: &Cancel, quiet: bool) -> Result<Report> {
    plan.check()?;
    let begun = Instant::now();
    let load_before = load()?;
    let cells = plan.cells();
    let count = cells.len();
    let mut samples = Vec::new();
    for (n, cell) in cells.into_iter().enumerate() {
        let bench = Bench {
            backend,
            amount: plan.amount,
            seed: plan.seed.wrapping_add(u64::from(cell.round) << 16),
            cancel,
        };
        // What is dropped is stopped.
        let sample = tokio::select! {
            sample = bench.measure(cell) => sample?,
            () = cancelled(cancel) => return Err(Failure::interrupted()),
        };
        if !quiet {
            say(format_args!("{:>3} of {count}: {}", n + 1, told(cell, &sample)));
        }
        samples.push((cell.profile.name, cell.variant.name.as_str(), sample));
    }
    Ok(Report {
        versions: backend.versions(),
        machine: Machine {
            cores: std::thread::available_parallelism()
                .context("counting the cores")?
                .get(),
            load_before,
            load_after: load()?,
        },
        seed: plan.seed,
        rounds: plan.rounds,
        seconds: begun.elapsed().as_secs_f64(),
        rows: rows(plan, &samples),
    })
}

async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(CANCEL_PERIOD).await;
    }
}

/// A line for a measurement.
fn told(cell: Cell<'_>, sample: &Sample) -> String {
    let what = format!("round {}, {}, {}", sample.round, cell.profile.name, cell.variant.name);
    if !sample.invalid.is_empty() {
        return format!("{what}: not valid: {}", sample.invalid.join("; "));
    }
    let figure = |figure| sample.figures.get(&figure).copied().unwrap_or_default();
    format!(
        "{what}: {} spans acknowledged, {:.0}/s, CPU {:.1} + {:.1} s per million spans",
        sample.acknowledged,
        figure(Figure::Throughput),
        figure(Figure::CollectorCpu),
        figure(Figure::TempoCpu)
    )
}

/// The load of the last minute: how many tasks ran or wanted to.
fn load() -> Result<f64> {
    let file = "/proc/loadavg";
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
    let first = text.split_whitespace().next().context("the load is empty")?;
    first.parse().with_context(|| format!("the load {first:?}"))
}
