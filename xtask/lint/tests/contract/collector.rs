//! What they promise about the Collector and its Service.

use super::*;

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
