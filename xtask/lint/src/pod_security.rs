//! Pod Security Standards, level *restricted*, without a cluster: Kubernetes' own evaluator judges (ci/tools/psa).
//!
//! It speaks in sentences about whole checks. A [`Field`] is a word of such a sentence, which gives a
//! finding its name and its line.

use std::time::Duration;

use anyhow::{Context, Result};
use charts::manifest::Manifest;
use charts::tools::Installed;
use charts::workload::{Workload, workload};
use kit::step::{Runner, Step};
use serde::Deserialize;

use crate::rules::{Finding, Problem, Subject};

/// One thing that a check looks at.
#[derive(Debug)]
pub struct Field {
    /// The name of findings.
    pub rule: &'static str,
    /// The evaluator's name of the check.
    check: &'static str,
    /// What the evaluator says about this field only.
    word: &'static str,
    /// The keys that lead to it, from the pod's spec or a container on.
    keys: &'static [&'static str],
    /// What to do.
    pub remedy: &'static str,
}

/// All of them.
pub const FIELDS: &[Field] = &[
    Field {
        rule: "pod-security/host-network",
        check: "hostNamespaces",
        word: "hostNetwork",
        keys: &["hostNetwork"],
        remedy: "leave hostNetwork out",
    },
    Field {
        rule: "pod-security/host-pid",
        check: "hostNamespaces",
        word: "hostPID",
        keys: &["hostPID"],
        remedy: "leave hostPID out",
    },
    Field {
        rule: "pod-security/host-ipc",
        check: "hostNamespaces",
        word: "hostIPC",
        keys: &["hostIPC"],
        remedy: "leave hostIPC out",
    },
    Field {
        rule: "pod-security/host-process",
        check: "windowsHostProcess",
        word: "",
        keys: &["securityContext", "windowsOptions", "hostProcess"],
        remedy: "leave securityContext.windowsOptions.hostProcess out",
    },
    Field {
        rule: "pod-security/privileged",
        check: "privileged",
        word: "",
        keys: &["securityContext", "privileged"],
        remedy: "leave securityContext.privileged out",
    },
    Field {
        rule: "pod-security/capabilities-drop",
        check: "capabilities_restricted",
        word: "capabilities.drop",
        keys: &["securityContext", "capabilities", "drop"],
        remedy: "set securityContext.capabilities.drop to [ALL]",
    },
    Field {
        rule: "pod-security/capabilities-add",
        check: "capabilities_restricted",
        word: "capabilities.add",
        keys: &["securityContext", "capabilities", "add"],
        remedy: "add no capability but NET_BIND_SERVICE",
    },
    Field {
        rule: "pod-security/volume-type",
        check: "restrictedVolumes",
        word: "",
        keys: &["volumes"],
        remedy: "use configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected or secret",
    },
    Field {
        rule: "pod-security/host-port",
        check: "hostPorts",
        word: "",
        keys: &["ports"],
        remedy: "leave hostPort out and expose the port by a Service",
    },
    Field {
        rule: "pod-security/probe-host",
        check: "hostProbesAndHostLifecycle",
        word: "",
        keys: &[],
        remedy: "leave the host of probes and hooks out: the kubelet asks the pod",
    },
    Field {
        rule: "pod-security/proc-mount",
        check: "procMount",
        word: "",
        keys: &["securityContext", "procMount"],
        remedy: "leave securityContext.procMount out",
    },
    Field {
        rule: "pod-security/app-armor",
        check: "appArmorProfile",
        word: "",
        keys: &["securityContext", "appArmorProfile", "type"],
        remedy: "set appArmorProfile.type to RuntimeDefault or Localhost, or leave it out",
    },
    Field {
        rule: "pod-security/se-linux-type",
        check: "seLinuxOptions",
        word: "type ",
        keys: &["securityContext", "seLinuxOptions", "type"],
        remedy: "leave seLinuxOptions.type out, or use container_t, container_init_t, container_kvm_t or container_engine_t",
    },
    Field {
        rule: "pod-security/se-linux-user",
        check: "seLinuxOptions",
        word: "user may",
        keys: &["securityContext", "seLinuxOptions", "user"],
        remedy: "leave seLinuxOptions.user out",
    },
    Field {
        rule: "pod-security/se-linux-role",
        check: "seLinuxOptions",
        word: "role may",
        keys: &["securityContext", "seLinuxOptions", "role"],
        remedy: "leave seLinuxOptions.role out",
    },
    Field {
        rule: "pod-security/sysctls",
        check: "sysctls",
        word: "",
        keys: &["securityContext", "sysctls"],
        remedy: "set no sysctl outside the safe set",
    },
    Field {
        rule: "pod-security/privilege-escalation",
        check: "allowPrivilegeEscalation",
        word: "",
        keys: &["securityContext", "allowPrivilegeEscalation"],
        remedy: "set securityContext.allowPrivilegeEscalation to false",
    },
    Field {
        rule: "pod-security/run-as-non-root",
        check: "runAsNonRoot",
        word: "",
        keys: &["securityContext", "runAsNonRoot"],
        remedy: "set runAsNonRoot to true in the pod's or every container's securityContext",
    },
    Field {
        rule: "pod-security/run-as-user",
        check: "runAsUser",
        word: "",
        keys: &["securityContext", "runAsUser"],
        remedy: "set runAsUser to another user than 0, or leave it out",
    },
    Field {
        rule: "pod-security/seccomp",
        check: "seccompProfile_restricted",
        word: "",
        keys: &["securityContext", "seccompProfile", "type"],
        remedy: "set seccompProfile.type to RuntimeDefault or Localhost in the pod's securityContext",
    },
];

