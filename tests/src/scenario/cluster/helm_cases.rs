//! `helm-cases`: what goes wrong with charts elsewhere, asked of this one on a real cluster.
//!
//! Each case is a check here, or says where it is shown.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use charts::cases::render_all;
use charts::manifest::{Manifest, parse_all};
use charts::workload::workload;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kit::run_dir::RunDir;
use kit::step::Output;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::Scope;
use kube::discovery::oneshot::pinned_kind;
use serde_json::json;
use serde_yaml::Value;

use super::{Lab, READY, delivers, quick_values};
use crate::backend::Stack;
use crate::env::Env;

const RELEASE: &str = "tempo-stack";
/// The labels that may select pods: none of them changes between versions.
const SELECTORS: [&str; 3] = [
    "app.kubernetes.io/component",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/name",
];
/// Texts that YAML, Helm or a shell would read as something else.
const ODD: &str = "{{ .Release.Name }} # a: b\\n$HOME\\t1e3";

/// Cases that are shown elsewhere.
const ELSEWHERE: [(&str, &str); 10] = [
    ("data on uninstall", "scenario lifecycle"),
    ("hooks: a failed one can be run again", "scenario helm-test"),
    ("a stuck release", "scenario rollback"),
    ("an upgrade that fails", "scenario rollback"),
    ("reuse of values", "scenario upgrade"),
    ("two releases in one namespace", "scenario lifecycle"),
    ("long names", "scenario names"),
    ("a changed ConfigMap rolls its pod", "scenario upgrade"),
    (
        "one wrong letter in any documented key",
        "cargo test, xtask/lint/tests/values.rs",
    ),
    (
        "null in values, through the umbrella too",
        "cargo test, xtask/lint/tests/contract",
    ),
];

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let lab = Lab::open(env, "helm-cases").await?;
    let values = quick_values(env)?;
    admitted(env, &lab).await?;
    missing_type(env, &lab, &values).await?;
    typing_mistake(env, &lab, &values).await?;
    lab.run(lab.helm_with(&["install", RELEASE, "./tempo-stack"], &values)?)
        .await?;
    let stack = lab.ready(RELEASE).await?;
    selectors(env, &lab).await?;
    drift(env, &lab).await?;
    odd_texts(env, &lab, &values).await?;
    rendered(env, &lab, &values).await?;
    aliases(env, &lab).await?;
    delivers(env, stack.as_ref(), 0, "after all of it").await;
    for (case, place) in ELSEWHERE {
        env.recorder.skip(case, format!("shown by {place}"));
    }
    env.finish(stack).await
}

/// A ServiceMonitor where the cluster doesn't know the type: a clear word, and nothing left behind.
async fn missing_type(env: &Env, lab: &Lab<'_>, values: &Value) -> Result<()> {
    let what = "a missing type is named, and nothing is installed";
    if lab
        .cluster
        .connection()
        .knows("monitoring.coreos.com/v1", "ServiceMonitor")
        .await?
    {
        env.recorder.skip(what, "this cluster knows ServiceMonitors");
        return Ok(());
    }
    let install = [
        "install",
        RELEASE,
        "./tempo-stack",
        "--set",
        "serviceMonitor.enabled=true",
    ];
    let output = lab.try_run(lab.helm_with(&install, values)?).await?;
    let pods: Api<Pod> = lab.cluster.connection().api(lab.namespace.name());
    let made = pods
        .list(&Default::default())
        .await
        .context("listing pods")?
        .items
        .len();
    let named = !output.success() && output.stderr.contains("ServiceMonitor");
    env.recorder
        .check(what, named && made == 0, format!("{made} pods; {}", last(&output)));
    // What helm remembers of the attempt, if anything.
    lab.try_run(lab.helm(&["uninstall", RELEASE])?).await?;
    Ok(())
}

/// A key with a typing mistake is refused by name before anything is made.
async fn typing_mistake(env: &Env, lab: &Lab<'_>, values: &Value) -> Result<()> {
    let install = [
        "install",
        RELEASE,
        "./tempo-stack",
        "--set",
        "tempo.retension.period=3d",
    ];
    let output = lab.try_run(lab.helm_with(&install, values)?).await?;
    let refused = !output.success() && output.stderr.contains("retension");
    env.recorder
        .check("a key with a typing mistake is refused by name", refused, last(&output));
    Ok(())
}

