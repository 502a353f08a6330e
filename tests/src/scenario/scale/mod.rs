//! More than one of each: Collectors, mirrors, a fleet, and the way from one to the next.

pub(super) mod fleet;
pub(super) mod fleet_kafka;
pub(super) mod grow;
pub(super) mod mirror;
mod onto_kafka;
pub(super) mod spread;
