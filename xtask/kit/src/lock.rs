//! Lock files between processes, released when their holder exits.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::progress::say;
use crate::step::Cancel;

/// How often a lock that another process holds is asked for again.
const PERIOD: Duration = Duration::from_millis(100);

/// Locks the file at `path`, which is made if it isn't there, and waits while another process holds it.
/// The lock lasts as long as what is returned; `what` says what its holder does.
pub fn wait_for(path: &Path, what: &str, quiet: bool, cancel: &Cancel) -> Result<File> {
    fs_err::create_dir_all(path.parent().context("a lock has a folder")?)?;
    let file = fs_err::File::create(path)?.into_file();
    let mut waits = false;
    while !held(file.try_lock(), path)? {
        if !waits && !quiet {
            say(format_args!("waiting for another run that {what}"));
        }
        waits = true;
        cancel.check()?;
        std::thread::sleep(PERIOD);
    }
    Ok(file)
}

/// Whether an attempt to lock `path` succeeded. A file system that can't lock (ENOLCK, EIO) is an error:
/// to take it for another holder would be to wait for ever.
pub fn held(attempt: Result<(), TryLockError>, path: &Path) -> Result<bool> {
    match attempt {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lock_that_another_process_holds_is_waited_for() {
        let path = Path::new("a.lock");
        assert!(held(Ok(()), path).unwrap());
        assert!(!held(Err(TryLockError::WouldBlock), path).unwrap());
        let broken = std::io::Error::from_raw_os_error(nix::libc::ENOLCK);
        let error = held(Err(TryLockError::Error(broken)), path).unwrap_err();
        assert!(error.to_string().contains("a.lock"), "{error:#}");
    }
}
