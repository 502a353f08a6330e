//! From rendered objects to pods that can run as processes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use charts::manifest::Manifest;
use charts::quantity;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Container, KeyToPath, PodTemplateSpec, Secret, Service, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::network::Protocol;
use crate::backend::Component;
use crate::policy::{End, Policies, Port};

/// The grace period of a pod that sets none (Kubernetes API, PodSpec).
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// All that the local backend reads of a render.
#[derive(Debug, Clone)]
pub struct Objects {
    /// The pods to run: every replica of every workload.
    pub pods: Vec<Pod>,
    /// The Services.
    pub services: Vec<PodService>,
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
    /// The NetworkPolicies.
    pub policies: Policies,
}

/// One pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// The pod's name: the workload's with the number of the replica.
    pub name: String,
    /// Kind and name of the workload that makes it.
    pub workload: String,
    /// Whether that stops all of its pods before it starts others (a Deployment's strategy `Recreate`).
    pub recreated: bool,
    /// The component label.
    pub component: Component,
    /// Its namespace, where the render writes it.
    pub namespace: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations: by a checksum among them a workload sees that a ConfigMap has changed.
    pub annotations: BTreeMap<String, String>,
    /// What runs before its containers, one after the other.
    pub init_containers: Vec<Container>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// The port at which its program reaches itself on 127.0.0.1, which all pods of this machine share.
    pub loopback_port: Option<u16>,
    /// Its volumes.
    pub volumes: Vec<PodVolume>,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
}

/// One volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodVolume {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub source: VolumeSource,
}

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// Goes with the pod.
    EmptyDir,
    /// Stays with the release.
    Claim(String),
    /// The keys of a ConfigMap as files.
    ConfigMap(Keys),
    /// The keys of a Secret as files.
    Secret(Keys),
}

/// The keys of an object that a volume holds as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The object's name.
    pub object: String,
    /// Key and file of each; every key under its own name if there are none.
    items: Vec<(String, String)>,
    /// Whether the object and its keys may be missing.
    pub optional: bool,
}

impl Keys {
    fn new(object: String, items: Option<Vec<KeyToPath>>, optional: Option<bool>) -> Keys {
        Keys {
            object,
            items: items.into_iter().flatten().map(|item| (item.key, item.path)).collect(),
            optional: optional.unwrap_or(false),
        }
    }

    /// The files of an object that holds this data: path, key and text.
    pub fn files<'a>(&'a self, data: &'a BTreeMap<String, String>) -> Result<Vec<(&'a str, &'a str, &'a str)>> {
        if self.items.is_empty() {
            return Ok(data
                .iter()
                .map(|(key, text)| (key.as_str(), key.as_str(), text.as_str()))
                .collect());
        }
        let mut files = Vec::new();
        for (key, path) in &self.items {
            match data.get(key) {
                Some(text) => files.push((path.as_str(), key.as_str(), text.as_str())),
                None if self.optional => {}
                None => bail!("{} has no key {key}", self.object),
            }
        }
        Ok(files)
    }
}

/// One Service.
#[derive(Debug, Clone)]
pub struct PodService {
    /// Its name.
    pub name: String,
    /// Its namespace, where the render writes it.
    pub namespace: Option<String>,
    /// The component that its own label names, if that is one of the stack's.
    pub component: Option<Component>,
    /// Which pods it leads to.
    pub selector: BTreeMap<String, String>,
    /// Whether its name resolves to the pods themselves.
    pub headless: bool,
    /// Its ports.
    pub ports: Vec<PodPort>,
}

