//! `install`: the documented commands, word for word, and what they promise.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use charts::manifest::Manifest;
use charts::render::set;
use k8s_openapi::api::core::v1::Pod;
use kit::step::{Output, Step};
use kube::Api;
use kube::api::ListParams;
use regex::Regex;
use serde_json::json;
use serde_yaml::Value;

use super::{DOCUMENTED, Lab, READY, cluster, delivers, documented_command, policy, stack_values};
use crate::backend::cluster::{ClusterStack, Image, Shell};
use crate::backend::{Bucket, Component, Stack, Store};
use crate::client::tempo::Client;
use crate::env::Env;
use crate::ports::is_free;
use crate::wait::{Look, wait_for};

const ACCESS_KEY: &str = "e2e-access-key";
const SECRET_KEY: &str = "e2e-secret-key";
const STORED: Duration = Duration::from_secs(60);
/// The port of this machine that the pasted commands forward.
const FORWARDED: u16 = 3200;

/// An address inside the cluster, as READMEs and notes write it.
static ADDRESS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"([a-z0-9-]+)\.observability\.svc\.cluster\.local:([0-9]+)").ok());

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let charts = env.workspace.root().join("charts");
    let readme = charts.join("tempo-stack/README.md");
    let command = documented_command(
        &readme,
        &["helm install tempo-stack ./tempo-stack", "--create-namespace"],
    )?;
    let Some(lab) = observability(env).await? else {
        env.recorder.skip(
            "the documented commands",
            format!("the cluster has a namespace {DOCUMENTED} of its own, which is left alone"),
        );
        return Ok(());
    };
    let shell = cluster(env)?.shell().await?;
    plain(env, &lab, &command, &readme, &shell).await?;
    lab.remove().await?;

    let command = documented_command(
        &charts.join("tempo-stack/docs/storage.md"),
        &[
            "helm install tempo-stack ./tempo-stack",
            "--values tempo-stack/values-s3-example.yaml",
        ],
    )?;
    bucket(env, &command).await?;
    umbrella(env, &charts.join("observability/README.md"), &shell).await?;
    shell.remove().await
}

/// A lab in the documented namespace; none if the cluster has one of that name.
async fn observability(env: &Env) -> Result<Option<Lab<'_>>> {
    let cluster = cluster(env)?;
    Ok(cluster.namespace_named(DOCUMENTED).await?.map(|namespace| Lab {
        env,
        cluster,
        namespace,
    }))
}

/// Runs a documented helm command in the folder of the charts, plus the values of this run.
async fn install(
    env: &Env,
    lab: &Lab<'_>,
    what: &str,
    command: &[String],
    values: &Value,
) -> Result<(Output, Instant)> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let begun = Instant::now();
    // The values of this run, where there are any, go over those of a documented file.
    let none = values.as_mapping().is_some_and(serde_yaml::Mapping::is_empty);
    let step = if none {
        lab.helm(&words)?
    } else {
        lab.helm_with(&words, values)?
    };
    let output = lab.run(step).await?;
    // The API server's warnings, of Pod Security too, come through helm.
    let is_warning = |line: &&str| {
        ["warning", "would violate"]
            .iter()
            .any(|w| line.to_lowercase().contains(w))
    };
    let warned: Vec<&str> = output.stderr.lines().filter(is_warning).collect();
    let detail = format!("helm {}: {}", command.join(" "), warned.join("; "));
    env.recorder
        .check(format!("{what}: no warning"), warned.is_empty(), detail);
    Ok((output, begun))
}

async fn ready(env: &Env, lab: &Lab<'_>, what: &str, release: &str, begun: Instant) -> Result<Arc<ClusterStack>> {
    let stack = lab.stack(release).await?;
    stack.wait_ready(READY).await?;
    let seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    env.recorder
        .measured(format!("{what}: from the command to ready"), seconds, "s", "");
    delivers(env, stack.as_ref(), 0, what).await;
    Ok(stack)
}

