//! `kubernetes-attributes`: spans are told of their pods by a real API server, in which the pods are objects that
//! nothing runs: with the rights that the chart renders and no others, whatever the spans say of themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use charts::manifest::Manifest;
use charts::render::merge;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::api_server::ApiServer;
use crate::backend::{Stack, StackSpec};
use crate::env::Env;
use crate::model::corpus::{Corpus, attribute, text};
use crate::model::door::Door;
use crate::model::id::TraceId;
use crate::scenario::{Access, values};
use crate::wait::{Look, wait_for};

const READY: Duration = Duration::from_secs(60);
const READ: Duration = Duration::from_secs(60);
const HOME: &str = "observability";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ACCOUNT: &str = "observability-tempo-stack-otel-collector";

const WITHOUT: &str = "{tempo-stack: {otelCollector: {replicas: 1}}}";
/// A Collector outside of a pod has its token from a kubeconfig.
const WITH: &str = "
tempo-stack:
  otelCollector:
    replicas: 1
    presets:
      kubernetesAttributes: {enabled: true, labels: {team: example.com/team}}
    extraEnv: {KUBECONFIG: /etc/kube/config}
    extraVolumes: {kube: {mountPath: /etc/kube, source: {secret: {secretName: kube}}}}
    config: {processors: {k8s_attributes: {auth_type: kubeConfig}}}
";
const IN_SHOP: &str = "
tempo-stack:
  otelCollector:
    presets: {kubernetesAttributes: {namespaces: [shop]}}
    config: {processors: {k8s_attributes: null, k8s_attributes/shop: {auth_type: kubeConfig}}}
";

/// A pod of a Deployment.
struct Pod {
    namespace: &'static str,
    deployment: &'static str,
    address: &'static str,
}

const PODS: [Pod; 2] = [
    Pod {
        namespace: "shop",
        deployment: "cart",
        address: "10.1.0.1",
    },
    Pod {
        namespace: "payments",
        deployment: "ledger",
        address: "10.1.0.2",
    },
];

impl Pod {
    fn name(&self) -> String {
        format!("{}-abcde", self.replica_set())
    }

    fn replica_set(&self) -> String {
        format!("{}-5d4f8c7b9d", self.deployment)
    }

