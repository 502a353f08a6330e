//! The kind cluster that is ours, and the images that it runs without a registry.
//!
//! [`kind`] makes, repairs, fills and removes the cluster; [`docker`] asks Docker, [`ownership`] decides
//! what to do about what is there, [`source`] where images come from, [`kind_config`] renders what kind
//! is given, [`readiness`] names what isn't ready, [`host`] knows what a machine must have. [`testbed`]
//! builds the node's image and the workloads' from programs.

pub mod docker;
pub mod host;
pub mod kind;
pub mod kind_config;
pub mod ownership;
pub mod readiness;
pub mod source;
pub mod testbed;
