//! `ci/testbed/testbed.yaml`: what the test bed is made of.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use semver::Version;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the names of images begin with.
    pub repository: String,
    pub debian: DebianRecipe,
    /// Images inside the node image.
    pub node: Vec<Entry>,
    /// Images that are loaded into a running cluster.
    pub workloads: Vec<Entry>,
    /// The node images where a registry answers; the first is the default.
    pub pulled: Vec<Pulled>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pulled {
    pub kubernetes: Version,
    pub node: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DebianRecipe {
    /// The release: `bookworm`.
    pub suite: String,
    /// Packages beyond the minimal system.
    pub packages: Vec<String>,
    /// Sets of files that images take; a name may be a pattern.
    pub parts: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    #[serde(default)]
    pub tool: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub version: Option<Version>,
    /// What stands before the version in its tag.
    #[serde(default)]
    pub tag: String,
    /// Where the program lies in it.
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Its user, as `uid:gid`.
    #[serde(default)]
    pub user: Option<String>,
    /// Parts of Debian that it holds.
    #[serde(default)]
    pub parts: Vec<String>,
}

impl Entry {
    /// The last part of its name, before the tag.
    pub fn short_name(&self) -> &str {
        self.name.as_deref().or(self.tool.as_deref()).unwrap_or_default()
    }
}

impl Recipe {
    /// Reads `testbed.yaml` in `folder`.
    pub fn read(folder: &Path) -> Result<Recipe> {
        let path = folder.join("testbed.yaml");
        let text = fs_err::read_to_string(&path)?;
        let recipe: Recipe = serde_yaml::from_str(&text).with_context(|| format!("parsing {}", path.display()))?;
        anyhow::ensure!(!recipe.pulled.is_empty(), "{}: pulled is empty", path.display());
        for entry in recipe.node.iter().chain(&recipe.workloads) {
            let unknown = entry.parts.iter().find(|part| !recipe.debian.parts.contains_key(*part));
            if let Some(part) = unknown {
                anyhow::bail!(
                    "{}: {} names an unknown part {part}",
                    path.display(),
                    entry.short_name()
                );
            }
        }
        Ok(recipe)
    }

    pub(crate) fn in_node(&self, name: &str) -> Result<&Entry> {
        self.node
            .iter()
            .find(|entry| entry.short_name() == name)
            .with_context(|| format!("the test bed's node has no image {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_recipe_can_be_read_and_names_pinned_tools_only() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let recipe = Recipe::read(&root.join("ci/testbed")).unwrap();
        let cancel = kit::step::Cancel::default();
        let runner = kit::step::Runner::new(cancel, false);
        let toolbox = charts::tools::Toolbox::read(&root, "/nowhere".into(), runner, true).unwrap();
        for pulled in &recipe.pulled {
            assert!(
                pulled
                    .node
                    .starts_with(&format!("kindest/node:v{}@sha256:", pulled.kubernetes))
            );
        }
        for entry in recipe.node.iter().chain(&recipe.workloads) {
            assert!(!entry.short_name().is_empty());
            match &entry.tool {
                Some(tool) => assert!(entry.path.is_some() && toolbox.tool(tool).is_ok(), "{tool}"),
                None => assert!(entry.version.is_some(), "{}", entry.short_name()),
            }
        }
    }

    #[test]
    fn a_part_that_nobody_defined_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let text = "repository: r\ndebian: {suite: s, packages: [], parts: {}}\nnode: []\nworkloads: [{tool: t, parts: [p]}]\n\
            pulled: [{kubernetes: 1.0.0, node: n}]\n";
        std::fs::write(dir.path().join("testbed.yaml"), text).unwrap();
        let error = Recipe::read(dir.path()).unwrap_err();
        assert!(error.to_string().contains("unknown part p"), "{error}");
    }
}
