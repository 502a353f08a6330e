//! Automation of the tempo-stack charts: `cargo xtask --help`.

mod cmd;
mod ctx;
mod generated;
mod local;
mod outputs;
mod seed;

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

/// Names each command once: its variant, its module and its arguments.
macro_rules! commands {
    ($($name:ident($module:ident::$args:ident),)*) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($name(cmd::$module::$args),)*
        }

        impl Command {
            fn run(&self, ctx: &Ctx) -> Result<()> {
                match self {
                    $(Command::$name(args) => cmd::$module::run(ctx, args),)*
                }
            }
        }
    };
}

commands! {
    Doctor(doctor::DoctorArgs),
    Tools(tools::ToolsArgs),
    Template(template::TemplateArgs),
    Lint(lint::LintArgs),
    Docs(docs::DocsArgs),
    Schemas(schemas::SchemasArgs),
    Test(test::TestArgs),
    E2e(e2e::E2eArgs),
    Bench(bench::BenchArgs),
    Faults(faults::FaultsArgs),
    Report(report::ReportArgs),
    Up(up::UpArgs),
    Down(down::DownArgs),
    Status(status::StatusArgs),
    Cluster(cluster::ClusterArgs),
    Changed(changed::ChangedArgs),
    Bump(bump::BumpArgs),
    Migrate(migrate::MigrateArgs),
    Package(package::PackageArgs),
    Release(release::ReleaseArgs),
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
    cli.command.run(&ctx)
}
