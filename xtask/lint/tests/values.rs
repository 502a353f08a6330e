//! values.yaml, its schema and who reads it: on the charts of this workspace and on two small ones.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "../../charts/tests/sample/mod.rs"]
mod sample;

use charts::render::{RenderOptions, merge};
use charts::workspace::{Chart, Workspace};
use lint::values::schema::{self, compile, of_chart};
use lint::values::unused::unused_values;
use lint::values::{Entry, ValuesFile, known};
use serde_json::{Value, json};

use sample::{Sample, helm};

fn all_charts() -> (Workspace, Vec<Chart>) {
    let workspace = Workspace::find().unwrap();
    let charts = workspace.charts().unwrap();
    assert!(!charts.is_empty());
    (workspace, charts)
}

/// The schema as `cargo xtask docs` writes it.
fn schema_of(chart: &Chart, file: &ValuesFile) -> Value {
    of_chart(chart.name(), file, known::file_of(chart).is_some())
}

/// `{"a": {"b": value}}` for the path a, b.
fn nested(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |value, key| json!({ key: value }))
}

/// Values as helm shows them to the schema: laid over the chart's defaults.
fn over_defaults(chart: &Chart, values: Value) -> Value {
    let text = std::fs::read_to_string(chart.dir.join("values.yaml")).unwrap();
    let mut all: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    merge(&mut all, serde_yaml::to_value(values).unwrap());
    serde_json::to_value(all).unwrap()
}

/// The entries below a map that takes any key are not in the result.
fn in_strict_maps(file: &ValuesFile) -> Vec<&Entry> {
    let all = file.all();
    let open = |entry: &&&Entry| {
        let parent = all.iter().find(|e| e.path == entry.path[..entry.path.len() - 1]);
        let more = parent.and_then(|p| p.annotation.as_ref()?.keywords.get("additionalProperties").cloned());
        more.is_some_and(|more| more != json!(false))
    };
    all.iter()
        .filter(|entry| !open(entry) && entry.path[0] != "global" && !file.belongs_to_dependency(entry))
        .copied()
        .collect()
}

#[test]
fn every_leaf_of_every_chart_is_described() {
    let (workspace, charts) = all_charts();
    for chart in charts {
        assert_eq!(ValuesFile::of_chart(&workspace, &chart).unwrap().findings(), []);
    }
}

#[test]
fn every_case_of_every_chart_passes_its_schema() {
    let (workspace, charts) = all_charts();
    for chart in charts {
        let file = ValuesFile::of_chart(&workspace, &chart).unwrap();
        let validator = compile(&schema_of(&chart, &file)).unwrap();
        let mut files: Vec<_> = chart.cases().unwrap().into_iter().map(|s| s.values).collect();
        files.push(chart.dir.join("values.yaml"));
        files.extend(Some(chart.dir.join("values-s3-example.yaml")).filter(|file| file.exists()));
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            let values = over_defaults(&chart, serde_yaml::from_str(&text).unwrap());
            let errors: Vec<_> = validator.iter_errors(&values).map(|e| e.to_string()).collect();
            assert_eq!(errors, [""; 0], "{}", path.display());
        }
    }
}

/// The last letter of the last key, replaced.
fn misspelt(path: &[String]) -> Vec<String> {
    let mut path = path.to_vec();
    let typo = path.pop().map(|key| format!("{}X", &key[..key.len() - 1])).unwrap();
    path.push(typo);
    path
}

#[test]
fn one_wrong_letter_in_any_documented_key_is_refused_by_a_strict_schema() {
    let (workspace, charts) = all_charts();
    for chart in charts.iter().filter(|chart| known::file_of(chart).is_none()) {
        let file = ValuesFile::of_chart(&workspace, chart).unwrap();
        let validator = compile(&schema_of(chart, &file)).unwrap();
        let entries = in_strict_maps(&file);
        for entry in entries {
            let value = serde_json::to_value(&entry.value).unwrap();
            let wrong = over_defaults(chart, nested(&misspelt(&entry.path), value));
            assert!(!validator.is_valid(&wrong), "{} is misspelt and accepted", entry.key());
        }
    }
}

#[test]
fn one_wrong_letter_in_any_documented_key_is_answered_with_the_right_one() {
    let (workspace, charts) = all_charts();
    let helm = helm();
    for chart in charts.iter().filter(|chart| known::file_of(chart).is_some()) {
        let file = ValuesFile::of_chart(&workspace, chart).unwrap();
        let entries = in_strict_maps(&file);
        assert!(entries.len() > 100, "{}", chart.name());
        let prepared = helm.prepare(chart).unwrap();
        // Of a long error only the end is kept.
        for some in entries.chunks(10) {
            let mut all = serde_yaml::Value::default();
            for entry in some {
                merge(
                    &mut all,
                    serde_yaml::to_value(nested(&misspelt(&entry.path), json!("x"))).unwrap(),
                );
            }
            let options = RenderOptions::documented(chart.name()).values(all);
            let message = helm.template(&prepared, &options).unwrap_err().to_string();
            for entry in some {
                let (wrong, right) = (misspelt(&entry.path).join("."), entry.path.join("."));
                let line = message.lines().find(|line| line.contains(&format!("- {wrong} is not")));
                let line = line.unwrap_or_else(|| panic!("{wrong} is accepted: {message}"));
                assert!(line.contains(&format!("Did you mean {right}?")), "{line}");
            }
        }
    }
}

