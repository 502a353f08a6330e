//! `cargo xtask status`: what runs on this machine.

use anyhow::Result;
use clap::Args;
use kit::failure::Failure;
use kit::run_dir;
use stack_tests::client::tempo::Client;

use crate::ctx::Ctx;
use crate::local::{LOG, PURPOSE, running, runs_dir, runtime};

/// Shows whether the stack of `cargo xtask up` runs, whether it is ready, and where it is reached.
///
/// Exit code 0 if it is ready, 1 if it is not or does not run.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask status --format json")]
pub struct StatusArgs {}

/// Runs the command.
pub fn run(ctx: &Ctx, _args: &StatusArgs) -> Result<()> {
    let runs = runs_dir(ctx);
    for run in run_dir::find(&runs)? {
        match &run.owner {
            Some(owner) => ctx.say(format!(
                "{} run of pid {} in {}",
                owner.purpose,
                owner.pid,
                ctx.workspace.shown(&run.path)
            )),
            None => ctx.say(format!(
                "left by a killed run: {} (`cargo xtask down` removes it)",
                ctx.workspace.shown(&run.path)
            )),
        }
    }
    let Some((_, shown)) = running(&runs)? else {
        return Err(Failure::findings(
            "the stack is not up",
            "start it with `cargo xtask up`",
        ));
    };
    shown.print(ctx)?;
    let Some(query) = shown.get("tempo", "http") else {
        return Ok(());
    };
    let answer = runtime()?.block_on(async { Client::new(&format!("http://{query}"))?.ready().await })?;
    answer.map_err(|why| {
        Failure::findings(
            format!("Tempo is not ready: {why}"),
            format!("see {}", ctx.artifacts(PURPOSE).join(LOG).display()),
        )
    })
}
