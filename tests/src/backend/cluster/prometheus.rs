//! A Prometheus as a pod of the cluster.

use anyhow::{Context, Result};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use serde_yaml::Value;

use super::ClusterBackend;
use super::companion::{Companion, Program};
use crate::backend::prometheus::{CONFIG, EMPTY, PORT, Prometheus, USER, Verb, WEB_CONFIG, arguments, web_config};
use crate::client::credentials::basic;

const NAME: &str = "prometheus";
const FOLDER: &str = "/data";

/// What the kubelets show, which is less often new than asked for.
const KUBELET: &str = "
job_name: kubeletPATH
scheme: https
metrics_path: PATH
scrape_interval: 5s
scrape_timeout: 5s
authorization: {credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token}
# A kubelet signs its own certificate.
tls_config: {insecure_skip_verify: true}
kubernetes_sd_configs: [{role: node}]
";

/// The right to ask them.
const KUBELET_ROLE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAME-kubelets}
rules:
  - {apiGroups: [''], resources: [nodes], verbs: [get, list, watch]}
  - {apiGroups: [''], resources: [nodes/metrics], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME-kubelets}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME-kubelets}
subjects: [{kind: ServiceAccount, name: default, namespace: NAME}]
";

/// Prometheus on an emptyDir.
pub(crate) struct PrometheusPod {
    companion: Companion,
    kubelets: Vec<Value>,
}

impl PrometheusPod {
    /// Starts it and waits until it answers.
    pub async fn start(backend: &ClusterBackend, password: &str) -> Result<PrometheusPod> {
        let images = backend.images();
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
        let companion = Companion::start(backend.connection(), backend.folder(), program).await?;
        let namespace = companion.namespace();
        let role = KUBELET_ROLE.replace("NAME", namespace.name());
        backend.create_global(namespace, &role).await?;
        let kubelets = ["/metrics", "/metrics/cadvisor"].map(|path| KUBELET.replace("PATH", path));
        let kubelets = kubelets.iter().map(|text| serde_yaml::from_str(text));
        Ok(PrometheusPod {
            kubelets: kubelets.collect::<Result<_, _>>().context("the kubelets' scrapes")?,
            companion,
        })
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
        self.companion.endpoint()
    }

    async fn put(&self, file: &str, text: String) -> Result<()> {
        let script = write(file, &text);
        self.companion.output(&["/bin/sh", "-c", &script]).await.map(drop)
    }

    async fn ask(&self, verb: Verb, path: &str, password: &str) -> Result<String> {
        let header = format!("Authorization: {}", basic(USER, password));
        let url = format!("http://127.0.0.1:{PORT}{path}");
        let mut command = vec!["wget", "-q", "-O", "-", "--header", &header];
        if verb == Verb::Post {
            command.push("--post-data=");
        }
        command.push(&url);
        self.companion
            .output(&command)
            .await
            .with_context(|| format!("asking {url}"))
    }

    fn kubelets(&self) -> Vec<Value> {
        self.kubelets.clone()
    }

    async fn admit(&self, namespace: &str) -> Result<()> {
        let name = format!("{NAME}-of-{}", self.companion.namespace().name());
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
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": self.companion.namespace().name()}],
        }))
        .context("the binding of Prometheus")?;
        let connection = self.companion.connection();
        let (roles, bindings): (Api<Role>, Api<RoleBinding>) = (connection.api(namespace), connection.api(namespace));
        let made = roles.create(&PostParams::default(), &role).await;
        made.context("making the role of Prometheus")?;
        let made = bindings.create(&PostParams::default(), &binding).await;
        made.context("making the binding of Prometheus")?;
        Ok(())
    }

    async fn shut_down(&self) -> Result<()> {
        self.companion.shut_down().await
    }
}
