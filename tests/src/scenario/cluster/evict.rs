//! `evict`: pods of Tempo are deleted and evicted under load, and never do two of them write to the volume.
//!
//! The API can't tell: a pod counts as gone before its program is. A second container in Tempo's pod writes a line
//! to a log on the volume, five times a second, for as long as it sees the pod's Tempo run. If a successor starts
//! before that ends, the lines of two pods alternate.
//!
//! While the last of them is away, the Collector that has the client's connection goes too, with a spot node's notice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, EvictParams};
use serde_json::json;

use super::super::{Access, drained, judge_ledger, per_pod};
use super::{Lab, READY, cluster, stack_values};
use crate::backend::cluster::ClusterStack;
use crate::backend::{Component, Stack};
use crate::client::load::{Batches, Load};
use crate::client::readback::read_back;
use crate::client::tempo::Search;
use crate::env::Env;
use crate::wait::{Look, wait_for};

const RELEASE: &str = "tempo-stack";
/// Pods that go: chosen by name, and beside other scenarios.
const FULL: usize = 20;
const SHORT: usize = 3;
/// Spans per second.
const RATE: u32 = 300;
/// Load between a Tempo that has taken what waited, and its end.
const CALM: Duration = Duration::from_secs(2);
/// The grace period, the start of a pod, and a busy machine.
const REPLACED: Duration = Duration::from_secs(150);
/// Reading everything back.
const READ: Duration = Duration::from_secs(180);
/// Bytes in a queue that nobody takes from: four seconds of the load.
const BACKLOG: f64 = 200_000.0;
/// What a spot node is given before it goes, in seconds.
const NOTICE: u32 = 30;
/// The container that keeps the log.
const WRITER: &str = "writer";
const LOG: &str = "/var/tempo/.writers";

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let lab = Lab::open(env, "evict").await?;
    // The grace period is the chart's: after a query Tempo uses all of it.
    let values = stack_values(env, "{}")?;
    lab.run(lab.helm_with(&["install", RELEASE, "./tempo-stack"], &values)?)
        .await?;
    let stack = lab.ready(RELEASE).await?;
    watch(env, &stack).await?;
    let access = Access::new(stack.as_ref())?;
    let batches = Batches {
        rate: RATE,
        ..Batches::new(env.seed)
    };
    let load = Load::start(access.sender.clone(), batches, env.cancel.clone());
    let count = if env.full { FULL } else { SHORT };
    let mut longest = Duration::ZERO;
    for n in 0..count {
        // A Collector that found no Tempo again and again tries ever less often: each Tempo is to have taken spans.
        drained(env, stack.as_ref()).await?;
        tokio::time::sleep(CALM).await;
        access
            .tempo
            .search(&Search::new("{}"))
            .await
            .context("a query before the deletion")?;
        let replaced = replace(env, &stack, &access, n % 2 == 1);
        // The last time a Collector goes too, while nothing takes what is in its queue.
        let gap = if n + 1 == count {
            let (gap, noticed) = tokio::join!(replaced, notice(env, &stack));
            noticed?;
            gap?
        } else {
            replaced.await?
        };
        longest = longest.max(gap);
        env.recorder.say(format!(
            "pod {} of {count}: no answer for {:.1} s",
            n + 1,
            gap.as_secs_f64()
        ));
    }
    let (mut ledger, _) = load.stop().await?;
    let log = stack.exec(Component::Tempo, WRITER, &["cat", LOG]).await?.stdout;
    let (pods, overlaps) = writers(&log);
    env.recorder.check(
        format!("{count} pods deleted and evicted: each waited until its predecessor had stopped writing"),
        overlaps == 0 && pods == count + 1,
        format!("{pods} pods wrote, {overlaps} of them after another had begun"),
    );
    env.recorder.measured(
        "longest time without an answer to a query",
        (longest.as_secs_f64() * 10.0).round() / 10.0,
        "s",
        "from the deletion of a pod of Tempo to the first answer of the next",
    );
    env.recorder.measured(
        "longest time without an acknowledgement of spans",
        f64::from(ledger.longest_gap_ms()),
        "ms",
        "one client, whose connection led to the Collector that went",
    );
    drained(env, stack.as_ref()).await?;
    read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    judge_ledger(env, "evict", &ledger)?;
    env.finish(stack).await
}

/// How many pods wrote to a log of their names, and how many of them went on after another had begun.
fn writers(log: &str) -> (usize, usize) {
    let mut turns: Vec<&str> = log.lines().collect();
    turns.dedup();
    let pods: BTreeSet<&str> = turns.iter().copied().collect();
    let again: BTreeSet<&str> = pods
        .iter()
        .copied()
        .filter(|pod| turns.iter().filter(|turn| turn == &pod).count() > 1)
        .collect();
    (pods.len(), again.len())
}

