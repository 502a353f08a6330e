//! `cargo xtask package`: the charts as archives, the same bytes each time, signed where asked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use stack_tests::failure::{Failure, Kind};
use stack_tests::progress::Progress;
use stack_tests::render::{Prepared, RenderOptions};
use stack_tests::scenarios;
use stack_tests::step::Step;
use stack_tests::tools::Origin;
use stack_tests::whole_file::{self, Mode};
use stack_tests::workspace::Chart;

use crate::archive;
use crate::ctx::{Ctx, TEMP, planned_chart};
use crate::release::annotate::is_local;
use crate::release::cosign::{self, Cosign};
use crate::release::openpgp::Signer;
use crate::release::packer::{BUNDLE, EPOCH, Packed, Packer, SUMS, Signing, file_name, lint_step, package_step};
use crate::release::provenance::Source;

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
/// ci/; `helm lint --strict` passes; every scenario of ci/ renders from the archive alone, with the
/// proxies pointing nowhere. A major version needs its entry in UPGRADING.md. DIR is not touched unless
/// all of this holds for all charts.
///
/// Beside each archive stand a CycloneDX document (.cdx.json) and an in-toto statement with SLSA
/// provenance (.intoto.json); SHA256SUMS covers all three. --sign adds the .prov that `helm verify`
/// accepts, made in process from --key-file or --gnupg-home; --cosign-key adds a cosign signature
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
    /// A GnuPG home folder to take the secret key from, by `gpg --export-secret-keys`, instead of a file.
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

/// What is printed.
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

#[derive(Debug, Serialize)]
struct Archive {
    chart: String,
    version: String,
    file: PathBuf,
    bytes: u64,
    sha256: String,
    /// What stands beside it.
    beside: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &PackageArgs) -> Result<()> {
    let charts = ctx.workspace.charts()?;
    let epoch = epoch(ctx)?;
    let out = match &args.out {
        Some(dir) => std::path::absolute(dir).with_context(|| format!("{} can't be a folder", dir.display()))?,
        None => ctx.workspace.root().join("dist"),
    };
    if ctx.args.dry_run {
        return ctx.print_plan(&plan(ctx, &charts, &out, epoch, args)?);
    }
    let uncommitted = uncommitted(ctx)?;
    warn(ctx, &charts, uncommitted);
    let signing = signing(ctx, args)?;
    let packer = packer(ctx, epoch, uncommitted)?;
    let mut progress = Progress::start("packaging", charts.len() as u64, ctx.args.quiet);
    let mut packed = Vec::new();
    for chart in &charts {
        packed.push(packer.pack(chart, &signing)?);
        progress.advance(chart.name());
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
        signed_by: signing.openpgp.map(|signer| signer.fingerprint()),
        archives,
    };
    ctx.print(&report, lines.join("\n"))
}

