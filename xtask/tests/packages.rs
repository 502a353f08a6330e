//! What `package` writes beside the archives, and what the real helm says to its signatures.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(dead_code, reason = "shared by the tests of releases")]
mod keys;
#[allow(dead_code, reason = "shared by the tests of releases")]
mod repo;
#[path = "../charts/tests/sample/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the library")]
mod sample;

use std::path::Path;
use std::process::Output;

use keys::{Home, Recipe, USUAL};
use repo::{Repo, clone, expect, text, verify};

const WORD: &str = "correct horse";

#[test]
fn all_that_is_not_a_signature_is_equal_in_another_clone_umask_time_zone_and_second() {
    let here = Repo::released();
    let temp = tempfile::tempdir().unwrap();
    let there = clone(&here, &temp.path().join("other/place"), &[]);
    expect(&here.xtask(&["package"]), 0);
    // File times have whole seconds in archives: the second run is in another one.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let private = "find charts -type f -exec chmod 600 {} + && umask 077 && exec \"$0\" package";
    let output = there
        .command("sh")
        .args(["-c", private, env!("CARGO_BIN_EXE_xtask")])
        .env("TZ", "Asia/Tokyo")
        .output()
        .unwrap();
    expect(&output, 0);
    let mut files: Vec<_> = std::fs::read_dir(here.dir.join("dist")).unwrap().collect();
    assert_eq!(files.len(), 7);
    for file in files.drain(..).map(|file| file.unwrap().file_name()) {
        let read = |repo: &Repo| std::fs::read(repo.dir.join("dist").join(&file)).unwrap();
        assert!(read(&here) == read(&there), "{}", file.display());
    }
}

#[test]
fn the_sums_cover_every_file_and_the_statement_names_commit_helm_and_digest() {
    let repo = Repo::released();
    let report = repo.json(&["package"]);
    let output = repo
        .command("sha256sum")
        .args(["--check", "SHA256SUMS"])
        .current_dir(repo.dir.join("dist"))
        .output();
    assert_eq!(expect(&output.unwrap(), 0).matches(": OK").count(), 6);
    let read = |file: &str| serde_json::from_str::<serde_json::Value>(&repo.read(&format!("dist/{file}"))).unwrap();
    let statement = read("tree-0.1.0.tgz.intoto.json");
    let archive = &report["archives"][1];
    assert_eq!(statement["subject"][0]["digest"]["sha256"], archive["sha256"]);
    let built = &statement["predicate"]["buildDefinition"];
    assert_eq!(built["internalParameters"]["uncommittedChanges"], false);
    assert_eq!(
        built["resolvedDependencies"][1]["digest"]["gitCommit"],
        repo.git(&["rev-parse", "HEAD"]).as_str()
    );
    let helm = format!("pkg:golang/helm.sh/helm/v4@v{}", report["helm"].as_str().unwrap());
    assert_eq!(built["resolvedDependencies"][0]["uri"], helm.as_str());
    let bill = read("tree-0.1.0.tgz.cdx.json");
    assert_eq!(bill["components"][0]["purl"], "pkg:helm/leaf@0.1.0");
    // What is not in a commit can't be rebuilt from one: the statement says so.
    repo.sample.edit("charts/leaf/values.yaml", "hello", "bye");
    let report = repo.json(&["package", "--uncommitted"]);
    assert_eq!(report["uncommitted"], true);
    assert!(repo.archived("leaf", "values.yaml").contains("bye"));
    let dirty = read("leaf-0.1.0.tgz.intoto.json");
    let parameters = &dirty["predicate"]["buildDefinition"]["internalParameters"];
    assert_eq!(parameters["uncommittedChanges"], true);
}

