//! Programs that are killed, stopped, or stand still.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Injection, Site};
use crate::backend::{Component, Fault};
use crate::scenario::queue_bytes;

/// SIGKILL to one program of each of these components.
pub(in super::super) struct Kill {
    pub components: &'static [Component],
    pub killed: Vec<(String, i32)>,
}

impl Kill {
    pub fn of(components: &'static [Component]) -> Kill {
        Kill {
            components,
            killed: Vec::new(),
        }
    }
}

#[async_trait]
impl Injection for Kill {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        for component in self.components {
            let (pod, pid) = site.one_of(*component).await?;
            send(pid, Signal::SIGKILL)?;
            self.killed.push((pod, pid));
        }
        Ok(())
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        replaced(site, self.components, &self.killed).await
    }

    fn ends_at_once(&self) -> bool {
        true
    }
}

/// SIGTERM to one program of a component, as a restart of its container does.
pub(in super::super) struct Stop {
    component: Component,
    stopped: Vec<(String, i32)>,
    how: String,
}

impl Stop {
    pub fn of(component: Component) -> Stop {
        Stop {
            component,
            stopped: Vec::new(),
            how: String::new(),
        }
    }
}

#[async_trait]
impl Injection for Stop {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        let (pod, pid) = site.one_of(self.component).await?;
        if site.stack.pids(self.component).await?.len() > 1 {
            // The others go on. It ends by itself, and is started again.
            send(pid, Signal::SIGTERM)?;
        } else {
            let stop = site.stack.restart_container(self.component).await?;
            let killed = if stop.killed { ", killed then" } else { "" };
            self.how = format!("stopped after {:.1} s{killed}; ", stop.elapsed.as_secs_f64());
        }
        self.stopped.push((pod, pid));
        Ok(())
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        let replaced = replaced(site, &[self.component], &self.stopped).await?;
        Ok(replaced.map(|text| format!("{}{text}", self.how)))
    }

    fn ends_at_once(&self) -> bool {
        true
    }
}

/// The pods of the Collectors are stopped and started anew while Tempo is cut off.
#[derive(Default)]
pub(in super::super) struct Replaced {
    tempo: String,
    before: BTreeMap<String, i32>,
}

/// So long spans gather in the queues before.
const GATHER: Duration = Duration::from_secs(3);

#[async_trait]
impl Injection for Replaced {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        (self.tempo, _) = site.one_of(Component::Tempo).await?;
        site.stack.disturb(&self.tempo, Fault::CutOff).await?;
        tokio::time::sleep(GATHER).await;
        self.before = site.stack.pids(Component::OtelCollector).await?;
        site.stack.stop_pod(Component::OtelCollector).await?;
        site.stack.start_pod(Component::OtelCollector).await
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        let waiting = queue_bytes(site.stack.as_ref()).await?;
        let now = site.stack.pids(Component::OtelCollector).await?;
        let replaced = now.len() == self.before.len() && now.iter().all(|(pod, pid)| self.before.get(pod) != Some(pid));
        Ok((replaced && waiting > 0.0).then(|| {
            format!(
                "{} Collectors are new, {waiting} bytes wait in their queues for Tempo",
                now.len()
            )
        }))
    }

    async fn heal(&mut self, site: &mut Site<'_>) -> Result<()> {
        site.stack.recover(&self.tempo).await
    }
}

pub(super) fn send(pid: i32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid), signal).with_context(|| format!("sending {signal} to process {pid}"))
}

/// Says that each of these processes is gone and has a successor; none while one hasn't.
async fn replaced(site: &Site<'_>, components: &[Component], ended: &[(String, i32)]) -> Result<Option<String>> {
    let mut told = Vec::new();
    for (component, (pod, pid)) in components.iter().zip(ended) {
        let pids = site.stack.pids(*component).await?;
        match pids.get(pod) {
            Some(next) if next != pid && !Path::new(&format!("/proc/{pid}")).exists() => {
                told.push(format!("process {pid} of {component} is gone, {next} is in its place"));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(told.join("; ")))
}
