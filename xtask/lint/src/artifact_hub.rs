//! The annotations by which Artifact Hub shows a chart: it ignores what it doesn't know, without a word.

use anyhow::Result;
use charts::workspace::{Chart, Workspace};
use serde_yaml::Value;

use crate::rules::Finding;

pub(crate) const RULE: &str = "artifact-hub";
pub(crate) const SUMMARY: &str = "artifacthub.io annotations have known keys and the shape that Artifact Hub reads";

const PREFIX: &str = "artifacthub.io/";

/// What an annotation's text must be.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Text,
    /// `true` or `false`.
    Switch,
    OneOf(&'static [&'static str]),
    /// A YAML mapping with these keys.
    Mapping(&'static [&'static str]),
    /// A YAML list of mappings with these keys.
    List(&'static [&'static str]),
    /// A YAML list of texts, or of mappings with `kind` and `description`.
    Changes,
}

/// Every annotation that Artifact Hub knows for Helm charts (artifacthub.io/docs/topics/annotations/helm).
const KNOWN: [(&str, Shape); 16] = [
    ("alternativeName", Shape::Text),
    ("category", Shape::OneOf(&CATEGORIES)),
    ("changes", Shape::Changes),
    ("containsSecurityUpdates", Shape::Switch),
    ("crds", Shape::List(&["kind", "version", "name"])),
    ("crdsExamples", Shape::List(&["apiVersion", "kind"])),
    ("images", Shape::List(&["name", "image"])),
    ("license", Shape::Text),
    ("links", Shape::List(&["name", "url"])),
    ("maintainers", Shape::List(&["name", "email"])),
    ("operator", Shape::Switch),
    ("operatorCapabilities", Shape::OneOf(&CAPABILITIES)),
    ("prerelease", Shape::Switch),
    ("recommendations", Shape::List(&["url"])),
    ("screenshots", Shape::List(&["title", "url"])),
    ("signKey", Shape::Mapping(&["fingerprint", "url"])),
];

const CATEGORIES: [&str; 9] = [
    "ai-machine-learning",
    "database",
    "integration-delivery",
    "monitoring-logging",
    "networking",
    "security",
    "skip-prediction",
    "storage",
    "streaming-messaging",
];

const CAPABILITIES: [&str; 5] = [
    "Basic Install",
    "Seamless Upgrades",
    "Full Lifecycle",
    "Deep Insights",
    "Auto Pilot",
];

const CHANGE_KINDS: [&str; 6] = ["added", "changed", "deprecated", "removed", "fixed", "security"];

/// What is wrong with a chart's annotations.
pub fn judge(workspace: &Workspace, chart: &Chart) -> Result<Vec<Finding>> {
    let path = chart.dir.join("Chart.yaml");
    let text = fs_err::read_to_string(&path)?;
    let ours = chart
        .metadata
        .annotations
        .iter()
        .filter_map(|(key, value)| Some((key, key.strip_prefix(PREFIX)?, value)));
    let problems = ours.filter_map(|(key, name, value)| Some((key, problem(name, value)?)));
    let finding = |(key, message): (&String, String)| Finding {
        file: workspace.shown(&path).to_string(),
        line: text
            .lines()
            .position(|line| line.trim_start().starts_with(&format!("{key}:")))
            .map(|n| n + 1),
        rule: RULE.to_owned(),
        message: format!("{key} {message}"),
        remedy: "see artifacthub.io/docs/topics/annotations/helm: Artifact Hub ignores what it can't read".to_owned(),
    };
    Ok(problems.map(finding).collect())
}

fn problem(name: &str, value: &str) -> Option<String> {
    let Some((_, shape)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = KNOWN.iter().map(|(known, _)| *known).collect();
        return Some(format!("is unknown; known are {}", known.join(", ")));
    };
    match shape {
        Shape::Text => value.trim().is_empty().then(|| "is empty".to_owned()),
        Shape::Switch => one_of(value, &["true", "false"]),
        Shape::OneOf(words) => one_of(value, words),
        Shape::Mapping(keys) => lacks(&parsed(value), keys),
        Shape::List(keys) => list(value, |item| lacks(item, keys)),
        Shape::Changes => list(value, change),
    }
}

fn one_of(value: &str, words: &[&str]) -> Option<String> {
    (!words.contains(&value)).then(|| format!("is {value:?}, which is none of {}", words.join(", ")))
}

/// The text as YAML; what is no YAML is nothing.
fn parsed(value: &str) -> Value {
    serde_yaml::from_str(value).unwrap_or(Value::Null)
}

fn list(value: &str, problem: impl Fn(&Value) -> Option<String>) -> Option<String> {
    let parsed = parsed(value);
    let Some(items) = parsed.as_sequence() else {
        return Some("is no YAML list".to_owned());
    };
    items.iter().find_map(problem)
}

fn lacks(item: &Value, keys: &[&str]) -> Option<String> {
    let is_set = |key: &&&str| {
        item.get(**key)
            .and_then(Value::as_str)
            .is_some_and(|text| !text.is_empty())
    };
    let missing = keys.iter().find(|key| !is_set(key))?;
    Some(format!("has an entry without {missing}"))
}

fn change(item: &Value) -> Option<String> {
    if item.is_string() {
        return None;
    }
    lacks(item, &["kind", "description"]).or_else(|| {
        let kind = item.get("kind").and_then(Value::as_str).unwrap_or_default();
        one_of(kind, &CHANGE_KINDS).map(|problem| format!("has an entry whose kind {problem}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_artifact_hub_would_ignore_is_named() {
        for (name, value, wanted) in [
            ("license", "Apache-2.0", None),
            ("licence", "Apache-2.0", Some("is unknown")),
            ("license", " ", Some("is empty")),
            ("prerelease", "true", None),
            ("prerelease", "yes", Some("none of true, false")),
            ("category", "monitoring-logging", None),
            ("category", "monitoring", Some("none of ai-machine-learning")),
            ("links", "- name: a\n  url: b\n", None),
            ("links", "- name: a\n", Some("an entry without url")),
            ("links", "name: a\n", Some("is no YAML list")),
            ("images", "- [", Some("is no YAML list")),
            ("changes", "- plain\n- kind: added\n  description: x\n", None),
            (
                "changes",
                "- kind: new\n  description: x\n",
                Some("whose kind is \"new\""),
            ),
            ("changes", "- kind: added\n", Some("without description")),
            ("signKey", "fingerprint: AB\nurl: u\n", None),
            ("signKey", "fingerprint: AB\n", Some("without url")),
            ("operatorCapabilities", "Auto Pilot", None),
        ] {
            let problem = problem(name, value);
            match wanted {
                None => assert_eq!(problem, None, "{name}: {value}"),
                Some(part) => assert!(
                    problem.as_ref().is_some_and(|p| p.contains(part)),
                    "{name}: {problem:?}"
                ),
            }
        }
    }

    #[test]
    fn a_finding_has_the_line_of_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("charts/c");
        std::fs::create_dir_all(&folder).unwrap();
        let text = "apiVersion: v2\nname: c\nversion: 0.1.0\nannotations:\n  artifacthub.io/sign: x\n";
        std::fs::write(folder.join("Chart.yaml"), text).unwrap();
        let found = judge(&Workspace::at(dir.path()), &Chart::read(&folder).unwrap()).unwrap();
        assert_eq!((found.len(), found[0].line), (1, Some(5)));
        assert_eq!(found[0].file, "charts/c/Chart.yaml");
    }
}
