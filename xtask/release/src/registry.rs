//! An OCI registry: what is published there, and what is attached to it, by the real oras.
//!
//! `helm push` and `helm pull` move the charts; oras asks and attaches, which helm can't.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use charts::project::Project;
use kit::failure::Failure;
use kit::key::hexadecimal;
use kit::run_dir::RunDir;
use kit::step::{Runner, Step};
use semver::Version;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::access::{AGAIN, Access};
use crate::archive;

/// The layer that holds a chart's archive (helm.sh/docs/topics/registries).
const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// The layer that holds its `.prov`.
const PROV: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
/// The time of every attachment, so that the same file is the same artifact: oras would write its own clock, and a
/// push that was killed while the registry still wrote would leave a second one.
const CREATED: &str = "org.opencontainers.image.created=1970-01-01T00:00:00Z";
/// Where Artifact Hub looks for its file about a repository, and as what.
const METADATA_TAG: &str = "artifacthub.io";
const METADATA_CONFIG: &str = "application/vnd.cncf.artifacthub.config.v1+yaml";
const METADATA_LAYER: &str = "application/vnd.cncf.artifacthub.repository-metadata.layer.v1.yaml";
/// The digest of whatever a plan can't know.
const UNKNOWN: &str = "sha256:DIGEST";

/// A place in a registry below which charts are published: `oci://host[:port]/path`.
pub struct Registry {
    /// `host[:port]`.
    pub host: String,
    path: String,
    access: Access,
    oras: PathBuf,
    runner: Runner,
    /// Holds the credentials, and what is fetched.
    temp: RunDir,
}

/// What is read of a manifest (image-spec, manifest.md).
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

/// What `oras discover` and `oras attach` print.
#[derive(Debug, Deserialize)]
struct Referrer {
    digest: String,
    #[serde(default)]
    referrers: Vec<Referrer>,
}

/// A published version of a chart.
#[derive(Debug, Clone)]
pub struct Published {
    /// The manifest's digest, `sha256:…`.
    pub digest: String,
    /// The archive's digest, `sha256:…`.
    archive: String,
    /// The digest of its `.prov`; none if it is not signed.
    prov: Option<String>,
}

impl Published {
    /// The archive's SHA-256 in hexadecimal digits.
    pub fn sha256(&self) -> &str {
        self.archive.trim_start_matches("sha256:")
    }

    /// Whether a `.prov` is there.
    pub fn signed(&self) -> bool {
        self.prov.is_some()
    }
}

impl Registry {
    /// The registry of `oci://host[:port]/path`; nothing is asked yet.
    pub fn open(url: &str, access: &Access, project: &Project) -> Result<Registry> {
        let usage = || {
            Failure::usage(
                format!("{url} is not the address of a registry"),
                "write it as oci://HOST[:PORT]/PATH, without the chart's name",
            )
        };
        let rest = url.strip_prefix("oci://").ok_or_else(usage)?.trim_end_matches('/');
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || rest.contains('@') {
            return Err(usage());
        }
        let temp = RunDir::temporary("registry")?;
        access.write_login(host, temp.path())?;
        Ok(Registry {
            host: host.to_owned(),
            path: path.to_owned(),
            access: access.clone(),
            oras: project.toolbox.get("oras")?.path,
            runner: project.runner.clone(),
            temp,
        })
    }

    /// `host/path/chart`.
    fn repository(&self, chart: &str) -> String {
        [self.host.as_str(), &self.path, chart]
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join("/")
    }

    /// `host/path/chart:version`, as cosign and people write it.
    pub fn by_tag(&self, chart: &str, version: &Version) -> String {
        // As helm makes it: a tag can't hold a plus sign.
        format!("{}:{}", self.repository(chart), version.to_string().replace('+', "_"))
    }

    /// `host/path/chart@sha256:…`.
    pub fn by_digest(&self, chart: &str, digest: &str) -> String {
        format!("{}@{digest}", self.repository(chart))
    }

