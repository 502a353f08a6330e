//! Volumes of a limited size: a tmpfs where the folder of the claim is. The run's folder takes it off at the end.

use std::path::Path;

use anyhow::{Context, Result};
use kit::run_dir::RunDir;
use nix::mount::{MsFlags, mount};

/// A file system of so many bytes in a folder, which is made.
pub fn limit(folder: &Path, bytes: u64) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    mounted(folder, bytes, MsFlags::empty())
}

/// Another size for it; what is in it stays.
pub fn resize(folder: &Path, bytes: u64) -> Result<()> {
    mounted(folder, bytes, MsFlags::MS_REMOUNT)
}

/// Why this process can't do so; none if it can.
pub fn unlimited() -> Option<String> {
    let tried = RunDir::temporary("volume").and_then(|run| limit(&run.path().join("volume"), 1 << 20));
    let error = tried.err()?;
    Some(format!("this user may not mount a small file system: {error:#}"))
}

fn mounted(folder: &Path, bytes: u64, flags: MsFlags) -> Result<()> {
    let size = format!("size={bytes}");
    mount(Some("tmpfs"), folder, Some("tmpfs"), flags, Some(size.as_str()))
        .with_context(|| format!("mounting {bytes} bytes at {}", folder.display()))
}
