//! A static repository's folder as a git checkout: committed, and pushed to where it is served from.

use std::path::{Path, PathBuf};

use anyhow::Result;
use kit::failure::Failure;
use kit::step::{Runner, Step};

use super::{git, index};

/// How often a push is tried because others pushed first.
const ATTEMPTS: usize = 20;

/// A checkout whose branch has an upstream.
pub struct Site {
    dir: PathBuf,
    runner: Runner,
    /// The upstream's remote, and its branch there (`refs/heads/…`).
    upstream: (String, String),
}

impl Site {
    /// The checkout at `dir`; an error of [`Kind::Usage`] if its branch has no upstream.
    pub fn open(dir: &Path, runner: &Runner) -> Result<Site> {
        let mut site = Site {
            dir: dir.to_path_buf(),
            runner: runner.clone(),
            upstream: Default::default(),
        };
        let none = || {
            Failure::usage(
                format!("{} is not a git checkout whose branch has an upstream", dir.display()),
                "clone the repository that is served (`git clone --branch gh-pages REMOTE DIR`), or leave --push out",
            )
        };
        if !dir.is_dir() {
            return Err(none());
        }
        let branch = runner.try_run(&site.question(&["symbolic-ref", "--quiet", "HEAD"]))?;
        let format = "--format=%(upstream:remotename) %(upstream:remoteref)";
        let upstream = site.question(&["for-each-ref", format, branch.stdout.trim()]);
        let upstream = runner.try_run(&upstream)?.stdout;
        match upstream.trim().split_once(' ') {
            Some((remote, name)) if branch.success() => site.upstream = (remote.to_owned(), name.to_owned()),
            _ => return Err(none()),
        }
        Ok(site)
    }

    fn named(&self, step: Step, args: &[&str]) -> Step {
        let name = format!("git {} (in {})", args.first().unwrap_or(&""), self.dir.display());
        Step { name, ..step }
    }

    fn step(&self, args: &[&str]) -> Step {
        self.named(git::step_in(&self.dir, args), args)
    }

    fn question(&self, args: &[&str]) -> Step {
        self.named(git::question_in(&self.dir, args), args)
    }

    fn ask(&self, args: &[&str]) -> Result<String> {
        Ok(self.runner.run(&self.question(args))?.stdout)
    }

    /// Changes the folder and pushes that; where others pushed first, takes what they pushed and changes
    /// it anew. `change` says what it did, for the commit's message, and which files that concerns: those
    /// it wrote, and those that may be gone. A commit that an earlier run could not push is dropped first:
    /// `change` makes it again.
    pub fn publish(&self, mut change: impl FnMut() -> Result<(String, Vec<String>)>) -> Result<()> {
        let (remote, branch) = &self.upstream;
        let began = self.begin()?;
        for _ in 0..ATTEMPTS {
            self.runner.run(&self.step(&["fetch", remote]))?;
            self.follow(&began)?;
            let (message, files) = change()?;
            let add = self.step(&["update-index", "--add", "--remove", "--"]);
            self.runner.run(&add.args(files))?;
            let staged = self.step(&["diff-index", "--cached", "--quiet", "HEAD"]);
            if self.runner.try_run(&staged)?.success() && !self.runner.plans() {
                return began.end();
            }
            self.runner
                .run(&self.step(&["commit", "--quiet", "--message", &message]))?;
            let pushed = self
                .runner
                .try_run(&self.step(&["push", remote, &format!("HEAD:{branch}")]))?;
            if pushed.success() {
                return began.end();
            }
            let refused = [
                "fetch first",
                "non-fast-forward",
                "cannot lock ref",
                "incorrect old value",
            ];
            if !refused.iter().any(|word| pushed.stderr.contains(word)) {
                return Err(Failure::environment(
                    format!("{} can't be pushed:\n{}", self.dir.display(), pushed.tail()),
                    "fix what git reports, then run the same command again",
                ));
            }
        }
        Err(Failure::environment(
            format!("others pushed first {ATTEMPTS} times"),
            "run the same command again",
        ))
    }

