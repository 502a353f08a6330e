//! The charts of this workspace, what they render to, and the pinned tools.
//!
//! [`workspace`] finds charts and their [`cases`], [`render`] runs the real helm and parses its output
//! once into [`manifest`]s, [`workload`] and [`program`] read those. [`tools`] are found or built, and a
//! [`project`] is all of it in one checkout.

pub mod cases;
pub mod dashboard;
pub mod generated;
pub mod golden;
pub mod image;
pub mod kubernetes;
pub mod manifest;
pub mod program;
pub mod project;
pub mod quantity;
pub mod render;
pub mod tools;
pub mod workload;
pub mod workspace;
