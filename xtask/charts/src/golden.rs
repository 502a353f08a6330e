//! Committed renders: `tests/golden/<chart>/<case>/<kind>-<name>.yaml`, reviewed like code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use kit::failure::Failure;

use crate::cases::{Rendered, render_all};
use crate::generated::Generated;
use crate::manifest::Manifest;
use crate::render::Helm;
use crate::workspace::{Chart, Workspace};

/// The folder of all golden renders.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root().join("tests/golden")
}

/// What the golden renders of these charts must hold, sorted by path.
pub fn wanted(helm: &Helm, workspace: &Workspace, charts: &[Chart]) -> Result<Vec<Generated>> {
    let mut files = BTreeMap::new();
    for rendered in render_all(helm, charts)? {
        let dir = folder(workspace).join(rendered.chart.name()).join(&rendered.case.name);
        for manifest in &rendered.render.manifests {
            let file = generated(&dir, &rendered, manifest);
            if let Some(twin) = files.insert(file.path.clone(), file) {
                return Err(Failure::findings(
                    format!(
                        "{} with ci/{}-values.yaml renders {} twice: from {} and {}",
                        rendered.chart.name(),
                        rendered.case.name,
                        manifest.id(),
                        twin.source,
                        source(&rendered.chart, manifest)
                    ),
                    "give one of them another name",
                ));
            }
        }
    }
    Ok(files.into_values().collect())
}

fn generated(dir: &Path, rendered: &Rendered, manifest: &Manifest) -> Generated {
    Generated {
        path: dir.join(format!("{}-{}.yaml", manifest.kind.to_lowercase(), manifest.name)),
        text: manifest.text.clone(),
        source: source(&rendered.chart, manifest),
    }
}

/// The template in the workspace. That of a dependency is named `charts/<dependency>/…` by helm, which
/// is where it is in the workspace too.
fn source(chart: &Chart, manifest: &Manifest) -> String {
    if manifest.template.starts_with("charts/") {
        manifest.template.clone()
    } else {
        format!("charts/{}/{}", chart.name(), manifest.template)
    }
}
