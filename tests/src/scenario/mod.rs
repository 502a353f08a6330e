//! The scenarios: what the stack is asked to prove.
//!
//! Written once; a backend that can't show something has it recorded as skipped, with the reason.

mod alerts;
mod cluster;
mod full_disk;
mod guard;
mod heavy_query;
#[cfg(test)]
mod honest;
mod metrics;
mod names;
mod outage;
mod refusals;
mod restart;
mod retention;
mod rollout;
mod roundtrip;
mod scale;
mod sdks;
pub(crate) mod stores;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::failure::Failure;
use serde::Serialize;
use serde_yaml::Value;

pub(crate) use self::scale::fleet::parts as fleet_parts;
use crate::backend::{Component, Stack};
use crate::client::credentials::Credentials;
use crate::client::metrics::Scrape;
use crate::client::send::Sender;
use crate::client::tempo::Client;
use crate::env::Env;
use crate::model::door::Doors;
use crate::model::ledger::Ledger;
use crate::wait::{Look, wait_for};

/// How long a queue may take to run empty: after outages in a row the Collector tries to connect every two minutes.
const DRAINED: Duration = Duration::from_secs(150);

/// A scenario on its way.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One scenario.
pub struct Scenario {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// What it proves, in one line.
    pub proves: &'static str,
    /// The set that it belongs to.
    pub set: Set,
    /// Where it can run.
    pub needs: Needs,
    /// How many stacks' worth of requests it has at its peak: in a cluster it starts when there is room for them.
    pub stacks: u32,
    /// Programs of this machine that it runs beside those of the backend.
    pub tools: &'static [&'static str],
    /// The same on the local backend, where a cluster runs an image.
    pub local_tools: &'static [&'static str],
    /// It first installs programs from registries, which takes as long as they take: it has the time of a long
    /// proof, also in a set.
    pub installs: bool,
    /// Runs it. An error means that it could not go on; what it asks is in the checks.
    pub run: Run,
}

/// Runs a scenario.
pub type Run = for<'a> fn(&'a Env) -> Running<'a>;

/// Scenarios that are run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Set {
    /// What a run consists of if nothing is asked for.
    Core,
    /// What only a cluster shows.
    Cluster,
    /// The others.
    More,
}

impl Set {
    /// Every set.
    pub const ALL: [Set; 3] = [Set::Core, Set::Cluster, Set::More];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Set::Core => "core",
            Set::Cluster => "cluster",
            Set::More => "more",
        }
    }
}

/// Where a scenario can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Needs {
    /// On every backend.
    Stack,
    /// On the local backend only: it can do to a pod's network what a cluster has no command for, and its
    /// stack is reached by the programs of this machine at the addresses that the pods of a cluster use.
    Machine,
    /// In a cluster only.
    Cluster,
}

impl Needs {
    /// The backends that it runs on.
    pub fn backends(self) -> &'static [&'static str] {
        match self {
            Needs::Stack => &["local", "kind", "context"],
            Needs::Machine => &["local"],
            Needs::Cluster => &["kind", "context"],
        }
    }
}

