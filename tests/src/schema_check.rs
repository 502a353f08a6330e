//! Validation of rendered objects against the Kubernetes API schemas.
