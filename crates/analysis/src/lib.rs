//! From evidence to a diagnosis: providers behind one trait (R4.1).
//!
//! Deliberately absent: the cluster. A provider sees what was collected and nothing else, and what it
//! answers is data: whether anything is done about it is decided elsewhere.

pub mod builtin;
pub mod provider;

pub use builtin::Builtin;
pub use provider::{Provider, ProviderError, Question};
