//! What a machine must have for a kind cluster, beyond a Docker that answers.

use std::path::Path;

use anyhow::{Context, Result};

/// CAP_SYS_RESOURCE, as linux/capability.h numbers it: without it runc can't start a privileged container.
pub const SYS_RESOURCE: u64 = 1 << 24;

/// kind's advice for clusters that don't run out of file watches (kind, known issues, "Pod errors due to
/// too many open files"): a setting below fs.inotify and its minimum.
pub const INOTIFY: [(&str, u64); 2] = [("max_user_watches", 524_288), ("max_user_instances", 512)];

/// The capabilities, one bit each, that no process here can have, so that Docker can't grant them either.
pub fn missing_capabilities() -> Result<u64> {
    // Kernels before 5.9 know fewer of them.
    let last = fs_err::read_to_string("/proc/sys/kernel/cap_last_cap")?;
    let last = last
        .trim()
        .parse()
        .context("reading the number of the last capability")?;
    missing_from(&fs_err::read_to_string("/proc/self/status")?, last)
}

/// What the bounding set in a `/proc/<pid>/status` lacks.
fn missing_from(status: &str, last: u32) -> Result<u64> {
    let held = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let held = held.context("no CapBnd in /proc/self/status")?;
    let held = u64::from_str_radix(held.trim(), 16).context("reading CapBnd")?;
    Ok(!held & (u64::MAX >> (63 - last.min(63))))
}

/// A limit below fs.inotify; none where the kernel doesn't know it.
pub fn inotify(setting: &str) -> Option<u64> {
    let path = Path::new("/proc/sys/fs/inotify").join(setting);
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_that_is_missing_from_the_bounding_set_is_found() {
        let status = "Name:\tx\nCapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000000\n";
        assert_eq!(missing_from(status, 40).unwrap(), SYS_RESOURCE);
        assert_eq!(missing_from("CapBnd:\t000001ffffffffff\n", 40).unwrap(), 0);
    }

    #[test]
    fn a_capability_that_the_kernel_does_not_know_is_not_missing() {
        let status = "CapBnd:\t0000003fffffffff\n";
        assert_eq!(missing_from(status, 37).unwrap(), 0);
        assert_eq!(missing_from(status, 38).unwrap(), 1 << 38);
    }
}
