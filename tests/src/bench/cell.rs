//! One measurement: a stack of its own, a load, and what that took.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use charts::render::merge;
use kit::step::Cancel;
use semver::Version;
use tokio::task::JoinSet;

use super::blocks::{Block, blocks, log_bytes};
use super::plan::{Amount, Cell};
use super::report::{Figure, Figures, Sample};
use crate::backend::{Backend, Component, Stack, StackSpec};
use crate::client::engine::{Engine, tempo_config};
use crate::client::load::{Load, Until};
use crate::client::metrics::Scrape;
use crate::client::send::Sender;
use crate::client::tempo::Client;
use crate::model::ledger::Summary;
use crate::scenario::doors;
use crate::wait::{Look, wait_every};

/// A start of the stack on a busy machine stays under this.
const READY: Duration = Duration::from_secs(120);
/// An answer of the Collector that takes longer than this is none.
const ANSWER: Duration = Duration::from_secs(30);
/// How long what was acknowledged may be on its way to Tempo, and from there to the log or a block.
const ARRIVED: Duration = Duration::from_secs(120);
/// How long compaction may take once there are two blocks.
const COMPACTED: Duration = Duration::from_secs(60);
/// Between two looks: each costs the program that is asked CPU time, which is measured.
const PERIOD: Duration = Duration::from_millis(500);
/// From the last span to the moment at which Tempo has looked for traces that are idle, and has written them to the
/// log: idle for a second, looked at every second, and a second to write.
const CUT: Duration = Duration::from_secs(3);
/// Requests on each connection before anything is measured, so that it is there.
const FIRST_REQUESTS: u64 = 2;

/// Where a measurement runs.
pub(super) struct Bench<'a> {
    pub backend: &'a dyn Backend,
    pub amount: Amount,
    /// Decides the spans of this cell.
    pub seed: u64,
    pub cancel: &'a Cancel,
}

/// A stack under load.
struct Loaded<'a> {
    bench: &'a Bench<'a>,
    cell: Cell<'a>,
    stack: &'a dyn Stack,
    engine: Engine,
    tempo: Client,
    /// One for each connection.
    senders: Vec<Sender>,
    /// Loads so far: each has spans of its own.
    loads: u64,
    /// Spans that were acknowledged so far.
    acknowledged: u64,
}

/// How a load went.
struct Sent {
    summary: Summary,
    /// From the first request to the last answer.
    seconds: f64,
}

impl Bench<'_> {
    /// Starts the stack, measures it and stops it.
    pub async fn measure(&self, cell: Cell<'_>) -> Result<Sample> {
        let engine = self.engine()?;
        let mut values = tempo_config(engine.quick_compaction())?;
        merge(&mut values, cell.variant.values.clone());
        let stack = self.backend.start(&StackSpec::new(values)).await?;
        let ready = stack.wait_ready(READY).await;
        ready.with_context(|| format!("starting the variant {:?}", cell.variant.name))?;
        let receivers = doors(stack.as_ref())?;
        let senders = (0..cell.profile.connections).map(|_| Sender::new(&receivers, ANSWER));
        let mut loaded = Loaded {
            bench: self,
            cell,
            stack: stack.as_ref(),
            engine,
            tempo: Client::new(&stack.endpoints().url(Component::Tempo, "http")?)?,
            senders: senders.collect::<Result<_>>()?,
            loads: 0,
            acknowledged: 0,
        };
        let sample = loaded.measure().await?;
        stack.shut_down().await?;
        Ok(sample)
    }

    fn engine(&self) -> Result<Engine> {
        let versions = self.backend.versions();
        let version = versions.get("tempo").context("the backend names no version of Tempo")?;
        let version = Version::parse(version).with_context(|| format!("Tempo's version {version:?}"))?;
        Ok(Engine::of(&version))
    }
}

