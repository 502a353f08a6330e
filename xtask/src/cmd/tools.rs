//! `cargo xtask tools`: the pinned programs.

use std::fmt::Write as _;

use anyhow::Result;
use charts::tools::Group;
use charts::tools::outdated::Pin;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::ctx::{Ctx, Format};

/// Lists, builds and locates the pinned tools.
///
/// Each tool is a Go module under ci/tools with its versions in go.mod and its checksums in go.sum.
/// A tool that PATH has in an accepted version is used as it is; any other is built once into
/// $XTASK_CACHE, else $XDG_CACHE_HOME/tempo-stack, else ~/.cache/tempo-stack.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask tools install\n  $(cargo xtask tools path helm) version")]
pub struct ToolsArgs {
    #[command(subcommand)]
    command: Option<ToolsCommand>,
}

#[derive(Debug, Subcommand)]
enum ToolsCommand {
    /// Shows each tool, its version and where it is (the default).
    List,
    /// Builds what is missing.
    Install {
        /// The tools to build; if none is named, all but those of a group of their own (`group` in tool.yaml).
        names: Vec<String>,
    },
    /// Shows which pinned modules have newer versions, as Go's module proxy says.
    Outdated,
    /// Prints the path of one tool and nothing else; builds it first if need be.
    Path {
        /// The tool's name, as `list` shows it.
        name: String,
    },
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    summary: String,
    group: Group,
    pinned: String,
    found: Option<String>,
    origin: Option<charts::tools::Origin>,
    path: Option<String>,
}

pub fn run(ctx: &Ctx, args: &ToolsArgs) -> Result<()> {
    match args.command.as_ref().unwrap_or(&ToolsCommand::List) {
        ToolsCommand::List => list(ctx),
        ToolsCommand::Install { names } => install(ctx, names),
        ToolsCommand::Outdated => outdated(ctx),
        ToolsCommand::Path { name } => path(ctx, name),
    }
}

fn path(ctx: &Ctx, name: &str) -> Result<()> {
    let path = ctx.toolbox.get(name)?.path.display().to_string();
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    ctx.print(&path, &path)
}

fn list(ctx: &Ctx) -> Result<()> {
    let mut rows = Vec::new();
    for tool in ctx.toolbox.tools() {
        let found = ctx.toolbox.find(&tool.name)?;
        rows.push(Row {
            name: tool.name.clone(),
            summary: tool.file.summary.clone(),
            group: tool.file.group,
            pinned: tool.file.version.to_string(),
            origin: found.as_ref().map(|f| f.origin),
            path: found.as_ref().map(|f| f.path.display().to_string()),
            found: found.map(|f| f.version.to_string()),
        });
    }
    let mut text = format!("{:<23} {:<9} {:<9} {}\n", "TOOL", "PINNED", "FOUND", "WHERE");
    for row in &rows {
        let found = row.found.as_deref().unwrap_or("-");
        let missing = format!("not built yet: `cargo xtask tools install {}` builds it", row.name);
        let place = row.path.as_deref().unwrap_or(&missing);
        writeln!(text, "{:<23} {:<9} {:<9} {}", row.name, row.pinned, found, place)?;
    }
    ctx.print(&rows, text)
}

fn outdated(ctx: &Ctx) -> Result<()> {
    // Programs of one folder have one go.mod.
    let mut tools: Vec<_> = ctx.toolbox.tools().iter().collect();
    tools.dedup_by(|one, other| one.dir == other.dir);
    let pins = ctx.runner.in_parallel(&tools, |tool| ctx.toolbox.pins(tool))?;
    let mut pins: Vec<Pin> = pins.into_iter().flatten().collect();
    pins.sort_by(|one, other| (&one.folder, &one.module).cmp(&(&other.folder, &other.module)));
    pins.dedup_by(|one, other| (&one.folder, &one.module) == (&other.folder, &other.module));
    let mut text = String::new();
    for pin in &pins {
        let Pin {
            folder, module, pinned, ..
        } = pin;
        match (&pin.newest, &pin.unknown) {
            (Some(newest), _) => writeln!(text, "{folder:<23} {module} {pinned} -> {newest}")?,
            (None, Some(why)) => writeln!(text, "{folder:<23} {module} {pinned}, newest not known: {why}")?,
            (None, None) => {}
        }
    }
    let newer = pins.iter().filter(|pin| pin.newest.is_some()).count();
    writeln!(text, "{newer} of {} pinned modules have newer versions", pins.len())?;
    ctx.print(&pins, text.trim_end())
}

fn install(ctx: &Ctx, names: &[String]) -> Result<()> {
    let names: Vec<&str> = match names {
        [] => {
            let default = ctx.toolbox.tools().iter().filter(|t| t.file.group == Group::Default);
            default.map(|t| t.name.as_str()).collect()
        }
        some => some.iter().map(String::as_str).collect(),
    };
    // All names are checked before the first build.
    for name in &names {
        ctx.toolbox.tool(name)?;
    }
    let mut installed = Vec::new();
    for name in names {
        let tool = ctx.toolbox.get(name)?;
        if !ctx.runner.plans() {
            ctx.say(format!("{name} {}: {}", tool.version, tool.path.display()));
        }
        installed.push(tool);
    }
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    match ctx.args.format {
        Format::Text => Ok(()),
        Format::Json => ctx.print(&installed, ""),
    }
}
