//! Every guard of the chart refuses the values that it is there for, with a message that names the
//! key, the value and the remedy; and without the guard the same values render, so that a test
//! turns red when its guard goes.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use charts::render::{Prepared, RenderOptions};
use kit::failure::{Kind, kind_of};
use tempfile::TempDir;

use common::{helm, workspace};

/// A copy of the chart without its schema, which refuses some of these values before any guard:
/// helm has a flag to skip it. One guard may be emptied.
fn chart(without: Option<&str>) -> (TempDir, Prepared) {
    let temp = tempfile::tempdir().unwrap();
    let source = workspace().chart("tempo-stack").unwrap().dir;
    let target = temp.path().join("tempo-stack");
    for entry in walkdir::WalkDir::new(&source) {
        let entry = entry.unwrap();
        let to = target.join(entry.path().strip_prefix(&source).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(to).unwrap();
        } else if entry.file_name() != "values.schema.json" {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
    if let Some(guard) = without {
        let (file, text) = guard_files(&target)
            .into_iter()
            .find(|(_, text)| text.contains(&definition(guard)))
            .unwrap_or_else(|| panic!("no guard {guard}"));
        std::fs::write(&file, emptied(&text, guard)).unwrap();
    }
    let prepared = Prepared::archive("tempo-stack", target);
    (temp, prepared)
}

fn definition(guard: &str) -> String {
    format!("{{{{- define \"tempo-stack.validate.{guard}\" -}}}}\n")
}

/// The files of guards of the chart in a folder, with their texts; `_validate.tpl`, which runs them, first.
fn guard_files(chart: &Path) -> Vec<(PathBuf, String)> {
    [
        "_validate.tpl",
        "_validate-size.tpl",
        "_validate-tempo.tpl",
        "_validate-storage.tpl",
        "_validate-fleet.tpl",
        "_validate-scaling.tpl",
        "_validate-generator.tpl",
        "_validate-mirror.tpl",
        "_validate-otel-collector.tpl",
        "_validate-doors.tpl",
        "_validate-policies.tpl",
        "_validate-presets.tpl",
        "_validate-query-proxy.tpl",
        "_validate-routes.tpl",
        "_validate-tenants.tpl",
    ]
    .map(|name| chart.join("templates").join(name))
    .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
    .into()
}

/// A file of guards with the body of one guard removed. A body ends at the first bare `{{- end }}`.
fn emptied(text: &str, guard: &str) -> String {
    let start = definition(guard);
    let (before, rest) = text.split_once(&start).unwrap();
    let (body, after) = rest.split_once("\n{{- end }}\n").unwrap();
    assert!(!body.contains("{{- define"), "{guard} ends somewhere else");
    format!("{before}{start}{{{{- end }}}}\n{after}")
}

fn render(chart: &Prepared, values: &str) -> anyhow::Result<()> {
    let values = serde_yaml::from_str(values).unwrap();
    let options = RenderOptions::documented("tempo-stack").values(values);
    helm().template(chart, &options).map(|_| ())
}

/// What a person must read in the message.
fn refuses(guard: &str, values: &str, words: &[&str]) {
    let (_keep, whole) = chart(None);
    let error = render(&whole, values).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Findings);
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    let (_keep, holed) = chart(Some(guard));
    if let Err(error) = render(&holed, values) {
        panic!("another guard refuses it too, so this test would not notice that {guard} is gone: {error}");
    }
}

macro_rules! guards {
    ($($name:ident: $guard:literal $values:literal => $($word:literal),+;)*) => {
        $(
            #[test]
            fn $name() {
                refuses($guard, $values, &[$($word),+]);
            }
        )*

        const COVERED: &[&str] = &[$($guard,)* "serviceTraffic"];
    };
}

guards! {
    peers_of_policies_that_are_off_are_refused: "policyOff"
        "{networkPolicy: {query: {from: {grafana: {podSelector: {}}}}}}"
        => "networkPolicy.query.from names grafana", "networkPolicy.enabled is false", "nobody would be kept out";
    a_peer_that_is_addresses_and_pods_is_refused: "policyPeers"
        "{networkPolicy: {enabled: true, ingest: {from: {edge: {ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}}}}}"
        => "networkPolicy.ingest.from.edge has ipBlock beside a selector", "Make two peers of it";
    a_peer_that_is_nobody_is_refused: "policyPeers"
        "{networkPolicy: {enabled: true, egress: {kafka: {to: {broker: {}}}}}}"
        => "networkPolicy.egress.kafka.to.broker is {}", "a peer has podSelector", "Write one of them";
    a_load_balancer_whose_clients_are_kept_out_is_refused: "policyOutside"
        "{otelCollector: {service: {type: LoadBalancer}}, networkPolicy: {enabled: true, ingest: {from: {shop: {namespaceSelector: {}}}}}}"
        => "otelCollector.service.type is LoadBalancer", "networkPolicy.ingest.from has no ipBlock", "addresses that the pods see";
    a_topic_without_a_broker_is_refused: "kafkaReceiver"
        "{otelCollector: {receivers: {kafka: {enabled: true}}}}"
        => "otelCollector.receivers.kafka.brokers is empty", "Name a broker";
    a_broker_that_is_a_url_is_refused: "kafkaReceiver"
        "{otelCollector: {receivers: {kafka: {enabled: true, brokers: ['kafka://kafka:9092']}}}}"
        => "otelCollector.receivers.kafka.brokers has kafka://kafka:9092", "a host and a port";
    a_pattern_of_topics_is_refused: "kafkaReceiver"
        "{otelCollector: {receivers: {kafka: {enabled: true, brokers: ['kafka:9092'], topic: ^spans}}}}"
        => "otelCollector.receivers.kafka.topic is ^spans", "Name one topic";
    brokers_that_nobody_asks_are_refused: "kafkaReceiver"
        "{otelCollector: {receivers: {kafka: {brokers: ['kafka:9092']}}}}"
        => "otelCollector.receivers.kafka.brokers is kafka:9092", "enabled is false", "Switch the receiver on";
    a_name_without_a_password_is_refused: "kafkaReceiverKeys"
        "{otelCollector: {receivers: {kafka: {enabled: true, brokers: ['kafka:9092'], sasl: {username: tempo}}}}}"
        => "otelCollector.receivers.kafka.sasl.existingSecret is empty", "username is tempo", "Secret with the password";
    a_password_without_a_name_is_refused: "kafkaReceiverKeys"
        "{otelCollector: {receivers: {kafka: {enabled: true, brokers: ['kafka:9092'], sasl: {existingSecret: kafka}}}}}"
        => "otelCollector.receivers.kafka.sasl.username is empty", "existingSecret is kafka", "Set the name";
    a_mechanism_without_a_password_is_refused: "kafkaReceiverKeys"
        "{otelCollector: {receivers: {kafka: {enabled: true, brokers: ['kafka:9092'], sasl: {mechanism: GSSAPI}}}}}"
        => "otelCollector.receivers.kafka.sasl.mechanism is GSSAPI", "SCRAM-SHA-512";
    an_authority_of_plain_text_to_kafka_is_refused: "kafkaReceiverKeys"
        "{otelCollector: {receivers: {kafka: {enabled: true, brokers: ['kafka:9092'], tls: {caSecret: kafka-ca}}}}}"
        => "otelCollector.receivers.kafka.tls.caSecret is kafka-ca", "plain text to Kafka", "tls.enabled to true";
    a_distribution_without_kafka_is_refused: "kafkaReceiverImage"
        "{otelCollector: {image: {repository: otel/opentelemetry-collector-k8s}, receivers: {kafka: {enabled: true, brokers: ['kafka:9092']}}}}"
        => "otelCollector.image.repository is otel/opentelemetry-collector-k8s", "no receiver of Kafka", "opentelemetry-collector-contrib";
    a_receiver_of_kafka_of_another_form_is_refused: "kafkaReceiverImage"
        "{otelCollector: {image: {tag: 0.141.0}, receivers: {kafka: {enabled: true, brokers: ['kafka:9092']}}}}"
        => "otelCollector.receivers.kafka.enabled is true with Collector 0.141.0", "before 0.142", "otelCollector.image.tag";
    a_topic_that_no_pipeline_reads_is_refused: "kafkaReceiverPipeline"
        "{otelCollector: {receivers: {kafka: {enabled: true, brokers: ['kafka:9092']}}, config: {service: {pipelines: {traces: {receivers: [otlp, jaeger]}}}}}}"
        => "leaves kafka out", "Add kafka to the pipeline";
    records_that_are_marked_too_early_are_refused: "kafkaReceiverPipeline"
        "{otelCollector: {receivers: {kafka: {enabled: true, brokers: ['kafka:9092']}}, config: {receivers: {kafka: {message_marking: {after: false}}}}}}"
        => "otelCollector.config.receivers.kafka.message_marking.after is false", "before they are in the queue", "Leave message_marking out";
    a_distribution_without_the_processor_is_refused: "presetImage"
        "{otelCollector: {image: {repository: otel/opentelemetry-collector}, presets: {redaction: {enabled: true}}}}"
        => "otelCollector.image.repository is otel/opentelemetry-collector", "otelCollector.presets.redaction.enabled", "processor redaction", "opentelemetry-collector-contrib";
    redaction_by_a_collector_that_lets_scopes_through_is_refused: "presetVersion"
        "{otelCollector: {image: {tag: 0.140.0}, presets: {redaction: {enabled: true}}}}"
        => "otelCollector.presets.redaction.enabled", "Collector 0.140.0", "scopes", "otelCollector.image.tag";
    a_tail_by_a_collector_that_forgets_is_refused: "presetVersion"
        "{otelCollector: {image: {tag: 0.140.0}, replicas: 1, sampling: {tail: {enabled: true}}}}"
        => "otelCollector.sampling.tail.enabled", "Collector 0.140.0", "forgets traces";
    a_pipeline_around_redaction_is_refused: "presetPipeline"
        "{otelCollector: {presets: {redaction: {enabled: true}}, config: {service: {pipelines: {traces: {processors: [memory_limiter, filter/zero-ids, transform/redaction, filter/redaction]}}}}}}"
        => "otelCollector.config.service.pipelines.traces.processors", "without redaction", "otelCollector.presets.redaction.enabled", "Add redaction";
    a_second_pipeline_around_redaction_is_refused: "presetPipeline"
        "{otelCollector: {presets: {redaction: {enabled: true}}, config: {service: {pipelines: {traces/raw: {receivers: [otlp], exporters: [otlp]}}}}}}"
        => "otelCollector.config.service.pipelines.traces/raw.processors", "without redaction";
    a_redaction_that_is_taken_out_is_refused: "presetPipeline"
        "{otelCollector: {presets: {redaction: {enabled: true}}, config: {processors: {redaction: null}}}}"
        => "otelCollector.config.service.pipelines.traces.processors", "without redaction";
    a_redaction_of_nothing_is_refused: "presetRedaction"
        "{otelCollector: {presets: {redaction: {enabled: true, values: {creditCards: false, emails: false, jwt: false}, keys: {credentials: null}}}}}"
        => "otelCollector.presets.redaction.enabled is true", "nothing is to be masked", "Name something";
    a_pattern_that_nothing_redacts_by_is_refused: "presetRedaction"
        "{otelCollector: {presets: {redaction: {patterns: {customer: 'customer-[0-9]+'}}}}}"
        => "otelCollector.presets.redaction.patterns is set", "otelCollector.presets.redaction.enabled is false", "Switch redaction on";
    a_pattern_that_go_can_not_read_is_refused: "presetPatterns"
        "{otelCollector: {presets: {redaction: {enabled: true, patterns: {customer: '(?=x)y'}}}}}"
        => "otelCollector.presets.redaction.patterns.customer is (?=x)y", "RE2", "look-around";
    a_pattern_that_matches_everything_is_refused: "presetPatterns"
        "{otelCollector: {presets: {drop: {names: {all: 'x*'}}}}}"
        => "otelCollector.presets.drop.names.all is x*", "everything", "at least one character";
    a_processor_of_another_name_is_refused: "presetVersion"
        "{otelCollector: {image: {tag: 0.145.0}, presets: {kubernetesAttributes: {enabled: true, namespaces: [shop]}}}}"
        => "otelCollector.presets.kubernetesAttributes.enabled", "Collector 0.145.0", "before 0.146", "k8s_attributes/shop has another name";
    pods_that_nobody_can_look_up_are_refused: "presetImage"
        "{otelCollector: {image: {repository: otel/opentelemetry-collector}, presets: {kubernetesAttributes: {enabled: true}}}}"
        => "otelCollector.presets.kubernetesAttributes.enabled needs the processor k8s_attributes", "opentelemetry-collector-contrib";
    a_pipeline_around_the_pods_attributes_is_refused: "presetPipeline"
        "{otelCollector: {presets: {kubernetesAttributes: {enabled: true}}, config: {service: {pipelines: {traces: {processors: [memory_limiter, k8s_attributes]}}}}}}"
        => "without transform/kubernetes, otelCollector.presets.kubernetesAttributes.enabled";
    an_attribute_that_the_processor_does_not_know_is_refused: "presetKubernetes"
        "{otelCollector: {presets: {kubernetesAttributes: {enabled: true, attributes: {k8s.pod.nam: true}}}}}"
        => "otelCollector.presets.kubernetesAttributes.attributes has k8s.pod.nam:", "Take it out", "k8s.pod.name";
    an_attribute_of_the_cluster_in_a_namespace_is_refused: "presetKubernetes"
        "{otelCollector: {presets: {kubernetesAttributes: {enabled: true, namespaces: [shop], attributes: {k8s.node.uid: true}}}}}"
        => "attributes has k8s.node.uid", "namespaces is shop", "no Role";
    a_pod_of_which_nothing_is_told_is_refused: "presetKubernetes"
        "{otelCollector: {presets: {kubernetesAttributes: {enabled: true, attributes: {k8s.namespace.name: false, k8s.pod.name: false, k8s.pod.uid: null, k8s.node.name: null, k8s.deployment.name: null, k8s.statefulset.name: null, k8s.daemonset.name: null, k8s.job.name: null, k8s.cronjob.name: null}}}}}"
        => "otelCollector.presets.kubernetesAttributes.enabled is true", "spans would get nothing", "Name something";
    namespaces_that_nobody_asks_for_are_refused: "presetKubernetes"
        "{otelCollector: {presets: {kubernetesAttributes: {namespaces: [shop]}}}}"
        => "otelCollector.presets.kubernetesAttributes.namespaces is set", "enabled is false", "Switch it on";
    rights_for_every_pod_of_the_namespace_are_refused: "presetKubernetesAccount"
        "{otelCollector: {serviceAccount: {create: false}, presets: {kubernetesAttributes: {enabled: true}}}}"
        => "otelCollector.serviceAccount is default", "every pod of the namespace", "otelCollector.serviceAccount.create to true";
    a_tail_of_several_collectors_is_refused: "samplingReplicas"
        "{otelCollector: {sampling: {tail: {enabled: true}}}}"
        => "otelCollector.sampling.tail.enabled is true", "otelCollector.replicas is 2", "part of a trace", "tracesKeptTogether";
    a_tail_under_an_autoscaler_is_refused: "samplingReplicas"
        "{otelCollector: {autoscaling: {enabled: true}, sampling: {tail: {enabled: true}}}}"
        => "otelCollector.autoscaling.enabled is true", "otelCollector.replicas to 1";
    a_tail_of_nobody_knows_how_many_is_refused: "samplingReplicas"
        "{otelCollector: {replicas: null, sampling: {tail: {enabled: true}}}}"
        => "otelCollector.replicas is null", "otelCollector.replicas to 1";
    a_tail_that_keeps_nothing_is_refused: "samplingKeep"
        "{otelCollector: {replicas: 1, sampling: {tail: {enabled: true, keep: {errors: false, slowerThan: '', percent: 0}}}}}"
        => "otelCollector.sampling.tail.keep keeps nothing", "slowerThan";
    a_tail_that_keeps_everything_is_refused: "samplingKeep"
        "{otelCollector: {replicas: 1, sampling: {tail: {enabled: true, keep: {percent: 100}}}}}"
        => "otelCollector.sampling.tail.keep.percent is 100", "Lower it";
    a_tail_that_does_not_wait_is_refused: "samplingKeep"
        "{otelCollector: {replicas: 1, sampling: {tail: {enabled: true, decisionWait: 0s}}}}"
        => "otelCollector.sampling.tail.decisionWait is 0s", "second span";
    more_traces_than_fit_into_memory_are_refused: "samplingMemory"
        "{otelCollector: {replicas: 1, sampling: {tail: {enabled: true, maxTraces: 50000}}}}"
        => "otelCollector.sampling.tail.maxTraces is 50000", "16Ki", "781Mi", "512Mi", "otelCollector.resources.limits.memory";
    a_port_with_the_name_of_zipkins_is_refused: "collectorExtraPorts"
        "{otelCollector: {receivers: {zipkin: {enabled: true}}, service: {extraPorts: {zipkin: {port: 9412}}}}}"
        => "otelCollector.service.extraPorts.zipkin has the name of a port of the chart";
    a_route_to_a_receiver_that_is_off_is_refused: "routesTo"
        "{otelCollector: {receivers: {jaegerGrpc: {enabled: false}}}, routes: {old: {enabled: true, kind: GRPCRoute, to: jaegerGrpc, parentRefs: [{name: public}]}}}"
        => "routes.old.to is \"jaegerGrpc\"", "this receiver is off", "otlpHttp", "routes.old.enabled to false";
    a_route_to_a_receiver_over_udp_is_refused: "routesTo"
        "{otelCollector: {receivers: {jaegerThriftCompact: {enabled: true}}}, routes: {old: {enabled: true, kind: GRPCRoute, to: jaegerThriftCompact, parentRefs: [{name: public}]}}}"
        => "routes.old.to is \"jaegerThriftCompact\"", "no route carries UDP";
    a_route_to_nowhere_is_refused: "routesTo"
        "{tempo: {enabled: false}, otelCollector: {exporter: {endpoint: 'tempo:4317'}}, routes: {q: {enabled: true, kind: Ingress, to: query, hostnames: [q.example], acceptUnauthenticated: true}}}"
        => "routes.q.to is \"query\"", "no such door in this release";
    a_route_of_a_kind_that_a_door_does_not_take_is_refused: "routesKind"
        "{routes: {spans: {enabled: true, kind: HTTPRoute, to: otlpGrpc, parentRefs: [{name: public}]}}}"
        => "routes.spans.kind is \"HTTPRoute\"", "otlpGrpc", "Ingress or GRPCRoute";
    an_ingress_for_every_host_is_refused: "routesFields"
        "{routes: {spans: {enabled: true, kind: Ingress, to: otlpHttp}}}"
        => "routes.spans.hostnames is empty", "Name the hosts";
    a_route_to_no_gateway_is_refused: "routesFields"
        "{routes: {spans: {enabled: true, kind: HTTPRoute, to: otlpHttp}}}"
        => "routes.spans.parentRefs is empty", "Name the Gateway";
    a_certificate_of_a_gateway_route_is_refused: "routesFields"
        "{routes: {spans: {enabled: true, kind: HTTPRoute, to: otlpHttp, parentRefs: [{name: public}], tlsSecret: own}}}"
        => "routes.spans.tlsSecret is \"own\"", "Gateway's listener", "Leave it out";
    a_route_to_queries_that_ask_nobody_is_refused: "routesUnauthenticated"
        "{routes: {q: {enabled: true, kind: Ingress, to: query, hostnames: [q.example]}}}"
        => "routes.q.to is query", "queryProxy.enabled is false", "acceptUnauthenticated";
    a_door_to_no_tempo_is_refused: "queryProxyTempo"
        "{tempo: {enabled: false}, otelCollector: {exporter: {endpoint: 'tempo:4317'}}, queryProxy: {enabled: true, auth: {existingSecret: readers}}}"
        => "queryProxy.enabled is true", "tempo.enabled is false", "set queryProxy.enabled to false";
    a_door_that_nobody_has_a_key_to_is_refused: "queryProxyAuth"
        "{queryProxy: {enabled: true}}"
        => "queryProxy.auth.existingSecret is empty", "htpasswd";
    a_door_whose_users_have_no_name_in_their_secret_is_refused: "queryProxyAuth"
        "{queryProxy: {enabled: true, auth: {existingSecret: readers, existingSecretKey: ''}}}"
        => "queryProxy.auth.existingSecretKey is empty", "htpasswd";
    a_door_with_tls_and_no_certificate_is_refused: "queryProxyTls"
        "{queryProxy: {enabled: true, auth: {existingSecret: readers}, tls: {enabled: true}}}"
        => "queryProxy.tls.existingSecret is empty", "kubernetes.io/tls";
    a_door_with_a_certificate_and_no_tls_is_refused: "queryProxyTls"
        "{queryProxy: {enabled: true, auth: {existingSecret: readers}, tls: {existingSecret: own}}}"
        => "queryProxy.tls.existingSecret is own", "plain text";
    a_door_with_an_old_version_of_tls_is_refused: "queryProxyTls"
        "{queryProxy: {enabled: true, auth: {existingSecret: readers}, tls: {enabled: true, existingSecret: own, minVersion: '1.1'}}}"
        => "queryProxy.tls.minVersion is 1.1", "RFC 8996", "1.2";
    an_old_nginx_without_tls_is_refused: "queryProxyTls"
        "{queryProxy: {enabled: true, auth: {existingSecret: readers}, image: {tag: '1.25.0'}}}"
        => "queryProxy.image.tag is 1.25.0", "1.25.1 or later", "queryProxy.tls.enabled to true";
    tenants_of_users_where_there_are_none_are_refused: "queryProxyTenants"
        "{queryProxy: {enabled: true, auth: {existingSecret: readers}, tenants: {anna: a}}}"
        => "queryProxy.tenants names anna", "tenants.enabled is false", "reads everything";
    a_door_to_tenants_that_nobody_reads_is_refused: "queryProxyTenants"
        "{queryProxy: {enabled: true, auth: {existingSecret: readers}}, tenants: {enabled: true, default: x, acceptUnauthenticated: true}}"
        => "queryProxy.tenants is empty", "tenants.enabled is true", "{grafana: x}";
    a_user_of_an_unknown_tenant_is_refused: "queryProxyTenants"
        "{queryProxy: {enabled: true, auth: {existingSecret: readers}, tenants: {anna: other}}, tenants: {enabled: true, default: x, acceptUnauthenticated: true}}"
        => "queryProxy.tenants.anna is other", "no such tenant", "one of x";
    a_datasource_whose_user_reads_no_tenant_is_refused: "queryProxyTenants"
        "{queryProxy: {enabled: true, auth: {existingSecret: readers}, tenants: {anna: x}}, tenants: {enabled: true, default: x, acceptUnauthenticated: true}, grafana: {datasource: {enabled: true, basicAuth: {user: grafana, passwordVariable: P}}}}"
        => "grafana.datasource.basicAuth.user is grafana", "queryProxy.tenants doesn't name";
    a_door_with_one_port_for_two_things_is_refused: "queryProxyPorts"
        "{queryProxy: {enabled: true, auth: {existingSecret: readers}, healthPort: 3200}}"
        => "queryProxy.healthPort and queryProxy.service.port are both 3200";
    a_datasource_that_shows_nothing_at_the_door_is_refused: "grafanaCredentials"
        "{queryProxy: {enabled: true, auth: {existingSecret: readers}}, grafana: {datasource: {enabled: true}}}"
        => "grafana.datasource.basicAuth.user is empty", "401", "Secret readers";
    a_datasource_of_the_sidecar_without_a_password_is_refused: "grafanaCredentials"
        "{grafana: {datasource: {enabled: true, basicAuth: {user: grafana}}}}"
        => "grafana.datasource.basicAuth.passwordVariable is empty", "envFromSecret";
    a_datasource_of_the_operator_without_a_password_is_refused: "grafanaCredentials"
        "{grafana: {datasource: {enabled: true, kind: grafanaDatasource, basicAuth: {user: grafana}}}}"
        => "grafana.datasource.basicAuth.existingSecret is empty", "whose key password";
    tenants_that_nobody_names_are_refused: "tenantIds"
        "{tenants: {enabled: true}, otelCollector: {enabled: false}}"
        => "tenants.list is empty", "tenants.enabled is true", "Name the tenants";
    a_tenant_that_tempo_refuses_is_refused: "tenantIds"
        "{tenants: {enabled: true, default: 'a|b', acceptUnauthenticated: true}}"
        => "tenants.default is \"a|b\"", "Tempo refuses", "at most 150";
    a_tenant_that_would_be_a_folder_is_refused: "tenantIds"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true, list: {'..': {}}}}"
        => "tenants.list... is \"..\"", "of a folder";
    a_tenant_that_would_be_all_others_is_refused: "tenantIds"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true, list: {'*': {}}}}"
        => "tenants.list.* is \"*\"", "no limits of their own";
    common_receivers_without_a_tenant_are_refused: "tenantReceivers"
        "{tenants: {enabled: true, list: {a: {ports: {otlpHttp: 4338}, auth: {existingSecret: a}}}}}"
        => "tenants.default is empty", "otelCollector.receivers.jaegerGrpc.enabled", "switch these receivers off";
    udp_beside_tenants_is_refused: "tenantUdp"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true}, otelCollector: {receivers: {jaegerThriftBinary: {enabled: true}}}}"
        => "otelCollector.receivers.jaegerThriftBinary.enabled is true", "tenants.enabled is true", "write into x";
    a_tenant_without_a_credential_is_refused: "tenantAuth"
        "{tenants: {enabled: true, list: {a: {ports: {otlpHttp: 4338}, auth: {type: none}}}}, otelCollector: {receivers: {otlpGrpc: {enabled: false}, otlpHttp: {enabled: false}, jaegerGrpc: {enabled: false}, jaegerThriftHttp: {enabled: false}}}}"
        => "tenants.list.a.auth.type is none", "write in its name", "tenants.acceptUnauthenticated";
    a_tenant_without_a_secret_is_refused: "tenantAuth"
        "{tenants: {enabled: true, list: {a: {ports: {otlpHttp: 4338}}}}, otelCollector: {receivers: {otlpGrpc: {enabled: false}, otlpHttp: {enabled: false}, jaegerGrpc: {enabled: false}, jaegerThriftHttp: {enabled: false}}}}"
        => "tenants.list.a.auth.existingSecret is empty", "key tokens", "one token a line";
    a_secret_of_a_tenant_that_nothing_reads_is_refused: "tenantAuth"
        "{tenants: {enabled: true, acceptUnauthenticated: true, list: {a: {ports: {otlpHttp: 4338}, auth: {type: none, existingSecret: a}}}}, otelCollector: {receivers: {otlpGrpc: {enabled: false}, otlpHttp: {enabled: false}, jaegerGrpc: {enabled: false}, jaegerThriftHttp: {enabled: false}}}}"
        => "tenants.list.a.auth.existingSecret is a", "type is none";
    an_unknown_way_to_be_a_tenant_is_refused: "tenantAuth"
        "{tenants: {enabled: true, list: {a: {ports: {otlpHttp: 4338}, auth: {type: oidc, existingSecret: a}}}}, otelCollector: {receivers: {otlpGrpc: {enabled: false}, otlpHttp: {enabled: false}, jaegerGrpc: {enabled: false}, jaegerThriftHttp: {enabled: false}}}}"
        => "tenants.list.a.auth.type is \"oidc\"", "bearer, basic or none";
    a_default_tenant_without_a_credential_is_refused: "tenantAuth"
        "{tenants: {enabled: true, default: x}}"
        => "tenants.default is x", "otelCollector.auth.type is none", "otelCollector.tls.clientCa", "tenants.acceptUnauthenticated";
    two_tenants_with_one_credential_are_refused: "tenantCredentials"
        "{tenants: {enabled: true, list: {a: {ports: {otlpHttp: 4338}, auth: {existingSecret: one}}, b: {ports: {otlpHttp: 4348}, auth: {existingSecret: one}}}}, otelCollector: {receivers: {otlpGrpc: {enabled: false}, otlpHttp: {enabled: false}, jaegerGrpc: {enabled: false}, jaegerThriftHttp: {enabled: false}}}}"
        => "tenants.list.a.auth and tenants.list.b.auth both read key tokens of Secret one", "a Secret or a key of its own";
    a_tenant_with_the_common_credential_is_refused: "tenantCredentials"
        "{tenants: {enabled: true, default: x, list: {a: {ports: {otlpHttp: 4338}, auth: {existingSecret: one}}}}, otelCollector: {auth: {type: bearer, existingSecret: one}}}"
        => "otelCollector.auth and tenants.list.a.auth both read";
    a_tenants_burst_below_a_batch_is_refused: "tenantLimits"
        "{tenants: {enabled: true, list: {a: {ports: {otlpHttp: 4338}, auth: {existingSecret: a}, limits: {ingestBurstBytes: 1000}}}}, otelCollector: {receivers: {otlpGrpc: {enabled: false}, otlpHttp: {enabled: false}, jaegerGrpc: {enabled: false}, jaegerThriftHttp: {enabled: false}}}}"
        => "tenants.list.a.limits.ingestBurstBytes is 1000", "largest batch", "9437184";
    a_limit_of_a_tenant_that_nothing_reads_is_refused: "tenantLimits"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true, list: {a: {limits: {maxSeries: 1}}}}}"
        => "tenants.list.a.limits.maxSeries is set", "tenants.list.a.overrides";
    a_retention_of_a_tenant_that_is_none_is_refused: "tenantRetention"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true, list: {a: {retention: soon}}}}"
        => "tenants.list.a.retention is \"soon\"", "not a duration", "1d12h";
    a_retention_of_a_tenant_below_the_poll_is_refused: "tenantRetention"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true, list: {a: {retention: 2m}}}}"
        => "tenants.list.a.retention is \"2m\"", "blocklist_poll";
    tenants_that_send_more_than_fits_are_refused: "tenantMemory"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true, list: {a: {}}}, tempo: {limits: {ingestBytesPerSecond: 100000000}}}"
        => "2 tenants", "200000000 bytes per second together", "2Gi", "143165576 or less";
    tenants_with_an_old_tempo_are_refused: "tenantVersion"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true}, tempo: {image: {tag: 2.8.0}}}"
        => "tenants.enabled is true with Tempo 2.8.0", "2.9", "2.10.8";
    overrides_of_ones_own_beside_tenants_are_refused: "tenantOverrides"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true}, tempo: {disk: {guard: {enabled: false}}, config: {overrides: {per_tenant_override_config: /own.yaml}}}}"
        => "tempo.config.overrides.per_tenant_override_config is /own.yaml", "tenants.list.<tenant>.overrides";
    tenants_that_tempo_does_not_tell_apart_are_refused: "tenantSwitch"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true}, tempo: {config: {multitenancy_enabled: false}}}"
        => "tempo.config.multitenancy_enabled is false", "tenants.enabled is true";
    another_tenant_in_the_collectors_file_is_refused: "tenantConfig"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true}, otelCollector: {config: {exporters: {otlp: {headers: {x-scope-orgid: other}}}}}}"
        => "what comes in for x", "the exporter otlp", "X-Scope-OrgID";
    another_receiver_in_the_pipeline_of_a_tenant_is_refused: "tenantConfig"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true, list: {a: {ports: {otlpHttp: 4338}, auth: {existingSecret: a}}}}, otelCollector: {config: {service: {pipelines: {traces/tenant-a: {receivers: [otlp]}}}}}}"
        => "service.pipelines.traces/tenant-a.receivers", "in the name of a";
    a_receiver_of_a_tenant_that_asks_nobody_is_refused: "tenantConfig"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true, list: {a: {ports: {otlpHttp: 4338}, auth: {existingSecret: a}}}}, otelCollector: {config: {receivers: {otlp/tenant-a: {protocols: {http: {auth: null}}}}}}}"
        => "otelCollector.config.receivers.otlp/tenant-a.protocols.http.auth.authenticator is removed", "tenants.list.a.auth";
    a_test_as_an_unknown_tenant_is_refused: "tenantTest"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true}, helmTest: {client: {tenant: nobody}}}"
        => "helmTest.client.tenant is nobody", "no such tenant";
    a_test_as_a_tenant_where_there_is_none_is_refused: "tenantTest"
        "{helmTest: {client: {tenant: nobody}}}"
        => "helmTest.client.tenant is nobody", "tenants.enabled is false";
    two_tenants_at_one_port_are_refused: "ports"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true, list: {a: {ports: {otlpHttp: 4338, otlpGrpc: 4338}, auth: {existingSecret: a}}}}}"
        => "tenants.list.a.ports.otlpGrpc and tenants.list.a.ports.otlpHttp are both 4338", "Change one of them";
    a_claim_too_small_for_the_queues_of_tenants_is_refused: "collectorQueueSize"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true, list: {a: {ports: {otlpHttp: 4338}, auth: {existingSecret: a}}, b: {ports: {otlpHttp: 4348}, auth: {existingSecret: b}}}}}"
        => "otelCollector.queue.persistence.size is 4Gi", "each of 3 queues", "twice the queue (1Gi)";
    a_distribution_that_lets_in_every_tenant_is_refused: "doorImage"
        "{tenants: {enabled: true, default: x, acceptUnauthenticated: true, list: {a: {ports: {otlpHttp: 4338}, auth: {existingSecret: a}}}}, otelCollector: {image: {repository: otel/opentelemetry-collector}}}"
        => "otelCollector.image.repository is otel/opentelemetry-collector", "tenants.list has tenants with auth";
    a_canary_without_a_way_for_its_tenant_is_refused: "canary"
        "{tenants: {enabled: true, list: {a: {ports: {otlpGrpc: 4337}, auth: {existingSecret: a}}}}, canary: {enabled: true}, otelCollector: {receivers: {otlpGrpc: {enabled: false}, otlpHttp: {enabled: false}, jaegerGrpc: {enabled: false}, jaegerThriftHttp: {enabled: false}}}}"
        => "canary.enabled is true", "has ports.otlpHttp";
    tls_without_a_certificate_is_refused: "doorCertificate"
        "{otelCollector: {tls: {enabled: true}}}"
        => "otelCollector.tls.existingSecret is empty", "otelCollector.tls.enabled is true", "kubernetes.io/tls", "certManager";
    a_certificate_of_two_sources_is_refused: "doorCertificate"
        "{otelCollector: {tls: {enabled: true, existingSecret: own, certManager: {enabled: true, issuerRef: {name: ca}}}}}"
        => "otelCollector.tls.existingSecret is own", "certManager.enabled is true", "Leave existingSecret out";
    a_certificate_that_nobody_issues_is_refused: "doorCertificate"
        "{otelCollector: {tls: {enabled: true, certManager: {enabled: true}}}}"
        => "otelCollector.tls.certManager.issuerRef.name is empty", "name of an Issuer";
    a_certificate_whose_key_has_no_name_is_refused: "doorCertificate"
        "{otelCollector: {tls: {enabled: true, existingSecret: own, existingSecretKeys: {key: ''}}}}"
        => "otelCollector.tls.existingSecretKeys.key is empty", "tls.key";
    a_certificate_without_tls_is_refused: "doorCertificate"
        "{otelCollector: {tls: {existingSecret: own}}}"
        => "otelCollector.tls.existingSecret is own", "otelCollector.tls.enabled is false", "plain text";
    a_ca_of_clients_without_tls_is_refused: "doorCertificate"
        "{otelCollector: {tls: {clientCa: {existingSecret: ca}}}}"
        => "otelCollector.tls.clientCa.existingSecret is ca", "otelCollector.tls.enabled is false";
    an_old_version_of_tls_at_the_receivers_is_refused: "doorVersion"
        "{otelCollector: {tls: {enabled: true, existingSecret: own, minVersion: '1.1'}}}"
        => "otelCollector.tls.minVersion is 1.1", "RFC 8996", "1.2";
    an_old_version_of_tls_at_tempo_is_refused: "doorVersion"
        "{tempo: {tls: {enabled: true, existingSecret: own, minVersion: '1.0'}}}"
        => "tempo.tls.minVersion is 1.0", "RFC 8996";
    an_old_version_of_tls_in_the_collectors_file_is_refused: "doorVersion"
        "{otelCollector: {config: {receivers: {otlp: {protocols: {grpc: {tls: {min_version: '1.0'}}}}}}}}"
        => "otelCollector.config.receivers.otlp.protocols.grpc.tls.min_version is 1.0", "1.2";
    an_old_version_of_tls_in_tempos_file_is_refused: "doorVersion"
        "{tempo: {config: {distributor: {receivers: {otlp: {protocols: {grpc: {tls: {min_version: '1.1'}}}}}}}}}"
        => "tempo.config.distributor.receivers.otlp.protocols.grpc.tls.min_version is 1.1", "1.2";
    an_unknown_way_to_authenticate_is_refused: "doorAuth"
        "{otelCollector: {auth: {type: kerberos}}}"
        => "otelCollector.auth.type is \"kerberos\"", "bearer, basic or oidc";
    tokens_without_a_secret_are_refused: "doorAuth"
        "{otelCollector: {auth: {type: bearer}}}"
        => "otelCollector.auth.existingSecret is empty", "type is bearer", "tokens", "one token a line";
    passwords_without_a_secret_are_refused: "doorAuth"
        "{otelCollector: {auth: {type: basic}}}"
        => "otelCollector.auth.existingSecret is empty", "type is basic", "htpasswd";
    tokens_that_nothing_reads_are_refused: "doorAuth"
        "{otelCollector: {auth: {existingSecret: tokens}}}"
        => "otelCollector.auth.existingSecret is tokens", "type is none", "nothing would read it";
    a_provider_without_an_audience_is_refused: "doorAuth"
        "{otelCollector: {auth: {type: oidc, oidc: {issuerUrl: 'https://login.example.com'}}}}"
        => "otelCollector.auth.oidc.audience is empty", "oidc";
    udp_beside_authentication_is_refused: "doorUdp"
        "{otelCollector: {auth: {type: bearer, existingSecret: tokens}, receivers: {jaegerThriftCompact: {enabled: true}}}}"
        => "otelCollector.receivers.jaegerThriftCompact.enabled is true", "otelCollector.auth.type is bearer", "UDP", "Switch this receiver off";
    udp_beside_tls_is_refused: "doorUdp"
        "{otelCollector: {tls: {enabled: true, existingSecret: own}, receivers: {jaegerThriftBinary: {enabled: true}}}}"
        => "otelCollector.receivers.jaegerThriftBinary.enabled is true", "otelCollector.tls.enabled is true", "UDP";
    a_distribution_that_cannot_authenticate_is_refused: "doorImage"
        "{otelCollector: {auth: {type: bearer, existingSecret: tokens}, image: {repository: otel/opentelemetry-collector}}}"
        => "otelCollector.image.repository is otel/opentelemetry-collector", "auth.type is bearer", "opentelemetry-collector-contrib";
    a_receiver_that_goes_around_tls_is_refused: "doorConfig"
        "{otelCollector: {tls: {enabled: true, existingSecret: own}, config: {receivers: {jaeger: {protocols: {grpc: {tls: null}}}}}}}"
        => "otelCollector.config.receivers.jaeger.protocols.grpc.tls.cert_file is removed", "otelCollector.tls.enabled is true", "a way around it";
    a_receiver_that_goes_around_authentication_is_refused: "doorConfig"
        "{otelCollector: {auth: {type: bearer, existingSecret: tokens}, config: {receivers: {otlp: {protocols: {http: {auth: null}}}}}}}"
        => "otelCollector.config.receivers.otlp.protocols.http.auth.authenticator is removed", "auth.type is bearer", "a way around it";
    a_list_of_extensions_without_authentication_is_refused: "doorConfig"
        "{otelCollector: {auth: {type: bearer, existingSecret: tokens}, config: {service: {extensions: [health_check, file_storage]}}}}"
        => "otelCollector.config.service.extensions", "bearertokenauth/receivers", "Add bearertokenauth/receivers";
    tls_at_tempo_without_a_certificate_is_refused: "tempoTls"
        "{tempo: {tls: {enabled: true}}}"
        => "tempo.tls.existingSecret is empty", "tempo.tls.enabled is true", "ca.crt";
    a_certificate_of_tempo_without_tls_is_refused: "tempoTls"
        "{tempo: {tls: {existingSecret: own}}}"
        => "tempo.tls.existingSecret is own", "tempo.tls.enabled is false", "plain text";
    a_collector_that_tempo_would_refuse_is_refused: "tempoTls"
        "{tempo: {tls: {enabled: true, existingSecret: own, clientCaSecret: ca}}}"
        => "otelCollector.exporter.tls.clientSecret is empty", "tempo.tls.clientCaSecret is ca", "Tempo would refuse the Collector";
    a_receiver_of_tempo_that_goes_around_tls_is_refused: "tempoTls"
        "{tempo: {tls: {enabled: true, existingSecret: own}, config: {distributor: {receivers: {otlp: {protocols: {grpc: {tls: null}}}}}}}}"
        => "tempo.config.distributor.receivers.otlp.protocols.grpc.tls.cert_file is removed", "tempo.tls.enabled is true", "a way around it";
    certificates_of_an_exporter_in_plain_text_are_refused: "exporterTls"
        "{otelCollector: {exporter: {tls: {caSecret: ca}}}}"
        => "otelCollector.exporter.tls.caSecret is ca", "otelCollector.exporter.insecure is true", "to false";
    a_canary_without_the_key_to_the_door_is_refused: "canary"
        "{canary: {enabled: true}, otelCollector: {auth: {type: basic, existingSecret: users}}}"
        => "canary.enabled is true", "helmTest.client", "credentialsSecret";
    a_release_of_nothing_is_refused: "components"
        "{tempo: {enabled: false}, otelCollector: {enabled: false}}"
        => "tempo.enabled", "otelCollector.enabled", "both false", "Switch one of them on";
    one_name_for_two_services_is_refused: "serviceNames"
        "{tempo: {service: {name: traces}}, otelCollector: {service: {name: traces}}}"
        => "tempo.service.name", "otelCollector.service.name", "traces", "another name";
    the_name_of_the_headless_service_is_refused: "serviceNames"
        "{otelCollector: {service: {name: tempo-stack-otel-collector-headless}, queue: {persistence: {enabled: true}}}}"
        => "otelCollector.service.name", "tempo-stack-otel-collector-headless", "another name";
    a_service_that_would_begin_with_a_digit_is_refused: "serviceNames"
        "{fullnameOverride: '1e3', otelCollector: {queue: {persistence: {enabled: true}}}}"
        => "headless Service", "1e3-otel-collector-headless", "Set fullnameOverride";
    a_service_with_a_dot_in_its_name_is_refused: "serviceNames"
        "{fullnameOverride: team.a, tempo: {service: {name: ''}}}"
        => "tempo.service.name", "team.a-tempo", "Set fullnameOverride";
    a_port_that_is_used_twice_is_refused: "ports"
        "{tempo: {service: {ports: {otlpGrpc: 3200}}}}"
        => "tempo.service.ports.http", "tempo.service.ports.otlpGrpc", "3200", "Change one of them";
    a_port_that_the_health_check_has_is_refused: "ports"
        "{otelCollector: {internalPorts: {healthCheck: 4318}}}"
        => "otelCollector.internalPorts.healthCheck", "otelCollector.service.ports.otlpHttp", "4318", "Change one of them";
    a_size_that_is_not_a_quantity_is_refused: "quantities"
        "{tempo: {persistence: {size: 10 gigs}}}"
        => "tempo.persistence.size", "10 gigs", "for example 512Mi";
    a_third_monolith_is_refused: "tempoReplicas"
        "{tempo: {replicas: 3}}" => "tempo.replicas", "3", "Set it to 1, or to 2 for mirrors";
    mirrors_without_claims_are_refused: "mirrorVolume"
        "{tempo: {replicas: 2, persistence: {enabled: false}}}"
        => "tempo.persistence.enabled is false", "tempo.replicas is 2", "Switch persistence on";
    mirrors_on_one_claim_are_refused: "mirrorVolume"
        "{tempo: {replicas: 2, persistence: {existingClaim: traces}}}"
        => "tempo.persistence.existingClaim", "traces", "Remove the claim's name";
    mirrors_on_a_claim_that_many_may_write_are_refused: "tempoAccessMode"
        "{tempo: {replicas: 2, persistence: {accessMode: ReadWriteMany}}}"
        => "tempo.persistence.accessMode", "ReadWriteMany", "Set it to ReadWriteOnce";
    mirrors_that_acknowledge_too_soon_are_refused: "mirrorVersion"
        "{tempo: {replicas: 2, version: 2.8.3}}" => "tempo.replicas is 2", "2.8.3", "Choose Tempo 2.9 or later";
    mirrors_without_a_collector_are_refused: "mirrorCollector"
        "{tempo: {replicas: 2}, otelCollector: {enabled: false}}"
        => "tempo.replicas is 2", "otelCollector.enabled is false", "Switch the Collector on";
    mirrors_behind_queues_without_claims_are_refused: "mirrorCollector"
        "{tempo: {replicas: 2}, otelCollector: {queue: {persistence: {enabled: false}}}}"
        => "tempo.replicas is 2", "otelCollector.queue.persistence.enabled is false", "Set the type to file";
    mirrors_behind_queues_that_count_batches_are_refused: "mirrorCollector"
        "{tempo: {replicas: 2}, otelCollector: {version: 0.129.0}}"
        => "tempo.replicas is 2", "0.129.0", "Choose 0.130 or later";
    mirrors_behind_collectors_that_nobody_counts_are_refused: "mirrorCollector"
        "{tempo: {replicas: 2}, otelCollector: {replicas: null}}"
        => "otelCollector.replicas is null", "tempo.replicas is 2", "Set a number";
    mirrors_beside_another_destination_are_refused: "mirrorExporter"
        "{tempo: {replicas: 2}, otelCollector: {exporter: {endpoint: 'elsewhere:4317'}}}"
        => "otelCollector.exporter.endpoint", "elsewhere:4317", "Remove it";
    a_mirror_with_another_address_is_refused: "mirrorExporter"
        "{tempo: {replicas: 2}, otelCollector: {config: {exporters: {otlp/mirror-1: {endpoint: 'elsewhere:4317'}}}}}"
        => "otelCollector.config.exporters.otlp/mirror-1.endpoint", "elsewhere:4317", "Remove it";
    a_mirror_that_gets_nothing_is_refused: "mirrorExporter"
        "{tempo: {replicas: 2}, otelCollector: {config: {service: {pipelines: {traces: {exporters: [otlp]}}}}}}"
        => "otlp/mirror-1", "mirror 1 would get nothing", "service.pipelines.traces.exporters";
    mirrors_that_send_the_same_series_are_refused: "mirrorGenerator"
        "{tempo: {replicas: 2, metricsGenerator: {enabled: true, remoteWrite: {one: {url: 'http://prometheus:9090/api/v1/write'}}}}}"
        => "tempo.metricsGenerator.enabled is true", "tempo.replicas is 2", "Set tempo.metricsGenerator.enabled to false";
    mirrors_with_one_folder_in_a_bucket_are_refused: "mirrorPrefix"
        "{tempo: {replicas: 2, storage: {backend: s3, s3: {bucket: b, region: r}}, config: {storage: {trace: {s3: {prefix: both}}}}}}"
        => "tempo.config.storage.trace.s3.prefix", "both", "Set tempo.storage.s3.prefix";
    mirrors_with_one_folder_by_an_argument_are_refused: "mirrorPrefix"
        "{tempo: {replicas: 2, storage: {backend: s3, s3: {bucket: b, region: r}}, extraArgs: {storage.trace.s3.prefix: both}}}"
        => "tempo.extraArgs", "storage.trace.s3.prefix", "Set tempo.storage.s3.prefix";
    mirrors_of_which_one_would_delete_the_other_are_refused: "mirrorPrefix"
        "{tempo: {replicas: 2, storage: {backend: s3, s3: {bucket: traces, region: eu-central-1}}, config: {storage: {trace: {empty_tenant_deletion_enabled: true}}}}}"
        => "tempo.config.storage.trace.empty_tenant_deletion_enabled is true", "would delete it", "tempo.replicas to 1";
    a_collector_that_would_get_queries_is_refused: "mirrorPorts"
        "{tempo: {replicas: 2}, otelCollector: {service: {extraPorts: {http: {port: 9411}}}}}"
        => "otelCollector.service.extraPorts.http", "tempo.replicas is 2", "Give it another name";
    a_claim_too_small_for_the_queues_of_two_mirrors_is_refused: "collectorQueueSize"
        "{tempo: {replicas: 2}, otelCollector: {queue: {size: 1500Mi}}}"
        => "otelCollector.queue.persistence.size", "4Gi", "for each mirror twice the queue", "Make it larger";
    a_claim_that_many_may_write_is_refused: "tempoAccessMode"
        "{tempo: {persistence: {accessMode: ReadWriteMany}}}"
        => "tempo.persistence.accessMode", "ReadWriteMany", "Set it to ReadWriteOnce";
    a_tempo_older_than_2_3_is_refused: "tempoVersion"
        "{tempo: {image: {tag: 2.2.4}}}" => "tempo.image.tag", "2.2.4", "2.3 to 3.0";
    a_tempo_newer_than_3_0_is_refused: "tempoVersion"
        "{tempo: {version: 3.1.0}}" => "tempo.version", "3.1.0", "2.3 to 3.0";
    a_tag_that_hides_tempos_version_is_refused: "tempoVersion"
        "{tempo: {image: {tag: latest}}}" => "tempo.image.tag", "latest", "Set tempo.version";
    an_ingester_in_tempo_3_is_refused: "tempoConfigBlocks"
        "{tempo: {image: {tag: 3.0.3}, config: {ingester: {max_block_duration: 5m}}}}"
        => "tempo.config.ingester", "3.0.3", "live_store";
    a_live_store_in_tempo_2_3_is_refused: "tempoConfigBlocks"
        "{tempo: {image: {tag: 2.3.0}, config: {live_store: {max_trace_idle: 1s}}}}"
        => "tempo.config.live_store", "2.3.0", "Remove it";
    a_port_that_only_tempos_file_knows_is_refused: "tempoConfigPorts"
        "{tempo: {config: {server: {http_listen_port: 3201}}}}"
        => "tempo.config.server.http_listen_port", "3201", "Set tempo.service.ports.http";
    credentials_in_tempos_file_are_refused: "tempoConfigCredentials"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r}}, config: {storage: {trace: {s3: {secret_key: hunter2}}}}}}"
        => "tempo.config.storage.trace.s3.secret_key", "ConfigMap", "tempo.storage.s3.existingSecret";
    a_retention_that_is_no_duration_is_refused: "tempoRetention"
        "{tempo: {retention: {period: 3 days}}}" => "tempo.retention.period", "3 days", "for example 2w, 3d";
    a_retention_of_nothing_is_refused: "tempoRetention"
        "{tempo: {retention: {period: 0s}}}" => "tempo.retention.period", "0s", "for example 3d";
    a_retention_below_the_poll_is_refused: "tempoRetentionPoll"
        "{tempo: {retention: {period: 1m}}}" => "tempo.retention.period", "1m", "blocklist_poll";
    a_claim_that_would_not_be_used_is_refused: "tempoExistingClaim"
        "{tempo: {persistence: {enabled: false, existingClaim: old-traces}}}"
        => "tempo.persistence.existingClaim", "old-traces", "Switch persistence on";
    an_unknown_backend_is_refused: "tempoBackend"
        "{tempo: {storage: {backend: swift}}}" => "tempo.storage.backend", "swift", "local, s3, gcs or azure";
    s3_without_a_bucket_is_refused: "tempoStoreName"
        "{tempo: {storage: {backend: s3, s3: {region: eu-west-1}}}}" => "tempo.storage.s3.bucket", "empty", "Set its name";
    s3_without_a_place_is_refused: "tempoS3Endpoint"
        "{tempo: {storage: {backend: s3, s3: {bucket: b}}}}"
        => "tempo.storage.s3.endpoint", "tempo.storage.s3.region", "both empty", "Set the region";
    an_endpoint_with_a_scheme_is_refused: "tempoS3Endpoint"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, endpoint: 'https://minio:9000'}}}}"
        => "tempo.storage.s3.endpoint", "https://minio:9000", "without a scheme";
    inline_credentials_beside_a_secret_are_refused: "tempoS3Credentials"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r, existingSecret: kept, accessKey: a, secretKey: s}}}}"
        => "tempo.storage.s3.existingSecret", "kept", "Keep the Secret";
    half_a_pair_of_credentials_is_refused: "tempoS3KeyPair"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r, accessKey: a}}}}"
        => "tempo.storage.s3.secretKey", "empty", "existingSecret";
    a_collector_older_than_0_89_is_refused: "collectorVersion"
        "{otelCollector: {image: {tag: 0.88.0}}}" => "otelCollector.image.tag", "0.88.0", "0.89.0 and later";
    a_tag_that_hides_the_collectors_version_is_refused: "collectorVersion"
        "{otelCollector: {image: {tag: nightly}}}" => "otelCollector.image.tag", "nightly", "Set otelCollector.version";
    a_collector_with_nowhere_to_send_is_refused: "collectorExporter"
        "{tempo: {enabled: false}}" => "otelCollector.exporter.endpoint", "empty", "host and port";
    a_collector_without_a_way_in_is_refused: "collectorReceivers"
        "{otelCollector: {receivers: {otlpGrpc: {enabled: false}, otlpHttp: {enabled: false}, jaegerGrpc: {enabled: false}, jaegerThriftHttp: {enabled: false}, jaegerThriftCompact: {enabled: false}, jaegerThriftBinary: {enabled: false}}}}"
        => "otelCollector.receivers", "all off", "Switch one on";
    a_port_that_only_the_collectors_file_knows_is_refused: "collectorConfigPorts"
        "{otelCollector: {config: {receivers: {otlp: {protocols: {grpc: {endpoint: '0.0.0.0:9999'}}}}}}}"
        => "otelCollector.config.receivers.otlp.protocols.grpc.endpoint", "9999", "otelCollector.service.ports.otlpGrpc";
    a_pipeline_with_an_unknown_member_is_refused: "collectorPipelines"
        "{otelCollector: {config: {service: {pipelines: {traces: {exporters: [otlp, nobody]}}}}}}"
        => "otelCollector.config.service.pipelines.traces.exporters", "nobody", "Define";
    a_limiter_without_a_limit_is_refused: "collectorMemoryLimiter"
        "{otelCollector: {resources: {limits: {memory: null}}}}"
        => "otelCollector.resources.limits.memory", "not set", "Set the memory limit";
    a_limiter_that_refuses_everything_is_refused: "collectorMemoryLimiter"
        "{otelCollector: {memoryLimiter: {limitPercent: 50, spikePercent: 50}}}"
        => "otelCollector.memoryLimiter.spikePercent", "50", "Lower it";
    an_unknown_queue_is_refused: "collectorQueueType"
        "{otelCollector: {queue: {type: kafka}}}" => "otelCollector.queue.type", "kafka", "file or memory";
    a_claim_for_a_queue_in_memory_is_refused: "collectorQueuePersistence"
        "{otelCollector: {queue: {type: memory, size: 64Mi, persistence: {enabled: true}}}}"
        => "otelCollector.queue.persistence.enabled", "memory", "Set the type to file";
    an_autoscaler_without_room_is_refused: "collectorAutoscaling"
        "{otelCollector: {autoscaling: {enabled: true, minReplicas: 4, maxReplicas: 3}}}"
        => "otelCollector.autoscaling.minReplicas", "4", "maxReplicas (3)", "Lower it";
    an_autoscaler_without_a_request_is_refused: "collectorAutoscaling"
        "{otelCollector: {autoscaling: {enabled: true}, resources: {requests: {cpu: null}}}}"
        => "otelCollector.resources.requests.cpu", "not set", "percentage of the request";
    a_queue_larger_than_the_memory_is_refused: "collectorQueueSize"
        "{otelCollector: {queue: {type: memory, size: 400Mi, persistence: {enabled: false}}}}" => "otelCollector.queue.size", "400Mi", "Set it to less";
    a_misspelt_key_is_refused: "keys"
        "{tempo: {retenton: {period: 3d}}}" => "tempo.retenton", "Did you mean tempo.retention?";
    the_name_of_the_metrics_service_is_refused: "serviceNames"
        "{tempo: {service: {name: otel-collector-metrics}}}"
        => "tempo.service.name", "metrics Service", "otel-collector-metrics", "another name";
    the_name_of_the_service_for_udp_is_refused: "serviceNames"
        "{tempo: {service: {name: otel-collector-udp}}, otelCollector: {service: {type: LoadBalancer}}}"
        => "tempo.service.name", "for UDP", "otel-collector-udp", "another name";
    a_load_balancers_class_without_one_is_refused: "serviceFields"
        "{tempo: {service: {loadBalancerClass: internal}}}"
        => "tempo.service.loadBalancerClass", "internal", "ClusterIP", "Set that type";
    source_ranges_on_a_node_port_are_refused: "serviceFields"
        "{otelCollector: {service: {type: NodePort, loadBalancerSourceRanges: [10.0.0.0/8]}}}"
        => "otelCollector.service.loadBalancerSourceRanges", "10.0.0.0/8", "NodePort", "LoadBalancer";
    a_policy_for_the_outside_on_an_inner_service_is_refused: "serviceFields"
        "{otelCollector: {service: {externalTrafficPolicy: Local}}}"
        => "otelCollector.service.externalTrafficPolicy", "Local", "leave the field out";
    two_families_of_one_stack_are_refused: "serviceFamilies"
        "{tempo: {service: {ipFamilies: [IPv4, IPv6]}}}"
        => "tempo.service.ipFamilies", "IPv6", "PreferDualStack";
    a_node_port_for_no_port_is_refused: "serviceNodePorts"
        "{otelCollector: {service: {type: NodePort, nodePorts: {metrics: 30888}}}}"
        => "otelCollector.service.nodePorts.metrics", "30888", "otlpGrpc";
    a_node_port_that_is_used_twice_is_refused: "serviceNodePorts"
        "{tempo: {service: {type: NodePort, nodePorts: {http: 30320, otlpGrpc: 30320}}}}"
        => "tempo.service.nodePorts.http", "tempo.service.nodePorts.otlpGrpc", "30320", "Change one";
    an_extra_port_with_a_name_of_the_chart_is_refused: "collectorExtraPorts"
        "{otelCollector: {service: {extraPorts: {otlp-grpc: {port: 9411}}}}}"
        => "otelCollector.service.extraPorts.otlp-grpc", "another name";
    an_extra_port_named_as_the_metrics_is_refused: "collectorExtraPorts"
        "{otelCollector: {service: {extraPorts: {metrics: {port: 9411}}}}}"
        => "otelCollector.service.extraPorts.metrics", "another name";
    an_extra_port_named_by_a_number_is_refused: "collectorExtraPorts"
        "{otelCollector: {service: {extraPorts: {'9411': {port: 9411}}}}}"
        => "otelCollector.service.extraPorts.9411", "at least one letter", "zipkin";
    an_extra_port_with_two_dashes_is_refused: "collectorExtraPorts"
        "{otelCollector: {service: {extraPorts: {a--b: {port: 9411}}}}}"
        => "otelCollector.service.extraPorts.a--b", "no two dashes";
    a_volume_on_the_chart_s_own_path_is_refused: "extraVolumes"
        "{otelCollector: {extraVolumes: {x: {mountPath: /var/lib/otelcol/, source: {emptyDir: {}}}}}}"
        => "otelCollector", "/var/lib/otelcol", "another mountPath";
    a_volume_with_a_name_of_the_chart_is_refused: "extraVolumes"
        "{tempo: {extraVolumes: [{name: data, emptyDir: {}}]}}" => "tempo.extraVolumes", "data", "another name";
    a_mount_of_no_volume_is_refused: "extraVolumes"
        "{tempo: {extraVolumeMounts: [{name: nobody, mountPath: /x}]}}"
        => "tempo.extraVolumeMounts", "nobody", "tempo.extraVolumes";
    a_variable_that_stands_twice_is_refused: "extraEnv"
        "{tempo: {extraEnv: [{name: A, value: a}, {name: A, value: b}]}}" => "tempo.extraEnv", "A twice", "Remove one";
    a_prefix_that_climbs_is_refused: "tempoStorePrefix"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r, prefix: a/../b}}}}"
        => "tempo.storage.s3.prefix", "a/../b", "team-a/tempo";
    a_prefix_with_two_slashes_is_refused: "tempoStorePrefix"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r, prefix: a//b}}}}"
        => "tempo.storage.s3.prefix", "a//b", "team-a/tempo";
    a_bucket_with_a_folder_is_refused: "tempoStorePrefix"
        "{tempo: {storage: {backend: s3, s3: {bucket: b/tempo, region: r}}}}"
        => "tempo.storage.s3.bucket", "b/tempo", "tempo.storage.s3.prefix";
    gcs_without_a_bucket_is_refused: "tempoStoreName"
        "{tempo: {storage: {backend: gcs}}}" => "tempo.storage.gcs.bucket", "empty", "Set its name";
    azure_without_an_account_is_refused: "tempoStoreName"
        "{tempo: {storage: {backend: azure, azure: {container: c, existingSecret: s}}}}"
        => "tempo.storage.azure.account", "empty", "Set its name";
    a_container_with_a_folder_is_refused: "tempoStorePrefix"
        "{tempo: {storage: {backend: azure, azure: {account: a, container: c/d, existingSecret: s}}}}"
        => "tempo.storage.azure.container", "c/d", "tempo.storage.azure.prefix";
    a_session_token_without_a_secret_is_refused: "tempoS3Session"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r, existingSecretKeys: {sessionToken: t}}}}}"
        => "tempo.storage.s3.existingSecretKeys.sessionToken", "is t", "into a Secret";
    an_authority_over_http_is_refused: "tempoS3Ca"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r, insecure: true, caSecret: ca}}}}"
        => "tempo.storage.s3.caSecret", "is ca", "Set insecure to false";
    an_encryption_before_2_8_is_refused: "tempoS3Sse"
        "{tempo: {image: {tag: 2.7.2}, storage: {backend: s3, s3: {bucket: b, region: r, sse: {type: SSE-S3}}}}}"
        => "tempo.storage.s3.sse.type", "SSE-S3", "2.8.0 or later";
    kms_without_a_key_is_refused: "tempoS3Sse"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r, sse: {type: SSE-KMS}}}}}"
        => "tempo.storage.s3.sse.kmsKeyId", "empty", "Set its id or ARN";
    a_key_without_kms_is_refused: "tempoS3Sse"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r, sse: {type: SSE-S3, kmsKeyId: k}}}}}"
        => "tempo.storage.s3.sse.kmsKeyId", "\"k\"", "Set the type to SSE-KMS";
    an_encryption_context_that_is_no_object_is_refused: "tempoS3Sse"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r, sse: {type: SSE-KMS, kmsKeyId: k, kmsEncryptionContext: team}}}}}"
        => "tempo.storage.s3.sse.kmsEncryptionContext", "\"team\"", "Write for example";
    an_archive_is_refused: "tempoS3StorageClass"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r, storageClass: GLACIER}}}}"
        => "tempo.storage.s3.storageClass", "GLACIER", "STANDARD_IA";
    a_gcs_endpoint_without_a_path_is_refused: "tempoGcs"
        "{tempo: {storage: {backend: gcs, gcs: {bucket: b, endpoint: 'gcs:4443'}}}}"
        => "tempo.storage.gcs.endpoint", "gcs:4443", "/storage/v1/";
    gcs_credentials_that_would_not_be_sent_are_refused: "tempoGcs"
        "{tempo: {storage: {backend: gcs, gcs: {bucket: b, endpoint: 'http://gcs/storage/v1/', insecure: true, existingSecret: kept}}}}"
        => "tempo.storage.gcs.insecure", "kept", "Set insecure to false";
    google_without_credentials_is_refused: "tempoGcs"
        "{tempo: {storage: {backend: gcs, gcs: {bucket: b, insecure: true}}}}"
        => "tempo.storage.gcs.insecure", "endpoint is empty", "Set insecure to false";
    two_kinds_of_azure_credentials_are_refused: "tempoAzure"
        "{tempo: {storage: {backend: azure, azure: {account: a, container: c, existingSecret: kept, useFederatedToken: true}}}}"
        => "tempo.storage.azure.existingSecret", "tempo.storage.azure.useFederatedToken", "Keep one";
    azure_without_credentials_is_refused: "tempoAzure"
        "{tempo: {storage: {backend: azure, azure: {account: a, container: c}}}}"
        => "tempo.storage.azure.existingSecret", "empty", "Name a Secret";
    an_identity_that_would_not_be_used_is_refused: "tempoAzure"
        "{tempo: {storage: {backend: azure, azure: {account: a, container: c, existingSecret: kept, userAssignedId: i}}}}"
        => "tempo.storage.azure.userAssignedId", "is i", "Set useManagedIdentity to true";
    an_azure_suffix_with_a_scheme_is_refused: "tempoAzure"
        "{tempo: {storage: {backend: azure, azure: {account: a, container: c, existingSecret: kept, endpointSuffix: 'https://b'}}}}"
        => "tempo.storage.azure.endpointSuffix", "https://b", "blob.core";
    a_folder_at_azure_that_nothing_is_deleted_from_is_refused: "tempoAzurePrefix"
        "{tempo: {image: {tag: 3.0.3}, storage: {backend: azure, azure: {account: a, container: c, existingSecret: kept, prefix: team-a}}}}"
        => "tempo.storage.azure.prefix is team-a with Tempo 3.0.3", "never deletes a block", "a container of its own";
    mirrors_at_azure_of_which_one_deletes_nothing_are_refused: "tempoAzurePrefix"
        "{tempo: {replicas: 2, storage: {backend: azure, azure: {account: a, container: c, existingSecret: kept}}}}"
        => "tempo.replicas is 2 with blocks at Azure and Tempo 2.10.8", "never deletes a block", "tempo.image.tag to 2.9.5";
    a_cache_before_2_4_is_refused: "tempoCache"
        "{tempo: {image: {tag: 2.3.1}, storage: {backend: gcs, gcs: {bucket: b}}, cache: {memcached: {addresses: ['m:11211']}}}}"
        => "tempo.cache.memcached.addresses", "m:11211", "2.4.0 or later";
    a_cache_before_a_volume_is_refused: "tempoCache"
        "{tempo: {cache: {memcached: {addresses: ['m:11211']}}}}"
        => "tempo.cache.memcached.addresses", "m:11211", "Leave the addresses out";
    a_cache_without_a_port_is_refused: "tempoCache"
        "{tempo: {storage: {backend: gcs, gcs: {bucket: b}}, cache: {memcached: {addresses: [memcached]}}}}"
        => "tempo.cache.memcached.addresses", "\"memcached\"", "memcached.cache.svc:11211";
    a_cache_of_nothing_is_refused: "tempoCache"
        "{tempo: {storage: {backend: gcs, gcs: {bucket: b}}, cache: {memcached: {addresses: ['m:11211'], roles: []}}}}"
        => "tempo.cache.memcached.roles", "empty", "Name a role";
    two_lists_of_caches_are_refused: "tempoCache"
        "{tempo: {storage: {backend: gcs, gcs: {bucket: b}}, cache: {memcached: {addresses: ['m:11211']}}, config: {cache: {caches: [{}]}}}}"
        => "tempo.config.cache.caches", "m:11211", "Keep one";
    an_azure_key_in_the_configuration_is_refused: "tempoConfigCredentials"
        "{tempo: {config: {storage: {trace: {azure: {storage_account_key: hunter2}}}}}}"
        => "tempo.config.storage.trace.azure.storage_account_key", "ConfigMap", "tempo.storage.azure.existingSecret";
    an_encryption_key_in_the_configuration_is_refused: "tempoConfigCredentials"
        "{tempo: {config: {storage: {trace: {s3: {sse: {encryption_key: hunter2}}}}}}}"
        => "tempo.config.storage.trace.s3.sse.encryption_key", "ConfigMap", "tempo.storage.s3.sse";
    a_key_with_a_line_break_is_refused: "tempoS3KeyText"
        "{tempo: {storage: {backend: s3, s3: {bucket: b, region: r, accessKey: \"a\\n\", secretKey: s}}}}"
        => "tempo.storage.s3.accessKey", "line break", "Remove it";
    a_flat_limit_is_refused: "tempoConfigOverrides"
        "{tempo: {config: {overrides: {ingestion_rate_limit_bytes: 5}}}}"
        => "tempo.config.overrides.ingestion_rate_limit_bytes", "5", "tempo.config.overrides.defaults";
    a_reserve_that_a_volume_never_has_again_is_refused: "tempoDiskReserve"
        "{tempo: {disk: {guard: {reserve: 7Gi}}}}"
        => "tempo.persistence.size", "10Gi", "7168Mi", "tempo.disk.guard.reserve";
    a_reserve_that_fills_up_before_tempo_refuses_is_refused: "tempoDiskReserve"
        "{tempo: {disk: {guard: {reserve: 100Mi}}}}"
        => "tempo.disk.guard.reserve", "100Mi", "224Mi", "tempo.limits.ingestBytesPerSecond";
    a_volume_too_small_for_its_reserve_is_refused: "tempoDiskReserve"
        "{tempo: {persistence: {size: 300Mi}}}"
        => "tempo.persistence.size", "300Mi", "224Mi", "Make the volume larger";
    a_reserve_that_is_not_a_quantity_is_refused: "quantities"
        "{tempo: {disk: {guard: {reserve: 7 gigs}}}}"
        => "tempo.disk.guard.reserve", "7 gigs", "for example 512Mi";
    a_file_of_overrides_beside_the_guard_s_is_refused: "tempoDiskOverrides"
        "{tempo: {config: {overrides: {per_tenant_override_config: /x.yaml}}}}"
        => "tempo.config.overrides.per_tenant_override_config", "/x.yaml", "tempo.disk.guard.enabled";
    a_volume_that_can_t_hold_the_retention_is_refused: "tempoDiskExpected"
        "{tempo: {disk: {expectedSpansPerSecond: 1000}}}"
        => "tempo.persistence.size", "10Gi", "1000 spans/s", "31Gi for 3d";
    a_size_that_there_is_not_is_refused: "size"
        "{size: huge}"
        => "size is huge", "large, medium, small", "leave it empty";
    a_size_that_its_collectors_can_t_send_to_mirrors_is_refused: "sizeThroughput"
        "{size: large, tempo: {replicas: 2}}"
        => "otelCollector.replicas is 2", "size is large", "50000 spans/s", "Set it to 6 or more";
    a_size_that_its_partitions_can_t_take_is_refused: "sizeThroughput"
        "{size: large, tempo: {mode: microservices, image: {tag: 3.0.3}, storage: {backend: s3, s3: {bucket: b, region: r}}, kafka: {address: 'kafka:9092'}}}"
        => "tempo.kafka.partitions is 2", "size is large", "need 4 of them";
    a_volume_of_a_size_that_can_t_hold_the_retention_is_refused: "tempoDiskExpected"
        "{size: small, tempo: {retention: {period: 2w}}}"
        => "tempo.persistence.size is 40Gi", "1000 spans/s", "for 2w";
    a_range_that_is_not_one_is_refused: "traceqlRange"
        "{tempo: {traceqlMetrics: {range: day}}}"
        => "tempo.traceqlMetrics.range", "day", "off, recent or all";
    a_range_on_a_tempo_without_traceql_metrics_is_refused: "traceqlRange"
        "{tempo: {image: {tag: 2.3.0}, traceqlMetrics: {range: all}}}"
        => "tempo.traceqlMetrics.range is all", "2.3.0", "tempo.image.tag";
    a_range_that_the_memory_can_not_hold_is_refused: "traceqlMemory"
        "{tempo: {traceqlMetrics: {range: recent}, resources: {limits: {memory: 512Mi}}}}"
        => "tempo.traceqlMetrics.range is recent", "tempo.resources.limits.memory at 512Mi", "1Gi or more";
    a_password_of_remote_write_in_clear_is_refused: "tempoConfigCredentials"
        "{tempo: {config: {metrics_generator: {storage: {remote_write: [{url: 'http://p', basic_auth: {password: x}}]}}}}}"
        => "tempo.config.metrics_generator.storage.remote_write", "basic_auth.password", "tempo.metricsGenerator.remoteWrite";
    a_volume_named_as_that_of_a_target_is_refused: "extraVolumes"
        "{tempo: {extraVolumes: {remote-write-p: {mountPath: /x, source: {emptyDir: {}}}}, metricsGenerator: {enabled: true,
          remoteWrite: {p: {url: 'http://p/w', existingSecret: s, tokenKey: t}}}}}"
        => "tempo.extraVolumes has remote-write-p", "another name";
    metrics_without_a_target_are_refused: "generatorTargets"
        "{tempo: {metricsGenerator: {enabled: true}}}"
        => "tempo.metricsGenerator.remoteWrite", "empty", "Name a target";
    a_generator_without_processors_is_refused: "generatorProcessors"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w'}}, spanMetrics: {enabled: false}, serviceGraphs: {enabled: false}}}}"
        => "tempo.metricsGenerator.spanMetrics.enabled", "false", "Switch one of them on";
    a_list_of_processors_that_leaves_one_out_is_refused: "generatorOverrides"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w'}}}, config: {overrides: {defaults: {metrics_generator: {processors: [service-graphs]}}}}}}"
        => "tempo.config.overrides.defaults.metrics_generator.processors", "service-graphs", "span-metrics", "Add what is missing";
    a_target_whose_name_is_no_file_is_refused: "generatorNames"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {'../p': {url: 'http://p/w'}}}}}"
        => "tempo.metricsGenerator.remoteWrite", "../p", "Rename it";
    an_external_label_that_prometheus_refuses_is_refused: "generatorNames"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w'}}, externalLabels: {k8s.cluster: x}}}}"
        => "tempo.metricsGenerator.externalLabels", "k8s.cluster", "Rename it";
    a_target_without_a_scheme_is_refused: "generatorUrls"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'prometheus:9090/api/v1/write'}}}}}"
        => "tempo.metricsGenerator.remoteWrite.p.url", "prometheus:9090/api/v1/write", "/api/v1/write";
    a_target_without_a_url_is_refused: "generatorUrls"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {}}}}}"
        => "tempo.metricsGenerator.remoteWrite.p.url", "\"\"", "/api/v1/write";
    a_url_with_a_password_is_refused: "generatorUrls"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'https://me:secret@p/w'}}}}}"
        => "tempo.metricsGenerator.remoteWrite.p.url", "in clear", "existingSecret";
    a_password_and_a_token_are_refused: "generatorCredentials"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w', existingSecret: s, username: u, passwordKey: pw, tokenKey: t}}}}}"
        => "tempo.metricsGenerator.remoteWrite.p.passwordKey", "pw", "tokenKey", "Remove the one";
    a_key_without_its_secret_is_refused: "generatorCredentials"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w', tokenKey: t}}}}}"
        => "tempo.metricsGenerator.remoteWrite.p.existingSecret", "tokenKey is t", "Set existingSecret";
    a_secret_without_a_key_is_refused: "generatorCredentials"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w', existingSecret: s}}}}}"
        => "tempo.metricsGenerator.remoteWrite.p.existingSecret is s", "no key", "tokenKey";
    a_password_without_a_user_is_refused: "generatorCredentials"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w', existingSecret: s, passwordKey: pw}}}}}"
        => "tempo.metricsGenerator.remoteWrite.p.username", "pw", "Set username";
    a_user_without_a_password_is_refused: "generatorCredentials"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w', username: me}}}}}"
        => "tempo.metricsGenerator.remoteWrite.p.username is me", "passwordKey", "remove username";
    a_dimension_that_is_no_name_is_refused: "generatorDimensions"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w'}}, spanMetrics: {dimensions: [{name: http.route}]}}}}"
        => "tempo.metricsGenerator.spanMetrics.dimensions", "http.route", "name of an attribute";
    a_dimension_with_the_scope_of_traceql_is_refused: "generatorDimensions"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w'}}, serviceGraphs: {dimensions: [resource.cluster]}}}}"
        => "tempo.metricsGenerator.serviceGraphs.dimensions", "resource.cluster", "without the scope";
    a_dimension_that_stands_twice_is_refused: "generatorDimensions"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w'}}, spanMetrics: {dimensions: [a, a]}}}}"
        => "tempo.metricsGenerator.spanMetrics.dimensions", "a twice", "Remove one";
    buckets_that_do_not_ascend_are_refused: "generatorBuckets"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w'}}, spanMetrics: {histogramBuckets: [0.1, 1, 0.5]}}}}"
        => "tempo.metricsGenerator.spanMetrics.histogramBuckets", "0.5 is not above 1", "ascending";
    a_generator_that_never_collects_is_refused: "generatorInterval"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w'}}, collectionInterval: 0s}}}"
        => "tempo.metricsGenerator.collectionInterval", "0s", "15s or 1m";
    native_histograms_of_an_old_tempo_are_refused: "generatorVersion"
        "{tempo: {image: {tag: 2.3.0}, metricsGenerator: {enabled: true, nativeHistograms: true, remoteWrite: {p: {url: 'http://p/w'}}}}}"
        => "tempo.metricsGenerator.nativeHistograms", "2.3.0", "2.9.0 or later";
    exemplars_that_can_not_be_switched_off_are_refused: "generatorVersion"
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {p: {url: 'http://p/w', exemplars: false}}}}}"
        => "tempo.metricsGenerator.remoteWrite.p.exemplars", "2.10.8", "Remove the key";
    tenants_without_a_tenant_are_refused: "tempoTenant"
        "{tempo: {config: {multitenancy_enabled: true}}}"
        => "tempo.config.multitenancy_enabled", "otelCollector.config.exporters.otlp.headers.X-Scope-OrgID";
    a_burst_below_the_largest_batch_is_refused: "tempoLimits"
        "{tempo: {limits: {ingestBurstBytes: 1000000}}}"
        => "tempo.limits.ingestBurstBytes", "1000000", "Set it to 9437184 or more";
    a_queue_that_is_too_short_for_one_query_is_refused: "tempoLimits"
        "{tempo: {query: {maxConcurrentJobs: 8, maxWaitingJobs: 4}}}"
        => "tempo.query.maxWaitingJobs", "4", "tempo.query.maxConcurrentJobs", "Set maxWaitingJobs to 8";
    a_query_without_time_is_refused: "tempoLimits"
        "{tempo: {query: {timeout: 0s}}}" => "tempo.query.timeout", "0s", "60s or 2m";
    a_tempo_with_too_little_memory_is_refused: "tempoMemory"
        "{tempo: {resources: {limits: {memory: 128Mi}}}}"
        => "tempo.resources.limits.memory", "128Mi", "Set it to 256Mi or more";
    a_rate_that_the_memory_cannot_hold_is_refused: "tempoMemory"
        "{tempo: {limits: {ingestBytesPerSecond: 104857600}, resources: {limits: {memory: 512Mi}}}}"
        => "tempo.limits.ingestBytesPerSecond", "104857600", "512Mi", "Set it to 35791394 or less";
    a_trace_that_the_memory_cannot_hold_is_refused: "tempoMemory"
        "{tempo: {limits: {maxBytesPerTrace: 60000000}, resources: {limits: {memory: 512Mi}}}}"
        => "tempo.limits.maxBytesPerTrace", "60000000", "raise the memory limit";
    a_list_of_extensions_without_the_queue_s_store_is_refused: "collectorConfigExtensions"
        "{otelCollector: {config: {service: {extensions: [health_check]}}}}"
        => "otelCollector.config.service.extensions", "file_storage", "Add file_storage";
    a_list_of_extensions_with_an_unknown_one_is_refused: "collectorConfigExtensions"
        "{otelCollector: {config: {service: {extensions: [health_check, file_storage, nobody]}}}}"
        => "otelCollector.config.service.extensions", "nobody", "Define";
    a_list_of_extensions_without_the_health_check_is_refused: "collectorConfigHealth"
        "{otelCollector: {config: {service: {extensions: [file_storage]}}}}"
        => "otelCollector.config.service.extensions", "health_check", "Add health_check";
    a_health_check_that_is_removed_is_refused: "collectorConfigHealth"
        "{otelCollector: {config: {extensions: {health_check: null}}}}"
        => "otelCollector.config.extensions.health_check", "removed", "Leave it in";
    a_health_check_on_another_port_is_refused: "collectorConfigHealth"
        "{otelCollector: {config: {extensions: {health_check: {endpoint: '0.0.0.0:9999'}}}}}"
        => "otelCollector.config.extensions.health_check.endpoint", "9999", "otelCollector.internalPorts.healthCheck";
    a_health_check_on_another_path_is_refused: "collectorConfigHealth"
        "{otelCollector: {config: {extensions: {health_check: {path: /health}}}}}"
        => "otelCollector.config.extensions.health_check.path", "/health", "Leave the path out";
    metrics_that_are_off_are_refused: "collectorConfigMetrics"
        "{otelCollector: {config: {service: {telemetry: {metrics: {level: none}}}}}}"
        => "otelCollector.config.service.telemetry.metrics.level", "none", "Choose";
    metrics_on_another_port_are_refused: "collectorConfigMetrics"
        "{otelCollector: {config: {service: {telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: 0.0.0.0, port: 9999}}}}]}}}}}}"
        => "otelCollector.config.service.telemetry.metrics", "9999", "otelCollector.service.ports.metrics";
    a_receiver_that_no_pipeline_names_is_refused: "collectorConfigReceivers"
        "{otelCollector: {config: {service: {pipelines: {traces: {receivers: [otlp]}}}}}}"
        => "otelCollector.receivers.jaegerGrpc.enabled", "jaeger", "Add jaeger";
    an_exporter_of_the_new_name_is_refused: "collectorConfigUnused"
        "{otelCollector: {config: {exporters: {otlp_grpc: {headers: {X-Scope-OrgID: a}}}}}}"
        => "otelCollector.config.exporters.otlp_grpc", "exporters.otlp in every version";
    a_processor_that_nothing_uses_is_refused: "collectorConfigUnused"
        "{otelCollector: {config: {processors: {attributes: {actions: []}}}}}"
        => "otelCollector.config.processors.attributes", "Name it in a pipeline";
    an_extension_that_nothing_uses_is_refused: "collectorConfigUnused"
        "{otelCollector: {config: {extensions: {pprof: {}}}}}"
        => "otelCollector.config.extensions.pprof", "otelCollector.config.service.extensions";
    a_scrape_that_outlasts_the_interval_is_refused: "monitorTimeout"
        "{serviceMonitor: {enabled: true, interval: 5s}}"
        => "serviceMonitor.scrapeTimeout", "10s", "serviceMonitor.interval", "Set scrapeTimeout";
    an_alert_that_does_not_exist_is_not_left_out: "alertNames"
        "{prometheusRule: {enabled: true, without: {TempoStackNoSpan: true}}}"
        => "prometheusRule.without.TempoStackNoSpan is true", "Did you mean prometheusRule.without.TempoStackNoSpans";
    an_alert_that_does_not_exist_does_not_wait: "alertNames"
        "{prometheusRule: {enabled: true, for: {Nothing: 5m, default: 1m}}}"
        => "prometheusRule.for.Nothing is 5m", "TempoStackTempoDown", "default";
    a_severity_for_all_alerts_is_refused: "alertLabels"
        "{prometheusRule: {enabled: true, alertLabels: {severity: page}}}"
        => "prometheusRule.alertLabels.severity is page", "another name";
    a_window_with_too_few_samples_is_refused: "alertWindow"
        "{serviceMonitor: {enabled: true}, prometheusRule: {enabled: true, rateWindow: 1m}}"
        => "prometheusRule.rateWindow is 1m", "serviceMonitor.interval is 30s", "Set rateWindow to 120s";
    dashboards_without_a_datasource_are_refused: "grafanaDashboards"
        "{grafana: {dashboards: {enabled: true, datasourceUid: ''}}}"
        => "grafana.dashboards.datasourceUid", "is empty", "uid of the Prometheus datasource";
    a_canary_without_tempo_is_refused: "canary"
        "{canary: {enabled: true}, tempo: {enabled: false}, otelCollector: {exporter: {endpoint: 'tempo.example.com:4317'}}}"
        => "canary.enabled", "tempo.enabled is false", "set canary.enabled to false";
    a_canary_without_otlp_over_http_is_refused: "canary"
        "{canary: {enabled: true}, otelCollector: {receivers: {otlpHttp: {enabled: false}}}}"
        => "canary.enabled", "otelCollector.receivers.otlpHttp.enabled is false";
    a_canary_whose_tenant_is_unknown_is_refused: "canary"
        "{canary: {enabled: true}, tempo: {config: {multitenancy_enabled: true}}, otelCollector: {config: {exporters: {otlp: {headers: {x-scope-orgid: '${env:TENANT}'}}}}}}"
        => "canary.enabled", "takes the tenant from its environment";
    a_queue_larger_than_its_claim_is_refused: "collectorQueueSize"
        "{otelCollector: {queue: {size: 2Gi, persistence: {enabled: true, size: 2Gi}}}}"
        => "otelCollector.queue.persistence.size", "2Gi", "Make it larger";
    a_fleet_on_volumes_is_refused: "tempoMode"
        "{tempo: {mode: microservices}}"
        => "tempo.storage.backend", "local", "tempo.mode", "Set it to s3";
    a_fleet_before_tempo_2_9_is_refused: "tempoMode"
        "{tempo: {mode: microservices, image: {tag: 2.8.1}, storage: {backend: s3, s3: {bucket: b, region: r}}}}"
        => "tempo.mode is microservices", "2.8.1", "tempo.image.tag to 2.10.8";
    a_fleet_that_would_strand_the_log_on_a_claim_is_refused: "tempoMode"
        "{tempo: {mode: microservices, persistence: {existingClaim: old}, storage: {backend: s3, s3: {bucket: b, region: r}}}}"
        => "tempo.persistence.existingClaim is old", "a claim of its own", "POST http://tempo", "remove the claim's name";
    replicas_of_a_span_that_can_have_no_majority_are_refused: "tempoIngesters"
        "{tempo: {mode: microservices, storage: {backend: s3, s3: {bucket: b, region: r}}, components: {ingester: {replicationFactor: 2}}}}"
        => "tempo.components.ingester.replicationFactor is 2", "majority", "Set it to 3";
    fewer_ingesters_than_replicas_of_a_span_are_refused: "tempoIngesters"
        "{tempo: {mode: microservices, storage: {backend: s3, s3: {bucket: b, region: r}}, components: {ingester: {replicas: 2}}}}"
        => "tempo.components.ingester.replicas is 2", "replicationFactor is 3", "3 or more";
    an_even_number_of_zones_is_refused: "tempoIngesters"
        "{tempo: {mode: microservices, storage: {backend: s3, s3: {bucket: b, region: r}}, components: {ingester: {replicas: 4, zones: [a, b]}}}}"
        => "tempo.components.ingester.zones names 2 zones", "majority", "Name 3 zones";
    fewer_zones_than_replicas_of_a_span_are_refused: "tempoIngesters"
        "{tempo: {mode: microservices, storage: {backend: s3, s3: {bucket: b, region: r}}, components: {ingester: {zones: [a]}}}}"
        => "names 1 zones", "replicationFactor is 3", "Name 3 zones or more";
    zones_of_different_sizes_are_refused: "tempoIngesters"
        "{tempo: {mode: microservices, storage: {backend: s3, s3: {bucket: b, region: r}}, components: {ingester: {replicas: 4, zones: [a, b, c]}}}}"
        => "tempo.components.ingester.replicas is 4 in 3 zones", "multiple of 3";
    a_fleet_of_tempo_3_without_kafka_is_refused: "tempoKafka"
        "{tempo: {mode: microservices, image: {tag: 3.0.3}, storage: {backend: s3, s3: {bucket: b, region: r}}, kafka: {partitions: 2}}}"
        => "tempo.kafka.address is empty", "3.0.3", "host and port";
    partitions_that_block_builders_can_not_share_are_refused: "tempoKafka"
        "{tempo: {mode: microservices, image: {tag: 3.0.3}, storage: {backend: s3, s3: {bucket: b, region: r}}, kafka: {address: 'k:9092', partitions: 3}, components: {blockBuilder: {partitionsPerInstance: 2}}}}"
        => "tempo.kafka.partitions is 3", "partitionsPerInstance is 2", "a multiple of 2";
    a_single_zone_of_live_stores_is_refused: "tempoKafka"
        "{tempo: {mode: microservices, image: {tag: 3.0.3}, storage: {backend: s3, s3: {bucket: b, region: r}}, kafka: {address: 'k:9092'}, components: {liveStore: {zones: [a]}}}}"
        => "tempo.components.liveStore.zones", "one zone, a", "Name two";
    a_password_of_kafka_without_a_name_is_refused: "tempoKafka"
        "{tempo: {mode: microservices, image: {tag: 3.0.3}, storage: {backend: s3, s3: {bucket: b, region: r}}, kafka: {address: 'k:9092', sasl: {existingSecret: s}}}}"
        => "tempo.kafka.sasl.username is empty", "existingSecret is s", "Set the name";
    a_name_at_kafka_without_a_password_is_refused: "tempoKafka"
        "{tempo: {mode: microservices, image: {tag: 3.0.3}, storage: {backend: s3, s3: {bucket: b, region: r}}, kafka: {address: 'k:9092', sasl: {username: u}}}}"
        => "tempo.kafka.sasl.existingSecret is empty", "username is u", "Name the Secret";
    a_number_that_follows_from_the_partitions_is_not_taken: "tempoComponentKeys"
        "{tempo: {mode: microservices, image: {tag: 3.0.3}, storage: {backend: s3, s3: {bucket: b, region: r}}, kafka: {address: 'k:9092'}, components: {blockBuilder: {replicas: 3}}}}"
        => "tempo.components.blockBuilder.replicas is 3", "tempo.kafka.partitions", "Remove it";
    an_autoscaler_of_a_part_that_keeps_something_is_refused: "tempoAutoscaling"
        "{tempo: {components: {ingester: {autoscaling: {enabled: true}}, liveStore: {autoscaling: {enabled: true}}}}}"
        => "tempo.components.ingester.autoscaling is set", "writes what it holds", "tempo.components.ingester.replicas", "tempo.components.liveStore.autoscaling is set", "tempo.kafka.partitions", "distributor and querier";
    an_autoscaler_with_fewer_pods_than_replicas_asks_for_is_refused: "tempoAutoscaling"
        "{tempo: {components: {querier: {replicas: 12, autoscaling: {enabled: true}}}}}"
        => "tempo.components.querier.replicas is 12", "maxReplicas 10", "nothing reads replicas", "raise maxReplicas";
    an_autoscaler_of_a_part_with_more_pods_at_least_than_at_most_is_refused: "tempoAutoscaling"
        "{tempo: {components: {distributor: {autoscaling: {enabled: true, minReplicas: 11}}}}}"
        => "tempo.components.distributor.autoscaling.minReplicas is 11", "maxReplicas (10)", "Lower it";
    an_autoscaler_of_a_part_without_a_request_of_cpu_is_refused: "tempoAutoscaling"
        "{tempo: {resources: {requests: {cpu: null}}, components: {distributor: {autoscaling: {enabled: true}}}}}"
        => "tempo.components.distributor.resources.requests.cpu is not set", "percentage of the request", "switch the autoscaler off";
    a_way_of_spreading_that_is_none_is_refused: "spreadByZone"
        "{tempo: {mode: microservices, storage: {backend: s3, s3: {bucket: b, region: r}}, components: {querier: {spreadByZone: always}}}}"
        => "tempo.components.querier.spreadByZone is", "always", "preferred or required";
    pods_that_are_spread_by_zone_twice_are_refused: "spreadByZone"
        "{otelCollector: {spreadByZone: required, topologySpreadConstraints: [{topologyKey: topology.kubernetes.io/zone, maxSkew: 2, whenUnsatisfiable: DoNotSchedule}]}}"
        => "otelCollector.topologySpreadConstraints", "otelCollector.spreadByZone is required", "Remove one";
    spreading_what_has_zones_of_its_own_is_refused: "spreadByZone"
        "{tempo: {mode: microservices, storage: {backend: s3, s3: {bucket: b, region: r}}, components: {ingester: {zones: [a, b, c], spreadByZone: required}}}}"
        => "tempo.components.ingester.spreadByZone is required", "names a, b, c", "Remove spreadByZone";
    a_zone_that_is_chosen_twice_is_refused: "spreadByZone"
        "{tempo: {mode: microservices, storage: {backend: s3, s3: {bucket: b, region: r}}, components: {ingester: {zones: [a, b, c], nodeSelector: {topology.kubernetes.io/zone: a}}}}}"
        => "tempo.components.ingester.nodeSelector", "names a, b, c", "Remove it from nodeSelector";
    a_setting_that_a_component_can_not_have_is_refused: "tempoComponentKeys"
        "{tempo: {components: {querier: {persistence: {size: 1Gi}}}}}"
        => "tempo.components.querier.persistence", "nothing reads it", "replicas", "below tempo";
    a_limit_of_a_component_that_is_no_quantity_is_refused: "tempoComponentKeys"
        "{tempo: {components: {ingester: {resources: {limits: {memory: lots}}}}}}"
        => "tempo.components.ingester.resources.limits.memory", "lots", "512Mi";
}

