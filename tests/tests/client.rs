//! The clients of the end-to-end harness against the real Tempo and Collector.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod stack;

use std::time::Duration;

use kit::step::Cancel;
use stack_tests::client::load::{Load, Plan};
use stack_tests::client::malformed::{self, Class, Input, PER_CLASS};
use stack_tests::client::readback::read_back;
use stack_tests::client::send::Sender;
use stack_tests::model::compare::compare;
use stack_tests::model::corpus::{Corpus, RESOURCE_MARKER, SPAN_MARKER, Sample, now_unix_nano};
use stack_tests::model::door::Door;
use stack_tests::model::expect::expected;
use stack_tests::model::id::{SpanId, TraceId};
use stack_tests::model::ledger::Ledger;
use stack_tests::model::outcome::Outcome;
use stack_tests::wait::{Look, wait_for};

use stack::{PATIENCE, Stack};

const SEED: u64 = 20;

/// Sends one sample through each door.
async fn send_samples(stack: &Stack, doors: &[Door]) -> Vec<(Door, Sample)> {
    let sender = Sender::new(&stack.doors, Duration::from_secs(10)).unwrap();
    let corpus = Corpus::from_now(SEED).unwrap();
    let mut samples = Vec::new();
    for (n, door) in (0..).zip(doors) {
        let sample = corpus.sample(n);
        let outcome = sender.send(*door, &sample.traces).await.unwrap();
        assert!(outcome.is_acked() || !door.acknowledges(), "{door}: {outcome}");
        samples.push((*door, sample));
    }
    samples
}

/// Reads each sample by id and compares it with what its door owes.
async fn check_samples(stack: &Stack, when: &str, samples: &[(Door, Sample)]) {
    let cancel = Cancel::default();
    for (door, sample) in samples {
        let spans = sample.span_ids().len();
        let trace = stack.tempo.wait_for_trace(sample.id, spans, PATIENCE, &cancel);
        let trace = trace
            .await
            .unwrap_or_else(|e| panic!("{door} {when}: {e:#}\n{}", stack.logs()));
        let report = compare(&expected(*door, &sample.traces), &trace.value);
        assert!(report.is_equal(), "{door} {when}:\n{}", report.summary());
        assert_eq!(report.compared, spans);
    }
}

/// At once, after the cut to the WAL, and after the block is in the backend and Tempo has restarted.
async fn come_back_three_times(doors: &[Door]) {
    let mut stack = Stack::start().await;
    let cancel = Cancel::default();
    let samples = send_samples(&stack, doors).await;
    check_samples(&stack, "in memory", &samples).await;
    for (door, sample) in &samples {
        for query in sample.queries() {
            // Search sees only what was cut to the WAL.
            let found = stack.tempo.wait_for_search(sample.id, &query, PATIENCE, &cancel).await;
            found.unwrap_or_else(|error| panic!("{door}: {error:#}"));
        }
    }
    check_samples(&stack, "in the WAL", &samples).await;
    stack.tempo.flush().await.unwrap();
    let blocks = stack.dir().join("tempo/blocks/single-tenant");
    wait_for("a block in the backend", PATIENCE, &cancel, async || {
        let blocks = std::fs::read_dir(&blocks)?.flatten();
        let complete = blocks.filter(|block| block.path().join("meta.json").exists()).count();
        Ok(if complete > 0 {
            Look::Found(())
        } else {
            Look::NotYet("no block".into())
        })
    })
    .await
    .unwrap();
    std::fs::remove_dir_all(stack.dir().join("tempo/wal")).unwrap();
    stack.restart_tempo().await;
    check_samples(&stack, "in the backend", &samples).await;
    assert!(stack.alive(), "{}", stack.logs());
}

#[tokio::test]
async fn every_otlp_door_brings_every_field_back() {
    come_back_three_times(&Door::OTLP).await;
}

