//! `outage`: Tempo is away for half a minute and no acknowledged span is lost.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Access, judge_ledger, mebibytes, queue_bytes, values};
use crate::backend::Component;
use crate::client::load::{Batches, Load};
use crate::client::metrics::Scrape;
use crate::client::readback::read_back;
use crate::env::Env;
use crate::model::id::{SpanId, TraceId};
use crate::model::outcome::Outcome;
use crate::wait::{Look, wait_for};

/// The load before the outage and after it.
const CALM: Duration = Duration::from_secs(3);
/// How long Tempo is away.
const OUTAGE: Duration = Duration::from_secs(30);
/// How soon the backlog is to be gone once Tempo is back.
const DRAINED: Duration = Duration::from_secs(60);
const READY: Duration = Duration::from_secs(60);
/// Reading everything back, on a busy two-core machine.
const READ: Duration = Duration::from_secs(180);

pub(super) async fn run(env: &Env) -> Result<()> {
    let stack = env.ready_stack(values("{}")?).await?;
    let access = Access::new(stack.as_ref())?;
    let load = Load::start(access.sender.clone(), Batches::new(env.seed), env.cancel.clone());
    tokio::time::sleep(CALM).await;

    stack.stop_pod(Component::Tempo).await?;
    env.recorder.say(format!("Tempo is away for {} s", OUTAGE.as_secs()));
    tokio::time::sleep(OUTAGE).await;
    let backlog = queue_bytes(stack.as_ref()).await?;
    // Without a backlog there was no outage, and nothing below would prove anything.
    env.recorder.measure(
        "backlog at the end of the outage",
        mebibytes(backlog),
        "MiB",
        backlog > 0.0,
        "waiting in the Collector",
    );
    stack.start_pod(Component::Tempo).await?;
    stack.wait_ready(READY).await?;
    let back = Instant::now();
    tokio::time::sleep(CALM).await;
    let (mut ledger, pace) = load.stop().await?;
    env.recorder.measure(
        "load",
        pace.rate.round(),
        "spans/s",
        pace.skipped == 0,
        pace.to_string(),
    );

    let drained = wait_for("an empty queue", DRAINED * 2, &env.cancel, || async {
        let left = queue_bytes(stack.as_ref()).await?;
        Ok(if left > 0.0 {
            Look::NotYet(format!("{left} bytes"))
        } else {
            Look::Found(())
        })
    })
    .await;
    let took = back.elapsed();
    let detail = drained.as_ref().map_or_else(
        |e| format!("{e:#}"),
        |_| format!("of {DRAINED:?}, measured from Tempo's readiness"),
    );
    let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
    env.recorder.measure(
        "backlog drained",
        seconds,
        "s",
        drained.is_ok() && took < DRAINED,
        detail,
    );

    let read = read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    env.recorder.say(format!("read back {read}"));
    judge_ledger(env, "outage", &ledger)?;
    let unexpected = ledger.summary().unexpected;
    env.recorder.check(
        "no span came back that was not sent",
        unexpected == 0,
        format!("{unexpected} spans"),
    );
    // Had a span been lost, this would have said so.
    let never = (TraceId([0xab; 16]), SpanId([1; 8]));
    ledger.send_all(&[never]);
    ledger.settle(&Outcome::Acked { rejected_spans: 0 }, [never]);
    read_back(&access.tempo, &mut ledger, Duration::ZERO, &env.cancel).await?;
    let lost = ledger.lost();
    env.recorder.check(
        "a span that was never sent counts as lost",
        lost.iter().map(|l| (l.trace, l.span)).eq([never]),
        format!("{lost:?}"),
    );
    let scrape = Scrape::parse(&access.tempo.metrics().await?)?;
    let received = scrape.sum("tempo_distributor_spans_received_total", &[]);
    let discarded = scrape.sum("tempo_discarded_spans_total", &[]).unwrap_or(0.0);
    let detail = format!("of {} that Tempo received", received.unwrap_or(0.0));
    env.recorder.measure(
        "spans that Tempo discarded",
        discarded,
        "spans",
        discarded == 0.0 && received > Some(0.0),
        detail,
    );
    for component in Component::ALL {
        let memory = stack.memory(component).await?;
        let (peak, limit) = (mebibytes(memory.peak as f64), mebibytes(memory.limit as f64));
        env.recorder.measure(
            format!("peak memory of {component}"),
            peak,
            "MiB",
            peak < limit,
            format!("the limit is {limit} MiB"),
        );
        let crashes = stack.crashes(component).await?;
        env.recorder.check(
            format!("{component} never crashed"),
            crashes == 0,
            format!("{crashes} crashes"),
        );
    }
    env.finish(stack).await
}
