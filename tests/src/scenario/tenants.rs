//! `tenants`: three owners of traces in one Tempo, none of whom writes or reads what is another's.
//!
//! Each has receivers of its own. What comes in there with its own token is stored in its name, whatever name the
//! client sends, and nothing else comes in. Limits and a retention that change act without a restart, and a full volume
//! closes all tenants.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use charts::render::merge;
use k8s_openapi::api::core::v1::ConfigMap;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_yaml::Value;

use super::doors::keys::{Ca, Data, htpasswd, one, token};
use super::doors::objects;
use super::doors::script::{Script, can_run, sample};
use super::metrics::{monitored, target};
use super::{SEND_TIMEOUT, doors, drained, values};
use crate::backend::local::NGINX;
use crate::backend::{Component, Stack, StackSpec};
use crate::client::credentials::{Credentials, Tls, basic};
use crate::client::engine::tempo_config;
use crate::client::install::on_path;
use crate::client::load::Batches;
use crate::client::metrics::Scrape;
use crate::client::otlp::{PROTOBUF, TRACES_PATH};
use crate::client::prometheus;
use crate::client::send::Sender;
use crate::client::tempo::{Client, Search, TENANT};
use crate::env::Env;
use crate::model::corpus::{attribute, now_unix_nano, text};
use crate::model::door::{Door, Doors};
use crate::model::id::TraceId;
use crate::model::outcome::Outcome;
use crate::wait::{Look, wait_for};

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
/// The guarded door, each of whose users reads one tenant, named as the tenant is; [`STRANGER`] has a password, too.
const DOOR: &str = "
tempo-stack:
  queryProxy:
    enabled: true
    replicas: 1
    auth: {existingSecret: readers}
    tls: {enabled: true, existingSecret: readers-tls}
    tenants: {shared: shared, team-a: team-a, team-b: team-b}
  grafana: {datasource: {basicAuth: {user: team-a, passwordVariable: TEMPO_PASSWORD}}}
";
const DOOR_NAME: &str = "observability-tempo-stack-query-proxy";
/// A user without a tenant: nginx's maps compare plain names in any case, so this one must not be taken for team-a.
const STRANGER: &str = "Team-A";
const TRACEQL: &str = "{tempo-stack: {tempo: {traceqlMetrics: {range: recent}}}}";
/// What changes while everything runs: team-a's limit, and for how long team-b's traces are kept.
const CHANGED: &str = "
tempo-stack:
  tenants:
    list:
      team-a: {limits: {maxBytesPerTrace: 4000}}
      team-b: {retention: 15s}
";
const CANARY: &str =
    "{tempo-stack: {canary: {enabled: true, timeoutSeconds: 40}, helmTest: {client: {tenant: team-a}}}}";
/// Spans of a trace that is larger than team-a's limit then is, and of one that isn't.
const LARGE: u32 = 60;
const SMALL: u32 = 2;
const PASSWORD: &str = "e2e-tenants";
const MIB: u64 = 1 << 20;
/// Tempo's volume, and what is taken of it so that less than the reserve is left.
const VOLUME: u64 = 256 * MIB;
const TAKEN: u64 = 230 * MIB;
const READY: Duration = Duration::from_secs(90);
const FOUND: Duration = Duration::from_secs(60);
const TOLD: Duration = Duration::from_secs(90);
/// How long an old trace may take to go: see `retention`.
const GONE: Duration = Duration::from_secs(150);
/// How long Tempo may take to act on a file that changed, and on a full volume.
const ACTS: Duration = Duration::from_secs(60);
/// How long a span may take from the Collector's receiver to Tempo.
const ARRIVES: Duration = Duration::from_secs(2);
/// How many traces may be let in once a limit has changed: Tempo's limiter looks at the limits every ten seconds
/// (modules/distributor/distributor.go, `NewRateLimiter`).
const LET_IN: usize = 20;
const FINDS: u32 = 40;
const SECOND: u64 = 1_000_000_000;

