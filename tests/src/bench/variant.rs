//! The settings that a bench compares.

use anyhow::{Context, Result};
use charts::manifest::lookup;
use serde_yaml::Value;

use crate::backend::{Bucket, Store};
use crate::client::engine::{Engine, tempo_config};

/// Values to be compared with others.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Its name in the report.
    pub name: String,
    /// What is different, in a sentence.
    pub about: String,
    /// Values of the umbrella chart, over its defaults.
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    Given(Value),
    /// They follow from the version of Tempo.
    Of(fn(Engine) -> String),
}

/// Which variants belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// What is measured unless others are named.
    Usual,
    /// Settings that could be defaults: each is compared with what the chart has.
    Tuning,
    /// How Tempo runs, for the sizing table.
    Modes,
}

/// A variant that has a name.
#[derive(Debug)]
pub struct Known {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// The variants that it belongs to.
    pub group: Group,
    /// What is different, in a sentence.
    pub about: &'static str,
    values: fn(Engine) -> String,
}

/// The first of every group, which the others are compared with.
pub const DEFAULT: &str = "default";
/// Ours with its queue in memory.
pub const MEMORY_QUEUE: &str = "memory-queue";
/// What somebody has who sets nothing.
pub const UPSTREAM: &str = "upstream";

/// One Tempo over a bucket.
pub const IN_A_BUCKET: &str = "bucket";
/// Two Tempos that each keep everything.
pub const MIRROR: &str = "mirror";
/// A fleet whose spans are on one ingester, and on three.
pub const FLEETS: [&str; 2] = ["microservices-1", "microservices-3"];

/// Where the variants of a bucket keep their blocks.
pub(super) const BUCKET: Bucket<'static> = Bucket {
    store: Store::S3,
    name: "traces",
    access_key: "bench",
    secret_key: "bench-secret",
};

/// A megabyte as Tempo counts it.
const MIB: u64 = 1024 * 1024;

/// The variants that have a name.
pub const VARIANTS: &[Known] = &[
    usual(DEFAULT, "the chart as it is", |_| "{}".into()),
    usual(
        MEMORY_QUEUE,
        "the Collector's queue in memory: otelCollector.queue.type memory with 256Mi",
        |_| collector("queue: {type: memory, size: 256Mi, persistence: {enabled: false}}"),
    ),
    usual(
        UPSTREAM,
        "the Collector as its own defaults make it: batch processor, gzip, queue in memory, retries for 5 min, \
         neither memory limiter nor filter of zero ids; Tempo with its own times, block sizes and query limits. \
         As in default: two Collectors, receivers, the limits of ingestion (Tempo's own drop spans at full speed), \
         storage and retention",
        upstream,
    ),
    tuning(
        "idle-500ms",
        "a trace is cut to Tempo's log once it was idle for 0.5 s, looked at every 0.5 s",
        |engine| tempo(&engine.cut_traces("500ms", "500ms")),
    ),
    tuning("idle-2s", "the same with 2 s and 2 s", |engine| {
        tempo(&engine.cut_traces("2s", "2s"))
    }),
    tuning("idle-5s", "the same with 5 s and 5 s", |engine| {
        tempo(&engine.cut_traces("5s", "5s"))
    }),
    tuning(
        "idle-5s-check-10s",
        "the same with 5 s and 10 s, as Tempo 2.9 has it by itself",
        |engine| tempo(&engine.cut_traces("5s", "10s")),
    ),
    tuning("blocks-4mib", "Tempo begins a block after 4 MiB of log", |engine| {
        tempo(&engine.blocks_of(4 * MIB))
    }),
    tuning(
        "blocks-500mib",
        "Tempo begins a block after 500 MiB of log, as Tempo 2.9 does by itself",
        |engine| tempo(&engine.blocks_of(500 * MIB)),
    ),
    tuning(
        "row-groups-8mib",
        "row groups of 8 MiB in a block, which is memory while it is written",
        |_| {
            tempo(&format!(
                "{{storage: {{trace: {{block: {{parquet_row_group_size_bytes: {}}}}}}}}}",
                8 * MIB
            ))
        },
    ),
    tuning(
        "gogc-100",
        "the Collectors collect garbage as Go does by itself, when the heap is twice what is in use",
        |_| collector("extraEnv: {GOGC: '100'}"),
    ),
    tuning(
        "batch-in-spans",
        "the Collectors' batches are counted in spans, which bounds no bytes: one that is larger than Tempo takes is lost",
        |_| collector(&queue("batch: {sizer: items, min_size: 2000, max_size: 8192}")),
    ),
    tuning("one-consumer", "one batch under way from each Collector", |_| {
        collector(&queue("num_consumers: 1"))
    }),
    tuning(
        "group-commit",
        "requests of 10 ms are put together before they go to the queue, and answered then: over an exporter and a \
         receiver within the Collector, because only an exporter can wait for the result of a batch",
        |_| GROUP_COMMIT.into(),
    ),
    mode(IN_A_BUCKET, "one Tempo, which stores in a bucket of versitygw", |_| {
        format!("{{tempo-stack: {{tempo: {{{S3}}}}}}}")
    }),
    mode(MIRROR, "two Tempos that each get every span: tempo.replicas 2", |_| {
        "{tempo-stack: {tempo: {replicas: 2}}}".into()
    }),
    mode(
        FLEETS[0],
        "tempo.mode microservices with one pod of each part, so each span is on one ingester",
        |_| fleet(1),
    ),
    mode(
        FLEETS[1],
        "the same with three ingesters, each of which gets every span",
        |_| fleet(3),
    ),
    tuning("gzip", "gzip between Collector and Tempo", |_| compressed("gzip")),
    tuning("zstd", "zstd between Collector and Tempo", |_| compressed("zstd")),
    tuning("snappy", "snappy between Collector and Tempo", |_| compressed("snappy")),
];

