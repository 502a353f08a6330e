//! Values of other charts become values that ours takes: with the real table, chart and helm.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "../../charts/tests/sample/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of other crates")]
mod sample;

use charts::manifest::{Manifest, lookup};
use charts::program::{ProgramKind, programs};
use charts::render::{RenderOptions, set};
use charts::workload::workload;
use charts::workspace::Workspace;
use migrate::convert::{Migration, UNANSWERED, convert};
use migrate::{PEERS, Table, yaml};
use serde_yaml::Value;

const GRAFANA: &str = "grafana-community/tempo";

fn table(peer: &str) -> Table {
    Table::read(&Workspace::find().unwrap(), peer).unwrap()
}

fn migrated(peer: &str, values: &str) -> Migration {
    convert(&table(peer), serde_yaml::from_str(values).unwrap())
}

fn values(peer: &str, text: &str) -> Value {
    migrated(peer, text).values
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// Renders what would be printed.
fn rendered(values: &Value) -> anyhow::Result<Vec<Manifest>> {
    let helm = sample::helm();
    let chart = Workspace::find()?.chart("tempo-stack")?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(&file, yaml::write(values)?)?;
    let options = RenderOptions {
        values_files: vec![file.path().to_owned()],
        ..RenderOptions::documented("tempo-stack")
    };
    Ok(helm.template(&helm.prepare(&chart)?, &options)?.manifests)
}

fn leaves(value: &Value, path: &[&str], into: &mut Vec<(String, Value)>) {
    match value {
        Value::Mapping(map) if !map.is_empty() => {
            for (key, value) in map {
                leaves(value, &[path, &[key.as_str().unwrap()]].concat(), into);
            }
        }
        value => {
            let mut alone = Value::Null;
            set(&mut alone, path, value.clone());
            into.push((path.join("/"), alone));
        }
    }
}

#[test]
fn every_key_of_each_chart_is_set_here_or_listed_with_a_reason() {
    for peer in PEERS {
        let table = table(peer);
        let mut all = Vec::new();
        leaves(&table.keys, &[], &mut all);
        assert!(all.len() > 150, "{peer}: {}", all.len());
        for (path, alone) in all {
            let Migration { values, report } = convert(&table, alone);
            assert!(report.unknown.is_empty(), "{peer}: {path} is unknown");
            let listed = !(report.nowhere.is_empty() && report.secrets.is_empty());
            assert!(listed || values != yaml("{}"), "{peer}: {path} got lost");
            let unanswered = report.nowhere.iter().any(|one| one.reason == UNANSWERED);
            assert!(!unanswered, "{peer}: peer-keys.yaml has no answer to {path}");
        }
        let whole = convert(&table, table.keys.clone());
        assert!(whole.report.set > 60, "{peer}: {}", whole.report.set);
        assert!(whole.report.differences.is_empty(), "{peer}: all is set");
    }
}

#[test]
fn what_every_key_was_set_to_arrives_in_the_manifests() {
    for (peer, retention, size, class) in [(GRAFANA, "36h", "55Gi", "fast"), ("bitnami", "60h", "33Gi", "slow")] {
        let table = table(peer);
        let manifests = rendered(&convert(&table, table.keys.clone()).values).unwrap();
        let named = |kind: &str, part: &str| {
            let one = |m: &&Manifest| m.kind == kind && m.name.contains(part);
            manifests
                .iter()
                .find(one)
                .unwrap_or_else(|| panic!("{peer}: no {kind} {part}"))
        };
        let claim = named("PersistentVolumeClaim", "tempo");
        assert_eq!(claim.get_str(&["spec", "resources", "requests", "storage"]), Some(size));
        assert_eq!(claim.get_str(&["spec", "storageClassName"]), Some(class));
        assert_eq!(claim.get_str(&["metadata", "annotations", "backup"]), Some("nightly"));
        let service = manifests
            .iter()
            .find(|m| m.kind == "Service" && m.name == "tempo")
            .unwrap();
        assert_eq!(service.get_str(&["spec", "type"]), Some("LoadBalancer"));
        assert_eq!(
            service.get_str(&["metadata", "annotations", "example.com/internal"]),
            Some("true")
        );
        let workloads: Vec<_> = manifests.iter().filter_map(|m| workload(m).unwrap()).collect();
        let programs = programs(&workloads, &manifests).unwrap();
        let tempo = programs
            .iter()
            .find(|program| program.kind == ProgramKind::Tempo)
            .unwrap();
        for (key, value) in [
            ("compactor.compaction.block_retention", retention),
            ("storage.trace.backend", "s3"),
            ("storage.trace.s3.bucket", "spans"),
            ("storage.trace.s3.endpoint", "minio.storage.svc:9000"),
            ("metrics_generator.storage.path", "/var/tempo/generator/wal"),
        ] {
            assert_eq!(tempo.get_str(key), Some(value), "{peer}: {key}");
        }
        let pod = named("StatefulSet", "tempo").get(&["spec", "template"]).unwrap();
        assert_eq!(lookup(pod, &["metadata", "annotations", "scrape"]), Some(&"no".into()));
        let spec = pod.get("spec").unwrap();
        assert_eq!(lookup(spec, &["nodeSelector", "disk"]), Some(&"ssd".into()));
        let container = &spec["containers"][0];
        if peer == GRAFANA {
            assert_eq!(container["image"], Value::from("mirror.example.com/team/tempo:2.9.0"));
            assert_eq!(container["resources"]["limits"]["memory"], Value::from("3Gi"));
        }
        let monitor = named("ServiceMonitor", "tempo");
        assert_eq!(monitor.get_str(&["metadata", "labels", "release"]), Some("metrics"));
    }
}

#[test]
fn no_secret_is_printed_and_the_values_name_one_instead() {
    for peer in PEERS {
        let table = table(peer);
        let Migration { values, report } = convert(&table, table.keys.clone());
        let text = yaml::write(&values).unwrap() + &report.comments();
        for secret in ["example-id", "example-secret", "example-token", "example-password"] {
            assert!(!text.contains(secret), "{peer}: {secret}");
        }
        assert_eq!(
            values["tempo"]["storage"]["s3"]["existingSecret"],
            Value::from("tempo-s3")
        );
        assert!(text.contains("kubectl create secret generic tempo-s3"), "{text}");
    }
}

#[test]
fn credentials_that_variables_take_from_a_secret_come_from_it_here_too() {
    let source =
        "{tempo: {storage: {trace: {backend: s3, s3: {access_key: '${ID}', secret_key: '${KEY}'}}}, extraEnv: [
        {name: ID, valueFrom: {secretKeyRef: {name: bucket, key: id}}},
        {name: KEY, valueFrom: {secretKeyRef: {name: bucket, key: secret}}}]}}";
    let s3 = yaml("{existingSecret: bucket, existingSecretKeys: {accessKey: id, secretKey: secret}}");
    assert_eq!(values(GRAFANA, source)["tempo"]["storage"]["s3"], s3);
}

