//! `release plan`, `notes`, `index` and `verify` with a static repository, in throw-away git histories.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(dead_code, reason = "shared by the tests of releases")]
mod keys;
#[allow(dead_code, reason = "shared by the tests of releases")]
mod repo;
#[path = "../charts/tests/sample/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the library")]
mod sample;

#[path = "publishing/index.rs"]
mod index;
#[path = "publishing/notes.rs"]
mod notes;
#[path = "publishing/others.rs"]
mod others;
#[path = "publishing/verify.rs"]
mod verify;

use std::collections::BTreeMap;
use std::path::Path;

use repo::{Repo, expect};

const URL: &str = "https://charts.example.com";
const LEAF: &str = "charts/leaf/values.yaml";
const INDEX: [&str; 5] = ["release", "index", "site", "--url", URL];

/// A history whose charts are packaged in dist.
fn packaged() -> Repo {
    let repo = Repo::publishable(URL);
    expect(&repo.xtask(&["package"]), 0);
    repo
}

/// With both charts in the repository `site`.
fn published() -> Repo {
    let repo = packaged();
    expect(&repo.xtask(&INDEX), 0);
    repo
}

/// `chart version` of every entry, in order, and that each archive is the one that the index means.
fn entries(site: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(site.join("index.yaml")).unwrap();
    let index: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let mut found = Vec::new();
    for (chart, versions) in index["entries"].as_mapping().unwrap() {
        for version in versions.as_sequence().unwrap() {
            let url = version["urls"][0].as_str().unwrap();
            assert!(site.join(url.rsplit('/').next().unwrap()).is_file(), "{url}");
            found.push(format!(
                "{} {}",
                chart.as_str().unwrap(),
                version["version"].as_str().unwrap()
            ));
        }
    }
    found
}

/// All files below a folder with their bytes.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(list) = std::fs::read_dir(dir) else {
        return BTreeMap::new();
    };
    let files = list.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    files
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect()
}

/// Each check with + for passed, - for failed, ? for skipped.
fn verdicts(checks: &serde_json::Value) -> String {
    let sign = |check: &serde_json::Value| match check["verdict"].as_str().unwrap() {
        "passed" => '+',
        "failed" => '-',
        _ => '?',
    };
    let shown = checks
        .as_array()
        .unwrap()
        .iter()
        .map(|c| format!("{}{}", c["name"].as_str().unwrap(), sign(c)));
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_command_of_the_workflow_is_one_that_the_xtask_has() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join(".github/workflows/release.yml")).unwrap();
    let parsed: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    assert!(parsed["jobs"]["release"]["steps"].is_sequence());
    let repo = Repo::unreleased();
    let commands: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once("cargo xtask "))
        .collect();
    assert!(commands.len() > 5);
    for (_, command) in commands {
        let words = command
            .split(" >>")
            .next()
            .unwrap()
            .split_whitespace()
            .map(|word| word.trim_matches('"'));
        // Every argument before --help is checked.
        let args: Vec<&str> = words.chain(["--help"]).collect();
        expect(&repo.xtask(&args), 0);
    }
    // An action is pinned by its commit.
    for action in text.lines().filter_map(|line| line.split_once("uses: ")) {
        let commit = action.1.split_once('@').unwrap().1.split(' ').next().unwrap();
        assert_eq!(commit.len(), 40, "{}", action.1);
    }
}

#[test]
fn a_dry_run_shows_commands_and_writes_nothing() {
    let repo = packaged();
    for (args, wanted) in [
        (&INDEX[..], "helm repo index"),
        (&["release", "plan", "--to", "dist"], "helm package leaf"),
        (
            &["release", "push", "--to", "oci://127.0.0.1:9/charts", "--tag"],
            "git tag leaf-0.1.0",
        ),
        (&["release", "verify", "dist/leaf-0.1.0.tgz"], "helm lint leaf"),
        (&["release", "notes", "--write"], "### Added"),
    ] {
        let shown = expect(&repo.xtask(&[&["--dry-run"], args].concat()), 0);
        assert!(shown.contains(wanted), "{args:?}: {shown}");
    }
    assert!(!repo.dir.join("site").exists());
    assert!(!repo.dir.join("charts/leaf/CHANGELOG.md").exists());
    assert_eq!(repo.git(&["tag"]), "");
}
