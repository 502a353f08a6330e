//! Tar archives that `docker import` takes: no times, no owners but root, no path twice.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

/// An archive that is being written. The same input gives the same bytes.
pub struct Archive {
    path: PathBuf,
    tar: Builder<File>,
    /// Docker refuses an archive that names a path twice.
    folders: BTreeSet<PathBuf>,
}

impl Archive {
    pub fn create(path: &Path) -> Result<Archive> {
        let file = fs_err::File::create(path)?;
        Ok(Archive {
            path: path.to_owned(),
            tar: Builder::new(file.into_file()),
            folders: BTreeSet::new(),
        })
    }

    /// Adds a folder, unless it is there.
    pub fn folder(&mut self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        if self.folders.insert(path.to_owned()) {
            let header = header(EntryType::Directory, mode, 0);
            self.add(header, path, std::io::empty())?;
        }
        Ok(())
    }

    /// Adds an executable at an absolute path, with its parent folders.
    pub fn program(&mut self, program: &Path, path: &str) -> Result<()> {
        let path = Path::new(path.trim_start_matches('/'));
        let parents: Vec<&Path> = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
        for parent in parents.into_iter().rev() {
            self.folder(parent, 0o755)?;
        }
        self.file(program, path, 0o755)
    }

    /// Adds all below `root`; executables stay executable, links stay links.
    pub fn tree(&mut self, root: &Path) -> Result<()> {
        for entry in walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name() {
            let entry = entry.with_context(|| format!("reading {}", root.display()))?;
            let from = entry.path();
            let path = from.strip_prefix(root).context("below the root")?;
            if entry.file_type().is_dir() {
                self.folder(path, 0o755)?;
            } else if entry.file_type().is_symlink() {
                let target = fs_err::read_link(from)?;
                self.tar
                    .append_link(&mut header(EntryType::Symlink, 0o777, 0), path, &target)
                    .with_context(|| format!("writing {}", self.path.display()))?;
            } else {
                let mode = entry.metadata()?.permissions().mode();
                self.file(from, path, if mode & 0o111 == 0 { 0o644 } else { 0o755 })?;
            }
        }
        Ok(())
    }

    pub fn finish(self) -> Result<()> {
        let writing = || format!("writing {}", self.path.display());
        self.tar.into_inner().with_context(writing)?;
        Ok(())
    }

    fn file(&mut self, from: &Path, path: &Path, mode: u32) -> Result<()> {
        let file = fs_err::File::open(from)?;
        let size = file.metadata()?.len();
        self.add(header(EntryType::Regular, mode, size), path, file)
    }

    fn add(&mut self, mut header: Header, path: &Path, content: impl std::io::Read) -> Result<()> {
        self.tar
            .append_data(&mut header, path, content)
            .with_context(|| format!("writing {}", self.path.display()))
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(archive: &Path) -> Vec<(String, u32)> {
        let mut archive = tar::Archive::new(File::open(archive).unwrap());
        let entries = archive.entries().unwrap().map(Result::unwrap);
        entries
            .map(|entry| {
                (
                    entry.path().unwrap().display().to_string(),
                    entry.header().mode().unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn trees_and_programs_that_share_folders_name_each_path_once() {
        let temp = tempfile::tempdir().unwrap();
        let (one, two) = (temp.path().join("one"), temp.path().join("two"));
        for root in [&one, &two] {
            std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        }
        std::fs::write(two.join("usr/lib/data"), "").unwrap();
        let path = temp.path().join("a.tar");
        let mut archive = Archive::create(&path).unwrap();
        archive.tree(&one).unwrap();
        archive.tree(&two).unwrap();
        archive.program(&two.join("usr/lib/data"), "/usr/bin/program").unwrap();
        archive.finish().unwrap();
        let entries = listed(&path);
        let expected = [
            ("usr", 0o755),
            ("usr/lib", 0o755),
            ("usr/lib/data", 0o644),
            ("usr/bin", 0o755),
            ("usr/bin/program", 0o755),
        ];
        assert_eq!(entries, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }
}
