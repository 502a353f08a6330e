//! values.yaml, its schema and who reads it: on the charts of this workspace and on two small ones.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "../../charts/tests/sample/mod.rs"]
mod sample;

use charts::render::{RenderOptions, merge};
use charts::workspace::{Chart, Workspace};
use lint::values::schema::{self, compile, of_chart};
use lint::values::unused::unused_values;
use lint::values::{Entry, ValuesFile};
use serde_json::{Value, json};

use sample::{Sample, helm};

fn all_charts() -> (Workspace, Vec<Chart>) {
    let workspace = Workspace::find().unwrap();
    let charts = workspace.charts().unwrap();
    assert!(!charts.is_empty());
    (workspace, charts)
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
        let schema = of_chart(chart.name(), &file);
        let validator = compile(&schema).unwrap();
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

#[test]
fn one_wrong_letter_in_any_documented_key_is_refused() {
    let (workspace, charts) = all_charts();
    for chart in charts {
        let file = ValuesFile::of_chart(&workspace, &chart).unwrap();
        let validator = compile(&of_chart(chart.name(), &file)).unwrap();
        let entries = in_strict_maps(&file);
        assert!(entries.len() > 10, "{}", chart.name());
        for entry in entries {
            let value = serde_json::to_value(&entry.value).unwrap();
            let right = over_defaults(&chart, nested(&entry.path, value.clone()));
            assert!(validator.is_valid(&right), "{} is refused", entry.key());
            let mut path = entry.path.clone();
            let typo = path.pop().map(|key| format!("{}X", &key[..key.len() - 1])).unwrap();
            path.push(typo);
            assert!(
                !validator.is_valid(&over_defaults(&chart, nested(&path, value))),
                "{} is accepted",
                path.join(".")
            );
        }
    }
}

#[test]
fn a_value_of_another_type_is_refused_for_every_documented_key() {
    let (workspace, charts) = all_charts();
    let samples = [json!("text"), json!(7), json!(true), json!(["x"]), json!({"x": 1})];
    for chart in charts {
        let file = ValuesFile::of_chart(&workspace, &chart).unwrap();
        let validator = compile(&of_chart(chart.name(), &file)).unwrap();
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
        let schema = of_chart(chart.name(), &file).to_string();
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
