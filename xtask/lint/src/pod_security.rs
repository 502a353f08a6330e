//! Pod Security Standards, level *restricted*, field by field, without a cluster.
//!
//! The fields and their allowed values are those of kubernetes.io/docs/concepts/security/pod-security-standards
//! as of Kubernetes 1.34 (probe hosts: KEP-4940). Each field has a finding name of its own.

use anyhow::Result;
use charts::workload::{PodContainer, Workload, workload};
use k8s_openapi::api::core::v1::{LifecycleHandler, PodSpec, Probe, SELinuxOptions, SecurityContext, Volume};

use crate::rules::{Finding, Problem, Subject};

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

/// What level *restricted* has against the pods of a case.
pub fn judge(subject: &Subject) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for manifest in subject.manifests {
        // An object that can't be read is a finding of rule `object-readable`.
        if let Ok(Some(workload)) = workload(manifest) {
            for Violation {
                rule,
                container,
                keys,
                message,
            } in violations(&workload)
            {
                let remedy = FIELDS
                    .iter()
                    .find(|(name, _)| *name == rule)
                    .map_or("", |(_, remedy)| remedy);
                let problem = if container {
                    Problem::in_container(manifest, &keys, message)
                } else {
                    Problem::in_pod(manifest, &keys, message)
                };
                findings.push(subject.finding(rule, problem, remedy));
            }
        }
    }
    Ok(findings)
}

/// One field that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The finding's name.
    pub rule: &'static str,
    /// Whether the field is a container's; else it is the pod's.
    pub container: bool,
    /// The keys that lead to the field, from the pod spec or the container on.
    pub keys: Vec<&'static str>,
    /// What is wrong.
    pub message: String,
}

/// Where fields are looked at: the pod, or one container of it.
struct Place<'f> {
    container: Option<String>,
    found: &'f mut Vec<Violation>,
}

impl Place<'_> {
    fn say(&mut self, rule: &'static str, keys: &[&'static str], message: impl AsRef<str>) {
        let place = self.container.as_deref().unwrap_or("the pod");
        self.found.push(Violation {
            rule,
            container: self.container.is_some(),
            keys: keys.to_vec(),
            message: format!("{place}: {}", message.as_ref()),
        });
    }

    /// Says it where the field has that value.
    fn refuse<T: PartialEq>(&mut self, rule: &'static str, keys: &[&'static str], value: Option<T>, refused: T) {
        if value == Some(refused) {
            self.say(rule, keys, format!("{} is set to what is not allowed", keys.join(".")));
        }
    }
}

/// Every violation of one workload's pods.
pub fn violations(workload: &Workload) -> Vec<Violation> {
    let spec = workload.spec();
    let mut found = Vec::new();
    let mut place = Place {
        container: None,
        found: &mut found,
    };
    pod(&spec, &mut place);
    for (key, profile) in workload.pod_annotations() {
        let allowed = profile == "runtime/default" || profile.starts_with("localhost/") || profile.is_empty();
        if key.starts_with(APP_ARMOR_ANNOTATION) && !allowed {
            place.say("pod-security/app-armor", &[], format!("annotation {key} is {profile}"));
        }
    }
    for one in &workload.containers {
        let mut place = Place {
            container: Some(one.id()),
            found: &mut found,
        };
        container(one, &mut place);
        hosts(one, &mut place);
        inherited(&spec, one, &mut place);
    }
    found
}

/// Fields of the pod.
fn pod(spec: &PodSpec, place: &mut Place) {
    place.refuse("pod-security/host-network", &["hostNetwork"], spec.host_network, true);
    place.refuse("pod-security/host-pid", &["hostPID"], spec.host_pid, true);
    place.refuse("pod-security/host-ipc", &["hostIPC"], spec.host_ipc, true);
    for volume in spec.volumes.iter().flatten().filter(|volume| !volume_allowed(volume)) {
        let message = format!("volume {} is of a type that is not allowed", volume.name);
        place.say("pod-security/volume-type", &["volumes"], message);
    }
    let Some(context) = &spec.security_context else { return };
    for sysctl in context.sysctls.iter().flatten() {
        if !SAFE_SYSCTLS.contains(&sysctl.name.as_str()) {
            let message = format!("sysctl {} is set", sysctl.name);
            place.say("pod-security/sysctls", &["securityContext", "sysctls"], message);
        }
    }
    if let Some(kind) = context.seccomp_profile.as_ref().map(|profile| profile.type_.as_str())
        && !is_confined(kind)
    {
        let message = format!("seccompProfile.type is {kind}");
        place.say(
            "pod-security/seccomp",
            &["securityContext", "seccompProfile", "type"],
            message,
        );
    }
    place.refuse(
        "pod-security/run-as-non-root",
        &["securityContext", "runAsNonRoot"],
        context.run_as_non_root,
        false,
    );
    let host_process = context
        .windows_options
        .as_ref()
        .and_then(|windows| windows.host_process);
    let app_armor = context.app_armor_profile.as_ref().map(|profile| profile.type_.as_str());
    shared(
        place,
        context.run_as_user,
        host_process,
        app_armor,
        context.se_linux_options.as_ref(),
    );
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

/// Whether a seccomp or AppArmor profile confines the process.
fn is_confined(profile: &str) -> bool {
    matches!(profile, "RuntimeDefault" | "Localhost")
}

/// Fields that a pod's and a container's security context both have.
fn shared(
    place: &mut Place,
    run_as_user: Option<i64>,
    host_process: Option<bool>,
    app_armor: Option<&str>,
    se_linux: Option<&SELinuxOptions>,
) {
    place.refuse(
        "pod-security/run-as-user",
        &["securityContext", "runAsUser"],
        run_as_user,
        0,
    );
    let keys = &["securityContext", "windowsOptions", "hostProcess"];
    place.refuse("pod-security/host-process", keys, host_process, true);
    if let Some(profile) = app_armor.filter(|profile| !is_confined(profile)) {
        let message = format!("appArmorProfile.type is {profile}");
        place.say(
            "pod-security/app-armor",
            &["securityContext", "appArmorProfile", "type"],
            message,
        );
    }
    let Some(options) = se_linux else { return };
    for (rule, key, value, allowed) in [
        (
            "pod-security/se-linux-type",
            "type",
            &options.type_,
            &SE_LINUX_TYPES[..],
        ),
        ("pod-security/se-linux-user", "user", &options.user, &[""]),
        ("pod-security/se-linux-role", "role", &options.role, &[""]),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !allowed.contains(value)) {
            let message = format!("seLinuxOptions.{key} is {value}");
            place.say(rule, &["securityContext", "seLinuxOptions", key], message);
        }
    }
}

