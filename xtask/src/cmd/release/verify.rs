//! `cargo xtask release verify`: is what was published what was built?

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use charts::render::{Helm, Prepared, RenderOptions};
use charts::workspace::Chart;
use clap::Args;
use kit::failure::Failure;
use kit::run_dir::RunDir;
use kit::step::Step;
use release::access::Access;
use release::archive;
use release::cosign::{verify_blob, verify_pushed};
use release::dist::{COMPANIONS, beside};
use release::git::Git;
use release::gpg;
use release::index;
use release::package::{committed, packer};
use release::packer::{BUNDLE, SBOM, STATEMENT, STATEMENT_BUNDLE, Signing, lint_step, with_isolated_home};
use release::provenance::{self, Claim};
use release::registry::Registry;
use release::sbom;
use release::web::Web;
use semver::Version;
use serde::Serialize;

use super::checks::{self, Check, check, skipped};
use super::push::{SBOM_TYPE, STATEMENT_TYPE};
use crate::ctx::Ctx;

/// Checks a published chart: that it is the one that was asked for, its digest, its signatures, its
/// provenance, its SBOM, that helm accepts and renders it, and that a build of the tagged commit makes the same bytes.
///
/// Every check is shown as passed, failed or skipped; what was not asked for (--keyring, --cosign-pub) is
/// skipped, never passed. A signature that is checked must cover the provenance statement, too. The build happens in a temporary copy of the commit, with the tools that are
/// pinned there. Exit code 1 if a check failed.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask release verify oci://registry.example.com/charts/tempo-stack:0.1.0 --keyring pubring.gpg
  cargo xtask release verify https://charts.example.com/tempo-stack-0.1.0.tgz --keyring pubring.gpg
  cargo xtask release verify dist/tempo-stack-0.1.0.tgz --cosign-pub cosign.pub
  cargo xtask release verify --all --to oci://registry.example.com/charts --keyring pubring.gpg")]
pub struct VerifyArgs {
    /// oci://HOST/PATH/CHART:VERSION, the address of an archive on a web server, or an archive.
    #[arg(value_name = "REF", required_unless_present = "all")]
    reference: Option<String>,
    /// Every chart of this workspace in its version, at --to, instead of REF.
    #[arg(long, conflicts_with = "reference", requires = "to")]
    all: bool,
    /// With --all: oci://HOST/PATH, https://HOST/PATH or a folder.
    #[arg(long, value_name = "TARGET", env = "XTASK_RELEASE_TO")]
    to: Option<String>,
    /// The public keys that may have signed the .prov, armored or binary.
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// The public key of the cosign signature.
    #[arg(long, value_name = "FILE")]
    cosign_pub: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

/// What was found about one reference.
#[derive(Debug, Serialize)]
struct Report {
    reference: String,
    checks: Vec<Check>,
}

/// A published chart, brought here.
struct Fetched {
    archive: PathBuf,
    /// The chart and the version that the reference names.
    chart: String,
    version: Version,
    /// The digest that the registry's manifest or the index says, and which of them.
    listed: Option<(String, String)>,
    pushed: Option<Pushed>,
}

/// What cosign verifies in a registry: the chart and its statement, each by its digest.
struct Pushed {
    registry: Registry,
    chart: String,
    statement: Option<String>,
}

pub fn run(ctx: &Ctx, args: &VerifyArgs) -> Result<()> {
    let mut reports = Vec::new();
    for reference in references(ctx, args)? {
        let temp = RunDir::temporary("verify")?;
        let work = Verify {
            ctx,
            args,
            helm: ctx.helm_at(ctx.toolbox.pinned("helm")?.path),
            dir: temp.path().to_path_buf(),
            reference,
        };
        let checks = work.checks(&work.fetch()?)?;
        reports.push(Report {
            reference: work.reference,
            checks,
        });
    }
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    ctx.print(&reports, reports.iter().map(text).collect::<Vec<_>>().join("\n"))?;
    let failed: Vec<_> = reports.iter().filter_map(failures).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::findings(
        failed.join("\n"),
        "don't use it until that is explained",
    ))
}

