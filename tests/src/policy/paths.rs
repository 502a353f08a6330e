//! Every path that the chart's policies leave open, mode by mode: what isn't in a list is closed.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::OnceLock;

use charts::manifest::Manifest;
use charts::render::{Helm, Prepared, RenderOptions, merge};
use charts::tools::Toolbox;
use charts::workload::workload;
use charts::workspace::Workspace;
use kit::step::{Cancel, Runner};
use serde_yaml::Value;

use super::{End, Labels, Policies, Port};

const HOME: &str = "observability";
const COMPONENT: &str = "app.kubernetes.io/component";
/// Who asks, beside the pods of the release.
const NAMED: &str = "
networkPolicy:
  enabled: true
  ingest: {from: {shop: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}}}
  query: {from: {grafana: {namespaceSelector: {}, podSelector: {matchLabels: {app: grafana}}}}}
  metrics: {from: {prometheus: {namespaceSelector: {}, podSelector: {matchLabels: {app: prometheus}}}}}
";
/// Ports that are tried at everybody, beside those of the containers: listeners that no container names (health,
/// gRPC and gossip), DNS, and those of stores, brokers and other servers.
const TRIED: [u16; 15] = [
    53, 80, 443, 988, 4317, 5353, 6443, 7946, 8443, 9000, 9090, 9092, 9095, 11211, 13133,
];

/// A chart of the workspace, and the helm that renders it.
pub(crate) fn prepared(chart: &str) -> (Helm, Prepared) {
    let workspace = Workspace::find().unwrap();
    let runner = Runner::new(Cancel::default(), false);
    let tools = Toolbox::read(
        workspace.root(),
        Toolbox::default_cache().unwrap(),
        runner.clone(),
        false,
    )
    .unwrap();
    let helm = Helm {
        program: tools.get("helm").unwrap().path,
        kube_version: "1.34.4".into(),
        runner,
    };
    let chart = helm.prepare(&workspace.chart(chart).unwrap()).unwrap();
    (helm, chart)
}

fn chart() -> &'static (Helm, Prepared) {
    static CHART: OnceLock<(Helm, Prepared)> = OnceLock::new();
    CHART.get_or_init(|| prepared("tempo-stack"))
}

fn rendered(values: &str, api: Option<&str>) -> Vec<Manifest> {
    let mut all: Value = serde_yaml::from_str(NAMED).unwrap();
    merge(&mut all, serde_yaml::from_str(values).unwrap());
    let mut options = RenderOptions::documented("tempo-stack").values(all);
    if let Some(api) = api {
        options = options.api(api);
    }
    let (helm, chart) = chart();
    helm.template(chart, &options).unwrap().manifests
}

/// Who there is, by name: the pods of the release by their component, and those around it.
fn cast(manifests: &[Manifest]) -> (Vec<(String, End)>, BTreeSet<u16>) {
    let mut cast = Vec::new();
    let mut ports = BTreeSet::from(TRIED);
    for workload in manifests.iter().filter_map(|manifest| workload(manifest).unwrap()) {
        let labels = workload.pod_labels();
        cast.push((labels[COMPONENT].clone(), End::pod(HOME, labels)));
        let named = workload.containers.iter().flat_map(|c| c.spec.ports.iter().flatten());
        ports.extend(named.map(|port| u16::try_from(port.container_port).unwrap()));
    }
    let own: Vec<_> = cast.iter().map(|(name, _)| name.clone()).collect();
    assert!(
        own.iter()
            .all(|name| own.iter().filter(|other| *other == name).count() == 1),
        "{own:?}"
    );
    let app = |app: &str| Labels::from([("app".to_owned(), app.to_owned())]);
    for (name, namespace) in [
        ("shop", "shop"),
        ("grafana", "monitoring"),
        ("prometheus", "monitoring"),
        ("stranger", "elsewhere"),
        ("neighbour", HOME),
        ("dns", "kube-system"),
        ("openshift-dns", "openshift-dns"),
        ("server", "servers"),
    ] {
        cast.push((name.to_owned(), End::pod(namespace, app(name))));
    }
    for (name, address) in [("internet", "198.51.100.7"), ("metadata", "169.254.169.254")] {
        cast.push((name.to_owned(), End::Address(address.parse().unwrap())));
    }
    (cast, ports)
}

