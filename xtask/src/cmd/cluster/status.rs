//! `cargo xtask cluster status`: the cluster's nodes, and what isn't ready.

use anyhow::Result;
use clap::Args;
use cluster::kind::Cluster;
use kit::failure::Failure;
use serde::Serialize;

use crate::ctx::Ctx;

/// Shows the cluster's nodes and what isn't ready in it.
///
/// Exit code 0 if it is ready, 1 if it is not, 4 if there is none.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask cluster status --format json")]
pub struct StatusArgs {}

#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    nodes: Vec<Node>,
    ready: bool,
    unready: Vec<String>,
    kubeconfig: String,
    context: String,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    state: String,
    image: String,
}

pub fn run(ctx: &Ctx, cluster: &Cluster, _args: &StatusArgs) -> Result<()> {
    let observed = cluster.require_ours()?;
    let stopped = observed.nodes.iter().filter(|node| node.state.status != "running");
    let mut unready: Vec<String> = stopped
        .map(|node| format!("node {} is {}", node.name(), node.state.status))
        .collect();
    if unready.is_empty() {
        unready = cluster.unready()?;
    }
    let nodes = observed.nodes.iter().map(|node| Node {
        name: node.name().to_owned(),
        state: node.state.status.clone(),
        image: node.image.clone(),
    });
    let shown = Shown {
        name: cluster.name().to_owned(),
        nodes: nodes.collect(),
        ready: unready.is_empty(),
        unready,
        kubeconfig: cluster.kubeconfig().display().to_string(),
        context: cluster.context(),
    };
    ctx.print(&shown, text(&shown))?;
    if shown.ready {
        return Ok(());
    }
    Err(Failure::findings(
        format!("the cluster {} is not ready", shown.name),
        "`cargo xtask cluster up` waits for it, and replaces it if it stays so",
    ))
}

fn text(shown: &Shown) -> String {
    let mut text = format!("name        {}\n", shown.name);
    for node in &shown.nodes {
        text.push_str(&format!("node        {} {}\n", node.name, node.state));
    }
    text.push_str(&format!("ready       {}\n", if shown.ready { "yes" } else { "no" }));
    for line in &shown.unready {
        text.push_str(&format!("not ready   {line}\n"));
    }
    text.push_str(&format!(
        "kubeconfig  {}\ncontext     {}\n",
        shown.kubeconfig, shown.context
    ));
    text
}
