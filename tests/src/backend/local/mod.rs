//! The stack as processes of this machine: no root, no containers.
//!
//! The real helm renders the umbrella, the rendered containers run as supervised processes, and
//! readiness alone says whether a start worked: Tempo may exit with 0 when a module failed.

mod materialise;
mod objects;
mod process;
mod s3;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use charts::manifest::parse_all;
use charts::render::{Helm, Prepared, Render, RenderOptions, merge, set};
use charts::tools::{Installed, Toolbox};
use k8s_openapi::api::core::v1::Container;
use kit::failure::Failure;
use kit::run_dir::RunDir;
use kit::step::Cancel;
use serde_yaml::Value;
use tokio::sync::Mutex;

use self::materialise::{Folders, Materialiser};
use self::objects::{Objects, Pod};
use self::process::{Probes, ProcessSpec, Status, Supervised};
use self::s3::S3Server;
use super::{
    Backend, Bucket, Component, Endpoints, Memory, ObjectStore, Stack, StackSpec, Stop, peak_memory, stop_soon,
};
use crate::diagnostics;
use crate::ports::{Ports, is_free};

/// The key of the stack in the umbrella's values.
const SUBCHART: &str = "tempo-stack";
/// Listeners behind a Service, which would meet another stack's on the same machine.
const SERVICE_PORTS: [&[&str]; 9] = [
    &["tempo", "service", "ports", "http"],
    &["tempo", "service", "ports", "otlpGrpc"],
    &["otelCollector", "service", "ports", "otlpGrpc"],
    &["otelCollector", "service", "ports", "otlpHttp"],
    &["otelCollector", "service", "ports", "jaegerGrpc"],
    &["otelCollector", "service", "ports", "jaegerThriftHttp"],
    &["otelCollector", "service", "ports", "jaegerThriftCompact"],
    &["otelCollector", "service", "ports", "jaegerThriftBinary"],
    &["otelCollector", "service", "ports", "metrics"],
];
/// Listeners that nobody outside the pod asks for.
const INTERNAL_PORTS: [&[&str]; 3] = [
    &["tempo", "internalPorts", "grpc"],
    &["tempo", "internalPorts", "memberlist"],
    &["otelCollector", "internalPorts", "healthCheck"],
];
/// Both programs listen for OTLP over gRPC on 4317 by default, which one machine has only once.
const OTLP_GRPC_OF_TEMPO: &[&str] = &["tempo", "service", "ports", "otlpGrpc"];
/// A stack that crashed this often won't come up by waiting.
const HOPELESS_CRASHES: u32 = 2;

