//! `cargo xtask cluster kubeconfig`: where the cluster's kubeconfig is.

use anyhow::Result;
use clap::Args;
use cluster::kind::Cluster;

use crate::ctx::Ctx;

/// Prints the path of the cluster's kubeconfig and nothing else; writes the file if it is missing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  export KUBECONFIG=$(cargo xtask cluster kubeconfig)")]
pub struct KubeconfigArgs {
    /// Also add the cluster to your own kubeconfig as the current context, until `cluster down`.
    #[arg(long)]
    merge: bool,
}

pub fn run(ctx: &Ctx, cluster: &Cluster, args: &KubeconfigArgs) -> Result<()> {
    let path = cluster.kubeconfig();
    cluster.require_ours()?;
    if !path.is_file() {
        cluster.write_kubeconfig()?;
    }
    if args.merge {
        cluster.merge()?;
    }
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    let path = path.display().to_string();
    ctx.print(&path, &path)
}
