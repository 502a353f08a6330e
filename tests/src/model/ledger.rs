//! What became of every span that was sent.
//!
//! Loss is what was acknowledged and isn't found. A span that was refused, or of which nobody knows,
//! may be absent; a span that is found twice was delivered at least once.

use std::collections::HashMap;
use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::model::id::{SpanId, TraceId};
use crate::model::outcome::Outcome;

/// What the sender knows of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Handed over, without an answer yet; what UDP stays at.
    Sent,
    Acked,
    /// The receiver didn't take it.
    Refused,
    /// The connection broke, or the answer was late or ambiguous.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    span: SpanId,
    state: State,
    /// When its request left, in milliseconds after the ledger was opened.
    sent_ms: u32,
    found: u32,
}

/// Every span that was sent, by trace and span id.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    marker: String,
    opened: Instant,
    opened_unix_ms: u64,
    traces: HashMap<TraceId, Vec<Entry>>,
    /// Spans that came back and were never sent, by trace.
    unexpected: HashMap<TraceId, u64>,
}

/// A span that was acknowledged and isn't found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Lost {
    /// When its request left, in milliseconds after the ledger was opened.
    pub sent_ms: u32,
    pub trace: TraceId,
    pub span: SpanId,
}

/// The ledger in numbers of spans.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    /// Handed over in any way.
    pub sent: u64,
    pub acked: u64,
    /// The receiver didn't take them.
    pub refused: u64,
    /// Nobody knows.
    pub unknown: u64,
    /// Found at least once.
    pub found: u64,
    /// Acknowledged and not found.
    pub lost: u64,
    /// Found more than once.
    pub duplicates: u64,
    /// Found and never sent.
    pub unexpected: u64,
}

impl Ledger {
    /// An empty ledger, opened now, for spans whose attribute
    /// [`SPAN_MARKER`](crate::model::corpus::SPAN_MARKER) is `marker`.
    pub fn new(marker: impl Into<String>) -> Ledger {
        Ledger {
            marker: marker.into(),
            opened: Instant::now(),
            opened_unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
            traces: HashMap::new(),
            unexpected: HashMap::new(),
        }
    }

    /// The marker of all its spans, by which a search finds them.
    pub fn marker(&self) -> &str {
        &self.marker
    }

    /// Milliseconds since the ledger was opened.
    pub(crate) fn now_ms(&self) -> u32 {
        u32::try_from(self.opened.elapsed().as_millis()).unwrap_or(u32::MAX)
    }

    /// Writes down that spans of a trace leave now.
    pub fn send(&mut self, trace: TraceId, spans: impl IntoIterator<Item = SpanId>) {
        let sent_ms = self.now_ms();
        let entries = spans.into_iter().map(|span| Entry {
            span,
            state: State::Sent,
            sent_ms,
            found: 0,
        });
        self.traces.entry(trace).or_default().extend(entries);
    }

    /// Writes down that these spans leave now.
    pub(crate) fn send_all(&mut self, spans: &[(TraceId, SpanId)]) {
        for (trace, span) in spans {
            self.send(*trace, [*span]);
        }
    }

    /// Writes down what became of spans. A partial success leaves all spans of its request unknown,
    /// because it doesn't say which of them were rejected.
    pub(crate) fn settle(&mut self, outcome: &Outcome, spans: impl IntoIterator<Item = (TraceId, SpanId)>) {
        let state = match outcome {
            Outcome::Acked { rejected_spans: 0 } => State::Acked,
            Outcome::Acked { .. } | Outcome::Unknown { .. } => State::Unknown,
            Outcome::Sent => State::Sent,
            Outcome::Refused { .. } => State::Refused,
        };
        for (trace, span) in spans {
            let entries = self.traces.get_mut(&trace).into_iter().flatten();
            for entry in entries.filter(|entry| entry.span == span) {
                entry.state = state;
            }
        }
    }

    /// Writes down which spans of a trace came back, instead of what was found of it before.
    pub fn find(&mut self, trace: TraceId, found: &[SpanId]) {
        // A trace that isn't written down here has no span that was sent.
        let entries = self.traces.get_mut(&trace).map_or(&mut [][..], Vec::as_mut_slice);
        for entry in entries.iter_mut() {
            let times = found.iter().filter(|span| **span == entry.span).count();
            entry.found = u32::try_from(times).unwrap_or(u32::MAX);
        }
        let strange = found.iter().filter(|span| entries.iter().all(|e| e.span != **span));
        self.unexpected.insert(trace, strange.count() as u64);
    }

    /// The traces of which an acknowledged span isn't found, with the time at which their requests left
    /// in milliseconds since 1970, in that order.
    pub(crate) fn incomplete(&self) -> Vec<(u64, TraceId)> {
        let traces = self.traces.iter().filter_map(|(trace, entries)| {
            let lost = entries.iter().find(|entry| entry.is_lost())?;
            Some((self.opened_unix_ms + u64::from(lost.sent_ms), *trace))
        });
        let mut traces: Vec<_> = traces.collect();
        traces.sort_unstable();
        traces
    }

