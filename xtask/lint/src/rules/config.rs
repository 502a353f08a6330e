//! Rules about what the configurations of Tempo and the Collector say together.

use charts::manifest::lookup;
use charts::program::{Program, ProgramKind};
use charts::quantity;
use serde_yaml::Value;

use super::{Check, Problem, Rule, Scene};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "memory-limiter-first",
        summary: "memory_limiter is the first processor of every pipeline that has one",
        remedy: "put memory_limiter first in service.pipelines.<name>.processors",
        check: Check::Render(memory_limiter_first),
    },
    Rule {
        name: "memory-limiter-limit",
        summary: "memory_limiter measures against a memory limit of its container, and below it",
        remedy: "set resources.limits.memory above limit_mib, and spike_limit_mib below limit_mib",
        check: Check::Render(memory_limiter_limit),
    },
    Rule {
        name: "batch-before-queue",
        summary: "no batch processor stands in front of a queue that batches or lies on disk",
        remedy: "drop the batch processor and use sending_queue.batch, which batches after the spans are safe",
        check: Check::Render(batch_before_queue),
    },
    Rule {
        name: "queue-durable",
        summary: "a queue on disk never gives up, and its store is started",
        remedy: "set retry_on_failure.max_elapsed_time to 0s and list the store in service.extensions",
        check: Check::Render(queue_durable),
    },
    Rule {
        name: "retention-both-keys",
        summary: "every retention key that Tempo's version reads is set, to the same time",
        remedy: "set overrides.defaults.compaction.block_retention and the module's block_retention from one value",
        check: Check::Render(retention_both_keys),
    },
];

fn of_kind<'p, 'a>(programs: &'p [Program<'a>], kind: ProgramKind) -> impl Iterator<Item = &'p Program<'a>> {
    programs.iter().filter(move |program| program.kind == kind)
}

fn pipeline_list<'v>(pipeline: &'v Value, key: &str) -> Vec<&'v str> {
    let list = pipeline.get(key).and_then(Value::as_sequence);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The type of a component id such as `memory_limiter/small`.
fn type_of(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}

fn memory_limiter_first(scene: &Scene, problems: &mut Vec<Problem>) {
    for program in of_kind(&scene.programs(), ProgramKind::Collector) {
        for (name, pipeline) in program.entries("service.pipelines") {
            let processors = pipeline_list(pipeline, "processors");
            let place = processors.iter().position(|id| type_of(id) == "memory_limiter");
            if place.is_some_and(|place| place > 0) {
                let message = format!("pipeline {name} has memory_limiter behind {}", processors[0]);
                problems.push(Problem::new(program.config_map, &["data"], message));
            }
        }
    }
}

fn memory_limiter_limit(scene: &Scene, problems: &mut Vec<Problem>) {
    for program in of_kind(&scene.programs(), ProgramKind::Collector) {
        let limits = program
            .container
            .spec
            .resources
            .as_ref()
            .and_then(|r| r.limits.as_ref());
        let limit = limits.and_then(|l| quantity::bytes(&l.get("memory")?.0));
        for (id, limiter) in program.entries("processors") {
            if type_of(id) != "memory_limiter" {
                continue;
            }
            let Some(limit) = limit else {
                let message = format!("{}: {id} without resources.limits.memory", program.container.id());
                problems.push(Problem::in_container(
                    program.workload.manifest,
                    &["resources"],
                    message,
                ));
                continue;
            };
            let mib = |key: &str| limiter.get(key).and_then(Value::as_u64);
            let (hard, spike) = (mib("limit_mib"), mib("spike_limit_mib"));
            if hard.is_some_and(|hard| hard << 20 >= limit) || (spike.is_some() && spike >= hard) {
                let message = format!(
                    "{id}: limit_mib {hard:?} with spike_limit_mib {spike:?} does not fit a limit of {} MiB",
                    limit >> 20
                );
                problems.push(Problem::new(program.config_map, &["data"], message));
            }
        }
    }
}

