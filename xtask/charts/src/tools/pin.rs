//! What pins a tool: its folder with `tool.yaml` and module files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

/// `ci/tools/<name>/tool.yaml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolFile {
    /// What it is for, in one line.
    pub summary: String,
    /// Which work needs it.
    #[serde(default)]
    pub group: Group,
    /// The Go package to build into a program with the folder's name; empty where `binaries` are set.
    #[serde(default)]
    pub package: String,
    /// Several programs of one module, each a tool of its own: name to Go package.
    #[serde(default)]
    pub binaries: BTreeMap<String, String>,
    /// The version that the module files pin.
    pub version: Version,
    /// Go's build tags: what of the program is wanted.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Linker flags, beyond those that strip the binary.
    #[serde(default)]
    pub ldflags: String,
    /// Which versions found on PATH may be used instead.
    pub accept: VersionReq,
    /// Arguments that make the program print its version.
    pub probe: Vec<String>,
}

/// Which work needs a tool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Lint, tests and local end-to-end runs: what `tools install` builds without being told names.
    #[default]
    Default,
    /// Signing, pushing and checking releases.
    Release,
    /// A kind cluster and its offline images.
    Testbed,
    /// Scenarios of the set `more`.
    More,
}

impl ToolFile {
    /// The programs that this file describes, each with the file that describes it alone.
    pub(super) fn split(self, folder: &str) -> Result<Vec<(String, ToolFile)>> {
        if self.package.is_empty() == self.binaries.is_empty() {
            bail!("either `package` or `binaries` must be set");
        }
        if self.binaries.is_empty() {
            return Ok(vec![(folder.to_owned(), self)]);
        }
        let one = |(name, package): (&String, &String)| {
            let file = ToolFile {
                package: package.clone(),
                binaries: BTreeMap::new(),
                ..self.clone()
            };
            (name.clone(), file)
        };
        Ok(self.binaries.iter().map(one).collect())
    }
}

/// A pinned tool.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its name: the program's, and the folder's where that holds one program.
    pub name: String,
    /// The folder with its module files.
    pub dir: PathBuf,
    /// How it is built and recognised.
    pub file: ToolFile,
}

/// `package version` for the longest required module that the package belongs to; none for a package
/// of the module itself.
pub(super) fn required_module(go_mod: &str, package: &str) -> Option<String> {
    let belongs = |module: &str| {
        let rest = package.strip_prefix(module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    go_mod
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
        .filter(|(module, version)| belongs(module) && version.starts_with('v'))
        .max_by_key(|(module, _)| module.len())
        .and_then(|(_, version)| Some(format!("{package} {}", version.split_whitespace().next()?)))
}
