//! The stack as processes of this machine: no root, no containers.
//!
//! The real helm renders the umbrella, the rendered containers run as supervised processes, and
//! readiness alone says whether a start worked: Tempo may exit with 0 when a module failed. Each stack is a
//! small network: a loopback address for every pod, and relays for its Services.

mod companion;
mod kafka;
mod materialise;
mod network;
mod objects;
mod process;
mod prometheus;
mod store;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
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
use nix::sys::signal::Signal;
use nix::unistd::{SysconfVar, sysconf};
use serde_json::json;
use serde_yaml::Value;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

pub use self::kafka::{Broker, Credentials};
use self::materialise::{Folders, Hosts, Materialiser};
use self::network::Network;
use self::objects::{Objects, Pod, PodPort, PodService};
use self::process::{Probes, ProcessSpec, Status, Supervised};
use self::prometheus::PrometheusServer;
pub use self::store::Memcached;
use self::store::StoreServer;
use self::volume::{disk, limit, repair, take_room, unlimited};
use super::prometheus::Prometheus;
use super::{
    Backend, Bucket, Component, DATA, Endpoints, Fault, Memory, ObjectStore, Published, QUEUE, Stack, StackSpec, Stop,
    Store, cpu_ticks, find_all, longest, peak_memory, stop_soon,
};
use crate::client::credentials::http_client;
use crate::diagnostics;
use crate::ports::Ports;

/// The shell of the chart's scripts.
const SHELL: &str = "/bin/sh";
/// Where programs look names up before they ask a DNS server (hosts(5)).
const HOSTS: &str = "/etc/hosts";
/// Runs a program with a view of its own of the machine's file systems (unshare(1), util-linux).
const UNSHARE: &str = "/usr/bin/unshare";
/// The key of the stack in the umbrella's values.
const SUBCHART: &str = "tempo-stack";
/// A program that ended this often before it was ready won't come up by waiting.
const HOPELESS_STARTS: u32 = 2;
/// How long a program may take to show its metrics.
const METRICS_TIMEOUT: Duration = Duration::from_secs(10);

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
        "Services are relays of this program: TCP by connection, UDP by source; network policies are not applied",
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
        let installed = self.programs.get(tool);
        Ok(&installed.with_context(|| format!("no program named {tool}"))?.path)
    }

    /// What this machine needs set, under what the scenario sets.
    fn values(&self, spec: &StackSpec) -> Value {
        let mut stack = Value::Mapping(Default::default());
        for (component, tool) in [(Component::Tempo, "tempo"), (Component::OtelCollector, "otelcol")] {
            // What is run is named as what it is.
            set(
                &mut stack,
                &[component.values_key(), "image", "tag"],
                self.programs[tool].version.to_string().into(),
            );
        }
        stop_soon(&mut stack);
        find_all(&mut stack);
        let mut values = Value::Mapping(Default::default());
        set(&mut values, &[SUBCHART], stack);
        merge(&mut values, spec.values.clone());
        values
    }

    fn options(&self, spec: &StackSpec) -> RenderOptions {
        RenderOptions {
            release: spec.release.clone(),
            namespace: spec.namespace.clone(),
            values_files: Vec::new(),
            values: Some(self.values(spec)),
            apis: Vec::new(),
        }
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
            Store::S3 => self.tool("versitygw").await?.path,
            Store::Gcs => self.tool("fake-gcs-server").await?.path,
            Store::Azure(_) => "node".into(),
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

    async fn memcached(&self) -> Result<Memcached> {
        Memcached::start(&self.runs, &self.cancel).await
    }
}

/// A stack of processes.
pub struct LocalStack {
    backend: LocalBackend,
    options: RenderOptions,
    render: Render,
    objects: Objects,
    endpoints: Endpoints,
    namespace: String,
    folders: Folders,
    network: Arc<Network>,
    changed_secrets: std::sync::Mutex<materialise::Named>,
    // Before `run`: supervision ends before what is left of the processes is killed.
    pods: Mutex<BTreeMap<String, RunningPod>>,
    run: RunDir,
}

