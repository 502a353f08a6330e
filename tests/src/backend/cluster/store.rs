//! An S3 server as a pod of the cluster.

use std::path::Path;

use anyhow::Result;
use async_trait::async_trait;
use serde_json::json;

use super::companion::{Companion, Program};
use super::connection::Connection;
use super::image::Images;
use super::inside;
use crate::backend::{Bucket, ObjectStore};

const PORT: u16 = 7070;

/// versitygw on an emptyDir.
pub(crate) struct S3Pod(Companion);

impl S3Pod {
    /// Starts the server and waits until it answers.
    pub async fn start(connection: &Connection, images: &Images, bucket: &Bucket<'_>, folder: &Path) -> Result<S3Pod> {
        let program = Program {
            name: "s3",
            what: "the S3 server",
            image_name: "versitygw",
            image: images.versitygw.to_string(),
            helper: images.helper.to_string(),
            port: PORT,
            prepare: format!("mkdir -p /data/root/{} /data/sidecar", bucket.name),
            args: [
                "--port",
                &format!(":{PORT}"),
                "posix",
                "--sidecar",
                "/data/sidecar",
                "/data/root",
            ]
            .map(str::to_owned)
            .to_vec(),
            env: json!([
                {"name": "ROOT_ACCESS_KEY", "value": bucket.access_key},
                {"name": "ROOT_SECRET_KEY", "value": bucket.secret_key},
            ]),
            asks_api: false,
        };
        Ok(S3Pod(Companion::start(connection, folder, program).await?))
    }
}

#[async_trait]
impl ObjectStore for S3Pod {
    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    async fn objects(&self) -> Result<Vec<String>> {
        let script = inside::listing("/data/root");
        inside::listed(&self.0.run(&["/bin/sh", "-c", &script]).await?)
    }

    async fn shut_down(&self) -> Result<()> {
        self.0.shut_down().await
    }
}
