//! One file per command; the tree mirrors the command line.

pub mod docs;
pub mod tools;
