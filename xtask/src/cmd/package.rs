//! `cargo xtask package`: the charts as archives, the same bytes each time, signed where asked.

use std::path::PathBuf;

use anyhow::{Context, Result};
use charts::project::Project;
use charts::workspace::Chart;
use clap::Args;
use kit::failure::Failure;
use kit::progress::Progress;
use release::annotate::is_local;
use release::git::Git;
use release::gpg::Signer;
use release::package::{Archive, committed, cosign, epoch, keep, packer, secret};
use release::packer::Signing;
use serde::Serialize;

use crate::ctx::Ctx;

/// Packages every chart into DIR/<chart>-<version>.tgz, the same bytes each time.
///
/// What is packed is what the last commit holds: neither a change that is not committed nor a file that
/// git doesn't know gets into an archive. --uncommitted packs the folder as it is, to try it; such an
/// archive says so in its provenance statement, and is refused by `release push` and `release index`.
///
/// Always runs the pinned helm, because only helm 4 dates the files by SOURCE_DATE_EPOCH, which is the
/// time of the last commit unless it is set. Dependencies are built in a temporary copy, so that an
/// archive carries them: it installs without the workspace and without a network. In that copy a
/// `file://` dependency gets the address where the charts are published (`published-charts` in
/// [workspace.metadata.xtask], or XTASK_PUBLISHED_CHARTS), and Chart.yaml gets Artifact Hub's
/// annotations for images, prerelease, security updates, maintainers and signKey.
///
/// Each archive is tried before it is kept: its files are complete, plain, dated alike and without
/// ci/; `helm lint --strict` passes; every case of ci/ renders from the archive alone, with the
/// proxies pointing nowhere. A major version needs its entry in UPGRADING.md. DIR is not touched unless
/// all of this holds for all charts.
///
/// Beside each archive stand a CycloneDX document (.cdx.json) and an in-toto statement with SLSA
/// provenance (.intoto.json); SHA256SUMS covers all three. --sign adds the .prov that `helm verify`
/// accepts, made by gpg with the key of --key-file or --gnupg-home, and covers both documents; --cosign-key adds a cosign signature
/// (.sigstore.json) without a transparency log.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask package
  cargo xtask package --out /tmp/charts --format json
  cargo xtask package --sign --key-file secret.asc --passphrase-file passphrase.txt
  helm verify dist/observability-0.1.0.tgz --keyring pubring.gpg
  cosign verify-blob --key cosign.pub --private-infrastructure \\
    --bundle dist/observability-0.1.0.tgz.sigstore.json dist/observability-0.1.0.tgz")]
pub struct PackageArgs {
    /// Where the archives go; made if it isn't there [default: dist in the workspace].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Pack the files of the folder instead of those of the last commit.
    #[arg(long)]
    uncommitted: bool,
    /// Sign each archive for `helm verify`.
    #[arg(long)]
    sign: bool,
    /// The OpenPGP secret key, armored or binary.
    #[arg(long, value_name = "FILE", env = "XTASK_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// A GnuPG home folder with the secret key, instead of a file.
    #[arg(long, value_name = "DIR", requires = "sign")]
    gnupg_home: Option<PathBuf>,
    /// A file whose first line is the key's passphrase [default: the variable XTASK_PASSPHRASE].
    #[arg(long, value_name = "FILE", requires = "sign")]
    passphrase_file: Option<PathBuf>,
    /// Sign each archive with cosign and this private key.
    #[arg(long, value_name = "FILE", env = "XTASK_COSIGN_KEY")]
    cosign_key: Option<PathBuf>,
    /// A file whose first line is that key's password [default: the variable COSIGN_PASSWORD].
    #[arg(long, value_name = "FILE", requires = "cosign_key")]
    cosign_passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    /// The pinned helm's version.
    helm: String,
    /// Seconds since 1970.
    source_date_epoch: u64,
    /// Whether the archives hold the files of the folder instead of a commit's.
    uncommitted: bool,
    /// The fingerprint of the key that signed.
    signed_by: Option<String>,
    archives: Vec<Archive>,
}

