//! The way to a cluster: its API server, and helm with the same kubeconfig and context.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use charts::render::{Helm, Prepared};
use k8s_openapi::NamespaceResourceScope;
use kit::failure::Failure;
use kit::step::{Output, Runner, Step};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};

/// Connecting to an API server takes less.
const CONNECT: Duration = Duration::from_secs(10);
/// No helm command takes this long.
const HELM: Duration = Duration::from_secs(180);

/// Which cluster.
#[derive(Debug, Clone)]
pub struct Target {
    /// The kubeconfig file; the user's own (`KUBECONFIG`, else `~/.kube/config`) if not set.
    pub kubeconfig: Option<PathBuf>,
    /// The context inside it.
    pub context: String,
}

/// A cluster that answers.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    config: Config,
    target: Target,
    helm: PathBuf,
    runner: Runner,
    version: String,
}

impl Connection {
    /// Connects and asks for the server's version. Must be called inside a tokio runtime.
    pub async fn open(target: Target, helm: &Helm) -> Result<Connection> {
        let options = KubeConfigOptions {
            context: Some(target.context.clone()),
            ..KubeConfigOptions::default()
        };
        let what = format!("no cluster at context {:?}", target.context);
        let remedy = "see `kubectl config get-contexts`, and pass --kubeconfig for a file of its own";
        let refused = |error: anyhow::Error| Failure::environment(format!("{what}: {error:#}"), remedy);
        let mut config = Config::from_custom_kubeconfig(read(&target).map_err(refused)?, &options)
            .await
            .map_err(|error| refused(error.into()))?;
        config.connect_timeout = Some(CONNECT);
        let client = Client::try_from(config.clone()).context("making a client of the cluster")?;
        let version = client
            .apiserver_version()
            .await
            .map_err(|error| refused(error.into()))?;
        Ok(Connection {
            client,
            config,
            target,
            helm: helm.program.clone(),
            runner: helm.runner.clone(),
            version: version.git_version,
        })
    }

    /// The version of the API server, without a leading `v`.
    pub fn version(&self) -> &str {
        self.version.trim_start_matches('v')
    }

    pub fn context(&self) -> &str {
        &self.target.context
    }

    /// A client on connections of its own, for a runtime that is not the one it was opened in.
    pub(crate) fn client_anew(&self) -> Result<Client> {
        Client::try_from(self.config.clone()).context("making a client of the cluster")
    }

    /// A client that hands a refusal on: the other one asks again where it is answered with 429, as a disruption budget
    /// answers an eviction, until it isn't.
    pub(crate) fn client_that_asks_once(&self) -> Result<Client> {
        let mut config = self.config.clone();
        config.default_retry = false;
        Client::try_from(config).context("making a client of the cluster")
    }

    /// All namespaces, nodes and the like.
    pub fn global<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Whether the cluster knows a kind of an API group: `knows("monitoring.coreos.com/v1", "ServiceMonitor")`.
    pub async fn knows(&self, group_version: &str, kind: &str) -> Result<bool> {
        match self.client.list_api_group_resources(group_version).await {
            Ok(list) => Ok(list.resources.iter().any(|resource| resource.kind == kind)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error).with_context(|| format!("asking for {group_version}")),
        }
    }

    /// A helm command against this cluster; the sub-command and its arguments are still to be added.
    pub fn helm(&self, name: impl Into<String>, namespace: &str) -> Step {
        self.helm_of(&self.helm, name).args(["--namespace", namespace])
    }

    /// The same with a helm of one's own and no namespace set.
    pub(crate) fn helm_of(&self, program: &Path, name: impl Into<String>) -> Step {
        let mut step = Step::new(name, program).timeout(HELM);
        if let Some(file) = &self.target.kubeconfig {
            step = step.arg("--kubeconfig").path_arg(file);
        }
        step.args(["--kube-context", &self.target.context])
    }

    /// Writes a kubeconfig whose current context is this cluster's, for programs that are run as a user
    /// would: only this user may read it.
    pub fn write_kubeconfig(&self, file: &Path) -> Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let mut kubeconfig = read(&self.target)?;
        kubeconfig.current_context = Some(self.target.context.clone());
        let text = serde_yaml::to_string(&kubeconfig).context("writing a kubeconfig")?;
        let mut options = std::fs::OpenOptions::new();
        let opened = options.create(true).truncate(true).write(true).mode(0o600).open(file);
        let mut opened = opened.with_context(|| format!("making {}", file.display()))?;
        opened
            .write_all(text.as_bytes())
            .with_context(|| format!("writing {}", file.display()))
    }

    /// Runs a command; a failure is an error.
    pub async fn run(&self, step: Step) -> Result<Output> {
        let runner = self.runner.clone();
        tokio::task::spawn_blocking(move || runner.run(&step))
            .await
            .context("running helm")?
    }

    /// Runs a command and leaves the judgement of its exit code to the caller.
    pub async fn try_run(&self, step: Step) -> Result<Output> {
        let runner = self.runner.clone();
        tokio::task::spawn_blocking(move || runner.try_run(&step))
            .await
            .context("running helm")?
    }

    /// `helm install`, with these values; doesn't wait for the pods.
    pub async fn install(&self, release: &str, chart: &Prepared, namespace: &str, values: String) -> Result<Output> {
        let step = self
            .helm(format!("helm install {release}"), namespace)
            .args(["install", release])
            .path_arg(&chart.dir)
            .args(["--values", "-"])
            .stdin(values);
        self.run(step).await
    }
}

fn read(target: &Target) -> Result<Kubeconfig> {
    match &target.kubeconfig {
        Some(file) => Kubeconfig::read_from(file).with_context(|| format!("reading {}", file.display())),
        None => Kubeconfig::read().context("reading the kubeconfig"),
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
