//! Limits and a retention that change while everything runs, and a full volume.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;

use super::{LARGE, MIB, Proof, SMALL, Stored, TENANTS, service};
use crate::client::metrics::Scrape;
use crate::scenario::{drained, values};
use crate::wait::{Look, wait_for};

/// What changes while everything runs: team-a's limit, and for how long team-b's traces are kept.
const CHANGED: &str = "
tempo-stack:
  tenants:
    list:
      team-a: {limits: {maxBytesPerTrace: 4000}}
      team-b: {retention: 15s}
";
/// What is taken of Tempo's volume so that less than the reserve is left.
const TAKEN: u64 = 230 * MIB;
/// How long an old trace may take to go: see `retention`.
const GONE: Duration = Duration::from_secs(150);
/// How long Tempo may take to act on a file that changed, and on a full volume.
const ACTS: Duration = Duration::from_secs(60);
/// How long a span may take from the Collector's receiver to Tempo.
const ARRIVES: Duration = Duration::from_secs(2);
/// How many traces may be let in once a limit has changed: Tempo's limiter looks at the limits every ten seconds
/// (modules/distributor/distributor.go, `NewRateLimiter`).
const LET_IN: usize = 20;

impl Proof<'_> {
    /// A limit of Tempo as it says itself; times are in nanoseconds.
    async fn limit(&self, tenant: &str, limit: &str) -> Result<Option<f64>> {
        let scrape = Scrape::parse(&self.tempo("")?.metrics().await?)?;
        Ok(scrape.sum("tempo_limits_overrides", &[("user", tenant), ("limit_name", limit)]))
    }

    /// The limits change as a `helm upgrade` and the kubelet change them.
    pub(super) async fn changed_limit(&self) -> Result<()> {
        let before = self.stack.render();
        let after = self.stack.render_again(values(CHANGED)?).await?;
        let differ: BTreeSet<String> = after
            .manifests
            .iter()
            .filter(|new| {
                !before
                    .manifests
                    .iter()
                    .any(|old| old.kind == new.kind && old.name == new.name && old.value == new.value)
            })
            .map(|new| format!("{}/{}", new.kind, new.name))
            .collect();
        let map = after
            .manifests
            .iter()
            .find(|m| m.kind == "ConfigMap" && m.name.ends_with("-tempo"));
        let map = map.context("Tempo has a ConfigMap")?;
        self.env.recorder.check(
            "a changed limit changes one ConfigMap and no pod",
            differ == BTreeSet::from([format!("ConfigMap/{}", map.name)]),
            format!("{differ:?}"),
        );
        let (large, traces) = self.trace(1_000, &service("team-a"), LARGE)?;
        self.taken("team-a", &traces).await?;
        self.found("team-a", &[large], LARGE).await?;

        let data = map.parse::<ConfigMap>()?.data.unwrap_or_default();
        self.stack.change_config_map(&map.name, data).await?;
        let waited = wait_for("Tempo reads the new limit", ACTS, &self.env.cancel, || async {
            let limit = self.limit("team-a", "max_bytes_per_trace").await?;
            Ok(if limit == Some(4_000.0) {
                Look::Found(())
            } else {
                Look::NotYet(format!("{limit:?}"))
            })
        })
        .await;
        self.env
            .recorder
            .worked("Tempo reads the new limit", &waited, |waited| {
                format!("after {:.1} s", waited.elapsed.as_secs_f64())
            });
        let mut lost = Vec::new();
        for (number, (tenant, ..)) in TENANTS.into_iter().enumerate() {
            let (id, traces) = self.trace(1_100 + number as u64, &service(tenant), LARGE)?;
            self.taken(tenant, &traces).await?;
            lost.push((tenant, id));
        }
        drained(self.env, self.stack.as_ref()).await?;
        for (tenant, id) in lost {
            if tenant == "team-a" {
                let too_large = self.discards(tenant, "trace_too_large", ACTS).await;
                let absent = self.tempo(tenant)?.trace(id).await?.is_none();
                self.env.recorder.check(
                    "a changed limit acts on its tenant",
                    too_large.is_ok() && absent,
                    too_large.map_or_else(
                        |error| format!("{error:#}"),
                        |dropped| format!("{dropped} spans dropped"),
                    ),
                );
            } else {
                self.found(tenant, &[id], LARGE).await?;
                self.env.recorder.check(
                    format!("and not on {tenant}"),
                    self.tempo(tenant)?.trace(id).await?.is_some(),
                    format!("{LARGE} spans found"),
                );
            }
        }
        Ok(())
    }

    /// The guard of the volume closes every tenant, and opens every one again.
    pub(super) async fn full_volume(&self) -> Result<()> {
        if !self.fills {
            return Ok(());
        }
        self.stack.take_room(TAKEN).await?;
        for (tenant, ..) in TENANTS {
            wait_for("a limit of one byte", ACTS, &self.env.cancel, || async {
                let rate = self.limit(tenant, "ingestion_rate_limit_bytes").await?;
                Ok(if rate == Some(1.0) {
                    Look::Found(())
                } else {
                    Look::NotYet(format!("{tenant}: {rate:?}"))
                })
            })
            .await?;
        }
        let retention = self.limit("team-b", "block_retention").await?;
        self.env.recorder.check(
            "a full volume leaves a tenant its retention",
            retention == Some(15e9),
            format!("{retention:?} ns"),
        );
        let mut waiting = Vec::new();
        for (number, (tenant, ..)) in TENANTS.into_iter().enumerate() {
            let mut sent = Vec::new();
            let refused = loop {
                let (id, traces) =
                    self.trace(1_200 + 100 * number as u64 + sent.len() as u64, &service(tenant), SMALL)?;
                self.taken(tenant, &traces).await?;
                sent.push(id);
                // It refuses what was just sent at once, or takes it.
                let refused = self.discards(tenant, "rate_limited", ARRIVES).await.is_ok();
                self.env.cancel.check()?;
                if refused {
                    break true;
                }
                if sent.len() == LET_IN {
                    break false;
                }
            };
            let last = sent.last().context("nothing was sent")?;
            let absent = self.tempo(tenant)?.trace(*last).await?.is_none();
            self.env.recorder.check(
                format!("a full volume closes {tenant}"),
                refused && absent,
                format!(
                    "of {} traces Tempo refused the last one: {refused}, which waits: {absent}",
                    sent.len()
                ),
            );
            waiting.extend(sent.into_iter().map(|id| (tenant, id)));
        }
        self.stack.take_room(0).await?;
        drained(self.env, self.stack.as_ref()).await?;
        let mut missing = Vec::new();
        for (tenant, id) in &waiting {
            if self.found(tenant, &[*id], SMALL).await.is_err() {
                missing.push(*tenant);
            }
        }
        self.env.recorder.check(
            "with room again, what waited is found",
            missing.is_empty(),
            format!("{} traces; missing, of tenants: {missing:?}", waiting.len()),
        );
        Ok(())
    }

    /// Waits until Tempo has discarded spans of a tenant for a reason; how many.
    async fn discards(&self, tenant: &str, reason: &str, timeout: Duration) -> Result<f64> {
        let labels = [("tenant", tenant), ("reason", reason)];
        let waited = wait_for("spans that Tempo discards", timeout, &self.env.cancel, || async {
            let scrape = Scrape::parse(&self.tempo("")?.metrics().await?)?;
            Ok(match scrape.sum("tempo_discarded_spans_total", &labels) {
                Some(spans) if spans > 0.0 => Look::Found(spans),
                _ => Look::NotYet("none".into()),
            })
        });
        Ok(waited.await?.value)
    }

    /// Old traces of the tenant with the short retention go, and nobody else's.
    pub(super) async fn retention(&self, stored: &Stored) -> Result<()> {
        let old = |tenant: &str| stored.get(tenant).cloned().unwrap_or_default();
        let tempo = self.tempo("team-b")?;
        let gone = wait_for("team-b's old traces to go", GONE, &self.env.cancel, || async {
            let mut left = 0;
            for id in old("team-b") {
                left += usize::from(tempo.trace(id).await?.is_some());
            }
            Ok(if left == 0 {
                Look::Found(())
            } else {
                Look::NotYet(format!("{left} left"))
            })
        })
        .await;
        self.env.recorder.worked("team-b's old traces go", &gone, |gone| {
            format!("after {:.0} s more", gone.elapsed.as_secs_f64())
        });
        for tenant in ["shared", "team-a"] {
            let kept = self.found(tenant, &old(tenant), SMALL).await;
            let name = format!("{tenant}'s traces of the same age stay");
            self.env
                .recorder
                .worked(name, &kept, |()| format!("{} traces", old(tenant).len()));
        }
        Ok(())
    }
}
