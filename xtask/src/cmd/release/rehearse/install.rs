//! What was published, taken by the commands that are printed for users, with both helms.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use charts::project::Publication;
use charts::workspace::Chart;
use kit::step::{Output, Step};
use release::annotate::addressed;
use release::archive;
use release::packer::{file_name, with_isolated_home};
use serde::Deserialize;
use serde_yaml::Value;
use stack_tests::documented::commands;

use super::stage::{Stage, dist, text};
use crate::ctx::Ctx;

/// A helm of users.
#[derive(Debug, Clone)]
pub struct Helm {
    /// `helm 4.3.1`.
    pub name: String,
    program: PathBuf,
}

/// Helm 4, then helm 3.
pub fn helms(ctx: &Ctx) -> Result<Vec<Helm>> {
    let installed = [ctx.toolbox.pinned("helm")?, ctx.toolbox.get("helm3")?];
    let helm = |tool: charts::tools::Installed| Helm {
        name: format!("helm {}", tool.version),
        program: tool.path,
    };
    Ok(installed.into_iter().map(helm).collect())
}

/// The versions of what takes part.
pub fn versions(ctx: &Ctx) -> Result<BTreeMap<String, String>> {
    let mut versions = BTreeMap::new();
    for name in ["helm", "helm3", "cosign", "registry"] {
        versions.insert(name.to_owned(), ctx.toolbox.tool(name)?.file.version.to_string());
    }
    Ok(versions)
}

/// Where users get a chart from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `helm repo add`.
    Repository,
    /// `oci://`.
    Registry,
}

impl Way {
    pub const ALL: [Way; 2] = [Way::Repository, Way::Registry];

    pub fn word(self) -> &'static str {
        match self {
            Way::Repository => "repository",
            Way::Registry => "registry",
        }
    }

    /// Whether a helm command takes the chart this way.
    fn takes(self, command: &str) -> bool {
        command.contains(" oci://") == (self == Way::Registry)
    }
}

/// A published chart with the commands that its README prints.
pub struct Printed {
    pub chart: Chart,
    commands: Vec<String>,
}

impl Printed {
    /// What is typed to get the chart this way; the last command installs it.
    pub fn install(&self, way: Way) -> Result<Vec<String>> {
        select(&self.commands, "helm install ", self.chart.name(), way)
            .with_context(|| format!("the README of {}", self.chart.name()))
    }

    /// What is typed to see whether it works; none where the README prints no such thing.
    pub fn test(&self) -> Option<&str> {
        let test = format!("helm test {} ", self.chart.name());
        let found = self.commands.iter().find(|command| command.starts_with(&test));
        found.map(String::as_str)
    }
}

/// The commands of a text that get a chart one way: those that name the repository, and the one that begins with
/// `verb` and takes the chart from there.
pub fn select(commands: &[String], verb: &str, chart: &str, way: Way) -> Result<Vec<String>> {
    let from = format!("/{chart}");
    let takes = |command: &&String| {
        let published = command
            .split_whitespace()
            .any(|word| word.ends_with(&from) && !word.starts_with("./"));
        command.starts_with(verb) && published && way.takes(command)
    };
    let mut found = commands.iter().filter(takes);
    let (Some(last), None) = (found.next(), found.next()) else {
        bail!(
            "it must print one command `{verb}…` that takes {chart} from its {}",
            way.word()
        );
    };
    let repository = |command: &&String| command.starts_with("helm repo ") && way == Way::Repository;
    let mut selected: Vec<String> = commands.iter().filter(repository).cloned().collect();
    if way == Way::Repository && selected.is_empty() {
        bail!("it prints no `helm repo add`");
    }
    selected.push(last.clone());
    Ok(selected)
}

/// The charts with the READMEs that are published with them.
pub fn charts(stage: &Stage) -> Result<Vec<Printed>> {
    let helm = helms(stage.ctx)?.swap_remove(0);
    let published = Publication {
        charts: Some(stage.oci()),
        site: Some(stage.web()),
        ..Publication::default()
    };
    let project = match stage.ctx.runner.plans() {
        true => stage.ctx.in_checkout(stage.ctx.workspace.root())?,
        false => stage.project()?,
    };
    let mut printed = Vec::new();
    for chart in project.workspace.charts()? {
        let reference = format!("{}/{}", stage.oci(), chart.name());
        let readme = match stage.ctx.runner.plans() {
            true => addressed(&fs_err::read_to_string(chart.dir.join("README.md"))?, &published),
            false => {
                let show = user(stage, &helm, "readme", &["show", "readme", &reference]);
                stage.ctx.runner.run(&show)?.stdout
            }
        };
        let commands = commands(&readme)
            .into_iter()
            .filter(|command| command.starts_with("helm "));
        printed.push(Printed {
            chart,
            commands: commands.collect(),
        });
    }
    Ok(printed)
}

