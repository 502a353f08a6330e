//! Reading everything back that a ledger says was acknowledged.
//!
//! By id Tempo 2.9 reads some 50 to 150 traces per second once there are tens of thousands in a
//! block; a search that lists the spans reads some 7,000. So searches come first, and only what they
//! stop finding is read by id before it counts as lost.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kit::step::Cancel;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::client::tempo::{Client, Search};
use crate::model::corpus::SPAN_MARKER;
use crate::model::id::{SpanId, TraceId};
use crate::model::ledger::Ledger;

/// At most this many traces per search: Tempo's answer may not be larger than 16 MiB inside
/// (`server.grpc_server_max_send_msg_size`), which is some 40,000 traces of two spans.
const TRACES_PER_SEARCH: usize = 10_000;
/// More than any window has, and less than what stacks of ours allow
/// (`query_frontend.search.max_result_limit`).
const SEARCH_LIMIT: u32 = 100_000;
/// At most this many traces are read by id in one round, and this many at the same time.
const READS_PER_ROUND: usize = 200;
const READERS: usize = 8;
/// Spans of a trace that a search lists; Tempo lists no more (`max_spans_per_span_set`).
const SPANS_PER_TRACE: u32 = 100;

/// Within this time a span that was delivered is found by searches: Tempo cuts it to its WAL first.
const SEARCHABLE: Duration = Duration::from_secs(5);
/// How long those are read by id that the deadline left unread.
const LAST_READS: Duration = Duration::from_secs(60);
/// Time between two rounds.
const INTERVAL: Duration = Duration::from_millis(500);

/// How reading back went.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Readback {
    /// Traces with acknowledged spans.
    pub traces: usize,
    /// Searches, repetitions included.
    pub searches: usize,
    /// Reads by id, repetitions included.
    pub reads: usize,
    /// Searches and reads that failed.
    pub errors: usize,
    pub last_error: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Reads back every acknowledged span and writes into the ledger what it finds. What is missing is
