//! What traces take on Tempo's volume.

use std::fs::DirEntry;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use walkdir::WalkDir;

/// What the store says of a block (grafana/tempo, tempodb/backend/block_meta.go).
pub(super) const META: &str = "meta.json";
/// What it says instead once compaction wrote its traces into another block.
const REPLACED: &str = "meta.compacted.json";
/// The folder in a write-ahead log that holds blocks which are complete (tempodb/wal/wal.go).
const COMPLETE: &str = "blocks";

/// A block in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Of all its files.
    pub bytes: u64,
    pub traces: u64,
    /// How often its traces were compacted; 0 as the ingester ships it.
    pub level: u32,
    /// Its traces are in another block by now.
    pub replaced: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    total_objects: u64,
    #[serde(default)]
    compaction_level: u32,
}

/// The blocks of all tenants in a folder of the local store. A block that is being written isn't one yet.
pub(super) fn blocks(store: &Path) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    for tenant in folders(store)? {
        for folder in folders(&tenant)? {
            blocks.extend(block(&folder)?);
        }
    }
    Ok(blocks)
}

fn block(folder: &Path) -> Result<Option<Block>> {
    for (name, replaced) in [(META, false), (REPLACED, true)] {
        let file = folder.join(name);
        let text = match std::fs::read_to_string(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("reading {}", file.display()))?,
        };
        let meta: Meta = serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
        return Ok(Some(Block {
            bytes: bytes(folder, |_| true),
            traces: meta.total_objects,
            level: meta.compaction_level,
            replaced,
        }));
    }
    Ok(None)
}

/// The bytes of a write-ahead log without the complete blocks in it.
pub(super) fn log_bytes(log: &Path) -> u64 {
    bytes(log, |path| path != log.join(COMPLETE))
}

/// The bytes of all files below a folder, except in folders that aren't wanted. What vanishes on the way isn't there.
fn bytes(folder: &Path, wanted: impl Fn(&Path) -> bool) -> u64 {
    let entries = WalkDir::new(folder).into_iter();
    let files = entries.filter_entry(|entry| wanted(entry.path())).flatten();
    let sizes = files.filter_map(|entry| entry.metadata().ok().filter(|meta| meta.is_file()));
    sizes.map(|meta| meta.len()).sum()
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("reading {}", folder.display()))?,
    };
    let path = |entry: std::io::Result<DirEntry>| Ok(entry?.path());
    let paths: Vec<PathBuf> = entries.map(path).collect::<Result<_>>()?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of `meta.len() + data` bytes.
    fn write(store: &Path, id: &str, file: &str, meta: &str, data: usize) {
        let folder = store.join("single-tenant").join(id);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("data.parquet"), vec![0; data]).unwrap();
        if !file.is_empty() {
            std::fs::write(folder.join(file), meta).unwrap();
        }
    }

    #[test]
    fn blocks_are_told_apart_by_what_the_store_says_of_them() {
        let store = tempfile::tempdir().unwrap();
        let young = r#"{"format":"vParquet4","totalObjects":20,"size":7}"#;
        let merged = r#"{"totalObjects":50,"compactionLevel":1,"size":7}"#;
        write(store.path(), "young", META, young, 1000);
        write(store.path(), "old", REPLACED, young, 2000);
        write(store.path(), "merged", META, merged, 3000);
        write(store.path(), "half-written", "", "", 4000);
        std::fs::write(store.path().join("tempo_cluster_seed.json"), "{}").unwrap();
        let mut found = blocks(store.path()).unwrap();
        found.sort_by_key(|block| block.bytes);
        let block = |bytes: usize, traces, level, replaced| Block {
            bytes: bytes as u64,
            traces,
            level,
            replaced,
        };
        assert_eq!(
            found,
            [
                block(1000 + young.len(), 20, 0, false),
                block(2000 + young.len(), 20, 0, true),
                block(3000 + merged.len(), 50, 1, false),
            ]
        );
    }

    #[test]
    fn a_block_that_can_not_be_read_is_named_and_a_store_that_is_not_there_is_empty() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(blocks(&store.path().join("none")).unwrap(), []);
        write(store.path(), "torn", META, r#"{"totalObj"#, 10);
        let error = format!("{:#}", blocks(store.path()).unwrap_err());
        assert!(error.contains("torn/meta.json"), "{error}");
    }

    #[test]
    fn complete_blocks_are_not_in_the_log() {
        let log = tempfile::tempdir().unwrap();
        for (file, size) in [
            ("head/0001", 30),
            ("head/meta.json", 5),
            ("blocks/single-tenant/b/data", 700),
        ] {
            let file = log.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, vec![0; size]).unwrap();
        }
        assert_eq!(log_bytes(log.path()), 35);
    }
}
