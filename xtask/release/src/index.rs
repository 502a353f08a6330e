//! The index of a static chart repository: entries are added, never lost or changed.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kit::failure::Failure;
use kit::lock;
use kit::step::Cancel;
use kit::whole_file::{self, Mode};
use semver::Version;
use serde_yaml::{Mapping, Value};

/// The index's file name (helm.sh/docs/topics/chart_repository).
pub const FILE: &str = "index.yaml";
/// How often a merge is repeated because somebody else wrote the index meanwhile.
const ATTEMPTS: usize = 10;

/// An index as it was read.
#[derive(Debug, Clone)]
pub struct Index {
    document: Mapping,
}

/// One version of a chart in an index.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The chart's name.
    pub chart: String,
    /// Its version.
    pub version: Version,
    /// The archive's SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Where the archive is, relative to the index or not.
    pub url: String,
    value: Value,
}

impl Entry {
    /// The archive's file name.
    pub fn file_name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    fn read(chart: &str, value: &Value) -> Result<Entry> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let url = value.get("urls").and_then(|urls| urls.get(0)).and_then(Value::as_str);
        let version = text("version");
        Ok(Entry {
            chart: chart.to_owned(),
            version: Version::parse(version.trim_start_matches('v'))
                .with_context(|| format!("the version {version:?} of {chart}"))?,
            sha256: text("digest").trim_start_matches("sha256:").to_owned(),
            url: url.unwrap_or_default().to_owned(),
            value: value.clone(),
        })
    }
}

impl Index {
    /// An index without entries.
    pub fn empty() -> Index {
        let mut document = Mapping::new();
        document.insert("apiVersion".into(), "v1".into());
        document.insert("entries".into(), Value::Mapping(Mapping::new()));
        Index { document }
    }

    /// Reads an index. Anything but an index is an error of [`Kind::Findings`]: to take it for an empty
    /// one would drop every release.
    pub fn parse(text: &str, shown: &str) -> Result<Index> {
        let corrupt = |why: String| {
            Failure::findings(
                format!("{shown} is not a chart index: {why}"),
                "restore it from its last good version; nothing was changed, because a new one would lose its entries",
            )
        };
        let document: Mapping = serde_yaml::from_str(text).map_err(|error| corrupt(error.to_string()))?;
        if document.get("apiVersion").and_then(Value::as_str) != Some("v1") {
            return Err(corrupt("its apiVersion is not v1".to_owned()));
        }
        if !document.get("entries").is_some_and(Value::is_mapping) {
            return Err(corrupt("it has no entries".to_owned()));
        }
        let index = Index { document };
        index.entries().map_err(|error| corrupt(format!("{error:#}")))?;
        Ok(index)
    }