/// A line for each two between whom something is open: `from > to: ports`. Only paths from or to a pod of the
/// release are asked; what only leaves it by any address at all is written once, as `from > *`.
fn open(values: &str, api: Option<&str>) -> String {
    let manifests = rendered(values, api);
    let policies = Policies::of(&manifests).unwrap();
    let (cast, ports) = cast(&manifests);
    let outside = |end: &End| !matches!(end, End::Pod { namespace, labels, .. } if namespace == HOME && labels.contains_key(COMPONENT));
    let mut lines = String::new();
    for (from, asks) in &cast {
        let reach = |to: &End| {
            let mut open = Vec::new();
            for number in &ports {
                let tcp = Port::tcp(*number);
                let udp = Port {
                    protocol: "UDP".into(),
                    ..tcp.clone()
                };
                if policies.allow(asks, to, &tcp) {
                    open.push(number.to_string());
                }
                if policies.allow(asks, to, &udp) {
                    open.push(format!("{number}/UDP"));
                }
            }
            open
        };
        let anywhere = reach(&End::Address("203.0.113.9".parse().unwrap()));
        if !outside(asks) && !anywhere.is_empty() {
            writeln!(lines, "{from} > *: {}", anywhere.join(" ")).unwrap();
        }
        for (to, asked) in &cast {
            if outside(asks) && outside(asked) {
                continue;
            }
            let mut open = reach(asked);
            if outside(asked) {
                open.retain(|port| !anywhere.contains(port));
            }
            if !open.is_empty() {
                writeln!(lines, "{from} > {to}: {}", open.join(" ")).unwrap();
            }
        }
    }
    lines
}

#[track_caller]
fn only(found: &str, wanted: &str) {
    let lines = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    };
    let (found, wanted) = (lines(found), lines(wanted));
    let more: Vec<_> = found.difference(&wanted).collect();
    let less: Vec<_> = wanted.difference(&found).collect();
    assert!(
        more.is_empty() && less.is_empty(),
        "open beyond the list: {more:#?}\nclosed though it is in the list: {less:#?}"
    );
}

#[test]
fn one_tempo_is_reached_by_its_collector_and_whom_the_values_name() {
    only(
        &open("{canary: {enabled: true}}", None),
        "
            canary > otel-collector: 4318
            canary > tempo: 3200
            canary > dns: 53 53/UDP
            otel-collector > tempo: 4317
            otel-collector > dns: 53 53/UDP
            tempo > dns: 53 53/UDP
            test > otel-collector: 4318
            test > tempo: 3200
            test > dns: 53 53/UDP
            shop > otel-collector: 4317 4318 14250 14268
            grafana > tempo: 3200
            prometheus > canary: 3202
            prometheus > otel-collector: 8888
            prometheus > tempo: 3200 3201
            prometheus > test: 3202
        ",
    );
}

#[test]
fn a_changed_port_changes_the_paths() {
    only(
        &open(
            "{otelCollector: {service: {ports: {otlpHttp: 14318, metrics: 18888}, extraPorts: {zipkin: {port: 9411}}}}, tempo: {service: {ports: {http: 13200, otlpGrpc: 14317}}}, helmTest: {enabled: false}}",
            None,
        ),
        "
            otel-collector > tempo: 14317
            otel-collector > dns: 53 53/UDP
            tempo > dns: 53 53/UDP
            shop > otel-collector: 4317 9411 14250 14268 14318
            grafana > tempo: 13200
            prometheus > otel-collector: 18888
            prometheus > tempo: 3201 13200
        ",
    );
}

