//! Configurations against the lists of keys and the real programs, and the lists against the real programs.

#![allow(clippy::unwrap_used)]

mod common;

// The rules' tests use the rest of it.
#[allow(dead_code)]
#[path = "common/change.rs"]
mod change;

use charts::cases;
use charts::program::{ProgramKind, programs};
use charts::workload::workload;
use kit::step::{Output, Step};
use lint::check::{self, LintChart};
use lint::config_check::verify::{self, Programs};
use lint::config_check::{judge_keys, table};
use lint::rules::{Subject, Variation};
use semver::Version;
use serde_yaml::Value;

use change::{Change, remove, set};
use common::{helm, toolbox, workspace};

const TEMPO: &str = "tempo";
const COLLECTOR: &str = "otel-collector";

fn real() -> Programs {
    Programs {
        tempo: toolbox().get("tempo").unwrap(),
        collector: toolbox().get("otelcol").unwrap(),
    }
}

/// What the list of keys and the real program say about a case with changed configurations, and
/// who judged the first program of that kind.
fn judged(case: &str, changes: &[Change], kind: ProgramKind) -> (Vec<String>, Vec<String>) {
    let chart = LintChart::prepare(helm(), workspace().chart("tempo-stack").unwrap()).unwrap();
    let cases = chart.chart.cases().unwrap();
    let case = cases.into_iter().find(|s| s.name == case).unwrap();
    let options = cases::options(&chart.chart, &case);
    let mut manifests = check::render_again(helm(), &chart, &options, &Variation::default()).unwrap();
    changes.iter().for_each(|change| change.apply(&mut manifests));
    let subject = Subject {
        chart: &chart.chart,
        case: &case.name,
        values: "",
        release: &options.release,
        namespace: &options.namespace,
        manifests: &manifests,
    };
    let workloads: Vec<_> = manifests.iter().filter_map(|m| workload(m).unwrap()).collect();
    let programs = programs(&workloads, &manifests).unwrap();
    let program = programs.iter().find(|program| program.kind == kind).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (findings, judgement) = verify::judge(&subject, program, &real(), &helm().runner, folder.path()).unwrap();
    assert!(
        judge_keys(&subject, program)
            .iter()
            .all(|finding| findings.contains(finding))
    );
    let said = findings
        .into_iter()
        .map(|f| format!("{}: {}", f.rule, f.message))
        .collect();
    (said, judgement.by)
}

/// The only finding must hold these words.
fn refused(case: &str, changes: &[Change], kind: ProgramKind, words: &[&str]) {
    let (said, _) = judged(case, changes, kind);
    assert_eq!(said.len(), 1, "{said:?}");
    for word in words {
        assert!(said[0].contains(word), "{word:?} is not in {said:?}");
    }
}

const fn tempo(path: &'static str, yaml: &'static str) -> Change {
    set("ConfigMap", TEMPO, path, yaml)
}

const fn collector(path: &'static str, yaml: &'static str) -> Change {
    set("ConfigMap", COLLECTOR, path, yaml)
}

const OLD: &str = "tempo-2.3.0-collector-0.89.0";

/// Each case: the test's name, the program, the case, the changes, and words of the only finding.
macro_rules! refused {
    ($($name:ident: $kind:ident $case:tt [$($change:expr),+ $(,)?] => $($word:literal)+;)*) => {
        $(
            #[test]
            fn $name() {
                refused($case, &[$($change),+], ProgramKind::$kind, &[$($word),+]);
            }
        )*
    };
}

