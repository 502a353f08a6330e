//! Where a stack runs. Scenarios are written once against these traits.

pub mod cluster;
#[cfg(test)]
pub mod fake;
pub mod local;
pub mod prometheus;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use charts::render::{Render, set};
use serde_yaml::Value;
use tokio::task::JoinSet;

use self::cluster::ClusterBackend;
use self::local::{Beside, Broker, Credentials, Memcached, Prepare};
use self::prometheus::Prometheus;

/// A program of the stack; its name is the value of `app.kubernetes.io/component`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Grafana Tempo.
    Tempo,
    /// The OpenTelemetry Collector gateway.
    OtelCollector,
    /// The nginx that is the guarded door to queries, where the values ask for one.
    QueryProxy,
}

impl Component {
    /// Those of every stack, in the order in which data flows backwards.
    pub const ALL: [Component; 2] = [Component::Tempo, Component::OtelCollector];

    /// The name of the port at which its program shows its metrics; nginx has none.
    pub fn metrics_port(self) -> &'static str {
        match self {
            Component::Tempo => "http",
            Component::OtelCollector | Component::QueryProxy => "metrics",
        }
    }

    /// Whether a port of that name is the one with its metrics: of a part of Tempo it has a name of its own, unless
    /// queries are answered there too.
    pub(crate) fn shows_metrics_at(self, port: &str) -> bool {
        port == self.metrics_port() || (self == Component::Tempo && port == "http-metrics")
    }

    /// The value of the component label.
    pub fn label(self) -> &'static str {
        match self {
            Component::Tempo => "tempo",
            Component::OtelCollector => "otel-collector",
            Component::QueryProxy => "query-proxy",
        }
    }

    /// The key of the component in the values of `tempo-stack`.
    pub(crate) fn values_key(self) -> &'static str {
        match self {
            Component::Tempo => "tempo",
            Component::OtelCollector => "otelCollector",
            Component::QueryProxy => "queryProxy",
        }
    }

    /// The component whose pods have that label: its own, or that of one of its parts (`tempo-querier`).
    pub(crate) fn from_label(label: &str) -> Option<Component> {
        let mut all = Component::ALL.into_iter().chain([Component::QueryProxy]);
        all.find(|component| {
            let part = label.strip_prefix(component.label());
            part.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What to install.
#[derive(Debug, Clone)]
pub struct StackSpec {
    /// The release's name.
    pub release: String,
    /// The release's namespace.
    pub namespace: String,
    /// Values of the umbrella chart, over its defaults.
    pub values: Value,
    /// Objects that the user makes beside the release, as YAML: a Secret with credentials.
    pub objects: String,
    /// Where its Services can be reached on this machine; a cluster has ways of its own.
    pub published: Published,
    /// Bytes that the volume of Tempo holds; none: as many as there is room for. Not every backend can, and a
    /// cluster does it with an emptyDir in the place of the claim.
    pub volume_bytes: Option<u64>,
    /// Bytes of a disk of its own for the queue of each Collector; none: it is with everything else. The local
    /// backend can.
    pub queue_bytes: Option<u64>,
    /// Where a start that fails leaves what explains it, if its backend knows more than the error says.
    pub evidence: Option<PathBuf>,
}

/// Where the Services of a stack of processes can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// At addresses of the stack's own network, at the ports of the Services.
    OwnAddresses,
    /// On 127.0.0.1 as well, at the ports of the Services; of two Services with the same port the
    /// Collector's is there.
    Localhost,
    /// On 127.0.0.1 as well, at ports that are free.
    LocalhostFreePorts,
}

/// What goes wrong with a pod whose program is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing gets to it or away from it through a Service, and what was connected is not any more.
    CutOff,
    /// Its programs stand still (SIGSTOP).
    Frozen,
    /// All that goes to it and away from it through a Service is held back for so long.
    Slow(Duration),
    /// Connections to it and from it through a Service stay open, and nothing gets through until the fault ends:
    /// the way is half open.
    Silent,
    /// Connections to it and from it through a Service break after so many bytes in one direction.
    Breaking(u64),
    /// Requests over HTTP that go to it through a Service are answered with this status instead.
    Refusing(u16),
}

impl StackSpec {
    /// The umbrella in namespace `observability`, with these values.
    pub fn new(values: Value) -> StackSpec {
        StackSpec {
            release: "observability".into(),
            namespace: "observability".into(),
            values,
            objects: String::new(),
            published: Published::OwnAddresses,
            volume_bytes: None,
            queue_bytes: None,
            evidence: None,
        }
    }
}

/// Makes pods stop soon, in values of the chart `tempo-stack`: a Tempo that was queried stops only when
/// its grace period ends, and a Collector whose pod is removed waits for as long as Tempo may be away.
pub(crate) fn stop_soon(stack: &mut Value) {
    set(stack, &["tempo", "terminationGracePeriodSeconds"], 5.into());
    set(stack, &["otelCollector", "drainSeconds"], 0.into());
}

/// Lets a search list everything that a proof sent, in values of the chart `tempo-stack`, which derives
/// a lower limit from the memory. By `tempo.config`, which older charts read too.
pub(crate) fn find_all(stack: &mut Value) {
    let limit = ["tempo", "config", "query_frontend", "search", "max_result_limit"];
    set(stack, &limit, MOST_FOUND.into());
}

/// The folder that Tempo's volume is mounted on.
pub(crate) const DATA: &str = "/var/tempo";
/// The folder that a Collector keeps its queue in.
pub(crate) const QUEUE: &str = "/var/lib/otelcol";
/// The file that takes room on it.
const BALLAST: &str = "ballast";

/// Traces that a search may list in a stack of ours: what Tempo allows by default since 2.9.2.
const MOST_FOUND: u32 = 262_144;

/// Where the ports of the stack's Services are reached from here, by component and port name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints(pub BTreeMap<(Component, String), SocketAddr>);

impl Endpoints {
    /// The address of a Service port: `get(Component::Tempo, "http")`.
    pub fn get(&self, component: Component, port: &str) -> Result<SocketAddr> {
        self.0
            .get(&(component, port.to_owned()))
            .copied()
            .with_context(|| format!("no Service of {component} has a port named {port}"))
    }

    /// A URL on a Service port, without a slash at its end.
    pub fn url(&self, component: Component, port: &str) -> Result<String> {
        Ok(format!("http://{}", self.get(component, port)?))
    }
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stop {
    /// From SIGTERM to the end.
    pub elapsed: Duration,
    /// Whether the grace period ran out and it was killed.
    pub killed: bool,
}

/// Waits for all stops at the same time; the longest of them counts.
pub(crate) async fn longest<F: Future<Output = Result<Stop>> + Send + 'static>(
    stops: impl Iterator<Item = F>,
) -> Result<Stop> {
    let mut running: JoinSet<Result<Stop>> = stops.collect();
    let mut longest = Stop {
        elapsed: Duration::ZERO,
        killed: false,
    };
    while let Some(stop) = running.join_next().await {
        let stop = stop.context("a stop ended badly")??;
        longest = Stop {
            elapsed: longest.elapsed.max(stop.elapsed),
            killed: longest.killed || stop.killed,
        };
    }
    Ok(longest)
}

/// Memory of a program, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The highest resident size so far of the running process.
    pub peak: u64,
    /// The limit that the chart renders.
    pub limit: u64,
}

