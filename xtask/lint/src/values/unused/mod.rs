//! Values that nothing reads: each leaf of values.yaml must change some render of some case.
//!
//! One helm per changed value would take minutes: see [`probe`] for how one helm tries many. A leaf is
//! tried first where it is likely to matter: with the defaults, then in the cases that set its
//! neighbours. Only a leaf that changes nothing there costs the whole product of values and cases.

mod probe;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use charts::cases;
use charts::render::{Helm, RenderOptions};
use charts::workspace::{Chart, Workspace};
use serde_json::Value;
use serde_yaml::Value as Yaml;

use self::probe::{Change, Probe};
use super::{Entry, ValuesFile, candidates};
use crate::rules::Finding;

const RULE: &str = "values-unused";
/// How many attempts each leaf gets in each round, while it is unread; then all that are left.
const ROUNDS: &[usize] = &[1, 1, 2, 4];

/// The leaves of a chart's values.yaml that change no render: no case under ci/ renders differently
/// with another value that the key's schema accepts. A value that makes the render fail counts as read.
/// NOTES.txt doesn't count: it is not installed.
pub fn unused_values(helm: &Helm, workspace: &Workspace, chart: &Chart) -> Result<Vec<Finding>> {
    let file = ValuesFile::of_chart(workspace, chart)?;
    let leaves: Vec<&Entry> = file.all().into_iter().filter(|entry| entry.is_leaf()).collect();
    let settings = settings(chart)?;
    let probe = Probe::new(helm, chart, &settings[0].options)?;
    let mut unread: BTreeMap<usize, _> = leaves
        .iter()
        .map(|leaf| attempts(leaf, &settings).into_iter())
        .enumerate()
        .collect();
    for count in ROUNDS.iter().copied().chain([usize::MAX]) {
        let mut by_setting: BTreeMap<usize, Vec<Change>> = BTreeMap::new();
        for (leaf, attempts) in &mut unread {
            for (setting, value) in attempts.by_ref().take(count) {
                let path = leaves[*leaf].path.clone();
                let leaf = *leaf;
                by_setting
                    .entry(setting)
                    .or_default()
                    .push(Change { leaf, path, value });
            }
        }
        let work: Vec<_> = by_setting
            .iter()
            .map(|(setting, changes)| (&settings[*setting].options, changes.as_slice()))
            .collect();
        for leaf in probe.read(&work)? {
            unread.remove(&leaf);
        }
    }
    Ok(unread.into_keys().map(|leaf| finding(&file, leaves[leaf])).collect())
}

/// A way to render the chart.
struct Setting {
    options: RenderOptions,
    /// The keys that its values file sets.
    sets: BTreeSet<Vec<String>>,
}

/// The case `default` or, without one, plain values.yaml; then all others.
fn settings(chart: &Chart) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for case in chart.cases()? {
        let path = &case.values;
        let text = fs_err::read_to_string(path)?;
        let values: Yaml = serde_yaml::from_str(&text).with_context(|| format!("parsing {}", path.display()))?;
        let mut sets = BTreeSet::new();
        keys(&values, &[], &mut sets);
        let setting = Setting {
            options: cases::options(chart, &case),
            sets,
        };
        if case.name == "default" {
            settings.insert(0, setting);
        } else {
            settings.push(setting);
        }
    }
    if settings.is_empty() {
        settings.push(Setting {
            options: RenderOptions::documented(chart.name()),
            sets: BTreeSet::new(),
        });
    }
    Ok(settings)
}

fn keys(value: &Yaml, above: &[String], into: &mut BTreeSet<Vec<String>>) {
    for (key, value) in value.as_mapping().into_iter().flatten() {
        let key = key.as_str().unwrap_or_default().to_owned();
        let path = [above, &[key]].concat();
        keys(value, &path, into);
        into.insert(path);
    }
}

/// What to try for a leaf, the most promising first: each of its other values, first with the defaults,
/// then in the cases, sorted by how near to the leaf they set something.
fn attempts(leaf: &Entry, settings: &[Setting]) -> Vec<(usize, Value)> {
    let nearness = |setting: &Setting| {
        let common = |path: &Vec<String>| path.iter().zip(&leaf.path).take_while(|(a, b)| a == b).count();
        setting.sets.iter().map(common).max().unwrap_or_default()
    };
    let mut order: Vec<usize> = (1..settings.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(nearness(&settings[*index])));
    order.insert(0, 0);
    let values = candidates::of(leaf);
    let in_order = |value: &Value| order.iter().map(|index| (*index, value.clone())).collect::<Vec<_>>();
    values.iter().flat_map(in_order).collect()
}

fn finding(file: &ValuesFile, leaf: &Entry) -> Finding {
    Finding {
        file: file.shown.clone(),
        line: Some(leaf.line),
        rule: RULE.to_owned(),
        message: format!("{} changes nothing in any case", leaf.key()),
        remedy: "remove it, let a template read it, or add a case to ci/ in which it matters; \
                 `examples` in its @schema are the values that are tried first"
            .to_owned(),
    }
}
