//! Where a release is rehearsed: a clone with a remote, a registry, a site and keys, below one folder.

use std::path::{Path, PathBuf};
use std::time::Duration;
use toml_edit::{DocumentMut, Item};

use anyhow::{Context, Result};
use charts::project::Project;
use kit::failure::Failure;
use kit::run_dir::{MARKER, RunDir};
use kit::step::{Output, Step};
use release::cosign;
use release::git;
use release::packer::with_isolated_home;
use release::throwaway::{Keys, Registry, WebServer};
use serde::de::DeserializeOwned;
use stack_tests::report::Recorder;

use crate::ctx::Ctx;

/// A command of a release: packages, and builds of a tagged commit that are compared with them.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How many characters of what a program prints are shown.
const DETAIL: usize = 120;
/// What to do about most failures.
const LOOK: &str = "look at what is there with `cargo xtask release rehearse --keep`";
/// Who commits and pushes.
const NAME: &str = "rehearsal";
const EMAIL: &str = "nobody@example.com";
/// The branch that releases are made of.
pub const MAIN: &str = "main";
/// What stands for an address in a plan, which starts no server.
const PLANNED: &str = "127.0.0.1:PORT";

/// Everything that a rehearsal needs; it goes when this is dropped.
pub struct Stage<'a> {
    pub ctx: &'a Ctx,
    pub recorder: Recorder,
    pub keys: Keys,
    /// The workspace in the clone.
    pub workspace: PathBuf,
    registry: Option<Registry>,
    site: Option<WebServer>,
    own: PathBuf,
    // Last: what is above runs in there.
    run: RunDir,
}

impl<'a> Stage<'a> {
    /// Starts the servers, makes the keys, and clones the last commit.
    pub fn set(ctx: &'a Ctx) -> Result<Stage<'a>> {
        let run = RunDir::temporary("rehearse")?;
        let cosign = ctx.toolbox.get("cosign")?.path;
        let program = ctx.toolbox.get("registry")?.path;
        let keys = Keys::make(&ctx.runner, &run, &cosign, &run.path().join("keys"))?;
        let (registry, site) = match ctx.runner.plans() {
            true => (None, None),
            false => {
                let dir = run.path().join("registry");
                let registry = Registry::start(&program, &dir, &run, ctx.runner.cancel())?;
                (Some(registry), Some(WebServer::start(&run.path().join("www"))?))
            }
        };
        let mut stage = Stage {
            ctx,
            recorder: Recorder::new("rehearse", ctx.args.quiet || ctx.runner.plans()),
            keys,
            workspace: PathBuf::new(),
            registry,
            site,
            own: std::env::current_exe().context("finding this program")?,
            run,
        };
        stage.workspace = stage.clone_workspace()?;
        Ok(stage)
    }

    /// A path below the folder of the run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.run.path().join(name)
    }

    /// Where charts are pushed, `oci://…`.
    pub fn oci(&self) -> String {
        let host = self.registry.as_ref().map_or(PLANNED, Registry::host);
        format!("oci://{host}/charts")
    }

    /// The address of the static repository.
    pub fn web(&self) -> String {
        let url = self.site.as_ref().map(WebServer::url);
        url.unwrap_or_else(|| format!("http://{PLANNED}"))
    }

    /// The certificate of the registry.
    pub fn certificate(&self) -> PathBuf {
        let made = self
            .registry
            .as_ref()
            .map(|registry| registry.certificate().to_path_buf());
        made.unwrap_or_else(|| self.path("registry/ca.pem"))
    }

    /// The workspace in the clone, with the settings that are committed there.
    pub fn project(&self) -> Result<Project> {
        self.ctx.in_checkout(&self.workspace)
    }

    /// What there is to look at, and where.
    pub fn places(&self) -> Vec<String> {
        vec![
            format!("clone, remotes, archives and keys in {}", self.run.path().display()),
            format!("registry {} with {}", self.oci(), self.certificate().display()),
            format!("site {}", self.web()),
        ]
    }

    /// Does a part of the rehearsal, and records how it ended.
    pub fn part<T>(&self, name: &str, work: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
        match work() {
            Ok((value, detail)) => {
                self.recorder.check(name, true, detail);
                Ok(value)
            }
            Err(error) => {
                self.recorder.check(name, false, format!("{error:#}"));
                Err(error)
            }
        }
    }

    /// Runs a program, which must succeed, as a part of its own. What it prints, as far as a line holds it, is the
    /// detail.
    pub fn runs(&self, step: &Step) -> Result<Output> {
        self.part(&step.name, || {
            let output = self.ctx.runner.run(step)?;
            let words: Vec<&str> = output.stdout.split_whitespace().collect();
            let mut detail = words.join(" ");
            if let Some((end, _)) = detail.char_indices().nth(DETAIL) {
                detail.truncate(end);
                detail.push('…');
            }
            Ok((output, detail))
        })
    }

    /// A command of this program in the clone.
    pub fn xtask(&self, args: &[&str]) -> Step {
        let shown: Vec<&str> = args
            .iter()
            .copied()
            .take_while(|arg| !arg.starts_with(['-', '/']))
            .collect();
        let step = Step::new(format!("cargo xtask {}", shown.join(" ")), &self.own)
            .args(args.iter().copied())
            .cwd(&self.workspace)
            .env("CARGO_MANIFEST_DIR", self.workspace.join("xtask").to_string_lossy())
            .timeout(COMMAND_TIMEOUT);
        let step = self.alone(step).secret_env("XTASK_PASSPHRASE", &self.keys.passphrase);
        step.secret_env(cosign::PASSWORD, &self.keys.passphrase)
    }

