//! `docs`, `template` and `package` as people run them, on two small charts in a folder of their own.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "../charts/tests/sample/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the library")]
mod sample;

use std::path::Path;
use std::process::{Command, Output};

use sample::Sample;

const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The two charts with all that the xtask needs around them.
fn workspace() -> Sample {
    let sample = Sample::new();
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    sample.write(
        "Cargo.toml",
        "[workspace]\nmembers = []\nresolver = \"3\"\n\n[workspace.metadata.xtask]\nkube-version = \"1.34.4\"\n",
    );
    let template = std::fs::read_to_string(real.join("ci/templates/values.md.tera")).unwrap();
    sample.write("ci/templates/values.md.tera", &template);
    std::os::unix::fs::symlink(real.join("ci/tools").canonicalize().unwrap(), sample.path("ci/tools")).unwrap();
    for chart in ["leaf", "tree"] {
        let readme = format!("# {chart}\n\n<!-- values:begin -->\n<!-- values:end -->\n");
        sample.write(&format!("charts/{chart}/README.md"), &readme);
    }
    sample
}

/// A command that sees the sample as its workspace and nothing of the caller's git.
fn command(sample: &Sample, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(sample.path("."))
        .env("CARGO_MANIFEST_DIR", sample.path("xtask"))
        .env("GIT_CEILING_DIRECTORIES", sample.path("..").canonicalize().unwrap())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove(EPOCH);
    // A hook that runs the tests names its own repository.
    for name in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_WORK_TREE"] {
        command.env_remove(name);
    }
    command
}

