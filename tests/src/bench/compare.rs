//! A run beside an earlier one.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use kit::failure::Failure;
use serde::{Deserialize, Serialize};

use super::figure::{COSTS, Column, Figure, STORED};
use super::plan::Plan;
use super::report::{Report, Row};
use super::table::aligned;

/// The programs whose versions must be the same.
const PROGRAMS: [&str; 2] = ["tempo", "otelcol"];

/// An earlier run and what is different now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    /// The command line of the earlier run.
    pub command: String,
    /// The rows that both have.
    pub rows: Vec<ComparedRow>,
}

/// A row of both.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ComparedRow {
    /// The name of the profile.
    pub profile: String,
    /// The name of the variant.
    pub variant: String,
    /// The figures that both have.
    pub figures: BTreeMap<Figure, Change>,
}

/// A figure of both.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Of the earlier run.
    pub old: f64,
    /// Of this one.
    pub new: f64,
    /// New to old; none if the old one is 0.
    pub ratio: Option<f64>,
}

/// An error if a run of the plan with these versions can't be compared with an earlier one: other programs, another
/// load under the same name, or no row in common.
pub fn check(file: &Path, earlier: &Report, plan: &Plan, versions: &BTreeMap<String, String>) -> Result<()> {
    let file = file.display();
    for program in PROGRAMS {
        let [old, new] = [&earlier.versions, versions].map(|of| of.get(program).map_or("none", String::as_str));
        if old != new {
            return Err(Failure::usage(
                format!("{file} was measured with {program} {old}, and this run has {new}"),
                format!("compare runs of the same programs: give the one of then with --{program} PATH"),
            ));
        }
    }
    let profiles = plan.sent();
    for new in &profiles {
        let old = earlier.profiles.iter().find(|old| old.name == new.name);
        if let Some(old) = old.filter(|old| *old != new) {
            let remedy = if old.spans != new.spans && old.spans > 0 {
                format!("give --spans {}, or measure the earlier state again", old.spans)
            } else {
                "measure the earlier state again".into()
            };
            return Err(Failure::usage(
                format!(
                    "the profile {} of {file} is another load: {old} then; {new} now",
                    new.name
                ),
                remedy,
            ));
        }
    }
    let common = profiles
        .iter()
        .flat_map(|profile| plan.variants.iter().map(move |variant| (profile, variant)))
        .any(|(profile, variant)| earlier.row(&profile.name, &variant.name).is_some());
    if !common {
        let rows = earlier
            .rows
            .iter()
            .map(|row| format!("{} with {}", row.profile, row.variant));
        return Err(Failure::usage(
            format!("{file} has no profile with a variant that this run measures"),
            format!("it has: {}", rows.collect::<Vec<_>>().join(", ")),
        ));
    }
    Ok(())
}

/// What both have; the earlier report is that of this command line.
pub fn compare(command: &str, earlier: &Report, report: &Report) -> Comparison {
    let compared = |row: &Row| {
        let old = earlier.row(&row.profile, &row.variant)?;
        let figures = row.median.iter().filter_map(|(figure, new)| {
            let (old, new) = (*old.median.get(figure)?, *new);
            let ratio = (old > 0.0).then(|| new / old);
            Some((*figure, Change { old, new, ratio }))
        });
        Some(ComparedRow {
            profile: row.profile.clone(),
            variant: row.variant.clone(),
            figures: figures.collect(),
        })
    };
    Comparison {
        command: command.to_owned(),
        rows: report.rows.iter().filter_map(compared).collect(),
    }
}

impl Comparison {
    /// Old, new and ratio of each row below each other.
    pub fn table(&self) -> String {
        let tables = [COSTS, STORED].map(|columns| self.columns(columns));
        let tables: Vec<String> = tables.into_iter().flatten().collect();
        format!("{}old: {}\n", tables.join("\n"), self.command)
    }

    fn columns(&self, columns: &[Column]) -> Option<String> {
        let there = |column: &&Column| self.rows.iter().any(|row| row.figures.contains_key(&column.figure));
        let columns: Vec<&Column> = columns.iter().filter(there).collect();
        if columns.is_empty() {
            return None;
        }
        let head = |names: [&str; 3], text: fn(&Column) -> &'static str| {
            let mut line = names.map(str::to_owned).to_vec();
            line.extend(columns.iter().map(|column| text(column).to_owned()));
            line
        };
        let mut lines = vec![
            head(["profile", "variant", ""], |column| column.header),
            head(["", "", ""], |column| column.unit),
        ];
        type Cell = fn(&Column, &Change) -> Option<String>;
        let old: Cell = |column, change| Some(column.shown(change.old));
        let new: Cell = |column, change| Some(column.shown(change.new));
        let ratio: Cell = |_, change| change.ratio.map(|ratio| format!("{ratio:.2}"));
        for row in &self.rows {
            let names = [row.profile.as_str(), row.variant.as_str()];
            for (names, what, cell) in [(names, "old", old), (["", ""], "new", new), (["", ""], "ratio", ratio)] {
                let mut line = vec![names[0].to_owned(), names[1].to_owned(), what.to_owned()];
                line.extend(columns.iter().map(|column| {
                    let change = row.figures.get(&column.figure);
                    change
                        .and_then(|change| cell(column, change))
                        .unwrap_or_else(|| "-".into())
                }));
                lines.push(line);
            }
        }
        Some(aligned(&lines, 3))
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{example, example_plan};
    use super::*;

    fn refusal(change: impl FnOnce(&mut Report)) -> String {
        let mut earlier = example();
        let versions = earlier.versions.clone();
        change(&mut earlier);
        let checked = check(Path::new("old.json"), &earlier, &example_plan(), &versions);
        checked.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn only_the_same_programs_under_the_same_load_are_compared() {
        assert_eq!(refusal(|_| ()), "");
        let other = refusal(|earlier| {
            earlier.versions.insert("tempo".into(), "3.0.3".into());
        });
        assert!(
            other.contains("old.json was measured with tempo 3.0.3, and this run has 2.10.8"),
            "{other}"
        );
        let other = refusal(|earlier| earlier.profiles[0].spans = 7);
        assert!(
            other.contains("the profile 10-spans of old.json is another load"),
            "{other}"
        );
        let other = refusal(|earlier| earlier.rows.clear());
        assert!(other.contains("old.json has no profile with a variant"), "{other}");
    }

    #[test]
    fn old_new_and_ratio_stand_below_each_other() {
        let (earlier, mut report) = (example(), example());
        for row in &mut report.rows {
            for value in row.median.values_mut() {
                *value /= 2.0;
            }
        }
        let comparison = compare("cargo xtask bench", &earlier, &report);
        let change = comparison.rows[0].figures[&Figure::Cpu];
        assert_eq!(
            change,
            Change {
                old: 20.0,
                new: 10.0,
                ratio: Some(0.5)
            }
        );
        let table = comparison.table();
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[2].starts_with("10-spans  default") && lines[2].ends_with("20.0"),
            "{table}"
        );
        assert!(
            lines[3].trim_start().starts_with("new") && lines[4].ends_with("0.50"),
            "{table}"
        );
    }
}