/// looked for again until the deadline. Whether anything is lost is for the ledger to say.
///
/// An error if the user asked to stop, or if Tempo gave no answer by id for a trace of which spans are
/// missing: that says nothing about them.
pub(crate) async fn read_back(
    client: &Client,
    ledger: &mut Ledger,
    deadline: Duration,
    cancel: &Cancel,
) -> Result<Readback> {
    let started = Instant::now();
    let mut report = Readback::default();
    let mut left = ledger.incomplete();
    report.traces = left.len();
    let mut read_before = 0;
    let mut answered: HashSet<TraceId> = HashSet::new();
    while !left.is_empty() {
        search_windows(client, ledger, &left, &mut report, cancel).await?;
        let before = left.len();
        left = ledger.incomplete();
        if left.len() == before && started.elapsed() >= SEARCHABLE {
            // Not the same ones in each round.
            left.rotate_left(read_before % before);
            left.truncate(READS_PER_ROUND);
            read_before += left.len();
            let reads = read_by_id(client, &left, started + deadline, cancel).await?;
            answered.extend(report.take(reads, ledger));
            left = ledger.incomplete();
        }
        if left.is_empty() || started.elapsed() >= deadline {
            break;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    let unanswered = |ledger: &Ledger, answered: &HashSet<TraceId>| -> Vec<(u64, TraceId)> {
        let left = ledger.incomplete().into_iter();
        left.filter(|(_, trace)| !answered.contains(trace)).collect()
    };
    let rest = unanswered(ledger, &answered);
    if !rest.is_empty() {
        let reads = read_by_id(client, &rest, Instant::now() + LAST_READS, cancel).await?;
        answered.extend(report.take(reads, ledger));
    }
    let silent = unanswered(ledger, &answered).len();
    if silent > 0 {
        let why = report.last_error.unwrap_or_else(|| "no time was left".into());
        bail!("{silent} traces with missing spans can't be asked for by id, which says nothing about them: {why}");
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Looks once for these traces with searches, and writes into the ledger what they find.
pub(crate) async fn search_windows(
    client: &Client,
    ledger: &mut Ledger,
    traces: &[(u64, TraceId)],
    report: &mut Readback,
    cancel: &Cancel,
) -> Result<()> {
    let traceql = format!("{{ span.{SPAN_MARKER} = {:?} }}", ledger.marker());
    let limit = client.most_found().unwrap_or(SEARCH_LIMIT);
    // Half of it, for the traces at both ends of a window.
    let per_window = TRACES_PER_SEARCH.min(limit as usize / 2);
    for window in windows(traces, per_window) {
        cancel.check()?;
        report.searches += 1;
        let search = Search::new(&traceql)
            .between(window.start, window.end)
            .limit(limit)
            .spans_per_trace(SPANS_PER_TRACE);
        match client.search(&search).await {
            Ok(found) => found.iter().for_each(|f| ledger.find(f.id, &f.spans)),
            Err(error) => report.fail(format!("{error:#}")),
        }
    }
    Ok(())
}

impl fmt::Display for Readback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Readback {
            traces,
            searches,
            reads,
            errors,
            seconds,
            ..
        } = self;
        write!(
            f,
            "{traces} traces with {searches} searches and {reads} reads by id in {seconds:.1} s"
        )?;
        match &self.last_error {
            Some(error) => write!(f, "; {errors} of these failed, the last with: {error}"),
            None => Ok(()),
        }
    }
}

impl Readback {
    /// Notes reads by id, and returns the traces that Tempo gave an answer for.
    fn take(&mut self, reads: Vec<Read>, ledger: &mut Ledger) -> Vec<TraceId> {
        let mut answered = Vec::new();
        for read in reads {
            self.reads += 1;
            match read {
                Ok((trace, spans)) => {
                    ledger.find(trace, &spans);
                    answered.push(trace);
                }
                Err(error) => self.fail(error),
            }
        }
        answered
    }

    fn fail(&mut self, error: String) {
        self.errors += 1;
        self.last_error = Some(error);
    }
}

/// Seconds since 1970, the end not included.
#[derive(Debug, PartialEq, Eq)]
struct Window {
    start: u64,
    end: u64,
}

/// Windows of whole seconds that cover all traces, each with at most `per_window` of them where more than a
/// second is in it, and none where there are none. `traces` are sorted by their time in milliseconds since 1970.
fn windows(traces: &[(u64, TraceId)], per_window: usize) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut inside = 0;
    for (sent_ms, _) in traces {
        let second = sent_ms / 1_000;
        inside += 1;
        match windows.last_mut() {
            Some(window) if second < window.end => {}
            Some(window) if second == window.end && inside < per_window => window.end += 1,
            _ => {
                inside = 1;
                windows.push(Window {
                    start: second,
                    end: second + 1,
                });
            }
        }
    }
    // A span begins shortly before its request leaves, and ends at about that time.
    for window in &mut windows {
        window.start -= 1;
        window.end += 1;
    }
    windows
}

/// A trace that was asked for, and its spans: none where it isn't there. An error where it wasn't answered.
pub(crate) type Read = Result<(TraceId, Vec<SpanId>), String>;

/// Asks for these traces by id, several at a time, until the deadline; what it leaves out then has no entry.
pub(crate) async fn read_by_id(
    client: &Client,
    traces: &[(u64, TraceId)],
    deadline: Instant,
    cancel: &Cancel,
) -> Result<Vec<Read>> {
    let traces: Arc<[(u64, TraceId)]> = traces.into();
    let next = Arc::new(AtomicUsize::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..READERS.min(traces.len()) {
        let (client, cancel) = (client.clone(), cancel.clone());
        let (traces, next) = (Arc::clone(&traces), Arc::clone(&next));
        readers.spawn(async move {
            let mut reads = Vec::new();
            while let Some((_, trace)) = traces.get(next.fetch_add(1, Ordering::Relaxed)) {
                if cancel.is_cancelled() || Instant::now() >= deadline {
                    break;
                }
                let read = client.trace(*trace).await;
                let spans = |data: Option<TracesData>| data.as_ref().map_or_else(Vec::new, span_ids);
                reads.push(match read {
                    Ok(data) => Ok((*trace, spans(data))),
                    Err(error) => Err(format!("{error:#}")),
                });
            }
            reads
        });
    }
    let mut reads: Vec<Read> = Vec::new();
    while let Some(reader) = readers.join_next().await {
        reads.extend(reader.context("a reader ended badly")?);
    }
    cancel.check()?;
    Ok(reads)
}

fn span_ids(traces: &TracesData) -> Vec<SpanId> {
    let scopes = traces.resource_spans.iter().flat_map(|r| &r.scope_spans);
    let spans = scopes.flat_map(|s| &s.spans);
    spans
        .filter_map(|span| SpanId::from_bytes(&span.span_id).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every request as a server that knows no path of it.
    async fn knows_nothing() -> std::net::SocketAddr {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let answer =
                    "HTTP/1.1 404 Not Found\r\ncontent-length: 19\r\nconnection: close\r\n\r\n404 page not found\n";
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn a_server_that_can_not_be_asked_has_not_lost_anything() {
        let client = Client::new(&format!("http://{}", knows_nothing().await)).unwrap();
        let error = client.trace(TraceId::from_bytes(&[1; 16]).unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("no API"), "{error:#}");
        let traces = [(0, TraceId::from_bytes(&[1; 16]).unwrap())];
        let deadline = Instant::now() + Duration::from_secs(30);
        let reads = read_by_id(&client, &traces, deadline, &Cancel::default())
            .await
            .unwrap();
        let mut ledger = Ledger::new("m");
        let answered = Readback::default().take(reads, &mut ledger);
        assert!(answered.is_empty());
    }

    fn at(ms: &[u64]) -> Vec<(u64, TraceId)> {
        ms.iter().map(|ms| (*ms, TraceId([1; 16]))).collect()
    }

    #[test]
    fn windows_cover_what_was_sent_and_leave_gaps_out() {
        let windows = windows(&at(&[100_000, 100_999, 101_500, 160_000]), TRACES_PER_SEARCH);
        let window = |start, end| Window { start, end };
        assert_eq!(windows, [window(99, 103), window(159, 162)]);
    }

    #[test]
    fn a_full_window_is_followed_by_another() {
        let many: Vec<u64> = (0..3 * TRACES_PER_SEARCH as u64).map(|n| 100_000 + n / 5).collect();
        let windows = windows(&at(&many), TRACES_PER_SEARCH);
        assert_eq!(windows.len(), 3, "{windows:?}");
        assert_eq!((windows[0].start, windows[2].end), (99, 107));
    }
}
