//! A container as a supervised process: started again when it ends, judged by its probes, stopped as
//! Kubernetes stops it.

mod probe;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::run_dir::MARKER;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

pub use self::probe::Probes;
use self::probe::{Verdict, probe};
use crate::backend::Stop;

/// The longest pause between restarts. Kubernetes goes up to five minutes; a test can't wait for that.
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);
/// The stop of a process that doesn't run.
const NOTHING_RAN: Stop = Stop {
    elapsed: Duration::ZERO,
    killed: false,
};

/// What to run.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Where its output goes.
    pub log: PathBuf,
    /// The run folder, for the marker in the environment.
    pub run: PathBuf,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// Its probes.
    pub probes: Probes,
    /// Whether it is done once it ended with 0, as an init container is.
    pub once: bool,
    /// What has to be ready, or done, before it starts.
    pub after: Option<watch::Receiver<Status>>,
}

/// What is known of a container.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The running process.
    pub pid: Option<u32>,
    /// Whether the startup probe has passed, or what runs once is done: what comes after it may start.
    pub started: bool,
    /// Whether the readiness probe passes.
    pub ready: bool,
    /// Why it isn't ready, as the last probe said it.
    pub why: String,
    /// How often it ended by itself or was ended by its probes.
    pub crashes: u32,
    /// The same since it was last ready.
    pub failed_starts: u32,
    /// How it ended last.
    pub last_end: String,
}

enum Order {
    Restart(oneshot::Sender<Stop>),
    Stop(oneshot::Sender<Stop>),
}

/// A supervised process. Dropping it kills the process.
pub struct Supervised {
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Supervised {
    /// Starts the process and its supervision.
    pub fn start(spec: ProcessSpec) -> Supervised {
        let (orders, inbox) = mpsc::channel(4);
        let (publish, status) = watch::channel(Status::default());
        let task = tokio::spawn(
            Supervisor {
                spec,
                status: publish,
                inbox,
                starts: 0,
            }
            .run(),
        );
        Supervised { orders, status, task }
    }

    /// What is known of it now.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// What is known of it from now on.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Sends a signal to the process, if it runs.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = self.status().pid else { return Ok(()) };
        let pid = i32::try_from(pid).context("a pid")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("sending {signal} to process {pid}"))
    }

    /// Stops it as a container restart does and starts it again.
    pub async fn restart(&self) -> Result<Stop> {
        self.order(Order::Restart).await
    }

    /// Stops it for good.
    pub async fn stop(&self) -> Result<Stop> {
        self.order(Order::Stop).await
    }

    async fn order(&self, order: fn(oneshot::Sender<Stop>) -> Order) -> Result<Stop> {
        let (reply, answer) = oneshot::channel();
        self.orders
            .send(order(reply))
            .await
            .ok()
            .context("the container's supervisor has ended")?;
        answer.await.context("the container's supervisor has ended")
    }
}

struct Supervisor {
    spec: ProcessSpec,
    status: watch::Sender<Status>,
    inbox: mpsc::Receiver<Order>,
    starts: u32,
}

/// What ended the watch over a process.
enum Watched {
    Exited(String),
    Done,
    Ordered(Order),
}

/// What comes after a process.
enum End {
    Exited(String),
    Done,
    Again,
    Dropped,
}

impl Supervisor {
    async fn run(mut self) {
        if !self.its_turn().await {
            return;
        }
        loop {
            let end = match self.spawn().await {
                Ok(mut child) => self.watch(&mut child).await,
                Err(error) => End::Exited(format!("can't be started: {error:#}")),
            };
            match end {
                End::Exited(how) => {
                    let crashes = self.crashed(how);
                    let pause = Duration::from_secs(1 << crashes.min(4).saturating_sub(1)) / 2;
                    if !self.pause(pause.min(LONGEST_BACKOFF)).await {
                        return;
                    }
                }
                End::Again => {}
                End::Done => {
                    self.status.send_modify(|status| {
                        status.pid = None;
                        status.started = true;
                        status.ready = true;
                    });
                    // Nothing is left to supervise but the order to stop.
                    let Some(Order::Restart(reply) | Order::Stop(reply)) = self.inbox.recv().await else {
                        return;
                    };
                    let _ = reply.send(NOTHING_RAN);
                    return;
                }
                End::Dropped => return,
            }
        }
    }

    /// Waits for what has to come first; false if the container is not wanted any more.
    async fn its_turn(&mut self) -> bool {
        let Some(mut before) = self.spec.after.take() else {
            return true;
        };
        self.status
            .send_modify(|status| status.why = "waits for an init container".into());
        let order = tokio::select! {
            ready = before.wait_for(|status| status.started) => match ready {
                Ok(_) => return true,
                // What it waits for was stopped, and this is stopped next.
                Err(_) => None,
            },
            order = self.inbox.recv() => Some(order),
        };
        let order = match order {
            Some(order) => order,
            None => self.inbox.recv().await,
        };
        if let Some(Order::Restart(reply) | Order::Stop(reply)) = order {
            let _ = reply.send(NOTHING_RAN);
        }
        false
    }

