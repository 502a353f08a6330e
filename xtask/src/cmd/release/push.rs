//! `cargo xtask release push`: charts to an OCI registry, each step once.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use charts::project::TEMP;
use charts::render::Helm;
use charts::tools::Origin;
use clap::Args;
use kit::failure::Failure;
use kit::progress::Progress;
use kit::run_dir::RunDir;
use kit::step::Step;
use release::access::Access;
use release::cosign::{Cosign, public_key, verify_pushed};
use release::dist::{self as packages, Candidate, beside};
use release::git::Git;
use release::http::AGAIN;
use release::package::{cosign, planned_cosign};
use release::packer::{SBOM, STATEMENT};
use release::registry::{Published, Registry};
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
/// its provenance statement as artifacts that refer to it, and, with --cosign-key, a cosign signature.
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
    /// Tag the commit of each pushed archive as CHART-VERSION in this clone.
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
    /// The manifest's digest.
    digest: String,
    /// Whether a `.prov` is with it.
    signed: bool,
    /// What this run did; nothing where all was there.
    done: Vec<String>,
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &PushArgs) -> Result<()> {
    let candidates = packages::read(&dist(ctx, args.from.as_ref())?)?;
    let registry = Registry::open(&args.to, &args.access, ctx.runner.cancel())?;
    let git = Git::open(ctx.workspace.root(), &ctx.runner)?;
    if ctx.args.dry_run {
        return ctx.print_plan(&plan(ctx, args, &candidates, &registry, &git)?);
    }
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
    args.access.write_login(&work.registry.host, &work.dir)?;
    let states = candidates.iter().map(|c| work.judge(c)).collect::<Result<Vec<_>>>()?;
    let mut progress = Progress::start("pushing", candidates.len() as u64, ctx.args.quiet);
    let mut pushed = Vec::new();
    for (candidate, state) in candidates.iter().zip(states) {
        pushed.push(work.publish(candidate, &state)?);
        progress.advance(&candidate.name);
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
        if let Some(published) = self.registry.published(chart, version)? {
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
        std::fs::write(&theirs, self.registry.archive(&candidate.name, published)?)
            .context("writing a temporary file")?;
        same_files(&candidate.name, &candidate.version, &candidate.archive, &theirs)
    }

    fn publish(&self, candidate: &Candidate, state: &State) -> Result<Pushed> {
        let (chart, version) = (candidate.name.as_str(), &candidate.version);
        let mut done = Vec::new();
        if matches!(state, State::New(_)) {
            self.push(candidate)?;
            done.push("pushed".to_owned());
        }
        let published = self.registry.published(chart, version)?.with_context(|| {
            format!(
                "{} is not there after it was pushed",
                self.registry.shown(chart, version)
            )
        })?;
        // A statement speaks of one archive: it is not attached to another, with other dates.
        if published.sha256() == candidate.sha256 {
            for (end, kind) in [(SBOM, SBOM_TYPE), (STATEMENT, STATEMENT_TYPE)] {
                done.extend(self.attach(candidate, &published, end, kind)?);
            }
        }
        if published.sha256() != candidate.sha256
            && self.registry.attached(chart, &published, STATEMENT_TYPE)?.is_none()
        {
            self.ctx.say(format!(
                "warning: {chart} {version} was published from another commit, and its statement is missing: package \
                 and push in a checkout of that commit"
            ));
        }
        if let Some(cosign) = &self.cosign {
            done.extend(self.sign(candidate, cosign, &published)?);
        }
        if self.args.tag && published.sha256() == candidate.sha256 && self.tag(candidate)? {
            done.push(format!("tagged {}", candidate.tag()));
        }
        Ok(Pushed {
            chart: chart.to_owned(),
            version: version.clone(),
            reference: format!("oci://{}", self.registry.shown(chart, version)),
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
        let step = push_step(&self.helm, self.args, candidate, &self.dir);
        let output = self.ctx.runner.try_run(&step)?;
        if output.success() {
            return Ok(());
        }
        Err(Failure::environment(
            format!(
                "the registry did not take {}:\n{}",
                candidate.file_name(),
                output.tail()
            ),
            format!("mend what it says (a registry without space says so in its log), then {AGAIN}"),
        ))
    }

    fn attach(&self, candidate: &Candidate, published: &Published, end: &str, kind: &str) -> Result<Option<String>> {
        let Some(file) = candidate.beside(end) else {
            return Ok(None);
        };
        let name = format!("{}{end}", candidate.file_name());
        let bytes = fs_err::read(&file)?;
        let new = self.registry.attach(&candidate.name, published, kind, &name, &bytes)?;
        Ok(new.then(|| format!("attached {name}")))
    }

    /// Whether the key has signed it already, only cosign can tell.
    fn sign(&self, candidate: &Candidate, cosign: &Cosign, published: &Published) -> Result<Option<String>> {
        let reference = by_digest(&self.registry, candidate, &published.digest);
        let public = self.dir.join("cosign.pub");
        let key = self.ctx.runner.run(&public_key(cosign))?.stdout;
        std::fs::write(&public, key).context("writing a temporary file")?;
        let verify = self
            .args
            .access
            .cosign(verify_pushed(&cosign.program, &public, &reference), &self.dir);
        if self.ctx.runner.try_run(&verify)?.success() {
            return Ok(None);
        }
        self.ctx
            .runner
            .run(&self.args.access.cosign(cosign.sign_pushed(&reference), &self.dir))?;
        Ok(Some("signed with cosign".to_owned()))
    }

    /// False if the tag was there; one at another commit was refused before.
    fn tag(&self, candidate: &Candidate) -> Result<bool> {
        if self.git.tagged(&candidate.name, &candidate.version)?.is_some() {
            return Ok(false);
        }
        self.ctx.runner.run(&tag_step(&self.git, candidate))?;
        Ok(true)
    }
}

fn by_digest(registry: &Registry, candidate: &Candidate, digest: &str) -> String {
    format!("{}/{}@{digest}", registry.host, registry.repository(&candidate.name))
}

fn push_step(helm: &Helm, args: &PushArgs, candidate: &Candidate, dir: &Path) -> Step {
    let step = helm
        .step(format!("helm push {}", candidate.file_name()))
        .arg("push")
        .path_arg(&dir.join(candidate.file_name()))
        .arg(args.to.trim_end_matches('/'))
        .hint(format!("look at the registry, or raise --timeout, and {AGAIN}"));
    args.access.helm(step, dir)
}

fn tag_step(git: &Git, candidate: &Candidate) -> Step {
    git.step(&[
        "tag",
        &candidate.tag(),
        candidate.claim.commit.as_deref().unwrap_or("HEAD"),
    ])
}

/// What would run for what is missing; TEMP is the temporary folder with the credentials and the copies.
fn plan(ctx: &Ctx, args: &PushArgs, candidates: &[Candidate], registry: &Registry, git: &Git) -> Result<Vec<Step>> {
    let helm = ctx.planned_helm(Some(Origin::Pinned))?;
    let temp = Path::new(TEMP);
    let mut steps = Vec::new();
    for candidate in candidates {
        steps.push(push_step(&helm, args, candidate, temp));
        for (end, kind) in [(SBOM, SBOM_TYPE), (STATEMENT, STATEMENT_TYPE)] {
            if let Some(file) = candidate.beside(end) {
                let name = format!("attach {}{end} as {kind}, in this process", candidate.file_name());
                let place = format!(
                    "{}/v2/{}/manifests/",
                    registry.host,
                    registry.repository(&candidate.name)
                );
                steps.push(Step::new(name, "PUT").path_arg(&file).arg(place));
            }
        }
        if let Some(key) = &args.cosign_key {
            let cosign = Cosign {
                program: planned_cosign(ctx)?,
                key: key.clone(),
                password: String::new(),
            };
            let reference = by_digest(registry, candidate, "sha256:DIGEST");
            let verify = verify_pushed(&cosign.program, &temp.join("cosign.pub"), &reference);
            steps.push(public_key(&cosign));
            steps.push(args.access.cosign(verify, temp));
            let mut sign = args.access.cosign(cosign.sign_pushed(&reference), temp);
            sign.name += ", unless that verified it";
            steps.push(sign);
        }
        if args.tag {
            steps.push(tag_step(git, candidate));
        }
    }
    Ok(steps)
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
