//! One measurement: a stack of its own, a load, and what that took.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use charts::render::merge;
use kit::step::Cancel;
use tokio::task::JoinSet;

use super::blocks::{Block, META, blocks, log_bytes};
use super::figure::{Figure, Figures, quantile};
use super::found::{self, find};
use super::kill::lost_on_kill;
use super::parts::{COLLECTOR, Parts, Processes, WHOLE};
use super::plan::{Amount, Beside, Cell};
use super::report::Sample;
use super::settings::Settings;
use super::variant::{BUCKET, in_a_bucket, quick_compaction, wants_a_bucket};
use crate::backend::{Backend, Component, ObjectStore, Stack, StackSpec};
use crate::client::credentials::Credentials;
use crate::client::engine::Engine;
use crate::client::load::{Batches, Load, Pace, Until};
use crate::client::metrics::Scrape;
use crate::client::send::Sender;
use crate::client::tempo::Client;
use crate::model::ledger::Summary;
use crate::scenario::{doors, fleet_parts};
use crate::wait::{Look, wait_every};

/// A start of the stack on a busy machine stays under this.
const READY: Duration = Duration::from_secs(120);
/// An answer of the Collector that takes longer than this is none.
const ANSWER: Duration = Duration::from_secs(30);
/// How long what was acknowledged may be on its way to Tempo, and from there to the log or a block.
const ARRIVED: Duration = Duration::from_secs(120);
/// How long compaction may take once there are two blocks.
const COMPACTED: Duration = Duration::from_secs(180);
/// Between two looks: each costs the program that is asked CPU time, which is measured.
const PERIOD: Duration = Duration::from_millis(500);
/// How long Tempo may take to write to its log what it found idle.
const WRITE: Duration = Duration::from_secs(1);
/// How long the programs are left alone to see what they use by themselves.
const IDLE: Duration = Duration::from_secs(3);
/// Spans a second of the load beside which traces are looked for.
const BACKGROUND: u32 = 2_000;
/// Requests on each connection before anything is measured, so that it is there.
const FIRST_REQUESTS: u64 = 2;

/// Where a measurement runs.
pub(super) struct Bench<'a> {
    pub backend: &'a dyn Backend,
    pub engine: Engine,
    pub amount: Amount,
    pub beside: Beside,
    /// Decides the spans of this cell.
    pub seed: u64,
    pub cancel: &'a Cancel,
}

/// A stack under load.
struct Loaded<'a> {
    bench: &'a Bench<'a>,
    cell: Cell<'a>,
    stack: &'a dyn Stack,
    /// Where blocks are kept, if not on Tempo's volumes.
    store: Option<&'a dyn ObjectStore>,
    /// Those that run at the beginning.
    processes: Processes,
    tempo: Client,
    settings: Settings,
    /// One for each connection.
    senders: Vec<Sender>,
    /// Loads so far: each has spans of its own.
    loads: u64,
    /// Spans that were acknowledged so far.
    acknowledged: u64,
    /// The traces that they are of.
    traces: u64,
}

/// How a load went.
#[derive(Default)]
struct Sent {
    summary: Summary,
    /// From the first request to the last answer; at a rate to the end of the schedule.
    seconds: f64,
    /// Spans that were due and not sent.
    skipped: u64,
    /// Seconds to each answer.
    answers: Vec<f64>,
}

impl Sent {
    fn add(&mut self, summary: &Summary, pace: &Pace) {
        self.summary.acked += summary.acked;
        self.summary.refused += summary.refused;
        self.summary.unknown += summary.unknown;
        self.seconds = pace.seconds.max(self.seconds);
        self.skipped += pace.skipped;
        self.answers.extend(pace.answers.iter().map(Duration::as_secs_f64));
    }
}

/// CPU seconds that each part of the stack used so far.
struct Used {
    at: Instant,
    cpu: BTreeMap<String, f64>,
}

