//! The kind cluster that is ours: created, repaired, filled with images, removed.

mod load;
mod logs;
mod prepare;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use charts::project::Project;
use kit::failure::{Failure, Kind, kind_of};
use kit::run_dir::RunDir;
use kit::step::Step;
use kit::wait::{self, Probe, TimedOut};
use semver::Version;
use serde::Serialize;

use self::prepare::Prepared;
use crate::docker::{Docker, environment};
use crate::ownership::{CLUSTER_LABEL, CONFIG_LABEL, Decision, IMAGES_LABEL, Observed, Owner, network_name};
use crate::readiness;
use crate::source::{Choice, Images, Offer, Source, Wish, choose};
use crate::testbed::Testbed;

/// The cluster that commands mean if none is named.
pub const DEFAULT_NAME: &str = "tempo-stack";

/// kind's own waits are shorter; pulls are not part of it.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// From a started node to ready pods: 14 s seen, more on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a cluster that runs may be unready before it counts as sick.
const SICK_AFTER: Duration = Duration::from_secs(60);
const PULL_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// A container that a killed client asked for was seen 0.1 s later.
const SETTLE: Duration = Duration::from_secs(1);
/// How often nodes and pods are asked for while they come up.
const READY_PERIOD: Duration = Duration::from_millis(300);
/// How long Docker may take to forget what it was told to remove.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(60);
const REMOVE_PERIOD: Duration = Duration::from_millis(200);
/// kubeadm's file in the node.
const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// The name of the step that makes the nodes.
const CREATE: &str = "create the cluster";
/// Lines that kind prints while it creates a cluster.
const CREATE_LINES: u64 = 18;

/// What a cluster is asked to be.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Where images come from.
    pub images: Images,
    /// The Kubernetes version.
    pub kubernetes: Option<Version>,
    /// The node image, by name.
    pub node_image: Option<String>,
}

/// A cluster that is up.
#[derive(Debug, Clone, Serialize)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// The file for `kubectl --kubeconfig`.
    pub kubeconfig: PathBuf,
    /// The context in that file.
    pub context: String,
    /// What was done: `created`, `reused`, `started` or `replaced`.
    pub done: &'static str,
    /// Where its images come from, and why.
    pub images_from: Choice,
    /// What to pass as image values, by tool; empty where the charts' own images are pulled.
    pub images: BTreeMap<String, String>,
    /// Whether its network is known to enforce NetworkPolicies, so that one that doesn't is broken.
    pub enforces_policies: bool,
}

/// A cluster by name, there or not.
#[derive(Debug, Clone)]
pub struct Cluster {
    name: String,
    project: Project,
    docker: Docker,
}

/// How waiting for a cluster ended.
enum Health {
    /// Its nodes and system pods are ready.
    Ready,
    /// Docker answers, yet the cluster wasn't ready in time, for these reasons.
    Sick(String),
}

