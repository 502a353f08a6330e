//! `migrate values` as people run it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::process::{Command, Output};

struct Run {
    code: i32,
    out: String,
    err: String,
}

/// Runs the command on a file with this text.
fn migrate(from: &str, text: &str, more: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("old.yaml");
    std::fs::write(&file, text).unwrap();
    run(&[&["--from", from, file.to_str().unwrap()], more].concat())
}

fn run(args: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let Output { status, stdout, stderr } = command.args(["migrate", "values"]).args(args).output().unwrap();
    Run {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

#[test]
fn values_go_to_standard_output_below_the_comments_and_one_line_to_standard_error() {
    let source = "tempo: {retention: 48h, memBallastSizeMbs: 9}\npodAnnotations: {scrape: \"no\", door: on}\n";
    let done = migrate("grafana-community/tempo", source, &[]);
    assert_eq!(done.code, 1, "a Boolean is no annotation: {}", done.err);
    let done = migrate("grafana-community/tempo", &source.replace(", door: on", ""), &[]);
    assert_eq!(done.code, 0, "{}", done.err);
    let (comments, values) = done.out.split_once("\n\n").unwrap();
    assert!(comments.lines().all(|line| line.starts_with('#')), "{comments}");
    assert!(
        comments.contains("# - tempo.memBallastSizeMbs: Tempo 2 has no ballast"),
        "{comments}"
    );
    assert!(
        comments.contains("persistence.enabled is false there by default"),
        "{comments}"
    );
    assert_eq!(
        values,
        "tempo:\n  retention:\n    period: 48h\n  podAnnotations:\n    scrape: 'no'\n"
    );
    assert!(
        done.err
            .starts_with("2 keys set, 1 without a counterpart, 0 unknown, 0 secrets left out"),
        "{}",
        done.err
    );
}

#[test]
fn one_document_holds_values_and_report_as_json() {
    let done = migrate(
        "bitnami",
        "{commonLabels: {a: b}, kubeVersion: 1.30.0, xyz: 1}",
        &["--format", "json"],
    );
    let document: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(document["values"], serde_json::json!({"commonLabels": {"a": "b"}}));
    assert_eq!(document["report"]["nowhere"][0]["keys"][0], "kubeVersion");
    assert_eq!(document["report"]["unknown"][0]["key"], "xyz");
}

#[test]
fn values_that_the_chart_refuses_are_printed_with_its_reason_and_the_command_fails() {
    let done = migrate("grafana/tempo", "persistence: {accessModes: [ReadWriteMany]}\n", &[]);
    assert_eq!(done.code, 1);
    let reason = "- tempo.persistence.accessMode is ReadWriteMany: two pods could write to the claim";
    assert!(done.out.contains(reason), "{}", done.out);
    let values = "\ntempo:\n  persistence:\n    accessMode: ReadWriteMany\n";
    assert!(done.out.ends_with(values), "{}", done.out);
    assert!(done.err.contains("tempo-stack refuses these values"), "{}", done.err);
}

#[test]
fn what_is_no_values_file_is_a_usage_error_that_says_what_to_do() {
    for (text, wrong, remedy) in [
        ("a: [", "can't be read as values", "correct the YAML"),
        ("- a\n", "it holds no map", "one YAML map"),
        (
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nspec: {values: {}}\n",
            "it is an object of the kind HelmRelease",
            "save only the values",
        ),
        (
            "tempo: {tempo: {retention: 24h}}\n",
            "stand below `tempo`",
            "save only what stands below it",
        ),
    ] {
        let done = migrate("grafana/tempo", text, &[]);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{text}");
        assert!(
            done.err.contains(wrong) && done.err.contains(remedy),
            "{text}: {}",
            done.err
        );
    }
    let done = run(&["--from", "grafana/tempo", "/nowhere/old.yaml"]);
    assert_eq!(done.code, 2);
    assert!(
        done.err.contains("/nowhere/old.yaml") && done.err.contains("helm get values"),
        "{}",
        done.err
    );
    let done = run(&["--from", "grafana/temp", "/nowhere/old.yaml"]);
    assert_eq!(done.code, 2);
    assert!(
        done.err.contains("grafana-community/tempo") && done.err.contains("bitnami"),
        "{}",
        done.err
    );
}