/// Selectors can't be changed afterwards, so nothing that changes may be in them.
async fn selectors(env: &Env, lab: &Lab<'_>) -> Result<()> {
    let stack = lab.cluster.attach(&lab.namespace, RELEASE).await?;
    let mut wrong = Vec::new();
    let mut seen = 0;
    for manifest in &stack.render().manifests {
        let labels: BTreeMap<String, String> = match workload(manifest)? {
            Some(found) => found.selector.and_then(|s| s.match_labels).unwrap_or_default(),
            None if manifest.kind == "Service" => manifest
                .parse::<Service>()?
                .spec
                .and_then(|s| s.selector)
                .unwrap_or_default(),
            None => continue,
        };
        seen += 1;
        if labels.keys().map(String::as_str).collect::<Vec<_>>() != SELECTORS {
            wrong.push(manifest.id());
        }
    }
    let detail = format!("{seen} selectors, wrong: {wrong:?}");
    env.recorder.check(
        "selectors hold nothing that changes",
        seen >= 4 && wrong.is_empty(),
        detail,
    );
    let upgrade = [
        "upgrade",
        RELEASE,
        "./tempo-stack",
        "--reuse-values",
        "--set",
        "tempo.version=2.8.0",
    ];
    let output = lab.try_run(lab.helm(&upgrade)?).await?;
    ready(lab).await?;
    env.recorder.check(
        "another version changes nothing that can't be changed",
        output.success(),
        last(&output),
    );
    let back = [
        "upgrade",
        RELEASE,
        "./tempo-stack",
        "--reuse-values",
        "--set",
        "tempo.version=",
    ];
    lab.run(lab.helm(&back)?).await?;
    ready(lab).await
}

async fn ready(lab: &Lab<'_>) -> Result<()> {
    let stack = lab.cluster.attach(&lab.namespace, RELEASE).await?;
    stack.wait_ready(READY).await
}

/// What was edited by hand is as rendered again after an upgrade.
async fn drift(env: &Env, lab: &Lab<'_>) -> Result<()> {
    let maps: Api<ConfigMap> = lab.cluster.connection().api(lab.namespace.name());
    let name = "tempo-stack-tempo";
    let before = maps.get(name).await.context("looking at Tempo's ConfigMap")?.data;
    let edit = Patch::Merge(json!({"data": {"tempo.yaml": "edited by hand"}}));
    let editor = PatchParams {
        field_manager: Some("kubectl-edit".into()),
        ..PatchParams::default()
    };
    maps.patch(name, &editor, &edit)
        .await
        .context("editing Tempo's ConfigMap")?;
    let upgrade = ["upgrade", RELEASE, "./tempo-stack", "--reuse-values"];
    let plain = lab.try_run(lab.helm(&upgrade)?).await?;
    let named = plain.success() || plain.stderr.contains("conflict");
    let forced = lab
        .try_run(lab.helm(&[upgrade.as_slice(), &["--force-conflicts"]].concat())?)
        .await?;
    let after = maps.get(name).await.context("looking at Tempo's ConfigMap")?.data;
    let word = if plain.success() {
        "an upgrade"
    } else {
        "an upgrade with --force-conflicts"
    };
    env.recorder.check(
        "an edit by hand is undone by an upgrade, or named as a conflict first",
        named && forced.success() && before == after,
        format!("undone by {word}; the first said: {}", last(&plain)),
    );
    ready(lab).await
}

