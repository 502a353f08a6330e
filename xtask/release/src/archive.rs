//! A packaged chart, looked into.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use charts::workspace::Chart;
use flate2::read::GzDecoder;
use kit::key::hexadecimal;
use semver::Version;
use serde_yaml::Value;
use sha2::{Digest, Sha256};
use tar::EntryType;
use walkdir::{DirEntry, WalkDir};

use crate::helmignore::Ignore;

/// The mode that helm gives every file, whatever it is on disk: a umask must not show in an archive.
const MODE: u32 = 0o644;

/// One entry of an archive.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its path, which begins with the chart's name.
    pub path: String,
    /// When it was changed, in seconds since 1970.
    pub modified: u64,
    mode: u32,
    kind: EntryType,
}

/// What an archive holds, in its order.
pub fn list(file: &Path) -> Result<Vec<Entry>> {
    let reading = || format!("reading {}", file.display());
    let mut archive = tar::Archive::new(GzDecoder::new(fs_err::File::open(file)?));
    let mut entries = Vec::new();
    for entry in archive.entries().with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let header = entry.header();
        entries.push(Entry {
            path: entry.path().with_context(reading)?.to_string_lossy().into_owned(),
            modified: header.mtime().with_context(reading)?,
            mode: header.mode().with_context(reading)?,
            kind: header.entry_type(),
        });
    }
    Ok(entries)
}

/// The text of one file in an archive.
pub fn text(file: &Path, path: &str) -> Result<String> {
    let reading = || format!("reading {path} in {}", file.display());
    let mut archive = tar::Archive::new(GzDecoder::new(fs_err::File::open(file)?));
    for entry in archive.entries().with_context(reading)? {
        let mut entry = entry.with_context(reading)?;
        if entry.path().with_context(reading)? == Path::new(path) {
            let mut text = String::new();
            entry.read_to_string(&mut text).with_context(reading)?;
            return Ok(text);
        }
    }
    anyhow::bail!("{} holds no {path}", file.display())
}

/// The Chart.yaml of a packaged chart.
pub fn chart(file: &Path) -> Result<serde_yaml::Value> {
    let reading = || format!("reading {}", file.display());
    let top = list(file)?.into_iter().map(|entry| entry.path);
    let top = top.filter(|path| path.ends_with("/Chart.yaml")).min_by_key(String::len);
    let top = top.context("it holds no Chart.yaml").with_context(reading)?;
    serde_yaml::from_str(&text(file, &top)?).with_context(reading)
}

/// The name and the version of a packaged chart.
pub fn identity(file: &Path) -> Result<(String, Version)> {
    let chart = chart(file)?;
    let field = |key: &str| chart.get(key).and_then(serde_yaml::Value::as_str).unwrap_or_default();
    let version = field("version");
    let version = version
        .parse()
        .with_context(|| format!("the version {version:?} in {}", file.display()))?;
    Ok((field("name").to_owned(), version))
}

/// A SHA-256, in hexadecimal digits, over all that a packaged chart says: its files without their dates.
/// Two archives that differ in it are different charts.
pub fn content(file: &Path) -> Result<String> {
    let reading = || format!("reading {}", file.display());
    let mut archive = tar::Archive::new(GzDecoder::new(fs_err::File::open(file)?));
    let mut files = BTreeMap::new();
    for entry in archive.entries().with_context(reading)? {
        let mut entry = entry.with_context(reading)?;
        let path = entry.path().with_context(reading)?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).with_context(reading)?;
        if path.ends_with("/Chart.lock")
            && let Ok(mut lock) = serde_yaml::from_slice::<serde_yaml::Mapping>(&bytes)
        {
            // helm dates it.
            lock.remove("generated");
            bytes = serde_yaml::to_string(&lock).context("writing YAML")?.into_bytes();
        }
        files.insert(path, bytes);
    }
    let mut hash = Sha256::new();
    for (path, bytes) in &files {
        hash.update(format!("{path} {}\n", bytes.len()));
        hash.update(bytes);
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// What is wrong with the archive of a chart whose files are all to be dated `epoch` (seconds since 1970).
pub fn problems(chart: &Chart, entries: &[Entry], epoch: u64) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let family = chart.family()?;
    let places = places(chart, &family, "");
    let tests: Vec<_> = places.iter().map(|(place, _)| format!("{place}/ci/")).collect();
    let mut seen = BTreeSet::new();
    let root = format!("{}/", chart.name());
    for entry in entries {
        let path = &entry.path;
        if !path.starts_with(&root) || path.split('/').any(|part| part == "..") {
            problems.push(format!("{path} would be unpacked outside {root}"));
        }
        if entry.kind != EntryType::Regular || entry.mode != MODE {
            problems.push(format!("{path} is not a plain file with mode {MODE:o}"));
        }
        if entry.modified != epoch {
            problems.push(format!("{path} is dated {}, not {epoch}", entry.modified));
        }
        if tests.iter().any(|tests| path.starts_with(tests.as_str())) {
            problems.push(format!("{path} is for tests only: put `ci/` into .helmignore"));
        }
        if !seen.insert(path.as_str()) {
            problems.push(format!("{path} is there twice"));
        }
    }
    let expected = places.iter().flat_map(|(place, chart)| expected(place, chart));
    let missing = expected.filter(|path| !seen.contains(path.as_str()));
    problems.extend(missing.map(|path| format!("{path} is missing")));
    Ok(problems)
}

