//! `release plan` and `release notes`: what is to be released, and what is said about it.

use release::throwaway::WebServer;

use super::repo::{Repo, clone, expect};
use super::{LEAF, packaged, published};

/// A name, what happens after 0.1.0 was published, the exit code, and the plan's lines.
type Plan = (&'static str, fn(&Repo), i32, &'static [&'static str]);

const PLANS: &[Plan] = &[
    (
        "nothing",
        |_| {},
        0,
        &["published  leaf 0.1.0", "published  tree 0.1.0", "nothing to do"],
    ),
    (
        "a raised version",
        |r| {
            r.raise("0.1.0", "0.2.0");
        },
        0,
        &[
            "release    leaf 0.2.0: the highest published version is 0.1.0",
            "release    tree 0.2.0",
        ],
    ),
    (
        "a change without",
        |r| r.change(LEAF, "fix: a"),
        1,
        &["BLOCKED    leaf 0.1.0: leaf 0.1.0 is published already with other files: no version bump"],
    ),
    (
        "not committed",
        |r| {
            r.sample
                .edit("charts/tree/Chart.yaml", "version: 0.1.0\ndep", "version: 0.2.0\ndep");
        },
        1,
        &[
            "published  leaf 0.1.0",
            "BLOCKED    tree 0.1.0",
            "there are changes that are not committed",
        ],
    ),
    (
        "tagged elsewhere",
        |r| {
            r.git(&["tag", "tree-0.2.0"]);
            r.sample
                .edit("charts/tree/Chart.yaml", "version: 0.1.0\ndep", "version: 0.2.0\ndep");
            r.commit("chore: 0.2.0");
        },
        1,
        &["BLOCKED    tree 0.2.0", "the tag tree-0.2.0 is at"],
    ),
    (
        "a lower version",
        |r| {
            r.sample
                .edit("charts/tree/Chart.yaml", "version: 0.1.0\ndep", "version: 0.0.9\ndep");
            r.commit("chore: 0.0.9");
        },
        1,
        &["BLOCKED    tree 0.0.9: tree 0.0.9 is lower than the published 0.1.0"],
    ),
];

#[test]
fn the_plan_follows_what_is_published_and_says_why() {
    let published = published();
    for (name, happens, code, wanted) in PLANS {
        let repo = published.copy();
        happens(&repo);
        let shown = expect(&repo.xtask(&["release", "plan", "--to", "site"]), *code);
        for line in *wanted {
            assert!(shown.contains(line), "{name}: {line} is not in {shown}");
        }
    }
    let repo = packaged();
    for (target, code, wanted) in [
        ("nowhere", 2, "neither oci://"),
        (
            "https://127.0.0.1:9",
            4,
            "reading https://127.0.0.1:9/index.yaml: 127.0.0.1:9 can't be reached",
        ),
        ("oci://127.0.0.1:9/charts", 4, "127.0.0.1:9 can't be reached"),
    ] {
        let shown = expect(&repo.xtask(&["release", "plan", "--to", target]), code);
        assert!(shown.contains(wanted), "{target}: {shown}");
    }
    let server = WebServer::start(&repo.dir.join("empty")).unwrap();
    let empty = server.url();
    assert!(expect(&repo.xtask(&["release", "plan", "--to", &empty]), 4).contains("there is no http://"));
}

/// A name, what happens after the release of 0.1.0, and the notes of `tree`.
type Case = (&'static str, fn(&Repo), &'static str);

const NOTES: &[Case] = &[
    (
        "fix and feature of both charts",
        |r| {
            r.change("charts/tree/values.yaml", "feat(tree): grow");
            r.change(LEAF, "fix: fall later");
            r.change("README.md", "feat: elsewhere");
            r.change("charts/tree/ci/off-values.yaml", "feat: tests only");
        },
        "### Added\n\n- grow (ID)\n\n### Fixed\n\n- fall later (ID)\n\n### Dependencies\n\n- leaf 0.1.0\n",
    ),
    (
        "breaking",
        |r| r.change(LEAF, "feat!: new colour\n\nBREAKING CHANGE: set colour"),
        "### Breaking\n\n- set colour (ID)\n\n### Added\n\n- new colour (ID)\n\n### Dependencies\n\n- leaf 0.1.0\n",
    ),
    (
        "a revert is silent",
        |r| {
            r.change(LEAF, "feat: a");
            r.git(&["revert", "--no-edit", "HEAD"]);
            r.change(LEAF, "fix(security): b");
        },
        "### Security\n\n- b (ID)\n\n### Dependencies\n\n- leaf 0.1.0\n",
    ),
    (
        "a merged branch brings its commits, not the merge",
        |r| {
            r.git(&["checkout", "-qb", "side"]);
            r.change(LEAF, "feat: a");
            r.git(&["checkout", "-q", "main"]);
            r.change("charts/tree/values.yaml", "fix: b");
            r.git(&["merge", "-q", "--no-ff", "-m", "Merge branch 'side'", "side"]);
        },
        "### Added\n\n- a (ID)\n\n### Fixed\n\n- b (ID)\n\n### Dependencies\n\n- leaf 0.1.0\n",
    ),
    (
        "words that begin a comment in HTML",
        |r| r.change(LEAF, "feat: take <!-- as `<!--`"),
        "### Added\n\n- take &lt;!-- as `<!--` (ID)\n\n### Dependencies\n\n- leaf 0.1.0\n",
    ),
    (
        "chores are not news",
        |r| r.change(LEAF, "chore: a"),
        "### Dependencies\n\n- leaf 0.1.0\n",
    ),
];

/// With the commits' ids, which follow from dates, replaced.
fn without_ids(text: &str) -> String {
    let plain = |word: &str| {
        let id = word.trim_start_matches('(').trim_end().trim_end_matches(')');
        let is_id = word.starts_with('(') && id.len() == 10 && id.chars().all(|c| c.is_ascii_hexdigit());
        if is_id { word.replace(id, "ID") } else { word.to_owned() }
    };
    text.split_inclusive([' ', '\n']).map(plain).collect()
}

#[test]
fn notes_tell_the_charts_own_commits_since_its_previous_tag() {
    for (name, happens, wanted) in NOTES {
        let repo = Repo::released();
        happens(&repo);
        repo.sample
            .edit("charts/tree/Chart.yaml", "version: 0.1.0\ndep", "version: 0.2.0\ndep");
        repo.commit("chore: release");
        let notes = repo.json(&["release", "notes", "--chart", "tree"]);
        assert_eq!(notes[0]["previous"], "0.1.0");
        assert_eq!(without_ids(notes[0]["text"].as_str().unwrap()), *wanted, "{name}");
    }
}

#[test]
fn notes_of_a_tagged_version_end_at_its_tag_and_the_changelog_keeps_the_older_ones() {
    let repo = Repo::released();
    expect(&repo.xtask(&["release", "notes", "--write"]), 0);
    let first = repo.read("charts/leaf/CHANGELOG.md");
    assert!(
        first.starts_with("# Changelog\n\n## 0.1.0\n\n### Added\n\n- begin ("),
        "{first}"
    );
    repo.commit("chore: changelog");
    repo.change(LEAF, "feat: a");
    repo.json(&["bump"]);
    expect(&repo.xtask(&["release", "notes", "--write"]), 0);
    let second = repo.read("charts/leaf/CHANGELOG.md");
    let wanted = "# Changelog\n\n## 0.2.0\n\n### Added\n\n- a (ID)\n\n## 0.1.0\n\n### Added\n\n- begin (ID)\n";
    assert_eq!(without_ids(&second), wanted);
    repo.commit("chore: release");
    repo.git(&["tag", "leaf-0.2.0"]);
    repo.change(LEAF, "feat: b");
    expect(&repo.xtask(&["release", "notes", "--write", "--chart", "leaf"]), 0);
    assert_eq!(repo.read("charts/leaf/CHANGELOG.md"), second);
}

#[test]
fn notes_in_a_shallow_clone_say_what_is_lacking_and_a_renamed_chart_begins_anew() {
    let repo = Repo::released();
    repo.change(LEAF, "feat: a");
    repo.raise("0.1.0", "0.2.0");
    let temp = tempfile::tempdir().unwrap();
    let shallow = clone(&repo, &temp.path().join("c"), &["--depth", "1"]);
    let shown = expect(&shallow.xtask(&["release", "notes"]), 4);
    assert!(shown.contains("git fetch --unshallow"), "{shown}");

    repo.git(&["mv", "charts/tree", "charts/wood"]);
    let chart = repo.read("charts/wood/Chart.yaml").replace("name: tree", "name: wood");
    std::fs::write(repo.dir.join("charts/wood/Chart.yaml"), chart).unwrap();
    repo.commit("feat: rename");
    let notes = repo.json(&["release", "notes", "--chart", "wood"]);
    assert_eq!(notes[0]["previous"], serde_json::Value::Null);
    assert!(notes[0]["text"].as_str().unwrap().contains("- rename ("));
}
