//! The pods of a render: whatever kind of workload makes them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, PersistentVolumeClaim, Pod, PodSpec, PodTemplateSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::manifest::Manifest;

/// Which list of a pod a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `containers`.
    Main,
    /// `initContainers`.
    Init,
    /// `ephemeralContainers`.
    Ephemeral,
}

impl Role {
    /// The key of the list in a pod spec.
    pub fn key(self) -> &'static str {
        match self {
            Role::Main => "containers",
            Role::Init => "initContainers",
            Role::Ephemeral => "ephemeralContainers",
        }
    }
}

/// A container of a pod, whatever list it stands in.
#[derive(Debug, Clone)]
pub struct PodContainer {
    /// Its list.
    pub role: Role,
    /// The container. An ephemeral container has the same fields and one more.
    pub spec: Container,
}

impl PodContainer {
    /// `containers[tempo]`, for messages.
    pub fn id(&self) -> String {
        format!("{}[{}]", self.role.key(), self.spec.name)
    }

    /// A variable that is set to a literal.
    pub fn env(&self, name: &str) -> Option<&str> {
        let vars = self.spec.env.as_ref()?;
        vars.iter().find(|var| var.name == name)?.value.as_deref()
    }
}

/// A rendered object that makes pods.
#[derive(Debug, Clone)]
pub struct Workload<'a> {
    /// The object.
    pub manifest: &'a Manifest,
    /// The pod that it makes.
    pub pod: PodTemplateSpec,
    /// All containers of that pod.
    pub containers: Vec<PodContainer>,
    /// By which labels it finds its pods; none for a Pod or a Job.
    pub selector: Option<LabelSelector>,
    /// How many pods it asks for, where it asks.
    pub replicas: Option<i32>,
    /// `spec.strategy.type` of a Deployment; the API's default where nothing is written.
    pub strategy: Option<String>,
    /// The claims that a StatefulSet makes for each pod.
    pub claim_templates: Vec<PersistentVolumeClaim>,
    /// `spec.serviceName` of a StatefulSet.
    pub service_name: Option<String>,
}

impl Workload<'_> {
    /// The pod's spec.
    pub fn spec(&self) -> PodSpec {
        self.pod.spec.clone().unwrap_or_default()
    }

    /// The labels of its pods.
    pub fn pod_labels(&self) -> BTreeMap<String, String> {
        self.pod
            .metadata
            .as_ref()
            .and_then(|m| m.labels.clone())
            .unwrap_or_default()
    }

    /// The annotations of its pods.
    pub fn pod_annotations(&self) -> BTreeMap<String, String> {
        self.pod
            .metadata
            .as_ref()
            .and_then(|m| m.annotations.clone())
            .unwrap_or_default()
    }

    /// The volume that a path inside a container lies on, with its mount: the deepest mount wins.
    pub fn volume_at(&self, container: &Container, path: &str) -> Option<(VolumeMount, MountSource)> {
        let mount = container
            .volume_mounts
            .iter()
            .flatten()
            .filter(|mount| is_below(path, &mount.mount_path))
            .max_by_key(|mount| mount.mount_path.trim_end_matches('/').len())?;
        let volumes = self.spec().volumes.unwrap_or_default();
        let source = match volumes.into_iter().find(|volume| volume.name == mount.name) {
            Some(volume) => MountSource::Volume(Box::new(volume)),
            None => {
                let claim = self
                    .claim_templates
                    .iter()
                    .find(|claim| claim.metadata.name.as_deref() == Some(&mount.name))?;
                MountSource::ClaimTemplate(Box::new(claim.clone()))
            }
        };
        Some((mount.clone(), source))
    }
}

/// Where a mount comes from.
#[derive(Debug, Clone)]
pub enum MountSource {
    /// A volume of the pod.
    Volume(Box<Volume>),
    /// A claim that the StatefulSet makes.
    ClaimTemplate(Box<PersistentVolumeClaim>),
}

impl MountSource {
    /// Whether a process may write there if the mount lets it.
    pub fn writable(&self) -> bool {
        match self {
            MountSource::ClaimTemplate(_) => true,
            MountSource::Volume(volume) => {
                let read_only = volume.config_map.is_some()
                    || volume.secret.is_some()
                    || volume.projected.is_some()
                    || volume.downward_api.is_some();
                let claim = volume.persistent_volume_claim.as_ref();
                !read_only && claim.is_none_or(|claim| claim.read_only != Some(true))
            }
        }
    }

    /// The name of the ConfigMap, if it is one.
    pub fn config_map(&self) -> Option<&str> {
        match self {
            MountSource::Volume(volume) => volume.config_map.as_ref().map(|map| map.name.as_str()),
            MountSource::ClaimTemplate(_) => None,
        }
    }
}

