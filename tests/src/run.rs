//! Runs scenarios against a backend and reports what they found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use charts::tools::Toolbox;
use charts::workspace::Workspace;
use kit::step::Cancel;
use semver::Version;
use serde_yaml::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::backend::{Backend, Component, Stack, StackSpec};
use crate::client::engine::Engine;
use crate::client::send::http_client;
use crate::diagnostics;
use crate::report::{Recorder, Report, ScenarioReport};
use crate::scenario::{Needs, Scenario};

/// A start of the stack on a busy two-core machine stays under this.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// No scenario takes this long; one that does hangs.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How often Ctrl-C is looked for while scenarios run.
const CANCEL_PERIOD: Duration = Duration::from_millis(100);

/// What a run needs.
pub struct RunOptions {
    /// Where stacks run.
    pub backend: Arc<dyn Backend>,
    /// What runs.
    pub scenarios: Vec<&'static Scenario>,
    /// How many scenarios at the same time.
    pub jobs: usize,
    /// What random inputs are made from.
    pub seed: u64,
    /// Where evidence of failures goes, a folder a scenario.
    pub artifacts: PathBuf,
    /// Leave the stacks up after the run until the user stops it.
    pub keep: bool,
    /// No lines while it runs, but for failures.
    pub quiet: bool,
    /// Ctrl-C.
    pub cancel: Cancel,
    /// The checked-out workspace.
    pub workspace: Workspace,
    /// The pinned tools.
    pub toolbox: Toolbox,
}

/// What one scenario is handed.
pub struct Env {
    /// Where stacks run.
    pub backend: Arc<dyn Backend>,
    /// Where its findings go.
    pub recorder: Recorder,
    /// Ctrl-C.
    pub cancel: Cancel,
    /// What random inputs are made from.
    pub seed: u64,
    /// The checked-out workspace.
    pub workspace: Workspace,
    /// The pinned tools.
    pub toolbox: Toolbox,
    artifacts: PathBuf,
    /// Those that run, by the order of their starts.
    stacks: Mutex<BTreeMap<usize, Arc<dyn Stack>>>,
    started: AtomicUsize,
    evidence: Mutex<BTreeMap<String, String>>,
}

impl Env {
    fn new(scenario: &Scenario, options: &RunOptions) -> Env {
        Env {
            backend: options.backend.clone(),
            recorder: Recorder::new(scenario.name, options.quiet),
            cancel: options.cancel.clone(),
            seed: options.seed,
            workspace: options.workspace.clone(),
            toolbox: options.toolbox.clone(),
            artifacts: options.artifacts.join(scenario.name),
            stacks: Mutex::default(),
            started: AtomicUsize::default(),
            evidence: Mutex::default(),
        }
    }

    /// The engine of the Tempo that runs.
    pub fn engine(&self) -> Result<Engine> {
        let versions = self.backend.versions();
        let version = versions.get("tempo").context("the backend names no version of Tempo")?;
        let version = Version::parse(version).with_context(|| format!("Tempo's version {version:?}"))?;
        Ok(Engine::of(&version))
    }

    /// Starts a stack with these values of the umbrella and waits until it is ready.
    pub async fn ready_stack(&self, values: Value) -> Result<Arc<dyn Stack>> {
        let stack = self.start(&StackSpec::new(values)).await?;
        let begun = Instant::now();
        stack.wait_ready(READY_TIMEOUT).await?;
        self.recorder
            .say(format!("stack ready after {:.1} s", begun.elapsed().as_secs_f64()));
        Ok(stack)
    }

    /// Starts a stack; it may not be ready yet.
    pub async fn start(&self, spec: &StackSpec) -> Result<Arc<dyn Stack>> {
        let spec = StackSpec {
            evidence: Some(self.evidence_of(&spec.namespace)),
            ..spec.clone()
        };
        let stack = self.backend.start(&spec).await?;
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        lock(&self.stacks).insert(number, stack.clone());
        Ok(stack)
    }

    /// Takes over a stack that the scenario installed itself: its evidence and its end.
    pub fn adopt(&self, stack: Arc<dyn Stack>) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        lock(&self.stacks).insert(number, stack);
    }

    /// Where what explains a failure in a namespace goes, of which there is no stack to ask.
    pub fn evidence_of(&self, namespace: &str) -> PathBuf {
        self.artifacts.join(namespace)
    }

    /// Hands over what was adopted in a namespace: it is about to go. Evidence is gathered first if a
    /// check failed.
    pub async fn release(&self, namespace: &str) -> Result<()> {
        if self.recorder.failed() {
            self.gather().await?;
        }
        lock(&self.stacks).retain(|_, stack| stack.namespace() != namespace);
        Ok(())
    }

    /// Stops a stack that the scenario is done with. Its evidence is gathered first if a check failed.
    pub async fn finish(&self, stack: Arc<dyn Stack>) -> Result<()> {
        if self.recorder.failed() {
            self.gather().await?;
        }
        lock(&self.stacks).retain(|_, other| !Arc::ptr_eq(other, &stack));
        stack.shut_down().await
    }

    /// Keeps a text for the bundle, should the scenario fail.
    pub fn evidence(&self, file: &str, text: String) {
        lock(&self.evidence).insert(file.to_owned(), text);
    }

    /// Writes all that explains a failure: manifests, configurations, logs, metrics, evidence.
    async fn gather(&self) -> Result<Option<String>> {
        let stacks = lock(&self.stacks).clone();
        let mut cause = None;
        for (n, stack) in &stacks {
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
                let metrics = metrics(stack.as_ref(), component)
                    .await
                    .unwrap_or_else(|error| format!("# {error:#}\n"));
                write(&dir.join(format!("{component}.metrics")), &metrics)?;
            }
        }
        for (file, text) in lock(&self.evidence).iter() {
            write(&self.artifacts.join(file), text)?;
        }
        Ok(cause)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn metrics(stack: &dyn Stack, component: Component) -> Result<String> {
    let port = match component {
        Component::Tempo => "http",
        Component::OtelCollector => "metrics",
    };
    let url = format!("{}/metrics", stack.endpoints().url(component, port)?);
    let response = http_client()?.get(&url).timeout(Duration::from_secs(5)).send().await;
    response
        .with_context(|| format!("asking {url}"))?
        .text()
        .await
        .with_context(|| format!("reading {url}"))
}

