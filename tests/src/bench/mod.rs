//! What the stack costs: CPU time, memory and disk of variants of it, side by side in one run.
//!
//! A [`plan`] orders the measurements so that what else the machine does hits all variants alike; each of them
//! has a stack of its own. Figures are compared within a round only, and the [`report`] keeps all of them.

mod blocks;
pub mod bounds;
mod cell;
pub mod compare;
pub mod figure;
mod found;
pub mod history;
mod kill;
pub mod parts;
pub mod plan;
pub mod profile;
pub mod report;
mod settings;
pub mod sizing;
mod table;
pub mod variant;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::progress::say;
use kit::step::Cancel;
use semver::Version;

use self::cell::Bench;
use self::figure::Figure;
use self::plan::{Cell, Plan};
use self::report::{Machine, Report, Sample, VariantReport, figures, rows};
use self::settings::Settings;
use self::variant::Variant;
use crate::backend::Backend;
use crate::client::engine::Engine;

/// How often Ctrl-C is looked for.
const CANCEL_PERIOD: Duration = Duration::from_millis(100);

/// Runs the plan, one stack at a time; the command is the line that the report names. On Ctrl-C nothing is waited
/// for: the stack that is up is stopped.
pub async fn run(backend: &dyn Backend, plan: &Plan, cancel: &Cancel, quiet: bool) -> Result<Report> {
    plan.check()?;
    let engine = engine(backend)?;
    let begun = Instant::now();
    let load_before = load()?;
    let cells = plan.cells();
    let count = cells.len();
    let mut samples = Vec::new();
    let mut settings: BTreeMap<String, Settings> = BTreeMap::new();
    for (n, cell) in cells.into_iter().enumerate() {
        let bench = Bench {
            backend,
            engine,
            amount: plan.amount,
            beside: plan.beside,
            seed: plan.seed.wrapping_add(u64::from(cell.round) << 16),
            cancel,
        };
        // What is dropped is stopped.
        let (sample, tempo) = tokio::select! {
            measured = bench.measure(cell) => measured?,
            () = cancelled(cancel) => return Err(Failure::interrupted()),
        };
        if !quiet {
            say(format_args!("{:>3} of {count}: {}", n + 1, told(cell, &sample)));
        }
        settings.insert(cell.variant.name.clone(), tempo);
        samples.push((cell.profile.name.as_ref(), cell.variant.name.as_str(), sample));
    }
    let mut report = Report {
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
        ratio_to: plan
            .variants
            .first()
            .map(|first| first.name.clone())
            .unwrap_or_default(),
        profiles: plan.sent(),
        variants: variants(plan, engine, &settings)?,
        figures: figures(),
        rows: rows(plan, &samples),
        history: history::rows(),
        bounds: Vec::new(),
        comparison: None,
    };
    report.bounds = bounds::verdicts(&report);
    Ok(report)
}

fn engine(backend: &dyn Backend) -> Result<Engine> {
    let versions = backend.versions();
    let version = versions.get("tempo").context("the backend names no version of Tempo")?;
    let version = Version::parse(version).with_context(|| format!("Tempo's version {version:?}"))?;
    Ok(Engine::of(&version))
}

fn variants(plan: &Plan, engine: Engine, settings: &BTreeMap<String, Settings>) -> Result<Vec<VariantReport>> {
    let told = |variant: &Variant| {
        let values = serde_json::to_value(variant.values(engine)?);
        Ok(VariantReport {
            name: variant.name.clone(),
            about: variant.about.clone(),
            values: values.with_context(|| format!("writing the values of {:?} as JSON", variant.name))?,
            tempo: settings
                .get(&variant.name)
                .map(|settings| settings.by_key.clone())
                .unwrap_or_default(),
        })
    };
    plan.variants.iter().map(told).collect()
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
