//! Reading traces back from Tempo over its HTTP API
//! (grafana.com/docs/tempo, "HTTP API"; the JSON is that of 2.9 and 3.0).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kit::failure::causes;
use kit::step::Cancel;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::credentials::Credentials;
use crate::client::transport::shown;
use crate::model::corpus::Query;
use crate::model::id::{SpanId, TraceId};
use crate::wait::{Look, Waited, wait_for};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The header that names a tenant (grafana/dskit, user/http.go).
pub(crate) const TENANT: &str = "X-Scope-OrgID";

/// What Go's router says of a path that it doesn't know (net/http, NotFound).
const NO_ROUTE: &[u8] = b"404 page not found";

/// What a request for a trace was answered with.
enum Answer {
    /// The server doesn't know the path.
    NoRoute,
    /// It doesn't have the trace.
    NotFound,
    Body(Url, Vec<u8>),
}

/// Talks to one Tempo. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// In whose name it asks; none where Tempo has no tenants.
    tenant: Option<String>,
    /// It has no `/api/v2/traces`: Tempo up to 2.5.
    first_api: Arc<AtomicBool>,
    /// Traces that a search may list; none where it is as many as stacks of ours allow.
    most_found: Option<u32>,
}

/// A TraceQL search.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The query: `{ status = error }`.
    pub traceql: String,
    /// Seconds since 1970; without start and end Tempo 2.x looks at recent data only.
    pub start: Option<u64>,
    /// Seconds since 1970.
    pub end: Option<u64>,
    /// At most this many traces; Tempo's default is 20.
    pub limit: Option<u32>,
    /// At most this many matching spans per trace are listed; Tempo's default is 3.
    pub spans_per_trace: Option<u32>,
}

impl Search {
    /// A search without limits.
    pub fn new(traceql: impl Into<String>) -> Search {
        Search {
            traceql: traceql.into(),
            ..Search::default()
        }
    }

    /// Between two times in seconds since 1970.
    pub fn between(mut self, start: u64, end: u64) -> Search {
        (self.start, self.end) = (Some(start), Some(end));
        self
    }

    /// At most `limit` traces.
    pub fn limit(mut self, limit: u32) -> Search {
        self.limit = Some(limit);
        self
    }

    /// List at most `spans` matching spans of each trace.
    pub(crate) fn spans_per_trace(mut self, spans: u32) -> Search {
        self.spans_per_trace = Some(spans);
        self
    }
}

/// A trace that a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its id, with the leading zeros that Tempo leaves out.
    pub id: TraceId,
    /// `service.name` of the root span's resource; empty if the root isn't there.
    pub root_service: String,
    /// Name of the root span; Tempo puts `<root span not yet received>` if it isn't there.
    pub root_name: String,
    /// How many spans matched.
    pub matched: u64,
    /// Those that matched, as many as were asked for.
    pub spans: Vec<SpanId>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct TagValue {
    /// `string`, `int`, `float`, `bool`, `keyword`, …
    #[serde(rename = "type")]
    pub kind: String,
    pub value: String,
}

/// `tempopb.TraceByIDResponse` (pkg/tempopb/tempo.proto); `tempopb.Trace` is OTLP's `TracesData`.
#[derive(Clone, PartialEq, Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
    /// 0 is complete, 1 is partial.
    #[prost(int32, tag = "3")]
    status: i32,
    #[prost(string, tag = "4")]
    message: String,
}

impl Client {
    /// A client for `http://host:port`.
    pub fn new(base: &str) -> Result<Client> {
        Ok(Client {
            http: crate::client::credentials::http_client()?,
            base: Url::parse(base).with_context(|| format!("Tempo's address {base:?}"))?,
            tenant: None,
            first_api: Arc::default(),
            most_found: None,
        })
    }

    /// A client that comes by a door that asks who reads.
    pub(crate) fn through(credentials: &Credentials, address: SocketAddr) -> Result<Client> {
        let (base, http) = credentials.http(address)?;
        Ok(Client {
            http,
            ..Client::new(&base)?
        })
    }

    /// The same in the name of a tenant.
    pub fn as_tenant(self, tenant: Option<String>) -> Client {
        Client { tenant, ..self }
    }

    /// The same for a Tempo whose searches list at most so many traces.
    pub(crate) fn finding(self, most: u32) -> Client {
        Client {
            most_found: Some(most),
            ..self
        }
    }

