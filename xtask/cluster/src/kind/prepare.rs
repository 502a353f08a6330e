//! What a cluster is made of, before anything is made.

use anyhow::{Context, Result};
use kit::key::Key;

use super::Cluster;
use crate::addons;
use crate::docker::Info;
use crate::kind_config::{KindConfig, NodeImages, mutating_policies, needs_cgroup_v1};
use crate::source::{Choice, Source};
use crate::testbed::Testbed;

/// A rendered config, the key of what a cluster made of it is, and what is loaded into the cluster.
pub(super) struct Prepared {
    pub text: String,
    pub key: String,
    pub source: Source,
    pub images: Vec<String>,
    /// The objects of what it has beyond kind's own.
    pub addons: String,
}

impl Cluster {
    pub(super) fn prepare(&self, info: &Info, choice: &Choice, testbed: &Testbed) -> Result<Prepared> {
        let root = self.project.workspace.root();
        let version = |name: &str| testbed.version(testbed.recipe.in_node(name)?);
        let (node_images, images, addons) = match choice.source {
            Source::Pull => {
                let metrics = addons::upstream(&version(addons::METRICS_SERVER)?);
                (None, Vec::new(), vec![(addons::METRICS_SERVER, metrics)])
            }
            Source::Testbed => {
                let node_images = NodeImages {
                    repository: testbed.recipe.repository.clone(),
                    coredns: version("coredns")?.to_string(),
                    etcd: version("etcd")?.to_string(),
                };
                let addon = |name| Ok((name, testbed.image_name(testbed.recipe.in_node(name)?)?));
                let addons = [addons::METRICS_SERVER, addons::KUBE_ROUTER].map(addon);
                (
                    Some(node_images),
                    testbed.workload_images()?,
                    addons.into_iter().collect::<Result<_>>()?,
                )
            }
        };
        let config = KindConfig {
            name: self.name.clone(),
            image: choice.node.clone(),
            cgroup_v1: needs_cgroup_v1(&info.cgroup_version, &choice.kubernetes),
            mutating_policies: mutating_policies(&choice.kubernetes),
            testbed: node_images,
        };
        let text = config.render(root)?;
        let image = self
            .docker
            .image(&choice.node)?
            .with_context(|| format!("Docker has no {}", choice.node))?;
        let addons = addons::render(root, &addons)?;
        let key = Key::default()
            .text("config", &text)
            .text("image", &image.id)
            .text("addons", &addons)
            .finish();
        Ok(Prepared {
            text,
            key,
            source: choice.source,
            images,
            addons,
        })
    }
}
