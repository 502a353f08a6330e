//! Run folders: everything that a run puts on disk, and a way to find every process it started.
//!
//! A run's owner holds a lock on the folder as long as it lives. Each process gets the folder's path
//! in its environment, so that even after a `kill -9` of the owner the next run, or
//! `cargo xtask down`, finds exactly those processes, whatever their pids or names.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::lock;
use crate::step::Step;

/// The variable that marks the processes of a run; its value is the run folder.
pub const MARKER: &str = "TEMPO_STACK_RUN";

/// What the names of folders in the system's temporary folder begin with.
const PREFIX: &str = "tempo-stack-";
const LOCK: &str = "lock";
const OWNER: &str = "owner.json";

/// Who runs a run folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process that holds the lock.
    pub pid: i32,
    /// What it does: `e2e`, `up`.
    pub purpose: String,
}

/// A folder owned by this process. Dropping it stops its processes and removes it.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    keep: bool,
    _lock: File,
}

impl RunDir {
    /// Makes a folder with a name of its own below `runs`.
    pub fn create(runs: &Path, purpose: &str) -> Result<RunDir> {
        fs_err::create_dir_all(runs)?;
        let runs = real(runs)?;
        let temp = tempfile::Builder::new()
            .prefix(&format!("{purpose}-"))
            .tempdir_in(&runs)
            .with_context(|| format!("making a folder in {}", runs.display()))?;
        let lock =
            File::create(temp.path().join(LOCK)).with_context(|| format!("writing to {}", temp.path().display()))?;
        lock.try_lock()
            .with_context(|| format!("locking {}", temp.path().display()))?;
        let run = RunDir {
            path: temp.keep(),
            keep: false,
            _lock: lock,
        };
        let owner = Owner {
            pid: std::process::id() as i32,
            purpose: purpose.to_owned(),
        };
        let text = serde_json::to_string(&owner).context("writing JSON")?;
        std::fs::write(run.path.join(OWNER), text).with_context(|| format!("writing to {}", run.path.display()))?;
        Ok(run)
    }

