//! `cargo xtask cluster up`: creates the cluster, or makes sure that it is healthy.

use std::time::Instant;

use anyhow::Result;
use clap::Args;
use cluster::kind::{Cluster, Wanted};
use cluster::source::Images;
use semver::Version;

use crate::ctx::Ctx;

/// Creates the cluster and waits until it is ready; a healthy one is reused.
///
/// A stopped cluster is started. One that stays unready for a minute or was created with other settings is
/// replaced, and what ran in it is lost; after any other error it stays as it was. A creation that fails or
/// is interrupted leaves nothing behind. Images of the test bed are built first where they are missing or
/// out of date, and the workloads' are loaded.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask cluster up --format json")]
pub struct UpArgs {
    /// Where images come from; `auto` takes the test bed where no registry can be reached.
    #[arg(long, value_enum, env = "XTASK_CLUSTER_IMAGES", default_value_t = Images::Auto)]
    images: Images,
    /// The Kubernetes version, in full [default: what ci/testbed/testbed.yaml says].
    #[arg(long, value_name = "VERSION", env = "XTASK_KUBERNETES")]
    kubernetes: Option<Version>,
    /// The node image, by name or digest; kind's release notes list them.
    #[arg(long, value_name = "IMAGE", conflicts_with = "kubernetes")]
    node_image: Option<String>,
}

pub fn run(ctx: &Ctx, cluster: &Cluster, args: &UpArgs) -> Result<()> {
    let wanted = Wanted {
        images: args.images,
        kubernetes: args.kubernetes.clone(),
        node_image: args.node_image.clone(),
    };
    let started = Instant::now();
    let running = cluster.up(&wanted)?;
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    ctx.say(format!(
        "cluster {} {} in {:.0} s",
        running.name,
        running.done,
        started.elapsed().as_secs_f64()
    ));
    let mut text = format!(
        "name        {}\nkubernetes  {}\nkubeconfig  {}\ncontext     {}\n",
        running.name,
        running.images_from.kubernetes,
        running.kubeconfig.display(),
        running.context
    );
    for image in running.images.values() {
        text.push_str(&format!("image       {image}\n"));
    }
    ctx.print(&running, text)
}
