//! What Kubernaut decides, as pure functions over `kubernaut-api`: no client, clock, randomness or log line.
//!
//! Each kind of the pipeline has one module with `Seen` (everything the decision depends on),
//! `Plan` (everything it wants done) and `decide(&Seen) -> Plan`.

pub mod analysis;
pub mod approval;
pub mod blast;
pub mod budget;
pub mod catalogue;
pub mod classify;
pub mod diagnosis;
pub mod drift;
pub mod execution;
pub mod health;
pub mod job;
pub mod notices;
pub mod plan;
pub mod policy;
pub mod processing;
pub mod proposal;
pub mod redact;
pub mod request;
pub mod script;
pub mod settings;
pub mod stage;
pub mod suppression;
pub mod workflow;
