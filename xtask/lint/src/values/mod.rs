//! values.yaml as the manual: every key with its comment, from which the schema and the README follow.
//!
//! A comment block directly above a key documents it:
//!
//! ```yaml
//! # -- What it is, in which unit, and why this is the default.
//! # May go on in further lines.
//! # @schema {"minimum": 1}
//! replicas: 1
//! ```
//!
//! `# --` begins the description; a map with children may do without the two dashes.
//! `# @schema` holds one YAML flow mapping of JSON Schema keywords that win over what the value tells.

mod candidates;
mod comments;
mod description;
mod helm_yaml;
pub mod known;
pub mod readme;
pub mod schema;
pub mod unused;

use std::collections::BTreeSet;
use std::iter::Peekable;

use anyhow::{Result, bail};
use charts::manifest::lookup;
use charts::workspace::{Chart, Workspace};
use kit::failure::Failure;
use serde_json::Map;
use serde_yaml::Value;

use crate::rules::Finding;

/// The rule that every leaf is described.
const RULE_COMMENT: &str = "values-comment";
/// The rule that every `@schema` is right.
const RULE_SCHEMA: &str = "values-schema";

/// One key of values.yaml.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The keys that lead to it, itself last.
    pub path: Vec<String>,
    /// The line, from 1.
    pub line: usize,
    /// Its default.
    pub value: Value,
    /// What the comment above says, as one line of Markdown.
    pub description: Option<String>,
    /// What `@schema` says.
    pub annotation: Option<Annotation>,
    /// The keys inside it; none for a list, an empty map, and a map of free keys that is described as a
    /// whole (its `@schema` has `additionalProperties`, and none of its keys has a comment).
    pub children: Vec<Entry>,
}

/// A `@schema` line.
#[derive(Debug, Clone)]
pub struct Annotation {
    /// The line, from 1.
    pub line: usize,
    /// Its keywords (json-schema.org, draft-07).
    pub keywords: Map<String, serde_json::Value>,
}

impl Annotation {
    /// Whether a map may hold keys that values.yaml doesn't name.
    fn admits_more_keys(&self) -> bool {
        let more = self.keywords.get("additionalProperties");
        more.is_some_and(|more| more != &serde_json::Value::Bool(false))
    }
}

impl Entry {
    /// The path as people write it: `tempo.image.tag`, with quotes around a key that holds a dot.
    pub fn key(&self) -> String {
        let quoted = |key: &String| {
            if key.contains('.') {
                format!("{key:?}")
            } else {
                key.clone()
            }
        };
        self.path.iter().map(quoted).collect::<Vec<_>>().join(".")
    }

    pub(crate) fn is_leaf(&self) -> bool {
        self.children.is_empty()
    }

    /// Whether no comment says anything about it or what is inside.
    fn is_bare(&self) -> bool {
        self.description.is_none() && self.annotation.is_none() && self.children.iter().all(Entry::is_bare)
    }

    fn collect<'a>(&'a self, all: &mut Vec<&'a Entry>) {
        all.push(self);
        for child in &self.children {
            child.collect(all);
        }
    }
}

/// A values.yaml, read with its comments.
#[derive(Debug, Clone)]
pub struct ValuesFile {
    /// Its path for people, relative to the workspace.
    pub shown: String,
    /// The top keys.
    pub entries: Vec<Entry>,
    /// The charts that this one depends on: a top key of that name holds the dependency's values.
    pub dependencies: Vec<String>,
    findings: Vec<Finding>,
}

impl ValuesFile {
    /// Reads a chart's values.yaml.
    pub fn of_chart(workspace: &Workspace, chart: &Chart) -> Result<ValuesFile> {
        let path = chart.dir.join("values.yaml");
        let text = fs_err::read_to_string(&path)?;
        let dependencies = chart.metadata.dependencies.iter().map(|d| d.key().to_owned()).collect();
        ValuesFile::parse(&text, workspace.shown(&path).to_string(), dependencies)
    }

