//! `release github` and `release init`, against a stand-in for GitHub that is held to the description of its API.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod github;
#[allow(dead_code, reason = "shared by the tests of releases")]
mod keys;
#[allow(dead_code, reason = "shared by the tests of releases")]
mod repo;
#[path = "../charts/tests/sample/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the library")]
mod sample;

use std::process::{Output, Stdio};
use std::time::Duration;

use github::{Cut, GitHub, REPOSITORY, TOKEN};
use keys::USUAL;
use repo::{Repo, expect};
use serde_json::Value;

/// What is published of the two charts, signed.
const SHOWN: [&str; 2] = [
    "tree-0.1.0: tree-0.1.0.tgz tree-0.1.0.tgz.cdx.json tree-0.1.0.tgz.intoto.json tree-0.1.0.tgz.prov",
    "leaf-0.1.0: leaf-0.1.0.tgz leaf-0.1.0.tgz.cdx.json leaf-0.1.0.tgz.intoto.json leaf-0.1.0.tgz.prov",
];

/// A history whose charts are packaged in dist, and a GitHub that its commit was pushed to.
fn packaged() -> (Repo, GitHub) {
    let repo = Repo::publishable("oci://charts.example.com/x");
    keys::make(&repo.dir, "key", &USUAL);
    expect(&repo.xtask(&["package", "--sign", "--key-file", "key.asc"]), 0);
    let github = started(&repo);
    (repo, github)
}

fn started(repo: &Repo) -> GitHub {
    GitHub::start(&[repo.git(&["rev-parse", "HEAD"])])
}

const RELEASE: [&str; 4] = ["release", "github", "--repository", REPOSITORY];

fn release(repo: &Repo, github: &GitHub, before: &[&str]) -> Output {
    let mut command = repo.command(env!("CARGO_BIN_EXE_xtask"));
    command.args(before).args(RELEASE).args(["--api", &github.api]);
    command.env("GH_TOKEN", TOKEN).output().unwrap()
}

/// The errors' remedies are part of what they must say.
fn refused(repo: &Repo, github: &GitHub, code: i32, words: &[&str]) {
    let shown = expect(&release(repo, github, &[]), code);
    for word in words {
        assert!(shown.contains(word), "{word} is not in {shown}");
    }
}

fn writes(log: &[String]) -> Vec<&String> {
    log.iter().filter(|line| !line.starts_with("GET")).collect()
}

#[test]
fn a_release_has_notes_and_files_is_shown_last_and_releasing_twice_changes_nothing() {
    let (repo, github) = packaged();
    // More than a page of others', a draft of another's among them.
    for n in 0..150 {
        github.seed(&format!("other-{n}"), n == 140);
    }
    let shown = expect(&release(&repo, &github, &["-v"]), 0);
    assert!(!shown.contains(TOKEN), "{shown}");
    let log = github.log();
    assert_eq!(log.iter().filter(|line| *line == "GET releases").count(), 2, "{log:?}");
    let first_shown = log.iter().position(|line| line.starts_with("PATCH")).unwrap();
    assert!(
        log[first_shown..].iter().all(|line| line.starts_with("PATCH")),
        "{log:?}"
    );
    let head = repo.git(&["rev-parse", "HEAD"]);
    {
        let state = github.state();
        assert_eq!(state.shown(), SHOWN);
        assert_eq!(state.tags["tree-0.1.0"], head);
        let tree = &state.releases[0];
        assert_eq!(tree["name"], "tree 0.1.0");
        assert_eq!(
            (&tree["draft"], &tree["prerelease"]),
            (&Value::Bool(false), &Value::Bool(false))
        );
        let notes = repo.json(&["release", "notes", "--chart", "tree"]);
        assert_eq!(tree["body"], notes[0]["text"]);
        for asset in tree["assets"].as_array().unwrap() {
            let file = repo.dir.join("dist").join(asset["name"].as_str().unwrap());
            assert!(state.files[&asset["id"].as_u64().unwrap()] == std::fs::read(file).unwrap());
        }
    }
    let shown = expect(&release(&repo, &github, &[]), 0);
    assert_eq!(shown.matches(": nothing to do").count(), 2, "{shown}");
    assert!(writes(&github.log()).is_empty());

    // Signatures of another signing are no other files; a file that is gone comes back.
    expect(&repo.xtask(&["package", "--sign", "--key-file", "key.asc"]), 0);
    let lost = |state: &mut github::State| state.releases[0]["assets"].as_array_mut().unwrap().remove(0);
    lost(&mut github.state());
    // At the second attempt: the first leaves a part of it.
    let fault = ("POST releases/", 502, "X: y".to_owned());
    github.state().faults.push_back(fault);
    refused(&repo, &github, 4, &["status 502", "run the same command again"]);
    let shown = expect(&release(&repo, &github, &[]), 0);
    assert!(shown.contains(": uploaded tree-0.1.0.tgz"), "{shown}");
    assert_eq!(github.state().shown(), SHOWN);
    // Unless nobody may change it.
    lost(&mut github.state());
    github.state().releases[0]["immutable"] = true.into();
    refused(&repo, &github, 1, &["can't be changed any more", "bump"]);
    github.log();
}

