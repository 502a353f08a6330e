//! What keeps strangers out, and what must not be kept: doors, tenants, routes, presets, sampling.

mod api_server;
pub(super) mod doors;
pub(super) mod kafka_door;
pub(super) mod kubernetes;
pub(super) mod presets;
pub(super) mod routes;
pub(super) mod sampling;
pub(super) mod tenants;
