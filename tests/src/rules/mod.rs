//! Rules of our own about rendered objects.
//!
//! A rule looks at one rendered scenario and returns findings; it never runs a program.

use serde::Serialize;

use crate::manifest::Manifest;
use crate::workspace::Chart;

/// Something that a check found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file to look at, relative to the workspace.
    pub file: String,
    /// The line in it, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The rule's name.
    pub rule: String,
    /// What is wrong, with the object and the value.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// One rendered scenario.
pub struct Subject<'a> {
    /// The chart.
    pub chart: &'a Chart,
    /// The scenario's name.
    pub scenario: &'a str,
    /// The release's name.
    pub release: &'a str,
    /// The release's namespace.
    pub namespace: &'a str,
    /// What it renders to.
    pub manifests: &'a [Manifest],
}