impl Cluster {
    /// A cluster of that name.
    pub fn named(project: &Project, name: &str) -> Result<Cluster> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty()
            || name.len() > 40
            || !name.chars().all(plain)
            || name.starts_with('-')
            || name.ends_with('-')
        {
            return Err(Failure::usage(
                format!("{name:?} is not a name for a cluster"),
                "use up to 40 lower-case letters, digits and inner dashes",
            ));
        }
        Ok(Cluster {
            name: name.to_owned(),
            project: project.clone(),
            docker: Docker::new(project.runner.clone()),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kubeconfig, there or not.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// Its context in the kubeconfig.
    pub fn context(&self) -> String {
        format!("kind-{}", self.name)
    }

    /// What Docker knows of it.
    pub(crate) fn observe(&self) -> Result<Observed> {
        Ok(Observed {
            nodes: self.docker.nodes(&self.name)?,
            network: self.docker.network(&network_name(&self.name))?,
        })
    }

    /// What Docker knows of it; an error unless it is there and ours.
    pub fn require_ours(&self) -> Result<Observed> {
        self.docker.info()?;
        let observed = self.observe()?;
        match observed.owner(&self.name) {
            Owner::Us if !observed.nodes.is_empty() => Ok(observed),
            Owner::Other(why) => Err(self.not_ours(&why)),
            _ => Err(Failure::environment(
                format!("no cluster {} is up", self.name),
                "cargo xtask cluster up",
            )),
        }
    }

    fn not_ours(&self, why: &str) -> anyhow::Error {
        Failure::environment(
            format!("the cluster {} is not ours: {why}", self.name),
            "choose another name with --name; this cluster is left alone",
        )
    }

    fn folder(&self) -> PathBuf {
        self.project.toolbox.cache().join("cluster").join(&self.name)
    }

    /// Held while the cluster is changed.
    fn lock(&self) -> Result<Option<File>> {
        let path = self.folder().with_extension("lock");
        self.project.lock(&path, &format!("changes the cluster {}", self.name))
    }

    /// Where its images come from. A cluster that is there keeps to where its own came from, unless the
    /// user asks for something: a registry that answers now and then must not replace it.
    pub fn choose(&self, wanted: &Wanted) -> Result<Choice> {
        let testbed = Testbed::read(&self.project)?;
        let node = testbed.node_image()?;
        let kubernetes = testbed.kubernetes()?;
        let asked = wanted.kubernetes.is_some() || wanted.node_image.is_some();
        let kept = match wanted.images {
            Images::Auto if !asked => self.docker.network(&network_name(&self.name)).ok().flatten(),
            _ => None,
        };
        let wish = Wish {
            images: wanted.images,
            kept: kept.and_then(|network| Source::from_word(network.labels.get(IMAGES_LABEL)?)),
            kubernetes: wanted.kubernetes.as_ref(),
            node_image: wanted.node_image.as_deref(),
        };
        let offer = Offer {
            node: &node,
            kubernetes: &kubernetes,
        };
        choose(wish, &testbed.recipe.pulled, offer, |image| {
            if matches!(self.docker.image(image), Ok(Some(_))) {
                return Ok(format!("Docker has {image}"));
            }
            self.docker
                .can_pull(image)
                .map(|()| "its registry can be reached".into())
        })
    }

    /// Creates it, or makes sure that it is healthy and what is wanted.
    pub fn up(&self, wanted: &Wanted) -> Result<Running> {
        let info = self.docker.info()?;
        // Before anything long: a foreign cluster of that name ends it.
        if let Owner::Other(why) = self.observe()?.owner(&self.name) {
            return Err(self.not_ours(&why));
        }
        self.project.sweep(&[])?;
        let choice = self.choose(wanted)?;
        self.project
            .say(format!("images: {}: {}", choice.source.describe(), choice.why));
        let testbed = Testbed::read(&self.project)?;
        match choice.source {
            Source::Testbed => testbed.build(false)?,
            Source::Pull => self.pull(&choice.node)?,
        }
        let _lock = self.lock()?;
        let config = self.prepare(&info, &choice, &testbed)?;
        let done = self.ensure(&config)?;
        let images = match choice.source {
            Source::Pull => BTreeMap::new(),
            Source::Testbed => testbed.images()?,
        };
        Ok(Running {
            name: self.name.clone(),
            kubeconfig: self.kubeconfig(),
            context: self.context(),
            done,
            enforces_policies: choice.source == Source::Testbed,
            images_from: choice,
            images,
        })
    }

    fn pull(&self, image: &str) -> Result<()> {
        if self.docker.image(image)?.is_some() {
            return Ok(());
        }
        let progress = self.project.progress(format!("pulling {image}"), 0);
        let step = Docker::step(format!("pull {image}"), ["pull", "--quiet", image])
            .timeout(PULL_TIMEOUT)
            .hint("see whether the registry can be reached, or use --images testbed");
        let output = self.docker.run(&step)?;
        progress.finish(&format!("{:.0} s", output.elapsed.as_secs_f64()));
        Ok(())
    }

    /// Brings the cluster from whatever it is to running and ready.
    fn ensure(&self, config: &Prepared) -> Result<&'static str> {
        match self.observe()?.decide(&self.name, &config.key) {
            Decision::Create => self.create(config).map(|()| "created"),
            Decision::Refuse(why) => Err(self.not_ours(&why)),
            Decision::Replace(why) => self.replace(config, &why),
            // It never becomes ready: no need to wait for that.
            _ if self.making_mark().is_file() => self.replace(config, "its creation was interrupted"),
            Decision::Check => self.keep_or_replace(config, "reused"),
            Decision::Start => {
                self.project.say(format!("starting the stopped nodes of {}", self.name));
                for node in self.observe()?.nodes {
                    let verb = match node.state.status.as_str() {
                        "running" => continue,
                        "paused" => "unpause",
                        _ => "start",
                    };
                    self.docker
                        .run(&Docker::step(format!("{verb} a node"), [verb, node.name()]))?;
                }
                self.keep_or_replace(config, "started")
            }
        }
    }

    /// Only a sick cluster is replaced: an error on the way to one that is ready says nothing about it.
    fn keep_or_replace(&self, config: &Prepared, done: &'static str) -> Result<&'static str> {
        match self.wait_ready(SICK_AFTER)? {
            Health::Sick(why) => self.replace(config, &why),
            Health::Ready => {
                self.write_kubeconfig()?;
                self.load(&config.images)?;
                Ok(done)
            }
        }
    }

    fn replace(&self, config: &Prepared, why: &str) -> Result<&'static str> {
        // Before the removal: without kind there would be no cluster at all.
        self.kind()?;
        self.project.say(format!("replacing the cluster {}: {why}", self.name));
        self.remove()?;
        self.create(config)?;
        Ok("replaced")
    }

    /// Creates the cluster; what a failure or an interrupt leaves half-created is removed.
    fn create(&self, config: &Prepared) -> Result<()> {
        let created = self.try_create(config);
        if let Err(error) = &created {
            let last = self.with_own_runner();
            if kind_of(error) != Kind::Interrupted {
                let dir = self.project.artifacts("cluster-up");
                // What can't be gathered is missing; the creation's error is the one to report.
                let _ = last.logs(&dir);
                self.project.say(format!("the cluster's logs: {}", dir.display()));
            }
            if let Err(left) = last.remove_for_good() {
                self.project.say(format!(
                    "could not clean up: {left:#}; `cargo xtask cluster down` tries again"
                ));
            }
        }
        created
    }

    fn try_create(&self, config: &Prepared) -> Result<()> {
        // Before the network: what can't be built leaves nothing to clean up.
        let kind = self.kind()?;
        let (mark, file) = (self.making_mark(), self.folder().join("kind.yaml"));
        self.write(&mark, "")?;
        self.docker.run(&self.network_step(config.source, &config.key))?;
        self.write(&file, &config.text)?;
        let run = RunDir::temporary("cluster")?;
        // Without --retain the node is gone before its logs can be gathered.
        let step = Step::new(CREATE, kind)
            .args(["create", "cluster", "--retain", "--name", &self.name, "--config"])
            .path_arg(&file)
            .arg("--kubeconfig")
            .path_arg(&self.kubeconfig())
            .env("KIND_EXPERIMENTAL_DOCKER_NETWORK", network_name(&self.name))
            .timeout(CREATE_TIMEOUT)
            .in_run(&run);
        let mut progress = self.project.progress(format!("cluster {}", self.name), CREATE_LINES);
        let output = self
            .project
            .runner
            .stream(&step, &mut |line| progress.advance(line.trim()))?;
        if !output.success() {
            return Err(Failure::environment(
                format!("kind could not create the cluster:\n{}", output.tail()),
                "see what `cargo xtask doctor` says",
            ));
        }
        progress.finish("the API server answers");
        let step = Docker::step(
            "install what it has beyond kind's own",
            [
                "exec",
                "--interactive",
                &self.control_plane(),
                "kubectl",
                "--kubeconfig",
                ADMIN,
            ],
        )
        .args(["apply", "--filename", "-"])
        .stdin(config.addons.clone());
        self.docker.run(&step)?;
        // Pods of the system come up meanwhile.
        self.load(&config.images)?;
        match self.wait_ready(READY_TIMEOUT)? {
            Health::Ready if self.plans() => Ok(()),
            Health::Ready => Ok(fs_err::remove_file(&mark)?),
            Health::Sick(why) => Err(Failure::environment(why, "see what `cargo xtask doctor` says")),
        }
    }

    /// There while the cluster is being created: after a `kill -9` nothing else tells.
    fn making_mark(&self) -> PathBuf {
        self.folder().join("making")
    }

    /// A file in the cluster's folder; a plan writes none.
    fn write(&self, file: &Path, text: &str) -> Result<()> {
        if !self.plans() {
            fs_err::create_dir_all(self.folder())?;
            fs_err::write(file, text)?;
        }
        Ok(())
    }

    /// For clean-up after Ctrl-C, when the usual runner refuses to start anything.
    fn with_own_runner(&self) -> Cluster {
        let mut project = self.project.clone();
        project.runner = project.runner.uncancelled();
        Cluster {
            name: self.name.clone(),
            docker: Docker::new(project.runner.clone()),
            project,
        }
    }

    /// Removes it and all that belongs to it. Returns whether there was anything.
    pub fn down(&self) -> Result<bool> {
        self.docker.info()?;
        self.project.sweep(&[])?;
        let observed = self.observe()?;
        if let Owner::Other(why) = observed.owner(&self.name) {
            return Err(self.not_ours(&why));
        }
        let _lock = self.lock()?;
        self.remove()?;
        Ok(observed != Observed::default())
    }

    /// Removes what an interrupted creation left, and what Docker makes of it meanwhile: it goes on with
    /// what a client that is gone has asked for.
    fn remove_for_good(&self) -> Result<()> {
        self.remove()?;
        std::thread::sleep(SETTLE);
        self.remove()
    }

    /// Removes nodes with their volumes, then network, then files.
    ///
    /// The order matters: as long as the network is there, an interrupted removal can be told from a
    /// foreign cluster.
    fn remove(&self) -> Result<()> {
        let gone = format!("the cluster {} is gone", self.name);
        let cancel = self.project.runner.cancel();
        wait::until(&gone, REMOVE_PERIOD, REMOVE_TIMEOUT, cancel, || {
            let observed = self.observe()?;
            for step in removal(&observed) {
                self.docker.remove(&step)?;
            }
            Ok(if self.plans() || observed == Observed::default() {
                Probe::Found(())
            } else {
                Probe::NotYet(format!("{} nodes", observed.nodes.len()))
            })
        })
        .map_err(environment)?;
        self.unmerge()?;
        let dir = self.folder();
        if dir.is_dir() && !self.plans() {
            fs_err::remove_dir_all(&dir)?;
        }
        Ok(())
    }

    /// Writes the kubeconfig anew: after a restart of Docker the port may be another.
    pub fn write_kubeconfig(&self) -> Result<()> {
        let step = Step::new("write the kubeconfig", self.kind()?)
            .args(["export", "kubeconfig", "--name", &self.name, "--kubeconfig"])
            .path_arg(&self.kubeconfig());
        self.project.runner.run(&step).map_err(environment)?;
        Ok(())
    }

    /// Adds the cluster to the user's kubeconfig and makes it the current context there. Its removal is
    /// part of the cluster's.
    pub fn merge(&self) -> Result<()> {
        let step = Step::new("add it to the user's kubeconfig", self.kind()?);
        // First, so that an interrupted merge is undone, too.
        self.write(&self.merged_mark(), &std::env::var("KUBECONFIG").unwrap_or_default())?;
        let step = step.args(["export", "kubeconfig", "--name", &self.name]);
        self.project.runner.run(&step).map_err(environment)?;
        Ok(())
    }

    /// Takes the cluster out of the user's kubeconfig, if it was put there.
    fn unmerge(&self) -> Result<()> {
        let Ok(users) = std::fs::read_to_string(self.merged_mark()) else {
            return Ok(());
        };
        // The nodes are gone by now: what is left for kind to delete is the entry.
        let step = Step::new("remove it from the user's kubeconfig", self.kind()?)
            .args(["delete", "cluster", "--name", &self.name])
            .env("KUBECONFIG", users);
        self.project.runner.run(&step).map_err(environment)?;
        Ok(())
    }

    /// Holds what KUBECONFIG was when the cluster was added to the user's kubeconfig.
    fn merged_mark(&self) -> PathBuf {
        self.folder().join("merged")
    }

    fn control_plane(&self) -> String {
        format!("{}-control-plane", self.name)
    }

    /// kubectl inside the control plane: there in every node image, and of its version.
    pub fn kubectl(&self, args: &[&str]) -> Step {
        Docker::step(
            format!("kubectl {}", args.join(" ")),
            ["exec", &self.control_plane(), "kubectl", "--kubeconfig", ADMIN],
        )
        .args(args.iter().copied())
        .timeout(Duration::from_secs(30))
    }

    /// What isn't ready, with reasons. An API server that doesn't answer is one of them.
    pub fn unready(&self) -> Result<Vec<String>> {
        let step = self
            .kubectl(&["get", "nodes,pods,apiservices", "--all-namespaces", "-o", "json"])
            .reads();
        readiness::unready(self.project.runner.try_run(&step))
    }

    fn wait_ready(&self, timeout: Duration) -> Result<Health> {
        // A plan waits for nothing, least of all for nodes that it would start.
        if self.plans() {
            return Ok(Health::Ready);
        }
        let started = Instant::now();
        let mut progress = self.project.progress(format!("waiting for {}", self.name), 0);
        let what = format!("the cluster {} is ready", self.name);
        let waited = wait::until(&what, READY_PERIOD, timeout, self.project.runner.cancel(), || {
            let unready = self.unready()?.join("; ");
            if unready.is_empty() {
                return Ok(Probe::Found(()));
            }
            progress.advance(&unready);
            Ok(Probe::NotYet(unready))
        });
        let Err(error) = waited else {
            progress.finish(&format!("ready after {:.0} s", started.elapsed().as_secs_f64()));
            return Ok(Health::Ready);
        };
        let late = error.downcast::<TimedOut>()?;
        // A Docker that has stopped meanwhile says nothing about the cluster.
        self.docker.info()?;
        Ok(Health::Sick(late.to_string()))
    }

    fn plans(&self) -> bool {
        self.project.runner.plans()
    }

    fn kind(&self) -> Result<PathBuf> {
        Ok(self.project.toolbox.get("kind")?.path)
    }

    fn network_step(&self, source: Source, key: &str) -> Step {
        let labels = [
            (CLUSTER_LABEL, self.name.as_str()),
            (CONFIG_LABEL, key),
            (IMAGES_LABEL, source.word()),
        ];
        let labels = labels.map(|(label, value)| format!("{label}={value}"));
        // Masquerading as kind sets it for its own network (kind, providers/docker/network.go).
        Docker::step("make the network", ["network", "create", "--driver", "bridge"])
            .args(["--opt", "com.docker.network.bridge.enable_ip_masquerade=true"])
            .args(labels.iter().flat_map(|label| ["--label", label]))
            .arg(network_name(&self.name))
    }
}

fn removal(observed: &Observed) -> Vec<Step> {
    let nodes = observed.nodes.iter();
    let nodes = nodes.map(|node| Docker::step("remove a node", ["rm", "--force", "--volumes", node.name()]));
    let network = observed.network.iter();
    let network = network.map(|network| Docker::step("remove the network", ["network", "rm", &network.name]));
    nodes.chain(network).collect()
}
