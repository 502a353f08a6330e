//! What is known of the charts: their keys, ours, and the way from one to the other.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use charts::manifest::lookup;
use charts::workspace::Workspace;
use kit::failure::Failure;
use serde::Deserialize;
use serde_yaml::Value;

use crate::yaml;

/// The charts whose values can be read, by the names that people install them under.
/// `grafana/tempo` moved to the community at version 1.24; both are read as the union of their keys.
pub const PEERS: [&str; 3] = ["grafana-community/tempo", "grafana/tempo", "bitnami"];

/// Every key of the values of grafana-community/tempo 2.2.4 and grafana/tempo 1.24.2, with values of ours.
const GRAFANA: &str = include_str!("grafana.yaml");
/// Every key of the values of bitnami/grafana-tempo 5.0.1, with values of ours.
const BITNAMI: &str = include_str!("bitnami.yaml");

/// The way from the keys of one chart to those of ours.
#[derive(Debug)]
pub struct Table {
    /// The chart's name, one of [`PEERS`].
    pub peer: String,
    /// Every key of the chart, with an example.
    pub keys: Value,
    pub(crate) rules: Rules,
    ours: Known,
}

/// `files/peer-keys.yaml` of the chart.
#[derive(Debug, Deserialize)]
pub(crate) struct Rules {
    here: BTreeMap<String, String>,
    none: BTreeMap<String, String>,
    /// Where parts of Tempo's configuration stand in values, by their path inside it.
    pub inside: BTreeMap<String, String>,
    pub differences: Vec<Difference>,
}

/// A default that is another one here.
#[derive(Debug, Deserialize)]
pub(crate) struct Difference {
    /// Their key.
    pub key: String,
    /// Their default.
    pub theirs: String,
    /// Our key; none where nothing here does the same.
    pub ours: Option<String>,
}

/// `files/known-values.yaml` of the chart.
#[derive(Debug, Deserialize)]
struct Known {
    defaults: Value,
    open: Vec<String>,
}

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is this key of ours.
    Here(String),
    /// There is none, for this reason.
    Nowhere(String),
    /// Only its children have one.
    Open,
}

/// What may stand at a path of our values.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// These keys and no others.
    Section,
    /// One value; this is the default.
    Value(&'a Value),
    /// Anything: the path is inside a map for free keys.
    Free,
    /// Nothing: the chart has no such key.
    Missing,
}

impl Table {
    /// Reads the table of the chart in this workspace, for one of [`PEERS`].
    pub fn read(workspace: &Workspace, peer: &str) -> Result<Table> {
        let keys = match peer {
            "grafana-community/tempo" | "grafana/tempo" => GRAFANA,
            "bitnami" => BITNAMI,
            _ => return Err(Failure::unknown("chart", peer, PEERS)),
        };
        let files = workspace.chart("tempo-stack")?.dir.join("files");
        Ok(Table {
            peer: peer.to_owned(),
            keys: yaml::read(keys).context("reading the keys of the chart")?,
            rules: parse(&files.join("peer-keys.yaml"))?,
            ours: parse(&files.join("known-values.yaml"))?,
        })
    }

    /// The rule for this very path, or for the keys beside those that have one. `none` wins.
    pub(crate) fn rule(&self, path: &str) -> Option<Fate> {
        let (above, key) = path.rsplit_once('.').unwrap_or(("", path));
        let star = format!("{above}.*");
        let rules = &self.rules;
        let exact = |fate: &str| rules.none.get(fate).map(|reason| Fate::Nowhere(reason.clone()));
        let target = |text: &String| first_word(text).to_owned();
        exact(path)
            .or_else(|| rules.here.get(path).map(|text| Fate::Here(target(text))))
            .or_else(|| exact(&star))
            .or_else(|| {
                rules
                    .here
                    .get(&star)
                    .map(|text| Fate::Here(format!("{}.{key}", target(text))))
            })
    }

    /// What the rule for this path says beside the key of ours.
    pub(crate) fn remark(&self, path: &str) -> Option<&str> {
        let text = self.rules.here.get(path)?;
        let rest = text[first_word(text).len()..].trim_matches([',', ' ']);
        (!rest.is_empty()).then_some(rest)
    }

    /// The paths below this one that have rules of their own.
    pub(crate) fn rules_below(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}.");
        let paths = self.rules.here.keys().chain(self.rules.none.keys());
        paths.filter(|rule| rule.starts_with(&prefix)).cloned().collect()
    }

    /// Whether the chart's values have this key.
    pub(crate) fn has(&self, path: &str) -> bool {
        lookup(&self.keys, &path.split('.').collect::<Vec<_>>()).is_some()
    }

    /// Whether the map in which this key stands takes any key.
    pub(crate) fn takes_any_beside(&self, path: &str) -> bool {
        let above = path.rsplit_once('.').map_or("", |(above, _)| above);
        let star = format!("{above}.*");
        self.has(above) && (self.rules.here.contains_key(&star) || self.rules.none.contains_key(&star))
    }

    /// What may stand at a path of our values.
    pub(crate) fn place(&self, path: &str) -> Place<'_> {
        let mut value = &self.ours.defaults;
        let mut above = String::new();
        for key in path.split('.') {
            let free = value.is_null() || value.as_mapping().is_some_and(|map| map.is_empty());
            if free || self.ours.open.contains(&above) {
                return Place::Free;
            }
            let Some(inside) = value.get(key) else {
                return Place::Missing;
            };
            value = inside;
            above = if above.is_empty() {
                key.to_owned()
            } else {
                format!("{above}.{key}")
            };
        }
        match value {
            Value::Mapping(map) if !map.is_empty() && !self.ours.open.contains(&above) => Place::Section,
            value => Place::Value(value),
        }
    }

    /// The key of the chart that was probably meant: the same one at another depth, or else a similar one
    /// beside it.
    pub(crate) fn nearest(&self, path: &str) -> Option<String> {
        let within = |outer: &str, inner: &str| outer.ends_with(&format!(".{inner}"));
        let mut all = Vec::new();
        paths(&self.keys, "", &mut all);
        if let Some(moved) = all.iter().find(|one| within(one, path) || within(path, one)) {
            return Some(moved.clone());
        }
        let split = |path: &str| {
            let (above, key) = path.rsplit_once('.').unwrap_or(("", path));
            (above.to_owned(), key.to_owned())
        };
        let (above, key) = split(path);
        let beside = all.into_iter().filter(|one| split(one).0 == above);
        let likeness = |one: &String| strsim::jaro(&key, &split(one).1);
        beside
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .filter(|one| likeness(one) > 0.75)
    }
}

fn first_word(text: &str) -> &str {
    text.split([' ', ',']).next().unwrap_or_default()
}

fn paths(value: &Value, above: &str, into: &mut Vec<String>) {
    for (key, value) in value.as_mapping().into_iter().flatten() {
        let path = crate::convert::join(above, key.as_str().unwrap_or_default());
        paths(value, &path, into);
        into.push(path);
    }
}

fn parse<T: serde::de::DeserializeOwned>(file: &std::path::Path) -> Result<T> {
    let text = fs_err::read_to_string(file)?;
    serde_yaml::from_str(&text).with_context(|| format!("reading {}", file.display()))
}
