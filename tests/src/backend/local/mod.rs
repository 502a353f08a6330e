//! The stack as processes of this machine: no root, no containers.
//!
//! The real helm renders the umbrella, the rendered containers run as supervised processes, and
//! readiness alone says whether a start worked: Tempo may exit with 0 when a module failed. Each stack is a
//! small network: a loopback address for every pod, and relays for its Services.

mod beside;
mod companion;
mod kafka;
mod materialise;
mod network;
mod objects;
mod pod;
mod process;
mod program;
mod prometheus;
mod publish;
mod stack;
mod store;
mod upgrade;
mod volume;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use charts::manifest::parse_all;
use charts::render::{Helm, Prepared, Render, RenderOptions, merge, set};
use charts::tools::{Installed, Toolbox};
use k8s_openapi::api::core::v1::Container;
use kit::run_dir::RunDir;
use kit::step::Cancel;
use serde_yaml::Value;
use tokio::sync::Mutex;

pub use self::beside::{Beside, Prepare};
pub use self::kafka::{Broker, Credentials};
use self::materialise::{Changed, Folders, Kind, Materialiser};
use self::network::Network;
use self::objects::{Objects, Pod};
use self::pod::RunningPod;
pub(crate) use self::program::NGINX;
use self::program::{SHELL, is_own_script, nginx_version, tool_of};
use self::prometheus::PrometheusServer;
use self::publish::publish;
pub use self::store::Memcached;
use self::store::StoreServer;
use self::volume::{disk, limit, unlimited};
use super::prometheus::Prometheus;
use super::{
    Backend, Bucket, Component, DATA, Endpoints, ObjectStore, QUEUE, Stack, StackSpec, Store, find_all, stop_soon,
};
use crate::ports::Ports;

/// The key of the stack in the umbrella's values.
const SUBCHART: &str = "tempo-stack";

/// What the local backend can't prove, and why.
const UNPROVEN: [(&str, &str); 6] = [
    (
        "security contexts",
        "processes run as this user: uid, capabilities, seccomp and the read-only root are not applied",
    ),
    (
        "volume binding",
        "claims are folders: no provisioner, size or access mode is exercised",
    ),
    (
        "cluster DNS",
        "names of Services are replaced by loopback addresses before the programs start",
    ),
    (
        "kube-proxy",
        "Services are relays of this program: TCP by connection, UDP by source; what goes past them to a pod is not held to network policies",
    ),
    (
        "resource limits",
        "memory is compared with the rendered limit, not held to it by the kernel",
    ),
    (
        "lifecycle hooks",
        "a program is told to stop at once: the wait of the Collector before it is switched off",
    ),
];

/// Runs stacks as processes.
#[derive(Debug, Clone)]
pub struct LocalBackend {
    helm: Helm,
    umbrella: Prepared,
    toolbox: Toolbox,
    programs: BTreeMap<&'static str, Installed>,
    helm_version: String,
    runs: PathBuf,
    purpose: &'static str,
    ports: Ports,
    cancel: Cancel,
}

impl LocalBackend {
    /// A backend that keeps its run folders below `runs`. Builds the programs that are missing.
    pub fn new(
        toolbox: &Toolbox,
        helm: Helm,
        umbrella: Prepared,
        runs: PathBuf,
        purpose: &'static str,
    ) -> Result<LocalBackend> {
        let mut programs = BTreeMap::new();
        for name in ["tempo", "otelcol"] {
            programs.insert(name, toolbox.get(name)?);
        }
        let helm_version = toolbox.get("helm")?.version.to_string();
        let cancel = helm.runner.cancel().clone();
        Ok(LocalBackend {
            helm,
            umbrella,
            toolbox: toolbox.clone(),
            programs,
            helm_version,
            runs,
            purpose,
            ports: Ports::default(),
            cancel,
        })
    }

    /// The program of a container.
    fn program(&self, container: &Container) -> Result<&Path> {
        if is_own_script(container) {
            return Ok(Path::new(SHELL));
        }
        let tool = tool_of(container)?;
        if tool == NGINX {
            return Ok(Path::new(NGINX));
        }
        let installed = self.programs.get(tool);
        Ok(&installed.with_context(|| format!("no program named {tool}"))?.path)
    }