fn write(file: &Path, text: &str) -> Result<()> {
    let dir = file.parent().context("a file has a folder")?;
    fs_err::create_dir_all(dir)?;
    Ok(fs_err::write(file, text)?)
}

/// Runs the scenarios. What was found until then is reported on Ctrl-C too.
pub async fn run(options: RunOptions) -> Result<Report> {
    let begun = Instant::now();
    let options = Arc::new(options);
    let turn = Arc::new(Semaphore::new(options.jobs.max(1)));
    let mut running = JoinSet::new();
    for (n, scenario) in options.scenarios.iter().copied().enumerate() {
        let (turn, options) = (turn.clone(), options.clone());
        running.spawn(async move {
            let _turn = turn.acquire_owned().await;
            (
                n,
                one(scenario, Arc::new(Env::new(scenario, &options)), options.keep).await,
            )
        });
    }
    let mut reports: Vec<(usize, ScenarioReport)> = Vec::new();
    while let Some(ended) = running.join_next().await {
        reports.push(ended.context("a scenario's task ended early")?);
    }
    reports.sort_by_key(|(n, _)| *n);
    let reports = reports.into_iter().map(|(_, report)| report).collect();
    Ok(Report::new(
        options.backend.name(),
        options.backend.versions(),
        begun.elapsed(),
        reports,
    ))
}

/// One scenario, from its start to its clean-up.
async fn one(scenario: &'static Scenario, env: Arc<Env>, keep: bool) -> ScenarioReport {
    let recorder = env.recorder.clone();
    if env.cancel.is_cancelled() {
        recorder.check("run", false, "interrupted before it started");
        return recorder.finish();
    }
    if scenario.needs == Needs::Cluster && env.backend.cluster().is_none() {
        let reason = format!(
            "needs a cluster: runs with --backend {}",
            scenario.needs.backends().join(" or ")
        );
        recorder.skip("run", reason);
        return recorder.finish();
    }
    // Evidence of an earlier run would be taken for this one's. What isn't there needs no removal.
    let _ = std::fs::remove_dir_all(&env.artifacts);
    // A task of its own, so that a panic in a scenario is a failed check and not the end of the run.
    let task_env = env.clone();
    let mut task = tokio::spawn(async move { (scenario.run)(&task_env).await });
    let deadline = Instant::now() + SCENARIO_TIMEOUT;
    let outcome = loop {
        tokio::select! {
            ended = &mut task => break ended,
            () = tokio::time::sleep(CANCEL_PERIOD) => {
                if env.cancel.is_cancelled() || Instant::now() > deadline {
                    task.abort();
                }
            }
        }
    };
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            recorder.check("run", false, format!("{error:#}"));
        }
        Err(_) if env.cancel.is_cancelled() => {
            recorder.check("run", false, "interrupted");
        }
        Err(error) if error.is_panic() => {
            recorder.check("run", false, format!("panicked: {error}"));
        }
        Err(_) => {
            recorder.check("run", false, format!("stopped after {} s", SCENARIO_TIMEOUT.as_secs()));
        }
    }
    if recorder.failed() && !env.cancel.is_cancelled() {
        match env.gather().await {
            Ok(cause) => {
                let cause = cause.map(|c| format!("; the log says: {c}")).unwrap_or_default();
                recorder.tell(format!("evidence in {}{cause}", env.artifacts.display()));
            }
            Err(error) => recorder.tell(format!("evidence can't be written: {error:#}")),
        }
    }
    let report = recorder.finish();
    if keep && !env.cancel.is_cancelled() {
        hold(&env).await;
    }
    let stacks = std::mem::take(&mut *lock(&env.stacks));
    if !env.cancel.is_cancelled() {
        for stack in stacks.values() {
            if let Err(error) = stack.shut_down().await {
                recorder.tell(format!("clean-up: {error:#}"));
            }
        }
    }
    report
}

/// Leaves the stacks up until the user stops the run.
async fn hold(env: &Env) {
    let stacks = lock(&env.stacks).clone();
    if stacks.is_empty() {
        return;
    }
    for stack in stacks.values() {
        for ((component, port), address) in &stack.endpoints().0 {
            env.recorder.say(format!("kept: {component} {port} at {address}"));
        }
    }
    env.recorder.say("kept until Ctrl-C");
    while !env.cancel.is_cancelled() {
        tokio::time::sleep(CANCEL_PERIOD).await;
    }
}
