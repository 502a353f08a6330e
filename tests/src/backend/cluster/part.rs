//! The workloads of a release, and how far each is.

use anyhow::{Context, Result, bail};
use charts::manifest::Manifest;
use charts::workload::workload;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Container, Event, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::connection::Connection;
use super::pods;
use crate::backend::Component;

/// The label that names a component.
pub(super) const COMPONENT: &str = "app.kubernetes.io/component";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Deployment,
    StatefulSet,
}

#[derive(Debug, Clone)]
pub struct Part {
    pub component: Component,
    pub kind: Kind,
    pub name: String,
    /// How many pods it is to have.
    pub replicas: i32,
    /// A label selector of its pods.
    pub selector: String,
    pub container: Container,
    /// From the stop signal to the kill, in seconds.
    pub grace: i64,
}

/// How far a workload is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Every pod that is wanted is there, is of the newest revision and is ready.
    pub done: bool,
    /// How many pods are wanted now.
    pub wanted: i32,
    /// Why its controller could not make a pod.
    pub refused: Option<String>,
}

/// The component label of the canary, which uses the stack and is no part of it.
const CANARY: &str = "canary";

impl Part {
    /// The workloads of the stack among rendered objects.
    pub fn all(manifests: &[Manifest]) -> Result<Vec<Part>> {
        manifests
            .iter()
            .filter_map(|manifest| Part::read(manifest).transpose())
            .collect()
    }

    fn read(manifest: &Manifest) -> Result<Option<Part>> {
        let kind = match manifest.kind.as_str() {
            "Deployment" => Kind::Deployment,
            "StatefulSet" => Kind::StatefulSet,
            _ => return Ok(None),
        };
        let Some(found) = workload(manifest)? else {
            return Ok(None);
        };
        let label = manifest.get_str(&["metadata", "labels", COMPONENT]).unwrap_or_default();
        if label == CANARY {
            return Ok(None);
        }
        let Some(component) = Component::from_label(label) else {
            bail!("{} belongs to no known component", manifest.id());
        };
        let labels = found.selector.and_then(|s| s.match_labels).unwrap_or_default();
        let spec = found.pod.spec.unwrap_or_default();
        let container = spec.containers.into_iter().next();
        Ok(Some(Part {
            component,
            kind,
            name: manifest.name.clone(),
            replicas: found.replicas.unwrap_or(1),
            selector: pods::selector(&labels),
            container: container.with_context(|| format!("{} has no container", manifest.id()))?,
            grace: spec.termination_grace_period_seconds.unwrap_or(30),
        }))
    }

    /// Its pods, the youngest first.
    pub async fn pods(&self, connection: &Connection, namespace: &str) -> Result<Vec<Pod>> {
        let api: Api<Pod> = connection.api(namespace);
        let list = api.list(&ListParams::default().labels(&self.selector)).await;
        let mut pods = list
            .with_context(|| format!("listing the pods of {}", self.name))?
            .items;
        pods.sort_by_key(|pod| std::cmp::Reverse(pod.metadata.creation_timestamp.as_ref().map(|t| t.0)));
        Ok(pods)
    }

    /// The one pod that runs or starts.
    pub async fn pod(&self, connection: &Connection, namespace: &str) -> Result<Pod> {
        let pods = self.pods(connection, namespace).await?;
        let mut alive = pods.into_iter().filter(|pod| !pods::is_ending(pod));
        alive.next().with_context(|| format!("{} has no pod", self.name))
    }

    /// Sets the number of its pods.
    pub(crate) async fn scale(&self, connection: &Connection, namespace: &str, replicas: i32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let params = PatchParams::default();
        let name = &self.name;
        let result = match self.kind {
            Kind::Deployment => {
                let api: Api<Deployment> = connection.api(namespace);
                api.patch_scale(name, &params, &patch).await
            }
            Kind::StatefulSet => {
                let api: Api<StatefulSet> = connection.api(namespace);
                api.patch_scale(name, &params, &patch).await
            }
        };
        result.with_context(|| format!("scaling {} to {replicas}", self.name))?;
        Ok(())
    }

    /// Changes it, by a strategic merge patch.
    pub async fn patch(&self, connection: &Connection, namespace: &str, patch: &serde_json::Value) -> Result<()> {
        let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
        let result = match self.kind {
            Kind::Deployment => {
                let api = connection.api::<Deployment>(namespace);
                api.patch(&self.name, &params, &patch).await.map(drop)
            }
            Kind::StatefulSet => {
                let api = connection.api::<StatefulSet>(namespace);
                api.patch(&self.name, &params, &patch).await.map(drop)
            }
        };
        result.with_context(|| format!("changing {}", self.name))
    }

    /// How far it is. `events` tell why a StatefulSet's controller makes no pod.
    pub async fn progress(&self, connection: &Connection, namespace: &str, events: &[Event]) -> Result<Progress> {
        let what = || format!("looking at {}", self.name);
        match self.kind {
            Kind::Deployment => {
                let api: Api<Deployment> = connection.api(namespace);
                let object = api.get(&self.name).await.with_context(what)?;
                Ok(of_deployment(&object))
            }
            Kind::StatefulSet => {
                let api: Api<StatefulSet> = connection.api(namespace);
                let object = api.get(&self.name).await.with_context(what)?;
                // By its uid: an earlier one may have had its name.
                let own = |e: &&Event| e.involved_object.uid == object.metadata.uid;
                let refused = events
                    .iter()
                    .rev()
                    .filter(own)
                    .find(|e| e.reason.as_deref() == Some("FailedCreate"));
                Ok(Progress {
                    refused: refused.and_then(|e| e.message.clone()),
                    ..of_stateful_set(&object)
                })
            }
        }
    }
}

impl Progress {
    /// Of a workload without a status yet.
    fn towards(wanted: i32) -> Progress {
        Progress {
            wanted,
            ..Progress::default()
        }
    }
}

fn of_deployment(object: &Deployment) -> Progress {
    let wanted = object.spec.replicas.unwrap_or(1);
    let Some(status) = &object.status else {
        return Progress::towards(wanted);
    };
    let seen = status.observed_generation >= object.metadata.generation;
    let counts = [status.updated_replicas, status.ready_replicas, status.replicas];
    let conditions = status.conditions.iter().flatten();
    let refused = conditions
        .into_iter()
        .find(|c| c.type_.as_deref() == Some("ReplicaFailure") && c.status.as_deref() == Some("True"));
    Progress {
        done: seen && counts.iter().all(|count| count.unwrap_or(0) == wanted),
        wanted,
        refused: refused.and_then(|c| c.message.clone()),
    }
}

fn of_stateful_set(object: &StatefulSet) -> Progress {
    let wanted = object.spec.replicas.unwrap_or(1);
    let Some(status) = &object.status else {
        return Progress::towards(wanted);
    };
    let seen = status.observed_generation >= object.metadata.generation;
    let updated = status.update_revision == status.current_revision || status.updated_replicas == Some(wanted);
    Progress {
        done: seen && updated && status.ready_replicas.unwrap_or(0) == wanted && status.replicas == wanted,
        wanted,
        refused: None,
    }
}
