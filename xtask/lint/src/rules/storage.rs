//! Rules about volumes and claims.

use charts::program::{Program, ProgramKind};
use charts::workload::{MountSource, Workload};

use super::{Check, Problem, Rule, Scene};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "writable-paths",
        summary: "every folder that a program writes to lies on a volume that it may write",
        remedy: "mount an emptyDir or a claim there, or move the path below a folder that has one",
        check: Check::Render(writable_paths),
    },
    Rule {
        name: "volume-ownership",
        summary: "a pod with a claim owns its volume: fsGroup and fsGroupChangePolicy OnRootMismatch",
        remedy: "set securityContext.fsGroup to the group of the image and fsGroupChangePolicy to OnRootMismatch",
        check: Check::Render(volume_ownership),
    },
    Rule {
        name: "claim-kept",
        summary: "data outlives `helm uninstall`",
        remedy: "annotate the claim with helm.sh/resource-policy: keep; retain the claims of a StatefulSet",
        check: Check::Render(claim_kept),
    },
    Rule {
        name: "references-exist",
        summary: "every claim, ConfigMap and Secret that a pod uses is rendered, or named in the case's values",
        remedy: "print the name by the same helper in the object and in the pod",
        check: Check::Render(references_exist),
    },
];

/// Where Tempo writes: the key, and the default in versions that write there unasked
/// (modules/storage, modules/livestore and modules/backendscheduler of each release).
fn tempo_paths(program: &Program) -> Vec<(String, String)> {
    let newest = program.version.as_ref().is_some_and(|version| version.major >= 3);
    let local = program.get_str("storage.trace.backend") == Some("local");
    let wanted = [
        ("storage.trace.wal.path", Some("/var/tempo/wal")),
        ("storage.trace.local.path", local.then_some("/tmp/tempo/traces")),
        ("metrics_generator.storage.path", None),
        ("metrics_generator.traces_storage.path", None),
        ("live_store.wal.path", newest.then_some("/var/tempo/live-store/traces")),
        (
            "live_store.shutdown_marker_dir",
            newest.then_some("/var/tempo/live-store/shutdown-marker"),
        ),
        ("backend_scheduler.local_work_path", newest.then_some("/var/tempo")),
    ];
    let value = |key: &str, default: Option<&str>| program.get_str(key).or(default).map(str::to_owned);
    wanted
        .into_iter()
        .filter_map(|(key, default)| Some((key.to_owned(), value(key, default)?)))
        .collect()
}

/// Where the Collector writes: stores (extension/storage/filestorage) and file exporters.
fn collector_paths(program: &Program) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for (id, extension) in program.entries("extensions") {
        if id.split('/').next() != Some("file_storage") {
            continue;
        }
        let directory = extension.get("directory").and_then(|d| d.as_str());
        paths.push((
            format!("extensions.{id}.directory"),
            directory.unwrap_or("/var/lib/otelcol/file_storage").to_owned(),
        ));
        let compaction = extension.get("compaction").and_then(|c| c.get("directory")?.as_str());
        paths.extend(compaction.map(|path| (format!("extensions.{id}.compaction.directory"), path.to_owned())));
    }
    for (id, exporter) in program.entries("exporters") {
        let path = exporter.get("path").and_then(|p| p.as_str());
        if id.split('/').next() == Some("file") {
            paths.extend(path.map(|path| (format!("exporters.{id}.path"), path.to_owned())));
        }
    }
    paths
}

fn writable_paths(scene: &Scene, problems: &mut Vec<Problem>) {
    for program in scene.programs() {
        let paths = match program.kind {
            ProgramKind::Tempo => tempo_paths(&program),
            ProgramKind::Collector => collector_paths(&program),
        };
        for (key, path) in paths {
            let reason = match program.workload.volume_at(&program.container.spec, &path) {
                None => "lies on no volume",
                Some((mount, _)) if mount.read_only == Some(true) => "lies on a read-only mount",
                Some((_, source)) if !source.writable() => "lies on a volume that can't be written",
                Some(_) => continue,
            };
            let message = format!("{}: {key} {path} {reason}", program.container.id());
            problems.push(Problem::in_container(
                program.workload.manifest,
                &["volumeMounts"],
                message,
            ));
        }
    }
}

fn has_claim(workload: &Workload) -> bool {
    let volumes = workload.spec().volumes.unwrap_or_default();
    !workload.claim_templates.is_empty() || volumes.iter().any(|v| v.persistent_volume_claim.is_some())
}