    /// Takes out the traces whose spans were all answered for: their requests are over.
    pub(crate) fn take_settled(&mut self) -> Ledger {
        self.take(|_, entries| entries.iter().all(|entry| entry.state != State::Sent))
    }

    /// Takes out the traces of which nothing is missing: what was refused or never answered for isn't waited for.
    pub(crate) fn take_complete(&mut self) -> Ledger {
        self.take(|_, entries| !entries.iter().any(Entry::is_lost))
    }

    /// Takes out these traces.
    pub(crate) fn take_those(&mut self, which: impl Fn(TraceId) -> bool) -> Ledger {
        self.take(|trace, _| which(trace))
    }

    fn take(&mut self, which: impl Fn(TraceId, &[Entry]) -> bool) -> Ledger {
        let mut taken = self.empty();
        taken.traces = self
            .traces
            .extract_if(|trace, entries| which(*trace, entries))
            .collect();
        // What comes back of a trace that was taken out before isn't unexpected.
        self.unexpected.clear();
        taken
    }

    /// A ledger without a span that counts time as this one does.
    pub(crate) fn empty(&self) -> Ledger {
        Ledger {
            traces: HashMap::new(),
            unexpected: HashMap::new(),
            marker: self.marker.clone(),
            ..*self
        }
    }

    /// Takes over a copy of the traces of another ledger that left between two times, in milliseconds after that was
    /// opened.
    pub(crate) fn copy_sent_between(&mut self, other: &Ledger, from: u32, to: u32) {
        let between = |entries: &[Entry]| entries.iter().all(|entry| (from..to).contains(&entry.sent_ms));
        let those = other.traces.iter().filter(|(_, entries)| between(entries));
        self.traces
            .extend(those.map(|(trace, entries)| (*trace, entries.clone())));
    }

    /// Takes over the spans of a ledger that was taken from this one.
    pub(crate) fn absorb(&mut self, other: Ledger) {
        self.traces.extend(other.traces);
    }

    /// Forgets what was found, so that all of it is looked for again.
    pub(crate) fn forget_found(&mut self) {
        self.unexpected.clear();
        for entry in self.traces.values_mut().flatten() {
            entry.found = 0;
        }
    }

    /// Each trace with an acknowledged span, and when its first request left, in milliseconds after the ledger was
    /// opened.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = (TraceId, u32)> {
        self.traces.iter().filter_map(|(trace, entries)| {
            let acked = entries.iter().filter(|entry| entry.state == State::Acked);
            acked.map(|entry| entry.sent_ms).min().map(|sent_ms| (*trace, sent_ms))
        })
    }

    /// The spans that were acknowledged and not found, in the order in which they were sent.
    pub fn lost(&self) -> Vec<Lost> {
        let lost = self.entries().filter(|(_, entry)| entry.is_lost());
        let mut lost: Vec<_> = lost
            .map(|(trace, entry)| Lost {
                sent_ms: entry.sent_ms,
                trace,
                span: entry.span,
            })
            .collect();
        lost.sort_unstable();
        lost
    }

    /// The longest time in which nothing left that was acknowledged, in milliseconds.
    pub(crate) fn longest_gap_ms(&self) -> u32 {
        let mut sent: Vec<u32> = self
            .entries()
            .filter(|(_, entry)| entry.state == State::Acked)
            .map(|(_, entry)| entry.sent_ms)
            .collect();
        sent.sort_unstable();
        sent.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    fn entries(&self) -> impl Iterator<Item = (TraceId, &Entry)> {
        let traces = self.traces.iter();
        traces.flat_map(|(trace, entries)| entries.iter().map(|entry| (*trace, entry)))
    }

    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            unexpected: self.unexpected.values().sum(),
            ..Summary::default()
        };
        for (_, entry) in self.entries() {
            summary.sent += 1;
            summary.acked += u64::from(entry.state == State::Acked);
            summary.refused += u64::from(entry.state == State::Refused);
            summary.unknown += u64::from(entry.state == State::Unknown);
            summary.found += u64::from(entry.found > 0);
            summary.lost += u64::from(entry.is_lost());
            summary.duplicates += u64::from(entry.found > 1);
        }
        summary
    }
}

impl Summary {
    /// Counts another ledger's spans as well.
    pub(crate) fn add(&mut self, other: &Summary) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.found += other.found;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.unexpected += other.unexpected;
    }

    /// The verdict: nothing that was acknowledged is missing. A ledger without an acknowledged span proves
    /// nothing.
    pub(crate) fn proves_no_loss(&self) -> bool {
        self.lost == 0 && self.acked > 0
    }
}