/// Fields of one container.
fn container(one: &PodContainer, place: &mut Place) {
    let context = one.spec.security_context.clone().unwrap_or_default();
    place.refuse(
        "pod-security/privileged",
        &["securityContext", "privileged"],
        context.privileged,
        true,
    );
    if context.allow_privilege_escalation != Some(false) {
        let keys = &["securityContext", "allowPrivilegeEscalation"];
        place.say(
            "pod-security/privilege-escalation",
            keys,
            "allowPrivilegeEscalation is not false",
        );
    }
    if let Some(mount) = context.proc_mount.as_deref().filter(|mount| *mount != "Default") {
        let message = format!("procMount is {mount}");
        place.say("pod-security/proc-mount", &["securityContext", "procMount"], message);
    }
    capabilities(&context, place);
    let host_process = context
        .windows_options
        .as_ref()
        .and_then(|windows| windows.host_process);
    let app_armor = context.app_armor_profile.as_ref().map(|profile| profile.type_.as_str());
    shared(
        place,
        context.run_as_user,
        host_process,
        app_armor,
        context.se_linux_options.as_ref(),
    );
    for port in one.spec.ports.iter().flatten() {
        if let Some(number) = port.host_port.filter(|number| *number != 0) {
            place.say("pod-security/host-port", &["ports"], format!("hostPort is {number}"));
        }
    }
}

fn capabilities(context: &SecurityContext, place: &mut Place) {
    let capabilities = context.capabilities.clone().unwrap_or_default();
    if !capabilities.drop.unwrap_or_default().iter().any(|one| one == "ALL") {
        let keys = &["securityContext", "capabilities", "drop"];
        place.say(
            "pod-security/capabilities-drop",
            keys,
            "capabilities.drop does not contain ALL",
        );
    }
    for capability in capabilities.add.unwrap_or_default() {
        if capability != "NET_BIND_SERVICE" {
            let message = format!("capabilities.add contains {capability}");
            place.say(
                "pod-security/capabilities-add",
                &["securityContext", "capabilities", "add"],
                message,
            );
        }
    }
}

/// Hosts that probes and lifecycle hooks ask instead of the pod.
fn hosts(one: &PodContainer, place: &mut Place) {
    let of_probe = |probe: &Probe| {
        let http = probe.http_get.as_ref().and_then(|http| http.host.clone());
        http.or_else(|| probe.tcp_socket.as_ref().and_then(|tcp| tcp.host.clone()))
    };
    let of_hook = |hook: &LifecycleHandler| {
        let http = hook.http_get.as_ref().and_then(|http| http.host.clone());
        http.or_else(|| hook.tcp_socket.as_ref().and_then(|tcp| tcp.host.clone()))
    };
    let spec = &one.spec;
    let lifecycle = spec.lifecycle.clone().unwrap_or_default();
    for (rule, key, host) in [
        (
            "pod-security/probe-host",
            "startupProbe",
            spec.startup_probe.as_ref().and_then(of_probe),
        ),
        (
            "pod-security/probe-host",
            "readinessProbe",
            spec.readiness_probe.as_ref().and_then(of_probe),
        ),
        (
            "pod-security/probe-host",
            "livenessProbe",
            spec.liveness_probe.as_ref().and_then(of_probe),
        ),
        (
            "pod-security/lifecycle-host",
            "postStart",
            lifecycle.post_start.as_ref().and_then(of_hook),
        ),
        (
            "pod-security/lifecycle-host",
            "preStop",
            lifecycle.pre_stop.as_ref().and_then(of_hook),
        ),
    ] {
        if let Some(host) = host.filter(|host| !host.is_empty()) {
            place.say(rule, &[key], format!("{key} asks host {host}"));
        }
    }
}

/// Fields that a container inherits from its pod and may overrule.
fn inherited(spec: &PodSpec, one: &PodContainer, place: &mut Place) {
    let pod = spec.security_context.clone().unwrap_or_default();
    let own = one.spec.security_context.clone().unwrap_or_default();
    if own.run_as_non_root.or(pod.run_as_non_root) != Some(true) {
        let keys = &["securityContext", "runAsNonRoot"];
        place.say(
            "pod-security/run-as-non-root",
            keys,
            "runAsNonRoot is not true, here or in the pod",
        );
    }
    let profile = own.seccomp_profile.or(pod.seccomp_profile).map(|profile| profile.type_);
    let kind = profile.as_deref().unwrap_or("not set");
    if !is_confined(kind) {
        let message = format!("seccompProfile.type is {kind}");
        place.say(
            "pod-security/seccomp",
            &["securityContext", "seccompProfile", "type"],
            message,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use charts::manifest::parse_all;

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
        violations(&workload)
            .into_iter()
            .map(|violation| violation.rule)
            .collect()
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
