//! Rules about ports: listener in the configuration ⇔ container port ⇔ Service port.

use charts::program::{Program, ProgramKind, listener_port};
use charts::workload::Workload;
use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_yaml::Value;

use super::pod::tempo_target;
use super::probes::{resolve, shown};
use super::service::{picks_several, selected};
use super::{Check, Problem, Rule, Scene};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "port-listened",
        summary: "something listens on every port that a container declares",
        remedy: "declare ports of enabled receivers only, with the number that the configuration says",
        check: Check::Render(port_listened),
    },
    Rule {
        name: "listener-declared",
        summary: "every way into a program is a port of its container and of a Service",
        remedy: "add the port to the container and to the Service, or switch the receiver off",
        check: Check::Render(listener_declared),
    },
    Rule {
        name: "service-port-exists",
        summary: "every Service port leads to a port that a container declares",
        remedy: "name a container port in targetPort",
        check: Check::Render(service_port_exists),
    },
    Rule {
        name: "receiver-endpoint-written",
        summary: "every receiver says where it listens: the default is localhost in newer versions",
        remedy: "write the endpoint with address and port",
        check: Check::Render(receiver_endpoint_written),
    },
];

/// A port that a program listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listener {
    key: String,
    port: u16,
    /// `TCP` or `UDP`.
    protocol: &'static str,
    /// Whether clients outside the pod use it.
    public: bool,
}

/// Every listener that a configuration opens.
fn listeners(program: &Program) -> Vec<Listener> {
    let mut found = Vec::new();
    match program.kind {
        ProgramKind::Tempo => {
            // A part of Tempo reads the whole file and opens the receivers only where it is the one that takes spans.
            if matches!(tempo_target(program), None | Some("all" | "distributor")) {
                endpoints(
                    program.get("distributor.receivers"),
                    "distributor.receivers",
                    &mut found,
                );
            }
            for (key, public) in [
                ("server.http_listen_port", true),
                ("server.grpc_listen_port", false),
                ("memberlist.bind_port", false),
            ] {
                let port = program.get(key).and_then(Value::as_u64);
                found.extend(port.and_then(|port| listener(key, u16::try_from(port).ok(), public)));
            }
        }
        ProgramKind::Collector => {
            endpoints(program.get("receivers"), "receivers", &mut found);
            for (id, extension) in program.entries("extensions") {
                let endpoint = extension.get("endpoint").and_then(Value::as_str);
                let key = format!("extensions.{id}.endpoint");
                found.extend(endpoint.and_then(|endpoint| listener(&key, listener_port(endpoint), false)));
            }
            found.extend(own_metrics(program));
        }
    }
    found
}

fn listener(key: &str, port: Option<u16>, public: bool) -> Option<Listener> {
    Some(Listener {
        key: key.to_owned(),
        port: port?,
        protocol: "TCP",
        public,
    })
}

/// The `endpoint` keys below a value: receivers nest them differently.
fn endpoints(value: Option<&Value>, path: &str, found: &mut Vec<Listener>) {
    for (key, inner) in value.and_then(Value::as_mapping).into_iter().flatten() {
        let key = key.as_str().unwrap_or_default();
        let path = format!("{path}.{key}");
        match inner.as_str() {
            Some(endpoint) if key == "endpoint" => {
                // Jaeger's compact and binary thrift are the two UDP protocols (jaegerreceiver/README).
                let udp = path.contains("thrift_compact") || path.contains("thrift_binary");
                found.extend(listener(&path, listener_port(endpoint), true).map(|listener| Listener {
                    protocol: if udp { "UDP" } else { "TCP" },
                    ..listener
                }));
            }
            _ => endpoints(Some(inner), &path, found),
        }
    }
}

/// Where the Collector serves its own metrics: `address` up to 0.122, `readers` since.
fn own_metrics(program: &Program) -> Vec<Listener> {
    let key = "service.telemetry.metrics";
    let address = program.get_str(&format!("{key}.address"));
    let mut found: Vec<_> = address
        .and_then(|address| listener(&format!("{key}.address"), listener_port(address), true))
        .into_iter()
        .collect();
    let readers = program.get(&format!("{key}.readers")).and_then(Value::as_sequence);
    for reader in readers.into_iter().flatten() {
        let port = charts::manifest::lookup(reader, &["pull", "exporter", "prometheus", "port"]);
        let port = port.and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        found.extend(listener(&format!("{key}.readers"), port, true));
    }
    found
}