impl Used {
    /// CPU seconds of each part between two looks.
    fn since(&self, before: &Used) -> BTreeMap<String, f64> {
        let parts = self.cpu.iter();
        parts
            .map(|(part, cpu)| (part.clone(), cpu - before.cpu.get(part).copied().unwrap_or_default()))
            .collect()
    }
}

/// The CPU seconds of all parts of Tempo.
fn of_tempo(cpu: &BTreeMap<String, f64>) -> f64 {
    let parts = cpu.iter().filter(|(part, _)| *part != COLLECTOR);
    parts.map(|(_, seconds)| seconds).sum()
}

impl Bench<'_> {
    /// Starts the stack, measures it and stops it. Says too what Tempo's settings were.
    pub async fn measure(&self, cell: Cell<'_>) -> Result<(Sample, Settings)> {
        let mut values = quick_compaction(self.engine)?;
        merge(&mut values, cell.variant.values(self.engine)?);
        let store = if wants_a_bucket(&values) {
            let store = self.backend.object_store(&BUCKET).await?;
            merge(&mut values, in_a_bucket(&store.endpoint())?);
            Some(store)
        } else {
            None
        };
        let stack = self.backend.start(&StackSpec::new(values)).await?;
        let ready = stack.wait_ready(READY).await;
        ready.with_context(|| format!("starting the variant {:?}", cell.variant.name))?;
        let receivers = doors(stack.as_ref())?;
        let credentials = Credentials::rendered(&stack.render().manifests)?;
        let senders = (0..cell.profile.connections).map(|_| Sender::new(&receivers, &credentials, ANSWER));
        let tempo = Client::new(&stack.endpoints().url(Component::Tempo, "http")?)?.as_tenant(stack.tenant());
        let mut loaded = Loaded {
            bench: self,
            cell,
            stack: stack.as_ref(),
            store: store.as_deref(),
            processes: Processes::of(stack.as_ref()).await?,
            settings: Settings::read(&tempo.config().await?, self.engine)?,
            tempo,
            senders: senders.collect::<Result<_>>()?,
            loads: 0,
            acknowledged: 0,
            traces: 0,
        };
        let sample = loaded.measure().await?;
        let settings = loaded.settings;
        stack.shut_down().await?;
        if let Some(store) = store {
            store.shut_down().await?;
        }
        Ok((sample, settings))
    }
}

