//! The right to be the one stack of `cargo xtask up` in this checkout.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use kit::lock;

const FILE: &str = "up.lock";

/// A lock that an `up` holds from before its start until after its end. Released when the process exits.
#[derive(Debug)]
pub struct Claim(File);

impl Claim {
    /// Takes it; none if another process has it.
    pub fn take(runs: &Path) -> Result<Option<Claim>> {
        fs_err::create_dir_all(runs)?;
        let path = runs.join(FILE);
        let writing = || format!("writing {}", path.display());
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(writing)?;
        if !lock::held(file.try_lock(), &path)? {
            return Ok(None);
        }
        file.set_len(0).with_context(writing)?;
        Ok(Some(Claim(file)))
    }

    /// Records our PID so that `down` can signal it.
    pub fn sign(&mut self) -> Result<()> {
        write!(self.0, "{}", std::process::id()).context("writing to the lock file")
    }

    /// The process that recorded its PID; none if nobody holds the claim, or a holder that is not to be stopped.
    pub fn owner(runs: &Path) -> Result<Option<i32>> {
        let path = runs.join(FILE);
        let reading = || format!("reading {}", path.display());
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(reading)?,
        };
        if lock::held(file.try_lock_shared(), &path)? {
            return Ok(None);
        }
        Ok(fs_err::read_to_string(&path)?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_the_claim_and_its_pid_is_known() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(Claim::owner(temp.path()).unwrap(), None);
        let mut claim = Claim::take(temp.path()).unwrap().unwrap();
        assert_eq!(Claim::owner(temp.path()).unwrap(), None);
        claim.sign().unwrap();
        assert!(Claim::take(temp.path()).unwrap().is_none());
        assert_eq!(Claim::owner(temp.path()).unwrap(), Some(std::process::id() as i32));
        drop(claim);
        assert_eq!(Claim::owner(temp.path()).unwrap(), None);
        assert!(Claim::take(temp.path()).unwrap().is_some());
    }
}