#[tokio::test]
async fn every_jaeger_door_brings_back_what_its_model_carries() {
    let doors = Door::ALL.into_iter().filter(|door| !Door::OTLP.contains(door));
    come_back_three_times(&doors.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn tags_and_their_values_are_listed() {
    let stack = Stack::start().await;
    let samples = send_samples(&stack, &[Door::OtlpGrpc]).await;
    let marker = &samples[0].1.marker;
    let value = |tag: String| {
        let tempo = stack.tempo.clone();
        async move {
            wait_for(&tag.clone(), PATIENCE, &Cancel::default(), async || {
                let values = tempo.tag_values(&tag).await?;
                Ok(match values.iter().any(|v| v.value == *marker && v.kind == "string") {
                    true => Look::Found(()),
                    false => Look::NotYet(format!("{values:?}")),
                })
            })
            .await
        }
    };
    value(format!("span.{SPAN_MARKER}")).await.unwrap();
    value(format!("resource.{RESOURCE_MARKER}")).await.unwrap();
    let tags = stack.tempo.tags().await.unwrap();
    assert!(tags["span"].iter().any(|t| t == SPAN_MARKER), "{tags:?}");
    assert!(tags["resource"].iter().any(|t| t == RESOURCE_MARKER), "{tags:?}");
    assert_eq!(stack.tempo.echo().await.unwrap(), "echo");
    assert_eq!(stack.tempo.trace("1".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn every_span_of_a_load_is_read_back_and_a_missing_one_is_a_loss() {
    let stack = Stack::start().await;
    let cancel = Cancel::default();
    let sender = Sender::new(&stack.doors, Duration::from_secs(10)).unwrap();
    let load = Load::start(sender, Plan::new(SEED), cancel.clone());
    wait_for("2,000 spans", PATIENCE, &cancel, async || {
        let summary = load.ledger().summary();
        Ok(if summary.acked >= 2_000 {
            Look::Found(())
        } else {
            Look::NotYet(summary.to_string())
        })
    })
    .await
    .unwrap();
    let (mut ledger, pace) = load.stop().await.unwrap();
    assert_eq!(pace.skipped, 0, "{pace:?}");
    let report = read_back(&stack.tempo, &mut ledger, PATIENCE, &cancel).await.unwrap();
    let summary = ledger.summary();
    assert_eq!(
        (summary.lost, summary.unexpected),
        (0, 0),
        "{summary} {report:?} {:?}",
        ledger.reasons()
    );
    assert_eq!((summary.acked, summary.found), (summary.sent, summary.sent));

    // A span that nobody sent, said to be acknowledged.
    let missing = ("abc".parse::<TraceId>().unwrap(), SpanId([1; 8]));
    ledger.send(missing.0, [missing.1]);
    ledger.settle(&Outcome::Acked { rejected_spans: 0 }, [missing]);
    let deadline = Duration::from_millis(300);
    read_back(&stack.tempo, &mut ledger, deadline, &cancel).await.unwrap();
    let lost: Vec<_> = ledger.lost().into_iter().map(|lost| (lost.trace, lost.span)).collect();
    assert_eq!(lost, [missing]);
}

/// After each input good spans through a good door, soon enough to be in the same batch.
#[tokio::test]
async fn malformed_input_is_refused_or_harmless_and_its_neighbours_are_stored() {
    let mut stack = Stack::start().await;
    let cancel = Cancel::default();
    let sender = Sender::new(&stack.doors, Duration::from_secs(10)).unwrap();
    let plan = Plan {
        traces_per_request: 1,
        marker: malformed::marker(SEED),
        ..Plan::new(SEED)
    };
    let mut ledger = Ledger::new(&plan.marker);
    let mut wrong = Vec::new();
    let numbers = (0..PER_CLASS).flat_map(|n| Class::ALL.map(|class| (class, n)));
    for (n, (class, number)) in (0..).zip(numbers) {
        let input = Input::new(class, number, SEED, now_unix_nano().unwrap()).unwrap();
        let reply = input.send(&stack.doors, Duration::from_secs(10)).await;
        wrong.extend(input.judge(&reply).err());
        if reply.is_accepted() {
            ledger.send_all(&input.neighbours);
            ledger.settle(&Outcome::Acked { rejected_spans: 0 }, input.neighbours.iter().copied());
        }
        let (traces, ids) = plan.request(n, now_unix_nano().unwrap());
        ledger.send_all(&ids);
        let outcome = sender.send(plan.door, &traces).await.unwrap();
        ledger.settle(&outcome, ids);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(stack.alive(), "{}", stack.logs());
    let report = read_back(&stack.tempo, &mut ledger, PATIENCE, &cancel).await.unwrap();
    let summary = ledger.summary();
    assert_eq!(summary.lost, 0, "{summary}; {report}; {:?}", ledger.lost());
    // Every good span was taken, and neighbours of ten zero ids beside them.
    let good = u64::from(2 * 10 * PER_CLASS);
    assert!(summary.acked >= good + 3 * 10, "{summary}; {:?}", ledger.reasons());
}

#[tokio::test]
async fn a_packet_that_crashes_the_collector_loses_no_acknowledged_span() {
    let mut stack = Stack::start().await;
    let sender = Sender::new(&stack.doors, Duration::from_secs(10)).unwrap();
    let plan = Plan::new(SEED);
    let mut ledger = Ledger::new(&plan.marker);
    // Without Tempo, so that what was acknowledged is in the Collector's queue alone.
    stack.kill_tempo();
    for n in 0..10 {
        let (traces, ids) = plan.request(n, now_unix_nano().unwrap());
        ledger.send_all(&ids);
        let outcome = sender.send(plan.door, &traces).await.unwrap();
        ledger.settle(&outcome, ids);
    }
    assert_eq!(ledger.summary().acked, 1_000, "{:?}", ledger.reasons());
    let crasher = &malformed::crashers()[0];
    crasher.send(&stack.doors, Duration::from_secs(10)).await;
    stack.restart_after_a_crash().await;
    assert!(stack.logs().contains("panic: unsupported receiver"), "{}", stack.logs());
    let report = read_back(&stack.tempo, &mut ledger, PATIENCE, &Cancel::default()).await;
    assert_eq!(ledger.summary().lost, 0, "{report:?}");
}
