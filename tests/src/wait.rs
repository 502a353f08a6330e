//! Waiting for something to become true, with a deadline and an end at Ctrl-C.

use std::time::{Duration, Instant};

use anyhow::Result;
use kit::failure::Failure;
use kit::step::Cancel;

/// Time between two looks, unless said otherwise.
const INTERVAL: Duration = Duration::from_millis(50);

/// What was waited for, and how long that took.
#[derive(Debug, Clone)]
pub(crate) struct Waited<T> {
    /// What the last look found.
    pub value: T,
    /// From the first look to the one that found it.
    pub elapsed: Duration,
    /// How many looks it took.
    pub looks: u32,
}

pub(crate) enum Look<T> {
    Found(T),
    /// Not yet; the text says what was found instead and appears in the error at the deadline.
    NotYet(String),
    /// It won't come by waiting.
    Never(anyhow::Error),
}

/// Ends when the user asks to stop.
pub(crate) async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Looks every 50 ms until `look` finds it.
///
/// An error of `look` counts as not yet, because a server that restarts answers nothing for a while.
/// At the deadline the error names `what` and the last thing that was found instead; when the user
/// asks to stop it is that of an interrupted run.
pub async fn wait_for<T, F: Future<Output = Result<Look<T>>>>(
    what: &str,
    deadline: Duration,
    cancel: &Cancel,
    look: impl FnMut() -> F,
) -> Result<Waited<T>> {
    wait_every(INTERVAL, what, deadline, cancel, look).await
}

/// The same with a period of one's own between two looks.
pub(crate) async fn wait_every<T, F: Future<Output = Result<Look<T>>>>(
    period: Duration,
    what: &str,
    deadline: Duration,
    cancel: &Cancel,
    mut look: impl FnMut() -> F,
) -> Result<Waited<T>> {
    let started = Instant::now();
    let mut looks = 0;
    loop {
        cancel.check()?;
        looks += 1;
        let last = match look().await {
            Ok(Look::Found(value)) => {
                return Ok(Waited {
                    value,
                    elapsed: started.elapsed(),
                    looks,
                });
            }
            Ok(Look::NotYet(found)) => found,
            Ok(Look::Never(error)) => return Err(error),
            Err(error) => format!("{error:#}"),
        };
        if started.elapsed() >= deadline {
            return Err(Failure::findings(
                format!(
                    "{what}: not within {:.1} s ({looks} looks); the last one: {last}",
                    deadline.as_secs_f64()
                ),
                "",
            ));
        }
        tokio::time::sleep(period).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::failure::{Kind, kind_of};

    #[tokio::test]
    async fn errors_on_the_way_do_not_end_the_wait() {
        let mut answers = vec![
            Ok(Look::Found(7)),
            Ok(Look::NotYet("half".into())),
            Err(anyhow::anyhow!("down")),
        ];
        let waited = wait_for("seven", Duration::from_secs(30), &Cancel::default(), || {
            let answer = answers.pop().unwrap();
            async { answer }
        })
        .await
        .unwrap();
        assert_eq!((waited.value, waited.looks), (7, 3));
    }

    #[tokio::test]
    async fn what_will_not_come_is_not_waited_for() {
        let error = wait_for::<(), _>("the pod", Duration::from_secs(600), &Cancel::default(), || async {
            Ok(Look::Never(anyhow::anyhow!("no such image")))
        })
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "no such image");
    }

    #[tokio::test]
    async fn the_deadline_says_what_was_found_instead() {
        let error = wait_for::<(), _>("the span", Duration::ZERO, &Cancel::default(), || async {
            Ok(Look::NotYet("404".into()))
        })
        .await
        .unwrap_err();
        assert!(
            error.to_string().contains("the span") && error.to_string().contains("404"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_cancelled_run_stops_waiting() {
        let cancel = Cancel::default();
        let flag = cancel.clone();
        let error = wait_for::<(), _>("nothing", Duration::from_secs(600), &cancel, || async {
            flag.cancel();
            Ok(Look::NotYet(String::new()))
        })
        .await
        .unwrap_err();
        assert_eq!(kind_of(&error), Kind::Interrupted);
    }
}
