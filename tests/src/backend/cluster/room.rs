//! How many stacks the nodes have room for.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use charts::quantity;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What pods ask a node for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Request {
    /// In cores.
    cpu: f64,
    /// In bytes.
    memory: f64,
}

impl Request {
    /// What these containers ask for together.
    pub fn of<'a>(containers: impl IntoIterator<Item = &'a Container>) -> Result<Request> {
        let mut sum = Request::default();
        for container in containers {
            let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
            sum = sum.plus(Request::read(requests)?);
        }
        Ok(sum)
    }

    fn read(quantities: Option<&BTreeMap<String, Quantity>>) -> Result<Request> {
        let number = |key: &str| {
            let found = quantities.and_then(|all| all.get(key));
            found.map_or(Ok(0.0), |q| {
                quantity::number(&q.0).with_context(|| format!("{:?} is not a quantity", q.0))
            })
        };
        Ok(Request {
            cpu: number("cpu")?,
            memory: number("memory")?,
        })
    }

    fn plus(self, other: Request) -> Request {
        Request {
            cpu: self.cpu + other.cpu,
            memory: self.memory + other.memory,
        }
    }

    /// How often another fits in what is left of this one; without end where it asks for nothing.
    fn holds(self, used: Request, other: Request) -> u32 {
        let times = |all: f64, used: f64, one: f64| if one > 0.0 { (all - used) / one } else { f64::MAX };
        let times = times(self.cpu, used.cpu, other.cpu).min(times(self.memory, used.memory, other.memory));
        // Less than nothing is left of a node where system pods take more than it offers.
        times.clamp(0.0, f64::from(u32::MAX)) as u32
    }
}

/// How many stacks of this request the nodes hold beside the pods that aren't of this run.
pub fn stacks<'a>(nodes: &[Node], others: impl IntoIterator<Item = &'a Pod>, stack: Request) -> Result<u32> {
    let mut used: BTreeMap<&str, Request> = BTreeMap::new();
    for pod in others {
        let Some(spec) = &pod.spec else { continue };
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let (Some(node), false) = (&spec.node_name, matches!(phase, Some("Succeeded" | "Failed"))) else {
            continue;
        };
        let here = used.entry(node).or_default();
        *here = here.plus(Request::of(&spec.containers)?);
    }
    let mut stacks: u32 = 0;
    for node in nodes.iter().filter(|node| takes_pods(node)) {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let used = used.get(name).copied().unwrap_or_default();
        stacks = stacks.saturating_add(Request::read(allocatable)?.holds(used, stack));
    }
    Ok(stacks)
}

/// Whether a pod without tolerations may be scheduled to the node.
fn takes_pods(node: &Node) -> bool {
    let Some(spec) = &node.spec else { return true };
    let mut taints = spec.taints.iter().flatten();
    spec.unschedulable != Some(true) && !taints.any(|t| t.effect == "NoSchedule" || t.effect == "NoExecute")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        serde_yaml::from_str(&format!(
            "{{metadata: {{name: n}}, {text}, status: {{allocatable: {{cpu: '2', memory: 4Gi}}}}}}"
        ))
        .unwrap()
    }

    fn pod(cpu: &str, phase: &str) -> Pod {
        serde_yaml::from_str(&format!(
            "{{spec: {{nodeName: n, containers: [{{name: c, resources: {{requests: {{cpu: {cpu}}}}}}}]}}, status: {{phase: {phase}}}}}"
        ))
        .unwrap()
    }

    #[test]
    fn room_is_what_the_nodes_offer_without_what_others_asked_for() {
        let stack = Request {
            cpu: 0.45,
            memory: 805_306_368.0,
        };
        let open = node("spec: {}");
        assert_eq!(stacks(std::slice::from_ref(&open), &[], stack).unwrap(), 4);
        // The case that failed: 1,150m are left, and a stack asks for 450m.
        let others = [pod("850m", "Running"), pod("'1'", "Succeeded")];
        assert_eq!(stacks(std::slice::from_ref(&open), &others, stack).unwrap(), 2);
        let small = Request { cpu: 0.1, ..stack };
        assert_eq!(stacks(std::slice::from_ref(&open), &others, small).unwrap(), 5);
        assert_eq!(stacks(&[open], &[pod("3", "Running")], stack).unwrap(), 0);
        for closed in [
            "spec: {unschedulable: true}",
            "spec: {taints: [{key: k, effect: NoSchedule}]}",
        ] {
            assert_eq!(stacks(&[node(closed)], &[], stack).unwrap(), 0);
        }
    }
}