#[derive(Default)]
struct RunningPod {
    /// Containers with the processes that they are; those of init containers first.
    containers: Vec<(Container, Arc<Supervised>)>,
    /// How many of these are init containers.
    init: usize,
    /// Tells the network whether the pod is ready.
    readiness: JoinSet<()>,
    /// Crashes of the pods of this name that are gone.
    past_crashes: u32,
}

impl RunningPod {
    /// The container that the component is named after.
    fn main(&self) -> Option<&Arc<Supervised>> {
        self.containers.get(self.init).map(|(_, process)| process)
    }

    fn crashes(&self) -> u32 {
        let now = self.containers.iter().map(|(_, process)| process.status().crashes);
        self.past_crashes + now.sum::<u32>()
    }
}

impl LocalStack {
    async fn start(backend: LocalBackend, spec: &StackSpec) -> Result<LocalStack> {
        let options = backend.options(spec);
        let (renderer, wanted) = (backend.clone(), options.clone());
        let render = tokio::task::spawn_blocking(move || renderer.helm.template(&renderer.umbrella, &wanted))
            .await
            .context("rendering")??;
        let mut manifests = render.manifests.clone();
        manifests.extend(parse_all(&spec.objects).context("reading the objects beside the release")?);
        let mut objects = Objects::read(&manifests)?;
        let network = Arc::new(Network::claim()?);
        for service in &objects.services {
            network.service(None, &service.name)?;
        }
        for pod in &mut objects.pods {
            network.add_pod(&pod.name)?;
            let modules = pod
                .containers
                .first()
                .and_then(|c| c.args.as_ref())
                .into_iter()
                .flatten();
            // What is only a part of Tempo reaches the others by their names.
            let whole = modules
                .filter_map(|arg| arg.strip_prefix("-target="))
                .all(|target| target == "all");
            if pod.component == Component::Tempo && whole {
                pod.loopback_port = Some(backend.ports.free()?);
            }
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
            pods: Mutex::default(),
            backend,
            options,
            render,
            objects,
            folders,
            network,
            changed_secrets: std::sync::Mutex::default(),
            run,
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

    /// A file of /proc about the program of a pod that runs.
    async fn about(&self, pod: &Pod, file: &str) -> Result<String> {
        let pid = {
            let pods = self.pods.lock().await;
            pods.get(&pod.name)
                .and_then(RunningPod::main)
                .and_then(|process| process.status().pid)
        };
        let pid = pid.with_context(|| format!("{} is not running", pod.component))?;
        let file = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))
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

    fn materialiser(&self) -> Materialiser<'_> {
        Materialiser {
            objects: &self.objects,
            folders: &self.folders,
            namespace: &self.namespace,
            network: &self.network,
            changed: lock(&self.changed_secrets).clone(),
        }
    }

    async fn run_pod(&self, pod: &Pod) -> Result<()> {
        let hosts = self.materialiser().write_volumes(pod)?;
        let hosts = self.hosts_file(pod, &hosts)?;
        let hosts = hosts.as_deref();
        let mut specs = Vec::new();
        for container in pod.init_containers.iter().filter(|c| self.backend.program(c).is_ok()) {
            // One that stays beside the others lets the next one start once it has started (Kubernetes API, Container).
            let once = container.restart_policy.as_deref() != Some("Always");
            specs.push((container.clone(), self.process(pod, container, once, hosts)?));
        }
        let init = specs.len();
        for container in &pod.containers {
            specs.push((container.clone(), self.process(pod, container, false, hosts)?));
        }
        self.network.open(&self.objects).await?;
        let mut pods = self.pods.lock().await;
        let running = pods.entry(pod.name.clone()).or_default();
        if !running.containers.is_empty() {
            bail!("pod {} is running already", pod.name);
        }
        running.init = init;
        let mut before = None;
        for (n, (container, spec)) in specs.into_iter().enumerate() {
            let process = Arc::new(Supervised::start(ProcessSpec {
                after: before.clone(),
                ..spec
            }));
            if n < init {
                before = Some(process.watch());
            }
            running.containers.push((container, process));
        }
        let statuses = running.containers.iter().map(|(_, process)| process.watch()).collect();
        running.readiness = tell_readiness(&self.network, &pod.name, statuses);
        Ok(())
    }

