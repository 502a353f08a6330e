//! The workspace: where it is, which charts it has, and which cases each chart is tested with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kit::failure::Failure;
use semver::Version;
use serde::Deserialize;

/// The end of a case's file name: `charts/<chart>/ci/<case>-values.yaml`.
const CASE_SUFFIX: &str = "-values.yaml";

/// The checked-out workspace.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the workspace: the parent of the crate that cargo runs, else the nearest folder at or
    /// above the current one that has charts.
    pub fn find() -> Result<Workspace> {
        let from_cargo = std::env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .and_then(|dir| dir.parent().map(Path::to_path_buf));
        let current = std::env::current_dir().context("reading the current folder")?;
        from_cargo
            .iter()
            .map(PathBuf::as_path)
            .chain(current.ancestors())
            .find(|dir| dir.join("ci/tools").is_dir() && dir.join("Cargo.toml").is_file())
            .map(|dir| Workspace {
                root: dir.to_path_buf(),
            })
            .ok_or_else(|| {
                Failure::usage(
                    format!("no workspace at or above {}", current.display()),
                    "run it inside a checkout of tempo-stack",
                )
            })
    }

    /// A workspace at a known place.
    pub fn at(root: impl Into<PathBuf>) -> Workspace {
        Workspace { root: root.into() }
    }

    /// The top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path as people see it: relative to the top folder where it is inside.
    pub fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// All charts, by name.
    pub fn charts(&self) -> Result<Vec<Chart>> {
        let dir = self.root.join("charts");
        let mut charts = Vec::new();
        for entry in fs_err::read_dir(&dir)? {
            let path = entry.with_context(|| format!("reading {}", dir.display()))?.path();
            if path.join("Chart.yaml").is_file() {
                charts.push(Chart::read(&path)?);
            }
        }
        charts.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(charts)
    }

    /// The chart of that name.
    pub fn chart(&self, name: &str) -> Result<Chart> {
        let charts = self.charts()?;
        match charts.iter().find(|chart| chart.name() == name) {
            Some(chart) => Ok(chart.clone()),
            None => Err(Failure::unknown("chart", name, charts.iter().map(Chart::name))),
        }
    }
}

/// What we read of Chart.yaml (helm.sh/docs/topics/charts).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartMetadata {
    /// The chart's name, equal to its folder's.
    pub name: String,
    /// The chart's own version.
    pub version: Version,
    /// The version of the program that it installs.
    #[serde(default)]
    pub app_version: Option<String>,
    /// Its dependencies.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// Its annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// One entry of `dependencies` in Chart.yaml.
#[derive(Debug, Clone, Deserialize)]
pub struct Dependency {
    /// The chart it depends on.
    pub name: String,
    /// The accepted version.
    pub version: String,
    /// Where it comes from; `file://…` inside this workspace.
    #[serde(default)]
    pub repository: String,
    /// The value that switches it.
    #[serde(default)]
    pub condition: Option<String>,
}

/// One chart of the workspace.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Its folder.
    pub dir: PathBuf,
    /// Its Chart.yaml.
    pub metadata: ChartMetadata,
}

impl Chart {
    /// Reads `dir/Chart.yaml`.
    pub fn read(dir: &Path) -> Result<Chart> {
        let file = dir.join("Chart.yaml");
        let text = fs_err::read_to_string(&file)?;
        let metadata = serde_yaml::from_str(&text).with_context(|| format!("parsing {}", file.display()))?;
        Ok(Chart {
            dir: dir.to_path_buf(),
            metadata,
        })
    }

    /// The chart's name.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The cases in `ci/`, by name.
    pub fn cases(&self) -> Result<Vec<Case>> {
        let dir = self.dir.join("ci");
        let mut cases = Vec::new();
        for entry in fs_err::read_dir(&dir)? {
            let path = entry.with_context(|| format!("reading {}", dir.display()))?.path();
            let file = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            if let Some(name) = file.strip_suffix(CASE_SUFFIX) {
                cases.push(Case {
                    name: name.to_owned(),
                    values: path,
                });
            }
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(cases)
    }
}

/// One tested way to configure a chart.
#[derive(Debug, Clone)]
pub struct Case {
    /// The file name without its ending.
    pub name: String,
    /// The values file.
    pub values: PathBuf,
}