async fn plain(env: &Env, lab: &Lab<'_>, command: &[String], readme: &Path, shell: &Shell) -> Result<()> {
    let what = "defaults";
    let (output, begun) = install(env, lab, what, command, &stack_values(env, "{}")?).await?;
    let stack = ready(env, lab, what, "tempo-stack", begun).await?;
    let promised = std::fs::read_to_string(readme).context("reading the README")? + &output.stdout;
    addresses(env, &stack, &promised, shell).await?;
    from_inside(env, shell).await?;
    pasted(env, lab, &output.stdout).await?;
    no_rights(env, lab, &stack).await
}

/// Every address that the README and the notes name, and every TCP port of the Services, takes a
/// connection from another pod.
async fn addresses(env: &Env, stack: &ClusterStack, promised: &str, shell: &Shell) -> Result<()> {
    let pattern = ADDRESS.as_ref().context("the pattern of addresses")?;
    let mut wanted: BTreeSet<(String, String)> = pattern
        .captures_iter(promised)
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
        .collect();
    let named = wanted.len();
    for (service, port) in stack.tcp_ports() {
        wanted.insert((service, port.to_string()));
    }
    // A connection that is made stays open until the client is stopped: exit code 143.
    let tries: Vec<String> = wanted
        .iter()
        .map(|(service, port)| {
            let host = format!("{service}.{DOCUMENTED}.svc.cluster.local");
            format!("(timeout 4 nc -w 2 {host} {port} </dev/null >/dev/null 2>&1; echo {service}:{port} $?) &")
        })
        .collect();
    let printed = shell.run(&format!("{}\nwait", tries.join("\n"))).await?;
    let failed: Vec<&str> = printed
        .stdout
        .lines()
        .filter(|line| !line.ends_with(" 0") && !line.ends_with(" 143"))
        .collect();
    let answered = printed.stdout.lines().count();
    env.recorder.check(
        "every address of the README and of the notes answers from another pod",
        failed.is_empty() && answered == wanted.len() && named >= 2,
        format!(
            "{answered} of {} addresses, {named} of them named in prose; failed: {failed:?}",
            wanted.len()
        ),
    );
    Ok(())
}

/// An application in another namespace sends by the documented name, and reads by it.
async fn from_inside(env: &Env, shell: &Shell) -> Result<()> {
    let script = format!(
        "id=$(tr -d - </proc/sys/kernel/random/uuid); now=$(date +%s)000000000; \
         wget -q -O- --header 'Content-Type: application/json' --post-data \"{{\\\"resourceSpans\\\":[{{\\\"scopeSpans\\\":[{{\\\"spans\\\":[{{\\\"traceId\\\":\\\"$id\\\",\\\"spanId\\\":\\\"00000000000000e2\\\",\\\"name\\\":\\\"e2e\\\",\\\"kind\\\":2,\\\"startTimeUnixNano\\\":\\\"$now\\\",\\\"endTimeUnixNano\\\":\\\"$now\\\"}}]}}]}}]}}\" \
           http://otel-collector.{DOCUMENTED}.svc.cluster.local:4318/v1/traces && \
         for i in $(seq 50); do wget -q -O- http://tempo.{DOCUMENTED}.svc.cluster.local:3200/api/traces/$id && exit 0; sleep 0.2; done; exit 1"
    );
    let printed = shell.run(&script).await?;
    let found = printed.success == Some(true) && printed.stdout.contains("\"e2e\"");
    let said = printed.stderr.lines().last().unwrap_or_default().to_owned();
    env.recorder.check(
        "a pod of another namespace sends and reads by the documented names",
        found,
        said,
    );
    Ok(())
}

/// The notes' commands, pasted into a shell.
async fn pasted(env: &Env, lab: &Lab<'_>, notes: &str) -> Result<()> {
    let what = "the notes' commands work when pasted";
    let line = |program: &str| {
        notes
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with(program))
            .map(str::to_owned)
    };
    let (forward, query) = (line("kubectl "), line("curl "));
    let (Some(forward), Some(query)) = (forward, query) else {
        env.recorder.check(
            what,
            false,
            format!("the notes have no kubectl or no curl line: {notes}"),
        );
        return Ok(());
    };
    let path = tokio::task::block_in_place(|| path_with_kubectl(env))?;
    if !found_in(&path, "kubectl") || !found_in(&path, "curl") || !is_free(FORWARDED) {
        let reason = format!("needs kubectl and curl on PATH, and port {FORWARDED} free");
        env.recorder.skip(what, reason);
        return Ok(());
    }
    let kubeconfig = lab.cluster.folder().join("kubeconfig");
    lab.cluster.connection().write_kubeconfig(&kubeconfig)?;
    let script = format!(
        "{forward} >/dev/null & forward=$!; trap 'kill $forward' EXIT; \
         for i in $(seq 50); do {query} --silent --fail && exit 0; sleep 0.2; done; exit 1"
    );
    let step = Step::new("the notes' commands", "sh")
        .args(["-c", &script])
        .env("KUBECONFIG", kubeconfig.display().to_string())
        .env("PATH", path.to_string_lossy())
        .timeout(Duration::from_secs(60));
    let output = lab.try_run(step).await?;
    let ok = output.success() && output.stdout.contains("\"traces\"");
    env.recorder
        .check(what, ok, format!("{forward}; {query}: {}", output.stderr.trim()));
    Ok(())
}

