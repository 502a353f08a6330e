//! Rules about upgrades: what must never change, and what must change with a configuration.

use std::collections::BTreeMap;

use anyhow::Result;
use charts::manifest::{Manifest, lookup};
use charts::program::ProgramKind;
use charts::workload::workload;
use serde_yaml::Value;

use super::names::map;
use super::storage::references;
use super::{Check, Problem, RenderFn, Rule, Scene, Variation};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "selector-stable",
        summary: "selectors hold name, instance and component only, which no upgrade changes",
        remedy: "print the selector labels, not all labels, in selectors and in labels of claim templates",
        check: Check::Render(selector_stable),
    },
    Rule {
        name: "immutable-stable",
        summary: "the next version of chart and images changes no field that Kubernetes refuses to change",
        remedy: "keep versions out of selectors, claims, claim templates, serviceName and object names",
        check: Check::Comparison(immutable_stable),
    },
    Rule {
        name: "checksum-follows",
        summary: "a changed ConfigMap or Secret changes an annotation of every pod that uses it",
        remedy: "annotate the pod with a checksum over the text of the object",
        check: Check::Comparison(checksum_follows),
    },
];

/// The labels that never change between versions.
pub(super) const STABLE_LABELS: [&str; 4] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    // The pods that users come in at, where these are of several components.
    "tempo-stack/entry",
];

fn selector_stable(scene: &Scene, problems: &mut Vec<Problem>) {
    let mut judge = |manifest: &Manifest, place: &str, labels: Option<&Value>| {
        for (key, _) in labels.and_then(Value::as_mapping).into_iter().flatten() {
            let key = key.as_str().unwrap_or_default();
            // A Service may change its mind: it is not a workload, whose selector is for ever.
            let shared = manifest.kind == "Service" && key.starts_with(super::service::SHARED);
            if !STABLE_LABELS.contains(&key) && !shared {
                let message = format!("{place} holds {key}, which an upgrade may change");
                problems.push(Problem::new(manifest, &["spec", "selector"], message));
            }
        }
    };
    for manifest in scene.subject.manifests {
        match manifest.kind.as_str() {
            "Service" => judge(manifest, "spec.selector", manifest.get(&["spec", "selector"])),
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => {
                let labels = manifest.get(&["spec", "selector", "matchLabels"]);
                judge(manifest, "spec.selector", labels);
                let templates = manifest
                    .get(&["spec", "volumeClaimTemplates"])
                    .and_then(Value::as_sequence);
                for template in templates.into_iter().flatten() {
                    judge(manifest, "a claim template", lookup(template, &["metadata", "labels"]));
                }
            }
            _ => {}
        }
    }
}

/// What the API server refuses to change, by kind (pkg/apis/apps/validation, pkg/apis/core/validation).
fn immutable(manifest: &Manifest) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let Some(Value::Mapping(spec)) = manifest.get(&["spec"]) else {
        return fields;
    };
    for (key, value) in spec {
        let key = key.as_str().unwrap_or_default();
        let fixed = match manifest.kind.as_str() {
            "Deployment" | "DaemonSet" | "ReplicaSet" => key == "selector",
            "StatefulSet" => !matches!(
                key,
                "replicas"
                    | "ordinals"
                    | "template"
                    | "updateStrategy"
                    | "persistentVolumeClaimRetentionPolicy"
                    | "minReadySeconds"
                    | "revisionHistoryLimit"
            ),
            "Job" => matches!(key, "selector" | "template" | "completionMode"),
            "PersistentVolumeClaim" => key != "resources",
            "Service" => key == "clusterIP",
            _ => false,
        };
        if fixed {
            fields.insert(format!("spec.{key}"), value.clone());
        }
    }
    fields
}

