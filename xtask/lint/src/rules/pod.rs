//! Rules about pods and their containers.

use std::collections::BTreeSet;

use charts::image::Image;
use charts::program::Program;
use charts::quantity;
use charts::workload::{PodContainer, Workload};

use super::{Check, Problem, Rule, Scene};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "one-writer",
        summary: "a claim is mounted by a StatefulSet, which never has two pods of one name",
        remedy: "make the workload a StatefulSet: a Deployment replaces a deleted or evicted pod while the old one still writes",
        check: Check::Render(one_writer),
    },
    Rule {
        name: "monolith-replicas",
        summary: "a monolithic Tempo answers from its own memory: it has one replica, or the Collector sends to each of them",
        remedy: "keep tempo.replicas at 0 or 1, or at 2 with an exporter for each mirror",
        check: Check::Render(monolith_replicas),
    },
    Rule {
        name: "selector-matches-pods",
        summary: "a workload's selector is a part of its pods' labels",
        remedy: "print the same selector labels in spec.selector and in the pod's labels",
        check: Check::Render(selector_matches_pods),
    },
    Rule {
        name: "image-pinned",
        summary: "every image has a tag other than latest, or a digest",
        remedy: "set image.tag or image.digest",
        check: Check::Render(image_pinned),
    },
    Rule {
        name: "resources-set",
        summary: "every container has requests for CPU and memory and a limit on memory",
        remedy: "set resources.requests.cpu, resources.requests.memory and resources.limits.memory",
        check: Check::Render(resources_set),
    },
    Rule {
        name: "gomemlimit",
        summary: "GOMEMLIMIT is set, and lies between 70 % and 95 % of the memory limit",
        remedy: "compute GOMEMLIMIT from resources.limits.memory",
        check: Check::Render(gomemlimit),
    },
    Rule {
        name: "token-off",
        summary: "no pod gets a ServiceAccount token that it doesn't use",
        remedy: "set automountServiceAccountToken: false in the pod spec, or bind a role to its ServiceAccount",
        check: Check::Render(token_off),
    },
    Rule {
        name: "service-links-off",
        summary: "no pod gets an environment variable per Service of its namespace",
        remedy: "set enableServiceLinks: false in the pod spec",
        check: Check::Render(service_links_off),
    },
    Rule {
        name: "service-account-exists",
        summary: "a pod's ServiceAccount is rendered, or named in the case's values",
        remedy: "print the name by the same helper in the ServiceAccount and in the pod spec",
        check: Check::Render(service_account_exists),
    },
    Rule {
        name: "unique-names",
        summary: "variables, ports, volumes and mount paths of a pod are named once",
        remedy: "build the list from a map, so that a later entry replaces an earlier one",
        check: Check::Render(unique_names),
    },
];

fn one_writer(scene: &Scene, problems: &mut Vec<Problem>) {
    for workload in scene.workloads.iter().filter(|w| w.manifest.kind != "StatefulSet") {
        let volumes = workload.spec().volumes.unwrap_or_default();
        for claim in volumes.into_iter().filter_map(|v| v.persistent_volume_claim) {
            let message = format!(
                "claim {} is mounted by a {}: the successor of a deleted pod may start while that one still writes",
                claim.claim_name, workload.manifest.kind
            );
            problems.push(Problem::new(workload.manifest, &["kind"], message));
        }
    }
}

/// What of Tempo a container runs, where its arguments say so (grafana/tempo, cmd/tempo/app/config.go, target).
pub(super) fn tempo_target<'a>(program: &Program<'a>) -> Option<&'a str> {
    let args = program.container.spec.args.as_deref().unwrap_or_default();
    args.iter()
        .find_map(|arg| arg.trim_start_matches('-').strip_prefix("target="))
}

fn monolith_replicas(scene: &Scene, problems: &mut Vec<Problem>) {
    for program in scene.programs() {
        let replicas = program.workload.replicas.unwrap_or(1);
        let target = tempo_target(&program).or(program.get_str("target")).unwrap_or("all");
        let mirrored = || (0..replicas).all(|ordinal| gets_everything(scene, &program.workload.manifest.name, ordinal));
        if program.kind == charts::program::ProgramKind::Tempo && replicas > 1 && target == "all" && !mirrored() {
            let message = format!("{replicas} replicas of a Tempo with target {target}");
            problems.push(Problem::new(program.workload.manifest, &["spec", "replicas"], message));
        }
    }
}

