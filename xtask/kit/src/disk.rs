//! Free space, asked before long work rather than met in the middle of it.

use std::path::Path;

use anyhow::{Context, Result};

use crate::failure::{Failure, MORE_SPACE};

const MIB: u64 = 1024 * 1024;
/// The variable that, set to `off`, lets long work begin whatever space is free.
const CHECK: &str = "XTASK_DISK_CHECK";

/// Free bytes for this user on the file system that holds `path` or its nearest existing parent.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let existing = path
        .ancestors()
        .find(|p| p.exists())
        .with_context(|| format!("no existing folder above {}", path.display()))?;
    let stat = nix::sys::statvfs::statvfs(existing)
        .with_context(|| format!("asking for the free space of {}", existing.display()))?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// Fails with [`Kind::Environment`] where less than `needed` bytes are free at `path`, unless the user's
/// `XTASK_DISK_CHECK` is `off`.
pub fn require(path: &Path, needed: u64, purpose: &str) -> Result<()> {
    if std::env::var(CHECK).is_ok_and(|check| check == "off") {
        return Ok(());
    }
    let free = free_bytes(path)?;
    if free < needed {
        return Err(Failure::environment(
            format!(
                "disk too full: {purpose} needs {} MiB at {}, {} MiB are free",
                needed / MIB,
                path.display(),
                free / MIB
            ),
            MORE_SPACE,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Kind, kind_of};

    #[test]
    fn too_little_space_is_refused_before_the_work() {
        let error = require(Path::new("/"), u64::MAX, "a test").unwrap_err();
        assert_eq!(kind_of(&error), Kind::Environment);
        assert!(error.to_string().contains("disk too full"), "{error}");
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_is_judged_by_its_parent() {
        assert!(free_bytes(Path::new("/tmp/not/there/yet")).unwrap() > 0);
    }
}
