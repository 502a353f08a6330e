//! Releases with the tools that only they need: the real registry, helm 3, cosign and GnuPG.
//!
//! Not part of `cargo test`: `cargo xtask test --releases` runs it, and so does
//! `cargo test -p xtask --test releases`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(dead_code, reason = "shared by the tests of releases")]
mod github;
#[allow(dead_code, reason = "shared by the tests of releases")]
mod keys;
mod official;
mod registry;
#[allow(dead_code, reason = "shared by the tests of releases")]
mod repo;
#[path = "../charts/tests/sample/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the library")]
mod sample;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use keys::{Home, Recipe, USUAL};
use registry::{Options, PASSWORD, Proxy, Registry, USER, tool};
use repo::{Repo, expect, text, verify};

const SECURE: Options = Options {
    secure: true,
    disk: None,
};
const OPEN: Options = Options {
    secure: false,
    disk: None,
};

#[test]
fn helm_3_accepts_what_was_signed_and_refuses_what_was_changed_since() {
    verify::accepts_and_refuses(&tool("helm3"));
}

#[test]
fn keys_that_gpg_made_sign_from_its_home_and_both_helms_accept_them() {
    for algorithm in ["rsa2048", "ed25519"] {
        let repo = Repo::unreleased();
        let home = Home::new(repo.dir.join("g"));
        home.generate(&Recipe {
            algorithm,
            passphrase: PASSWORD,
            ..USUAL
        });
        let ring = repo.dir.join("ring.gpg");
        home.gpg("", &["--output", &ring.display().to_string(), "--export"]);
        let sign = |passphrase: &str| {
            let mut command = repo.command(env!("CARGO_BIN_EXE_xtask"));
            command.args(["-v", "package", "--sign", "--gnupg-home", "g"]);
            command.env("XTASK_PASSPHRASE", passphrase).output().unwrap()
        };
        let shown = expect(&sign(PASSWORD), 0);
        assert!(!shown.contains(PASSWORD), "{shown}");
        for helm in [sample::helm().program, tool("helm3")] {
            expect(&verify::run(&helm, &repo.dir.join("dist/tree-0.1.0.tgz"), &ring), 0);
        }
        home.forget();
        let shown = expect(&sign("wrong"), 2);
        assert!(shown.contains("the passphrase of the key g is wrong"), "{shown}");
    }
}

#[test]
fn an_expired_key_is_refused_with_its_date() {
    let repo = Repo::unreleased();
    let home = Home::new(repo.dir.join("g"));
    let past = ["--faked-system-time", "1600000000!"];
    home.gpg(
        "",
        &[&past[..], &["--quick-generate-key", "old", "ed25519", "sign", "1d"]].concat(),
    );
    let key = repo.dir.join("old.asc").display().to_string();
    home.gpg("", &["--armor", "--output", &key, "--export-secret-keys", "old"]);
    let shown = expect(&repo.xtask(&["package", "--sign", "--key-file", "old.asc"]), 2);
    assert!(shown.contains("expired at 2020-09-14"), "{shown}");
    assert!(!repo.dir.join("dist").exists());
}

/// A cosign key pair in the repository's folder.
fn cosign_keys(repo: &Repo) {
    let mut command = repo.command(&tool("cosign").to_string_lossy());
    command.arg("generate-key-pair").env("COSIGN_PASSWORD", PASSWORD);
    expect(&command.output().unwrap(), 0);
}

#[test]
fn cosign_signs_an_archive_and_refuses_it_after_a_flipped_byte() {
    let repo = Repo::unreleased();
    cosign_keys(&repo);
    let mut sign = repo.command(env!("CARGO_BIN_EXE_xtask"));
    sign.args(["-v", "package", "--cosign-key", "cosign.key"])
        .env("COSIGN_PASSWORD", PASSWORD);
    let shown = expect(&sign.output().unwrap(), 0);
    assert!(
        !shown.contains(PASSWORD) && shown.contains("COSIGN_PASSWORD='***'"),
        "{shown}"
    );
    let archive = repo.dir.join("dist/tree-0.1.0.tgz");
    let check = |repo: &Repo| {
        let mut command = repo.command(&tool("cosign").to_string_lossy());
        command.args([
            "verify-blob",
            "--key",
            "cosign.pub",
            "--private-infrastructure",
            "--bundle",
        ]);
        command
            .arg("dist/tree-0.1.0.tgz.sigstore.json")
            .arg("dist/tree-0.1.0.tgz");
        command.output().unwrap()
    };
    expect(&check(&repo), 0);
    let verify = ["release", "verify", "dist/tree-0.1.0.tgz", "--cosign-pub", "cosign.pub"];
    let shown = expect(&repo.xtask(&verify), 0);
    assert!(
        shown.contains("passed   cosign") && shown.contains("passed   provenance"),
        "{shown}"
    );
    let statement = "dist/tree-0.1.0.tgz.intoto.json";
    repo.sample.write(statement, &(repo.read(statement) + "\n"));
    let shown = expect(&repo.xtask(&verify), 1);
    assert!(
        shown.contains("FAILED   provenance  cosign's signature does not cover the statement"),
        "{shown}"
    );
    let mut bytes = std::fs::read(&archive).unwrap();
    bytes[99] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    assert!(!check(&repo).status.success());
    let mut wrong = repo.command(env!("CARGO_BIN_EXE_xtask"));
    wrong
        .args(["package", "--cosign-key", "cosign.key", "--out", "o"])
        .env("COSIGN_PASSWORD", "wrong");
    let shown = expect(&wrong.output().unwrap(), 1);
    assert!(
        shown.contains("cosign-passphrase-file") && !repo.dir.join("o").exists(),
        "{shown}"
    );
}

