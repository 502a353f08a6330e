//! Copies images from Docker into the nodes of a cluster.

use std::time::Duration;

use anyhow::Result;
use kit::failure::Failure;
use kit::progress::Progress;
use kit::run_dir::RunDir;
use kit::step::Step;

use crate::docker::Docker;
use crate::kind::Cluster;

/// The largest image takes seconds; a slow disk takes longer.
const LOAD_TIMEOUT: Duration = Duration::from_secs(600);

impl Cluster {
    /// Copies images from Docker into the nodes; those that are there already are left out.
    /// Returns how many were copied.
    pub fn load(&self, images: &[String]) -> Result<usize> {
        if images.is_empty() {
            return Ok(0);
        }
        // Built where it is missing.
        self.kind()?;
        let mut missing = Vec::new();
        let listing = self.node_images()?;
        for name in images {
            let image = self.docker.image(name)?.ok_or_else(|| {
                Failure::environment(
                    format!("Docker has no image {name}"),
                    format!("docker pull {name}, or build it: `cargo xtask cluster images` makes the test bed's"),
                )
            })?;
            if !listed(&listing, name, &image.id) {
                missing.push(name.clone());
            }
        }
        if missing.is_empty() {
            return Ok(0);
        }
        let mut progress = Progress::start(
            format!("loading {} images", missing.len()),
            0,
            self.project.options.quiet,
        );
        // kind saves the images to a temporary file: here, it goes with the run however that ends.
        let run = RunDir::temporary("load")?;
        let step = self.load_step(&missing)?.in_run(&run);
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

    /// kind's command that copies them.
    pub fn load_step(&self, images: &[String]) -> Result<Step> {
        Ok(Step::new("load images", self.planned_kind()?)
            .args(["load", "docker-image", "--name", &self.name])
            .args(images.iter().cloned())
            .timeout(LOAD_TIMEOUT))
    }

    fn node_images(&self) -> Result<String> {
        let node = format!("{}-control-plane", self.name);
        let step = Docker::step(
            "list the node's images",
            ["exec", &node, "ctr", "--namespace", "k8s.io", "images", "ls"],
        );
        Ok(self.docker.run(&step)?.stdout)
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
