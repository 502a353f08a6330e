//! What the commands share that run the stack as processes of this machine: where runs live, what a killed
//! one left, and which stack is up.

pub mod claim;
pub mod endpoints;
pub mod programs;
pub mod values;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kit::run_dir;

use crate::ctx::Ctx;
use crate::local::endpoints::Shown;

/// Logs, blocks and queues of the scenarios that run at the same time stay under this.
pub const RUN_SPACE: u64 = 1024 * 1024 * 1024;

/// What `up` runs are called in their run folders.
pub const PURPOSE: &str = "up";
/// What the background process says, in the artifacts folder.
pub const LOG: &str = "up.log";
/// The folder that all runs of this checkout have their folders in.
pub fn runs_dir(ctx: &Ctx) -> PathBuf {
    ctx.target_dir().join("xtask").join("runs")
}

/// A runtime for the asynchronous part.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")
}

/// Stops what a killed run left behind, so that it can't disturb this one.
pub fn sweep(ctx: &Ctx, runs: &Path) -> Result<()> {
    let (processes, folders) = run_dir::sweep(&[runs, &ctx.toolbox.builds()])?;
    if folders > 0 {
        ctx.say(format!(
            "cleaned up after a killed run: {processes} processes stopped, {folders} folders removed"
        ));
    }
    Ok(())
}

/// The `up` that runs in this checkout: its pid and where it is reached.
pub fn running(runs: &Path) -> Result<Option<(i32, Shown)>> {
    for run in run_dir::find(runs)? {
        if let Some(owner) = run.owner.filter(|owner| owner.purpose == PURPOSE)
            && let Some(shown) = Shown::read(&run.path)?
        {
            return Ok(Some((owner.pid, shown)));
        }
    }
    Ok(None)
}
