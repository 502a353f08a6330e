//! What they promise about Tempo.

use super::*;

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