/// Where the chart and the local charts below it are in its archive.
fn places<'a>(chart: &'a Chart, family: &'a [Chart], above: &str) -> Vec<(String, &'a Chart)> {
    let place = format!("{above}{}", chart.name());
    let mut places = Vec::new();
    for dependency in &chart.metadata.dependencies {
        let folder = dependency.folder(&chart.dir);
        let member = family.iter().find(|member| Some(&member.dir) == folder.as_ref());
        places.extend(
            member
                .into_iter()
                .flat_map(|m| self::places(m, family, &format!("{place}/charts/"))),
        );
    }
    places.insert(0, (place, chart));
    places
}

/// What users need of a chart at its place: the files that helm or a person reads, and its dependencies, those
/// that stand in charts/ for themselves, too.
fn expected(place: &str, chart: &Chart) -> Vec<String> {
    let ignore = Ignore::of_chart(&chart.dir);
    let files = ["Chart.yaml", "values.yaml", "values.schema.json", "README.md"].map(|file| chart.dir.join(file));
    let templates = WalkDir::new(chart.dir.join("templates")).into_iter().flatten();
    let templates = templates
        .filter(|entry| entry.file_type().is_file())
        .map(DirEntry::into_path);
    let subcharts = std::fs::read_dir(chart.dir.join("charts"))
        .into_iter()
        .flatten()
        .flatten();
    let subcharts = subcharts.map(|entry| entry.path().join("Chart.yaml"));
    let wanted = files
        .into_iter()
        .chain(subcharts)
        .filter(|file| file.is_file())
        .chain(templates);
    let inside = wanted.filter_map(|file| {
        let relative = file.strip_prefix(&chart.dir).ok()?.to_string_lossy().into_owned();
        (!ignore.leaves_out(&relative)).then(|| format!("{place}/{relative}"))
    });
    let dependencies = chart.metadata.dependencies.iter();
    let dependencies = dependencies.map(|d| format!("{place}/charts/{}/Chart.yaml", d.name));
    inside.chain(dependencies).collect()
}

/// The names and versions of the charts inside a packaged chart, at any depth, in its order.
pub fn subcharts(file: &Path) -> Result<Vec<(String, String)>> {
    let paths = list(file)?.into_iter().map(|entry| entry.path);
    let paths = paths.filter(|path| {
        let parts: Vec<&str> = path.split('/').collect();
        parts.len() > 3
            && parts.len().is_multiple_of(2)
            && parts.last() == Some(&"Chart.yaml")
            && parts[1..]
                .iter()
                .step_by(2)
                .take(parts.len() / 2 - 1)
                .all(|part| *part == "charts")
    });
    let mut found = Vec::new();
    for path in paths {
        let chart: Value = serde_yaml::from_str(&text(file, &path)?).with_context(|| format!("parsing {path}"))?;
        let field = |key: &str| chart.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        found.push((field("name"), field("version")));
    }
    Ok(found)
}

/// Size in bytes and SHA-256 in hexadecimal digits.
pub fn fingerprint(file: &Path) -> Result<(u64, String)> {
    let bytes = fs_err::read(file)?;
    Ok((bytes.len() as u64, hexadecimal(&Sha256::digest(&bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(dir: &Path) -> Chart {
        std::fs::write(dir.join("Chart.yaml"), "apiVersion: v2\nname: c\nversion: 0.1.0\n").unwrap();
        std::fs::create_dir_all(dir.join("templates/deep")).unwrap();
        std::fs::write(dir.join("templates/deep/a.yaml"), "").unwrap();
        Chart::read(dir).unwrap()
    }

    fn entry(path: &str) -> Entry {
        Entry {
            path: path.into(),
            modified: 7,
            mode: MODE,
            kind: EntryType::Regular,
        }
    }

    #[test]
    fn a_complete_archive_has_no_problem() {
        let dir = tempfile::tempdir().unwrap();
        let entries = [entry("c/Chart.yaml"), entry("c/templates/deep/a.yaml")];
        assert_eq!(problems(&chart(dir.path()), &entries, 7).unwrap(), [""; 0]);
    }

    #[test]
    fn each_defect_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let chart = chart(dir.path());
        let whole = [entry("c/Chart.yaml"), entry("c/templates/deep/a.yaml")];
        let with = |extra: Entry| {
            problems(&chart, &[whole.as_slice(), &[extra]].concat(), 7)
                .unwrap()
                .join("\n")
        };
        assert!(with(entry("d/x")).contains("outside"));
        assert!(with(entry("c/../x")).contains("outside"));
        assert!(with(entry("c/ci/x-values.yaml")).contains(".helmignore"));
        // Of somebody else's chart, and of one's own templates, nothing is known.
        assert_eq!(with(entry("c/charts/d/ci/x-values.yaml")), "");
        assert_eq!(with(entry("c/templates/ci/x.yaml")), "");
        assert!(with(entry("c/Chart.yaml")).contains("twice"));
        assert!(
            with(Entry {
                modified: 8,
                ..entry("c/x")
            })
            .contains("dated 8")
        );
        assert!(
            with(Entry {
                mode: 0o600,
                ..entry("c/x")
            })
            .contains("mode 644")
        );
        assert!(
            with(Entry {
                kind: EntryType::Symlink,
                ..entry("c/x")
            })
            .contains("not a plain file")
        );
        assert_eq!(
            problems(&chart, &whole[..1], 7).unwrap(),
            ["c/templates/deep/a.yaml is missing"]
        );
    }
}
