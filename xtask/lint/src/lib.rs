//! What is wrong with a chart, and where.
//!
//! [`check`] holds one case of a chart to everything: our [`rules`], the [`config_check`] of Tempo's and
//! the Collector's configuration, the API schemas ([`schema_check`]), [`pod_security`], [`kube_score`],
//! [`promtool`] and the [`artifact_hub`] annotations. [`readme`], [`links`] and [`workflows`] are about the
//! workspace. [`values`] reads values.yaml with its comments, from which schema and tables are written.

pub mod artifact_hub;
pub mod check;
pub mod config_check;
pub mod kube_score;
pub mod links;
pub mod pod_security;
pub mod promtool;
pub mod readme;
pub mod rules;
pub mod schema_check;
pub mod values;
pub mod workflows;