#[test]
fn images_of_the_default_render_are_listed_with_their_digests() {
    let repo = Repo::unreleased();
    let digest = "a".repeat(64);
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n    - name: c\n      \
         image: r.example/team/app:1.2@sha256:{digest}\n"
    );
    repo.sample.write("charts/leaf/templates/pod.yaml", &pod);
    repo.commit("feat: pod");
    repo.json(&["package"]);
    for chart in ["leaf", "tree"] {
        let bill: serde_json::Value =
            serde_json::from_str(&repo.read(&format!("dist/{chart}-0.1.0.tgz.cdx.json"))).unwrap();
        let components = bill["components"].as_array().unwrap();
        let image = components.iter().find(|c| c["type"] == "container").unwrap();
        assert_eq!(image["name"], "r.example/team/app");
        assert_eq!(image["hashes"][0]["content"], digest.as_str());
    }
    let shown = repo.archived("leaf", "Chart.yaml");
    assert!(shown.contains("artifacthub.io/images: |") && shown.contains("artifacthub.io/prerelease: \"false\""));
}

#[test]
fn helm_4_accepts_what_was_signed_and_refuses_what_was_changed_since() {
    verify::accepts_and_refuses(&sample::helm().program);
}

#[test]
fn a_subkey_signs_where_the_primary_key_may_not() {
    let repo = Repo::unreleased();
    let recipe = Recipe {
        signs: false,
        signing_subkey: true,
        passphrase: WORD,
        ..USUAL
    };
    let key = keys::make(&repo.dir, "key", &recipe);
    std::fs::write(repo.dir.join("word"), format!("{WORD}\nsecond line\n")).unwrap();
    let sign = [
        "-v",
        "package",
        "--sign",
        "--key-file",
        "key.asc",
        "--passphrase-file",
        "word",
    ];
    let output = repo.xtask(&sign);
    assert!(!expect(&output, 0).contains(WORD));
    let helm = sample::helm().program;
    expect(&verify::run(&helm, &repo.dir.join("dist/tree-0.1.0.tgz"), &key.ring), 0);
    // A key in the environment signs nothing by itself.
    let mut unsigned = repo.command(env!("CARGO_BIN_EXE_xtask"));
    unsigned.arg("package").env("XTASK_KEY_FILE", "key.asc");
    expect(&unsigned.output().unwrap(), 0);
    // Without --sign the archive is new, and an old signature would only mislead.
    expect(&repo.xtask(&["package"]), 0);
    assert!(!repo.dir.join("dist/tree-0.1.0.tgz.prov").exists());
}

