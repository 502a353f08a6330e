//! `canary`: the chart's canary finds its own spans, and where it can't, its alert fires until it can again.

use std::time::Duration;

use anyhow::Result;
use charts::dashboard::{Source, queries};

use crate::backend::prometheus::watch;
use crate::backend::{Component, StackSpec};
use crate::client::prometheus::Client;
use crate::env::Env;
use crate::scenario::alerts::Proof;
use crate::scenario::values;
use crate::wait::{Look, wait_for};

const PASSWORD: &str = "e2e-canary";
const READY: Duration = Duration::from_secs(120);
/// How long its first spans may take to show.
const TOLD: Duration = Duration::from_secs(60);
const ALERT: &[&str] = &["TempoStackCanaryFails"];
const VALUES: &str = "
tempo-stack:
  serviceMonitor: {enabled: true, interval: 1s, scrapeTimeout: 1s}
  prometheusRule: {enabled: true, rateWindow: 8s, for: {default: 2s}}
  grafana: {dashboards: {enabled: true}}
  canary: {enabled: true, periodSeconds: 2, timeoutSeconds: 3}
";

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    let prometheus = env.prometheus(PASSWORD).await?;
    let stack = env.start(&StackSpec::new(values(VALUES)?)).await?;
    stack.wait_ready(READY).await?;
    watch(prometheus.as_ref(), stack.as_ref(), PASSWORD).await?;
    let client = Client::new(prometheus.as_ref(), PASSWORD);

    let found = wait_for("spans that the canary found", TOLD, &env.cancel, || async {
        let attempts = client.total("tempo_canary_attempts_total").await?;
        let failures = client.total("tempo_canary_failures_total").await?;
        let text = format!("{failures} of {attempts} spans were not found");
        Ok(if attempts - failures >= 3.0 {
            Look::Found(text)
        } else {
            Look::NotYet(text)
        })
    })
    .await;
    let detail = found
        .as_ref()
        .map_or_else(|error| format!("{error:#}"), |found| found.value.clone());
    env.recorder.check("the canary finds its spans", found.is_ok(), detail);

    let mut empty = Vec::new();
    let asked = queries(&stack.render().manifests, "30s")?;
    let asked: Vec<_> = asked.iter().filter(|query| query.source == Source::Canary).collect();
    for query in &asked {
        if client.query(&query.expr).await?.is_empty() {
            empty.push(format!("{}: {}", query.panel, query.expr));
        }
    }
    env.recorder.check(
        "every query of the canary's panels finds something",
        !asked.is_empty() && empty.is_empty(),
        format!("{} queries, without an answer: {empty:?}", asked.len()),
    );

    let proof = Proof { env, client };
    proof.end("a stack that is up", ALERT).await;
    stack.stop_pod(Component::Tempo).await?;
    proof.fire("no Tempo", ALERT).await;
    stack.start_pod(Component::Tempo).await?;
    stack.wait_ready(READY).await?;
    proof.end("Tempo again", ALERT).await;
    env.finish(stack).await
}
