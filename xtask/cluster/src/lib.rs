//! The kind cluster that is ours, and the images that it runs without a registry.
//!
//! [`kind`] creates, repairs, fills and removes the cluster. [`docker`] talks to Docker, [`ownership`]
//! decides what to do about what is there, [`source`] where images come from, [`kind_config`] renders the
//! file that kind is given, [`metrics_server`] what autoscalers measure with, [`readiness`] names what isn't ready,
//! [`host`] knows what a machine must have.
//! [`testbed`] builds the node's image and the workloads' from programs.

pub mod docker;
pub mod host;
pub mod kind;
mod kind_config;
mod metrics_server;
mod ownership;
mod readiness;
pub mod source;
pub mod testbed;
