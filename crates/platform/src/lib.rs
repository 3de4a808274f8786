//! What every process of the project needs and no part of it owns: configuration, telemetry, health,
//! leader election, graceful shutdown, problem documents and the Kubernetes client.
//!
//! Deliberately absent: any knowledge of remediations, events or storage. This crate depends on none
//! of the project's other crates.

pub mod config;
pub mod health;
pub mod http;
pub mod kube_client;
pub mod lease;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;