    fn crashed(&self, how: String) -> u32 {
        self.status.send_modify(|status| {
            status.pid = None;
            status.ready = false;
            status.crashes += 1;
            status.failed_starts += 1;
            status.why = how.clone();
            status.last_end = how;
        });
        self.status.borrow().crashes
    }

    /// Waits before the next start; false if the container is not wanted any more.
    async fn pause(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = sleep(pause) => true,
            order = self.inbox.recv() => match order {
                Some(Order::Restart(reply)) => { let _ = reply.send(NOTHING_RAN); true }
                Some(Order::Stop(reply)) => { let _ = reply.send(NOTHING_RAN); false }
                None => false,
            },
        }
    }

    async fn spawn(&mut self) -> Result<Child> {
        self.starts += 1;
        let log = &self.spec.log;
        let mut file = tokio::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .await
            .with_context(|| format!("writing {}", log.display()))?;
        let line = format!(
            "=== start {}: {} {}\n",
            self.starts,
            self.spec.program.display(),
            self.spec.args.join(" ")
        );
        file.write_all(line.as_bytes())
            .await
            .with_context(|| format!("writing {}", log.display()))?;
        file.flush()
            .await
            .with_context(|| format!("writing {}", log.display()))?;
        let file = file.into_std().await;
        let child = Command::new(&self.spec.program)
            .args(&self.spec.args)
            .env_clear()
            .envs(&self.spec.env)
            .env(MARKER, &self.spec.run)
            .current_dir(&self.spec.run)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("sharing the log file")?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.spec.program.display()))?;
        self.status.send_modify(|status| {
            status.pid = child.id();
            status.started = false;
            status.ready = false;
            status.why = "starting".into();
        });
        Ok(child)
    }

    async fn watch(&mut self, child: &mut Child) -> End {
        let (sender, mut verdicts) = mpsc::channel(8);
        // Ends with this watch, however that ends.
        let mut prober = JoinSet::new();
        prober.spawn(probe(self.spec.probes.clone(), sender));
        let end = loop {
            tokio::select! {
                ended = child.wait() => break match ended {
                    Ok(status) if self.spec.once && status.success() => Watched::Done,
                    Ok(status) => Watched::Exited(format!("ended with {status}")),
                    Err(error) => Watched::Exited(format!("can't be waited for: {error}")),
                },
                order = self.inbox.recv() => match order {
                    Some(order) => break Watched::Ordered(order),
                    // The handle is gone: dropping the child kills it.
                    None => return End::Dropped,
                },
                Some(verdict) = verdicts.recv(), if !self.spec.once => match verdict {
                    Verdict::Started => self.status.send_modify(|status| status.started = true),
                    Verdict::Ready(result) => self.status.send_modify(|status| {
                        status.ready = result.is_ok();
                        if status.ready {
                            status.failed_starts = 0;
                        }
                        status.why = result.err().unwrap_or_default();
                    }),
                    Verdict::Dead(why) => {
                        self.stop(child).await;
                        break Watched::Exited(format!("stopped: {why}"));
                    }
                },
            }
        };
        drop(prober);
        match end {
            Watched::Exited(how) => End::Exited(how),
            Watched::Done => End::Done,
            Watched::Ordered(order) => {
                let stop = self.stop(child).await;
                let (reply, again) = match order {
                    Order::Restart(reply) => (reply, End::Again),
                    Order::Stop(reply) => (reply, End::Dropped),
                };
                // The one who asked may have gone meanwhile.
                let _ = reply.send(stop);
                again
            }
        }
    }

    /// SIGTERM, the grace period, SIGKILL.
    async fn stop(&self, child: &mut Child) -> Stop {
        let started = Instant::now();
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // Gone already is as good as stopped.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let killed = timeout(self.spec.grace, child.wait()).await.is_err();
        if killed {
            let _ = child.kill().await;
        }
        self.status.send_modify(|status| {
            status.pid = None;
            status.ready = false;
            status.why = "stopped".into();
        });
        Stop {
            elapsed: started.elapsed(),
            killed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::probe::{Probe, Target};
    use super::*;

    fn spec(dir: &std::path::Path, script: &str, grace: Duration) -> ProcessSpec {
        ProcessSpec {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::new(),
            log: dir.join("log"),
            run: dir.to_path_buf(),
            grace,
            probes: Probes::default(),
            once: false,
            after: None,
        }
    }

    async fn until(container: &Supervised, what: impl Fn(&Status) -> bool) -> Status {
        let mut status = container.status.clone();
        status.wait_for(|s| what(s)).await.unwrap().clone()
    }

    #[tokio::test]
    async fn a_process_that_ends_is_started_again_whatever_its_exit_code() {
        let temp = tempfile::tempdir().unwrap();
        let container = Supervised::start(spec(temp.path(), "echo said; exit 0", Duration::from_secs(1)));
        let status = until(&container, |s| s.crashes >= 2).await;
        assert_eq!(status.last_end, "ended with exit status: 0");
        let log = std::fs::read_to_string(temp.path().join("log")).unwrap();
        assert!(log.contains("=== start 2") && log.contains("said"), "{log}");
    }

    #[tokio::test]
    async fn a_container_starts_when_what_comes_first_has_ended_with_0() {
        let temp = tempfile::tempdir().unwrap();
        let script = "test -e again || { touch again; exit 3; }; touch done";
        let first = Supervised::start(ProcessSpec {
            once: true,
            ..spec(temp.path(), script, Duration::from_secs(1))
        });
        let second = Supervised::start(ProcessSpec {
            after: Some(first.watch()),
            ..spec(temp.path(), "test -e done && exec sleep 600", Duration::from_secs(5))
        });
        let status = until(&second, |s| s.ready).await;
        assert_eq!((status.crashes, first.status().crashes), (0, 1));
        assert!(first.status().last_end.contains("status: 3"));
        second.stop().await.unwrap();
        first.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_frozen_process_goes_on_where_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let container = Supervised::start(spec(temp.path(), "exec sleep 600", Duration::from_secs(5)));
        let pid = until(&container, |s| s.pid.is_some()).await.pid.unwrap();
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit(") ").next().unwrap().chars().next().unwrap()
        };
        container.signal(Signal::SIGSTOP).unwrap();
        while state() != 'T' {
            sleep(Duration::from_millis(5)).await;
        }
        container.signal(Signal::SIGCONT).unwrap();
        while state() == 'T' {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(container.status().pid, Some(pid));
    }

    #[tokio::test]
    async fn a_polite_process_is_not_killed_and_a_restart_is_no_crash() {
        let temp = tempfile::tempdir().unwrap();
        let container = Supervised::start(spec(temp.path(), "exec sleep 600", Duration::from_secs(60)));
        let first = until(&container, |s| s.pid.is_some()).await.pid;
        assert!(!container.restart().await.unwrap().killed);
        let status = until(&container, |s| s.pid.is_some() && s.pid != first).await;
        assert_eq!(status.crashes, 0);
        assert!(!container.stop().await.unwrap().killed);
        assert_eq!(container.status().pid, None);
    }

    #[tokio::test]
    async fn a_stubborn_process_is_killed_after_the_grace_period() {
        let temp = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo armed; while :; do sleep 0.05; done";
        let container = Supervised::start(spec(temp.path(), script, Duration::from_millis(200)));
        let log = temp.path().join("log");
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\narmed")) {
            sleep(Duration::from_millis(10)).await;
        }
        assert!(container.stop().await.unwrap().killed);
    }

    #[tokio::test]
    async fn the_probes_of_a_container_end_with_it() {
        let temp = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut spec = spec(temp.path(), "exec sleep 600", Duration::from_secs(5));
        spec.probes.readiness = Some(Probe {
            target: Target::Tcp(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()),
            period: Duration::from_millis(10),
            timeout: Duration::from_secs(1),
            failures: 1,
            delay: Duration::ZERO,
        });
        let container = Supervised::start(spec);
        until(&container, |s| s.ready).await;
        listener.accept().await.unwrap();
        drop(container);
        // What was asked before the end may still wait to be accepted; then it is silent.
        let mut asked = 0;
        while timeout(Duration::from_millis(200), listener.accept()).await.is_ok() {
            asked += 1;
            assert!(asked < 500, "the probes go on");
        }
    }

    #[tokio::test]
    async fn a_failing_startup_probe_names_its_cause_and_ends_the_process() {
        let temp = tempfile::tempdir().unwrap();
        let mut spec = spec(temp.path(), "exec sleep 600", Duration::from_secs(5));
        let port = crate::ports::Ports::default().free().unwrap();
        spec.probes.startup = Some(Probe {
            target: Target::Http(format!("http://127.0.0.1:{port}/ready")),
            period: Duration::from_millis(100),
            timeout: Duration::from_secs(1),
            failures: 2,
            delay: Duration::ZERO,
        });
        let container = Supervised::start(spec);
        let status = until(&container, |s| s.crashes > 0).await;
        assert!(
            status.last_end.contains("startup probe failed") && status.last_end.contains("refused"),
            "{status:?}"
        );
    }
}