    /// A folder in the system's temporary folder, for copies of charts and the like.
    pub fn temporary(purpose: &str) -> Result<RunDir> {
        RunDir::create(&std::env::temp_dir(), &format!("{PREFIX}{purpose}"))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder behind when dropped; its processes are stopped all the same.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        stop_marked(&self.path);
        if !self.keep {
            unmount_below(&self.path);
            // Clean-up on the way out: nobody is left to hear of a failure.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

impl Step {
    /// The step with its temporary files in the run's folder, and marked: neither outlives the run.
    pub fn in_run(self, run: &RunDir) -> Step {
        let folder = run.path().to_string_lossy();
        self.env("TMPDIR", &*folder).env(MARKER, &*folder)
    }
}

/// The folder without symbolic links: the marker must be the same text whichever way the folder is reached.
fn real(folder: &Path) -> Result<PathBuf> {
    folder
        .canonicalize()
        .with_context(|| format!("reading {}", folder.display()))
}

/// A run folder found on disk.
#[derive(Debug, Clone)]
pub struct Found {
    /// The folder.
    pub path: PathBuf,
    /// Its owner, if that still lives.
    pub owner: Option<Owner>,
}

/// All run folders below `runs`.
pub fn find(runs: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    if !runs.is_dir() {
        return Ok(found);
    }
    let runs = real(runs)?;
    for entry in fs_err::read_dir(&runs)? {
        let path = entry.with_context(|| format!("reading {}", runs.display()))?.path();
        // Written under the lock: a folder without it isn't ours, or is just being made.
        let owner = std::fs::read_to_string(path.join(OWNER)).ok();
        let Some(owner) = owner.and_then(|text| serde_json::from_str::<Owner>(&text).ok()) else {
            continue;
        };
        let Ok(lock) = File::open(path.join(LOCK)) else {
            continue;
        };
        let lives = !lock::held(lock.try_lock(), &path)?;
        found.push(Found {
            path,
            owner: lives.then_some(owner),
        });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Stops what dead owners left behind and removes their folders, below each of `folders` and in the
/// system's temporary folder. Returns how many processes it stopped and how many folders it removed.
pub fn sweep(folders: &[&Path]) -> Result<(usize, usize)> {
    let temporary = find(&std::env::temp_dir())?.into_iter().filter(|run| {
        run.path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
    });
    let mut found: Vec<Found> = temporary.collect();
    for folder in folders {
        found.extend(find(folder)?);
    }
    remove_dead(found.into_iter())
}

fn remove_dead(runs: impl Iterator<Item = Found>) -> Result<(usize, usize)> {
    let (mut processes, mut folders) = (0, 0);
    for run in runs.filter(|run| run.owner.is_none()) {
        processes += stop_marked(&run.path);
        unmount_below(&run.path);
        match std::fs::remove_dir_all(&run.path) {
            // Another sweep was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("removing {}", run.path.display()))?,
        }
        folders += 1;
    }
    Ok((processes, folders))
}

/// The processes that carry the marker of this run folder, or of one inside it.
pub fn marked(run: &Path) -> Vec<i32> {
    let wanted = [MARKER.as_bytes(), b"=", run.as_os_str().as_encoded_bytes()].concat();
    let is_wanted = |variable: &[u8]| {
        let rest = variable.strip_prefix(wanted.as_slice());
        rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            // Unreadable means another user's, or gone meanwhile: not ours either way.
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(is_wanted))
        })
        .collect()
}

/// Kills the marked processes and waits until they are gone. Returns how many there were.
fn stop_marked(run: &Path) -> usize {
    let first = marked(run);
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut left = first.clone();
    while !left.is_empty() && Instant::now() < deadline {
        for pid in &left {
            // Gone between the look and the signal is as good as stopped.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(20));
        left = marked(run);
    }
    first.len()
}

/// Takes off what is mounted below a folder, which can't be removed before. What stays mounted shows when the
/// folder is removed.
fn unmount_below(folder: &Path) {
    // Spaces of a path are written as \040 there (man 5 proc); the names that this program gives have none.
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let below: Vec<&Path> = points
        .map(Path::new)
        .filter(|point| point.starts_with(folder))
        .collect();
    for point in below.into_iter().rev() {
        let _ = umount2(point, MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(run: &Path) -> std::process::Child {
        let child = std::process::Command::new("sleep")
            .arg("600")
            .env(MARKER, run)
            .spawn()
            .unwrap();
        // The kernel lets the parent go on before the new program's environment can be read.
        while !marked(run).contains(&(child.id() as i32)) {
            std::thread::yield_now();
        }
        child
    }

    #[test]
    fn dropping_a_run_stops_its_processes_and_removes_its_folder() {
        let temp = tempfile::tempdir().unwrap();
        let run = RunDir::create(temp.path(), "test").unwrap();
        let path = run.path().to_path_buf();
        let mut child = sleeper(&path);
        drop(run);
        assert!(!child.wait().unwrap().success());
        assert!(!path.exists());
    }

    #[test]
    fn processes_are_found_through_a_symbolic_link_and_in_folders_inside() {
        let temp = tempfile::tempdir().unwrap();
        let (real, link) = (temp.path().join("real"), temp.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let run = RunDir::create(&link, "test").unwrap();
        let mut child = sleeper(&run.path().join("inside"));
        let found = find(&real).unwrap();
        assert_eq!(marked(&found[0].path), [child.id() as i32]);
        drop(run);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_living_owner_is_left_alone_by_a_sweep() {
        let temp = tempfile::tempdir().unwrap();
        let run = RunDir::create(temp.path(), "test").unwrap();
        assert_eq!(remove_dead(find(temp.path()).unwrap().into_iter()).unwrap(), (0, 0));
        let found = find(temp.path()).unwrap();
        assert_eq!(found[0].owner.as_ref().unwrap().pid, std::process::id() as i32);
        drop(run);
    }

    #[test]
    fn what_a_killed_owner_left_is_swept() {
        let temp = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(temp.path(), "test").unwrap();
        let path = run.path().to_path_buf();
        // The folder stays and the lock goes, as after a kill -9.
        run.keep();
        drop(run);
        let mut child = sleeper(&path);
        assert_eq!(remove_dead(find(temp.path()).unwrap().into_iter()).unwrap(), (1, 1));
        assert!(!child.wait().unwrap().success());
        assert!(find(temp.path()).unwrap().is_empty());
    }
}