/// A helm of a user on an empty machine, who trusts the registry's certificate. Each `home` is a user.
pub fn user(stage: &Stage, helm: &Helm, home: &str, args: &[&str]) -> Step {
    let verbs: Vec<&str> = args.iter().copied().take(2).collect();
    let home = stage.path("users").join(home);
    let step = Step::new(format!("{} {}", helm.name, verbs.join(" ")), &helm.program)
        .args(args.iter().copied())
        .cwd(stage.path("."));
    with_isolated_home(stage.alone(step), &home)
        .env("HOME", home.to_string_lossy())
        .env("DOCKER_CONFIG", home.to_string_lossy())
        .env("KUBECONFIG", "/dev/null")
        .env("SSL_CERT_FILE", stage.certificate().to_string_lossy())
}

/// The home of a user of a helm who gets charts one way.
pub fn home(helm: &Helm, way: Way, chart: &str) -> String {
    format!("{}-{}-{chart}", helm.name.replace(' ', "-"), way.word())
}

/// The arguments of a printed helm command.
pub fn words(command: &str) -> Vec<&str> {
    command.split_whitespace().skip(1).collect()
}

/// Both helms verify and render the chart from both places: the bytes that were packaged, and the same objects.
pub fn render(stage: &Stage, printed: &Printed) -> Result<()> {
    let name = printed.chart.name();
    stage.part(&format!("{name}: both helms take it from both places"), || {
        let wanted = dist(stage).join(file_name(&printed.chart));
        let mut rendered: Option<(String, Vec<Value>)> = None;
        for (helm, way) in combinations(stage)? {
            let what = format!("{} from the {}", helm.name, way.word());
            let home = home(&helm, way, name);
            let run = |args: &[&str]| -> Result<Output> { stage.ctx.runner.run(&user(stage, &helm, &home, args)) };
            let mut commands = printed.install(way)?;
            let install = commands.pop().context("a command installs it")?;
            for command in &commands {
                run(&words(command))?;
            }
            let install = words(&install);
            let chart = install.iter().find(|word| word.ends_with(&format!("/{name}")));
            let chart = chart.context("a command names the chart")?;
            let pulled = stage.path("users").join(&home).join("pulled");
            let (ring, to) = (text(&stage.keys.ring), text(&pulled));
            if !stage.ctx.runner.plans() {
                fs_err::create_dir_all(&pulled)?;
            }
            run(&["pull", chart, "--verify", "--keyring", &ring, "--destination", &to])?;
            // As it is printed, and with a render in place of the installation.
            let version = ["--kube-version", &stage.ctx.kube_version];
            let output = run(&[&["template"], &install[1..], &version].concat())?.stdout;
            if stage.ctx.runner.plans() {
                continue;
            }
            let file = pulled.join(file_name(&printed.chart));
            if archive::fingerprint(&file)? != archive::fingerprint(&wanted)? {
                bail!("{what}: the archive is not the one that was packaged");
            }
            // The two differ in blank lines between the objects.
            let objects = objects(&output).with_context(|| format!("{what}: reading what helm rendered"))?;
            match &rendered {
                None => rendered = Some((what, objects)),
                Some((other, first)) if *first != objects => bail!("{what} renders other objects than {other}"),
                Some(_) => {}
            }
        }
        let objects = rendered.map_or(0, |(_, objects)| objects.len());
        let s = if objects == 1 { "" } else { "s" };
        Ok(((), format!("{objects} object{s}, the same four times")))
    })
}

/// The objects that helm rendered.
fn objects(text: &str) -> Result<Vec<Value>, serde_yaml::Error> {
    let documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
    documents
        .filter(|document| !matches!(document, Ok(Value::Null)))
        .collect()
}

/// Each helm with each way.
pub fn combinations(stage: &Stage) -> Result<Vec<(Helm, Way)>> {
    let helms = helms(stage.ctx)?.into_iter();
    Ok(helms.flat_map(|helm| Way::ALL.map(|way| (helm.clone(), way))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_is_what_a_text_prints_for_it() {
        let all = [
            "helm repo add x https://h/p",
            "helm install a x/a --namespace n",
            "helm install a oci://h/p/a --namespace n",
            "helm install a ./a",
            "helm install a x/ab",
        ]
        .map(str::to_owned);
        assert_eq!(select(&all, "helm install ", "a", Way::Repository).unwrap(), all[..2]);
        assert_eq!(select(&all, "helm install ", "a", Way::Registry).unwrap(), all[2..3]);
        assert!(select(&all[1..], "helm install ", "a", Way::Repository).is_err());
        assert!(select(&all[..2], "helm install ", "a", Way::Registry).is_err());
        assert!(select(&all, "helm upgrade ", "a", Way::Registry).is_err());
    }
}
