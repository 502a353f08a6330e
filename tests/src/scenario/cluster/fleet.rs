//! `fleet` in a cluster: Tempo's parts as pods, installed, scaled and upgraded by helm.
//!
//! One pod of each part is taken away under load, as a drain of its node does it; ingesters come and go, and every
//! pod is replaced. Queries are asked by a pod, through the Service as an application uses it. What the cluster
//! forwards from here to pods would break with them, which no application sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, EvictParams, ListParams};
use serde_yaml::Value;
use tokio::task::JoinHandle;

use super::super::{Access, drained, judge_ledger, values};
use super::{Lab, cluster, stack_values};
use crate::backend::cluster::{ClusterStack, Shell};
use crate::backend::{Component, Stack};
use crate::client::load::{Batches, Load};
use crate::client::metrics::Scrape;
use crate::client::readback::read_back;
use crate::env::Env;
use crate::model::ledger::Ledger;
use crate::scenario::scale::fleet::{batches, every_door, in_the_bucket, parts, pods_of, tempo_door};
use crate::scenario::stores::store::{Example, SECRET_KEY};
use crate::wait::{Look, wait_for};

const RELEASE: &str = "tempo-stack";
/// Ingesters that stop get what they need, and no more: one that doesn't end by itself is seen. With a limit of its own
/// the number of ingesters is in no configuration, so that a change of it replaces no pod. The autoscaler's target is
/// what a querier uses that has a little to do.
const FLEET: &str = "
tempo:
  mode: microservices
  spreadByZone: preferred
  limits: {ingestBytesPerSecond: 16777216}
  components:
    ingester: {terminationGracePeriodSeconds: 60}
    querier: {autoscaling: {enabled: true, maxReplicas: 3, targetCPUUtilizationPercentage: 5}}
  config:
    compactor: {ring: {wait_stability_min_duration: 0s}}
    # A search reads each block, and those of a few seconds are many.
    ingester: {max_block_duration: 5m}
otelCollector: {drainSeconds: 1}
";
/// The grace period of an ingester there.
const GRACE: Duration = Duration::from_secs(60);
/// Spans per second of each of two loads.
const RATE: u32 = 100;
/// A fleet starts at once, on a busy node.
const READY: Duration = Duration::from_secs(240);
/// Ingesters are replaced one after the other, and each is ready some time after it joined.
const ROLLED: Duration = Duration::from_secs(420);
const READ: Duration = Duration::from_secs(120);
/// The autoscaler looks every 15 s, at what is measured every 10 s at best.
const SCALED: Duration = Duration::from_secs(120);
/// Connections through the Service, each a new one: to more pods than there are.
const CONNECTIONS: usize = 20;
/// The file that ends the queries.
const STOP: &str = "/dev/shm/stop";

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let lab = Lab::open(env, "fleet").await?;
    let example = Example::read(env)?;
    let server = example.server(env).await?;
    let stored = example.values(server.as_ref(), &example.bucket)?;
    let secret = example.spec(stored.clone(), SECRET_KEY).objects;
    lab.cluster.create(lab.namespace.name(), &secret).await?;
    let mut fleet = stack_values(env, "{}")?;
    let stored = stored
        .get("tempo-stack")
        .context("the example has values of the stack")?;
    charts::render::merge(&mut fleet, stored.clone());
    charts::render::merge(&mut fleet, values(FLEET)?);

    lab.run(lab.helm_with(&["install", RELEASE, "./tempo-stack"], &fleet)?)
        .await?;
    let stack = lab.stack(RELEASE).await?;
    queriers(env, &stack, 2, "the autoscaler sets the least number of queriers").await?;
    stack.wait_ready(READY).await?;
    every_door(env, stack.as_ref()).await?;
    let shell = Arc::new(lab.cluster.shell().await?);
    leads(env, &stack, &shell).await?;

    let access = Access::new(stack.as_ref())?;
    let load = |n| Batches {
        rate: RATE,
        ..batches(env, n)
    };
    let through = Load::start(access.sender.clone(), load(1), env.cancel.clone());
    let straight = Load::start(tempo_door(stack.as_ref())?, load(2), env.cancel.clone());
    let queries = Queries::start(&shell, &stack);
    pods_go(env, &stack).await?;
    queries
        .judge(env, &shell, "while a pod of each part is taken away")
        .await?;
    if env.full {
        let queries = Queries::start(&shell, &stack);
        comes_and_goes(env, &lab, &stack, &fleet).await?;
        queries.judge(env, &shell, "while an ingester comes and goes").await?;
        queriers(env, &stack, 3, "under queries the autoscaler adds a querier").await?;
    }
    let queries = Queries::start(&shell, &stack);
    every_pod_anew(env, &lab, &stack, &fleet).await?;
    queries.judge(env, &shell, "while every pod is replaced").await?;
    shell.remove().await?;

    let ledgers: [(&str, Ledger); 2] = [
        ("through the Collector", through.stop().await?.0),
        ("straight into Tempo", straight.stop().await?.0),
    ];
    drained(env, stack.as_ref()).await?;
    for (what, mut ledger) in ledgers {
        read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
        judge_ledger(env, what, &ledger)?;
    }
    in_the_bucket(env, server.as_ref()).await?;
    env.finish(stack).await
}

