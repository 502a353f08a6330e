//! What proves the tempo-stack charts: real traces through the real stack.
//!
//! One direction: a [`scenario`] asks its [`env`] for a stack of a [`backend`], a [`client`]
//! sends what the [`model`] describes and reads it back, the model says what is lost or changed, and
//! [`run`] gathers the verdicts into a [`report`]. A [`bench`] measures stacks instead of judging them,
//! and [`faults`] break what a stack runs on and count what is lost.

mod admission;
pub mod backend;
pub mod bench;
pub mod client;
mod diagnostics;
pub mod documented;
pub mod env;
pub mod faults;
pub mod model;
pub mod policy;
pub mod ports;
pub mod report;
pub mod run;
pub mod scenario;
mod wait;