/// Adds the container that keeps the log to Tempo's pod. It sees Tempo's process, and stays until that has ended.
async fn watch(env: &Env, stack: &ClusterStack) -> Result<()> {
    // Pods of a StatefulSet have the same name one after the other.
    let script = format!(
        "id=$(cat /proc/sys/kernel/random/uuid)
         trap 'ending=1' TERM
         while sleep 0.2; do
           if pidof tempo > /dev/null; then echo $id >> {LOG}; elif [ -n \"$ending\" ]; then exit; fi
         done"
    );
    let helper = cluster(env)?.images().helper.to_string();
    let volume = stack.render().manifests.iter().find_map(|manifest| {
        let workload = charts::workload::workload(manifest).ok()??;
        let tempo = workload.containers.iter().find(|c| c.spec.name == "tempo")?;
        let mounts = tempo.spec.volume_mounts.clone()?;
        mounts
            .into_iter()
            .find(|m| m.mount_path == "/var/tempo")
            .map(|m| m.name)
    });
    let patch = json!({"spec": {"template": {"spec": {
        "shareProcessNamespace": true,
        "containers": [{
            "name": WRITER,
            "image": helper,
            "command": ["/bin/sh", "-c", script],
            "volumeMounts": [{"name": volume.context("no volume at /var/tempo")?, "mountPath": "/var/tempo"}],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        }],
    }}}});
    let before = uid(stack).await?;
    stack.patch(Component::Tempo, &patch).await?;
    renewed(env, stack, &before).await
}

/// Takes Tempo's pod away and waits for the next. Returns how long nobody answered a query.
async fn replace(env: &Env, stack: &ClusterStack, access: &Access, evict: bool) -> Result<Duration> {
    let cluster = cluster(env)?;
    let api: Api<Pod> = cluster.connection().api(stack.namespace());
    let pod = stack.pod(Component::Tempo).await?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let before = pod.metadata.uid.unwrap_or_default();
    let begun = Instant::now();
    if evict {
        api.evict(&name, &EvictParams::default())
            .await
            .with_context(|| format!("evicting pod {name}"))?;
    } else {
        api.delete(&name, &DeleteParams::default())
            .await
            .with_context(|| format!("deleting pod {name}"))?;
    }
    renewed(env, stack, &before).await?;
    wait_for("an answer of the next Tempo", READY, &env.cancel, || async {
        Ok(match access.tempo.search(&Search::new("{}")).await {
            Ok(_) => Look::Found(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await?;
    Ok(begun.elapsed())
}

/// Takes the Collector that the load reaches away, with the notice of a spot node and while its queue is not empty.
async fn notice(env: &Env, stack: &ClusterStack) -> Result<()> {
    let backlog = wait_for("a backlog in a Collector", REPLACED, &env.cancel, || async {
        let queues = per_pod(stack, "otelcol_exporter_queue_size").await?;
        let fullest = queues.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
        Ok(match fullest {
            Some((pod, bytes)) if bytes > BACKLOG => Look::Found((pod, bytes)),
            other => Look::NotYet(format!("the fullest: {other:?}")),
        })
    })
    .await?;
    let (name, bytes) = backlog.value;
    let api: Api<Pod> = cluster(env)?.connection().api(stack.namespace());
    let pod = api.get(&name).await.with_context(|| format!("looking at pod {name}"))?;
    let begun = Instant::now();
    api.delete(&name, &DeleteParams::default().grace_period(NOTICE))
        .await
        .with_context(|| format!("deleting pod {name}"))?;
    wait_for("the end of the Collector", REPLACED, &env.cancel, || async {
        let now = api
            .get_opt(&name)
            .await
            .with_context(|| format!("looking at pod {name}"))?;
        Ok(match now {
            Some(now) if now.metadata.uid == pod.metadata.uid => Look::NotYet("the pod is still there".into()),
            _ => Look::Found(()),
        })
    })
    .await?;
    let seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    env.recorder.measure(
        "a Collector that is deleted with 30 s of notice ends by itself",
        seconds,
        "s",
        seconds < f64::from(NOTICE),
        format!("with {bytes} bytes in its queue"),
    );
    Ok(())
}

async fn uid(stack: &ClusterStack) -> Result<String> {
    Ok(stack.pod(Component::Tempo).await?.metadata.uid.unwrap_or_default())
}

/// Waits until another pod than that one is Tempo's and all is ready.
async fn renewed(env: &Env, stack: &ClusterStack, before: &str) -> Result<()> {
    wait_for("another pod of Tempo", REPLACED, &env.cancel, || async {
        Ok(match uid(stack).await {
            Ok(uid) if uid != before => Look::Found(()),
            Ok(_) => Look::NotYet("the pod is still there".into()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await?;
    stack.forget(Component::Tempo);
    stack.wait_ready(READY).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_writes_after_another_began_is_an_overlap() {
        for (log, pods, overlaps) in [
            ("", 0, 0),
            ("a\na\nb\nb\nc\n", 3, 0),
            ("a\nb\na\nb\n", 2, 2),
            ("a\nb\na\nb\nb\nc\n", 3, 2),
            ("a\nb\na\n", 2, 1),
        ] {
            assert_eq!(writers(log), (pods, overlaps), "{log:?}");
        }
    }
}