#[test]
fn a_planned_release_shows_what_runs_asks_nobody_and_needs_no_token() {
    let (repo, github) = packaged();
    let plan = |more: &[&str]| repo.xtask(&[&["--dry-run"], &RELEASE[..], &["--api", &github.api], more].concat());
    let shown = expect(&plan(&[]), 0);
    assert!(github.log().is_empty());
    let names = |text: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix("# GitHub: "))
            .map(str::to_owned)
            .collect()
    };
    let planned = names(&shown);
    assert_eq!(planned.len(), 15, "{planned:?}");
    assert_eq!(planned[0], "the releases");
    assert_eq!(planned[14], "publish the release tree-0.1.0");
    // As many requests run, of the same kinds and in the same order.
    let kinds = |text: &str| -> Vec<String> {
        let line = |line: &str| {
            line.split("--request ")
                .nth(1)
                .map(|rest| rest.split(' ').next().unwrap().to_owned())
        };
        text.lines().filter_map(line).collect()
    };
    let ran = expect(&release(&repo, &github, &["-v"]), 0);
    assert_eq!(kinds(&ran), kinds(&shown), "{ran}\n{shown}");
    github.log();
}

#[test]
fn a_release_that_is_killed_at_any_write_is_never_shown_in_parts_and_completed_by_the_next() {
    let (repo, whole) = packaged();
    expect(&release(&repo, &whole, &[]), 0);
    let total = writes(&whole.log()).len();
    // Two drafts, their four files each, and twice the publication.
    assert_eq!(total, 12);
    for write in 1..=total {
        for cut in [Cut::Done, Cut::Half] {
            let github = started(&repo);
            github.cut(Some((write, cut)));
            let mut child = repo.command(env!("CARGO_BIN_EXE_xtask"));
            child.args(RELEASE).args(["--api", &github.api]).env("GH_TOKEN", TOKEN);
            let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            while !github.is_shut() {
                assert!(child.try_wait().unwrap().is_none(), "it ended before write {write}");
                std::thread::sleep(Duration::from_millis(2));
            }
            // As by a power cut; the curl that waits for an answer ends with its connection.
            child.kill().unwrap();
            child.wait().unwrap();
            github.cut(None);
            expect(&release(&repo, &github, &[]), 0);
            assert_eq!(github.state().shown(), SHOWN, "write {write}, {cut:?}");
            github.log();
        }
    }
}

