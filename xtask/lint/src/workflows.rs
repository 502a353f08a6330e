//! The workflows of GitHub Actions: as actionlint reads them, and with no more rights and no other code than meant.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use charts::tools::Installed;
use charts::workspace::Workspace;
use kit::step::{Runner, Step};
use serde::Deserialize;
use serde_yaml::Value;

use crate::rules::Finding;

pub(crate) const RULES: [(&str, &str); 3] = [
    ("actionlint/…", "actionlint has nothing against a workflow"),
    (PINS, "a workflow names each action by the full id of a commit"),
    (
        PERMISSIONS,
        "a workflow reads by default, and a job says itself what it writes",
    ),
];
const PINS: &str = "workflow-pins";
const PERMISSIONS: &str = "workflow-permissions";
const DIR: &str = ".github/workflows";

/// One message of actionlint (its docs/usage.md, "Format error messages").
#[derive(Debug, Deserialize)]
struct Message {
    message: String,
    filepath: String,
    line: usize,
    kind: String,
}

/// What is wrong with the workflows of a workspace; nothing where there are none.
pub fn judge(workspace: &Workspace, actionlint: &Installed, runner: &Runner) -> Result<Vec<Finding>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(workspace.root().join(DIR))
        .sort_by_file_name()
        .into_iter()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy();
        if name.ends_with(".yml") || name.ends_with(".yaml") {
            files.push(entry.into_path());
        }
    }
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    let mut step = Step::new("actionlint", &actionlint.path)
        .timeout(Duration::from_secs(60))
        .cwd(workspace.root())
        // What shellcheck and pyflakes find depends on whether this machine has them.
        .args(["-shellcheck=", "-pyflakes=", "-format", "{{json .}}"]);
    for file in &files {
        let shown = workspace.shown(file).to_string();
        step = step.arg(shown.as_str());
        findings.extend(own_rules(&shown, &fs_err::read_to_string(file)?)?);
    }
    let output = runner.try_run(&step)?;
    if runner.plans() {
        return Ok(findings);
    }
    if !matches!(output.code, Some(0 | 1)) {
        bail!("actionlint can't judge the workflows: {}", output.tail());
    }
    let messages: Vec<Message> = serde_json::from_str(&output.stdout).context("reading what actionlint printed")?;
    findings.extend(messages.into_iter().map(|found| Finding {
        file: found.filepath,
        line: Some(found.line),
        rule: format!("actionlint/{}", found.kind),
        message: found.message,
        remedy: "correct the workflow; docs/checks.md of actionlint describes each check".to_owned(),
    }));
    Ok(findings)
}

fn own_rules(file: &str, text: &str) -> Result<Vec<Finding>> {
    let workflow: Value = serde_yaml::from_str(text).with_context(|| format!("parsing {file}"))?;
    let finding = |line: Option<usize>, rule: &str, message: String, remedy: &str| Finding {
        file: file.to_owned(),
        line,
        rule: rule.to_owned(),
        message,
        remedy: remedy.to_owned(),
    };
    let mut findings = Vec::new();
    let mut actions = Vec::new();
    collect(&workflow, &mut actions);
    for action in actions {
        let commit = action.split_once('@').map(|(_, version)| version);
        let pinned = commit.is_some_and(|id| id.len() == 40 && id.chars().all(|c| c.is_ascii_hexdigit()));
        let digest = action.starts_with("docker://") && action.contains("@sha256:");
        if !(pinned || digest || action.starts_with("./")) {
            let line = text.lines().position(|line| line.contains(&action)).map(|at| at + 1);
            let message = format!("{action} is whatever its owner makes of that name");
            findings.push(finding(
                line,
                PINS,
                message,
                "name the full id of a commit, and its version in a comment",
            ));
        }
    }
    let line = text
        .lines()
        .position(|line| line.starts_with("permissions:"))
        .map(|at| at + 1);
    let writes = |permissions: &Value| match permissions {
        Value::Mapping(map) => map.values().any(|right| right == "write"),
        text => text == "write-all",
    };
    match workflow.get("permissions") {
        None => findings.push(finding(
            None,
            PERMISSIONS,
            "without permissions its token has whatever the repository's settings say".to_owned(),
            "write `permissions: {contents: read}` at the top",
        )),
        Some(permissions) if writes(permissions) => findings.push(finding(
            line,
            PERMISSIONS,
            "every job of it may write".to_owned(),
            "let the workflow read, and give the one job that needs it the right to write",
        )),
        _ => {}
    }
    let jobs = workflow.get("jobs").and_then(Value::as_mapping);
    for (name, job) in jobs.into_iter().flatten() {
        if job
            .get("permissions")
            .is_some_and(|permissions| permissions == "write-all")
        {
            let message = format!("the job {} may write everything", name.as_str().unwrap_or_default());
            findings.push(finding(None, PERMISSIONS, message, "name the rights that it needs"));
        }
    }
    Ok(findings)
}

/// Every `uses` in a workflow, of steps and of whole jobs.
fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Mapping(map) => {
            let uses = map.get("uses").and_then(Value::as_str);
            into.extend(uses.map(str::to_owned));
            map.values().for_each(|value| collect(value, into));
        }
        Value::Sequence(list) => list.iter().for_each(|value| collect(value, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<(String, Option<usize>)> {
        let findings = own_rules("w.yml", text).unwrap();
        findings
            .into_iter()
            .map(|finding| (finding.rule, finding.line))
            .collect()
    }

    #[test]
    fn actions_by_name_and_rights_for_all_jobs_are_found() {
        let commit = "a".repeat(40);
        let good = format!(
            "permissions: {{contents: read}}\njobs:\n  j:\n    permissions: {{contents: write}}\n    steps:\n      \
             - uses: a/b@{commit} # v1\n      - uses: ./local\n"
        );
        assert_eq!(rules(&good), []);
        let by_tag = good.replace(&commit, "v1");
        assert_eq!(rules(&by_tag), [(PINS.to_owned(), Some(6))]);
        let reusable = format!("{good}  k:\n    uses: o/r/.github/workflows/w.yml@main\n");
        assert_eq!(rules(&reusable), [(PINS.to_owned(), Some(9))]);
        let permissions = [(PERMISSIONS.to_owned(), None)];
        assert_eq!(rules(&good.replace("permissions: {contents: read}\n", "")), permissions);
        let wide = good.replacen("{contents: read}", "{contents: write}", 1);
        assert_eq!(rules(&wide), [(PERMISSIONS.to_owned(), Some(1))]);
        assert_eq!(
            rules(&good.replacen("{contents: read}", "write-all", 1)),
            [(PERMISSIONS.to_owned(), Some(1))]
        );
        assert_eq!(rules(&good.replace("{contents: write}", "write-all")), permissions);
    }
}
