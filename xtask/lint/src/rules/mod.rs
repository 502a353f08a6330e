//! Rules of our own about rendered objects.
//!
//! A rule looks at one rendered case, some at a second render of it with something changed, and
//! says what is wrong; none runs a program itself. Each rule is one function with a [`Rule`] in the
//! list of its module.

use std::cell::RefCell;
use std::path::Path;

use anyhow::Result;
use charts::manifest::Manifest;
use charts::workspace::Chart;
use kit::failure::{Kind, kind_of};
use serde::Serialize;
use serde_yaml::Value;

mod config;
mod dashboard;
mod metrics;
mod monitor;
mod names;
mod pod;
mod ports;
mod probes;
mod scene;
mod secrets;
mod service;
mod storage;
mod upgrade;

pub(crate) use scene::Scene;

/// Something that a check found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file to look at, relative to the workspace.
    pub file: String,
    /// The line in it, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The rule's name.
    pub rule: String,
    /// What is wrong, with the object and the value.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// One rendered case.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The chart.
    pub chart: &'a Chart,
    /// The case's name.
    pub case: &'a str,
    /// The text of the case's values file: what stands there is the user's, not the chart's.
    pub values: &'a str,
    /// The release's name.
    pub release: &'a str,
    /// The release's namespace.
    pub namespace: &'a str,
    /// What it renders to.
    pub manifests: &'a [Manifest],
}

impl Subject<'_> {
    /// The file that an object was rendered from, relative to the workspace.
    ///
    /// helm names a subchart's template `charts/<subchart>/templates/…`: where that chart is in
    /// this workspace too.
    pub(crate) fn file_of(&self, template: &str) -> String {
        if template.starts_with("charts/") {
            template.to_owned()
        } else {
            format!("charts/{}/{template}", self.chart.name())
        }
    }

    /// A finding about a template; the line is that of the innermost key which stands in it once.
    pub fn finding(&self, rule: &str, problem: Problem, remedy: &str) -> Finding {
        let file = self.file_of(&problem.template);
        let root = self.chart.dir.parent().and_then(Path::parent);
        let text = root.and_then(|root| std::fs::read_to_string(root.join(&file)).ok());
        Finding {
            line: text.and_then(|text| line_of(&text, &problem.keys)),
            file,
            rule: rule.to_owned(),
            message: problem.message,
            remedy: remedy.to_owned(),
        }
    }
}

/// What a rule found, before it has a file and a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The template that rendered the object.
    pub template: String,
    /// The keys that lead to the field inside the object, outermost first.
    pub keys: Vec<String>,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    /// A problem of an object at a path of keys; the message begins with the object's kind and name.
    pub fn new(manifest: &Manifest, keys: &[&str], message: impl AsRef<str>) -> Problem {
        Problem {
            template: manifest.template.clone(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            message: format!("{}: {}", manifest.id(), message.as_ref()),
        }
    }

    /// A problem at a path of keys inside the pod spec of a workload.
    pub(crate) fn in_pod(manifest: &Manifest, keys: &[&str], message: impl AsRef<str>) -> Problem {
        let pod: &[&str] = match manifest.kind.as_str() {
            "Pod" => &["spec"],
            "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
            _ => &["spec", "template", "spec"],
        };
        Problem::new(manifest, &[pod, keys].concat(), message)
    }

    /// A problem at a path of keys inside a container of a workload.
    pub(crate) fn in_container(manifest: &Manifest, keys: &[&str], message: impl AsRef<str>) -> Problem {
        Problem::in_pod(manifest, &[&["containers"], keys].concat(), message)
    }
}

/// One line of YAML in a template: its number, the indent of its key, and its text from there.
struct YamlLine<'t> {
    number: usize,
    indent: usize,
    text: &'t str,
}

impl YamlLine<'_> {
    fn begins(&self, key: &str) -> bool {
        self.text.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
    }
}

/// The lines of a template that are YAML: no comments, no template actions.
fn yaml_lines(text: &str) -> Vec<YamlLine<'_>> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut text = line.trim_start();
        // The keys of a list's item stand behind its dash.
        while let Some(item) = text.strip_prefix("- ") {
            text = item.trim_start();
        }
        if !(text.is_empty() || text.starts_with('#') || text.starts_with("{{")) {
            lines.push(YamlLine {
                number: index + 1,
                indent: line.len() - text.len(),
                text,
            });
        }
    }
    lines
}

/// The line of the innermost key of a path that a template writes itself; none where that isn't clear
/// or where it writes no more than the first key.
fn line_of(text: &str, keys: &[String]) -> Option<usize> {
    let lines = yaml_lines(text);
    let (first, rest) = keys.split_first()?;
    let only = |found: Vec<usize>| (found.len() == 1).then(|| found[0]);
    let begin = |indents: std::ops::RangeInclusive<usize>| {
        let fits = |line: &YamlLine| indents.contains(&line.indent) && line.begins(first);
        only((0..lines.len()).filter(|at| fits(&lines[*at])).collect())
    };
    let mut at = begin(0..=0).or_else(|| begin(0..=usize::MAX))?;
    let mut depth = 1;
    for key in rest {
        let end = (at + 1..lines.len()).find(|next| lines[*next].indent <= lines[at].indent);
        let block = at + 1..end.unwrap_or(lines.len());
        let Some(indent) = lines.get(block.start).map(|line| line.indent) else {
            break;
        };
        let child = |line: &YamlLine| line.indent == indent && line.begins(key);
        let Some(found) = only(block.filter(|at| child(&lines[*at])).collect()) else {
            break;
        };
        (at, depth) = (found, depth + 1);
    }
    (depth > 1 || keys.len() == 1).then(|| lines[at].number)
}

