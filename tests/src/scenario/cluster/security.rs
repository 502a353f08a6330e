//! `security`: what the running processes may do, asked from inside their containers.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::ListParams;

use super::{Lab, deliver, stack_values};
use crate::backend::cluster::ClusterStack;
use crate::backend::{Bucket, Component, Stack, Store};
use crate::env::Env;

/// The user and group of every process (values.yaml, `podSecurityContext`).
const USER: &str = "10001";
/// A secret that the chart is given, to be looked for everywhere.
const SECRET_KEY: &str = "e2e-secret-never-to-be-seen";
const ACCESS_KEY: &str = "e2e-access-key";
const RELEASE: &str = "tempo-stack";
/// Where a token of the API server would be mounted.
const TOKENS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// seccomp(2): a filter is in force.
const FILTERED: &str = "2";

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let bucket = Bucket {
        store: Store::S3,
        name: "traces",
        access_key: ACCESS_KEY,
        secret_key: SECRET_KEY,
    };
    let store = env.object_store(&bucket).await?;
    let lab = Lab::open(env, "security").await?;
    let values = stack_values(
        env,
        &format!(
            "{{tempo: {{storage: {{backend: s3, s3: {{bucket: traces, endpoint: '{}', region: us-east-1, insecure: true, \
             forcePathStyle: true, accessKey: {ACCESS_KEY}, secretKey: {SECRET_KEY}}}}}}}}}",
            store.endpoint()
        ),
    )?;
    lab.run(lab.helm_with(&["install", RELEASE, "./tempo-stack"], &values)?)
        .await?;
    let stack = lab.ready(RELEASE).await?;
    // With a span inside, so that a log that would tell the key has had its chance.
    deliver(env, stack.as_ref(), 0).await?;
    for component in Component::ALL {
        process(env, &stack, component).await?;
        file_system(env, &stack, component).await?;
    }
    secret(env, &lab, &stack).await?;
    env.finish(stack).await
}

/// What the kernel says of the program's process (proc(5), /proc/pid/status).
async fn process(env: &Env, stack: &ClusterStack, component: Component) -> Result<()> {
    let printed = stack.beside(component, "cat /proc/1/status").await?;
    let status: BTreeMap<&str, &str> = printed
        .stdout
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
        .collect();
    let get = |key: &str| {
        status
            .get(key)
            .copied()
            .with_context(|| format!("no {key} in {:?}", printed.stdout))
    };
    for (key, what) in [("Uid", "user"), ("Gid", "group")] {
        let ids = get(key)?;
        let ok = ids.split_whitespace().all(|id| id == USER);
        env.recorder
            .check(format!("{component} runs as {what} {USER}"), ok, ids);
    }
    let mut held = Vec::new();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let mask = get(set)?;
        if !mask.trim_matches('0').is_empty() {
            held.push(format!("{set} {mask}"));
        }
    }
    env.recorder.check(
        format!("{component} has no capability"),
        held.is_empty(),
        held.join(", "),
    );
    let seccomp = get("Seccomp")?;
    env.recorder.check(
        format!("{component} runs under a seccomp filter"),
        seccomp == FILTERED,
        format!("Seccomp {seccomp}"),
    );
    let privileges = get("NoNewPrivs")?;
    env.recorder.check(
        format!("{component} can gain no privileges"),
        privileges == "1",
        format!("NoNewPrivs {privileges}"),
    );
    Ok(())
}

/// The root is read-only, the volume is not, and no token lies anywhere.
async fn file_system(env: &Env, stack: &ClusterStack, component: Component) -> Result<()> {
    let (config, volume) = match component {
        Component::Tempo => ("/etc/tempo", "/var/tempo"),
        Component::OtelCollector => ("/etc/otelcol", "/var/lib/otelcol"),
        Component::QueryProxy => ("/etc/query-proxy/config", "/run/query-proxy"),
    };
    for folder in ["/", "/etc", config] {
        let printed = stack
            .beside(component, &format!("touch /proc/1/root{folder}/e2e-probe"))
            .await?;
        let refused = printed.success == Some(false) && printed.stderr.contains("Read-only file system");
        env.recorder.check(
            format!("{component} can't write to {folder}"),
            refused,
            printed.stderr.trim(),
        );
    }
    // The same way in is open where it should be: what failed above was the file system.
    let file = format!("/proc/1/root{volume}/e2e-probe");
    let printed = stack.beside(component, &format!("touch {file} && rm {file}")).await?;
    env.recorder.check(
        format!("{component} can write to its volume {volume}"),
        printed.success == Some(true),
        printed.stderr.trim(),
    );
    let printed = stack.beside(component, &format!("ls /proc/1/root{TOKENS}")).await?;
    let none = printed.success == Some(false) && printed.stderr.contains("No such file");
    let detail = format!("{}{}", printed.stdout, printed.stderr);
    env.recorder.check(
        format!("{component} has no token of the API server"),
        none,
        detail.trim(),
    );
    Ok(())
}

/// The key is in a Secret and nowhere else.
async fn secret(env: &Env, lab: &Lab<'_>, stack: &ClusterStack) -> Result<()> {
    let connection = lab.cluster.connection();
    let namespace = lab.namespace.name();
    let all = ListParams::default();
    let mut texts = BTreeMap::new();
    let maps: Api<ConfigMap> = connection.api(namespace);
    let maps = maps.list(&all).await.context("listing ConfigMaps")?.items;
    texts.insert("a ConfigMap", serde_json::to_string(&maps).context("writing JSON")?);
    let pods: Api<Pod> = connection.api(namespace);
    let pods = pods.list(&all).await.context("listing pods")?.items;
    texts.insert("a pod", serde_json::to_string(&pods).context("writing JSON")?);
    let manifests = stack.render().manifests.iter().filter(|m| m.kind != "Secret");
    texts.insert("a manifest", manifests.map(|m| m.text.as_str()).collect());
    let tempo = stack.logs(Component::Tempo).await?;
    texts.insert("a log", tempo + &stack.logs(Component::OtelCollector).await?);
    let shown = texts.iter().filter(|(_, text)| text.contains(SECRET_KEY));
    let shown: Vec<&str> = shown.map(|(place, _)| *place).collect();
    let read: usize = texts.values().map(String::len).sum();
    let detail = format!("{read} bytes of ConfigMaps, pods, manifests and logs read, found in {shown:?}");
    env.recorder
        .check("the key is nowhere outside its Secret", shown.is_empty(), detail);
    // It was given to the chart at all.
    let secret = stack.render().manifests.iter().find(|m| m.kind == "Secret");
    let id = secret.map(charts::manifest::Manifest::id).unwrap_or_default();
    env.recorder.check("it is in the chart's Secret", secret.is_some(), id);
    Ok(())
}
