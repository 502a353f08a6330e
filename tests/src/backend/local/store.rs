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
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::companion::{Companion, Start};
use crate::backend::{Bucket, Fault, ObjectStore, Store};
use crate::client::credentials::http_client;

const NAME: &str = "store";
const TIMEOUT: Duration = Duration::from_secs(30);
/// The version of Azure's API that is spoken.
const AZURE_API: &str = "2021-12-02";

/// versitygw, fake-gcs-server or Azurite with one empty bucket. Dropping it stops it.
pub struct StoreServer {
    companion: Companion,
    kind: Store,
    account: String,
    secret: String,
    bucket: String,
    /// Of the relay in front of it, where it has one.
    address: SocketAddr,
    http: reqwest::Client,
}

impl StoreServer {
    /// Starts the program and waits until it answers and has the bucket.
    pub async fn start(program: &Path, bucket: &Bucket<'_>, runs: &Path, cancel: &Cancel) -> Result<StoreServer> {
        let (port, name) = (7070, bucket.name);
        let companion = Companion::start(NAME, program, port, runs, cancel, |folder, address| {
            let path = |name: &str| folder.join(name).display().to_string();
            let (host, port) = (address.ip().to_string(), port.to_string());
            Ok(match &bucket.store {
                Store::S3 => {
                    for dir in [&folder.join("root").join(name), &folder.join("sidecar")] {
                        fs_err::create_dir_all(dir)?;
                    }
                    let address = address.to_string();
                    Start::default()
                        .args([
                            "--port",
                            &address,
                            "posix",
                            "--sidecar",
                            &path("sidecar"),
                            &path("root"),
                        ])
                        .variable("ROOT_ACCESS_KEY", bucket.access_key)
                        .variable("ROOT_SECRET_KEY", bucket.secret_key)
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
            // It names itself by its own address, in what it answers or in what is signed.
            Store::Gcs | Store::Azure(_) => companion.address(),
        };
        let server = StoreServer {
            companion,
            kind: bucket.store.clone(),
            account: bucket.access_key.to_owned(),
            secret: bucket.secret_key.to_owned(),
            bucket: name.to_owned(),
            address,
            http: http_client()?,
        };
        server.make_bucket().await?;
        Ok(server)
    }

    async fn make_bucket(&self) -> Result<()> {
        let request = match &self.kind {
            // A folder of its root is one.
            Store::S3 => return Ok(()),
            Store::Gcs => {
                let url = format!("http://{}/storage/v1/b?project=e2e", self.address);
                let body = serde_json::json!({"name": self.bucket}).to_string();
                self.http.post(url).header(CONTENT_TYPE, "application/json").body(body)
            }
            Store::Azure(_) => self.azure(Method::PUT, &[("restype", "container")])?,
        };
        answer(request).await.context("making the bucket").map(drop)
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
        let url = Url::parse_with_params(&format!("http://{}{path}", self.address), query).context("an address")?;
        Ok(self
            .http
            .request(method, url)
            .header(CONTENT_LENGTH, 0)
            .header("x-ms-date", now)
            .header("x-ms-version", AZURE_API)
            .header(AUTHORIZATION, format!("SharedKey {}:{signature}", self.account)))
    }
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

    async fn objects(&self) -> Result<Vec<String>> {
        let (request, name) = match &self.kind {
            Store::S3 => {
                let entries = walkdir::WalkDir::new(self.companion.folder().join("root"))
                    .into_iter()
                    .flatten()
                    .filter(|e| e.file_type().is_file());
                let paths: Vec<PathBuf> = entries.map(walkdir::DirEntry::into_path).collect();
                return Ok(paths.iter().map(|path| path.display().to_string()).collect());
            }
            Store::Gcs => {
                let url = format!("http://{}/storage/v1/b/{}/o", self.address, self.bucket);
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
