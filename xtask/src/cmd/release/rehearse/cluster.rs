//! A kind cluster of the rehearsal's own, on which what was published is installed as it is printed.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use cluster::docker::Docker;
use cluster::kind::{Cluster, Running, Wanted};
use kit::failure::remedy_of;
use kit::step::{Output, Step};
use stack_tests::backend::cluster::Images;

use super::install::{Helm, Printed, Way, combinations, home, select, user, words};
use super::stage::{Stage, text};

/// The cluster's name: one at a time, so that a run that was killed leaves one that the next one removes.
const NAME: &str = "tempo-stack-rehearse";
/// How long pods may take to be ready in a new cluster on a busy machine.
const READY: Duration = Duration::from_secs(300);
/// How long a namespace may take to go.
const GONE: Duration = Duration::from_secs(180);

/// A cluster that goes when this is dropped.
pub struct OwnCluster {
    cluster: Cluster,
    running: Running,
    /// Values with the images that the cluster has; none where it pulls the charts' own.
    values: Option<PathBuf>,
    removed: bool,
    // Whoever waits for it finds no cluster: it is declared last.
    _turn: Option<File>,
}

impl OwnCluster {
    /// Waits for its turn and brings a new cluster up. Why not, where Docker doesn't answer.
    pub fn up(stage: &Stage) -> Result<Result<OwnCluster, String>> {
        let ctx = stage.ctx;
        if let Err(error) = Docker::new(ctx.runner.clone()).info() {
            ctx.runner.cancel().check()?;
            let remedy = remedy_of(&error).map(|remedy| format!(" ({remedy})"));
            return Ok(Err(format!("{error:#}{}", remedy.unwrap_or_default())));
        }
        let lock = ctx.toolbox.cache().join("cluster").join(format!("{NAME}.turn"));
        let turn = ctx.lock(&lock, "rehearses a release on a cluster")?;
        stage.part("a new cluster", || {
            // For clean-up after Ctrl-C, too.
            let mut project = (**ctx).clone();
            project.runner = project.runner.uncancelled();
            Cluster::named(&project, NAME)?.down()?;
            let running = Cluster::named(ctx, NAME)?.up(&Wanted::default())?;
            let mut own = OwnCluster {
                cluster: Cluster::named(&project, NAME)?,
                running,
                values: None,
                removed: false,
                _turn: turn,
            };
            if !own.running.images.is_empty() {
                let mut images = Images::default();
                for (name, image) in &own.running.images {
                    images.set(&format!("{name}={image}"))?;
                }
                let file = stage.path("images.yaml");
                fs_err::write(&file, serde_yaml::to_string(&images.values()).context("writing YAML")?)?;
                own.values = Some(file);
            }
            let images = match own.values {
                Some(_) => "images of the test bed",
                None => "the charts' own images",
            };
            let detail = format!("Kubernetes {}, {images}", own.running.images_from.kubernetes);
            Ok((Ok(own), detail))
        })
    }

    /// Where it is.
    pub fn place(&self) -> String {
        format!("cluster {NAME} with {}", self.running.kubeconfig.display())
    }

    /// Removes it.
    pub fn remove(mut self) -> Result<()> {
        self.removed = true;
        self.cluster.down().map(drop)
    }

