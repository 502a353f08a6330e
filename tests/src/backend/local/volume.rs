//! Volumes of a limited size: a tmpfs where the folder of the claim is, or a disk. The run's folder takes them off at
//! the end.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use kit::run_dir::RunDir;
use nix::fcntl::posix_fallocate;
use nix::mount::{MsFlags, mount, umount};

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

/// A disk of so many bytes in a folder, which is made: an ext4 file system in a file beside it.
pub fn disk(folder: &Path, bytes: u64) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    let image = image(folder);
    fs_err::File::create(&image)?.set_len(bytes)?;
    // Nothing is kept back for root, which this process is.
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
    attach(folder)
}

/// Takes the disk off, has its file system repaired, and puts it back.
pub fn repair(folder: &Path) -> Result<()> {
    umount(folder).with_context(|| format!("taking the disk off {}", folder.display()))?;
    let image = image(folder);
    let mut check = Command::new("e2fsck");
    let status = check
        .args(["-p", "-f"])
        .arg(&image)
        .output()
        .context("starting e2fsck")?
        .status;
    // 1: errors were there and are corrected (e2fsck(8)).
    anyhow::ensure!(
        matches!(status.code(), Some(0 | 1)),
        "e2fsck of {} ended with {status}",
        image.display()
    );
    attach(folder)
}

fn attach(folder: &Path) -> Result<()> {
    // With a loop device that goes when the file system is taken off.
    run(Command::new("mount")
        .args(["-o", "loop"])
        .arg(image(folder))
        .arg(folder))
}

fn image(folder: &Path) -> PathBuf {
    folder.with_extension("ext4")
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        said.trim()
    );
    Ok(())
}

/// Why this process can't do so; none if it can.
pub fn unlimited() -> Option<String> {
    let tried = RunDir::temporary("volume").and_then(|run| limit(&run.path().join("volume"), 1 << 20));
    let error = tried.err()?;
    Some(format!("this user may not mount a small file system: {error:#}"))
}
