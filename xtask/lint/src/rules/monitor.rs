//! Rules about ServiceMonitors (monitoring.coreos.com/v1).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use serde::Deserialize;

use super::scene::Typed;
use super::{Check, Problem, Rule, Scene};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "monitor-selects-one",
        summary: "a ServiceMonitor picks exactly one Service",
        remedy: "select by name, instance and component, and give a headless Service another component label",
        check: Check::Render(monitor_selects_one),
    },
    Rule {
        name: "monitor-port",
        summary: "a ServiceMonitor's port is a named port of the Service that it picks",
        remedy: "name a port of that Service in spec.endpoints",
        check: Check::Render(monitor_port),
    },
    Rule {
        name: "monitor-stable",
        summary: "a ServiceMonitor selects by labels that don't change with a version",
        remedy: "select by name, instance and component only",
        check: Check::Render(monitor_stable),
    },
];

/// What the rules read of a ServiceMonitor (prometheus-operator, API reference, ServiceMonitorSpec).
#[derive(Debug, Clone, Deserialize)]
pub struct ServiceMonitor {
    pub spec: ServiceMonitorSpec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMonitorSpec {
    pub selector: Selector,
    pub endpoints: Vec<Endpoint>,
    /// In which namespaces; its own where nothing is written.
    #[serde(default)]
    pub namespace_selector: NamespaceSelector,
}

/// Labels that a Service must have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    #[serde(default)]
    pub any: bool,
    #[serde(default)]
    pub match_names: Vec<String>,
}

/// One thing to scrape.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoint {
    /// Name of a port of the Service.
    #[serde(default)]
    pub port: Option<String>,
    /// The path, `/metrics` where nothing is written.
    #[serde(default)]
    pub path: Option<String>,
}

fn picked<'s, 'a>(scene: &'s Scene<'a>, spec: &ServiceMonitorSpec) -> Vec<&'s Typed<'a, Service>> {
    let here = spec.namespace_selector.any
        || spec.namespace_selector.match_names.is_empty()
        || spec
            .namespace_selector
            .match_names
            .iter()
            .any(|name| name == scene.subject.namespace);
    let picks = |service: &&Typed<Service>| {
        let labels = service.object.metadata.labels.clone().unwrap_or_default();
        here && spec
            .selector
            .match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    };
    scene.services.iter().filter(picks).collect()
}

fn monitor_selects_one(scene: &Scene, problems: &mut Vec<Problem>) {
    for monitor in &scene.monitors {
        let names: Vec<_> = picked(scene, &monitor.object.spec)
            .iter()
            .map(|service| service.manifest.name.as_str())
            .collect();
        if names.len() != 1 {
            let message = format!("picks {} Services: {names:?}", names.len());
            problems.push(Problem::new(monitor.manifest, &["spec", "selector"], message));
        }
    }
}

fn monitor_port(scene: &Scene, problems: &mut Vec<Problem>) {
    for monitor in &scene.monitors {
        for service in picked(scene, &monitor.object.spec) {
            let ports = service.ports();
            for endpoint in &monitor.object.spec.endpoints {
                if endpoint.port.is_none() || ports.iter().all(|port| port.name != endpoint.port) {
                    let port = endpoint.port.as_deref().unwrap_or_default();
                    let message = format!("port {port:?} is not a port of Service/{}", service.manifest.name);
                    problems.push(Problem::new(monitor.manifest, &["spec", "endpoints", "port"], message));
                }
            }
        }
    }
}

fn monitor_stable(scene: &Scene, problems: &mut Vec<Problem>) {
    for monitor in &scene.monitors {
        for key in monitor.object.spec.selector.match_labels.keys() {
            if !super::upgrade::STABLE_LABELS.contains(&key.as_str()) {
                let message = format!("selects by label {key}");
                problems.push(Problem::new(monitor.manifest, &["spec", "selector"], message));
            }
        }
    }
}
