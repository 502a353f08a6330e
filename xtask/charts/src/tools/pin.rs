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
    /// The key of the chart's values that names its official image; empty where there is none.
    #[serde(default)]
    pub image: String,
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

/// The modules in a go.mod, each with its version, and whether only others need it.
fn required(go_mod: &str) -> impl Iterator<Item = (&str, &str, bool)> {
    let lines = go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
    lines.filter_map(|line| {
        let (module, rest) = line.split_once(' ')?;
        let version = rest.split_whitespace().next()?;
        version
            .starts_with('v')
            .then(|| (module, version, rest.contains("// indirect")))
    })
}

/// The longest required module that the package belongs to, and its version; none for a package of the
/// module itself.
fn module_of<'a>(go_mod: &'a str, package: &str) -> Option<(&'a str, &'a str)> {
    let belongs = |module: &str| {
        let rest = package.strip_prefix(module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let modules = required(go_mod).filter(|(module, ..)| belongs(module));
    let longest = modules.max_by_key(|(module, ..)| module.len())?;
    Some((longest.0, longest.1))
}

/// `package version`, by the module that the package belongs to; none for a package of the module itself.
pub(super) fn required_module(go_mod: &str, package: &str) -> Option<String> {
    module_of(go_mod, package).map(|(_, version)| format!("{package} {version}"))
}

/// The modules whose versions decide what a package is: its own, or those that it uses directly where it is a
/// package of the module itself.
pub(super) fn pinned_modules<'a>(go_mod: &'a str, package: &str) -> Vec<&'a str> {
    match module_of(go_mod, package) {
        Some((module, _)) => vec![module],
        None => required(go_mod)
            .filter(|(.., indirect)| !indirect)
            .map(|(module, ..)| module)
            .collect(),
    }
}
