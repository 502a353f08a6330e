//! What proves the tempo-stack charts.
//!
//! Data flows one way: [`workspace`] finds charts and scenarios, [`render`] runs the real helm and
//! parses its output once into [`manifest`]s, [`golden`], [`rules`] and [`config_check`] judge them,
//! and `e2e` runs them and sends real traces through.
//! Programs are [`step`]s; the pinned ones come from [`tools`].

pub mod artifact_hub;
pub mod config_check;
pub mod disk;
pub mod door;
pub mod failure;
pub mod generated;
pub mod golden;
pub mod kube_score;
pub mod lint;
pub mod manifest;
pub mod pod_security;
pub mod program;
pub mod progress;
pub mod quantity;
pub mod render;
pub mod rules;
pub mod run_dir;
pub mod scenarios;
pub mod schema_check;
pub mod step;
pub mod tools;
pub mod values;
pub mod whole_file;
pub mod workload;
pub mod workspace;

#[cfg(feature = "e2e")]
pub mod e2e;