/// Runs stacks.
#[async_trait]
pub trait Backend: Send + Sync {
    /// `local`, `kind`, `context`.
    fn name(&self) -> &'static str;

    /// The version of each program that runs.
    fn versions(&self) -> BTreeMap<String, String>;

    /// What this backend can't prove, each with the reason.
    fn unproven(&self) -> &[(&'static str, &'static str)];

    /// Why it can't limit what a volume holds; none if it can, see [`StackSpec::volume_bytes`].
    fn volumes_are_unlimited(&self) -> Option<String> {
        Some("this backend can't limit what a volume holds".into())
    }

    /// Where this machine keeps the folders of runs.
    fn runs(&self) -> &Path;

    /// Renders and starts a stack. It may not be ready yet: see [`Stack::wait_ready`].
    async fn start(&self, spec: &StackSpec) -> Result<Arc<dyn Stack>>;

    /// Starts a real object store with one empty bucket that stacks of this backend reach. A cluster has S3 only.
    async fn object_store(&self, bucket: &Bucket<'_>) -> Result<Box<dyn ObjectStore>>;

    /// Starts a real Prometheus with that password, which stacks of this backend reach.
    async fn prometheus(&self, password: &str) -> Result<Box<dyn Prometheus>>;

    /// Starts a real Kafka that stacks of this backend reach, of the jars that were installed in that folder. Only who
    /// has these credentials is let in.
    async fn kafka(&self, _installed: &Path, _credentials: Credentials) -> Result<Broker> {
        bail!("this backend starts no Kafka")
    }

    /// Starts a program of this machine at an address of its own, at which it has this port; stacks of this backend
    /// reach it.
    async fn beside(&self, name: &'static str, _program: &Path, _port: u16, _prepare: Prepare) -> Result<Beside> {
        bail!("this backend starts no {name}")
    }

    /// Starts a real memcached that stacks of this backend reach.
    async fn memcached(&self) -> Result<Memcached> {
        bail!("this backend starts no memcached")
    }

    /// How many stacks there is room for beside what others run; none where nobody counts.
    async fn room(&self) -> Result<Option<u32>> {
        Ok(None)
    }

    /// The cluster that stacks run in; none where they run without one.
    fn cluster(&self) -> Option<&ClusterBackend> {
        None
    }
}

/// Which object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// S3, as versitygw speaks it.
    S3,
    /// The same over TLS, with a certificate that no public authority signed.
    S3Tls,
    /// S3 and STS as Amazon has them, over such TLS: moto in the folder that pip installed it into. Only who has the
    /// temporary credentials of [`ObjectStore::session`] is let in.
    Aws(PathBuf),
    /// Google Cloud Storage, as fake-gcs-server speaks it.
    Gcs,
    /// Azure's blobs, as Azurite speaks it: the script that Node runs.
    Azure(PathBuf),
}

