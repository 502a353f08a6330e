//! A report as files have it: its format, what ran where, and what was found.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::whole_file::{self, Mode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{bench, e2e, faults};

/// The key `format` of reports. It rises when a key is removed or means something else.
const FORMAT: u64 = 1;

/// What a report is about: the command that writes it, which its key `kind` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `cargo xtask e2e`.
    E2e,
    /// `cargo xtask bench`.
    Bench,
    /// `cargo xtask faults`.
    Faults,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::E2e, Kind::Bench, Kind::Faults];

    /// The command.
    pub fn command(self) -> &'static str {
        match self {
            Kind::E2e => "e2e",
            Kind::Bench => "bench",
            Kind::Faults => "faults",
        }
    }
}

/// What ran, where and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The command line.
    pub command: String,
    /// When it began, in UTC as RFC 3339 has it.
    pub started: String,
    /// What repeats the random inputs.
    pub seed: u64,
    /// The commit that was checked out, with `-dirty` if something differed from it; none outside of git.
    #[serde(default)]
    pub commit: Option<String>,
    /// The machine.
    pub host: Host,
}

/// A machine. What can't be found out is missing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Host {
    /// Its operating system and kernel.
    #[serde(default)]
    pub system: Option<String>,
    /// The model of its processor.
    #[serde(default)]
    pub processor: Option<String>,
    /// Cores that this process may use.
    #[serde(default)]
    pub cores: Option<usize>,
    /// Its memory, in bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
}

/// The time, as [`Run::started`] has it.
pub fn now() -> String {
    // Nobody asks for less than a second.
    format!("{:.0}", jiff::Timestamp::now())
}

impl Host {
    /// This machine: os-release(5) and what proc(5) says.
    pub fn this() -> Host {
        let value = |file: &str, key: &str, separator: char| {
            let text = fs_err::read_to_string(file).ok()?;
            let value = text.lines().find_map(|line| {
                let (name, value) = line.split_once(separator)?;
                (name.trim() == key).then_some(value)
            })?;
            Some(value.trim().trim_matches('"').to_owned())
        };
        let kernel = fs_err::read_to_string("/proc/sys/kernel/osrelease").ok();
        let system = [
            value("/etc/os-release", "PRETTY_NAME", '='),
            kernel.map(|kernel| format!("Linux {}", kernel.trim())),
        ];
        let system: Vec<String> = system.into_iter().flatten().collect();
        let memory = value("/proc/meminfo", "MemTotal", ':');
        let kibibytes = memory.and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok());
        Host {
            system: (!system.is_empty()).then(|| system.join(", ")),
            processor: value("/proc/cpuinfo", "model name", ':'),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            memory_bytes: kibibytes.map(|kibibytes| kibibytes * 1024),
        }
    }
}

/// A report with what it is about.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Document {
    #[serde(skip)]
    kind: Kind,
    #[serde(skip)]
    run: Run,
    /// Where it was read; empty if it wasn't.
    #[serde(skip)]
    source: String,
    keys: Value,
}

/// What a report found, as far as a page shows it.
pub(crate) enum Body {
    E2e(e2e::Report),
    Bench(bench::Report),
    Faults(faults::Report),
}

impl Document {
    /// A report of a run of this process, whose own keys stand beside `kind`, `format` and `run`.
    ///
    /// # Errors
    /// A report that isn't a JSON object.
    pub fn new(kind: Kind, run: &Run, report: &impl Serialize) -> Result<Document> {
        let mut keys = Map::new();
        keys.insert("kind".into(), kind.command().into());
        keys.insert("format".into(), FORMAT.into());
        keys.insert("run".into(), serde_json::to_value(run).context("writing JSON")?);
        match serde_json::to_value(report).context("writing JSON")? {
            Value::Object(own) => keys.extend(own),
            other => anyhow::bail!("a report must be a JSON object, and this is {other}"),
        }
        Ok(Document {
            kind,
            run: run.clone(),
            source: String::new(),
            keys: keys.into(),
        })
    }

