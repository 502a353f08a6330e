//! A rendered case with its objects as types, read once for all rules.

use anyhow::Result;
use charts::manifest::Manifest;
use charts::program::{Program, programs};
use charts::workload::{Workload, workload};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service, ServicePort};
use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::monitor::ServiceMonitor;
use super::{Check, Problem, Rule, Subject};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "object-readable",
        summary: "every object is one that Kubernetes can read",
        remedy: "give the field the type that the API reference names",
        check: Check::Render(|scene, problems| problems.extend(scene.unreadable.clone())),
    },
    Rule {
        name: "config-readable",
        summary: "every configuration that a container is told to read is mounted there and is YAML",
        remedy: "mount the ConfigMap at the path of the argument, under the key of the file name",
        check: Check::Render(config_readable),
    },
];

/// The name of the chart that holds Tempo and the Collector.
const STACK: &str = "tempo-stack";

/// A manifest with its object as a type.
pub struct Typed<'a, T> {
    pub manifest: &'a Manifest,
    pub object: T,
}

impl Typed<'_, Service> {
    /// The Service's ports; none if it has none.
    pub fn ports(&self) -> &[ServicePort] {
        let spec = self.object.spec.as_ref();
        spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
    }
}

/// A rendered case, its objects parsed.
pub struct Scene<'a> {
    pub subject: &'a Subject<'a>,
    /// Everything that makes pods.
    pub workloads: Vec<Workload<'a>>,
    pub services: Vec<Typed<'a, Service>>,
    /// The claims, without those of a StatefulSet.
    pub claims: Vec<Typed<'a, PersistentVolumeClaim>>,
    pub monitors: Vec<Typed<'a, ServiceMonitor>>,
    unreadable: Vec<Problem>,
}

impl<'a> Scene<'a> {
    /// Reads all objects; what can't be read becomes a finding of rule `object-readable`.
    pub fn read(subject: &'a Subject<'a>) -> Scene<'a> {
        let mut scene = Scene {
            subject,
            workloads: Vec::new(),
            services: Vec::new(),
            claims: Vec::new(),
            monitors: Vec::new(),
            unreadable: Vec::new(),
        };
        for manifest in subject.manifests {
            if let Err(error) = scene.add(manifest) {
                let cause = error.root_cause().to_string();
                scene
                    .unreadable
                    .push(Problem::new(manifest, &[], format!("can't be read: {cause}")));
            }
        }
        scene
    }

    fn add(&mut self, manifest: &'a Manifest) -> Result<()> {
        match manifest.kind.as_str() {
            "Service" => self.services.push(typed(manifest)?),
            "PersistentVolumeClaim" => self.claims.push(typed(manifest)?),
            "ServiceMonitor" => self.monitors.push(typed(manifest)?),
            _ => self.workloads.extend(workload(manifest)?),
        }
        Ok(())
    }

    /// The configurations inside; empty where one of them can't be read, which is a finding of its own.
    pub fn programs(&self) -> Vec<Program<'_>> {
        programs(&self.workloads, self.subject.manifests).unwrap_or_default()
    }

    pub fn of_kind<'s>(&'s self, kind: &'s str) -> impl Iterator<Item = &'a Manifest> + 's {
        self.subject.manifests.iter().filter(move |m| m.kind == kind)
    }

    /// Values of tempo-stack as this chart takes them: an umbrella has them below the subchart's name.
    pub fn stack_values(&self, values: Value) -> Value {
        if self.subject.chart.name() == STACK {
            return values;
        }
        Value::Mapping([(Value::from(STACK), values)].into_iter().collect())
    }
}

fn typed<T: DeserializeOwned>(manifest: &Manifest) -> Result<Typed<'_, T>> {
    Ok(Typed {
        manifest,
        object: manifest.parse()?,
    })
}

fn config_readable(scene: &Scene, problems: &mut Vec<Problem>) {
    if let Err(error) = programs(&scene.workloads, scene.subject.manifests) {
        let message = format!("{error:#}");
        let workload = scene.workloads.iter().find(|w| message.contains(&w.manifest.id()));
        problems.extend(workload.map(|w| Problem::in_container(w.manifest, &["args"], &message)));
    }
}
