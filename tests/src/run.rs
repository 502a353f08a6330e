//! Runs scenarios against a backend and reports what they found.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::progress::say;
use kit::step::Cancel;
use tokio::task::JoinSet;

use crate::admission::{Admission, Turn};
use crate::env::{Env, Shared};
use crate::report::{Report, ScenarioReport};
use crate::scenario::{Needs, Scenario};

/// No scenario takes this long; one that does hangs.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// The same for a long proof in full, and for what is installed first.
pub const FULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How often Ctrl-C is looked for while scenarios run.
const CANCEL_PERIOD: Duration = Duration::from_millis(100);

/// Runs the scenarios, `jobs` at the same time, each as soon as there is room for it. On Ctrl-C the results collected so far are still reported.
pub async fn run(shared: &Arc<Shared>, scenarios: &[&'static Scenario], jobs: usize) -> Result<(Report, Kept)> {
    let begun = Instant::now();
    let admission = Admission::new(&shared.backend, jobs);
    let mut running = JoinSet::new();
    for (n, scenario) in scenarios.iter().copied().enumerate() {
        let env = Arc::new(Env::new(scenario.name, shared));
        let mut turn = admission.turn(scenario, &env).await;
        // What it takes is measured from its turn on.
        env.recorder.restart_clock();
        running.spawn(async move {
            let report = ScenarioReport {
                proves: scenario.proves,
                ..one(scenario, &env).await
            };
            turn.end(u32::try_from(env.stacks().len()).unwrap_or(u32::MAX));
            (n, report, env, turn)
        });
    }
    let mut ended: Vec<(usize, ScenarioReport, Arc<Env>, Turn)> = Vec::new();
    while let Some(one) = running.join_next().await {
        ended.push(one.context("a scenario's task ended early")?);
    }
    ended.sort_by_key(|(n, ..)| *n);
    let (reports, envs): (Vec<_>, Vec<_>) = ended.into_iter().map(|(_, report, env, _)| (report, env)).unzip();
    let report = Report::new(
        shared.backend.name(),
        shared.backend.versions(),
        begun.elapsed(),
        reports,
    );
    let kept = envs.into_iter().filter(|env| !env.stacks().is_empty()).collect();
    Ok((report, Kept(kept)))
}

/// One scenario, from its start to its clean-up.
async fn one(scenario: &'static Scenario, env: &Arc<Env>) -> ScenarioReport {
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
    env.forget_evidence();
    // A task of its own, so that a panic in a scenario is a failed check and not the end of the run.
    let task_env = env.clone();
    let mut task = tokio::spawn(async move { (scenario.run)(&task_env).await });
    let timeout = if env.full || scenario.installs {
        FULL_TIMEOUT
    } else {
        SCENARIO_TIMEOUT
    };
    let deadline = Instant::now() + timeout;
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
            recorder.check("run", false, format!("stopped after {} s", timeout.as_secs()));
        }
    }
    let report = recorder.finish();
    // On Ctrl-C nothing is waited for: what is dropped is stopped.
    if !env.cancel.is_cancelled() {
        if recorder.failed() {
            env.tell_evidence().await;
        }
        if !env.keep {
            env.clean_up().await;
        }
    }
    report
}

/// The stacks that `--keep` left up. Dropping them stops them.
pub struct Kept(Vec<Arc<Env>>);

impl Kept {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says where the stacks are reached and how they end, leaves them up until the user asks to stop, and
    /// stops them then.
    pub async fn hold(self, cancel: &Cancel) {
        for env in &self.0 {
            for stack in env.stacks() {
                for ((component, port), address) in &stack.endpoints().0 {
                    env.recorder.tell(format!("kept: {component} {port} at {address}"));
                }
            }
        }
        say(self.how_to_end());
        // This Ctrl-C is how the run is meant to end: what follows isn't interrupted by it.
        while !cancel.take() {
            tokio::time::sleep(CANCEL_PERIOD).await;
        }
        for env in &self.0 {
            env.clean_up().await;
        }
    }