    /// Reads a report.
    ///
    /// # Errors
    /// A [`Failure`] for a file that can't be read, isn't a report of ours, or has a format that isn't known here.
    pub fn read(file: &Path) -> Result<Document> {
        let shown = file.display().to_string();
        let other = |why: String| {
            Failure::usage(
                format!("{shown} is not a report: {why}"),
                "name a file that `cargo xtask e2e`, `bench` or `faults` wrote with --report FILE",
            )
        };
        let text = std::fs::read_to_string(file).map_err(|error| other(error.to_string()))?;
        let keys: Value = serde_json::from_str(&text).map_err(|error| other(format!("no JSON: {error}")))?;
        let Some(name) = keys.get("kind").and_then(Value::as_str) else {
            return Err(other("it has no key `kind`".into()));
        };
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.command() == name) else {
            return Err(other(format!("its kind is {name:?}")));
        };
        let format = keys.get("format").unwrap_or(&Value::Null);
        if *format != FORMAT {
            return Err(Failure::usage(
                format!("{shown} is a report of {name} in format {format}, and format {FORMAT} is known here"),
                "use the checkout that wrote it, or write it again with this one",
            ));
        }
        let run = keys.get("run").ok_or_else(|| other("it has no key `run`".into()))?;
        let run = Run::deserialize(run).map_err(|error| other(format!("its key `run`: {error}")))?;
        let document = Document {
            kind,
            run,
            source: shown,
            keys,
        };
        document.body()?;
        Ok(document)
    }

    /// The report itself, which has to be one of this kind.
    ///
    /// # Errors
    /// A [`Failure`] for another kind, or for keys that don't fit.
    pub fn report<T: DeserializeOwned>(&self, kind: Kind) -> Result<T> {
        if self.kind == kind {
            T::deserialize(&self.keys).map_err(|error| self.misfit(&error))
        } else {
            let (found, wanted) = (self.kind.command(), kind.command());
            Err(Failure::usage(
                format!("{} is a report of {found}, not of {wanted}", self.source),
                format!("name a file that `cargo xtask {wanted} --report FILE` wrote"),
            ))
        }
    }

    /// What it is about.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What ran.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// Whatever keeps the file from being written.
    pub fn write_json(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.keys).context("writing JSON")?;
        whole_file::write(file, text + "\n", Mode::Everybody)
    }

    pub(crate) fn body(&self) -> Result<Body> {
        let body = match self.kind {
            Kind::E2e => e2e::Report::deserialize(&self.keys).map(Body::E2e),
            Kind::Bench => bench::Report::deserialize(&self.keys).map(Body::Bench),
            Kind::Faults => faults::Report::deserialize(&self.keys).map(Body::Faults),
        };
        body.map_err(|error| self.misfit(&error))
    }

    fn misfit(&self, error: &serde_json::Error) -> anyhow::Error {
        let source = if self.source.is_empty() { "this" } else { &self.source };
        Failure::usage(
            format!("{source} should be a report of {}, but: {error}", self.kind.command()),
            "write it again with --report FILE",
        )
    }
}

/// Versions of programs, as every report has them.
pub(crate) type Versions = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use super::*;
    use kit::failure::kind_of;
    use serde_json::json;

    fn run() -> Run {
        Run {
            command: "cargo xtask e2e".into(),
            started: now(),
            seed: 7,
            commit: None,
            host: Host::this(),
        }
    }

    fn report() -> Value {
        json!({"backend": "local", "versions": {"tempo": "2.10.8"}, "seconds": 1.5, "scenarios": []})
    }

    /// What is said about a file with this text.
    fn said(text: &str) -> String {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("r.json");
        fs_err::write(&file, text).unwrap();
        let error = Document::read(&file).map(|_| ()).unwrap_err();
        assert_eq!(kind_of(&error), kit::failure::Kind::Usage);
        assert!(error.to_string().contains("r.json"), "{error}");
        error.to_string()
    }

    #[test]
    fn a_report_that_was_written_is_read_again() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("new/r.json");
        Document::new(Kind::E2e, &run(), &report())
            .unwrap()
            .write_json(&file)
            .unwrap();
        let read = Document::read(&file).unwrap();
        assert_eq!((read.kind(), read.run().seed), (Kind::E2e, 7));
        let same: Value = read.report(Kind::E2e).unwrap();
        assert_eq!(same["kind"], "e2e");
        let error = read.report::<Value>(Kind::Bench).unwrap_err();
        assert!(
            error.to_string().contains("is a report of e2e, not of bench"),
            "{error}"
        );
        let keys: Value = serde_json::from_str(&fs_err::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(
            (&keys["kind"], &keys["format"], &keys["backend"]),
            (&json!("e2e"), &json!(1), &json!("local"))
        );
    }

    #[test]
    fn what_is_no_report_of_ours_is_refused_with_the_reason() {
        assert!(said("half of a rep").contains("no JSON"));
        assert!(said("[1]").contains("no key `kind`"));
        assert!(said(r#"{"kind": "jest", "format": 1}"#).contains(r#"its kind is "jest""#));
        assert!(said(r#"{"kind": "e2e", "format": 2}"#).contains("in format 2, and format 1 is known"));
        assert!(said(r#"{"kind": "e2e"}"#).contains("in format null"));
        assert!(said(r#"{"kind": "e2e", "format": 1}"#).contains("no key `run`"));
        let keys = serde_json::to_value(Document::new(Kind::E2e, &run(), &json!({})).unwrap()).unwrap();
        assert!(said(&keys.to_string()).contains("missing field `backend`"));
        let missing = Document::read(Path::new("nowhere.json")).map(|_| ()).unwrap_err();
        assert!(missing.to_string().contains("nowhere.json"), "{missing}");
    }

    #[test]
    fn this_machine_is_described() {
        let host = Host::this();
        assert!(host.cores.unwrap() > 0 && host.memory_bytes.unwrap() > 1 << 20);
        assert!(host.system.unwrap().contains("Linux"));
    }
}
