//! The files in which a run leaves its report.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use kit::step::Step;
use page::document::{Document, Host, Run, now};
use release::git::Git;
use stack_tests::report::make_way;

use crate::ctx::Ctx;

/// Files in which a command leaves its report.
#[derive(Debug, Clone, Args)]
pub struct Outputs {
    /// Write the report as JSON, from which `cargo xtask report` makes a page.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the report as one HTML page, which needs no network to be read.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Outputs {
    /// Makes sure, before a long run, that the files can be written afterwards, and removes an earlier run's.
    pub fn make_way(&self) -> Result<()> {
        self.report.iter().chain(&self.html).try_for_each(|file| make_way(file))
    }

    /// Writes the files.
    pub fn write(&self, document: &Document) -> Result<()> {
        if let Some(file) = &self.report {
            document.write_json(file)?;
        }
        if let Some(file) = &self.html {
            page::write(file, std::slice::from_ref(document))?;
        }
        Ok(())
    }
}

/// What is run now, in this process.
pub fn this_run(ctx: &Ctx, seed: u64) -> Run {
    let mut command = Step::new("this", "cargo").arg("xtask");
    command = command.args(std::env::args().skip(1));
    Run {
        command: command.command_line(),
        started: now(),
        seed,
        commit: commit(ctx),
        host: Host::this(),
    }
}

/// The commit of the workspace; none where there is no git, or no commit.
fn commit(ctx: &Ctx) -> Option<String> {
    let git = Git::of(ctx).ok()?;
    let head = git.head().ok()?;
    let dirty = if git.dirty(&["."]).ok()? { "-dirty" } else { "" };
    Some(format!("{}{dirty}", head.get(..12)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use page::document::Kind;
    use stack_tests::bench::figure::{COSTS, STORED};
    use stack_tests::bench::profile::PROFILES;
    use stack_tests::bench::report as bench;
    use stack_tests::faults::report as faults;
    use stack_tests::faults::{Place, Recovers, Rights};
    use stack_tests::report::{Recorder, Report};
    use std::time::Duration;

    fn some_run() -> Run {
        Run {
            command: "cargo xtask e2e".into(),
            started: now(),
            seed: 7,
            commit: None,
            host: Host::this(),
        }
    }

    #[test]
    fn a_page_has_every_figure_and_all_plots_of_a_bench() {
        let columns = || COSTS.iter().chain(STORED);
        let row = bench::Row {
            profile: PROFILES[0].name.to_string(),
            variant: "default".into(),
            valid: true,
            median: columns().map(|column| (column.figure, 2.0)).collect(),
            ratio: columns().map(|column| (column.figure, 1.5)).collect(),
            samples: vec![bench::Sample::default()],
        };
        let report = bench::Report {
            versions: [("tempo".into(), "2.10.8".into())].into(),
            machine: bench::Machine {
                cores: 2,
                load_before: 0.5,
                load_after: 2.5,
            },
            seed: 7,
            rounds: 1,
            seconds: 60.0,
            ratio_to: "default".into(),
            profiles: PROFILES.to_vec(),
            variants: Vec::new(),
            figures: bench::figures(),
            rows: vec![row],
            history: Vec::new(),
            bounds: Vec::new(),
            comparison: None,
        };
        let document = Document::new(Kind::Bench, &some_run(), &report).unwrap();
        let names: Vec<String> = page::plots(&document)
            .unwrap()
            .into_iter()
            .map(|plot| plot.name)
            .collect();
        assert_eq!(names, ["cpu", "throughput", "found", "answer"]);
        let html = page::html(&[document]).unwrap();
        for column in columns() {
            assert!(html.contains(column.header), "{} is missing: {html}", column.header);
        }
    }

    #[test]
    fn a_page_says_of_a_fault_what_was_lost_and_who_helped() {
        let late = faults::Late {
            median: 1.5,
            p99: 8.0,
            longest: 14.0,
        };
        let spans = || faults::Spans {
            acknowledged: 9_000,
            lost: 7,
            ..faults::Spans::default()
        };
        let fault = faults::FaultReport {
            name: "kill-tempo".into(),
            does: "SIGKILL to Tempo".into(),
            place: Place::Local,
            rights: Rights::User,
            promise: "at most 2.5 s of spans lost".into(),
            lost_at_most: Some(1_250),
            status: faults::Status::Kept,
            proof: Some("process 17 is gone".into()),
            detail: String::new(),
            seconds: 30.0,
            spans: Some(spans()),
            late: Some(late),
            recovered_seconds: Some(4.2),
            recovers: Recovers::ByHand("an operator takes the file away"),
        };
        let soak = faults::SoakReport {
            seconds: 3_600.0,
            rate: 1_000.0,
            kept: true,
            broken: Vec::new(),
            lost_at_most: 1_250,
            spans: spans(),
            late: Some(late),
            checked_again: 2_000,
            gone: 0,
            faults: Vec::new(),
            memory: vec![faults::MemoryTrend {
                process: "tempo-0".into(),
                samples: vec![(0.0, 200 << 20), (60.0, 201 << 20)],
                early: 200 << 20,
                late: 201 << 20,
                flat: Some(true),
            }],
        };
        let report = faults::Report {
            backend: "local".into(),
            versions: [("tempo".into(), "2.10.8".into())].into(),
            seed: 7,
            quick: false,
            seconds: 3_700.0,
            happened: 1,
            broken: 0,
            skipped: 0,
            faults: vec![fault],
            soak: Some(soak),
        };
        let document = Document::new(Kind::Faults, &some_run(), &report).unwrap();
        let names: Vec<String> = page::plots(&document)
            .unwrap()
            .into_iter()
            .map(|plot| plot.name)
            .collect();
        assert_eq!(names, ["recovered", "memory"]);
        let html = page::html(&[document]).unwrap();
        for text in [
            "SIGKILL to Tempo",
            "process 17 is gone",
            "of at most 1,250",
            "an operator takes the file away",
            "promise kept",
        ] {
            assert!(html.contains(text), "{text} is missing: {html}");
        }
    }

    #[test]
    fn what_a_run_writes_is_what_a_page_is_made_of() {
        let recorder = Recorder::new("roundtrip", true);
        recorder.check("otlp-grpc: taken", true, "acked");
        recorder.skip("network policies", "no cluster");
        let elapsed = Duration::from_secs(3);
        let report = Report::new(
            "local",
            [("tempo".into(), "2.10.8".into())].into(),
            elapsed,
            vec![recorder.finish()],
        );
        let temp = tempfile::tempdir().unwrap();
        let outputs = Outputs {
            report: Some(temp.path().join("new/r.json")),
            html: Some(temp.path().join("new/r.html")),
        };
        outputs.make_way().unwrap();
        outputs
            .write(&Document::new(Kind::E2e, &some_run(), &report).unwrap())
            .unwrap();
        let html = fs_err::read_to_string(outputs.html.unwrap()).unwrap();
        for text in [
            "1 check passed, 0 failed, 1 skipped",
            "otlp-grpc: taken",
            "network policies",
            "tempo 2.10.8",
        ] {
            assert!(html.contains(text), "{text} is missing: {html}");
        }
        let again = Document::read(&outputs.report.unwrap()).unwrap();
        assert_eq!(page::html(&[again]).unwrap(), html);
    }
}