    /// A helm step with the credentials and the certificates of this registry.
    pub fn helm(&self, step: Step) -> Step {
        self.access.helm(step, self.temp.path())
    }

    /// A cosign step with the credentials and the certificates of this registry.
    pub fn cosign(&self, step: Step) -> Result<Step> {
        self.access.cosign(step, &self.host, self.temp.path())
    }

    fn oras(&self, command: &str, reference: &str) -> Step {
        let step = Step::new(format!("oras {command} {reference}"), &self.oras).args(command.split(' '));
        self.access.oras(step, &self.host, self.temp.path()).arg(reference)
    }

    /// What oras printed; none where the registry says that there is no such thing.
    fn ask(&self, step: &Step) -> Result<Option<String>> {
        let output = self.runner.try_run(step)?;
        if output.success() {
            return Ok(Some(output.stdout));
        }
        let why = output.tail();
        if why.starts_with("Error response from registry")
            && (why.contains("not found") || why.contains("name unknown"))
        {
            return Ok(None);
        }
        let (host, name) = (&self.host, &step.name);
        let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
        let (what, remedy) = if has(&["failed to verify certificate", "certificate signed by"]) {
            (
                format!("{name}: the certificate of {host} is not trusted: {why}"),
                "name the certificate of its authority with --ca-file".to_owned(),
            )
        } else if has(&[
            "status code 401",
            "status code 403",
            "unauthorized",
            "denied",
            "credential not found",
        ]) {
            (
                format!("{name}: {host} refuses these credentials: {why}"),
                "check --username and --password-file, run `helm registry login`, or ask for the right to push"
                    .to_owned(),
            )
        } else if has(&["response from registry", "response status code"]) {
            (
                format!("{name}: {host} failed: {why}"),
                format!("look at that server (its disk may be full), then {AGAIN}"),
            )
        } else {
            (
                format!("{name}: {host} can't be reached: {why}"),
                format!("check its address and the network, and {AGAIN}"),
            )
        };
        Err(Failure::environment(what, remedy))
    }

    /// As [`Registry::ask`], of something that must be there.
    fn demand(&self, step: &Step) -> Result<String> {
        let answer = self.ask(step)?;
        answer.with_context(|| format!("{}: the registry has lost it", step.name))
    }

    /// The published versions of a chart, lowest first.
    pub fn versions(&self, chart: &str) -> Result<Vec<Version>> {
        let tags = self.ask(&self.oras("repo tags", &self.repository(chart)))?;
        let tags = tags.iter().flat_map(|text| text.lines());
        let mut versions: Vec<Version> = tags.filter_map(|tag| tag.replace('_', "+").parse().ok()).collect();
        versions.sort();
        Ok(versions)
    }

    /// One version of a chart; none if it isn't published. A plan believes that it is.
    pub fn published(&self, chart: &str, version: &Version) -> Result<Option<Published>> {
        let shown = self.by_tag(chart, version);
        let answer = self.ask(&self.oras("manifest fetch", &shown))?;
        if self.runner.plans() {
            return Ok(Some(Published {
                digest: UNKNOWN.to_owned(),
                archive: UNKNOWN.to_owned(),
                prov: None,
            }));
        }
        let Some(text) = answer else { return Ok(None) };
        let manifest: Manifest = read(&text, &shown)?;
        let layer = |kind: &str| manifest.layers.iter().find(|layer| layer.media_type == kind);
        let Some(archive) = layer(CHART) else {
            bail!("{shown} is not a chart: it has no layer {CHART}");
        };
        Ok(Some(Published {
            digest: format!("sha256:{}", hexadecimal(&Sha256::digest(&text))),
            archive: archive.digest.clone(),
            prov: layer(PROV).map(|layer| layer.digest.clone()),
        }))
    }

    /// Fetches a published archive.
    pub fn fetch_archive(&self, chart: &str, published: &Published, to: &Path) -> Result<()> {
        self.fetch(chart, &published.archive, to)
    }

