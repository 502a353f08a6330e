//! The configurations of Tempo and the Collector inside a render, with the container that reads each.

use std::fmt;

use anyhow::{Context, Result};
use semver::Version;
use serde_yaml::Value;

use crate::image::Image;
use crate::manifest::{Manifest, lookup};
use crate::workload::{PodContainer, Workload, config_map_data};

/// The label that carries a program's version (kubernetes.io, recommended labels).
const VERSION_LABEL: &str = "app.kubernetes.io/version";

/// Which program reads a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramKind {
    /// Grafana Tempo.
    Tempo,
    /// The OpenTelemetry Collector.
    Collector,
}

impl fmt::Display for ProgramKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProgramKind::Tempo => "Tempo",
            ProgramKind::Collector => "Collector",
        })
    }
}

/// One configuration file and the container that reads it.
#[derive(Debug, Clone)]
pub struct Program<'a> {
    /// Which program it is.
    pub kind: ProgramKind,
    /// Its version: the label of its pod, else the tag of its image.
    pub version: Option<Version>,
    /// The workload that runs it.
    pub workload: &'a Workload<'a>,
    /// The container that reads it.
    pub container: &'a PodContainer,
    /// The ConfigMap that it comes from.
    pub config_map: &'a Manifest,
    /// Its path inside the container.
    pub path: String,
    /// The file.
    pub text: String,
    /// The file, parsed.
    pub config: Value,
}

impl Program<'_> {
    /// A value in the configuration: `get("storage.trace.backend")`.
    pub fn get(&self, path: &str) -> Option<&Value> {
        lookup(&self.config, &path.split('.').collect::<Vec<_>>())
    }

    /// A string in the configuration.
    pub fn get_str(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(Value::as_str)
    }

    /// The entries of a map in the configuration.
    pub fn entries(&self, path: &str) -> impl Iterator<Item = (&str, &Value)> {
        self.get(path)
            .and_then(Value::as_mapping)
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str()?, value)))
    }

    /// The strings of a list in the configuration.
    pub fn list(&self, path: &str) -> Vec<&str> {
        let list = self.get(path).and_then(Value::as_sequence);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// `Tempo 2.10.8`, for messages.
    pub fn id(&self) -> String {
        match &self.version {
            Some(version) => format!("{} {version}", self.kind),
            None => self.kind.to_string(),
        }
    }
}

/// Every configuration that a container of these workloads is told to read.
///
/// Fails where such a file can't be found or isn't YAML: that pod would not start.
pub fn programs<'a>(workloads: &'a [Workload<'a>], manifests: &'a [Manifest]) -> Result<Vec<Program<'a>>> {
    let mut found = Vec::new();
    for workload in workloads {
        for container in &workload.containers {
            if let Some((kind, path)) = config_argument(container) {
                let program = program(kind, path, workload, container, manifests).with_context(|| {
                    format!(
                        "{} {} reads the configuration {path}",
                        workload.manifest.id(),
                        container.id()
                    )
                })?;
                found.push(program);
            }
        }
    }
    Ok(found)
}

/// The file that the arguments name: Tempo's flags have one dash, the Collector's two.
fn config_argument(container: &PodContainer) -> Option<(ProgramKind, &str)> {
    let args = container.spec.args.iter().chain(&container.spec.command).flatten();
    args.into_iter().find_map(|arg| {
        if let Some(path) = arg.strip_prefix("-config.file=") {
            Some((ProgramKind::Tempo, path))
        } else {
            arg.strip_prefix("--config=").map(|path| (ProgramKind::Collector, path))
        }
    })
}

fn program<'a>(
    kind: ProgramKind,
    path: &str,
    workload: &'a Workload<'a>,
    container: &'a PodContainer,
    manifests: &'a [Manifest],
) -> Result<Program<'a>> {
    let (mount, source) = workload
        .volume_at(&container.spec, path)
        .context("no volume is mounted there")?;
    let name = source.config_map().context("the volume there is not a ConfigMap")?;
    let config_map = manifests
        .iter()
        .find(|m| m.kind == "ConfigMap" && m.name == name)
        .with_context(|| format!("the render has no ConfigMap {name}"))?;
    let key = match &mount.sub_path {
        Some(key) => key.as_str(),
        None => path[mount.mount_path.len()..].trim_start_matches('/'),
    };
    let mut data = config_map_data(config_map)?;
    let text = data
        .remove(key)
        .with_context(|| format!("ConfigMap {name} has no key {key}"))?;
    let config = serde_yaml::from_str(&text).with_context(|| format!("ConfigMap {name}, key {key}, is not YAML"))?;
    Ok(Program {
        kind,
        version: version(workload, container),
        workload,
        container,
        config_map,
        path: path.to_owned(),
        text,
        config,
    })
}

fn version(workload: &Workload, container: &PodContainer) -> Option<Version> {
    let label = workload.pod_labels().remove(VERSION_LABEL);
    let tag = container
        .spec
        .image
        .as_deref()
        .and_then(|image| Image::parse(image).tag);
    label
        .as_deref()
        .into_iter()
        .chain(tag)
        .find_map(|text| Version::parse(text.trim_start_matches('v')).ok())
}

/// The port of a listener such as `0.0.0.0:4317` or `[::]:4317`.
pub fn listener_port(endpoint: &str) -> Option<u16> {
    endpoint.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_may_be_in_brackets() {
        assert_eq!(listener_port("[::]:4317"), Some(4317));
        assert_eq!(listener_port("0.0.0.0:80"), Some(80));
        assert_eq!(listener_port("localhost"), None);
    }
}
