//! What NetworkPolicies let through, by the rules of the Kubernetes API.
//!
//! <https://kubernetes.io/docs/concepts/services-networking/network-policies/>: a pod that no policy selects for a
//! direction is open in it; one that some select takes what any of them allows. A connection needs both ends.
//! What a node sends to its own pods passes anyway, so probes aren't judged here.

#[cfg(test)]
pub(crate) mod paths;

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use charts::manifest::Manifest;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Labels of a pod or of a namespace.
pub type Labels = BTreeMap<String, String>;

/// The label with its name that every namespace has.
const NAMESPACE: &str = "kubernetes.io/metadata.name";

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A pod with an address of its own.
    Pod {
        /// Its namespace.
        namespace: String,
        /// The labels of that beside its name.
        namespace_labels: Labels,
        /// The pod's own.
        labels: Labels,
    },
    /// What is no such pod: a node, a pod in the network of its node, or what is outside of the cluster.
    Address(IpAddr),
}

impl End {
    /// A pod in a namespace that has no labels but its name.
    pub fn pod(namespace: &str, labels: Labels) -> End {
        End::Pod {
            namespace: namespace.to_owned(),
            namespace_labels: Labels::new(),
            labels,
        }
    }
}

/// The port of the end that is asked: a policy sees it, and not that of the Service in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Its number.
    pub number: u16,
    /// Its name in the container, where it has one.
    pub name: Option<String>,
}

impl Port {
    /// A port over TCP without a name.
    pub fn tcp(number: u16) -> Port {
        Port {
            protocol: "TCP".into(),
            number,
            name: None,
        }
    }
}

