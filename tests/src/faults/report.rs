//! What a run of faults found, for people and, as JSON, for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Place, Recovers, Rights, Row};
use crate::model::ledger::Summary;

/// The outcome of `cargo xtask faults`, as `--report` writes it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `local`.
    pub backend: String,
    /// The version of each program that ran.
    pub versions: BTreeMap<String, String>,
    /// What all random choices were made from.
    pub seed: u64,
    /// Whether this is the short form.
    pub quick: bool,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// Faults that were proved to have happened.
    pub happened: usize,
    /// Faults that broke their promise, or were not proved to have happened.
    pub broken: usize,
    /// Faults that this machine can't make.
    pub skipped: usize,
    /// The faults, in the order of the table; empty for a soak.
    pub faults: Vec<FaultReport>,
    /// The soak; none for a run of single faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<SoakReport>,
}

/// How a fault ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It happened, and no more was lost than promised.
    Kept,
    /// More was lost than promised, it was not proved to have happened, or the stack didn't recover.
    Broken,
    /// This machine can't make it; `detail` says why.
    Skipped,
}

/// One fault.
#[derive(Debug, Clone, Serialize)]
pub struct FaultReport {
    /// Its name.
    pub name: String,
    /// What goes wrong.
    pub does: String,
    /// `local`, or why it can be made nowhere.
    pub place: Place,
    /// What it needs.
    pub rights: Rights,
    /// The promise in words.
    pub promise: String,
    /// Spans that may be lost; none if it was skipped.
    pub lost_at_most: Option<u64>,
    /// How it ended.
    pub status: Status,
    /// What shows that it happened; none if nothing did.
    pub proof: Option<String>,
    /// Why it is broken or skipped; empty if it was kept.
    pub detail: String,
    /// How long it took with its stack, in seconds.
    pub seconds: f64,
    /// What became of the spans; none if it was skipped or ended early.
    pub spans: Option<Spans>,
    /// From the request to being found by a search, of the spans that were found while the stack ran.
    pub late: Option<Late>,
    /// From the end of the fault to a stack that is ready and whose queues are empty, in seconds; none if it didn't.
    pub recovered_seconds: Option<f64>,
    /// How it got well again.
    pub recovers: Recovers,
}

/// What became of the spans of a load.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Spans {
    /// Spans that left.
    pub sent: u64,
    /// Of these, acknowledged by the Collector.
    pub acknowledged: u64,
    /// Refused by the Collector: the sender knows.
    pub refused: u64,
    /// Sent over a connection that broke, or without an answer in time.
    pub unknown: u64,
    /// Found at the end.
    pub found: u64,
    /// Acknowledged and not found.
    pub lost: u64,
    /// Found more than once.
    pub duplicates: u64,
}

impl From<Summary> for Spans {
    fn from(summary: Summary) -> Spans {
        Spans {
            sent: summary.sent,
            acknowledged: summary.acked,
            refused: summary.refused,
            unknown: summary.unknown,
            found: summary.found,
            lost: summary.lost,
            duplicates: summary.duplicates,
        }
    }
}

/// How late traces were found, in seconds after their request left. It was looked for them about every second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Late {
    /// Half of the traces were found within this time.
    pub median: f64,
    /// 99 of 100 were.
    pub p99: f64,
    /// All were.
    pub longest: f64,
}

/// The outcome of a soak.
#[derive(Debug, Clone, Serialize)]
pub struct SoakReport {
    /// How long the load lasted, in seconds.
    pub seconds: f64,
    /// Spans per second that left.
    pub rate: f64,
    /// Whether no more was lost than the faults may cost, each happened, the stack recovered and memory stayed flat.
    pub kept: bool,
    /// Why it wasn't kept.
    pub broken: Vec<String>,
    /// Spans that may be lost: the sum of what each fault may cost.
    pub lost_at_most: u64,
    /// What became of the spans.
    pub spans: Spans,
    /// How late they were found.
    pub late: Option<Late>,
    /// Traces found during the soak that were looked for again at its end, and those of them that were not there.
    pub checked_again: u64,
    /// See `checked_again`.
    pub gone: u64,
    /// The faults, in order.
    pub faults: Vec<SoakFault>,
    /// Resident memory by process.
    pub memory: Vec<MemoryTrend>,
}

/// A fault of a soak.
#[derive(Debug, Clone, Serialize)]
pub struct SoakFault {
    /// When, in seconds after the load began.
    pub at: f64,
    /// Its name.
    pub name: String,
    /// What shows that it happened; none if nothing did.
    pub proof: Option<String>,
    /// From its end to a stack that is ready and whose queues are empty, in seconds; none if it didn't.
    pub recovered_seconds: Option<f64>,
    /// Spans that it may cost.
    pub lost_at_most: u64,
    /// What went wrong; empty if nothing did.
    pub detail: String,
}

/// Resident memory of one pod's program, or of this harness.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryTrend {
    /// The pod's name, or `harness`.
    pub process: String,
    /// Seconds after the load began, and bytes.
    pub samples: Vec<(f64, u64)>,
    /// The median of the second quarter of the soak, in bytes: the first is for warming up.
    pub early: u64,
    /// The median of the last quarter, in bytes.
    pub late: u64,
    /// Whether the last quarter has at most a fifth and 16 MiB more than the second; none if the soak was too short
    /// to say.
    pub flat: Option<bool>,
}

impl FaultReport {
    /// A report of a fault of which nothing is known yet.
    pub(super) fn new(row: &Row) -> FaultReport {
        FaultReport {
            name: row.name.into(),
            does: row.does.into(),
            place: row.place,
            rights: row.rights,
            promise: row.promise.told(),
            lost_at_most: None,
            status: Status::Broken,
            proof: None,
            detail: String::new(),
            seconds: 0.0,
            spans: None,
            late: None,
            recovered_seconds: None,
            recovers: row.recovers,
        }
    }