fn references(ctx: &Ctx, args: &VerifyArgs) -> Result<Vec<String>> {
    if let Some(reference) = &args.reference {
        return Ok(vec![reference.clone()]);
    }
    let to = args.to.as_deref().unwrap_or_default().trim_end_matches('/');
    let charts = ctx.workspace.charts()?;
    let reference = |chart: &Chart| {
        let (name, version) = (chart.name(), &chart.metadata.version);
        match to.starts_with("oci://") {
            true => format!("{to}/{name}:{version}"),
            false => format!("{to}/{name}-{version}.tgz"),
        }
    };
    Ok(charts.iter().map(reference).collect())
}

fn text(report: &Report) -> String {
    format!("{}\n{}", report.reference, checks::lines(&report.checks))
}

fn failures(report: &Report) -> Option<String> {
    let names = checks::failed(&report.checks);
    (!names.is_empty()).then(|| format!("verification of {} failed: {}", report.reference, names.join(", ")))
}

/// The address of a registry, the chart and its version.
fn split(reference: &str) -> Result<(String, String, Version)> {
    let parts = reference.rsplit_once(':').and_then(|(path, tag)| {
        let (place, chart) = path.rsplit_once('/')?;
        Some((place.to_owned(), chart.to_owned(), tag.replace('_', "+").parse().ok()?))
    });
    parts.ok_or_else(|| unnamed(reference))
}

/// The file name of an archive, and the chart and the version that it says.
fn named(reference: &str) -> Result<(&str, &str, Version)> {
    let name = reference.rsplit('/').next().unwrap_or_default();
    let stem = name.strip_suffix(".tgz").unwrap_or_default();
    let mut dashes = stem.match_indices('-');
    let parts = dashes.find_map(|(at, _)| Some((name, &stem[..at], stem[at + 1..].parse().ok()?)));
    parts.ok_or_else(|| unnamed(reference))
}

fn unnamed(reference: &str) -> anyhow::Error {
    Failure::usage(
        format!("{reference} names no version of a chart"),
        "write it as oci://HOST/PATH/CHART:VERSION, https://HOST/PATH/CHART-VERSION.tgz or DIR/CHART-VERSION.tgz",
    )
}

struct Verify<'a> {
    ctx: &'a Ctx,
    args: &'a VerifyArgs,
    helm: Helm,
    dir: PathBuf,
    reference: String,
}