    fn object(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name(),
                "labels": {"example.com/team": self.deployment, "pod-template-hash": "5d4f8c7b9d"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": self.replica_set(), "controller": true,
                    "uid": "11111111-2222-3333-4444-555555555555",
                }],
            },
            "spec": {"nodeName": "node-1", "containers": [{"name": "app", "image": "app:1"}]},
        })
    }

    /// What a span of it is told.
    fn attributes(&self, uid: &str) -> BTreeMap<String, String> {
        let name = self.name();
        let pairs = [
            ("k8s.namespace.name", self.namespace),
            ("k8s.pod.name", &name),
            ("k8s.pod.uid", uid),
            ("k8s.node.name", "node-1"),
            ("k8s.deployment.name", self.deployment),
            ("team", self.deployment),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }
}

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    let server = ApiServer::start(env).await?;
    for namespace in [HOME, "shop", "payments"] {
        let object = json!({"metadata": {"name": namespace}});
        make(&server, "/api/v1/namespaces", &object).await?;
        // A controller would make it; without it nobody may make a pod.
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        make(&server, &accounts, &json!({"metadata": {"name": "default"}})).await?;
    }
    let mut uids = Vec::new();
    for pod in &PODS {
        uids.push(run_pod(&server, pod).await?);
    }

    let mut spec = StackSpec::new(values(WITHOUT)?);
    spec.objects = "{apiVersion: v1, kind: Secret, metadata: {name: kube}, stringData: {}}".into();
    let stack = env.start(&spec).await?;
    stack.wait_ready(READY).await?;
    let rendered = &stack.render().manifests;
    let rights: Vec<_> = rendered.iter().filter(|m| is_right(m)).map(Manifest::id).collect();
    let tokens = rendered
        .iter()
        .filter(|m| m.text.contains("automountServiceAccountToken: true"));
    let tokens: Vec<_> = tokens.map(Manifest::id).collect();
    env.recorder.check(
        "without the preset there is no role, no binding and no token",
        rights.is_empty() && tokens.is_empty(),
        format!("{rights:?} {tokens:?}"),
    );

    let everywhere = stack.render_again(values(WITH)?).await?;
    let token = rights_of(&server, &everywhere.manifests).await?;
    let mut wanted = values(WITH)?;
    let stack = upgraded(env, &stack, &server, &token, &wanted).await?;
    let [cart, ledger] = &PODS;
    let none = BTreeMap::new();
    let cases = [
        (
            "a pod that is named by its address",
            vec![("k8s.pod.ip", cart.address)],
            &cart.attributes(&uids[0]),
        ),
        (
            "a pod that is named by its uid",
            vec![("k8s.pod.uid", uids[1].as_str())],
            &ledger.attributes(&uids[1]),
        ),
        (
            "a pod that says that it is another one",
            vec![
                ("k8s.pod.ip", cart.address),
                ("k8s.pod.name", "ledger"),
                ("k8s.namespace.name", "payments"),
            ],
            &cart.attributes(&uids[0]),
        ),
        (
            "a pod that nobody knows",
            vec![
                ("k8s.pod.ip", "10.9.9.9"),
                ("k8s.pod.name", "ledger"),
                ("team", "ledger"),
            ],
            &none,
        ),
    ];
    for (n, (what, says, expected)) in (0..).zip(&cases) {
        told(env, stack.as_ref(), n, what, says, expected).await?;
    }
    asked(
        env,
        &server,
        &token,
        &[
            ("/api/v1/pods", true),
            ("/api/v1/nodes", false),
            ("/apis/apps/v1/replicasets", false),
            ("/api/v1/namespaces/shop/secrets", false),
        ],
    )
    .await?;

    merge(&mut wanted, values(IN_SHOP)?);
    let in_shop = stack.render_again(wanted.clone()).await?;
    forget_rights(&server, &everywhere.manifests).await?;
    let token = rights_of(&server, &in_shop.manifests).await?;
    let stack = upgraded(env, &stack, &server, &token, &wanted).await?;
    let what = "a pod of a namespace that was asked for";
    let says = [("k8s.pod.ip", cart.address)];
    told(env, stack.as_ref(), 10, what, &says, &cart.attributes(&uids[0])).await?;
    let what = "a pod of another namespace";
    told(env, stack.as_ref(), 11, what, &[("k8s.pod.ip", ledger.address)], &none).await?;
    asked(
        env,
        &server,
        &token,
        &[
            ("/api/v1/namespaces/shop/pods", true),
            ("/api/v1/pods", false),
            ("/api/v1/namespaces/payments/pods", false),
        ],
    )
    .await?;
    env.finish(stack).await
}

/// Makes an object, and returns it.
async fn make(server: &ApiServer, path: &str, object: &Value) -> Result<Value> {
    let (status, made) = server
        .ask(Method::POST, path, "application/json", object.to_string())
        .await?;
    ensure!(status == StatusCode::CREATED, "{path} answers {status}: {made}");
    Ok(made)
}

/// Makes a pod as a kubelet would have left it, and returns its uid.
async fn run_pod(server: &ApiServer, pod: &Pod) -> Result<String> {
    let path = format!("/api/v1/namespaces/{}/pods", pod.namespace);
    let made = make(server, &path, &pod.object()).await?;
    let status = json!({"status": {"phase": "Running", "podIP": pod.address, "podIPs": [{"ip": pod.address}]}});
    let path = format!("{path}/{}/status", pod.name());
    let patch = "application/merge-patch+json";
    let (answer, said) = server.ask(Method::PATCH, &path, patch, status.to_string()).await?;
    ensure!(answer == StatusCode::OK, "{path} answers {answer}: {said}");
    let uid = made["metadata"]["uid"].as_str();
    Ok(uid.context("a pod has a uid")?.to_owned())
}

fn is_right(manifest: &Manifest) -> bool {
    ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"].contains(&manifest.kind.as_str())
}

/// Where the API server has a role or a binding.
fn path_of(manifest: &Manifest) -> String {
    let plural = format!("{}s", manifest.kind.to_lowercase());
    match manifest.get_str(&["metadata", "namespace"]) {
        Some(namespace) => format!("{RBAC}/namespaces/{namespace}/{plural}"),
        None => format!("{RBAC}/{plural}"),
    }
}

