//! Load at a constant rate, or as fast as it is answered.
//!
//! At a rate the schedule is open-loop: requests leave when they are due, whether earlier ones were answered
//! or not, and the time to an answer counts from then on, so that a request that waits for its turn to be sent isn't
//! quick. When too many are unanswered, a request that is due isn't sent but counted as skipped.
//! At full speed it is a closed loop: a request leaves when there is room for it among the unanswered.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::step::Cancel;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::client::send::Sender;
use crate::model::corpus::{SPAN_MARKER, attribute, now_unix_nano, text};
use crate::model::door::Door;
use crate::model::id::{SpanId, TraceId};
use crate::model::ledger::Ledger;
use crate::model::shop;

/// What the spans of a load are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shape {
    /// Cheap to make and to find again: they have little but the marker.
    Plain,
    /// As instrumented applications send them, see [`shop`]; they have no marker.
    Shop,
}

/// When a load ends by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Until {
    /// With the request that makes it so many spans.
    Spans(u64),
    /// After so long.
    Elapsed(Duration),
}

impl Until {
    /// Whether there is more to send after so many spans.
    fn goes_on(self, spans: u64, started: Instant) -> bool {
        match self {
            Until::Spans(wanted) => spans < wanted,
            Until::Elapsed(time) => started.elapsed() < time,
        }
    }
}

/// What to send, and how fast.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Batches {
    /// Through which receiver.
    pub door: Door,
    /// Spans per second.
    pub rate: u32,
    /// Spans of each trace: a root and its children, all in one request.
    pub spans_per_trace: u32,
    pub traces_per_request: u32,
    pub shape: Shape,
    /// Bytes of an attribute of every span that hardly compresses; 0 is none.
    pub payload_bytes: usize,
    /// Requests that may be unanswered at the same time.
    pub max_in_flight: usize,
    /// Decides the ids, and all else that is random.
    pub seed: u64,
    /// The value of the attribute `e2e.marker` of every plain span.
    pub marker: String,
}

impl Batches {
    /// 2,000 spans per second over OTLP gRPC, in traces of 2 and requests of 100 spans, at most 64 of
    /// them unanswered.
    pub fn new(seed: u64) -> Batches {
        Batches {
            door: Door::OtlpGrpc,
            rate: 2_000,
            spans_per_trace: 2,
            traces_per_request: 50,
            shape: Shape::Plain,
            payload_bytes: 0,
            max_in_flight: 64,
            seed,
            marker: format!("load-{seed:016x}"),
        }
    }

    fn spans_per_request(&self) -> u32 {
        self.spans_per_trace * self.traces_per_request
    }

    fn interval(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.spans_per_request()) / f64::from(self.rate.max(1)))
    }

    /// Request number `n`, and the ids of its spans; they end at `now`, in nanoseconds since 1970.
    pub fn request(&self, n: u64, now: u64) -> (TracesData, Vec<(TraceId, SpanId)>) {
        let mut random = StdRng::seed_from_u64(self.seed ^ (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if self.shape == Shape::Shop {
            return shop::request(&mut random, self.traces_per_request, self.spans_per_trace, now);
        }
        let mut spans = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..self.traces_per_request {
            let trace = TraceId(random.random());
            let mut root = Vec::new();
            for n in 0..self.spans_per_trace {
                let id = SpanId::random(&mut random);
                ids.push((trace, id));
                let mut attributes = vec![
                    attribute(SPAN_MARKER, text(&self.marker)),
                    attribute("http.request.method", text("GET")),
                    attribute("url.path", text("/load")),
                ];
                if self.payload_bytes > 0 {
                    let mut payload = vec![0; self.payload_bytes];
                    random.fill_bytes(&mut payload);
                    // 64 characters from `0` on.
                    let payload: String = payload.into_iter().map(|byte| char::from(b'0' + byte % 64)).collect();
                    attributes.push(attribute("load.payload", text(&payload)));
                }
                spans.push(Span {
                    trace_id: trace.0.to_vec(),
                    span_id: id.0.to_vec(),
                    parent_span_id: root.clone(),
                    name: if n == 0 { "GET /load" } else { "SELECT load" }.into(),
                    kind: if n == 0 { SpanKind::Server } else { SpanKind::Client }.into(),
                    start_time_unix_nano: now - 10_000_000,
                    end_time_unix_nano: now,
                    attributes,
                    ..Span::default()
                });
                if n == 0 {
                    root = id.0.to_vec();
                }
            }
        }
        let resource = Resource {
            attributes: vec![attribute("service.name", text("load"))],
            ..Resource::default()
        };
        let traces = TracesData {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![ScopeSpans {
                    spans,
                    ..ScopeSpans::default()
                }],
                schema_url: String::new(),
            }],
        };
        (traces, ids)
    }
}