#[test]
fn a_key_of_another_chart_is_answered_with_ours() {
    let (workspace, _) = all_charts();
    let helm = helm();
    let chart = workspace.chart("tempo-stack").unwrap();
    let prepared = helm.prepare(&chart).unwrap();
    for (values, answer) in [
        (
            "{tempo: {retention: 24h}}",
            "tempo.retention is \"24h\", where this chart has the keys period. Set tempo.retention.period instead.",
        ),
        (
            "{persistence: {enabled: true, size: 50Gi}}",
            "persistence is not a value of this chart. Set tempo.persistence instead.",
        ),
        (
            "{serviceMonitor: {additionalLabels: {release: prometheus}}}",
            "serviceMonitor.additionalLabels is not a value of this chart. Set serviceMonitor.labels instead.",
        ),
        (
            "{tempo: {traces: {otlp: {grpc: true}}}}",
            "tempo.traces is not a value of this chart. Set otelCollector.receivers instead.",
        ),
        ("{tempo: {memBallastSizeMbs: 1024}}", "Tempo 2 has no ballast"),
        (
            "{tempo: {metricsGenerator: {remoteWriteUrl: 'http://p/w'}}}",
            "tempo.metricsGenerator.remoteWriteUrl is not a value of this chart. Set tempo.metricsGenerator.remoteWrite, a map of targets by name with a url, instead.",
        ),
    ] {
        let options = RenderOptions::documented(chart.name()).values(serde_yaml::from_str(values).unwrap());
        let message = helm.template(&prepared, &options).unwrap_err().to_string();
        assert!(message.contains(answer), "{values}: {message}");
    }
}

#[test]
fn every_answer_to_a_key_of_another_chart_is_a_key_of_ours() {
    let (workspace, _) = all_charts();
    let chart = workspace.chart("tempo-stack").unwrap();
    let file = ValuesFile::of_chart(&workspace, &chart).unwrap();
    let ours: Vec<String> = file.all().iter().map(|entry| entry.path.join(".")).collect();
    let text = std::fs::read_to_string(chart.dir.join("files/peer-keys.yaml")).unwrap();
    let peers: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let here = peers["here"].as_mapping().unwrap();
    assert!(here.len() > 50);
    for (theirs, answer) in here {
        let theirs = theirs.as_str().unwrap();
        assert!(
            !ours.contains(&theirs.to_owned()) || ["tempo.retention", "tempo.metricsGenerator"].contains(&theirs),
            "{theirs} is ours"
        );
        let first = answer.as_str().unwrap().split([' ', ',']).next().unwrap();
        let known = ours
            .iter()
            .any(|key| key == first || (first.starts_with(&format!("{key}.")) && key.ends_with(".config")));
        assert!(known || first == "tempo.config", "{theirs}: {first} is no key of ours");
    }
}

#[test]
fn a_null_gives_a_default_back_and_old_values_render_without_the_new_keys() {
    let (workspace, _) = all_charts();
    let helm = helm();
    let chart = workspace.chart("tempo-stack").unwrap();
    let prepared = helm.prepare(&chart).unwrap();
    let render = |values: &str| {
        let options = RenderOptions::documented(chart.name()).values(serde_yaml::from_str(values).unwrap());
        helm.template(&prepared, &options).unwrap().text
    };
    let defaults = render("{}");
    let file = ValuesFile::of_chart(&workspace, &chart).unwrap();
    for entry in file.entries.iter().filter(|entry| entry.path != ["global"]) {
        assert_eq!(
            render(&nested(&entry.path, Value::Null).to_string()),
            defaults,
            "{}",
            entry.key()
        );
    }
    for path in [
        "grafana.datasource",
        "tempo.service",
        "otelCollector.service.ports",
        "helmTest.image",
    ] {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        assert_eq!(render(&nested(&path, Value::Null).to_string()), defaults, "{path:?}");
    }
}

#[test]
fn a_value_of_another_type_is_refused_for_every_documented_key() {
    let (workspace, charts) = all_charts();
    let samples = [json!("text"), json!(7), json!(true), json!(["x"]), json!({"x": 1})];
    for chart in charts {
        let file = ValuesFile::of_chart(&workspace, &chart).unwrap();
        let validator = compile(&schema_of(&chart, &file)).unwrap();
        for entry in file
            .all()
            .into_iter()
            .filter(|entry| !file.belongs_to_dependency(entry))
        {
            let own = schema::of_entry(entry);
            let types = own["type"]
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![own["type"].clone()]);
            for sample in &samples {
                let kind = match sample {
                    Value::String(_) => "string",
                    Value::Number(_) => "integer",
                    Value::Bool(_) => "boolean",
                    Value::Array(_) => "array",
                    _ => "object",
                };
                let accepted = types.contains(&json!(kind)) || (kind == "integer" && types.contains(&json!("number")));
                if !accepted {
                    let wrong = over_defaults(&chart, nested(&entry.path, sample.clone()));
                    assert!(!validator.is_valid(&wrong), "{wrong} is accepted");
                }
            }
        }
    }
}

