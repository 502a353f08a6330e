//! `changed` and `bump` on throw-away git histories.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(dead_code, reason = "shared by the tests of releases")]
mod keys;
#[allow(dead_code, reason = "shared by the tests of releases")]
mod repo;
#[path = "../charts/tests/sample/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the library")]
mod sample;

use keys::{Home, USUAL};
use repo::{Repo, clone, expect};

const LEAF: &str = "charts/leaf/values.yaml";
const TREE: &str = "charts/tree/values.yaml";

/// `chart bump next`, with `-` for none, for every changed chart, then what was removed.
fn shown(report: &serde_json::Value) -> String {
    let mut lines = Vec::new();
    for chart in report["charts"].as_array().unwrap() {
        let text = |key: &str| chart[key].as_str().unwrap_or("-").to_owned();
        lines.push(format!("{} {} {}", text("chart"), text("bump"), text("next_version")));
    }
    for name in report["removed"].as_array().unwrap() {
        lines.push(format!("removed {}", name.as_str().unwrap()));
    }
    lines.join("; ")
}

/// A name, what happens after the release of 0.1.0, and what `changed` then says.
type Case = (&'static str, fn(&Repo), &'static str);

const CASES: &[Case] = &[
    ("nothing", |_| {}, ""),
    (
        "a fix of the subchart reaches the umbrella",
        |r| r.change(LEAF, "fix: a"),
        "leaf patch 0.1.1; tree patch 0.1.1",
    ),
    (
        "a feature",
        |r| r.change(LEAF, "feat: a"),
        "leaf minor 0.2.0; tree minor 0.2.0",
    ),
    (
        "a breaking change below 1.0.0",
        |r| r.change(LEAF, "feat!: a"),
        "leaf minor 0.2.0; tree minor 0.2.0",
    ),
    ("umbrella only", |r| r.change(TREE, "feat: a"), "tree minor 0.2.0"),
    (
        "a message without convention is a patch",
        |r| r.change(TREE, "Say more"),
        "tree patch 0.1.1",
    ),
    (
        "the highest of several wins",
        |r| {
            r.change(TREE, "feat: a");
            r.change(TREE, "fix: b");
        },
        "tree minor 0.2.0",
    ),
    (
        "test values are changed but not packaged",
        |r| r.change("charts/tree/ci/off-values.yaml", "feat: a"),
        "tree - -",
    ),
    (
        "a file whose name is not ASCII",
        |r| r.change("charts/tree/größe.yaml", "feat: a"),
        "tree minor 0.2.0",
    ),
    ("outside the charts", |r| r.change("README.md", "feat!: a"), ""),
    (
        "a revert takes its commit back",
        |r| {
            r.change(TREE, "feat!: a");
            r.git(&["revert", "--no-edit", "HEAD"]);
        },
        "",
    ),
    (
        "a revert among others",
        |r| {
            r.change(LEAF, "feat: a");
            r.git(&["revert", "--no-edit", "HEAD"]);
            r.change(LEAF, "fix: b");
        },
        "leaf patch 0.1.1; tree patch 0.1.1",
    ),
    (
        "a merged branch brings its commits",
        |r| {
            r.git(&["checkout", "-qb", "side"]);
            r.change(TREE, "feat: a");
            r.git(&["checkout", "-q", "main"]);
            r.change(LEAF, "fix: b");
            r.git(&["merge", "-q", "--no-ff", "-m", "Merge branch 'side'", "side"]);
        },
        "leaf patch 0.1.1; tree minor 0.2.0",
    ),
    (
        "a renamed chart is a new one",
        |r| {
            r.git(&["mv", "charts/tree", "charts/wood"]);
            let chart = r.read("charts/wood/Chart.yaml").replace("name: tree", "name: wood");
            std::fs::write(r.dir.join("charts/wood/Chart.yaml"), chart).unwrap();
            r.commit("feat: rename");
        },
        "wood - -; removed tree",
    ),
    (
        "what is not committed yet is a patch",
        |r| std::fs::write(r.dir.join(TREE), r.read(TREE) + "# x\n").unwrap(),
        "tree patch 0.1.1",
    ),
];

