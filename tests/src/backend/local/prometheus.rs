//! A Prometheus as a process of this machine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use kit::step::Cancel;

use super::companion::{Companion, Start};
use crate::backend::prometheus::{CONFIG, EMPTY, PORT, Prometheus, USER, Verb, WEB_CONFIG, arguments, web_config};
use crate::client::credentials::http_client;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Prometheus on a folder of this machine. Dropping it stops it.
pub struct PrometheusServer {
    companion: Companion,
    http: reqwest::Client,
}

impl PrometheusServer {
    /// Starts it and waits until it answers.
    pub async fn start(program: &Path, password: &str, runs: &Path, cancel: &Cancel) -> Result<PrometheusServer> {
        let companion = Companion::start("prometheus", program, PORT, runs, cancel, |folder, address| {
            fs_err::write(folder.join(CONFIG), EMPTY)?;
            fs_err::write(folder.join(WEB_CONFIG), web_config(password)?)?;
            let folder = folder.display().to_string();
            Ok(Start::default().args(arguments(&folder, &address.to_string())))
        });
        Ok(PrometheusServer {
            companion: companion.await?,
            http: http_client()?,
        })
    }
}

#[async_trait]
impl Prometheus for PrometheusServer {
    fn endpoint(&self) -> String {
        self.companion.address().to_string()
    }

    async fn put(&self, file: &str, text: String) -> Result<()> {
        Ok(fs_err::write(self.companion.folder().join(file), text)?)
    }

    async fn ask(&self, verb: Verb, path: &str, password: &str) -> Result<String> {
        let url = format!("http://{}{path}", self.endpoint());
        let request = match verb {
            Verb::Get => self.http.get(&url),
            Verb::Post => self.http.post(&url),
        };
        let answer = request.basic_auth(USER, Some(password)).timeout(TIMEOUT).send().await;
        let answer = answer.with_context(|| format!("asking {url}"))?;
        let status = answer.status();
        let body = answer.text().await.with_context(|| format!("reading {url}"))?;
        anyhow::ensure!(status.is_success(), "{url}: {status} {}", body.trim());
        Ok(body)
    }

    async fn shut_down(&self) -> Result<()> {
        self.companion.shut_down().await
    }
}
