//! Rendered PrometheusRules as Prometheus itself reads them: `promtool check rules`.
//!
//! The operator hands rules over as they are; a Prometheus with one that it can't read keeps its old ones.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use charts::manifest::Manifest;
use charts::tools::Installed;
use kit::run_dir::RunDir;
use kit::step::{Runner, Step};
use serde_yaml::Value;

use crate::rules::{Finding, Problem, Subject};

pub(crate) const RULE: &str = "rules-checked";
pub(crate) const SUMMARY: &str =
    "promtool accepts every PrometheusRule: its expressions and the templates in its texts";
const REMEDY: &str = "correct the expression or the annotation that the message names";

/// A PrometheusRule as a file of Prometheus.
pub fn rule_file(manifest: &Manifest) -> Result<String> {
    let spec = manifest.get(&["spec"]).unwrap_or(&Value::Null);
    serde_yaml::to_string(spec).with_context(|| format!("writing the rules of {}", manifest.id()))
}

/// What promtool has against each of the cases. It is started once for all of them.
pub fn judge(cases: &[Subject], promtool: &Installed, runner: &Runner) -> Result<Vec<Vec<Finding>>> {
    let mut findings = vec![Vec::new(); cases.len()];
    let folder = RunDir::temporary("rules")?;
    let mut step = Step::new("promtool check rules", &promtool.path)
        .timeout(Duration::from_secs(60))
        .cwd(folder.path())
        .args(["check", "rules", "--lint=none"]);
    let mut files = Vec::new();
    for (case, subject) in cases.iter().enumerate() {
        for manifest in subject.manifests.iter().filter(|m| m.kind == "PrometheusRule") {
            let name = format!("{}.yaml", files.len());
            fs_err::write(folder.path().join(&name), rule_file(manifest)?)?;
            step = step.arg(name.as_str());
            files.push((format!("{name}: "), case, manifest));
        }
    }
    if files.is_empty() && !runner.plans() {
        return Ok(findings);
    }
    let output = runner.try_run(&step)?;
    if output.success() || runner.plans() {
        return Ok(findings);
    }
    let mut found = false;
    for line in output.stderr.lines() {
        for (prefix, case, manifest) in &files {
            if let Some(message) = line.strip_prefix(prefix.as_str()) {
                let problem = Problem::new(manifest, &["spec", "groups"], message);
                findings[*case].push(cases[*case].finding(RULE, problem, REMEDY));
                found = true;
            }
        }
    }
    if !found {
        bail!("promtool names no file: {}", output.tail());
    }
    Ok(findings)
}