/// Waits until there are so many queriers.
async fn queriers(env: &Env, stack: &ClusterStack, wanted: usize, what: &str) -> Result<()> {
    let waited = wait_for(what, SCALED, &env.cancel, || async {
        let found = pods_of(stack, "querier").await?.len();
        Ok(if found >= wanted {
            Look::Found(found)
        } else {
            Look::NotYet(format!("{found} queriers"))
        })
    })
    .await;
    env.recorder.worked(what, &waited, |found| {
        format!("{} after {:.1} s", found.value, found.elapsed.as_secs_f64())
    });
    Ok(())
}

/// Both ports of the one Service lead to the part that has them, and to all of its pods.
async fn leads(env: &Env, stack: &ClusterStack, shell: &Shell) -> Result<()> {
    for (port, target) in [(4317, "distributor"), (3200, "query-frontend")] {
        let wanted: BTreeSet<String> = pods_of(stack, target).await?.into_iter().collect();
        let waited = wait_for("the endpoints of the Service", READY, &env.cancel, || async {
            let found = endpoints(env, stack, port).await?;
            Ok(if found == wanted {
                Look::Found(())
            } else {
                Look::NotYet(format!("{found:?} instead of {wanted:?}"))
            })
        })
        .await;
        let name = format!("tempo:{port} leads to every {target}");
        env.recorder.worked(name, &waited, |_| {
            wanted.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        });
        // All at once: what speaks HTTP/2 only says nothing, and ends a connection in its own time.
        let script = format!(
            "for n in $(seq {CONNECTIONS}); do
               (nc -w 5 {} {port} < /dev/null > /dev/null 2>&1 && echo arrived) &
             done
             wait",
            host(stack)
        );
        let arrived = shell.run(&script).await?.stdout.lines().count();
        env.recorder.check(
            format!("each of {CONNECTIONS} connections to tempo:{port} arrives"),
            arrived == CONNECTIONS,
            format!("{arrived} did"),
        );
    }
    Ok(())
}

/// The name of Tempo's Service, from another namespace.
fn host(stack: &ClusterStack) -> String {
    format!("tempo.{}.svc.cluster.local", stack.namespace())
}

/// The ready pods behind a port of the Service.
async fn endpoints(env: &Env, stack: &ClusterStack, port: i32) -> Result<BTreeSet<String>> {
    let slices: Api<EndpointSlice> = cluster(env)?.connection().api(stack.namespace());
    let named = ListParams::default().labels("kubernetes.io/service-name=tempo");
    let slices = slices.list(&named).await.context("listing endpoints")?;
    let has = |slice: &&EndpointSlice| slice.ports.iter().flatten().any(|p| p.port == Some(port));
    let ready = slices
        .iter()
        .filter(has)
        .flat_map(|slice| slice.endpoints.iter().flatten());
    Ok(ready
        .filter(|endpoint| endpoint.conditions.as_ref().is_some_and(|c| c.ready == Some(true)))
        .filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone())
        .collect())
}

/// Takes one pod of each part away, one after the other: those of a part with a disruption budget by an eviction, while
/// which the next one is refused; the others by a deletion.
async fn pods_go(env: &Env, stack: &ClusterStack) -> Result<()> {
    let once = cluster(env)?.connection().client_that_asks_once()?;
    let api: Api<Pod> = Api::namespaced(once, stack.namespace());
    for (target, pods) in parts(stack).await? {
        let [pod, rest @ ..] = pods.as_slice() else { continue };
        let before = uids(&api, std::slice::from_ref(pod)).await?;
        let begun = Instant::now();
        let before = if let Some(other) = rest.first() {
            let (gone, kept) = one_of_two(env, &api, pod, other).await?;
            env.recorder.check(
                format!("the budget of {target} keeps one of two pods"),
                kept.is_some(),
                kept.unwrap_or_default(),
            );
            gone
        } else {
            let deleted = api.delete(pod, &DeleteParams::default()).await;
            deleted.with_context(|| format!("deleting pod {pod}"))?;
            before
        };
        let back = replaced(env, stack, &api, &before).await;
        let name = format!("{target} is back after its pod was taken away");
        env.recorder.worked(name, &back, |()| {
            format!("after {:.1} s", begun.elapsed().as_secs_f64())
        });
    }
    Ok(())
}

