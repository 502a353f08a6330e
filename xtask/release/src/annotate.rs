//! What `package` writes into the copy of a Chart.yaml: published references and Artifact Hub's annotations.
//!
//! helm writes the archive's Chart.yaml anew, without comments, so the copy needs none either.

use std::path::Path;

use anyhow::{Context, Result};
use charts::project::Publication;
use charts::workspace::Chart;
use serde_yaml::{Mapping, Value};

use super::lock;
use super::sbom::Container;

/// Whether a dependency is taken from this workspace.
pub fn is_local(repository: &str) -> bool {
    repository.starts_with("file://")
}

/// What a README says for the registry and for the static repository, until an archive is made of it.
const REGISTRY: &str = "oci://HOST/PATH";
const REPOSITORY: &str = "https://HOST/PATH";

/// The annotations from which NOTES.txt knows the two.
const ANNOTATIONS: [&str; 2] = ["published/registry", "published/repository"];

/// Writes the addresses where the charts are published into the copy in `dir`: into README.md in place of
/// `oci://HOST/PATH` and `https://HOST/PATH`, and into Chart.yaml as the annotations `published/registry` and
/// `published/repository`, which templates can read. An address that isn't set changes nothing.
pub(crate) fn publish_addresses(dir: &Path, publication: &Publication) -> Result<()> {
    let readme = dir.join("README.md");
    if readme.is_file() {
        let text = fs_err::read_to_string(&readme)?;
        fs_err::write(&readme, addressed(&text, publication))?;
    }
    let addresses = [publication.registry(), publication.helm_repository()];
    let known = ANNOTATIONS.into_iter().zip(addresses);
    let known = known.filter_map(|(name, address)| Some((name, address?.to_owned())));
    annotate(dir, known.collect())
}

/// The text of a README with the addresses where the charts are published.
pub fn addressed(text: &str, publication: &Publication) -> String {
    let text = text.replace(REGISTRY, publication.registry().unwrap_or(REGISTRY));
    text.replace(REPOSITORY, publication.helm_repository().unwrap_or(REPOSITORY))
}

/// Points the `file://` dependencies of the copy in `dir` to where the charts are published, in
/// Chart.yaml and Chart.lock. Nothing happens where no such place is set.
pub(crate) fn publish_dependencies(dir: &Path, publication: &Publication) -> Result<()> {
    let Some(url) = &publication.charts else { return Ok(()) };
    let (file, lock_file) = (dir.join("Chart.yaml"), dir.join("Chart.lock"));
    let mut chart = read(&file)?;
    repoint(&mut chart, url);
    if lock_file.is_file() {
        let mut locked = read(&lock_file)?;
        repoint(&mut locked, url);
        let digest = lock::digest(&chart, &locked)?;
        if let Some(map) = locked.as_mapping_mut() {
            map.insert("digest".into(), digest.into());
        }
        write(&lock_file, &locked)?;
    }
    write(&file, &chart)
}

fn repoint(document: &mut Value, url: &str) {
    let list = document.get_mut("dependencies").and_then(Value::as_sequence_mut);
    for dependency in list.into_iter().flatten() {
        if let Some(repository) = dependency.get_mut("repository")
            && repository.as_str().is_some_and(is_local)
        {
            *repository = url.into();
        }
    }
}

/// Writes Artifact Hub's annotations into the copy in `dir`: those that follow from the chart and the
/// settings. What the chart says itself stays (artifacthub.io/docs/topics/annotations/helm).
pub fn artifact_hub(dir: &Path, chart: &Chart, images: &[Container], publication: &Publication) -> Result<()> {
    let wanted = wanted(chart, images, publication)?.into_iter();
    let named = wanted.map(|(key, value)| (format!("artifacthub.io/{key}"), value));
    annotate(dir, named.collect())
}

/// Adds annotations to the Chart.yaml in `dir`; those that it has stay.
fn annotate<K: Into<Value>>(dir: &Path, wanted: Vec<(K, String)>) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let file = dir.join("Chart.yaml");
    let mut document = read(&file)?;
    let map = document.as_mapping_mut().context("Chart.yaml is not a mapping")?;
    let annotations = map.entry("annotations".into()).or_insert(Value::Null);
    if annotations.is_null() {
        *annotations = Value::Mapping(Mapping::new());
    }
    let annotations = annotations.as_mapping_mut().context("annotations is not a mapping")?;
    for (key, value) in wanted {
        annotations.entry(key.into()).or_insert(value.into());
    }
    write(&file, &document)
}

/// The keys, without their prefix, and their texts.
fn wanted(chart: &Chart, images: &[Container], publication: &Publication) -> Result<Vec<(&'static str, String)>> {
    let changes = chart.metadata.annotations.get("artifacthub.io/changes");
    let security = changes.is_some_and(|changes| changes.contains("kind: security"));
    let mut wanted = vec![
        ("containsSecurityUpdates", security.to_string()),
        ("prerelease", (!chart.metadata.version.pre.is_empty()).to_string()),
    ];
    if !images.is_empty() {
        let quote = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let entry = |c: &Container| format!("- name: {}\n  image: {}\n", quote(&c.name), quote(&c.image));
        wanted.push(("images", images.iter().map(entry).collect()));
    }
    if !publication.maintainers.is_empty() {
        let list = serde_yaml::to_string(&publication.maintainers).context("writing YAML")?;
        wanted.push(("maintainers", list));
    }
    if let Some(key) = &publication.sign_key {
        wanted.push(("signKey", serde_yaml::to_string(key).context("writing YAML")?));
    }
    Ok(wanted)
}

fn read(file: &Path) -> Result<Value> {
    let text = fs_err::read_to_string(file)?;
    let mut value: Value = serde_yaml::from_str(&text).with_context(|| format!("parsing {}", file.display()))?;
    value
        .apply_merge()
        .with_context(|| format!("parsing {}", file.display()))?;
    Ok(value)
}

fn write(file: &Path, document: &Value) -> Result<()> {
    let text = serde_yaml::to_string(document).context("writing YAML")?;
    Ok(fs_err::write(file, text)?)
}