    /// Each chart whose README prints a test is installed with each helm each way, upgraded as the notes print it,
    /// and tested; after a failure the cluster's logs are saved.
    pub fn install(&self, stage: &Stage, charts: &[Printed]) -> Result<()> {
        for printed in charts {
            let Some(test) = printed.test() else {
                let why = "its README prints no `helm test`";
                stage
                    .recorder
                    .skip(format!("{}: installation on a cluster", printed.chart.name()), why);
                continue;
            };
            for (helm, way) in combinations(stage)? {
                if let Err(error) = self.try_out(stage, printed, test, &helm, way) {
                    stage.ctx.runner.cancel().check()?;
                    let folder = stage.ctx.artifacts("rehearse").join("cluster");
                    self.cluster.logs(&folder)?;
                    stage.ctx.say(format!("logs of the cluster in {}", folder.display()));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn try_out(&self, stage: &Stage, printed: &Printed, test: &str, helm: &Helm, way: Way) -> Result<()> {
        let name = printed.chart.name();
        let mut commands = printed.install(way)?;
        let install = commands.pop().context("a command installs it")?;
        let words: Vec<&str> = words(&install);
        let namespace = words.iter().position(|word| *word == "--namespace");
        let namespace = namespace
            .and_then(|at| words.get(at + 1))
            .context("the command names a namespace")?;
        let user = User {
            own: self,
            stage,
            helm,
            home: format!("{}-installs", home(helm, way, name)),
        };
        let begins = format!("{name}: {} from the {}", helm.name, way.word());
        let notes = stage.part(&format!("{begins}: installed as the README says"), || {
            for command in &commands {
                user.types(command)?;
            }
            Ok((user.types(&install)?.stdout, install.clone()))
        })?;
        self.ready(stage, namespace)?;
        if !stage.ctx.runner.plans() {
            stage.part(&format!("{begins}: upgraded as the notes say"), || {
                let printed = notes.lines().map(str::trim).filter(|line| line.starts_with("helm "));
                let printed: Vec<String> = printed.map(str::to_owned).collect();
                let upgrade = select(&printed, "helm upgrade ", name, way).context("the notes")?;
                for command in &upgrade {
                    user.types(command)?;
                }
                Ok(((), upgrade.last().cloned().unwrap_or_default()))
            })?;
        }
        self.ready(stage, namespace)?;
        stage.part(&format!("{begins}: helm test"), || {
            let output = user.types(test)?;
            let phase = output.stdout.lines().find(|line| line.starts_with("Phase:"));
            Ok(((), phase.unwrap_or_default().to_owned()))
        })?;
        // With its claims, which an `uninstall` leaves.
        let delete = self.kubectl(&["delete", "namespace", namespace, "--wait"], GONE);
        stage.ctx.runner.run(&delete).map(drop)
    }

    /// Waits for the pods of a namespace.
    fn ready(&self, stage: &Stage, namespace: &str) -> Result<()> {
        let timeout = format!("--timeout={}s", READY.as_secs());
        for kind in ["statefulset", "deployment"] {
            let list = self.kubectl(&["get", kind, "--namespace", namespace, "--output", "name"], READY);
            for workload in stage.ctx.runner.run(&list)?.stdout.lines() {
                let args = ["rollout", "status", workload, "--namespace", namespace, &timeout];
                stage
                    .ctx
                    .runner
                    .run(&self.kubectl(&args, READY + Duration::from_secs(10)))?;
            }
        }
        Ok(())
    }

    fn kubectl(&self, args: &[&str], timeout: Duration) -> Step {
        self.cluster.kubectl(args).timeout(timeout)
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        if !self.removed {
            // On the way out of a failure, which is what the user hears of; the next run removes what is left.
            let _ = self.cluster.down();
        }
    }
}

/// Someone with an empty machine who types what is printed.
struct User<'a> {
    own: &'a OwnCluster,
    stage: &'a Stage<'a>,
    helm: &'a Helm,
    home: String,
}

impl User<'_> {
    /// Runs a printed command. The images that the cluster has are all that is added to an installation.
    fn types(&self, command: &str) -> Result<Output> {
        let mut step = user(self.stage, self.helm, &self.home, &words(command)).timeout(READY);
        if let Some(values) = self
            .own
            .values
            .as_ref()
            .filter(|_| command.starts_with("helm install "))
        {
            step = step.args(["--values", &text(values)]);
        }
        let kubeconfig = self.own.running.kubeconfig.to_string_lossy();
        self.stage.ctx.runner.run(&step.env("KUBECONFIG", kubeconfig))
    }
}