/// PATH, led by the folder of the kubectl that was built for the test bed's node, where there is one.
fn path_with_kubectl(env: &Env) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let pinned = env.toolbox.find_pinned("kubectl")?;
    let folder = pinned.and_then(|tool| tool.path.parent().map(Path::to_path_buf));
    std::env::join_paths(folder.into_iter().chain(std::env::split_paths(&path))).context("making a PATH")
}

fn found_in(path: &OsStr, program: &str) -> bool {
    std::env::split_paths(path).any(|folder| folder.join(program).is_file())
}

/// No role, no binding, no token.
async fn no_rights(env: &Env, lab: &Lab<'_>, stack: &ClusterStack) -> Result<()> {
    let manifests = stack.render().manifests.iter();
    let rbac = manifests.filter(|m| m.api_version.starts_with("rbac.authorization.k8s.io"));
    let rbac: Vec<String> = rbac.map(Manifest::id).collect();
    env.recorder
        .check("no RBAC object", rbac.is_empty(), format!("{rbac:?}"));
    let pods: Api<Pod> = lab.cluster.connection().api(lab.namespace.name());
    let pods = pods.list(&ListParams::default()).await.context("listing pods")?;
    let mut mounted = Vec::new();
    for pod in &pods {
        let spec = pod.spec.clone().unwrap_or_default();
        let mounts = spec.containers.iter().flat_map(|c| c.volume_mounts.iter().flatten());
        let tokens = mounts.filter(|m| m.mount_path.contains("serviceaccount")).count();
        let projected = spec.volumes.iter().flatten().filter(|v| v.projected.is_some()).count();
        if tokens + projected > 0 {
            mounted.push(pod.metadata.name.clone().unwrap_or_default());
        }
    }
    let detail = format!("of {} pods: {mounted:?}", pods.items.len());
    let ok = mounted.is_empty() && pods.items.len() >= Component::ALL.len();
    env.recorder.check("no token is mounted", ok, detail);
    Ok(())
}

/// The documented installation with a bucket: the Secret, the example, and the endpoint of the store.
async fn bucket(env: &Env, command: &[String]) -> Result<()> {
    let what = "with a bucket";
    let Some(lab) = observability(env).await? else {
        anyhow::bail!("namespace {DOCUMENTED} is there again although it was removed");
    };
    let bucket = Bucket {
        store: Store::S3,
        name: "tempo-traces",
        access_key: ACCESS_KEY,
        secret_key: SECRET_KEY,
    };
    let store = env.object_store(&bucket).await?;
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: tempo-s3}}\nstringData: {{AWS_ACCESS_KEY_ID: {ACCESS_KEY}, AWS_SECRET_ACCESS_KEY: {SECRET_KEY}}}\n"
    );
    lab.cluster.create(lab.namespace.name(), &secret).await?;
    let mut values = stack_values(env, "{}")?;
    set(
        &mut values,
        &["tempo", "storage", "s3", "endpoint"],
        store.endpoint().into(),
    );
    let (_, begun) = install(env, &lab, what, command, &values).await?;
    let stack = ready(env, &lab, what, "tempo-stack", begun).await?;
    let tempo = Client::new(&stack.endpoints().url(Component::Tempo, "http")?)?;
    // Tempo cuts a block when it is old or large, or when it is asked.
    let stored = wait_for("a block in the bucket", STORED, &env.cancel, || async {
        tempo.flush().await?;
        let objects = store.objects().await?;
        Ok(match objects.iter().find(|object| object.ends_with("/meta.json")) {
            Some(_) => Look::Found(objects.len()),
            None => Look::NotYet(format!("{} objects", objects.len())),
        })
    })
    .await;
    let detail = stored
        .as_ref()
        .map_or_else(|e| format!("{e:#}"), |s| format!("{} objects", s.value));
    env.recorder
        .check(format!("{what}: blocks are in it"), stored.is_ok(), detail);
    // The umbrella takes the documented namespace after it.
    env.remove(stack).await
}

