//! kind's configuration, rendered from `ci/templates/kind.yaml.tera`.

use std::path::Path;

use anyhow::{Context, Result};
use semver::Version;
use serde::Serialize;
use tera::{Context as Data, Tera};

const TEMPLATE: &str = "ci/templates/kind.yaml.tera";
/// The first release whose kubelet knows `failCgroupV1` (kubernetes/enhancements, KEP-4569).
const KNOWS_FAIL_CGROUP_V1: Version = Version::new(1, 31, 0);

/// What the template is rendered with.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KindConfig {
    pub name: String,
    pub image: String,
    /// Whether the kubelet must be told to accept cgroup v1.
    pub cgroup_v1: bool,
    /// The API version of MutatingAdmissionPolicy, where it has to be switched on.
    pub mutating_policies: Option<&'static str>,
    /// Set where the node image is the test bed's.
    pub testbed: Option<NodeImages>,
}

/// How kubeadm finds the images inside the test bed's node.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NodeImages {
    /// What their names begin with.
    pub repository: String,
    pub coredns: String,
    pub etcd: String,
}

impl KindConfig {
    pub fn render(&self, root: &Path) -> Result<String> {
        let path = root.join(TEMPLATE);
        let template = fs_err::read_to_string(&path)?;
        let data = Data::from_serialize(self).context("preparing the kind config")?;
        Tera::one_off(&template, &data, false).with_context(|| format!("rendering {TEMPLATE}"))
    }
}

/// Whether a kubelet of that version must and can be told to accept this machine's cgroups.
pub(crate) fn needs_cgroup_v1(cgroup_version: &str, kubernetes: &Version) -> bool {
    cgroup_version == "1" && *kubernetes >= KNOWS_FAIL_CGROUP_V1
}

/// The API version of MutatingAdmissionPolicy in a Kubernetes version where it is there and off
/// (kubernetes/enhancements, KEP-3962): alpha in 1.32, beta in 1.34, on by default since 1.36.
pub(crate) fn mutating_policies(kubernetes: &Version) -> Option<&'static str> {
    match (kubernetes.major, kubernetes.minor) {
        (1, 32 | 33) => Some("v1alpha1"),
        (1, 34 | 35) => Some("v1beta1"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cgroup_v1: bool, testbed: bool) -> String {
        let config = KindConfig {
            name: "c".into(),
            image: "kindest/node:v1.34.0".into(),
            cgroup_v1,
            mutating_policies: testbed.then_some("v1beta1"),
            testbed: testbed.then(|| NodeImages {
                repository: "localhost/r".into(),
                coredns: "1.2.3".into(),
                etcd: "3.4.5".into(),
            }),
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        config.render(&root).unwrap()
    }

    fn render(cgroup_v1: bool, testbed: bool) -> serde_yaml::Value {
        serde_yaml::from_str(&text(cgroup_v1, testbed)).unwrap()
    }

    fn patches(config: &serde_yaml::Value) -> Vec<serde_yaml::Value> {
        let patches = config["kubeadmConfigPatches"]
            .as_sequence()
            .cloned()
            .unwrap_or_default();
        patches
            .iter()
            .map(|p| serde_yaml::from_str(p.as_str().unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn the_file_for_the_test_bed_on_cgroup_v1_reads_as_it_was_reviewed() {
        let reviewed = include_str!("kind-testbed.yaml");
        assert_eq!(text(true, true), reviewed);
    }

    #[test]
    fn a_pulled_node_on_cgroup_v2_needs_no_patch_and_keeps_kinds_network() {
        let config = render(false, false);
        assert!(patches(&config).is_empty());
        assert!(config["networking"].get("disableDefaultCNI").is_none());
        assert!(config.get("featureGates").is_none());
        assert_eq!(config["nodes"][0]["image"], "kindest/node:v1.34.0");
        assert_eq!(config["nodes"][0]["labels"]["tempo-stack.cluster"], "c");
    }

    #[test]
    fn on_cgroup_v1_the_kubelet_is_told_to_accept_it() {
        let patches = patches(&render(true, false));
        assert_eq!(patches[0]["kind"], "KubeletConfiguration");
        assert_eq!(patches[0]["failCgroupV1"], false);
    }

    #[test]
    fn the_test_beds_node_brings_its_network_and_names_its_own_images() {
        let config = render(true, true);
        assert_eq!(config["networking"]["disableDefaultCNI"], true);
        let patches = patches(&config);
        assert_eq!(patches[1]["imageRepository"], "localhost/r");
        assert_eq!(patches[1]["dns"]["imageTag"], "1.2.3");
        assert_eq!(patches[1]["etcd"]["local"]["imageTag"], "3.4.5");
    }

    #[test]
    fn policies_that_change_objects_are_switched_on_where_they_are_there_and_off() {
        for (minor, api) in [(31, None), (32, Some("v1alpha1")), (34, Some("v1beta1")), (36, None)] {
            assert_eq!(mutating_policies(&Version::new(1, minor, 4)), api, "1.{minor}");
        }
    }

    #[test]
    fn a_kubelet_that_does_not_know_the_setting_is_not_given_it() {
        assert!(needs_cgroup_v1("1", &Version::new(1, 35, 0)));
        assert!(!needs_cgroup_v1("1", &Version::new(1, 30, 9)));
        assert!(!needs_cgroup_v1("2", &Version::new(1, 35, 0)));
    }
}