impl PodService {
    /// Whether it leads to a pod; without a selector it leads to none.
    pub fn selects(&self, pod: &Pod) -> bool {
        !self.selector.is_empty() && self.selector.iter().all(|(k, v)| pod.labels.get(k) == Some(v))
    }
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPort {
    /// The port's name.
    pub name: String,
    /// The Service's port.
    pub port: u16,
    /// The container's port.
    pub target: u16,
    /// The port's transport.
    pub protocol: Protocol,
    /// The name by which the Service asks for the container's port, where it uses one.
    target_name: Option<String>,
}

impl Objects {
    /// Reads the render. Whatever would run in a cluster but can't here is an error, not left out.
    pub fn read(manifests: &[Manifest]) -> Result<Objects> {
        let mut objects = Objects {
            pods: vec![],
            services: vec![],
            config_maps: BTreeMap::new(),
            secrets: BTreeMap::new(),
            policies: Policies::of(manifests)?,
        };
        for manifest in manifests {
            let at = || format!("reading {}", manifest.id());
            match manifest.kind.as_str() {
                "Deployment" => {
                    let spec = manifest.parse::<Deployment>()?.spec;
                    objects
                        .add_pods(manifest, spec.replicas, spec.template, None)
                        .with_context(at)?;
                }
                "StatefulSet" => {
                    let spec = manifest.parse::<StatefulSet>()?.spec;
                    let claims = spec.volume_claim_templates.unwrap_or_default();
                    let claims = claims.into_iter().filter_map(|c| c.metadata.name).collect();
                    objects
                        .add_pods(manifest, spec.replicas, spec.template, Some(claims))
                        .with_context(at)?;
                }
                "Service" => objects.services.push(PodService::read(manifest).with_context(at)?),
                "ConfigMap" => {
                    let data = manifest.parse::<ConfigMap>()?.data.unwrap_or_default();
                    objects.config_maps.insert(manifest.name.clone(), data);
                }
                "Secret" => {
                    objects
                        .secrets
                        .insert(manifest.name.clone(), secret_data(&manifest.parse()?).with_context(at)?);
                }
                "DaemonSet" | "Job" | "CronJob" | "Pod" | "ReplicaSet" => {
                    let hook = manifest.get(&["metadata", "annotations", "helm.sh/hook"]).is_some();
                    if !hook {
                        bail!("the local backend can't run {}", manifest.id());
                    }
                }
                _ => {}
            }
        }
        objects.resolve_targets()?;
        Ok(objects)
    }

    /// Adds the replicas of a workload. `claims` are the names of a StatefulSet's claim templates.
    fn add_pods(
        &mut self,
        manifest: &Manifest,
        replicas: Option<i32>,
        template: PodTemplateSpec,
        claims: Option<Vec<String>>,
    ) -> Result<()> {
        let metadata = template.metadata.unwrap_or_default();
        let (labels, annotations) = (
            metadata.labels.unwrap_or_default(),
            metadata.annotations.unwrap_or_default(),
        );
        let strategy = manifest.get(&["spec", "strategy", "type"]);
        let recreated = strategy.and_then(serde_yaml::Value::as_str) == Some("Recreate");
        let component = labels
            .get("app.kubernetes.io/component")
            .and_then(|label| Component::from_label(label))
            .context("its pods have no known app.kubernetes.io/component label")?;
        let spec = template.spec.context("its pods have no spec")?;
        let volumes = spec
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(PodVolume::read)
            .collect::<Result<Vec<_>>>()?;
        let grace = spec.termination_grace_period_seconds.map_or(DEFAULT_GRACE, |seconds| {
            Duration::from_secs(seconds.max(0).unsigned_abs())
        });
        for ordinal in 0..replicas.unwrap_or(1) {
            let name = format!("{}-{ordinal}", manifest.name);
            let (mut labels, mut volumes) = (labels.clone(), volumes.clone());
            if let Some(claims) = &claims {
                labels.insert("statefulset.kubernetes.io/pod-name".into(), name.clone());
                labels.insert("apps.kubernetes.io/pod-index".into(), ordinal.to_string());
                // A claim template wins over a volume of its name (Kubernetes API, StatefulSetSpec).
                volumes.retain(|volume| !claims.contains(&volume.name));
                volumes.extend(claims.iter().map(|claim| PodVolume {
                    source: VolumeSource::Claim(format!("{claim}-{name}")),
                    name: claim.clone(),
                }));
            }
            self.pods.push(Pod {
                name,
                workload: manifest.id(),
                recreated,
                component,
                namespace: manifest
                    .get_str(&["metadata", "namespace"])
                    .unwrap_or_default()
                    .to_owned(),
                labels,
                annotations: annotations.clone(),
                init_containers: spec.init_containers.clone().unwrap_or_default(),
                containers: spec.containers.clone(),
                loopback_port: None,
                volumes,
                grace,
            });
        }
        Ok(())
    }

