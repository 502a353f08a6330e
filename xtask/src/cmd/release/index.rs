//! `cargo xtask release index`: charts into a static repository, no entry lost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use kit::failure::Failure;
use kit::run_dir::RunDir;
use kit::whole_file::{self, Mode};
use release::archive;
use release::dist::{self as packages, COMPANIONS, Candidate};
use release::git::Git;
use release::index::{self, Entry, Index};
use release::package::copy;
use release::site::{METADATA, SUBJECT, Site};
use release::target::{judge, same_files};
use semver::Version;
use serde::Serialize;

use super::dist;
use crate::ctx::Ctx;

/// Copies what `package` wrote into a static chart repository and adds it to its index.yaml.
///
/// ci/artifacthub-repo.yml is copied beside it. An entry that is there is never changed or dropped. The command refuses to write when the old index
/// can't be read, and merges anew when somebody else wrote it meanwhile; several runs at the same time
/// wait for each other. Archives are copied before the index names them, each file whole or not at all:
/// after a crash, run the same command again.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask release index ../gh-pages --url https://charts.example.com --push
  cargo xtask release index ../gh-pages --url https://charts.example.com --prune")]
pub struct IndexArgs {
    /// The repository's folder; made if it isn't there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The address under which the folder is published.
    #[arg(long, value_name = "URL", env = "XTASK_RELEASE_URL")]
    url: String,
    /// The folder that `package` wrote to [default: dist in the workspace].
    #[arg(long, value_name = "FROM")]
    from: Option<PathBuf>,
    /// Drop the entries whose archives are no longer in DIR, of those that the index has there.
    #[arg(long)]
    prune: bool,
    /// Commit DIR, a git checkout, and push it; where others pushed first, merge anew on what they pushed.
    #[arg(long)]
    push: bool,
    /// Allow a version below the highest published one.
    #[arg(long)]
    backport: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    /// `chart-version` of each new entry.
    added: Vec<String>,
    /// Those that were there with the same files.
    unchanged: Vec<String>,
    /// Those that `--prune` dropped.
    pruned: Vec<String>,
    written: bool,
    /// Whether Artifact Hub's file beside it was written.
    metadata: bool,
    /// The names of all that was written, and of the archives that are gone.
    #[serde(skip)]
    files: Vec<String>,
}

pub fn run(ctx: &Ctx, args: &IndexArgs) -> Result<()> {
    if !(args.url.starts_with("https://") || args.url.starts_with("http://")) {
        return Err(Failure::usage(
            format!("--url {} is not the address of a web server", args.url),
            "write it as https://HOST/PATH; charts for a registry go there with `cargo xtask release push`",
        ));
    }
    let candidates = packages::read(&dist(ctx, args.from.as_ref())?)?;
    let git = Git::of(ctx)?;
    let site = args.push.then(|| Site::open(&args.dir, &ctx.runner)).transpose()?;
    let entries = fresh(ctx, args, &candidates)?;
    let change = || -> Result<Report> {
        if ctx.runner.plans() {
            return Ok(Report::default());
        }
        fs_err::create_dir_all(&args.dir)?;
        let add = |index: &mut Index| merge(args, index, &candidates, &entries, &git);
        let (mut report, written) = index::update(&args.dir, ctx.runner.cancel(), add)?;
        report.written = written;
        report.metadata = metadata(ctx, args)?;
        Ok(report)
    };
    let report = match site {
        None => change()?,
        Some(site) => {
            let mut last = None;
            site.publish(|| {
                let report = last.insert(change()?);
                Ok((format!("{SUBJECT}{}", report.added.join(", ")), report.files.clone()))
            })?;
            last.context("a change was made")?
        }
    };
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    ctx.print(&report, text(&report))
}

/// Copies ci/artifacthub-repo.yml, where the workspace has one, if it is not there as it is.
fn metadata(ctx: &Ctx, args: &IndexArgs) -> Result<bool> {
    let (from, to) = (ctx.workspace.root().join("ci").join(METADATA), args.dir.join(METADATA));
    let Ok(wanted) = std::fs::read(&from) else {
        return Ok(false);
    };
    if std::fs::read(&to).is_ok_and(|there| there == wanted) {
        return Ok(false);
    }
    whole_file::write(&to, wanted, Mode::Everybody)?;
    Ok(true)
}

