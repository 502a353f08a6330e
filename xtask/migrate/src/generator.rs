//! The metrics-generator: from Tempo's configuration to the values that the chart has for it.

use charts::render::set;
use serde_yaml::{Mapping, Value};

use crate::convert::{get, take};
use crate::report::Report;

const CONFIG: &str = "tempo.config.metrics_generator";
const PROCESSORS: &str = "tempo.config.overrides.defaults.metrics_generator.processors";
/// The Secret that a password goes into, which no values may hold.
const SECRET: &str = "tempo-remote-write";

/// Keys of Tempo's configuration, below [`CONFIG`], and those of the chart, below `tempo.metricsGenerator`.
const KEYS: [(&str, &str); 5] = [
    ("registry.collection_interval", "collectionInterval"),
    ("registry.external_labels", "externalLabels"),
    ("processor.span_metrics.dimensions", "spanMetrics.dimensions"),
    (
        "processor.span_metrics.histogram_buckets",
        "spanMetrics.histogramBuckets",
    ),
    ("processor.service_graphs.dimensions", "serviceGraphs.dimensions"),
];

/// Replaces settings of a generator that sends metrics by the chart's own switch, which brings its folders and its processors.
/// What the switch has no value for stays in `tempo.config`.
pub(crate) fn lift(values: &mut Value, report: &mut Report) {
    let targets = get(values, &format!("{CONFIG}.storage.remote_write")).and_then(Value::as_sequence);
    let Some(targets) = targets.filter(|targets| !targets.is_empty()).cloned() else {
        return;
    };
    let listed = get(values, PROCESSORS).and_then(Value::as_sequence).cloned();
    // Where none is named, nothing was made of the spans although it was meant to.
    let runs = |name: &str| listed.as_ref().is_none_or(|listed| listed.contains(&name.into()));
    let own = [
        ("spanMetrics", runs("span-metrics")),
        ("serviceGraphs", runs("service-graphs")),
    ];
    let Some(map) = names(&targets, report).filter(|_| own.iter().any(|(_, on)| *on)) else {
        return;
    };
    put(values, "tempo.metricsGenerator.enabled", true.into());
    put(values, "tempo.metricsGenerator.remoteWrite", map.into());
    for (processor, _) in own.iter().filter(|(_, on)| !on) {
        put(
            values,
            &format!("tempo.metricsGenerator.{processor}.enabled"),
            false.into(),
        );
    }
    for (theirs, ours) in KEYS {
        if let Some(value) = take(values, &format!("{CONFIG}.{theirs}")) {
            put(values, &format!("tempo.metricsGenerator.{ours}"), value);
        }
    }
    if listed.is_some_and(|listed| listed.contains(&"local-blocks".into())) {
        let stored = take(values, &format!("{CONFIG}.processor.local_blocks.flush_to_storage"));
        let range = if stored == Some(true.into()) { "all" } else { "recent" };
        put(values, "tempo.traceqlMetrics.range", range.into());
    }
    for path in ["storage.path", "storage.remote_write", "traces_storage.path"] {
        take(values, &format!("{CONFIG}.{path}"));
    }
    let known = ["span-metrics", "service-graphs", "local-blocks"].map(Value::from);
    let others = get(values, PROCESSORS).and_then(Value::as_sequence);
    if others.is_none_or(|listed| listed.iter().all(|one| known.contains(one))) {
        take(values, PROCESSORS);
    }
}

/// The targets by name, if the chart has a value for all that they say.
fn names(targets: &[Value], report: &mut Report) -> Option<Mapping> {
    let mut map = Mapping::new();
    let mut passwords = Vec::new();
    for target in targets {
        let mut rest = target.clone();
        let url = take(&mut rest, "url")?;
        take(&mut rest, "send_exemplars");
        let name = match take(&mut rest, "name") {
            Some(Value::String(name)) if is_name(&name) => name,
            _ if map.is_empty() => "prometheus".to_owned(),
            _ => format!("prometheus-{}", map.len() + 1),
        };
        let mut ours: Mapping = [("url".into(), url)].into_iter().collect();
        if let Some(username) = take(&mut rest, "basic_auth.username") {
            ours.insert("existingSecret".into(), SECRET.into());
            ours.insert("username".into(), username);
            ours.insert("passwordKey".into(), name.clone().into());
            passwords.push(format!("--from-literal={name}=…"));
        }
        if rest.as_mapping().is_some_and(|rest| !rest.is_empty()) || map.insert(name.into(), ours.into()).is_some() {
            return None;
        }
    }
    if !passwords.is_empty() {
        report.remarks.push(format!(
            "tempo.metricsGenerator.remoteWrite names the Secret {SECRET}: make it before the installation, with \
             `kubectl create secret generic {SECRET} {}`",
            passwords.join(" ")
        ));
    }
    Some(map)
}

/// Whether a target may be called so.
fn is_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.chars().all(inside) && !name.starts_with('-') && !name.ends_with('-') && !name.is_empty()
}

fn put(values: &mut Value, path: &str, value: Value) {
    set(values, &path.split('.').collect::<Vec<_>>(), value);
}