    /// Takes the processes of a pod that is to stop. Its name stays known, for what it did before.
    async fn take_down(&self, pod: &Pod) -> Result<Vec<Arc<Supervised>>> {
        let mut pods = self.pods.lock().await;
        let running = pods
            .get_mut(&pod.name)
            .filter(|running| !running.containers.is_empty())
            .with_context(|| format!("pod {} is not running", pod.name))?;
        running.past_crashes = running.crashes();
        running.readiness.abort_all();
        // No new connection goes to a pod that ends; what is open goes on until it is done.
        self.network.set_ready(&pod.name, false);
        Ok(std::mem::take(&mut running.containers)
            .into_iter()
            .map(|(_, process)| process)
            .collect())
    }

    /// The machine's hosts file with the names that the pod has to resolve itself; none if there are none.
    fn hosts_file(&self, pod: &Pod, hosts: &Hosts) -> Result<Option<PathBuf>> {
        if hosts.is_empty() {
            return Ok(None);
        }
        let mut text = fs_err::read_to_string(HOSTS).unwrap_or_default();
        for (name, addresses) in hosts {
            for address in addresses {
                text.push_str(&format!("\n{address} {name}"));
            }
        }
        text.push('\n');
        let file = self.folders.pod(pod).join("hosts");
        fs_err::write(&file, text)?;
        Ok(Some(file))
    }

    fn process(&self, pod: &Pod, container: &Container, once: bool, hosts: Option<&Path>) -> Result<ProcessSpec> {
        let mut invocation = self.materialiser().invocation(pod, container)?;
        let mut program = self.backend.program(container)?.to_path_buf();
        if let Some(hosts) = hosts {
            let args = std::mem::take(&mut invocation.args);
            invocation.args = with_hosts(hosts, &program).into_iter().chain(args).collect();
            program = UNSHARE.into();
        }
        let dir = self.run.path().join("logs");
        fs_err::create_dir_all(&dir)?;
        let notes = dir.join(format!("{}.{}.replacements", pod.name, container.name));
        fs_err::write(&notes, invocation.replacements.join("\n"))?;
        Ok(ProcessSpec {
            program,
            args: invocation.args,
            env: invocation.env,
            log: self.log(&pod.name, container),
            run: self.run.path().to_path_buf(),
            grace: pod.grace,
            probes: Probes::read(container, self.network.pod(&pod.name)?, |path| {
                self.folders.host_path(pod, container, path)
            })?,
            once,
            after: None,
        })
    }

    fn log(&self, pod: &str, container: &Container) -> PathBuf {
        self.run
            .path()
            .join("logs")
            .join(format!("{pod}.{}.log", container.name))
    }

    /// The first container that isn't ready, with its pod and its status.
    async fn unready(&self) -> Option<(String, Container, Status)> {
        let pods = self.pods.lock().await;
        pods.iter().find_map(|(name, pod)| {
            let mut all = pod
                .containers
                .iter()
                .map(|(container, process)| (container, process.status()));
            all.find(|(_, status)| !status.ready)
                .map(|(container, status)| (name.clone(), container.clone(), status))
        })
    }

    /// The names of the pods that were stopped and not started again.
    async fn stopped(&self) -> BTreeSet<String> {
        let pods = self.pods.lock().await;
        let stopped = pods.iter().filter(|(_, running)| running.containers.is_empty());
        stopped.map(|(name, _)| name.clone()).collect()
    }

    /// The processes of a pod that run.
    async fn processes(&self, pod: &str) -> Result<Vec<Arc<Supervised>>> {
        let pods = self.pods.lock().await;
        let running = pods.get(pod).with_context(|| format!("this stack has no pod {pod}"))?;
        Ok(running
            .containers
            .iter()
            .map(|(_, process)| Arc::clone(process))
            .collect())
    }

    async fn signal(&self, pod: &str, signal: Signal) -> Result<()> {
        for process in self.processes(pod).await? {
            process.signal(signal)?;
        }
        Ok(())
    }

