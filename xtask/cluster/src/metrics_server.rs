//! The cluster's metrics server, rendered from `ci/templates/metrics-server.yaml.tera`.

use std::path::Path;

use anyhow::{Context, Result};
use semver::Version;
use tera::{Context as Data, Tera};

const TEMPLATE: &str = "ci/templates/metrics-server.yaml.tera";
/// What it is called in the test bed's recipe.
pub(crate) const NAME: &str = "metrics-server";

/// Its image where a registry answers, as its project's releases name it.
pub(crate) fn upstream(version: &Version) -> String {
    format!("registry.k8s.io/metrics-server/metrics-server:v{version}")
}

/// Its objects.
pub(crate) fn render(root: &Path, image: &str) -> Result<String> {
    let template = fs_err::read_to_string(root.join(TEMPLATE))?;
    let mut data = Data::new();
    data.insert("image", image);
    Tera::one_off(&template, &data, false).with_context(|| format!("rendering {TEMPLATE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_objects_can_be_read_and_one_pod_runs_the_image() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = render(&root, &upstream(&Version::new(1, 2, 3))).unwrap();
        let objects = charts::manifest::parse_all(&text).unwrap();
        let deployment = objects.iter().find(|o| o.kind == "Deployment").unwrap();
        let workload = charts::workload::workload(deployment).unwrap().unwrap();
        let image = workload.containers[0].spec.image.clone();
        assert_eq!(
            image.as_deref(),
            Some("registry.k8s.io/metrics-server/metrics-server:v1.2.3")
        );
        assert!(objects.iter().any(|o| o.kind == "APIService"));
    }
}
