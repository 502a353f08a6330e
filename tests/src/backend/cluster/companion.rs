//! A program that runs beside stacks as a pod of the cluster, in a namespace of its own: an S3 server, a Prometheus.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::connection::Connection;
use super::inside::{self, Printed};
use super::namespace::Namespace;
use super::pods;

/// What runs.
pub(super) struct Program {
    /// Name of the pod, of its container and of the Service.
    pub name: &'static str,
    /// What an error calls it.
    pub what: &'static str,
    /// The name under which `--image` sets its image.
    pub image_name: &'static str,
    pub image: String,
    /// The image with a shell.
    pub helper: String,
    pub port: u16,
    /// Runs before it, in the shell, on the volume at /data.
    pub prepare: String,
    pub args: Vec<String>,
    /// Variables of its container, as in a pod spec.
    pub env: Value,
    /// Whether it may ask the API server.
    pub asks_api: bool,
}

/// The pod with its namespace. Dropping it removes both.
pub(super) struct Companion {
    connection: Connection,
    namespace: Namespace,
    name: &'static str,
    port: u16,
}

impl Companion {
    /// Starts it on an emptyDir and waits until it takes connections.
    pub async fn start(connection: &Connection, folder: &Path, program: Program) -> Result<Companion> {
        let Program { name, what, port, .. } = program;
        let namespace = Namespace::create(connection, name, folder).await?;
        let restricted = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        let mounts = json!([{"name": "data", "mountPath": "/data"}]);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "automountServiceAccountToken": program.asks_api,
                "terminationGracePeriodSeconds": 1,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "initContainers": [{
                    "name": "folders", "image": program.helper, "command": ["/bin/sh", "-c", program.prepare],
                    "securityContext": restricted, "volumeMounts": mounts,
                }],
                "containers": [{
                    "name": name, "image": program.image, "args": program.args, "env": program.env,
                    "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
                    "securityContext": restricted, "volumeMounts": mounts,
                }, {
                    "name": "look", "image": program.helper, "command": ["/bin/sleep", "86400"],
                    "securityContext": restricted, "volumeMounts": mounts,
                }],
                "volumes": [{"name": "data", "emptyDir": {}}],
            },
        }))
        .with_context(|| format!("the pod of {what}"))?;
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"name": name, "port": port}]},
        }))
        .with_context(|| format!("the Service of {what}"))?;
        let pods: Api<Pod> = connection.api(namespace.name());
        let made = pods.create(&PostParams::default(), &pod).await;
        made.with_context(|| format!("making {what}"))?;
        let services: Api<Service> = connection.api(namespace.name());
        let made = services.create(&PostParams::default(), &service).await;
        made.with_context(|| format!("making the Service of {what}"))?;
        pods::until_ready(&pods, name, what, program.image_name).await?;
        Ok(Companion {
            connection: connection.clone(),
            namespace,
            name,
            port,
        })
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Host and port as programs of the cluster reach it.
    pub fn endpoint(&self) -> String {
        format!(
            "{}.{}.svc.cluster.local:{}",
            self.name,
            self.namespace.name(),
            self.port
        )
    }

    /// Runs a command of the image with a shell beside it, on its volume.
    pub async fn run(&self, command: &[&str]) -> Result<Printed> {
        let pods: Api<Pod> = self.connection.api(self.namespace.name());
        inside::exec(&pods, self.name, "look", command).await
    }

    /// The same, and what it printed. An error if it fails.
    pub async fn output(&self, command: &[&str]) -> Result<String> {
        let printed = self.run(command).await?;
        ensure!(
            printed.success == Some(true),
            "{} beside {}: {}",
            command.first().unwrap_or(&""),
            self.name,
            printed.stderr.trim()
        );
        Ok(printed.stdout)
    }

    /// Removes it with its namespace.
    pub async fn shut_down(&self) -> Result<()> {
        self.namespace.remove().await
    }
}
