//! The workspace: where it is, which charts it has, and which cases each chart is tested with.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

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

    /// All charts, by name, at any depth below `charts`; those inside of a chart belong to that.
    pub fn charts(&self) -> Result<Vec<Chart>> {
        let dir = self.root.join("charts");
        let mut charts: Vec<Chart> = Vec::new();
        let mut folders = walkdir::WalkDir::new(&dir).sort_by_file_name().into_iter();
        while let Some(entry) = folders.next() {
            let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
            if entry.file_type().is_dir() && entry.path().join("Chart.yaml").is_file() {
                charts.push(Chart::read(entry.path())?);
                folders.skip_current_dir();
            }
        }
        charts.sort_by(|a, b| a.name().cmp(b.name()));
        if let Some([one, other]) = charts.array_windows().find(|[one, other]| one.name() == other.name()) {
            return Err(Failure::findings(
                format!(
                    "{} and {} are both charts of the name {}",
                    self.shown(&one.dir),
                    self.shown(&other.dir),
                    one.name()
                ),
                "give one of them another name: archives and tags are told apart by the charts' names",
            ));
        }
        Ok(charts)
    }

    /// A chart with its [family](Chart::family); an error of [`Kind::Findings`] if part of it is not in the
    /// workspace.
    pub fn family(&self, chart: &Chart) -> Result<Vec<Chart>> {
        let family = chart.family()?;
        match family.iter().find(|member| !member.dir.starts_with(&self.root)) {
            None => Ok(family),
            Some(outside) => Err(Failure::findings(
                format!(
                    "{} depends on the chart in {}, which is outside of this repository",
                    chart.name(),
                    outside.dir.display()
                ),
                "bring that chart into the repository, or depend on it where it is published",
            )),
        }
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
    /// The chart's name.
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
    /// Another name for it in this chart.
    #[serde(default)]
    pub alias: Option<String>,
}

impl Dependency {
    /// The key of its values: its other name, if it has one.
    pub fn key(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.name)
    }

    /// The folder that it comes from, as helm resolves `file://…` (pkg/resolver `GetLocalPath`); none if it
    /// comes from a repository.
    pub fn folder(&self, chart: &Path) -> Option<PathBuf> {
        let path = self.repository.strip_prefix("file://")?;
        let mut folder = PathBuf::new();
        for part in chart.join(path).components() {
            match part {
                Component::ParentDir => drop(folder.pop()),
                Component::CurDir => {}
                part => folder.push(part),
            }
        }
        Some(folder)
    }
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

    /// The chart and, before those that need them, all charts that it takes from folders (`file://…`), at any
    /// depth. Errors of [`Kind::Findings`]: a folder without a chart, an absolute path, a circle.
    pub fn family(&self) -> Result<Vec<Chart>> {
        let mut family = Vec::new();
        self.gather(&mut family, &mut Vec::new())?;
        Ok(family)
    }

    fn gather(&self, family: &mut Vec<Chart>, path: &mut Vec<(PathBuf, String)>) -> Result<()> {
        if let Some(at) = path.iter().position(|(dir, _)| *dir == self.dir) {
            let names: Vec<_> = path[at..].iter().map(|(_, name)| name.as_str()).collect();
            return Err(Failure::findings(
                format!("charts depend on each other: {} -> {}", names.join(" -> "), self.name()),
                "remove one of these dependencies from its Chart.yaml",
            ));
        }
        if self.dir.join("requirements.yaml").is_file() {
            return Err(Failure::findings(
                format!(
                    "{} has its dependencies in requirements.yaml, as charts of apiVersion v1 do",
                    self.name()
                ),
                "move them to `dependencies` in Chart.yaml, and set its apiVersion to v2",
            ));
        }
        path.push((self.dir.clone(), self.name().to_owned()));
        for dependency in &self.metadata.dependencies {
            let Some(folder) = dependency.folder(&self.dir) else {
                continue;
            };
            let refused = |why: &str, remedy: &str| {
                let (chart, name, repository) = (self.name(), &dependency.name, &dependency.repository);
                Failure::findings(format!("{chart} takes {name} from {repository}, {why}"), remedy)
            };
            if dependency.repository.starts_with("file:///") {
                return Err(refused(
                    "which is on this machine only",
                    "write the way from the chart's folder to that one: `file://../NAME`",
                ));
            }
            if !folder.join("Chart.yaml").is_file() {
                return Err(refused(
                    "and there is no chart",
                    "correct the path in Chart.yaml: it begins at the chart's own folder",
                ));
            }
            if family.iter().all(|chart| chart.dir != folder) {
                Chart::read(&folder)?.gather(family, path)?;
            }
        }
        path.pop();
        family.push(self.clone());
        Ok(())
    }

    /// The cases in `ci/`, by name; none if there is no such folder.
    pub fn cases(&self) -> Result<Vec<Case>> {
        let dir = self.dir.join("ci");
        let mut cases = Vec::new();
        if !dir.exists() {
            return Ok(cases);
        }
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
