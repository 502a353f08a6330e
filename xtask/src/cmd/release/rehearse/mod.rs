//! `cargo xtask release rehearse`: a whole release on this machine, with nothing that lasts.

mod cluster;
mod install;
mod publish;
mod stage;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use kit::disk;
use kit::progress::say;
use page::document::{Document, Kind};
use stack_tests::report::{Report, ScenarioReport, Status};

use cluster::OwnCluster;
use stage::Stage;

use crate::ctx::Ctx;
use crate::outputs::{Outputs, this_run};

/// What a rehearsal writes: a clone, the archives in five places, and room for a cluster.
const SPACE: u64 = 2 << 30;
/// How often a rehearsal that is kept looks for Ctrl-C.
const LOOKS: Duration = Duration::from_millis(100);

/// Rehearses a release of the last commit: with a git remote, a registry, a site and keys that are made for the run
/// and removed with it.
///
/// In a clone it commits a change, and runs what releases run: `changed`, `bump`, `release notes`, `release plan`,
/// `package --sign`, `release push`, `release index --push` and `release verify` of both places. Then helm 3 and helm 4
/// install what was published, from homes of their own, by the commands that the README of each published chart and
/// helm's notes print: on a kind cluster of its own, where `helm test` must pass, and rendered and verified
/// without one. Where Docker doesn't answer, the cluster's part is reported as skipped, with the reason.
///
/// Several rehearsals at a time take turns in the cluster. Exit code 1 if anything failed.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask release rehearse                      # 2 GiB of disk; on a cluster where Docker runs
  cargo xtask release rehearse --without-cluster    # the short form
  cargo xtask release rehearse --keep               # look at everything until Ctrl-C")]
pub struct RehearseArgs {
    /// Render what was published instead of installing it on a cluster.
    #[arg(long)]
    without_cluster: bool,
    /// Leave everything as it is until Ctrl-C, and say where it is.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    outputs: Outputs,
}

pub fn run(ctx: &Ctx, args: &RehearseArgs) -> Result<()> {
    args.outputs.make_way()?;
    let this_run = this_run(ctx, 0);
    let started = Instant::now();
    ctx.sweep(&[])?;
    disk::require(&std::env::temp_dir(), SPACE, "the rehearsal")?;
    let versions = install::versions(ctx)?;
    let stage = Stage::set(ctx)?;
    let mut cluster = None;
    let result = rehearse(&stage, args, &mut cluster);
    if ctx.runner.plans() {
        return result.and_then(|()| ctx.print_planned());
    }
    if ctx.runner.cancel().is_cancelled() {
        return result;
    }
    let mut rehearsal = stage.recorder.finish();
    rehearsal.proves = "what is released is installed from where it was published, by the commands that are printed";
    let backend = if cluster.is_some() { "kind" } else { "local" };
    let report = Report::new(backend, versions, started.elapsed(), vec![rehearsal]);
    let document = Document::new(Kind::E2e, &this_run, &report)?;
    ctx.print(&document, summary(&report))?;
    args.outputs.write(&document)?;
    if args.keep {
        hold(&stage, cluster.as_ref());
    }
    if let Some(cluster) = cluster {
        cluster.remove()?;
    }
    result
}

fn rehearse(stage: &Stage, args: &RehearseArgs, cluster: &mut Option<OwnCluster>) -> Result<()> {
    publish::all(stage)?;
    let charts = install::charts(stage)?;
    for chart in &charts {
        install::render(stage, chart)?;
    }
    let up = match args.without_cluster {
        true => Err("--without-cluster was given".to_owned()),
        false => OwnCluster::up(stage)?,
    };
    match up {
        Ok(up) => cluster.insert(up).install(stage, &charts),
        Err(why) => {
            stage.recorder.skip("installation on a cluster", why);
            Ok(())
        }
    }
}

/// The report for people: what was skipped, and the count.
fn summary(report: &Report) -> String {
    let versions: Vec<String> = report.versions.iter().map(|(tool, v)| format!("{tool} {v}")).collect();
    let counts = report.scenarios.iter().map(ScenarioReport::counts);
    let counts: Vec<String> = counts.collect();
    let skipped = report.scenarios.iter().flat_map(|scenario| &scenario.checks);
    let skipped = skipped.filter(|check| check.status == Status::Skipped);
    let mut lines: Vec<String> = skipped
        .map(|check| format!("skipped: {}: {}", check.name, check.detail))
        .collect();
    let word = if report.failed > 0 { "failed" } else { "passed" };
    lines.push(format!(
        "rehearsal {word}: {}, {}, {:.1} s",
        counts.join(", "),
        versions.join(", "),
        report.seconds
    ));
    lines.join("\n")
}

/// Leaves everything up until the user asks to stop.
fn hold(stage: &Stage, cluster: Option<&OwnCluster>) {
    for line in stage.places().into_iter().chain(cluster.map(OwnCluster::place)) {
        say(format_args!("kept: {line}"));
    }
    say("everything stays until Ctrl-C, which removes it");
    // This Ctrl-C is how the run is meant to end: what follows isn't interrupted by it.
    while !stage.ctx.runner.cancel().take() {
        std::thread::sleep(LOOKS);
    }
}
