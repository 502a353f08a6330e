//! `cargo xtask cluster images`: the offline test bed's images.

use std::time::Instant;

use anyhow::Result;
use clap::Args;
use cluster::docker::Docker;
use cluster::testbed::Testbed;

use crate::ctx::Ctx;

/// Builds the images of the offline test bed: a kind node and the programs that the charts install.
///
/// Programs are built from the Go modules in ci/tools, everything else comes from Debian; nothing is pulled
/// from an image registry. Current images are not rebuilt, and an interrupted run resumes where it
/// stopped. The Debian root needs root privileges and debootstrap (ci/testbed/docker.sh installs it);
/// XTASK_DEBIAN_MIRROR names a mirror to use instead of Debian's own.
///
/// The first run takes about 15 minutes on two cores, most of it for the programs of Kubernetes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask cluster images\n  cargo xtask cluster images --list --format json")]
pub struct ImagesArgs {
    /// Show each image and whether it is current, and build nothing.
    #[arg(long, conflicts_with_all = ["refresh", "remove"])]
    list: bool,
    /// Rebuild the Debian root with the newest packages.
    #[arg(long, conflicts_with = "remove")]
    refresh: bool,
    /// Remove the images from Docker; the programs stay in the cache.
    #[arg(long)]
    remove: bool,
}

pub fn run(ctx: &Ctx, args: &ImagesArgs) -> Result<()> {
    let testbed = Testbed::read(ctx)?;
    Docker::new(ctx.runner.clone()).info()?;
    if args.remove {
        let removed = testbed.remove()?;
        if ctx.runner.plans() {
            return ctx.print_planned();
        }
        return ctx.conclude(&removed, format!("{removed} images removed"));
    }
    if !args.list {
        let started = Instant::now();
        testbed.build(args.refresh)?;
        if ctx.runner.plans() {
            return ctx.print_planned();
        }
        ctx.say(format!(
            "the test bed's images are current ({:.0} s)",
            started.elapsed().as_secs_f64()
        ));
    }
    let rows = testbed.status()?;
    let mut text = format!("{:<45} {:<9} {:<8} {}\n", "IMAGE", "PURPOSE", "CURRENT", "MIB");
    for row in &rows {
        let size = row
            .size
            .map_or_else(|| "-".into(), |bytes| (bytes / 1024 / 1024).to_string());
        let current = if row.current { "yes" } else { "no" };
        text.push_str(&format!("{:<45} {:<9} {current:<8} {size}\n", row.name, row.purpose));
    }
    ctx.print(&rows, text)
}