impl Verify<'_> {
    fn fetch(&self) -> Result<Fetched> {
        let reference = self.reference.as_str();
        if reference.starts_with("oci://") {
            self.pull(reference)
        } else if reference.starts_with("https://") || reference.starts_with("http://") {
            self.download(reference)
        } else {
            self.copy(Path::new(reference))
        }
    }

    fn missing(&self) -> anyhow::Error {
        Failure::findings(
            format!("{} is not published", self.reference),
            "check the name and the version",
        )
    }

    fn pull(&self, reference: &str) -> Result<Fetched> {
        let (place, chart, version) = split(reference)?;
        let registry = Registry::open(&place, &self.args.access, self.ctx)?;
        let published = registry.published(&chart, &version)?.ok_or_else(|| self.missing())?;
        let archive = self.dir.join(format!("{chart}-{version}.tgz"));
        registry.fetch_archive(&chart, &published, &archive)?;
        registry.fetch_prov(&chart, &published, &beside(&archive, ".prov"))?;
        let statement = registry.attached(&chart, &published, STATEMENT_TYPE)?;
        if let Some(digest) = &statement {
            registry.fetch_attachment(&chart, digest, &beside(&archive, STATEMENT))?;
        }
        if let Some(digest) = registry.attached(&chart, &published, SBOM_TYPE)? {
            registry.fetch_attachment(&chart, &digest, &beside(&archive, SBOM))?;
        }
        Ok(Fetched {
            archive,
            listed: Some((published.sha256().to_owned(), "the manifest".to_owned())),
            pushed: Some(Pushed {
                statement: statement.map(|digest| registry.by_digest(&chart, &digest)),
                chart: registry.by_digest(&chart, &published.digest),
                registry,
            }),
            chart,
            version,
        })
    }

    fn download(&self, url: &str) -> Result<Fetched> {
        let (name, chart, version) = named(url)?;
        let web = Web::open(url, &self.args.access, &self.ctx.runner)?;
        let archive = self.dir.join(name);
        if !web.fetch(url, &archive)? {
            return Err(self.missing());
        }
        for end in COMPANIONS {
            web.fetch(&format!("{url}{end}"), &beside(&archive, end))?;
        }
        let base = url.trim_end_matches(name);
        web.fetch(&format!("{base}{}", index::FILE), &self.dir.join(index::FILE))?;
        self.listed(archive, chart, version, &self.dir)
    }

    fn copy(&self, file: &Path) -> Result<Fetched> {
        let (name, chart, version) = named(&self.reference)?;
        let archive = self.dir.join(name);
        fs_err::copy(file, &archive).map_err(|error| {
            Failure::usage(
                error.to_string(),
                "name an archive, its address on a web server, or oci://HOST/PATH/CHART:VERSION",
            )
        })?;
        for end in COMPANIONS.iter().filter(|end| beside(file, end).is_file()) {
            fs_err::copy(beside(file, end), beside(&archive, end))?;
        }
        self.listed(archive, chart, version, file.parent().unwrap_or(Path::new("")))
    }

    /// An archive, and what the index in `dir` says of it, if there is one.
    fn listed(&self, archive: PathBuf, chart: &str, version: Version, dir: &Path) -> Result<Fetched> {
        let mut listed = None;
        if let Some(index) = index::read(dir)? {
            let entry = index.find(chart, &version).ok_or_else(|| self.missing())?;
            listed = Some((entry.sha256, index::FILE.to_owned()));
        }
        Ok(Fetched {
            archive,
            chart: chart.to_owned(),
            version,
            listed,
            pushed: None,
        })
    }

    fn checks(&self, fetched: &Fetched) -> Result<Vec<Check>> {
        let claim = claim(fetched);
        // A plan has nothing to look into but an archive on this machine.
        let (sha256, found) = match fetched.archive.is_file() || !self.ctx.runner.plans() {
            true => (
                archive::fingerprint(&fetched.archive)?.1,
                archive::identity(&fetched.archive)?,
            ),
            false => (String::new(), (fetched.chart.clone(), fetched.version.clone())),
        };
        Ok(vec![
            identity(fetched, &found),
            digest(fetched, &sha256),
            self.signature(fetched)?,
            self.cosign(fetched)?,
            self.provenance(fetched, &claim, &sha256)?,
            self.bill(fetched, &sha256)?,
            self.helm(
                "lint",
                with_isolated_home(
                    lint_step(&self.helm, &fetched.chart, &fetched.archive),
                    &self.dir.join("home"),
                ),
            )?,
            self.helm("render", self.render_step(fetched))?,
            self.rebuild(fetched, claim.ok().as_ref(), &sha256)?,
        ])
    }

    /// A check that a program decides.
    fn helm(&self, name: &'static str, step: Step) -> Result<Check> {
        let output = self.ctx.runner.try_run(&step)?;
        let detail = match output.success() {
            true => step.name.clone(),
            false => format!("{}: {}", step.name, last_line(&output.tail())),
        };
        Ok(check(name, output.success(), detail))
    }

    fn render_step(&self, fetched: &Fetched) -> Step {
        let archive = Prepared::archive(&fetched.chart, &fetched.archive);
        let step = self
            .helm
            .template_step(&archive, &RenderOptions::documented(&fetched.chart));
        with_isolated_home(step, &self.dir.join("home"))
    }

    fn signature(&self, fetched: &Fetched) -> Result<Check> {
        let name = "signature";
        let Some(keyring) = &self.args.keyring else {
            return Ok(skipped(name, "no --keyring was given"));
        };
        if !beside(&fetched.archive, ".prov").is_file() {
            return Ok(check(name, false, "there is no .prov".to_owned()));
        }
        let ring = self.dir.join("keyring.gpg");
        let ring = gpg::keyring(&self.ctx.runner, keyring, &ring)?;
        self.helm(name, helm_verify_step(&self.helm, &fetched.archive, &ring))
    }

    fn cosign(&self, fetched: &Fetched) -> Result<Check> {
        let name = "cosign";
        let Some(key) = &self.args.cosign_pub else {
            return Ok(skipped(name, "no --cosign-pub was given"));
        };
        if fetched.pushed.is_none() && !beside(&fetched.archive, BUNDLE).is_file() && !self.ctx.runner.plans() {
            return Ok(check(name, false, format!("there is no {BUNDLE}")));
        }
        self.helm(name, self.cosign_step(fetched, key, false)?)
    }

    /// Verifies the statement of a chart, or the chart itself.
    fn cosign_step(&self, fetched: &Fetched, key: &Path, statement: bool) -> Result<Step> {
        let program = self.ctx.toolbox.get("cosign")?.path;
        let Some(pushed) = &fetched.pushed else {
            let (end, bundle) = if statement {
                (STATEMENT, STATEMENT_BUNDLE)
            } else {
                ("", BUNDLE)
            };
            let bundle = beside(&fetched.archive, bundle);
            return Ok(verify_blob(&program, key, &beside(&fetched.archive, end), &bundle));
        };
        let reference = match statement {
            true => pushed.statement.as_ref().context("a statement is attached")?,
            false => &pushed.chart,
        };
        pushed.registry.cosign(verify_pushed(&program, key, reference))
    }

    /// Which of the signatures that were asked for doesn't cover the statement.
    fn uncovered(&self, fetched: &Fetched) -> Result<Option<&'static str>> {
        let file = beside(&fetched.archive, STATEMENT);
        if self.args.keyring.is_some() && !self.signed(fetched, &file)? {
            return Ok(Some("the .prov"));
        }
        if let Some(key) = &self.args.cosign_pub {
            let step = self.cosign_step(fetched, key, true)?;
            if !self.ctx.runner.try_run(&step)?.success() {
                return Ok(Some("cosign's signature"));
            }
        }
        Ok(None)
    }

    /// The statement must speak of these bytes, and of a commit that this release is tagged at.
    fn provenance(&self, fetched: &Fetched, claim: &Result<Claim>, sha256: &str) -> Result<Check> {
        let name = "provenance";
        let claim = match claim {
            Ok(claim) => claim,
            Err(error) => return Ok(check(name, false, format!("{error:#}"))),
        };
        if let Some(signature) = self.uncovered(fetched)? {
            return Ok(check(name, false, format!("{signature} does not cover the statement")));
        }
        if claim.sha256 != sha256 {
            return Ok(check(name, false, "the statement speaks of another archive".to_owned()));
        }
        let Some(commit) = claim.commit.as_ref().filter(|_| !claim.uncommitted) else {
            return Ok(check(name, false, "it was made from a dirty tree".to_owned()));
        };
        let git = Git::of(self.ctx)?;
        if git.resolve(commit)?.is_none() {
            return Ok(check(
                name,
                false,
                format!("this clone has no commit {commit}: `git fetch` may bring it"),
            ));
        }
        Ok(match git.tagged(&fetched.chart, &fetched.version)? {
            Some(at) if at == *commit => check(name, true, format!("commit {commit}, which is tagged")),
            Some(at) => check(name, false, format!("made from {commit}, but the tag is at {at}")),
            None => check(name, true, format!("commit {commit}, which has no tag here")),
        })
    }

    /// The SBOM must be as its schema says, speak of these bytes, and be covered by the signature.
    fn bill(&self, fetched: &Fetched, sha256: &str) -> Result<Check> {
        let name = "sbom";
        let file = beside(&fetched.archive, SBOM);
        if !file.is_file() {
            return Ok(skipped(name, "there is none"));
        }
        let text = fs_err::read_to_string(&file)?;
        if let Err(error) = sbom::verify(&text, &fetched.chart, &fetched.version.to_string(), sha256) {
            return Ok(check(name, false, format!("{error:#}").replace('\n', " ")));
        }
        if self.args.keyring.is_some() && !self.signed(fetched, &file)? {
            return Ok(check(name, false, "the .prov does not cover it".to_owned()));
        }
        Ok(check(name, true, "CycloneDX 1.6, of this archive".to_owned()))
    }

    /// Whether the archive's `.prov` has the digest of a file beside it.
    fn signed(&self, fetched: &Fetched, file: &Path) -> Result<bool> {
        let prov = std::fs::read_to_string(beside(&fetched.archive, ".prov")).unwrap_or_default();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(gpg::signed_digest(&prov, &name) == Some(archive::fingerprint(file)?.1))
    }

    /// Builds the commit that the statement names and compares the archives.
    fn rebuild(&self, fetched: &Fetched, claim: Option<&Claim>, sha256: &str) -> Result<Check> {
        let name = "rebuild";
        let git = Git::of(self.ctx)?;
        let commit = claim.and_then(|claim| claim.commit.clone());
        let Some((claim, commit)) = claim.zip(commit) else {
            return Ok(check(name, false, "no statement says from which commit".to_owned()));
        };
        if git.resolve(&commit)?.is_none() {
            return Ok(check(name, false, format!("this clone has no commit {commit}")));
        }
        if self.ctx.runner.plans() {
            return Ok(skipped(name, "a plan has nothing to compare with"));
        }
        let (mut project, _temp) = committed(self.ctx, &git, &commit)?;
        project.publication.charts = claim.published.clone();
        let packer = packer(&project, claim.epoch, Some(commit.clone()), false)?;
        let built = project
            .workspace
            .chart(&fetched.chart)
            .and_then(|chart| packer.pack(&chart, &Signing::default()));
        Ok(match built {
            Ok(built) if built.sha256 == sha256 => {
                check(name, true, format!("the same bytes, sha256:{}", built.sha256))
            }
            Ok(built) => {
                let same = archive::content(&built.archive)? == archive::content(&fetched.archive)?;
                let why = if same {
                    "the same files, other bytes"
                } else {
                    "other files"
                };
                let tag = git.tag(&fetched.chart, &fetched.version);
                let hint = format!("if packing changed since, verify in a checkout of {tag}");
                let detail = format!("a build of {commit} has {why}: sha256:{} ({hint})", built.sha256);
                check(name, false, detail)
            }
            Err(error) => check(name, false, format!("{commit} can't be built: {error:#}")),
        })
    }
}

