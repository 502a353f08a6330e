//! Which nodes and pods aren't ready, and why, from what `kubectl get nodes,pods -o json` prints.

use anyhow::{Context, Result};
use kit::failure::{Kind, kind_of};
use kit::step::Output;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct List {
    items: Vec<Object>,
}

#[derive(Debug, Deserialize)]
struct Object {
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    phase: String,
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    ready: bool,
    #[serde(default)]
    restart_count: u32,
    #[serde(default)]
    state: ContainerState,
}

#[derive(Debug, Default, Deserialize)]
struct ContainerState {
    waiting: Option<Waiting>,
}

#[derive(Debug, Deserialize)]
struct Waiting {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// What kubeadm and kind put into a cluster; pods elsewhere are the user's.
const SYSTEM_NAMESPACES: [&str; 2] = ["kube-system", "local-path-storage"];

/// What isn't ready, each with its reason, from how `kubectl get nodes,pods -o json` ended. That the API
/// server doesn't answer, at all or in time, is a reason like any other.
pub fn unready(answer: Result<Output>) -> Result<Vec<String>> {
    let silent = |why: &str| Ok(vec![format!("the API server doesn't answer: {why}")]);
    match answer {
        Ok(output) if output.success() => unready_of_system(&output.stdout),
        Ok(output) => silent(output.tail().lines().next_back().unwrap_or_default()),
        // A step that took too long.
        Err(error) if kind_of(&error) == Kind::Environment => {
            silent(error.to_string().lines().next().unwrap_or_default())
        }
        Err(error) => Err(error),
    }
}

/// Nodes and system pods that aren't ready, each with its reason; none if all are. A node and a pod in
/// each system namespace must be there.
fn unready_of_system(json: &str) -> Result<Vec<String>> {
    let list: List = serde_json::from_str(json).context("reading what kubectl printed")?;
    let of_system =
        |object: &&Object| object.kind == "Node" || SYSTEM_NAMESPACES.contains(&object.metadata.namespace.as_str());
    let system: Vec<&Object> = list.items.iter().filter(of_system).collect();
    let mut lines: Vec<String> = system.iter().filter_map(|object| reason(object)).collect();
    if !system.iter().any(|object| object.kind == "Node") {
        lines.push("no node is there yet".into());
    }
    for namespace in SYSTEM_NAMESPACES {
        if !system.iter().any(|object| object.metadata.namespace == namespace) {
            lines.push(format!("no pod is in {namespace} yet"));
        }
    }
    Ok(lines)
}

/// A container in a pod, as `kubectl logs` wants it named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerName {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// How often it was restarted.
    pub restarts: u32,
}

/// Every container that has a status.
pub fn containers(json: &str) -> Result<Vec<ContainerName>> {
    let list: List = serde_json::from_str(json).context("reading what kubectl printed")?;
    let named = |object: &Object| {
        let metadata = &object.metadata;
        let name = |status: &ContainerStatus| ContainerName {
            namespace: metadata.namespace.clone(),
            pod: metadata.name.clone(),
            container: status.name.clone(),
            restarts: status.restart_count,
        };
        object.status.container_statuses.iter().map(name).collect::<Vec<_>>()
    };
    Ok(list.items.iter().flat_map(named).collect())
}

