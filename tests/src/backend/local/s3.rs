//! An S3 server as a process of this machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use async_trait::async_trait;
use kit::step::Cancel;

use super::companion::{Companion, Start};
use crate::backend::{Bucket, Fault, ObjectStore};

const PORT: u16 = 7070;

const NAME: &str = "s3";

/// versitygw on a folder of this machine. Dropping it stops it.
pub struct S3Server {
    companion: Companion,
    /// Of the relay in front of it.
    address: SocketAddr,
}

impl S3Server {
    /// Starts the server and waits until it answers.
    pub async fn start(program: &Path, bucket: &Bucket<'_>, runs: &Path, cancel: &Cancel) -> Result<S3Server> {
        let companion = Companion::start(NAME, program, PORT, runs, cancel, |folder, address| {
            let (root, sidecar) = (folder.join("root"), folder.join("sidecar"));
            for dir in [&root.join(bucket.name), &sidecar] {
                fs_err::create_dir_all(dir)?;
            }
            let path = |path: PathBuf| path.display().to_string();
            Ok(Start::default()
                .args(["--port", &address.to_string(), "posix"])
                .args(["--sidecar", &path(sidecar), &path(root)])
                .variable("ROOT_ACCESS_KEY", bucket.access_key)
                .variable("ROOT_SECRET_KEY", bucket.secret_key))
        });
        let companion = companion.await?;
        let address = companion.network().stand_before(NAME, PORT).await?;
        Ok(S3Server { companion, address })
    }
}

#[async_trait]
impl ObjectStore for S3Server {
    fn endpoint(&self) -> String {
        self.address.to_string()
    }

    async fn objects(&self) -> Result<Vec<String>> {
        let entries = walkdir::WalkDir::new(self.companion.folder().join("root"))
            .into_iter()
            .flatten()
            .filter(|e| e.file_type().is_file());
        let paths: Vec<PathBuf> = entries.map(walkdir::DirEntry::into_path).collect();
        Ok(paths.iter().map(|path| path.display().to_string()).collect())
    }

    async fn disturb(&self, fault: Fault) -> Result<()> {
        let network = self.companion.network();
        anyhow::ensure!(
            network.disturb(NAME, fault),
            "an S3 server can't have the fault {fault:?}"
        );
        Ok(())
    }

    async fn recover(&self) -> Result<()> {
        self.companion.network().recover(NAME);
        Ok(())
    }

    fn disturbed(&self) -> u64 {
        self.companion.network().disturbed()
    }

    async fn shut_down(&self) -> Result<()> {
        self.companion.shut_down().await
    }
}
