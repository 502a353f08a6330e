//! Which programs a stack on this machine consists of.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use kit::failure::Failure;

use crate::ctx::Ctx;

/// Programs that are run instead of the pinned ones.
#[derive(Debug, Clone, Args)]
pub struct Programs {
    /// Run this Tempo, in whatever supported version it says that it is, instead of the pinned one.
    #[arg(long, value_name = "PATH", env = "XTASK_TEMPO")]
    pub tempo: Option<PathBuf>,
    /// Run this OpenTelemetry Collector (contrib, or one with the same components) instead of the pinned one.
    #[arg(long, value_name = "PATH", env = "XTASK_OTELCOL")]
    pub otelcol: Option<PathBuf>,
}

impl Programs {
    /// The context with these programs in its toolbox.
    pub fn given(&self, ctx: &Ctx) -> Result<Ctx> {
        let mut ctx = ctx.clone();
        for (name, path) in [("tempo", &self.tempo), ("otelcol", &self.otelcol)] {
            if let Some(path) = path {
                ctx.toolbox_mut().give(name, path)?;
            }
        }
        Ok(ctx)
    }

    /// An error if one was named: a cluster runs images.
    pub fn refuse(&self, backend: &str) -> Result<()> {
        if self.tempo.is_none() && self.otelcol.is_none() {
            return Ok(());
        }
        Err(Failure::usage(
            format!("--tempo and --otelcol name programs of this machine, and --backend {backend} runs images"),
            "use --backend local, or name images with --image tempo=IMAGE --image otelcol=IMAGE",
        ))
    }
}
