//! `cargo xtask up`: the stack on this machine, for development.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use kit::disk;
use kit::failure::{Failure, Kind, kind_of};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_yaml::Value;
use stack_tests::backend::local::LocalBackend;
use stack_tests::backend::{Backend, Component, Published, Stack, StackSpec};

use crate::ctx::Ctx;
use crate::local::claim::Claim;
use crate::local::endpoints::Shown;
use crate::local::programs::Programs;
use crate::local::{LOG, PURPOSE, RUN_SPACE, running, runs_dir, runtime, sweep, values};

/// A start on a busy machine stays under this.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How often the foreground process looks for the signal that ends it.
const CANCEL_PERIOD: Duration = Duration::from_millis(100);

/// Starts the stack on this machine and leaves it running.
///
/// Services are reached on 127.0.0.1 at the chart's own ports. Tempo's OTLP port is the Collector's too, so
/// it is reached at an address of its own, which is printed with the others.
/// Traces go with `cargo xtask down`. Running it again shows what runs already.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask up\n  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 \
                  OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf my-application\n  cargo xtask down"
)]
pub struct UpArgs {
    /// Choose free ports of 127.0.0.1 instead of the chart's.
    #[arg(long)]
    free_ports: bool,
    #[command(flatten)]
    programs: Programs,
    /// Values of the umbrella chart, over its defaults.
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// Stay in the foreground; Ctrl-C stops the stack.
    #[arg(long)]
    foreground: bool,
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &UpArgs) -> Result<()> {
    let ctx = &args.programs.given(ctx)?;
    let runs = runs_dir(ctx);
    let values = match &args.values {
        Some(file) => values::read(file)?,
        None => Value::Mapping(Default::default()),
    };
    if ctx.runner.plans() {
        backend(ctx, &runs)?;
        return ctx.print_planned();
    }
    if let Some((owner, shown)) = running(&runs)? {
        ctx.say(format!(
            "the stack is up already (pid {owner}); `cargo xtask down` stops it"
        ));
        return shown.print(ctx);
    }
    sweep(ctx, &runs)?;
    disk::require(&runs, RUN_SPACE, "the stack")?;
    if args.foreground {
        return foreground(ctx, args, values, &runs);
    }
    // Whatever takes long or can fail for want of a tool happens here, where the user sees it.
    backend(ctx, &runs)?;
    detach(ctx, args, &runs)?.print(ctx)
}

fn backend(ctx: &Ctx, runs: &Path) -> Result<LocalBackend> {
    let helm = ctx.helm()?;
    let umbrella = helm.prepare(&ctx.workspace.chart("observability")?)?;
    LocalBackend::new(&ctx.toolbox, helm, umbrella, runs.to_path_buf(), PURPOSE)
}

fn foreground(ctx: &Ctx, args: &UpArgs, values: Value, runs: &Path) -> Result<()> {
    let Some(mut claim) = Claim::take(runs)? else {
        return Err(Failure::environment(
            "another `cargo xtask up` or `down` is at work in this checkout",
            "`cargo xtask status` shows when the stack is ready",
        ));
    };
    claim.sign()?;
    let backend = backend(ctx, runs)?;
    let spec = StackSpec {
        published: if args.free_ports {
            Published::LocalhostFreePorts
        } else {
            Published::Localhost
        },
        ..StackSpec::new(values)
    };
    runtime()?.block_on(async {
        let stack = backend.start(&spec).await?;
        if let Err(error) = stack.wait_ready(READY_TIMEOUT).await {
            return Err(keep_logs(ctx, stack.as_ref(), error).await);
        }
        let shown = Shown::new(stack.endpoints(), stack.takes_tls()).for_tenant(stack.tenant());
        shown.write(stack.folder())?;
        shown.print(ctx)?;
        ctx.say("ready; Ctrl-C or `cargo xtask down` stops it");
        while !ctx.runner.cancel().is_cancelled() {
            tokio::time::sleep(CANCEL_PERIOD).await;
        }
        stack.shut_down().await
    })
}

