//! An OCI registry: what is published there, and what is attached to it.
//!
//! `helm push` and `helm pull` move the charts; this asks and attaches, which helm can't.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use oci_client::client::{Certificate, CertificateEncoding, Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError as Error, OciErrorCode};
use oci_client::manifest::{ImageIndexEntry, OciDescriptor, OciImageIndex, OciImageManifest, OciManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use semver::Version;
use sha2::{Digest, Sha256};
use stack_tests::failure::{Failure, Kind};
use stack_tests::step::Cancel;
use tokio::runtime::Runtime;

use super::access::Access;
use super::web::causes;
use crate::archive::hexadecimal;

/// The layer that holds a chart's archive (helm.sh/docs/topics/registries).
const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// The layer that holds its `.prov`.
const PROV: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The config of an artifact that has none (image-spec, manifest.md).
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// How many tags one answer may hold.
const PAGE: usize = 1000;

/// A place in a registry below which charts are published: `oci://host[:port]/path`.
pub struct Registry {
    /// `host[:port]`.
    pub host: String,
    path: String,
    client: Client,
    auth: RegistryAuth,
    runtime: Runtime,
    patience: Duration,
    cancel: Cancel,
}

/// A published version of a chart.
#[derive(Debug, Clone)]
pub struct Published {
    /// The manifest's digest, `sha256:…`.
    pub digest: String,
    /// The manifest's size in bytes.
    size: i64,
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
    pub fn open(url: &str, access: &Access, cancel: &Cancel) -> Result<Registry> {
        let usage = || {
            Failure::err(
                Kind::Usage,
                format!("{url} is no address of a registry"),
                "write it as oci://HOST[:PORT]/PATH, without the chart's name",
            )
        };
        let rest = url.strip_prefix("oci://").ok_or_else(usage)?.trim_end_matches('/');
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || rest.contains('@') {
            return Err(usage());
        }
        let login = access.login(host)?;
        let certificate = |data| Certificate {
            encoding: CertificateEncoding::Pem,
            data,
        };
        let config = ClientConfig {
            protocol: if access.plain_http {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            tls_certs_only: access.certificates()?.map(certificate).into_iter().collect(),
            connect_timeout: Some(access.timeout()),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| {
            Failure::err(
                Kind::Environment,
                format!("no connection to {host} can be set up: {error}"),
                "check the certificates in --ca-file, or those of this machine",
            )
        })?;
        Ok(Registry {
            host: host.to_owned(),
            path: path.to_owned(),
            client,
            auth: login.map_or(RegistryAuth::Anonymous, |l| RegistryAuth::Basic(l.username, l.password)),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("starting")?,
            patience: access.timeout(),
            cancel: cancel.clone(),
        })
    }

    /// `path/chart`.
    pub fn repository(&self, chart: &str) -> String {
        if self.path.is_empty() {
            chart.to_owned()
        } else {
            format!("{}/{chart}", self.path)
        }
    }

    /// `host/path/chart:version`, as cosign and people write it.
    pub fn shown(&self, chart: &str, version: &Version) -> String {
        format!("{}/{}:{}", self.host, self.repository(chart), tag_of(version))
    }

    fn at(&self, chart: &str, version: &Version) -> Reference {
        Reference::with_tag(self.host.clone(), self.repository(chart), tag_of(version))
    }

    fn by_digest(&self, chart: &str, digest: &str) -> Reference {
        Reference::with_digest(self.host.clone(), self.repository(chart), digest.to_owned())
    }

    /// Waits for an answer; none where the registry says that there is no such thing.
    fn ask<T>(&self, what: &str, answer: impl Future<Output = Result<T, Error>>) -> Result<Option<T>> {
        self.cancel.check()?;
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(self.patience, answer).await });
        self.cancel.check()?;
        match answer {
            Ok(Ok(value)) => Ok(Some(value)),
            Ok(Err(error)) if is_missing(&error) => Ok(None),
            Ok(Err(error)) => Err(self.failure(what, &error)),
            Err(_) => Err(Failure::err(
                Kind::Environment,
                format!(
                    "{what}: the registry {} gave no answer in {} s",
                    self.host,
                    self.patience.as_secs()
                ),
                "wait and run the same command again (what is done already is not done twice), or raise --timeout",
            )),
        }
    }

    fn failure(&self, what: &str, error: &Error) -> anyhow::Error {
        let chain = causes(error);
        let host = &self.host;
        let again = "run the same command again: what is done already is not done twice";
        let (what, remedy) = match error {
            Error::UnauthorizedError { .. } | Error::AuthenticationFailure(_) => (
                format!("{what}: the registry {host} refuses these credentials"),
                "check --username and --password-file, or run `helm registry login`".to_owned(),
            ),
            Error::RegistryError { envelope, .. } if envelope.errors.iter().any(|e| denied(&e.code)) => (
                format!("{what}: the registry {host} refuses these credentials: {envelope}"),
                "check --username and --password-file, or ask for the right to push".to_owned(),
            ),
            Error::RequestError(_) if chain.contains("certificate") || chain.contains("UnknownIssuer") => (
                format!("{what}: the certificate of {host} is not trusted: {chain}"),
                "name the certificate of its authority with --ca-file".to_owned(),
            ),
            Error::RequestError(_) => (
                format!("{what}: the registry {host} can't be reached: {chain}"),
                format!("check its address and the network, and {again}"),
            ),
            Error::ServerError { code, message, .. } => (
                format!(
                    "{what}: the registry {host} failed with status {code}: {}",
                    message.trim()
                ),
                format!("look at the registry (its disk may be full), then {again}"),
            ),
            _ => (
                format!("{what}: the registry {host} answered: {chain}"),
                again.to_owned(),
            ),
        };
        Failure::err(Kind::Environment, what, remedy)
    }

    /// The published versions of a chart.
    pub fn versions(&self, chart: &str) -> Result<Vec<Version>> {
        let reference = Reference::with_tag(self.host.clone(), self.repository(chart), "latest".to_owned());
        let what = format!("listing the versions of {chart}");
        let mut tags: Vec<String> = Vec::new();
        loop {
            let list = self
                .client
                .list_tags(&reference, &self.auth, Some(PAGE), tags.last().map(String::as_str));
            let page = self.ask(&what, list)?.map(|answer| answer.tags).unwrap_or_default();
            // A registry may hold its pages shorter than asked for, and one that knows no pages repeats itself.
            if page.is_empty() || page.last() == tags.last() {
                break;
            }
            tags.extend(page);
        }
        let mut versions: Vec<Version> = tags
            .iter()
            .filter_map(|tag| tag.replace('_', "+").parse().ok())
            .collect();
        versions.sort();
        Ok(versions)
    }

    /// One version of a chart; none if it isn't published.
    pub fn published(&self, chart: &str, version: &Version) -> Result<Option<Published>> {
        let what = format!("looking for {}", self.shown(chart, version));
        let reference = self.at(chart, version);
        let Some((bytes, digest)) = self.ask(
            &what,
            self.client.pull_manifest_raw(&reference, &self.auth, &[MANIFEST]),
        )?
        else {
            return Ok(None);
        };
        let manifest: OciImageManifest =
            serde_json::from_slice(&bytes).with_context(|| format!("{} is no chart", self.shown(chart, version)))?;
        let layer = |kind: &str| {
            manifest
                .layers
                .iter()
                .find(|l| l.media_type == kind)
                .map(|l| l.digest.clone())
        };
        let Some(archive) = layer(CHART) else {
            bail!("{} is no chart: it has no layer {CHART}", self.shown(chart, version));
        };
        Ok(Some(Published {
            digest,
            size: i64::try_from(bytes.len()).context("a manifest's size")?,
            archive,
            prov: layer(PROV),
        }))
    }

    /// The bytes of a published archive.
    pub fn archive(&self, chart: &str, published: &Published) -> Result<Vec<u8>> {
        self.blob(chart, &published.archive)
    }

    /// The bytes of its `.prov`; none if it is not signed.
    pub fn prov(&self, chart: &str, published: &Published) -> Result<Option<Vec<u8>>> {
        published
            .prov
            .as_ref()
            .map(|digest| self.blob(chart, digest))
            .transpose()
    }

    fn blob(&self, chart: &str, digest: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let what = format!("reading {}@{digest}", self.repository(chart));
        let reference = self.by_digest(chart, digest);
        // oci-client compares the digest.
        let pull = self.client.pull_blob(&reference, digest, &mut bytes);
        self.ask(&what, pull)?
            .with_context(|| format!("{what}: the registry has lost it"))?;
        Ok(bytes)
    }

    fn referrers(&self, chart: &str, published: &Published) -> Result<OciImageIndex> {
        let what = format!(
            "asking what is attached to {}@{}",
            self.repository(chart),
            published.digest
        );
        let subject = self.by_digest(chart, &published.digest);
        let index = self.ask(&what, self.client.pull_referrers(&subject, None))?;
        Ok(index.unwrap_or_else(|| OciImageIndex {
            schema_version: 2,
            media_type: Some(INDEX.to_owned()),
            manifests: Vec::new(),
            artifact_type: None,
            annotations: None,
        }))
    }

    /// The file of this type that is attached to a published chart; none if there is none.
    pub fn attached(&self, chart: &str, published: &Published, kind: &str) -> Result<Option<Vec<u8>>> {
        let index = self.referrers(chart, published)?;
        let Some(entry) = index
            .manifests
            .iter()
            .find(|m| m.artifact_type.as_deref() == Some(kind))
        else {
            return Ok(None);
        };
        let what = format!("reading {}@{}", self.repository(chart), entry.digest);
        let reference = self.by_digest(chart, &entry.digest);
        let (bytes, _) = self
            .ask(
                &what,
                self.client.pull_manifest_raw(&reference, &self.auth, &[MANIFEST]),
            )?
            .with_context(|| format!("{what}: the registry has lost it"))?;
        let manifest: OciImageManifest = serde_json::from_slice(&bytes).with_context(|| what.clone())?;
        let layer = manifest
            .layers
            .first()
            .with_context(|| format!("{what}: it holds nothing"))?;
        Ok(Some(self.blob(chart, &layer.digest)?))
    }

    /// Attaches a file to a published chart as an artifact that refers to it (distribution-spec,
    /// referrers). False if it was there already.
    pub fn attach(&self, chart: &str, published: &Published, kind: &str, name: &str, bytes: &[u8]) -> Result<bool> {
        if self.attached(chart, published, kind)?.is_some() {
            return Ok(false);
        }
        let what = format!("attaching {name} to {}", self.repository(chart));
        let descriptor = |media: &str, content: &[u8]| OciDescriptor {
            media_type: media.to_owned(),
            digest: digest_of(content),
            size: content.len() as i64,
            ..OciDescriptor::default()
        };
        let mut layer = descriptor(kind, bytes);
        layer.annotations = Some(BTreeMap::from([(
            "org.opencontainers.image.title".to_owned(),
            name.to_owned(),
        )]));
        let manifest = OciImageManifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: descriptor(EMPTY, b"{}"),
            layers: vec![layer],
            subject: Some(OciDescriptor {
                media_type: MANIFEST.to_owned(),
                digest: published.digest.clone(),
                size: published.size,
                ..OciDescriptor::default()
            }),
            artifact_type: Some(kind.to_owned()),
            annotations: None,
        };
        let text = serde_json::to_vec(&manifest).context("writing JSON")?;
        let digest = digest_of(&text);
        for content in [b"{}".as_slice(), bytes] {
            self.upload(chart, &what, content)?;
        }
        self.put_manifest(&what, &self.by_digest(chart, &digest), text.clone(), MANIFEST)?;
        self.list(chart, published, &what, kind, &digest, text.len())?;
        Ok(true)
    }

    /// Sees to it that the registry lists an artifact: one without the referrers API wants the list
    /// under a tag that is made from the digest (distribution-spec, referrers tag schema).
    fn list(
        &self,
        chart: &str,
        published: &Published,
        what: &str,
        kind: &str,
        digest: &str,
        size: usize,
    ) -> Result<()> {
        let mut index = self.referrers(chart, published)?;
        if index.manifests.iter().any(|m| m.digest == digest) {
            return Ok(());
        }
        index.manifests.push(ImageIndexEntry {
            media_type: MANIFEST.to_owned(),
            digest: digest.to_owned(),
            size: size as i64,
            platform: None,
            annotations: None,
            artifact_type: Some(kind.to_owned()),
        });
        let tag = published.digest.replace(':', "-");
        let reference = Reference::with_tag(self.host.clone(), self.repository(chart), tag);
        let text = serde_json::to_vec(&OciManifest::ImageIndex(index)).context("writing JSON")?;
        self.put_manifest(what, &reference, text, INDEX)
    }

    fn upload(&self, chart: &str, what: &str, bytes: &[u8]) -> Result<()> {
        let digest = digest_of(bytes);
        let reference = self.by_digest(chart, &digest);
        if self.ask(what, self.client.blob_exists(&reference, &digest))? == Some(true) {
            return Ok(());
        }
        self.allow_push(&reference, what)?;
        let push = self.client.push_blob(&reference, bytes.to_vec(), &digest);
        self.ask(what, push)?
            .with_context(|| format!("{what}: the registry knows no such place"))?;
        Ok(())
    }

    fn put_manifest(&self, what: &str, reference: &Reference, text: Vec<u8>, kind: &'static str) -> Result<()> {
        self.allow_push(reference, what)?;
        let kind = reqwest::header::HeaderValue::from_static(kind);
        let push = self.client.push_manifest_raw(reference, text, kind);
        self.ask(what, push)?
            .with_context(|| format!("{what}: the registry knows no such place"))?;
        Ok(())
    }

    /// Asks for a token that may write, where the registry works with tokens.
    fn allow_push(&self, reference: &Reference, what: &str) -> Result<()> {
        self.ask(what, self.client.auth(reference, &self.auth, RegistryOperation::Push))
            .map(|_| ())
    }
}

/// As helm makes it: a tag can't hold a plus sign.
fn tag_of(version: &Version) -> String {
    version.to_string().replace('+', "_")
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hexadecimal(&Sha256::digest(bytes)))
}

fn is_missing(error: &Error) -> bool {
    match error {
        Error::ImageManifestNotFoundError(_) | Error::ServerError { code: 404, .. } => true,
        Error::RegistryError { envelope, .. } => envelope.errors.iter().any(|e| {
            matches!(
                e.code,
                OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound
                    | OciErrorCode::BlobUnknown
            )
        }),
        _ => false,
    }
}

fn denied(code: &OciErrorCode) -> bool {
    matches!(code, OciErrorCode::Denied | OciErrorCode::Unauthorized)
}
