//! kube-score on the render, with the checks that contradict this chart's decisions left out.

use std::time::Duration;

use anyhow::{Context, Result};
use charts::manifest::Manifest;
use charts::tools::Installed;
use kit::step::{Runner, Step};
use serde::Deserialize;

use crate::rules::{Finding, Problem, Subject};

/// Checks that are left out, each with the reason.
pub(crate) const IGNORED: &[(&str, &str)] = &[
    (
        "container-image-pull-policy",
        "tags and digests are fixed; Always would keep a pod from starting while its registry is away, and breaks \
         images that are loaded onto the node",
    ),
    (
        "pod-networkpolicy",
        "the charts ship no NetworkPolicy yet, and a cluster may have no engine that enforces one",
    ),
    (
        "deployment-replicas",
        "a Deployment is what a chosen emptyDir makes of Tempo, which has one pod, or of the Collector, whose number is \
         a value",
    ),
    (
        "deployment-strategy",
        "two monolithic Tempos at a time would each answer with half of the traces, so a Deployment of Tempo recreates",
    ),
];

/// Grades up to this one are findings: 1 is critical, 5 a warning, 7 almost good, 10 good
/// (kube-score, package scorecard).
const WORST_ACCEPTED: u32 = 7;

/// The kube-score step for objects on standard input.
pub fn step(kube_score: &Installed, kube_version: &str) -> Step {
    // It wants `v1.34`, without the patch.
    let minor = kube_version.rsplit_once('.').map_or(kube_version, |(minor, _)| minor);
    let mut step = Step::new("kube-score", &kube_score.path)
        .timeout(Duration::from_secs(60))
        // There is no limit on CPU: it would throttle under load.
        .args([
            "score",
            "--ignore-container-cpu-limit",
            "--output-format",
            "json",
            "--kubernetes-version",
        ])
        .arg(format!("v{minor}"));
    for (check, _) in IGNORED {
        step = step.args(["--ignore-test", check]);
    }
    step.arg("-")
}

#[derive(Debug, Deserialize)]
struct Scored {
    type_meta: TypeMeta,
    object_meta: ObjectMeta,
    checks: Vec<Scoring>,
}

#[derive(Debug, Deserialize)]
struct TypeMeta {
    kind: String,
}

#[derive(Debug, Deserialize)]
struct ObjectMeta {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Scoring {
    check: Check,
    grade: u32,
    skipped: bool,
    comments: Option<Vec<Comment>>,
}

#[derive(Debug, Deserialize)]
struct Check {
    id: String,
    comment: String,
}

#[derive(Debug, Deserialize)]
struct Comment {
    path: String,
    summary: String,
    description: String,
}

/// What kube-score has against a case.
pub fn judge(subject: &Subject, kube_score: &Installed, kube_version: &str, runner: &Runner) -> Result<Vec<Finding>> {
    let text: Vec<&str> = subject
        .manifests
        .iter()
        .map(|manifest| manifest.text.as_str())
        .collect();
    if text.is_empty() && !runner.plans() {
        return Ok(Vec::new());
    }
    let output = runner.try_run(&step(kube_score, kube_version).stdin(text.join("---\n")))?;
    if runner.plans() {
        return Ok(Vec::new());
    }
    if !output.success() && output.stdout.trim().is_empty() {
        // It stops at an object that it can't read, and says why.
        return Ok(vec![Finding {
            file: format!("charts/{}/templates", subject.chart.name()),
            line: None,
            rule: "kube-score/readable".into(),
            message: output.tail().lines().next().unwrap_or_default().to_owned(),
            remedy: "give the field the type that the API reference names".into(),
        }]);
    }
    let scored: Option<Vec<Scored>> = serde_json::from_str(&output.stdout)
        .with_context(|| format!("kube-score printed no report: {}", output.tail()))?;
    let mut findings = Vec::new();
    for object in scored.unwrap_or_default() {
        let id = |m: &&Manifest| m.kind == object.type_meta.kind && m.name == object.object_meta.name;
        let Some(manifest) = subject.manifests.iter().find(id) else {
            continue;
        };
        for scoring in object.checks.iter().filter(|s| !s.skipped && s.grade < WORST_ACCEPTED) {
            for comment in scoring.comments.iter().flatten() {
                let place = if comment.path.is_empty() {
                    String::new()
                } else {
                    format!("{}: ", comment.path)
                };
                let problem = Problem::new(manifest, &[], format!("{place}{}", comment.summary));
                let remedy = if comment.description.is_empty() {
                    &scoring.check.comment
                } else {
                    &comment.description
                };
                findings.push(subject.finding(&format!("kube-score/{}", scoring.check.id), problem, remedy));
            }
        }
    }
    Ok(findings)
}
