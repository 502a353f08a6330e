//! Kubernetes' own evaluator of Pod Security Standards: each field is broken on purpose, and exactly its
//! rule must say so.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use charts::manifest::parse_all;
use charts::render::merge;
use lint::pod_security::{FIELDS, judge};
use lint::rules::Subject;
use serde_yaml::Value;

use common::{KUBE_VERSION, helm, toolbox, workspace};

/// A pod that level *restricted* admits, as YAML whose parts a case replaces.
const GOOD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p, annotations: {}}
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
  initContainers:
  - {name: i, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}
  containers:
  - {name: c, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}}
  ephemeralContainers:
  - {name: e, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}
  volumes: [{name: v, emptyDir: {}}]
";

/// Field, and what a merge into the good pod must trip: in the pod, or in each of the three lists.
const POD_CASES: &[(&str, &str)] = &[
    ("pod-security/host-network", "spec: {hostNetwork: true}"),
    ("pod-security/host-pid", "spec: {hostPID: true}"),
    ("pod-security/host-ipc", "spec: {hostIPC: true}"),
    (
        "pod-security/host-process",
        "spec: {securityContext: {windowsOptions: {hostProcess: true}}}",
    ),
    (
        "pod-security/volume-type",
        "spec: {volumes: [{name: v, hostPath: {path: /}}]}",
    ),
    (
        "pod-security/volume-type",
        "spec: {volumes: [{name: v, nfs: {path: /, server: s}}]}",
    ),
    (
        "pod-security/sysctls",
        "spec: {securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}}",
    ),
    (
        "pod-security/se-linux-type",
        "spec: {securityContext: {seLinuxOptions: {type: spc_t}}}",
    ),
    (
        "pod-security/se-linux-user",
        "spec: {securityContext: {seLinuxOptions: {user: u}}}",
    ),
    (
        "pod-security/se-linux-role",
        "spec: {securityContext: {seLinuxOptions: {role: r}}}",
    ),
    (
        "pod-security/app-armor",
        "spec: {securityContext: {appArmorProfile: {type: Unconfined}}}",
    ),
    (
        "pod-security/app-armor",
        "metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: unconfined}}",
    ),
    ("pod-security/run-as-user", "spec: {securityContext: {runAsUser: 0}}"),
    (
        "pod-security/run-as-non-root",
        "spec: {securityContext: {runAsNonRoot: false}}",
    ),
    (
        "pod-security/run-as-non-root",
        "spec: {securityContext: {runAsNonRoot: null}}",
    ),
    (
        "pod-security/seccomp",
        "spec: {securityContext: {seccompProfile: {type: Unconfined}}}",
    ),
    (
        "pod-security/seccomp",
        "spec: {securityContext: {seccompProfile: null}}",
    ),
];

const CONTAINER_CASES: &[(&str, &str)] = &[
    (
        "pod-security/host-process",
        "securityContext: {windowsOptions: {hostProcess: true}}",
    ),
    ("pod-security/privileged", "securityContext: {privileged: true}"),
    (
        "pod-security/capabilities-drop",
        "securityContext: {capabilities: {drop: [NET_RAW]}}",
    ),
    (
        "pod-security/capabilities-drop",
        "securityContext: {capabilities: null}",
    ),
    (
        "pod-security/capabilities-add",
        "securityContext: {capabilities: {add: [NET_BIND_SERVICE, SYS_ADMIN]}}",
    ),
    ("pod-security/host-port", "ports: [{containerPort: 1, hostPort: 1}]"),
    ("pod-security/probe-host", "startupProbe: {httpGet: {port: 1, host: h}}"),
    (
        "pod-security/probe-host",
        "readinessProbe: {tcpSocket: {port: 1, host: h}}",
    ),
    (
        "pod-security/probe-host",
        "livenessProbe: {httpGet: {port: 1, host: h}}",
    ),
    (
        "pod-security/probe-host",
        "lifecycle: {postStart: {httpGet: {port: 1, host: h}}}",
    ),
    (
        "pod-security/probe-host",
        "lifecycle: {preStop: {tcpSocket: {port: 1, host: h}}}",
    ),
    ("pod-security/proc-mount", "securityContext: {procMount: Unmasked}"),
    (
        "pod-security/app-armor",
        "securityContext: {appArmorProfile: {type: Unconfined}}",
    ),
    (
        "pod-security/se-linux-type",
        "securityContext: {seLinuxOptions: {type: spc_t}}",
    ),
    (
        "pod-security/se-linux-user",
        "securityContext: {seLinuxOptions: {user: u}}",
    ),
    (
        "pod-security/se-linux-role",
        "securityContext: {seLinuxOptions: {role: r}}",
    ),
    (
        "pod-security/privilege-escalation",
        "securityContext: {allowPrivilegeEscalation: true}",
    ),
    (
        "pod-security/privilege-escalation",
        "securityContext: {allowPrivilegeEscalation: null}",
    ),
    ("pod-security/run-as-non-root", "securityContext: {runAsNonRoot: false}"),
    ("pod-security/run-as-user", "securityContext: {runAsUser: 0}"),
    (
        "pod-security/seccomp",
        "securityContext: {seccompProfile: {type: Unconfined}}",
    ),
];