/// Texts in a configuration reach the program as they were written, and large numbers as numbers.
async fn odd_texts(env: &Env, lab: &Lab<'_>, values: &Value) -> Result<()> {
    let mut values = values.clone();
    let odd: Value = serde_yaml::from_str(&format!(
        "{{tempo: {{limits: {{ingestBytesPerSecond: 123456789}}}}, otelCollector: {{config: {{processors: {{resource: {{attributes: \
         [{{key: odd, value: \"{ODD}\", action: upsert}}]}}}}, service: {{pipelines: {{traces: {{processors: \
         [memory_limiter, filter/zero-ids, resource]}}}}}}}}}}}}"
    ))
    .context("the odd values")?;
    charts::render::merge(&mut values, odd);
    lab.run(lab.helm_with(&["upgrade", RELEASE, "./tempo-stack"], &values)?)
        .await?;
    let maps: Api<ConfigMap> = lab.cluster.connection().api(lab.namespace.name());
    let file = |name: &'static str, key: &'static str| {
        let maps = maps.clone();
        async move {
            let data = maps
                .get(name)
                .await
                .context("looking at a ConfigMap")?
                .data
                .unwrap_or_default();
            let text = data.get(key).with_context(|| format!("{name} has no {key}"))?;
            serde_yaml::from_str::<Value>(text).with_context(|| format!("reading {key}"))
        }
    };
    let collector = file("tempo-stack-otel-collector", "config.yaml").await?;
    let wanted: Value = serde_yaml::from_str(&format!("\"{ODD}\"")).context("the odd text")?;
    let found = collector["processors"]["resource"]["attributes"][0]["value"].clone();
    env.recorder.check(
        "a text in a configuration arrives as written",
        found == wanted,
        format!("{found:?}"),
    );
    let tempo = file("tempo-stack-tempo", "tempo.yaml").await?;
    let rate = tempo["overrides"]["defaults"]["ingestion"]["rate_limit_bytes"].clone();
    env.recorder.check(
        "a number of nine digits stays a number",
        rate.as_u64() == Some(123_456_789),
        format!("{rate:?}"),
    );
    ready(lab).await
}

/// What needs no cluster but helm: fixed names, determinism, checksums of Secrets.
async fn rendered(env: &Env, lab: &Lab<'_>, values: &Value) -> Result<()> {
    let mut texts = Vec::new();
    for namespace in ["team-a", "team-b", "team-b"] {
        let template = ["template", RELEASE, "./tempo-stack", "--namespace", namespace];
        texts.push((namespace, lab.run(lab.helm_with(&template, values)?).await?.stdout));
    }
    // A checksum is over a configuration that names its own namespace.
    let neutral = |(namespace, text): &(&str, String)| {
        let lines = text.lines().filter(|line| !line.contains("checksum/"));
        lines
            .map(|line| line.replace(namespace, "NAMESPACE") + "\n")
            .collect::<String>()
    };
    let (first, second) = (neutral(&texts[0]), neutral(&texts[1]));
    let detail = format!("named {} times", first.matches("NAMESPACE").count());
    env.recorder.check(
        "no name of another namespace is fixed",
        first == second && first.contains("NAMESPACE"),
        detail,
    );
    env.recorder.check(
        "two renders are equal to the byte",
        texts[1] == texts[2],
        format!("{} bytes", texts[1].1.len()),
    );
    let mut sums = Vec::new();
    for key in ["one", "two"] {
        let set = format!("tempo.storage.s3.secretKey={key}");
        let template = [
            "template",
            RELEASE,
            "./tempo-stack",
            "--set",
            "tempo.storage.backend=s3,tempo.storage.s3.bucket=b,tempo.storage.s3.region=r",
            "--set",
            "tempo.storage.s3.accessKey=a",
            "--set",
            &set,
        ];
        let text = lab.run(lab.helm_with(&template, values)?).await?.stdout;
        let pods = parse_all(&text)?
            .into_iter()
            .find(|m| m.kind == "StatefulSet" && m.name.ends_with("-tempo"));
        let pods = pods.context("no StatefulSet of Tempo was rendered")?;
        sums.push(pods.get(&["spec", "template", "metadata", "annotations"]).cloned());
    }
    env.recorder.check(
        "a changed Secret of the chart rolls its pod",
        sums[0] != sums[1] && sums[0].is_some(),
        "",
    );
    Ok(())
}

