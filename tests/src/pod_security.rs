//! Pod Security Standards, level *restricted*, field by field, without a cluster.
//!
//! The fields and their allowed values are those of kubernetes.io/docs/concepts/security/pod-security-standards
//! as of Kubernetes 1.34 (probe hosts: KEP-4940). Each field has a finding name of its own.

use anyhow::Result;
use k8s_openapi::api::core::v1::{LifecycleHandler, PodSpec, Probe, SELinuxOptions, SecurityContext, Volume};

use crate::rules::{Finding, Problem, Subject};
use crate::workload::{PodContainer, Workload, workload};

/// Every field that is looked at: its finding name and what it must be.
pub const FIELDS: &[(&str, &str)] = &[
    ("pod-security/host-network", "leave hostNetwork out"),
    ("pod-security/host-pid", "leave hostPID out"),
    ("pod-security/host-ipc", "leave hostIPC out"),
    (
        "pod-security/host-process",
        "leave securityContext.windowsOptions.hostProcess out",
    ),
    ("pod-security/privileged", "leave securityContext.privileged out"),
    (
        "pod-security/capabilities-drop",
        "set securityContext.capabilities.drop to [ALL]",
    ),
    (
        "pod-security/capabilities-add",
        "add no capability but NET_BIND_SERVICE",
    ),
    (
        "pod-security/volume-type",
        "use configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected or secret",
    ),
    (
        "pod-security/host-port",
        "leave hostPort out and expose the port by a Service",
    ),
    (
        "pod-security/probe-host",
        "leave the probe's host out: the kubelet asks the pod",
    ),
    (
        "pod-security/lifecycle-host",
        "leave the hook's host out: the kubelet asks the pod",
    ),
    ("pod-security/proc-mount", "leave securityContext.procMount out"),
    (
        "pod-security/app-armor",
        "set appArmorProfile.type to RuntimeDefault or Localhost, or leave it out",
    ),
    (
        "pod-security/se-linux-type",
        "leave seLinuxOptions.type out, or use container_t, container_init_t, container_kvm_t or container_engine_t",
    ),
    ("pod-security/se-linux-user", "leave seLinuxOptions.user out"),
    ("pod-security/se-linux-role", "leave seLinuxOptions.role out"),
    ("pod-security/sysctls", "set no sysctl outside the safe set"),
    (
        "pod-security/privilege-escalation",
        "set securityContext.allowPrivilegeEscalation to false",
    ),
    (
        "pod-security/run-as-non-root",
        "set runAsNonRoot to true in the pod's or every container's securityContext",
    ),
    (
        "pod-security/run-as-user",
        "set runAsUser to another user than 0, or leave it out",
    ),
    (
        "pod-security/seccomp",
        "set seccompProfile.type to RuntimeDefault or Localhost in the pod's securityContext",
    ),
];

const SE_LINUX_TYPES: [&str; 5] = [
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
];

const SAFE_SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
];

/// The annotation that set AppArmor before there was a field for it.
const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// What level *restricted* has against the pods of a scenario.
pub fn judge(subject: &Subject) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for manifest in subject.manifests {
        // An object that can't be read is a finding of rule `object-readable`.
        if let Ok(Some(workload)) = workload(manifest) {
            for (rule, keys, message) in violations(&workload) {
                let remedy = FIELDS
                    .iter()
                    .find(|(name, _)| *name == rule)
                    .map_or("", |(_, remedy)| remedy);
                findings.push(subject.finding(rule, Problem::new(manifest, &keys, message), remedy));
            }
        }
    }
    Ok(findings)
}

/// A finding's name, the keys that lead to the field, and what is wrong.
type Violation = (&'static str, Vec<&'static str>, String);

/// Every violation of one workload's pods.
pub fn violations(workload: &Workload) -> Vec<Violation> {
    let spec = workload.spec();
    let mut found = Vec::new();
    pod(&spec, &mut found);
    for (key, profile) in workload.pod_annotations() {
        let allowed = profile == "runtime/default" || profile.starts_with("localhost/") || profile.is_empty();
        if key.starts_with(APP_ARMOR_ANNOTATION) && !allowed {
            found.push((
                "pod-security/app-armor",
                vec!["annotations"],
                format!("{key} is {profile}"),
            ));
        }
    }
    for one in &workload.containers {
        container(one, &mut found);
        probes(one, &mut found);
    }
    inherited(&spec, &workload.containers, &mut found);
    found
}

