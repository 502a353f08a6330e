//! What to do about a cluster that may or may not be there, and may or may not be ours.
//!
//! A cluster is ours if its nodes are on the network that carries our label. kind puts no labels of
//! ours on containers, but it takes a network that exists: so we make it, labelled, before the cluster.

use crate::docker::{Container, Network};

/// On our networks: the name of the cluster.
pub(crate) const CLUSTER_LABEL: &str = "tempo-stack.cluster";
/// On our networks: the key of what the cluster was made of.
pub(crate) const CONFIG_LABEL: &str = "tempo-stack.config";

/// On our networks: where the cluster's images come from, as [`Source::word`] has it.
///
/// [`Source::word`]: crate::source::Source::word
pub(crate) const IMAGES_LABEL: &str = "tempo-stack.images";

pub(crate) fn network_name(cluster: &str) -> String {
    format!("kind-{cluster}")
}

/// What Docker knows of a cluster's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    pub nodes: Vec<Container>,
    pub network: Option<Network>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    Nobody,
    /// We made it, or began to.
    Us,
    /// Somebody else made it, for this reason.
    Other(String),
}

/// What it takes to have the cluster up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// There is none: create it.
    Create,
    /// It runs and is what is wanted: see whether it is healthy.
    Check,
    /// It is what is wanted, but stopped or paused: start its nodes.
    Start,
    /// It is ours and can't be used, for this reason: remove it and create another.
    Replace(String),
    /// It isn't ours, for this reason: leave it alone.
    Refuse(String),
}

impl Observed {
    pub fn owner(&self, cluster: &str) -> Owner {
        let network = network_name(cluster);
        let labelled = self
            .network
            .as_ref()
            .is_some_and(|n| n.labels.get(CLUSTER_LABEL).map(String::as_str) == Some(cluster));
        let attached = |node: &Container| node.network_settings.networks.contains_key(&network);
        if let Some(node) = self.nodes.iter().find(|node| !labelled || !attached(node)) {
            return Owner::Other(format!(
                "its node {} is not on a network {network} with the label {CLUSTER_LABEL}={cluster}",
                node.name()
            ));
        }
        match (&self.network, labelled) {
            (None, _) => Owner::Nobody,
            (Some(_), true) => Owner::Us,
            (Some(_), false) => Owner::Other(format!("the network {network} has no label {CLUSTER_LABEL}={cluster}")),
        }
    }

    /// What to do to have a cluster made of `config`.
    pub fn decide(&self, cluster: &str, config: &str) -> Decision {
        match self.owner(cluster) {
            Owner::Nobody => Decision::Create,
            Owner::Other(why) => Decision::Refuse(why),
            Owner::Us => self.decide_ours(config),
        }
    }

    fn decide_ours(&self, config: &str) -> Decision {
        if self.nodes.is_empty() {
            return Decision::Replace("its creation was interrupted: it has no node".into());
        }
        let made_of = self.network.as_ref().and_then(|n| n.labels.get(CONFIG_LABEL));
        if made_of.map(String::as_str) != Some(config) {
            return Decision::Replace("it was created with other settings or another node image".into());
        }
        let mut decision = Decision::Check;
        for node in &self.nodes {
            match node.state.status.as_str() {
                // What restarts may be up again in a moment.
                "running" | "restarting" => {}
                "exited" | "paused" => decision = Decision::Start,
                other => return Decision::Replace(format!("its node {} is {other}", node.name())),
            }
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::{ContainerState, NetworkSettings};

    fn node(network: &str, status: &str) -> Container {
        Container {
            name: "/c-control-plane".into(),
            image: "sha256:0".into(),
            state: ContainerState { status: status.into() },
            network_settings: NetworkSettings {
                networks: [(network.to_owned(), serde_json::Value::Null)].into(),
            },
        }
    }

    fn network(labels: &[(&str, &str)]) -> Option<Network> {
        Some(Network {
            name: "kind-c".into(),
            labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        })
    }

    fn ours() -> Option<Network> {
        network(&[(CLUSTER_LABEL, "c"), (CONFIG_LABEL, "1")])
    }

    fn decide(nodes: Vec<Container>, network: Option<Network>) -> Decision {
        Observed { nodes, network }.decide("c", "1")
    }

    #[test]
    fn nothing_there_means_create() {
        assert_eq!(decide(vec![], None), Decision::Create);
    }

    #[test]
    fn a_running_cluster_of_the_same_configuration_is_checked_and_a_stopped_one_started() {
        assert_eq!(decide(vec![node("kind-c", "running")], ours()), Decision::Check);
        assert_eq!(decide(vec![node("kind-c", "restarting")], ours()), Decision::Check);
        assert_eq!(decide(vec![node("kind-c", "exited")], ours()), Decision::Start);
        assert_eq!(decide(vec![node("kind-c", "paused")], ours()), Decision::Start);
    }

    #[test]
    fn a_cluster_of_ours_that_is_half_made_or_made_differently_is_replaced() {
        assert!(matches!(decide(vec![], ours()), Decision::Replace(_)));
        assert!(matches!(
            decide(vec![node("kind-c", "dead")], ours()),
            Decision::Replace(_)
        ));
        let other = network(&[(CLUSTER_LABEL, "c"), (CONFIG_LABEL, "2")]);
        assert!(matches!(
            decide(vec![node("kind-c", "running")], other),
            Decision::Replace(_)
        ));
    }

    #[test]
    fn what_somebody_else_made_is_refused_whatever_its_state() {
        for status in ["running", "exited", "dead"] {
            // kind's own network, our network's name without our label, our network with another's node.
            for (at, network) in [("kind", None), ("kind-c", network(&[])), ("kind", ours())] {
                let decision = decide(vec![node(at, status)], network);
                assert!(matches!(decision, Decision::Refuse(_)), "{at} {status}: {decision:?}");
            }
        }
        assert!(matches!(decide(vec![], network(&[])), Decision::Refuse(_)));
    }
}
