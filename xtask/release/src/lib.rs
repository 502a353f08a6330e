//! What is changed, how it is versioned, and how it is published.

pub mod access;
pub mod annotate;
pub mod archive;
pub mod changed;
pub mod commits;
pub mod cosign;
pub mod dist;
pub mod edit;
pub mod git;
pub mod gpg;
pub mod helmignore;
pub mod index;
pub mod lock;
pub mod notes;
pub mod package;
pub mod packer;
pub mod provenance;
pub mod range;
pub mod registry;
pub mod sbom;
pub mod site;
pub mod target;
pub mod throwaway;
pub mod upgrading;
pub mod version;
pub mod web;
