//! The versions of Kubernetes that the charts are held to, and where their API schemas are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kit::failure::Failure;
use semver::{Version, VersionReq};
use serde_yaml::Value;
use walkdir::WalkDir;

use crate::render::Prepared;

/// By what a template knows the version of Kubernetes.
const CAPABILITIES: &str = "Capabilities";

/// Where the committed schemas are: `ci/schemas` below the workspace.
pub fn folder(root: &Path) -> PathBuf {
    root.join("ci/schemas")
}

/// Where the schemas of a version of Kubernetes are, with the module files that pin them.
pub fn version_folder(root: &Path, version: &str) -> PathBuf {
    folder(root).join(format!("v{version}"))
}

/// The versions of Kubernetes whose schemas are committed, lowest first; an error where there are none.
pub fn versions(root: &Path) -> Result<Vec<String>> {
    let folder = folder(root);
    let mut versions = Vec::new();
    for entry in fs_err::read_dir(&folder)? {
        let name = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .file_name();
        let version = name
            .to_str()
            .and_then(|name| Version::parse(name.strip_prefix('v')?).ok());
        versions.extend(version);
    }
    if versions.is_empty() {
        return Err(Failure::usage(
            format!("{} holds no schemas of Kubernetes", folder.display()),
            "`cargo xtask schemas --help` says how to add a version",
        ));
    }
    versions.sort();
    Ok(versions.iter().map(Version::to_string).collect())
}

/// The versions in groups for which a chart renders the same with these values; for a group, one render is enough.
///
/// A render depends on the version only by the charts' `kubeVersion` and by what templates read in
/// `.Capabilities`. Where they do no more with that than `semverCompare "…" .Capabilities.KubeVersion.Version`,
/// two versions about which all those comparisons say the same can't render differently. Where they do,
/// or a chart inside can't be read here, each version is a group of its own.
pub fn alike<'v>(chart: &Prepared, values: &str, versions: &'v [String]) -> Result<Vec<Vec<&'v str>>> {
    let Some(comparisons) = comparisons(chart, values)? else {
        return Ok(versions.iter().map(|version| vec![version.as_str()]).collect());
    };
    let mut groups: Vec<(Vec<bool>, Vec<&str>)> = Vec::new();
    for version in versions {
        let parsed = Version::parse(version).with_context(|| format!("Kubernetes {version}"))?;
        let outcome: Vec<bool> = comparisons.iter().map(|one| one.matches(&parsed)).collect();
        match groups.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, group)) => group.push(version),
            None => groups.push((outcome, vec![version])),
        }
    }
    Ok(groups.into_iter().map(|(_, group)| group).collect())
}

/// All that a render compares the version of Kubernetes with; none where it may do more than compare.
fn comparisons(chart: &Prepared, values: &str) -> Result<Option<Vec<VersionReq>>> {
    let mut found = comparisons_in(values);
    // The charts that it depends on were packaged from the folders beside it.
    let folder = chart.dir.parent().context("a chart has a parent folder")?;
    for entry in WalkDir::new(folder) {
        let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy());
        let more = if !entry.file_type().is_file() {
            Some(Vec::new())
        } else if let Some(archive) = name.strip_suffix(".tgz") {
            let source = archive.rsplit_once('-').map(|(chart, _)| folder.join(chart));
            source.is_some_and(|source| source.is_dir()).then(Vec::new)
        } else if name == "Chart.yaml" {
            allowed(&fs_err::read_to_string(path)?)
        } else {
            comparisons_in(&String::from_utf8_lossy(&fs_err::read(path)?))
        };
        found = found.zip(more).map(|(found, more)| [found, more].concat());
    }
    Ok(found)
}

/// The `kubeVersion` of a Chart.yaml, if it has one.
fn allowed(text: &str) -> Option<Vec<VersionReq>> {
    let chart: Value = serde_yaml::from_str(text).ok()?;
    match chart.get("kubeVersion") {
        Some(constraint) => Some(vec![requirement(constraint.as_str()?)?]),
        None => Some(Vec::new()),
    }
}

