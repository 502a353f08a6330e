//! The scenarios: what the stack is asked to prove.
//!
//! Written once; a backend that can't show something has it recorded as skipped, with the reason.

mod cluster;
#[cfg(test)]
mod honest;
mod names;
mod outage;
mod refusals;
mod restart;
mod retention;
mod rollout;
mod roundtrip;
mod s3;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::failure::Failure;
use serde::Serialize;
use serde_yaml::Value;

use crate::backend::{Component, Stack};
use crate::client::metrics::Scrape;
use crate::client::send::{Sender, http_client};
use crate::client::tempo::Client;
use crate::env::Env;
use crate::model::door::Doors;
use crate::model::ledger::Ledger;
use crate::wait::{Look, wait_for};

/// How long a queue may take to run empty.
const DRAINED: Duration = Duration::from_secs(60);

/// A scenario on its way.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One scenario.
pub struct Scenario {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// What it proves, in one line.
    pub proves: &'static str,
    /// Where it can run.
    pub needs: Needs,
    /// Runs it. An error means that it could not go on; what it asks is in the checks.
    pub run: for<'a> fn(&'a Env) -> Running<'a>,
}

/// Where a scenario can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Needs {
    /// On every backend.
    Stack,
    /// In a cluster only.
    Cluster,
}

impl Needs {
    /// The backends that it runs on.
    pub fn backends(self) -> &'static [&'static str] {
        match self {
            Needs::Stack => &["local", "kind", "context"],
            Needs::Cluster => &["kind", "context"],
        }
    }
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All scenarios, in the order in which they are listed.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "roundtrip",
        proves: "what goes in by any door comes back equal: from memory, the write-ahead log and the block store",
        needs: Needs::Stack,
        run: |env| Box::pin(roundtrip::run(env)),
    },
    Scenario {
        name: "restart",
        proves: "what was acknowledged before a stop of Tempo, of the Collector or of both is there after it",
        needs: Needs::Stack,
        run: |env| Box::pin(restart::run(env)),
    },
    Scenario {
        name: "outage",
        proves: "Tempo is away for 30 s at 2,000 spans/s and no acknowledged span is lost",
        needs: Needs::Stack,
        run: |env| Box::pin(outage::run(env)),
    },
    Scenario {
        name: "retention",
        proves: "old traces go, young ones stay, and the blocks leave the disk",
        needs: Needs::Stack,
        run: |env| Box::pin(retention::run(env)),
    },
    Scenario {
        name: "s3",
        proves: "the documented S3 example stores blocks in a bucket, and a fresh Tempo finds them again",
        needs: Needs::Stack,
        run: |env| Box::pin(s3::run(env)),
    },
    Scenario {
        name: "refusals",
        proves: "malformed input of ten classes is refused or harmless, and the good spans beside it are stored",
        needs: Needs::Stack,
        run: |env| Box::pin(refusals::run(env)),
    },
    Scenario {
        name: "rollout",
        proves: "a configuration that can't work is reported in the program's own words, not as a time-out",
        needs: Needs::Stack,
        run: |env| Box::pin(rollout::run(env)),
    },
    Scenario {
        name: "names",
        proves: "nothing depends on the default names, ports, release or namespace",
        needs: Needs::Stack,
        run: |env| Box::pin(names::run(env)),
    },
    Scenario {
        name: "install",
        proves: "the documented commands, word for word, and every address and command that they promise",
        needs: Needs::Cluster,
        run: |env| Box::pin(cluster::install::run(env)),
    },
    Scenario {
        name: "security",
        proves: "from inside the running containers: no rights, a read-only root, no secret in sight",
        needs: Needs::Cluster,
        run: |env| Box::pin(cluster::security::run(env)),
    },
    Scenario {
        name: "upgrade",
        proves: "from the last charts to these under load, three ways and with both queue volumes: no span is lost that the README keeps",
        needs: Needs::Cluster,
        run: |env| Box::pin(cluster::upgrade::run(env)),
    },
    Scenario {
        name: "rollback",
        proves: "an upgrade that can't work comes back by itself, and one whose helm was killed by the documented command",
        needs: Needs::Cluster,
        run: |env| Box::pin(cluster::rollback::run(env)),
    },
    Scenario {
        name: "lifecycle",
        proves: "the claim outlives the release and is taken up again, releases side by side don't mix, helm 3 and 4 both work",
        needs: Needs::Cluster,
        run: |env| Box::pin(cluster::lifecycle::run(env)),
    },
    Scenario {
        name: "helm-test",
        proves: "the chart's own test says yes to a stack that works, and to one that doesn't why",
        needs: Needs::Cluster,
        run: |env| Box::pin(cluster::helm_test::run(env)),
    },
    Scenario {
        name: "helm-cases",
        proves: "what goes wrong with charts elsewhere: drift, missing types, typing mistakes, odd texts, fixed names, aliases",
        needs: Needs::Cluster,
        run: |env| Box::pin(cluster::helm_cases::run(env)),
    },
    Scenario {
        name: "faults",
        proves: "five ways in which a start fails, and for each the one line that says why",
        needs: Needs::Cluster,
        run: |env| Box::pin(cluster::faults::run(env)),
    },
];