fn claim(fetched: &Fetched) -> Result<Claim> {
    let file = beside(&fetched.archive, STATEMENT);
    let text = std::fs::read_to_string(&file).context("there is no provenance statement")?;
    let name = fetched
        .archive
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    provenance::read(&text, &name).context("the provenance statement")
}

/// An archive under another version's name would pass every other check.
fn identity(fetched: &Fetched, (chart, version): &(String, Version)) -> Check {
    let same = *chart == fetched.chart && *version == fetched.version;
    let detail = format!("{chart} {version}");
    let detail = match same {
        true => detail,
        false => format!("it is {detail}, not {} {}", fetched.chart, fetched.version),
    };
    check("identity", same, detail)
}

fn digest(fetched: &Fetched, ours: &str) -> Check {
    let name = "digest";
    match &fetched.listed {
        Some((sha256, place)) if sha256 == ours => check(name, true, format!("as {place} says")),
        Some((sha256, place)) => check(name, false, format!("sha256:{ours}, but {place} says {sha256}")),
        None => skipped(name, "no index.yaml lists it"),
    }
}

fn last_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or_default()
        .to_owned()
}

fn helm_verify_step(helm: &Helm, archive: &Path, ring: &Path) -> Step {
    helm.step("helm verify")
        .arg("verify")
        .path_arg(archive)
        .arg("--keyring")
        .path_arg(ring)
}
