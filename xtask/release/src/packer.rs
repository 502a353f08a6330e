//! Packs charts in a temporary folder, tries the archives, and writes what belongs to them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use charts::cases;
use charts::project::Project;
use charts::render::{Helm, Prepared, RenderOptions};
use charts::workspace::Chart;
use kit::failure::Failure;
use kit::parallel::in_parallel;
use kit::run_dir::RunDir;
use kit::step::Step;
use semver::Version;
use serde_yaml::Value;

use super::annotate;
use super::cosign::Cosign;
use super::gpg::Signer;
use super::provenance::{self, Source};
use super::{sbom, upgrading};
use crate::archive;

/// The date of all files in an archive (reproducible-builds.org/specs/source-date-epoch).
pub const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The end of an archive's CycloneDX document.
pub const SBOM: &str = ".cdx.json";
/// The end of an archive's provenance statement.
pub const STATEMENT: &str = ".intoto.json";
/// The end of an archive's cosign signature.
pub const BUNDLE: &str = ".sigstore.json";
/// The end of its statement's cosign signature.
pub const STATEMENT_BUNDLE: &str = ".intoto.json.sigstore.json";
/// The digests of all that is the same at every build, as `sha256sum` writes them.
pub(crate) const SUMS: &str = "SHA256SUMS";

/// From how many bytes on an archive may not be installable: helm keeps a release, with the chart in it, in a
/// Secret, which Kubernetes limits to 1 MiB; in there the bytes are written in base64.
const LARGE: u64 = 700 * 1024;

/// What signs the archives.
#[derive(Default)]
pub struct Signing {
    /// Makes the `.prov` that `helm verify` reads.
    pub openpgp: Option<Signer>,
    /// Signs the archive's bytes.
    pub cosign: Option<Cosign>,
}

/// A chart as an archive, with all that belongs to it, in the packer's folder.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The chart's name.
    pub chart: String,
    /// Its version.
    pub version: Version,
    /// The archive.
    pub archive: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// The files beside it that are the same at every build.
    pub attachments: Vec<PathBuf>,
    /// The files beside it that are not: signatures.
    pub signatures: Vec<PathBuf>,
}

/// What is read of an archive.
#[derive(Default)]
struct Written {
    bytes: u64,
    sha256: String,
    chart: Value,
    /// The names and versions of the charts inside.
    subcharts: Vec<(String, String)>,
}

/// Packs and tries charts in a temporary folder.
pub struct Packer<'a> {
    project: &'a Project,
    helm: Helm,
    temp: RunDir,
    source: Source,
}