/// What packs the charts of the working tree, with the pinned helm. `uncommitted` is whether they differ
/// from the last commit; none where git can't tell.
pub fn packer(ctx: &Ctx, epoch: u64, uncommitted: Option<bool>) -> Result<Packer<'_>> {
    let tool = ctx.toolbox.pinned("helm")?;
    let source = Source {
        commit: commit(ctx)?,
        uncommitted: uncommitted != Some(false),
        epoch,
        helm: tool.version.to_string(),
        published: ctx.publication.charts.clone(),
    };
    Packer::new(ctx, tool.path, source)
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
        let signer = signer(ctx, args)?;
        let wanted = ctx
            .publication
            .sign_key
            .as_ref()
            .map(|key| key.fingerprint.replace(' ', ""));
        if let Some(wanted) = wanted.filter(|wanted| !wanted.eq_ignore_ascii_case(&signer.fingerprint())) {
            return Err(Failure::err(
                Kind::Usage,
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

fn signer(ctx: &Ctx, args: &PackageArgs) -> Result<Signer> {
    let passphrase = secret(args.passphrase_file.as_deref(), "XTASK_PASSPHRASE")?;
    if let Some(home) = &args.gnupg_home {
        let step = export_step(home, passphrase.clone());
        let output = ctx.runner.try_run(&step)?;
        if !output.success() {
            // Its standard output may hold a part of the key.
            let what = format!("{} failed:\n{}", step.name, output.stderr.trim());
            return Err(Failure::err(Kind::Findings, what, step.hint.unwrap_or_default()));
        }
        let shown = home.display().to_string();
        return Signer::parse(output.stdout.as_bytes(), &shown, passphrase.as_deref());
    }
    let Some(file) = &args.key_file else {
        return Err(Failure::err(
            Kind::Usage,
            "--sign needs a key",
            "give it with --key-file (or XTASK_KEY_FILE), or a GnuPG home with --gnupg-home",
        ));
    };
    Signer::read(file, passphrase.as_deref())
}

/// The passphrase goes through standard input: others can read arguments.
fn export_step(home: &Path, passphrase: Option<String>) -> Step {
    Step::new("gpg --export-secret-keys", "gpg")
        .arg("--homedir")
        .path_arg(home)
        .args(["--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0"])
        .args(["--armor", "--export-secret-keys"])
        .stdin(passphrase.unwrap_or_default() + "\n")
        .hint("install GnuPG, check the passphrase, or export the key yourself and name it with --key-file")
}

/// A cosign that signs with a key.
pub fn cosign(ctx: &Ctx, key: &Path, passphrase_file: Option<&Path>) -> Result<Cosign> {
    if !key.is_file() {
        return Err(Failure::err(
            Kind::Usage,
            format!("there is no cosign key {}", key.display()),
            "make one with `cosign generate-key-pair` and name its private part with --cosign-key",
        ));
    }
    Ok(Cosign {
        program: ctx.toolbox.get("cosign")?.path,
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
        Failure::err(
            Kind::Usage,
            format!("the passphrase file {} can't be read: {error}", file.display()),
            "name a file whose first line is the passphrase",
        )
    })?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}

fn commit(ctx: &Ctx) -> Result<Option<String>> {
    match ctx.runner.try_run(&git(ctx, &["rev-parse", "--verify", "HEAD"])) {
        Ok(output) if output.success() => Ok(Some(output.stdout.trim().to_owned())),
        Ok(_) => Ok(None),
        Err(_) => ctx.runner.cancel().check().map(|()| None),
    }
}

/// `$SOURCE_DATE_EPOCH`, else the time of the last commit, in seconds since 1970.
pub fn epoch(ctx: &Ctx) -> Result<u64> {
    let remedy = format!("set {EPOCH} to the seconds since 1970 that all files are to be dated with");
    if let Some(value) = std::env::var_os(EPOCH).filter(|value| !value.is_empty()) {
        let value = value.to_string_lossy();
        return value.parse().map_err(|_| {
            Failure::err(
                Kind::Usage,
                format!("{EPOCH}={value} is not a number of seconds"),
                remedy,
            )
        });
    }
    let unknown = |why: String| {
        let what = format!("the archives can't be dated: {why}");
        Failure::err(
            Kind::Environment,
            what,
            format!("run it in a git checkout, or {remedy}"),
        )
    };
    let output = ctx
        .runner
        .try_run(&git(ctx, &["log", "-1", "--format=%ct", "HEAD"]))
        .map_err(|error| unknown(error.to_string()))?;
    if !output.success() {
        return Err(unknown(output.tail()));
    }
    let seconds = output.stdout.trim().parse();
    seconds.map_err(|_| unknown(format!("git printed {:?}", output.stdout)))
}

/// Whether charts/ differs from the last commit; none where git can't tell.
pub fn uncommitted(ctx: &Ctx) -> Result<Option<bool>> {
    match ctx
        .runner
        .try_run(&git(ctx, &["status", "--porcelain", "--", "charts"]))
    {
        Ok(output) if output.success() => Ok(Some(!output.stdout.is_empty())),
        Ok(_) => Ok(None),
        Err(_) => ctx.runner.cancel().check().map(|()| None),
    }
}

fn git(ctx: &Ctx, args: &[&str]) -> Step {
    Step::new(format!("git {}", args[0]), "git")
        .args(args.iter().copied())
        .cwd(ctx.workspace.root())
}

/// What would run, with TEMP for the temporary folder.
fn plan(ctx: &Ctx, charts: &[Chart], out: &Path, epoch: u64, args: &PackageArgs) -> Result<Vec<Step>> {
    let temp = Path::new(TEMP);
    let mut steps = Vec::new();
    steps.extend(args.gnupg_home.iter().map(|home| export_step(home, None)));
    steps.extend(pack_steps(ctx, charts, epoch)?);
    for chart in charts {
        if let Some(key) = &args.cosign_key {
            let cosign = Cosign {
                program: planned_cosign(ctx)?,
                key: key.clone(),
                password: String::new(),
            };
            let bundle = temp.join(format!("{}{BUNDLE}", file_name(chart)));
            steps.push(cosign.sign_blob(&temp.join(file_name(chart)), &bundle));
        }
    }
    let archives = charts
        .iter()
        .map(|chart| temp.join(file_name(chart)).display().to_string() + "*");
    let keep = Step::new("keep the archives and what belongs to them", "mv")
        .args(archives)
        .path_arg(out);
    steps.push(keep);
    Ok(steps)
}

/// A cosign for a plan: what is found, or the name of what would be built first.
pub fn planned_cosign(ctx: &Ctx) -> Result<PathBuf> {
    Ok(ctx
        .toolbox
        .find("cosign")?
        .map_or_else(|| "cosign".into(), |tool| tool.path))
}

/// What packs and tries the charts, with TEMP for the temporary folder.
pub fn pack_steps(ctx: &Ctx, charts: &[Chart], epoch: u64) -> Result<Vec<Step>> {
    // Not built for a plan.
    let helm = ctx.planned_helm(Some(Origin::Pinned))?;
    let temp = Path::new(TEMP);
    let mut steps = Vec::new();
    for chart in charts {
        let archive = temp.join(file_name(chart));
        let (folder, build) = planned_chart(&helm, chart);
        steps.extend(build);
        let documented = RenderOptions::documented(chart.name());
        steps.push(helm.template_step(&folder, &documented));
        steps.push(package_step(&helm, chart, &folder.dir, temp, epoch));
        steps.push(lint_step(&helm, chart.name(), &archive));
        for scenario in chart.scenarios()? {
            let alone = Prepared::archive(chart.name(), &archive);
            steps.push(helm.template_step(&alone, &scenarios::options(chart, &scenario)?));
        }
    }
    Ok(steps)
}

/// Moves everything to where it belongs; each file appears whole or not at all.
fn keep(packed: &[Packed], out: &Path) -> Result<Vec<Archive>> {
    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let mut sums = Vec::new();
    let mut archives = Vec::new();
    let place = |file: &Path| -> Result<PathBuf> { Ok(out.join(file.file_name().context("a file has a name")?)) };
    for chart in packed {
        for file in [&chart.archive].into_iter().chain(&chart.papers) {
            let (_, sha256) = archive::fingerprint(file)?;
            let name = file
                .file_name()
                .context("a file has a name")?
                .to_string_lossy()
                .into_owned();
            sums.push(format!("{sha256}  {name}\n"));
        }
        let mut beside = Vec::new();
        for file in chart.papers.iter().chain(&chart.signatures) {
            copy(file, &place(file)?)?;
            beside.push(place(file)?);
        }
        let file = place(&chart.archive)?;
        // A signature of other bytes would only mislead.
        for end in [".prov", BUNDLE] {
            let old = out.join(format!(
                "{}{end}",
                file.file_name().unwrap_or_default().to_string_lossy()
            ));
            if !beside.contains(&old) && old.exists() {
                std::fs::remove_file(&old).with_context(|| format!("removing {}", old.display()))?;
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
    let bytes = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    whole_file::write(to, bytes, Mode::Everybody)
}
