//! What keeps strangers out, and what must not be kept: doors, tenants, routes, presets, sampling.

pub(super) mod doors;
pub(super) mod presets;
pub(super) mod routes;
pub(super) mod sampling;
pub(super) mod tenants;
