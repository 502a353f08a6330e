//! Ways that break: to Tempo, and from it to the S3 server.

use anyhow::{Context, Result};
use async_trait::async_trait;

use super::{Injection, Site};
use crate::backend::{Component, Fault};
use crate::client::metrics::Scrape;

/// A fault of one of a component's pods.
pub(in super::super) struct Disturb {
    component: Component,
    fault: Fault,
    pod: String,
    before: u64,
}

impl Disturb {
    pub fn of(component: Component, fault: Fault) -> Disturb {
        Disturb {
            component,
            fault,
            pod: String::new(),
            before: 0,
        }
    }
}

#[async_trait]
impl Injection for Disturb {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        (self.pod, _) = site.one_of(self.component).await?;
        self.before = site.stack.disturbed();
        site.stack.disturb(&self.pod, self.fault).await
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        if self.fault == Fault::Frozen {
            let pids = site.stack.pids(self.component).await?;
            let pid = pids.get(&self.pod).context("its process is gone")?;
            let status = fs_err::read_to_string(format!("/proc/{pid}/status"))?;
            let state = status
                .lines()
                .find(|line| line.starts_with("State:"))
                .unwrap_or_default();
            return Ok(state
                .contains("stopped")
                .then(|| format!("process {pid} of {}: {state}", self.component)));
        }
        let met = site.stack.disturbed() - self.before;
        Ok((met > 0).then(|| format!("{met} {} {}", met_what(self.fault), self.component)))
    }

    async fn heal(&mut self, site: &mut Site<'_>) -> Result<()> {
        site.stack.recover(&self.pod).await
    }
}

/// A fault of the way to the S3 server.
pub(in super::super) struct DisturbStore {
    fault: Fault,
    /// What Tempo's log says of it; empty where it only takes longer.
    says: &'static str,
    before: u64,
    logged: usize,
    /// Blocks that had been shipped when it ended.
    flushed: f64,
}

impl DisturbStore {
    pub fn with(fault: Fault, says: &'static str) -> DisturbStore {
        DisturbStore {
            fault,
            says,
            before: 0,
            logged: 0,
            flushed: 0.0,
        }
    }
}

#[async_trait]
impl Injection for DisturbStore {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        self.logged = site.stack.logs(Component::Tempo).await?.len();
        let store = site.store.as_ref().context("this stack has no S3 server")?;
        self.before = store.disturbed();
        store.disturb(self.fault).await
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        let store = site.store.as_ref().context("this stack has no S3 server")?;
        let met = store.disturbed() - self.before;
        let log = site.stack.logs(Component::Tempo).await?;
        let log = log.get(self.logged..).unwrap_or_default();
        let said = log
            .lines()
            .find(|line| line.contains("level=error") && line.contains(self.says));
        let met = (met > 0).then(|| format!("{met} {} the S3 server", met_what(self.fault)));
        if self.says.is_empty() {
            return Ok(met);
        }
        // Nothing may have been open when it was cut off: what was refused then only Tempo knows.
        let said = said.map(|line| format!("Tempo says {:?}", error_of(line)));
        Ok(said.map(|said| met.map_or_else(|| said.clone(), |met| format!("{met}; {said}"))))
    }

    async fn heal(&mut self, site: &mut Site<'_>) -> Result<()> {
        let store = site.store.as_ref().context("this stack has no S3 server")?;
        store.recover().await?;
        self.flushed = flushed(site).await?;
        Ok(())
    }

    /// Blocks go to it again.
    async fn well(&self, site: &Site<'_>) -> Result<bool> {
        Ok(flushed(site).await? > self.flushed)
    }
}

/// Blocks that Tempo has shipped since it started.
async fn flushed(site: &Site<'_>) -> Result<f64> {
    let scrape = Scrape::parse(&site.access.tempo.metrics().await?)?;
    Ok(scrape.sum(site.env.engine()?.blocks_flushed(), &[]).unwrap_or(0.0))
}

/// What a line of a log says went wrong: the last two parts of its error.
pub(super) fn error_of(line: &str) -> String {
    let error = line
        .split_once("err=")
        .map_or(line, |(_, error)| error)
        .trim_matches('"');
    let parts: Vec<&str> = error.split(": ").collect();
    parts[parts.len().saturating_sub(2)..].join(": ")
}

fn met_what(fault: Fault) -> &'static str {
    match fault {
        Fault::CutOff => "connections were ended to",
        Fault::Breaking(_) => "connections broke in the middle to",
        Fault::Slow(_) => "pieces of data were held back to or from",
        Fault::Silent => "pieces of data didn't get through to or from",
        Fault::Refusing(_) => "requests were answered in the place of",
        Fault::Frozen => "processes stood still of",
    }
}
