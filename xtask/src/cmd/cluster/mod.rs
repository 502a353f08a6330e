//! `cargo xtask cluster`: a kind cluster of our own.

mod down;
mod images;
mod kubeconfig;
mod load;
mod logs;
mod status;
mod up;

use anyhow::Result;
use clap::{Args, Subcommand};
use cluster::kind::{Cluster, DEFAULT_NAME};

use crate::ctx::Ctx;

/// Runs a kind cluster of our own, with images from a registry or from the offline test bed.
///
/// A cluster is ours by its name and by a label on its network; any other is left alone. So is your own
/// kubeconfig: `cargo xtask cluster kubeconfig` prints the path of the cluster's.
///
/// Where no registry can be reached, images come from the offline test bed: Go modules verified by go.sum
/// and Debian packages verified by apt's keys. They have names of their own, below localhost/tempo-stack.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bash ci/testbed/docker.sh   # Debian, root: installs and starts Docker\n  \
                  cargo xtask cluster up\n  \
                  KUBECONFIG=$(cargo xtask cluster kubeconfig) kubectl get pods -A\n  \
                  cargo xtask cluster down"
)]
pub struct ClusterArgs {
    /// The cluster's name.
    #[arg(long, global = true, env = "XTASK_CLUSTER", default_value = DEFAULT_NAME)]
    name: String,
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    Up(up::UpArgs),
    Down(down::DownArgs),
    Status(status::StatusArgs),
    Load(load::LoadArgs),
    Logs(logs::LogsArgs),
    Images(images::ImagesArgs),
    Kubeconfig(kubeconfig::KubeconfigArgs),
}

pub fn run(ctx: &Ctx, args: &ClusterArgs) -> Result<()> {
    let cluster = Cluster::named(ctx, &args.name)?;
    match &args.command {
        ClusterCommand::Up(args) => up::run(ctx, &cluster, args),
        ClusterCommand::Down(args) => down::run(ctx, &cluster, args),
        ClusterCommand::Status(args) => status::run(ctx, &cluster, args),
        ClusterCommand::Load(args) => load::run(ctx, &cluster, args),
        ClusterCommand::Logs(args) => logs::run(ctx, &cluster, args),
        ClusterCommand::Images(args) => images::run(ctx, args),
        ClusterCommand::Kubeconfig(args) => kubeconfig::run(ctx, &cluster, args),
    }
}
