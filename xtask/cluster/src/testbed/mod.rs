//! The offline test bed: a kind node image and workload images from Go modules and Debian packages,
//! for machines that reach no image registry.
//!
//! [`recipe`] says what is made and [`base`] how it is called, [`debian`] makes the Debian root and takes
//! files from it, [`image`] packs single-program images as an [`archive`], [`node`] makes the node image.
//! Every image carries the key of what it was made of; one whose key fits is not made again.

mod archive;
mod base;
mod debian;
mod image;
mod node;
pub(crate) mod recipe;

use std::collections::BTreeSet;

use anyhow::Result;
use kit::disk;
use serde::Serialize;

pub use self::base::Testbed;
use crate::docker::Docker;
use crate::testbed::base::KEY_LABEL;
use crate::testbed::debian::Debian;
use crate::testbed::recipe::Entry;

/// The Debian root while it is built and the images in Docker: 3.2 GiB seen at most.
pub const SPACE: u64 = 5 * 1024 * 1024 * 1024;

/// One image of the test bed and where it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its name in Docker.
    pub name: String,
    /// What it is for: `node` or `workload`.
    pub purpose: &'static str,
    /// Whether Docker has it, made of what is wanted now.
    pub current: bool,
    /// Bytes on disk, where Docker has it.
    pub size: Option<u64>,
}

impl Testbed {
    /// Every image, without building one.
    pub fn status(&self) -> Result<Vec<Status>> {
        let debian = Debian::find(self)?;
        let mut rows = Vec::new();
        let mut add = |name: String, purpose, key: Option<String>| -> Result<()> {
            let image = self.docker.image(&name)?;
            rows.push(Status {
                name,
                purpose,
                current: key.is_some() && image.as_ref().and_then(|i| i.label(KEY_LABEL)) == key.as_deref(),
                size: image.map(|image| image.size),
            });
            Ok(())
        };
        // Programs that were never built have no key; neither has anything without the Debian root.
        let key = |entry: &Entry| match &debian {
            Some(debian) if self.built(entry)? => image::key(self, debian, entry).map(Some),
            _ => Ok(None),
        };
        for entry in &self.recipe.workloads {
            add(self.image_name(entry)?, "workload", key(entry)?)?;
        }
        let all_built = node::PROGRAMS.iter().try_fold(true, |all, tool| {
            Ok::<_, anyhow::Error>(all && self.project.toolbox.find_pinned(tool)?.is_some())
        })?;
        let in_node = self.recipe.node.iter().try_fold(all_built, |all, entry| {
            Ok::<_, anyhow::Error>(all && self.built(entry)?)
        })?;
        let node_key = match &debian {
            Some(debian) if in_node => Some(node::key(self, debian)?),
            _ => None,
        };
        add(self.node_image()?, "node", node_key)?;
        Ok(rows)
    }

    fn built(&self, entry: &Entry) -> Result<bool> {
        match &entry.tool {
            Some(tool) => Ok(self.project.toolbox.find_pinned(tool)?.is_some()),
            None => Ok(true),
        }
    }

    /// Whether the Debian root is there: building it needs root and debootstrap.
    pub fn has_debian(&self) -> Result<bool> {
        Ok(Debian::find(self)?.is_some())
    }

    /// Builds the images that are missing or out of date.
    pub fn build(&self, refresh: bool) -> Result<()> {
        if !refresh && self.status()?.iter().all(|image| image.current) {
            return Ok(());
        }
        self.project.sweep(&[&self.project.toolbox.builds(), &self.cache()])?;
        self.build_programs()?;
        // Two runs would take each other's containers for leftovers.
        let _lock = self
            .project
            .lock(&self.cache().with_extension("lock"), "builds the test bed's images")?;
        disk::require(
            &self.docker.info()?.docker_root_dir,
            SPACE,
            "building the test bed's images",
        )?;
        let debian = Debian::get(self, refresh)?;
        image::build_all(self, &self.recipe.workloads, &debian)?;
        node::build(self, &debian)?;
        self.remove_outdated(&debian)
    }

    fn programs(&self) -> impl Iterator<Item = &str> {
        let entries = self.recipe.workloads.iter().chain(&self.recipe.node);
        entries.filter_map(|entry| entry.tool.as_deref()).chain(node::PROGRAMS)
    }

    /// Builds all programs, each from its pinned module.
    fn build_programs(&self) -> Result<()> {
        let mut missing = Vec::new();
        for tool in self.programs() {
            if self.project.toolbox.find_pinned(tool)?.is_none() {
                missing.push(tool);
            }
        }
        for (index, tool) in missing.iter().enumerate() {
            self.project
                .say(format!("program {} of {}: {tool}", index + 1, missing.len()));
            self.project.toolbox.pinned(tool)?;
        }
        Ok(())
    }

    /// Removes what newer images and roots have replaced; what a container uses stays.
    fn remove_outdated(&self, debian: &Debian) -> Result<()> {
        let filter = format!("label={KEY_LABEL}");
        let prune = ["image", "prune", "--force", "--filter", &filter];
        self.docker.run(&Docker::step("remove outdated images", prune))?;
        let list = [
            "image",
            "ls",
            "--format",
            "{{.Repository}}:{{.Tag}}",
            "--filter",
            &filter,
        ];
        let list = Docker::step("list the Debian roots", list)
            .arg(debian::REPOSITORY)
            .reads();
        let roots = self.docker.run(&list)?.stdout;
        for name in roots.lines().filter(|name| *name != debian.image) {
            let remove = Docker::step(format!("remove {name}"), ["image", "rm", name]);
            self.project.runner.try_run(&remove)?;
        }
        debian.remove_outdated_parts(self)
    }

    /// Removes the images from Docker and what the cache holds of them; the programs stay. Returns how
    /// many there were.
    pub fn remove(&self) -> Result<usize> {
        let ids = self.ids()?;
        if !ids.is_empty() {
            let remove = Docker::step("remove the test bed's images", ["image", "rm", "--force"]);
            self.docker.run(&remove.args(&ids).hint("cargo xtask cluster down"))?;
        }
        let cache = self.cache();
        if cache.is_dir() && !self.plans() {
            fs_err::remove_dir_all(&cache)?;
        }
        Ok(ids.len())
    }

    /// The images in Docker that are ours, by id.
    fn ids(&self) -> Result<BTreeSet<String>> {
        let filter = format!("label={KEY_LABEL}");
        let list = Docker::step(
            "list the test bed's images",
            ["image", "ls", "--all", "--quiet", "--filter", &filter],
        );
        let listed = self.docker.run(&list.reads())?.stdout;
        Ok(listed.split_whitespace().map(str::to_owned).collect())
    }
}
