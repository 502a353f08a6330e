//! An S3 server as a process of this machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use charts::tools::Installed;
use kit::run_dir::{MARKER, RunDir};
use kit::step::Cancel;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::network::Network;
use crate::backend::{Bucket, ObjectStore};
use crate::wait::{Look, wait_for};

/// Its address has all ports to itself.
const PORT: u16 = 7070;
const READY: Duration = Duration::from_secs(60);

/// versitygw on a folder of this machine. Dropping it stops it.
pub struct S3Server {
    run: RunDir,
    address: SocketAddr,
    /// Keeps the address.
    _network: Network,
    child: Mutex<Child>,
}

impl S3Server {
    /// Starts the server at an address of its own and waits until it answers.
    pub async fn start(tool: &Installed, bucket: &Bucket<'_>, runs: &Path, cancel: &Cancel) -> Result<S3Server> {
        let run = RunDir::create(runs, "s3")?;
        let network = Network::claim()?;
        let address = SocketAddr::from((network.address()?, PORT));
        let folder = run.path().join("root").join(bucket.name);
        let sidecar = run.path().join("sidecar");
        for dir in [&folder, &sidecar] {
            fs_err::create_dir_all(dir)?;
        }
        let log = std::fs::File::create(run.path().join("log")).context("making the S3 server's log")?;
        let child = Command::new(&tool.path)
            .args(["--port", &address.to_string(), "posix", "--sidecar"])
            .arg(&sidecar)
            .arg(run.path().join("root"))
            .env_clear()
            .env("ROOT_ACCESS_KEY", bucket.access_key)
            .env("ROOT_SECRET_KEY", bucket.secret_key)
            .env(MARKER, run.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("sharing the log")?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", tool.path.display()))?;
        let server = S3Server {
            run,
            address,
            _network: network,
            child: Mutex::new(child),
        };
        wait_for("the S3 server", READY, cancel, || async {
            Ok(match tokio::net::TcpStream::connect(server.endpoint()).await {
                Ok(_) => Look::Found(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await?;
        Ok(server)
    }
}

#[async_trait]
impl ObjectStore for S3Server {
    fn endpoint(&self) -> String {
        self.address.to_string()
    }

    async fn objects(&self) -> Result<Vec<String>> {
        let entries = walkdir::WalkDir::new(self.run.path().join("root"))
            .into_iter()
            .flatten()
            .filter(|e| e.file_type().is_file());
        let paths: Vec<PathBuf> = entries.map(walkdir::DirEntry::into_path).collect();
        Ok(paths.iter().map(|path| path.display().to_string()).collect())
    }

    async fn shut_down(&self) -> Result<()> {
        self.child.lock().await.kill().await.context("stopping the S3 server")
    }
}
