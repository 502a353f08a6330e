//! Files that a reader finds whole: the old content or the new, and no half of it after an interrupt.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// Who may read a file. A temporary file begins as its owner's only, from its first byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Its owner: 0600.
    Owner,
    /// Everybody: 0644.
    Everybody,
    /// As the file that it replaces; everybody where there is none.
    Kept,
}

/// Writes a file in one step; its folder is made where it is missing.
pub fn write(file: &Path, content: impl AsRef<[u8]>, mode: Mode) -> Result<()> {
    prepare(file, content, mode)?
        .persist(file)
        .with_context(|| format!("writing {}", file.display()))?;
    Ok(())
}

/// All of [`write`] but the last step, `persist`: for a caller who looks once more before it.
pub fn prepare(file: &Path, content: impl AsRef<[u8]>, mode: Mode) -> Result<NamedTempFile> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    let writing = || format!("writing {}", file.display());
    let mut temp = NamedTempFile::new_in(folder).with_context(writing)?;
    temp.write_all(content.as_ref()).with_context(writing)?;
    allow(temp.as_file(), mode, file).with_context(writing)?;
    Ok(temp)
}

fn allow(temp: &File, mode: Mode, old: &Path) -> std::io::Result<()> {
    let everybody = || Permissions::from_mode(0o644);
    temp.set_permissions(match mode {
        Mode::Owner => Permissions::from_mode(0o600),
        Mode::Everybody => everybody(),
        Mode::Kept => std::fs::metadata(old).map_or_else(|_| everybody(), |metadata| metadata.permissions()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_readable_by_whom_it_is_for() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
        let file = dir.path().join("new/folder/file");
        for (asked, expected) in [
            (Mode::Kept, 0o644),
            (Mode::Owner, 0o600),
            (Mode::Kept, 0o600),
            (Mode::Everybody, 0o644),
        ] {
            write(&file, "text", asked).unwrap();
            assert_eq!(mode(&file), expected, "{asked:?}");
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
