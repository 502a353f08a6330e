//! The table of a chart's keys and their defaults, for its own templates.
//!
//! Helm asks the schema before any template, and all that it can say about an unknown key is that it
//! isn't allowed. A chart that has this table judges unknown keys in a template, which can say what was
//! meant; and it fills in what the values of an older version lack.

use std::path::PathBuf;

use anyhow::{Context, Result};
use charts::workspace::Chart;
use serde_yaml::{Mapping, Value};

use super::{Annotation, Entry, ValuesFile};

/// Where a chart has its table. A chart without it has a strict schema instead.
pub const FILE: &str = "files/known-values.yaml";

/// The chart's table, if it has one.
pub fn file_of(chart: &Chart) -> Option<PathBuf> {
    Some(chart.dir.join(FILE)).filter(|file| file.is_file())
}

/// The table: `defaults` of every key, the sections below which any key may stand (`open`), those below these in
/// which only known ones may (`closed`), and what a null may take away (`optional`: its own default says nothing, or
/// it is printed as it stands).
pub fn table(file: &ValuesFile) -> Result<String> {
    let mut table = Table::default();
    let defaults = table.section(&file.entries);
    let mut root = Mapping::new();
    root.insert("defaults".into(), defaults.into());
    for (name, paths) in [
        ("open", table.open),
        ("closed", table.closed),
        ("optional", table.optional),
    ] {
        let paths: Vec<Value> = paths.into_iter().map(Value::from).collect();
        root.insert(name.into(), paths.into());
    }
    let text = serde_yaml::to_string(&root).context("writing YAML")?;
    Ok(format!(
        "# Written by `cargo xtask docs` from {}: change it there.\n{text}",
        file.shown
    ))
}

#[derive(Default)]
struct Table {
    open: Vec<String>,
    closed: Vec<String>,
    optional: Vec<String>,
}

impl Table {
    fn section(&mut self, entries: &[Entry]) -> Mapping {
        let mut section = Mapping::new();
        for entry in entries {
            let Some(key) = entry.path.last() else { continue };
            let path = entry.path.join(".");
            let open = is_open(entry);
            if open && !is_empty_map(&entry.value) {
                self.open.push(path.clone());
                self.closed_among(&entry.children);
            }
            if open || entry.value.is_null() || admits_null(entry) {
                self.optional.push(path);
            }
            let value = if entry.is_leaf() || open {
                entry.value.clone()
            } else {
                self.section(&entry.children).into()
            };
            section.insert(key.as_str().into(), value);
        }
        section
    }

    fn closed_among(&mut self, entries: &[Entry]) {
        for entry in entries {
            if !entry.is_leaf() && !is_open(entry) {
                self.closed.push(entry.path.join("."));
            }
            self.closed_among(&entry.children);
        }
    }
}

fn is_open(entry: &Entry) -> bool {
    entry.annotation.as_ref().is_some_and(Annotation::admits_more_keys)
}

fn is_empty_map(value: &Value) -> bool {
    value.as_mapping().is_some_and(Mapping::is_empty)
}

fn admits_null(entry: &Entry) -> bool {
    let kind = entry.annotation.as_ref().and_then(|a| a.keywords.get("type"));
    kind.is_some_and(|kind| kind == "null" || kind.as_array().is_some_and(|kinds| kinds.contains(&"null".into())))
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;

    #[test]
    fn the_table_has_every_default_and_what_is_open_or_optional() {
        let file = parse(
            "a:\n  # -- B.\n  b: 1\n  # -- C.\n  # @schema {type: [integer, \"null\"]}\n  c: 2\n# @schema {additionalProperties: true}\nd:\n  # -- E.\n  e: 1\n  g:\n    # -- H.\n    h: 1\n# -- F.\n# @schema {additionalProperties: {type: string}}\nf: {}\n",
        );
        assert_eq!(
            table(&file).unwrap(),
            "# Written by `cargo xtask docs` from values.yaml: change it there.\n\
             defaults:\n  a:\n    b: 1\n    c: 2\n  d:\n    e: 1\n    g:\n      h: 1\n  f: {}\n\
             open:\n- d\nclosed:\n- d.g\noptional:\n- a.c\n- d\n- f\n"
        );
    }
}
