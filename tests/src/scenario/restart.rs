//! `restart`: what was acknowledged before a stop is there after it.
//!
//! A container restart keeps every volume. A pod replacement keeps claims and wipes emptyDirs: there
//! each queue volume is held to what docs/survival.md promises for it.

use std::time::Duration;

use anyhow::Result;

use super::{Access, drained, judge_ledger, queue_bytes, values};
use crate::backend::{Component, Stack};
use crate::client::load::{Batches, Load};
use crate::client::readback::read_back;
use crate::env::Env;
use crate::model::ledger::Ledger;

const READY: Duration = Duration::from_secs(60);
/// The load between two stops.
const PAUSE: Duration = Duration::from_secs(2);
const READ: Duration = Duration::from_secs(60);
/// Enough to have something in every buffer, little enough to be read back soon.
const RATE: u32 = 500;

pub(super) async fn run(env: &Env) -> Result<()> {
    container_restarts(env).await?;
    pod_replacement(env, "emptyDir queue", "{}", Promise::BacklogMayGo).await?;
    let claim = "{tempo-stack: {otelCollector: {queue: {persistence: {enabled: true}}}}}";
    pod_replacement(env, "queue on a claim", claim, Promise::NothingGoes).await
}

/// SIGTERM under load to each program and to both, all in one stack.
async fn container_restarts(env: &Env) -> Result<()> {
    let stack = env.ready_stack(values("{}")?).await?;
    let access = Access::new(stack.as_ref())?;
    let load = start(env, &access, 0);
    let stops: [(&str, &[Component]); 3] = [
        ("Tempo", &[Component::Tempo]),
        ("the Collector", &[Component::OtelCollector]),
        ("both", &[Component::Tempo, Component::OtelCollector]),
    ];
    for (what, components) in stops {
        tokio::time::sleep(PAUSE).await;
        // At the same time: neither may count on the other while it stops.
        let (first, second) = tokio::join!(
            restart(stack.as_ref(), components.first()),
            restart(stack.as_ref(), components.get(1))
        );
        let stops = [first?, second?].concat();
        let back = stack.wait_ready(READY).await;
        let why = back.as_ref().err().map(|error| format!("{error:#}"));
        env.recorder.check(
            format!("SIGTERM of {what} under load: back again"),
            back.is_ok(),
            stops + &why.unwrap_or_default(),
        );
        back?;
    }
    tokio::time::sleep(PAUSE).await;
    let ledger = settle(env, &access, stack.as_ref(), load).await?;
    match env.engine()?.loses_on_a_stop() {
        None => judge_ledger(env, "container restarts", &ledger)?,
        Some(reason) => env.recorder.skip("container restarts: acknowledged spans lost", reason),
    }
    for component in Component::ALL {
        let crashes = stack.crashes(component).await?;
        env.recorder.check(
            format!("{component} only stopped when told to"),
            crashes == 0,
            format!("{crashes} crashes"),
        );
    }
    env.finish(stack).await
}

async fn restart(stack: &dyn Stack, component: Option<&Component>) -> Result<String> {
    let Some(component) = component else {
        return Ok(String::new());
    };
    let stop = stack.restart_container(*component).await?;
    let killed = if stop.killed { ", killed" } else { "" };
    Ok(format!(
        "{component} stopped after {:.1} s{killed}; ",
        stop.elapsed.as_secs_f64()
    ))
}

/// What docs/survival.md says of a queue volume when the pod is replaced while Tempo is away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// Nothing that was acknowledged goes.
    NothingGoes,
    /// What waits in the queue may go; what Tempo has stays.
    BacklogMayGo,
}

async fn pod_replacement(env: &Env, what: &str, chart_values: &str, promise: Promise) -> Result<()> {
    let stack = env.ready_stack(values(chart_values)?).await?;
    let access = Access::new(stack.as_ref())?;

    // Delivered before anything is replaced.
    let load = start(env, &access, 1);
    tokio::time::sleep(PAUSE).await;
    let (mut delivered, _) = load.stop().await?;
    drained(env, stack.as_ref()).await?;

    // Tempo's pod goes; its claim stays.
    stack.stop_pod(Component::Tempo).await?;
    let load = start(env, &access, 2);
    tokio::time::sleep(PAUSE).await;
    let (mut waiting, _) = load.stop().await?;
    let backlog = queue_bytes(stack.as_ref()).await?;
    env.recorder.check(
        format!("{what}: a backlog waits for Tempo"),
        backlog > 0.0,
        format!("{backlog} bytes"),
    );
    stack.stop_pod(Component::OtelCollector).await?;
    stack.start_pod(Component::OtelCollector).await?;
    stack.start_pod(Component::Tempo).await?;
    stack.wait_ready(READY).await?;
    drained(env, stack.as_ref()).await?;

    read_back(&access.tempo, &mut delivered, READ, &env.cancel).await?;
    judge_ledger(
        env,
        &format!("{what}: delivered before both pods were replaced"),
        &delivered,
    )?;
    // What may be lost is not waited for as long.
    let deadline = if promise == Promise::NothingGoes {
        READ
    } else {
        PAUSE * 3
    };
    read_back(&access.tempo, &mut waiting, deadline, &env.cancel).await?;
    match promise {
        Promise::NothingGoes => judge_ledger(env, &format!("{what}: the backlog, its pod replaced"), &waiting)?,
        Promise::BacklogMayGo => {
            let summary = waiting.summary();
            let detail = format!(
                "of {} acknowledged while Tempo was away; docs/survival.md says that they may go",
                summary.acked
            );
            env.recorder.measured(
                format!("{what}: lost with the pod"),
                summary.lost as f64,
                "spans",
                detail,
            );
        }
    }
    env.finish(stack).await
}

fn start(env: &Env, access: &Access, n: u64) -> Load {
    let batches = Batches {
        rate: RATE,
        ..Batches::new(env.seed.wrapping_add(n))
    };
    Load::start(access.sender.clone(), batches, env.cancel.clone())
}

/// Stops the load, waits for the queue and reads all back.
async fn settle(env: &Env, access: &Access, stack: &dyn Stack, load: Load) -> Result<Ledger> {
    let (mut ledger, _) = load.stop().await?;
    drained(env, stack).await?;
    read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    Ok(ledger)
}
