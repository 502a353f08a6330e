//! `cargo xtask cluster logs`: gathers the cluster's logs and objects.

use anyhow::Result;
use clap::Args;
use cluster::kind::Cluster;

use crate::ctx::Ctx;

/// Gathers the cluster's logs and objects and prints the folder.
///
/// kind's own export comes first (systemd's journal, the kubelet, the node's containers), then what the
/// API server knows: nodes, pods, volumes, events, and each container's log and that of its previous run.
/// Anything unavailable is named and is not an error.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask cluster logs --artifacts /tmp/logs")]
pub struct LogsArgs {}

/// Runs the command.
pub fn run(ctx: &Ctx, cluster: &Cluster, _args: &LogsArgs) -> Result<()> {
    let dir = ctx.artifacts("cluster-logs");
    cluster.require_ours()?;
    let missing = cluster.logs(&dir)?;
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    for line in &missing {
        ctx.say(format!("missing: {line}"));
    }
    let folder = dir.display().to_string();
    ctx.print(&serde_json::json!({"folder": folder, "missing": missing}), &folder)
}