/// An answer of the Collector that takes longer than this is none.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Why what goes in over UDP is skipped.
const NO_UDP_ROUTE: &str = "no route from here to a UDP port of the cluster";

/// The two ends of a stack: where spans go in and where they are read back.
struct Access {
    sender: Sender,
    tempo: Client,
}

impl Access {
    fn new(stack: &dyn Stack) -> Result<Access> {
        Ok(Access {
            sender: Sender::new(&doors(stack)?, SEND_TIMEOUT)?,
            tempo: Client::new(&stack.endpoints().url(Component::Tempo, "http")?)?,
        })
    }
}

/// The Collector's receivers in a stack.
fn doors(stack: &dyn Stack) -> Result<Doors> {
    let port = |name| stack.endpoints().get(Component::OtelCollector, name);
    // Not every backend has a route to a UDP port.
    let udp = |name| port(name).ok();
    Ok(Doors {
        otlp_grpc: port("otlp-grpc")?,
        otlp_http: port("otlp-http")?,
        jaeger_grpc: port("jaeger-grpc")?,
        jaeger_thrift_http: port("jaeger-http")?,
        jaeger_thrift_compact: udp("jaeger-compact"),
        jaeger_thrift_binary: udp("jaeger-binary"),
    })
}

/// Values of the umbrella chart, written as YAML.
fn values(yaml: &str) -> Result<Value> {
    serde_yaml::from_str(yaml).context("parsing a scenario's values")
}

/// The scenarios of these names, in the order of the list; if no name is given all that run on the backend.
pub fn select(names: &[String], backend: &str) -> Result<Vec<&'static Scenario>> {
    if let Some(unknown) = names.iter().find(|name| !ALL.iter().any(|s| s.name == name.as_str())) {
        let known = ALL.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
        return Err(Failure::usage(
            format!("no scenario named {unknown:?}"),
            format!("scenarios: {known}"),
        ));
    }
    Ok(ALL
        .iter()
        .filter(|s| match names {
            [] => s.needs.backends().contains(&backend),
            names => names.iter().any(|n| n == s.name),
        })
        .collect())
}

/// Bytes that wait in the Collector's sending queue.
async fn queue_bytes(stack: &dyn Stack) -> Result<f64> {
    let url = format!(
        "{}/metrics",
        stack.endpoints().url(Component::OtelCollector, "metrics")?
    );
    let response = http_client()?.get(&url).timeout(SEND_TIMEOUT).send().await;
    let text = response
        .with_context(|| format!("asking {url}"))?
        .text()
        .await
        .with_context(|| format!("reading {url}"))?;
    Scrape::parse(&text)?
        .sum("otelcol_exporter_queue_size", &[])
        .context("the Collector reports no queue size")
}

/// Waits until nothing waits in the Collector's sending queue.
async fn drained(env: &Env, stack: &dyn Stack) -> Result<()> {
    wait_for("an empty queue", DRAINED, &env.cancel, || async {
        let left = queue_bytes(stack).await?;
        Ok(if left > 0.0 {
            Look::NotYet(format!("{left} bytes"))
        } else {
            Look::Found(())
        })
    })
    .await?;
    Ok(())
}

/// Nothing that was acknowledged is missing. Keeps the ledger as evidence.
fn judge_ledger(env: &Env, what: &str, ledger: &Ledger) -> Result<()> {
    let summary = ledger.summary();
    let text = serde_json::to_string_pretty(&(&summary, ledger.lost())).context("writing JSON")?;
    env.evidence(&format!("ledger {}.json", what.replace([':', '/'], "")), text);
    env.recorder.measure(
        format!("{what}: acknowledged spans lost"),
        summary.lost as f64,
        "spans",
        summary.proves_no_loss(),
        summary.to_string(),
    );
    Ok(())
}

fn mebibytes(bytes: f64) -> f64 {
    (bytes / 1024.0 / 1024.0 * 10.0).round() / 10.0
}
