//! How far a version moves.

use clap::ValueEnum;
use semver::Version;
use serde::Serialize;

/// Which part of a version a change moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing that users must know.
    Patch,
    /// Something new.
    Minor,
    /// Something that users must act on.
    Major,
}

/// The version after a change. Below 1.0.0 a breaking change moves the minor part (semver.org §4), as
/// Helm's `^0.1.0` and `~0.1.0` expect; 1.0.0 is reached by an explicit `--level major` only.
pub fn next(from: &Version, level: Level) -> Version {
    let last = finished(from);
    let reached = match level {
        Level::Major => last.minor == 0 && last.patch == 0,
        Level::Minor => last.patch == 0,
        Level::Patch => true,
    };
    if !from.pre.is_empty() && reached {
        // 1.0.0-rc.1 was on the way to 1.0.0 already.
        return last;
    }
    match level {
        Level::Major => Version::new(from.major + 1, 0, 0),
        Level::Minor => Version::new(from.major, from.minor + 1, 0),
        Level::Patch => Version::new(from.major, from.minor, from.patch + 1),
    }
}

/// The final version that a candidate is for, without build metadata.
pub fn finished(version: &Version) -> Version {
    Version::new(version.major, version.minor, version.patch)
}

/// The lowest version from `version` on, by its last part, whose precedence none of `taken` has: what follows
/// a plus sign counts for nothing (semver.org §10).
pub fn past(mut version: Version, taken: &[Version]) -> Version {
    while taken.iter().any(|other| other.cmp_precedence(&version).is_eq()) {
        version = next(&version, Level::Patch);
    }
    version
}

/// Below 1.0.0 a breaking change is a minor one.
pub(crate) fn damped(from: &Version, level: Level) -> Level {
    if from.major == 0 {
        level.min(Level::Minor)
    } else {
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_move_as_semver_says() {
        for (from, level, to) in [
            ("0.1.0", Level::Patch, "0.1.1"),
            ("0.1.9", Level::Minor, "0.2.0"),
            ("0.9.9", Level::Major, "1.0.0"),
            ("1.2.3", Level::Major, "2.0.0"),
            ("1.0.0-rc.1", Level::Major, "1.0.0"),
            ("1.2.0-rc.1", Level::Minor, "1.2.0"),
            ("1.2.0-rc.1", Level::Major, "2.0.0"),
            ("1.2.1-rc.1", Level::Minor, "1.3.0"),
            ("1.2.1-rc.1", Level::Patch, "1.2.1"),
            ("1.2.3+build", Level::Patch, "1.2.4"),
        ] {
            assert_eq!(next(&from.parse().unwrap(), level).to_string(), to, "{from} {level:?}");
        }
        assert_eq!(damped(&Version::new(0, 3, 0), Level::Major), Level::Minor);
        let taken = ["1.0.1+b", "1.0.2"].map(|version| version.parse().unwrap());
        assert_eq!(past(Version::new(1, 0, 1), &taken), Version::new(1, 0, 3));
    }
}
