//! `cargo xtask package`: the charts as archives, the same bytes each time, signed where asked.

use std::path::PathBuf;

use anyhow::{Context, Result};
use charts::workspace::Chart;
use clap::Args;
use kit::failure::Failure;
use kit::progress::Progress;
use release::annotate::is_local;
use release::git::Git;
use release::gpg::Signer;
use release::package::{Archive, cosign, epoch, keep, packer, secret};
use release::packer::Signing;
use serde::Serialize;

use crate::ctx::Ctx;

/// Packages every chart into DIR/<chart>-<version>.tgz, the same bytes each time.
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
    /// Whether charts/ holds changes that no commit has; none where git can't tell.
    uncommitted: Option<bool>,
    /// The fingerprint of the key that signed.
    signed_by: Option<String>,
    archives: Vec<Archive>,
}

pub fn run(ctx: &Ctx, args: &PackageArgs) -> Result<()> {
    let charts = ctx.workspace.charts()?;
    let git = Git::open(ctx.workspace.root(), &ctx.runner);
    ctx.runner.cancel().check()?;
    let epoch = epoch(&git)?;
    let git = git.ok();
    let out = match &args.out {
        Some(dir) => std::path::absolute(dir).with_context(|| format!("{} can't be a folder", dir.display()))?,
        None => ctx.workspace.root().join("dist"),
    };
    let uncommitted = git.as_ref().map(|git| git.dirty(&["charts"])).transpose()?;
    let commit = git.and_then(|git| git.head().ok());
    warn(ctx, &charts, uncommitted);
    let signing = signing(ctx, args)?;
    let packer = packer(ctx, epoch, commit, uncommitted != Some(false))?;
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

fn warn(ctx: &Ctx, charts: &[Chart], uncommitted: Option<bool>) {
    if uncommitted == Some(true) {
        ctx.say(
            "warning: charts/ has changes that are not committed; the archives hold them under the last commit's date",
        );
    }
    let mut local = charts.iter().flat_map(|c| &c.metadata.dependencies);
    if ctx.publication.charts.is_none() && local.any(|d| is_local(&d.repository)) {
        ctx.say(
            "warning: file:// dependencies stay as they are, with the subchart inside the archive: set \
             `published-charts` in [workspace.metadata.xtask]; `release push` and `release index` refuse such an archive",
        );
    }
}

/// The keys, read before anything is packed.
fn signing(ctx: &Ctx, args: &PackageArgs) -> Result<Signing> {
    let mut signing = Signing::default();
    if args.sign {
        let wanted = ctx.publication.sign_key.as_ref();
        let wanted = wanted.map(|key| key.fingerprint.replace(' ', "").to_uppercase());
        let signer = signer(ctx, args, wanted.as_deref())?;
        if let Some(wanted) = wanted.filter(|wanted| wanted != signer.fingerprint()) {
            return Err(Failure::usage(
                format!(
                    "the key {} is not {wanted}, which sign-key in Cargo.toml names",
                    signer.fingerprint()
                ),
                "sign with that key, or name the new one in Cargo.toml",
            ));
        }
        signing.openpgp = Some(signer);
    }
    if let Some(key) = &args.cosign_key {
        signing.cosign = Some(cosign(ctx, key, args.cosign_passphrase_file.as_deref())?);
    }
    Ok(signing)
}

fn signer(ctx: &Ctx, args: &PackageArgs, wanted: Option<&str>) -> Result<Signer> {
    let passphrase = secret(args.passphrase_file.as_deref(), "XTASK_PASSPHRASE")?;
    match (&args.gnupg_home, &args.key_file) {
        (Some(home), _) => Signer::of_home(&ctx.runner, home, passphrase, wanted),
        (None, Some(file)) => Signer::of_file(&ctx.runner, file, passphrase, wanted),
        (None, None) => Err(Failure::usage(
            "--sign needs a key",
            "give it with --key-file (or XTASK_KEY_FILE), or a GnuPG home with --gnupg-home",
        )),
    }
}
