//! The stack in a cluster: one that we made, or any that a kubeconfig leads to.
//!
//! Real helm installs the umbrella into a namespace of its own where Pod Security *restricted* is
//! enforced. Nothing outside that namespace is changed, and the namespace goes with the stack.

mod bundle;
mod companion;
mod connection;
mod forward;
mod image;
mod inside;
mod judge;
mod namespace;
mod part;
mod pods;
mod prometheus;
mod room;
mod shell;
mod stack;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_yaml::Value;

pub(crate) use self::connection::Connection;
pub use self::connection::Target;
pub use self::image::{Image, Images};
pub(crate) use self::judge::Stage;
pub(crate) use self::namespace::Namespace;
use self::namespace::Tenants;
pub(crate) use self::part::{Kind as PartKind, Part};
use self::prometheus::PrometheusPod;
use self::room::Request;
pub(crate) use self::shell::Shell;
pub(crate) use self::stack::ClusterStack;
use self::store::S3Pod;
use super::prometheus::Prometheus;
use super::{Backend, Bucket, ObjectStore, Stack, StackSpec, Store, find_all, stop_soon};
use charts::manifest::{Manifest, parse_all};
use charts::render::{Helm, Prepared, Render, RenderOptions, merge, set};
use kit::run_dir::RunDir;
use kit::step::Cancel;

/// The key of the stack in the umbrella's values.
const SUBCHART: &str = "tempo-stack";
/// The type that the Prometheus operator brings.
const MONITORS: (&str, &str) = ("monitoring.coreos.com/v1", "ServiceMonitor");

/// A proof sends little: so much of a node is enough for a stack, and a node of two cores holds several.
const SMALL_REQUESTS: &str = "
tempo: {resources: {requests: {cpu: 50m, memory: 128Mi}}}
otelCollector: {resources: {requests: {cpu: 25m, memory: 64Mi}}}
";

/// What no cluster proves here, and why.
const UNPROVEN: [(&str, &str); 2] = [
    (
        "network policies",
        "the chart's are off, as by default: the scenario policies switches them on and asks whether they are enforced",
    ),
    (
        "SIGKILL of a container",
        "a container is restarted by SIGTERM from an ephemeral container in its process namespace; at the end of the \
         grace period SIGQUIT ends the program, because SIGKILL from inside doesn't reach the first process",
    ),
];

/// What a cluster backend is made of.
#[derive(Debug)]
pub struct Setup {
    /// `kind` or `context`.
    pub name: &'static str,
    /// Which cluster.
    pub target: Target,
    /// What runs in it.
    pub images: Images,
    /// The helm that installs.
    pub helm: Helm,
    /// Its version.
    pub helm_version: String,
    /// The umbrella chart with its dependencies.
    pub umbrella: Prepared,
    /// Where run folders are.
    pub runs: PathBuf,
    /// Whether the cluster is ours: requests are then sized for the proof and not for a production.
    pub own: bool,
    /// Whether its network is known to enforce NetworkPolicies: where it then doesn't, a proof fails.
    pub enforces_policies: bool,
}

/// Runs stacks in a cluster. Cheap to clone.
#[derive(Clone)]
pub struct ClusterBackend(Arc<Inner>);

struct Inner {
    name: &'static str,
    connection: Connection,
    images: Images,
    /// Values of chart `tempo-stack` that every stack of the run has.
    values: Value,
    stack: Request,
    tenants: Tenants,
    helm: Helm,
    umbrella: Prepared,
    runs: PathBuf,
    run: RunDir,
    monitors: bool,
    enforces_policies: bool,
    versions: BTreeMap<String, String>,
    unproven: Vec<(&'static str, &'static str)>,
}

impl ClusterBackend {
    /// Connects, and removes what killed runs of this machine left in the cluster: returns the names of
    /// those namespaces too. Must be called inside a tokio runtime.
    pub async fn connect(setup: Setup) -> Result<(ClusterBackend, Vec<String>)> {
        let Setup {
            name,
            target,
            images,
            mut helm,
            helm_version,
            umbrella,
            runs,
            own,
            enforces_policies,
        } = setup;
        let mut values = images.values();
        if own {
            merge(
                &mut values,
                serde_yaml::from_str(SMALL_REQUESTS).context("the requests")?,
            );
        }
        let connection = Connection::open(target, &helm).await?;
        helm.kube_version = connection.version().to_owned();
        let run = RunDir::create(&runs, name)?;
        let swept = namespace::sweep(&connection, &runs).await?;
        let monitors = connection.knows(MONITORS.0, MONITORS.1).await?;
        let parts = parts_of(&helm, &umbrella, &values).await?;
        let image = |part: &Part| part.container.image.clone().unwrap_or_default();
        let mut versions: BTreeMap<String, String> = parts
            .iter()
            .map(|part| (part.component.to_string(), image(part)))
            .collect();
        let containers = parts.iter().flat_map(|part| {
            let pods = usize::try_from(part.replicas).unwrap_or(0);
            std::iter::repeat_n(&part.container, pods)
        });
        let stack = Request::of(containers)?;
        versions.insert("helm".into(), helm_version);
        versions.insert("kubernetes".into(), connection.version().to_owned());
        let mut unproven = UNPROVEN.to_vec();
        if !monitors {
            unproven.push((
                "admission of ServiceMonitors and PrometheusRules",
                "the cluster doesn't know the types: they are rendered and used as the operator does, but not installed",
            ));
        }
        let inner = Inner {
            name,
            connection,
            images,
            values,
            stack,
            tenants: Tenants::default(),
            helm,
            umbrella,
            runs,
            run,
            monitors,
            enforces_policies,
            versions,
            unproven,
        };
        Ok((ClusterBackend(Arc::new(inner)), swept))
    }