#[test]
fn a_distribution_that_kubernetes_does_not_know_is_refused() {
    let values = "{tempo: {service: {trafficDistribution: PreferClose}}}";
    let options = RenderOptions::documented("tempo-stack").values(serde_yaml::from_str(values).unwrap());
    for (without, version, refused) in [
        (None, "1.30.0", true),
        (None, "1.31.0", false),
        (Some("serviceTraffic"), "1.30.0", false),
    ] {
        let (_keep, chart) = chart(without);
        let found = helm().for_kubernetes(version).template(&chart, &options);
        assert_eq!(found.is_err(), refused, "{version}");
        if let Err(error) = found {
            let message = error.to_string();
            for word in [
                "tempo.service.trafficDistribution",
                "PreferClose",
                "before 1.31",
                "Leave it out",
            ] {
                assert!(message.contains(word), "{word:?} is not in: {message}");
            }
        }
    }
}

/// The guards that `tempo-stack.validate` runs, and those that are defined.
fn guards_of_the_chart() -> (BTreeSet<String>, BTreeSet<String>) {
    let files = guard_files(&workspace().chart("tempo-stack").unwrap().dir);
    let (head, _) = files[0].1.split_once("{{- end }}\n").unwrap();
    let run = head
        .lines()
        .filter(|line| line.trim_start().starts_with('"'))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|name| !name.contains('.'))
        .map(str::to_owned)
        .collect();
    let defined = files
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| line.strip_prefix("{{- define \"tempo-stack.validate."))
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect();
    (run, defined)
}

#[test]
fn every_guard_runs_and_has_a_test() {
    let (run, defined) = guards_of_the_chart();
    assert_eq!(run, defined);
    assert_eq!(run, COVERED.iter().map(|guard| (*guard).to_owned()).collect());
}

#[test]
fn all_guards_that_find_something_are_heard_at_once() {
    let (_keep, chart) = chart(None);
    let values = "{tempo: {replicas: 3, retention: {period: soon}}, otelCollector: {queue: {type: kafka}}}";
    let message = render(&chart, values).unwrap_err().to_string();
    for key in ["tempo.replicas", "tempo.retention.period", "otelCollector.queue.type"] {
        assert!(message.contains(key), "{key} is not in: {message}");
    }
}

#[test]
fn the_defaults_pass_every_guard() {
    let (_keep, chart) = chart(None);
    render(&chart, "{}").unwrap();
}