#[test]
fn mirrors_ask_each_other_and_the_collectors() {
    only(
        &open("{tempo: {replicas: 2}, helmTest: {enabled: false}}", None),
        "
            otel-collector > tempo: 4317
            otel-collector > dns: 53 53/UDP
            tempo > otel-collector: 8888
            tempo > tempo: 3200
            tempo > dns: 53 53/UDP
            shop > otel-collector: 4317 4318 14250 14268
            grafana > tempo: 3200
            prometheus > otel-collector: 8888
            prometheus > tempo: 3200 3201
        ",
    );
}

#[test]
fn a_collector_asks_the_api_server_and_brokers_only_where_the_values_say_so() {
    let with = |more: &str| {
        let values = format!(
            "{{tempo: {{enabled: false}}, otelCollector: {{exporter: {{endpoint: 'tempo.elsewhere.svc:4317'}}{more}}}}}"
        );
        let open = open(&values, None);
        let reached = open.lines().find(|line| line.starts_with("otel-collector > *"));
        reached.unwrap_or_default().to_owned()
    };
    assert_eq!(with(""), "otel-collector > *: 4317");
    let pods = ", presets: {kubernetesAttributes: {enabled: true}}";
    assert_eq!(with(pods), "otel-collector > *: 443 4317 6443");
    let kafka = ", receivers: {kafka: {enabled: true, brokers: ['one:9092', 'two:9000']}}";
    assert_eq!(with(kafka), "otel-collector > *: 4317 9000 9092");
    // Nobody may send to it where nothing listens.
    let off = |key: &str| format!("{key}: {{enabled: false}}");
    let off = ["otlpGrpc", "otlpHttp", "jaegerGrpc", "jaegerThriftHttp"]
        .map(off)
        .join(", ");
    let kafka = "kafka: {enabled: true, brokers: ['one:9092']}";
    let values = format!("{{otelCollector: {{receivers: {{{off}, {kafka}}}}}, helmTest: {{enabled: false}}}}");
    assert!(!open(&values, None).contains("shop > otel-collector"));
}

/// Leaves out what the parts of a fleet have among each other: gRPC and gossip, each with each.
#[track_caller]
fn beside_the_fleet(parts: usize, found: &str) -> String {
    let (inside, rest): (Vec<_>, Vec<_>) = found.lines().partition(|line| line.ends_with(": 7946 9095"));
    assert!(
        inside.iter().all(|line| line.matches("tempo").count() == 2),
        "{inside:#?}"
    );
    assert_eq!(inside.len(), parts * parts, "{inside:#?}");
    rest.join("\n")
}

const S3: &str =
    "{backend: s3, s3: {bucket: traces, endpoint: 'minio.storage.svc:9000', insecure: true, existingSecret: keys}}";

#[test]
fn the_parts_of_a_fleet_reach_each_other_by_grpc_and_gossip() {
    only(
        &beside_the_fleet(
            5,
            &open(&format!("{{tempo: {{mode: microservices, storage: {S3}}}}}"), None),
        ),
        "
            tempo-compactor > *: 9000
            tempo-compactor > dns: 53 53/UDP
            tempo-distributor > dns: 53 53/UDP
            tempo-querier > *: 9000
            tempo-querier > dns: 53 53/UDP
            tempo-query-frontend > *: 9000
            tempo-query-frontend > dns: 53 53/UDP
            otel-collector > tempo-distributor: 4317
            otel-collector > dns: 53 53/UDP
            tempo > *: 9000
            tempo > dns: 53 53/UDP
            test > tempo-query-frontend: 3200
            test > otel-collector: 4318
            test > dns: 53 53/UDP
            shop > otel-collector: 4317 4318 14250 14268
            grafana > tempo-query-frontend: 3200
            prometheus > tempo-compactor: 3200
            prometheus > tempo-distributor: 3200
            prometheus > tempo-querier: 3200
            prometheus > tempo-query-frontend: 3200
            prometheus > otel-collector: 8888
            prometheus > tempo: 3200
        ",
    );
}