/// The policies of a cluster, or of a render, with their namespaces.
#[derive(Debug, Clone, Default)]
pub struct Policies(Vec<(String, NetworkPolicySpec)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

impl Policies {
    /// Those among rendered objects.
    ///
    /// # Errors
    /// An object that is no valid NetworkPolicy, that has no namespace, or that has something in it which the API
    /// server refuses.
    pub fn of(manifests: &[Manifest]) -> Result<Policies> {
        let mut found = Vec::new();
        for manifest in manifests.iter().filter(|manifest| manifest.kind == "NetworkPolicy") {
            let policy: NetworkPolicy = manifest.parse()?;
            let namespace = policy.metadata.namespace;
            let namespace = namespace.with_context(|| format!("{} has no namespace", manifest.id()))?;
            let spec = policy.spec.unwrap_or_default();
            valid(&spec).with_context(|| format!("in {}", manifest.id()))?;
            found.push((namespace, spec));
        }
        Ok(Policies(found))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether `from` may open a connection to a port of `to`.
    pub fn allow(&self, from: &End, to: &End, port: &Port) -> bool {
        self.passes(Direction::Egress, from, to, port) && self.passes(Direction::Ingress, to, from, port)
    }

    /// Whether the policies of a pod let it through; of what is no pod there are none.
    fn passes(&self, direction: Direction, own: &End, other: &End, port: &Port) -> bool {
        let End::Pod { namespace, labels, .. } = own else {
            return true;
        };
        let mut selecting = self
            .0
            .iter()
            .filter(|(home, spec)| {
                home == namespace
                    && spec
                        .pod_selector
                        .as_ref()
                        .is_none_or(|selector| selects(selector, labels))
                    && holds_for(spec, direction)
            })
            .peekable();
        selecting.peek().is_none() || selecting.any(|(home, spec)| allows(spec, direction, home, other, port))
    }
}

fn holds_for(spec: &NetworkPolicySpec, direction: Direction) -> bool {
    match &spec.policy_types {
        Some(types) if !types.is_empty() => types.iter().any(|kind| *kind == format!("{direction:?}")),
        // Ingress always, egress where there are rules of it.
        _ => direction == Direction::Ingress || spec.egress.is_some(),
    }
}

fn allows(spec: &NetworkPolicySpec, direction: Direction, home: &str, other: &End, port: &Port) -> bool {
    let rule = |peers: &Option<Vec<NetworkPolicyPeer>>, ports: &Option<Vec<NetworkPolicyPort>>| {
        // None, or an empty list, is all of them.
        let peers = peers.as_deref().unwrap_or_default();
        let ports = ports.as_deref().unwrap_or_default();
        (peers.is_empty() || peers.iter().any(|peer| is_peer(peer, home, other)))
            && (ports.is_empty() || ports.iter().any(|named| is_port(named, port)))
    };
    match direction {
        Direction::Ingress => spec.ingress.iter().flatten().any(|r| rule(&r.from, &r.ports)),
        Direction::Egress => spec.egress.iter().flatten().any(|r| rule(&r.to, &r.ports)),
    }
}

fn is_peer(peer: &NetworkPolicyPeer, home: &str, other: &End) -> bool {
    match other {
        // A policy knows a pod by its labels: of its address it can't say beforehand which it will be.
        End::Pod {
            namespace,
            namespace_labels,
            labels,
        } => {
            if peer.pod_selector.is_none() && peer.namespace_selector.is_none() {
                return false;
            }
            let lives = match &peer.namespace_selector {
                None => namespace == home,
                Some(selector) => {
                    let mut all = namespace_labels.clone();
                    all.insert(NAMESPACE.into(), namespace.clone());
                    selects(selector, &all)
                }
            };
            lives
                && peer
                    .pod_selector
                    .as_ref()
                    .is_none_or(|selector| selects(selector, labels))
        }
        End::Address(address) => peer.ip_block.as_ref().is_some_and(|block| in_block(block, *address)),
    }
}

fn in_block(block: &IPBlock, address: IpAddr) -> bool {
    let holds = |cidr: &str| cidr.parse::<IpNet>().is_ok_and(|net| net.contains(&address));
    holds(&block.cidr) && !block.except.iter().flatten().any(|cidr| holds(cidr))
}

fn is_port(named: &NetworkPolicyPort, port: &Port) -> bool {
    if named.protocol.as_deref().unwrap_or("TCP") != port.protocol {
        return false;
    }
    match &named.port {
        None => true,
        Some(IntOrString::String(name)) => port.name.as_ref() == Some(name),
        Some(IntOrString::Int(first)) => (*first..=named.end_port.unwrap_or(*first)).contains(&i32::from(port.number)),
    }
}

/// Whether a selector finds these labels; an empty one finds everything.
fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    let exact = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    exact.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|wanted| {
            let value = labels.get(&wanted.key);
            let listed = value.is_some_and(|value| wanted.values.iter().flatten().any(|one| one == value));
            match wanted.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// What the API server refuses though the type allows it.
fn valid(spec: &NetworkPolicySpec) -> Result<()> {
    let ingress = spec
        .ingress
        .iter()
        .flatten()
        .flat_map(|rule| rule.from.iter().flatten());
    let egress = spec.egress.iter().flatten().flat_map(|rule| rule.to.iter().flatten());
    for peer in ingress.chain(egress) {
        let selects = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
        match &peer.ip_block {
            Some(_) if selects => bail!("a peer has ipBlock beside a selector: {peer:?}"),
            None if !selects => bail!("a peer names nobody"),
            Some(block) => {
                for cidr in block.except.iter().flatten().chain([&block.cidr]) {
                    cidr.parse::<IpNet>().with_context(|| format!("{cidr} is no CIDR"))?;
                }
            }
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use charts::manifest::parse_all;

    use super::*;

    fn policies(specs: &[&str]) -> Policies {
        let text: String = specs
            .iter()
            .map(|spec| {
                format!(
                    "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: home}}\nspec: {spec}\n"
                )
            })
            .collect();
        Policies::of(&parse_all(&text).unwrap()).unwrap()
    }

    fn pod(namespace: &str, app: &str) -> End {
        End::pod(namespace, Labels::from([("app".into(), app.into())]))
    }

    fn address(text: &str) -> End {
        End::Address(text.parse().unwrap())
    }

    #[test]
    fn without_a_policy_everything_passes_and_with_an_empty_one_nothing() {
        let (a, b) = (pod("home", "a"), pod("home", "b"));
        assert!(policies(&[]).allow(&a, &b, &Port::tcp(80)));
        let closed = policies(&["{podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]}"]);
        assert!(!closed.allow(&a, &b, &Port::tcp(80)));
        assert!(closed.allow(&b, &a, &Port::tcp(80)), "the other direction is open");
        assert!(
            closed.allow(&a, &pod("away", "b"), &Port::tcp(80)),
            "policies end with their namespace"
        );
    }

    #[test]
    fn both_ends_must_agree_and_policies_add_up() {
        let (a, b, c) = (pod("home", "a"), pod("home", "b"), pod("home", "c"));
        let out = "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: b}}}]}]}";
        let deny = "{podSelector: {}, policyTypes: [Ingress, Egress]}";
        let into = "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}], ports: [{port: 80}]}]}";
        assert!(!policies(&[deny, out]).allow(&a, &b, &Port::tcp(80)));
        assert!(!policies(&[deny, into]).allow(&a, &b, &Port::tcp(80)));
        let all = policies(&[deny, into, out]);
        assert!(all.allow(&a, &b, &Port::tcp(80)));
        assert!(!all.allow(&a, &b, &Port::tcp(81)));
        assert!(!all.allow(&c, &b, &Port::tcp(80)) && !all.allow(&a, &c, &Port::tcp(80)));
    }

    #[test]
    fn peers_are_of_the_own_namespace_unless_they_name_one() {
        let rule = |peer: &str| policies(&[&format!("{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}")]);
        let asks = |policies: &Policies, from: &End| policies.allow(from, &pod("home", "b"), &Port::tcp(80));
        let own = rule("{podSelector: {}}");
        assert!(asks(&own, &pod("home", "a")) && !asks(&own, &pod("away", "a")));
        let every = rule("{namespaceSelector: {}}");
        assert!(asks(&every, &pod("away", "a")) && !asks(&every, &address("192.0.2.1")));
        let both = rule(
            "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: away}}, podSelector: {matchLabels: {app: a}}}",
        );
        assert!(asks(&both, &pod("away", "a")) && !asks(&both, &pod("away", "c")) && !asks(&both, &pod("home", "a")));
        let block = rule("{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}");
        assert!(asks(&block, &address("192.0.2.1")) && !asks(&block, &address("192.0.2.200")));
        assert!(!asks(&block, &address("2001:db8::1")) && !asks(&block, &pod("away", "a")));
        assert!(asks(&rule("{ipBlock: {cidr: 0.0.0.0/0}}"), &address("198.51.100.1")));
    }

    #[test]
    fn expressions_and_ports_are_read_as_the_api_does() {
        let rule = |text: &str| policies(&[text]);
        let of = |operator: &str| {
            rule(&format!(
                "{{podSelector: {{}}, ingress: [{{from: [{{podSelector: {{matchExpressions: [{{key: app, {operator}}}]}}}}]}}]}}"
            ))
        };
        let asks = |policies: &Policies, app: &str| policies.allow(&pod("home", app), &pod("home", "b"), &Port::tcp(1));
        for (operator, a, c) in [
            ("operator: In, values: [a]", true, false),
            ("operator: NotIn, values: [a]", false, true),
            ("operator: Exists", true, true),
            ("operator: DoesNotExist", false, false),
        ] {
            assert_eq!(
                (asks(&of(operator), "a"), asks(&of(operator), "c")),
                (a, c),
                "{operator}"
            );
        }
        let ports = rule(
            "{podSelector: {}, ingress: [{ports: [{port: 10, endPort: 20}, {port: web}, {protocol: UDP, port: 53}]}]}",
        );
        let asks = |protocol: &str, number: u16, name: Option<&str>| {
            let port = Port {
                protocol: protocol.into(),
                number,
                name: name.map(str::to_owned),
            };
            ports.allow(&pod("home", "a"), &pod("home", "b"), &port)
        };
        assert!(asks("TCP", 15, None) && asks("TCP", 8080, Some("web")) && asks("UDP", 53, None));
        assert!(!asks("TCP", 53, None) && !asks("UDP", 15, None) && !asks("TCP", 21, Some("web2")));
    }

    #[test]
    fn what_the_api_server_refuses_is_an_error() {
        for peer in [
            "{}",
            "{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}",
            "{ipBlock: {cidr: 10.0.0.0}}",
            "{ipBlock: {cidr: 10.0.0.0/33}}",
        ] {
            let text = format!(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: home}}\nspec: {{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}\n"
            );
            assert!(Policies::of(&parse_all(&text).unwrap()).is_err(), "{peer}");
        }
    }
}
