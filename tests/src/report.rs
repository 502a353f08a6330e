//! What a run found: checks, scenarios, and the files that other programs read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::progress::say;
use kit::whole_file::{self, Mode};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

/// How a check or a scenario ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It held.
    Passed,
    /// It did not hold.
    Failed,
    /// It could not be asked on this backend; the detail says why.
    Skipped,
    /// A number that nobody judges: it can't fail.
    Measured,
}

/// One thing that was asked of the stack, or measured of it.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was asked.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// What was seen.
    pub detail: String,
    /// What was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The unit of `value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl Check {
    /// The value with its unit, and the detail.
    fn seen(&self) -> String {
        let value = self.value.zip(self.unit.as_ref());
        let value = value.map(|(value, unit)| format!("{value} {unit}")).unwrap_or_default();
        let parts = [value.as_str(), &self.detail];
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// One scenario's outcome.
#[derive(Debug, Clone, Serialize)]
pub struct ScenarioReport {
    /// The scenario.
    pub name: String,
    /// What it proves, in one line; empty if it wasn't started.
    pub proves: &'static str,
    /// Failed if one check failed, skipped if none passed, else passed.
    pub status: Status,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Its checks and measurements, in order.
    pub checks: Vec<Check>,
}

impl ScenarioReport {
    fn count(&self, which: impl Fn(Status) -> bool) -> usize {
        self.checks.iter().filter(|check| which(check.status)).count()
    }

    /// `12 checks, 3 measurements`; what was skipped is neither, and is named if there is any.
    pub fn counts(&self) -> String {
        let skipped = match self.count(|status| status == Status::Skipped) {
            0 => String::new(),
            skipped => format!(", {skipped} skipped"),
        };
        counted(self.count(judged), self.count(|status| status == Status::Measured)) + &skipped
    }
}

fn judged(status: Status) -> bool {
    matches!(status, Status::Passed | Status::Failed)
}

fn counted(checks: usize, measurements: usize) -> String {
    let s = |n| if n == 1 { "" } else { "s" };
    format!(
        "{checks} check{}, {measurements} measurement{}",
        s(checks),
        s(measurements)
    )
}

/// The outcome of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `local`, `kind`, `context`.
    pub backend: String,
    /// The version of each program that ran.
    pub versions: BTreeMap<String, String>,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// Scenarios that passed.
    pub passed: usize,
    /// Scenarios that failed.
    pub failed: usize,
    /// Scenarios that were skipped.
    pub skipped: usize,
    /// Checks that passed or failed, of all scenarios.
    pub checks: usize,
    /// Numbers that nobody judged.
    pub measurements: usize,
    /// The scenarios, in the order of `--list`.
    pub scenarios: Vec<ScenarioReport>,
}

impl Report {
    /// Counts the scenarios.
    pub fn new(
        backend: &str,
        versions: BTreeMap<String, String>,
        elapsed: Duration,
        scenarios: Vec<ScenarioReport>,
    ) -> Report {
        let count = |status| scenarios.iter().filter(|s| s.status == status).count();
        Report {
            backend: backend.to_owned(),
            versions,
            seconds: rounded(elapsed),
            passed: count(Status::Passed),
            failed: count(Status::Failed),
            skipped: count(Status::Skipped),
            checks: scenarios.iter().map(|s| s.count(judged)).sum(),
            measurements: scenarios
                .iter()
                .map(|s| s.count(|status| status == Status::Measured))
                .sum(),
            scenarios,
        }
    }

