//! Automation of the tempo-stack charts: `cargo xtask --help`.

mod archive;
mod cmd;
mod ctx;
#[cfg(feature = "e2e")]
mod endpoints;
mod generated;
mod release;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use stack_tests::failure::{kind_of, remedy_of};
use stack_tests::step::Cancel;

use crate::ctx::{Ctx, GlobalArgs};

/// Templates, lints, tests, packages and proves the tempo-stack charts.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    color = clap::ColorChoice::Auto,
    after_help = "Exit codes: 0 fine, 1 findings or failed checks, 2 usage, 3 a tool is missing or can't be built, \
                  4 the environment (disk, ports, cluster), 130 interrupted."
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Doctor(cmd::doctor::DoctorArgs),
    Tools(cmd::tools::ToolsArgs),
    Template(cmd::template::TemplateArgs),
    Lint(cmd::lint::LintArgs),
    Docs(cmd::docs::DocsArgs),
    Schemas(cmd::schemas::SchemasArgs),
    Test(cmd::test::TestArgs),
    #[cfg(feature = "e2e")]
    E2e(cmd::e2e::E2eArgs),
    #[cfg(feature = "e2e")]
    Up(cmd::up::UpArgs),
    #[cfg(feature = "e2e")]
    Down(cmd::down::DownArgs),
    #[cfg(feature = "e2e")]
    Status(cmd::status::StatusArgs),
    Changed(cmd::changed::ChangedArgs),
    Bump(cmd::bump::BumpArgs),
    Package(cmd::package::PackageArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(remedy) = remedy_of(&error) {
                eprintln!("  try: {remedy}");
            }
            ExitCode::from(kind_of(&error).exit_code())
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let cancel = Cancel::default();
    let flag = cancel.clone();
    ctrlc::set_handler(move || flag.cancel()).context("listening for Ctrl-C")?;
    let ctx = Ctx::new(cli.global.clone(), cancel)?;
    match &cli.command {
        Command::Doctor(args) => cmd::doctor::run(&ctx, args),
        Command::Tools(args) => cmd::tools::run(&ctx, args),
        Command::Template(args) => cmd::template::run(&ctx, args),
        Command::Lint(args) => cmd::lint::run(&ctx, args),
        Command::Docs(args) => cmd::docs::run(&ctx, args),
        Command::Schemas(args) => cmd::schemas::run(&ctx, args),
        Command::Test(args) => cmd::test::run(&ctx, args),
        #[cfg(feature = "e2e")]
        Command::E2e(args) => cmd::e2e::run(&ctx, args),
        #[cfg(feature = "e2e")]
        Command::Up(args) => cmd::up::run(&ctx, args),
        #[cfg(feature = "e2e")]
        Command::Down(args) => cmd::down::run(&ctx, args),
        #[cfg(feature = "e2e")]
        Command::Status(args) => cmd::status::run(&ctx, args),
        Command::Changed(args) => cmd::changed::run(&ctx, args),
        Command::Bump(args) => cmd::bump::run(&ctx, args),
        Command::Package(args) => cmd::package::run(&ctx, args),
    }
}
