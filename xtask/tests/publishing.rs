//! `release plan`, `notes`, `index` and `verify` with a static repository, in throw-away git histories.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(dead_code, reason = "shared by the tests of releases")]
mod keys;
#[allow(dead_code, reason = "shared by the tests of releases")]
mod repo;
#[path = "../charts/tests/sample/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the library")]
mod sample;

use std::collections::BTreeMap;
use std::path::Path;

use keys::USUAL;
use release::throwaway::WebServer;
use repo::{Repo, clone, expect};

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

#[test]
fn a_published_chart_is_pulled_and_verified_by_helm_and_publishing_twice_changes_nothing() {
    let repo = Repo::publishable(URL);
    let key = keys::make(&repo.dir, "key", &USUAL);
    expect(&repo.xtask(&["package", "--sign", "--key-file", "key.asc"]), 0);
    let site = repo.dir.join("site");
    let server = WebServer::start(&site).unwrap();
    let address = server.url();
    expect(&repo.xtask(&["release", "index", "site", "--url", &address]), 0);
    assert_eq!(entries(&site), ["leaf 0.1.0", "tree 0.1.0"]);
    let before = files(&site);
    let shown = expect(&repo.xtask(&["release", "index", "site", "--url", &address]), 0);
    assert!(shown.contains("nothing to do"), "{shown}");
    assert!(files(&site) == before);

    let ring = key.ring.display().to_string();
    let mut pull = repo.command(&sample::helm().program.to_string_lossy());
    pull.args([
        "pull",
        "tree",
        "--repo",
        &address,
        "--version",
        "0.1.0",
        "--verify",
        "--keyring",
        &ring,
    ]);
    pull.env("HELM_CACHE_HOME", repo.dir.join("cache"))
        .env("HELM_CONFIG_HOME", repo.dir.join("config"));
    expect(&pull.output().unwrap(), 0);
    assert!(
        std::fs::read(repo.dir.join("tree-0.1.0.tgz")).unwrap()
            == before[&site.join("tree-0.1.0.tgz").display().to_string()]
    );

    // By its address, every check that needs no other key holds.
    let checks = repo.json(&[
        "release",
        "verify",
        &format!("{address}/tree-0.1.0.tgz"),
        "--keyring",
        &ring,
    ]);
    assert_eq!(
        verdicts(&checks[0]["checks"]),
        "identity+ digest+ signature+ cosign? provenance+ sbom+ lint+ render+ rebuild+"
    );
    let all = repo.json(&["release", "verify", "--all", "--to", &address, "--keyring", &ring]);
    assert_eq!(all.as_array().unwrap().len(), 2);
    let plan = repo.json(&["release", "plan", "--to", &address]);
    assert_eq!(plan[1]["action"], "published");
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
fn twenty_concurrent_runs_on_one_folder_make_twenty_entries() {
    let repo = Repo::publishable(URL);
    repo.git(&["rm", "-rqf", "charts/tree"]);
    let mut dists = Vec::new();
    for n in 1..=20 {
        let chart = format!("apiVersion: v2\nname: leaf\nversion: 0.{n}.0\n");
        repo.sample.write("charts/leaf/Chart.yaml", &chart);
        repo.commit(&format!("feat: {n}"));
        let out = format!("dist/{n}");
        expect(&repo.xtask(&["package", "--out", &out]), 0);
        dists.push(out);
    }
    std::thread::scope(|scope| {
        for dist in &dists {
            // In any order: the lower ones are an older line to those that come after a higher one.
            let args = [&INDEX[..], &["--from", dist, "--backport"]].concat();
            let repo = &repo;
            scope.spawn(move || expect(&repo.xtask(&args), 0));
        }
    });
    let wanted: Vec<_> = (1..=20).rev().map(|n| format!("leaf 0.{n}.0")).collect();
    assert_eq!(entries(&repo.dir.join("site")), wanted);
}

/// A clone of the repository that is served, in `name`.
fn clone_site(repo: &Repo, name: &str) {
    repo.git(&["clone", "-q", "--branch", "gh-pages", "origin.git", name]);
    for (key, value) in [("user.name", "test"), ("user.email", "test@example.com")] {
        repo.git(&["-C", name, "config", key, value]);
    }
}

#[test]
fn clones_that_push_at_the_same_time_lose_no_entry_and_a_commit_of_others_is_not_dropped() {
    let repo = Repo::publishable(URL);
    repo.git(&["rm", "-rqf", "charts/tree"]);
    repo.git(&["init", "-q", "--bare", "-b", "gh-pages", "origin.git"]);
    repo.git(&["clone", "-q", "origin.git", "first"]);
    repo.git(&["-C", "first", "commit", "-q", "--allow-empty", "-m", "begin"]);
    repo.git(&["-C", "first", "push", "-q", "origin", "HEAD:gh-pages"]);
    std::fs::write(repo.dir.join(".git/info/exclude"), "/origin.git\n/first\n/s*\n/d*\n").unwrap();
    for n in 1..=5 {
        let chart = format!("apiVersion: v2\nname: leaf\nversion: 0.{n}.0\n");
        repo.sample.write("charts/leaf/Chart.yaml", &chart);
        repo.commit(&format!("feat: {n}"));
        expect(&repo.xtask(&["package", "--out", &format!("d{n}")]), 0);
        clone_site(&repo, &format!("s{n}"));
        repo.sample.write(&format!("s{n}/stray"), "not to be published\n");
    }
    let index = |n: usize| {
        let (site, dist) = (format!("s{n}"), format!("d{n}"));
        repo.xtask(&[
            "release",
            "index",
            &site,
            "--url",
            URL,
            "--from",
            &dist,
            "--backport",
            "--push",
        ])
    };
    std::thread::scope(|scope| (1..=5).for_each(|n| drop(scope.spawn(move || expect(&index(n), 0)))));
    clone_site(&repo, "seen");
    assert_eq!(
        entries(&repo.dir.join("seen")),
        ["leaf 0.5.0", "leaf 0.4.0", "leaf 0.3.0", "leaf 0.2.0", "leaf 0.1.0"]
    );
    assert!(expect(&index(3), 0).contains("nothing to do"));
    assert!(!repo.dir.join("seen/stray").exists());

    std::fs::write(repo.dir.join("s1/page"), "mine\n").unwrap();
    repo.git(&["-C", "s1", "add", "page"]);
    assert!(expect(&index(1), 2).contains("has a change that is not committed: page"));
    assert_eq!(repo.read("s1/page"), "mine\n");

    repo.git(&["-C", "s3", "commit", "-q", "--allow-empty", "-m", "by hand"]);
    assert!(expect(&index(3), 2).contains("has a commit that was never pushed: by hand"));
    repo.git(&["-C", "s2", "branch", "--unset-upstream"]);
    assert!(expect(&index(2), 2).contains("not a git checkout whose branch has an upstream"));
}

/// A history with its own remote, packaged; the remote of a site is beside it, and a clone of that in `site`.
fn with_site() -> Repo {
    let repo = packaged();
    std::fs::write(
        repo.dir.join(".git/info/exclude"),
        "/*.git\n/s*\n/begin\n/d*\n/theirs\n",
    )
    .unwrap();
    repo.git(&["init", "-q", "--bare", "-b", "main", "source.git"]);
    repo.git(&["remote", "add", "origin", "source.git"]);
    repo.git(&["push", "-q", "-u", "origin", "main"]);
    repo.git(&["init", "-q", "--bare", "-b", "gh-pages", "origin.git"]);
    repo.git(&["clone", "-q", "origin.git", "begin"]);
    repo.git(&["-C", "begin", "commit", "-q", "--allow-empty", "-m", "begin"]);
    repo.git(&["-C", "begin", "push", "-q", "origin", "HEAD:gh-pages"]);
    clone_site(&repo, "site");
    repo
}

#[test]
fn a_push_from_a_hook_touches_the_site_only() {
    let repo = with_site();
    let refs =
        || repo.git(&["-C", "source.git", "for-each-ref"]) + &repo.git(&["for-each-ref"]) + &repo.git(&["status"]);
    let before = refs();
    let mut push = repo.command(env!("CARGO_BIN_EXE_xtask"));
    let git = repo.dir.join(".git");
    push.args([&INDEX[..], &["--push"]].concat())
        .env("GIT_DIR", &git)
        .env("GIT_INDEX_FILE", git.join("index"))
        .env("GIT_WORK_TREE", &repo.dir)
        .env("GIT_PREFIX", "");
    expect(&push.output().unwrap(), 0);
    assert_eq!(refs(), before);
    clone_site(&repo, "seen");
    assert_eq!(entries(&repo.dir.join("seen")), ["leaf 0.1.0", "tree 0.1.0"]);
}

#[test]
fn a_push_that_a_hook_refused_is_completed_after_somebody_else_has_pushed() {
    // In the order of a run: before the commit, and before the push.
    for hook in ["pre-commit", "pre-push"] {
        let repo = with_site();
        clone_site(&repo, "theirs");
        let file = format!("site/.git/hooks/{hook}");
        repo.sample.write(&file, "#!/bin/sh\nexit 1\n");
        expect(&repo.command("chmod").args(["+x", &file]).output().unwrap(), 0);
        let push = [&INDEX[..], &["--push"]].concat();
        let failed = repo.xtask(&push);
        assert!(!failed.status.success(), "{hook}: {}", repo::text(&failed));
        // The other one pushes an index too, and one of the archives.
        let theirs = ["release", "index", "theirs", "--url", URL, "--push"];
        expect(&repo.xtask(&theirs), 0);
        std::fs::remove_file(repo.dir.join(&file)).unwrap();
        expect(&repo.xtask(&push), 0);
        clone_site(&repo, "seen");
        assert_eq!(entries(&repo.dir.join("seen")), ["leaf 0.1.0", "tree 0.1.0"]);
        assert_eq!(repo.git(&["-C", "site", "status", "--porcelain"]), "", "{hook}");
    }
}

#[test]
fn changes_in_the_site_that_no_push_of_ours_made_are_kept() {
    let repo = with_site();
    clone_site(&repo, "theirs");
    // As a run without --push leaves it, after somebody else has pushed.
    repo.sample.write("site/index.yaml", "apiVersion: v1\nentries: {}\n");
    repo.git(&["-C", "site", "add", "index.yaml"]);
    expect(&repo.xtask(&["release", "index", "theirs", "--url", URL, "--push"]), 0);
    let shown = expect(&repo.xtask(&[&INDEX[..], &["--push"]].concat()), 2);
    assert!(
        shown.contains("has a change that is not committed: index.yaml"),
        "{shown}"
    );
    assert_eq!(repo.read("site/index.yaml"), "apiVersion: v1\nentries: {}\n");
}

#[test]
fn the_same_files_packaged_at_a_later_commit_are_published_already() {
    let repo = published();
    let before = files(&repo.dir.join("site"));
    repo.sample.write("README.md", "more\n");
    repo.git(&["add", "-A", "README.md"]);
    let mut commit = repo.command("git");
    commit
        .args(["commit", "-qm", "docs: more"])
        .env("GIT_COMMITTER_DATE", "@1600009999 +0000");
    expect(&commit.output().unwrap(), 0);
    expect(&repo.xtask(&["package"]), 0);
    assert!(expect(&repo.xtask(&INDEX), 0).contains("nothing to do"));
    assert!(files(&repo.dir.join("site")) == before);
    assert!(expect(&repo.xtask(&["release", "plan", "--to", "site"]), 0).contains("nothing to do"));
}

#[test]
fn a_run_that_was_killed_before_the_index_is_completed_by_the_next() {
    let repo = published();
    repo.raise("0.1.0", "0.2.0");
    expect(&repo.xtask(&["package"]), 0);
    for file in ["leaf-0.2.0.tgz", "leaf-0.2.0.tgz.cdx.json"] {
        std::fs::copy(repo.dir.join("dist").join(file), repo.dir.join("site").join(file)).unwrap();
    }
    expect(&repo.xtask(&INDEX), 0);
    let wanted = ["leaf 0.2.0", "leaf 0.1.0", "tree 0.2.0", "tree 0.1.0"];
    assert_eq!(entries(&repo.dir.join("site")), wanted);
}

#[test]
fn only_prune_drops_entries_and_only_those_without_an_archive() {
    let repo = published();
    std::fs::remove_file(repo.dir.join("site/leaf-0.1.0.tgz")).unwrap();
    let index = repo.read("site/index.yaml");
    expect(&repo.xtask(&INDEX), 0);
    assert_eq!(repo.read("site/index.yaml"), index);
    repo.raise("0.1.0", "0.2.0");
    expect(&repo.xtask(&["package"]), 0);
    let shown = expect(&repo.xtask(&[&INDEX[..], &["--prune"]].concat()), 0);
    assert!(shown.contains("pruned     leaf-0.1.0"), "{shown}");
    assert_eq!(
        entries(&repo.dir.join("site")),
        ["tree 0.2.0", "tree 0.1.0", "leaf 0.2.0"]
    );
}

#[test]
fn entries_of_others_stay_byte_for_byte_and_are_never_pruned() {
    let repo = packaged();
    let foreign = "apiVersion: v1\n# ours since 2019\nentries:\n  asset:\n  - appVersion: 1.10\n    name: asset\n    \
                   urls:\n    - https://github.com/o/r/releases/download/asset-1.0.0/asset-1.0.0.tgz\n    version: 1.0.0\n  \
                   canary:\n  - {name: canary, version: canary, urls: [canary.tgz]}\n  leaf:\n  - name: leaf\n    \
                   version: v0.0.9\n    urls:   [ 'https://elsewhere.example.com/leaf-0.0.9.tgz' ]\n  - name: leaf\n    \
                   urls: [old/leaf-0.0.8.tgz]\n    version: 0.0.8\n";
    let text = format!("{foreign}generated: \"2019-01-01T00:00:00Z\"\n");
    std::fs::create_dir(repo.dir.join("site")).unwrap();
    write_index(&repo, &text);
    expect(&repo.xtask(&INDEX), 0);
    // Without what was added, it is the old text.
    let added = repo.read("site/index.yaml");
    let dated = |line: &&str| !line.starts_with("generated:");
    let mut old = text.lines().filter(dated).peekable();
    for line in added.lines() {
        if old.peek() == Some(&line) {
            old.next();
        }
    }
    assert_eq!(old.next(), None, "{added}");
    assert!(added.contains("version: v0.0.9\n    urls:   [ 'https://e"), "{added}");
    let server = WebServer::start(&repo.dir.join("site")).unwrap();
    for chart in ["leaf", "tree"] {
        let mut pull = repo.command(&sample::helm().program.to_string_lossy());
        pull.args(["show", "chart", chart, "--repo", &server.url(), "--version", "0.1.0"]);
        pull.env("HELM_CACHE_HOME", repo.dir.join("cache"))
            .env("HELM_CONFIG_HOME", repo.dir.join("config"));
        // The archive is elsewhere; that the index is one, and has it, is all that is asked here.
        assert!(!repo::text(&pull.output().unwrap()).contains("not found in"), "{chart}");
    }
    // Only what the index has in this folder, and what isn't there, goes.
    let shown = expect(&repo.xtask(&[&INDEX[..], &["--prune"]].concat()), 0);
    assert!(
        shown.contains("pruned     leaf-0.0.8") && shown.matches("pruned").count() == 1,
        "{shown}"
    );
    let gone = "  - name: leaf\n    urls: [old/leaf-0.0.8.tgz]\n    version: 0.0.8\n";
    assert_eq!(repo.read("site/index.yaml"), added.replace(gone, ""));
}

/// A name, what is done to a repository with 0.1.0 published, the exit code and what the error says.
type BadInput = (&'static str, fn(&Repo), i32, &'static str);

const BAD_INPUTS: &[BadInput] = &[
    (
        "no version bump",
        |r| {
            r.change(LEAF, "fix: a");
            expect(&r.xtask(&["package"]), 0);
        },
        1,
        "leaf 0.1.0 is published already with other files: no version bump",
    ),
    (
        "version lower than published",
        |r| {
            r.raise("0.1.0", "0.0.9");
            expect(&r.xtask(&["package"]), 0);
        },
        1,
        "leaf 0.0.9 is lower than the published 0.1.0",
    ),
    (
        "dirty tree",
        |r| {
            r.raise("0.1.0", "0.2.0");
            r.sample.edit(LEAF, "hello", "bye");
            expect(&r.xtask(&["package", "--uncommitted"]), 0);
        },
        1,
        "leaf-0.2.0.tgz was made from a dirty tree",
    ),
    (
        "tag elsewhere",
        |r| {
            r.git(&["tag", "leaf-0.2.0"]);
            repackage(r, |_| {});
        },
        1,
        "the tag leaf-0.2.0 is at",
    ),
    (
        "local dependency",
        |r| {
            r.sample.edit("Cargo.toml", "published-charts", "#");
            repackage(r, |_| {});
        },
        1,
        "tree-0.2.0.tgz depends on leaf by a file:// address",
    ),
    (
        "archive changed after packaging",
        |r| {
            repackage(r, |_| {});
            std::fs::copy(r.dir.join("dist/leaf-0.1.0.tgz"), r.dir.join("dist/leaf-0.2.0.tgz")).unwrap();
        },
        1,
        "leaf-0.2.0.tgz is not the file that SHA256SUMS names",
    ),
    (
        "statement of another archive",
        |r| {
            repackage(r, |_| {});
            let name = "dist/leaf-0.2.0.tgz.intoto.json";
            let text = r.read(name).replace("\"sha256\": \"", "\"sha256\": \"0");
            std::fs::write(r.dir.join(name), &text).unwrap();
            let sums = r
                .command("sh")
                .args(["-c", "cd dist && sha256sum *0.2.0.tgz* > SHA256SUMS"])
                .output();
            expect(&sums.unwrap(), 0);
        },
        1,
        "leaf-0.2.0.tgz is not the archive that its statement speaks of",
    ),
    (
        "nothing packaged",
        |r| std::fs::remove_dir_all(r.dir.join("dist")).unwrap(),
        2,
        "dist/SHA256SUMS can't be read",
    ),
    (
        "empty index",
        |r| write_index(r, ""),
        1,
        "site/index.yaml is not a chart index",
    ),
    (
        "index cut off",
        |r| {
            let text = r.read("site/index.yaml");
            write_index(r, &text[..text.len() / 2]);
        },
        1,
        "site/index.yaml is not a chart index",
    ),
    (
        "an error page instead of the index",
        |r| write_index(r, "<html>\n<body>404: not here</body>\n"),
        1,
        "site/index.yaml is not a chart index",
    ),
    (
        "index that can't be read",
        |r| {
            std::fs::remove_file(r.dir.join("site/index.yaml")).unwrap();
            std::fs::create_dir(r.dir.join("site/index.yaml")).unwrap();
        },
        4,
        "site/index.yaml can't be read",
    ),
];

fn write_index(repo: &Repo, text: &str) {
    std::fs::write(repo.dir.join("site/index.yaml"), text).unwrap();
}

/// Raises both charts to 0.2.0, does something to the working tree and packages.
fn repackage(repo: &Repo, then: fn(&Repo)) {
    repo.raise("0.1.0", "0.2.0");
    then(repo);
    expect(&repo.xtask(&["package"]), 0);
}

#[test]
fn each_bad_input_has_its_own_message_and_no_file_is_written() {
    let published = published();
    for (name, happens, code, wanted) in BAD_INPUTS {
        let repo = published.copy();
        happens(&repo);
        let before = files(&repo.dir.join("site"));
        let shown = expect(&repo.xtask(&INDEX), *code);
        assert!(shown.contains(wanted) && shown.contains("  try: "), "{name}: {shown}");
        assert!(files(&repo.dir.join("site")) == before, "{name}");
    }
    let repo = packaged();
    let shown = expect(&repo.xtask(&["release", "index", "site", "--url", "oci://x"]), 2);
    assert!(shown.contains("not the address of a web server") && !repo.dir.join("site").exists());
}

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

/// What is done to a published chart, and the checks then.
type Tampering = (&'static str, fn(&Repo), &'static str);

#[test]
fn verify_finds_what_was_tampered_with() {
    let cases: &[Tampering] = &[
        (
            "nothing",
            |_| {},
            "identity+ digest+ signature+ cosign? provenance+ sbom+ lint+ render+ rebuild+",
        ),
        (
            "another archive",
            |r| {
                std::fs::copy(r.dir.join("other/tree-0.1.0.tgz"), r.dir.join("site/tree-0.1.0.tgz")).unwrap();
            },
            "identity+ digest- signature- cosign? provenance- sbom- lint+ render+ rebuild-",
        ),
        (
            "no statement",
            |r| std::fs::remove_file(r.dir.join("site/tree-0.1.0.tgz.intoto.json")).unwrap(),
            "identity+ digest+ signature+ cosign? provenance- sbom+ lint+ render+ rebuild-",
        ),
        (
            "another word in the SBOM",
            |r| {
                r.sample.edit(
                    "site/tree-0.1.0.tgz.cdx.json",
                    "\"name\": \"helm\"",
                    "\"name\": \"elm\"",
                )
            },
            "identity+ digest+ signature+ cosign? provenance+ sbom- lint+ render+ rebuild+",
        ),
        (
            "a statement of another kind",
            |r| {
                r.sample.edit(
                    "site/tree-0.1.0.tgz.intoto.json",
                    "slsa.dev/provenance/v1",
                    "slsa.dev/provenance/v0",
                )
            },
            "identity+ digest+ signature+ cosign? provenance- sbom+ lint+ render+ rebuild-",
        ),
        (
            "no signature",
            |r| std::fs::remove_file(r.dir.join("site/tree-0.1.0.tgz.prov")).unwrap(),
            "identity+ digest+ signature- cosign? provenance- sbom- lint+ render+ rebuild+",
        ),
        (
            "another commit in the statement, and no tag to tell",
            |r| {
                let from = r.git(&["rev-parse", "HEAD"]);
                r.git(&["tag", "-d", "tree-0.1.0"]);
                r.commit("chore: on");
                r.sample
                    .edit("site/tree-0.1.0.tgz.intoto.json", &from, &r.git(&["rev-parse", "HEAD"]));
            },
            "identity+ digest+ signature+ cosign? provenance- sbom+ lint+ render+ rebuild+",
        ),
        (
            "the tag moved",
            |r| {
                r.commit("chore: on");
                r.git(&["tag", "-f", "tree-0.1.0"]);
            },
            "identity+ digest+ signature+ cosign? provenance- sbom+ lint+ render+ rebuild+",
        ),
        (
            "an archive that the commit does not make",
            |r| {
                for file in files(&r.dir.join("other")).keys() {
                    std::fs::copy(file, r.dir.join("site").join(Path::new(file).file_name().unwrap())).unwrap();
                }
                let index = r.dir.join("site/index.yaml");
                let digest = |dir: &str| sha256(&r.dir.join(dir).join("tree-0.1.0.tgz"));
                let text = std::fs::read_to_string(&index).unwrap();
                std::fs::write(&index, text.replace(&digest("dist"), &digest("other"))).unwrap();
            },
            "identity+ digest+ signature+ cosign? provenance+ sbom+ lint+ render+ rebuild-",
        ),
    ];
    let prepared = Repo::publishable(URL);
    keys::make(&prepared.dir, "key", &USUAL);
    prepared.commit("chore: keys");
    let sign = ["package", "--sign", "--key-file", "key.asc"];
    expect(&prepared.xtask(&sign), 0);
    expect(&prepared.xtask(&INDEX), 0);
    prepared.git(&["tag", "tree-0.1.0"]);
    // As somebody would who holds the key and packages what no commit has, unseen by git.
    prepared.git(&["config", "filter.bye.smudge", "sed s/hello/bye/"]);
    prepared
        .sample
        .write(".git/info/attributes", "values.yaml filter=bye\n");
    expect(&prepared.xtask(&[&sign[..], &["--out", "other"]].concat()), 0);
    std::fs::remove_file(prepared.dir.join(".git/info/attributes")).unwrap();
    for (name, happens, wanted) in cases {
        let repo = prepared.copy();
        happens(&repo);
        let verify = ["release", "verify", "site/tree-0.1.0.tgz", "--keyring", "key.gpg"];
        let output = repo.xtask(&[&["--format", "json"][..], &verify].concat());
        expect(&output, i32::from(wanted.contains('-')));
        let checks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(checks.is_array(), "{name}: {checks}");
        assert_eq!(verdicts(&checks[0]["checks"]), *wanted, "{name}: {checks:#}");
    }
}

#[test]
fn an_older_release_under_a_newer_name_does_not_verify() {
    let repo = published();
    let rename = "rm index.yaml && cp tree-0.1.0.tgz tree-0.2.0.tgz && \
                  sed s/tree-0.1.0/tree-0.2.0/ tree-0.1.0.tgz.intoto.json > tree-0.2.0.tgz.intoto.json";
    let mut shell = repo.command("sh");
    expect(
        &shell
            .args(["-c", rename])
            .current_dir(repo.dir.join("site"))
            .output()
            .unwrap(),
        0,
    );
    let verify = |file: &str| repo.xtask(&["--format", "json", "release", "verify", file]);
    let output = verify("site/tree-0.2.0.tgz");
    expect(&output, 1);
    let checks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        verdicts(&checks[0]["checks"]),
        "identity- digest? signature? cosign? provenance+ sbom? lint+ render+ rebuild+"
    );
    assert!(expect(&verify("site/tree.tgz"), 2).contains("names no version of a chart"));
}