#[test]
fn every_history_is_understood() {
    for (name, happens, wanted) in CASES {
        let repo = Repo::released();
        happens(&repo);
        assert_eq!(shown(&repo.json(&["changed"])), *wanted, "{name}");
    }
}

#[test]
fn a_branch_is_compared_with_where_it_left_the_default_branch() {
    let repo = Repo::released();
    repo.git(&["checkout", "-qb", "work"]);
    repo.change(TREE, "feat: a");
    repo.git(&["checkout", "-q", "main"]);
    repo.change(LEAF, "feat!: not ours");
    repo.git(&["checkout", "-q", "work"]);
    let report = repo.json(&["changed"]);
    assert_eq!(shown(&report), "tree minor 0.2.0");
    assert_eq!(report["matrix"]["chart"][0], "tree");
    // Renames on the branch name what went.
    repo.git(&["mv", "charts/tree", "charts/wood"]);
    let chart = repo.read("charts/wood/Chart.yaml").replace("name: tree", "name: wood");
    std::fs::write(repo.dir.join("charts/wood/Chart.yaml"), chart).unwrap();
    repo.commit("feat: rename");
    assert_eq!(shown(&repo.json(&["changed"])), "wood - -; removed tree");
}

#[test]
fn a_chart_that_was_never_released_is_new() {
    let repo = Repo::unreleased();
    let report = repo.json(&["changed"]);
    assert_eq!(shown(&report), "leaf - -; tree - -");
    assert_eq!(report["charts"][0]["needs_bump"], false);
}

#[test]
fn a_shallow_clone_says_what_it_lacks_and_a_deep_enough_one_answers() {
    let origin = Repo::released();
    origin.git(&["checkout", "-qb", "work"]);
    for n in 0..3 {
        origin.change(TREE, &format!("feat: {n}"));
    }
    let temp = tempfile::tempdir().unwrap();
    let shallow = clone(&origin, &temp.path().join("a"), &["--depth", "1", "--no-single-branch"]);
    for args in [
        &["changed"][..],
        &["changed", "--since", "origin/main"],
        &["changed", "--since", "leaf-0.1.0"],
    ] {
        let shown = expect(&shallow.xtask(args), 4);
        assert!(
            shown.contains("can't decide what changed") && shown.contains("git fetch --unshallow"),
            "{args:?}: {shown}"
        );
    }
    let deep = clone(&origin, &temp.path().join("b"), &["--depth", "5", "--no-single-branch"]);
    assert_eq!(
        shown(&deep.json(&["changed", "--since", "origin/main"])),
        "tree minor 0.2.0"
    );
    let shallow = clone(&origin, &temp.path().join("c"), &["--depth", "1", "--branch", "main"]);
    expect(&shallow.xtask(&["changed"]), 0);
}

#[test]
fn a_worktree_answers_like_its_checkout() {
    let repo = Repo::released();
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("w");
    repo.git(&["worktree", "add", "-q", "-b", "work", &dir.display().to_string()]);
    let tree = Repo {
        sample: sample::Sample::new(),
        dir: dir.canonicalize().unwrap(),
    };
    tree.change(TREE, "fix: a");
    assert_eq!(shown(&tree.json(&["changed"])), "tree patch 0.1.1");
    assert_eq!(shown(&repo.json(&["changed"])), "");
}

#[test]
fn an_unknown_commit_is_a_usage_error_and_no_checkout_one_of_the_environment() {
    let repo = Repo::released();
    assert!(expect(&repo.xtask(&["changed", "--since", "nowhere"]), 2).contains("no commit \"nowhere\""));
    std::fs::remove_dir_all(repo.dir.join(".git")).unwrap();
    assert!(expect(&repo.xtask(&["changed"]), 4).contains("not in a git checkout"));
}