refused! {
    an_ingester_in_a_3_0_render_is_refused: Tempo "tempo-3"
        [tempo("config:/ingester/max_block_duration", "5m")] => "config-keys" "key ingester" "<3";
    a_compactor_in_a_3_0_render_is_refused: Tempo "tempo-3"
        [tempo("config:/compactor", "{}")] => "config-keys" "key compactor" "<3";
    a_live_store_in_a_2_3_render_is_refused: Tempo OLD
        [tempo("config:/live_store/max_trace_idle", "1s")] => "config-keys" "key live_store" ">=3";
    a_cache_in_a_2_3_render_is_refused: Tempo OLD
        [tempo("config:/cache/background/writeback_buffer", "1")] => "config-keys" "key cache" ">=2.4";
    a_key_of_2_10_in_a_2_9_render_is_refused: Tempo "tempo-2.9"
        [tempo("config:/query_frontend/query_end_cutoff", "0s")] => "query_frontend.query_end_cutoff" ">=2.10";
    a_key_of_2_x_in_a_3_0_render_is_refused: Tempo "tempo-3"
        [tempo("config:/storage/trace/wal/version", "vParquet4")] => "storage.trace.wal.version" "<3";
    a_misspelled_key_is_refused: Tempo "s3"
        [tempo("config:/storage/trace/s3/s3forcepathstyle", "true")]
        => "storage.trace.s3.s3forcepathstyle" "not in the list";
    a_flat_override_is_refused: Tempo "tempo-3"
        [tempo("config:/overrides/max_traces_per_user", "5")] => "overrides.max_traces_per_user" "not in the list";
    the_real_tempo_refuses_what_it_warns_of: Tempo "tempo-2.9"
        [
            tempo("config:/compactor/compaction/block_retention", "1m"),
            tempo("config:/overrides/defaults/compaction/block_retention", "1m"),
        ] => "config-verified" "blocklist_poll";
    the_real_tempo_refuses_a_value_that_it_cannot_parse: Tempo "tempo-2.9"
        [tempo("config:/compactor/compaction/block_retention", "3d")] => "config-verified" "3d";
    the_new_name_of_the_exporter_in_0_89_is_refused: Collector OLD
        [collector("config:/exporters/otlp_grpc", "{endpoint: 'tempo:4317'}")] => "exporters.otlp_grpc" ">=0.144";
    the_old_name_of_the_exporter_in_0_155_is_refused: Collector "default"
        [collector("config:/exporters/otlphttp", "{endpoint: 'http://tempo:4318'}")] => "exporters.otlphttp" "<0.144";
    the_old_address_of_metrics_in_0_155_is_refused: Collector "default"
        [collector("config:/service/telemetry/metrics/address", "0.0.0.0:8888")]
        => "telemetry.metrics.address" "<0.123";
    a_queue_that_batches_in_0_89_is_refused: Collector OLD
        [collector("config:/exporters/otlp/sending_queue/batch/min_size", "1")]
        => "sending_queue.batch.min_size" ">=0.123";
    the_real_collector_refuses_an_unknown_component: Collector "default"
        [collector("config:/service/pipelines/traces/exporters", "[otlp, nobody]")] => "config-verified" "nobody";
    the_real_collector_refuses_a_statement_that_it_cannot_parse: Collector "default"
        [collector("config:/processors/filter~1zero-ids/traces/span", "['trace_id === 3']")]
        => "config-verified" "trace_id";
}

#[test]
fn the_next_line_of_tempo_is_judged_by_2_9_and_says_so() {
    let (said, by) = judged("default", &[], ProgramKind::Tempo);
    assert_eq!(said, Vec::<String>::new());
    assert_eq!(by, ["key list", "tempo 2.9.0"]);
}

#[test]
fn a_key_that_2_9_lacks_leaves_2_10_to_the_list_of_keys() {
    let change = tempo("config:/query_frontend/query_end_cutoff", "0s");
    let (said, by) = judged("default", &[change], ProgramKind::Tempo);
    assert_eq!(said, Vec::<String>::new());
    assert_eq!(by, ["key list"]);
}

#[test]
fn lines_without_a_program_are_left_to_the_list_of_keys() {
    for case in ["tempo-3", "tempo-2.3.0-collector-0.89.0"] {
        let (said, by) = judged(case, &[], ProgramKind::Tempo);
        assert_eq!((said, by), (Vec::new(), vec!["key list".to_owned()]), "{case}");
    }
}

#[test]
fn readers_in_0_89_are_refused() {
    let change = collector(
        "config:/service/telemetry/metrics/readers",
        "[{pull: {exporter: {prometheus: {host: localhost, port: 8888}}}}]",
    );
    let (said, _) = judged(OLD, &[change], ProgramKind::Collector);
    assert!(
        said.iter()
            .all(|said| said.contains("readers") && said.contains(">=0.111")),
        "{said:?}"
    );
    assert!(!said.is_empty());
}

#[test]
fn a_queue_counted_in_bytes_in_0_89_is_refused() {
    let change = collector("config:/exporters/otlp/sending_queue/sizer", "bytes");
    let (said, _) = judged(OLD, &[change], ProgramKind::Collector);
    assert!(said.iter().any(|said| said.contains("sending_queue.sizer")), "{said:?}");
    assert!(said.iter().any(|said| said.contains("before 0.130")), "{said:?}");
}

#[test]
fn a_queue_folder_is_made_where_the_real_collector_looks_for_it() {
    let change = remove(
        "ConfigMap",
        COLLECTOR,
        "config:/extensions/file_storage/create_directory",
    );
    let (said, by) = judged("default", &[change], ProgramKind::Collector);
    assert_eq!(said, Vec::<String>::new());
    assert_eq!(by, ["key list", "otelcol 0.155.0"]);
}

