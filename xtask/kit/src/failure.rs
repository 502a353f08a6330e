//! Errors that tell a person what to do, and the exit code that goes with each kind.

use std::fmt;
use std::io;

/// What to do about a full disk.
pub(crate) const MORE_SPACE: &str =
    "free some space on that disk, or point TMPDIR, XTASK_CACHE or CARGO_TARGET_DIR at a larger one";

/// From here on a name may be meant as another (Jaro similarity, 1 where both are the same).
const LIKE: f64 = 0.7;

/// What went wrong, as the exit code of the xtask says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A check found something, or a run failed: exit code 1.
    Findings,
    /// The command line or a configuration value can't be used: exit code 2.
    Usage,
    /// A tool is missing or can't be built: exit code 3.
    Tool,
    /// The machine can't do it now (disk, ports, Docker, cluster): exit code 4.
    Environment,
    /// Ctrl-C or SIGTERM: exit code 130, as shells have it.
    Interrupted,
}

impl Kind {
    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Findings => 1,
            Kind::Usage => 2,
            Kind::Tool => 3,
            Kind::Environment => 4,
            Kind::Interrupted => 130,
        }
    }
}

/// One line that says what went wrong and one that says what to do about it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Which kind, hence which exit code.
    pub kind: Kind,
    /// What was wrong, with the file or object it was found in.
    pub what: String,
    /// What to do next. Empty where `what` says it all.
    pub remedy: String,
}

impl Failure {
    /// A failure as an [`anyhow::Error`].
    pub fn err(kind: Kind, what: impl Into<String>, remedy: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Failure {
            kind,
            what: what.into(),
            remedy: remedy.into(),
        })
    }

    /// A name that nothing has. The remedy is the nearest of the known names, and all of them.
    pub fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> anyhow::Error {
        let known: Vec<&str> = known.into_iter().collect();
        let likeness = |one: &&&str| strsim::jaro(name, one);
        let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let guess = nearest
            .filter(|one| likeness(one) > LIKE)
            .map(|one| format!("did you mean {one}? "));
        Failure::usage(
            format!("no {what} named {name:?}"),
            format!("{}known here: {}", guess.unwrap_or_default(), known.join(", ")),
        )
    }

    /// A failed check or run.
    pub fn findings(what: impl Into<String>, remedy: impl Into<String>) -> anyhow::Error {
        Failure::err(Kind::Findings, what, remedy)
    }

    /// A command line or a configuration value that can't be used.
    pub fn usage(what: impl Into<String>, remedy: impl Into<String>) -> anyhow::Error {
        Failure::err(Kind::Usage, what, remedy)
    }

    /// A tool that is missing or can't be built.
    pub fn tool(what: impl Into<String>, remedy: impl Into<String>) -> anyhow::Error {
        Failure::err(Kind::Tool, what, remedy)
    }

    /// Something that this machine can't do now.
    pub fn environment(what: impl Into<String>, remedy: impl Into<String>) -> anyhow::Error {
        Failure::err(Kind::Environment, what, remedy)
    }

    /// The error of an interrupted run.
    pub fn interrupted() -> anyhow::Error {
        Failure::err(Kind::Interrupted, "interrupted", "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

/// An error and its causes on one line, each said once.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// What to do about an error of the file system that is the machine's fault; none for any other error.
fn remedy_of_io(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(MORE_SPACE),
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists => Some("see that this path is free for use and that this user may write there"),
        _ => None,
    }
}

/// The kind of any error: that of the first [`Failure`] in its chain; a full disk or a forbidden path
/// is the environment's; all else counts as findings.
pub fn kind_of(error: &anyhow::Error) -> Kind {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.kind;
        }
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && remedy_of_io(io).is_some()
        {
            return Kind::Environment;
        }
    }
    Kind::Findings
}

/// What to do about an error, where its chain says so.
pub fn remedy_of(error: &anyhow::Error) -> Option<String> {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return (!failure.remedy.is_empty()).then(|| failure.remedy.clone());
        }
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && let Some(remedy) = remedy_of_io(io)
        {
            return Some(remedy.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_known_one_and_with_all() {
        let remedy = |name| remedy_of(&Failure::unknown("tool", name, ["helm", "helm3", "otelcol"])).unwrap();
        assert_eq!(remedy("hlem3"), "did you mean helm3? known here: helm, helm3, otelcol");
        assert_eq!(
            remedy("otelcoll"),
            "did you mean otelcol? known here: helm, helm3, otelcol"
        );
        assert_eq!(remedy("xyz"), "known here: helm, helm3, otelcol");
    }
    use anyhow::Context;

    #[test]
    fn the_kind_survives_added_context() {
        let error = Err::<(), _>(Failure::tool("no go", "install go"))
            .context("while building helm")
            .unwrap_err();
        assert_eq!(kind_of(&error), Kind::Tool);
        assert_eq!(remedy_of(&error).as_deref(), Some("install go"));
    }

    #[test]
    fn a_full_disk_is_the_environments_fault() {
        let error = anyhow::Error::new(io::Error::from(io::ErrorKind::StorageFull)).context("writing x");
        assert_eq!(kind_of(&error).exit_code(), 4);
        assert!(remedy_of(&error).is_some());
    }
}
