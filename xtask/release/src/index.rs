//! The index of a static chart repository: entries are added, never lost or changed.

use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use granit_parser::StructureStyle;
use kit::failure::Failure;
use kit::lock;
use kit::step::Cancel;
use kit::whole_file::{self, Mode};
use semver::Version;
use serde_yaml::{Mapping, Value};

use crate::edit::{At, Kind, Node, line_start, requote, splice};

/// The index's file name (helm.sh/docs/topics/chart_repository).
pub const FILE: &str = "index.yaml";
/// How often a merge is repeated because somebody else wrote the index meanwhile.
const ATTEMPTS: usize = 10;

/// An index as it was read: its text is changed in places, and never written anew, so that what others put there
/// stays as they wrote it.
#[derive(Debug, Clone)]
pub struct Index {
    text: String,
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

    /// The path of the archive below the index's folder; none if it is elsewhere. `base` is the address under
    /// which the folder is published.
    pub fn path(&self, base: &str) -> Option<PathBuf> {
        let below = match self.url.contains("://") {
            true => self.url.strip_prefix(base.trim_end_matches('/'))?.strip_prefix('/')?,
            false => self.url.as_str(),
        };
        let path = PathBuf::from(below.replace("%2B", "+").replace("%2b", "+"));
        let plain = path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        (plain && !below.is_empty() && !below.contains(['?', '#'])).then_some(path)
    }

    /// None for what is no version of a chart: helm passes over it too.
    fn read(chart: &str, value: &Value) -> Option<Entry> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let url = value.get("urls").and_then(|urls| urls.get(0)).and_then(Value::as_str);
        Some(Entry {
            chart: chart.to_owned(),
            version: Version::parse(text("version").trim_start_matches('v')).ok()?,
            sha256: text("digest").trim_start_matches("sha256:").to_owned(),
            url: url.unwrap_or_default().to_owned(),
            value: value.clone(),
        })
    }
}

/// The path to the versions of a chart.
fn versions_of(chart: &str) -> [At<'_>; 2] {
    [At::Key("entries"), At::Key(chart)]
}

impl Index {
    /// An index without entries.
    pub fn empty() -> Index {
        let text = "apiVersion: v1\nentries: {}\ngenerated: \"1970-01-01T00:00:00Z\"\n".to_owned();
        let document = serde_yaml::from_str(&text).unwrap_or_default();
        Index { text, document }
    }