    /// Traces that a search may list, where a stack has a limit of its own.
    pub(crate) fn most_found(&self) -> Option<u32> {
        self.most_found
    }

    /// The address that it talks to.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The trace, or none if Tempo doesn't have it: 2.x answers 404, or 200 with an empty trace.
    ///
    /// An error if Tempo has only a part of it, because the trace is larger than its limit, or if it can't be
    /// asked: that says nothing about the trace.
    pub async fn trace(&self, id: TraceId) -> Result<Option<TracesData>> {
        if self.first_api.load(Ordering::Relaxed) {
            return self.by_first_api(id).await;
        }
        let path = format!("api/v2/traces/{id}");
        let mut answer = self.by_id(&path).await?;
        if matches!(answer, Answer::NoRoute) {
            let first = self.by_first_api(id).await?;
            // A Tempo that was just starting knew no path at all a moment ago.
            answer = self.by_id(&path).await?;
            if matches!(answer, Answer::NoRoute) {
                self.first_api.store(true, Ordering::Relaxed);
                return Ok(first);
            }
        }
        let Answer::Body(url, body) = answer else {
            return Ok(None);
        };
        let answer = TraceByIdResponse::decode(body.as_slice()).with_context(|| undecoded(&url, &body))?;
        if answer.status != 0 {
            bail!("GET {url}: Tempo has only a part of it: {}", answer.message);
        }
        Ok(answer.trace.filter(|trace| !trace.resource_spans.is_empty()))
    }

    /// The same by the API of Tempo up to 2.5, which answers with the trace alone.
    async fn by_first_api(&self, id: TraceId) -> Result<Option<TracesData>> {
        match self.by_id(&format!("api/traces/{id}")).await? {
            Answer::NoRoute => bail!("{} has no API that gives a trace by its id", self.base),
            Answer::NotFound => Ok(None),
            Answer::Body(url, body) => {
                let trace = TracesData::decode(body.as_slice()).with_context(|| undecoded(&url, &body))?;
                Ok(Some(trace).filter(|trace| !trace.resource_spans.is_empty()))
            }
        }
    }

    async fn by_id(&self, path: &str) -> Result<Answer> {
        let url = self.url(path)?;
        let request = self.request(&url).header("accept", "application/protobuf");
        let (status, body) = exchange(request, &url).await?;
        if status == StatusCode::NOT_FOUND {
            let no_route = body.starts_with(NO_ROUTE);
            return Ok(if no_route { Answer::NoRoute } else { Answer::NotFound });
        }
        accept(&url, status, &body)?;
        Ok(Answer::Body(url, body))
    }

    /// The traces that match.
    pub async fn search(&self, search: &Search) -> Result<Vec<Found>> {
        let mut url = self.url("api/search")?;
        {
            let mut pairs = url.query_pairs_mut();
            pairs.append_pair("q", &search.traceql);
            let numbers = [
                ("start", search.start),
                ("end", search.end),
                ("limit", search.limit.map(u64::from)),
                ("spss", search.spans_per_trace.map(u64::from)),
            ];
            for (name, value) in numbers {
                if let Some(value) = value {
                    pairs.append_pair(name, &value.to_string());
                }
            }
        }
        let answer: SearchAnswer = self.json(url).await?;
        answer.traces.into_iter().map(Found::try_from).collect()
    }