    fn how_to_end(&self) -> String {
        let Some(cluster) = self.0.first().and_then(|env| env.backend.cluster()) else {
            return "the stacks stay up until Ctrl-C, which stops them and removes their folders".into();
        };
        let stacks = self.0.iter().flat_map(|env| env.stacks());
        let namespaces: Vec<String> = stacks.map(|stack| stack.namespace().to_owned()).collect();
        format!(
            "the stacks stay up in the namespaces {} until Ctrl-C, which removes them; if this run is killed: \
             kubectl --context {} delete namespace {}",
            namespaces.join(", "),
            cluster.connection().context(),
            namespaces.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake::{FakeBackend, shared};
    use crate::backend::{StackSpec, fake};
    use crate::scenario::{Run, Set};

    /// Starts two stacks one after the other; `failing` is asked of the second.
    async fn two_stacks(env: &Env, passes: bool) -> Result<()> {
        for ok in [true, passes] {
            let stack = env.start(&StackSpec::new(fake::no_values())).await?;
            env.recorder.check("it holds", ok, "");
            env.finish(stack).await?;
        }
        Ok(())
    }

    fn scenario(run: Run) -> &'static Scenario {
        taking(1, run)
    }

    fn taking(stacks: u32, run: Run) -> &'static Scenario {
        Box::leak(Box::new(Scenario {
            name: "fake",
            proves: "",
            set: Set::Core,
            needs: Needs::Stack,
            stacks,
            tools: &[],
            local_tools: &[],
            installs: false,
            run,
        }))
    }

    #[tokio::test]
    async fn a_failed_check_with_keep_leaves_its_stack_up_until_the_user_stops_it() {
        let backend = FakeBackend::default();
        let shared = shared(&backend, true);
        let failing = scenario(|env| Box::pin(two_stacks(env, false)));
        // More scenarios than jobs: a stack that is kept holds up none of them.
        let (report, kept) = run(&shared, &[failing, failing], 1).await.unwrap();
        assert_eq!((report.failed, report.scenarios[1].checks.len()), (2, 2));
        assert_eq!(backend.up(), [false, true, false, true]);
        shared.cancel.cancel();
        kept.hold(&shared.cancel).await;
        assert_eq!(backend.up(), [false; 4]);
    }

    #[tokio::test]
    async fn keep_leaves_the_last_stack_of_a_scenario_that_passed_up() {
        let backend = FakeBackend::default();
        let passing = scenario(|env| Box::pin(two_stacks(env, true)));
        let (_, kept) = run(&shared(&backend, true), &[passing], 1).await.unwrap();
        assert_eq!((backend.up(), kept.is_empty()), (vec![false, true], false));
    }

    #[tokio::test]
    async fn without_keep_every_stack_is_stopped_whatever_a_check_says() {
        let backend = FakeBackend::default();
        let failing = scenario(|env| Box::pin(two_stacks(env, false)));
        let (_, kept) = run(&shared(&backend, false), &[failing], 1).await.unwrap();
        assert_eq!((backend.up(), kept.is_empty()), (vec![false, false], true));
    }

    #[tokio::test]
    async fn a_scenario_that_needs_its_stack_gone_ends_where_a_failed_check_keeps_it() {
        async fn goes_on(env: &Env) -> Result<()> {
            let stack = env.start(&StackSpec::new(fake::no_values())).await?;
            env.recorder.check("it holds", false, "");
            env.remove(stack).await?;
            env.recorder.check("what comes then", false, "");
            Ok(())
        }
        let backend = FakeBackend::default();
        let shared = shared(&backend, true);
        let (report, _kept) = run(&shared, &[scenario(|env| Box::pin(goes_on(env)))], 1)
            .await
            .unwrap();
        let names: Vec<&str> = report.scenarios[0].checks.iter().map(|c| c.name.as_str()).collect();
        assert_eq!((names, backend.up()), (vec!["it holds", "run"], vec![true]));
    }

    #[tokio::test]
    async fn scenarios_share_the_room_of_a_backend() {
        async fn stays(env: &Env) -> Result<()> {
            let stack = env.start(&StackSpec::new(fake::no_values())).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            env.finish(stack).await
        }
        let backend = FakeBackend::with_room(3);
        let all = [(); 4].map(|()| taking(2, |env| Box::pin(stays(env))));
        let (report, _) = run(&shared(&backend, false), &all, 4).await.unwrap();
        assert_eq!(report.scenarios.len(), 4);
        assert_eq!(backend.most_up(), 1, "two stacks of two do not fit into three");
    }
}
