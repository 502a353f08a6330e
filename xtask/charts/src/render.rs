//! Renders charts with the real helm.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kit::failure::Failure;
use kit::run_dir::RunDir;
use kit::step::{Runner, Step};
use semver::Version;
use serde_yaml::Value;

use crate::manifest::{Manifest, parse_all};
use crate::workspace::Chart;

/// How a chart is rendered.
#[derive(Debug, Clone)]
pub struct RenderOptions {
    /// The release's name.
    pub release: String,
    /// The release's namespace.
    pub namespace: String,
    /// Values files, later ones win.
    pub values_files: Vec<PathBuf>,
    /// Values that win over the files.
    pub values: Option<Value>,
    /// APIs that the cluster has beside those of Kubernetes, such as `security.openshift.io/v1`.
    pub apis: Vec<String>,
}

impl RenderOptions {
    /// The documented installation: the chart's name in namespace `observability`.
    pub fn documented(chart: &str) -> RenderOptions {
        RenderOptions {
            release: chart.to_owned(),
            namespace: "observability".to_owned(),
            values_files: Vec::new(),
            values: None,
            apis: Vec::new(),
        }
    }

    pub(crate) fn values_file(mut self, file: impl Into<PathBuf>) -> RenderOptions {
        self.values_files.push(file.into());
        self
    }

    /// With values that win over the files.
    pub fn values(mut self, values: Value) -> RenderOptions {
        self.values = Some(values);
        self
    }

    /// For a cluster that has this API, too.
    pub fn api(mut self, api: &str) -> RenderOptions {
        self.apis.push(api.to_owned());
        self
    }
}

/// What `helm template` produced.
#[derive(Debug, Clone)]
pub struct Render {
    /// The rendered objects, in helm's order.
    pub manifests: Vec<Manifest>,
    /// What helm printed.
    pub text: String,
}

/// A helm to call: the program and the Kubernetes version that charts are rendered for.
#[derive(Debug, Clone)]
pub struct Helm {
    /// The program.
    pub program: PathBuf,
    /// Passed as `--kube-version`: a helm built from its module assumes an ancient Kubernetes.
    pub kube_version: String,
    /// What runs it.
    pub runner: Runner,
}

impl Helm {
    /// The same helm, rendering for another version of Kubernetes.
    pub fn for_kubernetes(&self, kube_version: &str) -> Helm {
        Helm {
            kube_version: kube_version.to_owned(),
            ..self.clone()
        }
    }

    /// A helm step.
    pub fn step(&self, name: impl Into<String>) -> Step {
        Step::new(name, &self.program)
            // A render ends long before Go's garbage collection, a fifth of its time, pays off.
            .env("GOGC", "off")
            .timeout(Duration::from_secs(60))
    }

    /// The `helm template` step for a chart that has its dependencies.
    pub fn template_step(&self, chart: &Prepared, options: &RenderOptions) -> Step {
        let mut step = self
            .step(format!("helm template {}", chart.name))
            .arg("template")
            .arg(&options.release)
            .path_arg(&chart.dir)
            .args(["--namespace", &options.namespace, "--kube-version", &self.kube_version]);
        step = with_files(step, options);
        for api in &options.apis {
            step = step.args(["--api-versions", api]);
        }
        step
    }

    /// Renders a chart; helm's own message is the error.
    pub fn template(&self, chart: &Prepared, options: &RenderOptions) -> Result<Render> {
        let step = with_values(self.template_step(chart, options), options)?;
        let text = self.runner.run(&step)?.stdout;
        Ok(Render {
            manifests: parse_all(&text)?,
            text,
        })
    }

    /// What this helm, which has to be one of version 4, tells the user after an installation. Earlier ones ask
    /// a cluster for it.
    pub fn notes(&self, chart: &Prepared, options: &RenderOptions) -> Result<String> {
        let step = self
            .step(format!("helm install --dry-run {}", chart.name))
            .arg("install")
            .arg(&options.release)
            .path_arg(&chart.dir)
            .args([
                "--namespace",
                &options.namespace,
                "--dry-run=client",
                "--output",
                "json",
            ]);
        let step = with_values(with_files(step, options), options)?;
        let release: Value = serde_yaml::from_str(&self.runner.run(&step)?.stdout).context("reading the release")?;
        let notes = release.get("info").and_then(|info| info.get("notes"));
        let notes = notes.and_then(Value::as_str).context("helm printed no notes")?;
        Ok(notes.to_owned())
    }

    /// Copies a chart, and those that it takes from folders, to a temporary folder and builds their dependencies
    /// there, never in charts/.
    pub fn prepare(&self, chart: &Chart) -> Result<Prepared> {
        self.prepare_with(chart, |_| Ok(()))
    }

    /// As [`Helm::prepare`]; `built` may change each copy once it has its dependencies, before another chart
    /// takes it.
    pub fn prepare_with(&self, chart: &Chart, built: impl Fn(&Path) -> Result<()>) -> Result<Prepared> {
        let temp = RunDir::temporary("chart")?;
        let family = chart.family()?;
        // The copies stand to each other as the folders do, so that `file://../tempo-stack` leads to one.
        let parent = chart.dir.parent().context("a chart has a parent folder")?;
        let above = |dir: &Path| family.iter().all(|member| member.dir.starts_with(dir));
        let top = parent.ancestors().find(|dir| above(dir));
        let top = top.context("folders of one machine have a common one")?;
        let copy = |dir: &Path| -> Result<PathBuf> {
            Ok(temp
                .path()
                .join(dir.strip_prefix(top).context("every chart is below it")?))
        };
        for member in &family {
            copy_chart(member, &copy(&member.dir)?)?;
        }
        for member in &family {
            let dir = copy(&member.dir)?;
            if !member.metadata.dependencies.is_empty() {
                self.runner.run(&self.dependency_build_step(member.name(), &dir))?;
            }
            built(&dir)?;
        }
        Ok(Prepared {
            name: chart.name().to_owned(),
            dir: copy(&chart.dir)?,
            _temp: Some(std::sync::Arc::new(temp)),
        })
    }