    /// The status of the answer to a query of any kind and the length of its body in bytes. An error if there is
    /// none in time.
    pub(crate) async fn ask(&self, path: &str, query: &[(&str, String)], timeout: Duration) -> Result<(u16, usize)> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let (status, body) = exchange_within(timeout, self.request(&url), &url).await?;
        Ok((status.as_u16(), body.len()))
    }

    /// The sum of all samples of a TraceQL metrics query, one sample for each second of the range (seconds since
    /// 1970): of `{} | rate()` the number of spans.
    pub(crate) async fn sum_of_seconds(&self, traceql: &str, (start, end): (u64, u64)) -> Result<f64> {
        let mut url = self.url("api/metrics/query_range")?;
        url.query_pairs_mut()
            .append_pair("q", traceql)
            .append_pair("start", &start.to_string())
            .append_pair("end", &end.to_string())
            .append_pair("step", "1s");
        let answer: MetricsAnswer = self.json(url).await?;
        let samples = answer.series.into_iter().flat_map(|series| series.samples);
        Ok(samples.map(|sample| sample.value).sum())
    }

    /// The names of tags by scope: `resource`, `span`, `event`, `link`, `instrumentation`, `intrinsic`.
    pub async fn tags(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let answer: TagsAnswer = self.json(self.url("api/v2/search/tags")?).await?;
        Ok(answer.scopes.into_iter().map(|s| (s.name, s.tags)).collect())
    }

    /// The values of a tag, named with its scope: `span.e2e.marker`, `resource.service.name`, `status`.
    pub(crate) async fn tag_values(&self, tag: &str) -> Result<Vec<TagValue>> {
        let answer: TagValuesAnswer = self.json(self.url(&format!("api/v2/search/tag/{tag}/values"))?).await?;
        Ok(answer.tag_values)
    }

    /// Tempo's answer to `/api/echo` without the line's end, which is `echo`; Grafana's datasource test asks for it.
    pub async fn echo(&self) -> Result<String> {
        Ok(self.text("api/echo").await?.trim_end().to_owned())
    }

    /// Whether `/ready` says that all of Tempo's modules run; its words if not.
    pub async fn ready(&self) -> Result<Result<(), String>> {
        let url = self.url("ready")?;
        let (status, body) = exchange(self.request(&url), &url).await?;
        Ok(if status.is_success() { Ok(()) } else { Err(shown(&body)) })
    }

    /// What `/status/version` says. Empty version numbers where Tempo was built without them.
    pub async fn version(&self) -> Result<String> {
        self.text("status/version").await
    }

    /// The state of each module, as `/status/services` prints it.
    pub async fn services(&self) -> Result<String> {
        self.text("status/services").await
    }

    /// The configuration that it runs with, its own defaults included, as YAML.
    pub(crate) async fn config(&self) -> Result<String> {
        self.text("status/config").await
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        self.text("metrics").await
    }

    /// Asks the ingester to write what it holds into blocks and to ship them. Only 2.x has this; it
    /// answers before the blocks are in the backend.
    pub(crate) async fn flush(&self) -> Result<()> {
        self.text("flush").await.map(drop)
    }

    /// Waits until the trace is there with at least `spans` spans.
    pub(crate) async fn wait_for_trace(
        &self,
        id: TraceId,
        spans: usize,
        deadline: Duration,
        cancel: &Cancel,
    ) -> Result<Waited<TracesData>> {
        wait_for(&format!("trace {id} by id"), deadline, cancel, || async {
            Ok(match self.trace(id).await? {
                Some(trace) if span_count(&trace) >= spans => Look::Found(trace),
                Some(trace) => Look::NotYet(format!("{} of {spans} spans", span_count(&trace))),
                None => Look::NotYet("no such trace".into()),
            })
        })
        .await
    }

    /// Waits until a search finds exactly the trace `id`. An error at once if it finds others.
    pub(crate) async fn wait_for_search(
        &self,
        id: TraceId,
        query: &Query,
        deadline: Duration,
        cancel: &Cancel,
    ) -> Result<Waited<Found>> {
        let search = Search::new(&query.traceql);
        let what = format!("trace {id} by {} with {}", query.by, query.traceql);
        let waited = wait_for(&what, deadline, cancel, || async {
            let found = self.search(&search).await?;
            Ok(match found.is_empty() {
                true => Look::NotYet("no trace matches".into()),
                false => Look::Found(found),
            })
        })
        .await?;
        match waited.value.as_slice() {
            [found] if found.id == id => Ok(Waited {
                value: found.clone(),
                elapsed: waited.elapsed,
                looks: waited.looks,
            }),
            others => bail!(
                "{what}: found {:?} instead",
                others.iter().map(|f| f.id).collect::<Vec<_>>()
            ),
        }
    }

    fn request(&self, url: &Url) -> reqwest::RequestBuilder {
        let request = self.http.get(url.clone());
        match &self.tenant {
            Some(tenant) => request.header(TENANT, tenant),
            None => request,
        }
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.base
            .join(path)
            .with_context(|| format!("{path:?} below {}", self.base))
    }

    async fn text(&self, path: &str) -> Result<String> {
        let body = self.get(&self.url(path)?).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn json<T: DeserializeOwned>(&self, url: Url) -> Result<T> {
        let body = self.get(&url).await?;
        serde_json::from_slice(&body).with_context(|| format!("GET {url}: unexpected JSON {:?}", shown(&body)))
    }

    async fn get(&self, url: &Url) -> Result<Vec<u8>> {
        let (status, body) = exchange(self.request(url), url).await?;
        accept(url, status, &body)?;
        Ok(body)
    }
}

