//! Which nodes, pods and aggregated APIs aren't ready, and why, from what
//! `kubectl get nodes,pods,apiservices -o json` prints.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kit::failure::{Kind, kind_of};
use kit::step::Output;
use serde::Deserialize;

#[derive(Deserialize)]
struct List {
    items: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(tag = "kind")]
enum Object {
    Node(Box<Node>),
    Pod(Box<Pod>),
    #[serde(rename = "APIService")]
    Api(Box<APIService>),
}

/// What kubeadm and kind put into a cluster; pods elsewhere are the user's.
const SYSTEM_NAMESPACES: [&str; 2] = ["kube-system", "local-path-storage"];

/// The API that the metrics server adds.
const METRICS: &str = "v1beta1.metrics.k8s.io";

/// What isn't ready, each with its reason, from how `kubectl get nodes,pods,apiservices -o json` ended. That the API
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

/// Nodes, system pods and the API of metrics that aren't ready, each with its reason; none if all are. A node
/// and a pod in each system namespace must be there.
fn unready_of_system(json: &str) -> Result<Vec<String>> {
    let (mut nodes, mut pods, mut apis) = (Vec::new(), Vec::new(), Vec::new());
    for object in parse(json)? {
        match object {
            Object::Node(node) => nodes.push(node),
            Object::Pod(pod) => pods.push(pod),
            Object::Api(api) => apis.push(api),
        }
    }
    pods.retain(|pod| SYSTEM_NAMESPACES.contains(&namespace(pod)));
    let mut lines: Vec<String> = nodes.iter().filter_map(|node| reason_of_node(node)).collect();
    lines.extend(pods.iter().filter_map(|pod| reason_of_pod(pod)));
    // Other APIs are the user's.
    let metrics = apis.iter().filter(|api| api.metadata.name.as_deref() == Some(METRICS));
    lines.extend(metrics.filter_map(|api| reason_of_api(api)));
    if nodes.is_empty() {
        lines.push("no node is there yet".into());
    }
    for wanted in SYSTEM_NAMESPACES {
        if !pods.iter().any(|pod| namespace(pod) == wanted) {
            lines.push(format!("no pod is in {wanted} yet"));
        }
    }
    Ok(lines)
}

/// The pods that kubectl printed.
pub fn pods(json: &str) -> Result<Vec<Pod>> {
    let pod = |object| match object {
        Object::Pod(pod) => Some(*pod),
        Object::Node(_) | Object::Api(_) => None,
    };
    Ok(parse(json)?.into_iter().filter_map(pod).collect())
}

fn parse(json: &str) -> Result<Vec<Object>> {
    let list: List = serde_json::from_str(json).context("reading what kubectl printed")?;
    Ok(list.items)
}

pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

pub fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| status.container_statuses.iter().flatten())
}

fn reason_of_node(node: &Node) -> Option<String> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let why = unmet(conditions.map(|c| (c.type_.as_str(), c.status.as_str(), c.message.as_deref())))?;
    let name = node.metadata.name.as_deref().unwrap_or_default();
    Some(format!(
        "node {name}: {}",
        why.unwrap_or("its kubelet has not reported yet")
    ))
}

fn reason_of_pod(pod: &Pod) -> Option<String> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase == Some("Succeeded") {
        return None;
    }
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let unmet = unmet(conditions.map(|c| (c.type_.as_str(), c.status.as_str(), c.message.as_deref())))?;
    let waiting = statuses(pod).filter(|status| !status.ready).map(|status| {
        let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
        let words =
            waiting.map(|waiting| [&waiting.reason, &waiting.message].map(|word| word.as_deref().unwrap_or("")));
        let why = words.map_or_else(
            || "runs, not ready".to_owned(),
            |words| words.join(" ").trim().to_owned(),
        );
        format!("{}: {why}", status.name)
    });
    let waiting: Vec<String> = waiting.collect();
    let why = if waiting.is_empty() {
        unmet.map_or_else(|| phase.unwrap_or_default().to_lowercase(), str::to_owned)
    } else {
        waiting.join("; ")
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Some(format!("pod {}/{name}: {why}", namespace(pod)))
}

/// Autoscalers see nothing until the API of metrics is available.
fn reason_of_api(api: &APIService) -> Option<String> {
    let conditions = api.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let available = conditions.into_iter().find(|condition| condition.type_ == "Available");
    if available.is_some_and(|condition| condition.status == "True") {
        return None;
    }
    let name = api.metadata.name.as_deref().unwrap_or_default();
    let why = available.and_then(|condition| condition.message.as_deref());
    Some(format!("API {name}: {}", why.unwrap_or("not looked at yet")))
}

/// None if the condition `Ready` is met. Else its message, or that of another condition that isn't met:
/// a node's other conditions are problems, which are fine when they are not met.
fn unmet<'a>(conditions: impl Iterator<Item = (&'a str, &'a str, Option<&'a str>)>) -> Option<Option<&'a str>> {
    let (ready, others): (Vec<_>, Vec<_>) = conditions.partition(|(kind, ..)| *kind == "Ready");
    if ready.iter().any(|(_, status, _)| *status == "True") {
        return None;
    }
    let unmet = ready
        .into_iter()
        .chain(others)
        .filter(|(_, status, _)| *status != "True");
    Some(
        unmet
            .filter_map(|(.., message)| message)
            .find(|message| !message.is_empty()),
    )
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
    fn an_api_of_metrics_that_is_not_available_says_why_and_one_of_the_users_does_not_matter() {
        let api = |name: &str, status: &str| {
            format!(
                r#"{{"kind":"APIService","metadata":{{"name":"{name}"}},"status":{{"conditions":[
                {{"type":"Available","status":"{status}","message":"no endpoints"}}]}}}}"#
            )
        };
        assert!(
            list(&[
                NODE,
                POD,
                STORAGE,
                &api(METRICS, "True"),
                &api("v1.mine.example", "False")
            ])
            .is_empty()
        );
        let late = list(&[NODE, POD, STORAGE, &api(METRICS, "False")]);
        assert_eq!(late, ["API v1beta1.metrics.k8s.io: no endpoints"]);
    }

    #[test]
    fn a_pod_of_the_users_does_not_make_the_cluster_unready() {
        let pod = r#"{"kind":"Pod","metadata":{"name":"p","namespace":"mine"},"status":{"phase":"Pending",
            "containerStatuses":[{"name":"c","ready":false,"restartCount":3}]}}"#;
        assert!(list(&[NODE, POD, STORAGE, pod]).is_empty());
        let pods = pods(&format!(r#"{{"items":[{pod}]}}"#)).unwrap();
        let restarts: Vec<_> = statuses(&pods[0]).map(|c| (c.name.as_str(), c.restart_count)).collect();
        assert_eq!(restarts, [("c", 3)]);
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
            {"type":"MemoryPressure","status":"False","message":"kubelet has sufficient memory available"},{"type":"Ready","status":"False","message":"cni plugin not initialized"}]}}"#;
        assert_eq!(
            list(&[node, STORAGE, pod]),
            [
                "node n: cni plugin not initialized",
                "pod kube-system/p: 0/1 nodes are available"
            ]
        );
    }
}
