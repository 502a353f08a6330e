//! Lists of configuration keys, each with the versions that know it.

use std::fmt;

use semver::{Version, VersionReq};
use serde_yaml::Value;

/// Keys by the versions that know them. A key is a path of names; `*` stands for one name, a final
/// `**` for everything below, and `{a,b}` at the end for each of the names.
pub(crate) type Groups = &'static [(&'static str, &'static [&'static str])];

/// All keys that a program's configuration may have, in any version.
#[derive(Debug, Clone)]
pub struct KeyTable {
    keys: Vec<(Vec<String>, VersionReq)>,
    blocks: Vec<(Vec<String>, VersionReq)>,
}

/// A key that a version doesn't know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No version knows it, or the list lacks it.
    Unknown {
        /// The key.
        key: String,
    },
    /// Other versions know it.
    OtherVersions {
        /// The key.
        key: String,
        /// Which versions do, as requirements.
        versions: Vec<String>,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unknown { key } => write!(f, "key {key} is not in the list of keys"),
            Fault::OtherVersions { key, versions } => {
                write!(f, "key {key} is known by versions {} only", versions.join(" or "))
            }
        }
    }
}

impl Fault {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Fault::Unknown { .. } => {
                "correct the key; if the program does know it, add it to xtask/lint/src/config_check with its versions"
            }
            Fault::OtherVersions { .. } => "render the key for those versions only",
        }
    }
}

impl KeyTable {
    /// Reads the groups: the keys, and the blocks that other versions don't have at all. A block
    /// that a version lacks is one fault, whatever stands in it.
    ///
    /// A requirement that can't be parsed knows no version, which a test rules out.
    pub fn new(keys: Groups, blocks: Groups) -> KeyTable {
        KeyTable {
            keys: patterns(keys),
            blocks: patterns(blocks),
        }
    }

    /// Every key of a configuration that this version doesn't know.
    pub fn judge(&self, version: &Version, config: &Value) -> Vec<Fault> {
        let mut leaves = Vec::new();
        leaves_of(config, &mut Vec::new(), &mut leaves);
        let mut faults: Vec<Fault> = leaves.iter().filter_map(|leaf| self.fault(version, leaf)).collect();
        faults.dedup();
        faults
    }

    /// The keys that a version knows, as patterns.
    pub fn known_by<'t>(&'t self, version: &'t Version) -> impl Iterator<Item = &'t [String]> {
        let known = self.keys.iter().filter(|(_, requirement)| requirement.matches(version));
        known
            .map(|(pattern, _)| pattern.as_slice())
            .filter(|pattern| self.missing_block(version, pattern).is_none())
    }

    /// The block around a key, if the version lacks it, with the versions that have it.
    fn missing_block(&self, version: &Version, key: &[String]) -> Option<&(Vec<String>, VersionReq)> {
        self.blocks
            .iter()
            .find(|(block, requirement)| key.starts_with(block) && !requirement.matches(version))
    }

    fn fault(&self, version: &Version, leaf: &[String]) -> Option<Fault> {
        if let Some((block, requirement)) = self.missing_block(version, leaf) {
            return Some(Fault::OtherVersions {
                key: block.join("."),
                versions: vec![requirement.to_string()],
            });
        }
        let matching: Vec<_> = self.keys.iter().filter(|(pattern, _)| fits(pattern, leaf)).collect();
        if matching.iter().any(|(_, requirement)| requirement.matches(version)) {
            return None;
        }
        let key = leaf.join(".");
        if matching.is_empty() {
            return Some(Fault::Unknown { key });
        }
        let mut versions: Vec<_> = matching
            .iter()
            .map(|(_, requirement)| requirement.to_string())
            .collect();
        versions.sort();
        versions.dedup();
        Some(Fault::OtherVersions { key, versions })
    }
}

fn patterns(groups: Groups) -> Vec<(Vec<String>, VersionReq)> {
    let mut patterns = Vec::new();
    for (requirement, names) in groups {
        let requirement = VersionReq::parse(requirement).unwrap_or_else(|_| never());
        for name in names.iter().flat_map(|name| expand(name)) {
            patterns.push((name.split('.').map(str::to_owned).collect(), requirement.clone()));
        }
    }
    patterns
}

/// A requirement that no version meets.
fn never() -> VersionReq {
    VersionReq {
        comparators: vec![semver::Comparator {
            op: semver::Op::Less,
            major: 0,
            minor: None,
            patch: None,
            pre: semver::Prerelease::EMPTY,
        }],
    }
}

/// `a.{b,c}` as `a.b` and `a.c`.
fn expand(name: &str) -> Vec<String> {
    match name.split_once(".{") {
        Some((path, ends)) => {
            let ends = ends.trim_end_matches('}').split(',');
            ends.map(|end| format!("{path}.{}", end.trim())).collect()
        }
        None => vec![name.to_owned()],
    }
}

/// Whether a leaf is the key, lies below a `**`, or is an empty map that holds the key.
fn fits(pattern: &[String], leaf: &[String]) -> bool {
    for (index, name) in leaf.iter().enumerate() {
        match pattern.get(index).map(String::as_str) {
            Some("**") => return true,
            Some("*") => {}
            Some(wanted) if wanted == name => {}
            _ => return false,
        }
    }
    true
}

/// The paths of all scalars, empty maps and lists; lists of maps are looked into.
fn leaves_of(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Mapping(map) if !map.is_empty() => {
            for (key, inner) in map {
                path.push(key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned));
                leaves_of(inner, path, found);
                path.pop();
            }
        }
        Value::Sequence(list) if list.iter().any(Value::is_mapping) => {
            list.iter().for_each(|inner| leaves_of(inner, path, found));
        }
        _ => found.push(path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: Groups = &[
        ("*", &["a.b", "list.{x,y}", "any.*.z", "free.**"]),
        ("<2", &["old"]),
        (">=2", &["new.c"]),
        ("*", &["block.{d,e}"]),
    ];
    const BLOCKS: Groups = &[("<3", &["block"])];

    fn faults(version: &str, yaml: &str) -> Vec<String> {
        let config = serde_yaml::from_str(yaml).unwrap();
        let faults = KeyTable::new(GROUPS, BLOCKS).judge(&Version::parse(version).unwrap(), &config);
        faults.iter().map(Fault::to_string).collect()
    }

    #[test]
    fn known_keys_pass() {
        let yaml = "a: {b: 1}\nlist: [{x: 1}, {y: 2}]\nany: {q: {z: 1}}\nfree: {w: {v: 1}}\nold: 1\n";
        assert_eq!(faults("1.0.0", yaml), Vec::<String>::new());
        assert_eq!(faults("2.0.0", "new: {}\nfree: {}\n"), Vec::<String>::new());
    }

    #[test]
    fn a_key_of_another_version_is_named_with_its_versions() {
        assert_eq!(faults("2.1.0", "old: 1"), ["key old is known by versions <2 only"]);
        assert_eq!(
            faults("1.9.9", "new: {c: 1}"),
            ["key new.c is known by versions >=2 only"]
        );
    }

    #[test]
    fn a_missing_block_is_one_fault() {
        assert_eq!(faults("2.0.0", "block: {d: 1, e: 2}"), Vec::<String>::new());
        assert_eq!(
            faults("3.0.0", "block: {d: 1, e: 2}"),
            ["key block is known by versions <3 only"]
        );
    }

    #[test]
    fn an_unknown_key_is_named() {
        assert_eq!(faults("1.0.0", "a: {d: 1}"), ["key a.d is not in the list of keys"]);
        assert_eq!(faults("1.0.0", "a: {b: {deeper: 1}}").len(), 1);
    }
}
