//! What explains a failure in a cluster, written to files before anything is cleaned up.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ListParams, LogParams};

use super::connection::Connection;
use super::pods;

/// Writes events in time order, pods, logs of current and previous containers, claims, conditions of
/// nodes, and what helm knows of the release. What is unavailable is written down as its error.
pub async fn write(connection: &Connection, namespace: &str, release: Option<&str>, folder: &Path) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    let put = |name: &str, text: Result<String>| {
        let file = folder.join(name);
        let text = text.unwrap_or_else(|error| format!("# not available: {error:#}\n"));
        fs_err::write(&file, text)
    };
    put(
        "events.txt",
        events(connection, namespace).await.map(|events| told(&events)),
    )?;
    let pods: Api<Pod> = connection.api(namespace);
    let list = pods.list(&ListParams::default()).await.context("listing pods");
    let found = list.as_ref().map(|l| l.items.clone()).unwrap_or_default();
    put("pods.yaml", list.and_then(|l| yaml(&l.items)))?;
    let claims: Api<PersistentVolumeClaim> = connection.api(namespace);
    let claims = claims.list(&ListParams::default()).await.context("listing claims");
    put("claims.yaml", claims.and_then(|l| yaml(&l.items)))?;
    put("nodes.txt", nodes(connection).await)?;
    for pod in &found {
        for status in pods::statuses(pod) {
            for previous in [false, true] {
                if previous && status.restart_count == 0 {
                    continue;
                }
                let text = log(&pods, pods::name(pod), &status.name, previous).await;
                let suffix = if previous { ".previous" } else { "" };
                put(&format!("{}.{}{suffix}.log", pods::name(pod), status.name), text)?;
            }
        }
    }
    for (file, what) in [
        ("helm-status.txt", ["status"].as_slice()),
        ("helm-values.yaml", &["get", "values"]),
        ("helm-manifest.yaml", &["get", "manifest"]),
        ("helm-history.txt", &["history"]),
    ] {
        let Some(release) = release else { continue };
        let step = connection
            .helm(format!("helm {} {release}", what.join(" ")), namespace)
            .args(what.iter().copied())
            .arg(release);
        put(file, connection.run(step).await.map(|output| output.stdout))?;
    }
    Ok(())
}

/// The log of a container, of its last start or of the one before.
pub async fn log(pods: &Api<Pod>, pod: &str, container: &str, previous: bool) -> Result<String> {
    let params = LogParams {
        container: Some(container.to_owned()),
        previous,
        ..LogParams::default()
    };
    pods.logs(pod, &params)
        .await
        .with_context(|| format!("reading the log of container {container} of pod {pod}"))
}

pub async fn events(connection: &Connection, namespace: &str) -> Result<Vec<Event>> {
    let api: Api<Event> = connection.api(namespace);
    let mut events = api.list(&ListParams::default()).await.context("listing events")?.items;
    events.sort_by_key(seen);
    Ok(events)
}

/// When an event was seen last.
fn seen(event: &Event) -> Option<Timestamp> {
    let last = event.last_timestamp.as_ref().map(|t| t.0);
    let series = event
        .series
        .as_ref()
        .and_then(|s| s.last_observed_time.as_ref())
        .map(|t| t.0);
    let made = event.metadata.creation_timestamp.as_ref().map(|t| t.0);
    last.or(series).or(event.event_time.as_ref().map(|t| t.0)).or(made)
}

fn told(events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        let object = &event.involved_object;
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "{} {:<8} {:<24} {}/{}: {}",
            seen(event).map_or_else(String::new, |t| t.to_string()),
            event.type_.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            object.kind.as_deref().unwrap_or_default(),
            object.name.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default(),
        );
    }
    text
}

async fn nodes(connection: &Connection) -> Result<String> {
    let api: Api<Node> = connection.global();
    let mut text = String::new();
    for node in api.list(&ListParams::default()).await.context("listing nodes")? {
        let name = node.metadata.name.unwrap_or_default();
        for condition in node.status.and_then(|s| s.conditions).unwrap_or_default() {
            let (kind, status) = (&condition.type_, &condition.status);
            let _ = writeln!(
                text,
                "{name} {kind}={status}: {}",
                condition.message.unwrap_or_default()
            );
        }
    }
    Ok(text)
}

fn yaml<T: serde::Serialize>(items: &[T]) -> Result<String> {
    serde_yaml::to_string(items).context("writing YAML")
}
