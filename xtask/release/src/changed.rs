//! Which charts changed, through what, and how far their versions must move.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use charts::workspace::{Chart, Workspace};
use kit::failure::Failure;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::commits::{Change, changes};
use super::git::Git;
use super::helmignore::Ignore;
use super::version::{Level, damped, finished, next, past};

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
    /// Whether `version` is still too low, or stands for something else already.
    pub needs_bump: bool,
    /// The versions above `base_version` that stand for other files, each with where.
    pub taken: Vec<String>,
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
    /// The charts at commits that were asked for already.
    known: RefCell<BTreeMap<String, Vec<(String, Identity)>>>,
}

impl<'a> History<'a> {
    /// Reads the charts as they are in the working tree. Errors of [`kit::failure::Kind::Findings`]: a local
    /// dependency that is not in the workspace, or that depends on its dependent.
    pub fn read(workspace: &'a Workspace, git: Git) -> Result<History<'a>> {
        let history = History {
            workspace,
            charts: workspace.charts()?,
            git,
            known: RefCell::default(),
        };
        history
            .charts
            .iter()
            .try_for_each(|chart| workspace.family(chart).map(drop))?;
        Ok(history)
    }

    /// The charts, dependencies before those that need them.
    pub fn in_order(&self) -> Vec<&Chart> {
        let mut order: Vec<&Chart> = Vec::new();
        for chart in &self.charts {
            for member in self.members(chart) {
                let found = self.charts.iter().find(|c| c.dir == member.dir);
                if let Some(found) = found.filter(|f| order.iter().all(|c| c.dir != f.dir)) {
                    order.push(found);
                }
            }
        }
        order
    }

    /// The chart and the local charts that it depends on, itself last.
    fn members(&self, chart: &Chart) -> Vec<Chart> {
        // It was read when this was made.
        chart.family().unwrap_or_else(|_| vec![chart.clone()])
    }

    /// The names of the chart and of the local charts that it depends on.
    pub fn family(&self, chart: &Chart) -> Vec<String> {
        self.members(chart).iter().map(|c| c.name().to_owned()).collect()
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
        match self.git.releases(chart, Some("HEAD"))?.pop() {
            Some((_, tag)) => Ok(Base::Commit(self.git.resolve(&tag)?.unwrap_or_default(), tag)),
            None if self.git.shallow => Err(self
                .git
                .undecided(&format!("no tag of {chart} is in this shallow clone"))),
            None => self.git.never_tagged(chart).map(|()| Base::Nothing),
        }
    }

    /// How a chart changed since the base; none if it did not.
    pub fn changed(&self, chart: &Chart, base: &Base) -> Result<Option<Changed>> {
        let (commit, shown) = match base {
            Base::Commit(commit, shown) => (Some(commit.as_str()), shown.clone()),
            Base::Nothing => (None, "never released".to_owned()),
        };
        let places = self.places(chart, commit)?;
        let files = self.differing(commit, &places)?;
        if files.is_empty() {
            return Ok(None);
        }
        let through = places
            .iter()
            .filter(|place| files.iter().any(|file| place.holds(file)))
            .map(|place| place.chart.clone())
            .collect();
        let base_version = match commit {
            Some(commit) => self.version_at(commit, chart)?,
            None => None,
        };
        let changes = self.changes(chart, commit, "HEAD")?;
        let any_packaged = files.iter().any(|file| packaged(&places, file));
        let mut demand = None;
        if let (Some(from), Some(commit), true) = (&base_version, commit, any_packaged) {
            demand = Some(self.demand(chart, from, commit, base, &changes)?);
        }
        let version = chart.metadata.version.clone();
        let low = |demand: &Demand| demand.refuses(&version);
        Ok(Some(Changed {
            chart: chart.name().to_owned(),
            path: self.path(chart),
            needs_bump: demand.as_ref().is_some_and(low),
            bump: demand.as_ref().map(|demand| demand.level),
            next_version: demand.as_ref().map(Demand::next),
            taken: demand.map(|demand| demand.places()).unwrap_or_default(),
            version,
            base_version,
            base: shown,
            through,
            files,
            changes,
        }))
    }

    /// What the version of a chart must be after changes that began at version `from`.
    fn demand(&self, chart: &Chart, from: &Version, commit: &str, base: &Base, changes: &[Change]) -> Result<Demand> {
        let highest = |changes: &[Change]| changes.iter().map(|c| c.level).max().unwrap_or(Level::Patch);
        let releases = self.git.releases(chart.name(), Some(commit))?;
        let last_final = releases.iter().rev().find(|(version, _)| version.pre.is_empty());
        let (mut since, mut level) = (Some(from.clone()), highest(changes));
        if !from.pre.is_empty() {
            // A candidate is on its way from the last final version, with all that has changed since.
            let tag = last_final.map(|(_, tag)| tag.as_str());
            level = level.max(highest(&self.changes(chart, tag, "HEAD")?));
            since = last_final.map(|(version, _)| version.clone());
        }
        let mut taken = Vec::new();
        if let Base::Commit(_, branch) = base
            && let Some(tip) = self.git.resolve(branch)?.filter(|tip| tip != commit)
            && let Some(version) = self.version_at(&tip, chart)?
            && version.cmp_precedence(from).is_gt()
            && self.differs(chart, &tip)?
        {
            taken.push(Taken {
                version,
                place: branch.clone(),
                tip: true,
            });
        }
        for (version, tag) in self.git.releases(chart.name(), None)? {
            if version.cmp_precedence(from).is_gt() && self.differs(chart, &tag)? {
                taken.push(Taken {
                    version,
                    place: format!("tag {tag}"),
                    tip: false,
                });
            }
        }
        Ok(Demand {
            from: from.clone(),
            level: since.as_ref().map_or(level, |since| damped(since, level)),
            since,
            taken,
        })
    }

    /// Whether what is packaged of a chart is not what a commit has.
    fn differs(&self, chart: &Chart, commit: &str) -> Result<bool> {
        let places = self.places(chart, Some(commit))?;
        let files = self.differing(Some(commit), &places)?;
        Ok(files.iter().any(|file| packaged(&places, file)))
    }

    /// What the version of a chart may not be, because it stands for something else already.
    pub fn taken(&self, chart: &Chart) -> Result<Vec<Version>> {
        let mut taken = Vec::new();
        for (version, tag) in self.git.releases(chart.name(), None)? {
            if self.differs(chart, &tag)? {
                taken.push(version);
            }
        }
        Ok(taken)
    }

    /// What the commits between two points (from the beginning, if none) say about what is packaged of a
    /// chart and of its local dependencies, oldest first.
    pub fn changes(&self, chart: &Chart, from: Option<&str>, until: &str) -> Result<Vec<Change>> {
        let places = self.places(chart, from)?;
        let dirs: Vec<String> = places.iter().flat_map(|place| place.dirs.clone()).collect();
        let mut commits = self.git.commits(from, until, &dirs)?;
        commits.retain(|commit| commit.files.iter().any(|file| packaged(&places, file)));
        Ok(changes(&commits))
    }

    /// The files in the places of a chart that differ from a commit, or all if none is given. Those that were
    /// moved with a chart's folder, and not changed, are not among them.
    fn differing(&self, commit: Option<&str>, places: &[Place]) -> Result<Vec<String>> {
        let dirs: Vec<String> = places.iter().flat_map(|place| place.dirs.clone()).collect();
        let Some(commit) = commit else {
            return self.git.files(&dirs);
        };
        if places.iter().all(|place| place.dirs.len() == 1) {
            return self.git.changed_files(commit, &dirs);
        }
        let moved = self.git.moved_files(commit, &dirs)?;
        let inside = |file: &str| places.iter().find_map(|place| place.inside(file).map(str::to_owned));
        let mut files: Vec<String> = self.git.changed_files(commit, &dirs)?;
        files.retain(|file| {
            let same = |(old, new): &(String, String)| (file == old || file == new) && inside(old) == inside(new);
            !moved.iter().any(same)
        });
        Ok(files)
    }

    /// Where a chart and its local dependencies are, and where they were at a commit.
    fn places(&self, chart: &Chart, commit: Option<&str>) -> Result<Vec<Place>> {
        let before = match commit {
            Some(commit) => self.charts_at(commit)?,
            None => Vec::new(),
        };
        let place = |member: &Chart| {
            let path = self.path(member);
            let old = before.iter().find(|(_, identity)| identity.name == member.name());
            let old = old.map(|(dir, _)| dir.clone()).filter(|dir| *dir != path);
            Place {
                chart: member.name().to_owned(),
                ignore: Ignore::of_chart(&member.dir),
                dirs: [path].into_iter().chain(old).collect(),
            }
        };
        Ok(self.members(chart).iter().map(place).collect())
    }

    /// The charts that were there at a commit and are there no more under that name.
    pub fn removed(&self, base: &Base) -> Result<Vec<String>> {
        let Base::Commit(commit, _) = base else {
            return Ok(Vec::new());
        };
        let names = self.charts_at(commit)?.into_iter().map(|(_, identity)| identity.name);
        let names: BTreeSet<_> = names
            .filter(|name| self.charts.iter().all(|c| c.name() != name))
            .collect();
        Ok(names.into_iter().collect())
    }

    /// The chart's version at a commit, wherever its folder was; none if it wasn't there under this name.
    fn version_at(&self, commit: &str, chart: &Chart) -> Result<Option<Version>> {
        let charts = self.charts_at(commit)?;
        let found = charts.into_iter().find(|(_, identity)| identity.name == chart.name());
        Ok(found.map(|(_, identity)| identity.version))
    }

    /// The folders and names of the charts at a commit; those inside of a chart belong to that.
    fn charts_at(&self, commit: &str) -> Result<Vec<(String, Identity)>> {
        if let Some(known) = self.known.borrow().get(commit) {
            return Ok(known.clone());
        }
        let files = self.git.files_at(commit, "charts")?;
        let dirs: Vec<&str> = files
            .iter()
            .filter_map(|file| file.strip_suffix("/Chart.yaml"))
            .collect();
        let inside = |dir: &str| {
            dirs.iter()
                .any(|other| dir.strip_prefix(other).is_some_and(|rest| rest.starts_with('/')))
        };
        let mut charts = Vec::new();
        for dir in dirs.iter().filter(|dir| !inside(dir)) {
            let text = self.git.show(commit, &format!("{dir}/Chart.yaml"))?;
            charts.extend(
                text.as_deref()
                    .and_then(identity)
                    .map(|identity| ((*dir).to_owned(), identity)),
            );
        }
        self.known.borrow_mut().insert(commit.to_owned(), charts.clone());
        Ok(charts)
    }

    /// Whether files of a chart or of its local dependencies differ from the last commit, or are unknown to git.
    pub fn dirty(&self, chart: &Chart) -> Result<bool> {
        let dirs: Vec<String> = self.members(chart).iter().map(|member| self.path(member)).collect();
        self.git.dirty(&dirs.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The chart's folder, relative to the workspace.
    pub fn path(&self, chart: &Chart) -> String {
        self.workspace.shown(&chart.dir).to_string()
    }
}

/// Where a chart is and, if its folder was renamed, where it was; relative to the workspace.
struct Place {
    chart: String,
    ignore: Ignore,
    dirs: Vec<String>,
}

impl Place {
    /// The path of a file inside the chart.
    fn inside<'a>(&self, file: &'a str) -> Option<&'a str> {
        let inside = |dir: &String| file.strip_prefix(dir.as_str())?.strip_prefix('/');
        self.dirs.iter().find_map(inside)
    }

    fn holds(&self, file: &str) -> bool {
        self.inside(file).is_some()
    }
}

/// Whether a file, relative to the workspace, goes into an archive of these charts.
fn packaged(places: &[Place], file: &str) -> bool {
    let inside = |place: &Place| {
        place
            .inside(file)
            .is_some_and(|inside| !place.ignore.leaves_out(inside))
    };
    places.iter().any(inside)
}

/// A version that stands for other files.
struct Taken {
    version: Version,
    place: String,
    /// Whether it is that of the branch that this one goes to: then no lower one will do.
    tip: bool,
}

/// What a version must be.
struct Demand {
    /// The version at the base.
    from: Version,
    /// The last final version at or below it; none if there was none.
    since: Option<Version>,
    level: Level,
    taken: Vec<Taken>,
}

impl Demand {
    /// The lowest version that is far enough from the last final one.
    fn needed(&self) -> Version {
        match &self.since {
            Some(since) => next(since, self.level),
            None => finished(&self.from),
        }
    }

