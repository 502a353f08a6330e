//! `release index`: a static repository, written by several at once, with what others have put there.

use release::throwaway::WebServer;

use super::keys::{self, USUAL};
use super::repo::{self, Repo, expect};
use super::{INDEX, LEAF, URL, entries, files, packaged, published, sample, verdicts};

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