    /// Every version of every chart.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        for (chart, versions) in self
            .document
            .get("entries")
            .and_then(Value::as_mapping)
            .into_iter()
            .flatten()
        {
            let chart = chart.as_str().context("a chart's name is not a text")?;
            let versions = versions
                .as_sequence()
                .with_context(|| format!("the versions of {chart} are not a list"))?;
            for version in versions {
                found.push(Entry::read(chart, version)?);
            }
        }
        Ok(found)
    }

    /// One version of a chart.
    pub fn find(&self, chart: &str, version: &Version) -> Result<Option<Entry>> {
        Ok(self
            .entries()?
            .into_iter()
            .find(|e| e.chart == chart && e.version == *version))
    }

    /// Adds a version that isn't there yet, highest first.
    pub fn add(&mut self, entry: &Entry) -> Result<()> {
        let before = self.entries()?;
        let entries = self
            .document
            .get_mut("entries")
            .and_then(Value::as_mapping_mut)
            .context("no entries")?;
        let list = entries
            .entry(entry.chart.as_str().into())
            .or_insert_with(|| Value::Sequence(Vec::new()));
        let list = list.as_sequence_mut().context("the versions are not a list")?;
        let higher = |value: &&Value| Entry::read(&entry.chart, value).is_ok_and(|other| other.version > entry.version);
        let at = list.iter().take_while(higher).count();
        list.insert(at, entry.value.clone());
        self.stamp();
        let after = self.entries()?;
        // The promise of this module, held to at run time, too.
        if after.len() != before.len() + 1 || before.iter().any(|old| !after.contains(old)) {
            bail!("adding {} {} would change another entry", entry.chart, entry.version);
        }
        Ok(())
    }

    /// Removes the entries that `gone` names, and returns them.
    pub fn prune(&mut self, gone: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>> {
        let pruned: Vec<Entry> = self.entries()?.into_iter().filter(|entry| gone(entry)).collect();
        let entries = self
            .document
            .get_mut("entries")
            .and_then(Value::as_mapping_mut)
            .context("no entries")?;
        for (chart, list) in entries.iter_mut() {
            let of_chart = |p: &&Entry| Some(p.chart.as_str()) == chart.as_str();
            if let Some(list) = list.as_sequence_mut() {
                list.retain(|value| !pruned.iter().filter(of_chart).any(|p| p.value == *value));
            }
        }
        entries.retain(|_, list| list.as_sequence().is_none_or(|list| !list.is_empty()));
        Ok(pruned)
    }

    /// The index's date is that of its youngest entry, so that the same entries make the same text.
    fn stamp(&mut self) {
        let dates = self.entries().unwrap_or_default().into_iter();
        let dates = dates.filter_map(|entry| Some(entry.value.get("created")?.as_str()?.to_owned()));
        let youngest = dates.max_by_key(|date| date.parse::<jiff::Timestamp>().unwrap_or_default());
        if let Some(youngest) = youngest {
            self.document.insert("generated".into(), youngest.into());
        }
    }

    fn text(&self) -> Result<String> {
        serde_yaml::to_string(&self.document).context("writing YAML")
    }
}

/// The entries that `helm repo index` made of new archives, dated `epoch` (seconds since 1970) each.
pub fn fresh(text: &str, date: impl Fn(&str, &Version) -> Option<u64>) -> Result<Vec<Entry>> {
    let mut entries = Index::parse(text, "what helm wrote")?.entries()?;
    for entry in &mut entries {
        let seconds = date(&entry.chart, &entry.version).and_then(|seconds| i64::try_from(seconds).ok());
        let date = jiff::Timestamp::from_second(seconds.context("an archive has a date")?).context("a date")?;
        if let Some(map) = entry.value.as_mapping_mut() {
            map.insert("created".into(), date.to_string().into());
        }
    }
    Ok(entries)
}

/// Reads the index in `dir`; none if there is none.
pub fn read(dir: &Path) -> Result<Option<Index>> {
    read_text(dir)?
        .map(|text| Index::parse(&text, &dir.join(FILE).display().to_string()))
        .transpose()
}

fn read_text(dir: &Path) -> Result<Option<String>> {
    let file = dir.join(FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::environment(
            format!("the old index {} can't be read: {error}", file.display()),
            "make it readable; nothing was changed, because a new one would lose its entries",
        )),
    }
}

/// Changes the index in `dir`. Only one process does so at a time; whoever writes it without asking is
/// noticed, and the change is made anew on what they wrote. The file is replaced whole or not at all, and
/// not at all if nothing changed.
pub fn update<T>(dir: &Path, cancel: &Cancel, mut change: impl FnMut(&mut Index) -> Result<T>) -> Result<(T, bool)> {
    let _lock = lock(dir, cancel)?;
    let file = dir.join(FILE);
    for _ in 0..ATTEMPTS {
        let before = read_text(dir)?;
        let shown = file.display().to_string();
        let mut index = before
            .as_ref()
            .map_or_else(|| Ok(Index::empty()), |text| Index::parse(text, &shown))?;
        let unchanged = index.document.clone();
        let result = change(&mut index)?;
        if index.document == unchanged && before.is_some() {
            return Ok((result, false));
        }
        let writing = || format!("writing {shown}");
        let temp = whole_file::prepare(&file, index.text()?, Mode::Everybody)?;
        temp.as_file().sync_all().with_context(writing)?;
        if read_text(dir)? == before {
            temp.persist(&file).with_context(writing)?;
            return Ok((result, true));
        }
    }
    Err(Failure::environment(
        format!("{} changed {ATTEMPTS} times while it was being changed", file.display()),
        "stop what writes to it, and run the same command again",
    ))
}