/// A later patch of the images, and the next version of the chart.
fn next_version(scene: &Scene) -> Variation {
    let programs = scene.programs();
    let image = |kind: ProgramKind| {
        let version = programs
            .iter()
            .find(|p| p.kind == kind)
            .and_then(|p| p.version.as_ref());
        let tag = version.map(|version| format!("{}.{}.99", version.major, version.minor));
        match tag {
            Some(tag) => map(&[("image", map(&[("tag", tag.into())])), ("version", "".into())]),
            None => map(&[]),
        }
    };
    Variation {
        values: Some(scene.stack_values(map(&[
            ("tempo", image(ProgramKind::Tempo)),
            ("otelCollector", image(ProgramKind::Collector)),
        ]))),
        next_version: true,
        ..Variation::default()
    }
}

fn immutable_stable(scene: &Scene, render: RenderFn) -> Result<Vec<Problem>> {
    let next = render(&next_version(scene))?;
    let mut problems = Vec::new();
    for manifest in scene.subject.manifests {
        let Some(after) = next.iter().find(|m| m.id() == manifest.id()) else {
            let message = "has another name in the next version: the upgrade deletes it";
            problems.push(Problem::new(manifest, &["metadata", "name"], message));
            continue;
        };
        let (before, after) = (immutable(manifest), immutable(after));
        for key in before
            .keys()
            .chain(after.keys().filter(|key| !before.contains_key(*key)))
        {
            if before.get(key) != after.get(key) {
                let message = format!("{key} changes in the next version, which the API server refuses");
                let keys: Vec<&str> = key.split('.').collect();
                problems.push(Problem::new(manifest, &keys, message));
            }
        }
    }
    Ok(problems)
}

/// For each kind of object, values that change every one of it that a pod of this chart uses. One
/// kind at a time, or the checksum of one would hide that another has none.
fn changes(scene: &Scene) -> Vec<(&'static str, Value)> {
    let tempo_logs = map(&[("server", map(&[("log_format", "json".into())]))]);
    let logs = map(&[("logs", map(&[("encoding", "json".into())]))]);
    let collector_logs = map(&[("service", map(&[("telemetry", logs)]))]);
    let configs = map(&[
        ("tempo", map(&[("config", tempo_logs)])),
        ("otelCollector", map(&[("config", collector_logs)])),
        ("queryProxy", map(&[("listenAddress", "127.0.0.1".into())])),
    ]);
    let mut changes = vec![("ConfigMap", scene.stack_values(configs))];
    // Only where the chart makes the Secret: keys beside an existing one are refused.
    if scene.of_kind("Secret").next().is_some() {
        let keys = map(&[("accessKey", "changed".into()), ("secretKey", "changed".into())]);
        let tempo = map(&[("storage", map(&[("s3", keys)]))]);
        changes.push(("Secret", scene.stack_values(map(&[("tempo", tempo)]))));
    }
    changes
}

fn checksum_follows(scene: &Scene, render: RenderFn) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for (kind, values) in changes(scene) {
        let next = render(&Variation {
            values: Some(values),
            ..Variation::default()
        })?;
        for before in &scene.workloads {
            let same = next.iter().find(|m| m.id() == before.manifest.id());
            let Some(after) = same.map(workload).transpose()?.flatten() else {
                continue;
            };
            for (_, name) in references(before).into_iter().filter(|(k, _)| *k == kind) {
                let (Some(old), Some(new)) = (
                    content(scene.subject.manifests, kind, &name),
                    content(&next, kind, &name),
                ) else {
                    continue;
                };
                let message = if old == new {
                    format!("{kind}/{name} did not change with the values of this rule: extend them")
                } else if before.pod_annotations() == after.pod_annotations() {
                    format!("{kind}/{name} changed, the annotations of the pod did not")
                } else {
                    continue;
                };
                problems.push(Problem::new(
                    before.manifest,
                    &["spec", "template", "metadata", "annotations"],
                    message,
                ));
            }
        }
    }
    Ok(problems)
}

/// What a ConfigMap or Secret holds.
fn content(manifests: &[Manifest], kind: &str, name: &str) -> Option<[Option<Value>; 3]> {
    let manifest = manifests.iter().find(|m| m.kind == kind && m.name == name)?;
    Some(["data", "stringData", "binaryData"].map(|key| manifest.get(&[key]).cloned()))
}