/// What the local backend can't prove, and why.
const UNPROVEN: [(&str, &str); 5] = [
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
        "Service names are replaced by loopback addresses before the programs start",
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

    /// The program behind an image.
    fn program(&self, image: &str) -> Result<&Installed> {
        let repository = image.split('@').next().unwrap_or(image);
        let last = repository.rsplit('/').next().unwrap_or(repository);
        let name = last.split(':').next().unwrap_or(last);
        let tool = match name {
            "tempo" => "tempo",
            name if name.starts_with("opentelemetry-collector") || name.starts_with("otelcol") => "otelcol",
            _ => bail!("the local backend has no program for image {image}"),
        };
        self.programs
            .get(tool)
            .with_context(|| format!("no program named {tool}"))
    }

    /// What this machine needs set, under what the scenario sets.
    fn values(&self, spec: &StackSpec) -> Result<Value> {
        let mut stack = Value::Mapping(Default::default());
        for (component, tool) in [(Component::Tempo, "tempo"), (Component::OtelCollector, "otelcol")] {
            let key = component.values_key();
            set(&mut stack, &[key, "listenAddress"], "127.0.0.1".into());
            // What is run is named as what it is.
            set(
                &mut stack,
                &[key, "image", "tag"],
                self.programs[tool].version.to_string().into(),
            );
        }
        stop_soon(&mut stack);
        let chosen = if spec.free_ports {
            SERVICE_PORTS.to_vec()
        } else {
            vec![OTLP_GRPC_OF_TEMPO]
        };
        for path in INTERNAL_PORTS.into_iter().chain(chosen) {
            set(&mut stack, path, self.ports.free()?.into());
        }
        let mut values = Value::Mapping(Default::default());
        set(&mut values, &[SUBCHART], stack);
        merge(&mut values, spec.values.clone());
        Ok(values)
    }

    fn render(&self, spec: &StackSpec) -> Result<Render> {
        let options = RenderOptions {
            release: spec.release.clone(),
            namespace: spec.namespace.clone(),
            values_files: Vec::new(),
            values: Some(self.values(spec)?),
        };
        self.helm.template(&self.umbrella, &options)
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

    fn shares_ports(&self) -> bool {
        true
    }

    fn runs(&self) -> &Path {
        &self.runs
    }

    fn free_port(&self) -> Result<u16> {
        self.ports.free()
    }

    async fn start(&self, spec: &StackSpec) -> Result<Arc<dyn Stack>> {
        Ok(Arc::new(LocalStack::start(self.clone(), spec).await?))
    }

    async fn object_store(&self, bucket: &Bucket<'_>) -> Result<Box<dyn ObjectStore>> {
        let toolbox = self.toolbox.clone();
        let tool = tokio::task::spawn_blocking(move || toolbox.get("versitygw"))
            .await
            .context("finding versitygw")??;
        let server = S3Server::start(&tool, bucket, &self.runs, self.ports.free()?, &self.cancel).await?;
        Ok(Box::new(server))
    }
}

/// A stack of processes.
pub struct LocalStack {
    backend: LocalBackend,
    render: Render,
    objects: Objects,
    endpoints: Endpoints,
    namespace: String,
    folders: Folders,
    // Before `run`: supervision ends before what is left of the processes is killed.
    pods: Mutex<BTreeMap<Component, RunningPod>>,
    run: RunDir,
}

struct RunningPod {
    pod: Pod,
    containers: Vec<Arc<Supervised>>,
    /// Crashes of the pods of this component that are gone.
    past_crashes: u32,
}

impl LocalStack {
    async fn start(backend: LocalBackend, spec: &StackSpec) -> Result<LocalStack> {
        let (renderer, wanted) = (backend.clone(), spec.clone());
        let render = tokio::task::spawn_blocking(move || renderer.render(&wanted))
            .await
            .context("rendering")??;
        let mut manifests = render.manifests.clone();
        manifests.extend(parse_all(&spec.objects).context("reading the objects beside the release")?);
        let objects = Objects::read(&manifests)?;
        if !spec.free_ports {
            require_free(&endpoints(&objects))?;
        }
        let run = RunDir::create(&backend.runs, backend.purpose)?;
        let folders = Folders {
            run: run.path().to_path_buf(),
        };
        std::fs::write(run.path().join("manifests.yaml"), &render.text).context("keeping the rendered manifests")?;
        let stack = LocalStack {
            endpoints: endpoints(&objects),
            namespace: spec.namespace.clone(),
            pods: Mutex::default(),
            backend,
            render,
            objects,
            folders,
            run,
        };
        for pod in &stack.objects.pods {
            stack.start_pod(pod.component).await?;
        }
        Ok(stack)
    }

    fn pod_of(&self, component: Component) -> Result<&Pod> {
        self.objects
            .pod(component)
            .with_context(|| format!("this stack has no {component}"))
    }

    fn process(&self, pod: &Pod, container: &Container) -> Result<ProcessSpec> {
        let made = Materialiser {
            objects: &self.objects,
            folders: &self.folders,
            namespace: &self.namespace,
        };
        let invocation = made.invocation(pod, container)?;
        let dir = self.run.path().join("logs");
        fs_err::create_dir_all(&dir)?;
        let notes = dir.join(format!("{}.replacements", container.name));
        fs_err::write(&notes, invocation.replacements.join("\n"))?;
        let image = container.image.as_deref().unwrap_or_default();
        Ok(ProcessSpec {
            program: self.backend.program(image)?.path.clone(),
            args: invocation.args,
            env: invocation.env,
            log: self.log(container),
            run: self.run.path().to_path_buf(),
            grace: pod.grace,
            probes: Probes::read(container)?,
        })
    }

    fn log(&self, container: &Container) -> PathBuf {
        self.run.path().join("logs").join(format!("{}.log", container.name))
    }

    /// The first container that isn't ready, with its status.
    async fn unready(&self) -> Option<(Component, Container, Status)> {
        let pods = self.pods.lock().await;
        pods.iter().find_map(|(component, pod)| {
            pod.pod
                .containers
                .iter()
                .zip(&pod.containers)
                .map(|(container, running)| (*component, container.clone(), running.status()))
                .find(|(_, _, status)| !status.ready)
        })
    }

    fn not_ready(&self, container: &Container, status: &Status, after: Duration) -> anyhow::Error {
        let log = std::fs::read_to_string(self.log(container)).unwrap_or_default();
        let state = if status.crashes > 0 {
            format!("{} {} ({} times)", container.name, status.last_end, status.crashes)
        } else {
            format!("{} is not ready: {}", container.name, status.why)
        };
        let cause = diagnostics::first_cause(&log)
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        Failure::findings(format!("{state} after {:.1} s{cause}", after.as_secs_f64()), "")
    }
}

#[async_trait]
impl Stack for LocalStack {
    fn render(&self) -> &Render {
        &self.render
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn folder(&self) -> &Path {
        self.run.path()
    }

    fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    fn reach(&self, url: &str) -> Result<String> {
        Materialiser {
            objects: &self.objects,
            folders: &self.folders,
            namespace: &self.namespace,
        }
        .reach(url)
    }

    async fn wait_ready(&self, timeout: Duration) -> Result<()> {
        let begun = Instant::now();
        while let Some((_, container, status)) = self.unready().await {
            self.backend.cancel.check()?;
            if status.crashes >= HOPELESS_CRASHES || begun.elapsed() > timeout {
                return Err(self.not_ready(&container, &status, begun.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn restart_container(&self, component: Component) -> Result<Stop> {
        // The lock is not held while it stops, or two programs couldn't stop at the same time.
        let container = {
            let pods = self.pods.lock().await;
            pods.get(&component).and_then(|pod| pod.containers.first()).cloned()
        };
        container
            .with_context(|| format!("{component} is not running"))?
            .restart()
            .await
    }

    async fn stop_pod(&self, component: Component) -> Result<Stop> {
        let mut pods = self.pods.lock().await;
        let pod = pods
            .get_mut(&component)
            .with_context(|| format!("{component} is not running"))?;
        let mut longest = Stop {
            elapsed: Duration::ZERO,
            killed: false,
        };
        for container in std::mem::take(&mut pod.containers) {
            pod.past_crashes += container.status().crashes;
            let stop = container.stop().await?;
            longest = Stop {
                elapsed: longest.elapsed.max(stop.elapsed),
                killed: longest.killed || stop.killed,
            };
        }
        let dir = self.folders.pod(&pod.pod);
        fs_err::remove_dir_all(&dir)?;
        Ok(longest)
    }

    async fn start_pod(&self, component: Component) -> Result<()> {
        let wanted = self.pod_of(component)?.clone();
        let made = Materialiser {
            objects: &self.objects,
            folders: &self.folders,
            namespace: &self.namespace,
        };
        made.write_volumes(&wanted)?;
        let specs = wanted
            .containers
            .iter()
            .map(|c| self.process(&wanted, c))
            .collect::<Result<Vec<_>>>()?;
        let mut pods = self.pods.lock().await;
        let past_crashes = match pods.get(&component) {
            Some(pod) if !pod.containers.is_empty() => bail!("{component} is running already"),
            Some(pod) => pod.past_crashes,
            None => 0,
        };
        let containers = specs
            .into_iter()
            .map(|spec| Arc::new(Supervised::start(spec)))
            .collect();
        pods.insert(
            component,
            RunningPod {
                pod: wanted,
                containers,
                past_crashes,
            },
        );
        Ok(())
    }

    async fn memory(&self, component: Component) -> Result<Memory> {
        let limit = self
            .pod_of(component)?
            .containers
            .first()
            .and_then(|c| c.resources.as_ref()?.limits.as_ref()?.get("memory"))
            .with_context(|| format!("{component} has no memory limit"))?;
        let pid = {
            let pods = self.pods.lock().await;
            pods.get(&component)
                .and_then(|pod| pod.containers.first())
                .and_then(|c| c.status().pid)
        };
        let pid = pid.with_context(|| format!("{component} is not running"))?;
        let file = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        Ok(Memory {
            peak: peak_memory(&status)?,
            limit: objects::bytes(limit)?,
        })
    }

    async fn crashes(&self, component: Component) -> Result<u32> {
        let pods = self.pods.lock().await;
        let pod = pods
            .get(&component)
            .with_context(|| format!("{component} was never started"))?;
        Ok(pod.past_crashes + pod.containers.iter().map(|c| c.status().crashes).sum::<u32>())
    }

    async fn logs(&self, component: Component) -> Result<String> {
        let mut text = String::new();
        for container in &self.pod_of(component)?.containers {
            let log = self.log(container);
            text.push_str(&fs_err::read_to_string(&log)?);
        }
        Ok(text)
    }

    async fn files(&self, component: Component, folder: &str) -> Result<Option<Vec<String>>> {
        let pod = self.pod_of(component)?;
        let container = pod
            .containers
            .first()
            .with_context(|| format!("{component} has no container"))?;
        let dir = self.folders.host_path(pod, container, folder)?;
        let mut files = Vec::new();
        // Files come and go while a program runs: what vanishes during the walk isn't there.
        for entry in walkdir::WalkDir::new(&dir)
            .into_iter()
            .flatten()
            .filter(|e| e.file_type().is_file())
        {
            if let Ok(relative) = entry.path().strip_prefix(&dir) {
                files.push(relative.display().to_string());
            }
        }
        files.sort();
        Ok(Some(files))
    }

    async fn configs(&self) -> Result<BTreeMap<String, String>> {
        let mut configs = BTreeMap::new();
        for (name, data) in &self.objects.config_maps {
            for (key, text) in data {
                configs.insert(format!("{name}.{key}"), text.clone());
            }
        }
        Ok(configs)
    }

    async fn shut_down(&self) -> Result<()> {
        // Nothing of this stack is wanted any more: no grace period, or each stop of a Tempo that was
        // queried would cost all of it.
        self.pods.lock().await.clear();
        Ok(())
    }
}

/// Every Service port as an address of this machine.
fn endpoints(objects: &Objects) -> Endpoints {
    let mut endpoints = Endpoints::default();
    for service in &objects.services {
        let Some(pod) = objects.pod_behind(service) else {
            continue;
        };
        for port in &service.ports {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.target));
            endpoints.0.insert((pod.component, port.name.clone()), address);
        }
    }
    endpoints
}

/// Fails where something listens already on a port that was asked for by number.
fn require_free(endpoints: &Endpoints) -> Result<()> {
    for ((component, name), address) in &endpoints.0 {
        if !is_free(address.port()) {
            let port = address.port();
            return Err(Failure::environment(
                format!("port {port}, which {component} needs for {name}, is taken by another program"),
                format!("see which with `ss -tulnp | grep :{port}` and stop it, or run `cargo xtask up --free-ports`"),
            ));
        }
    }
    Ok(())
}
