//! Rules about probes.

use charts::program::{ProgramKind, listener_port};
use charts::workload::Role;
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Check, Problem, Rule, Scene};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "probes-set",
        summary: "every container that stays has a startup, a readiness and a liveness probe",
        remedy: "add the probe",
        check: Check::Render(probes_set),
    },
    Rule {
        name: "liveness-not-readiness",
        summary: "a container that is not ready yet is not restarted for it",
        remedy: "ask something else for liveness: /status/version of Tempo, a TCP connection to the Collector",
        check: Check::Render(liveness_not_readiness),
    },
    Rule {
        name: "probe-port",
        summary: "a probe asks a port that its container declares",
        remedy: "name a port of the same container in the probe",
        check: Check::Render(probe_port),
    },
    Rule {
        name: "health-check-bound",
        summary: "the Collector's health check listens where the kubelet asks, not on localhost",
        remedy: "set extensions.health_check.endpoint to the listen address and the port that the probes name, and \
                 list the extension in service.extensions",
        check: Check::Render(health_check_bound),
    },
];

/// A container's probes by key.
fn probes(container: &Container) -> [(&'static str, Option<&Probe>); 3] {
    [
        ("startupProbe", container.startup_probe.as_ref()),
        ("readinessProbe", container.readiness_probe.as_ref()),
        ("livenessProbe", container.liveness_probe.as_ref()),
    ]
}

fn port_of(probe: &Probe) -> Option<IntOrString> {
    let http = probe.http_get.as_ref().map(|http| http.port.clone());
    let tcp = || probe.tcp_socket.as_ref().map(|tcp| tcp.port.clone());
    let grpc = || probe.grpc.as_ref().map(|grpc| IntOrString::Int(grpc.port));
    http.or_else(tcp).or_else(grpc)
}

/// The number behind a port that may be a name of the container's ports.
pub(super) fn resolve(container: &Container, port: &IntOrString) -> Option<i32> {
    let declared = container.ports.iter().flatten();
    declared
        .map(|p| (p.name.as_deref(), p.container_port))
        .find(|(name, number)| match port {
            IntOrString::Int(wanted) => wanted == number,
            IntOrString::String(wanted) => *name == Some(wanted.as_str()),
        })
        .map(|(_, number)| number)
}

pub(super) fn shown(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

fn probes_set(scene: &Scene, problems: &mut Vec<Problem>) {
    for workload in &scene.workloads {
        if matches!(workload.manifest.kind.as_str(), "Job" | "CronJob" | "Pod") {
            continue;
        }
        for container in workload.containers.iter().filter(|c| c.role == Role::Main) {
            let missing: Vec<_> = probes(&container.spec)
                .into_iter()
                .filter_map(|(key, probe)| probe.is_none().then_some(key))
                .collect();
            if !missing.is_empty() {
                let message = format!("{}: no {}", container.id(), missing.join(", no "));
                problems.push(Problem::in_container(workload.manifest, &["name"], message));
            }
        }
    }
}

fn liveness_not_readiness(scene: &Scene, problems: &mut Vec<Problem>) {
    for workload in &scene.workloads {
        for container in &workload.containers {
            let Some(liveness) = &container.spec.liveness_probe else {
                continue;
            };
            let path = |probe: &Probe| {
                probe
                    .http_get
                    .as_ref()
                    .map(|http| http.path.clone().unwrap_or_default())
            };
            let asked = path(liveness);
            let readiness = container.spec.readiness_probe.as_ref();
            let same = readiness.is_some_and(|probe| {
                asked == path(probe)
                    && liveness.tcp_socket == probe.tcp_socket
                    && liveness.grpc == probe.grpc
                    && liveness.exec == probe.exec
            });
            let shown = asked.as_deref().unwrap_or("the same question as readiness");
            if same || asked.as_deref() == Some("/ready") {
                let message = format!(
                    "{}: livenessProbe asks {shown}, which fails while the program starts or drains",
                    container.id()
                );
                problems.push(Problem::in_container(
                    workload.manifest,
                    &["livenessProbe", "httpGet", "path"],
                    message,
                ));
            }
        }
    }
}

fn probe_port(scene: &Scene, problems: &mut Vec<Problem>) {
    for workload in &scene.workloads {
        for container in &workload.containers {
            for (key, probe) in probes(&container.spec) {
                let Some(port) = probe.and_then(port_of) else { continue };
                if resolve(&container.spec, &port).is_none() {
                    let message = format!("{}: {key} asks port {}, not declared", container.id(), shown(&port));
                    problems.push(Problem::in_container(
                        workload.manifest,
                        &[key, "httpGet", "port"],
                        message,
                    ));
                }
            }
        }
    }
}

fn health_check_bound(scene: &Scene, problems: &mut Vec<Problem>) {
    for program in scene.programs().iter().filter(|p| p.kind == ProgramKind::Collector) {
        let endpoint = program.get_str("extensions.health_check.endpoint").unwrap_or_default();
        let mut say = |message: String| {
            problems.push(Problem::new(program.config_map, &["data"], message));
        };
        if !program.list("service.extensions").contains(&"health_check") {
            say("service.extensions does not start health_check, which the probes ask".into());
        }
        let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
        if matches!(host, "" | "localhost" | "127.0.0.1" | "[::1]") {
            say(format!(
                "extensions.health_check.endpoint {endpoint:?} can't be reached from outside the pod"
            ));
            continue;
        }
        let bound = listener_port(endpoint).map(i32::from);
        for (key, probe) in probes(&program.container.spec) {
            let asked = probe
                .and_then(port_of)
                .and_then(|port| resolve(&program.container.spec, &port));
            if asked.is_some() && asked != bound {
                say(format!(
                    "{key} asks port {asked:?}, extensions.health_check.endpoint is {endpoint}"
                ));
            }
        }
    }
}