    /// Reads an index. Anything but an index is an error of [`Kind::Findings`]: to take it for an empty
    /// one would drop every release. Entries that are no versions are left to themselves.
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
        let Some(entries) = document.get("entries").and_then(Value::as_mapping) else {
            return Err(corrupt("it has no entries".to_owned()));
        };
        for (chart, versions) in entries {
            let chart = chart.as_str().unwrap_or("a chart");
            let list = versions.as_sequence();
            if list
                .into_iter()
                .flatten()
                .any(|entry| !(entry.is_mapping() || entry.is_null()))
            {
                return Err(corrupt(format!("a version of {chart} is not a mapping")));
            }
            // helm writes it last: one that was cut off has none.
            if list
                .into_iter()
                .flatten()
                .any(|entry| entry.is_mapping() && entry.get("version").is_none())
            {
                return Err(corrupt(format!("a version of {chart} has no version")));
            }
            if list.is_none() && !versions.is_null() {
                return Err(corrupt(format!("the versions of {chart} are not a list")));
            }
        }
        Ok(Index {
            text: text.to_owned(),
            document,
        })
    }

    fn lists(&self) -> impl Iterator<Item = (&str, &[Value])> {
        let entries = self.document.get("entries").and_then(Value::as_mapping);
        entries.into_iter().flatten().filter_map(|(chart, versions)| {
            Some((
                chart.as_str()?,
                versions.as_sequence().map(Vec::as_slice).unwrap_or_default(),
            ))
        })
    }

    /// Every version of every chart.
    pub fn entries(&self) -> Vec<Entry> {
        let read = |(chart, versions): (&str, &[Value])| -> Vec<Entry> {
            versions.iter().filter_map(|value| Entry::read(chart, value)).collect()
        };
        self.lists().flat_map(read).collect()
    }

    /// One version of a chart.
    pub fn find(&self, chart: &str, version: &Version) -> Option<Entry> {
        let is_it = |e: &Entry| e.chart == chart && e.version == *version;
        self.entries().into_iter().find(is_it)
    }

    /// Adds a version that isn't there yet, highest first.
    pub fn add(&mut self, entry: &Entry) -> Result<()> {
        let list = self
            .lists()
            .find(|(chart, _)| *chart == entry.chart)
            .map(|(_, list)| list);
        let higher =
            |value: &&Value| Entry::read(&entry.chart, value).is_some_and(|other| other.version > entry.version);
        let at = list.unwrap_or_default().iter().take_while(higher).count();
        let text = insert(&self.text, entry, at)?;
        let mut wanted = self.document.clone();
        let entries = wanted
            .get_mut("entries")
            .and_then(Value::as_mapping_mut)
            .context("no entries")?;
        let list = entries.entry(entry.chart.as_str().into()).or_insert(Value::Null);
        if list.is_null() {
            *list = Value::Sequence(Vec::new());
        }
        list.as_sequence_mut()
            .context("the versions are not a list")?
            .insert(at, entry.value.clone());
        self.become_proved(text, wanted)
            .with_context(|| format!("adding {} {}", entry.chart, entry.version))?;
        self.stamp()
    }

    /// Takes a changed text, if it says what is wanted and nothing else: the promise of this module, held to
    /// at run time.
    fn become_proved(&mut self, text: String, wanted: Mapping) -> Result<()> {
        let got: Mapping = serde_yaml::from_str(&text).context("the new index would not be YAML")?;
        if got != wanted {
            bail!("the new index would change another entry");
        }
        (self.text, self.document) = (text, wanted);
        Ok(())
    }

    /// Removes the entries that `gone` names, and returns them.
    pub fn prune(&mut self, gone: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>> {
        let mut pruned = Vec::new();
        loop {
            let found = self.lists().find_map(|(chart, list)| {
                let gone = |value: &Value| Entry::read(chart, value).filter(|entry| gone(entry));
                list.iter()
                    .enumerate()
                    .find_map(|(at, value)| Some((at, list.len(), gone(value)?)))
            });
            let Some((at, count, entry)) = found else { break };
            let text = remove(&self.text, &entry.chart, at, count == 1)?;
            let mut wanted = self.document.clone();
            let entries = wanted
                .get_mut("entries")
                .and_then(Value::as_mapping_mut)
                .context("no entries")?;
            if count == 1 {
                entries.shift_remove(entry.chart.as_str());
            } else if let Some(list) = entries.get_mut(entry.chart.as_str()).and_then(Value::as_sequence_mut) {
                list.remove(at);
            }
            if entries.is_empty() {
                // What is left of the block is a key without a value.
                self.become_proved(text.replacen("entries:", "entries: {}", 1), wanted)?;
            } else {
                self.become_proved(text, wanted)?;
            }
            pruned.push(entry);
        }
        Ok(pruned)
    }

    /// The index's date is that of its youngest entry, so that the same entries make the same text.
    fn stamp(&mut self) -> Result<()> {
        let dates = self.entries().into_iter();
        let dates = dates.filter_map(|entry| entry.value.get("created")?.as_str()?.parse::<jiff::Timestamp>().ok());
        let Some(youngest) = dates.max() else { return Ok(()) };
        let mut wanted = self.document.clone();
        if let Some(generated) = wanted.get_mut("generated") {
            *generated = youngest.to_string().into();
        }
        let text = requote(&self.text, &[At::Key("generated")], &youngest.to_string())?;
        self.become_proved(text, wanted)
    }
}

