//! The kind cluster that is ours, and the images that it runs without a registry.
//!
//! [`kind`] creates, repairs, fills and removes the cluster. [`docker`] talks to Docker, [`ownership`]
//! decides what to do about what is there, [`source`] where images come from, [`kind_config`] renders the
//! file that kind is given, [`addons`] what a cluster gets beyond kind's own, [`readiness`] names what isn't ready,
//! [`host`] knows what a machine must have.
//! [`testbed`] builds the node's image and the workloads' from programs.

mod addons;
pub mod docker;
pub mod host;
pub mod kind;
mod kind_config;
mod ownership;
mod readiness;
pub mod source;
pub mod testbed;