    /// The way to the cluster.
    pub fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// What runs in the cluster.
    pub fn images(&self) -> &Images {
        &self.0.images
    }

    /// Values of chart `tempo-stack` for every stack of this run: its images, and requests that fit our cluster.
    pub(crate) fn run_values(&self) -> Value {
        self.0.values.clone()
    }

    /// The helm that installs.
    pub fn helm(&self) -> &Helm {
        &self.0.helm
    }

    /// The umbrella chart with its dependencies; the stack's chart is beside it.
    pub fn umbrella(&self) -> &Prepared {
        &self.0.umbrella
    }

    /// Whether the cluster's network is known to enforce NetworkPolicies.
    pub(crate) fn enforces_policies(&self) -> bool {
        self.0.enforces_policies
    }

    /// The namespaces of this run that hold stacks.
    fn tenants(&self) -> &Tenants {
        &self.0.tenants
    }

    /// The folder of this run.
    pub fn folder(&self) -> &Path {
        self.0.run.path()
    }

    /// Ctrl-C.
    pub fn cancel(&self) -> &Cancel {
        self.0.helm.runner.cancel()
    }

    /// Makes a namespace with a name of its own.
    pub async fn namespace(&self, prefix: &str) -> Result<Arc<Namespace>> {
        let made = Namespace::create(self.connection(), prefix, self.folder()).await?;
        Ok(self.0.tenants.add(made))
    }

    /// Makes a namespace of exactly this name; none if one of that name is there.
    pub(crate) async fn namespace_named(&self, name: &str) -> Result<Option<Arc<Namespace>>> {
        let there: Option<ApiNamespace> = self
            .connection()
            .global()
            .get_opt(name)
            .await
            .context("looking for it")?;
        if there.is_some() {
            return Ok(None);
        }
        let made = Namespace::create_named(self.connection(), name, self.folder()).await?;
        Ok(Some(self.0.tenants.add(made)))
    }

    /// A view of a release that a scenario installed itself.
    pub async fn attach(&self, namespace: &Arc<Namespace>, release: &str) -> Result<Arc<ClusterStack>> {
        let step = self
            .connection()
            .helm(format!("helm get manifest {release}"), namespace.name())
            .args(["get", "manifest", release]);
        let text = self.connection().run(step).await?.stdout;
        let render = Render {
            manifests: parse_all(&text)?,
            text,
        };
        Ok(Arc::new(
            ClusterStack::attach(self, namespace.clone(), release, render).await?,
        ))
    }

    /// A pod with a shell, in a namespace of its own.
    pub async fn shell(&self) -> Result<Shell> {
        Shell::start(self.connection(), &self.images().helper, self.folder()).await
    }

    /// Makes objects that a user makes beside a release, from YAML.
    pub async fn create(&self, namespace: &str, objects: &str) -> Result<()> {
        for manifest in parse_all(objects).context("reading the objects beside the release")? {
            let api = Api::namespaced_with(self.connection().client(), namespace, &resource(&manifest));
            make(&api, &manifest, manifest.parse()?).await?;
        }
        Ok(())
    }

    /// Makes cluster-wide objects, from YAML, that a namespace of this run owns: they go with it, however the run
    /// ends.
    pub(crate) async fn create_global(&self, owner: &Namespace, objects: &str) -> Result<()> {
        let namespaces: Api<ApiNamespace> = self.connection().global();
        let found = namespaces.get(owner.name()).await;
        let found = found.with_context(|| format!("looking at namespace {}", owner.name()))?;
        let owner = OwnerReference {
            api_version: "v1".into(),
            kind: "Namespace".into(),
            name: owner.name().to_owned(),
            uid: found.metadata.uid.context("a namespace has a uid")?,
            ..OwnerReference::default()
        };
        for manifest in parse_all(objects).context("reading the cluster-wide objects")? {
            let api = Api::all_with(self.connection().client(), &resource(&manifest));
            let mut object: DynamicObject = manifest.parse()?;
            object.metadata.owner_references = Some(vec![owner.clone()]);
            make(&api, &manifest, object).await?;
        }
        Ok(())
    }

    /// What this cluster needs set, under what the scenario sets.
    fn values(&self, spec: &StackSpec) -> Value {
        let mut stack = self.run_values();
        stop_soon(&mut stack);
        find_all(&mut stack);
        let mut values = Value::Mapping(Default::default());
        if let Some(bytes) = spec.volume_bytes {
            let size = format!("{}Mi", bytes >> 20);
            set(&mut stack, &["tempo", "persistence", "enabled"], false.into());
            set(&mut stack, &["tempo", "persistence", "size"], size.into());
        }
        set(&mut values, &[SUBCHART], stack);
        merge(&mut values, spec.values.clone());
        values
    }

