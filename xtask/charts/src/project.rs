//! A checked-out workspace with its settings, its tools, and what runs programs in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use kit::failure::Failure;
use kit::lock;
use kit::progress::{self, Progress};
use kit::run_dir;
use kit::step::{Cancel, Runner};
use serde::{Deserialize, Serialize};

use crate::render::Helm;
use crate::tools::Toolbox;
use crate::workspace::Workspace;

/// `[workspace.metadata.xtask]` in Cargo.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Metadata {
    kube_version: String,
    #[serde(default)]
    published_charts: Option<String>,
    #[serde(default)]
    published_site: Option<String>,
    #[serde(default)]
    maintainers: Vec<Maintainer>,
    #[serde(default)]
    sign_key: Option<SignKey>,
    #[serde(default)]
    release_tag: Option<String>,
    #[serde(default)]
    repository: Option<String>,
}

/// Someone to ask about a chart, as Artifact Hub shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintainer {
    /// A name.
    pub name: String,
    /// An address.
    pub email: String,
}

/// The public key that archives are signed with, as Artifact Hub shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignKey {
    /// The primary key's fingerprint in hexadecimal digits.
    pub fingerprint: String,
    /// Where the public key is found.
    pub url: String,
}

/// Settings of packages and releases.
#[derive(Debug, Clone, Default)]
pub struct Publication {
    /// Where the charts are found once they are published: `oci://…` or `https://…`.
    pub charts: Option<String>,
    /// The web address of the static repository that they are published in, beside a registry.
    pub site: Option<String>,
    /// Whom to ask.
    pub maintainers: Vec<Maintainer>,
    /// What signs.
    pub sign_key: Option<SignKey>,
    /// How releases are tagged: a text with `{chart}` and `{version}`; `{chart}-{version}` if not set.
    pub tag: Option<String>,
    /// The repository on GitHub: `https://HOST/OWNER/NAME`.
    pub repository: Option<String>,
}

impl Publication {
    /// The registry that charts are published to, `oci://…`.
    pub fn registry(&self) -> Option<&str> {
        self.charts.as_deref().filter(|url| url.starts_with("oci://"))
    }

    /// The address that `helm repo add` takes, `https://…`.
    pub fn helm_repository(&self) -> Option<&str> {
        let site = self.site.as_deref();
        site.or(self.charts.as_deref().filter(|url| !url.starts_with("oci://")))
    }
}

/// How a command works, as far as libraries must know.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Note the programs that would run instead of running them.
    pub plan: bool,
    /// Show the command lines that run.
    pub verbose: bool,
    /// Show only results and errors, no progress.
    pub quiet: bool,
    /// Where a command leaves its files; `target/xtask/<command>` if not set.
    pub artifacts: Option<PathBuf>,
}

/// Built once by a command, passed down.
#[derive(Debug, Clone)]
pub struct Project {
    /// The workspace.
    pub workspace: Workspace,
    /// Runs programs.
    pub runner: Runner,
    /// The pinned tools.
    pub toolbox: Toolbox,
    /// The Kubernetes version that charts are rendered for.
    pub kube_version: String,
    /// How packages and releases are made.
    pub publication: Publication,
    /// How the command works.
    pub options: Options,
}

impl Project {
    /// Reads the workspace. Precedence of settings: flag, `XTASK_*` variable, `[workspace.metadata.xtask]`.
    pub fn find(options: Options, cancel: Cancel) -> Result<Project> {
        let mut runner = Runner::new(cancel, options.verbose);
        if options.plan {
            runner = runner.planning();
        }
        Project::at(Workspace::find()?, options, runner)
    }