/// How a load went.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Pace {
    /// From the start to the end of the schedule, in seconds; at full speed, to the last answer.
    pub seconds: f64,
    /// Spans per second that left.
    pub rate: f64,
    /// Spans that were due and weren't sent, because too many requests were unanswered.
    pub skipped: u64,
    /// The longest time by which a request left late, in milliseconds.
    pub latest_ms: f64,
    /// The longest time to an answer, in milliseconds.
    pub slowest_ms: f64,
    /// The time to each answer, in the order of the answers: from when the request was due, at full speed from when it
    /// was sent.
    #[serde(skip)]
    pub answers: Vec<Duration>,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} spans/s for {:.1} s, {} spans skipped, at most {:.1} ms late, the slowest of {} answers after {:.1} ms",
            self.rate,
            self.seconds,
            self.skipped,
            self.latest_ms,
            self.answers.len(),
            self.slowest_ms
        )
    }
}

#[derive(Debug)]
pub struct Load {
    ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Pace>>,
}

impl Load {
    /// Starts sending; it goes on until [`Load::stop`], or until the user asks to stop.
    pub fn start(sender: Sender, batches: Batches, cancel: Cancel) -> Load {
        let run = Run::new(vec![sender], batches, cancel);
        Load {
            ledger: Arc::clone(&run.ledger),
            stop: Arc::clone(&run.stop),
            task: tokio::spawn(async move { run.at_rate(None).await }),
        }
    }

    /// Sends at full speed, whatever rate the batches name, and waits for all answers. An error if a request
    /// couldn't be made, or if the user asked to stop.
    pub async fn full_speed(sender: Sender, batches: Batches, until: Until, cancel: Cancel) -> Result<(Ledger, Pace)> {
        let run = Run::new(vec![sender], batches, cancel);
        let pace = run.full_speed(until).await?;
        let ledger = lock(&run.ledger).clone();
        Ok((ledger, pace))
    }

    /// Sends at the rate that the batches name, over the senders in turn, and waits for all answers. An error if a
    /// request couldn't be made, or if the user asked to stop.
    pub async fn at_rate(
        senders: Vec<Sender>,
        batches: Batches,
        until: Until,
        cancel: Cancel,
    ) -> Result<(Ledger, Pace)> {
        let run = Run::new(senders, batches, cancel);
        let pace = run.at_rate(Some(until)).await?;
        let ledger = lock(&run.ledger).clone();
        Ok((ledger, pace))
    }

    /// The ledger as it is now. Hold it only briefly: the load waits for it.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// The ledger, for whoever looks at it beside the load. Hold it only briefly: the load waits for it.
    pub(crate) fn shared_ledger(&self) -> Arc<Mutex<Ledger>> {
        Arc::clone(&self.ledger)
    }

    /// Stops the schedule, waits for all answers, and hands over the ledger. An error if a request
    /// couldn't be made, or if the user asked to stop.
    pub async fn stop(self) -> Result<(Ledger, Pace)> {
        self.stop.store(true, Ordering::SeqCst);
        let pace = self.task.await.context("the load ended badly")??;
        let ledger = lock(&self.ledger).clone();
        Ok((ledger, pace))
    }
}