/// A change to how a case is rendered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Variation {
    /// Another release name.
    pub release: Option<String>,
    /// Another namespace.
    pub namespace: Option<String>,
    /// Values that win over the case's.
    pub values: Option<Value>,
    /// As the next version of the chart would render it.
    pub next_version: bool,
}

/// Renders the case once more, changed.
pub(crate) type RenderFn<'a> = &'a dyn Fn(&Variation) -> Result<Vec<Manifest>>;

/// How a rule looks.
#[derive(Clone, Copy)]
pub enum Check {
    /// At one render; adds what is wrong.
    Render(fn(&Scene, &mut Vec<Problem>)),
    /// At more renders of the same case.
    Comparison(fn(&Scene, RenderFn) -> Result<Vec<Problem>>),
}

/// One rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Its name in findings.
    pub name: &'static str,
    /// What it demands, in one line.
    pub summary: &'static str,
    /// What to do about a finding.
    pub remedy: &'static str,
    /// The rule itself.
    pub check: Check,
}

/// All rules, by subject.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [
        scene::RULES,
        pod::RULES,
        probes::RULES,
        storage::RULES,
        secrets::RULES,
        service::RULES,
        monitor::RULES,
        dashboard::RULES,
        config::RULES,
        metrics::RULES,
        ports::RULES,
        names::RULES,
        upgrade::RULES,
    ]
    .into_iter()
    .flatten()
}

/// What the rules that need one render say about a case.
pub fn judge_render(subject: &Subject) -> Vec<Finding> {
    let scene = Scene::read(subject);
    let mut findings = Vec::new();
    for rule in all() {
        if let Check::Render(check) = rule.check {
            let mut problems = Vec::new();
            check(&scene, &mut problems);
            findings.extend(found(subject, rule, problems));
        }
    }
    findings
}

/// What all rules say about a case.
///
/// A case that doesn't render when it is changed as a rule needs it is a finding of that rule;
/// a program that can't be run is an error.
pub fn judge(subject: &Subject, render: RenderFn) -> Result<Vec<Finding>> {
    let mut findings = judge_render(subject);
    let scene = Scene::read(subject);
    // Two rules may want the same render.
    let known: RefCell<Vec<(Variation, Vec<Manifest>)>> = RefCell::default();
    let render = |variation: &Variation| {
        if let Some((_, manifests)) = known.borrow().iter().find(|(v, _)| v == variation) {
            return Ok(manifests.clone());
        }
        let manifests = render(variation)?;
        known.borrow_mut().push((variation.clone(), manifests.clone()));
        Ok(manifests)
    };
    for rule in all() {
        let Check::Comparison(check) = rule.check else {
            continue;
        };
        match check(&scene, &render) {
            Ok(problems) => findings.extend(found(subject, rule, problems)),
            Err(error) if kind_of(&error) == Kind::Findings => findings.push(Finding {
                file: format!("charts/{}/values.yaml", subject.chart.name()),
                line: None,
                rule: rule.name.to_owned(),
                message: format!("{}: can't be judged: {error:#}", subject.case),
                remedy: "make the case render with other names, versions and settings, too".into(),
            }),
            Err(error) => return Err(error.context(format!("rule {}", rule.name))),
        }
    }
    Ok(findings)
}

fn found(subject: &Subject, rule: &Rule, problems: Vec<Problem>) -> impl Iterator<Item = Finding> {
    problems
        .into_iter()
        .map(|problem| subject.finding(rule.name, problem, rule.remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rule_has_a_name_of_its_own_and_says_what_to_do() {
        let names: BTreeSet<_> = all().map(|rule| rule.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(all().all(|rule| !rule.summary.is_empty() && !rule.remedy.is_empty()));
    }

    #[test]
    fn a_line_is_named_as_far_as_the_template_writes_the_path() {
        let line = |keys: &[&str]| {
            let text = "{{- if x }}\nkind: A\nmetadata:\n  labels:\n    {{- include \"l\" . }}\nspec:\n  # type: why\n  \
                        strategy:\n    type: Recreate\n  template:\n    spec:\n      {{- include \"p\" . }}\n      \
                        containers:\n        - name: a\n          image: i\n          securityContext:\n            {{- x }}\n";
            line_of(text, &keys.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(line(&["spec", "strategy", "type"]), Some(9));
        assert_eq!(line(&["spec", "template", "spec", "containers", "image"]), Some(15));
        // The pod's own context comes from an include: the container's must not be named.
        assert_eq!(line(&["spec", "template", "spec", "securityContext"]), Some(11));
        assert_eq!(line(&["metadata", "labels", "app"]), Some(4));
        assert_eq!(line(&["spec", "replicas"]), None);
        assert_eq!(line(&["nothing"]), None);
    }
}
