//! `cargo xtask doctor`: what this machine lacks, and what to do about it.

mod cluster;

use std::path::Path;

use anyhow::Result;
use charts::tools::Group;
use clap::Args;
use kit::disk;
use kit::failure::{Failure, Kind, remedy_of};
use kit::step::Step;
use serde::Serialize;
use stack_tests::ports::is_free;

use crate::ctx::Ctx;

/// Cold builds of all tools, with their modules and compiled packages.
const TOOL_SPACE: u64 = 6 * 1024 * 1024 * 1024;
/// The compiled workspace and the folders of runs.
const TARGET_SPACE: u64 = 5 * 1024 * 1024 * 1024;
const GIB: f64 = (1024 * 1024 * 1024) as f64;
/// What `cargo xtask up` listens on.
const UP_PORTS: [(u16, &str); 8] = [
    (3200, "Tempo's queries"),
    (4317, "OTLP gRPC"),
    (4318, "OTLP HTTP"),
    (14250, "Jaeger gRPC"),
    (14268, "Jaeger Thrift over HTTP"),
    (6831, "Jaeger Thrift compact (UDP)"),
    (6832, "Jaeger Thrift binary (UDP)"),
    (8888, "the Collector's metrics"),
];

/// Checks what the other commands need: tools, disk, ports, and Docker for a cluster.
///
/// For each problem it names the remedy. Exit code 3 if a tool is unavailable, 4 if the machine lacks
/// something, 0 if there are only hints. It also says where the images of a kind cluster would come from,
/// and why.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask doctor --format json\n  cargo xtask doctor --cluster")]
pub struct DoctorArgs {
    /// Count what a kind cluster lacks as a problem, not as a hint.
    #[arg(long)]
    cluster: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Hint,
    Problem,
}

/// One thing that was checked.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
    #[serde(skip)]
    kind: Option<Kind>,
}

impl Finding {
    fn ok(what: impl Into<String>, detail: impl Into<String>) -> Finding {
        Finding {
            what: what.into(),
            state: State::Ok,
            detail: detail.into(),
            remedy: String::new(),
            kind: None,
        }
    }

    fn hint(what: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            state: State::Hint,
            remedy: remedy.into(),
            ..Finding::ok(what, detail)
        }
    }

    /// Makes a problem a hint.
    fn soften(&mut self) {
        if self.state == State::Problem {
            self.state = State::Hint;
            self.kind = None;
        }
    }

    fn problem(kind: Kind, what: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            state: State::Problem,
            remedy: remedy.into(),
            kind: Some(kind),
            ..Finding::ok(what, detail)
        }
    }
}

pub fn run(ctx: &Ctx, args: &DoctorArgs) -> Result<()> {
    let mut findings = vec![git(ctx)];
    findings.extend(tools(ctx)?);
    findings.push(space(
        ctx.toolbox.cache(),
        TOOL_SPACE,
        "tool cache",
        "set XTASK_CACHE to a folder on a larger disk",
    ));
    findings.push(space(
        &ctx.target_dir(),
        TARGET_SPACE,
        "target folder",
        "set CARGO_TARGET_DIR to a folder on a larger disk",
    ));
    findings.extend(UP_PORTS.map(port));
    findings.extend(cluster::findings(ctx, args.cluster)?);
    ctx.print(&findings, table(&findings))?;
    let problems: Vec<&Finding> = findings.iter().filter(|f| f.state == State::Problem).collect();
    match problems.first().and_then(|p| p.kind) {
        None => Ok(()),
        Some(kind) => {
            let names = problems.iter().map(|p| p.what.as_str()).collect::<Vec<_>>().join(", ");
            Err(Failure::err(
                kind,
                format!("{} problems: {names}", problems.len()),
                "follow the remedies above",
            ))
        }
    }
}

fn table(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let word = match finding.state {
            State::Ok => "ok",
            State::Hint => "hint",
            State::Problem => "PROBLEM",
        };
        text.push_str(&format!("{word:<8} {:<22} {}\n", finding.what, finding.detail));
        if !finding.remedy.is_empty() {
            text.push_str(&format!("{:<8} {:<22} try: {}\n", "", "", finding.remedy));
        }
    }
    text
}

fn git(ctx: &Ctx) -> Finding {
    match ctx
        .runner
        .run(&Step::new("git version", "git").arg("--version").reads())
    {
        Ok(output) => Finding::ok("git", output.stdout.trim()),
        Err(error) => Finding::hint(
            "git",
            error.to_string(),
            "install git: `package` reads the commit's time with it",
        ),
    }
}

fn tools(ctx: &Ctx) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for tool in ctx
        .toolbox
        .tools()
        .iter()
        .filter(|tool| tool.file.group == Group::Default)
    {
        let what = format!("{} {}", tool.name, tool.file.version);
        findings.push(match ctx.toolbox.find(&tool.name)? {
            Some(found) => Finding::ok(what, format!("{} at {}", found.version, found.path.display())),
            None => match ctx.toolbox.can_build(&tool.name) {
                Ok(go) => Finding::hint(
                    what,
                    format!("not built yet; {go} can build it"),
                    format!("cargo xtask tools install {}", tool.name),
                ),
                Err(error) => {
                    let remedy = remedy_of(&error).unwrap_or_default();
                    Finding::problem(Kind::Tool, what, format!("{error:#}"), remedy)
                }
            },
        });
    }
    Ok(findings)
}

fn space(path: &Path, needed: u64, what: &str, remedy: &str) -> Finding {
    match disk::free_bytes(path) {
        Ok(free) => {
            let detail = format!("{:.1} GiB free at {}", free as f64 / GIB, path.display());
            if free >= needed {
                Finding::ok(what, detail)
            } else {
                let detail = format!("{detail}, a cold run needs {:.0}", needed as f64 / GIB);
                Finding::problem(Kind::Environment, what, detail, format!("free some space, or {remedy}"))
            }
        }
        Err(error) => Finding::problem(Kind::Environment, what, format!("{error:#}"), remedy),
    }
}

fn port((port, purpose): (u16, &str)) -> Finding {
    let what = format!("port {port}");
    if is_free(port) {
        Finding::ok(what, format!("free for {purpose}"))
    } else {
        let remedy = format!(
            "only `cargo xtask up` needs it: stop what `ss -tulnp | grep :{port}` shows, or use `up --free-ports`"
        );
        Finding::hint(what, format!("in use; {purpose} would listen there"), remedy)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_disk_too_small_is_a_problem_of_the_environment_with_a_remedy() {
        let finding = space(Path::new("/"), u64::MAX, "cache", "use another disk");
        assert_eq!((finding.state, finding.kind), (State::Problem, Some(Kind::Environment)));
        assert!(finding.remedy.contains("use another disk"));
    }

    #[test]
    fn a_taken_port_is_a_hint_that_names_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = listener.local_addr().unwrap().port();
        let finding = port((number, "a test"));
        assert_eq!(finding.state, State::Hint);
        assert!(finding.remedy.contains(&number.to_string()));
    }
}
