//! What the alerts promise: `promtool test rules` on what is rendered, a test and a section of the runbook for each.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use charts::manifest::Manifest;
use charts::render::{Prepared, RenderOptions};
use kit::step::Step;
use lint::promtool::rule_file;
use lint::rules::{self, Subject};
use serde::Deserialize;
use serde_yaml::Value;

use common::{helm, toolbox, workspace};

/// Each file of unit tests, and the values that its rules are rendered from.
const RENDERS: [(&str, &str); 7] = [
    ("collector", "{}"),
    (
        "tempo",
        "{tempo: {metricsGenerator: {enabled: true, remoteWrite: {prometheus: {url: 'http://prometheus/write'}}}}}",
    ),
    ("tempo-3", "{tempo: {image: {tag: 3.0.3}}}"),
    ("tempo-only", "{otelCollector: {enabled: false}}"),
    ("volume", "{}"),
    ("canary", "{canary: {enabled: true}}"),
    ("kubelet-volume", "{tempo: {disk: {guard: {enabled: false}}}}"),
];

fn chart() -> &'static Prepared {
    static CHART: OnceLock<Prepared> = OnceLock::new();
    CHART.get_or_init(|| helm().prepare(&workspace().chart("tempo-stack").unwrap()).unwrap())
}

fn rendered(values: Value) -> anyhow::Result<Option<Manifest>> {
    let options = RenderOptions::documented("tempo-stack").values(values);
    let manifests = helm().template(chart(), &options)?.manifests;
    Ok(manifests.into_iter().find(|m| m.kind == "PrometheusRule"))
}

/// With the alerts on and further values of `prometheusRule`.
fn rendered_with(values: &str, rule: &str) -> anyhow::Result<Option<Manifest>> {
    let mut values: Value = serde_yaml::from_str(values).unwrap();
    let rule = format!("{{enabled: true, {rule}}}");
    values["prometheusRule"] = serde_yaml::from_str(&rule).unwrap();
    rendered(values)
}

/// The rules of some values, with the alerts on.
fn rules_of(values: &str) -> Manifest {
    rendered_with(values, "").unwrap().unwrap()
}

fn alerts(rules: &Manifest) -> Vec<(String, String)> {
    let groups = rules.get(&["spec", "groups"]).and_then(Value::as_sequence).unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap());
    rules
        .filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule["expr"].as_str()?.to_owned())))
        .collect()
}

fn test_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/alerts")
        .join(format!("{name}.yaml"))
}

#[test]
fn every_alert_fires_from_its_cause_and_is_silent_without_it() {
    let promtool = toolbox().get("promtool").unwrap();
    for (name, values) in RENDERS {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.yaml"), rule_file(&rules_of(values)).unwrap()).unwrap();
        std::fs::copy(test_file(name), folder.path().join("test.yaml")).unwrap();
        let step = Step::new("promtool test rules", &promtool.path)
            .timeout(Duration::from_secs(120))
            .cwd(folder.path())
            .args(["test", "rules", "test.yaml"]);
        let output = helm().runner.try_run(&step).unwrap();
        assert!(output.success(), "{name}: {}", output.tail());
    }
}

/// What the tests below read of a file of unit tests.
#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    alert_rule_test: Vec<Expectation>,
}

#[derive(Deserialize)]
struct Expectation {
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<Value>,
}

#[test]
fn every_expression_of_an_alert_has_a_test_in_which_it_is_silent_fires_and_ends() {
    let (mut wanted, mut tested) = (BTreeSet::new(), BTreeSet::new());
    for (name, values) in RENDERS {
        let alerts = alerts(&rules_of(values));
        wanted.extend(alerts.iter().cloned());
        let file: TestFile = serde_yaml::from_str(&std::fs::read_to_string(test_file(name)).unwrap()).unwrap();
        for group in file.tests {
            let mut fires: BTreeMap<String, Vec<bool>> = BTreeMap::new();
            for one in group.alert_rule_test {
                fires.entry(one.alertname).or_default().push(!one.exp_alerts.is_empty());
            }
            for (alert, mut fires) in fires {
                fires.dedup();
                assert!(fires.starts_with(&[false, true, false]), "{name}: {alert} {fires:?}");
                tested.extend(alerts.iter().filter(|(known, _)| *known == alert).cloned());
            }
        }
    }
    assert_eq!(
        wanted.difference(&tested).collect::<Vec<_>>(),
        Vec::<&(String, String)>::new()
    );
}