/// What reaches a secure registry.
fn access(registry: &Registry) -> Vec<String> {
    let file = |name: &str| registry.dir.join(name).display().to_string();
    let words = [
        "--username",
        USER,
        "--password-file",
        &file("password"),
        "--ca-file",
        &file("ca.pem"),
    ];
    words.map(str::to_owned).to_vec()
}

fn with<'a>(args: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    args.iter().copied().chain(more.iter().map(String::as_str)).collect()
}

#[test]
fn charts_go_to_a_registry_with_tls_and_basic_authentication_and_come_back_verified() {
    let temp = tempfile::tempdir().unwrap();
    let registry = Registry::start(temp.path(), &SECURE);
    let to = format!("oci://{}/team/charts", registry.host);
    let repo = Repo::publishable(&to);
    let key = keys::make(&repo.dir, "key", &USUAL);
    cosign_keys(&repo);
    repo.commit("chore: keys");
    expect(&repo.xtask(&["package", "--sign", "--key-file", "key.asc"]), 0);
    let access = access(&registry);
    let xtask = |args: &[&str]| {
        let mut command = repo.command(env!("CARGO_BIN_EXE_xtask"));
        command.args(args).args(&access).env("COSIGN_PASSWORD", PASSWORD);
        command.output().unwrap()
    };
    let plan = expect(&xtask(&["release", "plan", "--to", &to]), 0);
    assert!(
        plan.contains("release    tree 0.1.0: nothing of it is published"),
        "{plan}"
    );
    let push = [
        "-v",
        "release",
        "push",
        "--to",
        &to,
        "--tag",
        "--cosign-key",
        "cosign.key",
    ];
    let shown = expect(&xtask(&push), 0);
    assert!(!shown.contains(PASSWORD), "{shown}");
    for part in [
        "pushed",
        "attached tree-0.1.0.tgz.cdx.json",
        "attached tree-0.1.0.tgz.intoto.json",
        "signed with cosign",
        "tagged tree-0.1.0",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let again = expect(&xtask(&push), 0);
    assert_eq!(again.matches(": nothing to do").count(), 2, "{again}");
    assert!(expect(&xtask(&["release", "plan", "--to", &to]), 0).contains("nothing to do"));

    // helm pulls and verifies it, installs it from its address, and finds the same bytes.
    for helm in [sample::helm().program, tool("helm3")] {
        let home = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let mut command = Command::new(&helm);
            command
                .args(args)
                .current_dir(home.path())
                .env("HELM_CONFIG_HOME", home.path());
            command
                .env("HELM_CACHE_HOME", home.path())
                .stdin(Stdio::null())
                .output()
                .unwrap()
        };
        let login = ["--username", USER, "--password", PASSWORD, "--ca-file", &access[5]];
        let ring = key.ring.display().to_string();
        let chart = format!("{to}/tree");
        let pull = [
            &["pull", &chart, "--version", "0.1.0", "--verify", "--keyring", &ring][..],
            &login,
        ]
        .concat();
        expect(&run(&pull), 0);
        let pulled = std::fs::read(home.path().join("tree-0.1.0.tgz")).unwrap();
        assert!(pulled == std::fs::read(repo.dir.join("dist/tree-0.1.0.tgz")).unwrap());
        let template = ["template", "t", &chart, "--version", "0.1.0"];
        assert!(expect(&run(&[&template[..], &login].concat()), 0).contains("t-config"));
    }

    let reference = format!("{to}/tree:0.1.0");
    let verify = [
        "--format",
        "json",
        "release",
        "verify",
        &reference,
        "--keyring",
        "key.gpg",
        "--cosign-pub",
        "cosign.pub",
    ];
    let output = xtask(&verify);
    expect(&output, 0);
    let reports: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = &reports[0]["checks"];
    assert_eq!(checks.as_array().unwrap().len(), 9);
    for check in checks.as_array().unwrap() {
        assert_eq!(check["verdict"], "passed", "{check}");
    }
    // Another key did not sign it.
    let other = keys::make(&repo.dir, "other", &USUAL);
    let shown = expect(
        &xtask(&[
            "release",
            "verify",
            &reference,
            "--keyring",
            &other.ring.display().to_string(),
        ]),
        1,
    );
    assert!(
        shown.contains("FAILED   signature") && shown.contains("skipped  cosign"),
        "{shown}"
    );

    // The same push makes the same manifest in another registry.
    let temp = tempfile::tempdir().unwrap();
    let second = Registry::start(temp.path(), &SECURE);
    let there = format!("oci://{}/x", second.host);
    let second_access = self::access(&second);
    let push = |repo: &Repo, to: &str, access: &[String]| {
        let output = repo.xtask(&with(&["--format", "json", "release", "push", "--to", to], access));
        expect(&output, 0);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()[1]["digest"].clone()
    };
    assert_eq!(push(&repo, &to, &access), push(&repo, &there, &second_access));
}

