//! `release push` to real registries: with keys, in pages, killed, full and misconfigured.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::keys::{self, USUAL};
use super::registry::{Options, PASSWORD, Proxy, Registry, USER, tool};
use super::repo::{Repo, expect};
use super::{OPEN, cosign_keys, sample};

pub(super) const SECURE: Options = Options {
    secure: true,
    disk: None,
};

/// What reaches a secure registry.
pub(super) fn access(registry: &Registry) -> Vec<String> {
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

pub(super) fn with<'a>(args: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
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