impl Loaded<'_> {
    async fn measure(&mut self) -> Result<Sample> {
        let spans = u64::from(self.cell.profile.spans_per_trace * self.cell.profile.traces_per_request);
        self.send(Until::Spans(FIRST_REQUESTS * spans)).await?;
        self.arrived().await?;

        let before = self.cpu().await?;
        let until = match self.bench.amount {
            Amount::OfProfile => Until::Spans(self.per_connection(self.cell.profile.spans)),
            Amount::Spans(spans) => Until::Spans(self.per_connection(spans)),
            Amount::Time(time) => Until::Elapsed(time),
        };
        let sent = self.send(until).await?;
        let arrived = self.in_the_log().await;
        let after = self.cpu().await?;

        let mut sample = Sample {
            round: self.cell.round + 1,
            acknowledged: sent.summary.acked,
            refused: sent.summary.refused,
            unknown: sent.summary.unknown,
            invalid: Vec::new(),
            figures: Figures::new(),
            not_measured: Default::default(),
        };
        self.judge(&mut sample).await?;
        if let Err(error) = arrived {
            sample.invalid.push(format!("{error:#}"));
        }
        let millions = sent.summary.acked as f64 / 1e6;
        let [tempo, collector] = [0, 1].map(|n| (after[n] - before[n]) / millions);
        sample.figures.extend([
            (Figure::CollectorCpu, collector),
            (Figure::TempoCpu, tempo),
            (Figure::Cpu, collector + tempo),
            (Figure::Throughput, sent.summary.acked as f64 / sent.seconds),
        ]);
        for (component, figure) in [
            (Component::OtelCollector, Figure::CollectorMemory),
            (Component::Tempo, Figure::TempoMemory),
        ] {
            let memory = self.stack.memory(component).await?;
            sample.figures.insert(figure, memory.peak as f64);
        }
        let log: u64 = self.folders(self.engine.log())?.iter().map(|log| log_bytes(log)).sum();
        sample
            .figures
            .insert(Figure::Log, log as f64 / self.acknowledged as f64);
        if sample.invalid.is_empty() {
            self.measure_blocks(&mut sample).await?;
        }
        Ok(sample)
    }

    /// What makes the figures worthless.
    async fn judge(&self, sample: &mut Sample) -> Result<()> {
        for (spans, what) in [
            (sample.refused, "were refused"),
            (sample.unknown, "were not answered for"),
        ] {
            if spans > 0 {
                sample.invalid.push(format!("{spans} spans {what}"));
            }
        }
        if sample.acknowledged == 0 {
            sample.invalid.push("no span was acknowledged".into());
        }
        for component in Component::ALL {
            let crashes = self.stack.crashes(component).await?;
            if crashes > 0 {
                sample.invalid.push(format!("{component} crashed, {crashes} times"));
            }
        }
        Ok(())
    }

    /// The bytes of a span in blocks, in the first round only: they don't depend on what else the machine does.
    async fn measure_blocks(&mut self, sample: &mut Sample) -> Result<()> {
        if self.cell.round > 0 {
            return Ok(());
        }
        let more = sample.acknowledged / 2;
        if let Err(error) = self.flush_and_compact(more, &mut sample.figures).await {
            self.bench.cancel.check()?;
            for figure in [Figure::Flushed, Figure::Compacted] {
                if !sample.figures.contains_key(&figure) {
                    sample.not_measured.insert(figure, format!("{error:#}"));
                }
            }
        }
        Ok(())
    }

    async fn flush_and_compact(&mut self, more: u64, figures: &mut Figures) -> Result<()> {
        anyhow::ensure!(
            self.engine.can_flush(),
            "this Tempo has no /flush, its blocks are shipped when they are old enough"
        );
        let flushed = self.flush().await?;
        figures.insert(Figure::Flushed, self.bytes_per_span(&flushed));
        // A second block, to merge the first with.
        self.send(Until::Spans(self.per_connection(more))).await?;
        self.arrived().await?;
        self.flush().await?;
        let compacted = self.compacted().await?;
        figures.insert(Figure::Compacted, self.bytes_per_span(&compacted));
        Ok(())
    }

    /// Sends over all connections at full speed.
    async fn send(&mut self, until: Until) -> Result<Sent> {
        let mut connections = JoinSet::new();
        for (n, sender) in self.senders.iter().enumerate() {
            let seed = self.bench.seed.wrapping_add((self.loads << 32) + n as u64);
            let batches = self.cell.profile.batches(seed);
            connections.spawn(Load::full_speed(
                sender.clone(),
                batches,
                until,
                self.bench.cancel.clone(),
            ));
        }
        self.loads += 1;
        let mut sent = Sent {
            summary: Summary::default(),
            seconds: 0.0,
        };
        while let Some(connection) = connections.join_next().await {
            let (ledger, pace) = connection.context("a load ended badly")??;
            let summary = ledger.summary();
            sent.summary.acked += summary.acked;
            sent.summary.refused += summary.refused;
            sent.summary.unknown += summary.unknown;
            sent.seconds = pace.seconds.max(sent.seconds);
        }
        self.acknowledged += sent.summary.acked;
        Ok(sent)
    }

    fn per_connection(&self, spans: u64) -> u64 {
        spans.div_ceil(u64::from(self.cell.profile.connections.max(1)))
    }

    /// CPU seconds so far, in the order of [`Component::ALL`].
    async fn cpu(&self) -> Result<[f64; 2]> {
        let [tempo, collector] = Component::ALL;
        Ok([
            self.stack.cpu_seconds(tempo).await?,
            self.stack.cpu_seconds(collector).await?,
        ])
    }

    /// Waits until Tempo has taken all that was acknowledged.
    async fn arrived(&self) -> Result<()> {
        wait_every(
            PERIOD,
            "all acknowledged spans in Tempo",
            ARRIVED,
            self.bench.cancel,
            || async {
                let received = self.metric("tempo_distributor_spans_received_total").await?;
                Ok(if received >= self.acknowledged as f64 {
                    Look::Found(())
                } else {
                    Look::NotYet(format!("{received} of {}", self.acknowledged))
                })
            },
        )
        .await?;
        Ok(())
    }

    /// Waits until Tempo has written all of it to its log.
    async fn in_the_log(&self) -> Result<()> {
        self.arrived().await?;
        // The gauge is set only when Tempo looks for traces that are idle.
        tokio::time::sleep(CUT).await;
        wait_every(PERIOD, "all traces in the log", ARRIVED, self.bench.cancel, || async {
            let live = self.metric(self.engine.live_traces()).await?;
            Ok(if live == 0.0 {
                Look::Found(())
            } else {
                Look::NotYet(format!("{live} traces in memory"))
            })
        })
        .await?;
        Ok(())
    }

    async fn metric(&self, name: &str) -> Result<f64> {
        let sum = Scrape::parse(&self.tempo.metrics().await?)?.sum(name, &[]);
        Ok(sum.unwrap_or(0.0))
    }

    /// Has Tempo ship what it holds, and gives back all blocks as they were shipped.
    async fn flush(&self) -> Result<Vec<Block>> {
        self.tempo.flush().await?;
        self.blocks("flushed blocks", ARRIVED, |block| block.level == 0, |_| true)
            .await
    }

    /// Waits until all blocks are merged into others.
    async fn compacted(&self) -> Result<Vec<Block>> {
        self.blocks(
            "blocks after compaction",
            COMPACTED,
            |block| !block.replaced,
            |block| block.level > 0,
        )
        .await
    }

    /// Waits for blocks that hold all traces that were acknowledged: those that count, once all of them are as they
    /// should be.
    async fn blocks(
        &self,
        what: &str,
        deadline: Duration,
        counts: impl Fn(&Block) -> bool,
        done: impl Fn(&Block) -> bool,
    ) -> Result<Vec<Block>> {
        let store = self.folders(STORE)?;
        let wanted = self.acknowledged / u64::from(self.cell.profile.spans_per_trace);
        let (store, counts, done) = (&store, &counts, &done);
        let waited = wait_every(PERIOD, what, deadline, self.bench.cancel, || async move {
            let mut all = Vec::new();
            for folder in store {
                all.extend(blocks(folder)?);
            }
            all.retain(|block| counts(block));
            let there: u64 = all.iter().map(|block| block.traces).sum();
            Ok(if there >= wanted && all.iter().all(done) {
                Look::Found(all)
            } else {
                Look::NotYet(format!("{} blocks with {there} of {wanted} traces", all.len()))
            })
        })
        .await?;
        Ok(waited.value)
    }

    fn bytes_per_span(&self, blocks: &[Block]) -> f64 {
        let bytes: u64 = blocks.iter().map(|block| block.bytes).sum();
        let traces: u64 = blocks.iter().map(|block| block.traces).sum();
        bytes as f64 / (traces * u64::from(self.cell.profile.spans_per_trace)) as f64
    }

    fn folders(&self, folder: &str) -> Result<Vec<PathBuf>> {
        let folders = self.stack.host_folders(Component::Tempo, folder)?;
        anyhow::ensure!(!folders.is_empty(), "this backend can't look at Tempo's volume");
        Ok(folders)
    }
}

/// Where Tempo keeps blocks.
const STORE: &str = "/var/tempo/blocks";
