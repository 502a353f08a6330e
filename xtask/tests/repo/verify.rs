//! What a helm accepts and refuses.

use std::path::Path;
use std::process::{Command, Output};

use super::{Repo, expect, text};
use crate::keys::{self, USUAL};

/// `helm verify`.
pub fn run(helm: &Path, archive: &Path, ring: &Path) -> Output {
    let mut command = Command::new(helm);
    command.arg("verify").arg(archive).arg("--keyring").arg(ring);
    command.output().unwrap()
}

/// What is done to a signed package, in its folder.
type Harm = (&'static str, fn(&Path));

const HARMS: &[Harm] = &[
    ("a flipped byte in the archive", |dir| flip(&dir.join(ARCHIVE), 200)),
    ("a flipped byte in the signed text", |dir| {
        replace(&dir.join(PROV), "name: tree", "name: trea")
    }),
    ("a flipped byte in the signature", |dir| {
        let prov = std::fs::read_to_string(dir.join(PROV)).unwrap();
        let at = prov.find("BEGIN PGP SIGNATURE").unwrap() + 60;
        flip(&dir.join(PROV), at);
    }),
    ("another digest in the provenance", |dir| {
        replace(&dir.join(PROV), "sha256:", "sha256:0")
    }),
    ("no provenance", |dir| std::fs::remove_file(dir.join(PROV)).unwrap()),
    ("the provenance of another chart", |dir| {
        std::fs::copy(dir.join("leaf-0.1.0.tgz.prov"), dir.join(PROV)).unwrap();
    }),
];

const ARCHIVE: &str = "tree-0.1.0.tgz";
const PROV: &str = "tree-0.1.0.tgz.prov";

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from));
    std::fs::write(file, text.replacen(from, to, 1)).unwrap();
}

/// Signs two packages; they are accepted as they are, and refused after each harm, with another key
/// and under another name.
pub fn accepts_and_refuses(helm: &Path) {
    let repo = Repo::unreleased();
    let key = keys::make(&repo.dir, "key", &USUAL);
    let other = keys::make(&repo.dir, "other", &USUAL);
    let report = repo.json(&["package", "--sign", "--key-file", "key.asc"]);
    assert_eq!(report["signed_by"], key.fingerprint.as_str());
    let dist = repo.dir.join("dist");
    for archive in ["leaf-0.1.0.tgz", ARCHIVE] {
        let shown = expect(&run(helm, &dist.join(archive), &key.ring), 0);
        assert!(shown.contains("test <test@example.com>"), "{shown}");
    }
    let refused = |name: &str, output: Output| assert!(!output.status.success(), "{name}: {}", text(&output));
    refused("another key", run(helm, &dist.join(ARCHIVE), &other.ring));
    for (name, harm) in HARMS {
        let temp = tempfile::tempdir().unwrap();
        for file in ["leaf-0.1.0.tgz.prov", ARCHIVE, PROV] {
            std::fs::copy(dist.join(file), temp.path().join(file)).unwrap();
        }
        expect(&run(helm, &temp.path().join(ARCHIVE), &key.ring), 0);
        harm(temp.path());
        refused(name, run(helm, &temp.path().join(ARCHIVE), &key.ring));
    }
    let renamed = dist.join("tree-0.2.0.tgz");
    std::fs::copy(dist.join(ARCHIVE), &renamed).unwrap();
    std::fs::copy(dist.join(PROV), dist.join("tree-0.2.0.tgz.prov")).unwrap();
    refused("a renamed file", run(helm, &renamed, &key.ring));
}