    /// Fetches its `.prov`, if it is signed.
    pub fn fetch_prov(&self, chart: &str, published: &Published, to: &Path) -> Result<()> {
        let prov = published.prov.iter();
        prov.into_iter().try_for_each(|digest| self.fetch(chart, digest, to))
    }

    fn fetch(&self, chart: &str, digest: &str, to: &Path) -> Result<()> {
        let reference = self.by_digest(chart, digest);
        self.demand(&self.oras("blob fetch", &reference).arg("--output").path_arg(to))?;
        if !self.runner.plans() && digest != format!("sha256:{}", archive::fingerprint(to)?.1) {
            bail!("{reference}: the registry gave other bytes");
        }
        Ok(())
    }

    /// The digest of what is attached to a published chart with this type; none if nothing is.
    pub fn attached(&self, chart: &str, published: &Published, kind: &str) -> Result<Option<String>> {
        let reference = self.by_digest(chart, &published.digest);
        let discover = self
            .oras("discover", &reference)
            .args(["--format", "json", "--depth", "1"]);
        let text = self.demand(&discover.args(["--artifact-type", kind]))?;
        if self.runner.plans() {
            return Ok(None);
        }
        let found: Referrer = read(&text, &reference)?;
        Ok(found.referrers.into_iter().next().map(|referrer| referrer.digest))
    }

    /// Fetches the file that an attachment holds.
    pub fn fetch_attachment(&self, chart: &str, digest: &str, to: &Path) -> Result<()> {
        let reference = self.by_digest(chart, digest);
        let manifest: Manifest = read(&self.demand(&self.oras("manifest fetch", &reference))?, &reference)?;
        let layer = manifest.layers.first();
        let layer = layer.with_context(|| format!("{reference}: it holds nothing"))?;
        self.fetch(chart, &layer.digest, to)
    }

    /// Attaches a file to a published chart, as an artifact that refers to it (image-spec, artifact usage).
    /// Returns the attachment's digest.
    pub fn attach(&self, chart: &str, published: &Published, kind: &str, file: &Path) -> Result<String> {
        let reference = self.by_digest(chart, &published.digest);
        // oras names the file in the registry as it is named here.
        let (dir, name) = file.parent().zip(file.file_name()).context("a file is in a folder")?;
        let attach = self.oras("attach", &reference).cwd(dir);
        let attach = attach.arg(format!("{}:{kind}", name.to_string_lossy()));
        let attach = attach.args(["--annotation", CREATED]);
        let text = self.demand(&attach.args(["--artifact-type", kind, "--format", "json"]))?;
        if self.runner.plans() {
            return Ok(UNKNOWN.to_owned());
        }
        Ok(read::<Referrer>(&text, &reference)?.digest)
    }
}

impl Registry {
    /// Pushes Artifact Hub's file about a repository as the tag under which it is looked for
    /// (artifacthub.io/docs/topics/repositories/helm-charts, OCI support). False if it is there as it is.
    pub fn push_metadata(&self, chart: &str, file: &Path) -> Result<bool> {
        let reference = format!("{}:{METADATA_TAG}", self.repository(chart));
        let wanted = format!("sha256:{}", archive::fingerprint(file)?.1);
        if let Some(text) = self
            .ask(&self.oras("manifest fetch", &reference))?
            .filter(|text| !text.is_empty())
        {
            let manifest: Manifest = read(&text, &reference)?;
            if manifest.layers.iter().any(|layer| layer.digest == wanted) {
                return Ok(false);
            }
        }
        let (dir, name) = file.parent().zip(file.file_name()).context("a file is in a folder")?;
        let push = self.oras("push", &reference).cwd(dir);
        let push = push.args(["--config", &format!("/dev/null:{METADATA_CONFIG}")]);
        self.demand(&push.arg(format!("{}:{METADATA_LAYER}", name.to_string_lossy())))?;
        Ok(true)
    }
}

fn read<T: DeserializeOwned>(text: &str, reference: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("what the registry says of {reference}"))
}
