//! Every rule of our own is tripped on purpose: one thing is broken in a real render of a committed
//! case, and exactly that rule must say so.

#![allow(clippy::unwrap_used)]

mod common;

#[path = "common/change.rs"]
mod change;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock};

use charts::cases;
use charts::manifest::Manifest;
use charts::workspace;
use charts::workspace::Case;
use lint::check::{self, LintChart};
use lint::pod_security;
use lint::rules::{self, Subject, Variation};

use change::{Change, What, When, remove, set};
use common::{KUBE_VERSION, helm, toolbox, workspace};

/// A committed case that a case starts from.
#[derive(Debug, Clone, Copy)]
enum Base {
    Default,
    Monitored,
    S3,
    Persistent,
    NoPersistence,
    Tempo3,
    Udp,
    Alerts,
    Tokens,
    Umbrella,
}

impl Base {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Base::Default => ("tempo-stack", "default"),
            Base::Monitored => ("tempo-stack", "servicemonitor"),
            Base::S3 => ("tempo-stack", "s3"),
            Base::Persistent => ("tempo-stack", "queue-persistent"),
            Base::NoPersistence => ("tempo-stack", "persistence-off"),
            Base::Tempo3 => ("tempo-stack", "tempo-3"),
            Base::Udp => ("tempo-stack", "load-balancer"),
            Base::Alerts => ("tempo-stack", "alerts"),
            Base::Tokens => ("tempo-stack", "tokens"),
            Base::Umbrella => ("observability", "default"),
        }
    }
}

fn chart(name: &str) -> &'static LintChart {
    static STACK: OnceLock<LintChart> = OnceLock::new();
    static UMBRELLA: OnceLock<LintChart> = OnceLock::new();
    let cell = if name == "tempo-stack" { &STACK } else { &UMBRELLA };
    cell.get_or_init(|| LintChart::prepare(helm(), workspace().chart(name).unwrap()).unwrap())
}

fn case(chart: &workspace::Chart, name: &str) -> Case {
    let cases = chart.cases().unwrap();
    cases.into_iter().find(|case| case.name == name).unwrap()
}

/// Renders are shared by the cases: each costs a tenth of a second.
fn render(chart: &LintChart, case: &Case, variation: &Variation) -> Vec<Manifest> {
    static RENDERS: OnceLock<Mutex<HashMap<String, Vec<Manifest>>>> = OnceLock::new();
    let key = format!("{} {} {variation:?}", chart.chart.name(), case.name);
    let renders = RENDERS.get_or_init(Mutex::default);
    if let Some(known) = renders.lock().unwrap().get(&key) {
        return known.clone();
    }
    let options = cases::options(&chart.chart, case);
    let manifests = check::render_again(helm(), chart, &options, variation).unwrap();
    renders.lock().unwrap().insert(key, manifests.clone());
    manifests
}

/// The rules that find something in a case with these changes.
fn tripped(base: Base, changes: &[Change]) -> BTreeSet<String> {
    let (chart_name, case_name) = base.names();
    let chart = chart(chart_name);
    let case = case(&chart.chart, case_name);
    let changed = |variation: &Variation, when: When| {
        let mut manifests = render(chart, &case, variation);
        for change in changes
            .iter()
            .filter(|change| change.0 == When::Always || change.0 == when)
        {
            change.apply(&mut manifests);
        }
        manifests
    };
    let options = cases::options(&chart.chart, &case);
    let subject = Subject {
        chart: &chart.chart,
        case: &case.name,
        values: &std::fs::read_to_string(&case.values).unwrap(),
        release: &options.release,
        namespace: &options.namespace,
        manifests: &changed(&Variation::default(), When::Once),
    };
    let again = |variation: &Variation| Ok(changed(variation, When::Again));
    let findings = rules::judge(&subject, &again).unwrap();
    assert!(
        findings.iter().all(|finding| finding.file.starts_with("charts/")),
        "{findings:?}"
    );
    findings.into_iter().map(|finding| finding.rule).collect()
}

/// Each case: the test's name, the case, the changes, and all rules that must find something.
macro_rules! cases {
    ($($name:ident: $base:ident [$($change:expr),+ $(,)?] => $($rule:literal)+;)*) => {
        $(
            #[test]
            fn $name() {
                let wanted = BTreeSet::from([$($rule.to_owned()),+]);
                assert_eq!(tripped(Base::$base, &[$($change),+]), wanted);
            }
        )*

        /// The first rule of each case, which the case is about.
        const COVERED: &[&[&str]] = &[$(&[$($rule),+]),*];
    };
}