fn xtask(sample: &Sample, args: &[&str]) -> Output {
    command(sample, env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .output()
        .unwrap()
}

fn dated(sample: &Sample, args: &[&str]) -> Output {
    let mut xtask = command(sample, env!("CARGO_BIN_EXE_xtask"));
    xtask.args(args).env(EPOCH, "1700000000").output().unwrap()
}

fn git(sample: &Sample, args: &[&str]) {
    let date = "@1600000000 +0200";
    let output = command(sample, "git")
        .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
        .args(args)
        .env("GIT_AUTHOR_DATE", date)
        .env("GIT_COMMITTER_DATE", date)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

fn committed() -> Sample {
    let sample = workspace();
    git(&sample, &["init", "-q"]);
    git(&sample, &["add", "-A"]);
    git(&sample, &["commit", "-qm", "charts"]);
    sample
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The output of a run that must end like this.
fn expect(output: &Output, code: i32) -> String {
    let text = text(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

fn json(output: &Output) -> serde_json::Value {
    expect(output, 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn docs_are_written_then_found_current_and_a_changed_comment_is_shown() {
    let sample = workspace();
    expect(&xtask(&sample, &["docs", "--check"]), 1);
    expect(&xtask(&sample, &["docs"]), 0);
    expect(&xtask(&sample, &["docs", "--check"]), 0);
    sample.edit("charts/leaf/values.yaml", "# -- Mode.", "# -- Speed.");
    let shown = expect(&xtask(&sample, &["docs", "--check"]), 1);
    for part in [
        "charts/leaf/README.md differs, follows from charts/leaf/values.yaml",
        "charts/leaf/values.schema.json differs",
        "-| `mode` | `fast`, `safe` | `\"fast\"` | Mode. |\n+| `mode` | `fast`, `safe` | `\"fast\"` | Speed. |",
        "try: run `cargo xtask docs`",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(!shown.contains("charts/tree/README.md"), "{shown}");
}

#[test]
fn a_key_without_description_fails_docs_with_its_line_and_writes_nothing_for_that_chart() {
    let sample = workspace();
    sample.edit("charts/leaf/values.yaml", "# -- Mode.\n", "");
    let shown = expect(&xtask(&sample, &["docs"]), 1);
    assert!(
        shown.contains("charts/leaf/values.yaml:9: values-comment: mode has no description"),
        "{shown}"
    );
    assert!(!sample.path("charts/leaf/values.schema.json").exists());
    assert!(sample.path("charts/tree/values.schema.json").exists());
}

#[test]
fn one_changed_character_in_a_template_fails_the_check_until_the_renders_are_rewritten() {
    let sample = workspace();
    expect(&xtask(&sample, &["template"]), 0);
    expect(&xtask(&sample, &["template", "--check"]), 0);
    sample.edit("charts/leaf/templates/extra.yaml", "  text:", "  texT:");
    let shown = expect(&xtask(&sample, &["template", "--check"]), 1);
    let named = "tests/golden/leaf/extra/secret-leaf-extra.yaml differs, follows from charts/leaf/templates/extra.yaml";
    assert!(
        shown.contains(named) && shown.contains("+  texT:") && shown.contains("cargo xtask template"),
        "{shown}"
    );
    expect(&xtask(&sample, &["template", "--chart", "tree", "--check"]), 0);
    expect(&xtask(&sample, &["template"]), 0);
    expect(&xtask(&sample, &["template", "--check"]), 0);
}

#[test]
fn an_unknown_chart_case_tool_or_scenario_is_a_usage_error_that_names_the_nearest_one() {
    let sample = workspace();
    let shown = |args: &[&str]| expect(&xtask(&sample, args), 2);
    let root = shown(&["template", "--chart", "root"]);
    assert!(root.contains("leaf, tree") && !root.contains("did you mean"), "{root}");
    for (args, near) in [
        (["template", "--chart", "lief"], "did you mean leaf?"),
        (["lint", "--case", "extar"], "did you mean extra?"),
        (["tools", "path", "hlem"], "did you mean helm?"),
        (["e2e", "--scenario", "roundtirp"], "roundtrip"),
    ] {
        let shown = shown(&args);
        assert!(shown.contains(near), "{near} is not in {shown}");
    }
}

#[test]
fn a_dry_run_of_the_generators_writes_nothing() {
    let sample = workspace();
    expect(&xtask(&sample, &["--dry-run", "docs"]), 0);
    expect(&xtask(&sample, &["--dry-run", "template"]), 0);
    expect(&dated(&sample, &["--dry-run", "package"]), 0);
    for file in ["charts/leaf/values.schema.json", "tests", "dist"] {
        assert!(!sample.path(file).exists(), "{file}");
    }
}

#[test]
fn packages_have_the_same_bytes_in_another_folder_with_another_umask_time_zone_and_file_times() {
    let (here, there) = (workspace(), workspace());
    expect(&dated(&here, &["package"]), 0);
    for file in ["charts/leaf/values.yaml", "charts/tree/Chart.yaml"] {
        let file = std::fs::File::options().append(true).open(there.path(file)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let private = "find charts -type f -exec chmod 600 {} + && umask 077 && exec \"$0\" package";
    let output = command(&there, "sh")
        .args(["-c", private, env!("CARGO_BIN_EXE_xtask")])
        .env(EPOCH, "1700000000")
        .env("TZ", "Asia/Tokyo")
        .output()
        .unwrap();
    expect(&output, 0);
    for file in ["dist/leaf-0.1.0.tgz", "dist/tree-0.1.0.tgz"] {
        assert!(
            std::fs::read(here.path(file)).unwrap() == std::fs::read(there.path(file)).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn the_umbrellas_archive_carries_its_dependency_and_renders_alone() {
    let sample = workspace();
    expect(&dated(&sample, &["package", "--out", "o"]), 0);
    let alone = tempfile::tempdir().unwrap();
    let file = alone.path().join("tree.tgz");
    std::fs::rename(sample.path("o/tree-0.1.0.tgz"), &file).unwrap();
    let output = Command::new(sample::helm().program)
        .args(["template", "tree", "tree.tgz"])
        .current_dir(alone.path())
        .output()
        .unwrap();
    assert!(expect(&output, 0).contains("# Source: tree/charts/leaf/templates/config.yaml"));
}

#[test]
fn archives_are_dated_by_the_last_commit_unless_the_environment_says_otherwise() {
    let sample = committed();
    let report = json(&xtask(&sample, &["--format", "json", "package"]));
    assert_eq!(report["source_date_epoch"], 1_600_000_000);
    assert_eq!(report["uncommitted"], false);
    assert_eq!(report["archives"][1]["chart"], "tree");
    assert_eq!(report["archives"][1]["sha256"].as_str().unwrap().len(), 64);
    let report = json(&dated(&sample, &["--format", "json", "package"]));
    assert_eq!(report["source_date_epoch"], 1_700_000_000);
}

#[test]
fn uncommitted_changes_are_left_out_with_a_warning() {
    let sample = committed();
    let before = json(&xtask(&sample, &["--format", "json", "package"]));
    assert!(!expect(&xtask(&sample, &["package"]), 0).contains("warning: charts/"));
    sample.edit("charts/leaf/values.yaml", "hello", "bye");
    assert!(expect(&xtask(&sample, &["package"]), 0).contains("warning: charts/ has changes"));
    assert_eq!(json(&xtask(&sample, &["--format", "json", "package"])), before);
}

#[test]
fn a_schema_takes_dependencies_that_values_do_not_mention_and_values_as_helm_reads_them() {
    let sample = workspace();
    sample.write("charts/tree/values.yaml", "global:\n  # -- Site.\n  site: here\n");
    sample.edit(
        "charts/tree/Chart.yaml",
        "    condition: leaf.enabled\n",
        "    alias: left\n",
    );
    sample.write("charts/tree/ci/off-values.yaml", "{}\n");
    let more = "# -- Switch.\nswitch: on\n# -- Answer.\nanswer: n\n# -- Mode of files.\nfiles: 0644\n\
                # -- Bytes.\nbytes: 1_000\n# -- A text.\nword: \"on\"\n";
    let values = std::fs::read_to_string(sample.path("charts/leaf/values.yaml")).unwrap();
    sample.write("charts/leaf/values.yaml", &(values + more));
    expect(&xtask(&sample, &["docs"]), 0);
    let schema = |chart: &str| -> serde_json::Value {
        let file = sample.path(&format!("charts/{chart}/values.schema.json"));
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    };
    let types =
        ["switch", "answer", "files", "bytes", "word"].map(|key| schema("leaf")["properties"][key]["type"].clone());
    assert_eq!(types, ["boolean", "boolean", "integer", "integer", "string"]);
    assert_eq!(schema("tree")["properties"]["left"]["type"], "object");
    // helm holds both charts to what was written.
    expect(&xtask(&sample, &["template"]), 0);
    expect(&dated(&sample, &["package"]), 0);

    // What only helm would find.
    sample.edit(
        "charts/tree/values.yaml",
        "  site: here\n",
        "  site: here\nleft:\n  size: 99\n",
    );
    sample.edit("charts/tree/values.yaml", "left:", "# -- The other chart.\nleft:");
    let shown = expect(&xtask(&sample, &["docs"]), 1);
    assert!(
        shown.contains("helm refuses tree with its own defaults") && shown.contains("size"),
        "{shown}"
    );
    let key = "# -- A key that helm reads as true.\non: 1\n";
    sample.write("charts/leaf/values.yaml", key);
    let shown = expect(&xtask(&sample, &["docs"]), 1);
    assert!(shown.contains("is a key that is not a text"), "{shown}");
}

#[test]
fn without_git_and_without_a_date_it_says_what_to_set() {
    let shown = expect(&xtask(&workspace(), &["package"]), 4);
    assert!(
        shown.contains("can't be dated") && shown.contains("set SOURCE_DATE_EPOCH"),
        "{shown}"
    );
}

#[test]
fn a_date_that_is_no_number_is_a_usage_error() {
    let sample = workspace();
    let mut xtask = command(&sample, env!("CARGO_BIN_EXE_xtask"));
    let output = xtask.arg("package").env(EPOCH, "yesterday").output().unwrap();
    assert!(expect(&output, 2).contains("SOURCE_DATE_EPOCH=yesterday"));
}

#[test]
fn a_chart_that_fails_its_trial_leaves_the_old_archives_as_they_are() {
    let sample = workspace();
    expect(&dated(&sample, &["package"]), 0);
    let before = std::fs::read(sample.path("dist/leaf-0.1.0.tgz")).unwrap();
    let files = std::fs::read_dir(sample.path("dist")).unwrap().count();
    sample.edit("charts/leaf/values.yaml", "hello", "bye");
    // `leaf` comes first and is fine: only `tree` doesn't render.
    sample.write("charts/tree/ci/bad-values.yaml", "leaf: {size: 6}\n");
    let shown = expect(&dated(&sample, &["package"]), 1);
    assert!(
        shown.contains("tree with ci/bad-values.yaml") && shown.contains("size is above 5"),
        "{shown}"
    );
    assert!(std::fs::read(sample.path("dist/leaf-0.1.0.tgz")).unwrap() == before);
    assert_eq!(std::fs::read_dir(sample.path("dist")).unwrap().count(), files);
}

#[test]
fn test_values_in_an_archive_are_refused() {
    let sample = workspace();
    sample.write("charts/leaf/.helmignore", "");
    let shown = expect(&dated(&sample, &["package"]), 1);
    assert!(
        shown.contains("leaf/ci/default-values.yaml is for tests only"),
        "{shown}"
    );
    assert!(!sample.path("dist").exists());
}

#[test]
fn pins_with_newer_versions_are_shown_and_those_that_the_proxy_does_not_tell() {
    let sample = workspace();
    std::fs::remove_file(sample.path("ci/tools")).unwrap();
    for (tool, module) in [("old", "x"), ("new", "y"), ("gone", "z")] {
        sample.write(
            &format!("ci/tools/{tool}/tool.yaml"),
            "summary: a tool\npackage: .\nversion: 1.0.0\naccept: '*'\nprobe: []\n",
        );
        let text = format!("module {tool}\n\ngo 1.21\n\nrequire example.com/{module} v1.0.0\n");
        sample.write(&format!("ci/tools/{tool}/go.mod"), &text);
    }
    // A module proxy is a folder (go.dev/ref/mod#goproxy-protocol).
    for (module, versions) in [("x", &["v1.0.0", "v1.1.0"][..]), ("y", &["v1.0.0"])] {
        let dir = format!("proxy/example.com/{module}/@v");
        sample.write(&format!("{dir}/list"), &versions.join("\n"));
        for version in versions {
            let info = format!("{{\"Version\":\"{version}\",\"Time\":\"2020-01-01T00:00:00Z\"}}");
            sample.write(&format!("{dir}/{version}.info"), &info);
            sample.write(
                &format!("{dir}/{version}.mod"),
                &format!("module example.com/{module}\n"),
            );
        }
    }
    let mut outdated = command(&sample, env!("CARGO_BIN_EXE_xtask"));
    outdated
        .args(["tools", "outdated"])
        .env("GOPROXY", format!("file://{}", sample.path("proxy").display()))
        .env("GONOSUMDB", "*")
        .env("GOMODCACHE", sample.path("modules"));
    let shown = expect(&outdated.output().unwrap(), 0);
    assert!(shown.contains("example.com/x v1.0.0 -> v1.1.0"), "{shown}");
    assert!(shown.contains("example.com/z v1.0.0, newest not known: "), "{shown}");
    assert!(
        shown.contains("1 of 3 pinned modules have newer versions") && !shown.contains("example.com/y"),
        "{shown}"
    );
}
