//! `routes`: the guarded door to queries, and what a proxy in front of the stack lets through.
//!
//! The nginx of this machine is both: the door as the chart configures it, and an ingress controller that does what
//! the rendered Ingresses say. A Kubernetes API server without nodes judges the routes of the Gateway API.

mod front;
mod gateway;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use reqwest::{Method, StatusCode};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::backend::local::NGINX;
use crate::backend::{Component, Stack, StackSpec};
use crate::client::credentials::{Credentials, Tls, basic};
use crate::client::install::on_path;
use crate::client::send::Sender;
use crate::env::Env;
use crate::model::corpus::{Corpus, Sample, attribute, now_unix_nano};
use crate::model::door::{Door, Doors};
use crate::scenario::guard::doors::keys::{Ca, htpasswd, one, token};
use crate::scenario::guard::doors::objects;
use crate::scenario::{SEND_TIMEOUT, values};
use crate::wait::{Look, wait_for};

const READY: Duration = Duration::from_secs(60);
const FOUND: Duration = Duration::from_secs(30);
const ASKED: Duration = Duration::from_secs(10);
const USER: &str = "grafana";
/// The host of all routes.
const HOST: &str = "traces.example";
/// `otelCollector.receivers.maxRequestMiB`.
const LARGEST: usize = 8 * 1024 * 1024;
const SEARCH: &str = "/tempopb.StreamingQuerier/Search";

/// What doesn't read (grafana/tempo, docs/sources/tempo/api_docs/_index.md, and the routes of dskit's server), and
/// ways to write a path of those so that it looks like another one.
const CLOSED: [&str; 20] = [
    "/flush",
    "/shutdown",
    "/api/overrides",
    "/api/mcp",
    "/status",
    "/status/config",
    "/status/services",
    "/status/overrides",
    "/metrics",
    "/debug/pprof/",
    "/debug/pprof/heap",
    "/memberlist",
    "/distributor/ring",
    "/ingester/ring",
    "/ingester/prepare-partition-downscale",
    "/compactor/ring",
    "/usage_metrics",
    "/querier/api/search",
    "/flush/..%2fapi/search",
    "//flush",
];
/// Some of them that Tempo answers itself, and that change nothing.
const OPEN_AT_TEMPO: [&str; 3] = ["/status/config", "/metrics", "/debug/pprof/"];

/// A Tempo with a tenant: the door names it, whatever a client says.
const VALUES: &str = "
tempo-stack:
  tempo: {config: {multitenancy_enabled: true}}
  otelCollector:
    replicas: 1
    config: {exporters: {otlp: {headers: {X-Scope-OrgID: shop}}}}
  queryProxy:
    enabled: true
    replicas: 1
    auth: {existingSecret: readers}
    tls: {enabled: true, existingSecret: readers-tls}
  grafana: {datasource: {basicAuth: {user: grafana, passwordVariable: TEMPO_PASSWORD}}}
  routes:
    ingest-grpc: {enabled: true, kind: Ingress, to: otlpGrpc, hostnames: [traces.example], tlsSecret: front}
    ingest-http: {enabled: true, kind: Ingress, to: otlpHttp, hostnames: [traces.example], tlsSecret: front}
    query: {enabled: true, kind: Ingress, to: query, hostnames: [traces.example], tlsSecret: front}
";

pub(in crate::scenario) async fn run(env: &Env) -> Result<()> {
    let Some(program) = on_path(NGINX) else {
        env.recorder.skip(
            "the guarded door, a proxy in front and the Gateway API",
            "nginx was not found on PATH (on Debian: nginx-light)",
        );
        return Ok(());
    };
    let (ca, password) = (Ca::new("routes")?, token());
    let name = "observability-tempo-stack-query-proxy";
    let secrets = [
        ("readers", one("htpasswd", htpasswd(USER, &password)?)),
        ("readers-tls", ca.secret(&[name])?),
    ];
    let spec = StackSpec {
        objects: objects(&secrets.into()),
        ..StackSpec::new(values(VALUES)?)
    };
    let stack = env.start(&spec).await?;
    stack.wait_ready(READY).await?;
    let front = front::start(env, &program, stack.as_ref(), &ca).await?;
    let door = stack.endpoints().get(Component::QueryProxy, "http")?;
    let proof = Proof {
        env,
        stack: stack.clone(),
        ca: ca.pem(),
        ways: [("the door", door, name), ("the proxy in front", front.address(), HOST)],
    };
    proof.spans_come_through(&password).await?;
    proof.large_requests().await?;
    proof.others_are_refused(&password).await?;
    proof.paths_are_closed(&password).await?;
    proof.a_changed_password_counts(&password).await?;
    for component in [Component::Tempo, Component::QueryProxy] {
        let crashes = stack.crashes(component).await?;
        env.recorder.check(
            format!("no {component} crashed"),
            crashes == 0,
            format!("{crashes} crashes"),
        );
    }
    drop(front);
    gateway::judged(env, stack.as_ref()).await?;
    env.finish(stack).await
}