impl Entry {
    fn is_lost(&self) -> bool {
        self.state == State::Acked && self.found == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            sent,
            acked,
            refused,
            unknown,
            found,
            lost,
            duplicates,
            unexpected,
        } = self;
        write!(
            f,
            "{sent} spans sent: {acked} acked, {refused} refused, {unknown} unknown; \
             {found} found, {lost} acked and lost, {duplicates} duplicated, {unexpected} unexpected"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACKED: Outcome = Outcome::Acked { rejected_spans: 0 };

    fn trace(n: u8) -> TraceId {
        TraceId([n; 16])
    }

    fn span(n: u8) -> SpanId {
        SpanId([n; 8])
    }

    #[test]
    fn loss_is_what_was_acked_and_is_not_found() {
        let mut ledger = Ledger::new("test");
        ledger.send(trace(1), (1..=5).map(span));
        let refused = Outcome::Refused {
            code: "503".into(),
            reason: "full".into(),
        };
        let unknown = Outcome::Unknown { reason: "broke".into() };
        ledger.settle(&ACKED, [(trace(1), span(1)), (trace(1), span(2))]);
        ledger.settle(&refused, [(trace(1), span(3))]);
        ledger.settle(&unknown, [(trace(1), span(4))]);
        ledger.find(trace(1), &[span(1)]);
        let summary = ledger.summary();
        assert_eq!(
            (
                summary.sent,
                summary.acked,
                summary.refused,
                summary.unknown,
                summary.lost
            ),
            (5, 2, 1, 1, 1)
        );
        assert_eq!(ledger.lost()[0].span, span(2));
        assert_eq!(ledger.incomplete().len(), 1);
        assert!(!summary.proves_no_loss());
        ledger.find(trace(1), &[span(1), span(2)]);
        assert!(ledger.summary().proves_no_loss());
        assert!(
            !Ledger::new("test").summary().proves_no_loss(),
            "nothing was acknowledged"
        );
    }

    #[test]
    fn a_span_of_the_same_id_in_another_trace_does_not_count_as_found() {
        let mut ledger = Ledger::new("test");
        ledger.send(trace(1), [span(1)]);
        ledger.settle(&ACKED, [(trace(1), span(1))]);
        ledger.find(trace(2), &[span(1)]);
        assert_eq!((ledger.summary().lost, ledger.summary().unexpected), (1, 1));
    }

    #[test]
    fn a_span_found_twice_is_a_duplicate_and_no_loss() {
        let mut ledger = Ledger::new("test");
        ledger.send(trace(1), [span(1)]);
        ledger.settle(&ACKED, [(trace(1), span(1))]);
        ledger.find(trace(1), &[span(1), span(1)]);
        let summary = ledger.summary();
        assert_eq!((summary.found, summary.duplicates, summary.lost), (1, 1, 0));
        // Read again: what was found before doesn't count twice.
        ledger.find(trace(1), &[span(1)]);
        assert_eq!((ledger.summary().duplicates, ledger.incomplete()), (0, vec![]));
        ledger.find(trace(1), &[]);
        assert_eq!(ledger.summary().lost, 1);
    }

    #[test]
    fn what_is_taken_out_of_a_ledger_is_counted_once_and_stays_missing_until_it_is_found() {
        let mut ledger = Ledger::new("test");
        for n in 1..=3 {
            ledger.send(trace(n), [span(n)]);
        }
        ledger.settle(&ACKED, [(trace(1), span(1)), (trace(2), span(2))]);
        let mut settled = ledger.take_settled();
        assert_eq!((settled.summary().acked, ledger.summary().sent), (2, 1));
        settled.find(trace(1), &[span(1)]);
        let mut complete = settled.take_complete();
        assert_eq!((complete.summary().found, settled.summary().lost), (1, 1));
        // A search for the one finds the other as well, which was taken out.
        settled.find(trace(1), &[span(1)]);
        assert_eq!(settled.take_complete().summary().sent, 0);
        complete.absorb(settled);
        assert_eq!((complete.summary().found, complete.summary().lost), (1, 1));
        complete.forget_found();
        assert_eq!(complete.summary().lost, 2);
        assert_eq!(complete.acknowledged().count(), 2);
    }

    #[test]
    fn a_gap_is_between_requests_that_were_acknowledged() {
        let mut ledger = Ledger::new("test");
        for (n, sent_ms) in [(1, 100), (2, 150), (3, 400), (4, 450)] {
            ledger.send(trace(n), [span(n)]);
            ledger.traces.get_mut(&trace(n)).unwrap()[0].sent_ms = sent_ms;
            if n != 2 {
                ledger.settle(&ACKED, [(trace(n), span(n))]);
            }
        }
        assert_eq!(ledger.longest_gap_ms(), 300);
    }

    #[test]
    fn a_partial_success_acks_nothing_for_certain() {
        let mut ledger = Ledger::new("test");
        ledger.send(trace(1), [span(1), span(2)]);
        ledger.settle(
            &Outcome::Acked { rejected_spans: 1 },
            [(trace(1), span(1)), (trace(1), span(2))],
        );
        assert_eq!((ledger.summary().acked, ledger.summary().unknown), (0, 2));
    }
}
