//! What the status of a pod says.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// A label selector of these labels.
pub fn selector(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// The pod's name.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Whether the pod is on its way out.
pub fn is_ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether a Service sends to the pod.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|c| c.type_ == "Ready");
    !is_ending(pod) && ready.any(|c| c.status == "True") && statuses(pod).all(|container| container.ready)
}

/// The status of the pod's containers; none until the kubelet has seen it.
pub fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
}

/// The status of one container.
pub fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    statuses(pod).find(|status| status.name == container)
}

/// Whether the container's program runs now.
pub fn runs(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// How often the container's program has ended so far.
pub fn ends(status: &ContainerStatus) -> u32 {
    // Once it is started again the end is counted as a restart.
    let ended =
        status.state.as_ref().is_some_and(|s| s.terminated.is_some()) || waits(status) == Some("CrashLoopBackOff");
    u32::try_from(status.restart_count).unwrap_or(0) + u32::from(ended)
}

/// Why the container waits, in Kubernetes' word.
pub fn waits(status: &ContainerStatus) -> Option<&str> {
    status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}