#[test]
fn signatures_that_git_is_set_to_show_are_no_part_of_a_commit() {
    let temp = tempfile::tempdir().unwrap();
    let home = Home::new(temp.path().join("g"));
    home.generate(&USUAL);
    let gpg = temp.path().join("gpg");
    std::fs::write(
        &gpg,
        format!("#!/bin/sh\nexec gpg --homedir {}/g \"$@\"\n", temp.path().display()),
    )
    .unwrap();
    std::fs::set_permissions(&gpg, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let repo = Repo::released();
    for (key, value) in [
        ("gpg.program", gpg.to_str().unwrap()),
        ("user.signingKey", &home.fingerprint()),
        ("commit.gpgSign", "true"),
        ("log.showSignature", "true"),
    ] {
        repo.git(&["config", key, value]);
    }
    repo.change(TREE, "feat: a");
    repo.change(LEAF, "fix: b");
    assert!(repo.git(&["log", "-1", "--format="]).contains("Good signature"));
    assert_eq!(shown(&repo.json(&["changed"])), "leaf patch 0.1.1; tree minor 0.2.0");
    repo.raise("0.1.0", "0.2.0");
    let notes = repo.json(&["release", "notes", "--chart", "tree"]);
    let text = notes[0]["text"].as_str().unwrap();
    assert!(text.contains("- a (") && !text.contains("gpg"), "{text}");
    expect(&repo.xtask(&["package"]), 0);
}

#[test]
fn settings_of_the_user_change_no_answer() {
    let repo = Repo::released();
    repo.change("charts/tree/templates/größe.yaml", "feat: a");
    repo.git(&["mv", "charts/tree/templates/größe.yaml", "charts/tree/templates/b.yaml"]);
    repo.change(LEAF, "fix: b");
    let asked = || {
        let notes = repo.xtask(&["release", "notes", "--chart", "tree"]);
        (repo.json(&["changed"]), expect(&notes, 0))
    };
    let before = asked();
    assert_eq!(shown(&before.0), "leaf patch 0.1.1; tree minor 0.2.0");
    repo.sample.write("external", "#!/bin/sh\necho $0\n");
    for setting in [
        "color.ui=always",
        "column.ui=always",
        "core.quotePath=false",
        "diff.external=false",
        "diff.mnemonicPrefix=true",
        "diff.noprefix=true",
        "diff.orderFile=charts/leaf/values.yaml",
        "diff.relative=false",
        "diff.renames=copies",
        "i18n.logOutputEncoding=UTF-16",
        "log.date=relative",
        "log.decorate=full",
        "log.follow=true",
        "format.pretty=raw",
        "log.diffMerges=off",
        "status.branch=true",
        "status.showUntrackedFiles=no",
        "tag.sort=-version:refname",
        "versionsort.suffix=-",
    ] {
        let (key, value) = setting.split_once('=').unwrap();
        repo.git(&["config", key, value]);
        assert!(asked() == before, "{setting}");
    }
}

#[test]
fn a_repository_that_a_hook_names_is_not_asked() {
    let repo = Repo::released();
    repo.change(TREE, "feat: a");
    let before = repo.xtask(&["changed"]).stdout;
    let other = Repo::unreleased();
    for (name, value) in [
        ("GIT_DIR", other.dir.join(".git").display().to_string()),
        ("GIT_INDEX_FILE", other.dir.join(".git/index").display().to_string()),
        ("GIT_WORK_TREE", other.dir.display().to_string()),
        ("GIT_NAMESPACE", "elsewhere".to_owned()),
        ("GIT_ICASE_PATHSPECS", "1".to_owned()),
        ("GIT_EXTERNAL_DIFF", "false".to_owned()),
        ("GIT_CONFIG_PARAMETERS", "'core.bare=true'".to_owned()),
    ] {
        let mut command = repo.command(env!("CARGO_BIN_EXE_xtask"));
        let output = command.arg("changed").env(name, &value).output().unwrap();
        assert_eq!(expect(&output, 0).as_bytes(), before, "{name}={value}");
    }
}

#[test]
fn a_clone_without_tags_cannot_decide_and_says_what_to_fetch() {
    let origin = Repo::released();
    origin.change(TREE, "feat: a");
    let temp = tempfile::tempdir().unwrap();
    let bare = clone(&origin, &temp.path().join("a"), &["--no-tags"]);
    let later = clone(&origin, &temp.path().join("b"), &[]);
    for tag in ["leaf-0.1.0", "tree-0.1.0"] {
        later.git(&["tag", "-d", tag]);
    }
    for repo in [&bare, &later] {
        for args in [&["changed"][..], &["bump"], &["release", "notes"]] {
            let shown = expect(&repo.xtask(args), 4);
            assert!(
                shown.contains("can't decide") && shown.contains("git fetch --tags"),
                "{args:?}: {shown}"
            );
        }
        repo.git(&["fetch", "-q", "--tags"]);
        assert_eq!(shown(&repo.json(&["changed"])), "tree minor 0.2.0");
    }
    // Where no remote has a tag of it, the chart is new.
    let fresh = clone(&Repo::unreleased(), &temp.path().join("c"), &["--no-tags"]);
    assert_eq!(shown(&fresh.json(&["changed"])), "leaf - -; tree - -");
}

#[test]
fn a_breaking_change_of_nothing_but_a_file_with_an_odd_name_is_one() {
    for file in [
        "files/größe.txt",
        "files/\"quoted\".txt",
        "files/two\nlines.txt",
        "files/ta\tb.txt",
    ] {
        let repo = Repo::released();
        std::fs::create_dir_all(repo.dir.join("charts/tree/files")).unwrap();
        repo.change(&format!("charts/tree/{file}"), "feat!: odd");
        assert_eq!(shown(&repo.json(&["changed"])), "tree minor 0.2.0", "{file:?}");
        repo.json(&["bump"]);
        let notes = repo.json(&["release", "notes", "--chart", "tree"]);
        assert!(
            notes[0]["text"].as_str().unwrap().contains("- odd ("),
            "{file:?}: {notes}"
        );
    }
}

#[test]
fn charts_that_depend_on_each_other_are_named() {
    let repo = Repo::released();
    let dependency = "dependencies: [{name: tree, version: 0.1.0, repository: 'file://../tree'}]\n";
    let chart = repo.read("charts/leaf/Chart.yaml") + dependency;
    repo.sample.write("charts/leaf/Chart.yaml", &chart);
    let shown = expect(&repo.xtask(&["changed"]), 1);
    assert!(
        shown.contains("charts depend on each other: leaf -> tree -> leaf"),
        "{shown}"
    );
}

#[test]
fn bump_writes_versions_lock_and_notes_once_and_keeps_every_other_byte() {
    let repo = Repo::released();
    let chart = "apiVersion: v2 # odd\nname:   leaf\n# above\nversion:  0.1.0   # keep\n";
    std::fs::write(repo.dir.join("charts/leaf/Chart.yaml"), chart).unwrap();
    repo.change(LEAF, "feat: speak \"up\": now");
    expect(&repo.xtask(&["changed", "--check"]), 1);
    let dry = expect(&repo.xtask(&["--dry-run", "bump"]), 0);
    assert!(
        dry.contains("-version:  0.1.0   # keep\n+version:  0.2.0   # keep"),
        "{dry}"
    );
    assert_eq!(repo.read("charts/leaf/Chart.yaml"), chart);

    let raised = repo.json(&["bump"]);
    assert_eq!(raised[0]["to"], "0.2.0");
    let notes =
        "annotations:\n  artifacthub.io/changes: |\n    - kind: added\n      description: \"speak \\\"up\\\": now\"\n";
    assert_eq!(
        repo.read("charts/leaf/Chart.yaml"),
        chart.replace("0.1.0", "0.2.0") + notes
    );
    let tree = repo.read("charts/tree/Chart.yaml");
    assert!(tree.contains("description: \"Depends on leaf 0.2.0\""), "{tree}");
    assert!(!tree.contains("0.1.0"), "{tree}");

    expect(&repo.xtask(&["changed", "--check"]), 0);
    assert_eq!(repo.json(&["bump"]).as_array().unwrap().len(), 0);
    repo.commit("chore: release");
    assert_eq!(repo.json(&["bump"]).as_array().unwrap().len(), 0);
    // What bump wrote is what helm accepts, Chart.lock included.
    expect(&repo.xtask(&["template"]), 0);
}

/// Sets a chart's version in the working tree.
fn set_version(repo: &Repo, chart: &str, to: &str) {
    let file = format!("charts/{chart}/Chart.yaml");
    let text = repo.read(&file);
    let old = text.lines().find(|line| line.starts_with("version: ")).unwrap();
    let text = text.replacen(old, &format!("version: {to}"), 1);
    std::fs::write(repo.dir.join(file), text).unwrap();
}

#[test]
fn a_version_that_stands_for_something_else_is_too_low_and_both_places_are_named() {
    // On the branch to which this one goes, with and without a tag, and lower than there.
    for (tag, ours, next) in [
        (true, "0.1.1", "0.1.2"),
        (false, "0.1.1", "0.1.2"),
        (false, "0.1.2", "0.3.1"),
    ] {
        let repo = Repo::released();
        repo.git(&["checkout", "-qb", "work"]);
        repo.git(&["checkout", "-q", "main"]);
        set_version(&repo, "tree", if ours == "0.1.2" { "0.3.0" } else { "0.1.1" });
        repo.change(TREE, "fix: theirs");
        if tag {
            repo.git(&["tag", "tree-0.1.1"]);
        }
        repo.git(&["checkout", "-q", "work"]);
        set_version(&repo, "tree", ours);
        repo.change(TREE, "fix: ours");
        let text = expect(&repo.xtask(&["changed", "--check"]), 1);
        assert!(text.contains("refs/heads/main"), "{text}");
        assert_eq!(text.contains("tag tree-0.1.1"), tag, "{text}");
        expect(&repo.xtask(&["bump"]), 0);
        assert!(
            repo.read("charts/tree/Chart.yaml")
                .contains(&format!("version: {next}\n"))
        );
        repo.commit("chore: release");
        expect(&repo.xtask(&["changed", "--check"]), 0);
    }
    // A tag of another line, with other files; and the same tag with ours.
    let repo = Repo::released();
    repo.git(&["checkout", "-qb", "maintenance"]);
    set_version(&repo, "tree", "0.1.1");
    repo.change(TREE, "fix: theirs");
    repo.git(&["tag", "tree-0.1.1"]);
    expect(&repo.xtask(&["changed", "--check"]), 0);
    repo.git(&["checkout", "-q", "main"]);
    set_version(&repo, "tree", "0.1.1");
    repo.change(TREE, "fix: ours");
    let text = expect(&repo.xtask(&["changed", "--check"]), 1);
    assert!(
        text.contains("needs 0.1.2") && text.contains("0.1.1 (tag tree-0.1.1)"),
        "{text}"
    );
    repo.json(&["bump", "--chart", "leaf", "--level", "patch"]);
    assert!(repo.read("charts/tree/Chart.yaml").contains("version: 0.1.2\n"));
}

#[test]
fn candidates_are_measured_from_the_last_final_version() {
    // A candidate that is tagged, what then changes, the version of the chart, and what `changed` says.
    for (candidate, message, version, wanted) in [
        ("1.2.0-rc.1", "feat!: a", "1.2.0-rc.2", "leaf major 2.0.0"),
        ("1.2.0-rc.1", "feat!: a", "2.0.0-rc.1", "leaf major 2.0.0 enough"),
        ("1.2.0-rc.1", "feat: a", "1.2.0-rc.1", "leaf minor 1.2.0"),
        ("1.2.0-rc.1", "feat: a", "1.2.0-rc.2", "leaf minor 1.2.0 enough"),
        ("1.2.0-rc.1", "fix: a", "1.2.0", "leaf minor 1.2.0 enough"),
        ("1.1.1-rc.1", "feat: a", "1.1.1-rc.2", "leaf minor 1.2.0"),
        // What follows a plus sign is no step.
        ("1.2.0", "fix: a", "1.2.0+b", "leaf patch 1.2.1"),
        ("1.2.0+b", "fix: a", "1.2.0+c", "leaf patch 1.2.1"),
        ("1.2.0+b", "fix: a", "1.2.1", "leaf patch 1.2.1 enough"),
    ] {
        let repo = Repo::unreleased();
        repo.git(&["rm", "-rqf", "charts/tree"]);
        set_version(&repo, "leaf", "1.1.0");
        repo.commit("chore: release");
        repo.git(&["tag", "leaf-1.1.0"]);
        set_version(&repo, "leaf", candidate);
        repo.change(LEAF, "feat: first");
        repo.git(&["tag", &format!("leaf-{candidate}")]);
        repo.change(LEAF, message);
        if version != candidate {
            set_version(&repo, "leaf", version);
            repo.commit("chore: release");
        }
        let report = repo.json(&["changed"]);
        let enough = if report["charts"][0]["needs_bump"] == false {
            " enough"
        } else {
            ""
        };
        assert_eq!(
            format!("{}{enough}", shown(&report)),
            wanted,
            "{candidate} {message} {version}"
        );
        let notes = repo.json(&["release", "notes"]);
        let text = notes[0]["text"].as_str().unwrap();
        // The notes of a final version have what its candidates brought.
        let is_final = !version.contains('-');
        let wanted = if is_final && candidate.contains('-') {
            "1.1.0"
        } else {
            candidate
        };
        if version != candidate && !version.contains('+') {
            assert_eq!(notes[0]["previous"], wanted, "{version}");
            assert_eq!(text.contains("- first ("), wanted == "1.1.0", "{version}: {text}");
        }
    }
}

#[test]
fn bump_raises_a_dependency_under_each_of_its_names_and_keeps_a_range_that_holds() {
    // The ranges of two aliases, what changes, and what they are then.
    for (ranges, message, wanted) in [
        (["0.1.0", "0.1.0"], "feat: a", ["0.2.0", "0.2.0"]),
        (["^0.1.0", "0.1.0"], "fix: a", ["^0.1.0", "0.1.1"]),
        (["^0.1.0", ">=0.1.0 <1.0.0"], "feat: a", ["^0.2.0", ">=0.1.0 <1.0.0"]),
    ] {
        let repo = Repo::unreleased();
        let entry = |alias: &str, range: &str| {
            format!("  - {{name: leaf, alias: {alias}, version: '{range}', repository: 'file://../leaf'}}\n")
        };
        let chart = |version: &str, ranges: [&str; 2]| {
            let entries = entry("left", ranges[0]) + &entry("right", ranges[1]);
            format!("apiVersion: v2\nname: tree\nversion: {version}\ndependencies:\n{entries}")
        };
        repo.sample.write("charts/tree/Chart.yaml", &chart("0.1.0", ranges));
        repo.sample.write("charts/tree/values.yaml", "global: {site: a}\n");
        repo.sample.write("charts/tree/ci/off-values.yaml", "{}\n");
        // helm names the place where the lock file is written to as where the chart is.
        let helm = sample::helm().program.display().to_string();
        let mut update = repo.command(&helm);
        expect(
            &update
                .args(["dependency", "update", "--skip-refresh", "charts/tree"])
                .output()
                .unwrap(),
            0,
        );
        std::fs::remove_dir_all(repo.dir.join("charts/tree/charts")).unwrap();
        repo.commit("feat: aliases");
        for tag in ["leaf-0.1.0", "tree-0.1.0"] {
            repo.git(&["tag", tag]);
        }
        repo.change(LEAF, message);
        repo.json(&["bump"]);
        let text = repo.read("charts/tree/Chart.yaml");
        let got: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        let got: Vec<_> = (0..2)
            .map(|n| got["dependencies"][n]["version"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(got, wanted, "{text}");
        repo.commit("chore: release");
        // helm accepts the lock file that goes with it.
        expect(&repo.xtask(&["package"]), 0);
        expect(&repo.xtask(&["changed", "--check"]), 0);
    }
    let repo = Repo::released();
    repo.sample.edit(
        "charts/tree/Chart.yaml",
        "version: 0.1.0\n    repository",
        "version: 0.1.x\n    repository",
    );
    repo.commit("fix: range");
    repo.change(LEAF, "feat: a");
    let text = expect(&repo.xtask(&["bump"]), 1);
    assert!(
        text.contains("charts/tree/Chart.yaml is not touched") && text.contains("\"0.1.x\""),
        "{text}"
    );
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_chart_whose_folder_is_renamed_is_still_the_same_chart() {
    let repo = Repo::released();
    repo.git(&["mv", "charts/leaf", "charts/foliage"]);
    repo.sample
        .edit("charts/tree/Chart.yaml", "file://../leaf", "file://../foliage");
    repo.commit("refactor: rename the folder");
    // The umbrella's Chart.yaml is another one; the leaf has moved, and nothing else.
    assert_eq!(shown(&repo.json(&["changed"])), "tree patch 0.1.1");
    repo.change("charts/foliage/values.yaml", "feat: a");
    assert_eq!(shown(&repo.json(&["changed"])), "leaf minor 0.2.0; tree minor 0.2.0");
    repo.json(&["bump"]);
    assert!(repo.read("charts/foliage/Chart.yaml").contains("version: 0.2.0"));
    let notes = repo.json(&["release", "notes", "--chart", "leaf"]);
    assert_eq!(notes[0]["previous"], "0.1.0");
    repo.commit("chore: release");
    expect(&repo.xtask(&["package"]), 0);
}

#[test]
fn a_level_raises_the_named_chart_and_what_depends_on_it() {
    let repo = Repo::released();
    repo.json(&["bump", "--chart", "tree", "--level", "major"]);
    assert!(repo.read("charts/tree/Chart.yaml").contains("version: 1.0.0"));
    assert!(repo.read("charts/leaf/Chart.yaml").contains("version: 0.1.0"));
    repo.json(&["bump", "--chart", "leaf", "--level", "patch"]);
    assert!(repo.read("charts/leaf/Chart.yaml").contains("version: 0.1.1"));
    assert!(repo.read("charts/tree/Chart.yaml").contains("version: 1.0.1"));
}

#[test]
fn a_chart_that_cannot_be_edited_for_sure_is_refused_and_no_file_is_written() {
    for (chart, reason) in [
        (
            "apiVersion: v2\nname: tree\nversion: &v 0.1.0\ndescription: *v\n",
            "anchor",
        ),
        ("apiVersion: v2\nname: tree\nversion: >-\n  0.1.0\n", "several lines"),
    ] {
        let repo = Repo::released();
        std::fs::write(repo.dir.join("charts/tree/Chart.yaml"), chart).unwrap();
        let shown = expect(&repo.xtask(&["bump", "--level", "minor"]), 1);
        assert!(
            shown.contains("charts/tree/Chart.yaml is not touched") && shown.contains(reason),
            "{shown}"
        );
        assert_eq!(repo.git(&["status", "--porcelain"]), "M charts/tree/Chart.yaml");
    }
}