impl Loaded<'_> {
    async fn measure(&mut self) -> Result<Sample> {
        let profile = self.cell.profile;
        let first = FIRST_REQUESTS * u64::from(profile.spans_per_request * profile.connections);
        self.send(Until::Spans(first)).await?;
        self.arrived().await?;

        let before = self.used().await?;
        let read_before = self.read_by_tempo().await?;
        let until = match (self.bench.amount, self.bench.amount.spans(profile)) {
            (Amount::Time(time), _) => Until::Elapsed(time),
            (_, spans) => Until::Spans(spans.unwrap_or(profile.spans)),
        };
        let sent = self.send(until).await?;
        let arrived = self.in_the_log().await;
        let after = self.used().await?;
        let read = self.read_by_tempo().await? - read_before;

        let mut sample = Sample {
            round: self.cell.round + 1,
            acknowledged: sent.summary.acked,
            refused: sent.summary.refused,
            unknown: sent.summary.unknown,
            skipped: sent.skipped,
            turned_away: self.turned_away().await?,
            ..Sample::default()
        };
        self.judge(&mut sample).await?;
        if let Err(error) = arrived {
            self.bench.cancel.check()?;
            sample.invalid.push(format!("{error:#}"));
        }
        if !sample.invalid.is_empty() {
            return Ok(sample);
        }
        let spans = sent.summary.acked as f64;
        let idle = self.idle().await?;
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let mut parts = Processes::of(self.stack).await?.parts()?;
        let mut used = after.since(&before);
        for (part, cpu) in &mut used {
            *cpu = (*cpu - idle.get(part).copied().unwrap_or_default() * seconds) / (spans / 1e6);
            if let Some(part) = parts.get_mut(part) {
                part.cpu_seconds_per_million_spans = *cpu;
            }
        }
        sample.parts = parts;
        let tempo = of_tempo(&used);
        let collector = used.get(COLLECTOR).copied().unwrap_or_default();
        sample.figures.extend([
            (Figure::CollectorCpu, collector),
            (Figure::TempoCpu, tempo),
            (Figure::Cpu, collector + tempo),
            (Figure::Throughput, spans / sent.seconds),
            (Figure::Wire, read as f64 / spans),
        ]);
        for (figure, share) in [(Figure::AnswerMedian, 0.5), (Figure::AnswerP99, 0.99)] {
            let seconds = quantile(sent.answers.clone(), share);
            sample.figures.extend(seconds.map(|seconds| (figure, seconds)));
        }
        for (component, figure) in [
            (Component::OtelCollector, Figure::CollectorMemory),
            (Component::Tempo, Figure::TempoMemory),
        ] {
            let memory = self.stack.memory(component).await?;
            sample.figures.insert(figure, memory.peak as f64);
        }
        let log: u64 = self
            .folders(self.bench.engine.log())?
            .iter()
            .map(|log| log_bytes(log))
            .sum();
        sample
            .figures
            .insert(Figure::Log, log as f64 / self.acknowledged as f64);
        self.measure_beside(&mut sample).await?;
        Ok(sample)
    }

    /// CPU seconds that each part uses in a second by itself. A variant that writes to its log late would be charged
    /// for the time that it is waited for.
    async fn idle(&self) -> Result<BTreeMap<String, f64>> {
        let before = self.used().await?;
        tokio::time::sleep(IDLE).await;
        let after = self.used().await?;
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let parts = after.since(&before).into_iter();
        Ok(parts.map(|(part, cpu)| (part, cpu / seconds)).collect())
    }

    /// What makes the figures worthless.
    async fn judge(&self, sample: &mut Sample) -> Result<()> {
        for (spans, what) in [
            (sample.refused, "were refused"),
            (sample.unknown, "were not answered for"),
            (
                sample.skipped,
                "were due and not sent, because too many requests were unanswered",
            ),
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

    /// What isn't the load itself. What can't be measured is missing, with the reason.
    async fn measure_beside(&mut self, sample: &mut Sample) -> Result<()> {
        let Beside { blocks, found, kill } = self.bench.beside;
        // They don't depend on what else the machine does.
        let blocks = blocks && self.cell.round == 0;
        if blocks {
            let flushed = self.measure_flush(&mut sample.figures, &mut sample.parts).await;
            self.missing(sample, flushed, &[Figure::Flushed, Figure::FlushCpu])?;
        }
        if found {
            let found = self.measure_found(&mut sample.figures).await;
            let figures = [
                Figure::ByIdMedian,
                Figure::ByIdP99,
                Figure::BySearchMedian,
                Figure::BySearchP99,
            ];
            self.missing(sample, found, &figures)?;
        }
        if blocks {
            // A second block, to merge the first with.
            let compacted = self
                .measure_compaction(sample.acknowledged / 2, &mut sample.figures, &mut sample.parts)
                .await;
            self.missing(sample, compacted, &[Figure::Compacted])?;
        }
        if kill {
            let lost = self.measure_kill(&mut sample.figures).await;
            self.missing(sample, lost, &[Figure::LostOnKill])?;
        }
        Ok(())
    }

    fn missing(&self, sample: &mut Sample, measured: Result<()>, figures: &[Figure]) -> Result<()> {
        if let Err(error) = measured {
            self.bench.cancel.check()?;
            for figure in figures {
                sample.not_measured.insert(*figure, format!("{error:#}"));
            }
        }
        Ok(())
    }

    async fn measure_flush(&mut self, figures: &mut Figures, parts: &mut Parts) -> Result<()> {
        self.can_flush()?;
        let before = self.used().await?;
        let flushed = self.flush().await?;
        let cpu = self.used().await?.since(&before);
        let millions = self.acknowledged as f64 / 1e6;
        figures.insert(Figure::Flushed, self.bytes_per_span(&flushed));
        figures.insert(Figure::FlushCpu, of_tempo(&cpu) / millions);
        for name in [WHOLE, INGESTER] {
            if let (Some(part), Some(cpu)) = (parts.get_mut(name), cpu.get(name)) {
                part.blocks_cpu_seconds_per_million_spans = Some(cpu / millions);
            }
        }
        Ok(())
    }

    async fn measure_compaction(&mut self, more: u64, figures: &mut Figures, parts: &mut Parts) -> Result<()> {
        self.can_flush()?;
        self.send(Until::Spans(more)).await?;
        self.arrived().await?;
        self.flush().await?;
        let compacted = self.compacted().await?;
        figures.insert(Figure::Compacted, self.bytes_per_span(&compacted));
        // That of a fleet has done nothing else since it was started.
        if let (Some(part), Some(cpu)) = (parts.get_mut(COMPACTOR), self.used().await?.cpu.get(COMPACTOR)) {
            let all = cpu / (self.acknowledged as f64 / 1e6);
            part.blocks_cpu_seconds_per_million_spans = Some((all - part.cpu_seconds_per_million_spans).max(0.0));
        }
        Ok(())
    }

    fn can_flush(&self) -> Result<()> {
        anyhow::ensure!(
            self.bench.engine.can_flush(),
            "this Tempo has no /flush, its blocks are shipped when they are old enough"
        );
        Ok(())
    }

    /// Looks for traces beside a load that the machine has room for.
    async fn measure_found(&mut self, figures: &mut Figures) -> Result<()> {
        let background = Load::at_rate(
            self.senders.clone(),
            Batches {
                rate: BACKGROUND,
                max_in_flight: BACKGROUND as usize,
                ..self.cell.profile.batches(self.seed())
            },
            Until::Elapsed(found::TAKES),
            self.bench.cancel.clone(),
        );
        self.loads += 1;
        let seed = self.seed();
        self.loads += 1;
        let sender = self.senders.first().context("a profile without connections")?;
        let (found, background) = tokio::join!(find(sender, &self.tempo, seed, self.bench.cancel), background);
        self.took(background?.0.summary().acked);
        let found = found?;
        let probes = found.by_id.len() as u64;
        self.traces += probes;
        self.acknowledged += probes * found::SPANS;
        for (figure, seconds, share) in [
            (Figure::ByIdMedian, &found.by_id, 0.5),
            (Figure::ByIdP99, &found.by_id, 0.99),
            (Figure::BySearchMedian, &found.by_search, 0.5),
            (Figure::BySearchP99, &found.by_search, 0.99),
        ] {
            figures.extend(quantile(seconds.clone(), share).map(|seconds| (figure, seconds)));
        }
        Ok(())
    }

    async fn measure_kill(&mut self, figures: &mut Figures) -> Result<()> {
        let [idle, check] = self.settings.cut;
        // Another phase of Tempo's period in every round.
        let phase = check.mul_f64(f64::from(self.cell.round % 4) / 4.0);
        let before = idle + check * 2 + WRITE + phase;
        let sender = self.senders.first().context("a profile without connections")?;
        let (seed, cancel) = (self.seed(), self.bench.cancel);
        let lost = lost_on_kill(self.stack, sender, &self.tempo, before, seed, cancel).await?;
        figures.insert(Figure::LostOnKill, lost);
        Ok(())
    }

    /// Sends as the profile says, over all connections.
    async fn send(&mut self, until: Until) -> Result<Sent> {
        let cancel = self.bench.cancel;
        let mut sent = Sent::default();
        if self.cell.profile.spans_per_second.is_some() {
            let batches = self.cell.profile.batches(self.seed());
            let (ledger, pace) = Load::at_rate(self.senders.clone(), batches, until, cancel.clone()).await?;
            sent.add(&ledger.summary(), &pace);
        } else {
            let until = match until {
                Until::Spans(spans) => Until::Spans(self.per_connection(spans)),
                Until::Elapsed(_) => until,
            };
            let mut connections = JoinSet::new();
            for (n, sender) in self.senders.iter().enumerate() {
                let batches = self.cell.profile.batches(self.seed() + n as u64);
                connections.spawn(Load::full_speed(sender.clone(), batches, until, cancel.clone()));
            }
            while let Some(connection) = connections.join_next().await {
                let (ledger, pace) = connection.context("a load ended badly")??;
                sent.add(&ledger.summary(), &pace);
            }
        }
        self.loads += 1;
        self.took(sent.summary.acked);
        Ok(sent)
    }

    /// Counts spans of the profile that were acknowledged.
    fn took(&mut self, spans: u64) {
        self.acknowledged += spans;
        self.traces += spans / u64::from(self.cell.profile.spans_per_trace);
    }

    /// Of the spans of the next load; there is room for one of each connection.
    fn seed(&self) -> u64 {
        self.bench.seed.wrapping_add(self.loads << 32)
    }

    fn per_connection(&self, spans: u64) -> u64 {
        spans.div_ceil(u64::from(self.cell.profile.connections.max(1)))
    }

    async fn used(&self) -> Result<Used> {
        Ok(Used {
            at: Instant::now(),
            cpu: Processes::of(self.stack).await?.cpu_seconds()?,
        })
    }

    /// Bytes that Tempo read so far, from connections and files (proc(5), /proc/<pid>/io, rchar). Its log it only
    /// writes.
    async fn read_by_tempo(&self) -> Result<u64> {
        let mut read = 0;
        for pid in self.stack.pids(Component::Tempo).await?.into_values() {
            let file = format!("/proc/{pid}/io");
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
            let bytes = text.lines().find_map(|line| line.strip_prefix("rchar:"));
            let bytes = bytes.with_context(|| format!("{file} has no rchar"))?.trim();
            read += bytes
                .parse::<u64>()
                .with_context(|| format!("the bytes {bytes:?} in {file}"))?;
        }
        Ok(read)
    }

    /// Spans that Tempo turned away so far because they were too many for its limit.
    async fn turned_away(&self) -> Result<u64> {
        let reason = [("reason", "rate_limited")];
        Ok(self.metric("tempo_discarded_spans_total", &reason).await? as u64)
    }

    /// Waits until Tempo has taken all that was acknowledged.
    async fn arrived(&self) -> Result<()> {
        wait_every(
            PERIOD,
            "all acknowledged spans in Tempo",
            ARRIVED,
            self.bench.cancel,
            || async {
                let received = self.metric("tempo_distributor_spans_received_total", &[]).await?;
                let wanted = self.acknowledged * self.mirrors();
                Ok(if received >= wanted as f64 {
                    Look::Found(())
                } else {
                    Look::NotYet(format!("{received} of {wanted}"))
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
        let [idle, check] = self.settings.cut;
        tokio::time::sleep(idle + check + WRITE).await;
        wait_every(PERIOD, "all traces in the log", ARRIVED, self.bench.cancel, || async {
            let live = self.metric(self.bench.engine.live_traces(), &[]).await?;
            Ok(if live == 0.0 {
                Look::Found(())
            } else {
                Look::NotYet(format!("{live} traces in memory"))
            })
        })
        .await?;
        Ok(())
    }

    /// Of all pods of Tempo.
    async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let mut sum = 0.0;
        for text in self.stack.metrics(Component::Tempo).await?.values() {
            sum += Scrape::parse(text)?.sum(name, labels).unwrap_or(0.0);
        }
        Ok(sum)
    }

    /// Tempos that each keep everything.
    fn mirrors(&self) -> u64 {
        self.processes.pods(WHOLE).max(1) as u64
    }

    /// How often a span is in the store before compaction.
    fn copies(&self) -> u64 {
        if self.processes.pods(INGESTER) > 0 {
            self.settings.replication
        } else {
            self.mirrors()
        }
    }

    /// Has Tempo ship what it holds, and gives back all blocks as they were shipped.
    async fn flush(&self) -> Result<Vec<Block>> {
        let mut pods = self.stack.pod_names(Component::Tempo).await?;
        if let Some(ingesters) = fleet_parts(self.stack).await?.remove(INGESTER) {
            pods = ingesters;
        }
        match pods.as_slice() {
            [_] if self.processes.pods(WHOLE) == 1 => self.tempo.flush().await?,
            pods => {
                for pod in pods {
                    self.at(pod)?.flush().await?;
                }
            }
        }
        self.blocks(
            "flushed blocks",
            ARRIVED,
            self.copies(),
            |block| block.level == 0,
            |_| true,
        )
        .await
    }

    /// A pod of a StatefulSet.
    fn at(&self, pod: &str) -> Result<Client> {
        let workload = pod.rsplit_once('-').map_or(pod, |(workload, _)| workload);
        let namespace = self.stack.namespace();
        let url = format!("http://{pod}.{workload}-headless.{namespace}.svc.cluster.local:3200");
        Client::new(&self.stack.reach(&url)?)
    }

    /// Waits until all blocks are merged into others.
    async fn compacted(&self) -> Result<Vec<Block>> {
        self.blocks(
            "blocks after compaction",
            COMPACTED,
            self.mirrors(),
            |block| !block.replaced,
            |block| block.level > 0,
        )
        .await
    }

    /// Waits for blocks that hold all traces that were acknowledged, so many times: those that count, once all of them
    /// are as they should be.
    async fn blocks(
        &self,
        what: &str,
        deadline: Duration,
        copies: u64,
        counts: impl Fn(&Block) -> bool,
        done: impl Fn(&Block) -> bool,
    ) -> Result<Vec<Block>> {
        let wanted = self.traces * copies;
        // Two of three ingesters acknowledge a span, so a third may miss some. Where there are fewer copies than that,
        // those beyond have to be merged.
        let least = if copies > self.mirrors() {
            wanted / 100 * 99
        } else {
            wanted
        };
        let most = if copies < self.copies() {
            wanted + wanted / 100
        } else {
            u64::MAX
        };
        let (counts, done) = (&counts, &done);
        let waited = wait_every(PERIOD, what, deadline, self.bench.cancel, || async move {
            let mut all = Vec::new();
            for folder in self.stores().await? {
                all.extend(blocks(&folder)?);
            }
            all.retain(|block| counts(block));
            let there: u64 = all.iter().map(|block| block.traces).sum();
            Ok(if (least..=most).contains(&there) && all.iter().all(done) {
                Look::Found(all)
            } else {
                Look::NotYet(format!("{} blocks with {there} of {wanted} traces", all.len()))
            })
        })
        .await?;
        Ok(waited.value)
    }

    /// Of blocks that hold all that was acknowledged.
    fn bytes_per_span(&self, blocks: &[Block]) -> f64 {
        let bytes: u64 = blocks.iter().map(|block| block.bytes).sum();
        bytes as f64 / self.acknowledged as f64
    }

    /// The folders of this machine that hold blocks, by tenant.
    async fn stores(&self) -> Result<BTreeSet<PathBuf>> {
        let Some(store) = self.store else {
            return Ok(self.folders(STORE)?.into_iter().collect());
        };
        let files = store.objects().await?.into_iter().map(PathBuf::from);
        let metas = files.filter(|file| file.file_name().is_some_and(|name| name == META));
        Ok(metas
            .filter_map(|file| file.ancestors().nth(3).map(PathBuf::from))
            .collect())
    }

    fn folders(&self, folder: &str) -> Result<Vec<PathBuf>> {
        let folders = self.stack.host_folders(Component::Tempo, folder)?;
        anyhow::ensure!(!folders.is_empty(), "this backend can't look at Tempo's volume");
        Ok(folders)
    }
}

/// Where Tempo keeps blocks.
const STORE: &str = "/var/tempo/blocks";
/// What makes blocks in a fleet, and what merges them.
const INGESTER: &str = "ingester";
const COMPACTOR: &str = "compactor";
