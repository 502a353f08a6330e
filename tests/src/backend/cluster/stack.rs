//! A release in a namespace of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use charts::quantity;
use charts::render::Render;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kit::failure::Failure;
use kit::step::Cancel;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, Request};
use serde_json::json;
use serde_yaml::Value;
use tokio::sync::Mutex;

use super::connection::Connection;
use super::forward::Forwards;
use super::judge::{Cause, Facts, judge};
use super::namespace::{Namespace, Tenants};
use super::part::{COMPONENT, Part};
use super::pods::PERIOD;
use super::{ClusterBackend, bundle, inside, pods};
use crate::backend::{BALLAST, DATA};
use crate::backend::{Component, Endpoints, Memory, Stack, Stop, longest, peak_memory};
use crate::diagnostics;
use crate::wait::{Look, wait_every};

/// What a cluster takes beyond a pod's grace period to remove it.
const REMOVED: Duration = Duration::from_secs(60);
/// How soon the kubelet tells of a container that ended.
const TOLD: Duration = Duration::from_secs(30);

pub struct ClusterStack {
    connection: Connection,
    helper: String,
    cancel: Cancel,
    tenants: Tenants,
    namespace: Arc<Namespace>,
    release: String,
    render: Render,
    parts: Vec<Part>,
    services: Vec<(Component, Service)>,
    endpoints: Endpoints,
    forwards: Forwards,
    folder: PathBuf,
    past: Mutex<BTreeMap<Component, Past>>,
}

/// What went with pods that are gone, and what this harness did to the one that runs.
#[derive(Debug, Clone, Default)]
struct Past {
    logs: String,
    crashes: u32,
    /// How often the program of a pod was asked to stop, by the pod's uid: the next may have its name.
    asked: BTreeMap<String, u32>,
}

impl Past {
    fn asked_for(&self, pod: &Pod) -> u32 {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.asked.get(uid).copied().unwrap_or(0)
    }
}

impl ClusterStack {
    /// A view of a release that is installed.
    pub async fn attach(
        backend: &ClusterBackend,
        namespace: Arc<Namespace>,
        release: &str,
        render: Render,
    ) -> Result<ClusterStack> {
        let parts = Part::all(&render.manifests)?;
        let mut services = Vec::new();
        for manifest in render.manifests.iter().filter(|m| m.kind == "Service") {
            let service = manifest.parse::<Service>()?;
            let selected = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let label = |labels: Option<&BTreeMap<String, String>>| labels.and_then(|l| l.get(COMPONENT)).cloned();
            // One that leads to several parts of Tempo selects none of them, and is Tempo's by its own label.
            let label = label(selected).or_else(|| label(service.metadata.labels.as_ref()));
            if let Some(component) = label.and_then(|label| Component::from_label(&label)) {
                services.push((component, service));
            }
        }
        let (forwards, endpoints) = Forwards::open(backend.connection(), namespace.name(), &services).await?;
        Ok(ClusterStack {
            connection: backend.connection().clone(),
            helper: backend.images().helper.to_string(),
            cancel: backend.cancel().clone(),
            tenants: backend.tenants().clone(),
            folder: backend.folder().to_path_buf(),
            namespace,
            release: release.to_owned(),
            render,
            parts,
            services,
            endpoints,
            forwards,
            past: Mutex::default(),
        })
    }

    pub fn release(&self) -> &str {
        &self.release
    }

    pub fn part(&self, component: Component) -> Result<&Part> {
        let mut parts = self.parts.iter();
        parts
            .find(|part| part.component == component)
            .with_context(|| format!("this stack has no {component}"))
    }

