//! An API server of Kubernetes without nodes: it keeps and judges objects, and nothing runs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::step::Cancel;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::backend::local::Beside;
use crate::client::credentials::{Credentials, KeyPair, Tls};
use crate::env::Env;
use crate::scenario::guard::doors::keys::{Ca, token};
use crate::wait::{Look, wait_for};

const ETCD: u16 = 2379;
const PEERS: u16 = 2380;
const SERVER: u16 = 6443;
/// The name that its certificate has.
const NAME: &str = "kubernetes";
/// The file with the CA of its certificate, beside a kubeconfig.
const CA: &str = "ca.crt";
const UP: Duration = Duration::from_secs(60);
const ASKED: Duration = Duration::from_secs(10);

/// An API server with a store of its own. Dropping it stops both.
pub(super) struct ApiServer {
    cancel: Cancel,
    ca: String,
    address: SocketAddr,
    http: reqwest::Client,
    base: String,
    // The server ends before its store.
    _server: Beside,
    _store: Beside,
}

impl ApiServer {
    /// Starts both, and waits until the namespace `default` is there.
    pub async fn start(env: &Env) -> Result<ApiServer> {
        let toolbox = env.toolbox.clone();
        let tools = tokio::task::spawn_blocking(move || {
            Ok::<_, anyhow::Error>((toolbox.get("etcd")?, toolbox.get("kube-apiserver")?))
        });
        let (etcd, apiserver) = tools.await.context("finding the API server")??;
        let store = env.backend.beside(
            "etcd",
            &etcd.path,
            ETCD,
            Box::new(|folder, address| {
                let (client, peer) = (format!("http://{address}"), format!("http://{}:{PEERS}", address.ip()));
                Ok(vec![
                    format!("--data-dir={}", folder.join("data").display()),
                    format!("--listen-client-urls={client}"),
                    format!("--advertise-client-urls={client}"),
                    format!("--listen-peer-urls={peer}"),
                    format!("--initial-advertise-peer-urls={peer}"),
                    format!("--initial-cluster=default={peer}"),
                    // It is gone with the run.
                    "--unsafe-no-fsync".into(),
                ])
            }),
        );
        let store = store.await?;
        let (ca, password) = (Ca::new("cluster")?, token());
        let KeyPair { certificate, key } = ca.issue(&[NAME])?;
        let (kept, endpoint) = (password.clone(), store.address());
        let server = env.backend.beside(
            "kube-apiserver",
            &apiserver.path,
            SERVER,
            Box::new(move |folder, address| {
                let at = |name: &str| folder.join(name).display().to_string();
                for (name, text) in [
                    ("tls.crt", certificate),
                    ("tls.key", key),
                    ("tokens", format!("{kept},admin,admin,system:masters\n")),
                ] {
                    fs_err::write(folder.join(name), text)?;
                }
                Ok(vec![
                    format!("--etcd-servers=http://{endpoint}"),
                    format!("--bind-address={}", address.ip()),
                    format!("--secure-port={}", address.port()),
                    // Nobody is told of it.
                    "--advertise-address=10.0.0.1".into(),
                    "--endpoint-reconciler-type=none".into(),
                    format!("--tls-cert-file={}", at("tls.crt")),
                    format!("--tls-private-key-file={}", at("tls.key")),
                    format!("--cert-dir={}", at("certificates")),
                    format!("--token-auth-file={}", at("tokens")),
                    "--authorization-mode=RBAC".into(),
                    "--service-cluster-ip-range=10.0.0.0/24".into(),
                    "--service-account-issuer=https://kubernetes.default.svc".into(),
                    format!("--service-account-key-file={}", at("tls.crt")),
                    format!("--service-account-signing-key-file={}", at("tls.key")),
                ])
            }),
        );
        let server = server.await?;
        let credentials = Credentials {
            tls: Some(Tls::trusting(ca.pem(), NAME)),
            authorization: Some(format!("Bearer {password}")),
        };
        let (base, http) = credentials.http(server.address())?;
        let server = ApiServer {
            cancel: env.cancel.clone(),
            ca: ca.pem(),
            address: server.address(),
            http,
            base,
            _server: server,
            _store: store,
        };
        server.until("the API server", "/readyz", |said| said == "ok").await?;
        server
            .until("the namespace default", "/api/v1/namespaces/default", |said| {
                said.contains("Active")
            })
            .await?;
        Ok(server)
    }

    /// A kubeconfig of whoever shows a token, and the CA that it names, by file.
    pub fn kubeconfig(&self, token: &str) -> [(&'static str, String); 2] {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {
                "server": format!("https://{}", self.address), "tls-server-name": NAME, "certificate-authority": CA,
            }}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        });
        [("config", config.to_string()), (CA, self.ca.clone())]
    }

    /// What whoever shows a token is answered at a path.
    pub async fn answers(&self, token: &str, path: &str) -> Result<StatusCode> {
        let credentials = Credentials {
            tls: Some(Tls::trusting(self.ca.clone(), NAME)),
            authorization: Some(format!("Bearer {token}")),
        };
        let (base, http) = credentials.http(self.address)?;
        let answer = http.get(format!("{base}{path}")).timeout(ASKED).send().await;
        Ok(answer.with_context(|| format!("asking for {path}"))?.status())
    }

    /// Waits until it answers at a path with what is looked for.
    pub async fn until(&self, what: &str, path: &str, there: impl Fn(&str) -> bool) -> Result<()> {
        wait_for(what, UP, &self.cancel, || async {
            let answer = self
                .http
                .get(format!("{}{path}", self.base))
                .timeout(ASKED)
                .send()
                .await;
            let Ok(answer) = answer else {
                return Ok(Look::NotYet("no answer".into()));
            };
            let said = answer.text().await.unwrap_or_default();
            Ok(if there(&said) {
                Look::Found(())
            } else {
                Look::NotYet(said)
            })
        })
        .await?;
        Ok(())
    }

    /// Posts an object; the message of the answer says why it is refused.
    pub async fn post(&self, path: &str, kind: &str, body: String) -> Result<(StatusCode, String)> {
        let (status, body) = self.ask(Method::POST, path, kind, body).await?;
        Ok((status, body["message"].as_str().unwrap_or_default().to_owned()))
    }

    /// Sends a request, and returns the object of the answer.
    pub async fn ask(&self, method: Method, path: &str, kind: &str, body: String) -> Result<(StatusCode, Value)> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let answer = request
            .header("content-type", kind)
            .body(body)
            .timeout(ASKED)
            .send()
            .await;
        let answer = answer.with_context(|| format!("asking for {path}"))?;
        let status = answer.status();
        let body = answer.text().await.context("reading an answer")?;
        Ok((
            status,
            serde_json::from_str(&body).context("an answer of the API server")?,
        ))
    }
}
