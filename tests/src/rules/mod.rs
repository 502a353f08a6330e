//! Rules of our own about rendered objects.
//!
//! A rule looks at one rendered scenario, some at a second render of it with something changed, and
//! says what is wrong; none runs a program itself. Each rule is one function with a [`Rule`] in the
//! list of its module. The numbers in their comments are those of the bugs that they guard against.

use std::cell::RefCell;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_yaml::Value;

use crate::failure::{Kind, kind_of};
use crate::manifest::Manifest;
use crate::workspace::Chart;

mod config;
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

pub use scene::Scene;

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

/// One rendered scenario.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The chart.
    pub chart: &'a Chart,
    /// The scenario's name.
    pub scenario: &'a str,
    /// The text of the scenario's values file: what stands there is the user's, not the chart's.
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
    pub fn file_of(&self, template: &str) -> String {
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
}

/// The line of the innermost key that begins exactly one line of the text.
fn line_of(text: &str, keys: &[String]) -> Option<usize> {
    keys.iter().rev().find_map(|key| {
        let begins = |line: &str| {
            let line = line.trim_start().trim_start_matches("- ");
            line.strip_prefix(key.as_str())
                .is_some_and(|rest| rest.starts_with(':'))
        };
        let mut lines = text.lines().enumerate().filter(|(_, line)| begins(line));
        match (lines.next(), lines.next()) {
            (Some((index, _)), None) => Some(index + 1),
            _ => None,
        }
    })
}

/// A change to how a scenario is rendered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Variation {
    /// Another release name.
    pub release: Option<String>,
    /// Another namespace.
    pub namespace: Option<String>,
    /// Values that win over the scenario's.
    pub values: Option<Value>,
    /// As the next version of the chart would render it.
    pub next_version: bool,
}

/// Renders the scenario once more, changed.
pub type RenderFn<'a> = &'a dyn Fn(&Variation) -> Result<Vec<Manifest>>;

/// How a rule looks.
#[derive(Clone, Copy)]
pub enum Check {
    /// At one render.
    Render(fn(&Scene) -> Vec<Problem>),
    /// At more renders of the same scenario.
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
        config::RULES,
        ports::RULES,
        names::RULES,
        upgrade::RULES,
    ]
    .into_iter()
    .flatten()
}

/// What the rules that need one render say about a scenario.
pub fn judge_render(subject: &Subject) -> Vec<Finding> {
    let scene = Scene::read(subject);
    let mut findings = Vec::new();
    for rule in all() {
        if let Check::Render(check) = rule.check {
            findings.extend(found(subject, rule, check(&scene)));
        }
    }
    findings
}

/// What all rules say about a scenario.
///
/// A scenario that doesn't render when it is changed as a rule needs it is a finding of that rule;
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
                message: format!("{}: can't be judged: {error:#}", subject.scenario),
                remedy: "make the scenario render with other names, versions and settings, too".into(),
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
    fn a_line_is_only_named_where_one_line_fits() {
        let keys = |keys: &[&str]| keys.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>();
        let text = "spec:\n  strategy:\n    type: Recreate\n  a:\n    - type: x\n";
        assert_eq!(line_of(text, &keys(&["spec", "strategy", "type"])), Some(2));
        assert_eq!(line_of(text, &keys(&["nothing"])), None);
    }
}
