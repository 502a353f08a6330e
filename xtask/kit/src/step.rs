//! Commands as data, and the one runner that executes them.
//!
//! A command yields [`Step`]s to a [`Runner`], which runs them or, in a plan (`--dry-run`), only notes them:
//! there is no second description of what a command does. The runner gives every program a timeout, a
//! process group of its own and an end when the user presses Ctrl-C.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::failure::{Failure, MORE_SPACE};
use crate::progress::say;

/// How many of a failed program's last lines an error shows.
const TAIL_LINES: usize = 15;

/// How long the output of a program that has ended is read on.
const DRAIN: Duration = Duration::from_secs(1);

/// Set once by Ctrl-C or SIGTERM; everything that waits looks at it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ask all work to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the user asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Whether the user asked to stop; the work goes on as if not.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }

    /// An error once the user asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(Failure::interrupted());
        }
        Ok(())
    }
}

/// One external program to run.
#[derive(Debug, Clone)]
pub struct Step {
    /// What it does, for people: `helm template tempo-stack (s3)`.
    pub name: String,
    /// The program: a path, or a name that is looked up on PATH.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where it runs; the current folder if not set.
    pub cwd: Option<PathBuf>,
    /// Added to the environment; the values of `secrets` are masked wherever it is shown.
    pub env: BTreeMap<String, String>,
    /// Names in `env` whose values are never printed.
    pub secrets: Vec<String>,
    /// Variables of this process that the program doesn't get.
    pub unset: Vec<String>,
    /// Standard input; none if not set.
    pub stdin: Option<String>,
    /// After this long the program and its children are killed.
    pub timeout: Duration,
    /// What to try when it fails.
    pub hint: Option<String>,
    /// It changes nothing and its answer decides what comes next: a plan runs it, too.
    pub reads: bool,
}

/// As a plan shows it with `--format json`: secrets masked, without standard input.
impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Step", 7)?;
        shown.serialize_field("name", &self.name)?;
        shown.serialize_field("program", &self.program)?;
        shown.serialize_field("args", &self.args)?;
        shown.serialize_field("cwd", &self.cwd)?;
        shown.serialize_field("env", &self.shown_env().collect::<BTreeMap<_, _>>())?;
        shown.serialize_field("timeout", &self.timeout.as_secs())?;
        shown.serialize_field("hint", &self.hint)?;
        shown.end()
    }
}

impl Step {
    /// A step with a timeout of two minutes and nothing else set.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Step {
        Step {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            cwd: None,
            env: BTreeMap::new(),
            secrets: Vec::new(),
            unset: Vec::new(),
            stdin: None,
            timeout: Duration::from_secs(120),
            hint: None,
            reads: false,
        }
    }

    /// Marks it as one that changes nothing, whose answer a plan needs, too.
    pub fn reads(mut self) -> Step {
        self.reads = true;
        self
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Step {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Step {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a path as an argument.
    pub fn path_arg(self, path: &Path) -> Step {
        let text = path.to_string_lossy().into_owned();
        self.arg(text)
    }

    /// Sets the working folder.
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Step {
        self.cwd = Some(dir.into());
        self
    }

    /// Sets a variable.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Step {
        self.env.insert(key.into(), value.into());
        self
    }

    /// Sets a variable whose value is masked wherever the step is shown.
    pub fn secret_env(mut self, key: impl Into<String>, value: impl Into<String>) -> Step {
        let key = key.into();
        self.secrets.push(key.clone());
        self.env(key, value)
    }

    /// Keeps those variables of this process whose name is `unwanted` from the program.
    pub fn without_env(mut self, unwanted: impl Fn(&str) -> bool) -> Step {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        self.unset.extend(names.filter(|name| unwanted(name)));
        self.unset.sort();
        self
    }

    /// Sets standard input.
    pub fn stdin(mut self, text: impl Into<String>) -> Step {
        self.stdin = Some(text.into());
        self
    }

    /// Sets the timeout.
    pub fn timeout(mut self, timeout: Duration) -> Step {
        self.timeout = timeout;
        self
    }

    /// Sets what to try when it fails.
    pub fn hint(mut self, hint: impl Into<String>) -> Step {
        self.hint = Some(hint.into());
        self
    }

    fn shown_env(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env.iter().map(|(key, value)| {
            let shown = if self.secrets.contains(key) { "***" } else { value };
            (key.as_str(), shown)
        })
    }

    /// A line that a shell would run, secrets masked.
    pub fn command_line(&self) -> String {
        let mut line = String::new();
        if let Some(cwd) = &self.cwd {
            line.push_str(&format!("cd {} && ", quote(&cwd.to_string_lossy())));
        }
        if !self.unset.is_empty() {
            line.push_str("env ");
        }
        for name in &self.unset {
            line.push_str(&format!("-u {} ", quote(name)));
        }
        for (key, shown) in self.shown_env() {
            line.push_str(&format!("{key}={} ", quote(shown)));
        }
        line.push_str(&quote(&self.program.to_string_lossy()));
        for arg in &self.args {
            line.push(' ');
            line.push_str(&quote(arg));
        }
        line
    }

    fn command(&self) -> Result<Command> {
        let shell = xshell::Shell::new().context("reading the current folder")?;
        if let Some(cwd) = &self.cwd {
            shell.change_dir(cwd);
        }
        let mut command = Command::from(shell.cmd(&self.program).args(&self.args).envs(&self.env));
        for name in self.unset.iter().filter(|name| !self.env.contains_key(*name)) {
            command.env_remove(name);
        }
        Ok(command)
    }
}

/// Quotes a word for a POSIX shell where it needs it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// What a program said and how it ended.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it ran.
    pub elapsed: Duration,
}