/// The entries of all candidates, as helm writes them.
fn fresh(ctx: &Ctx, args: &IndexArgs, candidates: &[Candidate]) -> Result<Vec<Entry>> {
    let helm = ctx.helm_at(ctx.toolbox.pinned("helm")?.path);
    let temp = RunDir::temporary("index")?;
    for candidate in candidates {
        let file = temp.path().join(candidate.file_name());
        fs_err::copy(&candidate.archive, &file)?;
    }
    let step = helm
        .step("helm repo index")
        .args(["repo", "index"])
        .path_arg(temp.path())
        .args(["--url", args.url.trim_end_matches('/')]);
    ctx.runner.run(&step)?;
    if ctx.runner.plans() {
        return Ok(Vec::new());
    }
    let file = temp.path().join(index::FILE);
    let text = fs_err::read_to_string(&file)?;
    let dates: BTreeMap<_, _> = candidates.iter().map(|c| (c.id(), c.claim.epoch)).collect();
    index::fresh(&text, |chart, version| {
        dates.get(&format!("{chart}-{version}")).copied()
    })
}

fn merge(
    args: &IndexArgs,
    index: &mut Index,
    candidates: &[Candidate],
    entries: &[Entry],
    git: &Git,
) -> Result<Report> {
    let mut report = Report::default();
    if args.prune {
        let file = |entry: &Entry| entry.path(&args.url);
        let pruned = index.prune(|entry| file(entry).is_some_and(|file| !args.dir.join(file).is_file()))?;
        report.pruned = pruned.iter().map(|e| format!("{}-{}", e.chart, e.version)).collect();
        let gone = pruned.iter().filter_map(file).flat_map(|file| {
            let ends = [""].into_iter().chain(COMPANIONS);
            ends.map(move |end| format!("{}{end}", file.display()))
        });
        report.files.extend(gone);
    }
    // A run that was killed may have written any of them.
    report.files.extend([index::FILE, METADATA].map(str::to_owned));
    for file in candidates.iter().flat_map(Candidate::files) {
        report
            .files
            .extend(file.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    // All are judged before the first file is copied.
    let mut new = Vec::new();
    for candidate in candidates {
        match index.find(&candidate.name, &candidate.version) {
            Some(old) => {
                same(args, candidate, &old)?;
                report.unchanged.push(candidate.id());
            }
            None => {
                candidate.fit_for_release()?;
                candidate.tag_is_free(git)?;
                judge(
                    &candidate.name,
                    &candidate.version,
                    highest(index, &candidate.name),
                    args.backport,
                )?;
                leftover(args, candidate)?;
                new.push(candidate);
            }
        }
    }
    for candidate in new {
        for file in candidate.files() {
            let name = file.file_name().context("a file has a name")?;
            copy(&file, &args.dir.join(name))?;
        }
        let entry = entries
            .iter()
            .find(|e| e.chart == candidate.name && e.version == candidate.version);
        index.add(entry.context("helm indexed every archive")?)?;
        report.added.push(candidate.id());
    }
    Ok(report)
}

fn highest(index: &Index, chart: &str) -> Option<Version> {
    let entries = index.entries().into_iter().filter(|e| e.chart == chart);
    entries.map(|e| e.version).max()
}

/// An entry of this version must be of the same files.
fn same(args: &IndexArgs, candidate: &Candidate, old: &Entry) -> Result<()> {
    if old.sha256 == candidate.sha256 {
        return Ok(());
    }
    let file = old.path(&args.url).map(|file| args.dir.join(file));
    let Some(file) = file.filter(|file| file.is_file()) else {
        return Err(Failure::findings(
            format!(
                "{} {} is in the index with another digest, and its archive {} is not here to be compared",
                candidate.name, candidate.version, old.url
            ),
            "raise the version (`cargo xtask bump`), or put the archive back",
        ));
    };
    same_files(&candidate.name, &candidate.version, &candidate.archive, &file).map(|_| ())
}

/// What a run that was killed left is the same archive; anything else is not ours to replace.
fn leftover(args: &IndexArgs, candidate: &Candidate) -> Result<()> {
    let file = args.dir.join(candidate.file_name());
    if !file.is_file() || archive::fingerprint(&file)?.1 == candidate.sha256 {
        return Ok(());
    }
    same_files(&candidate.name, &candidate.version, &candidate.archive, &file).map(|_| ())
}

fn text(report: &Report) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (word, names) in [
        ("added", &report.added),
        ("unchanged", &report.unchanged),
        ("pruned", &report.pruned),
    ] {
        lines.extend(names.iter().map(|name| format!("{word:<10} {name}")));
    }
    if report.metadata {
        lines.push(format!("wrote      {METADATA}"));
    }
    if !report.written && !report.metadata {
        lines.push("nothing to do".to_owned());
    }
    lines.join("\n")
}