fn undecoded(url: &Url, body: &[u8]) -> String {
    format!("GET {url}: decoding {} bytes of protobuf", body.len())
}

/// How many spans there are, duplicates included.
pub(crate) fn span_count(traces: &TracesData) -> usize {
    let scopes = traces.resource_spans.iter().flat_map(|r| &r.scope_spans);
    scopes.map(|s| s.spans.len()).sum()
}

async fn exchange(request: reqwest::RequestBuilder, url: &Url) -> Result<(StatusCode, Vec<u8>)> {
    exchange_within(TIMEOUT, request, url).await
}

async fn exchange_within(
    timeout: Duration,
    request: reqwest::RequestBuilder,
    url: &Url,
) -> Result<(StatusCode, Vec<u8>)> {
    let exchange = async {
        let answer = request.timeout(timeout).send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, answer.bytes().await?.to_vec()))
    };
    exchange
        .await
        .map_err(|error| anyhow::anyhow!("GET {url}: {}", causes(&error.without_url())))
}

fn accept(url: &Url, status: StatusCode, body: &[u8]) -> Result<()> {
    if status.is_success() {
        return Ok(());
    }
    bail!("GET {url}: {status}: {}", shown(body))
}

#[derive(Deserialize)]
struct SearchAnswer {
    #[serde(default)]
    traces: Vec<FoundJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FoundJson {
    #[serde(rename = "traceID")]
    id: String,
    #[serde(default)]
    root_service_name: String,
    #[serde(default)]
    root_trace_name: String,
    #[serde(default)]
    span_sets: Vec<SpanSet>,
}

#[derive(Deserialize)]
struct SpanSet {
    #[serde(default)]
    spans: Vec<SpanJson>,
    #[serde(default)]
    matched: u64,
}

#[derive(Deserialize)]
struct SpanJson {
    #[serde(rename = "spanID")]
    id: String,
}

impl TryFrom<FoundJson> for Found {
    type Error = anyhow::Error;

    fn try_from(json: FoundJson) -> Result<Found> {
        let spans = json.span_sets.iter().flat_map(|s| &s.spans);
        Ok(Found {
            id: json.id.parse()?,
            root_service: json.root_service_name,
            root_name: json.root_trace_name,
            matched: json.span_sets.iter().map(|s| s.matched).sum(),
            spans: spans.map(|span| span.id.parse()).collect::<Result<_>>()?,
        })
    }
}

#[derive(Deserialize)]
struct MetricsAnswer {
    #[serde(default)]
    series: Vec<MetricsSeries>,
}

#[derive(Deserialize)]
struct MetricsSeries {
    #[serde(default)]
    samples: Vec<MetricsSample>,
}

#[derive(Deserialize)]
struct MetricsSample {
    /// Left out where it is 0.
    #[serde(default)]
    value: f64,
}

#[derive(Deserialize)]
struct TagsAnswer {
    #[serde(default)]
    scopes: Vec<TagScope>,
}

#[derive(Deserialize)]
struct TagScope {
    name: String,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TagValuesAnswer {
    #[serde(default)]
    tag_values: Vec<TagValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_answer_is_read_with_the_zeros_put_back() {
        let text = r#"{"traces":[{"traceID":"abc","rootServiceName":"checkout","rootTraceName":"GET /",
            "startTimeUnixNano":"1","durationMs":3,"spanSets":[{"spans":[{"spanID":"0a1"}],"matched":2}]}],"metrics":{}}"#;
        let answer: SearchAnswer = serde_json::from_str(text).unwrap();
        let found = Found::try_from(answer.traces.into_iter().next().unwrap()).unwrap();
        assert_eq!(found.id.to_string(), "00000000000000000000000000000abc");
        assert_eq!((found.root_service.as_str(), found.matched), ("checkout", 2));
        assert_eq!(found.spans[0].to_string(), "00000000000000a1");
    }

    #[tokio::test]
    async fn an_error_names_the_url_and_what_came_back() {
        let address = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let client = Client::new(&format!("http://{address}")).unwrap();
        let error = format!("{:#}", client.echo().await.unwrap_err());
        assert!(
            error.contains(&format!("http://{address}/api/echo")) && error.contains("refused"),
            "{error}"
        );
    }
}