    /// The `helm dependency build` step, in the folder of a copied chart.
    pub(crate) fn dependency_build_step(&self, name: &str, dir: &Path) -> Step {
        self.step(format!("helm dependency build {name}"))
            .args(["dependency", "build", "--skip-refresh"])
            .path_arg(dir)
            .hint("Chart.lock no longer fits Chart.yaml: run `helm dependency update` in a copy and commit Chart.lock")
    }
}

fn with_files(step: Step, options: &RenderOptions) -> Step {
    let files = options.values_files.iter();
    files.fold(step, |step, file| step.arg("--values").path_arg(file))
}

fn with_values(step: Step, options: &RenderOptions) -> Result<Step> {
    let Some(values) = &options.values else {
        return Ok(step);
    };
    let text = serde_yaml::to_string(values).context("writing the values")?;
    Ok(step.args(["--values", "-"]).stdin(text))
}

/// A chart that can be rendered: its dependencies are in place.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The chart's name.
    pub name: String,
    /// Its folder, or a packaged archive.
    pub dir: PathBuf,
    // Shared by clones, removed with the last of them.
    _temp: Option<std::sync::Arc<RunDir>>,
}

impl Prepared {
    /// A packaged chart, which carries its dependencies.
    pub fn archive(name: impl Into<String>, file: impl Into<PathBuf>) -> Prepared {
        Prepared {
            name: name.into(),
            dir: file.into(),
            _temp: None,
        }
    }

    /// A copy that says in its Chart.yaml to be the next patch.
    pub fn next_version(&self) -> Result<Prepared> {
        let temp = RunDir::temporary("next")?;
        let dir = temp.path().join(&self.name);
        copy_files(&self.dir, &dir, |_| true)?;
        let file = dir.join("Chart.yaml");
        let mut chart: Value = serde_yaml::from_str(&fs_err::read_to_string(&file)?).context("reading Chart.yaml")?;
        let version = chart.get("version").and_then(Value::as_str).unwrap_or_default();
        let mut next = Version::parse(version).with_context(|| format!("version {version:?}"))?;
        next.patch += 1;
        for key in ["version", "appVersion"] {
            set(&mut chart, &[key], next.to_string().into());
        }
        fs_err::write(&file, serde_yaml::to_string(&chart).context("writing Chart.yaml")?)?;
        Ok(Prepared {
            name: self.name.clone(),
            dir,
            _temp: Some(std::sync::Arc::new(temp)),
        })
    }
}

/// Sets the value under a path of keys, making the maps on the way.
pub fn set(values: &mut Value, path: &[&str], value: Value) {
    match path {
        [] => *values = value,
        [key, rest @ ..] => {
            if !values.is_mapping() {
                *values = Value::Mapping(Default::default());
            }
            if let Value::Mapping(map) = values {
                set(map.entry((*key).into()).or_insert(Value::Null), rest, value);
            }
        }
    }
}

/// Merges values as helm does: maps key by key, everything else replaced.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Mapping(base), Value::Mapping(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// Copies a chart's files, leaving out what helm may have built there: archives of the chart, and the
/// dependencies that it fetches anew. Subcharts that stand in charts/ for themselves belong to the chart.
fn copy_chart(chart: &Chart, to: &Path) -> Result<()> {
    let archive_of = |file: &str, name: &str| {
        let version = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
        version.is_some_and(|rest| rest.ends_with(".tgz") && rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let fetched: Vec<&str> = chart
        .metadata
        .dependencies
        .iter()
        .filter(|dependency| !dependency.repository.is_empty())
        .map(|dependency| dependency.name.as_str())
        .collect();
    copy_files(&chart.dir, to, |path| {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        match parts.as_slice() {
            ["charts", "tmpcharts", ..] => false,
            ["charts", first, ..] => !fetched.iter().any(|name| first == name || archive_of(first, name)),
            [file] => !archive_of(file, chart.name()),
            _ => true,
        }
    })
}

/// Copies the files of a folder whose path inside it is wanted. A symbolic link is refused: helm would follow
/// it, to whatever it leads to on this machine.
fn copy_files(from: &Path, to: &Path, wanted: impl Fn(&Path) -> bool) -> Result<()> {
    for entry in walkdir::WalkDir::new(from).sort_by_file_name() {
        let entry = entry.with_context(|| format!("reading {}", from.display()))?;
        let relative = entry.path().strip_prefix(from).context("walked outside the chart")?;
        if !wanted(relative) {
            continue;
        }
        let target = to.join(relative);
        if entry.file_type().is_dir() {
            fs_err::create_dir_all(&target)?;
        } else if entry.file_type().is_symlink() {
            return Err(Failure::findings(
                format!(
                    "{} is a symbolic link, which has no place in a chart",
                    entry.path().display()
                ),
                "put the file itself there, or remove the link",
            ));
        } else {
            fs_err::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_merge_key_by_key() {
        let mut base: Value = serde_yaml::from_str("{a: {b: 1, c: [1]}, d: 2}").unwrap();
        merge(&mut base, serde_yaml::from_str("{a: {c: [2], e: 3}}").unwrap());
        set(&mut base, &["x", "y"], true.into());
        assert_eq!(
            base,
            serde_yaml::from_str::<Value>("{a: {b: 1, c: [2], e: 3}, d: 2, x: {y: true}}").unwrap()
        );
    }
}
