//! `release init`: what a fork gets before its first release.

use std::path::Path;
use std::process::Stdio;

use super::keys::{self, USUAL};
use super::registry::{PASSWORD, Registry};
use super::repo::{Repo, expect};
use super::{OPEN, cosign_keys, github};

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
