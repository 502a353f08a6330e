//! What the charts promise about the configurations that they write.

#![allow(clippy::unwrap_used)]

mod common;

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

const RETENTION_2: [&str; 2] = [
    "overrides.defaults.compaction.block_retention",
    "compactor.compaction.block_retention",
];
const RETENTION_3: [&str; 3] = [
    "overrides.defaults.compaction.block_retention",
    "backend_worker.compaction.block_retention",
    "backend_scheduler.provider.compaction.compaction.block_retention",
];

#[test]
fn retention_of_three_days_reaches_every_key_that_tempo_reads() {
    for (tag, keys) in [
        ("2.3.0", &RETENTION_2[..]),
        ("2.9.0", &RETENTION_2),
        ("2.10.8", &RETENTION_2),
        ("3.0.3", &RETENTION_3),
    ] {
        let manifests = rendered(
            "tempo-stack",
            &format!("tempo: {{image: {{tag: {tag}}}, retention: {{period: 3d}}}}"),
        );
        with_program(&manifests, ProgramKind::Tempo, |tempo| {
            for key in keys {
                assert_eq!(tempo.get_str(key), Some("72h"), "{tag} {key}");
            }
        });
    }
}

#[test]
fn every_way_to_write_a_retention_is_converted_to_what_tempo_understands() {
    for (period, written) in [
        ("30m", "30m"),
        ("72h", "72h"),
        ("2w", "336h"),
        ("1d12h", "36h"),
        ("1w2d3h4m5s", "219h4m5s"),
        ("90m", "1h30m"),
        ("600s", "10m"),
    ] {
        let manifests = rendered("tempo-stack", &format!("tempo: {{retention: {{period: {period}}}}}"));
        with_program(&manifests, ProgramKind::Tempo, |tempo| {
            assert_eq!(tempo.get_str(RETENTION_2[1]), Some(written), "{period}");
        });
    }
}

#[test]
fn the_limiter_refuses_at_four_fifths_of_every_memory_limit_and_gomemlimit_is_above_it() {
    for (limit, bytes) in [
        ("512Mi", 512_u64 << 20),
        ("1.5Gi", 1536 << 20),
        ("2G", 2_000_000_000),
        ("900M", 900_000_000),
        ("1073741824", 1 << 30),
        ("1Ti", 1 << 40),
    ] {
        let values = format!("otelCollector: {{resources: {{limits: {{memory: {limit:?}}}}}, queue: {{size: 64Mi}}}}");
        let manifests = rendered("tempo-stack", &values);
        with_program(&manifests, ProgramKind::Collector, |collector| {
            let fifths = bytes / 5 * 4;
            let gomemlimit: u64 = collector.container.env("GOMEMLIMIT").unwrap().parse().unwrap();
            assert!(gomemlimit.abs_diff(bytes * 9 / 10) <= 1, "{limit}: {gomemlimit}");
            let limiter = collector
                .get("processors.memory_limiter.limit_mib")
                .and_then(Value::as_u64)
                .unwrap();
            assert!((limiter << 20).abs_diff(fifths) <= 1 << 20, "{limit}: {limiter} MiB");
        });
    }
}