/// Fields of the pod alone.
fn pod(spec: &PodSpec, found: &mut Vec<Violation>) {
    for (rule, key, value) in [
        ("pod-security/host-network", "hostNetwork", spec.host_network),
        ("pod-security/host-pid", "hostPID", spec.host_pid),
        ("pod-security/host-ipc", "hostIPC", spec.host_ipc),
    ] {
        if value == Some(true) {
            found.push((rule, vec![key], format!("{key} is true")));
        }
    }
    for volume in spec.volumes.iter().flatten().filter(|volume| !volume_allowed(volume)) {
        let message = format!("volume {} is of a type that is not allowed", volume.name);
        found.push(("pod-security/volume-type", vec!["volumes"], message));
    }
    let Some(context) = &spec.security_context else { return };
    for sysctl in context.sysctls.iter().flatten() {
        if !SAFE_SYSCTLS.contains(&sysctl.name.as_str()) {
            found.push((
                "pod-security/sysctls",
                vec!["sysctls"],
                format!("sysctl {} is set", sysctl.name),
            ));
        }
    }
    se_linux("the pod", context.se_linux_options.as_ref(), found);
    let host_process = context.windows_options.as_ref().and_then(|w| w.host_process);
    if host_process == Some(true) {
        let message = "securityContext.windowsOptions.hostProcess is true".to_owned();
        found.push(("pod-security/host-process", vec!["hostProcess"], message));
    }
    app_armor(
        "the pod",
        context.app_armor_profile.as_ref().map(|p| p.type_.as_str()),
        found,
    );
    if context.run_as_user == Some(0) {
        found.push((
            "pod-security/run-as-user",
            vec!["runAsUser"],
            "the pod's runAsUser is 0".into(),
        ));
    }
}

fn volume_allowed(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some()
}

/// Fields of one container.
fn container(one: &PodContainer, found: &mut Vec<Violation>) {
    let id = one.id();
    let context = one.spec.security_context.clone().unwrap_or_default();
    let mut say =
        |rule, key, message: &str| found.push((rule, vec!["securityContext", key], format!("{id}: {message}")));
    if context.privileged == Some(true) {
        say("pod-security/privileged", "privileged", "privileged is true");
    }
    if context.allow_privilege_escalation != Some(false) {
        let message = "allowPrivilegeEscalation is not false";
        say("pod-security/privilege-escalation", "allowPrivilegeEscalation", message);
    }
    if context.windows_options.as_ref().and_then(|w| w.host_process) == Some(true) {
        say(
            "pod-security/host-process",
            "hostProcess",
            "windowsOptions.hostProcess is true",
        );
    }
    if let Some(mount) = context.proc_mount.as_deref().filter(|mount| *mount != "Default") {
        say("pod-security/proc-mount", "procMount", &format!("procMount is {mount}"));
    }
    if context.run_as_user == Some(0) {
        say("pod-security/run-as-user", "runAsUser", "runAsUser is 0");
    }
    capabilities(&context, &mut say);
    se_linux(&id, context.se_linux_options.as_ref(), found);
    app_armor(&id, context.app_armor_profile.as_ref().map(|p| p.type_.as_str()), found);
    for port in one.spec.ports.iter().flatten() {
        if let Some(number) = port.host_port.filter(|number| *number != 0) {
            let message = format!("{id}: hostPort is {number}");
            found.push(("pod-security/host-port", vec!["ports", "hostPort"], message));
        }
    }
}

fn capabilities(context: &SecurityContext, say: &mut impl FnMut(&'static str, &'static str, &str)) {
    let capabilities = context.capabilities.clone().unwrap_or_default();
    let drop = capabilities.drop.unwrap_or_default();
    if !drop.iter().any(|capability| capability == "ALL") {
        say(
            "pod-security/capabilities-drop",
            "drop",
            "capabilities.drop does not contain ALL",
        );
    }
    for capability in capabilities.add.unwrap_or_default() {
        if capability != "NET_BIND_SERVICE" {
            say(
                "pod-security/capabilities-add",
                "add",
                &format!("capabilities.add contains {capability}"),
            );
        }
    }
}

fn se_linux(place: &str, options: Option<&SELinuxOptions>, found: &mut Vec<Violation>) {
    let Some(options) = options else { return };
    if let Some(kind) = options.type_.as_deref().filter(|kind| !SE_LINUX_TYPES.contains(kind)) {
        let message = format!("{place}: seLinuxOptions.type is {kind}");
        found.push(("pod-security/se-linux-type", vec!["seLinuxOptions"], message));
    }
    for (rule, key, value) in [
        ("pod-security/se-linux-user", "user", &options.user),
        ("pod-security/se-linux-role", "role", &options.role),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            let message = format!("{place}: seLinuxOptions.{key} is {value}");
            found.push((rule, vec!["seLinuxOptions", key], message));
        }
    }
}

fn app_armor(place: &str, profile: Option<&str>, found: &mut Vec<Violation>) {
    if let Some(profile) = profile.filter(|profile| !matches!(*profile, "RuntimeDefault" | "Localhost")) {
        let message = format!("{place}: appArmorProfile.type is {profile}");
        found.push(("pod-security/app-armor", vec!["appArmorProfile"], message));
    }
}

