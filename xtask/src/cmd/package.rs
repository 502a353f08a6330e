//! `cargo xtask package`: the charts as archives, the same bytes each time.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use stack_tests::failure::{Failure, Kind};
use stack_tests::progress::Progress;
use stack_tests::render::{Helm, Prepared};
use stack_tests::run_dir::RunDir;
use stack_tests::scenarios::{self, in_parallel};
use stack_tests::step::Step;
use stack_tests::tools::Origin;
use stack_tests::workspace::Chart;
use tempfile::NamedTempFile;

use crate::archive;
use crate::ctx::{Ctx, TEMP, planned_chart};

/// The date of all files in an archive (reproducible-builds.org/specs/source-date-epoch).
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Packages every chart into DIR/<chart>-<version>.tgz, the same bytes each time.
///
/// Always runs the pinned helm, because only helm 4 dates the files by SOURCE_DATE_EPOCH, which is the
/// time of the last commit unless it is set. Dependencies are built in a temporary copy, so that an
/// archive carries them: it installs without the workspace and without a network.
///
/// Each archive is tried before it is kept: its files are complete, plain, dated alike and without
/// ci/; `helm lint --strict` passes; every scenario of ci/ renders from the archive alone, with the
/// proxies pointing nowhere. DIR is not touched unless all of this holds for all charts.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask package
  cargo xtask package --out /tmp/charts --format json
  helm template observability dist/observability-0.1.0.tgz")]
pub struct PackageArgs {
    /// Where the archives go; made if it isn't there [default: dist in the workspace].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
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
    archives: Vec<Archive>,
}

#[derive(Debug, Serialize)]
struct Archive {
    chart: String,
    version: String,
    file: PathBuf,
    bytes: u64,
    sha256: String,
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
        return ctx.print_plan(&plan(ctx, &charts, &out, epoch)?);
    }
    let uncommitted = uncommitted(ctx)?;
    if uncommitted == Some(true) {
        ctx.say(
            "warning: charts/ has changes that are not committed; the archives hold them under the last commit's date",
        );
    }
    let tool = ctx.toolbox.pinned("helm")?;
    let packer = Packer {
        ctx,
        helm: ctx.helm_at(tool.path),
        temp: RunDir::temporary("package")?,
        epoch,
    };
    let mut progress = Progress::start("packaging", charts.len() as u64, ctx.args.quiet);
    let mut packed = Vec::new();
    for chart in &charts {
        packed.push(packer.pack(chart)?);
        progress.advance(chart.name());
    }
    let archives = charts
        .iter()
        .zip(&packed)
        .map(|(chart, file)| keep(chart, file, &out))
        .collect::<Result<Vec<_>>>()?;
    progress.finish(&format!(
        "{} charts, linted and rendered from their archives",
        archives.len()
    ));
    let lines: Vec<_> = archives
        .iter()
        .map(|a| {
            format!(
                "{}  {} bytes  sha256:{}",
                ctx.workspace.shown(&a.file),
                a.bytes,
                a.sha256
            )
        })
        .collect();
    let report = Report {
        helm: tool.version.to_string(),
        source_date_epoch: epoch,
        uncommitted,
        archives,
    };
    ctx.print(&report, lines.join("\n"))
}

