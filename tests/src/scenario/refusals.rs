//! `refusals`: input that no correct sender sends is refused or harmless, and never costs a good span.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Access, NO_UDP_ROUTE, UDP_ON, doors, judge_ledger, mebibytes, values};
use crate::backend::{Component, Stack};
use crate::client::load::Batches;
use crate::client::malformed::{self, Class, Input, PER_CLASS};
use crate::client::readback::read_back;
use crate::env::Env;
use crate::model::corpus::now_unix_nano;
use crate::model::ledger::Ledger;
use crate::model::outcome::Outcome;
use crate::report::Recorder;

/// No answer within this is no answer.
const ANSWER: Duration = Duration::from_secs(20);
const READ: Duration = Duration::from_secs(60);
const READY: Duration = Duration::from_secs(60);
/// The Collector's batches are cut after this long (chart, `flush_timeout`).
const BATCH: Duration = Duration::from_millis(200);

/// What became of the inputs of one class.
#[derive(Debug, Default)]
struct Tally {
    refused: u32,
    accepted: u32,
    wrong: Vec<String>,
    /// Not sent: there is no route to their receiver.
    skipped: u32,
}

impl Tally {
    /// What was sent is checked, what couldn't be is skipped.
    fn record(&self, recorder: &Recorder, class: Class) {
        let wrong = u32::try_from(self.wrong.len()).unwrap_or(u32::MAX);
        let sent = self.refused + self.accepted + wrong;
        let detail = if wrong == 0 {
            format!("{} refused, {} taken without harm", self.refused, self.accepted)
        } else {
            self.wrong.join("; ")
        };
        if sent > 0 {
            recorder.check(format!("{sent} inputs of class {class}"), wrong == 0, detail);
        }
        if self.skipped > 0 {
            let name = format!("{} inputs of class {class} over UDP", self.skipped);
            recorder.skip(name, NO_UDP_ROUTE);
        }
    }
}

pub(super) async fn run(env: &Env) -> Result<()> {
    let stack = env.ready_stack(values(UDP_ON)?).await?;
    let access = Access::new(stack.as_ref())?;
    let mut sent = Sent::new(env, &access, malformed::marker(env.seed));
    for class in Class::ALL {
        let mut tally = Tally::default();
        for number in 0..PER_CLASS {
            env.cancel.check()?;
            let input = Input::new(class, number, env.seed, now_unix_nano()?)?;
            sent.one(stack.as_ref(), &input, &mut tally).await?;
        }
        tally.record(&env.recorder, class);
        alive(env, stack.as_ref(), class).await?;
    }
    let Sent {
        mut ledger,
        late,
        requests: inputs,
        ..
    } = sent;
    // A busy machine may be late now and then; if it mostly were, nothing would have shared a batch.
    env.recorder.measure(
        "good spans that left later than 200 ms after their input",
        f64::from(late),
        "spans",
        u64::from(late) < inputs / 2,
        format!("of {inputs}; the others shared a batch with it"),
    );
    let read = read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    env.recorder.say(read.to_string());
    judge_ledger(env, "good spans beside malformed input", &ledger)?;
    for component in Component::ALL {
        let memory = stack.memory(component).await?;
        let (peak, limit) = (mebibytes(memory.peak as f64), mebibytes(memory.limit as f64));
        let name = format!("peak memory of {component}");
        env.recorder
            .measure(name, peak, "MiB", peak < limit, format!("the limit is {limit} MiB"));
    }
    crash(env, stack.as_ref(), &access).await?;
    env.finish(stack).await
}

/// The good spans that are sent beside the bad input.
struct Sent<'a> {
    env: &'a Env,
    access: &'a Access,
    batches: Batches,
    ledger: Ledger,
    requests: u64,
    late: u32,
}

