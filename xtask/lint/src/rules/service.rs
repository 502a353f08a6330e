//! Rules about Services.

use charts::workload::Workload;

use super::{Check, Problem, Rule, Scene};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "service-selects-one",
        summary: "a Service selects the pods of exactly one workload, or of several by a label that they share for it",
        remedy: "print the selector labels of the component in the Service and on its pods",
        check: Check::Render(service_selects_one),
    },
    Rule {
        name: "service-ports-named",
        summary: "every port of a Service has a name of its own",
        remedy: "give each port a name; monitors and routes refer to it",
        check: Check::Render(service_ports_named),
    },
    Rule {
        name: "stateful-service",
        summary: "a StatefulSet's serviceName is a headless Service of the release",
        remedy: "create the Service with clusterIP: None and name it in spec.serviceName",
        check: Check::Render(stateful_service),
    },
];

/// The workloads whose pods a label selector of a Service picks.
pub(super) fn selected<'s, 'a>(
    scene: &'s Scene<'a>,
    selector: Option<&std::collections::BTreeMap<String, String>>,
) -> Vec<&'s Workload<'a>> {
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else {
        return Vec::new();
    };
    let picks = |workload: &&Workload| {
        let labels = workload.pod_labels();
        selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    scene.workloads.iter().filter(picks).collect()
}

/// What labels begin with by which a Service picks pods of several workloads: the parts of one program.
pub(super) const SHARED: &str = "tempo-stack/";

/// Whether a selector picks the pods of several workloads on purpose.
pub(super) fn picks_several(selector: Option<&std::collections::BTreeMap<String, String>>) -> bool {
    selector.is_some_and(|selector| selector.keys().any(|key| key.starts_with(SHARED)))
}

fn service_selects_one(scene: &Scene, problems: &mut Vec<Problem>) {
    for service in &scene.services {
        let spec = service.object.spec.clone().unwrap_or_default();
        if spec.type_.as_deref() == Some("ExternalName") {
            continue;
        }
        let ids: Vec<_> = selected(scene, spec.selector.as_ref())
            .iter()
            .map(|workload| workload.manifest.id())
            .collect();
        let several = picks_several(spec.selector.as_ref()) && ids.len() > 1;
        if ids.len() != 1 && !several {
            let message = format!("spec.selector picks the pods of {} workloads: {ids:?}", ids.len());
            problems.push(Problem::new(service.manifest, &["spec", "selector"], message));
        }
    }
}

fn service_ports_named(scene: &Scene, problems: &mut Vec<Problem>) {
    for service in &scene.services {
        let ports = service.ports();
        let mut names: Vec<_> = ports.iter().map(|port| port.name.clone().unwrap_or_default()).collect();
        if names.iter().any(String::is_empty) {
            problems.push(Problem::new(service.manifest, &["spec", "ports"], "a port has no name"));
        }
        names.sort();
        let total = names.len();
        names.dedup();
        if names.len() != total {
            problems.push(Problem::new(
                service.manifest,
                &["spec", "ports"],
                "two ports have the same name",
            ));
        }
    }
}

fn stateful_service(scene: &Scene, problems: &mut Vec<Problem>) {
    for workload in scene.workloads.iter().filter(|w| w.manifest.kind == "StatefulSet") {
        let wanted = workload.service_name.as_deref().unwrap_or_default();
        let headless = scene.services.iter().any(|service| {
            let ip = service.object.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
            service.manifest.name == wanted && ip == Some("None")
        });
        if !headless {
            let message = format!("spec.serviceName {wanted:?} is not a headless Service of this release");
            problems.push(Problem::new(workload.manifest, &["spec", "serviceName"], message));
        }
    }
}
