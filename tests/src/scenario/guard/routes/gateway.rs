//! Routes of the Gateway API, judged by its own definitions: an API server without nodes takes those that the chart
//! renders and refuses three that are wrong. It does so by the rules in CEL of the definitions, which a schema lacks.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kit::step::{Runner, Step};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::backend::Stack;
use crate::env::Env;
use crate::scenario::guard::api_server::ApiServer;
use crate::scenario::values;

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
    let server = ApiServer::start(env).await?;
    define(&server, &definitions(env).await?).await?;
    let routes = rendered(stack).await?;
    for route in &routes {
        let answer = create(&server, route).await?;
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
        let (status, said) = create(&server, &changed).await?;
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

async fn define(server: &ApiServer, definitions: &[String]) -> Result<()> {
    for definition in definitions {
        let (status, said) = server.post(DEFINITIONS, "application/yaml", definition.clone()).await?;
        ensure!(
            status == StatusCode::CREATED,
            "a definition is answered with {status}: {said}"
        );
    }
    let both = |said: &str| said.contains("\"grpcroutes\"") && said.contains("\"httproutes\"");
    server.until("the kinds of the Gateway API", GROUP, both).await
}

/// What becomes of an object that is created, without keeping it.
async fn create(server: &ApiServer, object: &Value) -> Result<(StatusCode, String)> {
    let mut object = object.clone();
    object["metadata"]["namespace"] = "default".into();
    let plural = format!("{}s", kind(&object).to_lowercase());
    let path = format!("{GROUP}/namespaces/default/{plural}?dryRun=All&fieldValidation=Strict");
    server.post(&path, "application/json", object.to_string()).await
}