#[test]
fn an_extension_that_is_not_built_leaves_the_configuration_to_the_list_of_keys_and_says_so() {
    let (said, by) = judged("oidc", &[], ProgramKind::Collector);
    assert_eq!(said, Vec::<String>::new());
    assert!(by.len() == 2 && by[1].contains("without oidcauthextension"), "{by:?}");
    let change = collector(
        "config:/extensions/oidc~1receivers/providers/0/issuer",
        "https://example.com",
    );
    let (said, _) = judged("oidc", &[change], ProgramKind::Collector);
    assert!(
        said.len() == 1 && said[0].contains("extensions.oidc.providers.issuer"),
        "{said:?}"
    );
}

/// A configuration with every key that a version knows, each without a value.
fn every_key(kind: ProgramKind, version: &Version) -> Value {
    let mut config = Value::Mapping(Default::default());
    for pattern in table(kind).known_by(version) {
        let names: Vec<&str> = pattern
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "**")
            .collect();
        // Keys below any exporter are tried on the one that the chart configures.
        let names = names.iter().map(|name| match *name {
            "*" if names[0] == "exporters" => "otlp",
            "*" if names[0] == "service" => "traces",
            "*" => "grpc",
            name => name,
        });
        let mut at = &mut config;
        for name in names {
            if !at.is_mapping() {
                *at = Value::Mapping(Default::default());
            }
            at = at.as_mapping_mut().unwrap().entry(name.into()).or_insert(Value::Null);
        }
    }
    config
}

fn run(step: Step) -> Output {
    helm().runner.try_run(&step).unwrap()
}

#[test]
fn the_real_tempo_knows_every_key_that_the_list_has_for_2_9() {
    let tempo = real().tempo;
    let config = every_key(ProgramKind::Tempo, &tempo.version);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tempo.yaml");
    std::fs::write(&file, serde_yaml::to_string(&config).unwrap()).unwrap();
    let step = Step::new("tempo with every key", &tempo.path)
        .arg(format!("-config.file={}", file.display()))
        .arg("-config.verify=true");
    let output = run(step);
    let unknown: Vec<_> = output
        .stderr
        .lines()
        .filter(|line| line.contains("not found in type"))
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    // A key that it doesn't know is reported in just these words.
    std::fs::write(&file, "server: {nobody: 1}\n").unwrap();
    let step = Step::new("tempo with an unknown key", &tempo.path)
        .arg(format!("-config.file={}", file.display()))
        .arg("-config.verify=true");
    assert!(run(step).stderr.contains("not found in type"));
}

#[test]
fn the_real_collector_knows_every_key_that_the_list_has_for_0_155() {
    let collector = real().collector;
    let mut config = every_key(ProgramKind::Collector, &collector.version);
    // Components of other distributions than the one that is built here.
    for (section, ids) in [
        ("extensions", &["oidc", "pprof", "zpages"][..]),
        ("processors", &["attributes"]),
    ] {
        for id in ids {
            config[section].as_mapping_mut().unwrap().remove(id).unwrap();
        }
    }
    // Where nothing is refused before the keys are looked at.
    config["exporters"]["otlp"]["sending_queue"]["enabled"] = true.into();
    config["exporters"]["otlp"]["sending_queue"]["batch"]["sizer"] = "items".into();
    config["exporters"]["otlp"]["sending_queue"]["sizer"] = "items".into();
    config["processors"]["filter"]["error_mode"] = "ignore".into();
    // The list names the keys of an entry.
    for list in [
        "service.telemetry.metrics.readers",
        "processors.resource.attributes",
        "processors.k8s_attributes.extract.labels",
        "processors.k8s_attributes.extract.annotations",
        "processors.k8s_attributes.pod_association.sources",
        "processors.k8s_attributes.pod_association",
    ] {
        let list = list.split('.').fold(&mut config, |at, key| &mut at[key]);
        *list = Value::Sequence(vec![std::mem::take(list)]);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let step = || {
        Step::new("otelcol with every key", &collector.path)
            .arg("validate")
            .arg(format!("--config={}", file.display()))
    };
    // The Collector names the keys that it doesn't know of one section at a time.
    for section in ["receivers", "processors", "exporters", "extensions", "service"] {
        let one: Value = [(Value::from(section), config[section].clone())]
            .into_iter()
            .collect::<serde_yaml::Mapping>()
            .into();
        std::fs::write(&file, serde_yaml::to_string(&one).unwrap()).unwrap();
        let output = run(step());
        // What it says about missing values comes after the keys.
        assert!(
            !output.stderr.contains("decoding failed"),
            "{section}: {}",
            output.stderr
        );
    }
    std::fs::write(&file, "exporters: {otlp: {nobody: 1}}\n").unwrap();
    let output = run(step());
    assert!(output.stderr.contains("decoding failed") && output.stderr.contains("invalid keys: nobody"));
}