/// Whether an exporter of the pipeline of traces sends to one pod of a StatefulSet.
fn gets_everything(scene: &Scene, workload: &str, ordinal: i32) -> bool {
    let host = format!("{workload}-{ordinal}.");
    let collectors = scene.programs().into_iter();
    let mut collectors = collectors.filter(|program| program.kind == charts::program::ProgramKind::Collector);
    collectors.any(|program| {
        let exporters = program.entries("exporters");
        let mut own = exporters.filter(|(_, exporter)| {
            let endpoint = exporter.get("endpoint").and_then(serde_yaml::Value::as_str);
            endpoint.is_some_and(|endpoint| endpoint.starts_with(&host))
        });
        own.any(|(id, _)| {
            let mut pipelines = program.entries("service.pipelines");
            pipelines.any(|(name, pipeline)| {
                let named = pipeline.get("exporters").and_then(serde_yaml::Value::as_sequence);
                name == "traces" && named.into_iter().flatten().any(|named| named.as_str() == Some(id))
            })
        })
    })
}

fn selector_matches_pods(scene: &Scene, problems: &mut Vec<Problem>) {
    for workload in &scene.workloads {
        let labels = workload.pod_labels();
        let Some(selector) = &workload.selector else { continue };
        let wanted = selector.match_labels.clone().unwrap_or_default();
        if wanted.is_empty() && selector.match_expressions.is_none() {
            problems.push(Problem::new(
                workload.manifest,
                &["spec", "selector"],
                "spec.selector is empty",
            ));
        }
        for (key, value) in wanted.iter().filter(|(key, value)| labels.get(*key) != Some(value)) {
            let found = labels.get(key).map_or("nothing", String::as_str);
            let message = format!("spec.selector wants {key}={value}, the pod's labels say {found}");
            problems.push(Problem::new(workload.manifest, &["spec", "selector"], message));
        }
    }
}

/// A problem per container, where there is one.
fn each_container(
    scene: &Scene,
    problems: &mut Vec<Problem>,
    keys: &[&str],
    judge: impl Fn(&Workload, &PodContainer) -> Option<String>,
) {
    for workload in &scene.workloads {
        for container in &workload.containers {
            if let Some(message) = judge(workload, container) {
                let message = format!("{}: {message}", container.id());
                problems.push(Problem::in_container(workload.manifest, keys, message));
            }
        }
    }
}

fn image_pinned(scene: &Scene, problems: &mut Vec<Problem>) {
    each_container(scene, problems, &["image"], |_, container| {
        let image = container.spec.image.as_deref().unwrap_or_default();
        let pinned = image.contains("@sha256:") || Image::parse(image).tag.is_some_and(|tag| tag != "latest");
        (!pinned).then(|| format!("image {image:?} has neither a digest nor a tag other than latest"))
    });
}

fn resources_set(scene: &Scene, problems: &mut Vec<Problem>) {
    each_container(scene, problems, &["resources"], |_, container| {
        let resources = container.spec.resources.clone().unwrap_or_default();
        let mut missing = Vec::new();
        for (list, quantities, resource) in [
            ("requests", &resources.requests, "cpu"),
            ("requests", &resources.requests, "memory"),
            ("limits", &resources.limits, "memory"),
        ] {
            if !quantities.as_ref().is_some_and(|q| q.contains_key(resource)) {
                missing.push(format!("resources.{list}.{resource}"));
            }
        }
        (!missing.is_empty()).then(|| format!("not set: {}", missing.join(", ")))
    });
}

fn gomemlimit(scene: &Scene, problems: &mut Vec<Problem>) {
    each_container(scene, problems, &["env"], |_, container| {
        let limits = container.spec.resources.as_ref()?.limits.as_ref()?;
        let limit = quantity::bytes(&limits.get("memory")?.0)?;
        // A shell is no Go program, and neither is nginx.
        let program = container.spec.command.iter().flatten().next();
        if program.is_some_and(|program| ["/bin/sh", "nginx"].contains(&program.as_str())) {
            return None;
        }
        let Some(text) = container.env("GOMEMLIMIT") else {
            return Some("the memory limit is set but GOMEMLIMIT is not".into());
        };
        let Some(bytes) = quantity::go_bytes(text) else {
            return Some(format!(
                "GOMEMLIMIT {text:?} is not a number of bytes that Go understands"
            ));
        };
        let percent = bytes.saturating_mul(100) / limit.max(1);
        (!(70..=95).contains(&percent)).then(|| format!("GOMEMLIMIT {text} is {percent} % of the memory limit"))
    });
}

