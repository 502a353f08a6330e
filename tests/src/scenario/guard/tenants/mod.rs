//! `tenants`: three owners of traces in one Tempo, none of whom writes or reads what is another's.
//!
//! Each has receivers of its own. What comes in there with its own token is stored in its name, whatever name the
//! client sends, and nothing else comes in. Limits and a retention that change act without a restart, and a full volume
//! closes all tenants.

mod limits;
mod reads;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use charts::render::merge;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_yaml::Value;

use self::reads::ReadDoor;
use crate::backend::{Component, Stack, StackSpec};
use crate::client::credentials::Credentials;
use crate::client::engine::tempo_config;
use crate::client::load::Batches;
use crate::client::otlp::{PROTOBUF, TRACES_PATH};
use crate::client::prometheus;
use crate::client::send::Sender;
use crate::client::tempo::{Client, Search, TENANT};
use crate::env::Env;
use crate::model::corpus::{attribute, now_unix_nano, text};
use crate::model::door::{Door, Doors};
use crate::model::id::TraceId;
use crate::model::outcome::Outcome;
use crate::scenario::guard::doors::keys::{Data, one, token};
use crate::scenario::guard::doors::objects;
use crate::scenario::guard::doors::script::{Script, can_run, sample};
use crate::scenario::metrics::{monitored, target};
use crate::scenario::{SEND_TIMEOUT, doors, drained, values};

/// The tenants with the ports of their receivers, OTLP over gRPC and over HTTP; the first comes in by the common ones.
const TENANTS: [(&str, &str, &str); 3] = [
    ("shared", "otlp-grpc", "otlp-http"),
    ("team-a", "tenant-4327", "tenant-4328"),
    ("team-b", "tenant-4337", "tenant-4338"),
];
/// The Secret with the tokens of a tenant is called as the tenant is.
const VALUES: &str = "
tempo-stack:
  tenants:
    enabled: true
    default: shared
    list:
      team-a: {ports: {otlpGrpc: 4327, otlpHttp: 4328}, auth: {existingSecret: team-a}}
      team-b: {ports: {otlpGrpc: 4337, otlpHttp: 4338}, auth: {existingSecret: team-b}}
  otelCollector:
    replicas: 1
    auth: {type: bearer, existingSecret: shared}
    queue: {size: 64Mi}
  tempo:
    limits: {ingestBytesPerSecond: 2900000}
    disk: {guard: {reserve: 40Mi}}
    metricsGenerator: {enabled: true, collectionInterval: 1s}
";
const TRACEQL: &str = "{tempo-stack: {tempo: {traceqlMetrics: {range: recent}}}}";
const CANARY: &str =
    "{tempo-stack: {canary: {enabled: true, timeoutSeconds: 40}, helmTest: {client: {tenant: team-a}}}}";
/// Spans of a trace that is larger than team-a's limit then is, and of one that isn't.
const LARGE: u32 = 60;
const SMALL: u32 = 2;
const PASSWORD: &str = "e2e-tenants";
const MIB: u64 = 1 << 20;
const VOLUME: u64 = 256 * MIB;
const READY: Duration = Duration::from_secs(90);
const FOUND: Duration = Duration::from_secs(60);
const FINDS: u32 = 40;
const SECOND: u64 = 1_000_000_000;

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    let prometheus = env.prometheus(PASSWORD).await?;
    let mut wanted = values(VALUES)?;
    merge(&mut wanted, target(prometheus.as_ref())?);
    merge(&mut wanted, tempo_config(env.engine()?.quick_retention())?);
    if env.engine()?.can_answer_metrics() {
        merge(&mut wanted, values(TRACEQL)?);
    }
    let proof = Proof::start(env, wanted).await?;
    let begun = now_unix_nano()? / SECOND;
    let stored = proof.cells().await?;
    proof.reads(&stored, begun).await?;
    proof
        .series(prometheus::Client::new(prometheus.as_ref(), PASSWORD))
        .await?;

    let pids = proof.stack.pids(Component::Tempo).await?;
    proof.changed_limit().await?;
    proof.full_volume().await?;
    proof.tests().await?;
    proof.retention(&stored).await?;
    let now = proof.stack.pids(Component::Tempo).await?;
    env.recorder.check(
        "limits and retention changed without a restart",
        now == pids,
        format!("{now:?}"),
    );
    env.finish(proof.stack).await
}

/// The name of the service that sends as a tenant.
fn service(tenant: &str) -> String {
    format!("service-of-{tenant}")
}

