//! A container's probes, asked as Kubernetes asks them.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container, Probe as KubernetesProbe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::client::credentials::http_client;

/// How often a probe that has not passed yet is asked: sooner than its period, so that a start is
/// measured and not rounded.
const EAGER_PERIOD: Duration = Duration::from_millis(50);

/// A container's probes; a missing one counts as passed, as in Kubernetes.
#[derive(Debug, Clone, Default)]
pub struct Probes {
    pub(super) startup: Option<Probe>,
    pub(super) readiness: Option<Probe>,
    pub(super) liveness: Option<Probe>,
}

impl Probes {
    /// Reads the probes of a container in the pod of that address; `host` says where a path in it is on this machine.
    pub fn read(container: &Container, pod: Ipv4Addr, host: impl Fn(&str) -> Result<PathBuf>) -> Result<Probes> {
        let read = |probe: &Option<KubernetesProbe>| {
            let read = probe.as_ref().map(|p| Probe::read(p, container, pod, &host));
            read.transpose()
        };
        Ok(Probes {
            startup: read(&container.startup_probe)?,
            readiness: read(&container.readiness_probe)?,
            liveness: read(&container.liveness_probe)?,
        })
    }
}

/// One probe, with the defaults of the Kubernetes API filled in.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) target: Target,
    pub(super) period: Duration,
    pub(super) timeout: Duration,
    pub(super) failures: u32,
    pub(super) delay: Duration,
}

#[derive(Debug, Clone)]
pub(super) enum Target {
    Http(String),
    Tcp(Ipv4Addr, u16),
    /// `test -e FILE`, the one command that a rendered probe runs.
    Exists(PathBuf),
}

impl Probe {
    fn read(
        probe: &KubernetesProbe,
        container: &Container,
        pod: Ipv4Addr,
        host: &impl Fn(&str) -> Result<PathBuf>,
    ) -> Result<Probe> {
        let command = probe.exec.as_ref().and_then(|exec| exec.command.as_deref());
        let target = if let Some(http) = &probe.http_get {
            let port = port_number(&http.port, container)?;
            Target::Http(format!("http://{pod}:{port}{}", http.path.as_deref().unwrap_or("/")))
        } else if let Some(tcp) = &probe.tcp_socket {
            Target::Tcp(pod, port_number(&tcp.port, container)?)
        } else if let Some([test, exists, file]) = command
            && (test.as_str(), exists.as_str()) == ("test", "-e")
        {
            Target::Exists(host(file)?)
        } else {
            anyhow::bail!(
                "container {} has a probe that the local backend doesn't know",
                container.name
            );
        };
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.map_or(default, |v| u64::from(v.unsigned_abs())))
        };
        Ok(Probe {
            target,
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            failures: probe.failure_threshold.map_or(3, i32::unsigned_abs).max(1),
            delay: seconds(probe.initial_delay_seconds, 0),
        })
    }

    /// How long it may fail before it counts as failed.
    fn startup_timeout(&self) -> Duration {
        self.period * self.failures
    }

    async fn ask(&self, client: &reqwest::Client) -> Result<(), String> {
        match &self.target {
            Target::Http(url) => {
                let answer = client.get(url).timeout(self.timeout).send().await;
                let response = answer.map_err(|error| format!("{url}: {}", innermost(&error)))?;
                let status = response.status();
                if status.is_success() || status.is_redirection() {
                    return Ok(());
                }
                let body = response.text().await.unwrap_or_default();
                Err(format!("{url}: {status} {}", body.trim()))
            }
            Target::Tcp(pod, port) => match timeout(self.timeout, TcpStream::connect((*pod, *port))).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("port {port}: {error}")),
                Err(_) => Err(format!("port {port}: no answer in {} s", self.timeout.as_secs())),
            },
            Target::Exists(file) if file.exists() => Ok(()),
            Target::Exists(file) => Err(format!("there is no {}", file.display())),
        }
    }
}

fn port_number(port: &IntOrString, container: &Container) -> Result<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_ref() == Some(name))
            .map(|p| p.container_port)
            .with_context(|| format!("container {} has no port named {name}", container.name))?,
    };
    u16::try_from(number).with_context(|| format!("{number} is not a port"))
}

/// The cause at the bottom of an error: "connection refused" rather than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What the probes say of a container.
pub(super) enum Verdict {
    Started,
    Ready(Result<(), String>),
    Dead(String),
}

/// Asks the probes in Kubernetes' order: startup first, then readiness and liveness side by side.
pub(super) async fn probe(probes: Probes, verdicts: mpsc::Sender<Verdict>) {
    let client = match http_client() {
        Ok(client) => client,
        Err(error) => {
            let _ = verdicts.send(Verdict::Dead(format!("probes: {error:#}"))).await;
            return;
        }
    };
    if let Some(startup) = &probes.startup {
        sleep(startup.delay).await;
        let begun = Instant::now();
        loop {
            let Err(why) = startup.ask(&client).await else { break };
            if begun.elapsed() > startup.startup_timeout() {
                let _ = verdicts
                    .send(Verdict::Dead(format!("startup probe failed: {why}")))
                    .await;
                return;
            }
            let _ = verdicts.send(Verdict::Ready(Err(why))).await;
            sleep(EAGER_PERIOD).await;
        }
    }
    if verdicts.send(Verdict::Started).await.is_err() {
        return;
    }
    tokio::join!(
        watch_readiness(&probes, &client, &verdicts),
        watch_liveness(&probes, &client, &verdicts)
    );
}

async fn watch_readiness(probes: &Probes, client: &reqwest::Client, verdicts: &mpsc::Sender<Verdict>) {
    let Some(readiness) = &probes.readiness else {
        let _ = verdicts.send(Verdict::Ready(Ok(()))).await;
        return;
    };
    sleep(readiness.delay).await;
    let (mut ready, mut failing) = (false, 0);
    loop {
        match readiness.ask(client).await {
            Ok(()) => {
                failing = 0;
                if !ready && verdicts.send(Verdict::Ready(Ok(()))).await.is_err() {
                    return;
                }
                ready = true;
            }
            Err(why) => {
                failing += 1;
                if (!ready || failing >= readiness.failures) && verdicts.send(Verdict::Ready(Err(why))).await.is_err() {
                    return;
                }
                ready &= failing < readiness.failures;
            }
        }
        sleep(if ready { readiness.period } else { EAGER_PERIOD }).await;
    }
}

async fn watch_liveness(probes: &Probes, client: &reqwest::Client, verdicts: &mpsc::Sender<Verdict>) {
    let Some(liveness) = &probes.liveness else { return };
    sleep(liveness.delay).await;
    let mut failing = 0;
    loop {
        match liveness.ask(client).await {
            Ok(()) => failing = 0,
            Err(why) => {
                failing += 1;
                if failing >= liveness.failures {
                    let _ = verdicts
                        .send(Verdict::Dead(format!("liveness probe failed: {why}")))
                        .await;
                    return;
                }
            }
        }
        sleep(liveness.period).await;
    }
}
