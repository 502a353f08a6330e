//! The keys of the Collector's configuration that a render may have, from 0.89 on.
//!
//! From the config structs at v0.89.0 and v0.155.0 and the changelogs of core and contrib between them.

use serde_yaml::Value;

use super::keys::{Groups, KeyTable};

pub(super) fn table() -> KeyTable {
    KeyTable::new(KEYS, BLOCKS)
}

/// The sections whose keys are component ids: a type, and a name behind a slash where there are several.
const SECTIONS: [&str; 5] = ["receivers", "processors", "exporters", "extensions", "connectors"];

/// The configuration with `type/name` spelled `type`. Of two components of a type both are kept, as a list.
pub(super) fn without_names(config: &Value) -> Value {
    let mut config = config.clone();
    for section in SECTIONS {
        let Some(Value::Mapping(components)) = config.get_mut(section) else {
            continue;
        };
        let mut by_type = serde_yaml::Mapping::new();
        for (id, settings) in std::mem::take(components) {
            let kind = id
                .as_str()
                .and_then(|id| id.split('/').next())
                .unwrap_or_default()
                .to_owned();
            let entry = by_type.entry(Value::from(kind)).or_insert(Value::Sequence(Vec::new()));
            if let Value::Sequence(list) = entry {
                list.push(if settings.is_null() {
                    Value::Mapping(Default::default())
                } else {
                    settings
                });
            }
        }
        *components = by_type;
    }
    config
}

/// Extensions of the configuration that the built Collector lacks, so that it can't judge: their modules have no
/// release that goes with it.
pub(super) fn not_built(config: &Value) -> Option<&'static str> {
    let extensions = config.get("extensions").and_then(Value::as_mapping)?;
    let lacks = |id: &str| id == "oidc" || id.starts_with("oidc/");
    let found = extensions.keys().filter_map(Value::as_str).any(lacks);
    found.then_some("not by the real program, which is built without oidcauthextension: it has no release 0.155.0")
}

/// Exporters whose queue lies on disk but isn't counted in requests, which versions before 0.130
/// refuse (core #13340).
pub(super) fn queues_on_disk_with_a_sizer(config: &Value) -> Vec<String> {
    let exporters = config.get("exporters").and_then(Value::as_mapping);
    let refused = |exporter: &Value| {
        let queue = exporter.get("sending_queue");
        let text = |key: &str| queue.and_then(|queue| queue.get(key)?.as_str());
        text("storage").is_some() && text("sizer").is_some_and(|sizer| sizer != "requests")
    };
    exporters
        .into_iter()
        .flatten()
        .filter(|(_, exporter)| refused(exporter))
        .filter_map(|(id, _)| id.as_str().map(str::to_owned))
        .collect()
}

/// Components that some versions lack. The old names of the OTLP exporters are deprecated aliases
/// from 0.144 on (core #14403); `otlp` is the one that the chart keeps, because the queue's file is named after it.
const BLOCKS: Groups = &[
    ("<0.109", &["extensions.memory_ballast"]),
    ("<0.111", &["exporters.logging"]),
    ("*", &["exporters.otlp"]),
    ("<0.144", &["exporters.otlphttp"]),
    (">=0.144", &["exporters.{otlp_grpc,otlp_http}"]),
];

