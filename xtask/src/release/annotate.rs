//! What `package` writes into the copy of a Chart.yaml: published references and Artifact Hub's annotations.

use std::path::Path;

use anyhow::{Context, Result};
use stack_tests::workspace::Chart;

use super::edit::{At, set_annotation, set_scalar};
use super::lock;
use super::sbom::Image;
use crate::ctx::Publication;

/// Whether a dependency is taken from this workspace.
pub fn is_local(repository: &str) -> bool {
    repository.starts_with("file://")
}

/// Points the `file://` dependencies of the copy in `dir` to where the charts are published, in
/// Chart.yaml and Chart.lock. Nothing happens where no such place is set.
pub fn publish_dependencies(dir: &Path, chart: &Chart, publication: &Publication) -> Result<()> {
    let Some(url) = &publication.charts else { return Ok(()) };
    let (file, lock_file) = (dir.join("Chart.yaml"), dir.join("Chart.lock"));
    let read = |file: &Path| std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()));
    let mut text = read(&file)?;
    let local = chart.metadata.dependencies.iter().filter(|d| is_local(&d.repository));
    let names: Vec<&str> = local.map(|d| d.name.as_str()).collect();
    for name in &names {
        let path = [At::Key("dependencies"), At::Named(name), At::Key("repository")];
        text = set_scalar(&text, &path, url).with_context(|| format!("the Chart.yaml of {}", chart.name()))?;
    }
    if lock_file.is_file() && !names.is_empty() {
        let mut locked = read(&lock_file)?;
        for name in &names {
            locked = lock::set(&locked, &text, name, "repository", url)
                .with_context(|| format!("the Chart.lock of {}", chart.name()))?;
        }
        std::fs::write(&lock_file, locked).with_context(|| format!("writing {}", lock_file.display()))?;
    }
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

/// Writes Artifact Hub's annotations into the copy in `dir`: those that follow from the chart and the
/// settings. What the chart says itself stays (artifacthub.io/docs/topics/annotations/helm).
pub fn artifact_hub(dir: &Path, chart: &Chart, images: &[Image], publication: &Publication) -> Result<()> {
    let file = dir.join("Chart.yaml");
    let mut text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let own = &chart.metadata.annotations;
    let security = own
        .get("artifacthub.io/changes")
        .is_some_and(|changes| changes.contains("kind: security"));
    let mut wanted = vec![
        ("containsSecurityUpdates", security.to_string()),
        ("prerelease", (!chart.metadata.version.pre.is_empty()).to_string()),
    ];
    if !images.is_empty() {
        let quote = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let entry = |i: &Image| format!("- name: {}\n  image: {}\n", quote(&i.container), quote(&i.reference));
        wanted.push(("images", images.iter().map(entry).collect()));
    }
    if !publication.maintainers.is_empty() {
        let list = serde_yaml::to_string(&publication.maintainers).context("writing YAML")?;
        wanted.push(("maintainers", list));
    }
    if let Some(key) = &publication.sign_key {
        wanted.push(("signKey", serde_yaml::to_string(key).context("writing YAML")?));
    }
    for (key, value) in wanted {
        let key = format!("artifacthub.io/{key}");
        if !own.contains_key(&key) {
            text =
                set_annotation(&text, &key, &value).with_context(|| format!("the Chart.yaml of {}", chart.name()))?;
        }
    }
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}
