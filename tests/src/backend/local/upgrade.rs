//! The next revision of a stack: what `helm upgrade` changes, and what the controllers make of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use charts::manifest::Manifest;
use serde_yaml::Value;
use tokio::task::JoinSet;

use super::materialise::Kind;
use super::objects::{Objects, Pod};
use super::{LocalStack, lock, publish};
use crate::backend::{Published, Stack, StackSpec, longest};

/// What of a StatefulSet may change (kubernetes/kubernetes, pkg/apis/apps/validation, ValidateStatefulSetUpdate).
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

impl LocalStack {
    /// The stack with these values, and how the roll-out went.
    pub(super) async fn next(&self, values: Value, timeout: Duration) -> Result<(Arc<LocalStack>, Result<()>)> {
        ensure!(
            self.spec.published == Published::OwnAddresses,
            "a stack that is published at addresses of this machine can't be upgraded"
        );
        let spec = StackSpec {
            values,
            ..self.spec.clone()
        };
        let options = self.backend.options(&spec)?;
        let (render, mut objects) = self.backend.read(&options, &spec).await?;
        allowed(&self.render.manifests, &render.manifests)?;
        for pod in &mut objects.pods {
            let before = self.objects.pods.iter().find(|old| old.name == pod.name);
            if before.is_none() {
                self.network.add_pod(&pod.name)?;
            }
            let kept = before.and_then(|old| old.loopback_port);
            pod.loopback_port = self.backend.loopback_port(pod)?.map(|fresh| kept.unwrap_or(fresh));
        }
        // What was done to a ConfigMap of the release by hand is undone; a Secret isn't the release's.
        lock(&self.changed).retain(|(kind, _), _| *kind == Kind::Secret);
        for pod in leave_at_once(&self.objects, &objects) {
            self.out_of_service(&pod.name).await;
        }
        for service in &objects.services {
            self.network.service(None, &service.name)?;
        }
        self.network.lead(&objects).await?;
        let endpoints = publish(&self.network, &objects, spec.published).await?;
        let next = Arc::new(LocalStack {
            backend: self.backend.clone(),
            spec,
            options,
            render,
            objects,
            endpoints,
            namespace: self.namespace.clone(),
            folders: self.folders.clone(),
            network: Arc::clone(&self.network),
            changed: Arc::clone(&self.changed),
            pods: Arc::clone(&self.pods),
            run: Arc::clone(&self.run),
        });
        fs_err::write(next.run.path().join("manifests.yaml"), &next.render.text)?;
        let rolled_out = self.roll_out(&next, timeout).await;
        Ok((next, rolled_out))
    }

    /// Every workload at the same time, as controllers work.
    async fn roll_out(&self, next: &Arc<LocalStack>, timeout: Duration) -> Result<()> {
        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        let gone = |pod: &&Pod| !next.objects.pods.iter().any(|new| new.name == pod.name);
        for pod in self.objects.pods.iter().filter(gone).cloned() {
            let stack = Arc::clone(next);
            tasks.spawn(async move { stack.remove(pod).await });
        }
        let mut workloads: BTreeMap<&str, Vec<Pod>> = BTreeMap::new();
        for pod in &next.objects.pods {
            if !self.objects.pods.contains(pod) {
                workloads.entry(&pod.workload).or_default().push(pod.clone());
            }
        }
        let old: BTreeMap<String, Pod> = self
            .objects
            .pods
            .iter()
            .map(|pod| (pod.name.clone(), pod.clone()))
            .collect();
        let old = Arc::new(old);
        for pods in workloads.into_values() {
            let (stack, old) = (Arc::clone(next), Arc::clone(&old));
            tasks.spawn(async move { stack.replace(pods, &old, timeout).await });
        }
        let mut all = Ok(());
        while let Some(task) = tasks.join_next().await {
            // The others go on, as they do in a cluster.
            all = all.and(task.context("a roll-out ended badly")?);
        }
        all
    }

    /// Ends a pod that is no part of the stack any more.
    async fn remove(&self, pod: Pod) -> Result<()> {
        self.end(&pod).await?;
        self.pods.lock().await.remove(&pod.name);
        self.network.remove_pod(&pod.name);
        Ok(())
    }

    /// Ends a pod if it runs. What goes with it goes, claims stay.
    async fn end(&self, pod: &Pod) -> Result<()> {
        let runs = self
            .pods
            .lock()
            .await
            .get(&pod.name)
            .is_some_and(|running| !running.containers.is_empty());
        if runs {
            let processes = self.take_down(pod).await?;
            longest(processes.into_iter().map(|process| async move { process.stop().await })).await?;
            fs_err::remove_dir_all(self.folders.pod(pod))?;
        }
        Ok(())
    }

    /// Brings the pods of a workload to what they are to be: new ones start at once, the others are replaced from the
    /// last one on, each when all that come after it are ready; all at once if the workload says so.
    async fn replace(&self, pods: Vec<Pod>, old: &BTreeMap<String, Pod>, timeout: Duration) -> Result<()> {
        let (mut changed, fresh): (Vec<&Pod>, Vec<&Pod>) = pods.iter().partition(|pod| old.contains_key(&pod.name));
        for pod in &fresh {
            self.run_pod(pod).await?;
        }
        if pods.iter().any(|pod| pod.recreated) {
            for pod in &changed {
                self.end(pod).await?;
            }
        }
        for pod in &fresh {
            self.until_ready(|name| name == pod.name, timeout).await?;
        }
        changed.reverse();
        for pod in changed {
            self.end(pod).await?;
            self.start_one(&pod.name, timeout).await?;
        }
        Ok(())
    }
}

/// The pods that run, and that a Service leads to only once they have been replaced: they lack a label.
fn leave_at_once<'a>(before: &'a Objects, after: &Objects) -> Vec<&'a Pod> {
    let late = |pod: &&Pod| {
        let new = after.pods.iter().find(|new| new.name == pod.name);
        new.is_some_and(|new| {
            let mut services = after.services.iter().filter(|service| !service.headless);
            services.any(|service| service.selects(new) && !service.selects(pod))
        })
    };
    before.pods.iter().filter(late).collect()
}

/// Whether the API server takes the changes of all workloads that stay.
fn allowed(before: &[Manifest], after: &[Manifest]) -> Result<()> {
    for new in after {
        let Some(old) = before.iter().find(|old| old.id() == new.id()) else {
            continue;
        };
        let fixed = |manifest: &Manifest| -> Result<Value> {
            Ok(match manifest.kind.as_str() {
                "StatefulSet" => {
                    let mut spec = manifest.get(&["spec"]).cloned().unwrap_or_default();
                    if let Some(spec) = spec.as_mapping_mut() {
                        spec.retain(|key, _| !key.as_str().is_some_and(|key| MUTABLE.contains(&key)));
                    }
                    spec
                }
                "Deployment" => manifest.get(&["spec", "selector"]).cloned().unwrap_or_default(),
                _ => Value::Null,
            })
        };
        ensure!(
            fixed(old)? == fixed(new)?,
            "{} is invalid: fields of it that can't change are different",
            new.id()
        );
    }
    Ok(())
}
