//! Questions to the git checkout that holds the workspace.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use charts::project::Project;
use kit::failure::Failure;
use kit::step::{Output, Runner, Step};
use semver::Version;

use super::commits::Commit;

/// How releases are tagged where the settings say nothing, and what stands for the chart and the version there.
const TAG: &str = "{chart}-{version}";
const CHART: &str = "{chart}";
const VERSION: &str = "{version}";
/// How long a remote may take to list its tags.
const ASKING: Duration = Duration::from_secs(30);

/// Ends a field in what `git log` is made to print; no commit message holds it.
const FIELD: char = '\u{1f}';
/// Ends a commit there.
const RECORD: char = '\u{1e}';

/// What a user may set that changes what git prints (git-config(1)), as it is without their settings. Each
/// question says the rest in its options.
const SETTINGS: [&str; 8] = [
    "color.ui=false",
    "column.ui=never",
    "core.quotePath=true",
    "i18n.logOutputEncoding=UTF-8",
    "log.follow=false",
    "log.showSignature=false",
    "diff.ignoreSubmodules=none",
    "diff.orderFile=/dev/null",
];

/// The variables by which a hook, or a git around this process, says which repository is meant (`git rev-parse
/// --local-env-vars`), and those that change what paths mean or what is printed (git(1)).
const FOREIGN: [&str; 24] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIFF_OPTS",
    "GIT_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_GLOB_PATHSPECS",
    "GIT_GRAFT_FILE",
    "GIT_ICASE_PATHSPECS",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// A git command in a folder: the one place where git is started. It sees the repository of that folder,
/// whatever repository a hook around this process belongs to.
pub fn step_in(dir: &Path, args: &[&str]) -> Step {
    Step::new(format!("git {}", args.first().unwrap_or(&"")), "git")
        .args(args.iter().copied())
        .cwd(dir)
        .without_env(|name| FOREIGN.contains(&name))
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
}

/// A question to the repository of a folder: it changes nothing, and its answer is the same whatever the
/// user's settings are.
pub fn question_in(dir: &Path, args: &[&str]) -> Step {
    let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
    let mut step = step_in(dir, args).reads();
    step.args = settings.map(str::to_owned).chain(step.args).collect();
    step
}

/// A git checkout.
#[derive(Debug, Clone)]
pub struct Git {
    root: PathBuf,
    runner: Runner,
    /// How releases are tagged, with `{chart}` and `{version}`.
    tag: String,
    /// Whether history ends before its beginning (`git clone --depth`).
    pub shallow: bool,
}