fn reason(object: &Object) -> Option<String> {
    let Object { metadata, status, .. } = object;
    let ready = status.conditions.iter().find(|c| c.kind == "Ready");
    if status.phase == "Succeeded" || ready.is_some_and(|c| c.status == "True") {
        return None;
    }
    let name = if metadata.namespace.is_empty() {
        format!("node {}", metadata.name)
    } else {
        format!("pod {}/{}", metadata.namespace, metadata.name)
    };
    let waiting = status.container_statuses.iter().filter(|c| !c.ready).map(|container| {
        let why = container.state.waiting.as_ref().map_or_else(
            || "runs, not ready".to_owned(),
            |waiting| format!("{} {}", waiting.reason, waiting.message).trim().to_owned(),
        );
        format!("{}: {why}", container.name)
    });
    let waiting: Vec<String> = waiting.collect();
    let unmet = status
        .conditions
        .iter()
        .find(|c| c.status != "True" && !c.message.is_empty());
    let why = if !waiting.is_empty() {
        waiting.join("; ")
    } else if let Some(condition) = unmet {
        condition.message.clone()
    } else {
        status.phase.to_lowercase()
    };
    Some(format!("{name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str =
        r#"{"kind":"Node","metadata":{"name":"n"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
    const POD: &str = r#"{"kind":"Pod","metadata":{"name":"p","namespace":"kube-system"},
        "status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    const STORAGE: &str = r#"{"kind":"Pod","metadata":{"name":"p","namespace":"local-path-storage"},
        "status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;

    fn list(items: &[&str]) -> Vec<String> {
        unready_of_system(&format!(r#"{{"items":[{}]}}"#, items.join(","))).unwrap()
    }

    #[test]
    fn ready_nodes_and_pods_and_finished_pods_are_not_named() {
        let done = r#"{"kind":"Pod","metadata":{"name":"d","namespace":"kube-system"},"status":{"phase":"Succeeded"}}"#;
        assert!(list(&[NODE, POD, STORAGE, done]).is_empty());
    }

    #[test]
    fn an_api_server_that_is_slow_or_away_is_a_reason_and_an_interrupt_is_an_error() {
        use kit::step::{Cancel, Runner, Step};
        use std::time::Duration;

        let cancel = Cancel::default();
        let runner = Runner::new(cancel.clone(), false);
        let step = |script: &str| Step::new("kubectl get", "sh").args(["-c", script]);
        let run = |script: &str| unready(runner.try_run(&step(script)));
        let slow = step("exec sleep 600").timeout(Duration::from_millis(50));
        let slow = unready(runner.try_run(&slow)).unwrap();
        assert!(slow[0].contains("doesn't answer: kubectl get took longer"), "{slow:?}");
        let away = run("echo 'connection refused' >&2; exit 1").unwrap();
        assert_eq!(away, ["the API server doesn't answer: connection refused"]);
        assert!(run("echo nonsense").is_err(), "that is no answer of kubectl's");
        cancel.cancel();
        assert_eq!(kind_of(&run("true").unwrap_err()), Kind::Interrupted);
    }

    #[test]
    fn an_empty_cluster_is_not_ready() {
        assert_eq!(list(&[]).len(), 3);
    }

    #[test]
    fn a_pod_of_the_users_does_not_make_the_cluster_unready() {
        let pod = r#"{"kind":"Pod","metadata":{"name":"p","namespace":"mine"},"status":{"phase":"Pending",
            "containerStatuses":[{"name":"c","ready":false,"restartCount":3}]}}"#;
        assert!(list(&[NODE, POD, STORAGE, pod]).is_empty());
        let containers = containers(&format!(r#"{{"items":[{pod}]}}"#)).unwrap();
        assert_eq!((containers[0].container.as_str(), containers[0].restarts), ("c", 3));
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named_with_its_container() {
        let pod = r#"{"kind":"Pod","metadata":{"name":"p","namespace":"kube-system"},"status":{"phase":"Pending",
            "conditions":[{"type":"Ready","status":"False","message":"containers with unready status: [c]"}],
            "containerStatuses":[{"name":"c","ready":false,"state":{"waiting":{"reason":"ErrImagePull","message":"no such host"}}}]}}"#;
        assert_eq!(
            list(&[NODE, STORAGE, pod]),
            ["pod kube-system/p: c: ErrImagePull no such host"]
        );
    }

    #[test]
    fn a_pod_that_no_node_takes_and_a_node_without_network_say_why() {
        let pod = r#"{"kind":"Pod","metadata":{"name":"p","namespace":"kube-system"},"status":{"phase":"Pending",
            "conditions":[{"type":"PodScheduled","status":"False","message":"0/1 nodes are available"}]}}"#;
        let node = r#"{"kind":"Node","metadata":{"name":"n"},"status":{"conditions":[
            {"type":"MemoryPressure","status":"True"},{"type":"Ready","status":"False","message":"cni plugin not initialized"}]}}"#;
        assert_eq!(
            list(&[node, STORAGE, pod]),
            [
                "node n: cni plugin not initialized",
                "pod kube-system/p: 0/1 nodes are available"
            ]
        );
    }
}