/// The text with a version at its place in the list of its chart.
fn insert(text: &str, entry: &Entry, at: usize) -> Result<String> {
    let tree = Node::parse_loosely(text)?;
    let entries = tree.find(&[At::Key("entries")]).context("no entries")?;
    let Kind::Mapping(charts, style) = &entries.kind else {
        bail!("the entries are not a mapping");
    };
    let json = serde_json::to_string(&entry.value).context("writing JSON")?;
    let name = serde_json::to_string(&entry.chart).context("writing JSON")?;
    let place = charts.iter().position(|(chart, ..)| *chart == entry.chart);
    let Some(place) = place else {
        if charts.is_empty() && text[..entries.bytes.start].ends_with("entries: ") {
            let gap = text[..entries.bytes.start].trim_end().len()..entries.bytes.end;
            return Ok(splice(text, gap, &format!("\n{}", with_key(entry, 2, 2)?.trim_end())));
        }
        if *style == StructureStyle::Flow {
            let gap = if charts.is_empty() { "" } else { ", " };
            let end = entries.bytes.end - 1;
            return Ok(splice(text, end..end, &format!("{gap}{name}: [{json}]")));
        }
        let key = entries.column;
        return Ok(splice_lines(text, end_of(&tree, text), &with_key(entry, key, key)?));
    };
    let (_, key, list) = &charts[place];
    match &list.kind {
        Kind::Sequence(items, StructureStyle::Flow) => {
            let (place, new) = match (items.get(at), items.last()) {
                (Some(next), _) => (next.bytes.start, format!("{json}, ")),
                (None, Some(last)) => (last.bytes.end, format!(", {json}")),
                (None, None) => (list.bytes.end - 1, json),
            };
            Ok(splice(text, place..place, &new))
        }
        Kind::Sequence(items, _) => {
            let place = match (items.get(at), charts.get(place + 1)) {
                (Some(next), _) => line_start(text, next.bytes.start),
                (None, Some((_, next, _))) => line_start(text, next.start),
                (None, None) => end_of(&tree, text),
            };
            // The place of a list that isn't indented is not that of its dashes.
            let dash = items.first().map(|item| {
                let line = &text[line_start(text, item.bytes.start)..];
                line.len() - line.trim_start_matches(' ').len()
            });
            Ok(splice_lines(text, place, &block(entry, dash.unwrap_or(list.column))?))
        }
        // `leaf:` or `leaf: null`
        _ if *style == StructureStyle::Block => {
            let after = text[key.end..].find(':').map_or(key.end, |colon| key.end + colon + 1);
            let end = list.bytes.end.max(after);
            Ok(splice(
                text,
                after..end,
                &format!("\n{}", block(entry, entries.column)?.trim_end()),
            ))
        }
        _ => Ok(splice(text, list.bytes.clone(), &format!("[{json}]"))),
    }
}

/// Where the entries end that are written as a block: where the next key of the document begins.
fn end_of(tree: &Node, text: &str) -> usize {
    let Kind::Mapping(keys, _) = &tree.kind else {
        return text.len();
    };
    let next = keys.iter().skip_while(|(key, ..)| key != "entries").nth(1);
    next.map_or(text.len(), |(_, key, _)| line_start(text, key.start))
}

/// Puts whole lines before the one that begins at `place`.
fn splice_lines(text: &str, place: usize, lines: &str) -> String {
    let gap = if text[..place].is_empty() || text[..place].ends_with('\n') {
        ""
    } else {
        "\n"
    };
    splice(text, place..place, &format!("{gap}{lines}"))
}

/// A version as an element of a list whose dashes stand in `column`.
fn block(entry: &Entry, column: usize) -> Result<String> {
    let text = serde_yaml::to_string(&entry.value).context("writing YAML")?;
    let lines = text.lines().enumerate().map(|(n, line)| {
        let dash = if n == 0 { "- " } else { "  " };
        format!("{:column$}{dash}{line}\n", "").trim_end_matches(' ').to_owned()
    });
    Ok(lines.collect())
}