fn volume_ownership(scene: &Scene, problems: &mut Vec<Problem>) {
    for workload in scene.workloads.iter().filter(|w| has_claim(w)) {
        let context = workload.spec().security_context.unwrap_or_default();
        let keys = &["securityContext", "fsGroup"];
        if context.fs_group.is_none() {
            let message = "mounts a claim without securityContext.fsGroup: the volume belongs to root";
            problems.push(Problem::in_pod(workload.manifest, keys, message));
        } else if context.fs_group_change_policy.as_deref() != Some("OnRootMismatch") {
            let message = "fsGroupChangePolicy is not OnRootMismatch: each start changes the owner of every file";
            problems.push(Problem::in_pod(workload.manifest, keys, message));
        }
    }
}

fn claim_kept(scene: &Scene, problems: &mut Vec<Problem>) {
    for claim in &scene.claims {
        let annotations = claim.object.metadata.annotations.clone().unwrap_or_default();
        let policy = annotations.get("helm.sh/resource-policy").map(String::as_str);
        if policy != Some("keep") {
            let message = format!("annotation helm.sh/resource-policy is {policy:?}, not keep");
            problems.push(Problem::new(
                claim.manifest,
                &["metadata", "annotations", "helm.sh/resource-policy"],
                message,
            ));
        }
    }
    for workload in scene.workloads.iter().filter(|w| !w.claim_templates.is_empty()) {
        for when in ["whenDeleted", "whenScaled"] {
            let path = ["spec", "persistentVolumeClaimRetentionPolicy", when];
            let policy = workload.manifest.get_str(&path).unwrap_or("Retain");
            if policy != "Retain" {
                let message = format!("{} is {policy}", path.join("."));
                problems.push(Problem::new(workload.manifest, &path, message));
            }
        }
    }
}

/// What a pod refers to: kind, name, and whether it may be missing.
pub(super) fn references(workload: &Workload) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut add = |kind, name: &str, optional: Option<bool>| {
        if optional != Some(true) {
            found.push((kind, name.to_owned()));
        }
    };
    for volume in workload.spec().volumes.unwrap_or_default() {
        if let Some(claim) = &volume.persistent_volume_claim {
            add("PersistentVolumeClaim", &claim.claim_name, None);
        }
        if let Some(map) = &volume.config_map {
            add("ConfigMap", &map.name, map.optional);
        }
        if let Some(secret) = &volume.secret {
            add(
                "Secret",
                secret.secret_name.as_deref().unwrap_or_default(),
                secret.optional,
            );
        }
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            if let Some(map) = &source.config_map {
                add("ConfigMap", &map.name, map.optional);
            }
            if let Some(secret) = &source.secret {
                add("Secret", &secret.name, secret.optional);
            }
        }
    }
    for container in &workload.containers {
        for from in container.spec.env_from.iter().flatten() {
            if let Some(map) = &from.config_map_ref {
                add("ConfigMap", &map.name, map.optional);
            }
            if let Some(secret) = &from.secret_ref {
                add("Secret", &secret.name, secret.optional);
            }
        }
        for source in container
            .spec
            .env
            .iter()
            .flatten()
            .filter_map(|var| var.value_from.as_ref())
        {
            if let Some(map) = &source.config_map_key_ref {
                add("ConfigMap", &map.name, map.optional);
            }
            if let Some(secret) = &source.secret_key_ref {
                add("Secret", &secret.name, secret.optional);
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn references_exist(scene: &Scene, problems: &mut Vec<Problem>) {
    for workload in &scene.workloads {
        for (kind, name) in references(workload) {
            let rendered = scene.of_kind(kind).any(|manifest| manifest.name == name);
            // cert-manager makes the Secret that a Certificate names.
            let issued = kind == "Secret"
                && scene
                    .of_kind("Certificate")
                    .any(|certificate| certificate.get_str(&["spec", "secretName"]) == Some(name.as_str()));
            if !rendered && !issued && !scene.subject.values.contains(&name) {
                let message = format!("uses {kind}/{name}, which is neither rendered nor named in the values");
                problems.push(Problem::in_pod(workload.manifest, &["volumes"], message));
            }
        }
        // A mount without a volume is refused by the API server only when the pod is made.
        for container in &workload.containers {
            for mount in container.spec.volume_mounts.iter().flatten() {
                let source: Option<MountSource> = workload
                    .volume_at(&container.spec, &mount.mount_path)
                    .map(|(_, source)| source);
                if source.is_none() {
                    let message = format!("{}: mounts {}, which is no volume", container.id(), mount.name);
                    problems.push(Problem::in_container(workload.manifest, &["volumeMounts"], message));
                }
            }
        }
    }
}