/// The umbrella with nothing but its defaults, on a cluster that knows no type beyond its own.
async fn umbrella(env: &Env, readme: &Path, shell: &Shell) -> Result<()> {
    let what = "umbrella without values";
    let Some(lab) = observability(env).await? else {
        anyhow::bail!("namespace {DOCUMENTED} is there again although it was removed");
    };
    let build = documented_command(readme, &["helm dependency build ./observability"])?;
    let words: Vec<&str> = build.iter().map(String::as_str).collect();
    lab.run(lab.helm(&words)?).await?;
    let command = documented_command(readme, &["helm install observability ./observability"])?;
    let mut values = Value::Mapping(Default::default());
    if !images_by_policy(&lab).await? {
        env.recorder.skip(format!("{what}: its own images"), policy::NONE);
        set(&mut values, &["tempo-stack"], lab.cluster.images().values());
    }
    let (output, begun) = install(env, &lab, what, &command, &values).await?;
    let stack = ready(env, &lab, what, "observability", begun).await?;
    bare(env, what, &stack);
    addresses(env, &stack, &output.stdout, shell).await?;
    env.finish(stack).await
}

/// Images that no registry has take the place of the charts' own at admission, as a platform that mirrors images
/// does it: so the command needs no values. Returns whether nothing else is needed.
async fn images_by_policy(lab: &Lab<'_>) -> Result<bool> {
    let images = lab.cluster.images();
    let named = |image: &Option<Image>| image.as_ref().filter(|image| image.registry == "localhost").cloned();
    let (Some(tempo), Some(collector)) = (named(&images.tempo), named(&images.otel_collector)) else {
        return Ok(true);
    };
    let Some(version) = policy::mutating(lab).await? else {
        return Ok(false);
    };
    let change = |list: &str| {
        format!(
            "!has(object.spec.{list}) ? Object{{}} : Object{{spec: Object.spec{{{list}: object.spec.{list}.map(c, \
             Object.spec.{list}{{name: c.name, image: c.name == 'tempo' ? '{tempo}' : c.name == 'otel-collector' ? \
             '{collector}' : '{}'}})}}}}",
            images.helper
        )
    };
    policy::change_pods(lab, &version, &["containers", "initContainers"].map(change)).await?;
    let spec = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "tempo",
            "image": "none",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    });
    policy::in_force(lab, &spec, |tried| {
        let spec = tried.as_ref().ok().and_then(|pod| pod.spec.as_ref());
        let images = spec.map(|spec| spec.containers.iter().map(|c| c.image.clone().unwrap_or_default()));
        images.is_some_and(|mut images| images.all(|image| image == tempo.to_string()))
    })
    .await?;
    Ok(true)
}

/// Every object is of a kind that comes with Kubernetes.
fn bare(env: &Env, what: &str, stack: &ClusterStack) {
    let manifests = &stack.render().manifests;
    // Groups of custom types have a dot, Kubernetes' own are short or end in `.k8s.io`.
    let custom = manifests.iter().filter(|manifest| {
        let group = manifest.api_version.split_once('/').map_or("", |(group, _)| group);
        group.contains('.') && !group.ends_with(".k8s.io")
    });
    let custom: Vec<String> = custom.map(Manifest::id).collect();
    let kinds: BTreeSet<&str> = manifests.iter().map(|manifest| manifest.kind.as_str()).collect();
    let detail = format!("{} objects: {kinds:?}; custom: {custom:?}", manifests.len());
    env.recorder.check(
        format!("{what}: every object is of a kind that comes with Kubernetes"),
        custom.is_empty() && !kinds.is_empty(),
        detail,
    );
}
