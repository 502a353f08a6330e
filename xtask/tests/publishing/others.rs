//! Charts of another project, with folders and tags of its own.

use super::repo::{self, Repo, expect};
use super::{INDEX, URL, entries};

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
