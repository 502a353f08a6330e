//! `doors`: who may send, and what becomes of whoever may not.
//!
//! At each door over TCP, and for each way to ask who is there, what is shown is right, missing, wrong or over. All
//! four are sent at the same time: only what comes with the right key is stored, and the door is open for it
//! while the others are refused. Keys change under load, and are found nowhere but in their Secrets.

pub(in crate::scenario) mod keys;
mod proof;
pub(in crate::scenario) mod script;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use self::keys::{Ca, Data, htpasswd, one, token};
use self::proof::Proof;
use crate::backend::{Component, Stack};
use crate::client::credentials::{Credentials, KeyPair, Tls};
use crate::env::Env;

/// What clients call the Collector's Service, and what the chart's own test does.
const NAMES: [&str; 2] = ["otel-collector", "otel-collector.observability.svc.cluster.local"];
const READY: Duration = Duration::from_secs(60);
/// How long a load goes on before and after a change: several ages of its connection.
const LOADED: Duration = Duration::from_secs(3);
const USER: &str = "shop";

/// What the Secrets are called.
const CERTIFICATE: &str = "collector-tls";
const AUTH: &str = "collector-auth";
const CLIENT_CA: &str = "client-ca";
const TEST: &str = "test-client";
const TEMPO: &str = "tempo-tls";
const COLLECTOR: &str = "collector-client";

/// A new certificate is looked for at each connection, and a connection ends after a second.
const TLS: &str = "
tempo-stack:
  otelCollector:
    replicas: 1
    receivers: {maxConnectionAge: 1s}
    tls: {enabled: true, existingSecret: collector-tls, reloadInterval: 1s}
";
const BEARER: &str = "{tempo-stack: {otelCollector: {auth: {type: bearer, existingSecret: collector-auth}}}}";
const BASIC: &str = "
tempo-stack:
  otelCollector: {auth: {type: basic, existingSecret: collector-auth}}
  helmTest: {client: {credentialsSecret: test-client}}
";
/// Names of Services are addresses on this machine, so the name of the certificate is set.
const MUTUAL: &str = "
tempo-stack:
  otelCollector:
    tls: {clientCa: {existingSecret: client-ca}}
    exporter: {tls: {clientSecret: collector-client, serverName: tempo}}
  tempo: {tls: {enabled: true, existingSecret: tempo-tls, clientCaSecret: client-ca}}
  helmTest: {client: {certificateSecret: test-client}}
";

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    env.recorder.skip(
        "OpenID Connect",
        "the Collector that is built here has no oidcauthextension, of which there is no release 0.155.0 to build with",
    );
    bearer(env).await?;
    basic(env).await?;
    mutual(env).await
}

async fn bearer(env: &Env) -> Result<()> {
    let (before, after) = (Ca::new("before")?, Ca::new("after")?);
    let (first, second) = (token(), token());
    let secrets = [(CERTIFICATE, before.secret(&NAMES)?), (AUTH, one("tokens", &first))];
    let mut proof = Proof::start(env, "bearer", BEARER, secrets.into()).await?;
    proof.hide([first.clone(), second.clone()]);
    let pids = proof.stack.pids(Component::OtelCollector).await?;
    let shows = |ca: String, token: &str| Credentials {
        authorization: Some(format!("Bearer {token}")),
        ..trusts(ca)
    };
    let both = before.pem() + &after.pem();

    let load = proof.load(&shows(both.clone(), &first), 1)?;
    tokio::time::sleep(LOADED).await;
    proof
        .change(AUTH, one("tokens", format!("{first}\n{second}\n")))
        .await?;
    proof
        .until("a new token counts", &shows(both.clone(), &second), true)
        .await?;
    let other = proof.load(&shows(both.clone(), &second), 2)?;
    let (ledger, _) = load.stop().await?;
    proof.change(AUTH, one("tokens", format!("{second}\n"))).await?;
    proof
        .until(
            "a token that was taken out is refused",
            &shows(both.clone(), &first),
            false,
        )
        .await?;
    proof.change(CERTIFICATE, after.secret(&NAMES)?).await?;
    proof
        .until("a new certificate counts", &shows(after.pem(), &second), true)
        .await?;
    proof
        .until("the old certificate is gone", &shows(before.pem(), &second), false)
        .await?;
    tokio::time::sleep(LOADED).await;
    let mut unfit = after.secret(&NAMES)?;
    unfit.extend(one("tls.key", after.issue(&NAMES)?.key));
    proof.change(CERTIFICATE, unfit).await?;
    let right = shows(after.pem(), &second);
    proof
        .until("a certificate that doesn't fit its key closes the doors", &right, false)
        .await?;
    proof.change(CERTIFICATE, after.secret(&NAMES)?).await?;
    proof.until("one that fits opens them again", &right, true).await?;
    let (last, _) = other.stop().await?;
    let now = proof.stack.pids(Component::OtelCollector).await?;
    env.recorder.check(
        "token and certificate changed without a restart",
        now == pids,
        format!("{now:?}"),
    );
    for (what, ledger) in [
        ("the old token under load", ledger),
        ("token and certificate changed under load", last),
    ] {
        proof.nothing_lost(what, ledger).await?;
    }

    proof
        .cells(&[
            ("none", trusts(after.pem())),
            ("wrong", shows(after.pem(), &token())),
            ("expired", shows(after.pem(), &first)),
            ("right", shows(after.pem(), &second)),
        ])
        .await?;
    proof.end(one("tokens", token()), AUTH).await
}