#[test]
fn credentials_that_a_program_keeps_are_found_and_artifact_hubs_file_is_pushed_once() {
    let temp = tempfile::tempdir().unwrap();
    let registry = Registry::start(temp.path(), &SECURE);
    let to = format!("oci://{}/x", registry.host);
    let repo = Repo::publishable(&to);
    cosign_keys(&repo);
    repo.sample.write("ci/artifacthub-repo.yml", "owners: []\n");
    repo.commit("chore: settings");
    expect(&repo.xtask(&["package"]), 0);
    // A helper as docker's: asked with `get`, it answers in JSON (github.com/docker/docker-credential-helpers).
    let helper = temp.path().join("docker-credential-throwaway");
    let answer = format!(
        "{{\"ServerURL\":\"{}\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}",
        registry.host
    );
    std::fs::write(
        &helper,
        format!("#!/bin/sh\n[ \"$1\" = get ] || exit 1\ncat >/dev/null\necho '{answer}'\n"),
    )
    .unwrap();
    std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let path = format!("{}:{}", temp.path().display(), std::env::var("PATH").unwrap());
    let config = temp.path().join("registry.json");
    let stored = [
        format!("{{\"credHelpers\": {{\"{}\": \"throwaway\"}}}}", registry.host),
        format!(
            "{{\"auths\": {{\"{}\": {{}}}}, \"credsStore\": \"throwaway\"}}",
            registry.host
        ),
    ];
    let ca = registry.dir.join("ca.pem").display().to_string();
    let push = || {
        let mut push = repo.command(env!("CARGO_BIN_EXE_xtask"));
        push.args([
            "release",
            "push",
            "--to",
            &to,
            "--ca-file",
            &ca,
            "--cosign-key",
            "cosign.key",
        ]);
        push.env("HELM_REGISTRY_CONFIG", &config)
            .env("PATH", &path)
            .env("COSIGN_PASSWORD", PASSWORD);
        push.env("DOCKER_CONFIG", temp.path().join("none")).output().unwrap()
    };
    for (n, stored) in stored.iter().enumerate() {
        std::fs::write(&config, stored).unwrap();
        let shown = expect(&push(), 0);
        let done = if n == 0 {
            "pushed artifacthub-repo.yml"
        } else {
            "nothing to do"
        };
        assert_eq!(shown.matches(done).count(), 2, "{shown}");
    }
    assert!(registry.tags("x/leaf").contains(&"artifacthub.io".to_owned()));
    // As Artifact Hub reads it.
    let url = format!("https://{}/v2/x/leaf/manifests/artifacthub.io", registry.host);
    let login = format!("{USER}:{PASSWORD}");
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let mut curl = Command::new("curl");
    let output = curl
        .args(["-sf", "--cacert", &ca, "-u", &login, "-H", accept, &url])
        .output()
        .unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.cncf.artifacthub.config.v1+yaml"
    );
    let layer = "application/vnd.cncf.artifacthub.repository-metadata.layer.v1.yaml";
    assert_eq!(manifest["layers"][0]["mediaType"], layer);
    repo.sample
        .write("ci/artifacthub-repo.yml", "owners: []\nrepositoryID: x\n");
    assert_eq!(expect(&push(), 0).matches("pushed artifacthub-repo.yml").count(), 2);
}

#[test]
fn what_a_planned_push_shows_is_what_runs() {
    let temp = tempfile::tempdir().unwrap();
    let registry = Registry::start(temp.path(), &OPEN);
    let to = format!("oci://{}/x", registry.host);
    let repo = Repo::publishable(&to);
    cosign_keys(&repo);
    repo.commit("chore: keys");
    expect(&repo.xtask(&["package"]), 0);
    let push = [
        "release",
        "push",
        "--to",
        &to,
        "--plain-http",
        "--tag",
        "--cosign-key",
        "cosign.key",
    ];
    let plan = repo.planned_is_run(&push, &[("COSIGN_PASSWORD", PASSWORD)]);
    for part in ["helm push tree", "oras attach", "cosign sign", "git tag tree-0.1.0"] {
        assert!(plan.contains(part), "{part} is not in {plan}");
    }
}