/// The same, with the key of its chart.
fn with_key(entry: &Entry, key: usize, list: usize) -> Result<String> {
    let name = serde_yaml::to_string(&entry.chart).context("writing YAML")?;
    Ok(format!("{:key$}{}:\n{}", "", name.trim_end(), block(entry, list)?))
}

/// The text without a version; `alone` says that its chart has no other, and goes too.
fn remove(text: &str, chart: &str, at: usize, alone: bool) -> Result<String> {
    let tree = Node::parse_loosely(text)?;
    let entries = tree.find(&[At::Key("entries")]).context("no entries")?;
    let list = tree.find(&versions_of(chart)).context("no versions")?;
    let (Kind::Mapping(charts, StructureStyle::Block), Kind::Sequence(items, StructureStyle::Block)) =
        (&entries.kind, &list.kind)
    else {
        bail!("the index is not written in lines: --prune can't take one of {chart} out of it");
    };
    let place = charts.iter().position(|(name, ..)| name == chart).context("no chart")?;
    let (_, key, _) = &charts[place];
    let start = if alone { key.start } else { items[at].bytes.start };
    let end = match (items.get(at + 1).filter(|_| !alone), charts.get(place + 1)) {
        (Some(next), _) => line_start(text, next.bytes.start),
        (None, Some((_, next, _))) => line_start(text, next.start),
        (None, None) => end_of(&tree, text),
    };
    Ok(splice(text, line_start(text, start)..end, ""))
}