    /// What this machine needs set, under what the scenario sets.
    fn values(&self, spec: &StackSpec) -> Result<Value> {
        let mut stack = Value::Mapping(Default::default());
        for (component, tool) in [(Component::Tempo, "tempo"), (Component::OtelCollector, "otelcol")] {
            // What is run is named as what it is.
            set(
                &mut stack,
                &[component.values_key(), "image", "tag"],
                self.programs[tool].version.to_string().into(),
            );
        }
        let door = Component::QueryProxy.values_key();
        let wanted = spec
            .values
            .get(SUBCHART)
            .and_then(|stack| stack.get(door)?.get("enabled")?.as_bool());
        if wanted == Some(true)
            && let Some(version) = nginx_version(&self.helm.runner)?
        {
            set(&mut stack, &[door, "image", "tag"], version.into());
        }
        stop_soon(&mut stack);
        find_all(&mut stack);
        let mut values = Value::Mapping(Default::default());
        set(&mut values, &[SUBCHART], stack);
        merge(&mut values, spec.values.clone());
        Ok(values)
    }

    fn options(&self, spec: &StackSpec) -> Result<RenderOptions> {
        Ok(RenderOptions {
            release: spec.release.clone(),
            namespace: spec.namespace.clone(),
            values_files: Vec::new(),
            values: Some(self.values(spec)?),
            apis: Vec::new(),
        })
    }

    /// What a release renders, and all that a stack of it consists of.
    async fn read(&self, options: &RenderOptions, spec: &StackSpec) -> Result<(Render, Objects)> {
        let (renderer, wanted) = (self.clone(), options.clone());
        let render = tokio::task::spawn_blocking(move || renderer.helm.template(&renderer.umbrella, &wanted))
            .await
            .context("rendering")??;
        let mut manifests = render.manifests.clone();
        manifests.extend(parse_all(&spec.objects).context("reading the objects beside the release")?);
        let objects = Objects::read(&manifests)?;
        Ok((render, objects))
    }

    /// The port at which a Tempo that is all of its modules reaches itself. What is only a part of Tempo reaches the
    /// others by their names.
    fn loopback_port(&self, pod: &Pod) -> Result<Option<u16>> {
        let args = pod.containers.first().and_then(|c| c.args.as_ref());
        let mut targets = args
            .into_iter()
            .flatten()
            .filter_map(|arg| arg.strip_prefix("-target="));
        let whole = pod.component == Component::Tempo && targets.all(|target| target == "all");
        whole.then(|| self.ports.free()).transpose()
    }

    async fn tool(&self, name: &'static str) -> Result<Installed> {
        let toolbox = self.toolbox.clone();
        tokio::task::spawn_blocking(move || toolbox.get(name))
            .await
            .with_context(|| format!("finding {name}"))?
    }

    /// What a user is told who installs it. `helm template` has no notes, and a helm 3 on PATH no way to print
    /// them without a cluster.
    fn notes(&self, options: &RenderOptions) -> Result<String> {
        let helm = Helm {
            program: self.toolbox.pinned("helm")?.path,
            ..self.helm.clone()
        };
        helm.notes(&self.umbrella, options)
    }
}

#[async_trait]
impl Backend for LocalBackend {
    fn name(&self) -> &'static str {
        "local"
    }

    fn versions(&self) -> BTreeMap<String, String> {
        let mut versions: BTreeMap<String, String> = self
            .programs
            .iter()
            .map(|(name, tool)| ((*name).to_owned(), tool.version.to_string()))
            .collect();
        versions.insert("helm".into(), self.helm_version.clone());
        versions
    }

    fn unproven(&self) -> &[(&'static str, &'static str)] {
        &UNPROVEN
    }

    fn volumes_are_unlimited(&self) -> Option<String> {
        unlimited()
    }

    fn runs(&self) -> &Path {
        &self.runs
    }

    async fn start(&self, spec: &StackSpec) -> Result<Arc<dyn Stack>> {
        Ok(Arc::new(LocalStack::start(self.clone(), spec).await?))
    }

    async fn object_store(&self, bucket: &Bucket<'_>) -> Result<Box<dyn ObjectStore>> {
        let program = match &bucket.store {
            Store::S3 | Store::S3Tls => self.tool("versitygw").await?.path,
            Store::Gcs => self.tool("fake-gcs-server").await?.path,
            Store::Azure(_) => "node".into(),
            Store::Aws(_) => "python3".into(),
        };
        let server = StoreServer::start(&program, bucket, &self.runs, &self.cancel).await?;
        Ok(Box::new(server))
    }

    async fn prometheus(&self, password: &str) -> Result<Box<dyn Prometheus>> {
        let tool = self.tool("prometheus").await?;
        let server = PrometheusServer::start(&tool.path, password, &self.runs, &self.cancel).await?;
        Ok(Box::new(server))
    }

    async fn kafka(&self, installed: &Path, credentials: Credentials) -> Result<Broker> {
        Broker::start(installed, credentials, &self.runs, &self.helm.runner).await
    }

    async fn beside(&self, name: &'static str, program: &Path, port: u16, prepare: Prepare) -> Result<Beside> {
        Beside::start(name, program, port, &self.runs, &self.cancel, prepare).await
    }

    async fn memcached(&self) -> Result<Memcached> {
        Memcached::start(&self.runs, &self.cancel).await
    }
}