    /// Refuses changes that are not ours: they would be dropped or published. Notes in the repository that a
    /// run has begun in a folder without changes, so that the next run knows whose changes it finds there.
    fn begin(&self) -> Result<Began> {
        let changes = self.changes()?;
        if let Some(file) = changes.iter().find(|file| !is_ours(file)) {
            return Err(self.uncommitted(file));
        }
        let mark = self.ask(&["rev-parse", "--git-path", "xtask-release-index"])?;
        let mark = self.dir.join(mark.trim());
        let ours = changes.is_empty() || mark.is_file();
        if ours && !self.runner.plans() {
            fs_err::write(&mark, "")?;
        }
        Ok(Began { mark, ours })
    }

    fn uncommitted(&self, file: &str) -> anyhow::Error {
        Failure::usage(
            format!("{} has a change that is not committed: {file}", self.dir.display()),
            "commit and push it, or drop it with `git checkout HEAD -- FILE`",
        )
    }

    /// The files that git knows and that differ from the last commit.
    fn changes(&self) -> Result<Vec<String>> {
        let list = self.ask(&["diff", "--name-only", "--no-ext-diff", "--relative", "-z", "HEAD"])?;
        Ok(git::split(&list, '\0'))
    }

    /// Goes to the upstream. Commits of others that were never pushed are not ours to drop.
    fn follow(&self, began: &Began) -> Result<()> {
        let ahead = self.ask(&["log", "--format=%s", "@{upstream}..HEAD"])?;
        if let Some(foreign) = ahead.lines().find(|subject| !subject.starts_with(SUBJECT)) {
            return Err(Failure::usage(
                format!("{} has a commit that was never pushed: {foreign}", self.dir.display()),
                "push it, or drop it with `git reset --hard @{upstream}`",
            ));
        }
        let behind = self.ask(&["log", "--format=%H", "HEAD..@{upstream}"])?;
        let changes = self.changes()?;
        if ahead.is_empty() && (behind.is_empty() || changes.is_empty()) {
            self.clear_the_way(began)?;
        } else if let Some(file) = changes.first().filter(|_| !began.ours) {
            return Err(self.uncommitted(file));
        } else {
            // Not to the upstream yet: that would overwrite what others left here without telling git.
            let base = self.ask(&["merge-base", "HEAD", "@{upstream}"])?;
            self.runner
                .run(&self.step(&["reset", "--hard", "--quiet", base.trim()]))?;
            self.clear_the_way(began)?;
        }
        self.runner
            .run(&self.step(&["merge", "--ff-only", "--quiet", "@{upstream}"]))?;
        Ok(())
    }

    /// Removes the archives that a run of ours copied here before it ended, where somebody else has pushed
    /// theirs meanwhile.
    fn clear_the_way(&self, began: &Began) -> Result<()> {
        let unknown = git::split(&self.ask(&["ls-files", "--others", "-z"])?, '\0');
        for file in unknown.iter().filter(|file| began.ours && is_ours(file)) {
            let theirs = ["cat-file", "-e", &format!("@{{upstream}}:./{file}")];
            if self.runner.try_run(&self.question(&theirs))?.success() && !self.runner.plans() {
                fs_err::remove_file(self.dir.join(file))?;
            }
        }
        Ok(())
    }
}

/// A run that publishes.
struct Began {
    /// A file in the repository, there from the beginning of a run to its end.
    mark: PathBuf,
    /// Whether the changes in the folder are those of a run.
    ours: bool,
}

impl Began {
    fn end(&self) -> Result<()> {
        match std::fs::remove_file(&self.mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Whether `release index` writes files of this name.
fn is_ours(file: &str) -> bool {
    [index::FILE, METADATA].contains(&file) || file.contains(".tgz")
}

/// What Artifact Hub wants beside index.yaml (artifacthub.io/docs/topics/repositories/helm-charts).
pub const METADATA: &str = "artifacthub-repo.yml";
/// What the message of every commit of ours begins with.
pub const SUBJECT: &str = "Publish ";
