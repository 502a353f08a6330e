//! Reads from a static chart repository on a web server.

use anyhow::{Context, Result};
use stack_tests::failure::{Failure, Kind};
use tokio::runtime::Runtime;

use super::access::Access;

/// A reader of `https://…`.
pub struct Web {
    client: reqwest::Client,
    access: Access,
    runtime: Runtime,
}

impl Web {
    /// A reader with the certificates and the patience of `access`.
    pub fn open(access: &Access) -> Result<Web> {
        let mut builder = reqwest::Client::builder().timeout(access.timeout());
        if let Some(pem) = access.certificates()? {
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).context("reading --ca-file")?;
            builder = builder.tls_certs_only(certificates);
        }
        Ok(Web {
            client: builder.build().context("setting up a connection")?,
            access: access.clone(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("starting")?,
        })
    }

    /// The body of an address; none if the server says that there is no such thing.
    pub fn get(&self, url: &str) -> Result<Option<Vec<u8>>> {
        let away = |why: String| {
            Failure::err(
                Kind::Environment,
                format!("{url} can't be read: {why}"),
                "check the address and the network, and run the same command again",
            )
        };
        let host = url.split('/').nth(2).unwrap_or_default();
        let login = self.access.login(host)?;
        self.runtime.block_on(async {
            let mut request = self.client.get(url);
            if let Some(login) = login {
                request = request.basic_auth(login.username, Some(login.password));
            }
            let answer = request.send().await.map_err(|error| away(causes(&error)))?;
            match answer.status().as_u16() {
                200 => {}
                404 | 410 => return Ok(None),
                status => return Err(away(format!("the server answered with status {status}"))),
            }
            let body = answer.bytes().await.map_err(|error| away(causes(&error)))?;
            Ok(Some(body.to_vec()))
        })
    }
}

/// An error with all its causes in one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