const D: &str = "Deployment";
const S: &str = "StatefulSet";
const T: &str = "tempo";
const A: &str = "alerts";
const C: &str = "otel-collector";
const BOARD: &str = "grafana-dashboard-stack";
/// More than the annotations of an object may hold, in one line.
const LONG: &str = match std::str::from_utf8(&[b'x'; 300_000]) {
    Ok(text) => text,
    Err(_) => "",
};

cases! {
    // objects and configurations
    an_object_that_kubernetes_cannot_read_is_found: Monitored
        [set("PersistentVolumeClaim", T, "/spec/accessModes", "ReadWriteOnce")] => "object-readable";
    a_configuration_that_is_not_mounted_where_it_is_read_is_found: Monitored
        [set(S, T, "/spec/template/spec/containers/0/args", "[-config.file=/etc/tempo/other.yaml]")] => "config-readable";

    // pods
    a_deployment_with_a_claim_is_found: NoPersistence
        [set(D, T, "/spec/template/spec/volumes/-", "{name: more, persistentVolumeClaim: {claimName: more}}")]
        => "one-writer" "references-exist";
    two_monoliths_are_found: NoPersistence [set(D, T, "/spec/replicas", "2")] => "monolith-replicas";
    a_selector_that_does_not_match_its_pods_is_found: Monitored
        [set(S, T, "/spec/selector/matchLabels/app.kubernetes.io~1component", "other")] => "selector-matches-pods";
    an_image_without_tag_is_found: Monitored
        [set(S, T, "/spec/template/spec/containers/0/image", "registry:5000/grafana/tempo")] => "image-pinned";
    the_tag_latest_is_found: Monitored
        [set(S, T, "/spec/template/spec/containers/0/image", "grafana/tempo:latest")] => "image-pinned";
    a_missing_request_is_found: Monitored
        [remove(S, T, "/spec/template/spec/containers/0/resources/requests/cpu")] => "resources-set";
    a_gomemlimit_above_the_limit_is_found: Monitored
        [set(S, T, "/spec/template/spec/containers/0/env/0/value", "'4294967296'")] => "gomemlimit";
    a_missing_gomemlimit_is_found: Monitored
        [set(S, T, "/spec/template/spec/containers/0/env", "[]")] => "gomemlimit";
    a_mounted_token_is_found: Default [remove(S, C, "/spec/template/spec/automountServiceAccountToken")] => "token-off";
    a_token_of_an_account_without_rights_is_found: Default
        [set(S, C, "/spec/template/spec/automountServiceAccountToken", "true")] => "token-off";
    service_links_are_found: Default [set(S, C, "/spec/template/spec/enableServiceLinks", "true")] => "service-links-off";
    an_unknown_service_account_is_found: Default
        [set(S, C, "/spec/template/spec/serviceAccountName", "nobody")] => "service-account-exists";
    a_variable_that_is_set_twice_is_found: Default
        [set(S, C, "/spec/template/spec/containers/0/env/-", "{name: GOMEMLIMIT, value: '1'}")] => "unique-names";
    a_path_that_is_mounted_twice_is_found: Default
        [set(S, C, "/spec/template/spec/containers/0/volumeMounts/-", "{name: queue, mountPath: /var/lib/otelcol/}")]
        => "unique-names";

    // dashboards
    a_dashboard_that_is_no_json_is_found: Umbrella
        [set("ConfigMap", BOARD, "/data/no.json", "'{'")] => "dashboard-readable";
    a_dashboard_with_a_long_uid_is_found: Umbrella
        [set("ConfigMap", BOARD, "config:/uid", "a2345678901234567890123456789012345678901")] => "dashboard-readable";
    an_id_of_two_panels_is_found: Umbrella [set("ConfigMap", BOARD, "config:/panels/2/id", "2")] => "dashboard-readable";
    a_dashboard_of_an_old_model_is_found: Umbrella
        [remove("ConfigMap", BOARD, "config:/schemaVersion")] => "dashboard-readable";
    a_panel_without_a_description_is_found: Umbrella
        [remove("ConfigMap", BOARD, "config:/panels/1/description")] => "dashboard-explained";
    a_panel_without_a_unit_is_found: Umbrella
        [remove("ConfigMap", BOARD, "config:/panels/1/fieldConfig/defaults/unit")] => "dashboard-explained";
    a_query_without_a_legend_is_found: Umbrella
        [set("ConfigMap", BOARD, "config:/panels/1/targets/0/legendFormat", "''")] => "dashboard-explained";
    a_query_without_a_datasource_is_found: Umbrella
        [set("ConfigMap", BOARD, "config:/panels/1/targets/0/datasource/uid", "''")] => "dashboard-explained";
    a_placeholder_in_a_query_is_found: Umbrella
        [set("ConfigMap", BOARD, "config:/panels/1/targets/0/expr", "'up{<queue>}'")]
        => "dashboard-filled" "promql-readable";
    a_query_that_is_no_promql_is_found: Umbrella
        [set("ConfigMap", BOARD, "config:/panels/1/targets/0/expr", "'sum(up'")] => "promql-readable";
    a_metric_that_no_program_has_is_found: Umbrella
        [set("ConfigMap", BOARD, "config:/panels/1/targets/0/expr", "tempo_nothing_total")] => "metric-exists";
    a_variable_that_the_dashboard_lacks_is_found: Umbrella
        [set("ConfigMap", BOARD, "config:/panels/1/targets/0/expr", "'up{pod=~\"$pod\"}'")] => "dashboard-filled";
    panels_that_overlap_are_found: Umbrella
        [set("ConfigMap", BOARD, "config:/panels/2/gridPos/x", "11")] => "dashboard-grid";
    a_panel_outside_the_grid_is_found: Umbrella
        [set("ConfigMap", BOARD, "config:/panels/2/gridPos/w", "13")] => "dashboard-grid";
    a_dashboard_that_does_not_fit_is_found: Umbrella
        [set("ConfigMap", BOARD, "config:/description", LONG)] => "dashboard-size";

    // probes
    a_missing_startup_probe_is_found: Monitored
        [remove(S, T, "/spec/template/spec/containers/0/startupProbe")] => "probes-set";
    liveness_on_ready_is_found: Monitored
        [set(S, T, "/spec/template/spec/containers/0/livenessProbe/httpGet/path", "/ready")] => "liveness-not-readiness";
    liveness_that_asks_what_readiness_asks_is_found: Default
        [
            remove(S, C, "/spec/template/spec/containers/0/livenessProbe/tcpSocket"),
            set(S, C, "/spec/template/spec/containers/0/livenessProbe/httpGet", "{path: /, port: health}"),
        ] => "liveness-not-readiness";
    a_probe_of_an_undeclared_port_is_found: Monitored
        [set(S, T, "/spec/template/spec/containers/0/readinessProbe/httpGet/port", "nowhere")] => "probe-port";
    a_health_check_on_localhost_is_found: Monitored
        [set("ConfigMap", C, "config:/extensions/health_check/endpoint", "localhost:13133")] => "health-check-bound";
    a_health_check_that_is_not_started_is_found: Monitored
        [set("ConfigMap", C, "config:/service/extensions", "[file_storage]")] => "health-check-bound";

    // storage
    a_path_outside_the_volumes_is_found: Monitored
        [set("ConfigMap", T, "config:/storage/trace/wal/path", "/data/wal")] => "writable-paths";
    a_read_only_volume_under_the_queue_is_found: Default
        [set(S, C, "/spec/template/spec/containers/0/volumeMounts/1/readOnly", "true")] => "writable-paths";
    the_paths_that_tempo_3_writes_unasked_are_known: Tempo3
        [
            remove("ConfigMap", T, "config:/backend_scheduler/local_work_path"),
            set(S, T, "/spec/template/spec/containers/0/volumeMounts/1/mountPath", "/var/tempo/wal"),
        ] => "writable-paths";
    a_claim_without_a_group_is_found: Monitored
        [remove(S, T, "/spec/template/spec/securityContext/fsGroup")] => "volume-ownership";
    a_claim_template_without_a_group_is_found: Persistent
        [remove(S, C, "/spec/template/spec/securityContext/fsGroupChangePolicy")] => "volume-ownership";
    a_claim_that_goes_with_the_release_is_found: Monitored
        [remove("PersistentVolumeClaim", T, "/metadata/annotations/helm.sh~1resource-policy")] => "claim-kept";
    claims_that_go_with_the_statefulset_are_found: Persistent
        [set(S, C, "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted", "Delete")] => "claim-kept";
    a_secret_that_nobody_makes_is_found: S3
        [set(S, T, "/spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef/name", "nobodys")] => "references-exist";
    a_certificate_for_another_secret_is_found: Tokens
        [set("Certificate", C, "/spec/secretName", "nobodys")] => "references-exist";
    a_mount_without_a_volume_is_found: Monitored
        [set(S, T, "/spec/template/spec/containers/0/volumeMounts/-", "{name: gone, mountPath: /gone}")]
        => "references-exist";

    // secrets
    a_credential_in_a_config_map_is_found: S3
        [set("ConfigMap", T, "config:/storage/trace/s3/secret_key", "hunter2")] => "secret-literal";
    a_credential_in_a_variable_is_found: Monitored
        [set(S, T, "/spec/template/spec/containers/0/env/-", "{name: AWS_SECRET_ACCESS_KEY, value: hunter2}")]
        => "secret-literal";
    expansion_of_variables_in_tempo_is_found: Monitored
        [set(S, T, "/spec/template/spec/containers/0/args/-", "-config.expand-env=true")] => "no-env-expansion";
    a_variable_that_is_not_set_is_found: Monitored
        [set("ConfigMap", C, "config:/exporters/otlp/headers", "{x: '${env:NOBODY}'}")] => "variables-exist";
    a_file_that_no_volume_has_is_found: Monitored
        [set("ConfigMap", C, "config:/exporters/otlp/headers", "{x: '${file:/etc/nobody/password}'}")] => "variables-exist";
    a_lone_dollar_sign_is_found: Monitored
        [set("ConfigMap", C, "config:/exporters/otlp/headers", "{x: $HOME}")] => "variables-exist";

    // Services
    a_service_without_pods_is_found: Persistent
        [set("Service", "otel-collector-headless", "/spec/selector/app.kubernetes.io~1component", "nobody")]
        => "service-selects-one";
    a_service_with_the_pods_of_two_workloads_is_found: Monitored
        [remove("Service", T, "/spec/selector/app.kubernetes.io~1component")] => "service-selects-one" "service-port-exists";
    a_port_without_a_name_is_found: Persistent
        [remove("Service", "otel-collector-headless", "/spec/ports/0/name")] => "service-ports-named";
    a_statefulset_with_somebody_elses_service_is_found: Persistent
        [set(S, C, "/spec/serviceName", "otel-collector")] => "stateful-service";

    // monitors
    a_monitor_that_picks_nothing_is_found: Monitored
        [set("ServiceMonitor", T, "/spec/selector/matchLabels/app.kubernetes.io~1component", "nobody")]
        => "monitor-selects-one";
    a_monitor_that_picks_two_services_is_found: Monitored
        [remove("ServiceMonitor", T, "/spec/selector/matchLabels/app.kubernetes.io~1component")]
        => "monitor-selects-one" "monitor-port";
    a_monitor_of_an_unknown_port_is_found: Monitored
        [set("ServiceMonitor", T, "/spec/endpoints/0/port", "prom-metrics")] => "monitor-port";
    a_monitor_that_selects_by_more_than_the_stable_labels_is_found: Monitored
        [set("ServiceMonitor", T, "/spec/selector/matchLabels/app.kubernetes.io~1part-of", "tempo-stack")]
        => "monitor-stable";

    // alerts
    an_expression_that_is_no_promql_is_found: Alerts
        [set("PrometheusRule", A, "/spec/groups/0/rules/2/expr", "sum(")] => "promql-readable";
    a_metric_with_the_suffix_that_ours_lack_is_found: Alerts
        [set("PrometheusRule", A, "/spec/groups/0/rules/0/expr", "rate(otelcol_receiver_accepted_spans_total[5m])")]
        => "metric-exists";
    a_metric_of_another_version_is_found: Alerts
        [set("PrometheusRule", A, "/spec/groups/1/rules/0/expr", "tempo_ingester_failed_flushes_total > 0")]
        => "metric-exists";
    a_rate_that_nothing_records_is_found: Alerts
        [set("PrometheusRule", A, "/spec/groups/0/rules/0/record", "tempo_stack:other:rate")] => "metric-exists";

    // configurations
    a_limiter_behind_another_processor_is_found: Monitored
        [set("ConfigMap", C, "config:/service/pipelines/traces/processors", "[filter/zero-ids, memory_limiter]")]
        => "memory-limiter-first";
    a_limiter_above_the_limit_is_found: Monitored
        [set("ConfigMap", C, "config:/processors/memory_limiter/limit_mib", "512")] => "memory-limiter-limit";
    a_limiter_without_a_limit_is_found: Default
        [remove(S, C, "/spec/template/spec/containers/0/resources/limits/memory")]
        => "memory-limiter-limit" "resources-set";
    a_batch_processor_before_a_queue_on_disk_is_found: Monitored
        [
            set("ConfigMap", C, "config:/processors/batch", "{timeout: 1s}"),
            set("ConfigMap", C, "config:/service/pipelines/traces/processors/-", "batch"),
        ] => "batch-before-queue";
    a_queue_on_disk_that_gives_up_is_found: Monitored
        [remove("ConfigMap", C, "config:/exporters/otlp/retry_on_failure/max_elapsed_time")] => "queue-durable";
    a_queue_whose_store_is_not_started_is_found: Monitored
        [set("ConfigMap", C, "config:/service/extensions", "[health_check]")] => "queue-durable";
    a_retention_that_only_the_module_knows_is_found: Monitored
        [remove("ConfigMap", T, "config:/overrides/defaults/compaction/block_retention")] => "retention-both-keys";
    a_retention_that_tempo_3_does_not_read_is_found: Tempo3
        [remove("ConfigMap", T, "config:/backend_worker/compaction/block_retention")] => "retention-both-keys";
    two_retentions_that_differ_are_found: Monitored
        [set("ConfigMap", T, "config:/compactor/compaction/block_retention", "336h")] => "retention-both-keys";

    // ports
    a_container_port_that_nothing_listens_on_is_found: Monitored
        [set(S, T, "/spec/template/spec/containers/0/ports/-", "{containerPort: 9411, name: zipkin, protocol: TCP}")]
        => "port-listened";
    a_udp_port_declared_as_tcp_is_found: Udp
        [set(S, C, "/spec/template/spec/containers/0/ports/2/protocol", "TCP")]
        => "port-listened" "listener-declared" "service-port-exists";
    a_receiver_that_no_service_leads_to_is_found: Monitored
        [set("ConfigMap", T, "config:/distributor/receivers/zipkin/endpoint", "0.0.0.0:9411")] => "listener-declared";
    a_service_port_that_leads_nowhere_is_found: Monitored
        [set("Service", T, "/spec/ports/-", "{name: zipkin, port: 9411, protocol: TCP, targetPort: zipkin}")]
        => "service-port-exists";
    a_receiver_without_an_endpoint_is_found: Monitored
        [set("ConfigMap", T, "config:/distributor/receivers/jaeger/protocols/grpc", "{max_recv_msg_size_mib: 4}")]
        => "receiver-endpoint-written";

    // names
    an_object_that_is_rendered_twice_is_found: Monitored
        [Change(When::Always, "PersistentVolumeClaim", T, What::Repeat)] => "unique-objects";
    an_object_in_another_namespace_is_found: Monitored
        [set("PersistentVolumeClaim", T, "/metadata/namespace", "elsewhere").once()] => "in-namespace";
    an_address_with_a_port_that_the_service_lacks_is_found: Monitored
        [set("ConfigMap", C, "config:/exporters/otlp/endpoint", "tempo.observability.svc.cluster.local:9999").once()]
        => "hosts-exist";
    an_address_without_a_service_is_found: Umbrella
        [set("ConfigMap", "grafana-datasource", "config:/datasources/0/url", "http://tempo-query.observability.svc:3200").once()]
        => "hosts-exist";
    an_address_in_another_namespace_is_found: Umbrella
        [set("ConfigMap", "grafana-datasource", "config:/datasources/0/url", "http://tempo.other.svc:3200").once()]
        => "hosts-exist";
    a_name_that_two_releases_share_is_found: Monitored
        [
            set("ServiceAccount", T, "/metadata/name", "tempo"),
            set(S, T, "/spec/template/spec/serviceAccountName", "tempo"),
        ] => "names-disjoint";
    a_label_that_is_too_long_is_found: Monitored
        [set("PersistentVolumeClaim", T, "/metadata/labels/long", "a23456789-123456789-123456789-123456789-123456789-123456789-1234")]
        => "names-fit";
    a_name_that_ends_in_a_dash_is_found: Monitored
        [
            set("ServiceAccount", T, "/metadata/name", "tempo-").again(),
            set("ServiceAccount", T, "/metadata/name", "tempo-").once(),
            set(S, T, "/spec/template/spec/serviceAccountName", "tempo-"),
        ] => "names-fit" "names-disjoint";
    a_host_that_a_rename_leaves_behind_is_found: Monitored
        [set("ConfigMap", C, "config:/exporters/otlp/endpoint", "tempo.observability.svc.cluster.local:4317").again()]
        => "no-stale-host";
    a_short_host_that_a_rename_leaves_behind_is_found: Monitored
        [set("ConfigMap", C, "config:/exporters/otlp/endpoint", "tempo:4317").again()] => "no-stale-host";
    a_namespace_that_a_rename_leaves_behind_is_found: Monitored
        [set("ServiceMonitor", T, "/spec/namespaceSelector/matchNames", "[observability]")] => "no-stale-host";
    a_datasource_that_a_rename_leaves_behind_is_found: Umbrella
        [set("ConfigMap", "grafana-datasource", "config:/datasources/0/url", "http://tempo:3200").again()] => "no-stale-host";

    // upgrades
    a_selector_with_another_label_is_found: Monitored
        [set("Service", T, "/spec/selector/app.kubernetes.io~1part-of", "tempo-stack")] => "selector-stable";
    a_claim_template_with_a_version_is_found: Persistent
        [set(S, C, "/spec/volumeClaimTemplates/0/metadata/labels/app.kubernetes.io~1version", "x")]
        => "selector-stable";
    a_selector_that_the_next_version_changes_is_found: Monitored
        [set(S, T, "/spec/selector/matchLabels/app.kubernetes.io~1name", "renamed").again()] => "immutable-stable";
    a_claim_template_that_the_next_version_changes_is_found: Persistent
        [set(S, C, "/spec/volumeClaimTemplates/0/metadata/labels/x", "y").again()] => "immutable-stable";
    an_object_that_the_next_version_renames_is_found: Monitored
        [set("PersistentVolumeClaim", T, "/metadata/name", "renamed").once()] => "immutable-stable";
    a_configuration_without_a_checksum_is_found: Monitored
        [remove(S, T, "/spec/template/metadata/annotations/checksum~1config")] => "checksum-follows";
    a_secret_without_a_checksum_is_found: S3
        [remove(S, T, "/spec/template/metadata/annotations/checksum~1secret")] => "checksum-follows";
}

