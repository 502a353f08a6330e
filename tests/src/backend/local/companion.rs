//! A program that runs beside stacks as a process of this machine: an object store, a cache, a Prometheus.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::run_dir::{MARKER, RunDir};
use kit::step::Cancel;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::network::Network;
use crate::wait::{Look, wait_for};

const READY: Duration = Duration::from_secs(60);

/// How a program is started.
#[derive(Debug, Default)]
pub(super) struct Start {
    args: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Start {
    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Start {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn variable(mut self, name: &'static str, value: &str) -> Start {
        self.variables.push((name, value.to_owned()));
        self
    }
}

/// The process with its folder and its address. Dropping it stops it.
pub(super) struct Companion {
    name: &'static str,
    program: PathBuf,
    start: Start,
    run: RunDir,
    address: SocketAddr,
    network: Network,
    child: Mutex<Child>,
}

impl Companion {
    /// Starts a program at an address of its own, which has all ports to itself, and waits until it takes
    /// connections. `prepare` writes its files into the folder and says how it is started. Of our variables it
    /// gets the path only.
    pub async fn start(
        name: &'static str,
        program: &Path,
        port: u16,
        runs: &Path,
        cancel: &Cancel,
        prepare: impl FnOnce(&Path, SocketAddr) -> Result<Start>,
    ) -> Result<Companion> {
        let run = RunDir::create(runs, name)?;
        let network = Network::claim()?;
        network.add_pod(name)?;
        let address = SocketAddr::from((network.pod(name)?, port));
        let start = prepare(run.path(), address)?;
        let child = spawn(program, &start, &run)?;
        let companion = Companion {
            name,
            program: program.to_owned(),
            start,
            run,
            address,
            network,
            child: Mutex::new(child),
        };
        companion.answers(cancel).await?;
        Ok(companion)
    }

    /// Starts it again after [`Companion::shut_down`], at the same address and in the same folder, and waits until
    /// it takes connections.
    pub async fn start_again(&self, cancel: &Cancel) -> Result<()> {
        *self.child.lock().await = spawn(&self.program, &self.start, &self.run)?;
        self.answers(cancel).await
    }

    async fn answers(&self, cancel: &Cancel) -> Result<()> {
        wait_for(self.name, READY, cancel, || async {
            if let Some(status) = self.child.lock().await.try_wait().context("looking at it")? {
                let log = fs_err::read_to_string(self.folder().join("log"))?;
                let last = log.lines().last().unwrap_or("nothing");
                return Ok(Look::Never(anyhow::anyhow!("it ended with {status}: {last}")));
            }
            Ok(match tokio::net::TcpStream::connect(self.address).await {
                Ok(_) => Look::Found(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await?;
        Ok(())
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.run.path()
    }

    /// Its network, in which it is a pod of its own name.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where it is reached, from stacks and from here.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it.
    pub async fn shut_down(&self) -> Result<()> {
        let stopped = self.child.lock().await.kill().await;
        stopped.with_context(|| format!("stopping {}", self.name))
    }
}

fn spawn(program: &Path, start: &Start, run: &RunDir) -> Result<Child> {
    let mut log = fs_err::OpenOptions::new();
    let log = log.create(true).append(true).open(run.path().join("log"))?.into_file();
    Command::new(program)
        .args(&start.args)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(start.variables.iter().map(|(name, value)| (name, value)))
        .env(MARKER, run.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("sharing the log")?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))
}
