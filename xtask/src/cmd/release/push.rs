//! `cargo xtask release push`: charts to an OCI registry, each step once.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use charts::render::Helm;
use clap::Args;
use kit::failure::Failure;
use kit::progress::Progress;
use kit::run_dir::RunDir;
use release::access::{AGAIN, Access};
use release::cosign::{Cosign, public_key, verify_pushed};
use release::dist::{self as packages, Candidate, beside};
use release::git::Git;
use release::package::cosign;
use release::packer::{SBOM, STATEMENT};
use release::registry::{Published, Registry};
use release::site::METADATA;
use release::target::{State, judge, same_files};
use semver::Version;
use serde::Serialize;

use super::dist;
use crate::ctx::Ctx;

/// The type under which a CycloneDX document is attached.
pub const SBOM_TYPE: &str = "application/vnd.cyclonedx+json";
/// The type under which an in-toto statement is attached.
pub const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";

/// Pushes what `package` wrote to an OCI registry: the chart with its .prov by `helm push`, its SBOM and
/// its provenance statement as attachments that refer to it, and, with --cosign-key, cosign signatures of the
/// chart and of the statement. ci/artifacthub-repo.yml goes to the tag `artifacthub.io` of each chart.
///
/// All archives are judged before the first is pushed. Refused are: a dirty tree, a file:// dependency,
/// a version below the published ones, a published version with other files, a tag of this release at
/// another commit. Each step asks first whether it was done: after a crash, run the same command again.
/// A pushed manifest is dated like its archive, so pushing twice makes one digest.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask release push --to oci://registry.example.com/charts --username bot --password-file token
  cargo xtask --dry-run release push --to oci://registry.example.com/charts")]
pub struct PushArgs {
    /// Where to: oci://HOST[:PORT]/PATH, without the charts' names.
    #[arg(long, value_name = "URL", env = "XTASK_RELEASE_TO")]
    to: String,
    /// The folder that `package` wrote to [default: dist in the workspace].
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Allow a version below the highest published one.
    #[arg(long)]
    backport: bool,
    /// Tag the commit of each pushed archive in this clone, as CHART-VERSION or as release-tag in Cargo.toml says.
    #[arg(long)]
    tag: bool,
    /// Sign what was pushed with cosign and this private key.
    #[arg(long, value_name = "FILE", env = "XTASK_COSIGN_KEY")]
    cosign_key: Option<PathBuf>,
    /// A file whose first line is that key's password [default: the variable COSIGN_PASSWORD].
    #[arg(long, value_name = "FILE", requires = "cosign_key")]
    cosign_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

/// What was done for a chart.
#[derive(Debug, Serialize)]
struct Pushed {
    chart: String,
    version: Version,
    reference: String,
    digest: String,
    /// Whether a `.prov` is with it.
    signed: bool,
    /// What this run did; nothing where all was there.
    done: Vec<String>,
}

pub fn run(ctx: &Ctx, args: &PushArgs) -> Result<()> {
    let candidates = packages::read(&dist(ctx, args.from.as_ref())?)?;
    let registry = Registry::open(&args.to, &args.access, ctx)?;
    let git = Git::of(ctx)?;
    let temp = RunDir::temporary("push")?;
    let work = Push {
        ctx,
        args,
        helm: ctx.helm_at(ctx.toolbox.pinned("helm")?.path),
        cosign: match &args.cosign_key {
            Some(key) => Some(cosign(ctx, key, args.cosign_passphrase_file.as_deref())?),
            None => None,
        },
        registry,
        git,
        dir: temp.path().to_path_buf(),
    };
    let states = candidates.iter().map(|c| work.judge(c)).collect::<Result<Vec<_>>>()?;
    let mut progress = Progress::start("pushing", candidates.len() as u64, ctx.args.quiet);
    let mut pushed = Vec::new();
    for (candidate, state) in candidates.iter().zip(states) {
        pushed.push(work.publish(candidate, &state)?);
        progress.advance(&candidate.name);
    }
    if ctx.runner.plans() {
        return ctx.print_planned();
    }
    let new = pushed.iter().filter(|p| !p.done.is_empty()).count();
    progress.finish(&format!("{new} of {} charts had something to do", pushed.len()));
    ctx.print(&pushed, text(&pushed))
}

struct Push<'a> {
    ctx: &'a Ctx,
    args: &'a PushArgs,
    helm: Helm,
    cosign: Option<Cosign>,
    registry: Registry,
    git: Git,
    dir: PathBuf,
}

