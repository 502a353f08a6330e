//! What the status of a pod says.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kit::failure::Failure;
use kit::step::Cancel;
use kube::Api;

use super::judge::{Facts, judge};
use crate::wait::{Look, wait_every};

/// Between two looks at the cluster.
pub const PERIOD: Duration = Duration::from_millis(250);
/// A pod of this harness starts within this on a busy node.
const READY: Duration = Duration::from_secs(60);

pub fn selector(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(crate) fn is_ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
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

/// The status of the containers that run before those, and ended badly or can't start.
pub fn failing_init(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let all = pod
        .status
        .iter()
        .flat_map(|status| status.init_container_statuses.iter().flatten());
    all.filter(|status| {
        let state = status.state.as_ref();
        let failed = state
            .and_then(|s| s.terminated.as_ref())
            .is_some_and(|ended| ended.exit_code != 0);
        failed || state.is_some_and(|s| s.waiting.is_some())
    })
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

/// Waits until a pod that this harness made of the image that `--image` names so is ready.
pub(crate) async fn until_ready(pods: &Api<Pod>, name: &str, what: &str, image: &str) -> Result<()> {
    let remedy = || format!("name an image that the cluster can pull: --image {image}=IMAGE");
    let unready = |why: String| Failure::environment(format!("{what} is not ready: {why}"), remedy());
    let waited = wait_every(PERIOD, what, READY, &Cancel::default(), || async {
        let pod = pods.get(name).await.with_context(|| format!("looking at {what}"))?;
        if is_ready(&pod) {
            return Ok(Look::Found(()));
        }
        let cause = judge(&Facts {
            pods: vec![pod],
            ..Facts::default()
        });
        let why = format!("{}: {}", cause.stage, cause.text);
        Ok(if cause.hopeless {
            Look::Never(anyhow::anyhow!(why))
        } else {
            Look::NotYet(why)
        })
    })
    .await;
    waited.map(drop).map_err(|error| unready(format!("{error:#}")))
}

/// Why the container waits, in Kubernetes' word.
pub fn waits(status: &ContainerStatus) -> Option<&str> {
    status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}
