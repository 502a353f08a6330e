//! `faults`: five ways in which a start fails in a cluster, and the one line that says why.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::values;
use super::{Lab, READY};
use crate::backend::cluster::Stage;
use crate::backend::{Stack, StackSpec};
use crate::env::Env;

/// A probe that fails goes on failing: this long is waited for it.
const PROBED: Duration = Duration::from_secs(25);

/// A way to break the stack, and what is to be said about it.
struct Fault {
    what: &'static str,
    values: &'static str,
    stage: Stage,
    /// All of these are in the line.
    says: &'static [&'static str],
    /// What is waited at most. A fault that can't recover is told much sooner.
    timeout: Duration,
}

const FAULTS: [Fault; 5] = [
    Fault {
        what: "an image that does not exist",
        values: "{tempo-stack: {tempo: {version: 2.9.0, image: {registry: localhost, repository: tempo-stack/none, tag: 0.0.0}}}}",
        stage: Stage::Image,
        says: &["tempo", "localhost/tempo-stack/none:0.0.0"],
        timeout: READY,
    },
    Fault {
        what: "a probe that fails",
        values: "{tempo-stack: {tempo: {config: {ingester: {lifecycler: {min_ready_duration: 10m}}}}}}",
        stage: Stage::Probe,
        says: &["tempo", "probe failed", "503"],
        timeout: PROBED,
    },
    Fault {
        what: "a claim that can't be bound",
        values: "{tempo-stack: {tempo: {persistence: {storageClass: no-such-class}}}}",
        stage: Stage::Volume,
        says: &["tempo", "no-such-class", "not found"],
        timeout: READY,
    },
    Fault {
        what: "a pod that admission refuses",
        values: "{tempo-stack: {tempo: {securityContext: {allowPrivilegeEscalation: true}}}}",
        stage: Stage::Admission,
        says: &["tempo", "violates PodSecurity", "allowPrivilegeEscalation"],
        timeout: READY,
    },
    Fault {
        what: "a configuration that the program refuses",
        values: "{tempo-stack: {otelCollector: {config: {nonsense: {}}}}}",
        stage: Stage::Crash,
        says: &["otel-collector", "exit code 1", "invalid keys: nonsense"],
        timeout: READY,
    },
];

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    for fault in FAULTS {
        let begun = Instant::now();
        let stack = env.start(&StackSpec::new(values(fault.values)?)).await?;
        let outcome = stack.wait_ready(fault.timeout).await;
        let seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let (ok, line) = match outcome {
            Ok(()) => (false, "it became ready".to_owned()),
            Err(error) => {
                let line = format!("{error:#}");
                let staged = line.contains(&format!(": {}: ", fault.stage));
                let said = fault.says.iter().all(|part| line.contains(part));
                (staged && said && !line.contains('\n'), line)
            }
        };
        // What can't recover is told before the timeout.
        let early = fault.stage == Stage::Probe || begun.elapsed() < fault.timeout;
        env.recorder.measure(fault.what, seconds, "s", ok && early, line);
        bundle(env, stack.as_ref()).await?;
        env.finish(stack).await?;
    }
    refused(env).await?;
    // Without a fault it starts: what was reported was the fault.
    let lab = Lab::open(env, "no-fault").await?;
    let values = super::stack_values(env, "{}")?;
    lab.run(lab.helm_with(&["install", "tempo-stack", "./tempo-stack"], &values)?)
        .await?;
    let ready = lab.ready("tempo-stack").await;
    let detail = ready.err().map(|error| format!("{error:#}")).unwrap_or_default();
    env.recorder
        .check("without a fault it starts", detail.is_empty(), detail);
    lab.close().await
}

/// An installation that the API server refuses ends in helm's own words, and leaves a bundle too.
async fn refused(env: &Env) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let above_the_limit = "{tempo-stack: {tempo: {resources: {requests: {memory: 100Gi}}}}}";
    let spec = StackSpec {
        evidence: Some(folder.path().to_path_buf()),
        ..StackSpec::new(values(above_the_limit)?)
    };
    let line = match env.backend.start(&spec).await {
        Ok(stack) => {
            stack.shut_down().await?;
            "it was installed".to_owned()
        }
        Err(error) => format!("{error:#}"),
    };
    let said = line.contains("memory limit");
    env.recorder.check("an object that the API server refuses", said, line);
    complete(env, folder.path());
    Ok(())
}

async fn bundle(env: &Env, stack: &dyn Stack) -> Result<()> {
    let folder = tempfile::tempdir()?;
    stack.evidence(folder.path()).await?;
    complete(env, folder.path());
    Ok(())
}

/// A bundle holds what a maintainer asks for.
fn complete(env: &Env, folder: &Path) {
    let missing: Vec<&str> = [
        "events.txt",
        "pods.yaml",
        "claims.yaml",
        "nodes.txt",
        "helm-status.txt",
        "helm-values.yaml",
        "helm-manifest.yaml",
    ]
    .into_iter()
    .filter(|file| std::fs::read_to_string(folder.join(file)).map_or(true, |text| text.starts_with("# not")))
    .collect();
    env.recorder.check(
        "its bundle is complete",
        missing.is_empty(),
        format!("missing: {missing:?}"),
    );
}
