//! Whether a rendered configuration is one that its program accepts.
//!
//! Two judges: a list of the keys that each version knows ([`keys`]), and the real program where it
//! is available ([`verify`]). A version without a program is judged by the list alone, and says so.

use charts::program::{Program, ProgramKind};
use serde::Serialize;

use crate::rules::{Finding, Problem, Subject};

mod collector;
pub mod keys;
mod tempo;
pub mod verify;

/// The name of findings about keys.
pub(crate) const KEYS_RULE: &str = "config-keys";

/// Who judged a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Judgement {
    /// The program that will read it, with its version.
    pub program: String,
    /// The judges: `key list`, `tempo 2.9.0 -config.verify=true`, …
    pub by: Vec<String>,
}

/// The keys that a program's configurations may have.
pub fn table(kind: ProgramKind) -> keys::KeyTable {
    match kind {
        ProgramKind::Tempo => tempo::table(),
        ProgramKind::Collector => collector::table(),
    }
}

/// What the list of keys has against a configuration.
pub fn judge_keys(subject: &Subject, program: &Program) -> Vec<Finding> {
    let finding = |message: String, remedy: &str| {
        let problem = Problem::new(program.config_map, &["data"], format!("{}: {message}", program.id()));
        subject.finding(KEYS_RULE, problem, remedy)
    };
    let Some(version) = &program.version else {
        return vec![finding(
            "no version in the pod's label app.kubernetes.io/version nor in the image's tag".into(),
            "set the version value of the component",
        )];
    };
    let faults = table(program.kind).judge(version, &normalise(program));
    let mut findings: Vec<Finding> = faults
        .iter()
        .map(|fault| finding(fault.to_string(), fault.remedy()))
        .collect();
    if program.kind == ProgramKind::Collector && (version.major, version.minor) < (0, 130) {
        findings.extend(
            collector::queues_on_disk_with_a_sizer(&program.config)
                .iter()
                .map(|id| {
                    finding(
                        format!("the queue of {id} lies on disk, where versions before 0.130 count requests only"),
                        "leave sending_queue.sizer out before 0.130",
                    )
                }),
        );
    }
    findings
}

/// The configuration as the list spells it: components without their names (`file_storage/x`).
fn normalise(program: &Program) -> serde_yaml::Value {
    match program.kind {
        ProgramKind::Tempo => program.config.clone(),
        ProgramKind::Collector => collector::without_names(&program.config),
    }
}
