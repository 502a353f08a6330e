//! Where charts are published, and what is there already.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::step::Cancel;
use semver::Version;

use super::access::Access;
use super::http::{self, Http};
use super::index::{self, Index};
use super::registry::Registry;
use crate::archive;

/// Where charts are published.
pub enum Target {
    /// `oci://…`
    Registry(Registry),
    /// A static repository in a folder.
    Folder(PathBuf, Index),
    /// A static repository on a web server: its address and its index.
    Web(String, Index, Http),
}

/// How a chart stands to what is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not there; with the highest version that is.
    New(Option<Version>),
    /// There, with the same files; whether the archives are the same byte for byte.
    Same(bool),
}

impl Target {
    /// Opens `oci://…`, `https://…` or a folder, and reads the index of the latter two.
    pub fn open(address: &str, access: &Access, cancel: &Cancel) -> Result<Target> {
        if address.starts_with("oci://") {
            return Ok(Target::Registry(Registry::open(address, access, cancel)?));
        }
        if address.starts_with("https://") || address.starts_with("http://") {
            let base = address.trim_end_matches('/').to_owned();
            let web = Http::open(http::host_of(&base), access, cancel)?;
            let url = format!("{base}/{}", index::FILE);
            let bytes = http::get(&web, &url)?.ok_or_else(|| {
                Failure::environment(
                    format!("there is no {url}"),
                    "check the address; a new repository is begun with `cargo xtask release index DIR`",
                )
            })?;
            let index = Index::parse(&String::from_utf8_lossy(&bytes), &url)?;
            return Ok(Target::Web(base, index, web));
        }
        let dir = PathBuf::from(address);
        if !dir.is_dir() {
            return Err(Failure::usage(
                format!("{address} is neither oci://…, https://… nor a folder"),
                "name a registry, a chart repository or the folder of one",
            ));
        }
        let index = index::read(&dir)?.unwrap_or_else(Index::empty);
        Ok(Target::Folder(dir, index))
    }

    /// The published versions of a chart, lowest first.
    pub fn versions(&self, chart: &str) -> Result<Vec<Version>> {
        let index = match self {
            Target::Registry(registry) => return registry.versions(chart),
            Target::Folder(_, index) | Target::Web(_, index, _) => index,
        };
        let mut versions: Vec<_> = index
            .entries()?
            .into_iter()
            .filter(|e| e.chart == chart)
            .map(|e| e.version)
            .collect();
        versions.sort();
        Ok(versions)
    }

    /// The SHA-256 of a published archive; none if it isn't there.
    fn sha256(&self, chart: &str, version: &Version) -> Result<Option<String>> {
        match self {
            Target::Registry(registry) => Ok(registry.published(chart, version)?.map(|p| p.sha256().to_owned())),
            Target::Folder(_, index) | Target::Web(_, index, _) => Ok(index.find(chart, version)?.map(|e| e.sha256)),
        }
    }

    /// The bytes of a published archive.
    fn fetch(&self, chart: &str, version: &Version) -> Result<Vec<u8>> {
        let lost = || format!("{chart} {version} is listed, but its archive is not there");
        match self {
            Target::Registry(registry) => {
                let published = registry.published(chart, version)?.with_context(lost)?;
                registry.archive(chart, &published)
            }
            Target::Folder(dir, index) => {
                let entry = index.find(chart, version)?.with_context(lost)?;
                std::fs::read(dir.join(entry.file_name())).with_context(lost)
            }
            Target::Web(base, index, web) => {
                let entry = index.find(chart, version)?.with_context(lost)?;
                let url = if entry.url.contains("://") {
                    entry.url
                } else {
                    format!("{base}/{}", entry.url)
                };
                http::get(web, &url)?.with_context(lost)
            }
        }
    }

    /// How an archive stands to what is published. Errors of [`Kind::Findings`]: the same version with
    /// other files, and a version below the highest published one unless `backport` is on.
    pub fn state(&self, chart: &str, version: &Version, file: &Path, backport: bool) -> Result<State> {
        let (_, sha256) = archive::fingerprint(file)?;
        let Some(published) = self.sha256(chart, version)? else {
            let highest = self.versions(chart)?.pop();
            return judge(chart, version, highest, backport);
        };
        if published == sha256 {
            return Ok(State::Same(true));
        }
        let temp = tempfile::NamedTempFile::new().context("making a temporary file")?;
        std::fs::write(temp.path(), self.fetch(chart, version)?).context("writing a temporary file")?;
        same_files(chart, version, file, temp.path())
    }
}

/// Whether a version that isn't published may be.
pub fn judge(chart: &str, version: &Version, highest: Option<Version>, backport: bool) -> Result<State> {
    match &highest {
        Some(other) if other > version && !backport => Err(Failure::findings(
            format!("{chart} {version} is lower than the published {other}"),
            "raise the version (`cargo xtask bump`), or allow it for an older line with --backport",
        )),
        _ => Ok(State::New(highest)),
    }
}

/// Whether two archives of one version hold the same files, whatever their dates.
pub fn same_files(chart: &str, version: &Version, ours: &Path, theirs: &Path) -> Result<State> {
    if archive::content(ours)? == archive::content(theirs)? {
        return Ok(State::Same(false));
    }
    Err(Failure::findings(
        format!("{chart} {version} is published already with other files: no version bump"),
        "raise the version: `cargo xtask bump`",
    ))
}
