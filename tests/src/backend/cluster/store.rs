//! An S3 server as a pod of the cluster, in a namespace of its own.

use std::path::Path;

use anyhow::{Context, Result};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::connection::Connection;
use super::image::Images;
use super::inside;
use super::namespace::Namespace;
use super::pods;
use crate::backend::{Bucket, ObjectStore};

const PORT: u16 = 7070;
const NAME: &str = "s3";

/// versitygw on an emptyDir.
pub(crate) struct S3Pod {
    connection: Connection,
    namespace: Namespace,
}

impl S3Pod {
    /// Starts the server and waits until it answers.
    pub async fn start(connection: &Connection, images: &Images, bucket: &Bucket<'_>, folder: &Path) -> Result<S3Pod> {
        let namespace = Namespace::create(connection, NAME, folder).await?;
        let restricted = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        let mounts = json!([{"name": "data", "mountPath": "/data"}]);
        let folders = format!("mkdir -p /data/root/{} /data/sidecar", bucket.name);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": NAME, "labels": {"app": NAME}},
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "initContainers": [{
                    "name": "folders", "image": images.helper.to_string(), "command": ["/bin/sh", "-c", folders],
                    "securityContext": restricted, "volumeMounts": mounts,
                }],
                "containers": [{
                    "name": NAME, "image": images.versitygw.to_string(),
                    "args": ["--port", format!(":{PORT}"), "posix", "--sidecar", "/data/sidecar", "/data/root"],
                    "env": [
                        {"name": "ROOT_ACCESS_KEY", "value": bucket.access_key},
                        {"name": "ROOT_SECRET_KEY", "value": bucket.secret_key},
                    ],
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    "securityContext": restricted, "volumeMounts": mounts,
                }, {
                    "name": "look", "image": images.helper.to_string(), "command": ["/bin/sleep", "86400"],
                    "securityContext": restricted, "volumeMounts": mounts,
                }],
                "volumes": [{"name": "data", "emptyDir": {}}],
            },
        }))
        .context("the S3 server's pod")?;
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": NAME},
            "spec": {"selector": {"app": NAME}, "ports": [{"name": NAME, "port": PORT}]},
        }))
        .context("the S3 server's Service")?;
        let pods: Api<Pod> = connection.api(namespace.name());
        pods.create(&PostParams::default(), &pod)
            .await
            .context("making the S3 server")?;
        let services: Api<Service> = connection.api(namespace.name());
        services
            .create(&PostParams::default(), &service)
            .await
            .context("making the S3 server's Service")?;
        let server = S3Pod {
            connection: connection.clone(),
            namespace,
        };
        pods::until_ready(&pods, NAME, "the S3 server", "versitygw").await?;
        Ok(server)
    }
}

#[async_trait]
impl ObjectStore for S3Pod {
    fn endpoint(&self) -> String {
        format!("{NAME}.{}.svc.cluster.local:{PORT}", self.namespace.name())
    }

    async fn objects(&self) -> Result<Vec<String>> {
        let pods: Api<Pod> = self.connection.api(self.namespace.name());
        let script = inside::listing("/data/root");
        inside::listed(&inside::exec(&pods, NAME, "look", &["/bin/sh", "-c", &script]).await?)
    }

    async fn shut_down(&self) -> Result<()> {
        self.namespace.remove().await
    }
}
