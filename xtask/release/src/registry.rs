//! An OCI registry: what is published there, and what is attached to it.
//!
//! `helm push` and `helm pull` move the charts; this asks and attaches, which helm can't.

use anyhow::{Context, Result, bail};
use kit::failure::Failure;
use kit::step::Cancel;
use semver::Version;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::access::Access;
use super::http::{Answer, Http, Question};
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
    scheme: &'static str,
    http: Http,
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

/// A published version of a chart.
#[derive(Debug, Clone)]
pub struct Published {
    /// The manifest's digest, `sha256:…`.
    pub digest: String,
    /// The manifest's size in bytes.
    size: usize,
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
            Failure::usage(
                format!("{url} is no address of a registry"),
                "write it as oci://HOST[:PORT]/PATH, without the chart's name",
            )
        };
        let rest = url.strip_prefix("oci://").ok_or_else(usage)?.trim_end_matches('/');
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || rest.contains('@') {
            return Err(usage());
        }
        Ok(Registry {
            host: host.to_owned(),
            path: path.to_owned(),
            scheme: if access.plain_http { "http" } else { "https" },
            http: Http::open(host, access, cancel)?,
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

    fn url(&self, chart: &str, rest: &str) -> String {
        format!("{}://{}/v2/{}/{rest}", self.scheme, self.host, self.repository(chart))
    }

    fn question(&self, method: &'static str, chart: &str, rest: &str, what: &str) -> Question {
        let work = if matches!(method, "GET" | "HEAD") {
            "read"
        } else {
            "write"
        };
        Question {
            method,
            url: self.url(chart, rest),
            what: what.to_owned(),
            scope: format!("{} {work}", self.repository(chart)),
            ..Question::default()
        }
    }

    /// The answer with status 200; none where the registry says that there is no such thing.
    fn get(&self, question: &Question) -> Result<Option<Answer>> {
        let answer = self.http.ask(question)?;
        match answer.status {
            200 => Ok(Some(answer)),
            404 => Ok(None),
            _ => Err(self.http.failed(question, &answer)),
        }
    }

    /// The published versions of a chart, lowest first.
    pub fn versions(&self, chart: &str) -> Result<Vec<Version>> {
        let what = format!("listing the versions of {chart}");
        let mut tags: Vec<String> = Vec::new();
        loop {
            let last = tags.last().map(|tag| format!("&last={tag}")).unwrap_or_default();
            let rest = format!("tags/list?n={PAGE}{last}");
            let Some(answer) = self.get(&self.question("GET", chart, &rest, &what))? else {
                break;
            };
            let answer: Value = serde_json::from_slice(&answer.body).with_context(|| what.clone())?;
            let page = answer["tags"].as_array().into_iter().flatten();
            let page: Vec<String> = page.filter_map(|tag| Some(tag.as_str()?.to_owned())).collect();
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

    /// The bytes of a manifest by its tag or digest.
    fn manifest(&self, chart: &str, reference: &str, what: &str, accept: &'static str) -> Result<Option<Vec<u8>>> {
        let mut question = self.question("GET", chart, &format!("manifests/{reference}"), what);
        question.accept = Some(accept);
        let Some(answer) = self.get(&question)? else {
            return Ok(None);
        };
        if reference.starts_with("sha256:") && digest_of(&answer.body) != reference {
            bail!("{what}: the registry gave another manifest than {reference}");
        }
        Ok(Some(answer.body))
    }

    /// One version of a chart; none if it isn't published.
    pub fn published(&self, chart: &str, version: &Version) -> Result<Option<Published>> {
        let shown = self.shown(chart, version);
        let what = format!("looking for {shown}");
        let Some(bytes) = self.manifest(chart, &tag_of(version), &what, MANIFEST)? else {
            return Ok(None);
        };
        let manifest: Manifest = serde_json::from_slice(&bytes).with_context(|| format!("{shown} is no chart"))?;
        let layer = |kind: &str| {
            manifest
                .layers
                .iter()
                .find(|l| l.media_type == kind)
                .map(|l| l.digest.clone())
        };
        let Some(archive) = layer(CHART) else {
            bail!("{shown} is no chart: it has no layer {CHART}");
        };
        Ok(Some(Published {
            digest: digest_of(&bytes),
            size: bytes.len(),
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
        let what = format!("reading {}@{digest}", self.repository(chart));
        let answer = self.get(&self.question("GET", chart, &format!("blobs/{digest}"), &what))?;
        let bytes = answer
            .with_context(|| format!("{what}: the registry has lost it"))?
            .body;
        if digest_of(&bytes) != digest {
            bail!("{what}: the registry gave other bytes");
        }
        Ok(bytes)
    }

    /// The list of what refers to a published chart, by the referrers API or, in a registry without one,
    /// under a tag that is made from the digest (distribution-spec, referrers tag schema).
    fn referrers(&self, chart: &str, published: &Published) -> Result<Value> {
        let digest = &published.digest;
        let what = format!("asking what is attached to {}@{digest}", self.repository(chart));
        let question = self.question("GET", chart, &format!("referrers/{digest}"), &what);
        let bytes = match self.get(&question)? {
            Some(answer) => Some(answer.body),
            None => self.manifest(chart, &digest.replace(':', "-"), &what, INDEX)?,
        };
        let empty = || json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
        bytes.map_or_else(
            || Ok(empty()),
            |bytes| serde_json::from_slice(&bytes).with_context(|| what.clone()),
        )
    }

    /// The file of this type that is attached to a published chart; none if there is none.
    pub fn attached(&self, chart: &str, published: &Published, kind: &str) -> Result<Option<Vec<u8>>> {
        let index = self.referrers(chart, published)?;
        let entries = index["manifests"].as_array().into_iter().flatten();
        let Some(digest) = entries
            .filter(|m| m["artifactType"] == kind)
            .find_map(|m| m["digest"].as_str())
        else {
            return Ok(None);
        };
        let what = format!("reading {}@{digest}", self.repository(chart));
        let bytes = self.manifest(chart, digest, &what, MANIFEST)?;
        let bytes = bytes.with_context(|| format!("{what}: the registry has lost it"))?;
        let manifest: Manifest = serde_json::from_slice(&bytes).with_context(|| what.clone())?;
        let layer = manifest.layers.first();
        let layer = layer.with_context(|| format!("{what}: it holds nothing"))?;
        Ok(Some(self.blob(chart, &layer.digest)?))
    }

    /// Attaches a file to a published chart as an artifact that refers to it (image-spec, artifact usage).
    /// False if one of its type was there already.
    pub fn attach(&self, chart: &str, published: &Published, kind: &str, name: &str, bytes: &[u8]) -> Result<bool> {
        if self.attached(chart, published, kind)?.is_some() {
            return Ok(false);
        }
        let what = format!("attaching {name} to {}", self.repository(chart));
        let descriptor = |media: &str, content: &[u8]| json!({"mediaType": media, "digest": digest_of(content), "size": content.len()});
        let mut layer = descriptor(kind, bytes);
        layer["annotations"] = json!({"org.opencontainers.image.title": name});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": descriptor(EMPTY, b"{}"),
            "layers": [layer],
            "subject": {"mediaType": MANIFEST, "digest": published.digest, "size": published.size},
        });
        let text = serde_json::to_vec(&manifest).context("writing JSON")?;
        let digest = digest_of(&text);
        for content in [b"{}".as_slice(), bytes] {
            self.upload(chart, &what, content)?;
        }
        let size = text.len();
        self.put_manifest(chart, &what, &digest, text, MANIFEST)?;
        let entry = json!({"mediaType": MANIFEST, "digest": digest, "size": size, "artifactType": kind});
        self.list(chart, published, &what, entry)?;
        Ok(true)
    }

    /// Sees to it that the registry lists an artifact.
    fn list(&self, chart: &str, published: &Published, what: &str, entry: Value) -> Result<()> {
        let mut index = self.referrers(chart, published)?;
        let entries = index["manifests"].as_array_mut().with_context(|| what.to_owned())?;
        if entries.iter().any(|m| m["digest"] == entry["digest"]) {
            return Ok(());
        }
        entries.push(entry);
        let text = serde_json::to_vec(&index).context("writing JSON")?;
        self.put_manifest(chart, what, &published.digest.replace(':', "-"), text, INDEX)
    }

    /// In two requests (distribution-spec, pushing a blob monolithically), unless it is there.
    fn upload(&self, chart: &str, what: &str, bytes: &[u8]) -> Result<()> {
        let digest = digest_of(bytes);
        if self
            .get(&self.question("HEAD", chart, &format!("blobs/{digest}"), what))?
            .is_some()
        {
            return Ok(());
        }
        let mut begin = self.question("POST", chart, "blobs/uploads/", what);
        begin.body = Some(Vec::new());
        let answer = self.http.ask(&begin)?;
        let Some(place) = answer.location.as_ref().filter(|_| answer.status == 202) else {
            return Err(self.http.failed(&begin, &answer));
        };
        let place = match place.starts_with('/') {
            true => format!("{}://{}{place}", self.scheme, self.host),
            false => place.clone(),
        };
        let separator = if place.contains('?') { '&' } else { '?' };
        let put = Question {
            url: format!("{place}{separator}digest={digest}"),
            content_type: Some("application/octet-stream"),
            body: Some(bytes.to_vec()),
            ..self.question("PUT", chart, "", what)
        };
        self.written(&put)
    }

    fn put_manifest(&self, chart: &str, what: &str, reference: &str, text: Vec<u8>, kind: &'static str) -> Result<()> {
        self.written(&Question {
            content_type: Some(kind),
            body: Some(text),
            ..self.question("PUT", chart, &format!("manifests/{reference}"), what)
        })
    }

    fn written(&self, question: &Question) -> Result<()> {
        let answer = self.http.ask(question)?;
        match answer.status {
            201 => Ok(()),
            _ => Err(self.http.failed(question, &answer)),
        }
    }
}

/// As helm makes it: a tag can't hold a plus sign.
fn tag_of(version: &Version) -> String {
    version.to_string().replace('+', "_")
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hexadecimal(&Sha256::digest(bytes)))
}