    /// What is wrong, or shows that it happened.
    fn told(&self) -> &str {
        match self.status {
            Status::Kept => self.proof.as_deref().unwrap_or_default(),
            Status::Broken | Status::Skipped => &self.detail,
        }
    }
}

impl Report {
    /// Whether every promise was kept.
    pub fn kept(&self) -> bool {
        self.broken == 0 && self.soak.as_ref().is_none_or(|soak| soak.kept)
    }

    /// The names of the faults that broke their promise.
    pub fn broken_names(&self) -> Vec<&str> {
        let broken = self.faults.iter().filter(|fault| fault.status == Status::Broken);
        broken.map(|fault| fault.name.as_str()).collect()
    }

    /// The report for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        if !self.faults.is_empty() {
            self.faults_table(&mut text);
        }
        if let Some(soak) = &self.soak {
            soak.table(&mut text);
        }
        text
    }

    // Writing to a String can't fail.
    fn faults_table(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "{:<22} {:<8} {:>6} {:>6} {:>6} {:>7} {:>7} {:>10}  recovered",
            "fault", "promise", "acked", "lost", "of", "refused", "late", "in"
        );
        for fault in &self.faults {
            let status = match fault.status {
                Status::Kept => "kept",
                Status::Broken => "BROKEN",
                Status::Skipped => "skipped",
            };
            let _ = write!(text, "{:<22} {status:<8} ", fault.name);
            if let Some(spans) = &fault.spans {
                let late = fault.late.map_or("-".into(), |late| format!("{:.1} s", late.longest));
                let recovered = fault.recovered_seconds.map_or("-".into(), |s| format!("{s:.1} s"));
                let at_most = fault.lost_at_most.unwrap_or_default();
                let _ = writeln!(
                    text,
                    "{:>6} {:>6} {at_most:>6} {:>7} {late:>7} {recovered:>10}  {}",
                    spans.acknowledged,
                    spans.lost,
                    spans.refused,
                    fault.recovers.told()
                );
            } else {
                let _ = writeln!(text, "{}", fault.detail);
            }
        }
        let _ = writeln!(text);
        for fault in self.faults.iter().filter(|fault| fault.spans.is_some()) {
            let _ = writeln!(text, "{:<22} {}", fault.name, fault.told());
        }
        let _ = writeln!(
            text,
            "\n{} happened, {} broke a promise, {} skipped; seed {}, {:.0} s",
            self.happened, self.broken, self.skipped, self.seed, self.seconds
        );
    }
}

impl SoakReport {
    fn table(&self, text: &mut String) {
        for fault in &self.faults {
            let recovered = fault.recovered_seconds.map_or("-".into(), |s| format!("{s:.1} s"));
            let seen = match &fault.proof {
                Some(proof) if fault.detail.is_empty() => proof,
                _ => &fault.detail,
            };
            let _ = writeln!(
                text,
                "{:>6.0} s  {:<22} recovered in {recovered:>7}  {seen}",
                fault.at, fault.name
            );
        }
        let spans = &self.spans;
        let _ = writeln!(
            text,
            "\n{:.0} s at {:.0} spans/s: {} acknowledged, {} refused, {} not answered for, {} found, {} duplicates",
            self.seconds, self.rate, spans.acknowledged, spans.refused, spans.unknown, spans.found, spans.duplicates
        );
        let _ = writeln!(
            text,
            "{} acknowledged and lost, of {} that {} faults may cost; of {} traces checked again {} were gone",
            spans.lost,
            self.lost_at_most,
            self.faults.len(),
            self.checked_again,
            self.gone
        );
        if let Some(late) = self.late {
            let _ = writeln!(
                text,
                "found after {:.1} s in the median, {:.1} s in 99 of 100 cases, {:.1} s at most",
                late.median, late.p99, late.longest
            );
        }
        for trend in &self.memory {
            let flat = match trend.flat {
                Some(true) => "flat",
                Some(false) => "GROWS",
                None => "too short to say",
            };
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let _ = writeln!(
                text,
                "memory of {:<40} {:>6.0} MiB in the second quarter, {:>6.0} MiB in the last: {flat}",
                trend.process,
                mib(trend.early),
                mib(trend.late)
            );
        }
        for broken in &self.broken {
            let _ = writeln!(text, "BROKEN: {broken}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ALL;
    use super::*;

    #[test]
    fn the_table_says_what_was_lost_and_the_json_has_the_promised_keys() {
        let mut fault = FaultReport::new(&ALL[0]);
        fault.spans = Some(Spans {
            acknowledged: 9_000,
            lost: 7,
            ..Spans::default()
        });
        fault.detail = "7 lost".into();
        let report = Report {
            backend: "local".into(),
            versions: BTreeMap::new(),
            seed: 5,
            quick: true,
            seconds: 1.0,
            happened: 1,
            broken: 1,
            skipped: 0,
            faults: vec![fault],
            soak: None,
        };
        assert!(!report.kept());
        assert_eq!(report.broken_names(), [ALL[0].name]);
        let table = report.table();
        assert!(
            table.contains("BROKEN") && table.contains("7 lost") && table.contains("seed 5"),
            "{table}"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["faults"][0]["status"], "broken");
        assert_eq!(json["faults"][0]["place"], "local");
        assert_eq!(json["faults"][0]["spans"]["lost"], 7);
        assert!(json.get("soak").is_none());
    }
}
