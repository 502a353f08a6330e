//! What became of the keys that aren't set, as comments.

use std::fmt::Write;

use serde::Serialize;

/// What a person has to know beside the values.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// How many keys of ours are set.
    pub set: usize,
    /// Where secrets stood in clear, which are not in the values.
    pub secrets: Vec<String>,
    /// What to do beside.
    pub remarks: Vec<String>,
    /// What has no counterpart.
    pub nowhere: Vec<Nowhere>,
    /// What isn't a key of the other chart either.
    pub unknown: Vec<Unknown>,
    /// Defaults that differ.
    pub differences: Vec<String>,
    /// Why our chart refuses the values, in its words.
    pub refused: Option<String>,
}

/// Keys without a counterpart, for the same reason.
#[derive(Debug, Serialize)]
pub struct Nowhere {
    /// Their paths.
    pub keys: Vec<String>,
    /// Why, and what to do.
    pub reason: String,
}

/// A key that isn't one of the other chart.
#[derive(Debug, Serialize)]
pub struct Unknown {
    /// Its path.
    pub key: String,
    /// What may have been meant.
    pub meant: Option<String>,
}

impl Report {
    pub(crate) fn nowhere(&mut self, key: &str, reason: &str) {
        match self.nowhere.iter_mut().find(|one| one.reason == reason) {
            Some(one) if one.keys.iter().any(|known| known == key) => {}
            Some(one) => one.keys.push(key.to_owned()),
            None => self.nowhere.push(Nowhere {
                keys: vec![key.to_owned()],
                reason: reason.to_owned(),
            }),
        }
    }

    /// The comments that stand above the values.
    pub fn comments(&self) -> String {
        let unknown = |one: &Unknown| match &one.meant {
            Some(meant) => format!("{}: did you mean {meant}?", one.key),
            None => one.key.clone(),
        };
        let sections: [(&str, Vec<String>); 6] = [
            (
                "This chart refuses the values:",
                self.refused.iter().map(|text| text.replace('\n', "\n#   ")).collect(),
            ),
            (
                "Secrets that stood in clear and are left out; put them into a Secret:",
                self.secrets.clone(),
            ),
            ("To see to:", self.remarks.clone()),
            (
                "Not here:",
                self.nowhere
                    .iter()
                    .map(|one| format!("{}: {}", one.keys.join(", "), one.reason))
                    .collect(),
            ),
            (
                "No keys of that chart, so they had no effect:",
                self.unknown.iter().map(unknown).collect(),
            ),
            ("Other defaults:", self.differences.clone()),
        ];
        let mut text = String::new();
        for (title, lines) in sections.iter().filter(|(_, lines)| !lines.is_empty()) {
            let _ = writeln!(text, "#\n# {title}");
            for line in lines {
                let _ = writeln!(text, "# - {line}");
            }
        }
        text
    }

    /// How much there is to read, in one line.
    pub fn summary(&self) -> String {
        let nowhere: usize = self.nowhere.iter().map(|one| one.keys.len()).sum();
        format!(
            "{} keys set, {nowhere} without a counterpart, {} unknown, {} secrets left out: the comments above the values say more",
            self.set,
            self.unknown.len(),
            self.secrets.len()
        )
    }
}