/// Two charts as another project has them: deep, without ci/ and .helmignore, tagged in its own manner.
fn stranger(tag: &str) -> Repo {
    let repo = Repo::unreleased();
    repo.git(&["rm", "-rqf", "charts"]);
    let settings = format!("kube-version = \"1.34.4\"\nrelease-tag = \"{tag}\"\npublished-charts = \"{URL}\"\n");
    repo.sample.edit("Cargo.toml", "kube-version = \"1.34.4\"\n", &settings);
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-{{ .Chart.Name }}\n";
    for (dir, name, more) in [
        ("charts/platform/lib/common", "common", "type: application\n"),
        (
            "charts/platform/api/chart",
            "api",
            "appVersion: \"7\"\ndependencies:\n- name: common\n  repository: file://../../lib/common\n  version: ~1.4.0\n",
        ),
    ] {
        let chart = format!("apiVersion: v2\nname: {name}\nversion: 1.4.2\n{more}");
        repo.sample.write(&format!("{dir}/Chart.yaml"), &chart);
        repo.sample.write(&format!("{dir}/templates/map.yaml"), map);
    }
    repo.sample.write("charts/README.md", "# Charts\n");
    repo.commit("add charts");
    repo
}

#[test]
fn charts_of_another_project_go_through_every_step() {
    for form in [
        "{chart}/v{version}",
        "helm-{chart}-{version}-release",
        "{version}+{chart}",
    ] {
        let repo = stranger(form);
        let tag = |chart: &str, version: &str| form.replace("{chart}", chart).replace("{version}", version);
        for chart in ["common", "api"] {
            repo.git(&["tag", &tag(chart, "1.4.2")]);
        }
        assert!(expect(&repo.xtask(&["changed"]), 0).contains("no chart changed"));
        repo.change("charts/platform/lib/common/templates/map.yaml", "feat: more");
        expect(&repo.xtask(&["changed", "--check"]), 1);
        let raised = repo.json(&["bump"]);
        assert_eq!(raised[0]["to"], "1.5.0");
        assert!(
            repo.read("charts/platform/api/chart/Chart.yaml")
                .contains("version: ~1.5.0\n")
        );
        repo.sample
            .write("charts/platform/api/chart/UPGRADING.md", "## 1.0.0\n\nNothing.\n");
        repo.sample
            .write("charts/platform/lib/common/UPGRADING.md", "## 1.0.0\n\nNothing.\n");
        repo.commit("chore: release");
        expect(&repo.xtask(&["changed", "--check"]), 0);
        let notes = repo.json(&["release", "notes", "--chart", "api"]);
        assert_eq!(notes[0]["previous"], "1.4.2");
        expect(&repo.xtask(&["package"]), 0);
        expect(&repo.xtask(&INDEX), 0);
        assert_eq!(entries(&repo.dir.join("site")), ["common 1.5.0", "api 1.5.0"]);
        let verify = ["release", "verify", "site/api-1.5.0.tgz"];
        assert!(expect(&repo.xtask(&verify), 0).contains("passed   rebuild"));
        repo.git(&["tag", &tag("api", "1.5.0"), "HEAD~1"]);
        assert!(expect(&repo.xtask(&verify), 1).contains("but the tag is at"));
    }
}

