//! `cargo xtask down`: stops what `up` started and what a killed run left behind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stack_tests::e2e::run_dir;
use stack_tests::failure::{Failure, Kind};

use crate::cmd::e2e::{runs_dir, sweep};
use crate::cmd::up::PURPOSE;
use crate::ctx::Ctx;

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
    let mut stopped = 0;
    for run in run_dir::find(&runs)? {
        let Some(owner) = run.owner.filter(|owner| owner.purpose == PURPOSE) else {
            continue;
        };
        if ctx.args.dry_run {
            ctx.say(format!("would stop the stack of pid {}", owner.pid));
            continue;
        }
        // The lock is held, so this pid is the owner's and nobody else's.
        kill(Pid::from_raw(owner.pid), Signal::SIGTERM).with_context(|| format!("stopping pid {}", owner.pid))?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while run.path.exists()
            && run_dir::find(&runs)?
                .iter()
                .any(|r| r.path == run.path && r.owner.is_some())
        {
            ctx.runner.cancel().check()?;
            if Instant::now() > deadline {
                return Err(Failure::err(
                    Kind::Environment,
                    format!(
                        "the stack of pid {} did not stop in {} s",
                        owner.pid,
                        STOP_TIMEOUT.as_secs()
                    ),
                    format!("`kill -9 {}`, then run `cargo xtask down` again", owner.pid),
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        stopped += 1;
    }
    if ctx.args.dry_run {
        return Ok(());
    }
    sweep(ctx, &runs)?;
    ctx.say(if stopped > 0 {
        "the stack is down"
    } else {
        "no stack was up"
    });
    Ok(())
}
