//! What a scenario is given: a backend, a recorder, a seed, a way to be cancelled. It also owns every stack
//! that the scenario starts: evidence is gathered before a stack stops, and `--keep` leaves it up.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use charts::image::Image;
use charts::tools::Toolbox;
use charts::workspace::Workspace;
use kit::step::{Cancel, Runner};
use semver::Version;
use serde_yaml::Value;

use crate::backend::prometheus::Prometheus;
use crate::backend::{Backend, Bucket, Component, ObjectStore, Stack, StackSpec};
use crate::client::engine::Engine;
use crate::client::install::{Installer, Missing, Package};
use crate::diagnostics;
use crate::report::Recorder;

/// A start of the stack on a busy two-core machine stays under this.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What all scenarios of a run share.
pub struct Shared {
    /// Where stacks run.
    pub backend: Arc<dyn Backend>,
    /// What random inputs are made from.
    pub seed: u64,
    /// Where evidence of failures goes, a folder a scenario.
    pub artifacts: PathBuf,
    /// Leave stacks up after the run until the user stops it.
    pub keep: bool,
    /// Whether long proofs run in full: those that were chosen by name do.
    pub full: bool,
    /// No lines while it runs, but for failures.
    pub quiet: bool,
    /// Ctrl-C.
    pub cancel: Cancel,
    /// The checked-out workspace.
    pub workspace: Workspace,
    /// The pinned tools.
    pub toolbox: Toolbox,
}

/// What one scenario is given.
pub struct Env {
    shared: Arc<Shared>,
    /// Where its findings go.
    pub recorder: Recorder,
    artifacts: PathBuf,
    /// Those that run, by the order of their starts.
    stacks: Mutex<BTreeMap<usize, Held>>,
    started: AtomicUsize,
    stores: Mutex<Vec<Arc<dyn ObjectStore>>>,
    prometheuses: Mutex<Vec<Arc<dyn Prometheus>>>,
    evidence: Mutex<BTreeMap<String, String>>,
}

#[derive(Clone)]
struct Held {
    stack: Arc<dyn Stack>,
    /// Checks that had failed when it was started.
    failures_before: usize,
    /// The scenario is done with it, and it is kept.
    finished: bool,
}

impl Deref for Env {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Env {
    /// For the scenario of that name.
    pub fn new(scenario: &str, shared: &Arc<Shared>) -> Env {
        Env {
            recorder: Recorder::new(scenario, shared.quiet),
            artifacts: shared.artifacts.join(scenario),
            shared: shared.clone(),
            stacks: Mutex::default(),
            started: AtomicUsize::default(),
            stores: Mutex::default(),
            prometheuses: Mutex::default(),
            evidence: Mutex::default(),
        }
    }

    /// The engine of the Tempo that runs.
    pub fn engine(&self) -> Result<Engine> {
        let versions = self.backend.versions();
        let version = versions.get("tempo").context("the backend names no version of Tempo")?;
        // A cluster names the image.
        let version = Image::parse(version).tag.unwrap_or(version);
        let version = Version::parse(version).with_context(|| format!("Tempo's version {version:?}"))?;
        Ok(Engine::of(&version))
    }

    /// Starts a stack with these values of the umbrella and waits until it is ready.
    pub(crate) async fn ready_stack(&self, values: Value) -> Result<Arc<dyn Stack>> {
        let stack = self.start(&StackSpec::new(values)).await?;
        let begun = Instant::now();
        stack.wait_ready(READY_TIMEOUT).await?;
        self.recorder
            .say(format!("stack ready after {:.1} s", begun.elapsed().as_secs_f64()));
        Ok(stack)
    }

    /// Starts a stack; it may not be ready yet.
    pub async fn start(&self, spec: &StackSpec) -> Result<Arc<dyn Stack>> {
        self.stop_spare().await?;
        let spec = StackSpec {
            evidence: Some(self.evidence_of(&spec.namespace)),
            ..spec.clone()
        };
        let stack = self.backend.start(&spec).await?;
        self.adopt(stack.clone());
        Ok(stack)
    }