/// Whether an exporter's queue batches by itself or lies on disk, so that a batch in front of it harms.
/// Before 0.130 a queue on disk can't batch (core #13340), hence a batch processor is the only way there.
fn wants_no_batch_before(program: &Program, exporter: &Value) -> bool {
    let queue = exporter.get("sending_queue");
    let can_batch = program
        .version
        .as_ref()
        .is_none_or(|version| (version.major, version.minor) >= (0, 130));
    let stored = queue.and_then(|q| q.get("storage")).is_some_and(|s| !s.is_null());
    queue.and_then(|q| q.get("batch")).is_some() || (stored && can_batch)
}

fn batch_before_queue(scene: &Scene, problems: &mut Vec<Problem>) {
    for program in of_kind(&scene.programs(), ProgramKind::Collector) {
        for (name, pipeline) in program.entries("service.pipelines") {
            let processors = pipeline_list(pipeline, "processors");
            let Some(batch) = processors.iter().find(|id| type_of(id) == "batch") else {
                continue;
            };
            for id in pipeline_list(pipeline, "exporters") {
                let exporter = lookup(&program.config, &["exporters", id]);
                if exporter.is_some_and(|exporter| wants_no_batch_before(program, exporter)) {
                    let message = format!(
                        "pipeline {name}: {batch} holds acknowledged spans in memory in front of the queue of {id}"
                    );
                    problems.push(Problem::new(program.config_map, &["data"], message));
                }
            }
        }
    }
}

fn queue_durable(scene: &Scene, problems: &mut Vec<Problem>) {
    for program in of_kind(&scene.programs(), ProgramKind::Collector) {
        for (id, exporter) in program.entries("exporters") {
            let Some(store) = exporter.get("sending_queue").and_then(|q| q.get("storage")?.as_str()) else {
                continue;
            };
            let mut say = |message: String| problems.push(Problem::new(program.config_map, &["data"], message));
            if !program.list("service.extensions").contains(&store) {
                say(format!(
                    "the queue of {id} lies in {store}, which service.extensions does not start"
                ));
            }
            let elapsed = exporter.get("retry_on_failure").and_then(|r| r.get("max_elapsed_time"));
            let forever = match elapsed {
                Some(Value::Number(number)) => number.as_u64() == Some(0),
                Some(Value::String(text)) => text.trim_end_matches(char::is_alphabetic) == "0",
                _ => false,
            };
            if !forever {
                say(format!(
                    "{id}: retry_on_failure.max_elapsed_time is {}, so spans are dropped after it",
                    elapsed.and_then(Value::as_str).unwrap_or("300s by default")
                ));
            }
        }
    }
}

/// The retention keys that a version reads: 2.x the compactor's, 3.0 the worker's (deletes) and the
/// scheduler's (chooses blocks); all of them the override.
fn retention_keys(major: u64) -> &'static [&'static str] {
    match major {
        0..=2 => &[
            "overrides.defaults.compaction.block_retention",
            "compactor.compaction.block_retention",
        ],
        _ => &[
            "overrides.defaults.compaction.block_retention",
            "backend_worker.compaction.block_retention",
            "backend_scheduler.provider.compaction.compaction.block_retention",
        ],
    }
}

fn retention_both_keys(scene: &Scene, problems: &mut Vec<Problem>) {
    for program in of_kind(&scene.programs(), ProgramKind::Tempo) {
        let major = program.version.as_ref().map_or(2, |version| version.major);
        let keys = retention_keys(major);
        let values: Vec<Option<&str>> = keys.iter().map(|key| program.get_str(key)).collect();
        if values.iter().any(|value| value.is_none() || *value != values[0]) {
            let shown: Vec<_> = keys.iter().zip(&values).map(|(k, v)| format!("{k} {v:?}")).collect();
            let message = format!("{} reads: {}", program.id(), shown.join(", "));
            problems.push(Problem::new(program.config_map, &["data"], message));
        }
    }
}
