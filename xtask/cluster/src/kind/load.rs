//! Copies images from Docker into the nodes of a cluster.

use std::time::Duration;

use anyhow::Result;
use kit::failure::Failure;
use kit::run_dir::RunDir;
use kit::step::Step;

use crate::docker::Docker;
use crate::kind::{CREATE, Cluster};

/// The largest image takes seconds; a slow disk takes longer.
const LOAD_TIMEOUT: Duration = Duration::from_secs(600);

impl Cluster {
    /// Copies images from Docker into the nodes; those that are there already are left out.
    /// Returns how many were copied.
    pub fn load(&self, images: &[String]) -> Result<usize> {
        if images.is_empty() {
            return Ok(0);
        }
        let kind = self.kind()?;
        let mut missing = Vec::new();
        let Some(listing) = self.node_images()? else {
            return Ok(0);
        };
        for name in images {
            let image = self.docker.image(name)?.ok_or_else(|| {
                Failure::environment(
                    format!("Docker has no image {name}"),
                    format!("docker pull {name}, or build it: `cargo xtask cluster images` builds the test bed's"),
                )
            })?;
            if !listed(&listing, name, &image.id) {
                missing.push(name.clone());
            }
        }
        if missing.is_empty() {
            return Ok(0);
        }
        let mut progress = self.project.progress(format!("loading {} images", missing.len()), 0);
        // kind saves the images to a temporary file, which goes with the run however that ends.
        let run = RunDir::temporary("load")?;
        let step = Step::new("load images", kind)
            .args(["load", "docker-image", "--name", &self.name])
            .args(&missing)
            .timeout(LOAD_TIMEOUT)
            .in_run(&run);
        let output = self.project.runner.stream(&step, &mut |line| progress.advance(line))?;
        if !output.success() {
            return Err(Failure::environment(
                format!("{} failed:\n{}", step.name, output.tail()),
                "see whether the node's disk is full: `cargo xtask doctor`",
            ));
        }
        progress.finish(&format!("{:.1} s", output.elapsed.as_secs_f64()));
        Ok(missing.len())
    }

    /// What `ctr images ls` says in the control plane. In a plan that makes the node it has no image yet, and
    /// one that doesn't run yet can't be asked: none then.
    fn node_images(&self) -> Result<Option<String>> {
        let runner = &self.project.runner;
        if runner.planned().iter().any(|step| step.name == CREATE) {
            return Ok(Some(String::new()));
        }
        let node = self.control_plane();
        let list = ["exec", &node, "ctr", "--namespace", "k8s.io", "images", "ls"];
        match self.docker.run(&Docker::step("list the node's images", list).reads()) {
            Ok(output) => Ok(Some(output.stdout)),
            Err(_) if runner.plans() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether `ctr images ls` shows the image of that id under that name.
///
/// The kubelet's runtime lists each image under its names and under its id, with the same digest.
fn listed(listing: &str, name: &str, id: &str) -> bool {
    let digest = |reference: &str| {
        listing.lines().find_map(|line| {
            let mut columns = line.split_whitespace();
            (columns.next() == Some(reference))
                .then(|| columns.nth(1).map(str::to_owned))
                .flatten()
        })
    };
    let by_name = digest(name).or_else(|| digest(&format!("docker.io/{name}")));
    by_name.is_some() && by_name == digest(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n\
        localhost/a:1 application/x sha256:d1 10.0 MiB linux/amd64 io.cri-containerd.image=managed\n\
        localhost/b:1 application/x sha256:d2 10.0 MiB linux/amd64 -\n\
        sha256:i1 application/x sha256:d1 10.0 MiB linux/amd64 -\n\
        sha256:i2 application/x sha256:d3 10.0 MiB linux/amd64 -\n";

    #[test]
    fn an_image_is_there_only_if_its_name_means_the_same_image() {
        assert!(listed(LISTING, "localhost/a:1", "sha256:i1"));
        assert!(
            !listed(LISTING, "localhost/b:1", "sha256:i2"),
            "an older image of that name"
        );
        assert!(!listed(LISTING, "localhost/c:1", "sha256:i1"));
        assert!(!listed("", "localhost/a:1", "sha256:i1"));
    }
}
