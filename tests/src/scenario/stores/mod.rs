//! Blocks in a bucket, and the cache in front of it.

pub(super) mod cache;
pub(crate) mod store;
