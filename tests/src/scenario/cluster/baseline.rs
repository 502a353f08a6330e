//! The charts that users have: what an upgrade starts from.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use charts::render::{Helm, Prepared};
use charts::workspace::Chart;
use kit::run_dir::RunDir;
use kit::step::{Runner, Step};

use crate::env::Env;

/// The files of a chart that decide what is installed.
const CHARTS: [&str; 6] = [
    "charts/tempo-stack/templates",
    "charts/tempo-stack/values.yaml",
    "charts/tempo-stack/Chart.yaml",
    "charts/observability/templates",
    "charts/observability/values.yaml",
    "charts/observability/Chart.yaml",
];
/// What the charts have since their claims and kinds are final. Earlier ones were never released.
const FIRST: &str = "charts/tempo-stack/templates/tempo-statefulset.yaml";
/// How far back is looked.
const COMMITS: &str = "50";

/// An earlier state of chart `tempo-stack`.
pub(crate) struct Baseline {
    /// The tag, or the short id of the commit.
    pub name: String,
    pub chart: Prepared,
    _folder: RunDir,
}

/// The newest tag, else the newest commit, whose charts differ from those of the working tree. The
/// error text says why there is none.
pub fn find(env: &Env, helm: &Helm) -> Result<Result<Baseline, String>> {
    let (root, runner) = (env.workspace.root(), &helm.runner);
    if !git(runner, root, &["rev-parse", "--git-dir"])?.1 {
        return Ok(Err(
            "the workspace is not a git checkout: there is no earlier state of the charts".into(),
        ));
    }
    let tags = git(runner, root, &["tag", "--list", "--sort=-creatordate"])?.0;
    let commits = [
        ["log", "--first-parent", "--format=%h", "-n", COMMITS, "--"].as_slice(),
        &CHARTS,
    ]
    .concat();
    let commits = git(runner, root, &commits)?.0;
    for name in tags.lines().chain(commits.lines()) {
        let there = git(runner, root, &["cat-file", "-e", &format!("{name}:{FIRST}")])?.1;
        let same = git(
            runner,
            root,
            &[["diff", "--quiet", name, "--"].as_slice(), &CHARTS].concat(),
        )?
        .1;
        if there && !same {
            return Ok(Ok(extract(runner, root, helm, name)?));
        }
    }
    Ok(Err(format!(
        "no tag and none of the last {COMMITS} commits here has other charts"
    )))
}

fn extract(runner: &Runner, root: &Path, helm: &Helm, name: &str) -> Result<Baseline> {
    let folder = RunDir::temporary("baseline")?;
    let archive = folder.path().join("charts.tar");
    let written = archive.display().to_string();
    runner.run(&step(
        root,
        &[
            "archive",
            "--format=tar",
            "--output",
            &written,
            name,
            "charts/tempo-stack",
        ],
    ))?;
    let unpack = Step::new("tar", "tar")
        .args(["-xf"])
        .path_arg(&archive)
        .cwd(folder.path());
    runner.run(&unpack)?;
    let chart = Chart::read(&folder.path().join("charts/tempo-stack"))?;
    let chart = helm
        .prepare(&chart)
        .with_context(|| format!("preparing the chart of {name}"))?;
    Ok(Baseline {
        name: name.to_owned(),
        chart,
        _folder: folder,
    })
}

/// What git prints, and whether it ended with 0.
fn git(runner: &Runner, root: &Path, args: &[&str]) -> Result<(String, bool)> {
    let output = runner.try_run(&step(root, args))?;
    let success = output.success();
    Ok((output.stdout, success))
}

fn step(root: &Path, args: &[&str]) -> Step {
    Step::new(format!("git {}", args.first().unwrap_or(&"")), "git")
        .args(args.iter().copied())
        .cwd(root)
        .timeout(Duration::from_secs(60))
}
