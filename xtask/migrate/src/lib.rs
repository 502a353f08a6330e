//! Values of other charts of Tempo, as values of ours.
//!
//! [`source`] reads a values file, [`secrets`] takes out what must not be printed, [`convert`] follows the
//! [`table`] key by key, and [`report`] says what became of the rest. The table is the chart's own,
//! `files/peer-keys.yaml`: its guard answers a pasted key with the same words.

pub mod convert;
mod generator;
pub mod report;
mod secrets;
pub mod source;
mod table;
mod tempo;
pub mod yaml;

pub use table::{PEERS, Table};