/// Every alert that the chart knows, whatever is on.
fn known() -> BTreeSet<String> {
    let file = workspace().chart("tempo-stack").unwrap().dir.join("files/alerts.yaml");
    let groups: Vec<Value> = serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap());
    rules
        .filter_map(|rule| rule["alert"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn every_alert_is_rendered_by_some_values() {
    let rendered = RENDERS.iter().flat_map(|(_, values)| alerts(&rules_of(values)));
    assert_eq!(rendered.map(|(alert, _)| alert).collect::<BTreeSet<_>>(), known());
}

#[test]
fn every_alert_has_its_section_in_the_runbook_and_every_section_its_alert() {
    let runbook = workspace().chart("tempo-stack").unwrap().dir.join("RUNBOOK.md");
    let text = std::fs::read_to_string(runbook).unwrap();
    let mut sections: BTreeMap<String, &str> = BTreeMap::new();
    for section in text.split("\n## ").skip(1) {
        let (title, body) = section.split_once('\n').unwrap();
        assert!(sections.insert(title.to_owned(), body).is_none(), "{title} twice");
    }
    assert_eq!(sections.keys().cloned().collect::<BTreeSet<_>>(), known());
    for (title, body) in sections {
        for part in ["**Means.**", "**Lost.**", "**Look.**", "**Do.**"] {
            assert!(body.contains(part), "{title} lacks {part}");
        }
    }
}

#[test]
fn every_metric_was_recorded_of_every_version_that_is_asked_for_it() {
    let stack = workspace().chart("tempo-stack").unwrap();
    for (tempo, collector) in [
        ("2.3.0", "0.89.0"),
        ("2.9.0", "0.125.0"),
        ("2.10.8", "0.155.0"),
        ("3.0.3", "0.155.0"),
    ] {
        let values = format!(
            "{{tempo: {{image: {{tag: {tempo}}}, metricsGenerator: {{enabled: true, remoteWrite: {{p: {{url: 'http://p/w'}}}}}}}}, \
             otelCollector: {{image: {{tag: {collector}}}}}, prometheusRule: {{enabled: true}}}}"
        );
        let options = RenderOptions::documented("tempo-stack").values(serde_yaml::from_str(&values).unwrap());
        let subject = Subject {
            chart: &stack,
            case: tempo,
            values: &values,
            release: &options.release,
            namespace: &options.namespace,
            manifests: &helm().template(chart(), &options).unwrap().manifests,
        };
        let found = rules::judge_render(&subject);
        let found: Vec<_> = found
            .iter()
            .filter(|f| f.rule == "metric-exists" || f.rule == "promql-readable")
            .collect();
        assert!(found.is_empty(), "{tempo}: {found:?}");
    }
}

#[test]
fn nothing_of_a_component_that_is_off_is_asked_for() {
    let of = |values: &str| alerts(&rules_of(values));
    let asks = |values: &str, what: &str| of(values).iter().any(|(_, expr)| expr.contains(what));
    assert!(!asks("{otelCollector: {enabled: false}}", "otelcol_"));
    assert!(!asks("{otelCollector: {enabled: false}}", "collector_accepted"));
    let without_tempo = "{tempo: {enabled: false}, otelCollector: {exporter: {endpoint: 'tempo:4317'}}}";
    assert!(!asks(without_tempo, "job=\"tempo\"") && !asks(without_tempo, "tempo_stack:volume"));
    let no_volume = "{tempo: {disk: {guard: {enabled: false}}, persistence: {enabled: false}}}";
    assert!(of(no_volume).iter().all(|(alert, _)| !alert.contains("Volume")));
    assert!(
        of("{}")
            .iter()
            .all(|(alert, _)| alert != "TempoStackRemoteWriteFailing")
    );
}

#[test]
fn names_windows_thresholds_and_waiting_times_are_values() {
    let text = |rule: &str| {
        let text = rendered_with("{}", rule).unwrap().unwrap().text;
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(!text("").contains("${"), "a word of files/alerts.yaml is unknown");
    let seconds = text(
        "rateWindow: 8s, interval: 1s, for: {default: 2s, TempoStackTempoDown: 3s}, \
         without: {TempoStackNoSpans: true, TempoStackRateLimited: false}, \
         thresholds: {volumeFullWithin: 90s, volumeTrend: 30s, retentionErrorWithin: 40s}",
    );
    assert!(!seconds.contains("TempoStackNoSpans") && seconds.contains("TempoStackRateLimited"));
    assert!(seconds.contains("for: 3s") && !seconds.contains("m]") && !seconds.contains("for: 0s"));
    assert!(seconds.contains("[30s], 90) < 0") && seconds.contains("[40s]"));
    for bad in [
        "thresholds: {queueUsedPercent: 100}",
        "thresholds: {volumeUsedPercent: 0}",
        "thresholds: {volumeFullWithin: soon}",
        "rateWindow: 5 minutes",
        "for: {TempoStackNoSpans: ''}",
        "runbookUrl: runbook",
    ] {
        assert!(rendered_with("{}", bad).is_err(), "{bad}");
    }
}

#[test]
fn the_releases_of_a_cluster_do_not_hear_each_other() {
    let expressions = |values: &str| alerts(&rules_of(values));
    let other = "{tempo: {service: {name: other-tempo}}, otelCollector: {service: {name: other-collector}}}";
    for (alert, expr) in expressions(other) {
        assert!(!expr.contains("service=\"tempo\""), "{alert}: {expr}");
        assert!(!expr.contains("service=\"otel-collector-metrics\""), "{alert}: {expr}");
        assert_eq!(
            expr.matches('{').count(),
            expr.matches("{namespace=\"observability\",").count(),
            "{alert}: {expr}"
        );
    }
}
