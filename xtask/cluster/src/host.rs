//! What a machine must have for a kind cluster, beyond a Docker that answers.

use std::path::Path;

use anyhow::{Context, Result};

/// The capability without which runc can't start a privileged container.
pub const SYS_RESOURCE: &str = "CAP_SYS_RESOURCE";

/// kind's advice for clusters that don't run out of file watches (kind, known issues, "Pod errors due to
/// too many open files"): the setting below fs.inotify and its least value.
pub const INOTIFY: [(&str, u64); 2] = [("max_user_watches", 524_288), ("max_user_instances", 512)];

/// By number, as in linux/capability.h.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    SYS_RESOURCE,
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The capabilities that no process here can have: an engine on this machine can't give them on. None
/// where Docker has a Linux of its own.
pub fn missing_capabilities() -> Result<Vec<&'static str>> {
    if !cfg!(target_os = "linux") {
        return Ok(Vec::new());
    }
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("reading {path}"));
    // Kernels before 5.9 know fewer of them.
    let last: usize = read("/proc/sys/kernel/cap_last_cap")?
        .trim()
        .parse()
        .context("reading the number of the last capability")?;
    missing_from(&read("/proc/self/status")?, last)
}

/// What the bounding set in a `/proc/<pid>/status` lacks.
fn missing_from(status: &str, last: usize) -> Result<Vec<&'static str>> {
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .context("no CapBnd in /proc/self/status")?;
    let held = u64::from_str_radix(held.trim(), 16).context("reading CapBnd")?;
    let known = CAPABILITIES.iter().enumerate().take(last + 1);
    Ok(known
        .filter(|(number, _)| held >> number & 1 == 0)
        .map(|(_, name)| *name)
        .collect())
}

/// A limit of inotify, below fs.inotify; none where the kernel has none of that name.
pub fn inotify(setting: &str) -> Option<u64> {
    let path = Path::new("/proc/sys/fs/inotify").join(setting);
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_that_is_missing_from_the_bounding_set_is_named() {
        let status = "Name:\tx\nCapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000000\n";
        assert_eq!(missing_from(status, 40).unwrap(), [SYS_RESOURCE]);
        let full = "CapBnd:\t000001ffffffffff\n";
        assert!(missing_from(full, 40).unwrap().is_empty());
    }

    #[test]
    fn a_capability_that_the_kernel_does_not_know_is_not_missing() {
        let status = "CapBnd:\t0000003fffffffff\n";
        assert!(missing_from(status, 37).unwrap().is_empty());
        assert_eq!(missing_from(status, 38).unwrap(), ["CAP_PERFMON"]);
    }
}