struct Proof<'a> {
    env: &'a Env,
    stack: Arc<dyn Stack>,
    ca: String,
    /// What readers come in by: the door itself, and through the proxy in front of it.
    ways: [(&'static str, SocketAddr, &'static str); 2],
}

impl Proof<'_> {
    fn shows(&self, name: &str, password: Option<&str>) -> Credentials {
        Credentials {
            tls: Some(Tls::trusting(self.ca.clone(), name)),
            authorization: password.map(|password| basic(USER, password)),
        }
    }

    /// Sends through the proxy in front.
    fn sender(&self) -> Result<Sender> {
        let [_, (_, front, host)] = self.ways;
        let doors = Doors {
            otlp_grpc: front,
            otlp_http: front,
            jaeger_grpc: front,
            jaeger_thrift_http: front,
            jaeger_thrift_compact: None,
            jaeger_thrift_binary: None,
        };
        Sender::new(&doors, &self.shows(host, None), SEND_TIMEOUT)
    }

    /// A request to a path, as it is written; the status of the answer and its body.
    async fn ask(
        &self,
        way: usize,
        method: Method,
        path: &str,
        password: Option<&str>,
    ) -> Result<(StatusCode, String)> {
        let (_, address, name) = self.ways[way];
        let (base, http) = self.shows(name, password).http(address)?;
        let request = http.request(method, format!("{base}{path}"));
        // A tenant of the client's choice, which has no traces.
        let request = request.header("X-Scope-OrgID", "other").timeout(ASKED);
        let answer = request.send().await.with_context(|| format!("asking for {path}"))?;
        let status = answer.status();
        Ok((status, answer.text().await.with_context(|| format!("reading {path}"))?))
    }

    /// A streamed search; the ids of the traces that it finds.
    async fn stream(
        &self,
        way: usize,
        path: &'static str,
        query: &str,
        password: Option<&str>,
    ) -> Result<Result<Vec<String>, Status>> {
        let (_, address, name) = self.ways[way];
        let credentials = self.shows(name, password);
        let mut client = tonic::client::Grpc::new(credentials.endpoint(address)?.connect_lazy());
        client
            .ready()
            .await
            .with_context(|| format!("connecting to {address}"))?;
        let now = u32::try_from(now_unix_nano()? / 1_000_000_000).context("a time after 2106")?;
        let mut request = tonic::Request::new(SearchRequest {
            limit: 20,
            start: now - 3600,
            end: now + 60,
            query: query.to_owned(),
        });
        let metadata = request.metadata_mut();
        if let Some(authorization) = &credentials.authorization {
            metadata.insert("authorization", authorization.parse().context("metadata")?);
        }
        metadata.insert("x-scope-orgid", "other".parse().context("metadata")?);
        let codec = ProstCodec::<SearchRequest, SearchResponse>::default();
        let call = async {
            let answer = client
                .server_streaming(request, PathAndQuery::from_static(path), codec)
                .await?;
            let mut stream = answer.into_inner();
            let mut found = Vec::new();
            while let Some(message) = stream.message().await? {
                found.extend(message.traces.into_iter().map(|trace| trace.trace_id));
            }
            Ok::<_, Status>(found)
        };
        tokio::time::timeout(ASKED, call)
            .await
            .context("a streamed search takes too long")
    }

    async fn spans_come_through(&self, password: &str) -> Result<()> {
        let corpus = Corpus::from_now(self.env.seed)?;
        let sender = self.sender()?;
        for (n, door) in [(0, Door::OtlpGrpc), (1, Door::OtlpHttpProtobuf)] {
            let sample = corpus.sample(n);
            let outcome = sender.send(door, &sample.traces).await?;
            self.env.recorder.check(
                format!("{door}: spans come through the proxy in front"),
                outcome.is_acked(),
                outcome.to_string(),
            );
            for (way, (what, ..)) in self.ways.iter().enumerate() {
                let by_id = self
                    .until_found(&format!("/api/v2/traces/{}", sample.id), way, &sample.marker, password)
                    .await;
                let name = format!("{door}: {what} shows the trace by its id, whatever tenant the client names");
                self.env.recorder.worked(name, &by_id, |()| sample.id.to_string());
                self.streamed(way, what, &sample, password).await?;
            }
        }
        Ok(())
    }

    async fn until_found(&self, path: &str, way: usize, marker: &str, password: &str) -> Result<()> {
        wait_for("the trace", FOUND, &self.env.cancel, || async {
            let (status, body) = self.ask(way, Method::GET, path, Some(password)).await?;
            Ok(if status.is_success() && body.contains(marker) {
                Look::Found(())
            } else {
                Look::NotYet(format!("{status}, {} bytes", body.len()))
            })
        })
        .await?;
        Ok(())
    }

    async fn streamed(&self, way: usize, what: &str, sample: &Sample, password: &str) -> Result<()> {
        let query = sample.queries().swap_remove(0).traceql;
        let id = sample.id.to_string();
        let waited = wait_for("the trace in a streamed search", FOUND, &self.env.cancel, || async {
            Ok(match self.stream(way, SEARCH, &query, Some(password)).await? {
                Ok(found)
                    if found
                        .iter()
                        .any(|one| one.trim_start_matches('0') == id.trim_start_matches('0')) =>
                {
                    Look::Found(found.len())
                }
                Ok(found) => Look::NotYet(format!("{} other traces", found.len())),
                Err(status) => Look::NotYet(status.to_string()),
            })
        })
        .await;
        let name = format!("{what} streams a search that finds the trace");
        self.env.recorder.worked(name, &waited, |waited| {
            format!("among {} after {:.1} s", waited.value, waited.elapsed.as_secs_f64())
        });
        Ok(())
    }

    /// As large as the receivers take, and larger.
    async fn large_requests(&self) -> Result<()> {
        let corpus = Corpus::from_now(self.env.seed)?;
        let sender = self.sender()?;
        for (n, door) in [(2, Door::OtlpGrpc), (3, Door::OtlpHttpProtobuf)] {
            for (n, bytes, fits) in [(n, LARGEST, true), (n + 2, LARGEST + 1024, false)] {
                let traces = padded(corpus.sample(n).traces, bytes)?;
                let outcome = sender.send(door, &traces).await?;
                self.env.recorder.check(
                    format!(
                        "{door}: a request of {bytes} bytes is {}",
                        if fits { "taken" } else { "refused" }
                    ),
                    outcome.is_acked() == fits,
                    outcome.to_string(),
                );
            }
        }
        Ok(())
    }

    /// Nobody without the right name and password reads.
    async fn others_are_refused(&self, password: &str) -> Result<()> {
        let wrong = token();
        let reads = [
            "/api/search",
            "/api/traces/1",
            "/api/v2/traces/1",
            "/api/v2/search/tags",
            "/api/metrics/query_range",
            "/api/echo",
        ];
        for (way, (what, ..)) in self.ways.iter().enumerate() {
            for (shown, password) in [("nothing", None), ("a wrong password", Some(wrong.as_str()))] {
                let mut let_in = Vec::new();
                for path in reads {
                    let (status, _) = self.ask(way, Method::GET, path, password).await?;
                    if status != StatusCode::UNAUTHORIZED {
                        let_in.push(format!("{path}: {status}"));
                    }
                }
                self.env.recorder.check(
                    format!("{what} answers 401 to who shows {shown}"),
                    let_in.is_empty(),
                    format!("{} paths; {}", reads.len(), let_in.join(", ")),
                );
                let streamed = self.stream(way, SEARCH, "{}", password).await?;
                self.env.recorder.check(
                    format!("{what} streams nothing to who shows {shown}"),
                    streamed
                        .as_ref()
                        .is_err_and(|status| status.code() == Code::Unauthenticated),
                    format!("{streamed:?}"),
                );
            }
            let (status, _) = self.ask(way, Method::GET, "/api/echo", Some(password)).await?;
            self.env.recorder.check(
                format!("{what} lets the right password in"),
                status == StatusCode::OK,
                status.to_string(),
            );
        }
        Ok(())
    }

    /// What doesn't read is closed to those who may read, too.
    async fn paths_are_closed(&self, password: &str) -> Result<()> {
        for (way, (what, ..)) in self.ways.iter().enumerate() {
            let mut open = Vec::new();
            for path in CLOSED {
                for method in [Method::GET, Method::POST] {
                    let (status, _) = self.ask(way, method.clone(), path, Some(password)).await?;
                    if ![StatusCode::NOT_FOUND, StatusCode::FORBIDDEN].contains(&status) {
                        open.push(format!("{method} {path}: {status}"));
                    }
                }
            }
            for method in [Method::POST, Method::DELETE] {
                let (status, _) = self.ask(way, method.clone(), "/api/search", Some(password)).await?;
                if status != StatusCode::FORBIDDEN {
                    open.push(format!("{method} /api/search: {status}"));
                }
            }
            self.env.recorder.check(
                format!("{what} keeps what doesn't read closed"),
                open.is_empty(),
                format!("{} requests; {}", CLOSED.len() * 2 + 2, open.join(", ")),
            );
            let other = self
                .stream(way, "/tempopb.Querier/SearchRecent", "{}", Some(password))
                .await?;
            self.env.recorder.check(
                format!("{what} keeps other services of gRPC closed"),
                other.is_err(),
                format!("{other:?}"),
            );
        }
        let tempo = self.stack.endpoints().url(Component::Tempo, "http")?;
        let http = crate::client::credentials::http_client()?;
        let mut closed = Vec::new();
        for path in OPEN_AT_TEMPO {
            let answer = http.get(format!("{tempo}{path}")).timeout(ASKED).send().await;
            let status = answer.with_context(|| format!("asking Tempo for {path}"))?.status();
            if !status.is_success() {
                closed.push(format!("{path}: {status}"));
            }
        }
        self.env.recorder.check(
            "Tempo itself answers there, so that it is the door that is closed",
            closed.is_empty(),
            closed.join(", "),
        );
        Ok(())
    }

    async fn a_changed_password_counts(&self, before: &str) -> Result<()> {
        let pids = self.stack.pids(Component::QueryProxy).await?;
        let after = token();
        self.stack
            .change_secret("readers", one("htpasswd", htpasswd(USER, &after)?))
            .await?;
        let (old, _) = self.ask(0, Method::GET, "/api/echo", Some(before)).await?;
        let (new, _) = self.ask(0, Method::GET, "/api/echo", Some(&after)).await?;
        let same = self.stack.pids(Component::QueryProxy).await? == pids;
        self.env.recorder.check(
            "a changed password counts without a restart",
            old == StatusCode::UNAUTHORIZED && new == StatusCode::OK && same,
            format!("the old one {old}, the new one {new}"),
        );
        Ok(())
    }
}

