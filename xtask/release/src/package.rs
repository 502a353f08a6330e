//! The charts of the working tree as archives: what packs them, when they are dated, where they are kept.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use charts::project::Project;
use kit::failure::Failure;
use kit::run_dir::RunDir;
use kit::whole_file::{self, Mode};
use serde::Serialize;

use crate::archive;
use crate::cosign::{self, Cosign};
use crate::git::Git;
use crate::packer::{BUNDLE, EPOCH, Packed, Packer, STATEMENT_BUNDLE, SUMS};
use crate::provenance::Source;

/// What packs the charts of a checkout at `commit`, with the pinned helm. `uncommitted` is whether they
/// differ from it.
pub fn packer(project: &Project, epoch: u64, commit: Option<String>, uncommitted: bool) -> Result<Packer<'_>> {
    let tool = project.toolbox.pinned("helm")?;
    let source = Source {
        commit,
        uncommitted,
        epoch,
        helm: tool.version.to_string(),
        published: project.publication.charts.clone(),
    };
    Packer::new(project, tool.path, source)
}

/// The project as it is in a commit, in a temporary folder that goes with the second value: what is packed from
/// it is what was committed, whatever lies in the working tree.
pub fn committed(project: &Project, git: &Git, commit: &str) -> Result<(Project, RunDir)> {
    let temp = RunDir::temporary("commit")?;
    let root = git.export(commit, temp.path())?;
    Ok((project.in_checkout(&root)?, temp))
}

/// A cosign that signs with a key.
pub fn cosign(project: &Project, key: &Path, passphrase_file: Option<&Path>) -> Result<Cosign> {
    if !key.is_file() {
        return Err(Failure::usage(
            format!("there is no cosign key {}", key.display()),
            "make one with `cosign generate-key-pair` and name its private part with --cosign-key",
        ));
    }
    Ok(Cosign {
        program: project.toolbox.get("cosign")?.path,
        key: key.to_path_buf(),
        password: secret(passphrase_file, cosign::PASSWORD)?.unwrap_or_default(),
    })
}

/// The first line of a file, else a variable.
pub fn secret(file: Option<&Path>, variable: &str) -> Result<Option<String>> {
    let Some(file) = file else {
        return Ok(std::env::var(variable).ok());
    };
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(
            format!("the passphrase file {} can't be read: {error}", file.display()),
            "name a file whose first line is the passphrase",
        )
    })?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}

/// `$SOURCE_DATE_EPOCH`, else the time of the checkout's last commit, in seconds since 1970.
pub fn epoch(git: &Result<Git>) -> Result<u64> {
    let remedy = format!("set {EPOCH} to the seconds since 1970 that all files are to be dated with");
    if let Some(value) = std::env::var_os(EPOCH).filter(|value| !value.is_empty()) {
        let value = value.to_string_lossy();
        return value
            .parse()
            .map_err(|_| Failure::usage(format!("{EPOCH}={value} is not a number of seconds"), remedy));
    }
    let unknown = |why: &anyhow::Error| {
        let what = format!("the archives can't be dated: {why:#}");
        Failure::environment(what, format!("run it in a git checkout, or {remedy}"))
    };
    let git = git.as_ref().map_err(unknown)?;
    git.time().map_err(|error| unknown(&error))
}

/// Moves everything to where it belongs; each file appears whole or not at all.
pub fn keep(packed: &[Packed], out: &Path) -> Result<Vec<Archive>> {
    fs_err::create_dir_all(out)?;
    let mut sums = Vec::new();
    let mut archives = Vec::new();
    let place = |file: &Path| -> Result<PathBuf> { Ok(out.join(file.file_name().context("a file has a name")?)) };
    for chart in packed {
        for file in [&chart.archive].into_iter().chain(&chart.attachments) {
            let (_, sha256) = archive::fingerprint(file)?;
            let name = file
                .file_name()
                .context("a file has a name")?
                .to_string_lossy()
                .into_owned();
            sums.push(format!("{sha256}  {name}\n"));
        }
        let mut beside = Vec::new();
        for file in chart.attachments.iter().chain(&chart.signatures) {
            copy(file, &place(file)?)?;
            beside.push(place(file)?);
        }
        let file = place(&chart.archive)?;
        // A signature of other bytes would only mislead.
        for end in [".prov", BUNDLE, STATEMENT_BUNDLE] {
            let old = out.join(format!(
                "{}{end}",
                file.file_name().unwrap_or_default().to_string_lossy()
            ));
            if !beside.contains(&old) && old.exists() {
                fs_err::remove_file(&old)?;
            }
        }
        copy(&chart.archive, &file)?;
        archives.push(Archive {
            chart: chart.chart.clone(),
            version: chart.version.to_string(),
            file,
            bytes: chart.bytes,
            sha256: chart.sha256.clone(),
            beside,
        });
    }
    whole_file::write(&out.join(SUMS), sums.concat(), Mode::Everybody)?;
    Ok(archives)
}

/// Copies a file that everybody may read.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs_err::read(from)?;
    whole_file::write(to, bytes, Mode::Everybody)
}
/// A chart as it is kept.
#[derive(Debug, Serialize)]
pub struct Archive {
    /// The chart's name.
    pub chart: String,
    /// Its version.
    pub version: String,
    /// The archive.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// What stands beside it.
    pub beside: Vec<PathBuf>,
}
