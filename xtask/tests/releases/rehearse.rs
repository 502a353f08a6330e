//! `release rehearse`, and what it leaves behind.

use std::process::{Command, Stdio};

use super::repo::{Repo, expect};

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
