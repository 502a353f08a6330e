//! Which programs a stack on this machine consists of.

use anyhow::Result;
use clap::Args;
use kit::failure::Failure;

use crate::ctx::Ctx;

/// Programs that are run instead of the pinned ones.
#[derive(Debug, Clone, Args)]
pub struct Programs {
    /// Run this Tempo instead of the pinned one: a program, a version of its official image, or an image.
    #[arg(long, value_name = "PATH|VERSION|IMAGE", env = "XTASK_TEMPO")]
    pub tempo: Option<String>,
    /// Run this OpenTelemetry Collector (contrib, or one with the same components) instead of the pinned one.
    #[arg(long, value_name = "PATH|VERSION|IMAGE", env = "XTASK_OTELCOL")]
    pub otelcol: Option<String>,
}

impl Programs {
    /// The context with these programs in its toolbox, and with the official ones where neither is named nor built.
    pub fn given(&self, ctx: &Ctx) -> Result<Ctx> {
        let mut ctx = ctx.clone();
        for (name, text) in [("tempo", &self.tempo), ("otelcol", &self.otelcol)] {
            match text {
                Some(text) => ctx.toolbox_mut().name(name, text)?,
                None => ctx.toolbox_mut().prefer_official(name)?,
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