pub fn run(ctx: &Ctx, args: &PackageArgs) -> Result<()> {
    let git = Git::of(ctx);
    ctx.runner.cancel().check()?;
    let epoch = epoch(&git)?;
    let git = git.ok();
    let out = match &args.out {
        Some(dir) => std::path::absolute(dir).with_context(|| format!("{} can't be a folder", dir.display()))?,
        None => ctx.workspace.root().join("dist"),
    };
    let dirty = git.as_ref().map(|git| git.dirty(&["charts"])).transpose()?;
    let commit = git.as_ref().and_then(|git| git.head().ok());
    let from_commit = match (&git, &commit) {
        (Some(git), Some(commit)) if !args.uncommitted => Some(committed(ctx, git, commit)?),
        _ => None,
    };
    let uncommitted = from_commit.is_none();
    let project: &Project = from_commit.as_ref().map_or(ctx, |(project, _)| project);
    let charts = project.workspace.charts()?;
    warn(ctx, project, &charts, uncommitted, dirty == Some(true));
    let signing = signing(project, args)?;
    let packer = packer(project, epoch, commit, uncommitted)?;
    let mut progress = Progress::start("packaging", charts.len() as u64, ctx.args.quiet);
    let mut packed = Vec::new();
    for chart in &charts {
        packed.push(packer.pack(chart, &signing)?);
        progress.advance(chart.name());
    }
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    let archives = keep(&packed, &out)?;
    progress.finish(&format!(
        "{} charts, linted and rendered from their archives",
        archives.len()
    ));
    let line = |a: &Archive| {
        let file = ctx.workspace.shown(&a.file);
        format!("{file}  {} bytes  sha256:{}", a.bytes, a.sha256)
    };
    let lines: Vec<_> = archives.iter().map(line).collect();
    let report = Report {
        helm: packer.helm_version().to_owned(),
        source_date_epoch: epoch,
        uncommitted,
        signed_by: signing.openpgp.map(|signer| signer.fingerprint().to_owned()),
        archives,
    };
    ctx.print(&report, lines.join("\n"))
}

fn warn(ctx: &Ctx, project: &Project, charts: &[Chart], uncommitted: bool, dirty: bool) {
    if uncommitted {
        ctx.say(
            "warning: the archives hold the files of this folder and not those of a commit: they can't be released",
        );
    } else if dirty {
        ctx.say(
            "warning: charts/ has changes that are not committed: they are not in the archives (--uncommitted packs the \
             folder as it is)",
        );
    }
    let mut local = charts.iter().flat_map(|c| &c.metadata.dependencies);
    if project.publication.charts.is_none() && local.any(|d| is_local(&d.repository)) {
        ctx.say(
            "warning: file:// dependencies stay as they are, with the subchart inside the archive: set \
             `published-charts` in [workspace.metadata.xtask]; `release push` and `release index` refuse such an archive",
        );
    }
}

/// The keys, read before anything is packed.
fn signing(project: &Project, args: &PackageArgs) -> Result<Signing> {
    let mut signing = Signing::default();
    if args.sign {
        let wanted = project.publication.sign_key.as_ref();
        let wanted = wanted.map(|key| key.fingerprint.replace(' ', "").to_uppercase());
        let wanted = wanted.as_deref().map(|wanted| wanted.trim_start_matches("0X"));
        signing.openpgp = Some(signer(project, args, wanted)?);
    }
    if let Some(key) = &args.cosign_key {
        signing.cosign = Some(cosign(project, key, args.cosign_passphrase_file.as_deref())?);
    }
    Ok(signing)
}

fn signer(project: &Project, args: &PackageArgs, wanted: Option<&str>) -> Result<Signer> {
    let passphrase = secret(args.passphrase_file.as_deref(), "XTASK_PASSPHRASE")?;
    match (&args.gnupg_home, &args.key_file) {
        (Some(home), _) => Signer::of_home(&project.runner, home, passphrase, wanted),
        (None, Some(file)) => Signer::of_file(&project.runner, file, passphrase, wanted),
        (None, None) => Err(Failure::usage(
            "--sign needs a key",
            "give it with --key-file (or XTASK_KEY_FILE), or a GnuPG home with --gnupg-home",
        )),
    }
}