/// Hosts of probes and lifecycle hooks.
fn probes(one: &PodContainer, found: &mut Vec<Violation>) {
    let host = |probe: &Probe| {
        let http = probe.http_get.as_ref().and_then(|http| http.host.clone());
        http.or_else(|| probe.tcp_socket.as_ref().and_then(|tcp| tcp.host.clone()))
    };
    for (key, probe) in [
        ("startupProbe", &one.spec.startup_probe),
        ("readinessProbe", &one.spec.readiness_probe),
        ("livenessProbe", &one.spec.liveness_probe),
    ] {
        if let Some(host) = probe.as_ref().and_then(host).filter(|host| !host.is_empty()) {
            let message = format!("{}: {key} asks host {host}", one.id());
            found.push(("pod-security/probe-host", vec![key, "host"], message));
        }
    }
    let host = |hook: &LifecycleHandler| {
        let http = hook.http_get.as_ref().and_then(|http| http.host.clone());
        http.or_else(|| hook.tcp_socket.as_ref().and_then(|tcp| tcp.host.clone()))
    };
    let lifecycle = one.spec.lifecycle.clone().unwrap_or_default();
    for (key, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
        if let Some(host) = hook.as_ref().and_then(host).filter(|host| !host.is_empty()) {
            let message = format!("{}: {key} asks host {host}", one.id());
            found.push(("pod-security/lifecycle-host", vec![key, "host"], message));
        }
    }
}

/// Fields that a container inherits from its pod and may overrule.
fn inherited(spec: &PodSpec, containers: &[PodContainer], found: &mut Vec<Violation>) {
    let pod = spec.security_context.clone().unwrap_or_default();
    let allowed = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let pod_seccomp = pod.seccomp_profile.map(|profile| profile.type_);
    if let Some(kind) = pod_seccomp.as_deref().filter(|kind| !allowed(kind)) {
        let message = format!("the pod's seccompProfile.type is {kind}");
        found.push(("pod-security/seccomp", vec!["seccompProfile"], message));
    }
    if pod.run_as_non_root == Some(false) {
        let message = "the pod's runAsNonRoot is false".to_owned();
        found.push(("pod-security/run-as-non-root", vec!["runAsNonRoot"], message));
    }
    for one in containers {
        let context = one.spec.security_context.clone().unwrap_or_default();
        if context.run_as_non_root.or(pod.run_as_non_root) != Some(true) {
            let message = format!("{}: runAsNonRoot is not true", one.id());
            found.push(("pod-security/run-as-non-root", vec!["runAsNonRoot"], message));
        }
        let own = context.seccomp_profile.map(|profile| profile.type_);
        match own.as_deref().or(pod_seccomp.as_deref()) {
            Some(kind) if allowed(kind) => {}
            kind => {
                let message = format!("{}: seccompProfile.type is {}", one.id(), kind.unwrap_or("not set"));
                found.push(("pod-security/seccomp", vec!["seccompProfile"], message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::manifest::parse_all;

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
            "pod-security/lifecycle-host",
            "lifecycle: {postStart: {httpGet: {port: 1, host: h}}}",
        ),
        (
            "pod-security/lifecycle-host",
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

    type Value = serde_yaml::Value;

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Mapping(into), Value::Mapping(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }

    fn tripped(pod: &Value) -> BTreeSet<&'static str> {
        let manifests = parse_all(&serde_yaml::to_string(pod).unwrap()).unwrap();
        let workload = workload(&manifests[0]).unwrap().unwrap();
        violations(&workload).into_iter().map(|(rule, ..)| rule).collect()
    }

    fn good() -> Value {
        serde_yaml::from_str(GOOD).unwrap()
    }

    #[test]
    fn a_restricted_pod_has_no_findings() {
        assert_eq!(tripped(&good()), BTreeSet::new());
    }

    #[test]
    fn every_field_of_the_pod_is_tripped_by_its_own_name() {
        for (rule, change) in POD_CASES {
            let mut pod = good();
            merge(&mut pod, serde_yaml::from_str(change).unwrap());
            assert_eq!(tripped(&pod), BTreeSet::from([*rule]), "{change}");
        }
    }

    #[test]
    fn every_field_of_a_container_is_tripped_in_all_three_lists() {
        for (rule, change) in CONTAINER_CASES {
            for list in ["containers", "initContainers", "ephemeralContainers"] {
                let mut pod = good();
                merge(&mut pod["spec"][list][0], serde_yaml::from_str(change).unwrap());
                assert_eq!(tripped(&pod), BTreeSet::from([*rule]), "{list} {change}");
            }
        }
    }

    #[test]
    fn every_named_field_has_a_case() {
        let cases: BTreeSet<_> = POD_CASES.iter().chain(CONTAINER_CASES).map(|(rule, _)| *rule).collect();
        assert_eq!(cases, FIELDS.iter().map(|(rule, _)| *rule).collect());
    }

    #[test]
    fn containers_may_say_what_their_pod_does_not() {
        let mut pod = good();
        merge(
            &mut pod,
            serde_yaml::from_str("spec: {securityContext: {runAsNonRoot: null, seccompProfile: null}}").unwrap(),
        );
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            let own = "securityContext: {runAsNonRoot: true, seccompProfile: {type: Localhost, localhostProfile: x}}";
            merge(&mut pod["spec"][list][0], serde_yaml::from_str(own).unwrap());
        }
        assert_eq!(tripped(&pod), BTreeSet::new());
    }
}