/// The rules that find something, for each of the pods.
fn tripped(pods: &[Value]) -> Vec<BTreeSet<String>> {
    let chart = workspace().chart("tempo-stack").unwrap();
    let read = |pod: &Value| parse_all(&serde_yaml::to_string(pod).unwrap()).unwrap();
    let manifests: Vec<_> = pods.iter().map(read).collect();
    let subject = |manifests| Subject {
        chart: &chart,
        case: "of-this-test",
        values: "",
        release: "r",
        namespace: "n",
        manifests,
    };
    let subjects: Vec<_> = manifests.iter().map(|one| subject(one.as_slice())).collect();
    let psa = toolbox().get("psa").unwrap();
    let found = judge(&subjects, &psa, KUBE_VERSION, &helm().runner).unwrap();
    let rules = |findings: Vec<_>| findings.into_iter().map(|finding: lint::rules::Finding| finding.rule);
    found.into_iter().map(|findings| rules(findings).collect()).collect()
}

fn good() -> Value {
    serde_yaml::from_str(GOOD).unwrap()
}

const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

#[test]
fn every_field_is_tripped_by_its_own_name_in_the_pod_and_in_all_three_lists() {
    let mut expected = vec![(String::from("nothing"), None)];
    let mut pods = vec![good()];
    let mut add = |pod, name: String, rule| {
        pods.push(pod);
        expected.push((name, Some(rule)));
    };
    for (rule, change) in POD_CASES {
        let mut pod = good();
        merge(&mut pod, serde_yaml::from_str(change).unwrap());
        add(pod, (*change).to_owned(), *rule);
    }
    for (rule, change) in CONTAINER_CASES {
        for list in LISTS {
            let mut pod = good();
            merge(&mut pod["spec"][list][0], serde_yaml::from_str(change).unwrap());
            add(pod, format!("{list} {change}"), *rule);
        }
    }
    for (found, (name, rule)) in tripped(&pods).into_iter().zip(expected) {
        assert_eq!(found, rule.into_iter().map(str::to_owned).collect(), "{name}");
    }
}

#[test]
fn every_named_field_has_a_case() {
    let cases: BTreeSet<_> = POD_CASES.iter().chain(CONTAINER_CASES).map(|(rule, _)| *rule).collect();
    assert_eq!(cases, FIELDS.iter().map(|field| field.rule).collect());
}

#[test]
fn containers_may_say_what_their_pod_does_not() {
    let mut pod = good();
    let change = "spec: {securityContext: {runAsNonRoot: null, seccompProfile: null}}";
    merge(&mut pod, serde_yaml::from_str(change).unwrap());
    for list in LISTS {
        let own = "securityContext: {runAsNonRoot: true, seccompProfile: {type: Localhost, localhostProfile: x}}";
        merge(&mut pod["spec"][list][0], serde_yaml::from_str(own).unwrap());
    }
    assert_eq!(tripped(&[pod]), [BTreeSet::new()]);
}
