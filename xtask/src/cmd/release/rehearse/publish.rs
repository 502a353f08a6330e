//! A release from a change to what is published and verified, by the commands that releases are made with.

use anyhow::{Context, Result, bail};
use release::changed::History;
use release::git::Git;
use serde::Deserialize;

use super::stage::{MAIN, Stage, text};

/// The branch of the change, as of a pull request.
const BRANCH: &str = "rehearsal";
/// The branch that the site is served from.
const PAGES: &str = "gh-pages";

/// What `release plan` says of a chart.
#[derive(Deserialize)]
struct Row {
    chart: String,
    version: String,
    action: String,
}

/// What `release push` says of a chart.
#[derive(Deserialize)]
struct Pushed {
    chart: String,
    done: Vec<String>,
}

/// What `release verify` says of a reference.
#[derive(Deserialize)]
struct Verified {
    reference: String,
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    verdict: String,
    detail: String,
}

/// Changes a chart, releases all that follows from that, and verifies what is published.
pub fn all(stage: &Stage) -> Result<()> {
    change(stage)?;
    raise(stage)?;
    let (oci, web) = (stage.oci(), stage.web());
    let ca = text(&stage.certificate());
    let to = ["--to", &oci, "--ca-file", &ca];
    planned(stage, &to)?;
    let (secret, cosign) = (text(&stage.keys.secret), text(&stage.keys.cosign));
    stage.runs(&stage.xtask(&["package", "--sign", "--key-file", &secret, "--cosign-key", &cosign]))?;
    let push = ["release", "push", "--tag", "--cosign-key", &cosign];
    let push = [&push[..], &to].concat();
    stage.runs(&stage.xtask(&push))?;
    stage.part("the same push finds nothing to do", || {
        let pushed: Vec<Pushed> = stage.json(&push)?.unwrap_or_default();
        if let Some(again) = pushed.iter().find(|pushed| !pushed.done.is_empty()) {
            bail!("of {} it did again: {}", again.chart, again.done.join(", "));
        }
        Ok(((), format!("{} charts", pushed.len())))
    })?;
    stage.part("git push --tags", || {
        stage.in_clone(&["push", "--quiet", "origin", "--tags"])?;
        let tags = stage.git("remote.git", &["tag", "--points-at", MAIN])?.stdout;
        Ok(((), tags.lines().collect::<Vec<_>>().join(", ")))
    })?;
    site(stage, &web)?;
    verified(stage, &to)?;
    verified(stage, &["--to", &web])
}

/// A change of the chart that no other is needed for, on a branch; `changed --check` must refuse its old version.
fn change(stage: &Stage) -> Result<()> {
    stage.in_clone(&["switch", "--quiet", "--create", BRANCH])?;
    let (oci, web, key) = (stage.oci(), stage.web(), &stage.keys.fingerprint);
    stage.set_metadata(&[
        ("published-charts", format!("{oci:?}")),
        ("published-site", format!("{web:?}")),
        (
            "sign-key",
            format!("{{ fingerprint = {key:?}, url = \"{web}/pubring.gpg\" }}"),
        ),
    ])?;
    stage.part("a change is refused without a higher version", || {
        let project = stage.ctx.in_checkout(match stage.ctx.runner.plans() {
            true => stage.ctx.workspace.root(),
            false => &stage.workspace,
        })?;
        let history = History::read(&project.workspace, Git::of(&project)?)?;
        let chart = *history.in_order().first().context("there is no chart to release")?;
        if !stage.ctx.runner.plans() {
            let file = chart.dir.join("README.md");
            let old = fs_err::read_to_string(&file)?;
            fs_err::write(&file, format!("{old}\n<!-- rehearsed -->\n"))?;
        }
        stage.commit(&format!("fix({}): rehearse a release", chart.name()))?;
        let output = stage.ctx.runner.try_run(&stage.xtask(&["changed", "--check"]))?;
        if output.code != Some(1) && !stage.ctx.runner.plans() {
            bail!(
                "`changed --check` must end with exit code 1, and said: {}{}",
                output.stdout,
                output.stderr
            );
        }
        Ok(((), format!("of {}", chart.name())))
    })
}

/// The higher versions with their notes, which are accepted and pushed to the main branch.
fn raise(stage: &Stage) -> Result<()> {
    stage.runs(&stage.xtask(&["bump"]))?;
    stage.part("cargo xtask release notes", || {
        stage.ctx.runner.run(&stage.xtask(&["release", "notes", "--write"]))?;
        let changed = stage.in_clone(&["diff", "--stat"])?.stdout;
        stage.commit("chore: release")?;
        Ok(((), changed.lines().last().unwrap_or_default().trim().to_owned()))
    })?;
    stage.runs(&stage.xtask(&["changed", "--check"]))?;
    stage.part("git push", || {
        stage.in_clone(&["push", "--quiet", "origin", &format!("{BRANCH}:{MAIN}")])?;
        stage.in_clone(&["switch", "--quiet", MAIN])?;
        stage.in_clone(&["pull", "--quiet", "--ff-only"])?;
        Ok(((), format!("{BRANCH} to {MAIN}")))
    })
}

/// `release plan` says of every chart that it is to be released.
fn planned(stage: &Stage, to: &[&str]) -> Result<()> {
    stage.part("cargo xtask release plan", || {
        let rows: Option<Vec<Row>> = stage.json(&[&["release", "plan"], to].concat())?;
        let rows = rows.unwrap_or_default();
        if let Some(other) = rows.iter().find(|row| row.action != "release") {
            bail!(
                "{} {} is to be released, and is {}",
                other.chart,
                other.version,
                other.action
            );
        }
        let charts: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {}", row.chart, row.version))
            .collect();
        Ok(((), charts.join(", ")))
    })
}

/// The site's branch, what `release index` pushes to it, and the folder that a web server has of it.
fn site(stage: &Stage, web: &str) -> Result<()> {
    stage.git(
        ".",
        &["init", "--quiet", "--bare", "--initial-branch", PAGES, "site.git"],
    )?;
    stage.git(".", &["clone", "--quiet", "site.git", "site"])?;
    stage.git("site", &["commit", "--quiet", "--allow-empty", "--message", "begin"])?;
    stage.git("site", &["push", "--quiet", "--set-upstream", "origin", PAGES])?;
    let dir = text(&stage.path("site"));
    stage.runs(&stage.xtask(&["release", "index", &dir, "--url", web, "--push"]))?;
    // What was pushed is served, and not what was written.
    stage
        .git(".", &["clone", "--quiet", "--branch", PAGES, "site.git", "www"])
        .map(drop)
}

/// Every check of `release verify` passes for every chart; none is skipped.
fn verified(stage: &Stage, to: &[&str]) -> Result<()> {
    let place = to.get(1).copied().unwrap_or_default();
    stage.part(&format!("cargo xtask release verify: {place}"), || {
        let (ring, cosign) = (text(&stage.keys.ring), text(&stage.keys.cosign_pub));
        let keys = ["--keyring", &ring, "--cosign-pub", &cosign];
        let all = [&["release", "verify", "--all"], to, &keys].concat();
        let reports: Vec<Verified> = stage.json(&all)?.unwrap_or_default();
        let mut checks = 0;
        for report in &reports {
            if let Some(check) = report.checks.iter().find(|check| check.verdict != "passed") {
                bail!(
                    "{}: {} is {}: {}",
                    report.reference,
                    check.name,
                    check.verdict,
                    check.detail
                );
            }
            checks += report.checks.len();
        }
        Ok(((), format!("{} charts, {checks} checks", reports.len())))
    })
}
