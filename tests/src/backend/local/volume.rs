//! Volumes of a limited size: a tmpfs where the folder of the claim is. The run's folder takes it off at the end.

use std::path::Path;

use anyhow::{Context, Result};
use kit::run_dir::RunDir;
use nix::fcntl::posix_fallocate;
use nix::mount::{MsFlags, mount};

use crate::backend::BALLAST;

/// A file system of so many bytes in a folder, which is made.
pub fn limit(folder: &Path, bytes: u64) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    let size = format!("size={bytes}");
    mount(
        Some("tmpfs"),
        folder,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(size.as_str()),
    )
    .with_context(|| format!("mounting {bytes} bytes at {}", folder.display()))
}

/// Fills so many bytes of it with a file, or takes that away.
pub fn take_room(folder: &Path, bytes: u64) -> Result<()> {
    let path = folder.join(BALLAST);
    if bytes == 0 {
        return Ok(fs_err::remove_file(path)?);
    }
    let file = fs_err::File::create(path)?.into_file();
    let bytes = i64::try_from(bytes).context("the size of a file")?;
    posix_fallocate(file, 0, bytes).with_context(|| format!("filling {}", folder.display()))
}

/// Why this process can't do so; none if it can.
pub fn unlimited() -> Option<String> {
    let tried = RunDir::temporary("volume").and_then(|run| limit(&run.path().join("volume"), 1 << 20));
    let error = tried.err()?;
    Some(format!("this user may not mount a small file system: {error:#}"))
}
