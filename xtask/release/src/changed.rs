//! Which charts changed, through what, and how far their versions must move.

use std::collections::BTreeSet;

use anyhow::Result;
use charts::workspace::{Chart, Workspace};
use kit::failure::Failure;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::commits::{Change, changes};
use super::git::Git;
use super::helmignore::Ignore;
use super::version::{Level, damped, moved, next};

/// Where the comparison begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A commit, and how it was found.
    Commit(String, String),
    /// Nothing to compare with: the chart was never released.
    Nothing,
}

/// One chart that changed.
#[derive(Debug, Clone, Serialize)]
pub struct Changed {
    /// The chart's name.
    pub chart: String,
    /// Its folder, relative to the workspace.
    pub path: String,
    /// Its version now.
    pub version: Version,
    /// Its version at the base; none if it wasn't there under this name.
    pub base_version: Option<Version>,
    /// What it was compared with.
    pub base: String,
    /// The charts of this workspace through which it changed, itself included.
    pub through: Vec<String>,
    /// The changed files; those that are only for tests (left out by .helmignore) are among them.
    pub files: Vec<String>,
    /// How far the version must move; none where no changed file is packaged, or the chart is new.
    pub bump: Option<Level>,
    /// The version that it must have at least.
    pub next_version: Option<Version>,
    /// Whether `version` is still too low.
    pub needs_bump: bool,
    /// What the commits say, oldest first.
    #[serde(skip)]
    pub changes: Vec<Change>,
}

/// The charts of a workspace and the history of its checkout.
#[derive(Debug)]
pub struct History<'a> {
    workspace: &'a Workspace,
    charts: Vec<Chart>,
    /// The checkout.
    pub git: Git,
}

impl<'a> History<'a> {
    /// Reads the charts as they are in the working tree.
    pub fn read(workspace: &'a Workspace, git: Git) -> Result<History<'a>> {
        let history = History {
            workspace,
            charts: workspace.charts()?,
            git,
        };
        let mut path = Vec::new();
        history
            .charts
            .iter()
            .try_for_each(|chart| history.no_circle(chart, &mut path))?;
        Ok(history)
    }

    /// Fails if a chart depends on itself through the charts in `path`.
    fn no_circle<'b>(&'b self, chart: &'b Chart, path: &mut Vec<&'b str>) -> Result<()> {
        if let Some(at) = path.iter().position(|name| *name == chart.name()) {
            return Err(Failure::findings(
                format!(
                    "charts depend on each other: {} -> {}",
                    path[at..].join(" -> "),
                    chart.name()
                ),
                "remove one of these dependencies from its Chart.yaml",
            ));
        }
        path.push(chart.name());
        for dependency in local_dependencies(chart) {
            let other = self.charts.iter().find(|c| folder(c) == dependency);
            other.map_or(Ok(()), |other| self.no_circle(other, path))?;
        }
        path.pop();
        Ok(())
    }

    /// The charts, dependencies before those that need them.
    pub fn in_order(&self) -> Vec<&Chart> {
        let mut order: Vec<&Chart> = Vec::new();
        for chart in &self.charts {
            for name in self.family(chart).iter().rev() {
                let found = self.charts.iter().find(|c| c.name() == name);
                if let Some(found) = found.filter(|f| order.iter().all(|c| c.name() != f.name())) {
                    order.push(found);
                }
            }
        }
        order
    }

    /// The chart and the charts of this workspace that it depends on, itself first.
    pub fn family(&self, chart: &Chart) -> Vec<String> {
        let mut family = vec![chart.name().to_owned()];
        for dependency in local_dependencies(chart) {
            let Some(other) = self.charts.iter().find(|c| folder(c) == dependency) else {
                continue;
            };
            for name in self.family(other) {
                if !family.contains(&name) {
                    family.push(name);
                }
            }
        }
        family
    }

    /// The charts that depend on this one directly.
    pub fn dependents(&self, name: &str) -> Vec<&Chart> {
        let Some(wanted) = self.charts.iter().find(|c| c.name() == name).map(folder) else {
            return Vec::new();
        };
        let depends = |chart: &&Chart| local_dependencies(chart).contains(&wanted);
        self.charts.iter().filter(depends).collect()
    }

    /// Where the comparison of a chart begins: where HEAD left `since` or the default branch; on the
    /// default branch itself, the chart's last release.
    pub fn base(&self, chart: &str, since: Option<&str>) -> Result<Base> {
        if let Some(since) = since {
            if self.git.resolve(since)?.is_none() {
                return Err(match self.git.shallow {
                    true => self.git.undecided(&format!("{since} is not in this shallow clone")),
                    false => Failure::usage(
                        format!("git knows no commit {since:?}"),
                        "name a branch, a tag or a commit; `git fetch` gets those of a remote",
                    ),
                });
            }
            return Ok(Base::Commit(self.git.merge_base(since)?, since.to_owned()));
        }
        let head = self.git.head()?;
        if let Some(branch) = self.git.default_branch()? {
            let base = self.git.merge_base(&branch)?;
            if base != head {
                return Ok(Base::Commit(base, branch));
            }
        }
        match self.git.releases(chart)?.pop() {
            Some((_, tag)) => Ok(Base::Commit(self.git.resolve(&tag)?.unwrap_or_default(), tag)),
            None if self.git.shallow => Err(self
                .git
                .undecided(&format!("no tag {chart}-<version> is in this shallow clone"))),
            None => Ok(Base::Nothing),
        }
    }