    /// The report of a run that ended before its first scenario: all of them failed, for this reason.
    pub fn not_started<'a>(
        backend: &str,
        versions: BTreeMap<String, String>,
        elapsed: Duration,
        scenarios: impl IntoIterator<Item = &'a str>,
        why: &str,
    ) -> Report {
        let failed = scenarios.into_iter().map(|name| ScenarioReport {
            name: name.to_owned(),
            proves: "",
            status: Status::Failed,
            seconds: 0.0,
            checks: vec![Check {
                name: "run".into(),
                status: Status::Failed,
                detail: why.to_owned(),
                value: None,
                unit: None,
            }],
        });
        Report::new(backend, versions, elapsed, failed.collect())
    }

    /// `8 passed, 0 failed, 0 skipped`.
    pub fn summary(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }

    /// `118 checks, 14 measurements`.
    pub fn counts(&self) -> String {
        counted(self.checks, self.measurements)
    }

    /// Writes the report as JUnit XML: a suite a scenario, a case a check, a property a measurement.
    pub fn write_junit(&self, file: &Path) -> Result<()> {
        let mut report = quick_junit::Report::new(format!("tempo-stack e2e {}", self.backend));
        for scenario in &self.scenarios {
            let mut suite = TestSuite::new(scenario.name.as_str());
            suite.set_time(Duration::from_secs_f64(scenario.seconds));
            for check in &scenario.checks {
                let mut status = match check.status {
                    Status::Measured => {
                        suite.add_property((check.name.as_str(), check.seen().as_str()));
                        continue;
                    }
                    Status::Passed => TestCaseStatus::success(),
                    Status::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
                    Status::Skipped => TestCaseStatus::skipped(),
                };
                status.set_message(check.detail.as_str());
                let mut case = TestCase::new(check.name.as_str(), status);
                case.set_classname(scenario.name.as_str());
                suite.add_test_case(case);
            }
            report.add_test_suite(suite);
        }
        let text = report.to_string().context("writing JUnit XML")?;
        whole_file::write(file, text, Mode::Everybody)
    }
}

/// Makes sure, before a long run, that its report can be written here afterwards, and removes an
/// earlier run's, which would be taken for this one's if this one is killed.
pub fn make_way(file: &Path) -> Result<()> {
    if file.is_dir() {
        return Err(Failure::usage(
            format!("the report can't be written to {}: it is a folder", file.display()),
            "name a file",
        ));
    }
    whole_file::write(file, "", Mode::Everybody).and_then(|()| fs_err::remove_file(file).map_err(anyhow::Error::from))
}

fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100.0).round() / 100.0
}

/// Collects a scenario's checks and prints each as it comes. Clones write to the same list, so that
/// what was found so far survives an abort.
#[derive(Debug, Clone)]
pub struct Recorder {
    scenario: String,
    started: Arc<Mutex<Instant>>,
    quiet: bool,
    checks: Arc<Mutex<Vec<Check>>>,
}

impl Recorder {
    /// A recorder for one scenario.
    pub fn new(scenario: &str, quiet: bool) -> Recorder {
        Recorder {
            scenario: scenario.to_owned(),
            started: Arc::new(Mutex::new(Instant::now())),
            quiet,
            checks: Arc::default(),
        }
    }

    /// Counts time from now on.
    pub(crate) fn restart_clock(&self) {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn elapsed(&self) -> Duration {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// A line about what goes on.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            self.tell(line);
        }
    }

    /// A line about a failure, which `--quiet` doesn't silence.
    pub fn tell(&self, line: impl AsRef<str>) {
        say(format_args!(
            "{:<10} {:>6.1} s  ...  {}",
            self.scenario,
            self.elapsed().as_secs_f64(),
            line.as_ref()
        ));
    }

    /// Records `ok` as passed, else failed.
    pub fn check(&self, name: impl Into<String>, ok: bool, detail: impl Into<String>) -> bool {
        let status = if ok { Status::Passed } else { Status::Failed };
        self.record(name.into(), status, detail.into(), None);
        ok
    }

    /// Checks that something worked: records what `detail` says of it, else the error.
    pub(crate) fn worked<T>(
        &self,
        name: impl Into<String>,
        outcome: &anyhow::Result<T>,
        detail: impl FnOnce(&T) -> String,
    ) -> bool {
        let told = outcome.as_ref().map_or_else(|error| format!("{error:#}"), detail);
        self.check(name, outcome.is_ok(), told)
    }

    /// Records a number that nobody judges.
    pub(crate) fn measured(&self, name: impl Into<String>, value: f64, unit: &str, detail: impl Into<String>) {
        self.record(name.into(), Status::Measured, detail.into(), Some((value, unit)));
    }

    /// Checks a value: records it, and whether it is good enough.
    pub(crate) fn measure(
        &self,
        name: impl Into<String>,
        value: f64,
        unit: &str,
        ok: bool,
        detail: impl Into<String>,
    ) -> bool {
        let status = if ok { Status::Passed } else { Status::Failed };
        self.record(name.into(), status, detail.into(), Some((value, unit)));
        ok
    }

    /// Records something that this backend can't prove.
    pub fn skip(&self, name: impl Into<String>, reason: impl Into<String>) {
        self.record(name.into(), Status::Skipped, reason.into(), None);
    }