/// The same spans in a request of so many bytes.
fn padded(mut traces: TracesData, bytes: usize) -> Result<TracesData> {
    let grow = |traces: &mut TracesData, text: usize| -> Result<()> {
        let span = traces
            .resource_spans
            .first_mut()
            .and_then(|r| r.scope_spans.first_mut());
        let span = span.and_then(|s| s.spans.first_mut()).context("a sample has spans")?;
        span.attributes.retain(|attribute| attribute.key != "padding");
        span.attributes
            .push(attribute("padding", Any::StringValue("x".repeat(text))));
        Ok(())
    };
    // The lengths before a text of some MiB take as many bytes as those before one that is a little shorter.
    let guess = bytes - 64 * 1024;
    grow(&mut traces, guess)?;
    let text = guess + bytes - traces.encoded_len();
    grow(&mut traces, text)?;
    anyhow::ensure!(
        traces.encoded_len() == bytes,
        "{} bytes instead of {bytes}",
        traces.encoded_len()
    );
    Ok(traces)
}

/// `tempopb.SearchRequest` (grafana/tempo, pkg/tempopb/tempo.proto), as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct SearchRequest {
    #[prost(uint32, tag = "4")]
    limit: u32,
    #[prost(uint32, tag = "5")]
    start: u32,
    #[prost(uint32, tag = "6")]
    end: u32,
    #[prost(string, tag = "8")]
    query: String,
}

/// `tempopb.SearchResponse`, likewise.
#[derive(Clone, PartialEq, Message)]
struct SearchResponse {
    #[prost(message, repeated, tag = "1")]
    traces: Vec<TraceFound>,
}

/// `tempopb.TraceSearchMetadata`, likewise.
#[derive(Clone, PartialEq, Message)]
struct TraceFound {
    #[prost(string, tag = "1")]
    trace_id: String,
}