/// A name, what another project does otherwise, and the reason that is given.
type Otherwise = (&'static str, fn(&Repo), &'static str);

const OTHERWISE: &[Otherwise] = &[
    (
        "tags that tell no chart",
        |r| r.sample.edit("Cargo.toml", "{chart}/v{version}", "v{version}"),
        "does not tell the releases of the charts apart",
    ),
    (
        "dependencies in requirements.yaml",
        |r| {
            r.sample
                .write("charts/platform/lib/common/requirements.yaml", "dependencies: []\n")
        },
        "common has its dependencies in requirements.yaml",
    ),
    (
        "a version of two parts",
        |r| r.sample.edit("charts/platform/lib/common/Chart.yaml", "1.4.2", "'1.4'"),
        "charts/platform/lib/common/Chart.yaml: version: unexpected end",
    ),
    (
        "one name twice",
        |r| {
            r.sample
                .edit("charts/platform/lib/common/Chart.yaml", "name: common", "name: api")
        },
        "are both charts of the name api",
    ),
];

#[test]
fn what_another_project_does_otherwise_is_refused_with_the_reason() {
    for (name, happens, wanted) in OTHERWISE {
        let repo = stranger("{chart}/v{version}");
        happens(&repo);
        repo.commit("feat: otherwise");
        for args in [&["changed"][..], &["bump"], &["package"]] {
            let output = repo.xtask(args);
            let shown = repo::text(&output);
            assert!(
                !output.status.success() && shown.contains(wanted),
                "{name}, {args:?}: {shown}"
            );
        }
        assert!(!repo.dir.join("dist").exists(), "{name}");
    }
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

fn sha256(file: &Path) -> String {
    let output = std::process::Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8_lossy(&output.stdout)
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
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
