//! What scenarios ask of a stack of processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use charts::render::{Render, merge};
use nix::sys::signal::Signal;
use nix::unistd::{SysconfVar, sysconf};
use serde_json::json;
use serde_yaml::Value;

use super::materialise::Kind;
use super::objects::Pod;
use super::pod::RunningPod;
use super::volume::{repair, take_room};
use super::{LocalStack, objects};
use crate::backend::{
    Component, DATA, Endpoints, Fault, Memory, QUEUE, Stack, Stop, cpu_ticks, files_below, longest, peak_memory,
};
use crate::client::credentials::http_client;

/// How long a program may take to show its metrics.
const METRICS_TIMEOUT: Duration = Duration::from_secs(10);

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

    async fn upgrade(&self, values: Value, timeout: Duration) -> Result<(Arc<dyn Stack>, Result<()>)> {
        let (next, rolled_out) = self.next(values, timeout).await?;
        Ok((next, rolled_out))
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
        self.until_ready(|_| true, timeout).await
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
        self.change(Kind::Secret, name, data)
    }

    async fn change_config_map(&self, name: &str, data: BTreeMap<String, String>) -> Result<()> {
        let known = self.objects.config_maps.contains_key(name);
        anyhow::ensure!(known, "this stack has no ConfigMap {name}");
        self.change(Kind::ConfigMap, name, data)
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
        self.until_ready(|name| name == pod, timeout).await
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
        let folders = self.host_folders(component, folder)?;
        let files: BTreeSet<String> = folders.iter().flat_map(|folder| files_below(folder)).collect();
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

impl LocalStack {
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
}