impl Output {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Whether it failed for want of disk space, in the words of strerror(3).
    pub fn disk_was_full(&self) -> bool {
        let says_so = |text: &str| text.to_lowercase().contains("no space left on device");
        !self.success() && (says_so(&self.stderr) || says_so(&self.stdout))
    }

    /// The last lines of standard error, or of standard output if that is empty.
    pub fn tail(&self) -> String {
        let text = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let lines: Vec<&str> = text.trim_end().lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

enum Line {
    Out(String),
    Err(String),
}

/// Runs steps, or notes them.
#[derive(Debug, Clone)]
pub struct Runner {
    cancel: Cancel,
    echo: bool,
    plan: Option<Arc<Mutex<Vec<Step>>>>,
}

impl Runner {
    /// A runner that stops when `cancel` is set and prints each command line to standard error if
    /// `echo` is on.
    pub fn new(cancel: Cancel, echo: bool) -> Runner {
        Runner {
            cancel,
            echo,
            plan: None,
        }
    }

    /// The same runner, which notes steps instead of running them; only those that [read](Step::reads) run.
    pub fn planning(self) -> Runner {
        Runner {
            plan: Some(Arc::default()),
            ..self
        }
    }

    /// Whether steps are only noted: what one of them would have made isn't there.
    pub fn plans(&self) -> bool {
        self.plan.is_some()
    }

    /// What would have run so far, in order; nothing outside a plan.
    pub fn planned(&self) -> Vec<Step> {
        let noted = self.plan.as_deref().map(|plan| plan.lock());
        noted.map_or_else(Vec::new, |plan| plan.unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The same runner for what must run after Ctrl-C, too: clean-up, and the evidence of a failure.
    pub fn uncancelled(&self) -> Runner {
        Runner {
            cancel: Cancel::default(),
            ..self.clone()
        }
    }

    /// The flag that ends all work.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Runs the step; any exit code but 0 is an error with the program's last lines.
    pub fn run(&self, step: &Step) -> Result<Output> {
        let output = self.try_run(step)?;
        if output.success() {
            return Ok(output);
        }
        let code = output.code.map_or("a signal".into(), |c| format!("exit code {c}"));
        let what = format!("{} failed with {code}:\n{}", step.name, output.tail());
        if output.disk_was_full() {
            return Err(Failure::environment(what, MORE_SPACE));
        }
        Err(Failure::findings(
            what,
            step.hint
                .clone()
                .unwrap_or_else(|| format!("run it by hand: {}", step.command_line())),
        ))
    }

    /// Runs the step and leaves the judgement of its exit code to the caller.
    pub fn try_run(&self, step: &Step) -> Result<Output> {
        self.stream(step, &mut |_| {})
    }

    /// Like [`Runner::try_run`], and hands over each line of standard error as it comes.
    pub fn stream(&self, step: &Step, on_stderr: &mut dyn FnMut(&str)) -> Result<Output> {
        self.cancel.check()?;
        if let Some(plan) = self.plan.as_ref().filter(|_| !step.reads) {
            plan.lock().unwrap_or_else(PoisonError::into_inner).push(step.clone());
            return Ok(Output {
                code: Some(0),
                ..Output::default()
            });
        }
        if self.echo {
            say(format_args!("$ {}", step.command_line()));
        }
        let started = Instant::now();
        let mut child = self.spawn(step)?;
        let pid = child.id();
        let group = Group(Pid::from_raw(pid as i32));
        if let (Some(text), Some(mut pipe)) = (step.stdin.clone(), child.stdin.take()) {
            // A program that doesn't read its input closes the pipe: not an error of ours.
            std::thread::spawn(move || pipe.write_all(text.as_bytes()));
        }
        let lines = read_lines(&mut child);
        let mut output = Output::default();
        let mut take = |line: Line, output: &mut Output| match line {
            Line::Out(text) => output.stdout.push_str(&text),
            Line::Err(text) => {
                on_stderr(text.trim_end());
                output.stderr.push_str(&text);
            }
        };
        let mut open = true;
        let status = loop {
            if open {
                match lines.recv_timeout(Duration::from_millis(20)) {
                    Ok(line) => take(line, &mut output),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => open = false,
                }
            } else {
                std::thread::sleep(Duration::from_millis(2));
            }
            if let Some(status) = child.try_wait().with_context(|| format!("waiting for {}", step.name))? {
                break status;
            }
            if self.cancel.is_cancelled() {
                group.end(&mut child);
                return Err(Failure::interrupted());
            }
            if started.elapsed() > step.timeout {
                group.end(&mut child);
                return Err(Failure::environment(
                    format!(
                        "{} took longer than {} s and was stopped:\n{}",
                        step.name,
                        step.timeout.as_secs(),
                        output.tail()
                    ),
                    step.hint
                        .clone()
                        .unwrap_or_else(|| format!("run it by hand: {}", step.command_line())),
                ));
            }
        };
        // What it wrote before it ended. A grandchild that keeps the pipe open is not waited for, however
        // much it writes.
        let deadline = Instant::now() + DRAIN;
        while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            take(line, &mut output);
            if Instant::now() >= deadline {
                break;
            }
        }
        output.code = status.code();
        output.elapsed = started.elapsed();
        Ok(output)
    }

    fn spawn(&self, step: &Step) -> Result<Child> {
        let mut command = step.command()?;
        command
            .process_group(0)
            .stdin(if step.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().map_err(|error| {
            let program = step.program.display();
            if error.kind() == std::io::ErrorKind::NotFound {
                Failure::tool(
                    format!("{}: program {program} not found", step.name),
                    step.hint
                        .clone()
                        .unwrap_or_else(|| format!("install {program} or add it to PATH")),
                )
            } else {
                anyhow::Error::new(error).context(format!("starting {program} for {}", step.name))
            }
        })
    }
}

/// The process group of a running step.
struct Group(Pid);

impl Group {
    /// SIGTERM, two seconds, SIGKILL.
    fn end(&self, child: &mut Child) {
        // The group may be gone already: nothing to do then.
        let _ = killpg(self.0, Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            if matches!(child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = killpg(self.0, Signal::SIGKILL);
        let _ = child.wait();
    }
}

fn read_lines(child: &mut Child) -> mpsc::Receiver<Line> {
    fn pump(pipe: Option<impl std::io::Read + Send + 'static>, wrap: fn(String) -> Line, to: mpsc::Sender<Line>) {
        let Some(pipe) = pipe else { return };
        std::thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                if to.send(wrap(String::from_utf8_lossy(&line).into_owned())).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
    let (to, lines) = mpsc::channel();
    pump(child.stdout.take(), Line::Out, to.clone());
    pump(child.stderr.take(), Line::Err, to);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Kind, kind_of};

    fn runner() -> Runner {
        Runner::new(Cancel::default(), false)
    }

    #[test]
    fn output_and_exit_code_come_back() {
        let step = Step::new("say", "sh")
            .args(["-c", "cat; echo err >&2; exit 3"])
            .stdin("in");
        let output = runner().try_run(&step).unwrap();
        assert_eq!(
            (output.code, output.stdout.as_str(), output.stderr.as_str()),
            (Some(3), "in", "err\n")
        );
    }

    #[test]
    fn a_failed_step_shows_its_last_lines_and_how_to_repeat_it() {
        let error = runner()
            .run(&Step::new("broken", "sh").args(["-c", "echo because >&2; exit 1"]))
            .unwrap_err();
        assert!(error.to_string().contains("because"), "{error}");
        assert!(crate::failure::remedy_of(&error).unwrap().contains("sh -c"));
    }

    #[test]
    fn a_program_that_met_a_full_disk_blames_the_disk() {
        let step = Step::new("s", "sh").args(["-c", "echo 'write x: No space left on device' >&2; exit 1"]);
        assert_eq!(kind_of(&runner().run(&step).unwrap_err()), Kind::Environment);
    }

    #[test]
    fn a_missing_program_is_a_tool_failure() {
        let error = runner().run(&Step::new("x", "no-such-program-here")).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Tool);
    }

    #[test]
    fn a_timeout_kills_the_whole_group() {
        let step = Step::new("hang", "sh")
            .args(["-c", "sleep 600 & wait"])
            .timeout(Duration::from_millis(200));
        assert_eq!(kind_of(&runner().try_run(&step).unwrap_err()), Kind::Environment);
    }

    #[test]
    fn cancelling_ends_a_running_step() {
        let cancel = Cancel::default();
        let flag = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            flag.cancel();
        });
        let error = Runner::new(cancel, false)
            .try_run(&Step::new("hang", "sleep").arg("600"))
            .unwrap_err();
        assert_eq!(kind_of(&error), Kind::Interrupted);
    }

    #[test]
    fn a_grandchild_that_goes_on_writing_does_not_hold_the_run() {
        let step = Step::new("daemon", "sh").args(["-c", "(while :; do echo x; sleep 0.1; done) & echo $!"]);
        let (to, ended) = mpsc::channel();
        std::thread::spawn(move || to.send(runner().try_run(&step)));
        let output = ended.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
        let daemon = output.stdout.lines().find(|line| *line != "x").unwrap();
        nix::sys::signal::kill(Pid::from_raw(daemon.parse().unwrap()), Signal::SIGKILL).unwrap();
        assert!(output.success());
    }

    #[test]
    fn secrets_are_masked_where_a_step_is_shown() {
        let step = Step::new("s", "prog").secret_env("TOKEN", "abc").arg("two words");
        assert_eq!(step.command_line(), "TOKEN='***' prog 'two words'");
        let json = serde_json::to_value(step.timeout(Duration::from_secs(7))).unwrap();
        assert_eq!((&json["env"]["TOKEN"], &json["timeout"]), (&"***".into(), &7.into()));
    }

    #[test]
    fn a_variable_that_is_kept_from_a_program_is_kept_from_the_shown_line_too() {
        let step = Step::new("s", "sh").args(["-c", "echo ${PATH-none} ${HOME-none}"]);
        let step = step.without_env(|name| name == "HOME");
        assert!(
            step.command_line().starts_with("env -u HOME sh "),
            "{}",
            step.command_line()
        );
        let shown = runner().run(&step).unwrap().stdout;
        assert!(shown.ends_with(" none\n") && !shown.starts_with("none"), "{shown}");
        let again = runner().run(&step.env("HOME", "/h")).unwrap().stdout;
        assert!(again.ends_with(" /h\n"), "{again}");
    }

    #[test]
    fn a_plan_notes_steps_and_runs_only_those_that_read() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("made");
        let planning = runner().planning();
        let make = Step::new("make", "touch").path_arg(&file);
        assert!(planning.run(&make).unwrap().success() && !file.exists());
        let ask = Step::new("ask", "echo").arg("answer").reads();
        assert_eq!(planning.clone().run(&ask).unwrap().stdout, "answer\n");
        let noted: Vec<_> = planning.planned().iter().map(Step::command_line).collect();
        assert_eq!(noted, [make.command_line()]);
        assert!(planning.plans() && !runner().plans() && runner().planned().is_empty());
    }
}
