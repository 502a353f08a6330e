//! What every part of the automation needs, and what knows nothing of charts.
//!
//! A program to run is a [`step`], its failure tells a person what to do ([`failure`]), long work shows
//! [`progress`], and what a run leaves behind lives in a [`run_dir`] that goes with it.

#[cfg(not(target_os = "linux"))]
compile_error!("the xtask reads /proc and works with process groups: it runs on Linux only");

pub mod disk;
pub mod failure;
pub mod key;
pub mod lock;
pub mod parallel;
pub mod progress;
pub mod run_dir;
pub mod step;
pub mod wait;
pub mod whole_file;