async fn basic(env: &Env) -> Result<()> {
    let ca = Ca::new("ca")?;
    let (old, new) = (token(), token());
    let pair = format!("{USER}:{new}");
    let secrets = [
        (CERTIFICATE, ca.secret(&NAMES)?),
        (AUTH, one("htpasswd", htpasswd(USER, &old)?)),
        (TEST, one("credentials", &pair)),
    ];
    let mut proof = Proof::start(env, "basic", BASIC, secrets.into()).await?;
    proof.hide([old.clone(), new.clone(), STANDARD.encode(&pair)]);
    let shows = |password: &str| Credentials {
        authorization: Some(crate::client::credentials::basic(USER, password)),
        ..trusts(ca.pem())
    };
    proof.until("a password counts", &shows(&old), true).await?;
    // The file is read at the start only.
    proof.change(AUTH, one("htpasswd", htpasswd(USER, &new)?)).await?;
    proof.stack.restart_container(Component::OtelCollector).await?;
    proof.stack.wait_ready(READY).await?;
    proof
        .cells(&[
            ("none", trusts(ca.pem())),
            ("wrong", shows(&token())),
            ("expired", shows(&old)),
            ("right", shows(&new)),
        ])
        .await?;
    proof.end(one("credentials", format!("{USER}:{old}")), TEST).await
}

async fn mutual(env: &Env) -> Result<()> {
    let (ca, clients, strangers) = (Ca::new("ca")?, Ca::new("clients")?, Ca::new("strangers")?);
    let mut collector = clients.secret(&["collector"])?;
    collector.remove("ca.crt");
    let secrets = [
        (CERTIFICATE, ca.secret(&NAMES)?),
        (CLIENT_CA, one("ca.crt", clients.pem())),
        (TEST, clients.secret(&["test"])?),
        (TEMPO, ca.secret(&["tempo"])?),
        (COLLECTOR, collector),
    ];
    let mut proof = Proof::start(env, "mutual TLS", MUTUAL, secrets.into()).await?;
    let shows = |identity: KeyPair| {
        let mut credentials = trusts(ca.pem());
        credentials.tls = credentials.tls.map(|tls| Tls {
            identity: Some(identity),
            ..tls
        });
        credentials
    };
    proof
        .cells(&[
            ("none", trusts(ca.pem())),
            ("wrong", shows(strangers.issue(&["shop"])?)),
            ("expired", shows(clients.issue_expired("shop")?)),
            ("right", shows(clients.issue(&["shop"])?)),
        ])
        .await?;
    proof.beside_the_collector(&trusts(ca.pem())).await?;
    // Only the test is left to send, which has a certificate of the CA before.
    proof.tests(strangers.secret(&["test"])?, TEST).await?;
    proof.change(CLIENT_CA, one("ca.crt", strangers.pem())).await?;
    proof
        .until("a new CA of clients counts", &shows(strangers.issue(&["shop"])?), true)
        .await?;
    proof
        .until(
            "the old CA of clients is gone",
            &shows(clients.issue(&["shop"])?),
            false,
        )
        .await?;
    proof.found_nowhere().await?;
    env.finish(proof.stack).await
}

/// The Secrets as a user makes them, beside the release.
pub(in crate::scenario) fn objects(secrets: &BTreeMap<&str, Data>) -> String {
    let objects = secrets.iter().map(|(name, data)| {
        let metadata = json!({"name": name});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}).to_string()
    });
    objects.collect::<Vec<_>>().join("\n---\n")
}

/// A client that knows the Collector by this CA and shows nothing.
fn trusts(ca: String) -> Credentials {
    Credentials {
        tls: Some(Tls::trusting(ca, NAMES[0])),
        authorization: None,
    }
}

/// The files below a folder of a component's volumes, by their names.
pub(in crate::scenario) fn files_of(
    stack: &dyn Stack,
    component: Component,
    folder: &str,
) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for host in stack.host_folders(component, folder)? {
        let found = walkdir::WalkDir::new(&host).follow_links(true).into_iter().flatten();
        for entry in found.filter(|entry| entry.file_type().is_file()) {
            // Files come and go while a program runs.
            let Ok(bytes) = std::fs::read(entry.path()) else {
                continue;
            };
            files.push((
                entry.path().display().to_string(),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
    }
    Ok(files)
}
