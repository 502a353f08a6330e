//! One file per command; the tree mirrors the command line.

pub mod lint;
pub mod schemas;
pub mod tools;
