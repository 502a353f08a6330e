//! Run folders: everything that a run puts on disk, and a way to find every process it started.
//!
//! A run's owner holds a lock on the folder as long as it lives. Each process gets the folder's path
//! in its environment, so that even after a `kill -9` of the owner the next run, or
//! `cargo xtask down`, finds exactly those processes, whatever their pids or names.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The variable that marks the processes of a run; its value is the run folder.
pub const MARKER: &str = "TEMPO_STACK_RUN";

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
        std::fs::create_dir_all(runs).with_context(|| format!("making {}", runs.display()))?;
        let path = tempfile::Builder::new()
            .prefix(&format!("{purpose}-"))
            .tempdir_in(runs)
            .with_context(|| format!("making a folder in {}", runs.display()))?
            .keep();
        let lock = File::create(path.join(LOCK)).with_context(|| format!("writing to {}", path.display()))?;
        lock.try_lock().with_context(|| format!("locking {}", path.display()))?;
        let owner = Owner {
            pid: std::process::id() as i32,
            purpose: purpose.to_owned(),
        };
        let text = serde_json::to_string(&owner).context("writing JSON")?;
        std::fs::write(path.join(OWNER), text).with_context(|| format!("writing to {}", path.display()))?;
        Ok(RunDir {
            path,
            keep: false,
            _lock: lock,
        })
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
            // Clean-up on the way out: nobody is left to hear of a failure.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
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
    for entry in std::fs::read_dir(runs).with_context(|| format!("reading {}", runs.display()))? {
        let path = entry.with_context(|| format!("reading {}", runs.display()))?.path();
        let Ok(lock) = File::open(path.join(LOCK)) else {
            continue;
        };
        let owner = match lock.try_lock() {
            Ok(()) => None,
            Err(_) => std::fs::read_to_string(path.join(OWNER))
                .ok()
                .and_then(|text| serde_json::from_str(&text).ok()),
        };
        found.push(Found { path, owner });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Stops what dead owners left behind and removes their folders. Returns how many processes it
/// stopped and how many folders it removed.
pub fn sweep(runs: &Path) -> Result<(usize, usize)> {
    let (mut processes, mut folders) = (0, 0);
    for run in find(runs)?.into_iter().filter(|run| run.owner.is_none()) {
        processes += stop_marked(&run.path);
        std::fs::remove_dir_all(&run.path).with_context(|| format!("removing {}", run.path.display()))?;
        folders += 1;
    }
    Ok((processes, folders))
}

/// The processes that carry the marker of this run folder.
pub fn marked(run: &Path) -> Vec<i32> {
    let wanted = format!("{MARKER}={}", run.display()).into_bytes();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            // Unreadable means another user's, or gone meanwhile: not ours either way.
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == wanted))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(run: &Path) -> std::process::Child {
        std::process::Command::new("sleep")
            .arg("600")
            .env(MARKER, run)
            .spawn()
            .unwrap()
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
    fn a_living_owner_is_left_alone_by_a_sweep() {
        let temp = tempfile::tempdir().unwrap();
        let run = RunDir::create(temp.path(), "test").unwrap();
        assert_eq!(sweep(temp.path()).unwrap(), (0, 0));
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
        assert_eq!(sweep(temp.path()).unwrap(), (1, 1));
        assert!(!child.wait().unwrap().success());
        assert!(find(temp.path()).unwrap().is_empty());
    }
}
