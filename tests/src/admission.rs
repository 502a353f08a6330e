//! When a scenario may start: one of so many at a time, and in a cluster only when there is room for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kit::step::Cancel;

use crate::backend::Backend;
use crate::env::Env;
use crate::scenario::Scenario;

/// How often a cluster is asked for its room, and Ctrl-C looked for.
const PERIOD: Duration = Duration::from_millis(500);

/// Lets scenarios in.
pub(crate) struct Admission {
    jobs: usize,
    backend: Arc<dyn Backend>,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    running: usize,
    stacks: u32,
}

/// The right of one scenario to run. Dropping it makes room for the next.
pub(crate) struct Turn {
    taken: Arc<Mutex<Taken>>,
    /// Stacks that it holds room for.
    stacks: u32,
    running: bool,
}

impl Admission {
    /// At most `jobs` scenarios at the same time.
    pub fn new(backend: &Arc<dyn Backend>, jobs: usize) -> Admission {
        Admission {
            jobs: jobs.max(1),
            backend: backend.clone(),
            taken: Arc::default(),
        }
    }

    /// Waits for the turn of a scenario. One that is alone may start whatever the room: where it can't be
    /// scheduled, that is its finding. On Ctrl-C every scenario gets its turn at once.
    pub(crate) async fn turn(&self, scenario: &Scenario, env: &Env) -> Turn {
        let mut told = false;
        loop {
            let alone = lock(&self.taken).running == 0;
            // A cluster that doesn't tell has room.
            let room = if alone {
                None
            } else {
                self.backend.room().await.ok().flatten()
            };
            if let Some(turn) = self.take(scenario.stacks, room, &env.cancel) {
                return turn;
            }
            let stacks = lock(&self.taken).stacks;
            if let Some(room) = room.filter(|room| !told && stacks + scenario.stacks > *room) {
                told = true;
                env.recorder.say(format!(
                    "waits: it needs room for {} stacks; the cluster has {room}, other scenarios hold {stacks}",
                    scenario.stacks
                ));
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn take(&self, stacks: u32, room: Option<u32>, cancel: &Cancel) -> Option<Turn> {
        let mut taken = lock(&self.taken);
        let admitted =
            taken.running == 0 || (taken.running < self.jobs && room.is_none_or(|room| taken.stacks + stacks <= room));
        if !admitted && !cancel.is_cancelled() {
            return None;
        }
        taken.running += 1;
        taken.stacks += stacks;
        Some(Turn {
            taken: self.taken.clone(),
            stacks,
            running: true,
        })
    }
}

impl Turn {
    /// The scenario has ended, and this many of its stacks stay up.
    pub fn end(&mut self, kept: u32) {
        let mut taken = lock(&self.taken);
        if std::mem::take(&mut self.running) {
            taken.running -= 1;
        }
        let kept = kept.min(self.stacks);
        taken.stacks -= self.stacks - kept;
        self.stacks = kept;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end(0);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake::FakeBackend;

    fn admission(jobs: usize) -> Admission {
        let backend: Arc<dyn Backend> = Arc::new(FakeBackend::default());
        Admission::new(&backend, jobs)
    }

    /// Scenarios that run, and stacks that there is no room for any more.
    fn counted(admission: &Admission) -> (usize, u32) {
        let taken = lock(&admission.taken);
        (taken.running, taken.stacks)
    }

    #[test]
    fn a_scenario_starts_only_when_there_is_room_for_it_beside_the_others() {
        let (admission, cancel) = (admission(3), Cancel::default());
        let first = admission.take(2, Some(4), &cancel).unwrap();
        assert!(admission.take(3, Some(4), &cancel).is_none());
        let _second = admission.take(2, Some(4), &cancel).unwrap();
        assert!(admission.take(1, Some(4), &cancel).is_none());
        drop(first);
        assert!(admission.take(1, Some(4), &cancel).is_some());
    }

    #[test]
    fn one_that_is_alone_starts_whatever_the_room_and_no_more_than_the_jobs_do() {
        let (admission, cancel) = (admission(2), Cancel::default());
        let _first = admission.take(4, Some(1), &cancel).unwrap();
        let _second = admission.take(1, None, &cancel).unwrap();
        assert!(admission.take(1, None, &cancel).is_none());
        cancel.cancel();
        assert!(admission.take(1, None, &cancel).is_some());
    }

    #[test]
    fn stacks_that_are_kept_go_on_taking_room_but_no_turn() {
        let (admission, cancel) = (admission(1), Cancel::default());
        let mut first = admission.take(2, None, &cancel).unwrap();
        first.end(1);
        assert_eq!(counted(&admission), (0, 1));
        let _second = admission.take(1, Some(1), &cancel).unwrap();
        drop(first);
        assert_eq!(counted(&admission), (1, 1));
    }
}
