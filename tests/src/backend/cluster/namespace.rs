//! Namespaces of a run: made restricted, removed with all that they hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, PersistentVolume, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kit::run_dir;
use kit::step::Cancel;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use rand::RngExt;

use super::connection::Connection;
use super::pods::PERIOD;
use crate::wait::{Look, wait_every, wait_for};

/// Marks what this harness made in a cluster.
const LABEL: &str = "tempo-stack.e2e/owner";
/// The machine of the run.
const HOST: &str = "tempo-stack.e2e/host";
/// The run's folder on that machine, which is locked as long as the run lives.
const FOLDER: &str = "tempo-stack.e2e/folder";
/// What a pod gets to stop in when its namespace goes, in seconds: nothing of it is wanted any more.
const GRACE: u32 = 1;
/// A namespace with a provisioner's volumes goes within this.
const GONE: Duration = Duration::from_secs(120);
/// The controller of accounts needs less.
const ACCOUNT: Duration = Duration::from_secs(30);
/// Letters and digits of a suffix that tells runs apart.
const SUFFIX: usize = 6;

/// A namespace that this run made. Dropping it asks the cluster to remove it; [`Namespace::remove`]
/// also waits.
pub struct Namespace {
    connection: Connection,
    name: String,
    removed: AtomicBool,
}

impl Namespace {
    /// Makes `<prefix>-<suffix>`, where Pod Security *restricted* is enforced and warned of.
    pub async fn create(connection: &Connection, prefix: &str, folder: &Path) -> Result<Namespace> {
        // Without what is easily mistaken for something else: 0, 1, l, o.
        let letters = b"abcdefghijkmnpqrstuvwxyz23456789";
        let suffix: String = (0..SUFFIX)
            .map(|_| char::from(letters[rand::rng().random_range(0..letters.len())]))
            .collect();
        Namespace::create_named(connection, &format!("{prefix}-{suffix}"), folder).await
    }

    /// Makes a namespace of exactly this name. An error if it is there.
    pub(crate) async fn create_named(connection: &Connection, name: &str, folder: &Path) -> Result<Namespace> {
        let object = ApiNamespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(labels()),
                annotations: Some(annotations(folder)),
                ..ObjectMeta::default()
            },
            ..ApiNamespace::default()
        };
        let api: Api<ApiNamespace> = connection.global();
        api.create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("making namespace {name}"))?;
        let namespace = Namespace {
            connection: connection.clone(),
            name: name.to_owned(),
            removed: AtomicBool::new(false),
        };
        namespace.has_account().await?;
        Ok(namespace)
    }

    /// Waits for the account `default`: until it is there, admission refuses pods that name none.
    async fn has_account(&self) -> Result<()> {
        let accounts: Api<ServiceAccount> = self.connection.api(&self.name);
        let what = format!("ServiceAccount default of namespace {}", self.name);
        let waited = wait_for(&what, ACCOUNT, &Cancel::default(), || async {
            let account = accounts.get_opt("default").await.context("looking for an account")?;
            Ok(account.map_or(Look::NotYet("not there".into()), |_| Look::Found(())))
        })
        .await;
        waited.map(drop)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes it and waits until it and the volumes that were made for it are gone.
    pub async fn remove(&self) -> Result<()> {
        if self.removed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        // What this can't do, the namespace's own removal does, only later.
        let _ = self.stop_pods().await;
        ask_to_remove(self.connection.client(), &self.name).await?;
        let namespaces: Api<ApiNamespace> = self.connection.global();
        let volumes: Api<PersistentVolume> = self.connection.global();
        let what = format!("the end of namespace {}", self.name);
        // Also after Ctrl-C: what is removed is waited for.
        let waited = wait_every(PERIOD, &what, GONE, &Cancel::default(), || async {
            let there = namespaces
                .get_opt(&self.name)
                .await
                .context("looking for the namespace")?;
            let left = volumes.list(&ListParams::default()).await.context("listing volumes")?;
            let left = left.iter().filter(|volume| self.holds(volume)).count();
            if there.is_none() && left == 0 {
                return Ok(Look::Found(()));
            }
            let why = there.and_then(|n| n.status).and_then(|s| s.conditions);
            let why: Vec<String> = why.into_iter().flatten().filter_map(|c| c.message).collect();
            Ok(Look::NotYet(format!("{left} volumes left: {}", why.join("; "))))
        })
        .await;
        waited.map(drop)
    }

    /// Stops all pods and waits for their end: a namespace that is removed with pods in it is looked at again
    /// only after half of the longest grace period among them.
    async fn stop_pods(&self) -> Result<()> {
        let (background, all) = (DeleteParams::background(), ListParams::default());
        let pods: Api<Pod> = self.connection.api(&self.name);
        // Before the workloads, whose removal would give each pod all of its time: a kubelet that has begun to
        // wait before a stop doesn't hear of a shorter one.
        let soon = DeleteParams::default().grace_period(GRACE);
        pods.delete_collection(&soon, &all).await.context("removing pods")?;
        let deployments: Api<Deployment> = self.connection.api(&self.name);
        let sets: Api<StatefulSet> = self.connection.api(&self.name);
        let removed = deployments.delete_collection(&background, &all).await;
        removed.context("removing Deployments")?;
        let removed = sets.delete_collection(&background, &all).await;
        removed.context("removing StatefulSets")?;
        let waited = wait_every(PERIOD, "the end of the pods", GONE, &Cancel::default(), || async {
            let left = pods.list(&all).await.context("listing pods")?.items.len();
            if left == 0 {
                return Ok(Look::Found(()));
            }
            // What the workloads made in between.
            pods.delete_collection(&soon, &all).await.context("removing pods")?;
            Ok(Look::NotYet(format!("{left} pods")))
        })
        .await;
        waited.map(drop)
    }

    fn holds(&self, volume: &PersistentVolume) -> bool {
        let spec = volume.spec.as_ref();
        let claim = spec.and_then(|s| s.claim_ref.as_ref());
        // What is retained stays on purpose.
        let retained = spec.and_then(|s| s.persistent_volume_reclaim_policy.as_deref()) == Some("Retain");
        !retained && claim.and_then(|c| c.namespace.as_deref()) == Some(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.removed.swap(true, Ordering::SeqCst) {
            return;
        }
        let (connection, name) = (self.connection.clone(), self.name.clone());
        // The runtime may be on its way out: a thread with one of its own. Nobody is left to hear of
        // a failure; the next run sweeps.
        let asking = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .ok()?;
            runtime
                .block_on(async { ask_to_remove(connection.client_anew()?, &name).await })
                .ok()
        });
        let _ = asking.join();
    }
}

