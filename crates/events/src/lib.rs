//! Completion events: what they are, where they are kept, how they reach their sinks.
//!
//! Every transition that an object of the pipeline records becomes one [`Event`] (R7.1). The
//! [`relay`] copies them from the API server into a [`Store`]; the store notes one delivery per
//! event and interested sink in the same transaction; one [`driver`] per sink delivers them, at
//! least once and in order per subject. [`run`] starts all of it.
//!
//! Deliberately absent: SQL (crate `kubernaut-storage`), decisions about remediations, and any way
//! to publish an event that no transition stands behind.

pub mod driver;
pub mod event;
pub mod metrics;
pub mod pattern;
pub mod registry;
pub mod relay;
pub mod sinks;
pub mod store;
pub mod types;

mod breaker;
mod directory;
mod retry;
mod run;
mod status;

pub use event::{ContentMode, Event};
pub use metrics::Metrics;
pub use pattern::Pattern;
pub use run::{Error, Parts, Settings, run};
pub use store::{Appended, Counts, Delivery, Due, Store, StoreError, Subscription};