    /// Writes down what explains a failure in a namespace, whether or not its release came to be.
    pub async fn evidence(&self, namespace: &Namespace, release: Option<&str>, folder: &Path) -> Result<()> {
        bundle::write(self.connection(), namespace.name(), release, folder).await
    }

    async fn install(&self, spec: &StackSpec, namespace: &Arc<Namespace>) -> Result<ClusterStack> {
        self.create(namespace.name(), &spec.objects).await?;
        let mut values = self.values(spec);
        let render = self.render(spec, namespace.name(), values.clone()).await?;
        if !self.0.monitors {
            for kind in ["serviceMonitor", "prometheusRule"] {
                set(&mut values, &[SUBCHART, kind, "enabled"], false.into());
            }
        }
        let values = serde_yaml::to_string(&values).context("writing the values")?;
        let installed = self
            .connection()
            .install(&spec.release, self.umbrella(), namespace.name(), values);
        installed.await?;
        ClusterStack::attach(self, namespace.clone(), &spec.release, render).await
    }

    async fn render(&self, spec: &StackSpec, namespace: &str, values: Value) -> Result<Render> {
        let options = RenderOptions {
            release: spec.release.clone(),
            namespace: namespace.to_owned(),
            values_files: Vec::new(),
            values: Some(values),
            apis: Vec::new(),
        };
        let (helm, umbrella) = (self.0.helm.clone(), self.0.umbrella.clone());
        tokio::task::spawn_blocking(move || helm.template(&umbrella, &options))
            .await
            .context("rendering")?
    }
}

fn resource(manifest: &Manifest) -> ApiResource {
    let version = &manifest.api_version;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &manifest.kind))
}

async fn make(api: &Api<DynamicObject>, manifest: &Manifest, object: DynamicObject) -> Result<()> {
    let made = api.create(&PostParams::default(), &object).await;
    made.map(drop).with_context(|| format!("making {}", manifest.id()))
}

/// The workloads of a stack with these values.
async fn parts_of(helm: &Helm, umbrella: &Prepared, stack: &Value) -> Result<Vec<Part>> {
    let mut values = Value::Mapping(Default::default());
    set(&mut values, &[SUBCHART], stack.clone());
    let options = RenderOptions::documented(&umbrella.name).values(values);
    let (renderer, chart) = (helm.clone(), umbrella.clone());
    let render = tokio::task::spawn_blocking(move || renderer.template(&chart, &options))
        .await
        .context("rendering")??;
    Part::all(&render.manifests)
}

#[async_trait]
impl Backend for ClusterBackend {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn versions(&self) -> BTreeMap<String, String> {
        self.0.versions.clone()
    }

    fn unproven(&self) -> &[(&'static str, &'static str)] {
        &self.0.unproven
    }

    fn volumes_are_unlimited(&self) -> Option<String> {
        None
    }

    fn runs(&self) -> &Path {
        &self.0.runs
    }

    async fn start(&self, spec: &StackSpec) -> Result<Arc<dyn Stack>> {
        let namespace = self.namespace(&spec.namespace).await?;
        let error = match self.install(spec, &namespace).await {
            Ok(stack) => return Ok(Arc::new(stack)),
            Err(error) => error,
        };
        let Some(folder) = &spec.evidence else {
            return Err(error);
        };
        match self.evidence(&namespace, Some(&spec.release), folder).await {
            Ok(()) => Err(error),
            Err(also) => Err(error.context(format!("evidence can't be written: {also:#}"))),
        }
    }

    async fn object_store(&self, bucket: &Bucket<'_>) -> Result<Box<dyn ObjectStore>> {
        anyhow::ensure!(
            bucket.store == Store::S3,
            "a cluster has no image of another store than S3"
        );
        let store = S3Pod::start(self.connection(), self.images(), bucket, self.folder()).await?;
        Ok(Box::new(store))
    }

    async fn prometheus(&self, password: &str) -> Result<Box<dyn Prometheus>> {
        let pod = PrometheusPod::start(self, password).await?;
        Ok(Box::new(pod))
    }

    async fn room(&self) -> Result<Option<u32>> {
        let own = namespace::of_run(self.connection(), self.folder()).await?;
        let nodes: Api<Node> = self.connection().global();
        let nodes = nodes.list(&ListParams::default()).await.context("listing nodes")?;
        let pods: Api<Pod> = self.connection().global();
        let pods = pods.list(&ListParams::default()).await.context("listing pods")?;
        let others = pods.iter().filter(|pod| {
            let namespace = pod.metadata.namespace.as_ref();
            namespace.is_some_and(|name| !own.contains(name))
        });
        Ok(Some(room::stacks(&nodes.items, others, self.0.stack)?))
    }

    fn cluster(&self) -> Option<&ClusterBackend> {
        Some(self)
    }
}

impl std::fmt::Debug for ClusterBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ClusterBackend").field(self.connection()).finish()
    }
}