/// Whether `path` is `folder` or below it.
pub(crate) fn is_below(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The object as a workload; none if it makes no pods.
pub fn workload(manifest: &Manifest) -> Result<Option<Workload<'_>>> {
    let mut found = Workload {
        manifest,
        pod: PodTemplateSpec::default(),
        containers: Vec::new(),
        selector: None,
        replicas: None,
        strategy: None,
        claim_templates: Vec::new(),
        service_name: None,
    };
    match manifest.kind.as_str() {
        "Deployment" => {
            let spec = manifest.parse::<Deployment>()?.spec;
            let strategy = spec.strategy.and_then(|s| s.type_);
            found.strategy = Some(strategy.unwrap_or_else(|| "RollingUpdate".into()));
            found.replicas = spec.replicas;
            found.selector = Some(spec.selector);
            found.pod = spec.template;
        }
        "StatefulSet" => {
            let spec = manifest.parse::<StatefulSet>()?.spec;
            found.replicas = spec.replicas;
            found.selector = Some(spec.selector);
            found.claim_templates = spec.volume_claim_templates.unwrap_or_default();
            found.service_name = spec.service_name;
            found.pod = spec.template;
        }
        "DaemonSet" => {
            let spec = manifest.parse::<DaemonSet>()?.spec;
            found.selector = Some(spec.selector);
            found.pod = spec.template;
        }
        "ReplicaSet" => {
            let spec = manifest.parse::<ReplicaSet>()?.spec;
            found.replicas = spec.replicas;
            found.selector = Some(spec.selector);
            found.pod = spec.template.unwrap_or_default();
        }
        "Job" => found.pod = manifest.parse::<Job>()?.spec.context("a Job has a spec")?.template,
        "CronJob" => {
            let spec = manifest.parse::<CronJob>()?.spec;
            found.pod = spec.job_template.spec.context("a CronJob has a job")?.template;
        }
        "Pod" => {
            let pod = manifest.parse::<Pod>()?;
            found.pod = PodTemplateSpec {
                metadata: Some(pod.metadata),
                spec: pod.spec,
            };
        }
        _ => return Ok(None),
    }
    found.containers = containers(found.pod.spec.as_ref())?;
    Ok(Some(found))
}

fn containers(spec: Option<&PodSpec>) -> Result<Vec<PodContainer>> {
    let Some(spec) = spec else { return Ok(Vec::new()) };
    let mut all: Vec<PodContainer> = Vec::new();
    let mut add = |role, spec: Container| all.push(PodContainer { role, spec });
    for container in spec.init_containers.iter().flatten() {
        add(Role::Init, container.clone());
    }
    for container in &spec.containers {
        add(Role::Main, container.clone());
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        let value = serde_json::to_value(container).context("an ephemeral container as JSON")?;
        add(
            Role::Ephemeral,
            serde_json::from_value(value).context("an ephemeral container as a container")?,
        );
    }
    Ok(all)
}

/// The data of a rendered ConfigMap.
pub fn config_map_data(manifest: &Manifest) -> Result<BTreeMap<String, String>> {
    Ok(manifest.parse::<ConfigMap>()?.data.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::parse_all;

    #[test]
    fn every_kind_that_makes_pods_is_a_workload() {
        let template = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c}]}}";
        let selector = "{matchLabels: {a: b}}";
        let text = format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec: {{selector: {selector}, template: {template}}}\n\
             ---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: s}}\nspec: {{selector: {selector}, template: {template}}}\n\
             ---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: e}}\nspec: {{selector: {selector}, template: {template}}}\n\
             ---\napiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {{name: r}}\nspec: {{selector: {selector}, template: {template}}}\n\
             ---\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: j}}\nspec: {{template: {template}}}\n\
             ---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: k}}\nspec: {{schedule: '* * * * *', jobTemplate: {{spec: {{template: {template}}}}}}}\n\
             ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c}}]}}\n\
             ---\napiVersion: v1\nkind: Service\nmetadata: {{name: v}}\n"
        );
        let manifests = parse_all(&text).unwrap();
        let workloads: Vec<_> = manifests.iter().filter_map(|m| workload(m).unwrap()).collect();
        assert_eq!(workloads.len(), 7);
        assert!(workloads.iter().all(|w| w.containers.len() == 1));
    }

    #[test]
    fn init_and_ephemeral_containers_are_containers_too() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: a}]\n  initContainers: [{name: b}]\n  ephemeralContainers: [{name: c, targetContainerName: a}]\n";
        let manifests = parse_all(text).unwrap();
        let ids: Vec<_> = workload(&manifests[0])
            .unwrap()
            .unwrap()
            .containers
            .iter()
            .map(PodContainer::id)
            .collect();
        assert_eq!(ids, ["initContainers[b]", "containers[a]", "ephemeralContainers[c]"]);
    }

    #[test]
    fn the_deepest_mount_decides_where_a_path_lies() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: a\n    volumeMounts: [{name: x, mountPath: /var}, {name: y, mountPath: /var/tempo/}]\n  volumes: [{name: x, emptyDir: {}}, {name: y, configMap: {name: m}}]\n";
        let manifests = parse_all(text).unwrap();
        let pod = workload(&manifests[0]).unwrap().unwrap();
        let at = |path: &str| {
            pod.volume_at(&pod.containers[0].spec, path)
                .map(|(_, source)| source.writable())
        };
        assert_eq!(at("/var/tempo/wal"), Some(false));
        assert_eq!(at("/var/tempos"), Some(true));
        assert_eq!(at("/etc"), None);
    }
}