/// What the evaluator prints for each check that forbids a pod.
#[derive(Debug, Deserialize)]
struct Violation {
    check: String,
    reason: String,
    detail: String,
}

/// What makes pods in a case. An object that can't be read is a finding of rule `object-readable`.
fn workloads<'a>(subject: &Subject<'a>) -> impl Iterator<Item = Workload<'a>> + use<'a> {
    let manifests = subject.manifests.iter();
    manifests.filter_map(|manifest| workload(manifest).ok().flatten())
}

/// What level *restricted*, as of a version of Kubernetes, has against the pods of each of the cases.
pub fn judge(cases: &[Subject], psa: &Installed, kube_version: &str, runner: &Runner) -> Result<Vec<Vec<Finding>>> {
    let pods: Vec<_> = cases.iter().flat_map(workloads).map(|workload| workload.pod).collect();
    // It wants `v1.34`, without the patch.
    let minor = kube_version.rsplit_once('.').map_or(kube_version, |(minor, _)| minor);
    let step = Step::new("pod security", &psa.path)
        .timeout(Duration::from_secs(60))
        .arg(format!("v{minor}"))
        .stdin(serde_json::to_string(&pods).context("writing pods")?);
    let output = runner.run(&step)?;
    if runner.plans() {
        return Ok(vec![Vec::new(); cases.len()]);
    }
    let violations: Vec<Vec<Violation>> =
        serde_json::from_str(&output.stdout).with_context(|| format!("psa printed no report: {}", output.tail()))?;
    let mut violations = violations.into_iter();
    let of_case = |subject: &Subject| {
        let of_workload = |workload: Workload| {
            let of_pod = violations.next().context("psa answers for every pod")?;
            anyhow::Ok(findings(subject, workload.manifest, &of_pod))
        };
        Ok(workloads(subject)
            .map(of_workload)
            .collect::<Result<Vec<_>>>()?
            .concat())
    };
    cases.iter().map(of_case).collect()
}

/// A finding for each field that a sentence speaks of; for the whole check where it is one that isn't known here.
fn findings(subject: &Subject, manifest: &Manifest, violations: &[Violation]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Violation { check, reason, detail } in violations {
        let problem = |keys: &[&str]| {
            let message = format!("{reason}: {detail}");
            if detail.starts_with("container") {
                Problem::in_container(manifest, keys, message)
            } else {
                Problem::in_pod(manifest, keys, message)
            }
        };
        let of_check = FIELDS.iter().filter(|field| field.check == check);
        let known: Vec<_> = of_check.filter(|field| detail.contains(field.word)).collect();
        for field in &known {
            findings.push(subject.finding(field.rule, problem(field.keys), field.remedy));
        }
        if known.is_empty() {
            let remedy = "https://kubernetes.io/docs/concepts/security/pod-security-standards says what is allowed";
            findings.push(subject.finding(&format!("pod-security/{check}"), problem(&[]), remedy));
        }
    }
    findings
}