impl Scenario {
    /// Whether it runs on a backend of that name.
    pub fn runs_on(&self, backend: &str) -> bool {
        self.needs.backends().contains(&backend)
    }
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A scenario of the set `core`, which runs on every backend with one stack at a time.
const fn everywhere(name: &'static str, proves: &'static str, run: Run) -> Scenario {
    Scenario {
        name,
        proves,
        set: Set::Core,
        needs: Needs::Stack,
        stacks: 1,
        tools: &[],
        local_tools: &[],
        installs: false,
        run,
    }
}

/// A scenario of the set `cluster`, with one stack at a time.
const fn in_cluster(name: &'static str, proves: &'static str, run: Run) -> Scenario {
    Scenario {
        set: Set::Cluster,
        needs: Needs::Cluster,
        ..everywhere(name, proves, run)
    }
}

/// All scenarios, in the order in which they are listed.
pub const ALL: &[Scenario] = &[
    everywhere(
        "roundtrip",
        "what goes in through any receiver comes back equal: from memory, the write-ahead log and the block store",
        |env| Box::pin(roundtrip::run(env)),
    ),
    everywhere(
        "restart",
        "what was acknowledged before a stop of Tempo, of the Collector or of both is there after it",
        |env| Box::pin(restart::run(env)),
    ),
    everywhere(
        "outage",
        "Tempo is away for 30 s at 2,000 spans/s and no acknowledged span is lost",
        |env| Box::pin(outage::run(env)),
    ),
    everywhere(
        "retention",
        "old traces go, young ones stay, and the blocks leave the disk",
        |env| Box::pin(retention::run(env)),
    ),
    Scenario {
        local_tools: &["versitygw"],
        ..everywhere(
            "s3",
            "the documented S3 example stores blocks in a bucket, and a fresh Tempo finds them again",
            |env| Box::pin(stores::store::s3(env)),
        )
    },
    everywhere(
        "refusals",
        "malformed input of ten classes is refused or harmless, and the good spans beside it are stored",
        |env| Box::pin(refusals::run(env)),
    ),
    everywhere(
        "rollout",
        "a configuration that can't work is reported in the program's own words, not as a timeout",
        |env| Box::pin(rollout::run(env)),
    ),
    everywhere(
        "names",
        "nothing depends on the default names, ports, release or namespace",
        |env| Box::pin(names::run(env)),
    ),
    Scenario {
        set: Set::More,
        needs: Needs::Machine,
        ..everywhere(
            "spread",
            "spans reach each of two Collectors, and one that is cut off under load loses nothing",
            |env| Box::pin(scale::spread::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        // Ten pods of Tempo, of which an upgrade makes some more before it takes others away.
        stacks: 8,
        local_tools: &["versitygw"],
        ..everywhere(
            "fleet",
            "Tempo's parts as pods of their own: one of each is killed, ingesters come and go, a zone is away: no span is lost, every query is answered",
            |env| Box::pin(scale::fleet::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        needs: Needs::Machine,
        local_tools: &["versitygw"],
        installs: true,
        ..everywhere(
            "fleet-kafka",
            "the parts of Tempo 3.0 over Kafka: one of each is killed, a zone and the broker are away: no span is lost, every query is answered",
            |env| Box::pin(scale::fleet_kafka::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        // It changes Secrets as the kubelet does, and reads what the programs keep and are started with.
        needs: Needs::Machine,
        ..everywhere(
            "doors",
            "by TLS, token, password and certificate only the right key comes in, keys change under load, and no key is found anywhere",
            |env| Box::pin(guard::doors::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        // It reads the files of the queue and of Tempo's volume.
        needs: Needs::Machine,
        ..everywhere(
            "presets",
            "texts that must not be kept are in no byte of queue, log, block or answer; probes are dropped, resources named, Zipkin taken",
            |env| Box::pin(guard::presets::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        // Its API server is one without nodes.
        needs: Needs::Machine,
        tools: &["etcd", "kube-apiserver"],
        ..everywhere(
            "kubernetes-attributes",
            "spans are told of their pods by an API server, with the rights that the chart renders and no others, whatever they say themselves",
            |env| Box::pin(guard::kubernetes::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        needs: Needs::Machine,
        // A stack that puts spans on the topic, and one that reads them.
        stacks: 2,
        installs: true,
        ..everywhere(
            "kafka-door",
            "spans from a topic of Kafka: with its password only, and a Collector that is killed again and again loses none",
            |env| Box::pin(guard::kafka_door::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        // It kills a Collector, and each of two gets a part of every trace.
        needs: Needs::Machine,
        ..everywhere(
            "sampling",
            "the share of traces that is asked for is kept, and all with errors, slow or named ones: whole, or not at all",
            |env| Box::pin(guard::sampling::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        // The nginx of this machine is the door and the proxy in front.
        needs: Needs::Machine,
        tools: &["etcd", "kube-apiserver"],
        ..everywhere(
            "routes",
            "through a proxy in front and the guarded door go spans and what reads, for who may, and nothing else; the Gateway API takes the routes",
            |env| Box::pin(guard::routes::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        // It changes limits as the kubelet does, and fills the volume of Tempo up.
        needs: Needs::Machine,
        local_tools: &["prometheus"],
        ..everywhere(
            "tenants",
            "three tenants: only their own keys let in, none reads another's traces or metrics, and each has its own retention and limits",
            |env| Box::pin(guard::tenants::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        // One of two pods is killed, taken away and asked for itself.
        needs: Needs::Machine,
        ..everywhere(
            "mirror",
            "one of two mirrors is killed, is away or both are: every query is answered with all of it, and both end up with the same",
            |env| Box::pin(scale::mirror::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        // It upgrades a stack whose pods come and go, and asks each of two mirrors.
        needs: Needs::Machine,
        local_tools: &["versitygw"],
        ..everywhere(
            "grow",
            "one Tempo over a bucket becomes mirrors, a fleet (of 3.0 over Kafka) and one Tempo again under load: nothing is lost, all is found at each step",
            |env| Box::pin(scale::grow::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        ..everywhere(
            "full-disk",
            "the volume of Tempo fills up: spans are refused before it is full, wait, and are all there once it has room again",
            |env| Box::pin(full_disk::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        // A cluster has no image with the runtimes of four languages and no registry for one; from here it is
        // reached through the API server, which is not what an application in it does.
        needs: Needs::Machine,
        tools: &["telemetrygen"],
        installs: true,
        ..everywhere(
            "sdks",
            "applications in four languages deliver their traces with the variables that the chart prints",
            |env| Box::pin(sdks::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        ..everywhere(
            "heavy-query",
            "heavy queries at once, under load and in little memory, are answered or refused, and nothing is killed or lost",
            |env| Box::pin(heavy_query::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        local_tools: &["prometheus"],
        ..everywhere(
            "metrics",
            "what Prometheus is told of calls between services equals what was sent, and every query of Grafana finds something",
            |env| Box::pin(metrics::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        // It fills the volume of Tempo up.
        needs: Needs::Machine,
        local_tools: &["prometheus"],
        ..everywhere(
            "alerts",
            "each alert comes from its cause and goes with it: inactive, pending, firing, inactive",
            |env| Box::pin(alerts::run(env)),
        )
    },
    Scenario {
        set: Set::More,
        needs: Needs::Machine,
        local_tools: &["versitygw"],
        installs: true,
        ..everywhere(
            "s3-tls",
            "S3 over TLS with an authority of one's own; a session token is let in; encryption, storage class and tags reach the store",
            |env| Box::pin(stores::store::s3_tls(env)),
        )
    },
    Scenario {
        set: Set::More,
        // A cluster has no image with these servers.
        needs: Needs::Machine,
        tools: &["fake-gcs-server"],
        ..everywhere(
            "gcs",
            "blocks go to a bucket of Google Cloud Storage, are found after a restart and by a fresh Tempo, and go with their time",
            |env| Box::pin(stores::store::gcs(env)),
        )
    },
    Scenario {
        set: Set::More,
        needs: Needs::Machine,
        installs: true,
        ..everywhere("azure", "the same with a container of Azure", |env| {
            Box::pin(stores::store::azure(env))
        })
    },
    Scenario {
        set: Set::More,
        needs: Needs::Machine,
        tools: &["versitygw"],
        ..everywhere(
            "cache",
            "memcached answers in the place of the bucket, and Tempo in the place of a memcached that is gone",
            |env| Box::pin(stores::cache::run(env)),
        )
    },
    Scenario {
        // The umbrella has the charts' own requests; for more of them it waits.
        stacks: 3,
        ..in_cluster(
            "install",
            "the documented commands, word for word, and every address and command that they promise; the umbrella with no values",
            |env| Box::pin(cluster::install::run(env)),
        )
    },
    in_cluster(
        "security",
        "from inside the running containers: no rights, a read-only root, no secret in sight",
        |env| Box::pin(cluster::security::run(env)),
    ),
    Scenario {
        // Two at the same time, each with a second Collector while it rolls.
        stacks: 3,
        ..in_cluster(
            "upgrade",
            "from the last charts to these under load, three ways and with both queue volumes: no span is lost that the chart promises to keep",
            |env| Box::pin(cluster::upgrade::run(env)),
        )
    },
    Scenario {
        // A second Collector while an upgrade rolls.
        stacks: 2,
        ..in_cluster(
            "rollback",
            "an upgrade that can't work comes back by itself, and one whose helm was killed by the documented command",
            |env| Box::pin(cluster::rollback::run(env)),
        )
    },
    Scenario {
        // Three releases side by side, and beside them the one of helm 3.
        stacks: 4,
        tools: &["helm3"],
        ..in_cluster(
            "lifecycle",
            "the claim outlives the release and is taken up again, releases side by side don't mix, helm 3 and 4 both work",
            |env| Box::pin(cluster::lifecycle::run(env)),
        )
    },
    in_cluster(
        "evict",
        "pods of Tempo are deleted and evicted under load: never two on one volume, and no span is lost",
        |env| Box::pin(cluster::evict::run(env)),
    ),
    Scenario {
        // Two more Collectors while the load lasts.
        stacks: 3,
        ..in_cluster(
            "autoscale",
            "the autoscaler adds Collectors under load and takes them away after it, with full queues too: no span is lost",
            |env| Box::pin(cluster::autoscale::run(env)),
        )
    },
    in_cluster(
        "uid-range",
        "where a platform chooses the users of pods, as OpenShift does, the adapted chart runs and the plain one is refused",
        |env| Box::pin(cluster::uid_range::run(env)),
    ),
    in_cluster(
        "helm-test",
        "the chart's own test says yes to a stack that works, and to one that doesn't why",
        |env| Box::pin(cluster::helm_test::run(env)),
    ),
    in_cluster(
        "canary",
        "the canary finds its spans, and its alert fires while there is no Tempo",
        |env| Box::pin(cluster::canary::run(env)),
    ),
    in_cluster(
        "policies",
        "what the chart's NetworkPolicies leave open is open, what they close is closed, and without them it is open",
        |env| Box::pin(cluster::policies::run(env)),
    ),
    Scenario {
        // A second Collector while an upgrade rolls.
        stacks: 2,
        ..in_cluster(
            "helm-cases",
            "what goes wrong with charts elsewhere: drift, missing types, typing mistakes, odd texts, fixed names, aliases",
            |env| Box::pin(cluster::helm_cases::run(env)),
        )
    },
    in_cluster(
        "stranded",
        "a Tempo that would leave its predecessor's write-ahead log behind doesn't start, and the way back loses nothing",
        |env| Box::pin(cluster::stranded::run(env)),
    ),
    in_cluster(
        "faults",
        "five ways in which a start fails, and for each the one line that says why",
        |env| Box::pin(cluster::faults::run(env)),
    ),
];

/// An answer of the Collector that takes longer than this is none.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Why what goes in over UDP is skipped.
const NO_UDP_ROUTE: &str = "no route from here to a UDP port of the cluster";

/// The two ends of a stack: where spans go in and where they are read back.
pub(crate) struct Access {
    pub sender: Sender,
    pub tempo: Client,
}

impl Access {
    pub fn new(stack: &dyn Stack) -> Result<Access> {
        Access::with(stack, &Credentials::rendered(&stack.render().manifests)?)
    }

    /// The same through receivers that ask for credentials.
    pub fn with(stack: &dyn Stack, credentials: &Credentials) -> Result<Access> {
        Ok(Access {
            sender: Sender::new(&doors(stack)?, credentials, SEND_TIMEOUT)?,
            tempo: Client::new(&stack.endpoints().url(Component::Tempo, "http")?)?.as_tenant(stack.tenant()),
        })
    }
}

/// The Collector's receivers in a stack.
pub(crate) fn doors(stack: &dyn Stack) -> Result<Doors> {
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
pub(crate) fn values(yaml: &str) -> Result<Value> {
    serde_yaml::from_str(yaml).context("parsing a scenario's values")
}

/// The two receivers that are off by default, for what goes in over UDP.
const UDP_ON: &str = "{tempo-stack: {otelCollector: {receivers: {jaegerThriftCompact: {enabled: true}, jaegerThriftBinary: {enabled: true}}}}}";

/// Which scenarios to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Those of these sets that run on the backend, and those of these names.
    Some {
        /// Sets of which all are chosen.
        sets: Vec<Set>,
        /// Names of further ones.
        names: Vec<String>,
    },
    /// All that run on the backend.
    All,
}

/// The scenarios of a choice, in the order of the list. An error if there is none.
pub fn select(choice: &Choice, backend: &str) -> Result<Vec<&'static Scenario>> {
    let chosen = |s: &&Scenario| match choice {
        Choice::Some { sets, names } => {
            sets.contains(&s.set) && s.runs_on(backend) || names.iter().any(|name| name == s.name)
        }
        Choice::All => s.runs_on(backend),
    };
    let scenarios: Vec<&'static Scenario> = ALL.iter().filter(chosen).collect();
    if scenarios.is_empty() {
        return Err(Failure::usage(
            format!("none of the chosen scenarios runs on the {backend} backend"),
            "`cargo xtask e2e --list --all --backend kind` shows each scenario with its set and its backends",
        ));
    }
    Ok(scenarios)
}

/// Bytes that wait in the sending queues of all Collectors.
pub(crate) async fn queue_bytes(stack: &dyn Stack) -> Result<f64> {
    let pods = per_pod(stack, "otelcol_exporter_queue_size").await?;
    Ok(pods.values().sum())
}

/// A metric of each Collector, by the name of its pod.
pub(crate) async fn per_pod(stack: &dyn Stack, metric: &str) -> Result<BTreeMap<String, f64>> {
    let pods = stack.metrics(Component::OtelCollector).await?;
    anyhow::ensure!(!pods.is_empty(), "there is no Collector to ask for {metric}");
    let value = |(pod, text): (String, String)| {
        let sum = Scrape::parse(&text)?.sum(metric, &[]);
        let sum = sum.with_context(|| format!("pod {pod} reports no {metric}"))?;
        Ok((pod, sum))
    };
    pods.into_iter().map(value).collect()
}

/// Waits until nothing waits in the Collector's sending queue.
pub(crate) async fn drained(env: &Env, stack: &dyn Stack) -> Result<()> {
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

pub(crate) fn mebibytes(bytes: f64) -> f64 {
    (bytes / 1024.0 / 1024.0 * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(sets: &[Set]) -> Choice {
        let names = Vec::new();
        Choice::Some {
            sets: sets.to_vec(),
            names,
        }
    }

    fn names(choice: &Choice, backend: &str) -> Vec<&'static str> {
        select(choice, backend).unwrap().iter().map(|s| s.name).collect()
    }

    #[test]
    fn the_set_core_is_the_same_on_every_backend_and_holds_eight() {
        let core = sets(&[Set::Core]);
        for backend in ["local", "kind", "context"] {
            assert_eq!(names(&core, backend).len(), 8);
        }
    }

    #[test]
    fn this_machine_runs_core_and_what_only_its_network_can_show() {
        let core_and_more = sets(&[Set::Core, Set::More]);
        assert_eq!(names(&Choice::All, "local"), names(&core_and_more, "local"));
        assert_eq!(
            names(&sets(&[Set::More]), "local"),
            [
                "spread",
                "fleet",
                "fleet-kafka",
                "doors",
                "presets",
                "kubernetes-attributes",
                "kafka-door",
                "sampling",
                "routes",
                "tenants",
                "mirror",
                "grow",
                "full-disk",
                "sdks",
                "heavy-query",
                "metrics",
                "alerts",
                "s3-tls",
                "gcs",
                "azure",
                "cache"
            ]
        );
    }

    #[test]
    fn a_cluster_runs_all_but_what_only_this_machine_can_show() {
        let all = sets(&Set::ALL);
        assert_eq!(names(&all, "kind"), names(&Choice::All, "kind"));
        assert_eq!(names(&Choice::All, "kind").len(), 26);
        assert_eq!(
            names(&sets(&[Set::More]), "kind"),
            ["fleet", "full-disk", "heavy-query", "metrics"]
        );
        assert!(select(&sets(&[Set::Cluster]), "local").is_err());
    }

    #[test]
    fn a_scenario_of_a_name_is_chosen_wherever_it_runs_and_in_the_order_of_the_list() {
        let choice = |sets| Choice::Some {
            sets,
            names: vec!["install".into(), "roundtrip".into()],
        };
        assert_eq!(names(&choice(Vec::new()), "local"), ["roundtrip", "install"]);
        let more = names(&choice(vec![Set::More]), "kind");
        assert_eq!(more.len(), 6);
        assert_eq!((more[0], more[5]), ("roundtrip", "install"));
    }
}
