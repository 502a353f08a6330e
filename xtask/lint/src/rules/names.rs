//! Rules about names: unique, short enough, and never left behind by a rename.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use charts::manifest::Manifest;
use serde_yaml::Value;

use super::{Check, Problem, RenderFn, Rule, Scene, Variation};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "unique-objects",
        summary: "no two objects of a render have the same kind and name",
        remedy: "name each object by the fullname and a suffix of its own",
        check: Check::Render(unique_objects),
    },
    Rule {
        name: "in-namespace",
        summary: "every object is in the release's namespace",
        remedy: "print .Release.Namespace, or no namespace at all",
        check: Check::Render(in_namespace),
    },
    Rule {
        name: "hosts-exist",
        summary: "every address inside the cluster names a Service and a port of the release",
        remedy: "compute the address from the Service's name and port by one helper",
        check: Check::Render(hosts_exist),
    },
    Rule {
        name: "names-disjoint",
        summary: "releases in one namespace share no name, however long theirs is",
        remedy: "name every object by the fullname; a fullname that is cut needs a hash of the whole",
        check: Check::Comparison(names_disjoint),
    },
    Rule {
        name: "names-fit",
        summary: "names fit their limits with a release name of 53 characters",
        remedy: "cut the fullname so that its suffix still fits",
        check: Check::Comparison(names_fit),
    },
    Rule {
        name: "no-stale-host",
        summary: "nothing keeps an old name when release, namespace, Services and cluster domain are renamed",
        remedy: "compute the address by the helper that names the Service, and print .Release.Namespace",
        check: Check::Comparison(no_stale_host),
    },
];

fn unique_objects(scene: &Scene, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for manifest in scene.subject.manifests {
        if !seen.insert(manifest.id()) {
            problems.push(Problem::new(manifest, &["metadata", "name"], "is rendered twice"));
        }
    }
}

fn in_namespace(scene: &Scene, problems: &mut Vec<Problem>) {
    let (path, wanted) = (["metadata", "namespace"], scene.subject.namespace);
    for manifest in scene.subject.manifests {
        if let Some(namespace) = manifest.get_str(&path).filter(|ns| *ns != wanted) {
            let message = format!("metadata.namespace is {namespace}, the release is in {wanted}");
            problems.push(Problem::new(manifest, &path, message));
        }
    }
}

fn strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Sequence(list) => list.iter().for_each(|inner| strings(inner, found)),
        Value::Mapping(map) => map.iter().for_each(|(key, inner)| {
            strings(key, found);
            strings(inner, found);
        }),
        _ => {}
    }
}

/// The words of a text that can be hosts, with their ports: `tempo.ns.svc.cluster.local:4317`.
fn host_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':')))
        .map(|word| word.trim_matches([':', '.', '-']))
        .filter(|word| !word.is_empty())
}

/// The host words of an object that the user did not write into the values.
fn hosts_of(scene: &Scene, manifest: &Manifest) -> BTreeSet<String> {
    let mut texts = Vec::new();
    strings(&manifest.value, &mut texts);
    let words = texts.into_iter().flat_map(host_words);
    words
        .filter(|word| !scene.subject.values.contains(word))
        .map(str::to_owned)
        .collect()
}

/// Splits `service.namespace.svc…:port`; none for anything else.
fn service_address(word: &str) -> Option<(&str, &str, Option<&str>)> {
    let (host, port) = match word.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (word, None),
    };
    let mut labels = host.split('.');
    let (service, namespace, svc) = (labels.next()?, labels.next()?, labels.next()?);
    (svc == "svc").then_some((service, namespace, port))
}

fn hosts_exist(scene: &Scene, problems: &mut Vec<Problem>) {
    let ports: BTreeMap<&str, Vec<String>> = scene
        .services
        .iter()
        .map(|service| {
            let ports = service.ports().iter().map(|port| port.port.to_string()).collect();
            (service.manifest.name.as_str(), ports)
        })
        .collect();
    for manifest in scene.subject.manifests {
        for word in hosts_of(scene, manifest) {
            let Some((service, namespace, port)) = service_address(&word) else {
                continue;
            };
            let message = match ports.get(service) {
                _ if namespace != scene.subject.namespace => format!("{word} is in another namespace"),
                None => format!("{word}: the release has no Service {service}"),
                Some(ports) if port.is_some_and(|port| !ports.iter().any(|p| p == port)) => {
                    format!("{word}: Service {service} has the ports {}", ports.join(", "))
                }
                Some(_) => continue,
            };
            problems.push(Problem::new(manifest, &["data"], message));
        }
    }
}

/// Values under which every name follows from the release: those that a user may set are emptied.
fn computed_names(scene: &Scene) -> Value {
    let component = || {
        map(&[
            ("service", map(&[("name", "".into())])),
            ("serviceAccount", map(&[("name", "".into())])),
        ])
    };
    scene.stack_values(map(&[
        ("fullnameOverride", "".into()),
        ("nameOverride", "".into()),
        ("tempo", component()),
        ("otelCollector", component()),
        ("queryProxy", map(&[("service", map(&[("name", "".into())]))])),
    ]))
}

pub(super) fn map(entries: &[(&str, Value)]) -> Value {
    let entries = entries.iter().map(|(key, value)| (Value::from(*key), value.clone()));
    Value::Mapping(entries.collect())
}