/// Makes the Collector's account and the rights that the chart renders for it, and returns a token of the account.
async fn rights_of(server: &ApiServer, manifests: &[Manifest]) -> Result<String> {
    let accounts = format!("/api/v1/namespaces/{HOME}/serviceaccounts");
    let object = json!({"metadata": {"name": ACCOUNT}});
    // It may be there from the revision before.
    server.post(&accounts, "application/json", object.to_string()).await?;
    for right in manifests.iter().filter(|m| is_right(m)) {
        let object = serde_json::to_value(&right.value).context("a right as JSON")?;
        make(server, &path_of(right), &object).await?;
    }
    let wanted = json!({"spec": {"expirationSeconds": 3600}});
    let made = make(server, &format!("{accounts}/{ACCOUNT}/token"), &wanted).await?;
    let token = made["status"]["token"].as_str();
    Ok(token.context("there is no token in the answer")?.to_owned())
}

async fn forget_rights(server: &ApiServer, manifests: &[Manifest]) -> Result<()> {
    for right in manifests.iter().filter(|m| is_right(m)) {
        let path = format!("{}/{}", path_of(right), right.name);
        let (status, said) = server
            .ask(Method::DELETE, &path, "application/json", String::new())
            .await?;
        ensure!(status == StatusCode::OK, "{path} answers {status}: {said}");
    }
    Ok(())
}

/// The stack with these values, and a Collector that has this token.
async fn upgraded(
    env: &Env,
    stack: &Arc<dyn Stack>,
    server: &ApiServer,
    token: &str,
    wanted: &serde_yaml::Value,
) -> Result<Arc<dyn Stack>> {
    let data = server.kubeconfig(token).map(|(file, text)| (file.to_owned(), text));
    stack.change_secret("kube", data.into()).await?;
    let (next, ready) = env.upgrade(stack, wanted.clone(), READY).await?;
    ready.context("the Collector starts with the rights that the chart renders")?;
    Ok(next)
}

/// What the resource of a span says once it is stored, of all that the preset may tell.
async fn told(
    env: &Env,
    stack: &dyn Stack,
    n: u32,
    what: &str,
    says: &[(&str, &str)],
    expected: &BTreeMap<String, String>,
) -> Result<()> {
    let access = Access::new(stack)?;
    let (id, traces) = trace(env, n, says)?;
    let outcome = access.sender.send(Door::OtlpGrpc, &traces).await?;
    ensure!(outcome.is_acked(), "a span was not taken: {outcome}");
    let mut stored = stored(env, &access, id).await?;
    // What it is found by stays as it was sent.
    stored.retain(|key, _| !["k8s.pod.ip", "k8s.pod.uid"].contains(&key.as_str()) || expected.contains_key(key));
    env.recorder.check(
        format!(
            "{what} is told {}",
            if expected.is_empty() {
                "nothing"
            } else {
                "what the API server knows"
            }
        ),
        stored == *expected,
        format!("said {says:?}, stored {stored:?}, expected {expected:?}"),
    );
    Ok(())
}

/// A trace whose resources say this of themselves.
fn trace(env: &Env, n: u32, says: &[(&str, &str)]) -> Result<(TraceId, TracesData)> {
    let sample = Corpus::from_now(env.seed)?.sample(n);
    let mut traces = sample.traces;
    for spans in &mut traces.resource_spans {
        let resource = spans.resource.get_or_insert_default();
        resource
            .attributes
            .extend(says.iter().map(|(key, value)| attribute(*key, text(*value))));
    }
    Ok((sample.id, traces))
}

/// What the resources of a trace say of pods.
async fn stored(env: &Env, access: &Access, id: TraceId) -> Result<BTreeMap<String, String>> {
    let waited = wait_for("the trace", READ, &env.cancel, || async {
        Ok(match access.tempo.trace(id).await? {
            Some(trace) => Look::Found(trace),
            None => Look::NotYet("no such trace".into()),
        })
    });
    let resources = waited
        .await?
        .value
        .resource_spans
        .into_iter()
        .filter_map(|spans| spans.resource);
    let all = resources.flat_map(|resource| resource.attributes);
    Ok(all
        .filter(|one| one.key.starts_with("k8s.") || one.key == "team")
        .filter_map(|one| match one.value?.value? {
            Any::StringValue(value) => Some((one.key, value)),
            _ => None,
        })
        .collect())
}

/// The Collector's account may read what it needs and nothing else.
async fn asked(env: &Env, server: &ApiServer, token: &str, paths: &[(&str, bool)]) -> Result<()> {
    for (path, open) in paths {
        let status = server.answers(token, path).await?;
        let wanted = if *open { StatusCode::OK } else { StatusCode::FORBIDDEN };
        env.recorder.check(
            format!(
                "with the Collector's token {path} is {}",
                if *open { "open" } else { "closed" }
            ),
            status == wanted,
            status.to_string(),
        );
    }
    Ok(())
}
