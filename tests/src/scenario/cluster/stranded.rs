//! `stranded`: from Tempo 2.x to 3.x, as one Tempo or as a fleet over Kafka, with traces in the write-ahead log, which
//! 3.x never reads.
//!
//! The upgrade needs no image of 3.x: what refuses it runs before Tempo.

use anyhow::Result;

use super::{Lab, READY, deliver, found, stack_values};
use crate::backend::Stack;
use crate::env::Env;

const RELEASE: &str = "tempo-stack";
/// The workload that has the log, whatever its pods run.
const WORKLOAD: &str = "StatefulSet/tempo-stack-tempo";
const ONE: &str = "{tempo: {version: 3.0.3}}";
/// With one partition its first pod is the first to be replaced.
const FLEET: &str = "
tempo:
  version: 3.0.3
  mode: microservices
  storage: {backend: s3, s3: {bucket: traces, region: eu-central-1}}
  kafka: {address: 'kafka:9092', partitions: 1}
";

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let lab = Lab::open(env, "stranded").await?;
    let soon = "{tempo: {terminationGracePeriodSeconds: 5}}";
    let old = stack_values(env, soon)?;
    lab.run(lab.helm_with(&["install", RELEASE, "./tempo-stack"], &old)?)
        .await?;
    let stack = lab.ready(RELEASE).await?;
    for (n, what, values) in [(0, "a Tempo 3.x", ONE), (1, "a fleet of 3.x over Kafka", FLEET)] {
        // What came in before is on its way from the log to the store.
        let sample = deliver(env, stack.as_ref(), n).await?;
        let mut new = old.clone();
        charts::render::merge(&mut new, super::super::values(values)?);
        // Without helm, as a GitOps controller does it: no hook and no look at the running release helps there.
        let manifests = lab
            .run(lab.helm_with(&["template", RELEASE, "./tempo-stack", "--no-hooks"], &new)?)
            .await?
            .stdout;
        stack.apply(&manifests, WORKLOAD).await?;
        let refused = stack
            .wait_ready(READY)
            .await
            .err()
            .map(|error| format!("{error:#}"))
            .unwrap_or_default();
        let words = ["never reads", "/flush", "tempo.acceptWalLoss"];
        env.recorder.check(
            format!("{what} on the log of 2.x is refused, with the way out"),
            words.iter().all(|word| refused.contains(word)),
            refused,
        );
        lab.run(lab.helm_with(&["upgrade", RELEASE, "./tempo-stack", "--force-conflicts"], &old)?)
            .await?;
        stack.wait_ready(READY).await?;
        let back = found(env, stack.as_ref(), &sample).await;
        let what = format!("back on 2.x, from {what}, the traces are there");
        env.recorder
            .worked(what, &back, |took| format!("after {:.1} s", took.as_secs_f64()));
    }
    env.finish(stack).await
}
