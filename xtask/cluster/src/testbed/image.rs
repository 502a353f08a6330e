//! Images of one program: the program, a few files of Debian, nothing else.

use std::path::Path;

use anyhow::{Context, Result};

use crate::testbed::archive::Archive;
use crate::testbed::base::{KEY_LABEL, MODULE_LABEL, PACKAGES_LABEL, Testbed, label, layout_key};
use crate::testbed::debian::{Debian, Part};
use crate::testbed::recipe::Entry;

/// What an image is made of. The program's place in the cache names its module, sums and compiler.
pub fn key(testbed: &Testbed, debian: &Debian, entry: &Entry) -> Result<String> {
    let mut key = layout_key().value("entry", entry)?;
    if let Some(tool) = &entry.tool {
        key = key.text("program", &testbed.project.toolbox.build_id(tool)?);
    }
    for part in &entry.parts {
        key = key.text(part, &debian.part_key(testbed, part)?);
    }
    Ok(key.finish())
}

/// Builds those of the images that Docker doesn't have or has out of date.
pub(crate) fn build_all(testbed: &Testbed, entries: &[Entry], debian: &Debian) -> Result<()> {
    let total = entries.len() as u64;
    let mut progress = testbed.project.progress("packing images", total);
    let mut made = 0;
    for entry in entries {
        testbed.project.runner.cancel().check()?;
        let name = testbed.image_name(entry)?;
        progress.advance(&name);
        let key = key(testbed, debian, entry)?;
        if !testbed.has(&name, &key)? {
            build(testbed, debian, entry, &name, &key)?;
            made += 1;
        }
    }
    progress.finish(&format!("{made} of {total} rebuilt"));
    Ok(())
}

/// Packs an image and gives it to Docker.
fn build(testbed: &Testbed, debian: &Debian, entry: &Entry, name: &str, key: &str) -> Result<()> {
    let parts = entry.parts.iter().map(|part| debian.part(testbed, part));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let work = testbed.work("image")?;
    let archive = work.path().join("image.tar");
    if !testbed.plans() {
        pack(testbed, entry, &parts, &archive).with_context(|| format!("packing {name}"))?;
    }
    let packages: String = parts.into_iter().map(|part| part.packages).collect();
    testbed.import(&archive, &changes(testbed, entry, key, &packages)?, name)
}

fn pack(testbed: &Testbed, entry: &Entry, parts: &[Part], path: &Path) -> Result<()> {
    let mut archive = Archive::create(path)?;
    // Programs expect both; on a read-only root a volume is mounted over them.
    archive.folder("run", 0o755)?;
    archive.folder("tmp", 0o1777)?;
    for part in parts {
        archive.tree(&part.root)?;
    }
    if let (Some(tool), Some(path)) = (&entry.tool, &entry.path) {
        archive.program(&testbed.project.toolbox.pinned(tool)?.path, path)?;
    }
    archive.finish()
}

/// Metadata of an image, in the words of a Dockerfile. Labels as in the OCI image spec, annotations.md.
fn changes(testbed: &Testbed, entry: &Entry, key: &str, packages: &str) -> Result<Vec<String>> {
    let mut changes = vec![
        label(KEY_LABEL, key)?,
        label("org.opencontainers.image.title", entry.short_name())?,
        label("org.opencontainers.image.version", &testbed.version(entry)?.to_string())?,
        label(
            "org.opencontainers.image.description",
            "Built by `cargo xtask cluster images` for tests; not an upstream image",
        )?,
        label(PACKAGES_LABEL, packages.trim())?,
    ];
    if let Some(tool) = &entry.tool {
        changes.push(label(MODULE_LABEL, &testbed.project.toolbox.module(tool)?)?);
    }
    if let Some(user) = &entry.user {
        changes.push(format!("USER {user}"));
    }
    if !entry.entrypoint.is_empty() {
        let words = serde_json::to_string(&entry.entrypoint).context("writing JSON")?;
        changes.push(format!("ENTRYPOINT {words}"));
    }
    if entry.tool.is_none() {
        changes.push("ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin".into());
    }
    Ok(changes)
}
