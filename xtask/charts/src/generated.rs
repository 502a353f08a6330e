//! Files that a command writes and that are committed: compared with what it would write now, or rewritten.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kit::whole_file::{self, Mode};
use serde::Serialize;
use similar::TextDiff;

/// How many lines of a difference are shown: enough to recognise it, `git diff` shows the rest.
const DIFF_LINES: usize = 40;

/// What a file must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Where it belongs.
    pub path: PathBuf,
    /// What it must hold.
    pub text: String,
    /// The committed file that it follows from, for people.
    pub source: String,
}

/// How a committed file departs from what it must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Departure {
    /// It holds something else.
    Differs,
    /// It isn't there.
    Missing,
    /// Nothing generates it any more.
    Orphan,
}

/// One file that isn't what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The file.
    pub path: PathBuf,
    /// In which way.
    pub departure: Departure,
    /// What it follows from, as [`Generated::source`] says; empty for an orphan.
    pub source: String,
    /// The first lines of a unified diff from the committed to the generated text; empty for an orphan.
    pub diff: String,
}

/// Compares the committed files with the wanted ones. `owned` are folders that may hold nothing else, or
/// single files that may not be there for another reason.
pub fn compare(wanted: &[Generated], owned: &[PathBuf]) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for file in wanted {
        let committed = match std::fs::read(&file.path) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("reading {}", file.path.display())),
        };
        if committed.as_deref() == Some(&file.text) {
            continue;
        }
        differences.push(Difference {
            path: file.path.clone(),
            departure: committed.as_ref().map_or(Departure::Missing, |_| Departure::Differs),
            source: file.source.clone(),
            diff: short_diff(committed.as_deref().unwrap_or_default(), &file.text),
        });
    }
    let known: BTreeSet<&Path> = wanted.iter().map(|file| file.path.as_path()).collect();
    for path in owned
        .iter()
        .map(|dir| files_below(dir))
        .collect::<Result<Vec<_>>>()?
        .concat()
    {
        if !known.contains(path.as_path()) {
            differences.push(Difference {
                path,
                departure: Departure::Orphan,
                source: String::new(),
                diff: String::new(),
            });
        }
    }
    differences.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(differences)
}

/// Makes the committed files what they must be: each is replaced in one step, orphans and the folders
/// that they leave empty go. Returns what was changed.
pub fn write(wanted: &[Generated], owned: &[PathBuf]) -> Result<Vec<Difference>> {
    let differences = compare(wanted, owned)?;
    for difference in &differences {
        let path = &difference.path;
        match wanted.iter().find(|file| &file.path == path) {
            Some(file) => whole_file::write(path, &file.text, Mode::Kept)?,
            None => fs_err::remove_file(path)?,
        }
    }
    for dir in owned {
        remove_empty_folders(dir)?;
    }
    Ok(differences)
}

fn short_diff(old: &str, new: &str) -> String {
    let diff = TextDiff::from_lines(old, new);
    let text = diff
        .unified_diff()
        .context_radius(2)
        .header("committed", "generated")
        .to_string();
    let mut lines: Vec<&str> = text.lines().collect();
    let hidden = lines.len().saturating_sub(DIFF_LINES);
    lines.truncate(DIFF_LINES);
    let mut short = lines.join("\n");
    if hidden > 0 {
        short.push_str(&format!("\n… {hidden} more lines"));
    }
    short
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
        if !entry.file_type().is_dir() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

fn remove_empty_folders(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    // Children come before their folder, so that a folder of empty folders goes too.
    for entry in walkdir::WalkDir::new(dir).contents_first(true) {
        let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
        let empty = entry.file_type().is_dir() && std::fs::read_dir(entry.path())?.next().is_none();
        if empty {
            fs_err::remove_dir(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(dir: &Path) -> Vec<Generated> {
        ["same", "changed", "new/deep"]
            .iter()
            .map(|name| Generated {
                path: dir.join(name),
                text: format!("{name}\nline\n"),
                source: "templates/x.yaml".into(),
            })
            .collect()
    }

    fn committed() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("same"), "same\nline\n").unwrap();
        std::fs::write(dir.path().join("changed"), "changed\nother\n").unwrap();
        std::fs::create_dir(dir.path().join("old")).unwrap();
        std::fs::write(dir.path().join("old/orphan"), "").unwrap();
        dir
    }

    #[test]
    fn a_changed_a_missing_and_an_orphaned_file_are_named() {
        let dir = committed();
        let found = compare(&wanted(dir.path()), &[dir.path().to_path_buf()]).unwrap();
        let seen: Vec<_> = found
            .iter()
            .map(|d| (d.path.strip_prefix(dir.path()).unwrap().to_str().unwrap(), d.departure))
            .collect();
        assert_eq!(
            seen,
            [
                ("changed", Departure::Differs),
                ("new/deep", Departure::Missing),
                ("old/orphan", Departure::Orphan)
            ]
        );
        assert!(found[0].diff.contains("-other\n+line"), "{}", found[0].diff);
        assert_eq!(found[0].source, "templates/x.yaml");
    }

    #[test]
    fn comparing_changes_nothing() {
        let dir = committed();
        compare(&wanted(dir.path()), &[dir.path().to_path_buf()]).unwrap();
        assert!(dir.path().join("old/orphan").exists() && !dir.path().join("new").exists());
    }

    #[test]
    fn after_writing_nothing_differs_and_orphans_are_gone_with_their_folder() {
        let dir = committed();
        let owned = [dir.path().to_path_buf()];
        assert_eq!(write(&wanted(dir.path()), &owned).unwrap().len(), 3);
        assert_eq!(compare(&wanted(dir.path()), &owned).unwrap(), []);
        assert!(!dir.path().join("old").exists());
    }

    #[test]
    fn a_rewritten_file_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let dir = committed();
        let file = dir.path().join("changed");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        write(&wanted(dir.path()), &[]).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_long_difference_is_cut() {
        let new: String = (0..500).map(|i| format!("{i}\n")).collect();
        let diff = short_diff("", &new);
        assert_eq!(diff.lines().count(), DIFF_LINES + 1);
        assert!(diff.ends_with("more lines"));
    }
}
