//! `release verify`: what was changed since it was published.

use std::path::Path;

use super::keys::{self, USUAL};
use super::repo::{Repo, expect};
use super::{INDEX, URL, files, published, verdicts};

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

fn sha256(file: &Path) -> String {
    let output = std::process::Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8_lossy(&output.stdout)
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}
