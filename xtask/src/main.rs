//! Automation of the tempo-stack charts: `cargo xtask --help`.

mod cmd;
mod ctx;
mod generated;
mod local;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use kit::failure::{Failure, kind_of, remedy_of};
use kit::progress::say;
use kit::step::Cancel;

use crate::ctx::{Ctx, Format, GlobalArgs};

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
    E2e(cmd::e2e::E2eArgs),
    Up(cmd::up::UpArgs),
    Down(cmd::down::DownArgs),
    Status(cmd::status::StatusArgs),
    Cluster(cmd::cluster::ClusterArgs),
    Changed(cmd::changed::ChangedArgs),
    Bump(cmd::bump::BumpArgs),
    Package(cmd::package::PackageArgs),
    Release(cmd::release::ReleaseArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let cancel = Cancel::default();
    match run(&cli, &cancel) {
        Ok(()) => ExitCode::SUCCESS,
        // A program that shares this process group ends by Ctrl-C too: that is no failure of its own.
        Err(_) if cancel.is_cancelled() => report(&cli, &Failure::interrupted()),
        Err(error) => report(&cli, &error),
    }
}

/// Says what went wrong and what to do, on standard error; with `--format json` as the document on
/// standard output, too, unless the results stand there already.
fn report(cli: &Cli, error: &anyhow::Error) -> ExitCode {
    let (code, remedy) = (kind_of(error).exit_code(), remedy_of(error));
    if cli.global.format == Format::Json && !ctx::has_printed() {
        let document = serde_json::json!({"error": format!("{error:#}"), "remedy": remedy, "exit_code": code});
        // Without a standard output there is still standard error.
        let _ = ctx::print_line(&document.to_string());
    }
    say(format_args!("error: {error:#}"));
    if let Some(remedy) = remedy {
        say(format_args!("  try: {remedy}"));
    }
    ExitCode::from(code)
}

fn run(cli: &Cli, cancel: &Cancel) -> Result<()> {
    let flag = cancel.clone();
    ctrlc::set_handler(move || flag.cancel()).context("listening for Ctrl-C")?;
    let ctx = Ctx::new(cli.global.clone(), cancel.clone())?;
    match &cli.command {
        Command::Doctor(args) => cmd::doctor::run(&ctx, args),
        Command::Tools(args) => cmd::tools::run(&ctx, args),
        Command::Template(args) => cmd::template::run(&ctx, args),
        Command::Lint(args) => cmd::lint::run(&ctx, args),
        Command::Docs(args) => cmd::docs::run(&ctx, args),
        Command::Schemas(args) => cmd::schemas::run(&ctx, args),
        Command::Test(args) => cmd::test::run(&ctx, args),
        Command::E2e(args) => cmd::e2e::run(&ctx, args),
        Command::Up(args) => cmd::up::run(&ctx, args),
        Command::Down(args) => cmd::down::run(&ctx, args),
        Command::Status(args) => cmd::status::run(&ctx, args),
        Command::Cluster(args) => cmd::cluster::run(&ctx, args),
        Command::Changed(args) => cmd::changed::run(&ctx, args),
        Command::Bump(args) => cmd::bump::run(&ctx, args),
        Command::Package(args) => cmd::package::run(&ctx, args),
        Command::Release(args) => cmd::release::run(&ctx, args),
    }
}
