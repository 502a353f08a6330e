//! Admission policies that a scenario puts on its own namespace: what a platform does to pods.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::Lab;
use crate::wait::{Look, wait_every};

const GROUP: &str = "admissionregistration.k8s.io";
/// The kind that changes objects; one that refuses them is there since 1.30.
const MUTATING: &str = "MutatingAdmissionPolicy";
/// Its API versions, the newest first.
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
/// Why nothing is shown without it.
pub(super) const NONE: &str =
    "the API server serves no MutatingAdmissionPolicy, which is off by default before Kubernetes 1.36";
/// An API server looks at its policies every second.
const IN_FORCE: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_millis(300);

/// The API version that the cluster has for policies that change pods; none where it has no such policies.
pub(super) async fn mutating(lab: &Lab<'_>) -> Result<Option<String>> {
    for version in VERSIONS {
        let version = format!("{GROUP}/{version}");
        if lab.cluster.connection().knows(&version, MUTATING).await? {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

/// Changes every new pod of the lab's namespace: each text is a CEL expression that gives a part of the pod.
pub(super) async fn change_pods(lab: &Lab<'_>, version: &str, changes: &[String]) -> Result<()> {
    let mutations: Vec<Value> = changes
        .iter()
        .map(|change| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": change}}))
        .collect();
    let spec = json!({"mutations": mutations, "reinvocationPolicy": "Never"});
    create(lab, version, "Mutating", spec, json!({})).await
}

/// Refuses every new pod of the lab's namespace for which the CEL expression isn't true, with that message.
pub(super) async fn refuse_pods(lab: &Lab<'_>, unless: &str, message: &str) -> Result<()> {
    let spec = json!({"validations": [{"expression": unless, "message": message}]});
    let version = format!("{GROUP}/v1");
    create(
        lab,
        &version,
        "Validating",
        spec,
        json!({"validationActions": ["Deny"]}),
    )
    .await
}

async fn create(lab: &Lab<'_>, version: &str, verb: &str, mut spec: Value, mut binding: Value) -> Result<()> {
    let namespace = lab.namespace.name();
    let name = format!("{namespace}-{}", verb.to_lowercase());
    spec["matchConstraints"] = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    });
    spec["failurePolicy"] = "Fail".into();
    binding["policyName"] = name.clone().into();
    let object = |kind: String, spec: &Value| {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec});
        serde_yaml::to_string(&object).context("writing a policy")
    };
    let objects = [
        object(format!("{verb}AdmissionPolicy"), &spec)?,
        object(format!("{verb}AdmissionPolicyBinding"), &binding)?,
    ];
    lab.cluster.create_global(&lab.namespace, &objects.join("---\n")).await
}

/// Waits until a policy is in force: until what becomes of a pod with this specification is as it should be. The pod
/// is only tried, not made.
pub(super) async fn in_force(
    lab: &Lab<'_>,
    spec: &Value,
    fits: impl Fn(&Result<Pod, kube::Error>) -> bool,
) -> Result<()> {
    let pods: Api<Pod> = lab.cluster.connection().api(lab.namespace.name());
    let pod = json!({"metadata": {"name": "tried"}, "spec": spec});
    let pod: Pod = serde_json::from_value(pod).context("a pod to try")?;
    let (pods, pod, fits) = (&pods, &pod, &fits);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let dry = &dry;
    wait_every(PERIOD, "a policy in force", IN_FORCE, &lab.env.cancel, || async move {
        let tried = pods.create(dry, pod).await;
        Ok(if fits(&tried) {
            Look::Found(())
        } else {
            Look::NotYet(tried.map_or_else(|error| error.to_string(), |_| "the pod is admitted as it is".into()))
        })
    })
    .await?;
    Ok(())
}
