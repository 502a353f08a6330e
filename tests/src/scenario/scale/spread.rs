//! `spread`: with two Collectors, connections reach each of them, and one that is cut off under load loses
//! nothing. The connection of a single client moves between them at the age that the values set.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::backend::{Component, Fault, Stack};
use crate::client::load::{Batches, Load};
use crate::client::metrics::Scrape;
use crate::client::readback::read_back;
use crate::env::Env;
use crate::scenario::{Access, drained, judge_ledger, per_pod, values};
use crate::wait::{Look, wait_for};

const VALUES: &str = "{tempo-stack: {otelCollector: {replicas: 2, queue: {persistence: {enabled: true}}}}}";
/// The same with an age of connections; empty: none.
fn aged(age: &str) -> String {
    format!("{{tempo-stack: {{otelCollector: {{replicas: 2, receivers: {{maxConnectionAge: '{age}'}}}}}}}}")
}
/// So long that the connection of a client is opened several times.
const AGE: &str = "2s";
const AGED: Duration = Duration::from_secs(10);
/// Each has a connection of its own.
const CLIENTS: u64 = 4;
/// Spans per second of each client.
const RATE: u32 = 500;
const CALM: Duration = Duration::from_secs(3);
/// How long a change may take to show, on a busy two-core machine.
const SEEN: Duration = Duration::from_secs(30);
const READ: Duration = Duration::from_secs(60);
const ACCEPTED: &str = "otelcol_receiver_accepted_spans";
const QUEUED: &str = "otelcol_exporter_queue_size";

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    let stack = env.ready_stack(values(VALUES)?).await?;
    let access = Access::new(stack.as_ref())?;
    let loads = start(env, stack.as_ref())?;
    tokio::time::sleep(CALM).await;
    let accepted = per_pod(stack.as_ref(), ACCEPTED).await;
    let shown = accepted
        .as_ref()
        .map_or_else(|error| format!("{error:#}"), |pods| format!("{pods:?}"));
    env.recorder.check(
        "each of two Collectors accepted spans",
        accepted.is_ok_and(|pods| pods.len() == 2 && pods.values().all(|spans| *spans > 0.0)),
        shown,
    );

    // While Tempo stands still both have a backlog; the one that is cut off then keeps it.
    let tempo = first(stack.as_ref(), Component::Tempo).await?;
    let victim = first(stack.as_ref(), Component::OtelCollector).await?;
    stack.disturb(&tempo, Fault::Frozen).await?;
    backlog(env, stack.as_ref(), "a backlog in both", |_, bytes| bytes > 0.0).await?;
    let before = acked(&loads);
    stack.disturb(&victim, Fault::CutOff).await?;
    stack.recover(&tempo).await?;
    let moved = wait_for("acknowledgements of all clients", SEEN, &env.cancel, || async {
        let now = acked(&loads);
        // More than the requests that were on their way.
        let waiting = now
            .iter()
            .zip(&before)
            .filter(|(now, before)| **now < **before + u64::from(RATE));
        Ok(match waiting.count() {
            0 => Look::Found(now),
            n => Look::NotYet(format!("{n} clients have none since one Collector was cut off")),
        })
    })
    .await;
    let shown = moved.as_ref().map_or_else(
        |error| format!("{error:#}"),
        |now| {
            format!(
                "spans acknowledged before {before:?} and after {:.1} s {:?}",
                now.elapsed.as_secs_f64(),
                now.value
            )
        },
    );
    env.recorder
        .check("every client goes on over a new connection", moved.is_ok(), shown);

    let mut ledgers = Vec::new();
    for load in loads {
        ledgers.push(load.stop().await?.0);
    }
    let kept = backlog(
        env,
        stack.as_ref(),
        "a backlog in the one that is cut off only",
        |pod, bytes| (bytes > 0.0) == (pod == victim),
    )
    .await;
    let shown = kept.as_ref().map_or_else(|error| format!("{error:#}"), String::clone);
    env.recorder.check(
        "the one that is cut off keeps what it acknowledged",
        kept.is_ok(),
        shown,
    );
    stack.recover(&victim).await?;
    drained(env, stack.as_ref()).await?;
    for (n, ledger) in ledgers.iter_mut().enumerate() {
        read_back(&access.tempo, ledger, READ, &env.cancel).await?;
        judge_ledger(env, &format!("client {}", n + 1), ledger)?;
    }
    let crashes = stack.crashes(Component::OtelCollector).await?;
    env.recorder
        .check("no Collector crashed", crashes == 0, format!("{crashes} crashes"));
    env.finish(stack).await?;
    moves(env).await
}

/// One client with a connection that it never closes itself: both Collectors get spans of it if the connection
/// has an age, and only one if it has none.
async fn moves(env: &Env) -> Result<()> {
    for (age, reached) in [("", 1), (AGE, 2)] {
        let stack = env.ready_stack(values(&aged(age))?).await?;
        let access = Access::new(stack.as_ref())?;
        let batches = Batches {
            rate: RATE,
            ..Batches::new(env.seed.wrapping_add(CLIENTS))
        };
        let load = Load::start(access.sender.clone(), batches, env.cancel.clone());
        tokio::time::sleep(AGED).await;
        let (mut ledger, _) = load.stop().await?;
        // A Collector that took nothing may not name the metric.
        let pods = stack.metrics(Component::OtelCollector).await?;
        let mut accepted = BTreeMap::new();
        for (pod, text) in pods {
            accepted.insert(pod, Scrape::parse(&text)?.sum(ACCEPTED, &[]).unwrap_or(0.0));
        }
        let with = accepted.values().filter(|spans| **spans > 0.0).count();
        let age = if age.is_empty() {
            "without an age"
        } else {
            "with an age of 2 s"
        };
        env.recorder.check(
            format!("{age}, the connection of one client reaches {reached} of two Collectors"),
            with == reached && accepted.len() == 2,
            format!("{accepted:?}"),
        );
        drained(env, stack.as_ref()).await?;
        read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
        judge_ledger(env, &format!("one client, {age}"), &ledger)?;
        env.finish(stack).await?;
    }
    Ok(())
}

fn start(env: &Env, stack: &dyn Stack) -> Result<Vec<Load>> {
    (0..CLIENTS)
        .map(|n| {
            let batches = Batches {
                rate: RATE,
                ..Batches::new(env.seed.wrapping_add(n))
            };
            Ok(Load::start(Access::new(stack)?.sender, batches, env.cancel.clone()))
        })
        .collect()
}

fn acked(loads: &[Load]) -> Vec<u64> {
    loads.iter().map(|load| load.ledger().summary().acked).collect()
}

async fn first(stack: &dyn Stack, component: Component) -> Result<String> {
    let names = stack.pod_names(component).await?;
    names
        .into_iter()
        .next()
        .with_context(|| format!("there is no pod of {component}"))
}

/// Waits until the queue of every Collector is as it should be, and says how each is.
async fn backlog(env: &Env, stack: &dyn Stack, what: &str, fits: impl Fn(&str, f64) -> bool) -> Result<String> {
    let fits = &fits;
    let waited = wait_for(what, SEEN, &env.cancel, || async move {
        let queues = per_pod(stack, QUEUED).await?;
        Ok(if queues.iter().all(|(pod, bytes)| fits(pod, *bytes)) {
            Look::Found(format!("bytes: {queues:?}"))
        } else {
            Look::NotYet(format!("{queues:?}"))
        })
    })
    .await?;
    Ok(waited.value)
}
