//! Where charts are published, and what is there already.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use charts::project::Project;
use kit::failure::Failure;
use kit::run_dir::RunDir;
use semver::Version;

use super::access::Access;
use super::index::{self, Index};
use super::registry::Registry;
use super::web::Web;
use crate::archive;

/// Where charts are published.
pub enum Target {
    /// `oci://…`
    Registry(Registry),
    /// A static repository in a folder.
    Folder(PathBuf, Index),
    /// A static repository on a web server: its address and its index.
    Web(String, Index, Web),
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
    pub fn open(address: &str, access: &Access, project: &Project) -> Result<Target> {
        if address.starts_with("oci://") {
            return Ok(Target::Registry(Registry::open(address, access, project)?));
        }
        if address.starts_with("https://") || address.starts_with("http://") {
            let base = address.trim_end_matches('/').to_owned();
            let url = format!("{base}/{}", index::FILE);
            let web = Web::open(&url, access, &project.runner)?;
            let temp = RunDir::temporary("index")?;
            if !web.fetch(&url, &temp.path().join(index::FILE))? {
                return Err(Failure::environment(
                    format!("there is no {url}"),
                    "check the address; a new repository is begun with `cargo xtask release index DIR`",
                ));
            }
            let index = match project.runner.plans() {
                true => Index::empty(),
                false => Index::parse(&fs_err::read_to_string(temp.path().join(index::FILE))?, &url)?,
            };
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
            .entries()
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
            Target::Folder(_, index) | Target::Web(_, index, _) => Ok(index.find(chart, version).map(|e| e.sha256)),
        }
    }

    fn fetch(&self, chart: &str, version: &Version, to: &Path) -> Result<()> {
        let lost = || format!("{chart} {version} is listed, but its archive is not there");
        let entry = |index: &Index| index.find(chart, version).with_context(lost);
        match self {
            Target::Registry(registry) => {
                let published = registry.published(chart, version)?.with_context(lost)?;
                registry.fetch_archive(chart, &published, to)
            }
            Target::Folder(dir, index) => {
                let entry = entry(index)?;
                // The address that the folder is published under is not known here.
                let file = entry.path("").unwrap_or_else(|| PathBuf::from(entry.file_name()));
                fs_err::copy(dir.join(file), to).map(drop).with_context(lost)
            }
            Target::Web(base, index, web) => {
                let url = entry(index)?.url;
                let url = if url.contains("://") {
                    url
                } else {
                    format!("{base}/{url}")
                };
                web.fetch(&url, to)?.then_some(()).with_context(lost)
            }
        }
    }

    /// How an archive stands to what is published. Errors of [`Kind::Findings`]: the same version with
    /// other files, and a version below the highest published one unless `backport` is on.
    pub fn state(&self, chart: &str, version: &Version, file: &Path, backport: bool) -> Result<State> {
        let published = self.sha256(chart, version)?;
        // A plan has no archive to compare.
        let Some(published) = published.filter(|_| file.is_file()) else {
            let highest = self.versions(chart)?.pop();
            return judge(chart, version, highest, backport);
        };
        if published == archive::fingerprint(file)?.1 {
            return Ok(State::Same(true));
        }
        let temp = tempfile::NamedTempFile::new().context("making a temporary file")?;
        self.fetch(chart, version, temp.path())?;
        same_files(chart, version, file, temp.path())
    }
}

/// Whether a version that isn't published may be.
pub fn judge(chart: &str, version: &Version, highest: Option<Version>, backport: bool) -> Result<State> {
    match &highest {
        Some(other) if other.cmp_precedence(version).is_eq() && other != version => Err(Failure::findings(
            format!(
                "{chart} {version} has the precedence of the published {other}: what follows a plus sign counts for nothing"
            ),
            "raise the version: `cargo xtask bump --level patch`",
        )),
        Some(other) if other.cmp_precedence(version).is_gt() && !backport => Err(Failure::findings(
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
