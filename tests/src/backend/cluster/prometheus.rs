//! A Prometheus as a pod of the cluster.

use std::path::Path;

use anyhow::{Context, Result};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::companion::{Companion, Program};
use super::connection::Connection;
use super::image::Images;
use crate::backend::prometheus::{CONFIG, EMPTY, PORT, Prometheus, USER, Verb, WEB_CONFIG, arguments, web_config};

const NAME: &str = "prometheus";
const FOLDER: &str = "/data";

/// Prometheus on an emptyDir.
pub(crate) struct PrometheusPod(Companion);

impl PrometheusPod {
    /// Starts it and waits until it answers.
    pub async fn start(
        connection: &Connection,
        images: &Images,
        password: &str,
        folder: &Path,
    ) -> Result<PrometheusPod> {
        let files = [write(CONFIG, EMPTY), write(WEB_CONFIG, &web_config(password)?)];
        let program = Program {
            name: NAME,
            what: "Prometheus",
            image_name: "prometheus",
            image: images.prometheus.to_string(),
            helper: images.helper.to_string(),
            port: PORT,
            prepare: files.join(" && "),
            args: arguments(FOLDER, &format!(":{PORT}")),
            env: json!([]),
            asks_api: true,
        };
        Ok(PrometheusPod(Companion::start(connection, folder, program).await?))
    }
}

/// A script that writes a file, which another program may read at the same time.
fn write(file: &str, text: &str) -> String {
    let text = STANDARD.encode(text);
    format!("echo {text} | base64 -d > {FOLDER}/{file}.new && mv {FOLDER}/{file}.new {FOLDER}/{file}")
}

#[async_trait]
impl Prometheus for PrometheusPod {
    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    async fn put(&self, file: &str, text: String) -> Result<()> {
        let script = write(file, &text);
        self.0.output(&["/bin/sh", "-c", &script]).await.map(drop)
    }

    async fn ask(&self, verb: Verb, path: &str, password: &str) -> Result<String> {
        let account = STANDARD.encode(format!("{USER}:{password}"));
        let header = format!("Authorization: Basic {account}");
        let url = format!("http://127.0.0.1:{PORT}{path}");
        let mut command = vec!["wget", "-q", "-O", "-", "--header", &header];
        if verb == Verb::Post {
            command.push("--post-data=");
        }
        command.push(&url);
        self.0.output(&command).await.with_context(|| format!("asking {url}"))
    }

    async fn admit(&self, namespace: &str) -> Result<()> {
        let name = format!("{NAME}-of-{}", self.0.namespace());
        let role: Role = serde_json::from_value(json!({
            "metadata": {"name": name},
            "rules": [{
                "apiGroups": [""],
                "resources": ["services", "endpoints", "pods"],
                "verbs": ["get", "list", "watch"],
            }],
        }))
        .context("the role of Prometheus")?;
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": self.0.namespace()}],
        }))
        .context("the binding of Prometheus")?;
        let connection = self.0.connection();
        let (roles, bindings): (Api<Role>, Api<RoleBinding>) = (connection.api(namespace), connection.api(namespace));
        let made = roles.create(&PostParams::default(), &role).await;
        made.context("making the role of Prometheus")?;
        let made = bindings.create(&PostParams::default(), &binding).await;
        made.context("making the binding of Prometheus")?;
        Ok(())
    }

    async fn shut_down(&self) -> Result<()> {
        self.0.shut_down().await
    }
}