    /// Whether the NetworkPolicies let a pod reach a port of another. This machine stands for clients whom the
    /// values name, so it may reach all.
    pub fn may_reach(&self, from: Option<&str>, to: &Pod, port: &PodPort) -> bool {
        let Some(from) = from.and_then(|name| self.pods.iter().find(|pod| pod.name == name)) else {
            return true;
        };
        let port = Port {
            protocol: port.protocol.name().into(),
            number: port.target,
            name: port.target_name.clone(),
        };
        self.policies.allow(&from.end(), &to.end(), &port)
    }

    /// The Service of that name.
    pub fn service(&self, name: &str) -> Option<&PodService> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The pods behind a Service.
    pub fn pods_behind<'a, 's>(&'a self, service: &'s PodService) -> impl Iterator<Item = &'a Pod> + use<'a, 's> {
        self.pods.iter().filter(|pod| service.selects(pod))
    }

    /// The pods behind a Service that have the port which it asks for by name: all of them, if it asks by number.
    pub fn pods_serving<'a, 's>(
        &'a self,
        service: &'s PodService,
        port: &'s PodPort,
    ) -> impl Iterator<Item = &'a Pod> + use<'a, 's> {
        self.pods_behind(service)
            .filter(|pod| port.target_name.is_none() || pod.container_port(port).is_some())
    }

    /// The pods of a component.
    pub fn pods_of(&self, component: Component) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |pod| pod.component == component)
    }

    /// Follows each Service port to the container port that it leads to.
    fn resolve_targets(&mut self) -> Result<()> {
        let mut services = std::mem::take(&mut self.services);
        for service in &mut services {
            let pods: Vec<&Pod> = self.pods_behind(service).collect();
            anyhow::ensure!(
                !pods.is_empty(),
                "Service/{} selects no pod of this release",
                service.name
            );
            for port in &mut service.ports {
                // A name may be a port of some of the pods only.
                let target = pods.iter().find_map(|pod| pod.container_port(port));
                port.target = target.with_context(|| {
                    format!(
                        "Service/{} port {} leads to a port that no container declares",
                        service.name, port.name
                    )
                })?;
            }
        }
        self.services = services;
        Ok(())
    }
}

impl Pod {
    /// The pod as policies see it.
    fn end(&self) -> End {
        End::pod(&self.namespace, self.labels.clone())
    }

    /// The number of the container's port that a Service's port leads to; none if no container declares it.
    fn container_port(&self, port: &PodPort) -> Option<u16> {
        let all = self.containers.iter().chain(&self.init_containers);
        let found = all
            .flat_map(|container| container.ports.iter().flatten())
            .find(|declared| match &port.target_name {
                Some(name) => declared.name.as_ref() == Some(name),
                None => declared.container_port == i32::from(port.target),
            });
        found.and_then(|declared| u16::try_from(declared.container_port).ok())
    }
}

impl PodVolume {
    fn read(volume: Volume) -> Result<PodVolume> {
        let name = volume.name;
        let source = if volume.empty_dir.is_some() {
            VolumeSource::EmptyDir
        } else if let Some(claim) = volume.persistent_volume_claim {
            VolumeSource::Claim(claim.claim_name)
        } else if let Some(map) = volume.config_map {
            VolumeSource::ConfigMap(Keys::new(map.name, map.items, map.optional))
        } else if let Some(secret) = volume.secret {
            let name = secret.secret_name.context("a Secret volume without a Secret")?;
            VolumeSource::Secret(Keys::new(name, secret.items, secret.optional))
        } else {
            bail!("the local backend doesn't know the source of volume {name}");
        };
        Ok(PodVolume { name, source })
    }
}