fn slowest_ms(answers: &[Duration]) -> f64 {
    let slowest = answers.iter().max();
    slowest.map_or(0.0, |slowest| slowest.as_secs_f64() * 1e3)
}

/// A thread that panicked while it held the ledger has only left an entry out.
pub(crate) fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Run {
    ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    /// They take turns.
    senders: Vec<Sender>,
    batches: Batches,
    cancel: Cancel,
}

/// The requests that wait for their answers.
#[derive(Default)]
struct Answers {
    waiting: JoinSet<Result<Duration>>,
    /// The time to each that is there.
    times: Vec<Duration>,
}

impl Answers {
    /// Takes those that are there.
    fn take(&mut self) -> Result<()> {
        while let Some(answer) = self.waiting.try_join_next() {
            self.times.push(answer.context("a request ended badly")??);
        }
        Ok(())
    }

    /// Waits for all, and gives back the time to each.
    async fn all(mut self) -> Result<Vec<Duration>> {
        while let Some(answer) = self.waiting.join_next().await {
            self.times.push(answer.context("a request ended badly")??);
        }
        Ok(self.times)
    }
}

impl Run {
    fn new(senders: Vec<Sender>, batches: Batches, cancel: Cancel) -> Run {
        Run {
            ledger: Arc::new(Mutex::new(Ledger::new(batches.marker.as_str()))),
            stop: Arc::default(),
            senders,
            batches,
            cancel,
        }
    }