/// Evicts two pods at the same time. The one that goes, and why the other one may not; of none both went. One after
/// the other the next pod could be ready in between, and both might go.
async fn one_of_two(
    env: &Env,
    api: &Api<Pod>,
    one: &str,
    other: &str,
) -> Result<(BTreeMap<String, String>, Option<String>)> {
    let there = uids(api, &[one.to_owned(), other.to_owned()]).await?;
    let evicted = wait_for("a budget that lets a pod go", READY, &env.cancel, || async {
        let (first, second) = tokio::join!(refused(api, one), refused(api, other));
        Ok(match (first?, second?) {
            (Some(why), Some(_)) => Look::NotYet(why),
            (None, kept) => Look::Found((one, kept)),
            (kept, None) => Look::Found((other, kept)),
        })
    })
    .await?;
    let (gone, kept) = evicted.value;
    let gone = there.into_iter().filter(|(name, _)| name == gone).collect();
    Ok((gone, kept.filter(|why| why.contains("disruption budget"))))
}

/// Evicts a pod; why not, where its budget refuses.
async fn refused(api: &Api<Pod>, pod: &str) -> Result<Option<String>> {
    match api.evict(pod, &EvictParams::default()).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 429 => Ok(Some(status.message)),
        Err(error) => Err(error).with_context(|| format!("evicting pod {pod}")),
    }
}

/// Waits until these pods are gone and all is ready.
async fn replaced(env: &Env, stack: &ClusterStack, api: &Api<Pod>, before: &BTreeMap<String, String>) -> Result<()> {
    wait_for("the end of a pod", READY, &env.cancel, || async {
        let names: Vec<String> = before.keys().cloned().collect();
        let now = uids(api, &names).await?;
        let left = before.iter().filter(|(name, uid)| now.get(*name) == Some(uid)).count();
        Ok(if left == 0 {
            Look::Found(())
        } else {
            Look::NotYet(format!("{left} of {} are there", before.len()))
        })
    })
    .await?;
    stack.wait_ready(READY).await
}

/// The uids of those of these pods that there are.
async fn uids(api: &Api<Pod>, names: &[String]) -> Result<BTreeMap<String, String>> {
    let list = api.list(&ListParams::default()).await.context("listing pods")?;
    let wanted = list
        .into_iter()
        .filter_map(|pod| pod.metadata.name.zip(pod.metadata.uid));
    Ok(wanted.filter(|(name, _)| names.contains(name)).collect())
}

