//! Routes of the Gateway API, judged by its own definitions: an API server without nodes takes those that the chart
//! renders and refuses three that are wrong. It does so by the rules in CEL of the definitions, which a schema lacks.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kit::step::{Cancel, Runner, Step};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::backend::Stack;
use crate::backend::local::Beside;
use crate::client::credentials::{Credentials, KeyPair, Tls};
use crate::env::Env;
use crate::scenario::guard::doors::keys::{Ca, token};
use crate::scenario::values;
use crate::wait::{Look, wait_for};

const ETCD: u16 = 2379;
const PEERS: u16 = 2380;
const SERVER: u16 = 6443;
const NAME: &str = "kubernetes";
const UP: Duration = Duration::from_secs(60);
const ASKED: Duration = Duration::from_secs(10);
const GROUP: &str = "/apis/gateway.networking.k8s.io/v1";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// The module with the definitions, which the module files beside the schemas pin.
const MODULE: &str = "sigs.k8s.io/gateway-api";
const PINNED: &str = "ci/schemas/gateway.networking.k8s.io";

/// Each door by each kind of the Gateway API that carries it.
const ROUTES: &str = "
tempo-stack:
  routes:
    otlp-grpc: {enabled: true, kind: GRPCRoute, to: otlpGrpc, parentRefs: [{name: public, namespace: gateways}], hostnames: [traces.example]}
    otlp-http: {enabled: true, kind: HTTPRoute, to: otlpHttp, parentRefs: [{name: public, sectionName: https}], hostnames: ['*.example']}
    jaeger-grpc: {enabled: true, kind: GRPCRoute, to: jaegerGrpc, parentRefs: [{name: public}]}
    jaeger-http: {enabled: true, kind: HTTPRoute, to: jaegerThriftHttp, parentRefs: [{name: public}]}
    reads: {enabled: true, kind: HTTPRoute, to: query, parentRefs: [{name: public}], hostnames: [query.example]}
    reads-streaming: {enabled: true, kind: GRPCRoute, to: query, parentRefs: [{name: public}], hostnames: [query.example]}
";

/// Has the routes judged.
pub(super) async fn judged(env: &Env, stack: &dyn Stack) -> Result<()> {
    let server = Server::start(env).await?;
    server.define(&definitions(env).await?).await?;
    let routes = rendered(stack).await?;
    for route in &routes {
        let answer = server.create(route).await?;
        env.recorder.check(
            format!(
                "{} {} is taken",
                kind(route),
                route["metadata"]["name"].as_str().unwrap_or_default()
            ),
            answer.0 == StatusCode::CREATED,
            format!("{}: {}", answer.0, answer.1),
        );
    }
    let of_kind = |wanted: &str| {
        routes
            .iter()
            .find(|route| kind(route) == wanted)
            .context("each kind is rendered")
    };
    let (http, grpc) = (of_kind("HTTPRoute")?, of_kind("GRPCRoute")?);
    let wrong: [(&str, &Value, &str, Value, &str); 3] = [
        (
            "without the port of a Service",
            http,
            "/spec/rules/0/backendRefs/0",
            json!({"name": "otel-collector"}),
            "Must have port for Service reference",
        ),
        (
            "with a path that isn't absolute",
            http,
            "/spec/rules/0/matches/0/path/value",
            json!("v1/traces"),
            "must be an absolute path",
        ),
        (
            "with a method that names nothing",
            grpc,
            "/spec/rules/0/matches/0/method",
            json!({"type": "Exact"}),
            "must be specified",
        ),
    ];
    for (what, route, place, value, why) in wrong {
        let mut changed = route.clone();
        *changed
            .pointer_mut(place)
            .with_context(|| format!("no {place} in {route}"))? = value;
        let (status, said) = server.create(&changed).await?;
        env.recorder.check(
            format!("{} {what} is refused", kind(route)),
            status == StatusCode::UNPROCESSABLE_ENTITY && said.contains(why),
            format!("{status}: {said}"),
        );
    }
    Ok(())
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

/// The routes that the chart renders, as JSON.
async fn rendered(stack: &dyn Stack) -> Result<Vec<Value>> {
    let render = stack.render_again(values(ROUTES)?).await?;
    let routes = render
        .manifests
        .iter()
        .filter(|m| ["HTTPRoute", "GRPCRoute"].contains(&m.kind.as_str()));
    let routes: Vec<Value> = routes
        .map(|manifest| serde_json::to_value(&manifest.value).context("a route as JSON"))
        .collect::<Result<_>>()?;
    ensure!(routes.len() == 6, "{} routes are rendered", routes.len());
    Ok(routes)
}

/// The definitions of both kinds, as YAML.
async fn definitions(env: &Env) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Module {
        #[serde(rename = "Dir")]
        dir: PathBuf,
    }
    let step = Step::new("download the definitions of the Gateway API", "go")
        .args(["mod", "download", "-json", MODULE])
        .cwd(env.workspace.root().join(PINNED))
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .timeout(Duration::from_secs(5 * 60))
        .hint("install Go and run it where the module proxy can be reached");
    let runner = Runner::new(env.cancel.clone(), false);
    let output = tokio::task::spawn_blocking(move || runner.run(&step)).await;
    let output = output.context("downloading the definitions")??;
    let module: Module = serde_json::from_str(&output.stdout).context("reading what `go mod download` printed")?;
    let read = |kind: &str| -> Result<String> {
        let file = format!("config/crd/standard/gateway.networking.k8s.io_{kind}.yaml");
        Ok(fs_err::read_to_string(module.dir.join(file))?)
    };
    ["httproutes", "grpcroutes"].into_iter().map(read).collect()
}

/// An API server with a store of its own. Dropping it stops both.
struct Server {
    cancel: Cancel,
    http: reqwest::Client,
    base: String,
    // The server ends before its store.
    _server: Beside,
    _store: Beside,
}

impl Server {
    async fn start(env: &Env) -> Result<Server> {
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
        let server = Server {
            cancel: env.cancel.clone(),
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

    async fn until(&self, what: &str, path: &str, there: impl Fn(&str) -> bool) -> Result<()> {
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

    async fn post(&self, path: &str, kind: &str, body: String) -> Result<(StatusCode, String)> {
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("content-type", kind)
            .body(body);
        let answer = request
            .timeout(ASKED)
            .send()
            .await
            .with_context(|| format!("posting to {path}"))?;
        let status = answer.status();
        let body: Value = serde_json::from_str(&answer.text().await.context("reading an answer")?)
            .context("an answer of the API server")?;
        Ok((status, body["message"].as_str().unwrap_or_default().to_owned()))
    }

    async fn define(&self, definitions: &[String]) -> Result<()> {
        for definition in definitions {
            let (status, said) = self.post(DEFINITIONS, "application/yaml", definition.clone()).await?;
            ensure!(
                status == StatusCode::CREATED,
                "a definition is answered with {status}: {said}"
            );
        }
        let both = |said: &str| said.contains("\"grpcroutes\"") && said.contains("\"httproutes\"");
        self.until("the kinds of the Gateway API", GROUP, both).await
    }

    /// What becomes of an object that is created, without keeping it.
    async fn create(&self, object: &Value) -> Result<(StatusCode, String)> {
        let mut object = object.clone();
        object["metadata"]["namespace"] = "default".into();
        let plural = format!("{}s", kind(&object).to_lowercase());
        let path = format!("{GROUP}/namespaces/default/{plural}?dryRun=All&fieldValidation=Strict");
        self.post(&path, "application/json", object.to_string()).await
    }
}
