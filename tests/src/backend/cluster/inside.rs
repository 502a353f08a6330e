//! Looking into a running container and talking to its processes.
//!
//! The images have no shell. An ephemeral container with one joins the process namespace of the
//! program's container: it sees /proc/1, and under /proc/1/root the program's file system. It meets
//! Pod Security *restricted* and runs as the pod's user, so it may do nothing that the program may not.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kit::failure::Failure;
use kit::step::Cancel;
use kube::Api;
use kube::api::{AttachParams, Patch, PatchParams};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::pods;
use crate::wait::{Look, wait_for};

/// An image that is there starts sooner.
const START: Duration = Duration::from_secs(60);
/// Longer than any run: the container waits for commands.
const ALIVE: &str = "86400";
/// The last line of a listing that is complete.
const END: &str = "--- end";
/// What the names of our ephemeral containers begin with.
const NAME: &str = "e2e";

/// What a command inside a container printed.
#[derive(Debug, Clone, Default)]
pub struct Printed {
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

/// A script that lists the files below a folder, none where the folder isn't there, and says when it is done:
/// the listing of a script that broke off would look like one of an empty folder.
pub fn listing(folder: &str) -> String {
    format!("[ ! -d '{folder}' ] || find '{folder}' -type f || exit 1; echo '{END}'")
}

/// The lines of a [`listing`]. An error if it did not get to its end.
pub fn listed(printed: &Printed) -> Result<Vec<String>> {
    match printed.stdout.strip_suffix('\n').unwrap_or_default().strip_suffix(END) {
        Some(list) => Ok(list.lines().map(str::to_owned).collect()),
        None => bail!("listing files broke off: {}", printed.stderr.trim()),
    }
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
    let what = format!("helper {helper} of pod {pod}");
    let waited = wait_for(&what, START, &Cancel::default(), || async {
        let found = api.get(pod).await.with_context(|| format!("looking at pod {pod}"))?;
        let mut helpers = found
            .status
            .iter()
            .flat_map(|s| s.ephemeral_container_statuses.iter().flatten());
        let status = helpers.find(|status| status.name == helper);
        if status.is_some_and(pods::runs) {
            return Ok(Look::Found(()));
        }
        let why = status.and_then(pods::waits).unwrap_or("not seen by the kubelet yet");
        if why.contains("Image") {
            return Ok(Look::Never(Failure::environment(
                format!("the helper image {image} is unavailable: {why}"),
                "name another busybox with --image helper=IMAGE, or load this one into the cluster",
            )));
        }
        if status.is_some_and(|s| s.state.as_ref().is_some_and(|s| s.terminated.is_some())) {
            return Ok(Look::Never(anyhow::anyhow!("{what} ended at once")));
        }
        Ok(Look::NotYet(why.to_owned()))
    })
    .await;
    waited.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_broke_off_is_an_error_and_not_an_empty_folder() {
        let printed = |stdout: &str| Printed {
            stdout: stdout.into(),
            success: Some(true),
            ..Printed::default()
        };
        assert_eq!(listed(&printed("/a/1\n/a/2\n--- end\n")).unwrap(), ["/a/1", "/a/2"]);
        assert!(listed(&printed("--- end\n")).unwrap().is_empty());
        assert!(listed(&printed("")).is_err() && listed(&printed("/a/1\n")).is_err());
    }

    #[test]
    fn a_listing_ends_for_a_folder_that_is_there_and_for_one_that_is_not() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        for (folder, files) in [(temp.path().to_path_buf(), 1), (temp.path().join("none"), 0)] {
            let script = listing(&folder.display().to_string());
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            let printed = Printed {
                stdout: String::from_utf8(output.stdout).unwrap(),
                ..Printed::default()
            };
            assert_eq!(listed(&printed).unwrap().len(), files);
        }
    }
}
