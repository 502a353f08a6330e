//! `lifecycle`: what stays when a release goes, what comes back with it, and releases side by side.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use charts::cases::{Rendered, render_all};
use charts::kubernetes;
use charts::render::Helm;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;

use super::super::Access;
use super::{Lab, cluster, deliver, documented_command, found, quick_values};
use crate::env::Env;
use crate::model::corpus::Sample;
use crate::wait::{Look, wait_for};

const RELEASE: &str = "tempo-stack";
/// A Tempo that was told to stop ends within this on a busy node.
const ENDED: Duration = Duration::from_secs(60);
/// What a namespace holds without any release.
const NAMESPACES_OWN: [&str; 2] = ["ConfigMap/kube-root-ca.crt", "ServiceAccount/default"];

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    // Each in namespaces of its own, at the same time.
    let (first, second) = tokio::join!(comes_and_goes(env), both_helms(env));
    first.and(second)
}

async fn comes_and_goes(env: &Env) -> Result<()> {
    let lab = Lab::open(env, "lifecycle").await?;
    let values = quick_values(env)?;
    let install = ["install", RELEASE, "./tempo-stack"];
    lab.run(lab.helm_with(&install, &values)?).await?;
    let sample = deliver(env, lab.ready(RELEASE).await?.as_ref(), 0).await?;

    uninstall(env, &lab, RELEASE).await?;
    let claim = only_the_claims(env, &lab).await?;
    lab.run(lab.helm_with(&install, &values)?).await?;
    again(env, &lab, RELEASE, "a reinstallation", &sample).await?;

    uninstall(env, &lab, RELEASE).await?;
    let set = format!("tempo.persistence.existingClaim={claim}");
    let other = ["install", "other", "./tempo-stack", "--set", &set];
    lab.run(lab.helm_with(&other, &values)?).await?;
    again(env, &lab, "other", "another release with existingClaim", &sample).await?;
    side_by_side(env, &lab).await?;
    lab.close().await
}

/// Uninstalls and waits until Tempo has ended, as docs/operations.md says: helm waits for objects, not for their
/// pods, and the next Tempo on the volume would find files that the last one is still removing.
async fn uninstall(env: &Env, lab: &Lab<'_>, release: &str) -> Result<()> {
    lab.run(lab.helm(&["uninstall", release, "--wait"])?).await?;
    let pods: Api<Pod> = lab.cluster.connection().api(lab.namespace.name());
    let tempo = format!("app.kubernetes.io/instance={release},app.kubernetes.io/component=tempo");
    let tempo = ListParams::default().labels(&tempo);
    wait_for("the end of Tempo's pod", ENDED, &env.cancel, || async {
        let left = pods.list(&tempo).await.context("listing pods")?.items.len();
        Ok(if left > 0 {
            Look::NotYet(format!("{left} pods"))
        } else {
            Look::Found(())
        })
    })
    .await?;
    Ok(())
}

/// After an uninstallation the claims of Tempo and of the queues are all that is left. Returns the name of Tempo's.
async fn only_the_claims(env: &Env, lab: &Lab<'_>) -> Result<String> {
    let mut left = BTreeSet::new();
    for (group, kind) in [
        ("", "ConfigMap"),
        ("", "Secret"),
        ("", "Service"),
        ("", "ServiceAccount"),
        ("", "PersistentVolumeClaim"),
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
    ] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let client = lab.cluster.connection().client();
        let api: Api<DynamicObject> = Api::namespaced_with(client, lab.namespace.name(), &resource);
        let objects = api
            .list(&ListParams::default())
            .await
            .with_context(|| format!("listing {kind}s"))?;
        left.extend(
            objects
                .iter()
                .map(|o| format!("{kind}/{}", o.metadata.name.as_deref().unwrap_or_default())),
        );
    }
    // The Service that carries UDP to this machine is the harness's.
    left.retain(|id| !NAMESPACES_OWN.contains(&id.as_str()) && !id.ends_with("-e2e-udp"));
    let claim = format!("data-{RELEASE}-tempo-0");
    let queues = [0, 1].map(|n| format!("queue-{RELEASE}-otel-collector-{n}"));
    let claims = [&claim, &queues[0], &queues[1]].map(|name| format!("PersistentVolumeClaim/{name}"));
    env.recorder.check(
        "an uninstallation leaves the claims of Tempo and of the queues, and nothing else",
        left == BTreeSet::from(claims),
        format!("{left:?}"),
    );
    Ok(claim)
}

async fn again(env: &Env, lab: &Lab<'_>, release: &str, what: &str, sample: &Sample) -> Result<()> {
    let stack = lab.ready(release).await?;
    let waited = found(env, stack.as_ref(), sample).await;
    let detail = waited
        .as_ref()
        .map_or_else(|e| format!("{e:#}"), |t| format!("after {} ms", t.as_millis()));
    env.recorder
        .check(format!("{what} finds the old traces"), waited.is_ok(), detail);
    Ok(())
}

