//! What makes a fault, shows that it happened, and ends it.

mod data;
mod disk;
mod network;
mod pressure;
mod process;

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use rand::RngExt;
use rand::rngs::StdRng;

pub(super) use self::data::{Block, Log, QueueFile};
pub(super) use self::disk::{QueueDisk, TempoFull, Wrong};
pub(super) use self::network::{Disturb, DisturbStore};
pub(super) use self::pressure::{Both, Burst, Poison};
pub(super) use self::process::{Kill, Replaced, Stop};
use crate::backend::{Component, ObjectStore, Stack};
use crate::env::Env;
use crate::model::ledger::Ledger;
use crate::scenario::Access;

/// Where a fault is made: a stack under load.
pub(super) struct Site<'a> {
    pub env: &'a Env,
    pub stack: Arc<dyn Stack>,
    pub access: Access,
    /// The S3 server that the stack keeps its blocks in, if its setup asks for one.
    pub store: Option<Arc<dyn ObjectStore>>,
    /// Spans per second of the usual load.
    pub rate: u32,
    /// Decides what is left open: which pod, which byte.
    pub random: StdRng,
    /// Of loads that a fault put on the stack beside the usual one: their spans are judged like its own.
    pub ledgers: Vec<Ledger>,
}

impl Site<'_> {
    /// One of the component's pods that run, with its process.
    pub async fn one_of(&mut self, component: Component) -> Result<(String, i32)> {
        let pids: Vec<_> = self.stack.pids(component).await?.into_iter().collect();
        anyhow::ensure!(!pids.is_empty(), "no pod of {component} runs");
        let chosen = self.random.random_range(0..pids.len());
        pids.into_iter().nth(chosen).context("a pod that was there")
    }
}

/// One fault.
#[async_trait]
pub(super) trait Injection: Send + Sync {
    /// Makes it happen.
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()>;

    /// What shows that it happened, once something does. An error counts as not yet.
    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>>;

    /// Ends it, and does what its row says somebody has to do.
    async fn heal(&mut self, _site: &mut Site<'_>) -> Result<()> {
        Ok(())
    }

    /// Whether the stack is well again in what this fault broke, beside programs that are ready and empty queues.
    /// An error counts as not yet.
    async fn well(&self, _site: &Site<'_>) -> Result<bool> {
        Ok(true)
    }

    /// Whether it is over as soon as it was made: what follows is the recovery.
    fn ends_at_once(&self) -> bool {
        false
    }

    /// Spans in what it destroyed.
    fn destroyed(&self) -> u64 {
        0
    }
}

/// Where the Collector keeps its queue in its container (the chart's `tempo-stack.otelCollector.queuePath`).
const QUEUE: &str = "/var/lib/otelcol";

/// What a component has written to its log since it had so many bytes.
async fn new_log(site: &Site<'_>, component: Component, logged: usize) -> Result<String> {
    let mut log = site.stack.logs(component).await?;
    Ok(log.split_off(logged.min(log.len())))
}