#[test]
fn a_bucket_of_google_and_a_container_of_azure_are_carried_over() {
    let gcs = "{tempo: {storage: {trace: {backend: gcs, gcs: {bucket_name: spans, prefix: a, chunk_buffer_size: 5}}}}}";
    let found = values(GRAFANA, gcs);
    assert_eq!(
        found["tempo"]["storage"],
        yaml("{backend: gcs, gcs: {bucket: spans, prefix: a}}")
    );
    let rest = yaml("{chunk_buffer_size: 5}");
    assert_eq!(found["tempo"]["config"]["storage"]["trace"]["gcs"], rest);
    let azure = "{tempo: {storage: {trace: {backend: azure, azure: {storage_account_name: spans, container_name: tempo, \
                 storage_account_key: example-secret}}}}}";
    let found = values(GRAFANA, azure);
    let ours = yaml("{backend: azure, azure: {account: spans, container: tempo, existingSecret: tempo-azure}}");
    assert_eq!(found["tempo"]["storage"], ours);
}

#[test]
fn values_that_have_another_form_here_are_changed() {
    for (theirs, ours) in [
        ("{tempo: {retention: 24h}}", "{tempo: {retention: {period: 24h}}}"),
        ("{tempo: {tag: 2.9}}", "{tempo: {image: {tag: '2.9'}}}"),
        (
            "{tempo: {tag: '2.9.0@sha256:ab'}}",
            "{tempo: {image: {tag: 2.9.0, digest: 'sha256:ab'}}}",
        ),
        (
            "{tempo: {tag: '', repository: null}, tolerations: [], affinity: {}}",
            "{}",
        ),
        (
            "{persistence: {accessModes: [ReadWriteOnce]}}",
            "{tempo: {persistence: {accessMode: ReadWriteOnce}}}",
        ),
        ("{labels: {a: b}, extraLabels: {c: d}}", "{commonLabels: {a: b, c: d}}"),
        (
            "{tempo: {storage: {trace: {backend: swift, swift: {bucket_name: b}}}}}",
            "{tempo: {config: {storage: {trace: {backend: swift, swift: {bucket_name: b}}}}}}",
        ),
        (
            "{tempo: {receivers: {jaeger: null, otlp: {protocols: {grpc: {endpoint: '0.0.0.0:5317'}}}}}}",
            "{otelCollector: {receivers: {jaegerGrpc: {enabled: false}, jaegerThriftBinary: {enabled: false},
               jaegerThriftCompact: {enabled: false}, jaegerThriftHttp: {enabled: false}, otlpGrpc: {enabled: true}},
               service: {ports: {otlpGrpc: 5317}}}}",
        ),
        (
            "{tempo: {metricsGenerator: {enabled: true}}}",
            "{tempo: {metricsGenerator: {enabled: true,
               remoteWrite: {prometheus: {url: 'http://prometheus.monitoring:9090/api/v1/write'}}}}}",
        ),
        (
            "{tempo: {metricsGenerator: {enabled: true, storage: {path: /tmp/wal, remote_write: [{url: 'http://a'}, {name: b, url: 'http://b'}]},
               registry: {external_labels: {cluster: east}, stale_duration: 5m}, processor: {service_graphs: {dimensions: [zone], wait: 5s}}},
              overrides: {defaults: {metrics_generator: {processors: [service-graphs, local-blocks]}}}}}",
            "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {prometheus: {url: 'http://a'}, b: {url: 'http://b'}},
               spanMetrics: {enabled: false}, serviceGraphs: {dimensions: [zone]}, externalLabels: {cluster: east}},
              traceqlMetrics: {range: recent},
              config: {metrics_generator: {registry: {stale_duration: 5m}, processor: {service_graphs: {wait: 5s}}}}}}",
        ),
        (
            "{tempo: {metricsGenerator: {enabled: true, storage: {remote_write: [{url: 'http://a', basic_auth: {username: me, password: x}}]}}}}",
            "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {prometheus: {url: 'http://a',
               existingSecret: tempo-remote-write, username: me, passwordKey: prometheus}}}}}",
        ),
        (
            "{tempo: {metricsGenerator: {enabled: true, storage: {remote_write: [{url: 'http://a', headers: {a: b}}]}}}}",
            "{tempo: {config: {metrics_generator: {storage: {path: /var/tempo/generator/wal,
               remote_write: [{url: 'http://a', headers: {a: b}}]},
               traces_storage: {path: /var/tempo/generator/traces}}}}}",
        ),
        (
            "{tempo: {metricsGenerator: {enabled: false, remoteWriteUrl: 'http://p'}}}",
            "{}",
        ),
        (
            "{config: \"server: {http_listen_port: 3300}\\nmemberlist: {join_members: [a]}\\nquerier: {max_concurrent_queries: 7}\"}",
            "{tempo: {service: {ports: {http: 3300}}, config: {querier: {max_concurrent_queries: 7}}}}",
        ),
    ] {
        let values = values(GRAFANA, theirs);
        assert_eq!(values, yaml(ours), "{theirs}");
        if !theirs.contains("sha256:ab") {
            rendered(&values).unwrap();
        }
    }
    let secret = values("bitnami", "{ingester: {extraEnvVarsSecret: s, extraEnvVarsCM: c}}");
    let from = yaml("[{secretRef: {name: s}}, {configMapRef: {name: c}}]");
    assert_eq!(secret["tempo"]["extraEnvFrom"], from);
}

