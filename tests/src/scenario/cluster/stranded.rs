//! `stranded`: from Tempo 2.x to 3.x with traces in the write-ahead log, which 3.x never reads.
//!
//! The upgrade needs no image of 3.x: what refuses it runs before Tempo.

use anyhow::Result;

use super::{Lab, READY, deliver, found, stack_values};
use crate::backend::Stack;
use crate::env::Env;

const RELEASE: &str = "tempo-stack";

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let lab = Lab::open(env, "stranded").await?;
    let soon = "{tempo: {terminationGracePeriodSeconds: 5}}";
    let old = stack_values(env, soon)?;
    lab.run(lab.helm_with(&["install", RELEASE, "./tempo-stack"], &old)?)
        .await?;
    let stack = lab.ready(RELEASE).await?;
    let sample = deliver(env, stack.as_ref(), 0).await?;

    let mut new = old.clone();
    charts::render::merge(&mut new, super::super::values("{tempo: {version: 3.0.3}}")?);
    // Without helm, as a GitOps controller does it: no hook and no look at the running release helps there.
    let manifests = lab
        .run(lab.helm_with(&["template", RELEASE, "./tempo-stack", "--no-hooks"], &new)?)
        .await?
        .stdout;
    stack.apply(&manifests, "StatefulSet").await?;
    let refused = stack
        .wait_ready(READY)
        .await
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    env.recorder.check(
        "a Tempo 3.x on the log of 2.x is refused, with the way out",
        refused.contains("never reads") && refused.contains("/flush") && refused.contains("tempo.acceptWalLoss"),
        refused,
    );
    lab.run(lab.helm_with(&["upgrade", RELEASE, "./tempo-stack", "--force-conflicts"], &old)?)
        .await?;
    stack.wait_ready(READY).await?;
    let back = found(env, stack.as_ref(), &sample).await;
    let detail = back
        .as_ref()
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    env.recorder
        .check("back on 2.x the traces are there", back.is_ok(), detail);
    env.finish(stack).await
}
