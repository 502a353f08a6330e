//! What the charts promise about the configurations that they write.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod collector;
mod tempo;

use std::sync::OnceLock;

use charts::manifest::Manifest;
use charts::program::{Program, ProgramKind, programs};
use charts::render::{Prepared, RenderOptions};
use charts::workload::workload;
use serde_yaml::Value;

use common::{helm, workspace};

fn chart(name: &str) -> &'static Prepared {
    static STACK: OnceLock<Prepared> = OnceLock::new();
    static UMBRELLA: OnceLock<Prepared> = OnceLock::new();
    let cell = if name == "tempo-stack" { &STACK } else { &UMBRELLA };
    cell.get_or_init(|| helm().prepare(&workspace().chart(name).unwrap()).unwrap())
}

fn rendered(name: &str, values: &str) -> Vec<Manifest> {
    let options = RenderOptions::documented(name).values(serde_yaml::from_str(values).unwrap());
    helm().template(chart(name), &options).unwrap().manifests
}

fn with_program<T>(manifests: &[Manifest], kind: ProgramKind, look: impl FnOnce(&Program) -> T) -> T {
    let workloads: Vec<_> = manifests.iter().filter_map(|m| workload(m).unwrap()).collect();
    let programs = programs(&workloads, manifests).unwrap();
    look(programs.iter().find(|program| program.kind == kind).unwrap())
}

#[test]
fn credentials_reach_the_pod_from_a_secret_and_no_config_map() {
    let s3 = "tempo: {storage: {backend: s3, s3: {bucket: b, region: r, accessKey: AKIAEXAMPLE, secretKey: hunter2}}}";
    let manifests = rendered("tempo-stack", s3);
    for manifest in &manifests {
        let holds = manifest.text.contains("hunter2") || manifest.text.contains("AKIAEXAMPLE");
        assert_eq!(holds, manifest.kind == "Secret", "{}", manifest.id());
    }
    let existing = "tempo: {storage: {backend: s3, s3: {bucket: b, region: r, existingSecret: kept}}}";
    assert!(
        rendered("tempo-stack", existing)
            .iter()
            .all(|manifest| manifest.kind != "Secret")
    );
}

#[test]
fn a_null_in_a_configuration_deletes_the_key_through_the_umbrella_too() {
    let values = "tempo: {config: {query_frontend: {search: null}, server: {log_format: json}}}";
    for (name, values) in [
        ("tempo-stack", values.to_owned()),
        ("observability", format!("tempo-stack: {{{values}}}")),
    ] {
        let manifests = rendered(name, &values);
        with_program(&manifests, ProgramKind::Tempo, |tempo| {
            assert_eq!(tempo.get("query_frontend.search"), None, "{name}");
            assert_eq!(tempo.get_str("server.log_format"), Some("json"), "{name}");
            assert_eq!(tempo.get_str("server.log_level"), Some("info"), "{name}");
        });
    }
}

#[test]
fn one_registry_and_one_pull_secret_reach_every_pod_through_the_umbrella() {
    let values = "global: {imageRegistry: mirror.example.com, imagePullSecrets: [mirror]}";
    let manifests = rendered("observability", values);
    let workloads: Vec<_> = manifests.iter().filter_map(|m| workload(m).unwrap()).collect();
    // Tempo, the Collector and the pod of `helm test`.
    assert_eq!(workloads.len(), 3);
    for workload in workloads {
        let image = workload.containers[0].spec.image.as_deref().unwrap();
        assert!(image.starts_with("mirror.example.com/"), "{image}");
        let secrets = workload.spec().image_pull_secrets.unwrap();
        assert_eq!(secrets.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["mirror"]);
    }
}

#[test]
fn the_umbrella_without_its_stack_renders_nothing() {
    let ids: Vec<_> = rendered("observability", "tempo-stack: {enabled: false}")
        .iter()
        .map(Manifest::id)
        .collect();
    assert_eq!(ids, [""; 0]);
}

#[test]
fn the_datasource_is_on_in_the_umbrella_and_off_in_the_stack() {
    let datasource = |name| {
        let manifests = rendered(name, "{}");
        manifests.iter().any(|m| m.text.contains("datasources:"))
    };
    assert!(datasource("observability"));
    assert!(!datasource("tempo-stack"));
}

#[test]
fn openshift_is_found_by_its_api_or_forced_or_left_alone() {
    let api = "security.openshift.io/v1";
    for (mode, with_api, adapted) in [
        ("auto", true, true),
        ("auto", false, false),
        ("force", false, true),
        ("disabled", true, false),
    ] {
        let values = format!("global: {{compatibility: {{openshift: {{adaptSecurityContext: {mode}}}}}}}");
        let mut options = RenderOptions::documented("tempo-stack").values(serde_yaml::from_str(&values).unwrap());
        if with_api {
            options = options.api(api);
        }
        let manifests = helm().template(chart("tempo-stack"), &options).unwrap().manifests;
        let workloads: Vec<_> = manifests.iter().filter_map(|m| workload(m).unwrap()).collect();
        assert_eq!(workloads.len(), 3);
        for workload in workloads {
            let context = workload.spec().security_context.unwrap();
            let ids = [context.run_as_user, context.run_as_group, context.fs_group];
            assert!(ids.iter().all(|id| id.is_none() == adapted), "{mode}: {ids:?}");
            assert_eq!(context.run_as_non_root, Some(true), "{mode}");
        }
    }
}

