//! Questions to the git checkout that holds the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::step::{Output, Runner, Step};
use semver::Version;

use super::commits::Commit;

/// Ends a field in what `git log` is made to print; no commit message holds it.
const FIELD: char = '\u{1f}';
/// Ends a commit there.
const RECORD: char = '\u{1e}';

/// A git checkout.
#[derive(Debug, Clone)]
pub struct Git {
    root: PathBuf,
    runner: Runner,
    /// Whether history ends before its beginning (`git clone --depth`).
    pub shallow: bool,
}

impl Git {
    /// The checkout that `root` is in; an error of [`Kind::Environment`] if there is none.
    pub fn open(root: &Path, runner: &Runner) -> Result<Git> {
        let mut git = Git {
            root: root.to_path_buf(),
            runner: runner.clone(),
            shallow: false,
        };
        let output = git.try_run(&["rev-parse", "--is-shallow-repository"])?;
        if !output.success() {
            return Err(Failure::environment(
                format!("{} is not in a git checkout: {}", root.display(), output.tail()),
                "run it in a clone: what changed, and when, is known from git only",
            ));
        }
        git.shallow = output.stdout.trim() == "true";
        Ok(git)
    }

    /// One git command as a step, in the workspace's folder.
    pub fn step(&self, args: &[&str]) -> Step {
        Step::new(format!("git {}", args.first().unwrap_or(&"")), "git")
            .args(args.iter().copied())
            .cwd(&self.root)
            .env("LC_ALL", "C")
    }

    fn try_run(&self, args: &[&str]) -> Result<Output> {
        self.runner.try_run(&self.step(args).reads())
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        Ok(self.runner.run(&self.step(args).reads())?.stdout)
    }