/// A bucket and who may use it.
#[derive(Debug, Clone)]
pub struct Bucket<'a> {
    /// The store that it is in.
    pub store: Store,
    /// Its name.
    pub name: &'a str,
    /// The access key id, or the name of the account.
    pub access_key: &'a str,
    /// The secret access key, or the key of the account.
    pub secret_key: &'a str,
}

/// Temporary credentials, as STS gives them.
#[derive(Debug, Clone)]
pub struct Session {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: String,
    /// The session token, without which the two don't count.
    pub token: String,
}

/// What a store knows of an object beside its content.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its key.
    pub name: String,
    /// The value of `x-amz-server-side-encryption` in its answer.
    pub encryption: Option<String>,
    /// The key of the key management service that encrypts it.
    pub kms_key: Option<String>,
    /// Its storage class.
    pub storage_class: String,
    /// How many tags it has.
    pub tags: usize,
}

/// An object store that runs. Dropping it stops and removes it.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Host and port as Tempo reaches it, without a scheme.
    fn endpoint(&self) -> String;

    /// Its certificate in PEM, if it has one that only we know.
    fn certificate(&self) -> Option<&str> {
        None
    }

    /// The credentials that it gave, if nobody knows them before.
    fn session(&self) -> Option<&Session> {
        None
    }

    /// What it knows of its objects.
    async fn kept(&self) -> Result<Vec<Kept>> {
        bail!("this store doesn't tell what it knows of objects")
    }

    /// The keys of all objects, those of the server's own included.
    async fn objects(&self) -> Result<Vec<String>>;

    /// Puts a file of this machine into the bucket, over the store's API.
    async fn put(&self, key: &str, _file: &Path) -> Result<()> {
        bail!("this backend can't put {key} into a bucket")
    }

    /// Lets something go wrong with the way to it until [`ObjectStore::recover`].
    async fn disturb(&self, fault: Fault) -> Result<()> {
        bail!("this backend can't do this to a store: {fault:?}")
    }

    /// Ends that.
    async fn recover(&self) -> Result<()> {
        bail!("this backend did nothing to the store")
    }

    /// How often that met a connection so far: ended it, held it back or answered for it.
    fn disturbed(&self) -> u64 {
        0
    }

    /// Stops it and waits until nothing of it is left.
    async fn shut_down(&self) -> Result<()>;
}

/// A stack that runs. Dropping it stops and removes it.
#[async_trait]
pub trait Stack: Send + Sync {
    /// What was rendered.
    fn render(&self) -> &Render;

    /// Whether the Collector's receivers take TLS only.
    fn takes_tls(&self) -> bool {
        let mut pods = self.render().manifests.iter().filter(|m| m.kind == "Service");
        pods.any(|service| {
            let ports = service.get(&["spec", "ports"]).and_then(Value::as_sequence);
            let secure = |port: &Value| {
                let text = |key: &str| port.get(key).and_then(Value::as_str);
                text("name").is_some_and(|name| name.starts_with("otlp-")) && text("appProtocol") == Some("https")
            };
            ports.into_iter().flatten().any(secure)
        })
    }