/// Copies the logs of a stack that didn't get ready out of its run folder, which goes with it.
async fn keep_logs(ctx: &Ctx, stack: &dyn Stack, error: anyhow::Error) -> anyhow::Error {
    let dir = ctx.artifacts(PURPOSE);
    for component in Component::ALL {
        if let Ok(log) = stack.logs(component).await {
            // The error says the cause; its log is only more of it.
            let _ =
                std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(dir.join(format!("{component}.log")), log));
        }
    }
    Failure::err(
        kind_of(&error),
        format!("{error:#}"),
        format!("see the logs in {}", dir.display()),
    )
}

/// Starts this program again in the background and waits until its stack is ready.
fn detach(ctx: &Ctx, args: &UpArgs, runs: &Path) -> Result<Shown> {
    let dir = ctx.artifacts(PURPOSE);
    let log = dir.join(LOG);
    fs_err::create_dir_all(&dir)?;
    let file = fs_err::File::create(&log)?;
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.args(["up", "--foreground", "--artifacts"]).arg(&dir);
    if args.free_ports {
        command.arg("--free-ports");
    }
    for (flag, path) in [("--tempo", &args.programs.tempo), ("--otelcol", &args.programs.otelcol)] {
        if let Some(path) = path {
            command.arg(flag).arg(path);
        }
    }
    if let Some(values) = &args.values {
        command.arg("--values").arg(values);
    }
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file.into_file())
        .spawn()
        .context("starting the background process")?;
    let pid = i32::try_from(child.id()).context("a pid")?;
    loop {
        if ctx.runner.cancel().is_cancelled() {
            // Its own handler stops the stack.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            let _ = child.wait();
            return Err(Failure::interrupted());
        }
        if let Some(status) = child.try_wait().context("waiting for the background process")? {
            return Err(background_error(&log, status.code()));
        }
        if let Some((owner, shown)) = running(runs)?
            && owner == pid
        {
            return Ok(shown);
        }
        std::thread::sleep(CANCEL_PERIOD);
    }
}

/// The background process's own words, with its exit code.
fn background_error(log: &Path, code: Option<i32>) -> anyhow::Error {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let (what, remedy) = last_words(&text);
    let kind = [Kind::Usage, Kind::Tool, Kind::Environment]
        .into_iter()
        .find(|kind| Some(i32::from(kind.exit_code())) == code);
    Failure::err(
        kind.unwrap_or(Kind::Findings),
        what.unwrap_or("the stack was stopped while it started"),
        remedy.map_or_else(|| format!("see {}", log.display()), str::to_owned),
    )
}

/// What `main` wrote about an error, and what to do about it.
fn last_words(log: &str) -> (Option<&str>, Option<&str>) {
    let log = log
        .strip_prefix("error: ")
        .or_else(|| Some(log.split_once("\nerror: ")?.1));
    let Some(log) = log.filter(|log| !log.starts_with("interrupted")) else {
        return (None, None);
    };
    match log.split_once("\n  try: ") {
        Some((what, remedy)) => (Some(what.trim_end()), Some(remedy.trim_end())),
        None => (Some(log.trim_end()), None),
    }
}

#[cfg(test)]
mod tests {
    use stack_tests::client::sdk::variables::Variables;

    use super::*;

    #[test]
    fn the_background_process_is_quoted_in_full() {
        let log = "building helm\nerror: helm failed:\nError: a key\n  try: mend it\n";
        assert_eq!(last_words(log), (Some("helm failed:\nError: a key"), Some("mend it")));
        assert_eq!(last_words("error: x\n"), (Some("x"), None));
        assert_eq!(last_words("error: interrupted\n"), (None, None));
    }

    #[test]
    fn the_example_of_the_help_sets_what_a_started_stack_prints() {
        let http = "127.0.0.1:4318".parse().ok();
        let help = UpArgs::augment_args(clap::Command::new("up"));
        let help = help.get_after_help().unwrap().to_string();
        let example = format!("{} my-application", Variables::to(http, None).unwrap());
        assert!(help.contains(&example), "{help}");
    }
}
