//! `cargo xtask up`: the stack on this machine, for development.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_yaml::Value;
use stack_tests::e2e::backend::local::LocalBackend;
use stack_tests::e2e::backend::{Backend, StackSpec};
use stack_tests::e2e::run_dir;
use stack_tests::failure::{Failure, Kind};

use crate::cmd::e2e::{runs_dir, runtime, sweep};
use crate::ctx::{Ctx, print_line};
use crate::endpoints::Shown;

/// What `up` runs are called in their run folders.
pub const PURPOSE: &str = "up";
/// A start on a busy machine stays under this.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How often the foreground process looks for the signal that ends it.
const CANCEL_PERIOD: Duration = Duration::from_millis(100);

/// Starts the stack on this machine and leaves it running.
///
/// The Collector and Tempo listen on 127.0.0.1 at the chart's own ports, except Tempo's OTLP port,
/// which one machine can't have twice. Traces go with `cargo xtask down`.
/// Running it again shows what runs already.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask up\n  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 my-application\n  \
                  cargo xtask down"
)]
pub struct UpArgs {
    /// Choose free ports instead of the chart's.
    #[arg(long)]
    free_ports: bool,
    /// Values of the umbrella chart, over its defaults.
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// Stay in the foreground; Ctrl-C stops the stack.
    #[arg(long)]
    foreground: bool,
}

/// Runs the command.
pub fn run(ctx: &Ctx, args: &UpArgs) -> Result<()> {
    let runs = runs_dir(ctx);
    let values = read_values(args.values.as_deref())?;
    if let Some((owner, shown)) = running(&runs)? {
        ctx.say(format!(
            "the stack is up already (pid {owner}); `cargo xtask down` stops it"
        ));
        return shown.print(ctx);
    }
    sweep(ctx, &runs)?;
    if args.foreground {
        return foreground(ctx, args, values, &runs);
    }
    // Whatever takes long or can fail for want of a tool happens here, where the user sees it.
    let helm = ctx.helm()?;
    let umbrella = helm.prepare(&ctx.workspace.chart("observability")?)?;
    LocalBackend::new(&ctx.toolbox, helm, umbrella, runs.clone(), PURPOSE)?;
    detach(ctx, args)?;
    match running(&runs)? {
        Some((_, shown)) => shown.print(ctx),
        None => Err(Failure::err(
            Kind::Findings,
            "the stack ended right after its start",
            "run `cargo xtask up --foreground`",
        )),
    }
}

/// The `up` that runs in this checkout: its pid and where it is reached.
pub fn running(runs: &Path) -> Result<Option<(i32, Shown)>> {
    for run in run_dir::find(runs)? {
        if let Some(owner) = run.owner.filter(|owner| owner.purpose == PURPOSE)
            && let Some(shown) = Shown::read(&run.path)?
        {
            return Ok(Some((owner.pid, shown)));
        }
    }
    Ok(None)
}

fn read_values(file: Option<&Path>) -> Result<Value> {
    let Some(file) = file else {
        return Ok(Value::Mapping(Default::default()));
    };
    let bad = |why: String| {
        Failure::err(
            Kind::Usage,
            format!("{} can't be used as values: {why}", file.display()),
            "give a YAML file with a map",
        )
    };
    let text = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
    let values: Value = serde_yaml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    match values {
        Value::Null => Ok(Value::Mapping(Default::default())),
        Value::Mapping(_) => Ok(values),
        _ => Err(bad("it holds no map".into())),
    }
}

fn foreground(ctx: &Ctx, args: &UpArgs, values: Value, runs: &Path) -> Result<()> {
    let helm = ctx.helm()?;
    let umbrella = helm.prepare(&ctx.workspace.chart("observability")?)?;
    let backend = LocalBackend::new(&ctx.toolbox, helm, umbrella, runs.to_path_buf(), PURPOSE)?;
    let spec = StackSpec {
        free_ports: args.free_ports,
        ..StackSpec::new(values)
    };
    runtime()?.block_on(async {
        let stack = backend.start(&spec).await?;
        stack.wait_ready(READY_TIMEOUT).await?;
        let shown = Shown::new(stack.endpoints());
        shown.write(stack.folder())?;
        shown.print(ctx)?;
        // For the process that waits for the detached one; a person sees it as the last line.
        print_line("ready; Ctrl-C or `cargo xtask down` stops it")?;
        while !ctx.runner.cancel().is_cancelled() {
            tokio::time::sleep(CANCEL_PERIOD).await;
        }
        stack.shut_down().await
    })
}

/// Starts this program again in the background and waits until its stack is ready.
fn detach(ctx: &Ctx, args: &UpArgs) -> Result<()> {
    let log = ctx.artifacts(PURPOSE).join("up.log");
    std::fs::create_dir_all(ctx.artifacts(PURPOSE))
        .with_context(|| format!("making {}", ctx.artifacts(PURPOSE).display()))?;
    let file = std::fs::File::create(&log).with_context(|| format!("writing {}", log.display()))?;
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.args(["up", "--foreground"]).process_group(0);
    if args.free_ports {
        command.arg("--free-ports");
    }
    if let Some(values) = &args.values {
        command.arg("--values").arg(values);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()
        .context("starting the background process")?;
    let stdout = child.stdout.take().context("the background process has an output")?;
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let ready = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.starts_with("ready"));
        // Nobody listens any more after Ctrl-C.
        let _ = tell.send(ready);
    });
    loop {
        if ctx.runner.cancel().is_cancelled() {
            // Its own handler stops the stack.
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).context("a pid")?);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = child.wait();
            return Err(Failure::interrupted());
        }
        match told.recv_timeout(CANCEL_PERIOD) {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let code = child
                    .wait()
                    .context("waiting for the background process")?
                    .code()
                    .unwrap_or(1);
                return Err(background_error(&log, code));
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Failure::err(
                    Kind::Findings,
                    "the background process can't be watched",
                    "run `cargo xtask up --foreground`",
                ));
            }
        }
    }
}

/// The background process's own words, with its exit code.
fn background_error(log: &Path, code: i32) -> anyhow::Error {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let what = text
        .lines()
        .find_map(|l| l.strip_prefix("error: "))
        .unwrap_or("the stack did not start")
        .to_owned();
    let remedy = text
        .lines()
        .find_map(|l| l.strip_prefix("  try: "))
        .map_or_else(|| format!("see {}", log.display()), str::to_owned);
    let kind = [Kind::Usage, Kind::Tool, Kind::Environment]
        .into_iter()
        .find(|k| i32::from(k.exit_code()) == code);
    Failure::err(kind.unwrap_or(Kind::Findings), what, remedy)
}
