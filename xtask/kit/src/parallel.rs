//! The same work on many items, on all processors.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

use crate::failure::Failure;
use crate::step::Runner;

impl Runner {
    /// [`in_parallel`]; one after the other in a plan, which people read from top to bottom.
    pub fn in_parallel<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
        if self.plans() {
            return items.iter().map(work).collect();
        }
        in_parallel(items, work)
    }
}

/// Does the same with each item on as many threads as the machine has processors. The results are in
/// the order of the items; the first error in that order wins.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let threads = std::thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(items.len());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    if let Ok(mut done) = done.lock() {
                        done.push((index, result));
                    }
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .map_err(|_| Failure::findings("a thread failed", ""))?;
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::step::{Cancel, Step};

    #[test]
    fn results_keep_the_order_of_the_items_and_the_first_error_wins() {
        let items: Vec<u64> = (0..50).collect();
        assert_eq!(
            in_parallel(&items, |i| Ok(i * 2)).unwrap(),
            items.iter().map(|i| i * 2).collect::<Vec<_>>()
        );
        let error = in_parallel(&items, |i| if *i < 7 { Ok(()) } else { bail!("{i}") }).unwrap_err();
        assert_eq!(error.to_string(), "7");
        assert!(in_parallel(&[] as &[u64], |_| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn a_plan_is_noted_in_the_order_of_the_items() {
        let runner = Runner::new(Cancel::default(), false).planning();
        let names: Vec<String> = (0..50).map(|i| i.to_string()).collect();
        let note = |name: &String| runner.run(&Step::new(name, "true"));
        runner.in_parallel(&names, note).unwrap();
        let noted: Vec<String> = runner.planned().into_iter().map(|step| step.name).collect();
        assert_eq!(noted, names);
    }
}