const fn usual(name: &'static str, about: &'static str, values: fn(Engine) -> String) -> Known {
    Known {
        name,
        group: Group::Usual,
        about,
        values,
    }
}

const fn tuning(name: &'static str, about: &'static str, values: fn(Engine) -> String) -> Known {
    Known {
        group: Group::Tuning,
        ..usual(name, about, values)
    }
}

const fn mode(name: &'static str, about: &'static str, values: fn(Engine) -> String) -> Known {
    Known {
        group: Group::Modes,
        ..usual(name, about, values)
    }
}

/// A bucket of the bench, see [`wants_a_bucket`].
const S3: &str = "storage: {backend: s3}";

/// A fleet with as many ingesters as get each span, whose compactor doesn't wait for others.
fn fleet(ingesters: u32) -> String {
    format!(
        "
tempo-stack:
  tempo:
    mode: microservices
    {S3}
    components:
      distributor: {{replicas: 1}}
      ingester: {{replicas: {ingesters}, replicationFactor: {ingesters}}}
      querier: {{replicas: 1}}
      queryFrontend: {{replicas: 1}}
    config:
      shutdown_delay: 1s
      compactor: {{ring: {{wait_stability_min_duration: 0s}}}}
"
    )
}

/// Whether values store in a bucket and say nothing of where it is.
pub(super) fn wants_a_bucket(values: &Value) -> bool {
    let storage = |key: &[&str]| lookup(values, &[&["tempo-stack", "tempo", "storage"], key].concat());
    storage(&["backend"]).and_then(Value::as_str) == Some("s3") && storage(&["s3", "endpoint"]).is_none()
}

/// The values of [`BUCKET`] at a server.
pub(super) fn in_a_bucket(endpoint: &str) -> Result<Value> {
    let Bucket {
        name,
        access_key,
        secret_key,
        ..
    } = BUCKET;
    let s3 = format!(
        "{{bucket: {name}, endpoint: '{endpoint}', insecure: true, forcePathStyle: true, accessKey: {access_key}, \
         secretKey: {secret_key}}}"
    );
    let values = format!("{{tempo-stack: {{tempo: {{storage: {{s3: {s3}}}}}}}}}");
    serde_yaml::from_str(&values).context("the values of a bucket")
}

/// Values of the Collector whose queue has these settings.
fn queue(settings: &str) -> String {
    format!("config: {{exporters: {{otlp: {{sending_queue: {{{settings}}}}}}}}}")
}

const GROUP_COMMIT: &str = "
tempo-stack:
  otelCollector:
    config:
      receivers: {otlp/group: {protocols: {grpc: {endpoint: '127.0.0.1:14317', max_recv_msg_size_mib: 16}}}}
      exporters:
        otlp/group:
          endpoint: 127.0.0.1:14317
          compression: none
          tls: {insecure: true}
          sending_queue:
            wait_for_result: true
            sizer: bytes
            queue_size: 67108864
            batch: {sizer: bytes, flush_timeout: 10ms, min_size: 65536, max_size: 9437184}
      service:
        pipelines:
          traces: {exporters: [otlp/group]}
          traces/group: {receivers: [otlp/group], exporters: [otlp]}
";

/// Values with which Collector and Tempo have their own defaults. The sources: the exporter's and the batch
/// processor's createDefaultConfig of the Collector (exporter/otlpexporter and processor/batchprocessor, factory.go),
/// the processors of the file that its distribution comes with (distributions/otelcol-contrib/config.yaml of
/// opentelemetry-collector-releases), and what the chart sets in its templates/_tempo-config.tpl and _tempo-limits.tpl.
fn upstream(engine: Engine) -> String {
    let collector = "
queue: {type: memory, size: 256Mi, persistence: {enabled: false}}
memoryLimiter: {enabled: false}
exporter: {compression: gzip}
config:
  receivers: {otlp: {protocols: {grpc: {keepalive: null}}}}
  processors: {filter/zero-ids: null, batch: {}}
  exporters: {otlp: {timeout: null, retry_on_failure: null, sending_queue: null}}
";
    let tempo = engine.own_defaults();
    format!(
        "tempo-stack:\n  otelCollector:{}\n  tempo:\n    config:{}",
        indented(collector, 4),
        indented(tempo, 6)
    )
}

