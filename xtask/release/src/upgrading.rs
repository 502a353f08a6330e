//! UPGRADING.md: what users must do for each version that breaks something.

use anyhow::{Context, Result};
use charts::workspace::{Chart, Workspace};
use kit::failure::Failure;
use semver::Version;

/// The versions that UPGRADING.md has an entry for: headings `## 1.0.0`, with or without more words.
fn entries(text: &str) -> Vec<Version> {
    text.lines().filter_map(version_of).collect()
}

/// The version that a heading `## 1.0.0` names, with or without more words, brackets or a `v`; none for
/// another line.
pub(crate) fn version_of(line: &str) -> Option<Version> {
    let heading = line.strip_prefix("## ")?;
    let mut words = heading.split(|c: char| c.is_whitespace() || "[](),:".contains(c));
    words.find_map(|word| Version::parse(word.trim_start_matches('v')).ok())
}

/// Fails if the chart's major version, from 1 on, has no entry for its first release (`## 1.0.0`).
pub(crate) fn check_major(chart: &Chart, workspace: &Workspace) -> Result<()> {
    let version = &chart.metadata.version;
    if version.major == 0 {
        return Ok(());
    }
    require(chart, workspace, &Version::new(version.major, 0, 0))
}

/// Fails if UPGRADING.md has no entry for a version that breaks something.
fn require(chart: &Chart, workspace: &Workspace, version: &Version) -> Result<()> {
    let file = chart.dir.join("UPGRADING.md");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    if entries(&text).contains(version) {
        return Ok(());
    }
    Err(Failure::findings(
        format!(
            "{} {version} breaks something, and UPGRADING.md has no entry `## {version}`",
            chart.name()
        ),
        format!(
            "write in {} what users must do, below `## {version}`",
            workspace.shown(&file)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_name_versions_with_and_without_more_words() {
        let found = entries("# Up\n## 2.0.0\n## To v1.0.0 (spring)\n### 3.0.0\n## [0.2.0]\ntext 4.0.0\n");
        let found: Vec<_> = found.iter().map(Version::to_string).collect();
        assert_eq!(found, ["2.0.0", "1.0.0", "0.2.0"]);
    }
}
