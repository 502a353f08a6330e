//! An object store or a memcached as a process of this machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use kit::step::Cancel;
use regex::Regex;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Method, Url};
use ring::hmac;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::companion::{Companion, Start};
use crate::backend::{Bucket, Fault, Kept, ObjectStore, Session, Store};
use crate::client::credentials::{Credentials, Tls};

const NAME: &str = "store";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";
const TIMEOUT: Duration = Duration::from_secs(30);
/// The version of Azure's API that is spoken.
const AZURE_API: &str = "2021-12-02";

/// What may be done by whom, in the store that knows roles.
const ROLE: &str = "tempo";
const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}"#;
const POLICY: &str =
    r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}"#;

/// versitygw, moto, fake-gcs-server or Azurite with one empty bucket. Dropping it stops it.
pub struct StoreServer {
    companion: Companion,
    kind: Store,
    certificate: Option<String>,
    session: Option<Session>,
    account: String,
    secret: String,
    bucket: String,
    /// Of the relay in front of it, where it has one.
    address: SocketAddr,
    url: String,
    http: reqwest::Client,
}

impl StoreServer {
    /// Starts the program and waits until it answers and has the bucket.
    pub async fn start(program: &Path, bucket: &Bucket<'_>, runs: &Path, cancel: &Cancel) -> Result<StoreServer> {
        let (port, name) = (7070, bucket.name);
        let mut certificate = None;
        let companion = Companion::start(NAME, program, port, runs, cancel, |folder, address| {
            let path = |name: &str| folder.join(name).display().to_string();
            let (host, port) = (address.ip().to_string(), port.to_string());
            Ok(match &bucket.store {
                Store::S3 | Store::S3Tls => {
                    for dir in [&folder.join("root").join(name), &folder.join("sidecar")] {
                        fs_err::create_dir_all(dir)?;
                    }
                    let mut start = Start::default().args(["--port", &address.to_string()]);
                    if bucket.store == Store::S3Tls {
                        certificate = Some(certify(folder, host)?);
                        start = start.args(["--cert", &path(CERTIFICATE), "--key", &path(KEY)]);
                    }
                    start
                        .args(["posix", "--sidecar", &path("sidecar"), &path("root")])
                        .variable("ROOT_ACCESS_KEY", bucket.access_key)
                        .variable("ROOT_SECRET_KEY", bucket.secret_key)
                }
                Store::Aws(installed) => {
                    certificate = Some(certify(folder, host.clone())?);
                    Start::default()
                        .args(["-m", "moto.server", "-H", &host, "-p", &port])
                        .args(["-c", &path(CERTIFICATE), "-k", &path(KEY)])
                        .variable("PYTHONPATH", &installed.join("lib").display().to_string())
                }
                Store::Gcs => Start::default()
                    .args(["-backend", "memory", "-scheme", "http", "-host", &host, "-port", &port])
                    .args(["-public-host", &address.to_string()])
                    .args(["-external-url", &format!("http://{address}")]),
                Store::Azure(script) => Start::default()
                    .args([&script.display().to_string(), "--disableTelemetry", "--silent"])
                    .args(["--blobHost", &host, "--blobPort", &port, "--location", &path("root")])
                    .variable(
                        "AZURITE_ACCOUNTS",
                        &format!("{}:{}", bucket.access_key, bucket.secret_key),
                    ),
            })
        });
        let companion = companion.await?;
        let address = match &bucket.store {
            Store::S3 => companion.network().stand_before(NAME, port).await?,
            // These name themselves by their own address, in what they answer, sign or certify.
            Store::S3Tls | Store::Aws(_) | Store::Gcs | Store::Azure(_) => companion.address(),
        };
        let tls = certificate.clone().map(|ca| Tls::trusting(ca, NAME));
        let client = Credentials {
            tls,
            ..Credentials::default()
        };
        let (url, http) = client.http(address)?;
        let mut server = StoreServer {
            companion,
            kind: bucket.store.clone(),
            certificate,
            session: None,
            account: bucket.access_key.to_owned(),
            secret: bucket.secret_key.to_owned(),
            bucket: name.to_owned(),
            address,
            url,
            http,
        };
        server.make_bucket().await?;
        Ok(server)
    }

    async fn make_bucket(&mut self) -> Result<()> {
        let request = match &self.kind {
            // A folder of its root is one.
            Store::S3 | Store::S3Tls => return Ok(()),
            Store::Aws(_) => {
                self.session = Some(self.assume_role().await?);
                return Ok(());
            }
            Store::Gcs => {
                let url = format!("{}/storage/v1/b?project=e2e", self.url);
                let body = serde_json::json!({"name": self.bucket}).to_string();
                self.http.post(url).header(CONTENT_TYPE, "application/json").body(body)
            }
            Store::Azure(_) => self.azure(Method::PUT, &[("restype", "container")])?,
        };
        answer(request).await.context("making the bucket").map(drop)
    }

