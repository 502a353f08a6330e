//! What `package` left in a folder, ready to be published.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kit::failure::Failure;
use semver::Version;
use serde_yaml::Value;

use super::annotate::is_local;
use super::git::Git;
use super::packer::{BUNDLE, SBOM, STATEMENT, STATEMENT_BUNDLE, SUMS};
use super::provenance::{self, Claim};
use crate::archive;

/// The ends of what is published with an archive.
pub const COMPANIONS: [&str; 5] = [".prov", SBOM, STATEMENT, BUNDLE, STATEMENT_BUNDLE];

/// A packaged chart, with what lies beside it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The chart's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// The archive.
    pub archive: PathBuf,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// What its statement says.
    pub claim: Claim,
    /// The names of the charts that it depends on.
    dependencies: Vec<String>,
    /// Those of them that still point into a workspace.
    local: Vec<String>,
}

impl Candidate {
    /// The archive's file name.
    pub fn file_name(&self) -> String {
        format!("{}-{}.tgz", self.name, self.version)
    }

    /// What it is called in a list of releases.
    pub fn id(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// A file beside the archive, `.prov` for example; none if it isn't there.
    pub fn beside(&self, end: &str) -> Option<PathBuf> {
        let file = beside(&self.archive, end);
        file.is_file().then_some(file)
    }

    /// The archive, and all that is published with it.
    pub fn files(&self) -> Vec<PathBuf> {
        let beside = COMPANIONS.iter().filter_map(|end| self.beside(end));
        [self.archive.clone()].into_iter().chain(beside).collect()
    }

    /// Reads an archive and its statement.
    pub fn read(file: &Path) -> Result<Candidate> {
        let (_, sha256) = archive::fingerprint(file)?;
        let (chart_name, version) = archive::identity(file)?;
        let chart = archive::chart(file)?;
        let statement_file = beside(file, STATEMENT);
        let name = file
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let claim = std::fs::read_to_string(&statement_file)
            .map_err(anyhow::Error::new)
            .and_then(|text| provenance::read(&text, &name))
            .map_err(|error| {
                Failure::findings(
                    format!(
                        "{} does not say what {name} was made from: {error:#}",
                        statement_file.display()
                    ),
                    "package again: `cargo xtask package`",
                )
            })?;
        let list = chart
            .get("dependencies")
            .and_then(Value::as_sequence)
            .cloned()
            .unwrap_or_default();
        let name_of = |d: &Value| d.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let at_home = |d: &&Value| d.get("repository").and_then(Value::as_str).is_some_and(is_local);
        Ok(Candidate {
            name: chart_name,
            version,
            archive: file.to_path_buf(),
            sha256,
            claim,
            dependencies: list.iter().map(name_of).collect(),
            local: list.iter().filter(at_home).map(name_of).collect(),
        })
    }

    /// Refuses what nobody could rebuild, or install elsewhere.
    pub fn fit_for_release(&self) -> Result<()> {
        let file = self.file_name();
        if self.claim.sha256 != self.sha256 {
            return Err(findings(
                format!("{file} is not the archive that its statement speaks of"),
                "package again: `cargo xtask package`",
            ));
        }
        if self.claim.uncommitted || self.claim.commit.is_none() {
            return Err(findings(
                format!("{file} was made from a dirty tree: no commit holds its files"),
                "commit the charts and package again",
            ));
        }
        if let Some(name) = self.local.first() {
            return Err(findings(
                format!("{file} depends on {name} by a file:// address, which is there in this workspace only"),
                "set `published-charts` in [workspace.metadata.xtask] (or XTASK_PUBLISHED_CHARTS) to where the charts \
                 are published, and package again",
            ));
        }
        Ok(())
    }

    /// Refuses a tag of this release at another commit.
    pub fn tag_is_free(&self, git: &Git) -> Result<()> {
        match git.tagged(&self.name, &self.version)? {
            Some(at) if Some(&at) != self.claim.commit.as_ref() => Err(findings(
                format!(
                    "the tag {} is at {at}, and {} was made from {}",
                    git.tag(&self.name, &self.version),
                    self.file_name(),
                    self.claim.commit.as_deref().unwrap_or("no commit")
                ),
                format!(
                    "raise the version (`cargo xtask bump`), or, if nothing was published, remove the tag: `git tag -d {}`",
                    git.tag(&self.name, &self.version)
                ),
            )),
            _ => Ok(()),
        }
    }
}

fn findings(what: String, remedy: impl Into<String>) -> anyhow::Error {
    Failure::findings(what, remedy)
}

/// The file beside an archive with this ending.
pub fn beside(archive: &Path, end: &str) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// The archives that SHA256SUMS in `dir` names, dependencies before those that need them. A file that was
/// changed since is an error of [`Kind::Findings`].
pub fn read(dir: &Path) -> Result<Vec<Candidate>> {
    let sums = dir.join(SUMS);
    let text = std::fs::read_to_string(&sums).map_err(|error| {
        Failure::usage(
            format!("{} can't be read: {error}", sums.display()),
            "run `cargo xtask package` first, or name its folder with --from",
        )
    })?;
    let mut found = Vec::new();
    for line in text.lines() {
        let (sum, name) = line
            .split_once("  ")
            .context("a line without two spaces")
            .with_context(|| sums.display().to_string())?;
        let file = dir.join(name);
        let (_, sha256) = archive::fingerprint(&file)?;
        if sha256 != sum {
            return Err(findings(
                format!("{} is not the file that {SUMS} names", file.display()),
                "package again: `cargo xtask package`",
            ));
        }
        if name.ends_with(".tgz") {
            found.push(Candidate::read(&file)?);
        }
    }
    Ok(in_order(found))
}

fn in_order(mut left: Vec<Candidate>) -> Vec<Candidate> {
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let waits = |c: &Candidate| {
            left.iter()
                .any(|other| other.name != c.name && c.dependencies.contains(&other.name))
        };
        let next = left.iter().position(|c| !waits(c)).unwrap_or_default();
        ordered.push(left.remove(next));
    }
    ordered
}
