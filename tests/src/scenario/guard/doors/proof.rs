//! A stack with guarded doors, and what is shown at them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use charts::manifest::parse_all;
use opentelemetry_proto::tonic::trace::v1::TracesData;

use super::keys::Data;
use super::script::{self, Script, sample};
use super::{CLIENT_CA, READY, TLS, files_of, objects};
use crate::backend::{Component, DATA, QUEUE, Stack, StackSpec};
use crate::client::credentials::{Credentials, Tls};
use crate::client::load::{Batches, Load};
use crate::client::readback::read_back;
use crate::client::send::Sender;
use crate::client::tempo::Client;
use crate::env::Env;
use crate::model::corpus::now_unix_nano;
use crate::model::door::{Door, Doors};
use crate::model::id::TraceId;
use crate::model::ledger::Ledger;
use crate::model::outcome::Outcome;
use crate::scenario::guard::that_tell;
use crate::scenario::{SEND_TIMEOUT, doors, drained, judge_ledger, values};
use crate::wait::{Look, wait_for};

/// The doors over TCP, one for each receiver.
const DOORS: [Door; 4] = [
    Door::OtlpGrpc,
    Door::OtlpHttpProtobuf,
    Door::JaegerGrpc,
    Door::JaegerThriftHttp,
];
const READ: Duration = Duration::from_secs(60);
/// How long a changed Secret may take to count, on a busy two-core machine.
const SEEN: Duration = Duration::from_secs(30);
/// Spans per second.
const RATE: u32 = 500;
/// Seconds that the chart's test has to find a span, and to fail with a key that is wrong.
const FINDS: u32 = 40;
const FAILS: u32 = 1;
const ROUNDS: u32 = 2;
/// How often a connection is tried of which only the end is seen.
const TRIES: u32 = 20;
const CANARY: &str = "{tempo-stack: {canary: {enabled: true, timeoutSeconds: 40}}}";

/// A stack with guarded doors.
pub(super) struct Proof<'a> {
    env: &'a Env,
    /// How it asks who is there.
    way: &'static str,
    pub(super) stack: Arc<dyn Stack>,
    secrets: BTreeMap<&'static str, Data>,
    /// What must be found nowhere.
    hidden: Vec<String>,
}