#[test]
fn garbage_may_wait_where_the_limiter_collects_it_before_it_refuses() {
    for (version, garbage) in [
        ("0.155.0", Some(("200", "1s"))),
        ("0.121.0", Some(("200", "1s"))),
        ("0.120.0", None),
        ("0.89.0", None),
    ] {
        let manifests = rendered("tempo-stack", &format!("otelCollector: {{image: {{tag: {version}}}}}"));
        with_program(&manifests, ProgramKind::Collector, |collector| {
            let interval = collector.get("processors.memory_limiter.min_gc_interval_when_soft_limited");
            assert_eq!(
                collector.container.env("GOGC").zip(interval.and_then(Value::as_str)),
                garbage,
                "{version}"
            );
            assert_eq!(interval.is_some(), garbage.is_some(), "{version}");
        });
    }
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

/// What a program is told that takes so many seconds.
fn seconds(program: &Program, key: &str) -> f64 {
    let text = program.get_str(key).unwrap();
    text.strip_suffix('s').unwrap().parse().unwrap()
}

#[test]
fn a_mirror_acknowledges_what_its_log_has_and_is_judged_by_that_time() {
    // For a Tempo that waits for CPU, or for a search that reads the blocks of its ingester.
    const MARGIN: f64 = 3.0;
    let script = chart("tempo-stack").dir.join("files/settle-mirror.sh");
    let script = std::fs::read_to_string(script).unwrap();
    let number = |before: &str| -> f64 {
        let digits = script.split_once(before).unwrap().1;
        digits
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let (calm, stuck) = (number("\ncalm="), number("now - moved > "));
    for (tag, module, live) in [
        ("2.10.8", "ingester", "trace_live_period"),
        ("3.0.3", "live_store", "max_trace_live"),
    ] {
        let manifests = rendered("tempo-stack", &format!("tempo: {{replicas: 2, image: {{tag: {tag}}}}}"));
        let delay = with_program(&manifests, ProgramKind::Tempo, |tempo| {
            let logged =
                seconds(tempo, &format!("{module}.{live}")) + seconds(tempo, &format!("{module}.flush_check_period"));
            let delay = seconds(tempo, "distributor.artificial_delay");
            // It differs by up to a tenth.
            assert!(
                0.9 * delay >= logged + MARGIN,
                "{tag}: {delay} s, {logged} s until it is in the log"
            );
            delay
        });
        let answered = 1.1 * delay;
        with_program(&manifests, ProgramKind::Collector, |collector| {
            // A pause differs by up to a half.
            let again = 1.5 * seconds(collector, "exporters.otlp.retry_on_failure.max_interval");
            assert!(2.0 * calm >= again + answered, "{tag}: calm after {calm} looks");
            // Between two looks.
            assert!(stuck >= answered + 2.0, "{tag}: stuck after {stuck} s");
            assert!(seconds(collector, "exporters.otlp.timeout") > 2.0 * answered, "{tag}");
        });
    }
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
fn a_memory_limiter_and_batches_of_the_users_own_have_their_places_in_the_pipeline() {
    let values = "{otelCollector: {memoryLimiter: {enabled: false}, config: {processors: {batch: {}, \
                  memory_limiter: {check_interval: 1s, limit_mib: 100}}}}}";
    let manifests = rendered("tempo-stack", values);
    with_program(&manifests, ProgramKind::Collector, |collector| {
        let processors = &collector.config["service"]["pipelines"]["traces"]["processors"];
        let wanted: Value = ["memory_limiter", "filter/zero-ids", "batch"]
            .map(Value::from)
            .to_vec()
            .into();
        assert_eq!(*processors, wanted);
    });
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
fn one_packet_can_end_no_collector_that_nobody_told_to_take_udp() {
    for manifest in rendered("tempo-stack", "{}") {
        assert!(!manifest.text.contains("UDP"), "{}", manifest.id());
        assert!(!manifest.text.contains("thrift_compact"), "{}", manifest.id());
        assert!(!manifest.text.contains("thrift_binary"), "{}", manifest.id());
    }
}

/// Services by name: type, and the names of their ports with the protocol.
fn services(values: &str) -> Vec<(String, String, Vec<String>)> {
    let manifests = rendered("tempo-stack", values);
    let services = manifests.iter().filter(|m| m.kind == "Service");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    services
        .map(|service| {
            let ports = service.get(&["spec", "ports"]).and_then(Value::as_sequence).unwrap();
            let ports = ports
                .iter()
                .map(|port| format!("{}/{}", text(port.get("name")), text(port.get("protocol"))))
                .collect();
            (service.name.clone(), text(service.get(&["spec", "type"])), ports)
        })
        .collect()
}

#[test]
fn a_load_balancer_has_one_protocol_and_no_metrics() {
    let udp = "receivers: {jaegerThriftCompact: {enabled: true}}";
    let found = services(&format!("otelCollector: {{service: {{type: LoadBalancer}}, {udp}}}"));
    let public: Vec<_> = found.iter().filter(|(_, kind, _)| kind == "LoadBalancer").collect();
    assert_eq!(public.len(), 2, "{found:?}");
    for (name, _, ports) in public {
        let protocol = if name == "otel-collector-udp" { "/UDP" } else { "/TCP" };
        assert!(ports.iter().all(|port| port.ends_with(protocol)), "{name}: {ports:?}");
        assert!(
            ports.iter().all(|port| !port.starts_with("metrics")),
            "{name}: {ports:?}"
        );
    }
    let metrics = found
        .iter()
        .find(|(name, ..)| name == "otel-collector-metrics")
        .unwrap();
    assert_eq!(
        (metrics.1.as_str(), metrics.2.as_slice()),
        ("ClusterIP", &["metrics/TCP".to_owned()][..])
    );
    // Elsewhere one Service takes both.
    let together = services(&format!("otelCollector: {{{udp}}}"));
    assert!(
        together.iter().all(|(name, ..)| name != "otel-collector-udp"),
        "{together:?}"
    );
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
fn the_tenant_of_the_collector_reaches_the_test_and_the_datasource() {
    let values = "{tempo: {config: {multitenancy_enabled: true}}, otelCollector: {config: {exporters: {otlp: {headers: {x-scope-orgid: team-a}}}}}, grafana: {datasource: {enabled: true}}}";
    let manifests = rendered("tempo-stack", values);
    let holding = |words: &[&str]| {
        manifests
            .iter()
            .filter(|m| words.iter().all(|word| m.text.contains(word)))
            .count()
    };
    assert_eq!(holding(&["kind: Pod\n", "name: TENANT", "team-a"]), 1);
    assert_eq!(
        holding(&["httpHeaderName1: X-Scope-OrgID", "httpHeaderValue1: team-a"]),
        1
    );
}

/// An override replaces Tempo's own defaults, too, among them that leave.
#[test]
fn every_tenant_is_told_that_a_refused_request_may_be_sent_again() {
    for (tag, told) in [("2.9.0", false), ("2.10.8", true), ("3.0.3", true)] {
        let values = format!(
            "{{tempo: {{image: {{tag: {tag}}}}}, otelCollector: {{receivers: {{jaegerGrpc: {{enabled: false}}, \
             jaegerThriftHttp: {{enabled: false}}}}}}, tenants: {{enabled: true, default: shared, \
             acceptUnauthenticated: true, list: {{a: {{ports: {{otlpHttp: 4338}}, auth: {{existingSecret: a}}}}}}}}}}"
        );
        let manifests = rendered("tempo-stack", &values);
        for (file, tenants) in [("ingest-open.yaml", 2), ("ingest-closed.yaml", 3)] {
            let data = manifests.iter().find_map(|m| m.value["data"].get(file));
            let data: Value = serde_yaml::from_str(data.unwrap().as_str().unwrap()).unwrap();
            let overrides = data["overrides"].as_mapping().unwrap();
            assert_eq!(overrides.len(), tenants, "{tag} {file}");
            for (tenant, own) in overrides {
                let retry = own["ingestion"].get("retry_info_enabled").and_then(Value::as_bool);
                assert_eq!(retry, told.then_some(true), "{tag} {file} {tenant:?}");
                assert_eq!(
                    own["read"]["max_bytes_per_tag_values_query"],
                    Value::from(1_000_000),
                    "{tag} {file} {tenant:?}"
                );
            }
        }
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

#[test]
fn each_receiver_that_is_off_takes_its_listener_and_its_ports_with_it() {
    for (receiver, port) in [
        ("otlpGrpc", 4317),
        ("otlpHttp", 4318),
        ("jaegerGrpc", 14250),
        ("jaegerThriftHttp", 14268),
        ("jaegerThriftCompact", 6831),
        ("jaegerThriftBinary", 6832),
    ] {
        let values = format!(
            "{{tempo: {{enabled: false}}, otelCollector: {{exporter: {{endpoint: 'x:1'}}, receivers: {{{receiver}: {{enabled: false}}}}}}}}"
        );
        for manifest in rendered("tempo-stack", &values) {
            assert!(
                !manifest.text.contains(&port.to_string()),
                "{receiver}: {}",
                manifest.id()
            );
        }
    }
}

#[test]
fn a_collector_goes_on_until_connections_lead_elsewhere_where_kubernetes_can_wait() {
    for (kube_version, values, sleep, grace) in [
        ("1.34.4", "{}", Some(5), 35),
        ("1.30.0", "{}", Some(5), 35),
        ("1.29.15", "{}", None, 30),
        ("1.34.4", "otelCollector: {drainSeconds: 7}", Some(7), 37),
        ("1.34.4", "otelCollector: {drainSeconds: 0}", None, 30),
    ] {
        let options = RenderOptions::documented("tempo-stack").values(serde_yaml::from_str(values).unwrap());
        let helm = helm().for_kubernetes(kube_version);
        let manifests = helm.template(chart("tempo-stack"), &options).unwrap().manifests;
        let mut workloads = manifests.iter().filter_map(|m| workload(m).unwrap());
        let pod = workloads
            .find(|w| w.containers[0].spec.name == "otel-collector")
            .unwrap();
        let pre_stop = pod.containers[0].spec.lifecycle.clone().and_then(|l| l.pre_stop);
        let found = pre_stop.and_then(|handler| handler.sleep).map(|sleep| sleep.seconds);
        let found_grace = pod.spec().termination_grace_period_seconds.unwrap();
        assert_eq!(
            (found, found_grace),
            (sleep, grace),
            "Kubernetes {kube_version}, {values}"
        );
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
fn every_replica_that_there_may_be_finds_a_claim_of_the_size_that_the_values_ask_for() {
    for (values, count) in [
        ("{}", 2),
        ("{otelCollector: {replicas: 0}}", 0),
        ("{otelCollector: {replicas: 4}}", 4),
        ("{otelCollector: {replicas: null}}", 1),
        (
            "{otelCollector: {autoscaling: {enabled: true, minReplicas: 2, maxReplicas: 5}}}",
            5,
        ),
    ] {
        let manifests = rendered("tempo-stack", values);
        let claims: Vec<String> = manifests
            .iter()
            .filter(|m| m.kind == "PersistentVolumeClaim")
            .map(|m| m.name.clone())
            .collect();
        let mut wanted: Vec<String> = (0..count)
            .map(|n| format!("queue-tempo-stack-otel-collector-{n}"))
            .collect();
        wanted.push("data-tempo-stack-tempo-0".into());
        assert_eq!(claims, wanted, "{values}");
    }
}

#[test]
fn spans_that_wait_are_found_by_every_version_of_the_collector() {
    for tag in ["0.89.0", "0.125.0", "0.143.1", "0.144.0", "0.155.0"] {
        let manifests = rendered("tempo-stack", &format!("otelCollector: {{image: {{tag: {tag}}}}}"));
        with_program(&manifests, ProgramKind::Collector, |collector| {
            // The queue's file is named after the exporter.
            let exporters = collector.get("exporters").and_then(Value::as_mapping).unwrap();
            assert_eq!(exporters.keys().collect::<Vec<_>>(), ["otlp"], "{tag}");
            assert_eq!(
                collector.get_str("extensions.file_storage.directory"),
                Some("/var/lib/otelcol"),
                "{tag}"
            );
        });
    }
}

#[test]
fn an_autoscaler_owns_the_number_of_collectors_alone() {
    for (values, replicas) in [
        ("{}", Some(2)),
        ("{otelCollector: {replicas: null}}", None),
        ("{otelCollector: {autoscaling: {enabled: true}}}", None),
    ] {
        let manifests = rendered("tempo-stack", values);
        let set = manifests
            .iter()
            .find(|m| m.id() == "StatefulSet/tempo-stack-otel-collector")
            .unwrap();
        assert_eq!(
            set.get(&["spec", "replicas"]).and_then(Value::as_i64),
            replicas,
            "{values}"
        );
    }
}

/// Runs the container that looks at the volume before Tempo, on a folder in place of the volume.
fn look_at_the_log(values: &str, files: &[&str]) -> (bool, String) {
    let manifests = rendered("tempo-stack", values);
    let workloads = manifests.iter().filter_map(|m| workload(m).unwrap());
    let inits = workloads.flat_map(|w| w.spec().init_containers.unwrap_or_default());
    let look = inits.into_iter().find(|c| c.name == "check-log").unwrap();
    let data = tempfile::tempdir().unwrap();
    for file in files {
        let file = data.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "").unwrap();
    }
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").args(look.args.unwrap());
    for variable in look.env.unwrap() {
        let value = variable
            .value
            .unwrap()
            .replace("/var/tempo", data.path().to_str().unwrap());
        shell.env(variable.name, value);
    }
    let output = shell.output().unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn a_log_that_the_other_engine_wrote_keeps_tempo_from_starting() {
    let (second, third) = ("{}", "tempo: {version: 3.0.3}");
    let accepted = "tempo: {version: 3.0.3, acceptWalLoss: true}";
    let head = "wal/52b8+single-tenant+vParquet4/meta.json";
    let complete = "wal/blocks/single-tenant/52b8/meta.json";
    let flushed = [complete, "wal/blocks/single-tenant/52b8/flushed"];
    let live_store = "live-store/traces/52b8+single-tenant+vParquet4/meta.json";
    let of_kafka = "live-store/kafka/52b8+single-tenant+vParquet4/meta.json";
    let fleet = "tempo: {mode: microservices, storage: {backend: s3, s3: {bucket: b, region: r}}";
    let over_kafka = format!("{fleet}, version: 3.0.3, kafka: {{address: 'k:9092'}}}}");
    let over_kafka = over_kafka.as_str();
    let second_fleet = format!("{fleet}, version: 2.10.8}}");
    for (values, files, starts) in [
        (third, &[] as &[&str], true),
        (third, &[head], false),
        (third, &[complete], false),
        (third, &flushed, true),
        // What a flush leaves: a head without a trace in it.
        (third, &["wal/52b8+single-tenant+vParquet4/0000000001"], true),
        (third, &[live_store], true),
        (accepted, &[head], true),
        (second, &[head, complete], true),
        (second, &[live_store], false),
        (over_kafka, &[], true),
        (over_kafka, &[head], false),
        (over_kafka, &flushed, true),
        // Of one Tempo 3.0, which would have written it to the store.
        (over_kafka, &[live_store], false),
        // Kafka has what a live-store has.
        (over_kafka, &[of_kafka], true),
        (third, &[of_kafka], true),
        (second, &[of_kafka], true),
        (&second_fleet, &[of_kafka, head], true),
        (&second_fleet, &[live_store], false),
    ] {
        let (started, said) = look_at_the_log(values, files);
        assert_eq!(started, starts, "{values} {files:?}: {said}");
        assert_eq!(started, !said.contains("never reads"), "{said}");
    }
    let (_, said) = look_at_the_log(third, &[head]);
    assert!(
        said.contains("http://tempo.observability.svc.cluster.local:3200/flush"),
        "{said}"
    );
    let (_, said) = look_at_the_log(over_kafka, &[head, live_store]);
    let words = [
        "2 blocks in ",
        "/wal and ",
        "/live-store/traces hold",
        "2.x: POST",
        "3.x: it does",
    ];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

/// A release of this Tempo that sends metrics, with further values of `tempo`.
fn with_metrics(tag: &str, tempo: &str) -> Vec<Manifest> {
    let target = "{url: 'http://p/w', existingSecret: central, username: me, passwordKey: pw}";
    let generator = format!("{{enabled: true, remoteWrite: {{central: {target}}}}}");
    rendered(
        "tempo-stack",
        &format!("{{tempo: {{image: {{tag: {tag}}}, metricsGenerator: {generator}{tempo}}}}}"),
    )
}

/// A tenant's overrides replace the defaults as a whole, so a file that only refused spans would end the processors too.
#[test]
fn while_spans_are_refused_the_processors_run_on() {
    for (tag, range) in [
        ("2.3.0", "off"),
        ("2.9.0", "all"),
        ("2.10.8", "recent"),
        ("3.0.3", "all"),
    ] {
        let manifests = with_metrics(tag, &format!(", traceqlMetrics: {{range: {range}}}"));
        let map = manifests
            .iter()
            .find(|m| m.id() == "ConfigMap/tempo-stack-tempo")
            .unwrap();
        let closed = map.get_str(&["data", "ingest-closed.yaml"]).unwrap();
        let closed: Value = serde_yaml::from_str(closed).unwrap();
        with_program(&manifests, ProgramKind::Tempo, |tempo| {
            let open = &tempo.config["overrides"]["defaults"]["metrics_generator"];
            assert!(
                open["processors"]
                    .as_sequence()
                    .unwrap()
                    .contains(&"span-metrics".into())
            );
            assert_eq!(&closed["overrides"]["*"]["metrics_generator"], open, "{tag}");
        });
    }
}

#[test]
fn traceql_metrics_have_blocks_of_their_own_only_where_tempo_needs_them() {
    for (tag, range, processor, stored, recent) in [
        ("2.3.0", "off", false, None, None),
        ("2.9.0", "recent", true, None, Some("1h")),
        ("2.10.8", "recent", true, None, Some("1h")),
        ("2.10.8", "all", true, Some(true), None),
        ("2.10.8", "off", false, None, None),
        ("3.0.3", "all", false, None, None),
    ] {
        let manifests = with_metrics(tag, &format!(", traceqlMetrics: {{range: {range}}}"));
        with_program(&manifests, ProgramKind::Tempo, |tempo| {
            let processors = &tempo.config["overrides"]["defaults"]["metrics_generator"]["processors"];
            let runs = processors.as_sequence().unwrap().contains(&"local-blocks".into());
            assert_eq!(runs, processor, "{tag} {range}");
            let blocks = tempo.get("metrics_generator.processor.local_blocks");
            let stores = blocks.and_then(|blocks| blocks.get("flush_to_storage")?.as_bool());
            assert_eq!((blocks.is_some(), stores), (processor, stored), "{tag} {range}");
            let after = tempo.get_str("query_frontend.metrics.query_backend_after");
            assert_eq!(after, recent, "{tag} {range}");
        });
    }
}

#[test]
fn a_password_for_metrics_reaches_tempo_as_a_file() {
    let manifests = with_metrics("2.10.8", "");
    with_program(&manifests, ProgramKind::Tempo, |tempo| {
        let target = &tempo.get("metrics_generator.storage.remote_write").unwrap()[0];
        let file = "/etc/remote-write/central/password";
        assert_eq!(target["basic_auth"]["password_file"], Value::from(file));
    });
    let pod = manifests
        .iter()
        .find(|m| m.id() == "StatefulSet/tempo-stack-tempo")
        .unwrap();
    let volumes = pod.get(&["spec", "template", "spec", "volumes"]).unwrap();
    let volume = volumes
        .as_sequence()
        .unwrap()
        .iter()
        .find(|v| v["name"] == "remote-write-central")
        .unwrap();
    let secret: Value = serde_yaml::from_str("{secretName: central, items: [{key: pw, path: password}]}").unwrap();
    assert_eq!(volume["secret"], secret);
}

/// Measured with Tempo 2.9.0, whose Prometheus was away: a stop took 67 s with Tempo's own minute, 7 s with these ten seconds.
#[test]
fn a_prometheus_that_is_away_holds_up_no_stop() {
    for tag in ["2.3.0", "2.9.0", "2.10.8", "3.0.3"] {
        with_program(&with_metrics(tag, ""), ProgramKind::Tempo, |tempo| {
            let deadline = tempo.get_str("metrics_generator.storage.remote_write_flush_deadline");
            assert_eq!(deadline, Some("10s"), "{tag}");
        });
    }
}

#[test]
fn a_link_from_a_span_leads_to_metrics_only_where_there_are_some() {
    let datasource = "grafana: {datasource: {enabled: true, tracesToMetrics: {datasourceUid: prometheus}}}";
    let generator = "tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w'}}";
    for (values, queries) in [
        (format!("{{{datasource}}}"), 0),
        (format!("{{{generator}}}}}, {datasource}}}"), 3),
        (
            format!("{{{generator}, spanMetrics: {{enabled: false}}}}}}, {datasource}}}"),
            0,
        ),
    ] {
        let manifests = rendered("tempo-stack", &values);
        let map = manifests
            .iter()
            .find(|m| m.name == "tempo-stack-grafana-datasource")
            .unwrap();
        let (_, file) = map.get(&["data"]).unwrap().as_mapping().unwrap().iter().next().unwrap();
        let file: Value = serde_yaml::from_str(file.as_str().unwrap()).unwrap();
        let found = &file["datasources"][0]["jsonData"]["tracesToMetrics"]["queries"];
        assert_eq!(found.as_sequence().unwrap().len(), queries, "{values}");
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

/// Values of the chart with a size, and what a container of a workload gets by them: its CPU and memory, and GOMEMLIMIT.
fn sized(values: &str, workload: &str) -> [String; 4] {
    let manifests = rendered("tempo-stack", values);
    let manifest = manifests
        .iter()
        .find(|m| m.name.ends_with(workload) && m.get(&["spec", "template"]).is_some());
    let container = &manifest.unwrap().value["spec"]["template"]["spec"]["containers"][0];
    let resources = &container["resources"];
    let environment = container["env"].as_sequence().unwrap();
    let limit = environment
        .iter()
        .find(|variable| variable["name"] == "GOMEMLIMIT")
        .unwrap();
    [
        &resources["requests"]["cpu"],
        &resources["requests"]["memory"],
        &resources["limits"]["memory"],
        &limit["value"],
    ]
    .map(|value| value.as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_size_fills_in_what_is_empty_and_what_is_set_wins_where_it_equals_the_default_too() {
    assert_eq!(sized("{}", "-tempo"), ["250m", "512Mi", "2Gi", "1717986918"]);
    assert_eq!(sized("{size: medium}", "-tempo"), ["1", "2Gi", "4Gi", "3435973836"]);
    let values = "{size: medium, tempo: {resources: {limits: {memory: 2Gi}}}}";
    assert_eq!(sized(values, "-tempo"), ["1", "2Gi", "2Gi", "1717986918"]);
    assert_eq!(sized("{size: large}", "-otel-collector")[..3], ["2", "1Gi", "2Gi"]);
}

#[test]
fn parts_of_a_fleet_have_the_size_unless_they_or_all_of_them_are_told_otherwise() {
    let fleet = |more: &str, part: &str| {
        let values = format!(
            "{{size: medium, tempo: {{mode: microservices, storage: {{backend: s3, s3: {{bucket: b, region: r}}}}, {more}}}}}"
        );
        sized(&values, part)[1..3].to_vec()
    };
    assert_eq!(fleet("", "-tempo"), ["2Gi", "4Gi"]);
    assert_eq!(fleet("", "-distributor"), ["512Mi", "2Gi"]);
    let own = "components: {distributor: {resources: {limits: {memory: 1Gi}}}}";
    assert_eq!(fleet(own, "-distributor"), ["512Mi", "1Gi"]);
    let all = "resources: {limits: {memory: 3Gi}}";
    assert_eq!(fleet(all, "-distributor"), ["512Mi", "3Gi"]);
}

#[test]
fn the_volume_of_a_size_is_that_of_its_store_and_one_that_is_set_wins() {
    let claim = |tempo: &str| {
        let manifests = rendered("tempo-stack", &format!("{{size: medium, tempo: {tempo}}}"));
        let mut claims = manifests.iter().filter(|m| m.kind == "PersistentVolumeClaim");
        let claim = claims.find(|claim| claim.name.starts_with("data-")).unwrap();
        claim.value["spec"]["resources"]["requests"]["storage"].clone()
    };
    assert_eq!(claim("{}"), "400Gi");
    assert_eq!(claim("{storage: {backend: s3, s3: {bucket: b, region: r}}}"), "40Gi");
    assert_eq!(claim("{persistence: {size: 10Gi}}"), "10Gi");
}

/// An upgrade replaces the StatefulSets of all zones at once.
#[test]
fn the_pods_of_zones_stop_apart_where_kubernetes_can_wait() {
    let storage = "storage: {backend: s3, s3: {bucket: b, region: r}}";
    let zones = "components: {ingester: {zones: [a, b, c]}}";
    let second = format!("tempo: {{mode: microservices, version: 2.10.8, {storage}, {zones}}}");
    let third = format!("tempo: {{mode: microservices, version: 3.0.3, {storage}, kafka: {{address: 'k:9092'}}}}");
    for (values, kubernetes, part, seconds) in [
        (&second, "1.30.0", "ingester", &[None, Some(60), Some(120)][..]),
        (&second, "1.29.0", "ingester", &[None, None, None]),
        (&third, "1.30.0", "live-store", &[None, Some(60)]),
        (&third, "1.29.0", "live-store", &[None, None]),
    ] {
        let options = RenderOptions::documented("tempo-stack").values(serde_yaml::from_str(values).unwrap());
        let helm = helm().for_kubernetes(kubernetes);
        let manifests = helm.template(chart("tempo-stack"), &options).unwrap().manifests;
        let target = format!("-target={part}");
        let workloads = manifests.iter().filter_map(|m| workload(m).unwrap());
        let found: Vec<(Option<i64>, i64)> = workloads
            .filter_map(|workload| {
                let tempo = workload.containers.iter().find(|c| c.spec.name == "tempo")?;
                let runs = tempo.spec.args.as_ref()?.contains(&target);
                let pre_stop = tempo.spec.lifecycle.clone().and_then(|l| l.pre_stop);
                let waits = pre_stop.and_then(|handler| handler.sleep).map(|sleep| sleep.seconds);
                runs.then(|| (waits, workload.spec().termination_grace_period_seconds.unwrap()))
            })
            .collect();
        let waits: Vec<_> = found.iter().map(|(waits, _)| *waits).collect();
        assert_eq!(waits, seconds, "{kubernetes} {part}");
        // What they wait is no part of the time that they have to end.
        let mut own = found.iter().map(|(waits, grace)| grace - waits.unwrap_or(0));
        let first = own.next();
        assert!(own.all(|grace| Some(grace) == first), "{found:?}");
    }
}
