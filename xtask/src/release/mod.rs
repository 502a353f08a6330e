//! What is changed, how it is versioned, and how it is published.

pub mod changed;
pub mod commits;
pub mod edit;
pub mod git;
pub mod helmignore;
pub mod lock;
pub mod version;
