//! `cargo xtask release plan`: what would be published, and why.

use anyhow::Result;
use charts::project::Project;
use charts::workspace::Chart;
use clap::Args;
use kit::failure::{Failure, Kind};
use release::access::Access;
use release::annotate::is_local;
use release::changed::History;
use release::git::Git;
use release::package::{self, committed, packer};
use release::packer::{Packer, Signing};
use release::target::{State, Target};
use semver::Version;
use serde::Serialize;

use crate::ctx::Ctx;

/// Shows what would be published, and why.
///
/// The target is asked what it has; git is asked only whether the charts are committed and tagged. Each
/// chart is packaged in a temporary folder, as the last commit has it: one whose version is published is compared with it, file by
/// file. Exit code 1 if a chart can't be released as it is.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask release plan --to oci://registry.example.com/charts
  cargo xtask release plan --to https://charts.example.com --format json")]
pub struct PlanArgs {
    /// Where to: oci://HOST/PATH, https://HOST/PATH, or the folder of a static repository.
    #[arg(long, value_name = "TARGET", env = "XTASK_RELEASE_TO")]
    to: String,
    /// Allow a version below the highest published one.
    #[arg(long)]
    backport: bool,
    #[command(flatten)]
    access: Access,
}

/// What is to happen to a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Release,
    Published,
    /// It must not be published as it is.
    Blocked,
}

#[derive(Debug, Serialize)]
struct Row {
    chart: String,
    version: Version,
    action: Action,
    why: Vec<String>,
}

pub fn run(ctx: &Ctx, args: &PlanArgs) -> Result<()> {
    let git = Git::of(ctx);
    let epoch = package::epoch(&git)?;
    let git = git?;
    let commit = git.head()?;
    let (project, _temp) = committed(ctx, &git, &commit)?;
    let history = History::read(&project.workspace, git)?;
    let target = Target::open(&args.to, &args.access, ctx)?;
    let packer = packer(&project, epoch, Some(commit), false)?;
    let mut rows = Vec::new();
    for chart in history.in_order() {
        rows.push(row(&project, &history, chart, &packer, &target, args)?);
    }
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    ctx.print(&rows, text(&rows))?;
    let blocked: Vec<_> = rows
        .iter()
        .filter(|r| r.action == Action::Blocked)
        .map(|r| r.chart.as_str())
        .collect();
    if blocked.is_empty() {
        return Ok(());
    }
    Err(Failure::findings(
        format!("{} can't be released as it is, see above", blocked.join(", ")),
        "fix what the plan names, then run it again",
    ))
}

fn row(
    project: &Project,
    history: &History,
    chart: &Chart,
    packer: &Packer,
    target: &Target,
    args: &PlanArgs,
) -> Result<Row> {
    let version = chart.metadata.version.clone();
    let packed = packer.pack(chart, &Signing::default())?;
    let (mut action, mut why) = match target.state(chart.name(), &version, &packed.archive, args.backport) {
        Ok(State::New(None)) => (Action::Release, vec!["nothing of it is published".to_owned()]),
        Ok(State::New(Some(highest))) => (
            Action::Release,
            vec![format!("the highest published version is {highest}")],
        ),
        Ok(State::Same(_)) => (Action::Published, vec!["published, with the same files".to_owned()]),
        Err(error)
            if error
                .downcast_ref::<Failure>()
                .is_some_and(|f| f.kind == Kind::Findings) =>
        {
            (Action::Blocked, vec![format!("{error:#}")])
        }
        Err(error) => return Err(error),
    };
    let mut obstacles = match action {
        Action::Release => obstacles(project, history, chart)?,
        _ => Vec::new(),
    };
    if history.dirty(chart)? {
        obstacles.insert(0, "there are changes that are not committed".to_owned());
    }
    if !obstacles.is_empty() {
        action = Action::Blocked;
        why.extend(obstacles);
    }
    Ok(Row {
        chart: chart.name().to_owned(),
        version,
        action,
        why,
    })
}

fn obstacles(project: &Project, history: &History, chart: &Chart) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let local = chart.metadata.dependencies.iter().find(|d| is_local(&d.repository));
    if let Some(local) = local.filter(|_| project.publication.charts.is_none()) {
        found.push(format!(
            "it depends on {} by a file:// address, and `published-charts` is not set",
            local.name
        ));
    }
    let (tagged, head) = (
        history.git.tagged(chart.name(), &chart.metadata.version)?,
        history.git.head()?,
    );
    if let Some(tagged) = tagged.filter(|tagged| *tagged != head) {
        found.push(format!(
            "the tag {} is at {tagged}",
            history.git.tag(chart.name(), &chart.metadata.version)
        ));
    }
    Ok(found)
}

fn text(rows: &[Row]) -> String {
    let mut lines: Vec<_> = rows
        .iter()
        .map(|row| {
            let word = match row.action {
                Action::Release => "release",
                Action::Published => "published",
                Action::Blocked => "BLOCKED",
            };
            format!("{word:<10} {} {}: {}", row.chart, row.version, row.why.join("; "))
        })
        .collect();
    if rows.iter().all(|row| row.action == Action::Published) {
        lines.push("nothing to do".to_owned());
    }
    lines.join("\n")
}
