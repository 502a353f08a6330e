//! More, or other, than the stack takes.

use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::{Injection, Site};
use crate::backend::Component;
use crate::client::load::{Batches, Load};
use crate::client::metrics::Scrape;
use crate::model::corpus::now_unix_nano;
use crate::model::door::Door;
use crate::model::ledger::Ledger;

/// A second load beside the usual one.
pub(in super::super) struct Burst {
    /// Spans per second.
    rate: u32,
    shows: Shows,
    load: Option<Load>,
}

/// What shows that a burst is one.
enum Shows {
    /// It left at its rate for a second.
    Rate,
    /// The Collector refuses because of its memory.
    MemoryLimit,
}

impl Burst {
    /// So many spans/s, however they are taken.
    pub fn at(rate: u32) -> Burst {
        Burst {
            rate,
            shows: Shows::Rate,
            load: None,
        }
    }

    /// So many spans/s, until memory is short.
    pub fn up_to_the_memory_limit(rate: u32) -> Burst {
        Burst {
            shows: Shows::MemoryLimit,
            ..Burst::at(rate)
        }
    }
}

#[async_trait]
impl Injection for Burst {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        let batches = Batches {
            rate: self.rate,
            traces_per_request: self.rate / 40,
            ..Batches::new(site.env.seed.wrapping_add(1))
        };
        let (sender, cancel) = (site.access.sender.clone(), site.env.cancel.clone());
        self.load = Some(Load::start(sender, batches, cancel));
        Ok(())
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        let load = self.load.as_ref().context("the burst has ended")?;
        let summary = load.ledger().summary();
        let told = format!(
            "{} spans left beside the load, {} acknowledged and {} refused so far",
            summary.sent, summary.acked, summary.refused
        );
        match self.shows {
            Shows::Rate => Ok((summary.sent >= u64::from(self.rate)).then_some(told)),
            Shows::MemoryLimit => {
                let log = site.stack.logs(Component::OtelCollector).await?;
                let said = log.lines().find(|line| line.contains("Refusing data"));
                Ok(said
                    .filter(|_| summary.refused > 0)
                    .map(|line| format!("{told}; a Collector: {line}")))
            }
        }
    }

    async fn heal(&mut self, site: &mut Site<'_>) -> Result<()> {
        let (ledger, pace) = self.load.take().context("the burst has ended")?.stop().await?;
        site.env.recorder.say(format!(
            "the burst left at {:.0} spans/s, {} spans of it were due and not sent",
            pace.rate, pace.skipped
        ));
        site.ledgers.push(ledger);
        Ok(())
    }
}

/// Spans that Tempo refuses for ever, in requests with good ones: some without an id, and a trace that is too large.
#[derive(Default)]
pub(in super::super) struct Poison {
    /// Spans that had been left out before.
    filtered: f64,
}

impl Poison {
    /// Requests of each kind.
    const REQUESTS: u64 = 5;
    /// Spans of a trace that is too large, and the bytes of an attribute of each.
    const LARGE: (u32, usize) = (400, 2_000);
    const DISCARDED: &'static str = "tempo_discarded_spans_total";
}

#[async_trait]
impl Injection for Poison {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        self.filtered = filtered(site).await?;
        let good = Batches {
            traces_per_request: 10,
            ..Batches::new(site.env.seed.wrapping_add(1))
        };
        let large = Batches {
            spans_per_trace: Poison::LARGE.0,
            traces_per_request: 1,
            payload_bytes: Poison::LARGE.1,
            ..Batches::new(site.env.seed.wrapping_add(2))
        };
        let mut ledger = Ledger::new(good.marker.as_str());
        for n in 0..Poison::REQUESTS {
            let now = now_unix_nano()?;
            let (mut traces, ids) = good.request(n, now);
            let (too_large, _) = large.request(n, now);
            let spans = traces.resource_spans.iter_mut().flat_map(|r| &mut r.scope_spans);
            for scope in spans {
                let nameless = scope.spans.first().cloned().unwrap_or_default();
                scope.spans.push(Span {
                    span_id: vec![0; 8],
                    ..nameless
                });
            }
            traces.resource_spans.extend(too_large.resource_spans);
            ledger.send_all(&ids);
            let outcome = site.access.sender.send(Door::OtlpGrpc, &traces).await?;
            ledger.settle(&outcome, ids);
        }
        anyhow::ensure!(ledger.summary().acked > 0, "the Collector took none of it");
        site.ledgers.push(ledger);
        Ok(())
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        let filtered = filtered(site).await? - self.filtered;
        let scrape = Scrape::parse(&site.access.tempo.metrics().await?)?;
        let discarded = scrape
            .sum(Poison::DISCARDED, &[("reason", "trace_too_large")])
            .unwrap_or(0.0);
        Ok((filtered > 0.0 && discarded > 0.0).then(|| {
            format!("the Collector left {filtered} spans without an id out, Tempo discarded {discarded} of traces that are too large")
        }))
    }
}

/// Spans that the Collectors have left out since they started.
async fn filtered(site: &Site<'_>) -> Result<f64> {
    let mut filtered = 0.0;
    for text in site.stack.metrics(Component::OtelCollector).await?.values() {
        filtered += Scrape::parse(text)?
            .sum("otelcol_processor_filter_spans_filtered", &[])
            .unwrap_or(0.0);
    }
    Ok(filtered)
}

/// Two faults at the same time: the second comes when the first is there, and ends before it.
pub(in super::super) struct Both {
    pub first: Box<dyn Injection>,
    pub second: Box<dyn Injection>,
}

#[async_trait]
impl Injection for Both {
    async fn inject(&mut self, site: &mut Site<'_>) -> Result<()> {
        self.first.inject(site).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.second.inject(site).await
    }

    async fn proof(&mut self, site: &Site<'_>) -> Result<Option<String>> {
        let first = self.first.proof(site).await?;
        let second = self.second.proof(site).await?;
        Ok(first.zip(second).map(|(first, second)| format!("{first}; {second}")))
    }

    async fn heal(&mut self, site: &mut Site<'_>) -> Result<()> {
        self.second.heal(site).await?;
        self.first.heal(site).await
    }
}