#[test]
fn each_way_that_github_refuses_has_its_own_message() {
    let (repo, github) = packaged();
    let fault = |begin, status, header: &str| github.state().faults.push_back((begin, status, header.to_owned()));
    // A short limit is waited for, a long one named.
    fault("GET", 429, "Retry-After: 1");
    fault("POST", 403, "Retry-After: 0");
    fault("POST releases/", 502, "X: y");
    refused(
        &repo,
        &github,
        4,
        &["going on in 1 s", "status 502", "run the same command again"],
    );
    assert_eq!(github.state().shown(), ["?leaf-0.1.0: leaf-0.1.0.tgz"]);
    assert_eq!(github.state().releases[0]["assets"][0]["state"], "starter");
    expect(&release(&repo, &github, &[]), 0);
    assert_eq!(github.state().shown(), SHOWN);
    let in_an_hour = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 3600;
    fault(
        "GET",
        403,
        &format!("X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: {in_an_hour}"),
    );
    refused(
        &repo,
        &github,
        4,
        &["limits the rate of requests for 3", "wait that long"],
    );
    fault("GET", 403, "X: y");
    refused(&repo, &github, 4, &["status 403, Not now", "`contents: write`"]);

    let with = |args: &[&str], token: &str| {
        let mut command = repo.command(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(["release", "github"])
            .args(args)
            .env_remove("GITHUB_TOKEN")
            .env_remove("GITHUB_REPOSITORY");
        expect(
            &command.env("GH_TOKEN", token).output().unwrap(),
            if token == "other" || args[1] == "a/b" { 4 } else { 2 },
        )
    };
    let api = ["--repository", REPOSITORY, "--api", &github.api];
    for (args, token, words) in [
        (&api[..], "other", ["status 401, Bad credentials", "`gh auth token`"]),
        (&api, "", ["no token", "--token-file"]),
        (&api, "a\nb", ["characters that no token has", "--token-file"]),
        (
            &["--repository", "a/b", "--api", &github.api],
            TOKEN,
            ["status 404, Not Found", "a/b exists"],
        ),
        (
            &["--repository", "a", "--api", &github.api],
            TOKEN,
            ["a is not a repository", "OWNER/NAME"],
        ),
        (&["--api", &github.api], TOKEN, ["which repository", "--repository"]),
        (
            &["--repository", "a/c", "--api", "http://example.com"],
            TOKEN,
            ["without TLS", "https://"],
        ),
    ] {
        let shown = with(args, token);
        assert!(words.iter().all(|word| shown.contains(word)), "{words:?}: {shown}");
    }

    // A commit that was not pushed, and somebody else who is faster.
    let github = GitHub::start(&[]);
    refused(&repo, &github, 4, &["target_commitish", "push the commit"]);
    let github = started(&repo);
    github.state().faults.push_back(("PATCH", 502, "X: y".to_owned()));
    refused(&repo, &github, 4, &["status 502"]);
    let state = github.state().shown();
    assert!(state.iter().all(|line| line.starts_with('?')), "{state:?}");
    github.log();
}

#[test]
fn what_is_not_ours_to_change_on_github_is_refused_before_anything_is_written() {
    let (repo, github) = packaged();
    let commit = repo.git(&["rev-parse", "HEAD"]);
    // A tag at a commit that nobody knows here.
    github.state().tags.insert("tree-0.1.0".into(), "0".repeat(40));
    refused(&repo, &github, 1, &["the tag tree-0.1.0 is at 000", "bump"]);
    github.state().tags.insert("tree-0.1.0".into(), commit);
    // A draft with a file of somebody else's, and two drafts.
    let draft = github.seed("tree-0.1.0", true);
    github.seed_file(draft, "notes.pdf", b"x");
    refused(
        &repo,
        &github,
        1,
        &["isn't of this release: notes.pdf", "delete that file"],
    );
    github.state().releases.clear();
    github.seed("tree-0.1.0", true);
    github.seed("tree-0.1.0", true);
    refused(&repo, &github, 1, &["several drafts", "delete all but one"]);
    github.state().releases.clear();
    assert!(writes(&github.log()).is_empty());

    // A draft of an earlier packaging gets the files of this one.
    let draft = github.seed("tree-0.1.0", true);
    github.seed_file(draft, "tree-0.1.0.tgz", b"an older archive");
    expect(&release(&repo, &github, &[]), 0);
    {
        let mut state = github.state();
        let mut shown = state.shown();
        shown.sort();
        let mut wanted = SHOWN;
        wanted.sort_unstable();
        assert_eq!(shown, wanted);
        // What old releases don't say is found out by a download, for which the token stays here.
        for release in &mut state.releases {
            for asset in release["assets"].as_array_mut().unwrap() {
                asset["digest"] = Value::Null;
            }
        }
    }
    let shown = expect(&release(&repo, &github, &[]), 0);
    assert_eq!(shown.matches(": nothing to do").count(), 2, "{shown}");

    // The same files in an archive with other dates, then other files.
    github.log();
    let mut package = repo.command(env!("CARGO_BIN_EXE_xtask"));
    package.arg("package").env("SOURCE_DATE_EPOCH", "1700000000");
    expect(&package.output().unwrap(), 0);
    let shown = expect(&release(&repo, &github, &[]), 0);
    assert_eq!(shown.matches(": nothing to do").count(), 2, "{shown}");
    repo.change("charts/leaf/values.yaml", "feat: more");
    expect(&repo.xtask(&["package"]), 0);
    refused(
        &repo,
        &github,
        1,
        &["leaf 0.1.0 is published already with other files", "bump"],
    );
    assert!(writes(&github.log()).is_empty());
    // A version that what is packaged doesn't have.
    repo.raise("0.1.0", "0.2.0");
    github.state().releases.clear();
    github.state().tags.clear();
    refused(&repo, &github, 1, &["is at version 0.2.0 here", "package again"]);
    assert!(writes(&github.log()).is_empty());
}

#[test]
fn a_chart_that_was_tagged_before_waits_for_its_next_version_without_holding_the_others_up() {
    let (repo, github) = packaged();
    let before = repo.git(&["rev-parse", "HEAD"]);
    github.state().tags.insert("leaf-0.1.0".into(), before.clone());
    repo.change("charts/tree/values.yaml", "feat: more");
    expect(&repo.xtask(&["package"]), 0);
    github.state().commits.push(repo.git(&["rev-parse", "HEAD"]));
    let shown = expect(&release(&repo, &github, &[]), 0);
    let waits = format!("leaf-0.1.0 is at {before}, and nothing of it has changed since");
    assert!(shown.contains(&waits) && shown.contains(", published"), "{shown}");
    let shown = github.state().shown();
    assert!(shown.len() == 1 && shown[0].starts_with("tree-0.1.0: "), "{shown:?}");
    // Changed since, it must be raised.
    repo.change("charts/leaf/values.yaml", "feat: more");
    expect(&repo.xtask(&["package"]), 0);
    github.state().releases.clear();
    github.state().tags.remove("tree-0.1.0");
    refused(&repo, &github, 1, &["the tag leaf-0.1.0 is at", "bump"]);
    github.log();
}

#[test]
fn a_candidate_is_marked_as_one_and_a_renamed_file_is_found_again() {
    let repo = Repo::publishable("oci://charts.example.com/x");
    repo.git(&["rm", "-rqf", "charts/tree"]);
    repo.sample.write(
        "charts/leaf/Chart.yaml",
        "apiVersion: v2\nname: leaf\nversion: 0.2.0-rc.1+b.7\n",
    );
    repo.commit("feat: more");
    expect(&repo.xtask(&["package"]), 0);
    let github = started(&repo);
    expect(&release(&repo, &github, &[]), 0);
    {
        let state = github.state();
        assert_eq!(state.releases[0]["tag_name"], "leaf-0.2.0-rc.1+b.7");
        assert_eq!(state.releases[0]["prerelease"], true);
        assert!(
            state.shown()[0].contains("leaf-0.2.0-rc.1.b.7.tgz"),
            "{:?}",
            state.shown()
        );
    }
    let shown = expect(&release(&repo, &github, &[]), 0);
    assert!(shown.contains("nothing to do"), "{shown}");
    github.log();
}