#[test]
fn every_rule_is_tripped_by_a_case() {
    let covered: BTreeSet<_> = COVERED.iter().map(|rules| rules[0]).collect();
    let all: BTreeSet<_> = rules::all().map(|rule| rule.name).collect();
    assert_eq!(all.difference(&covered).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn every_committed_case_passes_pod_security_and_the_rules_of_one_render() {
    let mut all = Vec::new();
    for name in ["tempo-stack", "observability"] {
        let chart = chart(name);
        for case in chart.chart.cases().unwrap() {
            let values = std::fs::read_to_string(&case.values).unwrap();
            let manifests = render(chart, &case, &Variation::default());
            all.push((
                &chart.chart,
                cases::options(&chart.chart, &case),
                case.name,
                values,
                manifests,
            ));
        }
    }
    let mut subjects = Vec::new();
    for (chart, options, case, values, manifests) in &all {
        subjects.push(Subject {
            chart,
            case,
            values,
            release: &options.release,
            namespace: &options.namespace,
            manifests,
        });
    }
    let psa = toolbox().get("psa").unwrap();
    let pods = pod_security::judge(&subjects, &psa, KUBE_VERSION, &helm().runner).unwrap();
    for (subject, pods) in subjects.iter().zip(pods) {
        // Those that compare renders are left to `cargo xtask lint`: seven renders a case.
        let mut findings = rules::judge_render(subject);
        findings.extend(pods);
        findings.retain(|finding| !subject.values.contains(&format!("# lint-allow {}:", finding.rule)));
        assert!(
            findings.is_empty(),
            "{}/{}: {findings:#?}",
            subject.chart.name(),
            subject.case
        );
    }
}