    /// The JSON that a command of this program prints; none in a plan.
    pub fn json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<Option<T>> {
        let mut step = self.xtask(args);
        step.args.splice(0..0, ["--format", "json"].map(str::to_owned));
        let output = self.ctx.runner.run(&step)?;
        if self.ctx.runner.plans() {
            return Ok(None);
        }
        let read = serde_json::from_str(&output.stdout);
        read.map(Some)
            .with_context(|| format!("reading what {} printed", step.name))
    }

    /// A git command in a folder below that of the run.
    pub fn git(&self, dir: &str, args: &[&str]) -> Result<Output> {
        self.ctx.runner.run(&self.alone(git::step_in(&self.path(dir), args)))
    }

    /// A git command in the clone.
    pub fn in_clone(&self, args: &[&str]) -> Result<Output> {
        self.git("clone", args)
    }

    /// Commits all of the clone.
    pub fn commit(&self, message: &str) -> Result<()> {
        self.in_clone(&["add", "--all"])?;
        self.in_clone(&["commit", "--quiet", "--message", message]).map(drop)
    }

    /// The step as on an empty machine, without settings and credentials of whoever rehearses. It ends with the run.
    pub fn alone(&self, step: Step) -> Step {
        let home = self.path("home");
        let theirs = |name: &str| {
            let taken = [
                "SOURCE_DATE_EPOCH",
                "CARGO_TARGET_DIR",
                "DOCKER_CONFIG",
                cosign::PASSWORD,
            ];
            let program = ["XTASK_", "HELM_"].iter().any(|prefix| name.starts_with(prefix));
            taken.contains(&name) || program && name != "XTASK_CACHE"
        };
        let mut step = with_isolated_home(step.without_env(theirs), &home)
            .env("DOCKER_CONFIG", home.to_string_lossy())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env(MARKER, self.run.path().to_string_lossy());
        // Its folders are gone when somebody reads of a failure.
        step.hint = step.hint.or_else(|| Some(LOOK.to_owned()));
        for role in ["AUTHOR", "COMMITTER"] {
            step = step.env(format!("GIT_{role}_NAME"), NAME);
            step = step.env(format!("GIT_{role}_EMAIL"), EMAIL);
        }
        step
    }

    /// Takes the last commit into a bare remote, and clones that. Returns where the workspace is in the clone.
    fn clone_workspace(&self) -> Result<PathBuf> {
        let root = self.ctx.workspace.root();
        let ask = |args: &[&str]| -> Result<String> {
            let output = self.ctx.runner.run(&git::question_in(root, args))?;
            Ok(output.stdout.trim_end_matches('\n').to_owned())
        };
        self.part("a remote with the last commit", || {
            let (top, inside) = (
                ask(&["rev-parse", "--show-toplevel"])?,
                ask(&["rev-parse", "--show-prefix"])?,
            );
            if !ask(&["status", "--porcelain"])?.is_empty() {
                self.ctx.say("warning: what is not committed is not rehearsed");
            }
            self.git(
                ".",
                &["init", "--quiet", "--bare", "--initial-branch", MAIN, "remote.git"],
            )?;
            let head = format!("HEAD:refs/heads/{MAIN}");
            // From the remote's side, so that no hook of the checkout runs.
            let fetch = git::step_in(
                &self.path("remote.git"),
                &["fetch", "--quiet", &top, &head, "refs/tags/*:refs/tags/*"],
            );
            let hint = "a rehearsal needs the whole history: run `git fetch --unshallow --tags`";
            self.ctx.runner.run(&self.alone(fetch).hint(hint))?;
            self.git(".", &["clone", "--quiet", "remote.git", "clone"])?;
            let head = ask(&["log", "-1", "--no-show-signature", "--format=%h %s"])?;
            Ok((self.path("clone").join(inside), head))
        })
    }

    /// Sets keys of `[workspace.metadata.xtask]` in the clone.
    pub fn set_metadata(&self, settings: &[(&str, String)]) -> Result<()> {
        if self.ctx.runner.plans() {
            return Ok(());
        }
        let file = self.workspace.join("Cargo.toml");
        let text = with_metadata(&fs_err::read_to_string(&file)?, settings).ok_or_else(|| {
            Failure::findings(
                "Cargo.toml has no line [workspace.metadata.xtask]",
                "write the settings below such a line, as xtask/release/README.md shows",
            )
        })?;
        Ok(fs_err::write(&file, text)?)
    }
}

/// The text of a Cargo.toml with these settings in place of those of the same names; none if it has no such table.
fn with_metadata(text: &str, settings: &[(&str, String)]) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let mut table = document.as_item_mut();
    for key in ["workspace", "metadata", "xtask"] {
        table = table.as_table_mut()?.get_mut(key)?;
    }
    for (name, value) in settings {
        table[name] = Item::Value(value.parse().ok()?);
    }
    Some(document.to_string())
}

/// The folder of an archive that `package` wrote in the clone.
pub fn dist(stage: &Stage) -> PathBuf {
    stage.workspace.join("dist")
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_replace_those_of_the_same_name_and_nothing_else() {
        let text = "[workspace]\nmembers = []\n\n[workspace.metadata.xtask]\nkube-version = \"1\"\n# sign-key = {}\n\
                    sign-key = { a = 1 }\n\n[profile.dev]\nsign-key = 1\n";
        let set = with_metadata(text, &[("sign-key", "{ b = 2 }".to_owned())]).unwrap();
        assert_eq!(set, text.replace("{ a = 1 }", "{ b = 2 }"));
        assert_eq!(with_metadata("[workspace]\n", &[]), None);
    }
}
