//! A static repository's folder as a git checkout: committed, and pushed to where it is served from.

use std::path::{Path, PathBuf};

use anyhow::Result;
use kit::failure::Failure;
use kit::step::{Runner, Step};

use super::index;

/// How often a push is tried because others pushed first.
const ATTEMPTS: usize = 20;

/// A checkout whose branch has an upstream.
pub struct Site {
    dir: PathBuf,
    runner: Runner,
}

impl Site {
    /// The checkout at `dir`; an error of [`Kind::Usage`] if its branch has no upstream.
    pub fn open(dir: &Path, runner: &Runner) -> Result<Site> {
        let site = Site {
            dir: dir.to_path_buf(),
            runner: runner.clone(),
        };
        let upstream = ["rev-parse", "--verify", "--quiet", "@{upstream}"];
        if dir.is_dir() && runner.try_run(&site.step(&upstream).reads())?.success() {
            return Ok(site);
        }
        Err(Failure::usage(
            format!("{} is not a git checkout whose branch has an upstream", dir.display()),
            "clone the repository that is served (`git clone --branch gh-pages REMOTE DIR`), or leave --push out",
        ))
    }

    /// One git command in the checkout.
    pub fn step(&self, args: &[&str]) -> Step {
        let name = format!("git {} (in {})", args.first().unwrap_or(&""), self.dir.display());
        Step::new(name, "git")
            .args(args.iter().copied())
            .cwd(&self.dir)
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
    }

    /// Changes the folder and pushes that; where others pushed first, takes what they pushed and changes
    /// it anew. `change` says what it did, for the commit's message, and which files that concerns: those
    /// it wrote, and those that may be gone. A commit that an earlier run could not push is dropped first:
    /// `change` makes it again.
    pub fn publish(&self, mut change: impl FnMut() -> Result<(String, Vec<String>)>) -> Result<()> {
        self.unchanged()?;
        for _ in 0..ATTEMPTS {
            self.runner.run(&self.step(&["fetch"]))?;
            self.follow()?;
            let (message, files) = change()?;
            let add = self.step(&["update-index", "--add", "--remove", "--"]);
            self.runner.run(&add.args(files))?;
            let staged = self.step(&["diff", "--cached", "--quiet"]);
            if self.runner.try_run(&staged)?.success() && !self.runner.plans() {
                return Ok(());
            }
            self.runner
                .run(&self.step(&["commit", "--quiet", "--message", &message]))?;
            let pushed = self.runner.try_run(&self.step(&["push"]))?;
            if pushed.success() {
                return Ok(());
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

    /// Changes that are not ours would be dropped or published. An earlier run that was killed may have
    /// left ours.
    fn unchanged(&self) -> Result<()> {
        let list = self.step(&["diff", "--name-only", "--relative", "HEAD"]).reads();
        let ours = |file: &&str| [index::FILE, METADATA].contains(file) || file.contains(".tgz");
        match self.runner.run(&list)?.stdout.lines().find(|file| !ours(file)) {
            None => Ok(()),
            Some(file) => Err(Failure::usage(
                format!("{} has a change that is not committed: {file}", self.dir.display()),
                "commit and push it, or drop it with `git checkout HEAD -- FILE`",
            )),
        }
    }

    /// Goes to the upstream. Commits of others that were never pushed are not ours to drop.
    fn follow(&self) -> Result<()> {
        let ahead = ["log", "--no-show-signature", "--format=%s", "@{upstream}..HEAD"];
        let ahead = self.runner.run(&self.step(&ahead).reads())?.stdout;
        if let Some(foreign) = ahead.lines().find(|subject| !subject.starts_with(SUBJECT)) {
            return Err(Failure::usage(
                format!("{} has a commit that was never pushed: {foreign}", self.dir.display()),
                "push it, or drop it with `git reset --hard @{upstream}`",
            ));
        }
        let follow = match ahead.is_empty() {
            true => ["merge", "--ff-only", "--quiet", "@{upstream}"],
            false => ["reset", "--hard", "--quiet", "@{upstream}"],
        };
        self.runner.run(&self.step(&follow))?;
        Ok(())
    }
}

/// What Artifact Hub wants beside index.yaml (artifacthub.io/docs/topics/repositories/helm-charts).
pub const METADATA: &str = "artifacthub-repo.yml";
/// What the message of every commit of ours begins with.
pub const SUBJECT: &str = "Publish ";
