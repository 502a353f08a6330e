//! `cluster` as people run it, on a machine whose Docker and kind are scripts.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod machine;

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
    let machine = Machine::with(&["docker", "kind", "go"]);
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
