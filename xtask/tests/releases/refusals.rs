//! `release push` where it can't go on: a registry that refuses, is full or is away, and charts that must not be published.

use std::process::Command;

use super::push::{SECURE, access, with};
use super::registry::{Options, Registry};
use super::repo::{Repo, expect, text};
use super::{OPEN, sample};

/// A name, what reaches the registry, and what the error says.
type Refusal<'a> = (&'a str, Vec<String>, &'a str);

#[test]
fn each_way_a_registry_can_fail_has_its_own_message() {
    let temp = tempfile::tempdir().unwrap();
    let registry = Registry::start(temp.path(), &SECURE);
    let repo = Repo::publishable("oci://charts.example.com/x");
    expect(&repo.xtask(&["package"]), 0);
    let right = access(&registry);
    std::fs::write(temp.path().join("wrong"), "wrong-word\n").unwrap();
    let mut wrong = right.clone();
    wrong[3] = temp.path().join("wrong").display().to_string();
    let missing = right[..2].to_vec();
    let no_file: Vec<_> = right.iter().map(|word| word.replace("ca.pem", "gone.pem")).collect();
    let cases: [Refusal; 5] = [
        ("wrong password", wrong, "refuses these credentials"),
        ("nobody", right[4..].to_vec(), "refuses these credentials"),
        ("no password", missing, "there is no password for bot"),
        ("unknown authority", right[..4].to_vec(), "is not trusted"),
        ("no certificates", no_file, "gone.pem can't be read"),
    ];
    let to = format!("oci://{}/x", registry.host);
    for (name, access, wanted) in cases {
        let output = repo.xtask(&with(&["-v", "release", "push", "--to", &to], &access));
        let shown = text(&output);
        assert!(!output.status.success() && shown.contains(wanted), "{name}: {shown}");
        assert!(
            shown.contains("  try: ") && !shown.contains("wrong-word"),
            "{name}: {shown}"
        );
        assert_eq!(registry.tags("x/leaf"), [""; 0], "{name}");
    }
    drop(registry);
    let shown = expect(&repo.xtask(&with(&["release", "push", "--to", &to], &right)), 4);
    assert!(shown.contains("can't be reached"), "{shown}");

    // It takes the connection and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("oci://{}/x", listener.local_addr().unwrap());
    let shown = expect(
        &repo.xtask(&["release", "push", "--to", &silent, "--plain-http", "--timeout", "1"]),
        4,
    );
    assert!(shown.contains("took longer than 1 s"), "{shown}");
    let shown = expect(&repo.xtask(&["release", "push", "--to", "https://x"]), 2);
    assert!(shown.contains("https://x is not the address of a registry"), "{shown}");
}

#[test]
fn a_registry_whose_disk_fills_up_in_the_middle_is_named_and_the_push_completed_with_more_space() {
    let temp = tempfile::tempdir().unwrap();
    // Room for the small chart and not for the large one.
    let full = Registry::start(
        temp.path(),
        &Options {
            secure: false,
            disk: Some(400),
        },
    );
    let repo = Repo::publishable("oci://charts.example.com/x");
    let noise = Command::new("head")
        .args(["-c", "600000", "/dev/urandom"])
        .output()
        .unwrap()
        .stdout;
    std::fs::write(repo.dir.join("charts/tree/noise.bin"), noise).unwrap();
    repo.commit("feat: large");
    expect(&repo.xtask(&["package"]), 0);
    let push = |host: &str| repo.xtask(&["release", "push", "--to", &format!("oci://{host}/x"), "--plain-http"]);
    let shown = expect(&push(&full.host), 4);
    assert!(shown.contains("the registry did not take tree-0.1.0.tgz"), "{shown}");
    assert!(!shown.contains("TMPDIR"), "{shown}");
    let again = expect(&push(&full.host), 4);
    assert!(again.contains("tree-0.1.0.tgz"), "{again}");
    drop(full);
    let temp = tempfile::tempdir().unwrap();
    let roomy = Registry::start(temp.path(), &OPEN);
    expect(&push(&roomy.host), 0);
    assert!(roomy.tags("x/tree").contains(&"0.1.0".to_owned()));
}

#[test]
fn what_must_not_be_published_is_refused_before_anything_is_pushed() {
    let temp = tempfile::tempdir().unwrap();
    let registry = Registry::start(temp.path(), &OPEN);
    let to = format!("oci://{}/x", registry.host);
    let push = ["release", "push", "--to", &to, "--plain-http"];
    let repo = Repo::publishable(&to);
    expect(&repo.xtask(&["package"]), 0);
    expect(&repo.xtask(&push), 0);
    let tags = registry.tags("x/leaf");
    // Whoever published it without its attachments, or was killed and went on to another commit, hears of it.
    let bare = Registry::start(&temp.path().join("bare"), &OPEN);
    let mut helm = repo.command(&sample::helm().program.to_string_lossy());
    helm.args([
        "push",
        "dist/leaf-0.1.0.tgz",
        &format!("oci://{}/x", bare.host),
        "--plain-http",
    ]);
    expect(&helm.output().unwrap(), 0);
    let mut later = repo.command(env!("CARGO_BIN_EXE_xtask"));
    expect(
        &later
            .args(["package", "--out", "later"])
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .output()
            .unwrap(),
        0,
    );
    let push_there = [
        "release",
        "push",
        "--to",
        &format!("oci://{}/x", bare.host),
        "--plain-http",
        "--from",
    ];
    let shown = expect(&repo.xtask(&[&push_there[..], &["later"]].concat()), 0);
    assert!(
        shown.contains("leaf 0.1.0 was published from another commit, and its statement is missing"),
        "{shown}"
    );
    let shown = expect(&repo.xtask(&[&push_there[..], &["dist"]].concat()), 0);
    assert!(shown.contains("attached leaf-0.1.0.tgz.intoto.json"), "{shown}");
    repo.change("charts/leaf/values.yaml", "fix: a");
    expect(&repo.xtask(&["package"]), 0);
    assert!(
        expect(&repo.xtask(&push), 1).contains("leaf 0.1.0 is published already with other files: no version bump")
    );
    repo.raise("0.1.0", "0.0.9");
    expect(&repo.xtask(&["package"]), 0);
    assert!(expect(&repo.xtask(&push), 1).contains("leaf 0.0.9 is lower than the published 0.1.0"));
    repo.raise("0.0.9", "0.2.0");
    repo.git(&["tag", "tree-0.2.0", "HEAD~1"]);
    expect(&repo.xtask(&["package"]), 0);
    assert!(expect(&repo.xtask(&push), 1).contains("the tag tree-0.2.0 is at"));
    repo.git(&["tag", "-d", "tree-0.2.0"]);
    repo.sample.edit("charts/leaf/values.yaml", "hello", "bye");
    expect(&repo.xtask(&["package", "--uncommitted"]), 0);
    assert!(expect(&repo.xtask(&push), 1).contains("leaf-0.2.0.tgz was made from a dirty tree"));
    assert_eq!(registry.tags("x/leaf"), tags);
    repo.commit("fix: b");
    expect(&repo.xtask(&["package"]), 0);
    expect(&repo.xtask(&push), 0);
    assert!(registry.tags("x/leaf").contains(&"0.2.0".to_owned()));
}
