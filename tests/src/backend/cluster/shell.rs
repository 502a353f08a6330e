//! A pod with a shell: how the stack looks from inside the cluster.

use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::connection::Connection;
use super::image::Image;
use super::inside::{self, Printed};
use super::namespace::Namespace;
use super::pods;

const NAME: &str = "client";

/// A pod of the helper image that waits for commands.
pub struct Shell {
    pods: Api<Pod>,
    namespace: Namespace,
}

impl Shell {
    /// Starts it in a namespace of its own and waits until it runs.
    pub async fn start(connection: &Connection, image: &Image, folder: &Path) -> Result<Shell> {
        let namespace = Namespace::create(connection, NAME, folder).await?;
        let pods: Api<Pod> = connection.api(namespace.name());
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": NAME},
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": NAME, "image": image.to_string(), "command": ["/bin/sleep", "86400"],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        }))
        .context("the client's pod")?;
        pods.create(&PostParams::default(), &pod)
            .await
            .context("making the client")?;
        pods::until_ready(&pods, NAME, "the client", "helper").await?;
        Ok(Shell { pods, namespace })
    }

    /// The name of its namespace.
    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    pub async fn run(&self, script: &str) -> Result<Printed> {
        inside::exec(&self.pods, NAME, NAME, &["/bin/sh", "-c", script]).await
    }

    /// Removes the pod and its namespace.
    pub async fn remove(&self) -> Result<()> {
        self.namespace.remove().await
    }
}