#[test]
fn a_value_of_another_type_is_listed_with_what_is_expected() {
    for (theirs, key, reason) in [
        (
            "{persistence: true}",
            "persistence",
            "A map is expected, not true or false.",
        ),
        (
            "{tempo: {storage: s3}}",
            "tempo.storage",
            "A map is expected, not a text.",
        ),
        ("{tempo: 7}", "tempo", "A map is expected, not a number."),
        (
            "{tolerations: {a: b}}",
            "tolerations",
            "tempo.tolerations takes a list, not a map.",
        ),
        (
            "{tempo: {retention: {a: b}}}",
            "tempo.retention",
            "tempo.retention.period takes a text, not a map.",
        ),
        (
            "{service: {clusterIP: None}}",
            "service.clusterIP",
            "There is no such key in tempo.service.",
        ),
    ] {
        let Migration { values, report } = migrated(GRAFANA, theirs);
        let listed: Vec<_> = report
            .nowhere
            .iter()
            .map(|one| (one.keys.join(","), one.reason.as_str()))
            .collect();
        assert_eq!(listed, [(key.to_owned(), reason)], "{theirs}");
        assert_eq!(values, yaml("{}"), "{theirs}");
    }
}

#[test]
fn a_key_that_the_chart_does_not_have_is_listed_with_the_nearest_one() {
    for (peer, theirs, key, meant) in [
        (
            GRAFANA,
            "{tempo: {tolerations: []}}",
            "tempo.tolerations",
            Some("tolerations"),
        ),
        (
            GRAFANA,
            "{persistance: {size: 5Gi}}",
            "persistance",
            Some("persistence"),
        ),
        (
            GRAFANA,
            "{service: {tpye: NodePort}}",
            "service.tpye",
            Some("service.type"),
        ),
        (GRAFANA, "{ingester: {replicas: 3}}", "ingester", Some("tempo.ingester")),
        (
            "bitnami",
            "{persistence: {size: 5Gi}}",
            "persistence",
            Some("metricsGenerator.persistence"),
        ),
        ("bitnami", "{config: 'server: {}'}", "config", None),
        ("bitnami", "{xyz: 1}", "xyz", None),
    ] {
        let Migration { values, report } = migrated(peer, theirs);
        let unknown: Vec<_> = report
            .unknown
            .iter()
            .map(|one| (one.key.as_str(), one.meant.as_deref()))
            .collect();
        assert_eq!(unknown, [(key, meant)]);
        assert_eq!(values, yaml("{}"), "{theirs}");
    }
}