fn indented(text: &str, by: usize) -> String {
    text.trim_end().replace('\n', &format!("\n{}", " ".repeat(by)))
}

fn collector(values: &str) -> String {
    format!("{{tempo-stack: {{otelCollector: {{{values}}}}}}}")
}

fn tempo(config: &str) -> String {
    format!("{{tempo-stack: {{tempo: {{config: {config}}}}}}}")
}

fn compressed(with: &str) -> String {
    collector(&format!("exporter: {{compression: {with}}}"))
}

impl Variant {
    /// The variant of that name; none if there is none.
    pub fn named(name: &str) -> Option<Variant> {
        let known = VARIANTS.iter().find(|known| known.name == name)?;
        Some(Variant {
            name: known.name.to_owned(),
            about: known.about.to_owned(),
            values: Values::Of(known.values),
        })
    }

    /// A variant of values of the umbrella chart.
    pub fn given(name: impl Into<String>, about: impl Into<String>, values: Value) -> Variant {
        Variant {
            name: name.into(),
            about: about.into(),
            values: Values::Given(values),
        }
    }

    /// The names of a group, `default` first.
    pub fn group(group: Group) -> impl Iterator<Item = &'static str> {
        let of_group = move |known: &&Known| known.group == group || known.name == DEFAULT;
        VARIANTS.iter().filter(of_group).map(|known| known.name)
    }

    /// Its values for this Tempo.
    pub(super) fn values(&self, engine: Engine) -> Result<Value> {
        match &self.values {
            Values::Given(values) => Ok(values.clone()),
            Values::Of(make) => serde_yaml::from_str(&make(engine))
                .with_context(|| format!("parsing the values of the variant {:?}", self.name)),
        }
    }
}

/// What every variant has beside its own values: compaction that comes within seconds.
pub(super) fn quick_compaction(engine: Engine) -> Result<Value> {
    tempo_config(engine.quick_compaction()).context("parsing the settings of compaction")
}

#[cfg(test)]
mod tests {
    use charts::render::{RenderOptions, merge};
    use semver::Version;

    use super::*;
    use crate::policy::paths::prepared;

    #[test]
    fn a_named_variant_has_values_that_are_a_map_for_every_tempo() {
        for version in ["2.3.0", "2.9.0", "3.0.3"] {
            let engine = Engine::of(&Version::parse(version).unwrap());
            for known in VARIANTS {
                let values = Variant::named(known.name).unwrap().values(engine).unwrap();
                let own = values["tempo-stack"].as_mapping().map_or(0, serde_yaml::Mapping::len);
                assert_eq!(own > 0, known.name != DEFAULT, "{} with {version}", known.name);
            }
        }
        assert!(Variant::named("values.yaml").is_none());
    }

    #[test]
    fn the_chart_renders_every_variant() {
        let (helm, chart) = prepared("observability");
        let engine = Engine::of(&Version::new(2, 10, 8));
        for known in VARIANTS {
            let mut values = quick_compaction(engine).unwrap();
            merge(&mut values, Variant::named(known.name).unwrap().values(engine).unwrap());
            if wants_a_bucket(&values) {
                merge(&mut values, in_a_bucket("127.0.0.1:7070").unwrap());
            }
            let options = RenderOptions::documented("observability").values(values);
            if let Err(error) = helm.template(&chart, &options) {
                panic!("{}: {error:#}", known.name);
            }
        }
    }

    #[test]
    fn upstream_takes_out_what_the_chart_sets() {
        let values = |version| {
            let engine = Engine::of(&Version::parse(version).unwrap());
            Variant::named(UPSTREAM).unwrap().values(engine).unwrap()
        };
        let two = values("2.9.0");
        let stack = &two["tempo-stack"];
        assert!(stack["otelCollector"]["config"]["processors"]["batch"].is_mapping());
        let ingester = stack["tempo"]["config"]["ingester"].as_mapping().unwrap();
        assert!(ingester.contains_key("trace_idle_period") && ingester.values().all(Value::is_null));
        let three = values("3.0.3");
        assert!(three["tempo-stack"]["tempo"]["config"].get("ingester").is_none());
    }

    #[test]
    fn every_group_begins_with_the_default() {
        for group in [Group::Usual, Group::Tuning, Group::Modes] {
            let names: Vec<&str> = Variant::group(group).collect();
            assert!(names[0] == DEFAULT && names.len() > 2, "{names:?}");
        }
    }
}
