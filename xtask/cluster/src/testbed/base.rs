//! What the parts of the test bed have in common: its recipe, the names of its images, and Docker.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use charts::project::Project;
use kit::key::Key;
use kit::run_dir::RunDir;

use crate::docker::Docker;
use crate::testbed::recipe::{Entry, Recipe};

/// Raised when the code that makes images changes what they hold; all else that decides is in the keys.
const LAYOUT: &str = "1";

/// On our images: the key of what they were made of.
pub(crate) const KEY_LABEL: &str = "tempo-stack.testbed.key";
/// On our images: the Go module and version of the program.
pub(crate) const MODULE_LABEL: &str = "tempo-stack.testbed.module";
/// On our images: the Debian packages with versions, one a line.
pub(crate) const PACKAGES_LABEL: &str = "tempo-stack.testbed.packages";

/// The test bed of a workspace.
#[derive(Debug, Clone)]
pub struct Testbed {
    pub(crate) recipe: Recipe,
    pub(super) project: Project,
    pub(super) docker: Docker,
}

impl Testbed {
    /// Reads `ci/testbed/testbed.yaml`.
    pub fn read(project: &Project) -> Result<Testbed> {
        Ok(Testbed {
            recipe: Recipe::read(&folder(project))?,
            project: project.clone(),
            docker: Docker::new(project.runner.clone()),
        })
    }

    /// The Kubernetes version of the node image.
    pub fn kubernetes(&self) -> Result<semver::Version> {
        Ok(self.project.toolbox.tool("kubelet")?.file.version.clone())
    }

    /// The name of the node image.
    pub fn node_image(&self) -> Result<String> {
        Ok(format!("tempo-stack/kind-node:v{}", self.kubernetes()?))
    }

    pub(crate) fn workload_images(&self) -> Result<Vec<String>> {
        self.recipe
            .workloads
            .iter()
            .map(|entry| self.image_name(entry))
            .collect()
    }

    /// Every image that pods may name: the workloads, and the helper, which is in the node already.
    pub fn images(&self) -> Result<BTreeMap<String, String>> {
        let helper = self.recipe.in_node("helper")?;
        let all = self.recipe.workloads.iter().chain([helper]);
        all.map(|entry| Ok((entry.short_name().to_owned(), self.image_name(entry)?)))
            .collect()
    }

    pub(crate) fn image_name(&self, entry: &Entry) -> Result<String> {
        let version = self.version(entry)?;
        Ok(format!(
            "{}/{}:{}{version}",
            self.recipe.repository,
            entry.short_name(),
            entry.tag
        ))
    }

    /// The version of what an image holds.
    pub fn version(&self, entry: &Entry) -> Result<semver::Version> {
        match (&entry.tool, &entry.version) {
            (Some(tool), _) => Ok(self.project.toolbox.tool(tool)?.file.version.clone()),
            (None, Some(version)) => Ok(version.clone()),
            (None, None) => anyhow::bail!("{}: neither a tool nor a version", entry.short_name()),
        }
    }

    /// Whether Docker has the image of that name, made of what `key` says.
    pub(super) fn has(&self, name: &str, key: &str) -> Result<bool> {
        let image = self.docker.image(name)?;
        Ok(image.is_some_and(|image| image.label(KEY_LABEL) == Some(key)))
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.project.toolbox.cache().join("testbed")
    }

    /// A folder for work in progress; a plan has one outside the cache.
    pub(super) fn work(&self, purpose: &str) -> Result<RunDir> {
        match self.plans() {
            true => RunDir::temporary(purpose),
            false => RunDir::create(&self.cache(), purpose),
        }
    }

    pub(super) fn plans(&self) -> bool {
        self.project.runner.plans()
    }

    /// `docker import` of an archive as `name`, with changes in the words of a Dockerfile.
    pub(super) fn import(&self, archive: &Path, changes: &[String], name: &str) -> Result<()> {
        let step = Docker::step(format!("import {name}"), ["import"])
            .args(changes.iter().flat_map(|change| ["--change", change]))
            .path_arg(archive)
            .arg(name)
            .timeout(Duration::from_secs(600));
        self.docker.run(&step)?;
        Ok(())
    }
}

/// `ci/testbed`.
pub fn folder(project: &Project) -> PathBuf {
    project.workspace.root().join("ci/testbed")
}

/// A `LABEL` in the words of a Dockerfile, whose double quotes are those of JSON.
pub(super) fn label(key: &str, value: &str) -> Result<String> {
    let value = serde_json::to_string(value).context("writing JSON")?;
    // A newline or a variable would be read by Docker's parser.
    let value = value.replace("\\n", " ").replace('$', "\\$");
    Ok(format!("LABEL {key}={value}"))
}

/// A key of something that our code makes: another layout gives another key.
pub(super) fn layout_key() -> Key {
    Key::default().text("layout", LAYOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_survives_dockers_parser() {
        assert_eq!(label("k", "a=1\nb \"2\" $c").unwrap(), r#"LABEL k="a=1 b \"2\" \$c""#);
    }
}
