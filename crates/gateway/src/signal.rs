//! A report of trouble, whatever the source, with its text bounded.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Firing or over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is trouble.
    Firing,
    /// The trouble is over.
    Resolved,
}

/// One report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Where it came from, such as `alertmanager`.
    pub source: &'static str,
    /// Name of the alert, never empty.
    pub name: String,
    /// Severity as reported.
    pub severity: Option<String>,
    /// Firing or over.
    pub state: State,
    /// Labels, bounded.
    pub labels: BTreeMap<String, String>,
    /// Annotations, bounded.
    pub annotations: BTreeMap<String, String>,
    /// When the trouble began, as reported.
    pub starts_at: Option<Timestamp>,
}
