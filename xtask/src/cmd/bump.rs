//! `cargo xtask bump`: the next versions, written into Chart.yaml with every comment kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use charts::workspace::Chart;
use clap::{Args, ValueEnum};
use kit::failure::Failure;
use kit::whole_file::{self, Mode};
use release::changed::{Changed, History};
use release::commits::{Change, ChangeKind};
use release::edit::{At, set_annotation, set_scalar};
use release::git::Git;
use release::lock;
use release::range::raised;
use release::version::{Level, next, past};
use semver::Version;
use serde::Serialize;

use crate::ctx::Ctx;

/// Raises the versions of the charts that changed.
///
/// Writes version, the dependency's version in the charts that depend on it (with Chart.lock), and the
/// `artifacthub.io/changes` annotation. Only those bytes change: all comments stay, which is proved by
/// parsing the text before and after. A file that can't be edited for sure (anchors, duplicate keys) is
/// refused, and then no file is written at all.
///
/// `auto` raises each chart as far as `cargo xtask changed` says, once: a second run changes nothing.
/// A level raises the named charts in any case, and the charts that depend on them as far.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask bump                                     # as the commits since the last release say
  cargo xtask bump --chart tempo-stack --level minor
  cargo xtask bump --chart tempo-stack --app-version 2.10.9
  cargo xtask --dry-run bump                           # shows the differences, writes nothing")]
pub struct BumpArgs {
    /// How far.
    #[arg(long, value_enum, default_value_t = Wanted::Auto)]
    level: Wanted,
    /// Only these charts, and those that depend on them [default: all].
    #[arg(long, value_name = "CHART")]
    chart: Vec<String>,
    /// Sets appVersion in the charts that are raised.
    #[arg(long, value_name = "VERSION")]
    app_version: Option<String>,
    /// Compare with where HEAD and this branch, tag or commit part, as `changed` does.
    #[arg(long, value_name = "REF", env = "XTASK_SINCE")]
    since: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// As the commits say.
    Auto,
    Patch,
    Minor,
    Major,
}

impl Wanted {
    fn level(self) -> Option<Level> {
        match self {
            Wanted::Auto => None,
            Wanted::Patch => Some(Level::Patch),
            Wanted::Minor => Some(Level::Minor),
            Wanted::Major => Some(Level::Major),
        }
    }
}

/// What happened to a chart.
#[derive(Debug, Serialize)]
struct Raised {
    chart: String,
    from: Version,
    to: Version,
    /// The rewritten files, relative to the workspace.
    files: Vec<String>,
}

pub fn run(ctx: &Ctx, args: &BumpArgs) -> Result<()> {
    for name in &args.chart {
        ctx.workspace.chart(name)?;
    }
    let git = Git::of(ctx)?;
    let history = History::read(&ctx.workspace, git)?;
    let plan = plan(&history, args)?;
    let mut texts = Texts::default();
    let mut raised = Vec::new();
    for item in &plan {
        raised.push(edit(ctx, item, &plan, args, &mut texts)?);
    }
    let text = if ctx.args.dry_run {
        texts.diff(ctx)
    } else {
        summary(&raised)
    };
    if !ctx.args.dry_run {
        texts.write()?;
    }
    ctx.print(&raised, text)
}

struct Item<'a> {
    chart: &'a Chart,
    to: Version,
    changes: Vec<Change>,
}

/// The charts to raise, dependencies first.
fn plan<'a>(history: &'a History, args: &BumpArgs) -> Result<Vec<Item<'a>>> {
    let mut plan: Vec<Item> = Vec::new();
    for chart in history.in_order() {
        let family = history.family(chart);
        let selected = args.chart.is_empty() || family.iter().any(|name| args.chart.contains(name));
        if !selected {
            continue;
        }
        let base = match history.base(chart.name(), args.since.as_deref()) {
            // A given level needs no history; the notes then say nothing of it.
            Err(_) if args.level.level().is_some() => None,
            other => Some(other?),
        };
        let changed = match &base {
            Some(base) => history.changed(chart, base)?,
            None => None,
        };
        let taken = match args.level.level().is_some() || args.app_version.is_some() {
            true => history.taken(chart)?,
            false => Vec::new(),
        };
        let to = target(chart, changed.as_ref(), &taken, args);
        let changes = changed.map(|c| c.changes).unwrap_or_default();
        plan.extend(to.map(|to| Item { chart, to, changes }));
    }
    Ok(plan)
}

/// The version that a chart is to get; none if it stays.
fn target(chart: &Chart, changed: Option<&Changed>, taken: &[Version], args: &BumpArgs) -> Option<Version> {
    let version = &chart.metadata.version;
    let next = |level| past(next(version, level), taken);
    if let Some(level) = args.level.level() {
        return Some(next(level));
    }
    match changed {
        Some(changed) if changed.needs_bump => changed.next_version.clone(),
        // Raised already, since the base: the new appVersion goes out with that.
        Some(changed) if args.app_version.is_some() && changed.bump.is_some() => Some(version.clone()),
        _ if args.app_version.is_some() => Some(next(Level::Patch)),
        _ => None,
    }
}

