//! What a bench measures, and in which order.

use std::time::Duration;

use anyhow::Result;
use kit::failure::Failure;

use super::profile::Profile;
use super::variant::Variant;

/// How much is sent in each cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// As many spans as the profile says.
    OfProfile,
    /// So many spans.
    Spans(u64),
    /// What goes through in this time.
    Time(Duration),
}

/// What a bench measures: each profile with each variant, in every round.
#[derive(Debug)]
pub struct Plan {
    /// At least one.
    pub profiles: Vec<Profile>,
    /// At least one, and no name twice; the others are compared with the first.
    pub variants: Vec<Variant>,
    /// At least one.
    pub rounds: u32,
    /// How much is sent.
    pub amount: Amount,
    /// What is measured beside the load itself.
    pub beside: Beside,
    /// Decides the spans: those of a profile in a round are the same for each variant.
    pub seed: u64,
}

/// What is measured beside the load itself, each for its time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside {
    /// What spans take in blocks, before and after compaction.
    pub blocks: bool,
    /// How long it takes until a trace that was acknowledged is found.
    pub found: bool,
    /// What is lost when Tempo is killed.
    pub kill: bool,
}

impl Amount {
    /// Spans that a profile sends; none where time decides.
    pub(super) fn spans(self, profile: &Profile) -> Option<u64> {
        match self {
            Amount::OfProfile => Some(profile.spans),
            Amount::Spans(spans) => Some(spans),
            Amount::Time(_) => None,
        }
    }
}

/// One measurement: the load of a profile on a stack of a variant.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// From 0 on.
    pub round: u32,
    /// The load.
    pub profile: &'a Profile,
    /// The stack.
    pub variant: &'a Variant,
}

impl Plan {
    /// An error if two variants or two profiles have the same name.
    pub fn check(&self) -> Result<()> {
        for (n, profile) in self.profiles.iter().enumerate() {
            if self.profiles[..n].iter().any(|other| other.name == profile.name) {
                return Err(Failure::usage(
                    format!("the profile {:?} is named twice", profile.name),
                    "name each profile once",
                ));
            }
        }
        for (n, variant) in self.variants.iter().enumerate() {
            if self.variants[..n].iter().any(|other| other.name == variant.name) {
                return Err(Failure::usage(
                    format!("two variants are named {:?}", variant.name),
                    "give a values file another name: the variant has the file's, without its ending",
                ));
            }
        }
        Ok(())
    }

    /// The profiles with the spans that are sent; 0 where time decides.
    pub(super) fn sent(&self) -> Vec<Profile> {
        let sent = |profile: &Profile| Profile {
            spans: self.amount.spans(profile).unwrap_or(0),
            ..profile.clone()
        };
        self.profiles.iter().map(sent).collect()
    }

    /// All cells in their order: the variants of a profile follow each other, so that what else the machine does
    /// hits all of them alike, and each round begins with another one.
    pub fn cells(&self) -> Vec<Cell<'_>> {
        let rounds = 0..self.rounds;
        rounds
            .flat_map(|round| {
                let profiles = self.profiles.iter();
                profiles.flat_map(move |profile| {
                    let variants = rotated(&self.variants, round as usize);
                    variants.map(move |variant| Cell {
                        round,
                        profile,
                        variant,
                    })
                })
            })
            .collect()
    }
}

fn rotated<T>(all: &[T], by: usize) -> impl Iterator<Item = &T> {
    let (first, rest) = all.split_at(by % all.len().max(1));
    rest.iter().chain(first)
}

#[cfg(test)]
mod tests {
    use serde_yaml::Value;

    use super::super::profile::PROFILES;
    use super::*;

    fn plan(variants: &[&str], rounds: u32) -> Plan {
        let variant = |name: &&str| Variant::given(*name, "", Value::Null);
        Plan {
            profiles: PROFILES.iter().take(2).cloned().collect(),
            variants: variants.iter().map(variant).collect(),
            rounds,
            amount: Amount::OfProfile,
            beside: Beside::default(),
            seed: 1,
        }
    }

    #[test]
    fn the_variants_of_a_profile_follow_each_other_and_each_round_begins_with_another() {
        let plan = plan(&["a", "b", "c"], 4);
        let cells = plan.cells();
        let order = |round, profile: &str| -> String {
            let these = cells.iter().filter(|c| c.round == round && c.profile.name == profile);
            these.map(|cell| cell.variant.name.as_str()).collect()
        };
        assert_eq!([0, 1, 2, 3].map(|r| order(r, "10-spans")), ["abc", "bca", "cab", "abc"]);
        assert_eq!(order(1, "100-spans"), "bca");
        assert_eq!(cells.len(), 24);
        assert!(cells[..3].iter().all(|cell| cell.profile.name == "10-spans"));
        assert!(cells.is_sorted_by_key(|cell| cell.round));
    }

    #[test]
    fn variants_of_the_same_name_could_not_be_told_apart() {
        assert!(plan(&["a", "b"], 1).check().is_ok());
        let error = plan(&["a", "b", "a"], 1).check().unwrap_err();
        assert!(error.to_string().contains("\"a\""), "{error}");
        let mut twice = plan(&["a"], 1);
        twice.profiles = vec![PROFILES[0].clone(), PROFILES[0].clone()];
        assert!(twice.check().unwrap_err().to_string().contains("10-spans"));
    }
}