#[test]
fn a_fleet_over_kafka_reaches_its_brokers_and_only_those_who_need_them_do() {
    let values = format!(
        "{{tempo: {{mode: microservices, image: {{tag: 3.0.3}}, kafka: {{address: 'kafka:9092'}}, storage: {S3}, cache: {{memcached: {{addresses: ['dns+cache:11211']}}}}, metricsGenerator: {{enabled: true, remoteWrite: {{one: {{url: 'http://prometheus:9090/api/v1/write'}}}}}}}}, helmTest: {{enabled: false}}}}"
    );
    only(
        &beside_the_fleet(9, &open(&values, None)),
        "
            tempo-backend-worker > *: 9000 11211
            tempo-backend-worker > dns: 53 53/UDP
            tempo-distributor > *: 9092
            tempo-distributor > dns: 53 53/UDP
            tempo-metrics-generator > *: 9090 9092
            tempo-metrics-generator > dns: 53 53/UDP
            tempo-querier > *: 9000 11211
            tempo-querier > dns: 53 53/UDP
            tempo-query-frontend > *: 9000 11211
            tempo-query-frontend > dns: 53 53/UDP
            otel-collector > tempo-distributor: 4317
            otel-collector > dns: 53 53/UDP
            tempo-backend-scheduler > *: 9000 11211
            tempo-backend-scheduler > dns: 53 53/UDP
            tempo-block-builder > *: 9000 9092 11211
            tempo-block-builder > dns: 53 53/UDP
            tempo-live-store-zone-2 > *: 9092
            tempo-live-store-zone-2 > dns: 53 53/UDP
            tempo > *: 9092
            tempo > dns: 53 53/UDP
            shop > otel-collector: 4317 4318 14250 14268
            grafana > tempo-query-frontend: 3200
            prometheus > tempo-backend-worker: 3200
            prometheus > tempo-distributor: 3200
            prometheus > tempo-metrics-generator: 3200
            prometheus > tempo-querier: 3200
            prometheus > tempo-query-frontend: 3200
            prometheus > otel-collector: 8888
            prometheus > tempo-backend-scheduler: 3200
            prometheus > tempo-block-builder: 3200
            prometheus > tempo-live-store-zone-2: 3200
            prometheus > tempo: 3200
        ",
    );
}

#[test]
fn a_role_reaches_the_servers_that_give_credentials() {
    let values = "{tempo: {storage: {backend: s3, s3: {bucket: traces, region: eu-central-1}}}, otelCollector: {enabled: false}}";
    only(
        &open(values, None),
        "
            tempo > *: 443
            tempo > dns: 53 53/UDP
            tempo > metadata: 80 988
            shop > tempo: 4317
            grafana > tempo: 3200
            prometheus > tempo: 3200 3201
        ",
    );
}

#[test]
fn a_collector_alone_reaches_its_server_and_whoever_issues_tokens() {
    let values = "{tempo: {enabled: false}, otelCollector: {exporter: {endpoint: 'https://traces.example.com:4317', insecure: false}, auth: {type: oidc, oidc: {issuerUrl: 'https://login.example.com:8443/realms/x', audience: a}}}}";
    only(
        &open(values, None),
        "
            otel-collector > *: 4317 8443
            otel-collector > dns: 53 53/UDP
            shop > otel-collector: 4317 4318 14250 14268
            prometheus > otel-collector: 8888
        ",
    );
}

#[test]
fn on_openshift_dns_is_elsewhere() {
    only(
        &open(
            "{helmTest: {enabled: false}, otelCollector: {enabled: false}}",
            Some("security.openshift.io/v1"),
        ),
        "
            tempo > openshift-dns: 5353 5353/UDP
            shop > tempo: 4317
            grafana > tempo: 3200
            prometheus > tempo: 3200 3201
        ",
    );
}

#[test]
fn nothing_is_rendered_and_nothing_closed_by_default() {
    let (helm, chart) = chart();
    let manifests = helm
        .template(chart, &RenderOptions::documented("tempo-stack"))
        .unwrap()
        .manifests;
    assert_eq!(Policies::of(&manifests).unwrap().count(), 0);
}
