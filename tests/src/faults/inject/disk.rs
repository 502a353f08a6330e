//! Disks that are full, slow, or can't be written to any more.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use async_trait::async_trait;
use nix::mount::{MsFlags, mount};

use super::{Injection, QUEUE, Site, new_log};
use crate::backend::{Component, Fault};
use crate::client::metrics::Scrape;

/// The volume of Tempo has no room left.
pub(in super::super) struct TempoFull {
    /// Bytes that are taken of it.
    pub taken: u64,
}

#[async_trait]
impl Injection for TempoFull {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        site.stack.take_room(self.taken).await
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        let scrape = Scrape::parse(&site.access.tempo.metrics().await?)?;
        let refused = scrape
            .sum("tempo_discarded_spans_total", &[("reason", "rate_limited")])
            .unwrap_or(0.0);
        Ok((refused > 0.0).then(|| format!("Tempo refuses spans, {refused} so far: its volume is about to be full")))
    }

    async fn heal(&mut self, site: &mut Site<'_>) -> Result<()> {
        site.stack.take_room(0).await
    }
}

/// What is wrong with the disks of the Collectors' queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Wrong {
    /// They are full.
    Full,
    /// The kernel has made them read-only, as it does after an error.
    ReadOnly,
}

/// The disks of all queues, while Tempo is cut off, so that the queues are needed.
pub(in super::super) struct QueueDisk {
    wrong: Wrong,
    tempo: String,
    logged: usize,
}

const BALLAST: &str = "ballast";
const CHUNK: usize = 1 << 20;

impl QueueDisk {
    pub fn that_is(wrong: Wrong) -> QueueDisk {
        QueueDisk {
            wrong,
            tempo: String::new(),
            logged: 0,
        }
    }

    fn disks(site: &Site<'_>) -> Result<Vec<PathBuf>> {
        site.stack.host_folders(Component::OtelCollector, QUEUE)
    }
}

#[async_trait]
impl Injection for QueueDisk {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        self.logged = site.stack.logs(Component::OtelCollector).await?.len();
        (self.tempo, _) = site.one_of(Component::Tempo).await?;
        for disk in QueueDisk::disks(site)? {
            match self.wrong {
                Wrong::Full => fill(&disk)?,
                Wrong::ReadOnly => mount(None::<&str>, &disk, None::<&str>, MsFlags::MS_REMOUNT, Some("abort"))
                    .with_context(|| format!("aborting the file system at {}", disk.display()))?,
            }
        }
        site.stack.disturb(&self.tempo, Fault::CutOff).await
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        let says = match self.wrong {
            Wrong::Full => "no space left on device",
            Wrong::ReadOnly => "read-only file system",
        };
        let log = new_log(site, Component::OtelCollector, self.logged).await?;
        let said = log.lines().filter(|line| line.contains(says)).count();
        Ok((said > 0).then(|| format!("the Collectors say {says:?}, {said} times")))
    }

    async fn heal(&mut self, site: &mut Site<'_>) -> Result<()> {
        match self.wrong {
            Wrong::Full => {
                for disk in QueueDisk::disks(site)? {
                    fs_err::remove_file(disk.join(BALLAST))?;
                }
            }
            Wrong::ReadOnly => {
                site.stack.stop_pod(Component::OtelCollector).await?;
                site.stack.repair_queue_disks().await?;
                site.stack.start_pod(Component::OtelCollector).await?;
            }
        }
        site.stack.recover(&self.tempo).await
    }
}

/// Writes a file until there is no room left.
fn fill(disk: &Path) -> Result<()> {
    let path = disk.join(BALLAST);
    let mut file = fs_err::File::create(&path)?;
    let mut size = CHUNK;
    while size > 0 {
        match file.write_all(&vec![0; size]) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 2,
            Err(error) => return Err(error).with_context(|| format!("filling {}", disk.display())),
        }
    }
    // On the disk and not in memory only, or the room would seem to be there a while longer.
    Ok(file.sync_all()?)
}