/// A name, how the key is made, the passphrase that is given, and what the error says.
type BadKey = (&'static str, Recipe, Option<&'static str>, &'static str);

#[test]
fn each_unusable_key_has_its_own_message_and_leaves_no_file() {
    let locked = || Recipe {
        passphrase: WORD,
        ..USUAL
    };
    let cases: [BadKey; 3] = [
        (
            "wrong passphrase",
            locked(),
            Some("hurra"),
            "the passphrase of the key key.asc is wrong",
        ),
        ("no passphrase", locked(), None, "is locked by a passphrase"),
        (
            "no signing key",
            Recipe { signs: false, ..USUAL },
            None,
            "no part of the key key.asc is meant for signing",
        ),
    ];
    let repo = Repo::unreleased();
    for (name, recipe, given, wanted) in cases {
        keys::make(&repo.dir, "key", &recipe);
        let mut command = repo.command(env!("CARGO_BIN_EXE_xtask"));
        command.args(["package", "--sign", "--key-file", "key.asc"]);
        if let Some(given) = given {
            command.env("XTASK_PASSPHRASE", given);
        }
        let shown = expect(&command.output().unwrap(), 2);
        assert!(shown.contains(wanted), "{name}: {shown}");
        assert!(!shown.contains("hurra") && !shown.contains(WORD), "{name}: {shown}");
        assert!(!repo.dir.join("dist").exists(), "{name}");
    }
    std::fs::write(repo.dir.join("public.asc"), "no key at all").unwrap();
    let newer = format!("{}/tests/keys/version-6.asc", env!("CARGO_MANIFEST_DIR"));
    for (args, wanted) in [
        (&["--key-file", "missing.asc"][..], "the key missing.asc can't be read"),
        (&["--key-file", "public.asc"], "public.asc holds no usable secret key"),
        (&["--key-file", "key.gpg"], "only public keys"),
        // A throw-away key of version 6, which helm can't verify and this gpg doesn't know.
        (&["--key-file", &newer], "version-6.asc holds no usable secret key"),
        (&[], "--sign needs a key"),
        (
            &["--key-file", "key.asc", "--passphrase-file", "missing"],
            "the passphrase file missing can't be read",
        ),
    ] {
        let shown = expect(&repo.xtask(&[&["package", "--sign"], args].concat()), 2);
        assert!(shown.contains(wanted), "{args:?}: {shown}");
        assert!(!repo.dir.join("dist").exists());
    }
}

#[test]
fn local_dependencies_get_the_published_address_in_the_archive_only() {
    let repo = Repo::unreleased();
    let before = repo.read("charts/tree/Chart.yaml");
    let shown = expect(&repo.xtask(&["package"]), 0);
    assert!(
        shown.contains("warning: file:// dependencies stay as they are"),
        "{shown}"
    );
    assert!(
        repo.archived("tree", "Chart.yaml")
            .contains("repository: file://../leaf")
    );
    let mut command = repo.command(env!("CARGO_BIN_EXE_xtask"));
    // A port where nobody listens.
    let output = command
        .arg("package")
        .env("XTASK_PUBLISHED_CHARTS", "oci://127.0.0.1:9/charts/")
        .output()
        .unwrap();
    assert!(!expect(&output, 0).contains("warning"));
    assert!(
        repo.archived("tree", "Chart.yaml")
            .contains("repository: oci://127.0.0.1:9/charts\n")
    );
    assert!(repo.archived("tree", "charts/leaf/Chart.yaml").contains("name: leaf"));
    assert_eq!(repo.read("charts/tree/Chart.yaml"), before);
    // helm compares Chart.lock with Chart.yaml before it asks the registry.
    let out = tempfile::tempdir().unwrap();
    let archive = repo.dir.join("dist/tree-0.1.0.tgz");
    expect(
        &repo
            .command("tar")
            .arg("xf")
            .arg(archive)
            .current_dir(out.path())
            .output()
            .unwrap(),
        0,
    );
    let helm = sample::helm().program;
    let mut build = repo.command(&helm.to_string_lossy());
    build
        .args(["dependency", "build", "--skip-refresh", "--plain-http"])
        .arg(out.path().join("tree"));
    let shown = text(&build.output().unwrap());
    assert!(
        shown.contains("127.0.0.1:9") && !shown.contains("out of sync"),
        "{shown}"
    );
}

#[test]
fn a_readme_and_the_notes_say_where_the_chart_is_published_in_the_archive_only() {
    let repo = Repo::unreleased();
    let readme = "helm repo add x https://HOST/PATH\nhelm install x oci://HOST/PATH/leaf\n";
    repo.sample.write("charts/leaf/README.md", readme);
    let notes = "{{ index .Chart.Annotations \"published/repository\" }} {{ index .Chart.Annotations \"published/registry\" }}\n";
    repo.sample.write("charts/leaf/templates/NOTES.txt", notes);
    repo.commit("docs: where to get it");
    expect(&repo.xtask(&["package"]), 0);
    assert_eq!(repo.archived("leaf", "README.md"), readme);
    let mut command = repo.command(env!("CARGO_BIN_EXE_xtask"));
    command
        .arg("package")
        .env("XTASK_PUBLISHED_CHARTS", "oci://127.0.0.1:9/charts/")
        .env("XTASK_PUBLISHED_SITE", "https://charts.example.com/");
    expect(&command.output().unwrap(), 0);
    let published = "helm repo add x https://charts.example.com\nhelm install x oci://127.0.0.1:9/charts/leaf\n";
    assert_eq!(repo.archived("leaf", "README.md"), published);
    assert_eq!(repo.archived("tree", "charts/leaf/README.md"), published);
    assert_eq!(repo.read("charts/leaf/README.md"), readme);
    let mut helm = repo.command(&sample::helm().program.to_string_lossy());
    helm.args(["install", "x", "dist/leaf-0.1.0.tgz", "--dry-run=client"]);
    let shown = expect(&helm.output().unwrap(), 0);
    assert!(
        shown.contains("https://charts.example.com oci://127.0.0.1:9/charts\n"),
        "{shown}"
    );
}

#[test]
fn maintainers_and_the_signing_key_come_from_the_settings_and_another_key_is_refused() {
    let repo = Repo::unreleased();
    let key = keys::make(&repo.dir, "key", &USUAL);
    keys::make(&repo.dir, "other", &USUAL);
    let settings = format!(
        "kube-version = \"1.34.4\"\nmaintainers = [{{ name = \"A team\", email = \"team@example.com\" }}]\n\
         sign-key = {{ fingerprint = \"{}\", url = \"https://example.com/key.asc\" }}\n",
        key.fingerprint
    );
    repo.sample.edit("Cargo.toml", "kube-version = \"1.34.4\"\n", &settings);
    repo.commit("chore: settings");
    let shown = expect(&repo.xtask(&["package", "--sign", "--key-file", "other.asc"]), 2);
    assert!(shown.contains("which sign-key in Cargo.toml names"), "{shown}");
    repo.json(&["package", "--sign", "--key-file", "key.asc"]);
    let chart: serde_yaml::Value = serde_yaml::from_str(&repo.archived("leaf", "Chart.yaml")).unwrap();
    let annotation = |name: &str| -> serde_yaml::Value {
        let text = chart["annotations"][format!("artifacthub.io/{name}").as_str()]
            .as_str()
            .unwrap();
        serde_yaml::from_str(text).unwrap()
    };
    assert_eq!(annotation("maintainers")[0]["email"], "team@example.com");
    assert_eq!(annotation("signKey")["fingerprint"], key.fingerprint.as_str());
    // What the chart says itself stays.
    repo.sample.write(
        "charts/leaf/Chart.yaml",
        "apiVersion: v2\nname: leaf\nversion: 0.1.0\nannotations: {artifacthub.io/prerelease: \"true\"}\n",
    );
    repo.commit("fix: prerelease");
    repo.json(&["package"]);
    assert!(
        repo.archived("leaf", "Chart.yaml")
            .contains("artifacthub.io/prerelease: \"true\"")
    );
}

#[test]
fn what_a_plan_shows_is_what_runs() {
    let repo = Repo::unreleased();
    let key = keys::make(&repo.dir, "key", &USUAL);
    let settings = format!(
        "kube-version = \"1.34.4\"\nsign-key = {{ fingerprint = \"{}\", url = \"https://example.com/key.asc\" }}\n",
        key.fingerprint
    );
    repo.sample.edit("Cargo.toml", "kube-version = \"1.34.4\"\n", &settings);
    repo.commit("chore: settings");
    let plan = repo.planned_is_run(&["package", "--sign", "--key-file", "key.asc"], &[]);
    for part in [
        "helm package",
        "dependency build",
        "--clear-sign",
        "lint --strict",
        "off-values.yaml",
    ] {
        assert!(plan.contains(part), "{part} is not in {plan}");
    }
}

#[test]
fn a_major_version_needs_its_entry_in_upgrading_md() {
    let repo = Repo::unreleased();
    repo.sample
        .edit("charts/tree/Chart.yaml", "version: 0.1.0\ndep", "version: 1.2.0\ndep");
    repo.commit("feat!: one");
    let shown = expect(&repo.xtask(&["package"]), 1);
    assert!(shown.contains("UPGRADING.md has no entry `## 1.0.0`") && shown.contains("charts/tree/UPGRADING.md"));
    assert!(!repo.dir.join("dist").exists());
    repo.sample.write(
        "charts/tree/UPGRADING.md",
        "# Upgrading\n\n## 1.0.0\n\nNothing to do.\n",
    );
    repo.commit("docs: upgrading");
    expect(&repo.xtask(&["package"]), 0);
}

#[test]
fn odd_chart_files_are_packaged_or_refused_but_never_changed() {
    for (chart, wanted) in [
        ("apiVersion: v2\r\nname: leaf # odd\r\nversion: 0.1.0\r\n", None),
        (
            "apiVersion: v2\nname: &n leaf\ndescription: *n\nversion: 0.1.0\nannotations: {a: b}\n",
            None,
        ),
        (
            "apiVersion: v2\nname: leaf\nversion: 0.1.0\nversion: 0.1.0\n",
            Some("duplicate"),
        ),
    ] {
        let repo = Repo::unreleased();
        repo.sample.write("charts/leaf/Chart.yaml", chart);
        repo.commit("fix: odd");
        let shown = expect(&repo.xtask(&["package"]), i32::from(wanted.is_some()));
        assert!(shown.contains(wanted.unwrap_or_default()), "{shown}");
        assert_eq!(repo.dir.join("dist").exists(), wanted.is_none());
        assert_eq!(repo.read("charts/leaf/Chart.yaml"), chart);
    }
}

#[test]
fn a_dependency_that_cannot_be_resolved_is_named() {
    let repo = Repo::unreleased();
    repo.sample
        .edit("charts/tree/Chart.yaml", "file://../leaf", "file://../gone");
    repo.commit("fix: gone");
    let shown = expect(&repo.xtask(&["package"]), 1);
    assert!(shown.contains("gone"), "{shown}");
    assert!(!Path::new(&repo.dir.join("dist")).exists());
}

#[test]
fn an_umbrella_takes_charts_at_any_depth_along_and_those_that_stand_in_it() {
    let repo = Repo::unreleased();
    let twig = "apiVersion: v2\nname: twig\nversion: 0.1.0\n";
    let values = "# -- A.\na: 1\n";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n";
    // Beside charts/, and one that is committed inside of the leaf.
    repo.sample.write("shared/twig/Chart.yaml", twig);
    repo.sample.write("shared/twig/values.yaml", values);
    repo.sample
        .write("shared/twig/templates/map.yaml", &map.replace("NAME", "twig"));
    let bud = "charts/leaf/charts/bud";
    repo.sample
        .write(&format!("{bud}/Chart.yaml"), &twig.replace("twig", "bud"));
    repo.sample
        .write(&format!("{bud}/templates/map.yaml"), &map.replace("NAME", "bud"));
    let dependency = "dependencies:\n  - {name: twig, version: 0.1.0, repository: 'file://../../shared/twig'}\n  \
                      - {name: bud, version: 0.1.0}\n";
    let chart = repo.read("charts/leaf/Chart.yaml") + dependency;
    repo.sample.write("charts/leaf/Chart.yaml", &chart);
    repo.commit("feat: twig");
    let report = |repo: &Repo| {
        let mut command = repo.command(env!("CARGO_BIN_EXE_xtask"));
        command.env("XTASK_PUBLISHED_CHARTS", "oci://127.0.0.1:9/charts");
        expect(&command.args(["--format", "json", "package"]).output().unwrap(), 0)
    };
    let temporary = || {
        std::fs::read_dir(std::env::temp_dir())
            .unwrap()
            .flatten()
            .any(|f| f.file_name() == "shared")
    };
    let before = temporary();
    report(&repo);
    assert_eq!(temporary(), before);
    for (chart, inside) in [("leaf", ""), ("tree", "charts/leaf/")] {
        for part in ["twig", "bud"] {
            let text = repo.archived(chart, &format!("{inside}charts/{part}/Chart.yaml"));
            assert!(text.contains(&format!("name: {part}\n")), "{chart}: {text}");
        }
        let text = repo.archived(chart, &format!("{inside}Chart.yaml"));
        assert!(
            text.contains("oci://127.0.0.1:9/charts") && !text.contains("file://"),
            "{chart}: {text}"
        );
    }
    let bill: serde_json::Value = serde_json::from_str(&repo.read("dist/tree-0.1.0.tgz.cdx.json")).unwrap();
    let names: Vec<_> = bill["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["bud", "leaf", "twig"]);
    // Renders, schemas and checks see them too.
    let rendered = expect(&repo.xtask(&["template", "--chart", "tree"]), 0);
    assert!(!rendered.is_empty());
    for part in ["twig", "bud"] {
        let golden = repo.read(&format!("tests/golden/tree/default/configmap-{part}.yaml"));
        assert!(golden.contains(&format!("name: {part}")), "{golden}");
    }
    // A change of one of them is a change of both charts.
    for tag in ["leaf-0.1.0", "tree-0.1.0"] {
        repo.git(&["tag", tag]);
    }
    repo.change("shared/twig/values.yaml", "feat: more of the twig");
    let changed = repo.json(&["changed"]);
    let changed: Vec<_> = changed["charts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["next_version"].clone())
        .collect();
    assert_eq!(changed, ["0.2.0", "0.2.0"]);
}

#[test]
fn only_what_is_committed_is_packaged() {
    let repo = Repo::unreleased();
    let archived = |chart: &str| {
        let archive = format!("dist/{chart}-0.1.0.tgz");
        expect(&repo.command("tar").args(["tf", &archive]).output().unwrap(), 0)
    };
    expect(&repo.xtask(&["package"]), 0);
    let before = archived("tree");
    let digest = repo.json(&["package"])["archives"].clone();
    // Ignored in three ways, unknown, changed, removed, and what helm and an editor leave.
    std::fs::write(repo.dir.join(".git/info/exclude"), "local.env\n").unwrap();
    repo.sample.write(".git/info/attributes", "values.yaml export-ignore\n");
    repo.sample.write("charts/tree/local.env", "PASSWORD=x\n");
    repo.sample.write("charts/tree/unknown.txt", "x\n");
    repo.sample
        .write("charts/tree/templates/broken.yaml", "{{ fail \"x\" }}\n");
    repo.sample.write("charts/tree/charts/leaf-9.0.0.tgz", "x\n");
    repo.sample.edit("charts/leaf/values.yaml", "hello", "bye");
    std::fs::remove_file(repo.dir.join("charts/leaf/templates/NOTES.txt")).unwrap();
    for (key, value) in [
        ("core.autocrlf", "true"),
        ("core.sparseCheckout", "true"),
        ("core.symlinks", "false"),
    ] {
        repo.git(&["config", key, value]);
    }
    let shown = expect(&repo.xtask(&["package"]), 0);
    assert!(shown.contains("they are not in the archives"), "{shown}");
    assert_eq!(archived("tree"), before);
    let report = repo.json(&["package"]);
    assert_eq!((&report["archives"], &report["uncommitted"]), (&digest, &false.into()));
    let statement = repo.read("dist/leaf-0.1.0.tgz.intoto.json");
    assert!(statement.contains("\"uncommittedChanges\": false"), "{statement}");
}

#[test]
fn a_dependency_outside_of_the_repository_is_refused_by_every_command() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(
        outside.path().join("Chart.yaml"),
        "apiVersion: v2\nname: leaf\nversion: 0.1.0\n",
    )
    .unwrap();
    let repo = Repo::unreleased();
    let name = outside.path().file_name().unwrap().to_string_lossy().into_owned();
    for (address, reason) in [
        (format!("file://../../../{name}"), "which is outside of this repository"),
        (
            format!("file://{}", outside.path().display()),
            "which is on this machine only",
        ),
    ] {
        let before = repo.read("charts/tree/Chart.yaml");
        repo.sample.edit("charts/tree/Chart.yaml", "file://../leaf", &address);
        repo.commit("feat: elsewhere");
        for args in [
            &["package"][..],
            &["changed"],
            &["bump"],
            &["release", "notes"],
            &["package", "--uncommitted"],
        ] {
            let shown = expect(&repo.xtask(args), 1);
            // In the copy of a commit the way leads to no chart at all.
            let there = shown.contains(reason) || args == ["package"] && shown.contains("and there is no chart");
            assert!(there, "{args:?}: {shown}");
        }
        assert!(!repo.dir.join("dist").exists());
        repo.sample.write("charts/tree/Chart.yaml", &before);
    }
}

#[test]
fn files_that_helmignore_leaves_out_are_not_missed_and_links_are_named() {
    let repo = Repo::unreleased();
    repo.sample.write("charts/leaf/.helmignore", "ci/\n*~\n*.bak\n[#]*\n");
    for file in [
        "templates/.gitkeep",
        "templates/config.yaml~",
        "templates/deep/a.bak",
        "templates/#config.yaml#",
    ] {
        repo.sample
            .write(&format!("charts/leaf/{file}"), "{{ fail \"left over\" }}\n");
    }
    repo.commit("chore: leave files");
    expect(&repo.xtask(&["package"]), 0);
    let archived = expect(
        &repo
            .command("tar")
            .args(["tf", "dist/leaf-0.1.0.tgz"])
            .output()
            .unwrap(),
        0,
    );
    assert!(!archived.contains("gitkeep") && !archived.contains('~') && archived.contains("leaf/templates/extra.yaml"));

    for (target, link) in [
        ("../leaf/values.yaml", "charts/tree/shared.yaml"),
        ("/etc", "charts/leaf/files"),
    ] {
        std::os::unix::fs::symlink(target, repo.dir.join(link)).unwrap();
        repo.commit("feat: link");
        let shown = expect(&repo.xtask(&["package"]), 1);
        let name = link.rsplit('/').next().unwrap();
        assert!(shown.contains("is a symbolic link") && shown.contains(name), "{shown}");
        std::fs::remove_file(repo.dir.join(link)).unwrap();
        repo.commit("fix: no link");
    }
}

#[test]
fn a_chart_that_is_too_large_to_be_installed_is_warned_of() {
    let repo = Repo::unreleased();
    assert!(!expect(&repo.xtask(&["package"]), 0).contains("Secret"));
    let mut head = repo.command("head");
    let noise = head.args(["-c", "900000", "/dev/urandom"]).output().unwrap().stdout;
    std::fs::write(repo.dir.join("charts/leaf/noise.bin"), noise).unwrap();
    repo.commit("feat: large");
    let shown = expect(&repo.xtask(&["package"]), 0);
    assert!(
        shown.contains("warning: leaf-0.1.0.tgz has") && shown.contains(".helmignore"),
        "{shown}"
    );
    assert!(shown.contains("warning: tree-0.1.0.tgz has"), "{shown}");
}

#[test]
fn the_key_that_is_named_signs_and_without_a_name_the_only_usable_one() {
    let repo = Repo::unreleased();
    let temp = tempfile::tempdir().unwrap();
    let home = Home::new(temp.path().join("g"));
    let dir = temp.path().join("g").display().to_string();
    // First one that has expired, as the README's rotation leaves it.
    let past = ["--faked-system-time", "1600000000!"];
    let make = |name: &str, life: &str, past: &[&str]| {
        home.gpg(
            "",
            &[past, &["--quick-generate-key", name, "ed25519", "sign", life]].concat(),
        );
        let list = home.gpg("", &["--with-colons", "--list-secret-keys", name]);
        let line = list.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    };
    let expired = make("Old Key <old@example.com>", "1d", &past);
    let sign = |more: &[&str]| repo.xtask(&[&["--format", "json", "package", "--sign"], more].concat());
    let with_home = ["--gnupg-home", dir.as_str()];
    assert!(expect(&sign(&with_home), 2).contains("expired at 2020-09-14"));
    let first = make("First Key <first@example.com>", "never", &[]);
    let signed_by = |output: &Output| {
        expect(output, 0);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["signed_by"].as_str().unwrap().to_owned()
    };
    assert_eq!(signed_by(&sign(&with_home)), first);
    let second = make("Second Key <second@example.com>", "never", &[]);
    let export = repo.dir.join("all.asc").display().to_string();
    home.gpg("", &["--armor", "--output", &export, "--export-secret-keys"]);
    let with_file = ["--key-file", "all.asc"];
    for with in [with_home, with_file] {
        let shown = expect(&sign(&with), 2);
        assert!(
            shown.contains("several keys") && shown.contains(&first) && shown.contains(&second),
            "{shown}"
        );
    }
    for (named, result) in [
        (&second, Ok(&second)),
        (&first, Ok(&first)),
        (&expired, Err("expired at 2020-09-14")),
    ] {
        // As people copy it.
        let spaced = format!("0x{} {}", named[..20].to_lowercase(), &named[20..]);
        let settings = format!(
            "[workspace]\nmembers = []\nresolver = \"3\"\n\n[workspace.metadata.xtask]\nkube-version = \"1.34.4\"\n\
             sign-key = {{ fingerprint = \"{spaced}\", url = \"https://example.com/key.asc\" }}\n"
        );
        repo.sample.write("Cargo.toml", &settings);
        repo.git(&["commit", "-qam", "chore: key"]);
        for with in [with_home, with_file] {
            let output = sign(&with);
            match result {
                Ok(key) => assert_eq!(signed_by(&output), *key),
                Err(why) => assert!(expect(&output, 2).contains(why)),
            }
        }
    }
}