    /// The tenant in whose name the chart's own test asks; none where Tempo has no tenants, or there is no test.
    fn tenant(&self) -> Option<String> {
        let mut objects = self.render().manifests.iter();
        let test = objects.find(|m| m.kind == "Pod" && m.name.ends_with("-test"))?;
        let containers = test.get(&["spec", "containers"]).and_then(Value::as_sequence)?;
        let mut variables = containers.iter().filter_map(|c| c.get("env")?.as_sequence()).flatten();
        let tenant = variables.find(|v| v.get("name").and_then(Value::as_str) == Some("TENANT"))?;
        tenant.get("value")?.as_str().map(str::to_owned)
    }

    /// What the same release would be with further values.
    async fn render_again(&self, _values: Value) -> Result<Render> {
        bail!("this backend doesn't render a stack that runs")
    }

    /// Brings the release to these values of the umbrella, as `helm upgrade` and the controllers do it: pods and Services
    /// come, go and change, claims stay, pods of a StatefulSet are replaced from the last one on, each when the one
    /// after it is ready. An error if it is refused, and nothing has changed. Otherwise the stack as it is from then on,
    /// and whether every pod was ready in time; this one isn't to be used any more.
    async fn upgrade(&self, _values: Value, _timeout: Duration) -> Result<(Arc<dyn Stack>, Result<()>)> {
        bail!("this backend can't upgrade a stack that runs")
    }

    /// What helm tells the user after the installation, which is the text of NOTES.txt.
    async fn notes(&self) -> Result<String> {
        bail!("this backend doesn't keep what helm said")
    }

    /// The namespace that it is installed in: a cluster's has a suffix that tells runs apart.
    fn namespace(&self) -> &str;

    /// The folder on this machine that holds the run.
    fn folder(&self) -> &Path;

    /// Where it is reached.
    fn endpoints(&self) -> &Endpoints;

    /// A URL as the programs of the cluster see it, made reachable from here.
    fn reach(&self, url: &str) -> Result<String>;

    /// The service discovery of Prometheus that finds the pods behind its Services: a part of a scrape
    /// configuration, whose targets have the labels of Kubernetes' endpoints.
    fn discovery(&self) -> Result<Value>;

    /// Waits until every container is ready. Fails early on what can't recover, and names what isn't
    /// ready and why, in the program's own words where it said any.
    async fn wait_ready(&self, timeout: Duration) -> Result<()>;