    /// Whether a check failed so far.
    pub fn failed(&self) -> bool {
        self.failures() > 0
    }

    /// How many checks failed so far.
    pub fn failures(&self) -> usize {
        self.lock().iter().filter(|c| c.status == Status::Failed).count()
    }

    /// The outcome so far.
    pub fn finish(&self) -> ScenarioReport {
        let checks = self.lock().clone();
        let status = if checks.iter().any(|c| c.status == Status::Failed) {
            Status::Failed
        } else if !checks.iter().any(|c| c.status == Status::Passed) {
            Status::Skipped
        } else {
            Status::Passed
        };
        ScenarioReport {
            name: self.scenario.clone(),
            proves: "",
            status,
            seconds: rounded(self.elapsed()),
            checks,
        }
    }

    fn record(&self, name: String, status: Status, detail: String, value: Option<(f64, &str)>) {
        let (value, unit) = value.map_or((None, None), |(v, u)| (Some(v), Some(u.to_owned())));
        let check = Check {
            name,
            status,
            detail,
            value,
            unit,
        };
        if !self.quiet || status == Status::Failed {
            let word = match status {
                Status::Passed => "ok  ",
                Status::Failed => "FAIL",
                Status::Skipped => "skip",
                Status::Measured => "    ",
            };
            let elapsed = self.elapsed().as_secs_f64();
            let seen = check.seen();
            let colon = if seen.is_empty() { "" } else { ": " };
            say(format_args!(
                "{:<10} {elapsed:>6.1} s  {word} {}{colon}{seen}",
                self.scenario, check.name
            ));
        }
        self.lock().push(check);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Check>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::failure::{Kind, kind_of};

    #[test]
    fn a_scenario_is_skipped_only_if_nothing_was_checked() {
        let recorder = Recorder::new("s", true);
        recorder.skip("a", "no cluster");
        recorder.measured("how long", 1.0, "s", "");
        assert_eq!(recorder.finish().status, Status::Skipped);
        recorder.check("b", true, "");
        assert_eq!(recorder.finish().status, Status::Passed);
        recorder.check("c", false, "lost 1 span");
        assert_eq!(recorder.finish().status, Status::Failed);
        assert_eq!(recorder.finish().counts(), "2 checks, 1 measurement, 1 skipped");
    }

    #[test]
    fn a_report_that_can_not_be_written_is_refused_before_the_run() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("new/r.json");
        make_way(&file).unwrap();
        assert!(file.parent().unwrap().is_dir() && !file.exists());
        assert_eq!(kind_of(&make_way(temp.path()).unwrap_err()), Kind::Usage);
        std::fs::write(&file, "old").unwrap();
        let below = file.join("r.json");
        assert_eq!(kind_of(&make_way(&below).unwrap_err()), Kind::Environment);
        make_way(&file).unwrap();
        assert!(!file.exists(), "an earlier run's report stays");
    }

    #[test]
    fn json_and_junit_have_the_promised_keys() {
        let temp = tempfile::tempdir().unwrap();
        let recorder = Recorder::new("roundtrip", true);
        recorder.measured("ack to by-id", 12.0, "ms", "median of 9");
        recorder.measure("lost", 3.0, "spans", false, "of 9");
        recorder.check("equal", false, "a < b & c");
        let versions = BTreeMap::from([("tempo".to_owned(), "2.9.0".to_owned())]);
        let report = Report::new("local", versions, Duration::from_millis(1234), vec![recorder.finish()]);
        let junit = temp.path().join("sub/r.xml");
        report.write_junit(&junit).unwrap();
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(value["failed"], 1);
        assert_eq!(value["versions"]["tempo"], "2.9.0");
        assert_eq!(value["scenarios"][0]["checks"][0]["unit"], "ms");
        assert_eq!(value["scenarios"][0]["checks"][0]["status"], "measured");
        assert_eq!(
            (value["checks"].as_u64(), value["measurements"].as_u64()),
            (Some(2), Some(1))
        );
        let xml = std::fs::read_to_string(junit).unwrap();
        assert!(
            xml.contains("tests=\"2\"") && xml.contains("failures=\"2\"") && xml.contains("a &lt; b &amp; c"),
            "{xml}"
        );
        // A measurement is no test that passed.
        assert!(
            xml.contains("name=\"ack to by-id\" value=\"12 ms, median of 9\""),
            "{xml}"
        );
    }
}