pub(super) async fn run(env: &Env) -> Result<()> {
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

impl ReadDoor {
    /// Adds the door to the values, and its Secrets, if this machine has an nginx.
    fn add(env: &Env, wanted: &mut Value, secrets: &mut BTreeMap<&'static str, Data>) -> Result<Option<ReadDoor>> {
        if on_path(NGINX).is_none() {
            let reason = "nginx was not found on PATH (on Debian: nginx-light)";
            env.recorder.skip("tenants by the guarded door", reason);
            return Ok(None);
        }
        merge(wanted, values(DOOR)?);
        let (ca, password) = (Ca::new("tenants")?, token());
        let users = TENANTS.map(|(tenant, ..)| tenant).into_iter().chain([STRANGER]);
        let lines: Vec<String> = users.map(|user| htpasswd(user, &password)).collect::<Result<_>>()?;
        secrets.insert("readers", one("htpasswd", lines.concat()));
        secrets.insert("readers-tls", ca.secret(&[DOOR_NAME])?);
        Ok(Some(ReadDoor { ca: ca.pem(), password }))
    }
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

/// The guarded door with the one password of all its users.
struct ReadDoor {
    ca: String,
    password: String,
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

    /// Tempo as a user of the guarded door asks it, who claims to be of another tenant.
    fn by_the_door(&self, door: &ReadDoor, user: &str) -> Result<Client> {
        let address = self.stack.endpoints().get(Component::QueryProxy, "http")?;
        let credentials = Credentials {
            tls: Some(Tls::trusting(door.ca.clone(), DOOR_NAME)),
            authorization: Some(basic(user, &door.password)),
        };
        let claimed = TENANTS
            .map(|(tenant, ..)| tenant)
            .into_iter()
            .find(|tenant| *tenant != user);
        Ok(Client::through(&credentials, address)?.as_tenant(claimed.map(str::to_owned)))
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

    /// Everybody looks for everybody's traces, in each way in which Tempo can be asked.
    async fn reads(&self, stored: &Stored, begun: u64) -> Result<()> {
        let mut ways = Vec::new();
        for (reader, ..) in TENANTS {
            ways.push((reader, "", self.tempo(reader)?));
            if let Some(door) = &self.door {
                ways.push((reader, " by the guarded door", self.by_the_door(door, reader)?));
            }
        }
        for (reader, way, tempo) in ways {
            let own = Search::new(format!("{{ resource.service.name = \"{}\" }}", service(reader)));
            wait_for("a search for what is one's own", FOUND, &self.env.cancel, || async {
                let found = tempo.search(&own).await?.len();
                let all = stored.get(reader).map_or(0, Vec::len);
                Ok(if found == all {
                    Look::Found(())
                } else {
                    Look::NotYet(format!("{found} of {all} traces"))
                })
            })
            .await?;
            let mut crossed = Vec::new();
            let mut asked = 0;
            for (owner, ids) in stored.iter().filter(|(owner, _)| **owner != reader) {
                for id in ids {
                    asked += 1;
                    if tempo.trace(*id).await?.is_some() {
                        crossed.push(format!("{id} of {owner} by id"));
                    }
                }
                asked += 1;
                let theirs = format!("{{ resource.service.name = \"{}\" }}", service(owner));
                if !tempo.search(&Search::new(theirs)).await?.is_empty() {
                    crossed.push(format!("{owner}'s by TraceQL"));
                }
            }
            let services: BTreeSet<String> = tempo
                .tag_values("resource.service.name")
                .await?
                .into_iter()
                .map(|tag| tag.value)
                .collect();
            if services != BTreeSet::from([service(reader)]) {
                crossed.push(format!("the services {services:?} by tags"));
            }
            asked += 1;
            if self.env.engine()?.can_answer_metrics() {
                crossed.extend(self.counts(&tempo, reader, begun).await?);
                asked += TENANTS.len() - 1;
            }
            self.env.recorder.measure(
                format!("{reader} reads what is another's{way}"),
                crossed.len() as f64,
                "answers",
                crossed.is_empty(),
                format!("of {asked}; {}", crossed.join(", ")),
            );
        }
        let (status, _) = self
            .tempo("")?
            .ask("api/search", &[("q", "{}".into())], SEND_TIMEOUT)
            .await?;
        self.env.recorder.check(
            "a query of nobody is refused",
            status == 401,
            format!("status {status}"),
        );
        if let Some(door) = &self.door {
            let stranger = self.by_the_door(door, STRANGER)?;
            let (status, _) = stranger.ask("api/search", &[("q", "{}".into())], SEND_TIMEOUT).await?;
            self.env.recorder.check(
                format!("the guarded door has no tenant for the user {STRANGER}"),
                status == 401,
                format!("status {status}"),
            );
        }
        Ok(())
    }

    /// Waits for what TraceQL counts of a tenant's own spans, and says whose else it counts.
    async fn counts(&self, tempo: &Client, reader: &str, begun: u64) -> Result<Vec<String>> {
        let range = (begun, begun + 300);
        let query = |of: &str| format!("{{ resource.service.name = \"{}\" }} | rate()", service(of));
        let own = query(reader);
        wait_for("TraceQL's rate of one's own spans", TOLD, &self.env.cancel, || async {
            let sum = tempo.sum_of_seconds(&own, range).await?;
            Ok(if sum > 0.0 {
                Look::Found(())
            } else {
                Look::NotYet("none".into())
            })
        })
        .await?;
        let mut crossed = Vec::new();
        for (owner, ..) in TENANTS.iter().filter(|(owner, ..)| *owner != reader) {
            if tempo.sum_of_seconds(&query(owner), range).await? > 0.0 {
                crossed.push(format!("{owner}'s by TraceQL metrics"));
            }
        }
        Ok(crossed)
    }

    /// The series that Tempo makes of spans tell whose they are.
    async fn series(&self, client: prometheus::Client<'_>) -> Result<()> {
        let wanted: BTreeSet<Vec<String>> = TENANTS
            .map(|(tenant, ..)| vec![tenant.to_owned(), service(tenant)])
            .into();
        let told = wait_for("series of each tenant", TOLD, &self.env.cancel, || async {
            let sums = client
                .sums("traces_spanmetrics_calls_total", &["tenant", "service"])
                .await?;
            let told: BTreeSet<Vec<String>> = sums.into_keys().collect();
            Ok(if told == wanted {
                Look::Found(())
            } else {
                Look::NotYet(format!("{told:?}"))
            })
        })
        .await;
        let name = "the generator's series are each tenant's own";
        self.env.recorder.worked(name, &told, |_| format!("{wanted:?}"));
        Ok(())
    }

    /// A limit of Tempo as it says itself; times are in nanoseconds.
    async fn limit(&self, tenant: &str, limit: &str) -> Result<Option<f64>> {
        let scrape = Scrape::parse(&self.tempo("")?.metrics().await?)?;
        Ok(scrape.sum("tempo_limits_overrides", &[("user", tenant), ("limit_name", limit)]))
    }

    /// The limits change as a `helm upgrade` and the kubelet change them.
    async fn changed_limit(&self) -> Result<()> {
        let before = self.stack.render();
        let after = self.stack.render_again(values(CHANGED)?).await?;
        let differ: BTreeSet<String> = after
            .manifests
            .iter()
            .filter(|new| {
                !before
                    .manifests
                    .iter()
                    .any(|old| old.kind == new.kind && old.name == new.name && old.value == new.value)
            })
            .map(|new| format!("{}/{}", new.kind, new.name))
            .collect();
        let map = after
            .manifests
            .iter()
            .find(|m| m.kind == "ConfigMap" && m.name.ends_with("-tempo"));
        let map = map.context("Tempo has a ConfigMap")?;
        self.env.recorder.check(
            "a changed limit changes one ConfigMap and no pod",
            differ == BTreeSet::from([format!("ConfigMap/{}", map.name)]),
            format!("{differ:?}"),
        );
        let (large, traces) = self.trace(1_000, &service("team-a"), LARGE)?;
        self.taken("team-a", &traces).await?;
        self.found("team-a", &[large], LARGE).await?;

        let data = map.parse::<ConfigMap>()?.data.unwrap_or_default();
        self.stack.change_config_map(&map.name, data).await?;
        let waited = wait_for("Tempo reads the new limit", ACTS, &self.env.cancel, || async {
            let limit = self.limit("team-a", "max_bytes_per_trace").await?;
            Ok(if limit == Some(4_000.0) {
                Look::Found(())
            } else {
                Look::NotYet(format!("{limit:?}"))
            })
        })
        .await;
        self.env
            .recorder
            .worked("Tempo reads the new limit", &waited, |waited| {
                format!("after {:.1} s", waited.elapsed.as_secs_f64())
            });
        let mut lost = Vec::new();
        for (number, (tenant, ..)) in TENANTS.into_iter().enumerate() {
            let (id, traces) = self.trace(1_100 + number as u64, &service(tenant), LARGE)?;
            self.taken(tenant, &traces).await?;
            lost.push((tenant, id));
        }
        drained(self.env, self.stack.as_ref()).await?;
        for (tenant, id) in lost {
            if tenant == "team-a" {
                let too_large = self.discards(tenant, "trace_too_large", ACTS).await;
                let absent = self.tempo(tenant)?.trace(id).await?.is_none();
                self.env.recorder.check(
                    "a changed limit acts on its tenant",
                    too_large.is_ok() && absent,
                    too_large.map_or_else(
                        |error| format!("{error:#}"),
                        |dropped| format!("{dropped} spans dropped"),
                    ),
                );
            } else {
                self.found(tenant, &[id], LARGE).await?;
                self.env.recorder.check(
                    format!("and not on {tenant}"),
                    self.tempo(tenant)?.trace(id).await?.is_some(),
                    format!("{LARGE} spans found"),
                );
            }
        }
        Ok(())
    }

    /// Sends as a tenant, and doesn't go on if it isn't taken.
    async fn taken(&self, tenant: &str, traces: &TracesData) -> Result<()> {
        let outcome = self.own(tenant)?.send(Door::OtlpGrpc, traces).await?;
        anyhow::ensure!(outcome.is_acked(), "a trace of {tenant} was not taken: {outcome}");
        Ok(())
    }

    /// The guard of the volume closes every tenant, and opens every one again.
    async fn full_volume(&self) -> Result<()> {
        if !self.fills {
            return Ok(());
        }
        self.stack.take_room(TAKEN).await?;
        for (tenant, ..) in TENANTS {
            wait_for("a limit of one byte", ACTS, &self.env.cancel, || async {
                let rate = self.limit(tenant, "ingestion_rate_limit_bytes").await?;
                Ok(if rate == Some(1.0) {
                    Look::Found(())
                } else {
                    Look::NotYet(format!("{tenant}: {rate:?}"))
                })
            })
            .await?;
        }
        let retention = self.limit("team-b", "block_retention").await?;
        self.env.recorder.check(
            "a full volume leaves a tenant its retention",
            retention == Some(15e9),
            format!("{retention:?} ns"),
        );
        let mut waiting = Vec::new();
        for (number, (tenant, ..)) in TENANTS.into_iter().enumerate() {
            let mut sent = Vec::new();
            let refused = loop {
                let (id, traces) =
                    self.trace(1_200 + 100 * number as u64 + sent.len() as u64, &service(tenant), SMALL)?;
                self.taken(tenant, &traces).await?;
                sent.push(id);
                // It refuses what was just sent at once, or takes it.
                let refused = self.discards(tenant, "rate_limited", ARRIVES).await.is_ok();
                self.env.cancel.check()?;
                if refused {
                    break true;
                }
                if sent.len() == LET_IN {
                    break false;
                }
            };
            let last = sent.last().context("nothing was sent")?;
            let absent = self.tempo(tenant)?.trace(*last).await?.is_none();
            self.env.recorder.check(
                format!("a full volume closes {tenant}"),
                refused && absent,
                format!(
                    "of {} traces Tempo refused the last one: {refused}, which waits: {absent}",
                    sent.len()
                ),
            );
            waiting.extend(sent.into_iter().map(|id| (tenant, id)));
        }
        self.stack.take_room(0).await?;
        drained(self.env, self.stack.as_ref()).await?;
        let mut missing = Vec::new();
        for (tenant, id) in &waiting {
            if self.found(tenant, &[*id], SMALL).await.is_err() {
                missing.push(*tenant);
            }
        }
        self.env.recorder.check(
            "with room again, what waited is found",
            missing.is_empty(),
            format!("{} traces; missing, of tenants: {missing:?}", waiting.len()),
        );
        Ok(())
    }

    /// Waits until Tempo has discarded spans of a tenant for a reason; how many.
    async fn discards(&self, tenant: &str, reason: &str, timeout: Duration) -> Result<f64> {
        let labels = [("tenant", tenant), ("reason", reason)];
        let waited = wait_for("spans that Tempo discards", timeout, &self.env.cancel, || async {
            let scrape = Scrape::parse(&self.tempo("")?.metrics().await?)?;
            Ok(match scrape.sum("tempo_discarded_spans_total", &labels) {
                Some(spans) if spans > 0.0 => Look::Found(spans),
                _ => Look::NotYet("none".into()),
            })
        });
        Ok(waited.await?.value)
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

    /// Old traces of the tenant with the short retention go, and nobody else's.
    async fn retention(&self, stored: &Stored) -> Result<()> {
        let old = |tenant: &str| stored.get(tenant).cloned().unwrap_or_default();
        let tempo = self.tempo("team-b")?;
        let gone = wait_for("team-b's old traces to go", GONE, &self.env.cancel, || async {
            let mut left = 0;
            for id in old("team-b") {
                left += usize::from(tempo.trace(id).await?.is_some());
            }
            Ok(if left == 0 {
                Look::Found(())
            } else {
                Look::NotYet(format!("{left} left"))
            })
        })
        .await;
        self.env.recorder.worked("team-b's old traces go", &gone, |gone| {
            format!("after {:.0} s more", gone.elapsed.as_secs_f64())
        });
        for tenant in ["shared", "team-a"] {
            let kept = self.found(tenant, &old(tenant), SMALL).await;
            let name = format!("{tenant}'s traces of the same age stay");
            self.env
                .recorder
                .worked(name, &kept, |()| format!("{} traces", old(tenant).len()));
        }
        Ok(())
    }
}