    /// Reads the text of a values.yaml. What its comments lack is in [`ValuesFile::findings`]; a text
    /// that isn't a YAML mapping is an error.
    pub fn parse(text: &str, shown: String, dependencies: Vec<String>) -> Result<ValuesFile> {
        let unreadable = |error: anyhow::Error| {
            Failure::findings(
                format!("{shown} can't be read: {error:#}"),
                "fix the file; it must hold one YAML mapping",
            )
        };
        let root = helm_yaml::parse(text).map_err(unreadable)?;
        let found = comments::read(text).map_err(unreadable)?;
        let places = found.keys.iter().map(|key| key.path.clone()).collect();
        same_keys(&root, &places).map_err(unreadable)?;
        let mut reader = Reader {
            shown: &shown,
            root: &root,
            findings: Vec::new(),
        };
        let entries = reader.entries(&mut found.keys.into_iter().peekable(), 0);
        reader.stray(&found.stray);
        let mut findings = reader.findings;
        let mut file = ValuesFile {
            findings: Vec::new(),
            shown,
            entries,
            dependencies,
        };
        for entry in file.all() {
            findings.extend(file.undescribed(entry));
            if !file.belongs_to_dependency(entry) {
                findings.extend(schema::check(&file.shown, entry));
            }
        }
        findings.sort();
        file.findings = findings;
        Ok(file)
    }

    /// What is wrong with the comments: a leaf without description, a `@schema` that can't be used, a
    /// comment that documents no key. In the order of the file.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Every key in the order of the file, parents before children.
    pub fn all(&self) -> Vec<&Entry> {
        let mut all = Vec::new();
        for entry in &self.entries {
            entry.collect(&mut all);
        }
        all
    }

    /// Whether the entry is, or is inside, the values of a dependency, which has a schema of its own.
    pub fn belongs_to_dependency(&self, entry: &Entry) -> bool {
        entry.path.first().is_some_and(|top| self.dependencies.contains(top))
    }

    fn undescribed(&self, entry: &Entry) -> Option<Finding> {
        let needed = if self.belongs_to_dependency(entry) {
            entry.path.len() == 1
        } else {
            entry.is_leaf()
        };
        (needed && entry.description.is_none()).then(|| Finding {
            file: self.shown.clone(),
            line: Some(entry.line),
            rule: RULE_COMMENT.to_owned(),
            message: format!("{} has no description", entry.key()),
            remedy: "write a comment that starts with `# --` directly above the key, at its indentation".to_owned(),
        })
    }
}

/// Proves that the places cover the data and nothing else, or a key would lack its schema.
fn same_keys(root: &Value, places: &BTreeSet<Vec<String>>) -> Result<()> {
    fn paths(value: &Value, above: &[String], into: &mut BTreeSet<Vec<String>>) -> Result<()> {
        let Value::Mapping(mapping) = value else { return Ok(()) };
        for (key, value) in mapping {
            let Some(key) = key.as_str() else {
                bail!("below {:?} is a key that is not a text: {key:?}", above.join("."));
            };
            let path = [above, &[key.to_owned()]].concat();
            paths(value, &path, into)?;
            into.insert(path);
        }
        Ok(())
    }
    if !matches!(root, Value::Mapping(_) | Value::Null) {
        bail!("it holds no mapping");
    }
    let mut data = BTreeSet::new();
    paths(root, &[], &mut data)?;
    if let Some(path) = data.symmetric_difference(places).next() {
        bail!("the key {:?} has no place of its own in the text", path.join("."));
    }
    Ok(())
}

