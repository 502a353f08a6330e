//! `cluster` as people run it, on a machine whose Docker and kind are scripts.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod machine;

use std::path::Path;

use machine::{Machine, expect};

const UP: [&str; 8] = [
    "cluster",
    "up",
    "--name",
    "c",
    "--images",
    "pull",
    "--node-image",
    "node:1",
];

/// A machine on which the cluster `c` is up.
fn with_cluster() -> Machine {
    let machine = Machine::new();
    assert!(expect(&machine.xtask(&UP), 0).contains("cluster c created"));
    machine.calls();
    machine
}

/// The calls that removed something.
fn removals(machine: &Machine) -> Vec<String> {
    let calls = machine.calls().into_iter().map(|call| call.join(" "));
    calls.filter(|call| call.contains(" rm ")).collect()
}

#[test]
fn a_healthy_cluster_is_used_again_and_a_stopped_one_started() {
    let machine = with_cluster();
    assert!(expect(&machine.xtask(&UP), 0).contains("cluster c reused"));
    machine.write("node", "c exited kind-c\n");
    assert!(expect(&machine.xtask(&UP), 0).contains("cluster c started"));
    assert_eq!(removals(&machine), [""; 0]);
}

#[test]
fn an_error_on_the_way_to_a_healthy_cluster_is_told_and_the_cluster_stays() {
    for (file, text, code, told) in [
        ("no-kubeconfig", "", 4, "failed to write the kubeconfig"),
        // Not one that is accepted, so that the pinned one is built.
        ("kind-version", "0.1.0", 3, "the module proxy is not reachable"),
        ("nodes-and-pods", "no JSON", 1, "reading what kubectl printed"),
    ] {
        let machine = with_cluster();
        machine.write(file, text);
        machine.write("no-go", "");
        let said = expect(&machine.xtask(&UP), code);
        assert!(said.contains(told), "{said}");
        assert_eq!(removals(&machine), [""; 0], "{file}");
        assert!(machine.path("node").is_file());
    }
}

#[test]
fn a_cluster_made_of_something_else_stays_where_no_other_can_be_made() {
    let machine = with_cluster();
    machine.write("kind-version", "0.1.0");
    machine.write("no-go", "");
    let other = [&UP[..7], &["node:2"]].concat();
    expect(&machine.xtask(&other), 3);
    assert_eq!(removals(&machine), [""; 0]);
}

#[test]
fn a_docker_that_is_down_is_told_and_nothing_is_made() {
    let machine = with_cluster();
    let down = "failed to connect to the docker API at unix:///var/run/docker.sock: dial unix /var/run/docker.sock: \
                connect: no such file or directory";
    machine.write("down", down);
    for command in ["up", "down", "status"] {
        let said = expect(&machine.xtask(&["cluster", command, "--name", "c"]), 4);
        assert!(said.contains("Docker doesn't answer"), "{said}");
    }
    let calls = machine.calls();
    assert!(calls.iter().all(|call| call[..2] == ["docker", "info"]), "{calls:?}");
}

/// What is compared of a call: not where folders lie that a run makes for itself, nor the keys in labels,
/// which tell what images are made of that a plan doesn't make.
fn shape(call: &[String]) -> String {
    let word = |word: &String| {
        let word = word
            .split_inclusive(['=', ',', ':'])
            .map(|part| match part.rsplit_once('/') {
                Some((folder, name)) if folder.starts_with('/') => name.trim_start_matches("tempo-stack-"),
                _ => part,
            });
        let word: String = word.collect();
        match word.split_once('=') {
            Some((label, _)) if label.starts_with("LABEL ") || label == "tempo-stack.config" => label.to_owned(),
            Some(("type", mount)) if mount.ends_with("/out") => "the output".to_owned(),
            _ => word,
        }
    };
    let words: Vec<String> = call.iter().map(word).collect();
    words.join(" ")
}

/// Whether a call changes nothing, so that a plan doesn't name it.
fn reads(call: &[String]) -> bool {
    let words: Vec<&str> = call.iter().map(String::as_str).collect();
    match words[..] {
        ["docker", "info" | "ps" | "inspect", ..] | ["kind", "version"] | ["go", "env" | "list", ..] => true,
        ["docker", "image" | "network" | "manifest", verb, ..] => ["inspect", "ls"].contains(&verb),
        ["docker", "exec", .., "json"] | ["docker", "exec", .., "images", "ls"] => true,
        _ => false,
    }
}

/// Holds the plan of a command against what the command then runs.
fn compare(machine: &Machine, args: &[&str]) -> Vec<String> {
    let args = [&["cluster", "--name", "c"], args].concat();
    let before = machine.files();
    let plan = machine.xtask(&[&["--dry-run", "--format", "json"], &args[..]].concat());
    assert!(
        machine.calls().iter().all(|call| reads(call)),
        "the plan of {args:?} changed something"
    );
    assert_eq!(machine.files(), before, "the plan of {args:?} left something");
    expect(&plan, 0);
    let text = expect(&machine.xtask(&args), 0);
    let run = machine.calls().into_iter().filter(|call| !reads(call));
    let run: Vec<String> = run.map(|call| shape(&call)).collect();
    let plan: Vec<serde_json::Value> = serde_json::from_slice(&plan.stdout).unwrap();
    let planned = plan.iter().map(|step| {
        let program = Path::new(step["program"].as_str().unwrap()).file_name().unwrap();
        let args = step["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|arg| arg.as_str().unwrap().to_owned());
        let call: Vec<String> = [program.to_str().unwrap().to_owned()].into_iter().chain(args).collect();
        shape(&call)
    });
    assert_eq!(planned.collect::<Vec<_>>(), run, "{args:?}:\n{text}");
    run
}

#[test]
fn a_plan_names_exactly_the_programs_that_the_run_starts() {
    let machine = Machine::new();
    let named = |run: &[String], words: &str| run.iter().any(|line| line.starts_with(words));
    let up = ["up", "--images", "testbed"];
    if !nix::unistd::geteuid().is_root() {
        for plan in [&["--dry-run"][..], &[]] {
            let said = expect(&machine.xtask(&[plan, &["cluster"], &up].concat()), 4);
            assert!(
                said.contains("building the Debian root needs root privileges"),
                "{said}"
            );
        }
        return;
    }
    let run = compare(&machine, &up);
    for words in [
        "go build",
        "unshare",
        "docker import",
        "docker commit",
        "kind create",
        "kind load",
    ] {
        assert!(named(&run, words), "no {words} in {run:#?}");
    }
    assert_eq!(compare(&machine, &up).len(), 1, "only the kubeconfig is written anew");
    machine.write("node", "c exited kind-c\n");
    assert!(named(&compare(&machine, &up), "docker start"));
    let run = compare(&machine, &["up", "--images", "pull", "--node-image", "node:1"]);
    assert!(named(&run, "docker pull") && named(&run, "docker rm") && named(&run, "kind create"));
    assert_eq!(compare(&machine, &["load", "node:1"]).len(), 1);
    assert!(named(
        &compare(&machine, &["logs"]),
        "docker exec c-control-plane kubectl"
    ));
    assert_eq!(compare(&machine, &["kubeconfig", "--merge"]).len(), 1);
    assert_eq!(
        compare(&machine, &["down"]).len(),
        3,
        "node, network, the user's kubeconfig"
    );
    assert!(compare(&machine, &["down"]).is_empty());
    assert!(named(&compare(&machine, &["images", "--refresh"]), "unshare"));
    assert!(named(&compare(&machine, &["images", "--remove"]), "docker image rm"));
}
