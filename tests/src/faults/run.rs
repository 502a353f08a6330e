//! One fault after the other, each on a stack of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::failure::Failure;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::inject::{Injection, Site};
use super::report::{FaultReport, Report, Status};
use super::track::{Found, Outcome, Tracker};
use super::{Place, Rights, Row, Setup};
use crate::backend::StackSpec;
use crate::client::engine::tempo_config;
use crate::client::load::{Batches, Load};
use crate::client::readback::read_back;
use crate::env::{Env, Shared};
use crate::scenario::stores::store::{Example, SECRET_KEY};
use crate::scenario::{Access, drained, values};
use crate::wait::{Look, cancelled, wait_for};

/// A start of the stack on a busy two-core machine, and a program that was killed.
pub(super) const READY: Duration = Duration::from_secs(90);
/// The load before the fault, and after the stack is well again.
const CALM: Duration = Duration::from_secs(3);
/// So much longer it is before the fault, at random, so that it meets other moments.
const JITTER: Duration = Duration::from_secs(2);
/// How long it may take until something shows that a fault happened.
pub(super) const PROVED: Duration = Duration::from_secs(60);
/// How long it may take until what the fault broke works again, beside programs that are ready.
const WELL: Duration = Duration::from_secs(180);
/// How long what is missing is looked for at the end.
const READ: Duration = Duration::from_secs(90);
/// The same where some may be lost: what isn't found within this time after the queue is empty won't come.
const READ_LOSS: Duration = Duration::from_secs(20);
/// No fault takes this long; one that does hangs.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// What to run.
pub struct Plan {
    /// The faults, in order.
    pub rows: Vec<&'static Row>,
    /// Whether this is the short form, which holds each fault for less time.
    pub quick: bool,
}

/// Makes each fault on a stack of its own, one after the other. On Ctrl-C what is dropped is stopped, and what was
/// found so far is reported.
pub async fn run(shared: &Arc<Shared>, plan: &Plan) -> Result<Report> {
    let begun = Instant::now();
    let mut faults = Vec::new();
    for row in &plan.rows {
        if shared.cancel.is_cancelled() {
            break;
        }
        faults.push(one(shared, row, plan.quick).await);
    }
    Ok(Report {
        backend: shared.backend.name().into(),
        versions: shared.backend.versions(),
        seed: shared.seed,
        quick: plan.quick,
        seconds: begun.elapsed().as_secs_f64(),
        happened: faults.iter().filter(|fault| fault.proof.is_some()).count(),
        broken: faults.iter().filter(|fault| fault.status == Status::Broken).count(),
        skipped: faults.iter().filter(|fault| fault.status == Status::Skipped).count(),
        faults,
        soak: None,
    })
}

async fn one(shared: &Arc<Shared>, row: &Row, quick: bool) -> FaultReport {
    let mut report = FaultReport::new(row);
    let begun = Instant::now();
    if let Some(reason) = cannot(shared, row) {
        report.status = Status::Skipped;
        report.detail = reason;
        return report;
    }
    let env = Env::new(row.name, shared);
    env.forget_evidence();
    let drive = drive(&env, row, quick, &mut report);
    let outcome = tokio::select! {
        outcome = drive => outcome,
        () = cancelled(&env.cancel) => Err(Failure::interrupted()),
        () = tokio::time::sleep(LIMIT) => Err(anyhow::anyhow!("stopped after {} s", LIMIT.as_secs())),
    };
    match outcome {
        Ok(()) => report.status = Status::Kept,
        Err(error) => report.detail = format!("{error:#}"),
    }
    report.seconds = begun.elapsed().as_secs_f64();
    env.recorder
        .check(row.promise.told(), report.status == Status::Kept, verdict(&report));
    if !env.cancel.is_cancelled() {
        if env.recorder.failed() {
            env.tell_evidence().await;
        }
        env.clean_up().await;
    }
    report
}

/// Why a fault can't be made here; none if it can.
pub(super) fn cannot(shared: &Shared, row: &Row) -> Option<String> {
    match (row.place, row.rights) {
        (Place::Nowhere(reason), _) => Some(reason.into()),
        (Place::Local, _) if shared.backend.name() != "local" => Some("made with --backend local".into()),
        (Place::Local, Rights::User) => None,
        (Place::Local, Rights::Mount) => shared.backend.volumes_are_unlimited(),
    }
}

async fn drive(env: &Env, row: &Row, quick: bool, report: &mut FaultReport) -> Result<()> {
    let mut random = StdRng::seed_from_u64(env.seed);
    let mut site = site(env, &row.setup, random.random()).await?;
    let load = Load::start(
        site.access.sender.clone(),
        batches(&row.setup, env.seed),
        env.cancel.clone(),
    );
    let tracker = Tracker::start(&load, &site.access.tempo, Found::Kept, env.seed, &env.cancel);
    tokio::time::sleep(CALM + JITTER.mul_f64(random.random())).await;

    let mut injection = row.make.context("it can't be made")?();
    let hold = if quick { row.setup.hold / 2 } else { row.setup.hold };
    let made = make(&mut site, injection.as_mut(), hold, report).await;
    tokio::time::sleep(CALM).await;
    let (_, pace) = load.stop().await?;
    made?;
    if pace.skipped > 0 {
        env.recorder.say(format!(
            "{} spans were due and not sent: too many were unanswered",
            pace.skipped
        ));
    }
    drained(env, site.stack.as_ref()).await?;
    let bound = row.promise.at_most(row.setup.rate, injection.destroyed());
    report.lost_at_most = Some(bound);
    let read = if bound > 0 { READ_LOSS } else { READ };
    let Outcome {
        mut summary,
        late,
        ledger,
        ..
    } = tracker.finish(read).await?;
    for mut ledger in std::mem::take(&mut site.ledgers) {
        read_back(&site.access.tempo, &mut ledger, read, &env.cancel).await?;
        summary.add(&ledger.summary());
    }
    let lost = serde_json::to_string_pretty(&(&summary, ledger.lost())).context("writing JSON")?;
    env.evidence("ledger.json", lost);
    report.late = late;
    let (sent, acked, lost) = (summary.sent, summary.acked, summary.lost);
    let left = (pace.rate * pace.seconds).floor() as u64;
    report.spans = Some(summary.into());
    anyhow::ensure!(acked > 0, "no span was acknowledged, which proves nothing");
    anyhow::ensure!(
        sent >= left,
        "the ledger has {sent} of {left} spans that left: it proves nothing"
    );
    anyhow::ensure!(lost <= bound, "{lost} acknowledged spans were lost, of at most {bound}");
    Ok(())
}