#[test]
fn a_registry_that_lists_its_tags_in_pages_is_read_to_the_last() {
    let temp = tempfile::tempdir().unwrap();
    let registry = Registry::start(temp.path(), &OPEN);
    let proxy = Proxy::paging(&registry);
    let to = format!("oci://{}/x", proxy.host);
    let repo = Repo::publishable(&to);
    let release =
        |command: &str, code: i32| expect(&repo.xtask(&["release", command, "--to", &to, "--plain-http"]), code);
    for (from, version) in [("0.1.0", "0.1.0"), ("0.1.0", "0.2.0")] {
        if from != version {
            repo.raise(from, version);
        }
        expect(&repo.xtask(&["package"]), 0);
        release("push", 0);
    }
    // The first page has the lower version only.
    let list = format!("http://{}/v2/x/leaf/tags/list", proxy.host);
    let page = Command::new("curl").args(["-si", &list]).output().unwrap();
    let page = String::from_utf8_lossy(&page.stdout).to_lowercase();
    assert!(page.contains("link: <") && page.contains("[\"0.1.0\"]"), "{page}");
    repo.raise("0.2.0", "0.3.0");
    let plan = release("plan", 0);
    assert!(
        plan.contains("release    leaf 0.3.0: the highest published version is 0.2.0"),
        "{plan}"
    );
    repo.raise("0.3.0", "0.1.5");
    let plan = release("plan", 1);
    assert!(plan.contains("leaf 0.1.5 is lower than the published 0.2.0"), "{plan}");
}

#[test]
fn a_push_that_is_killed_at_any_step_is_completed_by_the_next_with_nothing_twice() {
    let (mut steps, mut finished) = (0, false);
    let prepared = Repo::publishable("oci://charts.example.com/x");
    keys::make(&prepared.dir, "key", &USUAL);
    expect(&prepared.xtask(&["package", "--sign", "--key-file", "key.asc"]), 0);
    while !finished {
        let temp = tempfile::tempdir().unwrap();
        let registry = Registry::start(temp.path(), &OPEN);
        let proxy = Proxy::to(&registry);
        let to = format!("oci://{}/x", proxy.host);
        let push = [
            "release",
            "push",
            "--to",
            &to,
            "--plain-http",
            "--timeout",
            "20",
            "--tag",
        ];
        for tag in prepared.git(&["tag"]).lines() {
            prepared.git(&["tag", "-d", tag]);
        }
        proxy.let_through(steps);
        let mut child = prepared
            .command(env!("CARGO_BIN_EXE_xtask"))
            .args(push)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // At the first request that may not write any more, the process dies as by a power cut.
        loop {
            if proxy.is_shut() {
                child.kill().unwrap();
                child.wait().unwrap();
                break;
            }
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success());
                finished = true;
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        proxy.let_through(usize::MAX);
        let output = prepared.xtask(&[&["--format", "json"][..], &push].concat());
        expect(&output, 0);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        for (chart, pushed) in ["leaf", "tree"].iter().zip(report.as_array().unwrap()) {
            // One version, and one list of what is attached to it.
            let list = pushed["digest"].as_str().unwrap().replace(':', "-");
            assert_eq!(
                registry.tags(&format!("x/{chart}")),
                ["0.1.0".to_owned(), list.clone()],
                "after {steps} writes"
            );
            let url = format!("http://{}/v2/x/{chart}/manifests/{list}", registry.host);
            let output = Command::new("curl").args(["-sf", &url]).output().unwrap();
            let index: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let mut kinds: Vec<_> = index["manifests"]
                .as_array()
                .unwrap()
                .iter()
                .map(|m| m["artifactType"].clone())
                .collect();
            kinds.sort_by_key(ToString::to_string);
            assert_eq!(
                kinds,
                ["application/vnd.cyclonedx+json", "application/vnd.in-toto+json"],
                "after {steps} writes"
            );
            assert_eq!(pushed["signed"], true);
        }
        assert_eq!(prepared.git(&["tag"]), "leaf-0.1.0\ntree-0.1.0");
        assert!(expect(&prepared.xtask(&push), 0).matches(": nothing to do").count() == 2);
        steps += 1;
    }
    // A chart alone has three blobs, a manifest and two attachments to write.
    assert!(steps > 12, "only {steps} steps were cut off");
}

#[test]
fn an_index_run_that_is_killed_at_any_moment_leaves_a_whole_index_and_is_completed_by_the_next() {
    let repo = Repo::publishable("https://charts.example.com");
    let index = ["release", "index", "site", "--url", "https://charts.example.com"];
    let site = repo.dir.join("site");
    let versions = || -> Vec<String> {
        let Ok(text) = std::fs::read_to_string(site.join("index.yaml")) else {
            return Vec::new();
        };
        let index: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        let list = index["entries"]["leaf"].as_sequence().unwrap();
        let version = |entry: &serde_yaml::Value| entry["version"].as_str().unwrap().to_owned();
        list.iter().map(version).collect()
    };
    let mut published: Vec<String> = Vec::new();
    for n in 1..=12u64 {
        if n > 1 {
            repo.raise(&format!("0.{}.0", n - 1), &format!("0.{n}.0"));
        }
        expect(&repo.xtask(&["package"]), 0);
        let mut run = repo.command(env!("CARGO_BIN_EXE_xtask"));
        let mut child = run
            .args(index)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Each time a little later; which step that meets is left to chance, what must hold is not.
        std::thread::sleep(Duration::from_millis(30 * n));
        child.kill().unwrap();
        child.wait().unwrap();
        let left = versions();
        assert!(
            published.iter().all(|version| left.contains(version)),
            "{left:?} lost some of {published:?}"
        );
        expect(&repo.xtask(&index), 0);
        published.insert(0, format!("0.{n}.0"));
        assert_eq!(versions(), published);
    }
}

