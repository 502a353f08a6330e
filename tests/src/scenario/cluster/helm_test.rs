//! `helm-test`: the chart's own test says yes to a stack that works, and to one that doesn't why.

use std::time::Duration;

use anyhow::Result;
use kit::step::Output;

use super::{Lab, documented_command, quick_values};
use crate::backend::{Component, Stack};
use crate::env::Env;

const RELEASE: &str = "tempo-stack";
/// How long the test of a broken stack tries, in seconds.
const TIMEOUT: u32 = 8;

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let lab = Lab::open(env, "helm-test").await?;
    let values = quick_values(env)?;
    lab.run(lab.helm_with(&["install", RELEASE, "./tempo-stack"], &values)?)
        .await?;
    let stack = lab.ready(RELEASE).await?;
    for what in ["a stack that works passes", "the test can be run again"] {
        let (output, seconds) = test(env, &lab).await?;
        let said = output.stdout.contains("found by id") && output.stdout.contains("found by TraceQL");
        env.recorder
            .measure(what, seconds, "s", output.success() && said, last(&output));
    }
    let pods = stack.pods_of("test").await?;
    env.recorder
        .check("a test that passed leaves no pod", pods.is_empty(), format!("{pods:?}"));

    broken(env, &lab, stack.as_ref()).await?;
    let (output, seconds) = test(env, &lab).await?;
    env.recorder.measure(
        "a failed test can be run again",
        seconds,
        "s",
        output.success(),
        last(&output),
    );
    let other = "registry.example/other/busybox:1";
    let rendered = lab
        .run(lab.helm_with(
            &[
                "template",
                RELEASE,
                "./tempo-stack",
                "--set",
                "helmTest.image.registry=registry.example",
                "--set",
                "helmTest.image.repository=other/busybox,helmTest.image.digest=",
                "--set-string",
                "helmTest.image.tag=1",
            ],
            &values,
        )?)
        .await?;
    env.recorder
        .check("its image can be replaced", rendered.stdout.contains(other), other);
    env.finish(stack).await
}

/// Without one of its programs the stack fails the test, and the test says which.
async fn broken(env: &Env, lab: &Lab<'_>, stack: &dyn Stack) -> Result<()> {
    let timeout = format!("helmTest.timeoutSeconds={TIMEOUT}");
    lab.run(lab.helm(&["upgrade", RELEASE, "./tempo-stack", "--reuse-values", "--set", &timeout])?)
        .await?;
    for (component, says) in [
        (Component::Tempo, "but Tempo at http://tempo."),
        (Component::OtelCollector, "does not take a span"),
    ] {
        stack.stop_pod(component).await?;
        let (output, seconds) = test(env, lab).await?;
        let all = format!("{}{}", output.stdout, output.stderr);
        let told = all.contains(says) && all.contains("The last answer: wget: ") && all.contains("kubectl get pods");
        env.recorder.measure(
            format!("without {component} it fails and says so"),
            seconds,
            "s",
            !output.success() && told,
            all.lines().find(|line| line.contains("FAILED")).unwrap_or_default(),
        );
        stack.start_pod(component).await?;
        stack.wait_ready(Duration::from_secs(90)).await?;
    }
    Ok(())
}

async fn test(env: &Env, lab: &Lab<'_>) -> Result<(Output, f64)> {
    let readme = env.workspace.root().join("charts/tempo-stack/README.md");
    let words = lab.own(documented_command(&readme, &["helm test tempo-stack", "--namespace"])?);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["--logs"]).collect();
    let output = lab.try_run(lab.helm(&words)?).await?;
    let seconds = (output.elapsed.as_secs_f64() * 10.0).round() / 10.0;
    Ok((output, seconds))
}

fn last(output: &Output) -> String {
    let all = format!("{}{}", output.stdout, output.stderr);
    all.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .to_owned()
}
