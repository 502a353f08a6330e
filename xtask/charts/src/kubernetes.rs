//! The versions of Kubernetes that the charts are held to, and where their API schemas are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kit::failure::Failure;
use semver::Version;

/// Where the committed schemas are: `ci/schemas` below the workspace.
pub fn folder(root: &Path) -> PathBuf {
    root.join("ci/schemas")
}

/// Where the schemas of a version of Kubernetes are, with the module files that pin them.
pub fn version_folder(root: &Path, version: &str) -> PathBuf {
    folder(root).join(format!("v{version}"))
}

/// The versions of Kubernetes whose schemas are committed, lowest first; an error where there are none.
pub fn versions(root: &Path) -> Result<Vec<String>> {
    let folder = folder(root);
    let mut versions = Vec::new();
    for entry in fs_err::read_dir(&folder)? {
        let name = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .file_name();
        let version = name
            .to_str()
            .and_then(|name| Version::parse(name.strip_prefix('v')?).ok());
        versions.extend(version);
    }
    if versions.is_empty() {
        return Err(Failure::usage(
            format!("{} holds no schemas of Kubernetes", folder.display()),
            "`cargo xtask schemas --help` says how to add a version",
        ));
    }
    versions.sort();
    Ok(versions.iter().map(Version::to_string).collect())
}
