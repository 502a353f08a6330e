//! `cargo xtask down`: stops what `up` started and what a killed run left behind.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use kit::failure::Failure;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ctx::Ctx;
use crate::local::claim::Claim;
use crate::local::{runs_dir, sweep};

/// Longer than the grace periods of both programs together.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);

/// Stops the stack that `cargo xtask up` started, and its traces go.
///
/// Cleans up after runs that were killed, too: their processes are stopped and their folders
/// removed. An end-to-end run that is still going is left alone. Nothing to do is no error.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask down")]
pub struct DownArgs {}

/// Runs the command.
pub fn run(ctx: &Ctx, _args: &DownArgs) -> Result<()> {
    let runs = runs_dir(ctx);
    if ctx.runner.plans() {
        // It starts no program: the signal is its own.
        if let Some(pid) = Claim::owner(&runs)? {
            ctx.say(format!("SIGTERM to pid {pid}"));
        }
        return ctx.print_planned();
    }
    let (stopped, claim) = stop(ctx, &runs)?;
    sweep(ctx, &runs)?;
    // Held until here, so that no `up` starts in between.
    drop(claim);
    let line = if stopped {
        "the stack is down"
    } else {
        "no stack was up"
    };
    ctx.conclude(&serde_json::json!({"stopped": stopped}), line)
}

/// Asks the `up` that runs or starts to stop and waits for its end. Returns whether there was one.
fn stop(ctx: &Ctx, runs: &Path) -> Result<(bool, Claim)> {
    let deadline = Instant::now() + STOP_TIMEOUT;
    let mut asked = None;
    loop {
        if let Some(claim) = Claim::take(runs)? {
            return Ok((asked.is_some(), claim));
        }
        if let Some(pid) = Claim::owner(runs)?
            && asked != Some(pid)
        {
            // Gone between the look and the signal is as good as stopped.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            asked = Some(pid);
        }
        ctx.runner.cancel().check()?;
        if Instant::now() > deadline {
            let pid = asked.map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
            return Err(Failure::environment(
                format!("the stack of pid {pid} did not stop in {} s", STOP_TIMEOUT.as_secs()),
                format!("`kill -9 {pid}`, then run `cargo xtask down` again"),
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