    /// Brings a stack to other values, see [`Stack::upgrade`].
    pub(crate) async fn upgrade(
        &self,
        stack: &Arc<dyn Stack>,
        values: Value,
        timeout: Duration,
    ) -> Result<(Arc<dyn Stack>, Result<()>)> {
        let (next, rolled_out) = stack.upgrade(values, timeout).await?;
        for held in lock(&self.stacks).values_mut() {
            if Arc::ptr_eq(&held.stack, stack) {
                held.stack = Arc::clone(&next);
            }
        }
        Ok((next, rolled_out))
    }

    /// Takes over a stack that the scenario installed itself: its evidence and its end.
    pub(crate) fn adopt(&self, stack: Arc<dyn Stack>) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let held = Held {
            stack,
            failures_before: self.recorder.failures(),
            finished: false,
        };
        lock(&self.stacks).insert(number, held);
    }

    /// Starts an S3 server with one empty bucket. It runs for as long as the scenario's stacks do.
    pub(crate) async fn object_store(&self, bucket: &Bucket<'_>) -> Result<Arc<dyn ObjectStore>> {
        let store: Arc<dyn ObjectStore> = self.backend.object_store(bucket).await?.into();
        lock(&self.stores).push(store.clone());
        Ok(store)
    }

    /// Starts a Prometheus with that password. It runs for as long as the scenario's stacks do.
    pub(crate) async fn prometheus(&self, password: &str) -> Result<Arc<dyn Prometheus>> {
        let prometheus: Arc<dyn Prometheus> = self.backend.prometheus(password).await?.into();
        lock(&self.prometheuses).push(prometheus.clone());
        Ok(prometheus)
    }

    /// Where what explains a failure in a namespace goes, of which there is no stack to ask.
    pub(crate) fn evidence_of(&self, namespace: &str) -> PathBuf {
        self.artifacts.join(namespace)
    }

    /// Installs the packages of a folder below `tests/` into a folder of its name in the tools' cache.
    pub(crate) fn installer(&self, folder: &str) -> Installer {
        Installer {
            sources: self.workspace.root().join("tests").join(folder),
            cache: self.toolbox.cache().join(folder),
            builds: self.toolbox.builds(),
            runner: Runner::new(self.cancel.clone(), false),
            quiet: self.quiet,
        }
    }

    /// One of these packages, installed now if it wasn't; why not, if this machine can't run it.
    pub(crate) async fn install(&self, folder: &str, package: &'static Package) -> Result<Result<PathBuf, Missing>> {
        let (installer, recorder) = (self.installer(folder), self.recorder.clone());
        let installed = tokio::task::spawn_blocking(move || installer.get(package, &|line| recorder.say(line))).await;
        installed.with_context(|| format!("installing {}", package.name))?
    }

    /// The scenario is done with a stack, which stops. With `--keep` it stays up: the last one of a scenario,
    /// and each during whose life a check failed.
    pub async fn finish(&self, stack: Arc<dyn Stack>) -> Result<()> {
        if self.keep {
            self.keep_those(|other| Arc::ptr_eq(other, &stack));
            return Ok(());
        }
        self.remove(stack).await
    }

    /// Stops a stack that has to be gone before the scenario can go on. An error where a check failed and
    /// `--keep` asks for what shows why: the scenario ends there.
    pub async fn remove(&self, stack: Arc<dyn Stack>) -> Result<()> {
        self.let_go(|other| Arc::ptr_eq(other, &stack)).await?;
        stack.shut_down().await
    }

    /// Whether what was adopted in a namespace stays up now that the scenario is done with it.
    pub(crate) fn keeps_in(&self, namespace: &str) -> bool {
        self.keep && self.keep_those(|stack| stack.namespace() == namespace)
    }

    /// Hands over what was adopted in a namespace: it is about to go. The same error as of [`Env::remove`].
    pub async fn release(&self, namespace: &str) -> Result<()> {
        self.let_go(|stack| stack.namespace() == namespace).await
    }

    /// Keeps a text for the bundle, should the scenario fail.
    pub fn evidence(&self, file: &str, text: String) {
        lock(&self.evidence).insert(file.to_owned(), text);
    }

    /// Removes the evidence of an earlier run, which would be taken for this one's.
    pub(crate) fn forget_evidence(&self) {
        // What isn't there needs no removal.
        let _ = std::fs::remove_dir_all(&self.artifacts);
    }