    /// How a chart changed since the base; none if it did not.
    pub fn changed(&self, chart: &Chart, base: &Base) -> Result<Option<Changed>> {
        let members = self.members(chart);
        let dirs: Vec<String> = members.iter().map(|c| self.path(c)).collect();
        let (commit, shown) = match base {
            Base::Commit(commit, shown) => (Some(commit.as_str()), shown.clone()),
            Base::Nothing => (None, "never released".to_owned()),
        };
        let files = match commit {
            Some(commit) => self.git.changed_files(commit, &dirs)?,
            None => self.git.files(&dirs)?,
        };
        if files.is_empty() {
            return Ok(None);
        }
        let packaged = self.packaged(&members);
        let through = members
            .iter()
            .filter(|c| files.iter().any(|f| f.starts_with(&format!("{}/", self.path(c)))))
            .map(|c| c.name().to_owned())
            .collect();
        let changes = self.changes(chart, commit, "HEAD")?;
        let base_version = match commit {
            Some(commit) => self.version_at(commit, chart)?,
            None => None,
        };
        let any_packaged = files.iter().any(|file| packaged(file));
        let level = changes.iter().map(|c| c.level).max().unwrap_or(Level::Patch);
        let bump = base_version
            .as_ref()
            .filter(|_| any_packaged)
            .map(|from| damped(from, level));
        let next_version = base_version.as_ref().zip(bump).map(|(from, level)| next(from, level));
        let version = chart.metadata.version.clone();
        let far_enough = |from: &Version, level: Level| moved(from, &version) >= Some(level);
        let needs_bump = match (&base_version, bump) {
            (Some(from), Some(level)) => !far_enough(from, level) && next_version.as_ref() != Some(&version),
            _ => false,
        };
        Ok(Some(Changed {
            chart: chart.name().to_owned(),
            path: self.path(chart),
            version,
            base_version,
            base: shown,
            through,
            files,
            bump,
            next_version,
            needs_bump,
            changes,
        }))
    }

    /// What the commits between two points (from the beginning, if none) say about what is packaged of a
    /// chart and of its local dependencies, oldest first.
    pub fn changes(&self, chart: &Chart, from: Option<&str>, until: &str) -> Result<Vec<Change>> {
        let members = self.members(chart);
        let packaged = self.packaged(&members);
        let dirs: Vec<String> = members.iter().map(|c| self.path(c)).collect();
        let mut commits = self.git.commits(from, until, &dirs)?;
        commits.retain(|commit| commit.files.iter().any(|file| packaged(file)));
        Ok(changes(&commits))
    }

    fn members(&self, chart: &Chart) -> Vec<&Chart> {
        let family = self.family(chart);
        let member = |name: &String| self.charts.iter().find(|c| c.name() == name);
        family.iter().filter_map(member).collect()
    }

    /// Whether a file, relative to the workspace, goes into an archive of these charts.
    fn packaged(&self, members: &[&Chart]) -> impl Fn(&str) -> bool + use<> {
        let ignores: Vec<_> = members
            .iter()
            .map(|c| (format!("{}/", self.path(c)), Ignore::of_chart(&c.dir)))
            .collect();
        move |file| {
            let inside =
                |(dir, ignore): &(String, Ignore)| file.strip_prefix(dir).is_some_and(|f| !ignore.leaves_out(f));
            ignores.iter().any(inside)
        }
    }

    /// The charts that were there at a commit and are there no more under that name.
    pub fn removed(&self, base: &Base) -> Result<Vec<String>> {
        let Base::Commit(commit, _) = base else {
            return Ok(Vec::new());
        };
        let files = self.git.changed_files(commit, &["charts".to_owned()])?;
        let mut names = BTreeSet::new();
        for file in files.iter().filter(|file| file.ends_with("/Chart.yaml")) {
            let before = self.git.show(commit, file)?.and_then(|text| identity(&text));
            names.extend(before.map(|identity| identity.name));
        }
        names.retain(|name| self.charts.iter().all(|c| c.name() != name));
        Ok(names.into_iter().collect())
    }

    /// The chart's version at a commit; none if its folder held no such chart there.
    fn version_at(&self, commit: &str, chart: &Chart) -> Result<Option<Version>> {
        let text = self.git.show(commit, &format!("{}/Chart.yaml", self.path(chart)))?;
        let identity = text.as_deref().and_then(identity);
        Ok(identity.filter(|i| i.name == chart.name()).map(|i| i.version))
    }

    /// The chart's folder, relative to the workspace.
    pub fn path(&self, chart: &Chart) -> String {
        self.workspace.shown(&chart.dir).to_string()
    }
}

/// What tells a chart in an old Chart.yaml.
#[derive(Debug, Deserialize)]
struct Identity {
    name: String,
    version: Version,
}

fn identity(text: &str) -> Option<Identity> {
    serde_yaml::from_str(text).ok()
}

fn folder(chart: &Chart) -> String {
    chart
        .dir
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The folders, beside the chart's own, that its dependencies come from.
fn local_dependencies(chart: &Chart) -> Vec<String> {
    let folders = chart.metadata.dependencies.iter();
    folders
        .filter_map(|d| d.repository.strip_prefix("file://../"))
        .map(|folder| folder.trim_end_matches('/').to_owned())
        .collect()
}