fn port_listened(scene: &Scene, problems: &mut Vec<Problem>) {
    for program in scene.programs() {
        let listeners = listeners(&program);
        for port in program.container.spec.ports.iter().flatten() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let heard = |l: &Listener| i32::from(l.port) == port.container_port && l.protocol == protocol;
            if !listeners.iter().any(heard) {
                let message = format!(
                    "{}: port {} ({} {protocol}) has no listener in the configuration",
                    program.container.id(),
                    port.name.as_deref().unwrap_or_default(),
                    port.container_port
                );
                problems.push(Problem::in_container(program.workload.manifest, &["ports"], message));
            }
        }
    }
}

/// Whether a Service leads to a port of the workload's container.
fn is_served(scene: &Scene, program: &Program, wanted: &Listener) -> bool {
    scene.services.iter().any(|service| {
        let spec = service.object.spec.clone().unwrap_or_default();
        let workload = selected(scene, spec.selector.as_ref())
            .into_iter()
            .any(|workload| workload.manifest.id() == program.workload.manifest.id());
        workload
            && spec.ports.iter().flatten().any(|port| {
                let target = port.target_port.as_ref();
                let number = target.map_or(Some(port.port), |target| resolve(&program.container.spec, target));
                let protocol = port.protocol.as_deref().unwrap_or("TCP");
                number == Some(i32::from(wanted.port)) && protocol == wanted.protocol
            })
    })
}

fn listener_declared(scene: &Scene, problems: &mut Vec<Problem>) {
    for program in scene.programs() {
        for wanted in listeners(&program).into_iter().filter(|listener| listener.public) {
            let declared = program.container.spec.ports.iter().flatten().any(|port| {
                let protocol = port.protocol.as_deref().unwrap_or("TCP");
                port.container_port == i32::from(wanted.port) && protocol == wanted.protocol
            });
            let missing = if !declared {
                "a port of the container"
            } else if !is_served(scene, &program, &wanted) {
                "a port of a Service"
            } else {
                continue;
            };
            let message = format!(
                "{} listens on {} {}, not {missing}",
                wanted.key, wanted.port, wanted.protocol
            );
            problems.push(Problem::in_container(program.workload.manifest, &["ports"], message));
        }
    }
}

fn service_port_exists(scene: &Scene, problems: &mut Vec<Problem>) {
    for service in &scene.services {
        let spec = service.object.spec.clone().unwrap_or_default();
        let workloads = selected(scene, spec.selector.as_ref());
        for port in spec.ports.iter().flatten() {
            let (found, missing): (Vec<&Workload>, Vec<&Workload>) =
                workloads.iter().partition(|workload| declares(workload, port));
            // Of several parts of one program those have the port that it is meant for.
            if picks_several(spec.selector.as_ref()) && !found.is_empty() {
                continue;
            }
            for workload in missing {
                let message = format!(
                    "port {} leads to {} {}, which {} does not declare",
                    port.port,
                    shown(&target_port(port)),
                    port.protocol.as_deref().unwrap_or("TCP"),
                    workload.manifest.id()
                );
                problems.push(Problem::new(service.manifest, &["spec", "ports"], message));
            }
        }
    }
}

/// The container port that a Service asks for.
fn target_port(port: &ServicePort) -> IntOrString {
    port.target_port.clone().unwrap_or(IntOrString::Int(port.port))
}

/// Whether a container of the workload declares the port that a Service's port leads to.
fn declares(workload: &Workload, port: &ServicePort) -> bool {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    workload.containers.iter().any(|container| {
        let number = resolve(&container.spec, &target_port(port));
        container
            .spec
            .ports
            .iter()
            .flatten()
            .any(|p| Some(p.container_port) == number && p.protocol.as_deref().unwrap_or("TCP") == protocol)
    })
}

fn receiver_endpoint_written(scene: &Scene, problems: &mut Vec<Problem>) {
    for program in scene.programs() {
        let root = match program.kind {
            ProgramKind::Tempo => "distributor.receivers",
            ProgramKind::Collector => "receivers",
        };
        for (id, receiver) in program.entries(root) {
            let protocols = receiver.get("protocols").and_then(Value::as_mapping);
            for (protocol, settings) in protocols.into_iter().flatten() {
                if settings.get("endpoint").and_then(Value::as_str).is_none() {
                    let protocol = protocol.as_str().unwrap_or_default();
                    let message = format!("{root}.{id}.protocols.{protocol} has no endpoint");
                    problems.push(Problem::new(program.config_map, &["data"], message));
                }
            }
        }
    }
}
