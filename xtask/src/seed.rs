//! What random inputs of a run are made from.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

/// The flag with which a run is repeated.
#[derive(Debug, Clone, Copy, Args)]
pub struct Seed {
    /// What random inputs are made from; printed, so that a run can be repeated.
    #[arg(long, env = "XTASK_SEED")]
    seed: Option<u64>,
}

impl Seed {
    /// The seed that was given, or the time in seconds: ask once a run.
    pub fn or_now(self) -> u64 {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.seed.unwrap_or_else(now)
    }
}
