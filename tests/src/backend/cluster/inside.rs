//! Looking into a running container and talking to its processes.
//!
//! The images have no shell. An ephemeral container with one joins the process namespace of the
//! program's container: it sees /proc/1, and under /proc/1/root the program's file system. It meets
//! Pod Security *restricted* and runs as the pod's user, so it may do nothing that the program may not.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kit::failure::Failure;
use kube::Api;
use kube::api::{AttachParams, Patch, PatchParams};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::pods;

/// An image that is there starts sooner.
const START: Duration = Duration::from_secs(60);
/// Longer than any run: the container waits for commands.
const ALIVE: &str = "86400";
/// What the names of our ephemeral containers begin with.
const NAME: &str = "e2e";

/// What a command inside a container printed.
#[derive(Debug, Clone, Default)]
pub struct Printed {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Whether it ended with exit code 0; none if the container went away under it.
    pub success: Option<bool>,
}

/// Runs a shell script beside the program of a pod's container, as the pod's user.
pub async fn beside(pods: &Api<Pod>, pod: &str, container: &str, image: &str, script: &str) -> Result<Printed> {
    let helper = ensure(pods, pod, container, image).await?;
    exec(pods, pod, &helper, &["/bin/sh", "-c", script]).await
}

/// Runs a command in a container.
pub async fn exec(pods: &Api<Pod>, pod: &str, container: &str, command: &[&str]) -> Result<Printed> {
    let params = AttachParams::default()
        .container(container)
        .stdin(false)
        .stdout(true)
        .stderr(true);
    let mut process = pods
        .exec(pod, command.iter().copied(), &params)
        .await
        .with_context(|| format!("running a command in container {container} of pod {pod}"))?;
    let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
    let (stdout, stderr) = tokio::join!(read(stdout), read(stderr));
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    Ok(Printed {
        stdout,
        stderr,
        success: status.and_then(|s| s.status).map(|text| text == "Success"),
    })
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // A stream that breaks ends with what came until then.
        let _ = stream.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The name of a helper that runs beside the container; made if there is none.
async fn ensure(api: &Api<Pod>, pod: &str, container: &str, image: &str) -> Result<String> {
    let found = api.get(pod).await.with_context(|| format!("looking at pod {pod}"))?;
    let helpers = found
        .status
        .iter()
        .flat_map(|s| s.ephemeral_container_statuses.iter().flatten());
    let mut count = 0;
    for status in helpers.filter(|status| status.name.starts_with(NAME)) {
        count += 1;
        // It joined the processes of one start of the container, and ended with them.
        if status.name.ends_with(container) && pods::runs(status) {
            return Ok(status.name.clone());
        }
    }
    let name = format!("{NAME}-{count}-{container}");
    let patch = json!({"spec": {"ephemeralContainers": [{
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sleep", ALIVE],
        "targetContainerName": container,
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }]}});
    api.patch_ephemeral_containers(pod, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .with_context(|| format!("adding a helper to pod {pod}"))?;
    running(api, pod, &name, image).await?;
    Ok(name)
}

async fn running(api: &Api<Pod>, pod: &str, helper: &str, image: &str) -> Result<()> {
    let begun = std::time::Instant::now();
    loop {
        let found = api.get(pod).await.with_context(|| format!("looking at pod {pod}"))?;
        let mut helpers = found
            .status
            .iter()
            .flat_map(|s| s.ephemeral_container_statuses.iter().flatten());
        let status = helpers.find(|status| status.name == helper);
        if status.is_some_and(pods::runs) {
            return Ok(());
        }
        let why = status.and_then(pods::waits).unwrap_or("not seen by the kubelet yet");
        if why.contains("Image") {
            return Err(Failure::environment(
                format!("the helper image {image} can't be had: {why}"),
                "name another busybox with --image helper=IMAGE, or load this one into the cluster",
            ));
        }
        if status.is_some_and(|s| s.state.as_ref().is_some_and(|s| s.terminated.is_some())) {
            bail!("helper {helper} of pod {pod} ended at once");
        }
        if begun.elapsed() > START {
            bail!("helper {helper} of pod {pod} does not start: {why}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