/// Changes a chart's files in memory.
fn edit(ctx: &Ctx, item: &Item, plan: &[Item], args: &BumpArgs, texts: &mut Texts) -> Result<Raised> {
    let file = item.chart.dir.join("Chart.yaml");
    let refused = |error: anyhow::Error| {
        Failure::findings(
            format!("{} is not touched: {error:#}", ctx.workspace.shown(&file)),
            "set the versions there by hand, or write the file as plain YAML",
        )
    };
    let mut text = texts.get(&file)?;
    text = set_scalar(&text, &[At::Key("version")], &item.to.to_string()).map_err(refused)?;
    if let Some(app) = &args.app_version {
        text = set_scalar(&text, &[At::Key("appVersion")], app).map_err(refused)?;
    }
    let mut dependencies = Vec::new();
    let mut locked = Vec::new();
    // One chart may be there several times, under other names.
    for (at, dependency) in item.chart.metadata.dependencies.iter().enumerate() {
        let folder = dependency.folder(&item.chart.dir);
        let Some(other) = plan.iter().find(|other| Some(&other.chart.dir) == folder.as_ref()) else {
            continue;
        };
        let range = raised(&dependency.version, &other.to).ok_or_else(|| {
            refused(anyhow!(
                "it takes {} in version {:?}, which {} is not in",
                dependency.name,
                dependency.version,
                other.to
            ))
        })?;
        let path = [At::Key("dependencies"), At::Index(at), At::Key("version")];
        text = set_scalar(&text, &path, &range).map_err(refused)?;
        let update = (dependency.name.as_str(), other.to.to_string());
        if !dependencies.contains(&update) {
            dependencies.push(update);
        }
        locked.push((dependency, other.to.to_string()));
    }
    let notes = annotation(&item.changes, &dependencies);
    text = set_annotation(&text, "artifacthub.io/changes", &notes).map_err(refused)?;
    let lock_file = item.chart.dir.join("Chart.lock");
    if lock_file.is_file() && !locked.is_empty() {
        let mut lock = texts.get(&lock_file)?;
        for (dependency, version) in &locked {
            lock = lock::set_version(&lock, &text, &dependency.name, &dependency.repository, version)
                .with_context(|| format!("{} is not touched", ctx.workspace.shown(&lock_file)))?;
        }
        texts.set(&lock_file, lock);
    }
    texts.set(&file, text);
    let files = [file, lock_file];
    let written = files.iter().filter(|file| texts.changed(file));
    Ok(Raised {
        chart: item.chart.name().to_owned(),
        from: item.chart.metadata.version.clone(),
        to: item.to.clone(),
        files: written.map(|file| ctx.workspace.shown(file).to_string()).collect(),
    })
}

/// The value of `artifacthub.io/changes` (artifacthub.io/docs/topics/annotations/helm).
fn annotation(changes: &[Change], dependencies: &[(&str, String)]) -> String {
    let mut lines: Vec<(ChangeKind, String)> = changes
        .iter()
        .filter_map(|change| {
            Some((
                change.kind?,
                change.breaking.clone().unwrap_or(change.description.clone()),
            ))
        })
        .collect();
    lines.sort();
    lines.dedup();
    let updates = dependencies.iter();
    lines.extend(updates.map(|(name, version)| (ChangeKind::Changed, format!("Depends on {name} {version}"))));
    if lines.is_empty() {
        lines.push((ChangeKind::Changed, "Maintenance".to_owned()));
    }
    let entry = |(kind, description): &(ChangeKind, String)| {
        let (kind, description) = (serde_json::json!(kind), serde_json::json!(description));
        format!(
            "- kind: {}\n  description: {description}\n",
            kind.as_str().unwrap_or_default()
        )
    };
    lines.iter().map(entry).collect()
}

fn summary(raised: &[Raised]) -> String {
    if raised.is_empty() {
        return "every version is high enough".to_owned();
    }
    let line = |r: &Raised| format!("{}: {} -> {} in {}", r.chart, r.from, r.to, r.files.join(", "));
    raised.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Files with their texts before and after; written only once all edits succeeded.
#[derive(Debug, Default)]
struct Texts {
    files: BTreeMap<PathBuf, (String, String)>,
}

impl Texts {
    fn get(&mut self, file: &Path) -> Result<String> {
        if let Some((_, after)) = self.files.get(file) {
            return Ok(after.clone());
        }
        let text = fs_err::read_to_string(file)?;
        self.files.insert(file.to_path_buf(), (text.clone(), text.clone()));
        Ok(text)
    }

    fn set(&mut self, file: &Path, text: String) {
        if let Some((_, after)) = self.files.get_mut(file) {
            *after = text;
        }
    }

    fn changed(&self, file: &Path) -> bool {
        self.files.get(file).is_some_and(|(before, after)| before != after)
    }

    fn write(&self) -> Result<()> {
        for (file, (_, text)) in self.files.iter().filter(|(_, (before, after))| before != after) {
            whole_file::write(file, text, Mode::Kept)?;
        }
        Ok(())
    }

    fn diff(&self, ctx: &Ctx) -> String {
        let mut text = String::new();
        for (file, (before, after)) in self.files.iter().filter(|(_, (before, after))| before != after) {
            let shown = ctx.workspace.shown(file).to_string();
            let diff = similar::TextDiff::from_lines(before, after);
            text.push_str(&diff.unified_diff().header(&shown, &shown).to_string());
        }
        if text.is_empty() {
            text.push_str("every version is high enough");
        }
        text
    }
}