/// Two release names as long as helm allows (53 characters), different only at their ends.
fn long_releases() -> [String; 2] {
    ["1", "2"].map(|end| format!("{}{end}", "r".repeat(52)))
}

fn names_disjoint(scene: &Scene, render: RenderFn) -> Result<Vec<Problem>> {
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for manifest in scene.subject.manifests {
        owners.insert(manifest.id(), scene.subject.release.to_owned());
    }
    let mut problems = Vec::new();
    for release in long_releases() {
        let variation = Variation {
            release: Some(release.clone()),
            values: Some(computed_names(scene)),
            ..Variation::default()
        };
        for manifest in render(&variation)? {
            if let Some(owner) = owners.insert(manifest.id(), release.clone())
                && owner != release
            {
                let message = format!("releases {owner} and {release} both make it");
                problems.push(Problem::new(&manifest, &["metadata", "name"], message));
            }
        }
    }
    Ok(problems)
}

/// Longest name of a kind. A StatefulSet's is shorter than a label by the hash that its pods carry
/// (kubernetes/kubernetes#64023); what becomes a label or a host fits 63, the rest 253 (RFC 1123).
fn longest(kind: &str) -> usize {
    match kind {
        "StatefulSet" => 52,
        "Service" | "Deployment" | "Job" => 63,
        _ => 253,
    }
}

fn names_fit(scene: &Scene, render: RenderFn) -> Result<Vec<Problem>> {
    let [release, _] = long_releases();
    let variation = Variation {
        release: Some(release),
        values: Some(computed_names(scene)),
        ..Variation::default()
    };
    let mut problems = Vec::new();
    for manifest in render(&variation)? {
        let (name, limit) = (&manifest.name, longest(&manifest.kind));
        if name.len() > limit {
            let message = format!("{} characters, {limit} are allowed", name.len());
            problems.push(Problem::new(&manifest, &["metadata", "name"], message));
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if !name.chars().all(legal) || name.ends_with(['-', '.']) || name.starts_with(['-', '.']) {
            problems.push(Problem::new(&manifest, &["metadata", "name"], "is not a DNS name"));
        }
        let labels = manifest.get(&["metadata", "labels"]).and_then(Value::as_mapping);
        for (key, value) in labels.into_iter().flatten() {
            let (key, value) = (key.as_str().unwrap_or_default(), value.as_str().unwrap_or_default());
            if value.len() > 63 || value.ends_with(['-', '.', '_']) {
                let message = format!("label {key}={value} is longer than 63 characters or ends in a sign");
                problems.push(Problem::new(&manifest, &["metadata", "labels"], message));
            }
        }
    }
    Ok(problems)
}

const NEW_NAMESPACE: &str = "moved-elsewhere";
const NEW_DOMAIN: &str = "moved.example";

/// Another name for everything that an address is made of.
fn renamed(scene: &Scene) -> Variation {
    let service = |name: &str| map(&[("service", map(&[("name", name.into())]))]);
    let mut values = scene.stack_values(map(&[
        ("tempo", service("moved-store")),
        ("otelCollector", service("moved-gateway")),
        ("queryProxy", service("moved-door")),
    ]));
    if let Some(root) = values.as_mapping_mut() {
        root.insert("global".into(), map(&[("clusterDomain", NEW_DOMAIN.into())]));
    }
    Variation {
        release: Some("moved".into()),
        namespace: Some(NEW_NAMESPACE.into()),
        values: Some(values),
        next_version: false,
    }
}

fn no_stale_host(scene: &Scene, render: RenderFn) -> Result<Vec<Problem>> {
    let old: BTreeSet<&str> = scene
        .services
        .iter()
        .map(|service| service.manifest.name.as_str())
        .collect();
    let old_namespace = scene.subject.namespace;
    let mut problems = Vec::new();
    for manifest in render(&renamed(scene))? {
        for word in hosts_of(scene, &manifest) {
            let (host, port) = word.split_once(':').unwrap_or((&word, ""));
            let mut labels = host.split('.');
            let (first, second) = (labels.next().unwrap_or_default(), labels.next());
            let stale = match second {
                None => old.contains(first) && port.parse::<u16>().is_ok(),
                Some(second) => {
                    (old.contains(first) && second == old_namespace)
                        || service_address(&word).is_some_and(|(_, namespace, _)| namespace == old_namespace)
                        || host.ends_with("svc.cluster.local")
                }
            };
            if stale {
                let message = format!("still says {word} after a rename");
                problems.push(Problem::new(&manifest, &["data"], message));
            }
        }
        for path in [
            &["metadata", "namespace"][..],
            &["spec", "namespaceSelector", "matchNames"][..],
        ] {
            let mut names = Vec::new();
            manifest
                .get(path)
                .into_iter()
                .for_each(|value| strings(value, &mut names));
            for name in names.into_iter().filter(|name| *name != NEW_NAMESPACE) {
                let message = format!("{} still says {name} after a rename", path.join("."));
                problems.push(Problem::new(&manifest, path, message));
            }
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_inside_texts() {
        let words: Vec<_> = host_words("url: http://tempo.ns.svc.cluster.local:3200/x, end.").collect();
        assert_eq!(words, ["url", "http", "tempo.ns.svc.cluster.local:3200", "x", "end"]);
        assert_eq!(
            service_address("tempo.ns.svc.cluster.local:3200"),
            Some(("tempo", "ns", Some("3200")))
        );
        assert_eq!(service_address("s3.eu-west-1.amazonaws.com"), None);
    }
}
