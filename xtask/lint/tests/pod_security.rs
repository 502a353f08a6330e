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

/// Field below `pod-security/`, and what a merge into the good pod must trip: in the pod, or in each of the three lists.
const POD_CASES: &[(&str, &str)] = &[
    ("host-network", "spec: {hostNetwork: true}"),
    ("host-pid", "spec: {hostPID: true}"),
    ("host-ipc", "spec: {hostIPC: true}"),
    (
        "host-process",
        "spec: {securityContext: {windowsOptions: {hostProcess: true}}}",
    ),
    ("volume-type", "spec: {volumes: [{name: v, hostPath: {path: /}}]}"),
    ("volume-type", "spec: {volumes: [{name: v, nfs: {path: /, server: s}}]}"),
    (
        "sysctls",
        "spec: {securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}}",
    ),
    (
        "se-linux-type",
        "spec: {securityContext: {seLinuxOptions: {type: spc_t}}}",
    ),
    ("se-linux-user", "spec: {securityContext: {seLinuxOptions: {user: u}}}"),
    ("se-linux-role", "spec: {securityContext: {seLinuxOptions: {role: r}}}"),
    (
        "app-armor",
        "spec: {securityContext: {appArmorProfile: {type: Unconfined}}}",
    ),
    (
        "app-armor",
        "metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: unconfined}}",
    ),
    ("run-as-user", "spec: {securityContext: {runAsUser: 0}}"),
    ("run-as-non-root", "spec: {securityContext: {runAsNonRoot: false}}"),
    ("run-as-non-root", "spec: {securityContext: {runAsNonRoot: null}}"),
    (
        "seccomp",
        "spec: {securityContext: {seccompProfile: {type: Unconfined}}}",
    ),
    ("seccomp", "spec: {securityContext: {seccompProfile: null}}"),
];

const CONTAINER_CASES: &[(&str, &str)] = &[
    ("host-process", "securityContext: {windowsOptions: {hostProcess: true}}"),
    ("privileged", "securityContext: {privileged: true}"),
    (
        "capabilities-drop",
        "securityContext: {capabilities: {drop: [NET_RAW]}}",
    ),
    ("capabilities-drop", "securityContext: {capabilities: null}"),
    (
        "capabilities-add",
        "securityContext: {capabilities: {add: [NET_BIND_SERVICE, SYS_ADMIN]}}",
    ),
    ("host-port", "ports: [{containerPort: 1, hostPort: 1}]"),
    ("probe-host", "startupProbe: {httpGet: {port: 1, host: h}}"),
    ("probe-host", "readinessProbe: {tcpSocket: {port: 1, host: h}}"),
    ("probe-host", "livenessProbe: {httpGet: {port: 1, host: h}}"),
    ("probe-host", "lifecycle: {postStart: {httpGet: {port: 1, host: h}}}"),
    ("probe-host", "lifecycle: {preStop: {tcpSocket: {port: 1, host: h}}}"),
    ("proc-mount", "securityContext: {procMount: Unmasked}"),
    ("app-armor", "securityContext: {appArmorProfile: {type: Unconfined}}"),
    ("se-linux-type", "securityContext: {seLinuxOptions: {type: spc_t}}"),
    ("se-linux-user", "securityContext: {seLinuxOptions: {user: u}}"),
    ("se-linux-role", "securityContext: {seLinuxOptions: {role: r}}"),
    (
        "privilege-escalation",
        "securityContext: {allowPrivilegeEscalation: true}",
    ),
    (
        "privilege-escalation",
        "securityContext: {allowPrivilegeEscalation: null}",
    ),
    ("run-as-non-root", "securityContext: {runAsNonRoot: false}"),
    ("run-as-user", "securityContext: {runAsUser: 0}"),
    ("seccomp", "securityContext: {seccompProfile: {type: Unconfined}}"),
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
        let rule = rule.map(|field| format!("pod-security/{field}"));
        assert_eq!(found, rule.into_iter().collect(), "{name}");
    }
}

#[test]
fn every_named_field_has_a_case() {
    let cases = POD_CASES.iter().chain(CONTAINER_CASES);
    let cases: BTreeSet<_> = cases.map(|(field, _)| format!("pod-security/{field}")).collect();
    assert_eq!(cases, FIELDS.iter().map(|field| field.rule.to_owned()).collect());
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
