//! One file per command; the tree mirrors the command line.

pub mod bump;
pub mod changed;
pub mod cluster;
pub mod docs;
pub mod doctor;
#[cfg(feature = "e2e")]
pub mod down;
#[cfg(feature = "e2e")]
pub mod e2e;
pub mod lint;
pub mod package;
#[cfg(feature = "release")]
pub mod release;
pub mod schemas;
#[cfg(feature = "e2e")]
pub mod status;
pub mod template;
pub mod test;
pub mod tools;
#[cfg(feature = "e2e")]
pub mod up;