    /// What of this stack in particular was not run, each with the reason.
    fn unproven(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The names of a component's pods that run or start.
    async fn pod_names(&self, component: Component) -> Result<Vec<String>>;

    /// The processes of this machine that the component's programs are, by the pod's name: those that run now.
    async fn pids(&self, component: Component) -> Result<BTreeMap<String, i32>> {
        bail!("this backend's {component} is no process of this machine")
    }

    /// Lets something go wrong with a pod until [`Stack::recover`].
    async fn disturb(&self, _pod: &str, fault: Fault) -> Result<()> {
        bail!("this backend can't do this to a pod: {fault:?}")
    }

    /// Ends every fault of a pod.
    async fn recover(&self, pod: &str) -> Result<()> {
        bail!("this backend did nothing to pod {pod}")
    }

    /// How often a fault of [`Stack::disturb`] met a connection so far: ended it, held it back or answered for it.
    fn disturbed(&self) -> u64 {
        0
    }

    /// Replaces what a Secret holds, as the volumes of the pods that run show it; their variables stay as they are.
    async fn change_secret(&self, name: &str, _data: BTreeMap<String, String>) -> Result<()> {
        bail!("this backend can't change the Secret {name}")
    }

    /// Replaces what a ConfigMap holds, as the volumes of the pods that run show it.
    async fn change_config_map(&self, name: &str, _data: BTreeMap<String, String>) -> Result<()> {
        bail!("this backend can't change the ConfigMap {name}")
    }

    /// Takes so many bytes of the volume of Tempo away, with a file on it; 0 gives them back. See
    /// [`StackSpec::volume_bytes`].
    async fn take_room(&self, _bytes: u64) -> Result<()> {
        bail!("this backend can't write to a volume")
    }

    /// Takes the disks of the queues off, has their file systems repaired, and puts them back. The Collectors must
    /// not run. See [`StackSpec::queue_bytes`].
    async fn repair_queue_disks(&self) -> Result<()> {
        bail!("this backend gave the queues no disks")
    }

    /// The metrics that each pod of a component shows, by the pod's name.
    async fn metrics(&self, component: Component) -> Result<BTreeMap<String, String>>;

    /// SIGTERM to the container of each pod, a kill after the grace period; it is started again, its volumes
    /// stay. The longest stop counts.
    async fn restart_container(&self, component: Component) -> Result<Stop>;

    /// Stops the pods as a scale to zero does. Volumes of a pod (emptyDir) go, claims stay.
    async fn stop_pod(&self, component: Component) -> Result<Stop>;

    /// Starts the pods again.
    async fn start_pod(&self, component: Component) -> Result<()>;

    /// Whether a pod is ready, so that Services lead to it.
    async fn is_ready(&self, pod: &str) -> Result<bool> {
        bail!("this backend doesn't tell whether pod {pod} is ready")
    }

    /// Stops one pod as a scale down does, see [`Stack::stop_pod`].
    async fn stop_one(&self, pod: &str) -> Result<Stop> {
        bail!("this backend can't stop pod {pod} alone")
    }

    /// Starts a pod that [`Stack::stop_one`] stopped, and waits until it is ready.
    async fn start_one(&self, pod: &str, _timeout: Duration) -> Result<()> {
        bail!("this backend can't start pod {pod} alone")
    }

    /// Kills the program of one pod (SIGKILL); it is started again, its volumes stay.
    async fn kill_one(&self, pod: &str) -> Result<()> {
        bail!("this backend can't kill pod {pod}")
    }

    /// Memory of the component's program now; of several pods the one with the highest peak.
    async fn memory(&self, component: Component) -> Result<Memory>;

    /// CPU time of the component's programs so far, in seconds: user and system, of all its pods, with the
    /// children that they waited for. What a program used before it was started again isn't in it.
    async fn cpu_seconds(&self, _component: Component) -> Result<f64> {
        bail!("this backend can't tell what CPU a program used")
    }

    /// How often the component's containers were started again by itself (not by a request of ours).
    async fn crashes(&self, component: Component) -> Result<u32>;

    /// Everything that the component wrote to its log.
    async fn logs(&self, component: Component) -> Result<String>;

    /// The files below a folder of the component's volume (`/var/tempo/blocks`), relative to it. None
    /// where the backend can't look.
    async fn files(&self, component: Component, folder: &str) -> Result<Option<Vec<String>>>;

    /// Where a folder of the component's volume is on this machine, one for each pod. Empty where the backend
    /// can't look.
    fn host_folders(&self, _component: Component, _folder: &str) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// The rendered configuration files, by a name that tells where each comes from.
    async fn configs(&self) -> Result<BTreeMap<String, String>>;

    /// Writes what else explains a failure into a folder, and names the first cause if it is known.
    async fn evidence(&self, _folder: &Path) -> Result<Option<String>> {
        Ok(None)
    }

    /// Stops everything and waits for it.
    async fn shut_down(&self) -> Result<()>;
}

/// The files below a folder of this machine, relative to it. Those that vanish during the walk, because a program runs
/// there, aren't among them.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).into_iter().flatten();
    entries
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| Some(entry.path().strip_prefix(folder).ok()?.display().to_string()))
        .collect()
}

/// The highest resident size of a process so far, in bytes, from its /proc/<pid>/status (proc(5), VmHWM).
pub(crate) fn peak_memory(status: &str) -> Result<u64> {
    kibibytes(status, "VmHWM:")
}

/// The resident size of a process now, in bytes, from its /proc/<pid>/status (proc(5), VmRSS).
pub(crate) fn resident_memory(status: &str) -> Result<u64> {
    kibibytes(status, "VmRSS:")
}

fn kibibytes(status: &str, field: &str) -> Result<u64> {
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .with_context(|| format!("the status of the process has no {field}"))?;
    Ok(kib * 1024)
}

/// The CPU time of a process so far, in clock ticks, from its /proc/<pid>/stat: its own in user and kernel mode,
/// and that of the children that it waited for (proc(5), utime, stime, cutime and cstime).
pub(crate) fn cpu_ticks(stat: &str) -> Result<u64> {
    // The second field is the program's name, which may hold spaces and brackets.
    let (_, fields) = stat.rsplit_once(')').context("the stat of the process has no name")?;
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(|field| field.parse().with_context(|| format!("the CPU time {field:?}")))
        .collect::<Result<_>>()?;
    anyhow::ensure!(ticks.len() == 4, "the stat of the process has no CPU times");
    Ok(ticks.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_user_and_system_of_the_process_and_of_what_it_waited_for() {
        let stat = "812 (a (b) c 9) S 1 812 812 0 -1 4194560 5821 77 9 1 1000 200 30 4 20 0 12 0 43210 1 2 3";
        assert_eq!(cpu_ticks(stat).unwrap(), 1234);
        assert!(cpu_ticks("812 (tempo) S 1 812 812 0 -1 4194560 5821 77 9 1 1000 200").is_err());
        assert!(cpu_ticks("").is_err());
    }
}