#[test]
fn common_labels_and_annotations_are_on_every_object_and_pod_and_in_no_selector() {
    let values = "{commonLabels: {team: platform}, commonAnnotations: {contact: me}, serviceMonitor: {enabled: true}, grafana: {datasource: {enabled: true}}}";
    for manifest in rendered("tempo-stack", values) {
        let at = |path: &[&str]| manifest.get(path).and_then(Value::as_str).map(str::to_owned);
        assert_eq!(
            at(&["metadata", "labels", "team"]).as_deref(),
            Some("platform"),
            "{}",
            manifest.id()
        );
        assert_eq!(
            at(&["metadata", "annotations", "contact"]).as_deref(),
            Some("me"),
            "{}",
            manifest.id()
        );
        if let Some(workload) = workload(&manifest).unwrap() {
            assert_eq!(workload.pod_labels().get("team").map(String::as_str), Some("platform"));
        }
        for selector in [
            &["spec", "selector", "team"][..],
            &["spec", "selector", "matchLabels", "team"],
        ] {
            assert_eq!(at(selector), None, "{}", manifest.id());
        }
    }
}

#[test]
fn a_variable_stands_behind_those_that_it_names() {
    let values = "otelCollector: {extraEnv: {A: 'x$(B)', B: 'y$(Z)', Z: z, POD: {valueFrom: {fieldRef: {fieldPath: metadata.name}}}, ATTR: 'pod=$(POD)', LOOP1: '$(LOOP2)', LOOP2: '$(LOOP1)'}}";
    let listed = "otelCollector: {extraEnv: [{name: A, value: 'x$(B)'}, {name: B, value: b}]}";
    for (values, pairs) in [
        (
            values,
            &[("B", "A"), ("Z", "B"), ("POD", "ATTR"), ("ATTR", "LOOP1")][..],
        ),
        (listed, &[("A", "B")]),
    ] {
        with_program(&rendered("tempo-stack", values), ProgramKind::Collector, |collector| {
            let env = collector.container.spec.env.clone().unwrap();
            let place = |name: &str| env.iter().position(|variable| variable.name == name).unwrap();
            for (first, second) in pairs {
                assert!(place(first) < place(second), "{first} {second}: {env:?}");
            }
        });
    }
}

#[test]
fn a_prefix_means_the_same_with_and_without_slashes() {
    for prefix in ["team-a/tempo", "/team-a/tempo", "team-a/tempo/", "/team-a/tempo/"] {
        let values = format!("tempo: {{storage: {{backend: s3, s3: {{bucket: b, region: r, prefix: {prefix}}}}}}}");
        with_program(&rendered("tempo-stack", &values), ProgramKind::Tempo, |tempo| {
            assert_eq!(
                tempo.get_str("storage.trace.s3.prefix"),
                Some("team-a/tempo"),
                "{prefix}"
            );
        });
    }
}

#[test]
fn both_forms_of_a_pull_secret_and_a_null_security_context_render() {
    let values =
        "{global: {imagePullSecrets: [one, {name: two}]}, tempo: {securityContext: null, podSecurityContext: null}}";
    for manifest in rendered("tempo-stack", values) {
        assert!(!manifest.text.contains("securityContext: null"), "{}", manifest.id());
        if let Some(workload) = workload(&manifest).unwrap() {
            let secrets = workload.spec().image_pull_secrets.unwrap();
            assert_eq!(
                secrets.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
                ["one", "two"]
            );
        }
    }
}

/// What Kubernetes refuses to change of a StatefulSet.
fn immutable(manifests: &[Manifest]) -> Vec<(String, Value)> {
    let sets = manifests.iter().filter(|m| m.kind == "StatefulSet");
    let fields = ["selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"];
    sets.flat_map(|set| {
        fields.map(|field| {
            (
                format!("{} {field}", set.id()),
                set.get(&["spec", field]).unwrap().clone(),
            )
        })
    })
    .collect()
}

#[test]
fn no_number_of_replicas_and_no_size_changes_what_kubernetes_refuses_to_change() {
    let before = immutable(&rendered("tempo-stack", "{}"));
    assert_eq!(before.len(), 8);
    for values in [
        "{tempo: {replicas: 0, persistence: {size: 50Gi, storageClass: fast, accessMode: ReadWriteOncePod}}}",
        "{otelCollector: {replicas: 4, queue: {persistence: {size: 20Gi, storageClass: '-'}}}}",
        "{otelCollector: {replicas: null}, nameOverride: ''}",
        "{otelCollector: {autoscaling: {enabled: true, maxReplicas: 6}}, tempo: {persistence: {annotations: {a: b}}}}",
    ] {
        assert_eq!(immutable(&rendered("tempo-stack", values)), before, "{values}");
    }
}

#[test]
fn two_renders_are_equal_to_the_byte() {
    let render = || {
        let options = RenderOptions::documented("observability");
        helm().template(chart("observability"), &options).unwrap().text
    };
    assert_eq!(render(), render());
}

/// `helm upgrade --reuse-values` hands the full values of the release that it upgrades to the new chart.
/// They are those of `helm install --dry-run=client --debug`, COMPUTED VALUES, at the version in the file's name.
#[test]
fn the_full_values_of_every_version_render() {
    let folder = workspace().root().join("xtask/lint/tests/released");
    let mut files = 0;
    for name in ["tempo-stack", "observability"] {
        let current = workspace().chart(name).unwrap().metadata.version.to_string();
        for entry in std::fs::read_dir(folder.join(name)).unwrap() {
            let file = entry.unwrap().path();
            let options = RenderOptions {
                values_files: vec![file.clone()],
                ..RenderOptions::documented(name)
            };
            let full = helm().template(chart(name), &options).unwrap();
            if file.file_stem().unwrap() == current.as_str() {
                let plain = helm().template(chart(name), &RenderOptions::documented(name)).unwrap();
                assert_eq!(
                    full.text,
                    plain.text,
                    "{} isn't what {name} has by default",
                    file.display()
                );
            }
            files += 1;
        }
    }
    assert!(files >= 2);
}
