//! `names`: nothing depends on the default names, ports, release or namespace.

use std::time::Duration;

use anyhow::{Context, Result};
use charts::render::set;
use serde_yaml::Value;

use super::{Access, values};
use crate::backend::{Component, StackSpec};
use crate::client::tempo::span_count;
use crate::env::Env;
use crate::model::corpus::Corpus;
use crate::model::door::Door;

const READY: Duration = Duration::from_secs(60);
const FOUND: Duration = Duration::from_secs(20);
/// The longest name that helm gives a release (helm pkg/chart/common/util, release names).
const LONGEST_RELEASE: usize = 53;
/// The longest name of a Service or a label value (RFC 1035, Kubernetes API).
const LONGEST_NAME: usize = 63;

pub(super) async fn run(env: &Env) -> Result<()> {
    let custom = custom_names()?;
    let long = "a".repeat(LONGEST_RELEASE - 2) + "-z";
    let cases = [
        (
            "other Service names and ports",
            "observability",
            "observability",
            custom,
        ),
        ("another release and namespace", "traces", "team-a", values("{}")?),
        (
            "a release name of 53 characters",
            long.as_str(),
            "observability",
            values("{}")?,
        ),
    ];
    for (n, (what, release, namespace, values)) in cases.into_iter().enumerate() {
        let spec = StackSpec {
            release: release.into(),
            namespace: namespace.into(),
            ..StackSpec::new(values)
        };
        roundtrip(env, what, &spec, u32::try_from(n)?)
            .await
            .with_context(|| what.to_owned())?;
    }
    Ok(())
}

/// Service names and every port that applications see, changed.
fn custom_names() -> Result<Value> {
    let mut values =
        values("{tempo-stack: {tempo: {service: {name: traces-db}}, otelCollector: {service: {name: traces-in}}}}")?;
    // A Service has an address of its own, and with it every port.
    for (component, name, port) in [
        ("tempo", "http", 23_200),
        ("tempo", "otlpGrpc", 24_317),
        ("otelCollector", "otlpGrpc", 25_317),
        ("otelCollector", "otlpHttp", 25_318),
    ] {
        set(
            &mut values,
            &["tempo-stack", component, "service", "ports", name],
            port.into(),
        );
    }
    Ok(values)
}

async fn roundtrip(env: &Env, what: &str, spec: &StackSpec, n: u32) -> Result<()> {
    let stack = env.start(spec).await?;
    stack.wait_ready(READY).await?;
    let manifests = &stack.render().manifests;
    let long: Vec<String> = manifests
        .iter()
        .filter(|m| m.name.len() > LONGEST_NAME)
        .map(|m| m.id())
        .collect();
    env.recorder.check(
        format!("{what}: every name fits"),
        long.is_empty(),
        format!("{} objects {long:?}", manifests.len()),
    );
    let elsewhere: Vec<String> = manifests
        .iter()
        .filter(|m| {
            m.get_str(&["metadata", "namespace"])
                .is_some_and(|namespace| namespace != stack.namespace())
        })
        .map(|m| m.id())
        .collect();
    env.recorder.check(
        format!("{what}: all in the release's namespace"),
        elsewhere.is_empty(),
        format!("{elsewhere:?}"),
    );

    let access = Access::new(stack.as_ref())?;
    let sample = Corpus::from_now(env.seed)?.sample(n);
    let outcome = access.sender.send(Door::OtlpGrpc, &sample.traces).await?;
    env.recorder
        .check(format!("{what}: taken"), outcome.is_acked(), outcome.to_string());
    let found = access
        .tempo
        .wait_for_trace(sample.id, span_count(&sample.traces), FOUND, &env.cancel)
        .await;
    let detail = found.as_ref().map_or_else(
        |error| format!("{error:#}"),
        |_| {
            stack
                .endpoints()
                .get(Component::Tempo, "http")
                .map_or_else(|e| e.to_string(), |a| format!("read back at {a}"))
        },
    );
    env.recorder.check(format!("{what}: found"), found.is_ok(), detail);
    env.finish(stack).await
}
