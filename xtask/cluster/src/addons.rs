//! What a cluster gets beyond kind's own, each rendered from `ci/templates/<name>.yaml.tera`.

use std::path::Path;

use anyhow::{Context, Result};
use semver::Version;
use tera::{Context as Data, Tera};

/// What autoscalers measure with.
pub(crate) const METRICS_SERVER: &str = "metrics-server";
/// What enforces NetworkPolicies in the test bed, whose network is a plain bridge.
pub(crate) const KUBE_ROUTER: &str = "kube-router";

/// The metrics server's image where a registry answers, as its project's releases name it.
pub(crate) fn upstream(version: &Version) -> String {
    format!("registry.k8s.io/metrics-server/metrics-server:v{version}")
}

/// The objects of those that are named, each with its image.
pub(crate) fn render(root: &Path, addons: &[(&str, String)]) -> Result<String> {
    let render = |(name, image): &(&str, String)| {
        let template = format!("ci/templates/{name}.yaml.tera");
        let mut data = Data::new();
        data.insert("image", image);
        let text = fs_err::read_to_string(root.join(&template))?;
        Tera::one_off(&text, &data, false).with_context(|| format!("rendering {template}"))
    };
    let texts: Vec<String> = addons.iter().map(render).collect::<Result<_>>()?;
    Ok(texts.join("---\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn their_objects_can_be_read_and_one_pod_each_runs_the_image() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let metrics = upstream(&Version::new(1, 2, 3));
        assert_eq!(metrics, "registry.k8s.io/metrics-server/metrics-server:v1.2.3");
        let addons = [
            (METRICS_SERVER, metrics.clone()),
            (KUBE_ROUTER, "r/kube-router:v4".into()),
        ];
        let objects = charts::manifest::parse_all(&render(&root, &addons).unwrap()).unwrap();
        let workloads = objects.iter().filter_map(|o| charts::workload::workload(o).unwrap());
        let images: Vec<_> = workloads.map(|w| w.containers[0].spec.image.clone().unwrap()).collect();
        assert_eq!(images, [metrics.as_str(), "r/kube-router:v4"]);
        assert!(objects.iter().any(|o| o.kind == "APIService"));
    }
}
