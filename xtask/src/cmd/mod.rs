//! One file per command; the tree mirrors the command line.

pub mod bench;
pub mod bump;
pub mod changed;
pub mod cluster;
pub mod docs;
pub mod doctor;
pub mod down;
pub mod e2e;
pub mod faults;
pub mod lint;
pub mod migrate;
pub mod package;
pub mod release;
pub mod report;
pub mod schemas;
pub mod status;
pub mod template;
pub mod test;
pub mod tools;
pub mod up;