/// The API server takes every object that any scenario of `ci/` renders: field names, types and bounds.
/// Nothing is made.
async fn admitted(env: &Env, lab: &Lab<'_>) -> Result<()> {
    let (helm, charts) = (lab.cluster.helm().clone(), env.workspace.charts()?);
    let rendered = tokio::task::spawn_blocking(move || render_all(&helm, &charts))
        .await
        .context("rendering")??;
    let namespace = lab.namespace.name();
    let params = PatchParams::apply("tempo-stack-e2e")
        .force()
        .dry_run()
        .validation_strict();
    let (mut asked, mut refused) = (0, Vec::new());
    let connection = lab.cluster.connection();
    // None are types of operators, which a bare cluster doesn't know.
    let mut known = HashMap::new();
    for scenario in &rendered {
        for manifest in &scenario.render.manifests {
            env.cancel.check()?;
            let (group, version) = manifest
                .api_version
                .split_once('/')
                .unwrap_or(("", &manifest.api_version));
            let kind = GroupVersionKind::gvk(group, version, &manifest.kind);
            if !known.contains_key(&kind) {
                let knows = group.is_empty() || connection.knows(&manifest.api_version, &manifest.kind).await?;
                let found = if knows {
                    let found = pinned_kind(&connection.client(), &kind).await;
                    Some(found.with_context(|| format!("asking for {}", manifest.kind))?)
                } else {
                    None
                };
                known.insert(kind.clone(), found);
            }
            let Some((resource, capabilities)) = &known[&kind] else {
                continue;
            };
            let mut object = manifest.parse::<DynamicObject>()?;
            let api: Api<DynamicObject> = match capabilities.scope {
                Scope::Cluster => Api::all_with(connection.client(), resource),
                // The namespaces of the scenarios don't exist here.
                Scope::Namespaced => {
                    object.metadata.namespace = Some(namespace.to_owned());
                    Api::namespaced_with(connection.client(), namespace, resource)
                }
            };
            // Classes of the user's, which admission of a bare pod wants to see, and a second family of addresses,
            // which not every cluster has.
            if let Some(spec) = object.data.get_mut("spec").and_then(|spec| spec.as_object_mut()) {
                for field in ["priorityClassName", "runtimeClassName", "ipFamilies", "ipFamilyPolicy"] {
                    spec.remove(field);
                }
            }
            asked += 1;
            if let Err(error) = api.patch(&manifest.name, &params, &Patch::Apply(&object)).await {
                refused.push(format!("{} of {}: {error}", manifest.id(), scenario.case.name));
            }
        }
    }
    env.recorder.check(
        format!(
            "Kubernetes {} takes every object of every scenario",
            lab.cluster.connection().version()
        ),
        refused.is_empty() && asked > rendered.len(),
        format!("{asked} objects of {} scenarios, refused: {refused:?}", rendered.len()),
    );
    Ok(())
}

/// The chart twice in one umbrella, under two aliases, and one of them switched off.
async fn aliases(env: &Env, lab: &Lab<'_>) -> Result<()> {
    let folder = RunDir::temporary("aliases")?;
    let stack = lab.charts()?.join("tempo-stack");
    let version = charts::workspace::Chart::read(&stack)?.metadata.version.to_string();
    let dependency = |alias: &str| {
        let repository = format!("file://{}", stack.display());
        json!({"name": "tempo-stack", "alias": alias, "version": version, "repository": repository, "condition": format!("{alias}.enabled")})
    };
    let chart = json!({"apiVersion": "v2", "name": "twice", "version": "0.1.0", "dependencies": [dependency("first"), dependency("second")]});
    let text = serde_yaml::to_string(&chart).context("writing a chart")?;
    std::fs::write(folder.path().join("Chart.yaml"), text).context("writing a chart")?;
    let path = folder.path().display().to_string();
    lab.run(lab.helm(&["dependency", "build", &path, "--skip-refresh"])?)
        .await?;
    let own = "second.tempo.service.name=,second.otelCollector.service.name=";
    let both = template(lab, &["template", "r", &path, "--set", own]).await?;
    let names: Vec<String> = both.iter().map(Manifest::id).collect();
    let mut unique = names.clone();
    unique.sort();
    unique.dedup();
    let ok = names.len() == unique.len() && names.len() >= 16;
    env.recorder.check(
        "two aliases of the chart share no name",
        ok,
        format!("{} objects, {} names", names.len(), unique.len()),
    );
    let one = template(lab, &["template", "r", &path, "--set", "second.enabled=false"]).await?;
    env.recorder.check(
        "a condition that is off renders nothing",
        !one.is_empty() && one.len() * 2 <= both.len(),
        format!("{} objects of {}", one.len(), both.len()),
    );
    Ok(())
}

async fn template(lab: &Lab<'_>, args: &[&str]) -> Result<Vec<Manifest>> {
    parse_all(&lab.run(lab.helm(args)?).await?.stdout)
}

fn last(output: &Output) -> String {
    let said = output.stderr.lines().rev().find(|line| !line.trim().is_empty());
    said.unwrap_or_default().to_owned()
}