/// A lock on the folder itself: it leaves no file behind.
fn lock(dir: &Path, cancel: &Cancel) -> Result<File> {
    let file = fs_err::File::open(dir)?.into_file();
    while !lock::held(file.try_lock(), dir)? {
        cancel.check()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "apiVersion: v1\nentries:\n  leaf:\n  - version: 0.2.0\n    digest: bb\n    created: \
                       2020-01-02T00:00:00Z\n    urls: [leaf-0.2.0.tgz]\n    odd: [kept]\n  - version: 0.1.0\n    \
                       digest: aa\n    urls: [leaf-0.1.0.tgz]\ngenerated: 2020-01-02T00:00:00Z\n";

    fn entry(version: &str) -> Entry {
        let text =
            format!("{{version: {version}, digest: cc, created: '2021-01-01T00:00:00Z', urls: [x-{version}.tgz]}}");
        Entry::read("leaf", &serde_yaml::from_str(&text).unwrap()).unwrap()
    }

    #[test]
    fn a_version_goes_to_its_place_and_the_others_stay_as_they_are() {
        let mut index = Index::parse(OLD, "old").unwrap();
        let before = index.entries().unwrap();
        for version in ["0.1.5", "0.3.0", "0.0.1"] {
            index.add(&entry(version)).unwrap();
        }
        let after = index.entries().unwrap();
        let order: Vec<_> = after.iter().map(|e| e.version.to_string()).collect();
        assert_eq!(order, ["0.3.0", "0.2.0", "0.1.5", "0.1.0", "0.0.1"]);
        assert!(before.iter().all(|old| after.contains(old)));
        assert!(index.text().unwrap().contains("generated: 2021-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for (text, reason) in [
            ("", "is not a chart index"),
            ("apiVersion: v2\nentries: {}\n", "apiVersion is not v1"),
            ("apiVersion: v1\n", "no entries"),
            ("apiVersion: v1\nentries: {leaf: 7}\n", "not a list"),
            (
                "apiVersion: v1\nentries: {leaf: [{version: x}]}\n",
                "the version \"x\" of leaf",
            ),
            ("<html>404</html>", "is not a chart index"),
            ("apiVersion: v1\nentries:\n  leaf:\n  - vers", "is not a chart index"),
        ] {
            let error = Index::parse(text, "x").unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_writer_who_did_not_ask_is_noticed_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), OLD).unwrap();
        let mut first = true;
        let change = |index: &mut Index| {
            index.add(&entry("0.4.0"))?;
            if std::mem::take(&mut first) {
                let mut theirs = Index::parse(OLD, "old")?;
                theirs.add(&entry("0.3.0"))?;
                std::fs::write(dir.path().join(FILE), theirs.text()?)?;
            }
            Ok(())
        };
        assert!(update(dir.path(), &Cancel::default(), change).unwrap().1);
        let versions = read(dir.path()).unwrap().unwrap().entries().unwrap();
        let versions: Vec<_> = versions.iter().map(|e| e.version.to_string()).collect();
        assert_eq!(versions, ["0.4.0", "0.3.0", "0.2.0", "0.1.0"]);
        assert!(!update(dir.path(), &Cancel::default(), |_| Ok(())).unwrap().1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn pruning_takes_only_what_is_named() {
        let mut index = Index::parse(OLD, "old").unwrap();
        let gone = index.prune(|entry| entry.file_name() == "leaf-0.1.0.tgz").unwrap();
        assert_eq!(gone.len(), 1);
        assert_eq!(index.entries().unwrap().len(), 1);
    }
}