/// The entries that `helm repo index` made of new archives, dated `epoch` (seconds since 1970) each.
pub fn fresh(text: &str, date: impl Fn(&str, &Version) -> Option<u64>) -> Result<Vec<Entry>> {
    let mut entries = Index::parse(text, "what helm wrote")?.entries();
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
        let unchanged = index.text.clone();
        let result = change(&mut index)?;
        if index.text == unchanged && before.is_some() {
            return Ok((result, false));
        }
        let writing = || format!("writing {shown}");
        let temp = whole_file::prepare(&file, &index.text, Mode::Everybody)?;
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
        let before = index.entries();
        for version in ["0.1.5", "0.3.0", "0.0.1"] {
            index.add(&entry(version)).unwrap();
        }
        let after = index.entries();
        let order: Vec<_> = after.iter().map(|e| e.version.to_string()).collect();
        assert_eq!(order, ["0.3.0", "0.2.0", "0.1.5", "0.1.0", "0.0.1"]);
        assert!(before.iter().all(|old| after.contains(old)));
        assert!(index.text.contains("generated: \"2021-01-01T00:00:00Z\""));
        assert!(index.text.contains("    urls: [leaf-0.2.0.tgz]\n    odd: [kept]\n"));
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for (text, reason) in [
            ("", "is not a chart index"),
            ("apiVersion: v2\nentries: {}\n", "apiVersion is not v1"),
            ("apiVersion: v1\n", "no entries"),
            ("apiVersion: v1\nentries: {leaf: 7}\n", "not a list"),
            ("apiVersion: v1\nentries: {leaf: [{name: leaf}]}\n", "has no version"),
            (
                "apiVersion: v1\nentries: {leaf: [x]}\n",
                "a version of leaf is not a mapping",
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
                std::fs::write(dir.path().join(FILE), theirs.text)?;
            }
            Ok(())
        };
        assert!(update(dir.path(), &Cancel::default(), change).unwrap().1);
        let versions = read(dir.path()).unwrap().unwrap().entries();
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
        assert_eq!(index.entries().len(), 1);
        assert_eq!(index.prune(|_| true).unwrap().len(), 1);
        assert_eq!(
            index.text,
            "apiVersion: v1\nentries: {}\ngenerated: 2020-01-02T00:00:00Z\n"
        );
    }

    #[test]
    fn what_others_wrote_stays_byte_for_byte_in_whatever_style() {
        let foreign = [
            "  other:\n  # the last one\n  - version: canary\n    appVersion: 1.10\n    urls: ['https://x/y.tgz']\n    \
             description: |\n      two\n      lines\n  - &old {version: 1.0.0, created: yesterday}\n  - *old\n  odd:\n",
            "  other:\n    - version: 1\n    - null\n  none: []\n",
        ];
        for entries in foreign {
            for after in [
                "generated: 2020-01-02T00:00:00Z\nserverInfo: {a: b}\n",
                "# the end\n",
                "",
            ] {
                let text = format!("apiVersion: v1\nentries:\n{entries}{after}");
                let mut index = Index::parse(&text, "x").unwrap();
                for version in ["0.2.0", "0.1.0", "0.3.0"] {
                    index.add(&entry(version)).unwrap();
                }
                assert!(index.text.contains(entries), "{}", index.text);
                let ours: Vec<_> = index.entries().into_iter().filter(|e| e.chart == "leaf").collect();
                let order: Vec<_> = ours.iter().map(|e| e.version.to_string()).collect();
                assert_eq!(order, ["0.3.0", "0.2.0", "0.1.0"]);
                index.prune(|entry| entry.chart == "leaf").unwrap();
                let stamped = index.text.replace("\"2021-01-01T00:00:00Z\"", "2020-01-02T00:00:00Z");
                assert_eq!(stamped, text);
            }
        }
    }

    #[test]
    fn an_index_on_one_line_and_lists_without_versions_take_new_ones() {
        for text in [
            r#"{"apiVersion":"v1","entries":{"other":[{"version":"1.0.0"}]},"generated":"x"}"#,
            r#"{"apiVersion":"v1","entries":{},"generated":"x"}"#,
            r#"{"apiVersion":"v1","entries":{"leaf":[]}}"#,
            "apiVersion: v1\nentries:\n  leaf:\n  other: []\n",
            "apiVersion: v1\nentries:\n  leaf: null # gone\n",
            "apiVersion: v1\nentries:\n  leaf: []\n",
            "apiVersion: v1\nentries: {leaf: [{version: 0.1.5}]}\n",
            "apiVersion: v1\nentries: {}",
        ] {
            let mut index = Index::parse(text, "x").unwrap();
            for version in ["0.2.0", "0.1.0"] {
                index
                    .add(&entry(version))
                    .unwrap_or_else(|error| panic!("{text}: {error:#}"));
            }
            let versions: Vec<_> = index.entries().into_iter().filter(|e| e.chart == "leaf").collect();
            assert!(
                versions.len() >= 2 && versions[0].version.to_string() == "0.2.0",
                "{text}"
            );
        }
    }

    #[test]
    fn an_archive_is_where_its_address_says_and_not_where_its_name_would_be() {
        let path = |url: &str| {
            let entry = Entry {
                url: url.into(),
                ..entry("0.1.0")
            };
            entry.path("https://x/charts/").map(|path| path.display().to_string())
        };
        for (url, wanted) in [
            ("leaf-0.1.0.tgz", Some("leaf-0.1.0.tgz")),
            ("https://x/charts/old/leaf-0.1.0.tgz", Some("old/leaf-0.1.0.tgz")),
            ("https://x/charts/leaf-0.1.0%2Bb.tgz", Some("leaf-0.1.0+b.tgz")),
            ("https://x/charts2/leaf-0.1.0.tgz", None),
            (
                "https://github.com/o/r/releases/download/leaf-0.1.0/leaf-0.1.0.tgz",
                None,
            ),
            ("../leaf-0.1.0.tgz", None),
            ("/leaf-0.1.0.tgz", None),
            ("", None),
        ] {
            assert_eq!(path(url).as_deref(), wanted, "{url}");
        }
    }
}