impl PodService {
    fn read(manifest: &Manifest) -> Result<PodService> {
        let service: Service = manifest.parse()?;
        let spec = service.spec.unwrap_or_default();
        let ports = spec
            .ports
            .unwrap_or_default()
            .into_iter()
            .map(|port| {
                let (target, target_name) = match port.target_port {
                    Some(IntOrString::Int(number)) => (number, None),
                    Some(IntOrString::String(name)) => (port.port, Some(name)),
                    None => (port.port, None),
                };
                Ok(PodPort {
                    name: port.name.unwrap_or_default(),
                    port: u16::try_from(port.port).context("a port above 65535")?,
                    target: u16::try_from(target).context("a port above 65535")?,
                    protocol: match port.protocol.as_deref() {
                        None | Some("TCP") => Protocol::Tcp,
                        Some("UDP") => Protocol::Udp,
                        Some(other) => bail!("the local backend can't relay {other}"),
                    },
                    target_name,
                })
            })
            .collect::<Result<_>>()?;
        let labels = service.metadata.labels.unwrap_or_default();
        Ok(PodService {
            name: manifest.name.clone(),
            component: labels
                .get("app.kubernetes.io/component")
                .and_then(|label| Component::from_label(label)),
            namespace: service.metadata.namespace,
            headless: spec.cluster_ip.as_deref() == Some("None"),
            selector: spec.selector.unwrap_or_default(),
            ports,
        })
    }
}

fn secret_data(secret: &Secret) -> Result<BTreeMap<String, String>> {
    let mut data = secret.string_data.clone().unwrap_or_default();
    for (key, value) in secret.data.clone().unwrap_or_default() {
        let text = String::from_utf8(value.0).with_context(|| format!("key {key} is not text"))?;
        // `stringData` wins over `data` (Kubernetes API, Secret).
        data.entry(key).or_insert(text);
    }
    Ok(data)
}

/// A quantity in bytes.
pub fn bytes(quantity: &Quantity) -> Result<u64> {
    quantity::bytes(&quantity.0).with_context(|| format!("{:?} is not a quantity of bytes", quantity.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use charts::manifest::parse_all;

    const WORKLOADS: &str = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: gateway}
spec:
  replicas: 2
  serviceName: gateway
  selector: {matchLabels: {app.kubernetes.io/component: otel-collector}}
  volumeClaimTemplates: [{metadata: {name: queue}}]
  template:
    metadata: {labels: {app.kubernetes.io/component: otel-collector}}
    spec:
      initContainers: [{name: first, image: busybox}]
      containers: [{name: c, ports: [{name: http, containerPort: 1}]}]
      volumes: [{name: queue, emptyDir: {}}, {name: scratch, emptyDir: {}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: queue-gateway-0}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: store}
spec:
  replicas: 0
  selector: {matchLabels: {app.kubernetes.io/component: tempo}}
  template:
    metadata: {labels: {app.kubernetes.io/component: tempo}}
    spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec:
  selector: {statefulset.kubernetes.io/pod-name: gateway-1}
  ports: [{name: u, port: 5, targetPort: http, protocol: UDP}]
";

    #[test]
    fn every_replica_is_a_pod_with_its_own_claim_and_its_own_label() {
        let objects = Objects::read(&parse_all(WORKLOADS).unwrap()).unwrap();
        let names: Vec<&str> = objects.pods.iter().map(|pod| pod.name.as_str()).collect();
        assert_eq!(names, ["gateway-0", "gateway-1"]);
        for pod in &objects.pods {
            let queue = pod.volumes.iter().filter(|volume| volume.name == "queue");
            let claim = VolumeSource::Claim(format!("queue-{}", pod.name));
            assert!(queue.map(|volume| &volume.source).eq([&claim]));
            assert_eq!((pod.volumes.len(), pod.init_containers.len()), (2, 1));
        }
        let one = objects.service("one").unwrap();
        assert!(objects.pods_behind(one).map(|pod| &pod.name).eq(["gateway-1"]));
        assert_eq!((one.ports[0].target, one.ports[0].protocol), (1, Protocol::Udp));
    }
}