/// What came in for each tenant.
type Stored = BTreeMap<&'static str, Vec<TraceId>>;

struct Proof<'a> {
    env: &'a Env,
    stack: Arc<dyn Stack>,
    secrets: BTreeMap<&'static str, Data>,
    tokens: BTreeMap<&'static str, String>,
    /// Whether the volume can be filled up.
    fills: bool,
    door: Option<ReadDoor>,
}

impl<'a> Proof<'a> {
    async fn start(env: &'a Env, wanted: Value) -> Result<Proof<'a>> {
        let tokens: BTreeMap<_, _> = TENANTS.map(|(tenant, ..)| (tenant, token())).into();
        let secrets: BTreeMap<_, _> = tokens
            .iter()
            .map(|(tenant, token)| (*tenant, one("tokens", token)))
            .collect();
        let (mut wanted, mut secrets) = (wanted, secrets);
        let door = ReadDoor::add(env, &mut wanted, &mut secrets)?;
        let fills = match env.backend.volumes_are_unlimited() {
            Some(reason) => {
                env.recorder.skip("a full volume closes all tenants", reason);
                false
            }
            None => true,
        };
        let spec = monitored(wanted, PASSWORD);
        let spec = StackSpec {
            objects: format!("{}\n---\n{}", spec.objects, objects(&secrets)),
            volume_bytes: fills.then_some(VOLUME),
            ..spec
        };
        let stack = env.start(&spec).await?;
        stack.wait_ready(READY).await?;
        Ok(Proof {
            env,
            stack,
            secrets,
            tokens,
            fills,
            door,
        })
    }

    /// Tempo as a tenant asks it; without one if the name is empty.
    fn tempo(&self, tenant: &str) -> Result<Client> {
        let client = Client::new(&self.stack.endpoints().url(Component::Tempo, "http")?)?;
        Ok(client.as_tenant(Some(tenant.to_owned()).filter(|tenant| !tenant.is_empty())))
    }

    fn address(&self, port: &str) -> Result<SocketAddr> {
        self.stack.endpoints().get(Component::OtelCollector, port)
    }

    /// A sender to the receivers of a tenant that shows a token, or none.
    fn sender(&self, ports: (&str, &str), shown: Option<&String>) -> Result<Sender> {
        let receivers = Doors {
            otlp_grpc: self.address(ports.0)?,
            otlp_http: self.address(ports.1)?,
            ..doors(self.stack.as_ref())?
        };
        Sender::new(&receivers, &self.shows(shown), SEND_TIMEOUT)
    }

    fn shows(&self, token: Option<&String>) -> Credentials {
        Credentials {
            authorization: token.map(|token| format!("Bearer {token}")),
            ..Credentials::default()
        }
    }

    fn own(&self, tenant: &str) -> Result<Sender> {
        let (name, grpc, http) = TENANTS
            .into_iter()
            .find(|(name, ..)| *name == tenant)
            .context("a tenant")?;
        self.sender((grpc, http), self.tokens.get(name))
    }

    /// A trace of so many spans of a service, whose marker is the name of the service.
    fn trace(&self, number: u64, service: &str, spans: u32) -> Result<(TraceId, TracesData)> {
        let batches = Batches {
            traces_per_request: 1,
            spans_per_trace: spans,
            marker: service.to_owned(),
            ..Batches::new(self.env.seed)
        };
        let (mut traces, ids) = batches.request(number, now_unix_nano()?);
        for resource in &mut traces.resource_spans {
            resource.resource = Some(Resource {
                attributes: vec![attribute("service.name", text(service))],
                ..Resource::default()
            });
        }
        Ok((ids.first().context("a request has spans")?.0, traces))
    }

    /// Shows everybody's token and none at all receivers.
    async fn cells(&self) -> Result<Stored> {
        let (mut stored, mut refused): (Stored, Vec<(String, TraceId)>) = Default::default();
        let mut number = 0;
        for (tenant, grpc, http) in TENANTS {
            let shown = self.tokens.iter().map(|(of, token)| (*of, Some(token)));
            for (of, shown) in shown.chain([("nobody", None)]) {
                let sender = self.sender((grpc, http), shown)?;
                for door in [Door::OtlpGrpc, Door::OtlpHttpProtobuf] {
                    number += 1;
                    let (id, traces) = self.trace(number, &service(tenant), SMALL)?;
                    let outcome = sender.send(door, &traces).await?;
                    let cell = format!("receiver of {tenant}, {door}, token of {of}");
                    let fits = if of == tenant {
                        stored.entry(tenant).or_default().push(id);
                        outcome.is_acked()
                    } else {
                        refused.push((cell.clone(), id));
                        let code = if door == Door::OtlpGrpc {
                            "Unauthenticated"
                        } else {
                            "401"
                        };
                        matches!(&outcome, Outcome::Refused { code: said, .. } if said == code)
                    };
                    self.env.recorder.check(cell, fits, outcome.to_string());
                }
            }
            number += 1;
            let id = self.pretends(tenant, http, number).await?;
            stored.entry(tenant).or_default().push(id);
        }
        drained(self.env, self.stack.as_ref()).await?;
        for (tenant, ids) in &stored {
            self.found(tenant, ids, SMALL).await?;
        }
        let mut found = Vec::new();
        for (cell, id) in &refused {
            for (tenant, ..) in TENANTS {
                if self.tempo(tenant)?.trace(*id).await?.is_some() {
                    found.push(format!("{cell}: as {tenant}"));
                }
            }
        }
        self.env.recorder.measure(
            "traces with another's token or none that are stored",
            found.len() as f64,
            "traces",
            found.is_empty(),
            format!(
                "of {}, looked for in the name of each tenant; {}",
                refused.len(),
                found.join(", ")
            ),
        );
        Ok(stored)
    }

    /// A client with the right token that sends the names of all other tenants along.
    async fn pretends(&self, tenant: &str, port: &str, number: u64) -> Result<TraceId> {
        let (id, traces) = self.trace(number, &service(tenant), SMALL)?;
        let (url, client) = self.shows(self.tokens.get(tenant)).http(self.address(port)?)?;
        let mut request = client
            .post(format!("{url}{TRACES_PATH}"))
            .header("content-type", PROTOBUF)
            .body(traces.encode_to_vec())
            .timeout(SEND_TIMEOUT);
        for (other, ..) in TENANTS.iter().filter(|(other, ..)| *other != tenant) {
            request = request.header(TENANT, *other);
        }
        let status = request.send().await.context("sending as somebody else")?.status();
        self.env.recorder.check(
            format!("receiver of {tenant}: the names of others that a client sends count nowhere"),
            status.is_success(),
            format!("{status}; it is looked for as {tenant}'s"),
        );
        Ok(id)
    }

    /// Waits until a tenant finds its traces.
    async fn found(&self, tenant: &str, ids: &[TraceId], spans: u32) -> Result<()> {
        let tempo = self.tempo(tenant)?;
        for id in ids {
            tempo
                .wait_for_trace(*id, usize::try_from(spans)?, FOUND, &self.env.cancel)
                .await
                .with_context(|| format!("looking for what {tenant} stored"))?;
        }
        Ok(())
    }

    /// Sends as a tenant, and doesn't go on if it isn't taken.
    async fn taken(&self, tenant: &str, traces: &TracesData) -> Result<()> {
        let outcome = self.own(tenant)?.send(Door::OtlpGrpc, traces).await?;
        anyhow::ensure!(outcome.is_acked(), "a trace of {tenant} was not taken: {outcome}");
        Ok(())
    }

    /// The chart's own test and its canary, in the name of a tenant.
    async fn tests(&self) -> Result<()> {
        if !can_run(self.env) {
            return Ok(());
        }
        let stack = self.stack.as_ref();
        let rendered = stack.render_again(values(CANARY)?).await?;
        let test = Script::test(&rendered.manifests, stack.folder().join("test"))?;
        let output = test.run(stack, &self.secrets, FINDS).await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        self.env.recorder.check(
            "helm test finds its span as team-a",
            output.status.success() && said.contains("found by TraceQL"),
            format!("{said}{}", String::from_utf8_lossy(&output.stderr)),
        );
        let canary = Script::canary(&rendered.manifests, stack.folder().join("canary"))?;
        let metrics = canary.rounds(self.env, stack, &self.secrets, 2).await?;
        let failures = sample(&metrics, "tempo_canary_failures_total");
        self.env.recorder.check(
            "the canary finds its spans as team-a",
            failures == Some(0.0),
            format!("{failures:?} failures"),
        );
        let search = Search::new("{ resource.service.name = \"helm-test\" }");
        let own = self.tempo("team-a")?.search(&search).await?.len();
        let other = self.tempo("team-b")?.search(&search).await?.len();
        self.env.recorder.check(
            "their spans are team-a's alone",
            own > 0 && other == 0,
            format!("{own} as team-a, {other} as team-b"),
        );
        Ok(())
    }
}