    /// The full id of the commit that a name stands for; none if git knows no such name.
    pub fn resolve(&self, name: &str) -> Result<Option<String>> {
        let commit = format!("{name}^{{commit}}");
        let output = self.try_run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit])?;
        Ok(output.success().then(|| output.stdout.trim().to_owned()))
    }

    /// The commit that is checked out.
    pub fn head(&self) -> Result<String> {
        self.resolve("HEAD")?
            .ok_or_else(|| Failure::environment("the checkout has no commit yet", "commit the charts first"))
    }

    /// The branch that others start from: the remote's default branch, else a local main or master.
    pub(crate) fn default_branch(&self) -> Result<Option<String>> {
        let mut candidates = Vec::new();
        let remotes = self.run(&["remote"])?;
        let mut remotes: Vec<_> = remotes.lines().collect();
        remotes.sort_by_key(|remote| *remote != "origin");
        for remote in remotes {
            candidates.extend(["HEAD", "main", "master"].map(|branch| format!("refs/remotes/{remote}/{branch}")));
        }
        candidates.extend(["refs/heads/main".to_owned(), "refs/heads/master".to_owned()]);
        for name in candidates {
            if self.resolve(&name)?.is_some() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The newest common ancestor of a commit and HEAD. In a shallow clone it is believed only if all
    /// history between is there; otherwise an error says what to fetch.
    pub(crate) fn merge_base(&self, with: &str) -> Result<String> {
        let output = self.try_run(&["merge-base", with, "HEAD"])?;
        let base = output.stdout.trim().to_owned();
        if !output.success() || base.is_empty() {
            return Err(if self.shallow {
                self.undecided(&format!(
                    "the shallow clone doesn't reach back to where HEAD and {with} part"
                ))
            } else {
                Failure::usage(
                    format!("{with} and HEAD have no common commit"),
                    "name a commit of this history with --since",
                )
            });
        }
        if self.shallow {
            let file = self.run(&["rev-parse", "--git-path", "shallow"])?;
            let ends = std::fs::read_to_string(self.root.join(file.trim())).unwrap_or_default();
            let between = self.run(&["rev-list", "HEAD", with, "--not", &base])?;
            if between.lines().any(|commit| ends.lines().any(|end| end == commit)) {
                return Err(self.undecided(&format!("the shallow clone ends between HEAD, {with} and {base}")));
            }
        }
        Ok(base)
    }

    /// The error of a clone that lacks what the answer needs.
    pub(crate) fn undecided(&self, why: &str) -> anyhow::Error {
        Failure::environment(
            format!("can't decide what changed: {why}"),
            "run `git fetch --unshallow --tags` (actions/checkout: `fetch-depth: 0`), or name a commit that is here \
             with --since",
        )
    }

    /// The files below the folders that differ between a commit and the working tree, with those
    /// removed since; without those that git doesn't know. Relative to the workspace.
    pub(crate) fn changed_files(&self, base: &str, dirs: &[String]) -> Result<Vec<String>> {
        let mut args = vec!["diff", "--name-only", "--no-renames", "--relative", "-z", base, "--"];
        args.extend(dirs.iter().map(String::as_str));
        Ok(split(&self.run(&args)?, '\0'))
    }

    /// The files below the folders that git knows.
    pub fn files(&self, dirs: &[String]) -> Result<Vec<String>> {
        let mut args = vec!["ls-files", "-z", "--"];
        args.extend(dirs.iter().map(String::as_str));
        Ok(split(&self.run(&args)?, '\0'))
    }

    /// The commits since `base` (all, if none) up to `until` that touch the folders, newest first.
    pub fn commits(&self, base: Option<&str>, until: &str, dirs: &[String]) -> Result<Vec<Commit>> {
        let format = format!("--format={RECORD}%H{FIELD}%B{FIELD}");
        let range = base.map_or_else(|| until.to_owned(), |base| format!("{base}..{until}"));
        // -m --first-parent would list a merge's files, too; a merge that only joins is left out by git.
        let mut args = vec![
            "log",
            "--no-show-signature",
            "-z",
            &format,
            "--name-only",
            "--no-renames",
            "--relative",
            "-c",
        ];
        args.extend([range.as_str(), "--"]);
        args.extend(dirs.iter().map(String::as_str));
        let text = self.run(&args)?;
        let records = text.split(RECORD).filter(|record| !record.trim().is_empty());
        records.map(commit).collect()
    }

    /// The text of a file at a commit; none if it isn't there.
    pub fn show(&self, commit: &str, file: &str) -> Result<Option<String>> {
        let output = self.try_run(&["show", &format!("{commit}:./{file}")])?;
        Ok(output.success().then_some(output.stdout))
    }

    /// The released versions of a chart by its tags `<chart>-<version>` that HEAD descends from, lowest first.
    pub fn releases(&self, chart: &str) -> Result<Vec<(Version, String)>> {
        let tags = self.run(&["tag", "--merged", "HEAD", "--list", &format!("{chart}-*")])?;
        let version = |tag: &str| {
            Some((
                Version::parse(tag.strip_prefix(chart)?.strip_prefix('-')?).ok()?,
                tag.into(),
            ))
        };
        let mut releases: Vec<(Version, String)> = tags.lines().filter_map(version).collect();
        releases.sort();
        Ok(releases)
    }

    /// The commit that a chart's version was tagged at.
    pub fn tagged(&self, chart: &str, version: &Version) -> Result<Option<String>> {
        self.resolve(&format!("refs/tags/{chart}-{version}"))
    }

    /// When the commit that is checked out was made, in seconds since 1970.
    pub fn time(&self) -> Result<u64> {
        let text = self.run(&["log", "-1", "--no-show-signature", "--format=%ct", "HEAD"])?;
        let seconds = text.trim().parse();
        seconds.with_context(|| format!("git printed {text:?}"))
    }

    /// Whether files below the folders differ from the last commit, or are unknown to git.
    pub fn dirty(&self, dirs: &[&str]) -> Result<bool> {
        let mut args = vec!["status", "--porcelain", "--"];
        args.extend(dirs);
        Ok(!self.run(&args)?.is_empty())
    }
}

fn split(text: &str, end: char) -> Vec<String> {
    text.split(end)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn commit(record: &str) -> Result<Commit> {
    let mut fields = record.splitn(3, FIELD);
    let mut field = || fields.next().with_context(|| format!("git log printed {record:?}"));
    Ok(Commit {
        id: field()?.trim().to_owned(),
        message: field()?.trim().to_owned(),
        files: split(field()?.trim_start_matches(['\0', '\n']), '\0'),
    })
}