    fn at(workspace: Workspace, options: Options, runner: Runner) -> Result<Project> {
        let metadata = read_metadata(&workspace)?;
        let toolbox = Toolbox::read(
            workspace.root(),
            Toolbox::default_cache()?,
            runner.clone(),
            options.quiet,
        )?;
        let kube_version = std::env::var("XTASK_KUBE_VERSION").unwrap_or(metadata.kube_version);
        let address = |variable: &str, setting: Option<String>| {
            let url = std::env::var(variable).ok().or(setting)?;
            Some(url.trim_end_matches('/').to_owned()).filter(|url| !url.is_empty())
        };
        let publication = Publication {
            charts: address("XTASK_PUBLISHED_CHARTS", metadata.published_charts),
            site: address("XTASK_PUBLISHED_SITE", metadata.published_site),
            maintainers: metadata.maintainers,
            sign_key: metadata.sign_key,
            tag: metadata.release_tag,
            repository: metadata.repository,
        };
        Ok(Project {
            workspace,
            runner,
            toolbox,
            kube_version,
            publication,
            options,
        })
    }

    /// The same run in another checkout, with that one's settings and pins.
    pub fn in_checkout(&self, root: &Path) -> Result<Project> {
        Project::at(Workspace::at(root), self.options.clone(), self.runner.clone())
    }

    /// A helm from PATH or the pinned one.
    pub fn helm(&self) -> Result<Helm> {
        Ok(self.helm_at(self.toolbox.get("helm")?.path))
    }

    /// A helm at a known place.
    pub fn helm_at(&self, program: PathBuf) -> Helm {
        Helm {
            program,
            kube_version: self.kube_version.clone(),
            runner: self.runner.clone(),
        }
    }

    /// A lock file, held as long as what is returned lives; `what` says what its holder does. A plan takes
    /// none.
    pub fn lock(&self, path: &Path, what: &str) -> Result<Option<File>> {
        if self.runner.plans() {
            return Ok(None);
        }
        lock::wait_for(path, what, self.options.quiet, self.runner.cancel()).map(Some)
    }

    /// Stops and removes what killed runs left in `folders` and in the system's temporary folder; a plan
    /// leaves it there.
    pub fn sweep(&self, folders: &[&Path]) -> Result<()> {
        if !self.runner.plans() {
            run_dir::sweep(folders)?;
        }
        Ok(())
    }

    /// Long work of `total` parts, 0 where their number isn't known; in a plan nothing takes long.
    pub fn progress(&self, name: impl Into<String>, total: u64) -> Progress {
        Progress::start(name, total, self.options.quiet || self.runner.plans())
    }

    /// Where `command` leaves its files.
    pub fn artifacts(&self, command: &str) -> PathBuf {
        match &self.options.artifacts {
            Some(dir) => dir.clone(),
            None => self.target_dir().join("xtask").join(command),
        }
    }

    /// Cargo's target folder.
    pub fn target_dir(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).map_or_else(
            || self.workspace.root().join("target"),
            |dir| self.workspace.root().join(dir),
        )
    }

    /// A line for people about what goes on, on standard error; silent with `--quiet`.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.options.quiet {
            progress::say(line.as_ref());
        }
    }
}

fn read_metadata(workspace: &Workspace) -> Result<Metadata> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(&cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace.root())
        .output()
        .map_err(|error| {
            let what = format!("{cargo} can't be run: {error}");
            Failure::tool(what, "install Rust (https://rustup.rs) or add cargo to PATH")
        })?;
    let bad = |why: String| {
        Failure::usage(
            format!("[workspace.metadata.xtask] in Cargo.toml can't be read: {why}"),
            "fix Cargo.toml",
        )
    };
    if !output.status.success() {
        return Err(bad(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    #[derive(Deserialize)]
    struct CargoMetadata {
        metadata: WorkspaceMetadata,
    }
    #[derive(Deserialize)]
    struct WorkspaceMetadata {
        xtask: Metadata,
    }
    let parsed: CargoMetadata = serde_json::from_slice(&output.stdout).map_err(|error| bad(error.to_string()))?;
    Ok(parsed.metadata.xtask)
}