#[test]
#[ignore = "needs a cluster: name its kubeconfig in XTASK_TEST_KUBECONFIG"]
fn both_helms_install_from_the_registry_on_a_cluster() {
    let kubeconfig = std::env::var("XTASK_TEST_KUBECONFIG").expect("XTASK_TEST_KUBECONFIG must be set");
    let temp = tempfile::tempdir().unwrap();
    let registry = Registry::start(temp.path(), &OPEN);
    let to = format!("oci://{}/x", registry.host);
    let repo = Repo::publishable(&to);
    expect(&repo.xtask(&["package"]), 0);
    expect(&repo.xtask(&["release", "push", "--to", &to, "--plain-http"]), 0);
    for (n, helm) in [sample::helm().program, tool("helm3")].into_iter().enumerate() {
        // In the namespace that every cluster has: nothing but the release has to go afterwards.
        let release = format!("release-test-{}-{n}", std::process::id());
        let run = |args: &[&str]| {
            let mut command = Command::new(&helm);
            command
                .args(args)
                .args(["--namespace", "default"])
                .env("KUBECONFIG", &kubeconfig);
            command.output().unwrap()
        };
        let chart = format!("{to}/tree");
        expect(
            &run(&["install", &release, &chart, "--version", "0.1.0", "--plain-http"]),
            0,
        );
        let status = expect(&run(&["status", &release]), 0);
        let manifest = expect(&run(&["get", "manifest", &release]), 0);
        expect(&run(&["uninstall", &release]), 0);
        assert!(
            status.contains("deployed") && manifest.contains(&format!("{release}-config")),
            "{status}{manifest}"
        );
    }
}

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

/// A clone of a repository on GitHub that `release init` runs in, and the folder of its secret keys.
struct Fork {
    repo: Repo,
    keys: tempfile::TempDir,
}

const OWNER: &str = "A Maintainer <owner@example.com>";
const SETUP: [&str; 4] = [
    "Cargo.toml",
    "ci/artifacthub-repo.yml",
    "ci/keys/cosign.pub",
    "ci/keys/signing.asc",
];

impl Fork {
    /// Its Cargo.toml says what the upstream's says.
    fn of_somebody_elses() -> Fork {
        let repo = Repo::publishable("oci://upstream.example.com/charts");
        let settings = "kube-version = \"1.34.4\"\nrepository = \"https://github.com/up/stream\"\nmaintainers = \
                        [{ name = \"U\", email = \"u@example.com\" }]\nsign-key = { fingerprint = \"AA\", url = \"https://x\" }\n";
        repo.sample.edit("Cargo.toml", "kube-version = \"1.34.4\"\n", settings);
        repo.sample
            .write("ci/artifacthub-repo.yml", "# Ours.\nrepositoryID: x\nowners: []\n");
        repo.commit("chore: the upstream's settings");
        repo.git(&["remote", "add", "origin", "git@github.com:team/charts.git"]);
        let keys = tempfile::tempdir().unwrap();
        Fork { repo, keys }
    }