/// 3 → 4 → 3 ingesters, by helm.
async fn comes_and_goes(env: &Env, lab: &Lab<'_>, stack: &ClusterStack, fleet: &Value) -> Result<()> {
    let api: Api<Pod> = lab.cluster.connection().api(stack.namespace());
    let old = stack.pod_names(Component::Tempo).await?;
    let before = uids(&api, &old).await?;
    upgrade(lab, fleet, "{tempo: {components: {ingester: {replicas: 4}}}}").await?;
    stack.wait_ready(READY).await?;
    let ingesters = pods_of(stack, "ingester").await?;
    let new: Vec<String> = ingesters.iter().filter(|pod| !old.contains(pod)).cloned().collect();
    let fourth = new.first().context("no fourth ingester")?;
    let took = wait_for("spans in the fourth ingester", READY, &env.cancel, || async {
        let metrics = stack.metrics(Component::Tempo).await?;
        let text = metrics.get(fourth).context("the fourth ingester shows no metrics")?;
        let took = Scrape::parse(text)?.sum("tempo_ingester_traces_created_total", &[]);
        Ok(match took {
            Some(traces) if traces > 0.0 => Look::Found(traces),
            other => Look::NotYet(format!("{other:?} traces")),
        })
    })
    .await;
    env.recorder.worked("a fourth ingester takes its part", &took, |took| {
        format!("{} traces", took.value)
    });

    let gone = uids(&api, &new).await?;
    let begun = Instant::now();
    upgrade(lab, fleet, "{}").await?;
    replaced(env, stack, &api, &gone).await?;
    env.recorder.measure(
        "an ingester that leaves ends by itself",
        (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        "s",
        begun.elapsed() < GRACE,
        "with the upgrade, and what it holds written to the bucket",
    );
    let ring = ring(env, stack).await;
    let name = "the ring has three ingesters again and misses none";
    env.recorder.worked(name, &ring, String::clone);
    let after = uids(&api, &old).await?;
    let moved: Vec<&String> = before
        .iter()
        .filter(|(name, uid)| after.get(*name) != Some(uid))
        .map(|(name, _)| name)
        .collect();
    env.recorder.check(
        "a change of their number replaces no other pod",
        moved.is_empty(),
        format!("{moved:?}"),
    );
    Ok(())
}

/// Waits until every distributor sees three ingesters and none that is away.
async fn ring(env: &Env, stack: &ClusterStack) -> Result<String> {
    let found = wait_for("a ring of three", READY, &env.cancel, || async {
        let distributors = pods_of(stack, "distributor").await?;
        let mut seen = Vec::new();
        for (_, text) in stack
            .metrics(Component::Tempo)
            .await?
            .iter()
            .filter(|(pod, _)| distributors.contains(pod))
        {
            let scrape = Scrape::parse(text)?;
            let members = |state| scrape.sum("tempo_ring_members", &[("name", "ingester"), ("state", state)]);
            seen.push((members("ACTIVE").unwrap_or(0.0), members("Unhealthy").unwrap_or(0.0)));
        }
        Ok(if !seen.is_empty() && seen.iter().all(|seen| *seen == (3.0, 0.0)) {
            Look::Found(format!("{seen:?}"))
        } else {
            Look::NotYet(format!("active and unhealthy: {seen:?}"))
        })
    })
    .await?;
    Ok(format!(
        "active and unhealthy, as each distributor sees them: {}",
        found.value
    ))
}

/// An upgrade that replaces every pod of Tempo.
async fn every_pod_anew(env: &Env, lab: &Lab<'_>, stack: &ClusterStack, fleet: &Value) -> Result<()> {
    let api: Api<Pod> = lab.cluster.connection().api(stack.namespace());
    let before = uids(&api, &stack.pod_names(Component::Tempo).await?).await?;
    let begun = Instant::now();
    upgrade(lab, fleet, "{tempo: {podAnnotations: {e2e: upgrade}}}").await?;
    stack.wait_ready(ROLLED).await?;
    let after = uids(&api, &before.keys().cloned().collect::<Vec<_>>()).await?;
    let left = before
        .iter()
        .filter(|(name, uid)| after.get(*name) == Some(uid))
        .count();
    env.recorder.measure(
        "an upgrade replaces every pod of Tempo",
        (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        "s",
        left == 0,
        format!("{left} of {} pods are left", before.len()),
    );
    Ok(())
}

async fn upgrade(lab: &Lab<'_>, fleet: &Value, change: &str) -> Result<()> {
    let mut wanted = fleet.clone();
    charts::render::merge(&mut wanted, values(change)?);
    let args = ["upgrade", RELEASE, "./tempo-stack", "--reset-values"];
    lab.run(lab.helm_with(&args, &wanted)?).await.map(drop)
}

/// Searches through the Service, each over a connection of its own, that a pod asks until they are judged.
struct Queries(JoinHandle<Result<String>>);

impl Queries {
    fn start(shell: &Arc<Shell>, stack: &ClusterStack) -> Queries {
        let script = format!(
            "rm -f {STOP}; asked=0; failed=0
             while [ ! -e {STOP} ]; do
               asked=$((asked + 1))
               said=$(timeout 20 wget -q -O /dev/null 'http://{}:3200/api/search?q=%7B%7D&limit=1' 2>&1) ||
                 {{ failed=$((failed + 1)); echo \"$(date +%T) $said\"; }}
               sleep 0.25
             done
             echo $asked $failed",
            host(stack)
        );
        let shell = Arc::clone(shell);
        Queries(tokio::spawn(async move { Ok(shell.run(&script).await?.stdout) }))
    }

    /// Ends them. Each was answered, at the first time of asking.
    async fn judge(self, env: &Env, shell: &Shell, when: &str) -> Result<()> {
        shell.run(&format!("touch {STOP}")).await?;
        let said = self.0.await.context("asking queries")??;
        let mut lines: Vec<&str> = said.lines().collect();
        let counts = lines.pop().unwrap_or_default();
        let (asked, failed) = counts
            .split_once(' ')
            .with_context(|| format!("counting queries: {said}"))?;
        let (asked, failed): (u32, u32) = (asked.parse()?, failed.parse()?);
        env.recorder.check(
            format!("every query is answered {when}"),
            failed == 0 && asked > 0,
            format!("{asked} searches, {failed} failed {}", lines.join("; ")),
        );
        Ok(())
    }
}
