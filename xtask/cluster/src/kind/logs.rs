//! Gathers the logs and objects of a cluster, healthy or not.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::step::Step;

use crate::kind::Cluster;
use crate::readiness;

/// `kind export logs` has been seen to hang (kind #588).
const LOGS_TIMEOUT: Duration = Duration::from_secs(60);

impl Cluster {
    /// Gathers into `dir` what kind can export, then what the API server knows. Returns what is missing.
    pub fn logs(&self, dir: &Path) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        missing.extend(self.export_logs(dir));
        let queries: [(&str, &[&str]); 4] = [
            ("nodes.yaml", &["get", "nodes", "-o", "yaml"]),
            ("pods.yaml", &["get", "pods", "--all-namespaces", "-o", "yaml"]),
            ("volumes.yaml", &["get", "pv,pvc", "--all-namespaces", "-o", "yaml"]),
            (
                "events.txt",
                &["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"],
            ),
        ];
        for (file, query) in queries {
            missing.extend(self.save(&self.kubectl(query), &dir.join(file)));
        }
        let list = self.kubectl(&["get", "pods", "--all-namespaces", "-o", "json"]).reads();
        let output = self.project.runner.try_run(&list)?;
        let pods = if output.success() {
            readiness::pods(&output.stdout)?
        } else {
            Vec::new()
        };
        for pod in &pods {
            let (namespace, name) = (
                readiness::namespace(pod),
                pod.metadata.name.as_deref().unwrap_or_default(),
            );
            for container in readiness::statuses(pod) {
                let mut query = vec!["logs", "--namespace", namespace, name, "--container", &container.name];
                let file = |end: &str| {
                    let folder = dir.join("pods").join(namespace);
                    folder.join(format!("{name}-{}.{end}", container.name))
                };
                missing.extend(self.save(&self.kubectl(&query), &file("log")));
                if container.restart_count > 0 {
                    query.push("--previous");
                    missing.extend(self.save(&self.kubectl(&query), &file("previous.log")));
                }
            }
        }
        Ok(missing)
    }

    fn save(&self, step: &Step, file: &Path) -> Option<String> {
        let saved = self.docker.run(step).and_then(|output| {
            if self.project.runner.plans() {
                return Ok(());
            }
            let dir = file.parent().context("a file has a folder")?;
            fs_err::create_dir_all(dir)?;
            Ok(fs_err::write(file, output.stdout)?)
        });
        saved.err().map(|error| format!("{}: {error:#}", file.display()))
    }

    /// `kind export logs`. It exits with 1 where the node has no crictl, after writing the rest.
    fn export_logs(&self, dir: &Path) -> Option<String> {
        let exported = self.kind().and_then(|kind| {
            let step = Step::new("export kind's logs", kind)
                .args(["export", "logs", "--name", &self.name])
                .path_arg(&dir.join("kind"))
                .timeout(LOGS_TIMEOUT);
            self.project.runner.try_run(&step)
        });
        match exported {
            Ok(output) if output.success() => None,
            Ok(output) => Some(format!(
                "kind export logs: {}",
                output.tail().lines().next_back().unwrap_or_default()
            )),
            Err(error) => Some(format!("kind export logs: {error:#}")),
        }
    }
}