impl Git {
    /// The checkout that a project is in. Errors: of [`Kind::Environment`] if there is none, of
    /// [`Kind::Usage`] if its releases can't be told apart by the tags that its settings name.
    pub fn of(project: &Project) -> Result<Git> {
        let tag = project.publication.tag.clone().unwrap_or_else(|| TAG.to_owned());
        let once = |part: &str| tag.matches(part).count() == 1;
        let several = || Ok::<_, anyhow::Error>(project.workspace.charts()?.len() > 1);
        if !once(VERSION) || !once(CHART) && (tag.contains(CHART) || several()?) {
            return Err(Failure::usage(
                format!("release-tag {tag:?} in Cargo.toml does not tell the releases of the charts apart"),
                format!("write it with {CHART} and {VERSION}, once each; without it, it is {TAG}"),
            ));
        }
        let root = project.workspace.root();
        let mut git = Git {
            root: root.to_path_buf(),
            runner: project.runner.clone(),
            tag,
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
        step_in(&self.root, args)
    }

    fn try_run(&self, args: &[&str]) -> Result<Output> {
        self.runner.try_run(&question_in(&self.root, args))
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        Ok(self.runner.run(&question_in(&self.root, args))?.stdout)
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

    /// The folder of the whole checkout, which may hold more than the workspace.
    pub fn top(&self) -> Result<PathBuf> {
        let top = self.run(&["rev-parse", "--show-toplevel"])?;
        Ok(PathBuf::from(top.trim_end_matches('\n')))
    }

    /// The address of the remote `origin`; none if there is no such remote.
    pub fn origin(&self) -> Result<Option<String>> {
        let output = self.try_run(&["remote", "get-url", "origin"])?;
        Ok(output.success().then(|| output.stdout.trim().to_owned()))
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
        let mut args = vec![
            "diff",
            "--name-only",
            "--no-ext-diff",
            "--no-renames",
            "--relative",
            "-z",
            base,
            "--",
        ];
        args.extend(dirs.iter().map(String::as_str));
        Ok(split(&self.run(&args)?, '\0'))
    }

    /// The files below the folders that were moved since a commit and not changed, each with its old path and
    /// its new one. Relative to the workspace.
    pub(crate) fn moved_files(&self, base: &str, dirs: &[String]) -> Result<Vec<(String, String)>> {
        let mut args = vec!["diff", "--name-status", "--no-ext-diff", "--find-renames=100%", "-l0"];
        args.extend(["--diff-filter=R", "--relative", "-z", base, "--"]);
        args.extend(dirs.iter().map(String::as_str));
        let fields = split(&self.run(&args)?, '\0');
        let moved = fields.chunks_exact(3);
        Ok(moved.map(|moved| (moved[1].clone(), moved[2].clone())).collect())
    }

    /// The files below a folder at a commit. Relative to the workspace.
    pub(crate) fn files_at(&self, commit: &str, dir: &str) -> Result<Vec<String>> {
        let list = self.run(&["ls-tree", "-r", "-z", "--name-only", commit, "--", dir])?;
        Ok(split(&list, '\0'))
    }

    /// Writes the workspace as it is in a commit to `dir`, without a trace in this checkout, whatever the
    /// attribute `export-ignore` and the user's line endings say. Returns where the workspace is in there.
    pub fn export(&self, commit: &str, dir: &Path) -> Result<PathBuf> {
        let index = dir.join("index").to_string_lossy().into_owned();
        let inside = self.run(&["rev-parse", "--show-prefix"])?;
        let tree = dir.join("tree");
        let prefix = format!("--prefix={}/", tree.display());
        for args in [
            &["read-tree", commit][..],
            &["checkout-index", "--all", "--quiet", &prefix],
        ] {
            let step = question_in(&self.root, args);
            // What checkout-index writes, it writes from the top of the checkout.
            let plain = [
                "core.autocrlf=false",
                "core.eol=lf",
                "core.symlinks=true",
                "core.sparseCheckout=false",
            ];
            let mut step = step.env("GIT_INDEX_FILE", &index);
            step.args = plain
                .iter()
                .flat_map(|set| ["-c", set])
                .map(str::to_owned)
                .chain(step.args)
                .collect();
            self.runner.run(&step)?;
        }
        Ok(tree.join(inside.trim_end_matches('\n')))
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

    /// The tag of a chart's version.
    pub fn tag(&self, chart: &str, version: &Version) -> String {
        self.named(chart, &version.to_string())
    }

    /// The tag with something in the place of the version.
    pub(crate) fn named(&self, chart: &str, version: &str) -> String {
        self.tag.replace(CHART, chart).replace(VERSION, version)
    }

    /// The released versions of a chart by its tags, lowest first: all, or those that a commit descends from.
    pub fn releases(&self, chart: &str, before: Option<&str>) -> Result<Vec<(Version, String)>> {
        let merged = before.map(|commit| format!("--merged={commit}"));
        let mut args = vec!["for-each-ref", "--format=%(refname:strip=2)"];
        args.extend(merged.as_deref());
        args.push("refs/tags");
        let form = self.named(chart, VERSION);
        let (before, after) = form.split_once(VERSION).unwrap_or_default();
        let version = |tag: &str| {
            let version = tag.strip_prefix(before)?.strip_suffix(after)?;
            Some((Version::parse(version).ok()?, tag.to_owned()))
        };
        let mut releases: Vec<(Version, String)> = self.run(&args)?.lines().filter_map(version).collect();
        releases.sort();
        Ok(releases)
    }

    /// Fails if a chart without a tag here has one at a remote: a clone without tags, or one that fetched them
    /// before, would take every chart for a new one. A remote that can't be asked is taken at what is here.
    pub(crate) fn never_tagged(&self, chart: &str) -> Result<()> {
        for remote in self.run(&["remote"])?.lines() {
            let pattern = format!("refs/tags/{}", self.named(chart, "*"));
            let step = question_in(&self.root, &["ls-remote", "--refs", remote, &pattern]).timeout(ASKING);
            let Ok(listed) = self.runner.try_run(&step) else {
                continue;
            };
            let name = listed.stdout.lines().find_map(|line| line.split("refs/tags/").nth(1));
            if let Some(name) = name.filter(|_| listed.success()) {
                return Err(Failure::environment(
                    format!(
                        "can't decide what changed: {remote} has the tag {name}, and this clone has none of {chart}"
                    ),
                    "run `git fetch --tags` (actions/checkout: `fetch-tags: true`), or name a commit that is here with \
                     --since",
                ));
            }
        }
        Ok(())
    }

    /// The commit that a chart's version was tagged at.
    pub fn tagged(&self, chart: &str, version: &Version) -> Result<Option<String>> {
        self.resolve(&format!("refs/tags/{}", self.tag(chart, version)))
    }

    /// When the commit that is checked out was made, in seconds since 1970.
    pub fn time(&self) -> Result<u64> {
        let text = self.run(&["log", "-1", "--no-show-signature", "--format=%ct", "HEAD"])?;
        let seconds = text.trim().parse();
        seconds.with_context(|| format!("git printed {text:?}"))
    }

    /// Whether files below the folders differ from the last commit, or are unknown to git.
    pub fn dirty(&self, dirs: &[&str]) -> Result<bool> {
        let mut args = vec!["status", "--porcelain", "--untracked-files=normal", "--"];
        args.extend(dirs);
        Ok(!self.run(&args)?.is_empty())
    }
}

/// The parts of a list whose every part ends with `end`.
pub(crate) fn split(text: &str, end: char) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_that_git_says_to_be_of_one_repository_is_dropped() {
        let output = std::process::Command::new("git")
            .args(["rev-parse", "--local-env-vars"])
            .output()
            .unwrap();
        let names = String::from_utf8(output.stdout).unwrap();
        assert!(names.contains("GIT_DIR"), "{names}");
        for name in names.lines() {
            assert!(FOREIGN.contains(&name), "{name}");
        }
    }
}
