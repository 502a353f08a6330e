//! What a check found, and how it is shown.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// One of the things that a command looks at.
#[derive(Debug, Serialize)]
pub struct Check {
    name: &'static str,
    verdict: Verdict,
    detail: String,
}

pub fn check(name: &'static str, passed: bool, detail: String) -> Check {
    let verdict = if passed { Verdict::Passed } else { Verdict::Failed };
    Check { name, verdict, detail }
}

pub fn skipped(name: &'static str, why: &str) -> Check {
    Check {
        name,
        verdict: Verdict::Skipped,
        detail: why.to_owned(),
    }
}

/// A line for each.
pub fn lines(checks: &[Check]) -> String {
    let word = |verdict| match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "FAILED",
        Verdict::Skipped => "skipped",
    };
    let line = |c: &Check| format!("{:<8} {:<11} {}", word(c.verdict), c.name, c.detail);
    checks.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The names of those that failed.
pub fn failed(checks: &[Check]) -> Vec<&'static str> {
    let failed = checks.iter().filter(|c| c.verdict == Verdict::Failed);
    failed.map(|c| c.name).collect()
}