impl<'a> Sent<'a> {
    fn new(env: &'a Env, access: &'a Access, marker: String) -> Sent<'a> {
        let batches = Batches {
            traces_per_request: 1,
            marker,
            ..Batches::new(env.seed)
        };
        let ledger = Ledger::new(&batches.marker);
        Sent {
            env,
            access,
            batches,
            ledger,
            requests: 0,
            late: 0,
        }
    }

    /// One input, and at once a good span after it: soon enough to be in the same batch.
    async fn one(&mut self, stack: &dyn Stack, input: &Input, tally: &mut Tally) -> Result<()> {
        let Some(to) = doors(stack)?.address(input.door) else {
            tally.skipped += 1;
            return Ok(());
        };
        let reply = input.send(to, ANSWER).await;
        let answered = std::time::Instant::now();
        match input.judge(&reply) {
            Ok(()) if reply.is_accepted() => tally.accepted += 1,
            Ok(()) => tally.refused += 1,
            Err(why) => tally.wrong.push(why),
        }
        if reply.is_accepted() {
            self.ledger.send_all(&input.neighbours);
            self.ledger
                .settle(&Outcome::Acked { rejected_spans: 0 }, input.neighbours.iter().copied());
        }
        let (traces, ids) = self.batches.request(self.requests, now_unix_nano()?);
        self.requests += 1;
        self.ledger.send_all(&ids);
        let outcome = self.access.sender.send(self.batches.door, &traces).await?;
        self.late += u32::from(answered.elapsed() > BATCH);
        if !outcome.is_acked() {
            self.env
                .recorder
                .check(format!("a good span after {input}"), false, outcome.to_string());
        }
        self.ledger.settle(&outcome, ids);
        Ok(())
    }
}

async fn alive(env: &Env, stack: &dyn Stack, class: Class) -> Result<()> {
    let mut crashes = BTreeMap::new();
    for component in Component::ALL {
        crashes.insert(component.label(), stack.crashes(component).await?);
    }
    let none = crashes.values().all(|n| *n == 0);
    env.recorder.check(
        format!("both programs outlive class {class}"),
        none,
        format!("crashes: {crashes:?}"),
    );
    Ok(())
}

/// A packet that crashes this Collector whatever the chart does: the crash costs nothing that was
/// acknowledged, and the Collector comes back by itself.
async fn crash(env: &Env, stack: &dyn Stack, access: &Access) -> Result<()> {
    let crashers = malformed::crashers();
    let crasher = crashers.first().context("there is a packet that crashes")?;
    let Some(to) = doors(stack)?.address(crasher.door) else {
        env.recorder.skip("a crash by a crafted UDP packet", NO_UDP_ROUTE);
        return Ok(());
    };
    let batches = Batches::new(env.seed.wrapping_add(1));
    let mut ledger = Ledger::new(&batches.marker);
    // Without Tempo, so that what is acknowledged is in the Collector's queue alone.
    stack.stop_pod(Component::Tempo).await?;
    for n in 0..10 {
        let (traces, ids) = batches.request(n, now_unix_nano()?);
        ledger.send_all(&ids);
        let outcome = access.sender.send(batches.door, &traces).await?;
        ledger.settle(&outcome, ids);
    }
    crasher.send(to, ANSWER).await;
    stack.start_pod(Component::Tempo).await?;
    // The crash follows the packet, but not at once.
    tokio::time::sleep(BATCH).await;
    stack.wait_ready(READY).await?;
    let crashes = stack.crashes(Component::OtelCollector).await?;
    let known = "a known defect of Collector 0.155.0: its Jaeger UDP ports don't recover from a panic";
    env.recorder.measured(
        "crashes of the Collector by a crafted UDP packet",
        f64::from(crashes),
        "crashes",
        known,
    );
    read_back(&access.tempo, &mut ledger, READ, &env.cancel).await?;
    judge_ledger(env, "after that crash", &ledger)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Status;

    #[test]
    fn what_was_not_sent_is_skipped_and_never_counted_as_passed() {
        let tally = Tally {
            refused: 17,
            skipped: 3,
            ..Tally::default()
        };
        let recorder = Recorder::new("refusals", true);
        tally.record(&recorder, Class::Cut);
        let checks = recorder.finish().checks;
        let seen: Vec<_> = checks.iter().map(|c| (c.name.as_str(), c.status)).collect();
        assert_eq!(
            seen,
            [
                ("17 inputs of class cut", Status::Passed),
                ("3 inputs of class cut over UDP", Status::Skipped)
            ]
        );
        let none = Recorder::new("refusals", true);
        let all_skipped = Tally {
            skipped: 20,
            ..Tally::default()
        };
        all_skipped.record(&none, Class::Cut);
        assert_eq!(none.finish().status, Status::Skipped);
    }
}