    fn not_ready(&self, pod: &str, container: &Container, status: &Status, after: Duration) -> anyhow::Error {
        let log = std::fs::read_to_string(self.log(pod, container)).unwrap_or_default();
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

    async fn render_again(&self, values: Value) -> Result<Render> {
        let (backend, mut options) = (self.backend.clone(), self.options.clone());
        merge(options.values.get_or_insert_default(), values);
        let render = move || backend.helm.template(&backend.umbrella, &options);
        tokio::task::spawn_blocking(render).await.context("rendering")?
    }

    async fn notes(&self) -> Result<String> {
        let (backend, options) = (self.backend.clone(), self.options.clone());
        tokio::task::spawn_blocking(move || backend.notes(&options))
            .await
            .context("asking helm for its notes")?
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
        self.materialiser().reach(url)
    }

    fn discovery(&self) -> Result<Value> {
        let mut groups = Vec::new();
        for service in &self.objects.services {
            for port in &service.ports {
                for pod in self.objects.pods_serving(service, port) {
                    let address = self.network.pod(&pod.name)?;
                    let container = pod.containers.iter().chain(&pod.init_containers).find(|container| {
                        let ports = container.ports.iter().flatten();
                        ports.map(|p| p.container_port).any(|p| p == i32::from(port.target))
                    });
                    groups.push(json!({
                        "targets": [format!("{address}:{}", port.target)],
                        "labels": {
                            "__meta_kubernetes_namespace": self.namespace,
                            "__meta_kubernetes_service_name": service.name,
                            "__meta_kubernetes_endpoint_port_name": port.name,
                            "__meta_kubernetes_pod_name": pod.name,
                            "__meta_kubernetes_pod_container_name": container.map_or("", |c| c.name.as_str()),
                        },
                    }));
                }
            }
        }
        serde_yaml::to_value(json!({"static_configs": groups})).context("the targets of Prometheus")
    }

    async fn wait_ready(&self, timeout: Duration) -> Result<()> {
        let begun = Instant::now();
        while let Some((pod, container, status)) = self.unready().await {
            self.backend.cancel.check()?;
            if status.failed_starts >= HOPELESS_STARTS || begun.elapsed() > timeout {
                return Err(self.not_ready(&pod, &container, &status, begun.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn unproven(&self) -> Vec<(String, String)> {
        let containers = self.objects.pods.iter().flat_map(|pod| {
            let init = pod.init_containers.iter().filter(|c| self.backend.program(c).is_err());
            init.map(|container| {
                (
                    container.name.clone(),
                    pod.component,
                    container.image.clone().unwrap_or_default(),
                )
            })
        });
        let unique: BTreeSet<_> = containers.collect();
        let told = unique.into_iter().map(|(name, component, image)| {
            let reason = format!("it does not run: this machine has no program for {image}");
            (format!("init container {name} of {component}"), reason)
        });
        told.collect()
    }

    async fn pod_names(&self, component: Component) -> Result<Vec<String>> {
        Ok(self.pods_of(component)?.iter().map(|pod| pod.name.clone()).collect())
    }

    async fn pids(&self, component: Component) -> Result<BTreeMap<String, i32>> {
        let pods = self.pods.lock().await;
        let mut pids = BTreeMap::new();
        for pod in self.pods_of(component)? {
            let process = pods.get(&pod.name).and_then(RunningPod::main);
            if let Some(pid) = process.and_then(|process| process.status().pid) {
                pids.insert(pod.name.clone(), i32::try_from(pid).context("a pid")?);
            }
        }
        Ok(pids)
    }

    async fn disturb(&self, pod: &str, fault: Fault) -> Result<()> {
        self.network.pod(pod)?;
        if !self.network.disturb(pod, fault) {
            self.signal(pod, Signal::SIGSTOP).await?;
        }
        Ok(())
    }

    async fn recover(&self, pod: &str) -> Result<()> {
        self.network.recover(pod);
        self.signal(pod, Signal::SIGCONT).await
    }

    fn disturbed(&self) -> u64 {
        self.network.disturbed()
    }

    async fn change_secret(&self, name: &str, data: BTreeMap<String, String>) -> Result<()> {
        let known = self.objects.secrets.contains_key(name);
        anyhow::ensure!(known, "this stack has no Secret {name}");
        lock(&self.changed_secrets).insert(name.to_owned(), data);
        let materialiser = self.materialiser();
        self.objects
            .pods
            .iter()
            .try_for_each(|pod| materialiser.write_secret(pod, name))
    }

    async fn take_room(&self, bytes: u64) -> Result<()> {
        let volumes = self.host_folders(Component::Tempo, DATA)?;
        volumes.iter().try_for_each(|volume| take_room(volume, bytes))
    }

    async fn repair_queue_disks(&self) -> Result<()> {
        let folders = self.host_folders(Component::OtelCollector, QUEUE)?;
        folders.iter().try_for_each(|folder| repair(folder))
    }

    async fn metrics(&self, component: Component) -> Result<BTreeMap<String, String>> {
        let stopped = self.stopped().await;
        let mut all = BTreeMap::new();
        let pods = self.pods_of(component)?.into_iter();
        for pod in pods.filter(|pod| !stopped.contains(&pod.name)) {
            let mut ports = pod.containers.iter().flat_map(|c| c.ports.iter().flatten());
            let port = ports
                .find(|port| {
                    port.name
                        .as_deref()
                        .is_some_and(|name| component.shows_metrics_at(name))
                })
                .with_context(|| format!("{component} has no port for its metrics"))?
                .container_port;
            let url = format!("http://{}:{port}/metrics", self.network.pod(&pod.name)?);
            let response = http_client()?.get(&url).timeout(METRICS_TIMEOUT).send().await;
            let text = response
                .with_context(|| format!("asking {url}"))?
                .text()
                .await
                .with_context(|| format!("reading {url}"))?;
            all.insert(pod.name.clone(), text);
        }
        anyhow::ensure!(!all.is_empty(), "every {component} is stopped");
        Ok(all)
    }

    async fn restart_container(&self, component: Component) -> Result<Stop> {
        let mut processes = Vec::new();
        {
            // The lock is not held while they stop, or two components couldn't stop at the same time.
            let pods = self.pods.lock().await;
            for pod in self.pods_of(component)? {
                let process = pods.get(&pod.name).and_then(RunningPod::main);
                processes.push(
                    process
                        .cloned()
                        .with_context(|| format!("{component} is not running"))?,
                );
            }
        }
        longest(
            processes
                .into_iter()
                .map(|process| async move { process.restart().await }),
        )
        .await
    }

    async fn stop_pod(&self, component: Component) -> Result<Stop> {
        let pods = self.pods_of(component)?;
        let mut processes = Vec::new();
        for pod in &pods {
            processes.extend(self.take_down(pod).await?);
        }
        let stop = longest(processes.into_iter().map(|process| async move { process.stop().await })).await?;
        for pod in pods {
            fs_err::remove_dir_all(self.folders.pod(pod))?;
        }
        Ok(stop)
    }

    async fn is_ready(&self, pod: &str) -> Result<bool> {
        let processes = self.processes(pod).await?;
        Ok(!processes.is_empty() && processes.iter().all(|process| process.status().ready))
    }

    async fn start_pod(&self, component: Component) -> Result<()> {
        for pod in self.pods_of(component)? {
            self.run_pod(pod).await?;
        }
        Ok(())
    }

    async fn stop_one(&self, pod: &str) -> Result<Stop> {
        let pod = self.pod(pod)?;
        let processes = self.take_down(pod).await?;
        let stop = longest(processes.into_iter().map(|process| async move { process.stop().await })).await?;
        fs_err::remove_dir_all(self.folders.pod(pod))?;
        Ok(stop)
    }

    async fn start_one(&self, pod: &str, timeout: Duration) -> Result<()> {
        self.run_pod(self.pod(pod)?).await?;
        let begun = Instant::now();
        loop {
            let processes = self.processes(pod).await?;
            let Some(status) = processes.iter().map(|p| p.status()).find(|status| !status.ready) else {
                return Ok(());
            };
            self.backend.cancel.check()?;
            let late = begun.elapsed() > timeout || status.failed_starts >= HOPELESS_STARTS;
            anyhow::ensure!(
                !late,
                "pod {pod} is not ready after {:?}: {}",
                begun.elapsed(),
                status.why
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn kill_one(&self, pod: &str) -> Result<()> {
        let pods = self.pods.lock().await;
        let process = pods.get(pod).and_then(RunningPod::main);
        process
            .with_context(|| format!("pod {pod} is not running"))?
            .signal(Signal::SIGKILL)
    }

    async fn memory(&self, component: Component) -> Result<Memory> {
        let mut highest: Option<Memory> = None;
        for pod in self.pods_of(component)? {
            let limit = pod
                .containers
                .first()
                .and_then(|c| c.resources.as_ref()?.limits.as_ref()?.get("memory"))
                .with_context(|| format!("{component} has no memory limit"))?;
            let memory = Memory {
                peak: peak_memory(&self.about(pod, "status").await?)?,
                limit: objects::bytes(limit)?,
            };
            if highest.is_none_or(|highest| highest.peak < memory.peak) {
                highest = Some(memory);
            }
        }
        highest.with_context(|| format!("{component} is not running"))
    }

    async fn cpu_seconds(&self, component: Component) -> Result<f64> {
        let per_second = sysconf(SysconfVar::CLK_TCK)
            .context("asking for the length of a clock tick")?
            .context("this machine has no clock ticks")?;
        let mut ticks = 0;
        for pod in self.pods_of(component)? {
            ticks += cpu_ticks(&self.about(pod, "stat").await?)?;
        }
        Ok(ticks as f64 / per_second as f64)
    }

    async fn crashes(&self, component: Component) -> Result<u32> {
        let running = self.pods.lock().await;
        let pods = self.pods_of(component)?;
        Ok(pods
            .iter()
            .filter_map(|pod| running.get(&pod.name))
            .map(RunningPod::crashes)
            .sum())
    }

    async fn logs(&self, component: Component) -> Result<String> {
        let mut text = String::new();
        for pod in self.pods_of(component)? {
            for container in pod.init_containers.iter().chain(&pod.containers) {
                let log = self.log(&pod.name, container);
                // What never ran has none.
                text.push_str(&std::fs::read_to_string(&log).unwrap_or_default());
            }
        }
        Ok(text)
    }

    async fn files(&self, component: Component, folder: &str) -> Result<Option<Vec<String>>> {
        let mut files = BTreeSet::new();
        for dir in self.host_folders(component, folder)? {
            // Files come and go while a program runs: what vanishes during the walk isn't there.
            for entry in walkdir::WalkDir::new(&dir)
                .into_iter()
                .flatten()
                .filter(|e| e.file_type().is_file())
            {
                if let Ok(relative) = entry.path().strip_prefix(&dir) {
                    files.insert(relative.display().to_string());
                }
            }
        }
        Ok(Some(files.into_iter().collect()))
    }

    fn host_folders(&self, component: Component, folder: &str) -> Result<Vec<PathBuf>> {
        let pods = self.pods_of(component)?.into_iter();
        pods.map(|pod| {
            let container = pod.containers.first();
            let container = container.with_context(|| format!("{component} has no container"))?;
            self.folders.host_path(pod, container, folder)
        })
        .collect()
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

/// Arguments of unshare(1) with which a program sees a hosts file of its own: in a mount namespace, for which a user
/// without rights needs a user namespace too. The process stays the same.
fn with_hosts(hosts: &Path, program: &Path) -> Vec<String> {
    let mut args = vec!["--mount".to_owned()];
    if !nix::unistd::geteuid().is_root() {
        args.push("--map-root-user".to_owned());
    }
    let script = format!("mount --bind \"$1\" {HOSTS} && shift && exec \"$@\"");
    let rest = [SHELL, "-c", &script, "sh"].map(str::to_owned);
    args.extend(rest);
    args.extend([hosts, program].map(|path| path.display().to_string()));
    args
}

/// A thread that panicked while it held the Secrets has changed all of one or none.
fn lock(secrets: &std::sync::Mutex<materialise::Named>) -> std::sync::MutexGuard<'_, materialise::Named> {
    secrets.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether a container runs a script of the chart that needs nothing but a shell and what every machine has beside
/// it. Scripts of others stay where they are: they may count on being alone in a container.
fn is_own_script(container: &Container) -> bool {
    ["disk-guard", "settle"].contains(&container.name.as_str())
        && container.command.iter().flatten().next().is_some_and(|c| c == SHELL)
}

/// The pinned program that a container runs: its command's, or its image's.
fn tool_of(container: &Container) -> Result<&'static str> {
    let image = container.image.as_deref().unwrap_or_default();
    let name = match container.command.iter().flatten().next() {
        Some(command) => command.rsplit('/').next().unwrap_or(command),
        None => {
            let repository = image.split('@').next().unwrap_or(image);
            let last = repository.rsplit('/').next().unwrap_or(repository);
            last.split(':').next().unwrap_or(last)
        }
    };
    match name {
        "tempo" => Ok("tempo"),
        name if name.starts_with("opentelemetry-collector") || name.starts_with("otelcol") => Ok("otelcol"),
        name => bail!("the local backend has no program {name} for image {image}"),
    }
}

/// Tells the network whether all containers of a pod are ready, whenever that changes.
fn tell_readiness(network: &Arc<Network>, pod: &str, statuses: Vec<watch::Receiver<Status>>) -> JoinSet<()> {
    let (changed, mut changes) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    for mut status in statuses.clone() {
        let changed = changed.clone();
        tasks.spawn(async move {
            while status.changed().await.is_ok() {
                // A full channel is a change that is yet to be looked at.
                let _ = changed.try_send(());
            }
        });
    }
    let (network, pod) = (Arc::clone(network), pod.to_owned());
    tasks.spawn(async move {
        loop {
            let ready = statuses.iter().all(|status| status.borrow().ready);
            network.set_ready(&pod, ready);
            if changes.recv().await.is_none() {
                return;
            }
        }
    });
    tasks
}

/// Where every port of every Service is reached from this machine.
async fn publish(network: &Network, objects: &Objects, published: Published) -> Result<Endpoints> {
    let mut endpoints = Endpoints::default();
    let mut taken = BTreeSet::new();
    let mut services: Vec<&PodService> = objects.services.iter().filter(|service| !service.headless).collect();
    let component = |service: &PodService| {
        let pod = objects.pods_behind(service).next();
        service.component.or_else(|| pod.map(|pod| pod.component))
    };
    // Applications send to the Collector, which has the ports first.
    services.sort_by_key(|service| component(service) != Some(Component::OtelCollector));
    for service in services {
        let Some(component) = component(service) else { continue };
        for port in &service.ports {
            let own = SocketAddr::from((network.service(None, &service.name)?, port.port));
            let localhost = match published {
                Published::OwnAddresses => None,
                Published::Localhost => taken.insert((port.port, port.protocol)).then_some(port.port),
                Published::LocalhostFreePorts => Some(0),
            };
            let address = match localhost {
                None => own,
                Some(number) => {
                    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
                    let opened = network.publish(objects, service, port, listen).await;
                    opened.map_err(|error| cannot_publish(component, port, &error))?
                }
            };
            endpoints.0.insert((component, port.name.clone()), address);
        }
    }
    Ok(endpoints)
}

/// Why a port that was asked for by number can't be had.
fn cannot_publish(component: Component, PodPort { name, port, .. }: &PodPort, error: &io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::AddrInUse {
        return Failure::environment(
            format!("port {port}, which {component} needs for {name}, is taken by another program"),
            format!("see which with `ss -tulnp | grep :{port}` and stop it, or run `cargo xtask up --free-ports`"),
        );
    }
    Failure::environment(
        format!("port {port}, which {component} needs for {name}, can't be listened at: {error}"),
        "choose another with `cargo xtask up --free-ports`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(image: &str, command: &[&str]) -> Container {
        Container {
            image: Some(image.into()),
            command: Some(command.iter().map(|&word| word.into()).collect()).filter(|c: &Vec<String>| !c.is_empty()),
            ..Container::default()
        }
    }

    #[test]
    fn a_container_runs_the_program_of_its_image_unless_it_has_a_command() {
        let tool = |image, command: &[&str]| tool_of(&container(image, command)).ok();
        assert_eq!(tool("docker.io/grafana/tempo:2.9.0@sha256:0", &[]), Some("tempo"));
        assert_eq!(
            tool("localhost:5000/otel/opentelemetry-collector-contrib:1", &[]),
            Some("otelcol")
        );
        assert_eq!(tool("docker.io/grafana/tempo:2.9.0", &["/bin/sh", "-c"]), None);
        assert_eq!(tool("private/image", &["/tempo"]), Some("tempo"));
        assert_eq!(tool("docker.io/library/busybox:1", &[]), None);
    }
}
