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

#[path = "releases/push.rs"]
mod push;
#[path = "releases/refusals.rs"]
mod refusals;
#[path = "releases/rehearse.rs"]
mod rehearse;
#[path = "releases/setup.rs"]
mod setup;

use keys::{Home, Recipe, USUAL};
use registry::{Options, PASSWORD, tool};
use repo::{Repo, expect, verify};

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