    /// Makes the bucket and a role that may use it, takes the role, and has the store ask who comes from then on
    /// (docs.getmoto.org/en/latest/docs/iam.html: `/moto-api/reset-auth`).
    async fn assume_role(&self) -> Result<Session> {
        let identity = [("Version", "2010-05-08"), ("RoleName", ROLE)];
        let make = [("Action", "CreateRole"), ("AssumeRolePolicyDocument", TRUST)];
        self.unsigned("iam", Method::POST, "", &[&identity[..], &make].concat())
            .await
            .context("making a role")?;
        let allow = [
            ("Action", "PutRolePolicy"),
            ("PolicyName", ROLE),
            ("PolicyDocument", POLICY),
        ];
        self.unsigned("iam", Method::POST, "", &[&identity[..], &allow].concat())
            .await
            .context("letting the role use S3")?;
        self.unsigned("s3", Method::PUT, &self.bucket, &[])
            .await
            .context("making the bucket")?;
        let take = [
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", "arn:aws:iam::123456789012:role/tempo"),
            ("RoleSessionName", ROLE),
        ];
        let given = self
            .unsigned("sts", Method::POST, "", &take)
            .await
            .context("taking the role")?;
        let field = |name: &str| {
            let found = Regex::new(&format!("<{name}>([^<]+)</{name}>"))?
                .captures(&given)
                .map(|f| f[1].to_owned());
            found.with_context(|| format!("credentials have a {name}"))
        };
        let on = self.http.post(format!("{}/moto-api/reset-auth", self.url)).body("0");
        answer(on).await.context("asking for credentials from now on")?;
        Ok(Session {
            access_key: field("AccessKeyId")?,
            secret_key: field("SecretAccessKey")?,
            token: field("SessionToken")?,
        })
    }

    /// What a service of Amazon answers before it asks who comes: its name stands in what will be the signature.
    async fn unsigned(&self, service: &str, method: Method, path: &str, query: &[(&str, &str)]) -> Result<String> {
        let url = Url::parse_with_params(&format!("{}/{path}", self.url), query).context("an address")?;
        let scope = format!("Credential=none/20260101/us-east-1/{service}/aws4_request");
        let unsigned = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=none");
        answer(self.http.request(method, url).header(AUTHORIZATION, unsigned)).await
    }

    /// A request about the container of Azure, signed with the key of the account, which is base64
    /// (learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key): signed are the method, eleven
    /// headers that this request leaves out, those of the API, and what is asked for, each sorted by name.
    fn azure(&self, method: Method, query: &[(&str, &str)]) -> Result<reqwest::RequestBuilder> {
        let path = format!("/{}/{}", self.account, self.bucket);
        let now = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let headers = format!("x-ms-date:{now}\nx-ms-version:{AZURE_API}\n");
        let asked: String = query.iter().map(|(name, value)| format!("\n{name}:{value}")).collect();
        let text = format!("{method}{}{headers}/{}{path}{asked}", "\n".repeat(12), self.account);
        let key = BASE64_STANDARD
            .decode(&self.secret)
            .context("the key of an account is base64")?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signature = BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()));
        let url = Url::parse_with_params(&format!("{}{path}", self.url), query).context("an address")?;
        Ok(self
            .http
            .request(method, url)
            .header(CONTENT_LENGTH, 0)
            .header("x-ms-date", now)
            .header("x-ms-version", AZURE_API)
            .header(AUTHORIZATION, format!("SharedKey {}:{signature}", self.account)))
    }
}

/// What moto says of itself, as far as it matters here.
#[derive(Deserialize)]
struct Data {
    s3: Buckets,
}

#[derive(Deserialize)]
struct Buckets {
    #[serde(rename = "FakeKey")]
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    name: String,
    encryption: Option<String>,
    kms_key_id: Option<String>,
    storage_class: String,
    #[serde(rename = "response_dict")]
    answer: Answer,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "x-amz-tagging-count")]
    tags: Option<String>,
}

/// Writes a certificate for a host and for our own name of the store, and its key, and returns the former in PEM.
fn certify(folder: &Path, host: String) -> Result<String> {
    let made = rcgen::generate_simple_self_signed([host, NAME.to_owned()]).context("making a certificate")?;
    fs_err::write(folder.join(KEY), made.signing_key.serialize_pem())?;
    fs_err::write(folder.join(CERTIFICATE), made.cert.pem())?;
    Ok(made.cert.pem())
}

/// The text of a successful answer.
async fn answer(request: reqwest::RequestBuilder) -> Result<String> {
    let answer = request.timeout(TIMEOUT).send().await.context("asking the store")?;
    let status = answer.status();
    let body = answer.text().await.context("reading its answer")?;
    ensure!(status.is_success(), "the store answers {status}: {}", body.trim());
    Ok(body)
}

#[async_trait]
impl ObjectStore for StoreServer {
    fn endpoint(&self) -> String {
        self.address.to_string()
    }

    fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    async fn kept(&self) -> Result<Vec<Kept>> {
        ensure!(
            matches!(self.kind, Store::Aws(_)),
            "only moto tells what it knows of objects"
        );
        let data = answer(self.http.get(format!("{}/moto-api/data.json", self.url))).await;
        let data: Data = serde_json::from_str(&data.context("asking what is kept")?).context("reading what is kept")?;
        let kept = data.s3.objects.into_iter().map(|object| Kept {
            tags: object
                .answer
                .tags
                .and_then(|count| count.parse().ok())
                .unwrap_or_default(),
            name: object.name,
            encryption: object.encryption,
            kms_key: object.kms_key_id,
            storage_class: object.storage_class,
        });
        Ok(kept.collect())
    }

    async fn objects(&self) -> Result<Vec<String>> {
        let (request, name) = match &self.kind {
            Store::S3 | Store::S3Tls => {
                let entries = walkdir::WalkDir::new(self.companion.folder().join("root"))
                    .into_iter()
                    .flatten()
                    .filter(|e| e.file_type().is_file());
                let paths: Vec<PathBuf> = entries.map(walkdir::DirEntry::into_path).collect();
                return Ok(paths.iter().map(|path| path.display().to_string()).collect());
            }
            Store::Aws(_) => return Ok(self.kept().await?.into_iter().map(|kept| kept.name).collect()),
            Store::Gcs => {
                let url = format!("{}/storage/v1/b/{}/o", self.url, self.bucket);
                (self.http.get(url), r#""name":"([^"]+)""#)
            }
            Store::Azure(_) => {
                let query = [("comp", "list"), ("restype", "container")];
                (self.azure(Method::GET, &query)?, "<Name>([^<]+)</Name>")
            }
        };
        let listed = answer(request).await.context("listing the bucket")?;
        let name = Regex::new(name)?;
        Ok(name.captures_iter(&listed).map(|found| found[1].to_owned()).collect())
    }

    async fn put(&self, key: &str, file: &Path) -> Result<()> {
        ensure!(self.kind == Store::S3, "only S3 is written to from here");
        // It signs as S3 wants it.
        let output = tokio::process::Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body"])
            .args(["--aws-sigv4", "aws:amz:us-east-1:s3"])
            .args(["--user", &format!("{}:{}", self.account, self.secret)])
            .args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
            .arg("--upload-file")
            .arg(file)
            .arg(format!("http://{}/{}/{key}", self.address, self.bucket))
            .kill_on_drop(true)
            .output()
            .await
            .context("running curl")?;
        ensure!(
            output.status.success(),
            "putting {key} into the bucket: {}{}",
            String::from_utf8_lossy(&output.stderr).trim(),
            String::from_utf8_lossy(&output.stdout).trim()
        );
        Ok(())
    }

    async fn disturb(&self, fault: Fault) -> Result<()> {
        let network = self.companion.network();
        ensure!(network.disturb(NAME, fault), "a store can't have the fault {fault:?}");
        Ok(())
    }

    async fn recover(&self) -> Result<()> {
        self.companion.network().recover(NAME);
        Ok(())
    }

    fn disturbed(&self) -> u64 {
        self.companion.network().disturbed()
    }

    async fn shut_down(&self) -> Result<()> {
        self.companion.shut_down().await
    }
}

/// memcached of this machine. Dropping it stops it.
pub struct Memcached(Companion);

impl Memcached {
    /// Starts it with 64 MiB and waits until it answers.
    pub async fn start(runs: &Path, cancel: &Cancel) -> Result<Memcached> {
        let companion = Companion::start(
            "memcached",
            Path::new("memcached"),
            11211,
            runs,
            cancel,
            |_, address| {
                let (host, port) = (address.ip().to_string(), address.port().to_string());
                // It refuses to run as root, and for anybody else the user is ignored.
                Ok(Start::default().args(["-l", &host, "-p", &port, "-m", "64", "-u", "nobody"]))
            },
        );
        Ok(Memcached(companion.await?))
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// How many keys it was asked for and had, since its start.
    pub async fn hits(&self) -> Result<u64> {
        timeout(TIMEOUT, self.stat("get_hits"))
            .await
            .context("memcached doesn't answer")?
    }

    async fn stat(&self, wanted: &str) -> Result<u64> {
        let mut stream = TcpStream::connect(self.address()).await.context("asking memcached")?;
        stream.write_all(b"stats\r\n").await?;
        let mut lines = BufReader::new(stream).lines();
        while let Some(line) = lines.next_line().await? {
            let mut words = line.split_whitespace().skip(1);
            if words.next() == Some(wanted) {
                return words
                    .next()
                    .context("a figure has a value")?
                    .parse()
                    .context("reading memcached's figures");
            }
            if line == "END" {
                break;
            }
        }
        anyhow::bail!("memcached has no figure {wanted}")
    }

    /// Kills it.
    pub async fn kill(&self) -> Result<()> {
        self.0.shut_down().await
    }
}