/// A second release in the namespace, as the README says, and one in another namespace.
async fn side_by_side(env: &Env, lab: &Lab<'_>) -> Result<()> {
    let values = quick_values(env)?;
    let readme = env.workspace.root().join("charts/tempo-stack/README.md");
    let words = lab.own(documented_command(&readme, &["helm install team-b ./tempo-stack"])?);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    lab.run(lab.helm_with(&words, &values)?).await?;
    let elsewhere = Lab::open(env, "lifecycle").await?;
    elsewhere
        .run(elsewhere.helm_with(&["install", RELEASE, "./tempo-stack"], &values)?)
        .await?;
    let stacks = [
        ("other", lab.ready("other").await?),
        ("team-b in its namespace", lab.ready("team-b").await?),
        ("a release in another namespace", elsewhere.ready(RELEASE).await?),
    ];
    let mut samples = Vec::new();
    for (n, (_, stack)) in stacks.iter().enumerate() {
        samples.push(deliver(env, stack.as_ref(), 10 + u32::try_from(n)?).await?);
    }
    for (n, (name, stack)) in stacks.iter().enumerate() {
        let access = Access::new(stack.as_ref())?;
        let mut strange = 0;
        for (_, sample) in samples.iter().enumerate().filter(|(m, _)| *m != n) {
            strange += usize::from(access.tempo.trace(sample.id).await?.is_some());
        }
        let own = access.tempo.trace(samples[n].id).await?.is_some();
        let detail = format!("its own trace: {own}, traces of the two others: {strange}");
        env.recorder.check(
            format!("side by side: {name} has its own traces only"),
            own && strange == 0,
            detail,
        );
    }
    elsewhere.close().await
}

/// Helm 3 installs and upgrades, and helm 4 upgrades what helm 3 installed.
async fn both_helms(env: &Env) -> Result<()> {
    let toolbox = env.toolbox.clone();
    let helm3: PathBuf = tokio::task::spawn_blocking(move || toolbox.get("helm3"))
        .await
        .context("finding helm 3")??
        .path;
    same_renders(env, &helm3).await?;
    let lab = Lab::open(env, "helm3").await?;
    let values = serde_yaml::to_string(&quick_values(env)?).context("writing the values")?;
    let third = |args: &[&str]| {
        let step = lab.cluster.connection().helm_of(&helm3, format!("helm 3 {}", args[0]));
        let step = step
            .args(["--namespace", lab.namespace.name()])
            .args(args.iter().copied());
        anyhow::Ok(step.cwd(lab.charts()?).args(["--values", "-"]).stdin(values.clone()))
    };
    let change = ["--set", "tempo.logLevel=warn"];
    lab.run(third(&["install", RELEASE, "./tempo-stack"])?).await?;
    let ready = lab.ready(RELEASE).await;
    let detail = ready.as_ref().err().map(|error| format!("{error:#}"));
    env.recorder
        .check("helm 3 installs", ready.is_ok(), detail.unwrap_or_default());
    let sample = deliver(env, ready?.as_ref(), 20).await?;
    lab.run(third(&["upgrade", RELEASE, "./tempo-stack", change[0], change[1]])?)
        .await?;
    again(env, &lab, RELEASE, "an upgrade by helm 3", &sample).await?;
    let change = [
        "upgrade",
        RELEASE,
        "./tempo-stack",
        "--reuse-values",
        "--set",
        "otelCollector.logLevel=warn",
    ];
    lab.run(lab.helm(&change)?).await?;
    again(
        env,
        &lab,
        RELEASE,
        "an upgrade by helm 4 of what helm 3 installed",
        &sample,
    )
    .await?;
    uninstall(env, &lab, RELEASE).await?;
    lab.run(third(&["install", RELEASE, "./tempo-stack"])?).await?;
    again(env, &lab, RELEASE, "helm 3 after an uninstallation by helm 4", &sample).await?;
    lab.close().await
}

/// Helm 3 renders every scenario as helm 4 does, for the oldest and for the newest Kubernetes.
async fn same_renders(env: &Env, helm3: &Path) -> Result<()> {
    let charts = env.workspace.charts()?;
    let versions = kubernetes::versions(env.workspace.root())?;
    for version in versions.first().into_iter().chain(versions.last()) {
        let fourth = cluster(env)?.helm().for_kubernetes(version);
        let third = Helm {
            program: helm3.to_path_buf(),
            ..fourth.clone()
        };
        let charts = charts.clone();
        let render = move || anyhow::Ok((render_all(&third, &charts)?, render_all(&fourth, &charts)?));
        let (third, fourth) = tokio::task::spawn_blocking(render).await.context("rendering")??;
        // Helm 4 ends each object with an empty line.
        let objects = |rendered: &Rendered| -> Vec<String> {
            let manifests = rendered.render.manifests.iter();
            manifests.map(|m| m.text.trim_end().to_owned()).collect()
        };
        let pairs = third.iter().zip(&fourth);
        let differing: Vec<String> = pairs
            .filter(|(a, b)| objects(a) != objects(b))
            .map(|(a, _)| format!("{}/{}", a.chart.name(), a.case.name))
            .collect();
        let detail = format!("of {} scenarios: {differing:?}", fourth.len());
        env.recorder.check(
            format!("helm 3 renders as helm 4 does for Kubernetes {version}"),
            differing.is_empty() && third.len() == fourth.len() && !fourth.is_empty(),
            detail,
        );
    }
    Ok(())
}