/// The comparisons in a template; none if it does anything else with the capabilities.
///
/// Asking for an API that no version of Kubernetes has by itself is no comparison.
fn comparisons_in(template: &str) -> Option<Vec<VersionReq>> {
    let asks = |(at, _): &(usize, &str)| !asks_for_a_foreign_api(&template[*at..]);
    let one = |(at, _): (usize, &str)| {
        let (before, after) = template.split_at(at);
        after.strip_prefix("Capabilities.KubeVersion.Version")?;
        let before = before.strip_suffix('.')?.trim_end_matches('$').trim_end();
        let (call, constraint) = before.strip_suffix('"')?.rsplit_once('"')?;
        call.trim_end().strip_suffix("semverCompare")?;
        requirement(constraint)
    };
    template.match_indices(CAPABILITIES).filter(asks).map(one).collect()
}

/// Whether it goes on with `.APIVersions.Has "…"` for a group that is not Kubernetes' own.
fn asks_for_a_foreign_api(text: &str) -> bool {
    let api = text
        .strip_prefix("Capabilities.APIVersions.Has \"")
        .and_then(|rest| rest.split('"').next());
    let group = api.and_then(|api| api.split_once('/')).map(|(group, _)| group);
    group.is_some_and(|group| group.contains('.') && !group.ends_with("k8s.io"))
}

/// A constraint that means the same to helm and here: only order, where `1.2`, `~` and `||` don't.
fn requirement(constraint: &str) -> Option<VersionReq> {
    let ordered = constraint
        .split(',')
        .all(|part| part.trim_start().starts_with(['<', '>']));
    VersionReq::parse(constraint).ok().filter(|_| ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The groups of four versions for a chart with this template and this kubeVersion.
    fn groups(kube_version: &str, template: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("c");
        fs_err::create_dir_all(dir.join("templates")).unwrap();
        fs_err::write(
            dir.join("Chart.yaml"),
            format!("name: c\nkubeVersion: {kube_version:?}\n"),
        )
        .unwrap();
        fs_err::write(dir.join("templates/t.yaml"), template).unwrap();
        let versions = ["1.29.1", "1.30.2", "1.31.3", "1.32.4"].map(str::to_owned);
        let found = alike(&Prepared::archive("c", dir), "a: 1\n", &versions).unwrap();
        found.into_iter().map(|group| group.join(" ")).collect()
    }

    #[test]
    fn versions_that_all_comparisons_treat_alike_are_a_group() {
        assert_eq!(groups(">=1.20.0-0", "a: b"), ["1.29.1 1.30.2 1.31.3 1.32.4"]);
        let two = r#"{{ semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
                     {{ if semverCompare "< 1.32.0" $.Capabilities.KubeVersion.Version }}{{ end }}"#;
        assert_eq!(groups(">=1.20.0-0", two), ["1.29.1", "1.30.2 1.31.3", "1.32.4"]);
        let foreign = r#"{{ .Capabilities.APIVersions.Has "security.openshift.io/v1" }}"#;
        assert_eq!(groups(">=1.20.0-0", foreign), ["1.29.1 1.30.2 1.31.3 1.32.4"]);
        assert_eq!(
            groups(">=1.30.0-0, <1.32.0-0", "a: b"),
            ["1.29.1 1.32.4", "1.30.2 1.31.3"]
        );
    }

    #[test]
    fn what_is_more_than_a_comparison_sets_every_version_apart() {
        for template in [
            "{{ .Capabilities.KubeVersion.Minor }}",
            "{{ .Capabilities.KubeVersion.Version }}",
            r#"{{ semverCompare "~1.30" .Capabilities.KubeVersion.Version }}"#,
            r#"{{ semverCompare .Values.from .Capabilities.KubeVersion.Version }}"#,
            r#"{{ .Capabilities.APIVersions.Has "policy/v1" }}"#,
            r#"{{ .Capabilities.APIVersions.Has "apps.k8s.io/v1" }}"#,
        ] {
            assert_eq!(groups(">=1.20.0-0", template).len(), 4, "{template}");
        }
        assert_eq!(groups("1.x", "a: b").len(), 4);
    }
}