    fn collides(&self, version: &Version) -> bool {
        self.taken.iter().any(|taken| {
            let order = version.cmp_precedence(&taken.version);
            order.is_eq() || taken.tip && order.is_lt()
        })
    }

    fn refuses(&self, version: &Version) -> bool {
        let higher = version.cmp_precedence(&self.from).is_gt();
        let far_enough = finished(version) >= self.needed();
        !(higher && far_enough) || self.collides(version)
    }

    /// The version that is far enough and stands for nothing else.
    fn next(&self) -> Version {
        let mut version = self.needed().max(finished(&self.from));
        let tips = self
            .taken
            .iter()
            .filter(|taken| taken.tip)
            .map(|taken| next(&taken.version, self.level));
        version = tips.fold(version, Version::max);
        past(
            version,
            &self.taken.iter().map(|taken| taken.version.clone()).collect::<Vec<_>>(),
        )
    }

    /// Where versions above the base's are taken.
    fn places(&self) -> Vec<String> {
        let place = |taken: &Taken| format!("{} ({})", taken.version, taken.place);
        self.taken.iter().map(place).collect()
    }
}

/// What tells a chart in an old Chart.yaml.
#[derive(Debug, Clone, Deserialize)]
struct Identity {
    name: String,
    version: Version,
}

fn identity(text: &str) -> Option<Identity> {
    serde_yaml::from_str(text).ok()
}