fn each_pod(scene: &Scene, problems: &mut Vec<Problem>, keys: &[&str], judge: impl Fn(&Workload) -> Option<String>) {
    let workloads = scene.workloads.iter();
    problems.extend(workloads.filter_map(|workload| Some(Problem::in_pod(workload.manifest, keys, judge(workload)?))));
}

fn token_off(scene: &Scene, problems: &mut Vec<Problem>) {
    each_pod(scene, problems, &["automountServiceAccountToken"], |workload| {
        let spec = workload.spec();
        match spec.automount_service_account_token {
            Some(false) => None,
            Some(true) if has_rights(scene, &spec.service_account_name.unwrap_or_default()) => None,
            Some(true) => Some(
                "automountServiceAccountToken is true in the pod spec, and no role is bound to its ServiceAccount"
                    .into(),
            ),
            None => Some("automountServiceAccountToken is not false in the pod spec".into()),
        }
    });
}

/// Whether a binding of the render names the ServiceAccount.
fn has_rights(scene: &Scene, account: &str) -> bool {
    let bindings = scene.of_kind("RoleBinding").chain(scene.of_kind("ClusterRoleBinding"));
    let mut subjects = bindings
        .filter_map(|binding| binding.get(&["subjects"])?.as_sequence())
        .flatten();
    subjects.any(|subject| subject["name"].as_str() == Some(account))
}

fn service_links_off(scene: &Scene, problems: &mut Vec<Problem>) {
    each_pod(scene, problems, &["enableServiceLinks"], |workload| {
        let off = workload.spec().enable_service_links == Some(false);
        (!off).then(|| "enableServiceLinks is not false in the pod spec".into())
    });
}

fn service_account_exists(scene: &Scene, problems: &mut Vec<Problem>) {
    each_pod(scene, problems, &["serviceAccountName"], |workload| {
        let name = workload.spec().service_account_name.filter(|name| name != "default")?;
        let rendered = scene.of_kind("ServiceAccount").any(|account| account.name == name);
        let given = scene.subject.values.contains(&name);
        (!rendered && !given).then(|| format!("serviceAccountName {name} is not rendered"))
    });
}

/// What stands in a list more than once.
fn repeated<T: Ord + Clone>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    items.into_iter().filter(|item| !seen.insert(item.clone())).collect()
}

fn unique_names(scene: &Scene, problems: &mut Vec<Problem>) {
    each_pod(scene, problems, &["volumes"], |workload| {
        let volumes = workload.spec().volumes.unwrap_or_default();
        let twice = repeated(volumes.into_iter().map(|volume| volume.name));
        (!twice.is_empty()).then(|| format!("volumes named twice: {twice:?}"))
    });
    each_container(scene, problems, &["env"], |_, container| {
        let twice = repeated(container.spec.env.iter().flatten().map(|var| var.name.clone()));
        (!twice.is_empty()).then(|| format!("variables set twice: {twice:?}"))
    });
    each_container(scene, problems, &["volumeMounts"], |_, container| {
        let mounts = container.spec.volume_mounts.iter().flatten();
        let twice = repeated(mounts.map(|mount| mount.mount_path.trim_end_matches('/').to_owned()));
        (!twice.is_empty()).then(|| format!("paths mounted twice: {twice:?}"))
    });
    each_container(scene, problems, &["ports"], |_, container| {
        let ports = || container.spec.ports.iter().flatten();
        let names = repeated(ports().filter_map(|port| port.name.clone()));
        let numbers = repeated(ports().map(|port| (port.container_port, port.protocol.clone())));
        (!names.is_empty() || !numbers.is_empty())
            .then(|| format!("ports declared twice: names {names:?}, numbers {numbers:?}"))
    });
}
