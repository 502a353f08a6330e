//! Golden renders, with the real helm and two small charts.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod sample;

use std::path::PathBuf;

use charts::generated::{Departure, Generated, compare, write};
use charts::golden;

use sample::{Sample, helm};

fn wanted(sample: &Sample) -> Vec<Generated> {
    let charts = sample.workspace.charts().unwrap();
    golden::wanted(&helm(), &sample.workspace, &charts).unwrap()
}

fn error(sample: &Sample) -> String {
    let charts = sample.workspace.charts().unwrap();
    golden::wanted(&helm(), &sample.workspace, &charts)
        .unwrap_err()
        .to_string()
}

fn owned(sample: &Sample) -> Vec<PathBuf> {
    vec![golden::folder(&sample.workspace)]
}

#[test]
fn each_object_of_each_case_is_one_file_named_by_kind_and_name() {
    let sample = Sample::new();
    let files = wanted(&sample);
    let names: Vec<_> = files
        .iter()
        .map(|f| {
            f.path
                .strip_prefix(golden::folder(&sample.workspace))
                .unwrap()
                .to_str()
                .unwrap()
        })
        .collect();
    assert_eq!(
        names,
        [
            "leaf/default/configmap-leaf-config.yaml",
            "leaf/extra/configmap-leaf-config.yaml",
            "leaf/extra/secret-leaf-extra.yaml",
            "tree/default/configmap-tree-config.yaml",
            "tree/default/configmap-tree-own.yaml",
            "tree/off/configmap-tree-own.yaml",
        ]
    );
    assert!(
        files[0].text.contains("  namespace: observability\n"),
        "{}",
        files[0].text
    );
    assert!(files[3].text.contains("  site: \"here\"\n"), "{}", files[3].text);
}

#[test]
fn an_object_of_a_dependency_is_traced_to_the_template_in_the_workspace() {
    let sample = Sample::new();
    let sources: Vec<_> = wanted(&sample).into_iter().map(|f| f.source).collect();
    assert_eq!(sources[0], "charts/leaf/templates/config.yaml");
    assert_eq!(
        sources[3..5],
        ["charts/leaf/templates/config.yaml", "charts/tree/templates/own.yaml"]
    );
    assert!(sources.iter().all(|source| sample.path(source).is_file()));
}

#[test]
fn rendering_leaves_the_charts_as_they_are() {
    let sample = Sample::new();
    wanted(&sample);
    assert!(!sample.path("charts/tree/charts").exists());
    assert!(!sample.path("charts/tree/Chart.lock").exists());
}

#[test]
fn rendering_twice_gives_the_same_bytes() {
    let sample = Sample::new();
    assert_eq!(wanted(&sample), wanted(&sample));
}

#[test]
fn one_changed_character_in_a_template_names_the_file_and_the_template() {
    let sample = Sample::new();
    write(&wanted(&sample), &owned(&sample)).unwrap();
    assert_eq!(compare(&wanted(&sample), &owned(&sample)).unwrap(), []);
    sample.edit("charts/leaf/templates/extra.yaml", "  text:", "  texT:");
    let found = compare(&wanted(&sample), &owned(&sample)).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].path,
        sample.path("tests/golden/leaf/extra/secret-leaf-extra.yaml")
    );
    assert_eq!(found[0].source, "charts/leaf/templates/extra.yaml");
    assert!(
        found[0].diff.contains("-  text: \"hello\"\n+  texT: \"hello\""),
        "{}",
        found[0].diff
    );
}

#[test]
fn a_new_case_is_missing_and_a_removed_one_is_an_orphan_until_rewritten() {
    let sample = Sample::new();
    write(&wanted(&sample), &owned(&sample)).unwrap();
    std::fs::rename(
        sample.path("charts/leaf/ci/extra-values.yaml"),
        sample.path("charts/leaf/ci/more-values.yaml"),
    )
    .unwrap();
    let found = compare(&wanted(&sample), &owned(&sample)).unwrap();
    let departures: Vec<_> = found.iter().map(|d| d.departure).collect();
    use Departure::{Missing, Orphan};
    assert_eq!(departures, [Orphan, Orphan, Missing, Missing]);
    write(&wanted(&sample), &owned(&sample)).unwrap();
    assert!(!sample.path("tests/golden/leaf/extra").exists());
    assert_eq!(compare(&wanted(&sample), &owned(&sample)).unwrap(), []);
}

#[test]
fn two_objects_of_one_kind_and_name_are_refused_with_both_templates() {
    let sample = Sample::new();
    sample.edit("charts/leaf/templates/extra.yaml", "Secret", "ConfigMap");
    sample.edit("charts/leaf/templates/extra.yaml", "-extra", "-config");
    let message = error(&sample);
    assert!(
        message.contains("extra-values.yaml") && message.contains("config.yaml") && message.contains("extra.yaml"),
        "{message}"
    );
}

#[test]
fn a_case_that_does_not_render_is_named_with_helms_message() {
    let sample = Sample::new();
    sample.write("charts/leaf/ci/extra-values.yaml", "size: 6\n");
    let message = error(&sample);
    assert!(message.starts_with("leaf with ci/extra-values.yaml"), "{message}");
    assert!(message.contains("size is above 5"), "{message}");
}