impl Push<'_> {
    fn judge(&self, candidate: &Candidate) -> Result<State> {
        let (chart, version) = (candidate.name.as_str(), &candidate.version);
        let published = self.registry.published(chart, version)?;
        // A plan shows all that may have to be done.
        if let Some(published) = published.filter(|_| !self.ctx.runner.plans()) {
            return self.compare(candidate, &published);
        }
        candidate.fit_for_release()?;
        candidate.tag_is_free(&self.git)?;
        judge(chart, version, self.registry.versions(chart)?.pop(), self.args.backport)
    }

    fn compare(&self, candidate: &Candidate, published: &Published) -> Result<State> {
        if published.sha256() == candidate.sha256 {
            return Ok(State::Same(true));
        }
        let theirs = self.dir.join("published.tgz");
        self.registry.fetch_archive(&candidate.name, published, &theirs)?;
        same_files(&candidate.name, &candidate.version, &candidate.archive, &theirs)
    }

    fn publish(&self, candidate: &Candidate, state: &State) -> Result<Pushed> {
        let (chart, version) = (candidate.name.as_str(), &candidate.version);
        let mut done = Vec::new();
        if matches!(state, State::New(_)) {
            self.push(candidate)?;
            done.push("pushed".to_owned());
        }
        let shown = self.registry.by_tag(chart, version);
        let published = self.registry.published(chart, version)?;
        let published = published.with_context(|| format!("{shown} is not there after it was pushed"))?;
        // A statement speaks of one archive: it is not attached to another, with other dates.
        let same = published.sha256() == candidate.sha256 || self.ctx.runner.plans();
        let statement = match same {
            true => {
                let (_, bill) = self.attach(candidate, &published, SBOM, SBOM_TYPE)?;
                let (digest, statement) = self.attach(candidate, &published, STATEMENT, STATEMENT_TYPE)?;
                done.extend(bill.into_iter().chain(statement));
                digest
            }
            false => self.registry.attached(chart, &published, STATEMENT_TYPE)?,
        };
        if statement.is_none() {
            self.ctx.say(format!(
                "warning: {chart} {version} was published from another commit, and its statement is missing: package \
                 and push in a checkout of that commit"
            ));
        }
        if let Some(cosign) = &self.cosign {
            let mut signed = self.sign(candidate, cosign, &published.digest)?;
            if let Some(digest) = &statement {
                signed |= self.sign(candidate, cosign, digest)?;
            }
            done.extend(signed.then(|| "signed with cosign".to_owned()));
        }
        let metadata = self.ctx.workspace.root().join("ci").join(METADATA);
        if metadata.is_file() && self.registry.push_metadata(chart, &metadata)? {
            done.push(format!("pushed {METADATA}"));
        }
        if self.args.tag && same && self.tag(candidate)? {
            done.push(format!("tagged {}", self.git.tag(chart, version)));
        }
        Ok(Pushed {
            chart: chart.to_owned(),
            version: version.clone(),
            reference: format!("oci://{shown}"),
            signed: published.signed(),
            digest: published.digest,
            done,
        })
    }

    /// `helm push` of a copy that is dated like the archive's files: helm writes that date into the manifest.
    fn push(&self, candidate: &Candidate) -> Result<()> {
        let copy = self.dir.join(candidate.file_name());
        for (from, to) in [(candidate.archive.clone(), copy.clone())]
            .into_iter()
            .chain(candidate.beside(".prov").map(|prov| (prov, beside(&copy, ".prov"))))
        {
            std::fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        }
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(candidate.claim.epoch);
        let dated = std::fs::File::options()
            .append(true)
            .open(&copy)
            .and_then(|file| file.set_modified(date));
        dated.with_context(|| format!("dating {}", copy.display()))?;
        let step = self
            .helm
            .step(format!("helm push {}", candidate.file_name()))
            .arg("push")
            .path_arg(&copy)
            .arg(self.args.to.trim_end_matches('/'))
            .hint(format!("look at the registry, or raise --timeout, and {AGAIN}"));
        let output = self.ctx.runner.try_run(&self.registry.helm(step))?;
        if output.success() {
            return Ok(());
        }
        Err(Failure::environment(
            format!(
                "the registry did not take {}:\n{}",
                candidate.file_name(),
                output.tail()
            ),
            format!("fix what it says (a registry without space says so in its log), then {AGAIN}"),
        ))
    }

    /// The digest of what is attached, and what was done for that.
    fn attach(
        &self,
        candidate: &Candidate,
        published: &Published,
        end: &str,
        kind: &str,
    ) -> Result<(Option<String>, Option<String>)> {
        let there = self.registry.attached(&candidate.name, published, kind)?;
        let Some(file) = candidate.beside(end).filter(|_| there.is_none()) else {
            return Ok((there, None));
        };
        let digest = self.registry.attach(&candidate.name, published, kind, &file)?;
        let name = format!("{}{end}", candidate.file_name());
        Ok((Some(digest), Some(format!("attached {name}"))))
    }

    /// Whether the key has signed it already, only cosign can tell. False if it has.
    fn sign(&self, candidate: &Candidate, cosign: &Cosign, digest: &str) -> Result<bool> {
        let reference = self.registry.by_digest(&candidate.name, digest);
        let public = self.dir.join("cosign.pub");
        let key = self.ctx.runner.run(&public_key(cosign))?.stdout;
        fs_err::write(&public, key)?;
        let verify = verify_pushed(&cosign.program, &public, &reference);
        let verified = self.ctx.runner.try_run(&self.registry.cosign(verify)?)?.success();
        if verified && !self.ctx.runner.plans() {
            return Ok(false);
        }
        let sign = cosign.sign_pushed(&reference);
        self.ctx.runner.run(&self.registry.cosign(sign)?)?;
        Ok(true)
    }

    /// False if the tag was there; one at another commit was refused before.
    fn tag(&self, candidate: &Candidate) -> Result<bool> {
        if self.git.tagged(&candidate.name, &candidate.version)?.is_some() {
            return Ok(false);
        }
        let commit = candidate.claim.commit.as_deref().unwrap_or("HEAD");
        self.ctx.runner.run(
            &self
                .git
                .step(&["tag", &self.git.tag(&candidate.name, &candidate.version), commit]),
        )?;
        Ok(true)
    }
}

fn text(pushed: &[Pushed]) -> String {
    let line = |p: &Pushed| {
        let done = if p.done.is_empty() {
            "nothing to do".to_owned()
        } else {
            p.done.join(", ")
        };
        let unsigned = if p.signed { "" } else { " (no .prov)" };
        format!("{}@{}{unsigned}: {done}", p.reference, p.digest)
    };
    pushed.iter().map(line).collect::<Vec<_>>().join("\n")
}