/// Makes the fault, waits for what shows it, ends it, and waits until the stack is well again.
async fn make(
    site: &mut Site<'_>,
    injection: &mut dyn Injection,
    hold: Duration,
    report: &mut FaultReport,
) -> Result<()> {
    let made = happen(site, injection, hold).await?;
    report.proof = made.proof.as_ref().ok().cloned();
    if let Some(proof) = &report.proof {
        site.env.recorder.say(proof);
    }
    let recovered = recovered(site, injection, made.ended).await;
    report.recovered_seconds = recovered.as_ref().ok().copied();
    made.proof.context("nothing shows that it happened")?;
    recovered.context("the stack didn't recover")?;
    Ok(())
}

/// A fault that was made and ended.
pub(super) struct Made {
    /// What shows that it happened; an error if nothing did in time.
    pub proof: Result<String>,
    /// When it ended.
    pub ended: Instant,
}

/// Makes the fault, waits for what shows it, holds it, and ends it.
pub(super) async fn happen(site: &mut Site<'_>, injection: &mut dyn Injection, hold: Duration) -> Result<Made> {
    let mut ended = Instant::now();
    injection.inject(site).await?;
    let (cancel, by_itself) = (site.env.cancel.clone(), injection.ends_at_once());
    let mut last = String::new();
    let deadline = Instant::now() + PROVED;
    let mut proof = loop {
        cancel.check()?;
        match injection.proof(site).await {
            Ok(Some(proof)) => break Ok(proof),
            Ok(None) => {}
            Err(error) => last = format!("{error:#}"),
        }
        if Instant::now() > deadline {
            break Err(anyhow::anyhow!("not within {} s: {last}", PROVED.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    if !by_itself {
        if proof.is_ok() {
            tokio::time::sleep(hold).await;
            // By now there is more to say.
            if let Ok(Some(more)) = injection.proof(site).await {
                proof = Ok(more);
            }
        }
        injection.heal(site).await?;
        ended = Instant::now();
    }
    Ok(Made { proof, ended })
}

/// Waits until every program is ready, no queue holds anything and what the fault broke is well; says how long that
/// took, in seconds.
pub(super) async fn recovered(site: &Site<'_>, injection: &dyn Injection, since: Instant) -> Result<f64> {
    // A program that ends while it starts is started again, after a pause that grows.
    wait_for("every program ready", READY, &site.env.cancel, || async {
        site.stack.wait_ready(Duration::ZERO).await.map(Look::Found)
    })
    .await?;
    drained(site.env, site.stack.as_ref()).await?;
    wait_for("what the fault broke", WELL, &site.env.cancel, || async {
        Ok(match injection.well(site).await? {
            true => Look::Found(()),
            false => Look::NotYet("not well".into()),
        })
    })
    .await?;
    Ok(since.elapsed().as_secs_f64())
}

/// A stack that is ready, and what belongs to it.
pub(super) async fn site<'a>(env: &'a Env, setup: &Setup, seed: u64) -> Result<Site<'a>> {
    let mut all = values(setup.values)?;
    let mut spec = StackSpec::new(all.clone());
    let mut store = None;
    if setup.store {
        let example = Example::read(env)?;
        let server = example.server(env).await?;
        let mut with_store = example.values(server.as_ref(), &example.bucket)?;
        let blocks = env.engine()?.short_blocks(setup.block_seconds);
        charts::render::merge(&mut with_store, tempo_config(&blocks)?);
        charts::render::merge(&mut with_store, std::mem::take(&mut all));
        spec = example.spec(with_store, SECRET_KEY);
        store = Some(server);
    }
    spec.volume_bytes = setup.tempo_volume;
    spec.queue_bytes = setup.queue_disk;
    let stack = env.start(&spec).await?;
    stack.wait_ready(READY).await?;
    Ok(Site {
        access: Access::new(stack.as_ref())?,
        env,
        stack,
        store,
        rate: setup.rate,
        random: StdRng::seed_from_u64(seed),
        ledgers: Vec::new(),
    })
}

pub(super) fn batches(setup: &Setup, seed: u64) -> Batches {
    Batches {
        rate: setup.rate,
        payload_bytes: setup.payload,
        // Traces of two spans, some ten requests a second.
        traces_per_request: (setup.rate / 20).max(1),
        ..Batches::new(seed)
    }
}

fn verdict(report: &FaultReport) -> String {
    let lost = report.spans.as_ref().map_or_else(String::new, |spans| {
        format!(
            "{} lost of {} acknowledged, {} refused; ",
            spans.lost, spans.acknowledged, spans.refused
        )
    });
    let recovered = report.recovered_seconds.map_or_else(String::new, |seconds| {
        format!("recovered in {seconds:.1} s, {}; ", report.recovers.told())
    });
    format!("{lost}{recovered}{}", report.detail)
        .trim_end_matches("; ")
        .to_owned()
}