    async fn full_speed(&self, until: Until) -> Result<Pace> {
        let room = Arc::new(Semaphore::new(self.batches.max_in_flight));
        let mut answers = Answers::default();
        let spans = u64::from(self.batches.spans_per_request());
        let started = Instant::now();
        let mut requests = 0;
        while !self.cancel.is_cancelled() && until.goes_on(requests * spans, started) {
            let permit = Arc::clone(&room).acquire_owned().await.context("waiting for room")?;
            answers.take()?;
            answers.waiting.spawn(self.request(requests, Instant::now(), permit)?);
            requests += 1;
        }
        // Dropping the requests ends them.
        self.cancel.check()?;
        let answers = answers.all().await?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Pace {
            seconds,
            rate: (requests * spans) as f64 / seconds,
            skipped: 0,
            latest_ms: 0.0,
            slowest_ms: slowest_ms(&answers),
            answers,
        })
    }

    /// Until it is stopped, or what `until` says.
    async fn at_rate(&self, until: Option<Until>) -> Result<Pace> {
        let room = Arc::new(Semaphore::new(self.batches.max_in_flight));
        let mut answers = Answers::default();
        let mut ticks = tokio::time::interval(self.batches.interval());
        // A late tick doesn't move the ones after it.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let started = Instant::now();
        let spans = u64::from(self.batches.spans_per_request());
        let (mut due_requests, mut sent, mut skipped) = (0, 0, 0);
        let mut latest = Duration::ZERO;
        while !self.stop.load(Ordering::SeqCst)
            && !self.cancel.is_cancelled()
            && until.is_none_or(|until| until.goes_on(due_requests * spans, started))
        {
            let due = ticks.tick().await;
            latest = latest.max(due.elapsed());
            answers.take()?;
            match Arc::clone(&room).try_acquire_owned() {
                Ok(permit) => {
                    sent += spans;
                    answers
                        .waiting
                        .spawn(self.request(due_requests, due.into_std(), permit)?);
                }
                Err(_) => skipped += spans,
            }
            due_requests += 1;
        }
        let seconds = started.elapsed().as_secs_f64();
        // Dropping the requests ends them.
        self.cancel.check()?;
        let answers = answers.all().await?;
        Ok(Pace {
            seconds,
            rate: sent as f64 / seconds,
            skipped,
            latest_ms: latest.as_secs_f64() * 1e3,
            slowest_ms: slowest_ms(&answers),
            answers,
        })
    }

    /// Makes one request and writes it into the ledger; the future sends it and takes the time since it was due.
    fn request(
        &self,
        n: u64,
        due: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Result<impl Future<Output = Result<Duration>> + Send + use<>> {
        let (traces, ids) = self.batches.request(n, now_unix_nano()?);
        lock(&self.ledger).send_all(&ids);
        let sender = self.senders.get(n as usize % self.senders.len().max(1));
        let sender = sender.context("a load without a sender")?.clone();
        let (ledger, door) = (Arc::clone(&self.ledger), self.batches.door);
        Ok(async move {
            let outcome = sender.send(door, &traces).await?;
            lock(&ledger).settle(&outcome, ids);
            drop(permit);
            Ok(due.elapsed())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::credentials::Credentials;
    use crate::model::door::Doors;
    use std::collections::BTreeSet;

    #[test]
    fn a_request_has_whole_traces_and_no_id_twice() {
        let batches = Batches::new(1);
        let (first, mut ids) = batches.request(0, 1_790_000_000_000_000_000);
        let (_, more) = batches.request(1, 1_790_000_000_000_000_000);
        assert_eq!(crate::client::tempo::span_count(&first), 100);
        ids.extend(more);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 200);
        assert_eq!(ids.iter().map(|(trace, _)| trace).collect::<BTreeSet<_>>().len(), 100);
        let spans = &first.resource_spans[0].scope_spans[0].spans;
        assert!(spans[0].parent_span_id.is_empty());
        assert_eq!(spans[1].parent_span_id, spans[0].span_id);
    }

    #[test]
    fn the_interval_makes_the_rate() {
        assert_eq!(Batches::new(1).interval(), Duration::from_millis(50));
        let fast = Batches {
            rate: 100_000,
            ..Batches::new(1)
        };
        assert_eq!(fast.interval(), Duration::from_millis(1));
    }

    /// A sender to a receiver that takes connections and never answers.
    async fn silent() -> (tokio::net::TcpListener, Sender) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let doors = Doors {
            otlp_grpc: address,
            otlp_http: address,
            jaeger_grpc: address,
            jaeger_thrift_http: address,
            jaeger_thrift_compact: None,
            jaeger_thrift_binary: None,
        };
        let sender = Sender::new(&doors, &Credentials::default(), ANSWER).unwrap();
        (listener, sender)
    }

    const ANSWER: Duration = Duration::from_millis(400);

    async fn six_requests(max_in_flight: usize) -> (Ledger, Pace) {
        let ((first, to_first), (second, to_second)) = (silent().await, silent().await);
        let batches = Batches {
            max_in_flight,
            ..Batches::new(1)
        };
        let (senders, until) = (vec![to_first, to_second], Until::Spans(600));
        let load = Load::at_rate(senders, batches, until, Cancel::default()).await;
        if max_in_flight > 1 {
            // Both have one, or this waits until the test is given up on.
            let _ = tokio::join!(first.accept(), second.accept());
        }
        load.unwrap()
    }

    #[tokio::test]
    async fn at_a_rate_nothing_waits_for_an_answer_and_connections_take_turns() {
        let (ledger, pace) = six_requests(64).await;
        // One every 50 ms, and each is given up on after 400 ms.
        assert_eq!((ledger.summary().unknown, pace.skipped), (600, 0));
        assert_eq!(pace.answers.len(), 6);
        assert!(pace.answers.iter().all(|time| *time >= ANSWER), "{:?}", pace.answers);
    }

    #[tokio::test]
    async fn what_is_due_while_too_many_are_unanswered_is_skipped_and_counted() {
        let (ledger, pace) = six_requests(1).await;
        assert_eq!(ledger.summary().sent + pace.skipped, 600);
        assert!(pace.skipped > 0);
    }
}
