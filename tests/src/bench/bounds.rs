//! What a run on a busy machine may be held to: ratios between variants that took turns in it.

use anyhow::Result;
use kit::failure::Failure;
use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::history;
use super::report::Report;
use super::table::aligned;
use super::variant::{DEFAULT, MEMORY_QUEUE, UPSTREAM};

/// What a variant may cost in proportion to another one under the same load.
#[derive(Debug, Clone, Copy)]
struct Bound {
    profile: &'static str,
    figure: Figure,
    variant: &'static str,
    to: &'static str,
    /// Above it the run fails.
    at_most: f64,
    /// What is aimed at.
    goal: Option<f64>,
}

/// The ratio of a run beside the most that it may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The name of the profile.
    pub profile: String,
    /// The figure.
    pub figure: Figure,
    /// The name of the variant.
    pub variant: String,
    /// The name of the variant that it is compared with.
    pub to: String,
    /// The ratio before there was a bench.
    pub then: Option<f64>,
    /// The ratio of the run.
    pub ratio: f64,
    /// What is aimed at.
    pub goal: Option<f64>,
    /// The most that it may be.
    pub at_most: f64,
    /// Whether it is no more than that.
    pub holds: bool,
}

const fn bound(
    profile: &'static str,
    figure: Figure,
    [variant, to]: [&'static str; 2],
    at_most: f64,
    goal: Option<f64>,
) -> Bound {
    Bound {
        profile,
        figure,
        variant,
        to,
        at_most,
        goal,
    }
}

const DISK: [&str; 2] = [DEFAULT, MEMORY_QUEUE];
const OURS: [&str; 2] = [DEFAULT, UPSTREAM];

/// A quarter above the largest ratio that was seen, before there was a bench or in three runs of `--quick` on 2 cores
/// with a load of 5 to 22: a row takes seconds, and what else runs hits one variant more than the other. The runs
/// differed by 4 % in what the disk costs and by 15 % in what both programs cost. The bounds hold what was reached, and
/// go down with it.
const BOUNDS: [Bound; 6] = [
    bound("10-spans", Figure::CollectorCpu, DISK, 2.5, Some(1.4)),
    bound("100-spans", Figure::CollectorCpu, DISK, 3.0, Some(1.1)),
    bound("500-spans", Figure::CollectorCpu, DISK, 3.1, Some(1.1)),
    bound("10-spans", Figure::Cpu, OURS, 2.8, Some(1.0)),
    bound("100-spans", Figure::Cpu, OURS, 2.1, Some(1.0)),
    bound("500-spans", Figure::Cpu, OURS, 1.8, Some(1.0)),
];

/// The verdicts on what a run measured of it. What isn't measured in both variants has none.
pub fn verdicts(report: &Report) -> Vec<Verdict> {
    let verdict = |bound: &Bound| {
        let of = |variant: &str| report.row(bound.profile, variant)?.median.get(&bound.figure).copied();
        let ratio = of(bound.variant)? / of(bound.to)?;
        Some(Verdict {
            profile: bound.profile.into(),
            figure: bound.figure,
            variant: bound.variant.into(),
            to: bound.to.into(),
            then: history::ratio(bound.profile, bound.figure, bound.variant, bound.to),
            ratio,
            goal: bound.goal,
            at_most: bound.at_most,
            holds: ratio <= bound.at_most,
        })
    };
    BOUNDS.iter().filter_map(verdict).collect()
}

/// A table of verdicts; none of nothing.
pub fn table(verdicts: &[Verdict]) -> Option<String> {
    if verdicts.is_empty() {
        return None;
    }
    let heads = ["profile", "ratio of", "variants", "then", "now", "goal", "at most", ""];
    let mut lines = vec![heads.map(str::to_owned).to_vec()];
    for verdict in verdicts {
        let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.2}"));
        let figure = verdict.figure.column().map(|column| column.header).unwrap_or_default();
        lines.push(vec![
            verdict.profile.clone(),
            figure.to_owned(),
            format!("{} to {}", verdict.variant, verdict.to),
            number(verdict.then),
            number(Some(verdict.ratio)),
            number(verdict.goal),
            number(Some(verdict.at_most)),
            if verdict.holds { "" } else { "too much" }.to_owned(),
        ]);
    }
    Some(aligned(&lines, 3))
}

/// An error if a bound is broken, or if there is none to judge by.
pub fn judge(verdicts: &[Verdict]) -> Result<()> {
    let broken = verdicts.iter().filter(|verdict| !verdict.holds).map(|verdict| {
        let Verdict {
            profile, variant, to, ..
        } = verdict;
        let figure = verdict.figure.column().map(|column| column.header).unwrap_or_default();
        let (ratio, at_most) = (verdict.ratio, verdict.at_most);
        format!("{figure} of {variant} is {ratio:.2} times that of {to} with {profile}, and may be {at_most:.2}")
    });
    let broken: Vec<String> = broken.collect();
    if verdicts.is_empty() {
        return Err(Failure::findings(
            "nothing was measured that there is a bound for",
            "measure the usual profiles and variants: cargo xtask bench --quick",
        ));
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failure::findings(
        broken.join("; "),
        "repeat it with more --rounds: if it stays, look for the change that made the variant dearer",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::figure::Figures;
    use super::super::report::{Row, example};
    use super::*;

    fn with(disk: f64, memory: f64) -> Report {
        let row = |variant: &str, cpu: f64| Row {
            profile: "100-spans".into(),
            variant: variant.into(),
            valid: true,
            median: Figures::from([(Figure::CollectorCpu, cpu)]),
            ratio: Figures::new(),
            samples: Vec::new(),
        };
        let mut report = example();
        report.rows = vec![row(DEFAULT, disk), row(MEMORY_QUEUE, memory)];
        report
    }

    #[test]
    fn a_ratio_above_its_bound_fails_and_says_where() {
        let most = BOUNDS[1].at_most;
        let good = verdicts(&with(10.0 * most, 10.0));
        assert_eq!(good.len(), 1, "what isn't measured isn't judged");
        assert!(judge(&good).is_ok());
        let bad = verdicts(&with(10.5 * most, 10.0));
        let error = judge(&bad).unwrap_err().to_string();
        assert!(
            error.contains("Collector CPU of default") && error.contains("with 100-spans"),
            "{error}"
        );
        assert!(table(&bad).unwrap().contains("too much"));
    }

    #[test]
    fn nothing_to_judge_is_no_success() {
        assert!(judge(&[]).is_err() && table(&[]).is_none());
    }

    #[test]
    fn a_bound_leaves_room_above_what_was_measured_and_a_goal_is_below_it() {
        for bound in BOUNDS {
            let then = history::ratio(bound.profile, bound.figure, bound.variant, bound.to).unwrap();
            assert!(bound.at_most > then && bound.goal.unwrap() < bound.at_most, "{bound:?}");
        }
    }
}
