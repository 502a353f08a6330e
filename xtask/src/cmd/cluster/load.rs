//! `cargo xtask cluster load`: copies images from Docker into the cluster.

use anyhow::Result;
use clap::Args;
use cluster::kind::Cluster;

use crate::ctx::Ctx;

/// Copies images from Docker into the cluster's nodes.
///
/// Images that are there already are skipped. Pods find an image under its name; with the pull policy
/// IfNotPresent nothing is pulled.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask cluster load localhost/tempo-stack/tempo:2.9.0")]
pub struct LoadArgs {
    /// Names of images in Docker.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub fn run(ctx: &Ctx, cluster: &Cluster, args: &LoadArgs) -> Result<()> {
    cluster.require_ours()?;
    let copied = cluster.load(&args.images)?;
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    let there = args.images.len() - copied;
    let document = serde_json::json!({"loaded": copied, "there": there});
    ctx.conclude(&document, format!("{copied} loaded, {there} were there already"))
}
