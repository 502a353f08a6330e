//! Releases as a service that hosts the repository shows them: notes, and files to download.
//!
//! A release begins as a draft, which only those see who may write; it is shown once all of its files are there.
//! Whatever ends a run, the next one finds either a draft to go on with or the whole release.

use std::path::Path;

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::run_dir::RunDir;

use super::dist::Candidate;
use super::target::same_files;
use crate::archive;
use crate::packer::{SBOM, STATEMENT};

/// A service that hosts a repository and its releases.
pub trait Host {
    /// All releases, drafts among them.
    fn releases(&self) -> Result<Vec<Release>>;
    /// The commit that the service has a tag at; none if it has no such tag.
    fn tagged(&self, tag: &str) -> Result<Option<String>>;
    /// Begins a release that nobody is shown.
    fn draft(&self, page: &Page) -> Result<Release>;
    /// Adds a file to a release.
    fn upload(&self, release: &Release, file: &Path, name: &str) -> Result<()>;
    /// Fetches a file of a release.
    fn download(&self, asset: &Asset, to: &Path) -> Result<()>;
    /// Takes a file out of a release.
    fn remove(&self, asset: &Asset) -> Result<()>;
    /// Shows a draft to everybody, with this text; returns its address. The service makes the tag where it has none.
    fn publish(&self, release: &Release, page: &Page) -> Result<String>;
}

/// What a release says.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its tag.
    pub tag: String,
    /// The commit that the tag is made at where it isn't there.
    pub commit: String,
    /// Its title.
    pub title: String,
    /// Markdown.
    pub notes: String,
    /// Whether it is a candidate.
    pub candidate: bool,
}

/// A release that is there.
#[derive(Debug, Clone)]
pub struct Release {
    /// As the service calls it.
    pub id: String,
    /// Its tag, which a draft need not have made yet.
    pub tag: String,
    /// Where people find it.
    pub url: String,
    /// Where its files are uploaded.
    pub upload: String,
    /// Whether only those see it who may write.
    pub draft: bool,
    /// Whether the service lets nobody change it any more.
    pub immutable: bool,
    /// Its files.
    pub assets: Vec<Asset>,
}

/// A file of a release.
#[derive(Debug, Clone)]
pub struct Asset {
    /// As the service calls it.
    pub id: String,
    /// The name that it was uploaded under.
    pub name: String,
    /// Whether all of it was uploaded.
    pub whole: bool,
    /// Its SHA-256 in hexadecimal digits; none where the service doesn't say.
    pub sha256: Option<String>,
}

/// How a packaged chart stands to the releases of a service.
#[derive(Debug)]
pub enum Standing {
    /// There is none.
    New,
    /// A draft that an earlier run left.
    Begun(Release),
    /// It is published, and has these files.
    Published(Release),
    /// It is published with the same files in an archive of another commit: nothing of ours belongs there.
    Other(Release),
    /// It is not published, and its tag is at this other commit.
    Tagged(String),
}

/// How a packaged chart stands to the releases. Errors of [`kit::failure::Kind::Findings`]: several drafts, a draft
/// with files of others, a published release with other files.
pub fn standing(host: &dyn Host, releases: &[Release], candidate: &Candidate, tag: &str) -> Result<Standing> {
    let mut ours = releases.iter().filter(|release| release.tag == tag);
    if let Some(release) = ours.clone().find(|release| !release.draft) {
        return compare(host, candidate, release);
    }
    candidate.fit_for_release()?;
    let commit = candidate.claim.commit.as_ref();
    if let Some(at) = host.tagged(tag)?.filter(|at| Some(at) != commit) {
        return Ok(Standing::Tagged(at));
    }
    let Some(draft) = ours.next() else {
        return Ok(Standing::New);
    };
    if let Some(second) = ours.next() {
        return Err(Failure::findings(
            format!("{tag} has several drafts: {} and {}", draft.url, second.url),
            "delete all but one",
        ));
    }
    let names = names(candidate);
    if let Some(foreign) = draft.assets.iter().find(|asset| !names.contains(&asset.name)) {
        return Err(Failure::findings(
            format!(
                "the draft {} has a file that isn't of this release: {}",
                draft.url, foreign.name
            ),
            "delete that file, or the draft",
        ));
    }
    Ok(Standing::Begun(draft.clone()))
}

/// What is published must be what is packaged; signatures differ each time that they are made.
fn compare(host: &dyn Host, candidate: &Candidate, release: &Release) -> Result<Standing> {
    let temp = RunDir::temporary("assets")?;
    for file in candidate.files() {
        let name = name(&file)?;
        let Some(asset) = release.assets.iter().find(|asset| asset.whole && asset.name == name) else {
            continue;
        };
        let theirs = temp.path().join(&name);
        if name.ends_with(".tgz") {
            if sha256(host, asset, &theirs)? != candidate.sha256 {
                if !theirs.is_file() {
                    host.download(asset, &theirs)?;
                }
                same_files(&candidate.name, &candidate.version, &file, &theirs)?;
                return Ok(Standing::Other(release.clone()));
            }
        } else if [SBOM, STATEMENT].iter().any(|end| name.ends_with(end))
            && sha256(host, asset, &theirs)? != archive::fingerprint(&file)?.1
        {
            return Err(Failure::findings(
                format!("{} has another {name} than was packaged", release.url),
                "package in a checkout of the commit that was released, or raise the version (`cargo xtask bump`)",
            ));
        }
    }
    Ok(Standing::Published(release.clone()))
}

fn sha256(host: &dyn Host, asset: &Asset, to: &Path) -> Result<String> {
    if let Some(sha256) = &asset.sha256 {
        return Ok(sha256.clone());
    }
    host.download(asset, to)?;
    Ok(archive::fingerprint(to)?.1)
}

/// Uploads the files that a release lacks, in a draft those that differ too; returns what was done.
pub fn complete(host: &dyn Host, candidate: &Candidate, release: &Release) -> Result<Vec<String>> {
    let mut done = Vec::new();
    for file in candidate.files() {
        let name = name(&file)?;
        let there: Vec<&Asset> = release.assets.iter().filter(|asset| asset.name == name).collect();
        let ours = archive::fingerprint(&file)?.1;
        let kept = |asset: &&&Asset| asset.whole && (!release.draft || asset.sha256.as_ref() == Some(&ours));
        if there.iter().any(|asset| kept(&asset)) {
            continue;
        }
        if release.immutable {
            return Err(Failure::findings(
                format!("{} lacks {name}, and can't be changed any more", release.url),
                "raise the version: `cargo xtask bump --level patch`",
            ));
        }
        for asset in there {
            host.remove(asset)?;
        }
        host.upload(release, &file, &name)?;
        done.push(format!("uploaded {name}"));
    }
    Ok(done)
}

fn names(candidate: &Candidate) -> Vec<String> {
    let archive = candidate.file_name();
    let ends = super::dist::COMPANIONS.iter().map(|end| format!("{archive}{end}"));
    [archive.clone()].into_iter().chain(ends).collect()
}

fn name(file: &Path) -> Result<String> {
    let name = file.file_name().context("a file has a name")?;
    Ok(name.to_string_lossy().into_owned())
}
