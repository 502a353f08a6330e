//! What is changed, how it is versioned, and how it is published.

pub mod annotate;
pub mod changed;
pub mod commits;
pub mod cosign;
pub mod edit;
pub mod git;
pub mod helmignore;
pub mod lock;
pub mod openpgp;
pub mod packer;
pub mod provenance;
pub mod sbom;
pub mod upgrading;
pub mod version;