    /// Writes all that explains a failure: manifests, configurations, logs, metrics, evidence. Tells where it
    /// is, and the first cause if a log names one.
    pub(crate) async fn tell_evidence(&self) {
        match self.gather().await {
            Ok(cause) => {
                let cause = cause.map(|c| format!("; the log says: {c}")).unwrap_or_default();
                self.recorder
                    .tell(format!("evidence in {}{cause}", self.artifacts.display()));
            }
            Err(error) => self.recorder.tell(format!("evidence can't be written: {error:#}")),
        }
    }

    /// The stacks that are up.
    pub fn stacks(&self) -> Vec<Arc<dyn Stack>> {
        lock(&self.stacks).values().map(|held| held.stack.clone()).collect()
    }

    /// Stops the stacks that are still up, then the stores and the Prometheuses that they used.
    pub(crate) async fn clean_up(&self) {
        let stacks = std::mem::take(&mut *lock(&self.stacks));
        for held in stacks.values() {
            self.tell_error(held.stack.shut_down().await);
        }
        let stores = std::mem::take(&mut *lock(&self.stores));
        for store in stores {
            self.tell_error(store.shut_down().await);
        }
        let prometheuses = std::mem::take(&mut *lock(&self.prometheuses));
        for prometheus in prometheuses {
            self.tell_error(prometheus.shut_down().await);
        }
    }

    fn tell_error(&self, result: Result<()>) {
        if let Err(error) = result {
            self.recorder.tell(format!("clean-up: {error:#}"));
        }
    }

    fn keep_those(&self, which: impl Fn(&Arc<dyn Stack>) -> bool) -> bool {
        let mut stacks = lock(&self.stacks);
        let kept = stacks.values_mut().filter(|held| which(&held.stack));
        kept.map(|held| held.finished = true).count() > 0
    }

    async fn let_go(&self, which: impl Fn(&Arc<dyn Stack>) -> bool) -> Result<()> {
        if self.recorder.failed() {
            if self.keep {
                bail!("a check failed and --keep leaves its stack up: the scenario can't go on");
            }
            self.gather().await?;
        }
        lock(&self.stacks).retain(|_, held| !which(&held.stack));
        Ok(())
    }

    /// Stops what `--keep` held for want of anything newer.
    async fn stop_spare(&self) -> Result<()> {
        let failures = self.recorder.failures();
        let spare = |held: &Held| held.finished && held.failures_before == failures;
        let stopped: Vec<Held> = {
            let mut stacks = lock(&self.stacks);
            let stopped = stacks.values().filter(|held| spare(held)).cloned().collect();
            stacks.retain(|_, held| !spare(held));
            stopped
        };
        for held in stopped {
            held.stack.shut_down().await?;
        }
        Ok(())
    }

    async fn gather(&self) -> Result<Option<String>> {
        let stacks = lock(&self.stacks).clone();
        let mut cause = None;
        for (n, Held { stack, .. }) in &stacks {
            let dir = self.artifacts.join(format!("stack-{n}"));
            write(&dir.join("manifests.yaml"), &stack.render().text)?;
            cause = cause.or(stack.evidence(&dir).await?);
            for (name, text) in stack.configs().await? {
                write(&dir.join("configs").join(name), &text)?;
            }
            for component in Component::ALL {
                let Ok(log) = stack.logs(component).await else { continue };
                cause = cause.or_else(|| diagnostics::first_cause(&log).map(|c| format!("{component}: {c}")));
                write(&dir.join(format!("{component}.log")), &log)?;
                let metrics = match stack.metrics(component).await {
                    Ok(pods) => pods
                        .into_iter()
                        .map(|(pod, text)| format!("# pod {pod}\n{text}"))
                        .collect(),
                    Err(error) => format!("# {error:#}\n"),
                };
                write(&dir.join(format!("{component}.metrics")), &metrics)?;
            }
        }
        for (file, text) in lock(&self.evidence).iter() {
            write(&self.artifacts.join(file), text)?;
        }
        Ok(cause)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(file: &Path, text: &str) -> Result<()> {
    let dir = file.parent().context("a file has a folder")?;
    fs_err::create_dir_all(dir)?;
    Ok(fs_err::write(file, text)?)
}