impl<'a> Proof<'a> {
    pub(super) async fn start(
        env: &'a Env,
        way: &'static str,
        of_way: &str,
        secrets: BTreeMap<&'static str, Data>,
    ) -> Result<Proof<'a>> {
        let mut all = values(TLS)?;
        charts::render::merge(&mut all, values(of_way)?);
        let spec = StackSpec {
            objects: objects(&secrets),
            ..StackSpec::new(all)
        };
        let stack = env.start(&spec).await?;
        stack.wait_ready(READY).await?;
        let mut proof = Proof {
            env,
            way,
            stack,
            hidden: Vec::new(),
            secrets,
        };
        let keys: Vec<String> = proof.secrets.values().filter_map(secret_part).collect();
        proof.hide(keys);
        Ok(proof)
    }

    pub(super) fn hide(&mut self, texts: impl IntoIterator<Item = String>) {
        self.hidden.extend(texts);
    }

    pub(super) async fn change(&mut self, secret: &'static str, data: Data) -> Result<()> {
        self.stack.change_secret(secret, data.clone()).await?;
        self.hide(secret_part(&data));
        self.secrets.insert(secret, data);
        Ok(())
    }

    pub(super) fn load(&self, credentials: &Credentials, number: u64) -> Result<Load> {
        let batches = Batches {
            rate: RATE,
            ..Batches::new(self.env.seed.wrapping_add(number))
        };
        let sender = self.sender(credentials)?;
        Ok(Load::start(sender, batches, self.env.cancel.clone()))
    }

    fn sender(&self, credentials: &Credentials) -> Result<Sender> {
        Sender::new(&doors(self.stack.as_ref())?, credentials, SEND_TIMEOUT)
    }

    fn tempo(&self) -> Result<Client> {
        Client::new(&self.stack.endpoints().url(Component::Tempo, "http")?)
    }

    /// A request, with the ids of its spans.
    fn batches(&self) -> Batches {
        Batches {
            traces_per_request: 1,
            marker: format!("doors-{}", self.way),
            ..Batches::new(self.env.seed)
        }
    }

    /// Waits until what a client shows is taken, or is not taken any more.
    pub(super) async fn until(&self, what: &str, credentials: &Credentials, taken: bool) -> Result<()> {
        let batches = Batches {
            marker: "doors-until".into(),
            ..self.batches()
        };
        let waited = wait_for(what, SEEN, &self.env.cancel, || async {
            // A new connection each time, for what is judged at its beginning.
            let sender = self.sender(credentials)?;
            let outcome = sender
                .send(Door::OtlpGrpc, &batches.request(0, now_unix_nano()?).0)
                .await?;
            Ok(if outcome.is_acked() == taken {
                Look::Found(outcome)
            } else {
                Look::NotYet(outcome.to_string())
            })
        })
        .await;
        let shown = waited.as_ref().map_or_else(
            |error| format!("{error:#}"),
            |waited| format!("after {:.1} s: {}", waited.elapsed.as_secs_f64(), waited.value),
        );
        self.env
            .recorder
            .check(format!("{}: {what}", self.way), waited.is_ok(), shown);
        Ok(())
    }

    pub(super) async fn nothing_lost(&self, what: &str, mut ledger: Ledger) -> Result<()> {
        drained(self.env, self.stack.as_ref()).await?;
        let tempo = self.tempo()?;
        read_back(&tempo, &mut ledger, READ, &self.env.cancel).await?;
        judge_ledger(self.env, what, &ledger)
    }

    /// Shows all keys at all doors; the last one is right.
    pub(super) async fn cells(&self, keys: &[(&'static str, Credentials)]) -> Result<()> {
        let batches = self.batches();
        let mut ledger = Ledger::new(&batches.marker);
        let mut refused: Vec<(String, TraceId)> = Vec::new();
        let plain = ("plain text", Credentials::default());
        let mut number = 0;
        for door in DOORS {
            let mut sent = Vec::new();
            for (key, credentials) in std::iter::once(&plain).chain(keys) {
                number += 1;
                let (traces, spans) = batches.request(number, now_unix_nano()?);
                let sender = self.sender(credentials)?;
                let alert = self.alert(key);
                let answer = tokio::spawn(async move { insist(&sender, door, &traces, alert).await });
                sent.push((*key, spans, answer));
            }
            for (key, spans, answer) in sent {
                let outcome = answer.await.context("sending ended badly")??;
                let cell = format!("{}, {door}, {key}", self.way);
                let right = key == "right";
                let fits = match key {
                    "right" => outcome.is_acked(),
                    "plain text" => !outcome.is_acked(),
                    _ => self.refuses(door, key, &outcome),
                };
                self.env.recorder.check(cell.clone(), fits, outcome.to_string());
                if right {
                    ledger.send_all(&spans);
                    ledger.settle(&outcome, spans);
                } else {
                    refused.extend(spans.first().map(|(trace, _)| (cell, *trace)));
                }
            }
        }
        drained(self.env, self.stack.as_ref()).await?;
        let tempo = self.tempo()?;
        read_back(&tempo, &mut ledger, READ, &self.env.cancel).await?;
        let what = format!("{}: with the right key", self.way);
        judge_ledger(self.env, &what, &ledger)?;
        let mut stored = Vec::new();
        for (cell, trace) in &refused {
            if tempo.trace(*trace).await?.is_some() {
                stored.push(cell.as_str());
            }
        }
        self.env.recorder.measure(
            format!("{}: spans of others that are stored", self.way),
            stored.len() as f64,
            "traces",
            stored.is_empty(),
            format!("of {} refused; {}", refused.len(), stored.join(", ")),
        );
        Ok(())
    }

    /// Tempo's own receiver, which knows the Collector by its certificate, takes nothing from anybody else.
    pub(super) async fn beside_the_collector(&self, stranger: &Credentials) -> Result<()> {
        let own = Doors {
            otlp_grpc: self.stack.endpoints().get(Component::Tempo, "otlp-grpc")?,
            ..doors(self.stack.as_ref())?
        };
        let mut named = stranger.clone();
        named.tls = named.tls.map(|tls| Tls {
            name: "tempo".into(),
            ..tls
        });
        for (number, (who, credentials)) in [("plain text", &Credentials::default()), ("no certificate", &named)]
            .into_iter()
            .enumerate()
        {
            let (traces, spans) = self.batches().request(1_000 + number as u64, now_unix_nano()?);
            let outcome = Sender::new(&own, credentials, SEND_TIMEOUT)?
                .send(Door::OtlpGrpc, &traces)
                .await?;
            let trace = spans.first().context("a request has spans")?.0;
            let stored = self.tempo()?.trace(trace).await?.is_some();
            self.env.recorder.check(
                format!("{}: past the Collector to Tempo, {who}", self.way),
                matches!(outcome, Outcome::Unknown { .. }) && !stored,
                outcome.to_string(),
            );
        }
        Ok(())
    }

    /// The alert of TLS by which a client with this key gets no connection; none where TLS isn't what asks.
    fn alert(&self, key: &str) -> Option<&'static str> {
        let alerts = [
            ("none", "CertificateRequired"),
            ("wrong", "UnknownCA"),
            ("expired", "CertificateExpired"),
        ];
        let found = alerts.iter().find(|(of, _)| *of == key);
        found
            .filter(|_| self.secrets.contains_key(CLIENT_CA))
            .map(|(_, alert)| *alert)
    }

    /// Whether a door said no as its protocol does.
    fn refuses(&self, door: Door, key: &str, outcome: &Outcome) -> bool {
        match (self.alert(key), outcome) {
            (Some(alert), Outcome::Unknown { reason }) => reason.contains(alert),
            (None, Outcome::Refused { code, .. }) => match door {
                Door::OtlpGrpc | Door::JaegerGrpc => code == "Unauthenticated",
                _ => code == "401",
            },
            _ => false,
        }
    }

    /// The chart's own test and the canary come in, and say no with a key that is wrong.
    pub(super) async fn tests(&self, wrong: Data, of: &'static str) -> Result<()> {
        if !script::can_run(self.env) {
            return Ok(());
        }
        let stack = self.stack.as_ref();
        let rendered = stack.render_again(values(CANARY)?).await?;
        let mut manifests = rendered.manifests.clone();
        manifests.extend(parse_all(&objects(&self.secrets))?);
        let clients = Sender::new(&doors(stack)?, &Credentials::rendered(&manifests)?, SEND_TIMEOUT)?;
        let outcome = clients
            .send(Door::OtlpHttpProtobuf, &self.batches().request(0, now_unix_nano()?).0)
            .await?;
        self.env.recorder.check(
            format!("{}: what the chart's test shows lets other clients in", self.way),
            outcome.is_acked(),
            outcome.to_string(),
        );
        let test = Script::test(&rendered.manifests, stack.folder().join("test"))?;
        let output = test.run(stack, &self.secrets, FINDS).await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        self.env.recorder.check(
            format!("{}: helm test finds its span", self.way),
            output.status.success() && said.contains("found by TraceQL"),
            format!("{said}{}", String::from_utf8_lossy(&output.stderr)),
        );
        let mut secrets = self.secrets.clone();
        secrets.insert(of, wrong);
        let output = test.run(stack, &secrets, FAILS).await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        self.env.recorder.check(
            format!("{}: helm test says no with a key that is wrong", self.way),
            !output.status.success() && said.contains("does not take a span"),
            said,
        );
        let canary = Script::canary(&rendered.manifests, stack.folder().join("canary"))?;
        let metrics = canary.rounds(self.env, stack, &self.secrets, ROUNDS).await?;
        let failures = sample(&metrics, "tempo_canary_failures_total");
        self.env.recorder.check(
            format!("{}: the canary finds its spans", self.way),
            failures == Some(0.0),
            format!(
                "{failures:?} failures in {:?} attempts",
                sample(&metrics, "tempo_canary_attempts_total")
            ),
        );
        Ok(())
    }

    /// What is the same at the end of each stack.
    pub(super) async fn end(self, wrong: Data, of: &'static str) -> Result<()> {
        self.tests(wrong, of).await?;
        self.found_nowhere().await?;
        let crashes = self.stack.crashes(Component::OtelCollector).await?;
        self.env
            .recorder
            .check("no Collector crashed", crashes == 0, format!("{crashes} crashes"));
        self.env.finish(self.stack).await
    }

    /// Keys are in their Secrets, and in nothing that is shown, logged or kept.
    pub(super) async fn found_nowhere(&self) -> Result<()> {
        let stack = self.stack.as_ref();
        let mut places: Vec<(String, String)> = vec![("manifests".into(), stack.render().text.clone())];
        places.extend(stack.configs().await?);
        places.push(("/status/config of Tempo".into(), self.tempo()?.config().await?));
        for component in Component::ALL {
            places.push((format!("log of {component}"), stack.logs(component).await?));
            for (pod, text) in stack.metrics(component).await? {
                places.push((format!("metrics of {pod}"), text));
            }
            for (pod, pid) in stack.pids(component).await? {
                for file in ["environ", "cmdline"] {
                    let bytes = fs_err::read(format!("/proc/{pid}/{file}"))?;
                    places.push((format!("{file} of {pod}"), String::from_utf8_lossy(&bytes).into_owned()));
                }
            }
        }
        for (component, folder) in [(Component::OtelCollector, QUEUE), (Component::Tempo, DATA)] {
            places.extend(files_of(stack, component, folder)?);
        }
        let hidden: Vec<&str> = self.hidden.iter().map(String::as_str).collect();
        let found = that_tell(&places, &hidden);
        // The same search finds them where they are.
        let mounted = files_of(stack, Component::OtelCollector, "/etc/otelcol-doors/tls")?;
        let control = !that_tell(&mounted, &hidden).is_empty();
        self.env.recorder.measure(
            format!("{}: places in which a key is found", self.way),
            found.len() as f64,
            "places",
            found.is_empty() && control,
            format!(
                "of {}, for {} keys; {}",
                places.len(),
                self.hidden.len(),
                found.join(", ")
            ),
        );
        Ok(())
    }
}

/// Sends, and where an alert is the answer again until it is seen: the end of a connection may overtake it.
async fn insist(sender: &Sender, door: Door, traces: &TracesData, alert: Option<&str>) -> Result<Outcome> {
    let mut outcome = sender.send(door, traces).await?;
    for _ in 1..TRIES {
        let overtaken = match (alert, &outcome) {
            (Some(alert), Outcome::Unknown { reason }) => !reason.contains(alert),
            _ => false,
        };
        if !overtaken {
            break;
        }
        outcome = sender.send(door, traces).await?;
    }
    Ok(outcome)
}

/// What a private key has and nothing else: a line of it behind those that tell its kind.
fn secret_part(data: &Data) -> Option<String> {
    data.get("tls.key")?.lines().nth(2).map(str::to_owned)
}