    fn init(&self, args: &[&str]) -> std::process::Output {
        let mut command = self.repo.command(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(["release", "init"])
            .args(args)
            .env("XDG_CONFIG_HOME", self.keys.path());
        for name in ["GITHUB_REPOSITORY", "GITHUB_API_URL", "GH_TOKEN", "GITHUB_TOKEN"] {
            command.env_remove(name);
        }
        command.output().unwrap()
    }

    fn dir(&self) -> std::path::PathBuf {
        self.keys.path().join("tempo-stack/team/charts")
    }

    /// All that was written: the files of the repository, and the secret ones with who may read them.
    fn state(&self) -> Vec<(String, Vec<u8>)> {
        use std::os::unix::fs::PermissionsExt;
        let here = SETUP.iter().map(|file| self.repo.dir.join(file));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let secret = walkdir::WalkDir::new(self.dir())
            .sort_by_file_name()
            .into_iter()
            .flatten();
        let secret = secret.filter(|entry| entry.file_type().is_file() && entry.file_name() != "cosign.pub");
        let secret = secret.map(|entry| {
            let modes = (mode(entry.path().parent().unwrap()), mode(entry.path()));
            assert_eq!(modes, (0o700, 0o600), "{entry:?}");
            entry.into_path()
        });
        let read = |file: std::path::PathBuf| (file.display().to_string(), std::fs::read(file).unwrap_or_default());
        here.chain(secret.collect::<Vec<_>>()).map(read).collect()
    }
}

#[test]
fn one_command_sets_a_fork_up_and_what_it_made_signs_and_verifies_a_release() {
    let fork = Fork::of_somebody_elses();
    let shown = expect(&fork.init(&["--check"]), 1);
    for check in [
        "FAILED   repository",
        "FAILED   sign-key",
        "FAILED   cosign-pub",
        "FAILED   hub",
        "skipped  github",
    ] {
        assert!(shown.contains(check), "{check} is not in {shown}");
    }
    // The upstream's owner, place and key are not taken over.
    assert!(expect(&fork.init(&[]), 2).contains("--owner 'NAME <ADDRESS>'"));
    let before = fork.state();
    let plan = fork.init(&["--dry-run", "--owner", OWNER]);
    let plan = expect(&plan, 0);
    assert!(
        plan.contains("would write ci/keys/signing.asc") && plan.contains("generate-key-pair"),
        "{plan}"
    );
    assert_eq!(fork.state(), before);
    let temp = tempfile::tempdir().unwrap();
    let registry = Registry::start(temp.path(), &OPEN);
    let to = format!("oci://{}/x", registry.host);
    let shown = expect(&fork.init(&["-v", "--owner", OWNER, "--charts", &to]), 0);
    let dir = fork.dir();
    let passphrase = std::fs::read_to_string(dir.join("openpgp/passphrase")).unwrap();
    let password = std::fs::read_to_string(dir.join("cosign/password")).unwrap();
    assert!(passphrase.len() == 32 && password.len() == 32 && passphrase != password);
    assert!(!shown.contains(&passphrase) && !shown.contains(&password), "{shown}");
    let secret = dir.join("openpgp/secret.asc").display().to_string();
    for command in [
        "gh api --method PUT repos/team/charts/environments/release".to_owned(),
        format!("gh variable set RELEASE_TO --env release --repo team/charts --body {to}"),
        format!("gh secret set SIGNING_KEY --env release --repo team/charts < {secret}"),
    ] {
        assert!(shown.contains(&command), "{command} is not in {shown}");
    }
    // Whatever the workflow reads is named.
    let workflow = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/workflows/release.yml");
    let workflow = std::fs::read_to_string(workflow).unwrap();
    let names = workflow.split("${{ ").skip(1).filter_map(|part| part.split(' ').next());
    let names: Vec<&str> = names
        .filter_map(|name| name.strip_prefix("secrets.").or(name.strip_prefix("vars.")))
        .collect();
    assert!(names.len() > 7, "{names:?}");
    for name in names {
        assert!(
            shown.contains(&format!(" set {name} --env release")),
            "{name} is not in {shown}"
        );
    }
    assert_eq!(
        fork.repo.git(&["status", "--porcelain", "--", "charts", ".gitignore"]),
        ""
    );

    // Again: no second key, no change; what is missing of it comes back.
    let made = fork.state();
    let shown = expect(&fork.init(&[]), 0);
    assert!(shown.contains("nothing to do in this checkout"), "{shown}");
    assert_eq!(fork.state(), made);
    std::fs::remove_file(fork.repo.dir.join("ci/keys/signing.asc")).unwrap();
    fork.repo.git(&["checkout", "-q", "Cargo.toml"]);
    expect(&fork.init(&["--owner", OWNER, "--charts", &to]), 0);
    assert_eq!(fork.state(), made);
    fork.repo.commit("chore: set up releases");
    let shown = expect(&fork.init(&["--check"]), 0);
    assert_eq!(shown.matches("passed").count(), 7, "{shown}");

    // On a machine without the secret keys the public ones are kept.
    let elsewhere = tempfile::tempdir().unwrap();
    let keys = elsewhere.path().display().to_string();
    let shown = expect(&fork.init(&["--keys", &keys]), 0);
    assert!(shown.contains("nothing to do in this checkout"), "{shown}");
    let shown = expect(&fork.init(&["--keys", &keys, "--check"]), 0);
    assert_eq!(shown.matches("skipped").count(), 3, "{shown}");

    // A release with all of it.
    let file = |name: &str| dir.join(name).display().to_string();
    let key = ["--key-file", &secret, "--passphrase-file", &file("openpgp/passphrase")];
    let cosign = [
        "--cosign-key",
        &file("cosign/cosign.key"),
        "--cosign-passphrase-file",
        &file("cosign/password"),
    ];
    expect(
        &fork.repo.xtask(&[&["package", "--sign"], &key[..], &cosign].concat()),
        0,
    );
    expect(
        &fork
            .repo
            .xtask(&[&["release", "push", "--to", &to, "--plain-http"], &cosign[..]].concat()),
        0,
    );
    let public = ["--keyring", "ci/keys/signing.asc", "--cosign-pub", "ci/keys/cosign.pub"];
    let verify = [
        &["release", "verify", "--all", "--to", &to, "--plain-http"],
        &public[..],
    ]
    .concat();
    let shown = expect(&fork.repo.xtask(&verify), 0);
    assert_eq!(shown.matches("passed   signature").count(), 2, "{shown}");
    assert_eq!(shown.matches("passed   cosign").count(), 2, "{shown}");
}

#[test]
fn a_setup_that_is_killed_at_any_moment_is_completed_by_the_next_with_the_keys_that_were_there() {
    let fork = Fork::of_somebody_elses();
    let started = std::time::Instant::now();
    expect(&fork.init(&["--owner", OWNER]), 0);
    let whole = started.elapsed();
    for part in 1..=3 {
        let fork = Fork::of_somebody_elses();
        let mut command = fork.repo.command(env!("CARGO_BIN_EXE_xtask"));
        command.args(["release", "init", "--owner", OWNER, "--repository", "team/charts"]);
        command
            .env("XDG_CONFIG_HOME", fork.keys.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(whole * part / 4);
        child.kill().unwrap();
        child.wait().unwrap();
        let secret = |name: &str| std::fs::read(fork.dir().join(name)).ok();
        let left = ["openpgp/secret.asc", "cosign/cosign.key"].map(|name| (name, secret(name)));
        expect(&fork.init(&["--owner", OWNER]), 0);
        for (name, old) in left.iter().filter(|(_, old)| old.is_some()) {
            assert!(secret(name) == *old, "{name} was made twice, after {part}/4 of a run");
        }
        expect(&fork.init(&["--check"]), 0);
    }
}

#[test]
fn a_setup_says_what_is_wrong_and_a_new_key_leaves_the_old_one_verifiable() {
    let fork = Fork::of_somebody_elses();
    let old = keys::make(fork.keys.path(), "old", &USUAL);
    let new = keys::make(fork.keys.path(), "new", &USUAL);
    let named = |name: &str| fork.keys.path().join(name).display().to_string();
    cosign_keys(&fork.repo);
    let cosign = fork.repo.dir.join("cosign.key");
    std::fs::rename(&cosign, fork.keys.path().join("cosign.key")).unwrap();
    let init = |args: &[&str]| {
        let mut command = fork.repo.command(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(["release", "init", "--cosign-key", &named("cosign.key")])
            .args(args);
        command
            .env("COSIGN_PASSWORD", PASSWORD)
            .env("XDG_CONFIG_HOME", fork.keys.path());
        command
            .env_remove("GITHUB_REPOSITORY")
            .env_remove("GITHUB_API_URL")
            .output()
            .unwrap()
    };
    let id = "0b3f2a9e-8a55-4d0c-9f6e-0c0f3a1b2c3d";
    let before = fork.state();
    let inside = fork.repo.dir.join("keys").display().to_string();
    for (args, word) in [
        (
            &["--owner", OWNER, "--keys", &inside][..],
            "don't belong into the checkout",
        ),
        (&["--owner", "nobody"], "'NAME <ADDRESS>'"),
        (&["--owner", OWNER, "--charts", "ghcr.io/x"], "oci://HOST/PATH"),
        (&["--owner", OWNER, "--site", "http://x"], "https://HOST/PATH"),
        (&["--owner", OWNER, "--repository-id", "12"], "UUID"),
        (&["--owner", OWNER, "--sign-key", &named("none.asc")], "can't be read"),
    ] {
        let shown = expect(&init(args), 2);
        assert!(shown.contains(word), "{word} is not in {shown}");
    }
    assert_eq!(fork.state(), before);
    let arguments = [
        "--owner",
        OWNER,
        "--sign-key",
        &named("old.asc"),
        "--repository-id",
        id,
        "--site",
        "https://x.io/",
    ];
    expect(&init(&arguments), 0);
    let settings = fork.repo.read("Cargo.toml");
    for part in [
        "repository = \"https://github.com/team/charts\"",
        "published-charts = \"oci://ghcr.io/team/charts\"",
        "published-site = \"https://x.io\"",
        &format!("fingerprint = \"{}\"", old.fingerprint),
    ] {
        assert!(settings.contains(part), "{part} is not in {settings}");
    }
    assert!(fork.repo.read("ci/artifacthub-repo.yml").contains(id));
    // Nothing was made, so nothing lies in the folder.
    assert!(!fork.dir().exists());

    expect(&init(&["--sign-key", &named("new.asc")]), 0);
    assert!(fork.repo.read("Cargo.toml").contains(&new.fingerprint));
    let ring = fork.repo.dir.join("ci/keys/signing.asc").display().to_string();
    let listed = keys::Home::new(fork.keys.path().join("g")).gpg("", &["--show-keys", "--with-colons", &ring]);
    assert!(
        listed.contains(&old.fingerprint) && listed.contains(&new.fingerprint),
        "{listed}"
    );
    assert!(expect(&init(&[]), 0).contains("nothing to do in this checkout"));
    std::fs::set_permissions(named("new.asc"), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let shown = expect(&init(&["--check", "--sign-key", &named("new.asc")]), 1);
    assert!(
        shown.contains("others can read") && shown.contains("chmod 600"),
        "{shown}"
    );

    let ring = std::fs::read(&ring).unwrap();
    std::fs::copy(named("new.asc"), fork.repo.dir.join("ci/keys/signing.asc")).unwrap();
    let shown = expect(&init(&["--check"]), 1);
    assert!(shown.contains("ci/keys/signing.asc holds a secret key"), "{shown}");
    std::fs::write(fork.repo.dir.join("ci/keys/signing.asc"), ring).unwrap();

    // What GitHub has, by the names that it tells.
    let github = github::GitHub::start(&[]);
    let check = || {
        let mut command = fork.repo.command(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(["release", "init", "--check", "--api", &github.api])
            .env("GH_TOKEN", github::TOKEN);
        command
            .env("XDG_CONFIG_HOME", fork.keys.path())
            .env_remove("GITHUB_REPOSITORY")
            .output()
            .unwrap()
    };
    let names = |kind, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        github.state().names.insert(kind, names)
    };
    // More than a page of them.
    let more: Vec<String> = (0..40).map(|n| format!("OTHER_{n}")).collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let secrets = [
        "REGISTRY_PASSWORD",
        "SIGNING_KEY",
        "SIGNING_PASSPHRASE",
        "COSIGN_KEY",
        "COSIGN_PASSWORD",
    ];
    names("secrets", &[&more, &secrets[..]].concat());
    names("variables", &["RELEASE_TO"]);
    let shown = expect(&check(), 1);
    assert!(
        shown.contains("FAILED   github      the environment release of team/charts lacks REGISTRY_USER"),
        "{shown}"
    );
    names("variables", &["RELEASE_TO", "REGISTRY_USER"]);
    let shown = expect(&check(), 0);
    assert!(shown.contains("passed   github"), "{shown}");
    github.log();
}

/// A publishable history whose charts say how they are installed.
fn with_readmes() -> Repo {
    let repo = Repo::publishable("oci://charts.example.com/x");
    for chart in ["leaf", "tree"] {
        let readme = format!(
            "# {chart}\n\n```sh\nhelm repo add ours https://HOST/PATH\nhelm install {chart} ours/{chart} --namespace x\n```\n\n\
             ```sh\nhelm install {chart} oci://HOST/PATH/{chart} \\\n  --namespace x\n```\n"
        );
        repo.sample.write(&format!("charts/{chart}/README.md"), &readme);
    }
    repo.commit("docs: how to install it");
    repo
}

/// A rehearsal of it with its temporary files in `temp`.
fn rehearse(repo: &Repo, temp: &std::path::Path) -> Command {
    let mut command = repo.command(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(["release", "rehearse", "--without-cluster"])
        .env("TMPDIR", temp);
    command
}

#[test]
fn a_release_of_charts_of_others_is_rehearsed_and_leaves_the_checkout_and_the_machine_as_they_were() {
    let repo = with_readmes();
    let temp = tempfile::tempdir().unwrap();
    let state = || repo.git(&["for-each-ref"]) + &repo.git(&["status", "--porcelain"]) + &repo.read(".git/config");
    let before = state();
    let report = temp.path().join("r.json");
    // Two at a time don't meet.
    let second = rehearse(&repo, temp.path()).stderr(Stdio::piped()).spawn().unwrap();
    let shown = expect(
        &rehearse(&repo, temp.path())
            .arg("--report")
            .arg(&report)
            .output()
            .unwrap(),
        0,
    );
    expect(&second.wait_with_output().unwrap(), 0);
    for part in [
        "a change is refused without a higher version",
        "the same push finds nothing to do: 2 charts",
        "release verify: oci://",
        "release verify: http://",
        "leaf: both helms take it from both places: 1 object, the same four times",
        "skipped: installation on a cluster: --without-cluster was given",
        "rehearsal passed",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!((&report["passed"], &report["failed"]), (&1.into(), &0.into()));
    assert_eq!(state(), before);
    assert_eq!(left(temp.path()), ["r.json"]);
}

/// The names of what is in a folder.
fn left(dir: &std::path::Path) -> Vec<String> {
    let list = std::fs::read_dir(dir).unwrap();
    list.map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_rehearsal_fails_where_a_readme_does_not_say_how_the_chart_is_installed() {
    let repo = with_readmes();
    repo.sample
        .edit("charts/tree/README.md", "oci://HOST/PATH/tree", "./tree");
    repo.commit("docs: from the folder");
    let temp = tempfile::tempdir().unwrap();
    let shown = expect(&rehearse(&repo, temp.path()).output().unwrap(), 1);
    assert!(
        shown.contains(
            "the README of tree: it must print one command `helm install …` that takes tree from its registry"
        ),
        "{shown}"
    );
    assert_eq!(left(temp.path()), [""; 0]);
}

#[test]
fn an_interrupted_rehearsal_leaves_nothing() {
    let repo = with_readmes();
    let temp = tempfile::tempdir().unwrap();
    let mut child = rehearse(&repo, temp.path()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    // The servers run and the keys are made by then.
    lines
        .find(|line| line.as_ref().unwrap().contains("git push"))
        .unwrap()
        .unwrap();
    let run = std::fs::read_dir(temp.path()).unwrap().map(|file| file.unwrap().path());
    let run = run
        .filter(|path| path.to_string_lossy().contains("rehearse"))
        .collect::<Vec<_>>();
    assert!(kit::run_dir::marked(&run[0]).len() > 1);
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(kit::run_dir::marked(&run[0]), [0; 0]);
    assert_eq!(left(temp.path()), [""; 0]);
}