async fn ask_to_remove(client: kube::Client, name: &str) -> Result<()> {
    // The pods first, as in `Namespace::stop_pods`, and then those that were made in between.
    let pods: Api<Pod> = Api::namespaced(client.clone(), name);
    let soon = DeleteParams::default().grace_period(GRACE);
    let _ = pods.delete_collection(&soon, &ListParams::default()).await;
    let namespaces: Api<ApiNamespace> = Api::all(client);
    match namespaces.delete(name, &DeleteParams::background()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("removing namespace {name}")),
    }
    let _ = pods.delete_collection(&soon, &ListParams::default()).await;
    Ok(())
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([
        ("pod-security.kubernetes.io/enforce".into(), "restricted".into()),
        ("pod-security.kubernetes.io/warn".into(), "restricted".into()),
        (LABEL.into(), "e2e".into()),
    ])
}

fn annotations(folder: &Path) -> BTreeMap<String, String> {
    BTreeMap::from([(HOST.into(), host()), (FOLDER.into(), folder.display().to_string())])
}

/// This machine's name, or nothing where it tells none (proc(5)).
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

pub(crate) async fn of_run(connection: &Connection, folder: &Path) -> Result<Vec<String>> {
    let namespaces: Api<ApiNamespace> = connection.global();
    let ours = ListParams::default().labels(LABEL);
    let all = namespaces.list(&ours).await.context("listing namespaces")?;
    let run = annotations(folder);
    let of_run = all.items.into_iter().map(|n| n.metadata).filter(|metadata| {
        let found = metadata.annotations.as_ref();
        found.is_some_and(|found| run.iter().all(|(key, value)| found.get(key) == Some(value)))
    });
    Ok(of_run.filter_map(|metadata| metadata.name).collect())
}

/// The namespaces of a run that hold stacks. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Tenants(Arc<Mutex<Vec<Weak<Namespace>>>>);

impl Tenants {
    /// Adds a namespace for as long as somebody holds it.
    pub fn add(&self, namespace: Namespace) -> Arc<Namespace> {
        let namespace = Arc::new(namespace);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&namespace));
        namespace
    }

    /// Whether another namespace than that of this name holds stacks.
    pub(crate) fn any_but(&self, name: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut alive = all.iter().filter_map(Weak::upgrade);
        alive.any(|other| other.name != name && !other.removed.load(Ordering::SeqCst))
    }
}

/// Removes the namespaces of runs of this machine that were killed. `runs` holds the folders of runs.
/// Returns their names.
pub async fn sweep(connection: &Connection, runs: &Path) -> Result<Vec<String>> {
    let alive: Vec<String> = run_dir::find(runs)?
        .into_iter()
        .filter(|run| run.owner.is_some())
        .map(|run| run.path.display().to_string())
        .collect();
    let namespaces: Api<ApiNamespace> = connection.global();
    let ours = ListParams::default().labels(LABEL);
    let mut swept = Vec::new();
    for namespace in namespaces.list(&ours).await.context("listing namespaces")? {
        let metadata = namespace.metadata;
        let annotation = |key| {
            metadata
                .annotations
                .as_ref()
                .and_then(|a| a.get(key))
                .map(String::as_str)
        };
        let folder = annotation(FOLDER).unwrap_or_default();
        // Another checkout's runs are for it to judge.
        let ours =
            annotation(HOST) == Some(&host()) && Path::new(folder).parent() == runs.canonicalize().ok().as_deref();
        let (Some(name), true) = (metadata.name, ours && !alive.iter().any(|a| a == folder)) else {
            continue;
        };
        ask_to_remove(connection.client(), &name).await?;
        swept.push(name);
    }
    Ok(swept)
}
