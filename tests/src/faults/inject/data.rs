//! Files that are destroyed while the stack needs them.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use nix::sys::signal::Signal;
use rand::Rng;
use rand::rngs::StdRng;
use serde::Deserialize;

use super::network::error_of;
use super::process::send;
use super::{Injection, QUEUE, Site, new_log};
use crate::backend::{Component, Fault};
use crate::client::metrics::Scrape;
use crate::client::tempo::{Found, Search};
use crate::model::corpus::now_unix_nano;
use crate::wait::{Look, wait_for};

/// How long a file that is to be destroyed may take to be there.
const THERE: Duration = Duration::from_secs(60);
/// Spans of a trace of the load.
const SPANS_PER_TRACE: u64 = 2;

/// The file of a Collector's queue with spans in it: Tempo is cut off, the Collector is killed, and when it starts
/// again random bytes stand in its file.
#[derive(Default)]
pub(in super::super) struct QueueFile {
    tempo: String,
    pod: String,
    file: PathBuf,
    waiting: u64,
    logged: usize,
}

/// So long spans gather in the queue.
const GATHER: Duration = Duration::from_secs(4);

#[async_trait]
impl Injection for QueueFile {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        (self.tempo, _) = site.one_of(Component::Tempo).await?;
        site.stack.disturb(&self.tempo, Fault::CutOff).await?;
        tokio::time::sleep(GATHER).await;
        self.logged = site.stack.logs(Component::OtelCollector).await?.len();
        // A client keeps to one Collector for as long as its connection lives: the one with the most is it.
        let mut waiting = Vec::new();
        for (pod, text) in site.stack.metrics(Component::OtelCollector).await? {
            let scrape = Scrape::parse(&text)?;
            let sum = |name| scrape.sum(name, &[]).unwrap_or(0.0);
            let spans = sum("otelcol_receiver_accepted_spans") - sum("otelcol_exporter_sent_spans");
            waiting.push((spans.max(0.0) as u64, pod));
        }
        let (spans, pod) = waiting.into_iter().max().context("there is no Collector")?;
        let pids = site.stack.pids(Component::OtelCollector).await?;
        let pid = *pids.get(&pod).context("the Collector has ended")?;
        let names = site.stack.pod_names(Component::OtelCollector).await?;
        let folders = site.stack.host_folders(Component::OtelCollector, QUEUE)?;
        let folder = names.iter().zip(folders).find(|(name, _)| **name == pod);
        self.file = largest(&folder.context("its queue isn't on this machine")?.1, |_| true)?;
        send(pid, Signal::SIGKILL)?;
        // What came in since its metrics were read is in the file as well: less than a second of the load.
        self.waiting = spans + u64::from(site.rate);
        self.pod = pod;
        scramble(&self.file, &mut site.random)
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        let log = new_log(site, Component::OtelCollector, self.logged).await?;
        let words = [
            "corrupt",
            "invalid",
            "panic",
            "checksum",
            "unexpected",
            "unmarshal",
            "fatal",
        ];
        let said = log
            .lines()
            .find(|line| words.iter().any(|word| line.to_lowercase().contains(word)));
        Ok(said.map(|line| {
            format!(
                "{} spans waited in the queue of {}; it says {line:?}",
                self.waiting, self.pod
            )
        }))
    }

    async fn heal(&mut self, site: &mut Site<'_>) -> Result<()> {
        fs_err::rename(&self.file, site.stack.folder().join("taken-away"))?;
        site.stack.recover(&self.tempo).await
    }

    fn destroyed(&self) -> u64 {
        self.waiting
    }
}

/// A file of Tempo's write-ahead log: Tempo is killed, and when it starts again random bytes stand in the file, until
/// somebody takes it away and starts Tempo again.
#[derive(Default)]
pub(in super::super) struct Log {
    file: PathBuf,
    logged: usize,
}

