//! `cargo xtask release`: what is to be published, and its publication.

mod checks;
pub mod github;
pub mod index;
pub mod init;
pub mod notes;
pub mod plan;
pub mod push;
pub mod rehearse;
pub mod verify;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::ctx::Ctx;

/// Publishes packaged charts, and checks what was published.
///
/// The order: `changed` and `bump`, a commit, `package --sign`, `release plan`, then `release push` to a
/// registry or `release index` for a static repository, `release verify`, and `release github` for a release with
/// notes there. `release init` sets all of that up once. Every step can be run again after a crash: it asks the
/// target what is there, and does only what is missing. `release rehearse` does all of it on this machine, with
/// nothing that lasts.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    #[command(subcommand)]
    command: ReleaseCommand,
}

#[derive(Debug, Subcommand)]
enum ReleaseCommand {
    Init(init::InitArgs),
    Plan(plan::PlanArgs),
    Notes(notes::NotesArgs),
    Index(index::IndexArgs),
    Push(push::PushArgs),
    #[command(name = "github")]
    GitHub(github::GitHubArgs),
    Verify(verify::VerifyArgs),
    Rehearse(rehearse::RehearseArgs),
}

pub fn run(ctx: &Ctx, args: &ReleaseArgs) -> Result<()> {
    match &args.command {
        ReleaseCommand::Init(args) => init::run(ctx, args),
        ReleaseCommand::Plan(args) => plan::run(ctx, args),
        ReleaseCommand::Notes(args) => notes::run(ctx, args),
        ReleaseCommand::Index(args) => index::run(ctx, args),
        ReleaseCommand::Push(args) => push::run(ctx, args),
        ReleaseCommand::GitHub(args) => github::run(ctx, args),
        ReleaseCommand::Verify(args) => verify::run(ctx, args),
        ReleaseCommand::Rehearse(args) => rehearse::run(ctx, args),
    }
}

/// The folder that `package` wrote to.
fn dist(ctx: &Ctx, from: Option<&PathBuf>) -> Result<PathBuf> {
    match from {
        Some(dir) => std::path::absolute(dir).with_context(|| format!("{} can't be a folder", dir.display())),
        None => Ok(ctx.workspace.root().join("dist")),
    }
}