    /// The workloads of a component: of Tempo there may be one for each of its parts.
    fn parts_of(&self, component: Component) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |part| part.component == component)
    }

    pub async fn pod(&self, component: Component) -> Result<Pod> {
        self.part(component)?.pod(&self.connection, self.namespace.name()).await
    }

    /// Runs a shell script beside a component's program, as its user: /proc/1 is the program.
    pub async fn beside(&self, component: Component, script: &str) -> Result<inside::Printed> {
        let part = self.part(component)?;
        let pod = part.pod(&self.connection, self.namespace.name()).await?;
        let api: Api<Pod> = self.connection.api(self.namespace.name());
        inside::beside(&api, pods::name(&pod), &part.container.name, &self.helper, script).await
    }

    /// The same beside the program of each of its pods; one that has none is an error.
    async fn beside_each(&self, component: Component, script: &str) -> Result<Vec<inside::Printed>> {
        let part = self.part(component)?;
        let api: Api<Pod> = self.connection.api(self.namespace.name());
        let mut printed = Vec::new();
        for pod in self.alive(part).await? {
            printed.push(inside::beside(&api, pods::name(&pod), &part.container.name, &self.helper, script).await?);
        }
        Ok(printed)
    }

    /// The pods of a component that run or start; an error if there is none.
    async fn alive(&self, part: &Part) -> Result<Vec<Pod>> {
        let mut found = part.pods(&self.connection, self.namespace.name()).await?;
        found.retain(|pod| !pods::is_ending(pod));
        anyhow::ensure!(!found.is_empty(), "{} has no pod", part.name);
        Ok(found)
    }

    /// Runs a command in a container of a component's pod.
    pub async fn exec(&self, component: Component, container: &str, command: &[&str]) -> Result<inside::Printed> {
        let pod = self.pod(component).await?;
        let api: Api<Pod> = self.connection.api(self.namespace.name());
        inside::exec(&api, pods::name(&pod), container, command).await
    }

    /// Why a workload isn't ready; none if it is.
    async fn look(&self, part: &Part) -> Result<Option<Cause>> {
        let namespace = self.namespace.name();
        let progress = part.progress(&self.connection, namespace, &[]).await?;
        let found = part.pods(&self.connection, namespace).await?;
        let ready = found.iter().filter(|pod| pods::is_ready(pod)).count();
        if progress.done && usize::try_from(progress.wanted).is_ok_and(|wanted| wanted == ready) {
            return Ok(None);
        }
        let events = bundle::events(&self.connection, namespace).await?;
        let progress = part.progress(&self.connection, namespace, &events).await?;
        let claims: Api<PersistentVolumeClaim> = self.connection.api(namespace);
        let claims = claims.list(&ListParams::default()).await.context("listing claims")?;
        let past = self.past.lock().await.get(&part.component).cloned().unwrap_or_default();
        let asked_for = found.iter().map(|pod| past.asked_for(pod)).max().unwrap_or(0);
        Ok(Some(judge(&Facts {
            refused: progress.refused,
            pods: found,
            events,
            claims: claims.items,
            asked_for,
        })))
    }

    /// The first line of trouble in the log of the container that a cause points to.
    async fn said(&self, cause: &Cause) -> String {
        let Some((pod, container)) = &cause.log else {
            return String::new();
        };
        let api: Api<Pod> = self.connection.api(self.namespace.name());
        for previous in [false, true] {
            let Ok(log) = bundle::log(&api, pod, container, previous).await else {
                continue;
            };
            if let Some(said) = diagnostics::first_cause(&marked(pod, container, &log)) {
                return format!(": {said}");
            }
        }
        String::new()
    }

    async fn not_ready(&self, part: &Part, cause: &Cause, after: Duration) -> anyhow::Error {
        let said = self.said(cause).await;
        let Cause { stage, text, .. } = cause;
        let what = format!(
            "{} is not ready after {:.1} s: {stage}: {text}{said}",
            part.component,
            after.as_secs_f64()
        );
        Failure::findings(what, "")
    }

    /// The logs of a component's pods as they are now.
    async fn logs_now(&self, part: &Part) -> Result<String> {
        let api: Api<Pod> = self.connection.api(self.namespace.name());
        let mut text = String::new();
        for pod in part.pods(&self.connection, self.namespace.name()).await? {
            for status in pods::statuses(&pod) {
                for previous in [true, false] {
                    // A container that never ran has no log, and what was rotated away is gone.
                    if let Ok(log) = bundle::log(&api, pods::name(&pod), &status.name, previous).await {
                        text.push_str(&marked(pods::name(&pod), &status.name, &log));
                    }
                }
            }
        }
        Ok(text)
    }

    /// Writes down what goes with the pods of a component.
    async fn remember(&self, part: &Part) -> Result<()> {
        let logs = self.logs_now(part).await?;
        let found = part.pods(&self.connection, self.namespace.name()).await?;
        let mut past = self.past.lock().await;
        let past = past.entry(part.component).or_default();
        past.logs.push_str(&logs);
        for pod in &found {
            past.crashes += crashes(pod, past.asked_for(pod));
        }
        Ok(())
    }
}

