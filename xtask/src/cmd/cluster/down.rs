//! `cargo xtask cluster down`: removes the cluster.

use anyhow::Result;
use clap::Args;
use cluster::kind::Cluster;

use crate::ctx::Ctx;

/// Removes the cluster: its containers with their volumes, its network, its files.
///
/// Images stay, so that the next `up` is quick; `cargo xtask cluster images --remove` removes them.
/// It is not an error if there is no cluster.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask cluster down")]
pub struct DownArgs {}

/// Runs the command.
pub fn run(ctx: &Ctx, cluster: &Cluster, _args: &DownArgs) -> Result<()> {
    let removed = cluster.down()?;
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    let was = if removed { "is down" } else { "was not up" };
    let document = serde_json::json!({"name": cluster.name(), "removed": removed});
    ctx.conclude(&document, format!("the cluster {} {was}", cluster.name()))
}
