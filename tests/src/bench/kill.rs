//! What is lost when Tempo is killed: spans that it acknowledged to the Collector and had only in memory.

use std::time::Duration;

use anyhow::{Context, Result};
use kit::step::Cancel;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::backend::{Component, Stack};
use crate::client::load::{Batches, Load};
use crate::client::metrics::Scrape;
use crate::client::readback::read_back;
use crate::client::send::Sender;
use crate::client::tempo::Client;
use crate::wait::{Look, wait_every, wait_for};

/// Spans a second: so few that those which are lost are soon looked for one by one.
const RATE: u32 = 200;
const SPANS_PER_REQUEST: u32 = 10;
/// A Tempo that was killed is dead by then.
const DEAD: Duration = Duration::from_secs(10);
/// A start on a busy machine stays under this.
const READY: Duration = Duration::from_secs(120);
/// How long the Collectors may take to deliver what they kept meanwhile: more than the longest pause between two of
/// their tries (upstream: 30 s).
const DELIVERED: Duration = Duration::from_secs(60);
/// Looks at the queues: each costs the Collectors time.
const PERIOD: Duration = Duration::from_millis(250);
/// How long what was delivered is looked for before the rest is read by id.
const LOOKED_FOR: Duration = Duration::from_secs(8);
/// Traces that a search lists; the chart's limit for 2Gi of memory is 2,048.
const MOST_FOUND: u32 = 2_000;

/// Sends at a steady rate for `before`, kills Tempo, waits until it is back and looks for all that was acknowledged:
/// what is lost, in seconds of that load.
pub(super) async fn lost_on_kill(
    stack: &dyn Stack,
    sender: &Sender,
    tempo: &Client,
    before: Duration,
    seed: u64,
    cancel: &Cancel,
) -> Result<f64> {
    let batches = Batches {
        rate: RATE,
        traces_per_request: SPANS_PER_REQUEST / 2,
        ..Batches::new(seed)
    };
    let load = Load::start(sender.clone(), batches, cancel.clone());
    tokio::time::sleep(before).await;
    let killed = kill_tempo(stack, cancel).await;
    // The load ends whatever became of the kill.
    let (mut ledger, _) = load.stop().await?;
    killed?;
    stack.wait_ready(READY).await?;
    let tempo = tempo.clone().finding(MOST_FOUND);
    delivered(stack, cancel).await?;
    read_back(&tempo, &mut ledger, LOOKED_FOR, cancel).await?;
    let summary = ledger.summary();
    anyhow::ensure!(summary.acked > 0, "no span was acknowledged: {summary}");
    Ok(summary.lost as f64 / f64::from(RATE))
}

/// SIGKILL to each Tempo, and its end.
async fn kill_tempo(stack: &dyn Stack, cancel: &Cancel) -> Result<()> {
    for pid in stack.pids(Component::Tempo).await?.into_values() {
        kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| format!("killing process {pid}"))?;
    }
    wait_for("the end of Tempo", DEAD, cancel, || async {
        let crashes = stack.crashes(Component::Tempo).await?;
        Ok(if crashes > 0 {
            Look::Found(())
        } else {
            Look::NotYet("it runs".into())
        })
    })
    .await?;
    Ok(())
}

/// Waits until the queues of all Collectors are empty.
async fn delivered(stack: &dyn Stack, cancel: &Cancel) -> Result<()> {
    wait_every(PERIOD, "empty queues", DELIVERED, cancel, || async {
        let mut waiting = 0.0;
        for (pod, text) in stack.metrics(Component::OtelCollector).await? {
            let size = Scrape::parse(&text)?.sum(QUEUE, &[]);
            waiting += size.with_context(|| format!("pod {pod} reports no {QUEUE}"))?;
        }
        Ok(if waiting > 0.0 {
            Look::NotYet(format!("{waiting} in them"))
        } else {
            Look::Found(())
        })
    })
    .await?;
    Ok(())
}

/// What waits in the queue of a Collector.
const QUEUE: &str = "otelcol_exporter_queue_size";