#[test]
fn helm_itself_refuses_what_the_schema_refuses_also_below_the_umbrella() {
    let (workspace, charts) = all_charts();
    let helm = helm();
    for chart in charts {
        let prepared = helm.prepare(&chart).unwrap();
        let file = ValuesFile::of_chart(&workspace, &chart).unwrap();
        let schema = schema_of(&chart, &file).to_string();
        std::fs::write(prepared.dir.join("values.schema.json"), schema).unwrap();
        let top = chart.metadata.dependencies.first().map(|d| d.name.as_str());
        let typo = match top {
            Some(dependency) => json!({dependency: {"tempo": {"enabledd": true}}}),
            None => json!({"tempo": {"enabledd": true}}),
        };
        let values = serde_yaml::to_value(typo).unwrap();
        let options = RenderOptions::documented(chart.name()).values(values);
        let error = helm.template(&prepared, &options).unwrap_err().to_string();
        assert!(error.contains("enabledd"), "{}: {error}", chart.name());
        let shared = json!({"global": {"of": "another chart"}, "enabled": true});
        let options = RenderOptions::documented(chart.name()).values(serde_yaml::to_value(shared).unwrap());
        helm.template(&prepared, &options).unwrap();
    }
}

fn template(sample: &Sample, from: &str, to: &str) {
    sample.edit("charts/leaf/templates/config.yaml", from, to);
}

fn add_dead(sample: &Sample) {
    let to = "# -- Read by nobody.\ndead: 1\n# -- Mode.";
    sample.edit("charts/leaf/values.yaml", "# -- Mode.", to);
}

/// Line and key of each value that nothing reads.
fn unused(sample: &Sample, name: &str) -> Vec<(usize, String)> {
    let chart = sample.workspace.chart(name).unwrap();
    let found = unused_values(&helm(), &sample.workspace, &chart).unwrap();
    let shown = |finding: lint::rules::Finding| {
        assert_eq!(finding.file, format!("charts/{name}/values.yaml"));
        let key = finding.message.strip_suffix(" changes nothing in any case").unwrap();
        (finding.line.unwrap(), key.to_owned())
    };
    found.into_iter().map(shown).collect()
}

#[test]
fn a_chart_whose_values_are_all_read_has_no_finding() {
    let sample = Sample::new();
    assert_eq!(unused(&sample, "leaf"), []);
}

#[test]
fn a_value_that_nothing_reads_is_named_with_its_line() {
    let sample = Sample::new();
    add_dead(&sample);
    assert_eq!(unused(&sample, "leaf"), [(9, "dead".into())]);
}

#[test]
fn a_value_that_matters_only_in_a_case_is_read_there() {
    let sample = Sample::new();
    assert_eq!(unused(&sample, "leaf"), []);
    std::fs::remove_file(sample.path("charts/leaf/ci/extra-values.yaml")).unwrap();
    assert_eq!(unused(&sample, "leaf"), [(15, "extra.text".into())]);
}

#[test]
fn a_value_that_only_the_notes_read_is_unused() {
    let sample = Sample::new();
    template(&sample, "if gt (int .Values.size) 5", "if false");
    template(&sample, ".Values.size", ".Release.Name");
    assert_eq!(unused(&sample, "leaf"), [(7, "size".into())]);
}

#[test]
fn a_guard_that_a_changed_value_trips_does_not_hide_its_neighbours() {
    let sample = Sample::new();
    template(&sample, "size: {{ .Values.size | quote }}", "size: any");
    sample.edit(
        "charts/leaf/values.yaml",
        "minimum\": 1,",
        "minimum\": 1, \"examples\": [6],",
    );
    add_dead(&sample);
    assert_eq!(unused(&sample, "leaf"), [(9, "dead".into())]);
}

#[test]
fn what_only_a_dependency_reads_counts_as_read() {
    let sample = Sample::new();
    assert_eq!(unused(&sample, "tree"), []);
    template(&sample, ".Values.global.site", ".Release.Name");
    assert_eq!(unused(&sample, "tree"), [(3, "global.site".into())]);
}

#[test]
fn an_umbrella_without_a_template_of_its_own_is_judged_too() {
    let sample = Sample::new();
    std::fs::remove_dir_all(sample.path("charts/tree/templates")).unwrap();
    assert_eq!(unused(&sample, "tree"), []);
}

#[test]
fn a_chart_that_renders_differently_each_time_is_refused() {
    let sample = Sample::new();
    template(&sample, ".Values.mode", "randAlphaNum 20");
    let chart = sample.workspace.chart("leaf").unwrap();
    let error = unused_values(&helm(), &sample.workspace, &chart).unwrap_err();
    assert!(error.to_string().contains("renders differently each time"), "{error}");
}
