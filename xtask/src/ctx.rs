//! What every command is handed: the project, and how to speak.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use charts::project::{Options, Project};
use charts::tools::Toolbox;
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use kit::step::Cancel;
use serde::Serialize;

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Print the programs that would run; only those that change nothing run (`git log`, `docker inspect`).
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Show the command lines that run.
    #[arg(long, short, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Show only results and errors, no progress.
    #[arg(long, short, global = true, env = "XTASK_QUIET", value_parser = FalseyValueParser::new())]
    pub quiet: bool,
    /// How results are printed on standard output.
    #[arg(long, global = true, value_enum, env = "XTASK_FORMAT", default_value_t = Format::Text)]
    pub format: Format,
    /// Where a command leaves its files [default: target/xtask/<command>].
    #[arg(long, global = true, value_name = "DIR", env = "XTASK_ARTIFACTS")]
    pub artifacts: Option<PathBuf>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// Built once by a command, passed down.
#[derive(Debug, Clone)]
pub struct Ctx {
    project: Project,
    pub args: GlobalArgs,
}

impl Deref for Ctx {
    type Target = Project;

    fn deref(&self) -> &Project {
        &self.project
    }
}

impl Ctx {
    pub fn new(args: GlobalArgs, cancel: Cancel) -> Result<Ctx> {
        let options = Options {
            plan: args.dry_run,
            verbose: args.verbose > 0,
            quiet: args.quiet,
            artifacts: args.artifacts.clone(),
        };
        Ok(Ctx {
            project: Project::find(options, cancel)?,
            args,
        })
    }

    /// The tools, to name others.
    pub fn toolbox_mut(&mut self) -> &mut Toolbox {
        &mut self.project.toolbox
    }

    /// Prints `value` if `--format json` is on, else `text`.
    pub fn print(&self, value: &impl Serialize, text: impl AsRef<str>) -> Result<()> {
        match self.args.format {
            Format::Text => print_line(text.as_ref()),
            Format::Json => print_line(&serde_json::to_string_pretty(value).context("writing JSON")?),
        }
    }

    /// Says that something is done; with `--format json` prints `value` instead.
    pub fn conclude(&self, value: &impl Serialize, line: impl AsRef<str>) -> Result<()> {
        match self.args.format {
            Format::Text => {
                self.say(line);
                Ok(())
            }
            Format::Json => self.print(value, ""),
        }
    }

    /// Prints what a plan noted, at the end of a command.
    pub fn print_planned(&self) -> Result<()> {
        let steps = self.runner.planned();
        let text = steps
            .iter()
            .map(|s| format!("# {}\n{}", s.name, s.command_line()))
            .collect::<Vec<_>>()
            .join("\n");
        self.print(&steps, text)
    }
}

static PRINTED: AtomicBool = AtomicBool::new(false);

/// Whether anything was printed to standard output.
pub fn has_printed() -> bool {
    PRINTED.load(Ordering::Relaxed)
}

/// Prints to standard output; a closed pipe (`| head`) ends the program's output, not the program.
pub fn print_line(text: &str) -> Result<()> {
    use std::io::Write;
    PRINTED.store(true, Ordering::Relaxed);
    match writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n')) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}
