//! What a kind cluster needs, and where its images would come from.

use std::path::Path;

use anyhow::Result;
use cluster::docker::{Docker, Info, START_DOCKER};
use cluster::host;
use cluster::kind::{Cluster, DEFAULT_NAME, Wanted};
use cluster::source::Source;
use cluster::testbed::{SPACE, Testbed};
use kit::failure::{Kind, kind_of, remedy_of};

use super::{Finding, space};
use crate::ctx::Ctx;

/// What is missing is a hint, since most commands need no cluster; with `needed` it is a problem.
pub fn findings(ctx: &Ctx, needed: bool) -> Result<Vec<Finding>> {
    let docker = Docker::new(ctx.runner.clone()).info();
    let mut found = vec![engine(&docker)];
    found.push(capabilities(host::missing_capabilities()?, docker.as_ref().ok()));
    found.extend(host::INOTIFY.map(|(setting, least)| inotify(setting, host::inotify(setting), least)));
    if let Ok(info) = &docker {
        found.push(cgroups(info));
        let elsewhere = "move Docker's data to a larger disk (`data-root` in /etc/docker/daemon.json)";
        found.push(space(&info.docker_root_dir, SPACE, "Docker's disk", elsewhere));
        found.extend(images(ctx)?);
    }
    if !needed {
        found.iter_mut().for_each(Finding::soften);
    }
    Ok(found)
}

fn engine(docker: &Result<Info>) -> Finding {
    let what = "Docker";
    match docker {
        Ok(info) => Finding::ok(what, format!("{} answers, {}", info.server_version, info.driver)),
        Err(error) => {
            let remedy = remedy_of(error).unwrap_or_default();
            Finding::problem(kind_of(error), what, error.to_string(), remedy)
        }
    }
}

fn cgroups(info: &Info) -> Finding {
    let detail = match info.cgroup_version.as_str() {
        "1" => "version 1; a kubelet that refuses it is told to accept it",
        version => &format!("version {version}"),
    };
    Finding::ok("cgroups", detail)
}

/// Privileged containers get every capability that runc knows: one that the machine lacks fails them.
fn capabilities(missing: u64, docker: Option<&Info>) -> Finding {
    let what = "capabilities";
    if missing == 0 {
        return Finding::ok(what, "all present for privileged containers");
    }
    if missing != host::SYS_RESOURCE {
        let detail = format!("some are missing (`capsh --decode={missing:x}`); privileged containers can't start");
        let remedy = "run it where they are not dropped: `capsh --print` shows the bounding set";
        return Finding::problem(Kind::Environment, what, detail, remedy);
    }
    if docker.is_some_and(|info| info.default_runtime == "caps") {
        return Finding::ok(what, "missing: CAP_SYS_RESOURCE; Docker's runtime `caps` does without");
    }
    // A Docker that answers is not started again.
    let stop = if docker.is_some() { "stop Docker, then " } else { "" };
    let detail = "missing: CAP_SYS_RESOURCE; privileged containers need a runtime that does without";
    Finding::problem(Kind::Environment, what, detail, format!("{stop}{START_DOCKER}"))
}

fn inotify(setting: &str, value: Option<u64>, least: u64) -> Finding {
    let what = format!("inotify {}", setting.trim_start_matches("max_user_"));
    match value {
        Some(value) if value < least => Finding::problem(
            Kind::Environment,
            what,
            format!("{value}; pods fail with \"too many open files\" when it runs out, kind asks for {least}"),
            format!("as root: sysctl fs.inotify.{setting}={least}"),
        ),
        Some(value) => Finding::ok(what, value.to_string()),
        None => Finding::ok(what, "this kernel has no such limit"),
    }
}

/// Where images come from, why, and what is missing for it.
fn images(ctx: &Ctx) -> Result<Vec<Finding>> {
    let what = "cluster images";
    let choice = Cluster::named(ctx, DEFAULT_NAME)?.choose(&Wanted::default())?;
    let why = format!("{}: {}", choice.source.describe(), choice.why);
    if choice.source == Source::Pull {
        return Ok(vec![Finding::ok(what, why)]);
    }
    let testbed = Testbed::read(ctx)?;
    let missing = testbed.status()?.iter().filter(|image| !image.current).count();
    if missing == 0 {
        return Ok(vec![Finding::ok(what, format!("{why}; all built"))]);
    }
    let detail = format!("{why}; {missing} to build");
    let mut found = vec![Finding::hint(what, detail, "cargo xtask cluster images")];
    if !testbed.has_debian()? {
        found.push(root(nix::unistd::geteuid().is_root()));
        found.push(debootstrap(std::env::var_os("PATH").unwrap_or_default().as_ref()));
    }
    Ok(found)
}

fn root(is_root: bool) -> Finding {
    let what = "root";
    if is_root {
        return Finding::ok(what, "`cluster images` may build the Debian root");
    }
    let remedy = "run `cargo xtask cluster images` as root once; the images stay in Docker";
    Finding::problem(
        Kind::Environment,
        what,
        "building the test bed's Debian root needs it",
        remedy,
    )
}

fn debootstrap(path: &Path) -> Finding {
    let what = "debootstrap";
    let found = std::env::split_paths(path)
        .map(|dir| dir.join(what))
        .find(|file| file.is_file());
    match found {
        Some(file) => Finding::ok(what, file.display().to_string()),
        None => Finding::problem(Kind::Tool, what, "not on PATH", START_DOCKER),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn info(runtime: &str) -> Info {
        let text = format!(r#"{{"ServerVersion":"20.10.24","CgroupVersion":"1","DefaultRuntime":"{runtime}"}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_missing_capability_is_a_problem_unless_dockers_runtime_does_without() {
        let missing = host::SYS_RESOURCE;
        let plain = capabilities(missing, Some(&info("runc")));
        assert_eq!((plain.state, plain.kind), (State::Problem, Some(Kind::Environment)));
        assert!(plain.detail.contains("CAP_SYS_RESOURCE") && plain.remedy.contains("docker.sh"));
        assert_eq!(capabilities(missing, Some(&info("caps"))).state, State::Ok);
        assert_eq!(capabilities(missing, None).state, State::Problem);
        assert_eq!(capabilities(0, None).state, State::Ok);
    }

    #[test]
    fn a_capability_that_the_runtime_does_not_make_up_for_is_not_promised() {
        // With CAP_SYS_ADMIN.
        let finding = capabilities(host::SYS_RESOURCE | 1 << 21, Some(&info("caps")));
        assert_eq!(finding.state, State::Problem);
        assert!(finding.detail.contains("--decode=1200000"));
    }

    #[test]
    fn an_inotify_limit_too_low_names_the_command_that_raises_it() {
        let finding = inotify("max_user_instances", Some(128), 512);
        assert_eq!(finding.state, State::Problem);
        assert!(finding.remedy.contains("sysctl fs.inotify.max_user_instances=512"));
        assert_eq!(inotify("max_user_instances", Some(512), 512).state, State::Ok);
    }

    #[test]
    fn without_a_need_for_a_cluster_what_is_missing_is_a_hint_with_its_remedy() {
        let mut finding = root(false);
        finding.soften();
        assert_eq!((finding.state, finding.kind), (State::Hint, None));
        assert!(finding.remedy.contains("as root"));
    }
}
