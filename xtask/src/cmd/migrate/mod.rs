//! `cargo xtask migrate`: the way here from other charts.

pub mod values;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::ctx::Ctx;

/// Takes over what runs with another chart of Tempo.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(subcommand)]
    command: MigrateCommand,
}

#[derive(Debug, Subcommand)]
enum MigrateCommand {
    Values(values::ValuesArgs),
}

pub fn run(ctx: &Ctx, args: &MigrateArgs) -> Result<()> {
    match &args.command {
        MigrateCommand::Values(args) => values::run(ctx, args),
    }
}
