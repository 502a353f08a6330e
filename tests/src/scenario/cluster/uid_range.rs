//! `uid-range`: a platform that chooses the users of pods, as OpenShift's `restricted-v2` does.
//!
//! Two admission policies on the scenario's namespace play it: one gives a pod that names no user one of the
//! namespace's range, the other refuses every pod that names another.

use anyhow::{Context, Result};
use serde_json::json;

use super::{Lab, READY, delivers, policy, quick_values};
use crate::backend::{Component, Stack};
use crate::env::Env;

const RELEASE: &str = "tempo-stack";
/// A range as OpenShift writes it into the annotation `openshift.io/sa.scc.uid-range`.
const FIRST: u32 = 1_000_650_000;
const SIZE: u32 = 10_000;
const REFUSED: &str = "its user is outside the range of the namespace";
const MODE: &str = "global.compatibility.openshift.adaptSecurityContext";

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let lab = Lab::open(env, "uid-range").await?;
    let Some(version) = policy::mutating(&lab).await? else {
        env.recorder.skip("uid-range", policy::NONE);
        return lab.close().await;
    };
    platform(&lab, &version).await?;
    let values = quick_values(env)?;
    let install = |mode: &str| {
        lab.helm_with(
            &["install", RELEASE, "./tempo-stack", "--set", &format!("{MODE}={mode}")],
            &values,
        )
    };

    lab.run(install("disabled")?).await?;
    let stack = lab.cluster.attach(&lab.namespace, RELEASE).await?;
    let refused = stack.wait_ready(READY).await.err();
    let refused = refused.map(|error| format!("{error:#}")).unwrap_or_default();
    env.recorder.check(
        "a pod that names its user is refused, and the reason is told",
        refused.contains(REFUSED),
        refused,
    );
    lab.run(lab.helm(&["uninstall", RELEASE, "--wait"])?).await?;

    lab.run(install("force")?).await?;
    let stack = lab.ready(RELEASE).await?;
    for component in Component::ALL {
        let status = stack.beside(component, "cat /proc/1/status").await?.stdout;
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let ids = ids.with_context(|| format!("no user in {status:?}"))?.trim();
        let ok = ids.split_whitespace().all(|id| id == FIRST.to_string());
        env.recorder
            .check(format!("{component} runs as the user that the platform chose"), ok, ids);
    }
    delivers(env, stack.as_ref(), 0, "as that user").await;
    env.finish(stack).await
}

/// Puts the policies on the namespace.
async fn platform(lab: &Lab<'_>, version: &str) -> Result<()> {
    // Every pod has a security context at admission, if only an empty one.
    let context = "Object.spec.securityContext";
    let change = format!(
        "has(object.spec.securityContext.runAsUser) ? Object{{}} : \
         Object{{spec: Object.spec{{securityContext: {context}{{runAsUser: {FIRST}, fsGroup: {FIRST}}}}}}}"
    );
    policy::change_pods(lab, version, &[change]).await?;
    let within = |id: &str| format!("({id} >= {FIRST} && {id} < {})", FIRST + SIZE);
    let own = format!(
        "all(c, !has(c.securityContext) || !has(c.securityContext.runAsUser) || {})",
        within("c.securityContext.runAsUser")
    );
    let unless = format!(
        "has(object.spec.securityContext.runAsUser) && {} && object.spec.containers.{own} && \
         (!has(object.spec.initContainers) || object.spec.initContainers.{own})",
        within("object.spec.securityContext.runAsUser")
    );
    policy::refuse_pods(lab, &unless, REFUSED).await?;
    let pod = |context: serde_json::Value| {
        json!({
            "securityContext": context,
            "containers": [{
                "name": "c",
                "image": "none",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        })
    };
    let profile = json!({"type": "RuntimeDefault"});
    let free = pod(json!({"runAsNonRoot": true, "seccompProfile": profile}));
    policy::in_force(lab, &free, |tried| {
        let spec = tried.as_ref().ok().and_then(|pod| pod.spec.as_ref());
        let context = spec.and_then(|spec| spec.security_context.as_ref());
        context.is_some_and(|context| context.run_as_user == Some(FIRST.into()))
    })
    .await?;
    let named = pod(json!({"runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": profile}));
    policy::in_force(lab, &named, |tried| {
        tried.as_ref().is_err_and(|error| error.to_string().contains(REFUSED))
    })
    .await
}