/// Ends the program of a pod's container and waits until the kubelet knows.
async fn restart_program(part: &Part, api: &Api<Pod>, helper: &str, pod: &Pod, cancel: &Cancel) -> Result<Stop> {
    let (name, container) = (pods::name(pod), &part.container.name);
    let before = pods::status(pod, container).and_then(|s| s.container_id.clone());
    // The script ends with the program: both are in one process namespace. SIGKILL from inside it
    // would not reach its first process (pid_namespaces(7)); Go ends at once on SIGQUIT.
    let grace = part.grace;
    let script = format!("kill -TERM 1; sleep {grace}; kill -QUIT 1; sleep {grace}");
    let begun = Instant::now();
    inside::beside(api, name, container, helper, &script).await?;
    let elapsed = begun.elapsed();
    let what = format!("the kubelet's word that container {container} of pod {name} ended");
    wait_every(PERIOD, &what, TOLD, cancel, || async {
        let now = api.get(name).await.with_context(|| format!("looking at pod {name}"))?;
        let status = pods::status(&now, container);
        let ended = status.is_some_and(|s| s.container_id != before || !pods::runs(s));
        Ok(if ended {
            Look::Found(())
        } else {
            Look::NotYet("it runs".into())
        })
    })
    .await?;
    Ok(Stop {
        elapsed,
        killed: elapsed >= Duration::from_secs(u64::try_from(grace).unwrap_or(0)),
    })
}

/// How often the programs of a pod ended by themselves.
fn crashes(pod: &Pod, asked_for: u32) -> u32 {
    pods::statuses(pod)
        .map(pods::ends)
        .sum::<u32>()
        .saturating_sub(asked_for)
}

/// A log as [`diagnostics`] reads it.
fn marked(pod: &str, container: &str, log: &str) -> String {
    format!("=== start of {container} in {pod}\n{log}\n")
}

#[async_trait]
impl Stack for ClusterStack {
    fn render(&self) -> &Render {
        &self.render
    }