const KEYS: Groups = &[
    (
        "*",
        &[
            "receivers.otlp.protocols.grpc.{endpoint,transport,max_recv_msg_size_mib,max_concurrent_streams}",
            "receivers.otlp.protocols.grpc.{include_metadata,read_buffer_size,write_buffer_size}",
            "receivers.otlp.protocols.grpc.tls.**",
            "receivers.otlp.protocols.grpc.auth.**",
            "receivers.otlp.protocols.grpc.keepalive.server_parameters.**",
            "receivers.otlp.protocols.grpc.keepalive.enforcement_policy.**",
            "receivers.otlp.protocols.http.{endpoint,max_request_body_size,include_metadata}",
            "receivers.otlp.protocols.http.{traces_url_path,metrics_url_path,logs_url_path}",
            "receivers.otlp.protocols.http.cors.**",
            "receivers.otlp.protocols.http.tls.**",
            "receivers.otlp.protocols.http.auth.**",
            "receivers.jaeger.protocols.grpc.{endpoint,max_recv_msg_size_mib,max_concurrent_streams}",
            "receivers.jaeger.protocols.grpc.tls.**",
            "receivers.jaeger.protocols.grpc.auth.**",
            "receivers.jaeger.protocols.grpc.keepalive.server_parameters.**",
            "receivers.jaeger.protocols.grpc.keepalive.enforcement_policy.**",
            "receivers.jaeger.protocols.thrift_http.{endpoint,max_request_body_size,include_metadata}",
            "receivers.jaeger.protocols.thrift_http.tls.**",
            "receivers.jaeger.protocols.thrift_http.auth.**",
            "receivers.jaeger.protocols.thrift_binary.{endpoint,queue_size,max_packet_size,workers,socket_buffer_size}",
            "receivers.jaeger.protocols.thrift_compact.{endpoint,queue_size,max_packet_size,workers,socket_buffer_size}",
            "receivers.zipkin.{endpoint,parse_string_tags,max_request_body_size}",
            "receivers.zipkin.tls.**",
            "receivers.zipkin.auth.**",
            "processors.memory_limiter.{check_interval,limit_mib,spike_limit_mib}",
            "processors.memory_limiter.{limit_percentage,spike_limit_percentage}",
            "processors.batch.{timeout,send_batch_size,send_batch_max_size}",
            "processors.batch.{metadata_keys,metadata_cardinality_limit}",
            "processors.filter.error_mode",
            "processors.filter.traces.{span,spanevent}",
            "processors.resource.attributes.{key,value,action,from_attribute,pattern}",
            "processors.attributes.**",
            "processors.transform.**",
            "processors.tail_sampling.**",
            "processors.probabilistic_sampler.{sampling_percentage,hash_seed}",
            "processors.redaction.{allow_all_keys,allowed_keys,ignored_keys,blocked_values,summary}",
            "exporters.*.{endpoint,compression,timeout,headers}",
            "exporters.*.headers.**",
            "exporters.*.tls.**",
            "exporters.*.auth.**",
            "exporters.*.keepalive.**",
            "exporters.*.retry_on_failure.{enabled,initial_interval,randomization_factor,multiplier}",
            "exporters.*.retry_on_failure.{max_interval,max_elapsed_time}",
            "exporters.*.sending_queue.{enabled,num_consumers,queue_size,storage}",
            "exporters.debug.{verbosity,sampling_initial,sampling_thereafter}",
            "extensions.health_check.{endpoint,path}",
            "extensions.health_check.response_body.**",
            "extensions.file_storage.{directory,timeout,fsync}",
            "extensions.file_storage.compaction.**",
            "extensions.pprof.**",
            "extensions.zpages.**",
            "extensions.basicauth.**",
            "extensions.bearertokenauth.**",
            "extensions.oidc.{issuer_url,audience,issuer_ca_path,username_claim,groups_claim,attribute}",
            "service.extensions",
            "service.pipelines.*.{receivers,processors,exporters}",
            "service.telemetry.logs.{level,encoding,development,disable_caller,disable_stacktrace}",
            "service.telemetry.logs.{output_paths,error_output_paths,initial_fields}",
            "service.telemetry.logs.sampling.**",
            "service.telemetry.metrics.level",
            "service.telemetry.resource.**",
        ],
    ),
    ("<0.109", &["extensions.memory_ballast.**"]),
    ("<0.111", &["exporters.logging.**"]),
    // Own metrics: `address` was deprecated in 0.111 and is ignored from 0.123 on.
    ("<0.123", &["service.telemetry.metrics.address"]),
    (
        ">=0.111",
        &[
            "service.telemetry.metrics.readers.pull.exporter.prometheus.{host,port,without_scope_info}",
            "service.telemetry.metrics.readers.pull.exporter.prometheus.{without_type_suffix,without_units}",
            "service.telemetry.metrics.readers.pull.exporter.prometheus.with_resource_constant_labels.**",
            "service.telemetry.metrics.readers.periodic.**",
        ],
    ),
    (
        ">=0.121",
        &["processors.memory_limiter.{min_gc_interval_when_soft_limited,min_gc_interval_when_hard_limited}"],
    ),
    (
        ">=0.123",
        &[
            "exporters.*.sending_queue.{sizer,block_on_overflow,wait_for_result}",
            "exporters.*.sending_queue.batch.{flush_timeout,min_size,max_size}",
            "extensions.file_storage.{create_directory,directory_permissions}",
        ],
    ),
    // core #13362: before it the batch has the sizer of its queue.
    (">=0.130", &["exporters.*.sending_queue.batch.sizer"]),
    // contrib, processor/redactionprocessor/config.go at v0.130.0, v0.135.0 and v0.144.0.
    (
        ">=0.130",
        &["processors.redaction.{blocked_key_patterns,allowed_values,hash_function}"],
    ),
    (">=0.135", &["processors.redaction.redact_all_types"]),
    (">=0.144", &["processors.redaction.ignored_key_patterns"]),
    // contrib, receiver/kafkareceiver/config.go and pkg/kafka/configkafka/config.go at v0.148.0 and v0.155.0; 0.142 has
    // the list of topics (its README).
    (
        ">=0.142",
        &[
            "receivers.kafka.{brokers,group_id,initial_offset,client_id,rack_id,session_timeout,heartbeat_interval}",
            "receivers.kafka.{min_fetch_size,max_fetch_size,max_fetch_wait,max_partition_fetch_size,group_instance_id}",
            "receivers.kafka.traces.{topics,encoding,exclude_topics}",
            "receivers.kafka.message_marking.{after,on_error,on_permanent_error}",
            "receivers.kafka.error_backoff.{enabled,initial_interval,max_interval,multiplier,randomization_factor,max_elapsed_time}",
            "receivers.kafka.autocommit.{enable,interval}",
            "receivers.kafka.auth.sasl.{mechanism,username,password}",
            "receivers.kafka.tls.**",
        ],
    ),
    // contrib, processor/k8sattributesprocessor/config.go at v0.148.0 and v0.155.0; 0.146 has the name.
    (
        ">=0.146",
        &[
            "processors.k8s_attributes.{auth_type,passthrough,wait_for_metadata,wait_for_metadata_timeout}",
            "processors.k8s_attributes.extract.{metadata,otel_annotations,deployment_name_from_replicaset}",
            "processors.k8s_attributes.extract.labels.{tag_name,key,key_regex,from}",
            "processors.k8s_attributes.extract.annotations.{tag_name,key,key_regex,from}",
            "processors.k8s_attributes.filter.**",
            "processors.k8s_attributes.pod_association.sources.{from,name}",
        ],
    ),
    (
        ">=0.131",
        &[
            "extensions.file_storage.recreate",
            // contrib, extension/oidcauthextension/config.go, ProviderCfg
            "extensions.oidc.providers.{issuer_url,audience,issuer_ca_path,username_claim,groups_claim}",
        ],
    ),
    (">=0.147", &["exporters.*.sending_queue.batch.partition.metadata_keys"]),
];