struct Reader<'a> {
    shown: &'a str,
    root: &'a Value,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    /// The keys from here on that are at `depth` or deeper.
    fn entries(&mut self, keys: &mut Peekable<impl Iterator<Item = comments::Key>>, depth: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Some(key) = keys.next_if(|key| key.path.len() > depth) {
            let children = self.entries(keys, depth + 1);
            entries.push(self.entry(key, children));
        }
        entries
    }

    fn entry(&mut self, key: comments::Key, children: Vec<Entry>) -> Entry {
        let docs = description::read(&key.comments);
        for (line, message) in docs.problems {
            self.find(
                RULE_SCHEMA,
                line,
                message,
                "write `# @schema {…}` once, on one line, as a YAML flow mapping",
            );
        }
        let path: Vec<&str> = key.path.iter().map(String::as_str).collect();
        let value = lookup(self.root, &path).cloned().unwrap_or_default();
        // A map for free keys, described as a whole: what it holds by default are no keys of the chart.
        let free = docs.annotation.as_ref().is_some_and(Annotation::admits_more_keys);
        let children = if free && docs.marked.is_some() && children.iter().all(Entry::is_bare) {
            Vec::new()
        } else {
            children
        };
        let plain = if children.is_empty() { None } else { docs.plain };
        Entry {
            line: key.line,
            value,
            description: docs.marked.or(plain),
            annotation: docs.annotation,
            children,
            path: key.path,
        }
    }

    fn stray(&mut self, comments: &[comments::Comment]) {
        for comment in comments.iter().filter(|c| description::is_marked(&c.text)) {
            self.find(
                RULE_COMMENT,
                comment.line,
                format!("the comment `# {}` stands above no key", comment.text),
                "move it directly above the key that it describes, at the same indentation, or remove it",
            );
        }
    }

    fn find(&mut self, rule: &str, line: usize, message: String, remedy: &str) {
        self.findings.push(Finding {
            file: self.shown.to_owned(),
            line: Some(line),
            rule: rule.to_owned(),
            message,
            remedy: remedy.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn parse(text: &str) -> ValuesFile {
        ValuesFile::parse(text, "values.yaml".into(), vec!["sub".into()]).unwrap()
    }

    pub(super) fn findings(text: &str) -> Vec<(usize, String)> {
        let file = parse(text);
        let place = |f: &Finding| (f.line.unwrap(), format!("{}: {}", f.rule, f.message));
        file.findings().iter().map(place).collect()
    }

    #[test]
    fn the_entries_are_the_keys_of_the_parsed_yaml_in_the_order_of_the_file() {
        let file = parse("# -- Z.\nz: 1\n# Section.\na:\n  # -- B.\n  b: {}\n  # -- C.\n  \"d.e\": [x]\n");
        let keys: Vec<_> = file.all().iter().map(|e| e.key()).collect();
        assert_eq!(keys, ["z", "a", "a.b", "a.\"d.e\""]);
        assert_eq!(file.findings(), []);
    }

    #[test]
    fn a_description_goes_on_over_several_lines() {
        let file = parse("# ignored\n# -- One.\n# Two.\n# @schema {minimum: 1}\n# Three.\na: 1\n");
        assert_eq!(file.entries[0].description.as_deref(), Some("One. Two. Three."));
        assert_eq!(file.entries[0].annotation.as_ref().unwrap().line, 4);
    }

    #[test]
    fn a_leaf_without_two_dashes_is_undocumented_and_named_with_its_line() {
        let found = findings("a:\n  # Plain.\n  b: 1\n");
        assert_eq!(found, [(3, "values-comment: a.b has no description".into())]);
    }

    #[test]
    fn a_map_with_children_may_do_without_a_description_or_have_a_plain_one() {
        let file = parse("# Plain.\na:\n  # -- B.\n  b: 1\nc:\n  # -- D.\n  d: 1\n");
        assert_eq!(file.findings(), []);
        assert_eq!(file.entries[0].description.as_deref(), Some("Plain."));
        assert_eq!(file.entries[1].description, None);
    }

    #[test]
    fn an_empty_map_and_a_list_are_leaves() {
        assert_eq!(findings("a: {}\nb:\n  - c: 1\n").len(), 2);
    }

    #[test]
    fn a_map_of_free_keys_is_described_as_a_whole() {
        let file = parse("# -- Tags.\n# @schema {additionalProperties: {type: string}}\ntags:\n  service.name: x\n");
        assert_eq!(file.findings(), []);
        assert!(file.entries[0].is_leaf());
        let closed = "# -- Tags.\n# @schema {additionalProperties: false}\ntags:\n  a: x\n";
        assert_eq!(findings(closed).len(), 1);
        let mixed = "# -- Tags.\n# @schema {additionalProperties: true}\ntags:\n  a: x\n  # -- B.\n  b: x\n";
        assert_eq!(
            findings(mixed),
            [(4, "values-comment: tags.a has no description".into())]
        );
    }

    #[test]
    fn a_described_key_that_was_removed_leaves_a_finding_behind() {
        let found = findings("# -- Was here.\n\n# -- A.\na: 1\n# @schema {minimum: 1}\n");
        assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [1, 5]);
    }

    #[test]
    fn only_the_top_key_of_a_dependency_needs_a_description() {
        assert_eq!(findings("# -- The other chart.\nsub:\n  enabled: true\n"), []);
        assert_eq!(findings("sub:\n  enabled: true\n").len(), 1);
    }

    #[test]
    fn what_is_not_a_mapping_is_refused_with_the_files_name() {
        for text in [
            "- 1\n",
            "a: [\n",
            "a: 1\na: 2\n",
            "a: &x 1\nb: *x\n",
            "1: 2\n",
            "a: 1\n---\nb: 1\n",
        ] {
            let error = ValuesFile::parse(text, "values.yaml".into(), vec![]).unwrap_err();
            assert!(
                error.to_string().starts_with("values.yaml can't be read"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn an_empty_file_has_no_keys() {
        assert!(parse("# nothing\n").entries.is_empty());
    }
}