/// `$SOURCE_DATE_EPOCH`, else the time of the last commit, in seconds since 1970.
fn epoch(ctx: &Ctx) -> Result<u64> {
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
fn uncommitted(ctx: &Ctx) -> Result<Option<bool>> {
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
fn plan(ctx: &Ctx, charts: &[Chart], out: &Path, epoch: u64) -> Result<Vec<Step>> {
    // Not built for a plan.
    let helm = ctx.planned_helm(Some(Origin::Pinned))?;
    let temp = Path::new(TEMP);
    let mut steps = Vec::new();
    for chart in charts {
        let archive = temp.join(file_name(chart));
        let (folder, build) = planned_chart(&helm, chart);
        steps.extend(build);
        steps.push(package_step(&helm, chart, &folder.dir, temp, epoch));
        steps.push(lint_step(&helm, chart, &archive));
        for scenario in chart.scenarios()? {
            let alone = Prepared::archive(chart.name(), &archive);
            steps.push(helm.template_step(&alone, &scenarios::options(chart, &scenario)?));
        }
    }
    let archives = charts
        .iter()
        .map(|chart| temp.join(file_name(chart)).display().to_string());
    let keep = Step::new("keep the archives", "mv").args(archives).path_arg(out);
    steps.push(keep);
    Ok(steps)
}

/// Packs and tries charts in a temporary folder.
struct Packer<'a> {
    ctx: &'a Ctx,
    helm: Helm,
    temp: RunDir,
    epoch: u64,
}

impl Packer<'_> {
    /// Packs a chart and tries the archive.
    fn pack(&self, chart: &Chart) -> Result<PathBuf> {
        let folder = self.helm.prepare(chart)?;
        let step = package_step(&self.helm, chart, &folder.dir, self.temp.path(), self.epoch);
        self.ctx.runner.run(&self.alone(step))?;
        let file = self.temp.path().join(file_name(chart));
        let problems = archive::problems(chart, &archive::list(&file)?, self.epoch);
        if !problems.is_empty() {
            return Err(Failure::err(
                Kind::Findings,
                format!(
                    "the archive of {} is not as it must be:\n{}",
                    chart.name(),
                    problems.join("\n")
                ),
                "mend the chart; `helm package` decides by .helmignore what goes in",
            ));
        }
        self.lint(chart, &file)?;
        let archive = Prepared::archive(chart.name(), &file);
        in_parallel(&chart.scenarios()?, |scenario| {
            // The archive is gone by the time that anyone could repeat the step by hand.
            let step = self.helm.template_step(&archive, &scenarios::options(chart, scenario)?);
            let step = step.hint("run `cargo xtask template --check`, which renders the same from the folder");
            self.ctx.runner.run(&self.alone(step)).with_context(|| {
                format!(
                    "{} with ci/{}-values.yaml, from its archive",
                    chart.name(),
                    scenario.name
                )
            })
        })?;
        Ok(file)
    }

    /// helm says on standard output what it found, and on standard error only that it found something.
    fn lint(&self, chart: &Chart, file: &Path) -> Result<()> {
        let output = self
            .ctx
            .runner
            .try_run(&self.alone(lint_step(&self.helm, chart, file)))?;
        if output.success() {
            return Ok(());
        }
        let what = format!(
            "helm lint refuses the archive of {}:\n{}",
            chart.name(),
            output.stdout.trim()
        );
        Err(Failure::err(
            Kind::Findings,
            what,
            "run `cargo xtask lint`, which knows the files",
        ))
    }

    /// The step without the user's helm settings and without a way out: nothing listens on port 9.
    fn alone(&self, mut step: Step) -> Step {
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            let dir = self.temp.path().join("home").join(variable);
            step = step.env(variable, dir.to_string_lossy());
        }
        for variable in ["HTTP_PROXY", "HTTPS_PROXY"] {
            step = step.env(variable, "http://127.0.0.1:9");
        }
        step.env("NO_PROXY", "")
    }
}

fn package_step(helm: &Helm, chart: &Chart, folder: &Path, out: &Path, epoch: u64) -> Step {
    helm.step(format!("helm package {}", chart.name()))
        .arg("package")
        .path_arg(folder)
        .arg("--destination")
        .path_arg(out)
        .env(EPOCH, epoch.to_string())
}

fn lint_step(helm: &Helm, chart: &Chart, archive: &Path) -> Step {
    helm.step(format!("helm lint {}", chart.name()))
        .args(["lint", "--strict", "--kube-version", &helm.kube_version])
        .path_arg(archive)
}

/// As `helm package` names it.
fn file_name(chart: &Chart) -> String {
    format!("{}-{}.tgz", chart.name(), chart.metadata.version)
}

/// Moves an archive to where it belongs, in one step.
fn keep(chart: &Chart, archive: &Path, out: &Path) -> Result<Archive> {
    use std::os::unix::fs::PermissionsExt;
    let file = out.join(file_name(chart));
    let writing = || format!("writing {}", file.display());
    let (bytes, sha256) = archive::fingerprint(archive)?;
    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let mut temp = NamedTempFile::new_in(out).with_context(writing)?;
    temp.write_all(&std::fs::read(archive).with_context(writing)?)
        .with_context(writing)?;
    let readable = std::fs::Permissions::from_mode(0o644);
    temp.as_file().set_permissions(readable).with_context(writing)?;
    temp.persist(&file).with_context(writing)?;
    Ok(Archive {
        chart: chart.name().to_owned(),
        version: chart.metadata.version.to_string(),
        file,
        bytes,
        sha256,
    })
}
