//! `cargo xtask release github`: a release with notes and files on GitHub for each chart.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use kit::failure::Failure;
use release::changed::History;
use release::dist::{self as packages, Candidate};
use release::git::Git;
use release::github::{GitHub, GitHubAccess};
use release::hosted::{self, Host, Page, Release, Standing};
use release::notes;
use semver::Version;
use serde::Serialize;

use super::dist;
use crate::ctx::Ctx;

/// Makes a release on GitHub of each chart that `package` wrote: its notes, its archive, and what lies beside
/// that.
///
/// Every release begins as a draft, which only those see who may write, and all are published last: nobody is
/// shown half a release. GitHub makes the tag where it has none. A draft that an earlier run left is completed. A
/// published release keeps its notes; it gets files that it lacks, and is refused where it has others than were
/// packaged, signatures aside: they differ each time that they are made.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  GH_TOKEN=$(gh auth token) cargo xtask release github --repository OWNER/NAME
  cargo xtask --dry-run release github --repository OWNER/NAME")]
pub struct GitHubArgs {
    /// The folder that `package` wrote to [default: dist in the workspace].
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    #[command(flatten)]
    access: GitHubAccess,
}

/// What was done for a chart.
#[derive(Debug, Serialize)]
struct Released {
    chart: String,
    version: Version,
    /// The release's address, or why there is none.
    place: String,
    /// What this run did; nothing where all was there.
    done: Vec<String>,
}

/// What is to be done for a chart.
enum Work {
    /// Show this page, with the files of an earlier run's draft where there is one.
    Publish(Option<Release>, Page),
    /// Add what the published release lacks.
    Complete(Release),
    /// Nothing: where or why.
    Leave(String),
}

pub fn run(ctx: &Ctx, args: &GitHubArgs) -> Result<()> {
    let candidates = packages::read(&dist(ctx, args.from.as_ref())?)?;
    let github = GitHub::open(&args.access, ctx)?;
    let history = History::read(&ctx.workspace, Git::of(ctx)?)?;
    let releases = github.releases()?;
    // All are judged, and all notes written, before the first draft is made.
    let mut work = Vec::new();
    for candidate in &candidates {
        let tag = history.git.tag(&candidate.name, &candidate.version);
        work.push(match hosted::standing(&github, &releases, candidate, &tag)? {
            Standing::New => Work::Publish(None, page(ctx, &history, candidate, &tag)?),
            Standing::Begun(draft) => Work::Publish(Some(draft), page(ctx, &history, candidate, &tag)?),
            Standing::Published(release) => Work::Complete(release),
            Standing::Other(release) => Work::Leave(release.url),
            Standing::Tagged(at) => Work::Leave(unchanged_since(ctx, &history, candidate, &tag, &at)?),
        });
    }
    let mut progress = ctx.progress("releases on GitHub", candidates.len() as u64);
    let mut released = Vec::new();
    let mut drafts = Vec::new();
    for (candidate, work) in candidates.iter().zip(work) {
        let mut done = Vec::new();
        let (place, draft) = match work {
            Work::Publish(begun, page) => {
                let draft = match begun {
                    Some(draft) => draft,
                    None => github.draft(&page)?,
                };
                done.extend(hosted::complete(&github, candidate, &draft)?);
                (draft.url.clone(), Some((draft, page)))
            }
            Work::Complete(release) => {
                done.extend(hosted::complete(&github, candidate, &release)?);
                (release.url, None)
            }
            Work::Leave(place) => (place, None),
        };
        released.push(Released {
            chart: candidate.name.clone(),
            version: candidate.version.clone(),
            place,
            done,
        });
        drafts.push(draft);
        progress.advance(&candidate.name);
    }
    for (released, draft) in released.iter_mut().zip(drafts) {
        if let Some((draft, page)) = draft {
            released.place = github.publish(&draft, &page)?;
            released.done.push("published".to_owned());
        }
    }
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    let new = released.iter().filter(|r| !r.done.is_empty()).count();
    progress.finish(&format!("{new} of {} had something to do", released.len()));
    ctx.print(&released, text(&released))
}

/// A chart that is tagged at an earlier commit needs no release at this one, unless it has changed since.
fn unchanged_since(ctx: &Ctx, history: &History, candidate: &Candidate, tag: &str, at: &str) -> Result<String> {
    let commit = candidate.claim.commit.as_deref().unwrap_or("HEAD");
    let chart = ctx.workspace.chart(&candidate.name)?;
    let known = history.git.resolve(at)?.is_some();
    if known && history.changes(&chart, Some(at), commit)?.is_empty() {
        return Ok(format!(
            "{tag} is at {at}, and nothing of it has changed since; for its release, package it at that commit"
        ));
    }
    Err(Failure::findings(
        format!(
            "the tag {tag} is at {at} on GitHub, and {} was made from {commit}",
            candidate.file_name()
        ),
        "raise the version (`cargo xtask bump`), or, if nothing was published, remove that tag",
    ))
}

/// The notes are those of the chart's version here, which must be the packaged one.
fn page(ctx: &Ctx, history: &History, candidate: &Candidate, tag: &str) -> Result<Page> {
    candidate.tag_is_free(&history.git)?;
    let chart = ctx.workspace.chart(&candidate.name)?;
    if chart.metadata.version != candidate.version {
        return Err(Failure::findings(
            format!(
                "{} was packaged, and {} is at version {} here: its notes can't be written",
                candidate.file_name(),
                candidate.name,
                chart.metadata.version
            ),
            "package again, or `git switch --detach` to the commit that it was packaged from",
        ));
    }
    let notes = notes::of(ctx.workspace.root(), history, &chart)?;
    let commit = candidate.claim.commit.clone();
    Ok(Page {
        tag: tag.to_owned(),
        commit: commit.with_context(|| format!("{} names no commit", candidate.file_name()))?,
        title: format!("{} {}", candidate.name, candidate.version),
        notes: notes.text,
        candidate: !candidate.version.pre.is_empty(),
    })
}

fn text(released: &[Released]) -> String {
    let line = |r: &Released| match r.done.is_empty() {
        true => format!("{}: nothing to do", r.place),
        false => format!("{}: {}", r.place, r.done.join(", ")),
    };
    released.iter().map(line).collect::<Vec<_>>().join("\n")
}