#[test]
fn a_default_that_differs_is_told_to_those_who_leave_the_key_out() {
    let told = |peer, text| migrated(peer, text).report.differences.join("\n");
    let retention = "tempo.retention is 24h there by default; tempo.retention.period here is 3d.";
    assert!(told(GRAFANA, "{}").contains(retention));
    assert!(!told(GRAFANA, "{tempo: {retention: 24h}}").contains("retention"));
    assert!(
        told(GRAFANA, "{}")
            .contains("persistence.enabled is false there by default; tempo.persistence.enabled here is true.")
    );
    assert!(told(GRAFANA, "{}").contains("protocols.thrift_compact is on there"));
    assert!(!told(GRAFANA, "{tempo: {receivers: {jaeger: null}}}").contains("thrift_compact"));
    assert!(told("bitnami", "{}").contains("a retention of 48h"));
    assert!(
        told("bitnami", "{}")
            .contains("ingester.networkPolicy.enabled is true there by default; nothing does that here.")
    );
}

#[test]
fn tenants_without_a_name_are_left_to_the_chart_to_refuse() {
    let Migration { values, report } = migrated(GRAFANA, "{tempo: {multitenancyEnabled: true}}");
    assert!(report.remarks[0].contains("otelCollector.config.exporters.otlp.headers.X-Scope-OrgID"));
    let refusal = rendered(&values).unwrap_err().to_string();
    assert!(refusal.contains("the Collector sends no tenant"), "{refusal}");
}