impl<'a> Packer<'a> {
    /// A packer that runs `helm`, the pinned one.
    pub fn new(project: &'a Project, helm: PathBuf, source: Source) -> Result<Packer<'a>> {
        Ok(Packer {
            project,
            helm: project.helm_at(helm),
            temp: RunDir::temporary("package")?,
            source,
        })
    }

    /// The version of the helm that packs.
    pub fn helm_version(&self) -> &str {
        &self.source.helm
    }

    /// Packs a chart, tries the archive and signs it.
    pub fn pack(&self, chart: &Chart, signing: &Signing) -> Result<Packed> {
        self.project.workspace.family(chart)?;
        upgrading::check_major(chart, &self.project.workspace)?;
        // At every depth: what is inside of an archive is read by whoever unpacks it.
        let publication = &self.project.publication;
        let publish = |dir: &Path| {
            annotate::publish_dependencies(dir, publication)?;
            annotate::publish_addresses(dir, publication)
        };
        let folder = self.helm.prepare_with(chart, publish)?;
        let rendered = self.helm.template(&folder, &RenderOptions::documented(chart.name()))?;
        let images = sbom::images(&rendered.manifests);
        annotate::artifact_hub(&folder.dir, chart, &images, publication)?;
        let step = package_step(&self.helm, chart, &folder.dir, self.temp.path(), self.source.epoch);
        self.project.runner.run(&self.offline(step))?;
        let archive = self.temp.path().join(file_name(chart));
        let written = self.examine(chart, &archive)?;
        if written.bytes > LARGE {
            self.project.say(format!(
                "warning: {} has {} bytes: helm keeps a release in a Secret of at most 1 MiB, so it may not be installable; \
                 leave out with .helmignore what a release doesn't need",
                file_name(chart),
                written.bytes
            ));
        }
        self.lint(chart, &archive)?;
        self.render(chart, &archive)?;
        let name = file_name(chart);
        let bill = sbom::document(
            chart,
            &written.subcharts,
            &images,
            &written.sha256,
            self.source.epoch,
            &self.source.helm,
        )?;
        let statement = provenance::statement(chart.name(), &name, &written.sha256, &self.source)?;
        let attachments = vec![
            self.write(&name, SBOM, &bill)?,
            self.write(&name, STATEMENT, &statement)?,
        ];
        Ok(Packed {
            chart: chart.name().to_owned(),
            version: chart.metadata.version.clone(),
            signatures: self.sign(&name, &written, &attachments, signing)?,
            archive,
            bytes: written.bytes,
            sha256: written.sha256,
            attachments,
        })
    }

    fn sign(&self, name: &str, written: &Written, attachments: &[PathBuf], signing: &Signing) -> Result<Vec<PathBuf>> {
        let mut signatures = Vec::new();
        if let Some(signer) = &signing.openpgp {
            let mut digests = vec![(name.to_owned(), written.sha256.clone())];
            for file in attachments {
                let shown = file.file_name().unwrap_or_default().to_string_lossy();
                digests.push((shown.into_owned(), archive::fingerprint(file)?.1));
            }
            let text = signer.provenance(&written.chart, &digests, &self.temp.path().join("unsigned"))?;
            signatures.push(self.write(name, ".prov", &text)?);
        }
        if let Some(cosign) = &signing.cosign {
            let file = |end: &str| self.temp.path().join(format!("{name}{end}"));
            for (file, bundle) in [(file(""), file(BUNDLE)), (file(STATEMENT), file(STATEMENT_BUNDLE))] {
                self.project.runner.run(&cosign.sign_blob(&file, &bundle))?;
                signatures.push(bundle);
            }
        }
        Ok(signatures)
    }

    fn write(&self, name: &str, end: &str, text: &str) -> Result<PathBuf> {
        let file = self.temp.path().join(format!("{name}{end}"));
        fs_err::write(&file, text)?;
        Ok(file)
    }

    /// What an archive turned out to be; a plan has none to look into.
    fn examine(&self, chart: &Chart, file: &Path) -> Result<Written> {
        if self.project.runner.plans() {
            return Ok(Written {
                sha256: "0".repeat(64),
                ..Written::default()
            });
        }
        let problems = archive::problems(chart, &archive::list(file)?, self.source.epoch)?;
        if problems.is_empty() {
            let (bytes, sha256) = archive::fingerprint(file)?;
            let chart = archive::chart(file)?;
            return Ok(Written {
                bytes,
                sha256,
                chart,
                subcharts: archive::subcharts(file)?,
            });
        }
        Err(Failure::findings(
            format!(
                "the archive of {} is not as it must be:\n{}",
                chart.name(),
                problems.join("\n")
            ),
            "fix the chart; `helm package` decides by .helmignore what goes in",
        ))
    }

    fn render(&self, chart: &Chart, file: &Path) -> Result<()> {
        let archive = Prepared::archive(chart.name(), file);
        in_parallel(&chart.cases()?, |case| {
            // The archive is gone by the time that anyone could repeat the step by hand.
            let step = self.helm.template_step(&archive, &cases::options(chart, case));
            let step = step.hint("run `cargo xtask template --check`, which renders the same from the folder");
            self.project
                .runner
                .run(&self.offline(step))
                .with_context(|| format!("{} with ci/{}-values.yaml, from its archive", chart.name(), case.name))
        })?;
        Ok(())
    }

    /// helm says on standard output what it found, and on standard error only that it found something.
    fn lint(&self, chart: &Chart, file: &Path) -> Result<()> {
        let step = self.offline(lint_step(&self.helm, chart.name(), file));
        let output = self.project.runner.try_run(&step)?;
        if output.success() {
            return Ok(());
        }
        let what = format!(
            "helm lint refuses the archive of {}:\n{}",
            chart.name(),
            output.stdout.trim()
        );
        Err(Failure::findings(what, "run `cargo xtask lint`, which knows the files"))
    }

    /// The step without the user's helm settings and without a way out: nothing listens on port 9.
    fn offline(&self, step: Step) -> Step {
        let mut step = with_isolated_home(step, &self.temp.path().join("home"));
        for variable in ["HTTP_PROXY", "HTTPS_PROXY"] {
            step = step.env(variable, "http://127.0.0.1:9");
        }
        step.env("NO_PROXY", "")
    }
}

/// A helm step whose settings, caches and credentials are in `home` instead of the user's.
pub fn with_isolated_home(mut step: Step, home: &Path) -> Step {
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        step = step.env(variable, home.join(variable).to_string_lossy());
    }
    step
}

/// `helm package` of a folder, into `out`.
fn package_step(helm: &Helm, chart: &Chart, folder: &Path, out: &Path, epoch: u64) -> Step {
    helm.step(format!("helm package {}", chart.name()))
        .arg("package")
        .path_arg(folder)
        .arg("--destination")
        .path_arg(out)
        .env(EPOCH, epoch.to_string())
}

/// `helm lint` of an archive.
pub fn lint_step(helm: &Helm, chart: &str, archive: &Path) -> Step {
    helm.step(format!("helm lint {chart}"))
        .args(["lint", "--strict", "--kube-version", &helm.kube_version])
        .path_arg(archive)
}

/// As `helm package` names it.
pub fn file_name(chart: &Chart) -> String {
    format!("{}-{}.tgz", chart.name(), chart.metadata.version)
}
