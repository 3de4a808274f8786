//! The five controllers: each reconciles by observe → decide → apply, where `decide` lives in
//! `kubernaut-domain`. Folder by folder: what a kind reads, and how its plan is carried out.
//!
//! Deliberately absent: storage and sinks (the relay reads transitions from the API server) and any
//! permission to change workloads (only the Job's ServiceAccount has that).

pub mod analysis;
pub mod calls;
pub mod collect;
pub mod ctx;
pub mod error;
pub mod execution;
pub mod health;
pub mod metrics;
pub mod policies;
pub mod processing;
pub mod rehearsal;
pub mod request;
pub mod run;
pub mod scope;
pub mod targets;
pub mod workflow;

pub use ctx::Ctx;
pub use error::Error;
pub use metrics::Metrics;
pub use run::run_all;