#[async_trait]
impl Injection for Log {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        let log = site.env.engine()?.log();
        let folders = site.stack.host_folders(Component::Tempo, log)?;
        let folder = folders.first().context("the log isn't on this machine")?;
        self.logged = site.stack.logs(Component::Tempo).await?.len();
        let (_, pid) = site.one_of(Component::Tempo).await?;
        send(pid, Signal::SIGKILL)?;
        // Each cut of idle traces is a file with a number for its name.
        self.file = largest(folder, |name| name.starts_with("00"))?;
        scramble(&self.file, &mut site.random)
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        damage(site, self.logged).await
    }

    async fn heal(&mut self, site: &mut Site<'_>) -> Result<()> {
        // Not there any more once Tempo has given the whole block up.
        if self.file.exists() {
            fs_err::rename(&self.file, site.stack.folder().join("taken-away"))?;
        }
        site.stack.restart_container(Component::Tempo).await?;
        Ok(())
    }
}

/// What Tempo says of data that it can't read.
async fn damage(site: &Site<'_>, logged: usize) -> Result<Option<String>> {
    let log = new_log(site, Component::Tempo, logged).await?;
    let words = [
        "corrupted",
        "checksum",
        "varint",
        "unexpected EOF",
        "decoding",
        "parquet",
    ];
    let mut bad = log
        .lines()
        .filter(|line| line.contains("level=error") || line.contains("level=warn"));
    let said = bad.find(|line| words.iter().any(|word| line.contains(word)));
    Ok(said.map(|line| format!("Tempo says {:?}", error_of(line))))
}

/// A block that was shipped: random bytes stand in its data, until somebody takes it away.
#[derive(Default)]
pub(in super::super) struct Block {
    folder: PathBuf,
    traces: u64,
    away: PathBuf,
    logged: usize,
}

/// What the proof needs of a block's meta.json (grafana/tempo, tempodb/backend/block_meta.go).
#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "totalObjects")]
    traces: u64,
}

/// Where Tempo keeps blocks on its volume.
const BLOCKS: &str = "/var/tempo/blocks";

#[async_trait]
impl Injection for Block {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        let folders = site.stack.host_folders(Component::Tempo, BLOCKS)?;
        let store = folders.first().context("the blocks aren't on this machine")?.clone();
        let waited = wait_for("a block that was shipped", THERE, &site.env.cancel, || async {
            Ok(largest(&store, |name| name == "data.parquet")
                .map_or_else(|error| Look::NotYet(format!("{error:#}")), Look::Found))
        });
        let data = waited.await?.value;
        self.folder = data.parent().context("a file has a folder")?.to_owned();
        let meta: Meta =
            serde_json::from_slice(&fs_err::read(self.folder.join("meta.json"))?).context("reading meta.json")?;
        self.traces = meta.traces;
        self.away = site.stack.folder().join("taken-away");
        self.logged = site.stack.logs(Component::Tempo).await?.len();
        scramble(&data, &mut site.random)
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        // Reading it is what shows it.
        let _ = search(site).await;
        let damage = damage(site, self.logged).await?;
        Ok(damage.map(|said| format!("a block of {} traces is overwritten; {said}", self.traces)))
    }

    async fn heal(&mut self, _site: &mut Site<'_>) -> Result<()> {
        Ok(fs_err::rename(&self.folder, &self.away)?)
    }

    /// Searches are answered again.
    async fn well(&self, site: &Site<'_>) -> Result<bool> {
        Ok(search(site).await.is_ok())
    }

    fn destroyed(&self) -> u64 {
        self.traces * SPANS_PER_TRACE
    }
}

/// Searches all that the load has sent.
async fn search(site: &Site<'_>) -> Result<Vec<Found>> {
    let now = now_unix_nano()? / 1_000_000_000;
    let search = Search::new("{ span.url.path = \"/load\" }")
        .between(now - 600, now)
        .limit(100_000);
    site.access.tempo.search(&search).await
}

/// The largest file below a folder whose name is as wanted.
fn largest(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).into_iter().flatten();
    let files = entries.filter(|entry| entry.file_type().is_file() && wanted(&entry.file_name().to_string_lossy()));
    let sized = files.filter_map(|entry| Some((entry.metadata().ok()?.len(), entry.into_path())));
    let (_, path) = sized
        .max()
        .with_context(|| format!("no such file in {}", folder.display()))?;
    Ok(path)
}

/// Overwrites the middle half of a file with random bytes.
fn scramble(path: &Path, random: &mut StdRng) -> Result<()> {
    let mut file = fs_err::OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(length / 2)?];
    random.fill_bytes(&mut bytes);
    file.seek(SeekFrom::Start(length / 4))?;
    file.write_all(&bytes)?;
    Ok(file.sync_all()?)
}