    fn namespace(&self) -> &str {
        self.namespace.name()
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    fn discovery(&self) -> Result<Value> {
        let found = json!({"role": "endpoints", "namespaces": {"names": [self.namespace.name()]}});
        serde_yaml::to_value(json!({"kubernetes_sd_configs": [found]})).context("the targets of Prometheus")
    }

    fn reach(&self, url: &str) -> Result<String> {
        let rest = url
            .strip_prefix("http://")
            .with_context(|| format!("{url} is not an http URL"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        let mut labels = host.split('.');
        let (name, namespace) = (labels.next().unwrap_or_default(), labels.next());
        if namespace.is_some_and(|namespace| namespace != self.namespace.name()) {
            bail!("{url} leads to another namespace");
        }
        let address = self
            .address(name, port)
            .with_context(|| format!("{url} leads to no Service of this stack"))?;
        let slash = if path.is_empty() { "" } else { "/" };
        Ok(format!("http://{address}{slash}{path}"))
    }

    async fn wait_ready(&self, timeout: Duration) -> Result<()> {
        let begun = Instant::now();
        // What is waited for the room that other scenarios take is no fault of this one.
        let mut crowded = Duration::ZERO;
        for part in &self.parts {
            loop {
                self.cancel.check()?;
                let looked = Instant::now();
                let late = begun.elapsed().saturating_sub(crowded) > timeout;
                match self.look(part).await {
                    Ok(None) => break,
                    Ok(Some(cause)) if cause.is_want_of_room() && self.tenants.any_but(self.namespace.name()) => {
                        tokio::time::sleep(PERIOD).await;
                        crowded += looked.elapsed();
                        continue;
                    }
                    Ok(Some(cause)) if cause.hopeless || late => {
                        return Err(self.not_ready(part, &cause, begun.elapsed()).await);
                    }
                    // The API server may be late now and then.
                    Err(error) if late => return Err(error),
                    Ok(Some(_)) | Err(_) => {}
                }
                tokio::time::sleep(PERIOD).await;
            }
        }
        Ok(())
    }

    async fn pod_names(&self, component: Component) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for part in self.parts_of(component) {
            let found = part.pods(&self.connection, self.namespace.name()).await?;
            names.extend(found.iter().map(|pod| pods::name(pod).to_owned()));
        }
        Ok(names)
    }

    async fn metrics(&self, component: Component) -> Result<BTreeMap<String, String>> {
        let api: Api<Pod> = self.connection.api(self.namespace.name());
        let mut all = BTreeMap::new();
        for part in self.parts_of(component) {
            let mut ports = part.container.ports.iter().flatten();
            let port = ports
                .find(|port| {
                    port.name
                        .as_deref()
                        .is_some_and(|name| component.shows_metrics_at(name))
                })
                .with_context(|| format!("{} has no port for its metrics", part.name))?
                .container_port;
            let found = part.pods(&self.connection, self.namespace.name()).await?;
            for pod in found.iter().filter(|pod| !pods::is_ending(pod)).map(pods::name) {
                // The API server asks the pod itself: a Service would choose one.
                let request = Request::new(api.resource_url())
                    .get_subresource("proxy/metrics", &format!("{pod}:{port}"))
                    .with_context(|| format!("asking pod {pod} for its metrics"))?;
                let client = api.clone().into_client();
                let text = client
                    .request_text(request)
                    .await
                    .with_context(|| format!("asking pod {pod} for its metrics"))?;
                all.insert(pod.to_owned(), text);
            }
        }
        Ok(all)
    }

    async fn restart_container(&self, component: Component) -> Result<Stop> {
        let part = self.part(component)?;
        let api: Api<Pod> = self.connection.api(self.namespace.name());
        let alive = self.alive(part).await?;
        // The helpers are there before the clock runs.
        for pod in &alive {
            inside::beside(&api, pods::name(pod), &part.container.name, &self.helper, "true").await?;
        }
        {
            let mut past = self.past.lock().await;
            let asked = &mut past.entry(component).or_default().asked;
            for uid in alive.iter().filter_map(|pod| pod.metadata.uid.clone()) {
                *asked.entry(uid).or_default() += 1;
            }
        }
        let restarts = alive.into_iter().map(|pod| {
            let (part, api) = (part.clone(), api.clone());
            let (helper, cancel) = (self.helper.clone(), self.cancel.clone());
            async move { restart_program(&part, &api, &helper, &pod, &cancel).await }
        });
        let stop = longest(restarts).await;
        self.forwards.reset(component);
        stop
    }

    async fn stop_pod(&self, component: Component) -> Result<Stop> {
        let part = self.part(component)?;
        let namespace = self.namespace.name();
        self.remember(part).await?;
        let begun = Instant::now();
        part.scale(&self.connection, namespace, 0).await?;
        let grace = Duration::from_secs(u64::try_from(part.grace).unwrap_or(0));
        let what = format!("the end of the pod of {component} after its grace period");
        wait_every(PERIOD, &what, grace + REMOVED, &self.cancel, || async {
            let left = part.pods(&self.connection, namespace).await?.len();
            Ok(if left == 0 {
                Look::Found(())
            } else {
                Look::NotYet(format!("{left} pods"))
            })
        })
        .await?;
        self.forwards.reset(component);
        Ok(Stop {
            elapsed: begun.elapsed(),
            killed: begun.elapsed() >= grace,
        })
    }

    async fn start_pod(&self, component: Component) -> Result<()> {
        let part = self.part(component)?;
        part.scale(&self.connection, self.namespace.name(), part.replicas).await
    }

    async fn memory(&self, component: Component) -> Result<Memory> {
        let part = self.part(component)?;
        let limits = part.container.resources.as_ref().and_then(|r| r.limits.as_ref());
        let limit = limits
            .and_then(|limits| limits.get("memory"))
            .with_context(|| format!("{component} has no memory limit"))?;
        let mut peak = 0;
        for status in self.beside_each(component, "cat /proc/1/status").await? {
            peak = peak.max(peak_memory(&status.stdout)?);
        }
        Ok(Memory {
            peak,
            limit: quantity::bytes(&limit.0).with_context(|| format!("{} is not a size", limit.0))?,
        })
    }

    async fn crashes(&self, component: Component) -> Result<u32> {
        let past = self.past.lock().await.get(&component).cloned().unwrap_or_default();
        let mut count = past.crashes;
        for part in self.parts_of(component) {
            let found = part.pods(&self.connection, self.namespace.name()).await?;
            count += found.iter().map(|pod| crashes(pod, past.asked_for(pod))).sum::<u32>();
        }
        Ok(count)
    }

    async fn logs(&self, component: Component) -> Result<String> {
        let past = self.past.lock().await.get(&component).map(|past| past.logs.clone());
        let mut text = past.unwrap_or_default();
        for part in self.parts_of(component) {
            text.push_str(&self.logs_now(part).await?);
        }
        Ok(text)
    }

    async fn files(&self, component: Component, folder: &str) -> Result<Option<Vec<String>>> {
        let root = format!("/proc/1/root{}/", folder.trim_end_matches('/'));
        let mut files = BTreeSet::new();
        for found in self.beside_each(component, &inside::listing(&root)).await? {
            let lines = inside::listed(&found)?;
            files.extend(
                lines
                    .iter()
                    .filter_map(|line| line.strip_prefix(&root).map(str::to_owned)),
            );
        }
        Ok(Some(files.into_iter().collect()))
    }

    async fn take_room(&self, bytes: u64) -> Result<()> {
        let file = format!("/proc/1/root{DATA}/{BALLAST}");
        let script = match bytes >> 20 {
            0 => format!("rm {file}"),
            mebibytes => format!("dd if=/dev/zero of={file} bs=1048576 count={mebibytes}"),
        };
        for printed in self.beside_each(Component::Tempo, &script).await? {
            anyhow::ensure!(printed.success == Some(true), "{script}: {}", printed.stderr.trim());
        }
        Ok(())
    }

    async fn configs(&self) -> Result<BTreeMap<String, String>> {
        let mut configs = BTreeMap::new();
        for manifest in self.render.manifests.iter().filter(|m| m.kind == "ConfigMap") {
            for (key, text) in charts::workload::config_map_data(manifest)? {
                configs.insert(format!("{}.{key}", manifest.name), text);
            }
        }
        Ok(configs)
    }

    async fn evidence(&self, folder: &Path) -> Result<Option<String>> {
        bundle::write(&self.connection, self.namespace.name(), Some(&self.release), folder).await?;
        for part in &self.parts {
            // What is gone or can't be asked has no cause to tell; the files say so.
            if let Ok(Some(cause)) = self.look(part).await {
                let said = self.said(&cause).await;
                return Ok(Some(format!(
                    "{}: {}: {}{said}",
                    part.component, cause.stage, cause.text
                )));
            }
        }
        Ok(None)
    }

    async fn shut_down(&self) -> Result<()> {
        for component in Component::ALL {
            self.forwards.reset(component);
        }
        self.namespace.remove().await
    }
}

impl ClusterStack {
    /// The pods of the release with this component label.
    pub(crate) async fn pods_of(&self, component: &str) -> Result<Vec<String>> {
        let api: Api<Pod> = self.connection.api(self.namespace.name());
        let labels = format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/component={component}",
            self.release
        );
        let list = api
            .list(&ListParams::default().labels(&labels))
            .await
            .context("listing pods")?;
        Ok(list.iter().map(|pod| pods::name(pod).to_owned()).collect())
    }

    /// Changes the workload of a component, by a strategic merge patch.
    pub async fn patch(&self, component: Component, patch: &serde_json::Value) -> Result<()> {
        self.part(component)?
            .patch(&self.connection, self.namespace.name(), patch)
            .await
    }

    /// Applies one of the rendered objects, `<kind>/<name>`, as `kubectl apply --server-side` does.
    pub async fn apply(&self, manifests: &str, id: &str) -> Result<()> {
        let manifests = charts::manifest::parse_all(manifests)?;
        let manifest = manifests.iter().find(|manifest| manifest.id() == id);
        let object = manifest
            .with_context(|| format!("{id} isn't rendered"))?
            .parse::<DynamicObject>()?;
        let types = object.types.clone().with_context(|| format!("{id} has no type"))?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
        let api: Api<DynamicObject> = Api::namespaced_with(self.connection.client(), self.namespace.name(), &resource);
        let params = PatchParams::apply("kubectl").force();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        api.patch(name, &params, &Patch::Apply(&object))
            .await
            .with_context(|| format!("applying {id}"))?;
        Ok(())
    }

    /// Connections to the component's pods lead to those that there are now.
    pub fn forget(&self, component: Component) {
        self.forwards.reset(component);
    }

    /// Every TCP port of the release's Services, by the Service's name.
    pub(crate) fn tcp_ports(&self) -> Vec<(String, i32)> {
        let mut ports = Vec::new();
        for (_, service) in &self.services {
            let name = service.metadata.name.clone().unwrap_or_default();
            let all = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            let tcp = all.filter(|port| port.protocol.as_deref() != Some("UDP"));
            ports.extend(tcp.map(|port| (name.clone(), port.port)));
        }
        ports
    }

    fn address(&self, service: &str, port: &str) -> Option<SocketAddr> {
        let named = |s: &&(Component, Service)| s.1.metadata.name.as_deref() == Some(service);
        let (component, service) = self.services.iter().find(named)?;
        let mut ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let found = ports.find(|p| p.port.to_string() == port && p.protocol.as_deref() != Some("UDP"))?;
        self.endpoints.get(*component, found.name.as_deref()?).ok()
    }
}