/// A stack of processes.
///
/// A revision of it: an upgrade makes the next one, which has the network, the pods and the folder of the one before.
pub struct LocalStack {
    backend: LocalBackend,
    spec: StackSpec,
    options: RenderOptions,
    render: Render,
    objects: Objects,
    endpoints: Endpoints,
    namespace: String,
    folders: Folders,
    network: Arc<Network>,
    changed: Arc<std::sync::Mutex<Changed>>,
    // Before `run`: supervision ends before what is left of the processes is killed.
    pods: Arc<Mutex<BTreeMap<String, RunningPod>>>,
    run: Arc<RunDir>,
}

impl LocalStack {
    async fn start(backend: LocalBackend, spec: &StackSpec) -> Result<LocalStack> {
        let options = backend.options(spec)?;
        let (render, mut objects) = backend.read(&options, spec).await?;
        let network = Arc::new(Network::claim()?);
        for service in &objects.services {
            network.service(None, &service.name)?;
        }
        for pod in &mut objects.pods {
            network.add_pod(&pod.name)?;
            pod.loopback_port = backend.loopback_port(pod)?;
        }
        let endpoints = publish(&network, &objects, spec.published).await?;
        network.open(&objects).await?;
        let run = RunDir::create(&backend.runs, backend.purpose)?;
        let folders = Folders {
            run: run.path().to_path_buf(),
        };
        std::fs::write(run.path().join("manifests.yaml"), &render.text).context("keeping the rendered manifests")?;
        let stack = LocalStack {
            endpoints,
            namespace: spec.namespace.clone(),
            pods: Arc::default(),
            backend,
            spec: spec.clone(),
            options,
            render,
            objects,
            folders,
            network,
            changed: Arc::default(),
            run: Arc::new(run),
        };
        if let Some(bytes) = spec.volume_bytes {
            for volume in stack.host_folders(Component::Tempo, DATA)? {
                limit(&volume, bytes)?;
            }
        }
        if let Some(bytes) = spec.queue_bytes {
            for folder in stack.host_folders(Component::OtelCollector, QUEUE)? {
                disk(&folder, bytes)?;
            }
        }
        for pod in &stack.objects.pods {
            stack.run_pod(pod).await?;
        }
        Ok(stack)
    }

    fn pods_of(&self, component: Component) -> Result<Vec<&Pod>> {
        let pods: Vec<&Pod> = self.objects.pods_of(component).collect();
        anyhow::ensure!(!pods.is_empty(), "this stack has no {component}");
        Ok(pods)
    }

    fn pod(&self, name: &str) -> Result<&Pod> {
        let found = self.objects.pods.iter().find(|pod| pod.name == name);
        found.with_context(|| format!("this stack has no pod {name}"))
    }

    /// Replaces what an object holds, as the kubelet does in volumes.
    fn change(&self, kind: Kind, name: &str, data: BTreeMap<String, String>) -> Result<()> {
        lock(&self.changed).insert((kind, name.to_owned()), data);
        let materialiser = self.materialiser();
        let mut pods = self.objects.pods.iter();
        pods.try_for_each(|pod| materialiser.write_changed(pod, kind, name))
    }

    fn materialiser(&self) -> Materialiser<'_> {
        Materialiser {
            objects: &self.objects,
            folders: &self.folders,
            namespace: &self.namespace,
            network: &self.network,
            changed: lock(&self.changed).clone(),
        }
    }
}

/// A thread that panicked while it held the objects has changed all of one or none.
fn lock(changed: &std::sync::Mutex<Changed>) -> std::sync::MutexGuard<'_, Changed> {
    changed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
