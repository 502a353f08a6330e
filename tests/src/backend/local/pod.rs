//! The pods of a stack as processes: each container's program, its log, and whether the pod is ready.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Container;
use kit::failure::Failure;
use nix::sys::signal::Signal;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::LocalStack;
use super::materialise::Hosts;
use super::network::Network;
use super::objects::Pod;
use super::process::{Probes, ProcessSpec, Status, Supervised};
use super::program::{HOSTS, NGINX, NGINX_ALONE, UNSHARE, with_hosts};
use crate::client::install::on_path;
use crate::diagnostics;

/// A program that ended this often before it was ready won't come up by waiting.
const HOPELESS_STARTS: u32 = 2;

/// A pod whose processes were started.
#[derive(Default)]
pub struct RunningPod {
    /// Containers with the processes that they are; those of init containers first.
    pub containers: Vec<(Container, Arc<Supervised>)>,
    /// How many of these are init containers.
    init: usize,
    /// Tells the network whether the pod is ready.
    readiness: JoinSet<()>,
    /// Crashes of the pods of this name that are gone.
    past_crashes: u32,
}

impl RunningPod {
    /// The container that the component is named after.
    pub fn main(&self) -> Option<&Arc<Supervised>> {
        self.containers.get(self.init).map(|(_, process)| process)
    }

    pub fn crashes(&self) -> u32 {
        let now = self.containers.iter().map(|(_, process)| process.status().crashes);
        self.past_crashes + now.sum::<u32>()
    }
}

impl LocalStack {
    pub(super) async fn run_pod(&self, pod: &Pod) -> Result<()> {
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

    /// Services don't lead to a pod any more; it runs on.
    pub(super) async fn out_of_service(&self, pod: &str) {
        if let Some(running) = self.pods.lock().await.get_mut(pod) {
            running.readiness.abort_all();
        }
        self.network.set_ready(pod, false);
    }

    /// Takes the processes of a pod that is to stop. Its name stays known, for what it did before.
    pub(super) async fn take_down(&self, pod: &Pod) -> Result<Vec<Arc<Supervised>>> {
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
        if program == Path::new(NGINX) {
            program = on_path(NGINX)
                .context("nginx, which is the door to queries, is not on this machine: install its package")?;
            invocation.args.extend(NGINX_ALONE.map(str::to_owned));
        }
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

    pub(super) fn log(&self, pod: &str, container: &Container) -> PathBuf {
        self.run
            .path()
            .join("logs")
            .join(format!("{pod}.{}.log", container.name))
    }

    /// Waits until every container of these pods is ready.
    pub(super) async fn until_ready(
        &self,
        which: impl Fn(&str) -> bool + Send + Sync,
        timeout: Duration,
    ) -> Result<()> {
        let begun = Instant::now();
        while let Some((pod, container, status)) = self.unready(&which).await {
            self.backend.cancel.check()?;
            if status.failed_starts >= HOPELESS_STARTS || begun.elapsed() > timeout {
                return Err(self.not_ready(&pod, &container, &status, begun.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The first container of these pods that isn't ready, with its pod and its status.
    async fn unready(&self, which: impl Fn(&str) -> bool) -> Option<(String, Container, Status)> {
        let pods = self.pods.lock().await;
        pods.iter().filter(|(name, _)| which(name)).find_map(|(name, pod)| {
            let mut all = pod
                .containers
                .iter()
                .map(|(container, process)| (container, process.status()));
            all.find(|(_, status)| !status.ready)
                .map(|(container, status)| (name.clone(), container.clone(), status))
        })
    }

    /// The names of the pods that were stopped and not started again.
    pub(super) async fn stopped(&self) -> BTreeSet<String> {
        let pods = self.pods.lock().await;
        let stopped = pods.iter().filter(|(_, running)| running.containers.is_empty());
        stopped.map(|(name, _)| name.clone()).collect()
    }

    /// The processes of a pod that run.
    pub(super) async fn processes(&self, pod: &str) -> Result<Vec<Arc<Supervised>>> {
        let pods = self.pods.lock().await;
        let running = pods.get(pod).with_context(|| format!("this stack has no pod {pod}"))?;
        Ok(running
            .containers
            .iter()
            .map(|(_, process)| Arc::clone(process))
            .collect())
    }

    pub(super) async fn signal(&self, pod: &str, signal: Signal) -> Result<()> {
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
