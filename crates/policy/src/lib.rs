//! Rego: which plans ask a person, which actions are forbidden, how urgent a signal is (R3.3, R4.4, R5.2).
//!
//! Each policy has an embedded default, evaluated in this process, and may be replaced by an administrator's text.
//! That one is evaluated in a process of its own ([`worker`]): whatever it does there (loop, recurse, allocate),
//! it ends in a refusal and not in the end of the operator. Whatever is missing, broken, undefined, failing or
//! slow denies.
//!
//! Deliberately absent: the cluster. Who watches ConfigMaps hands their text in; who decides reads the record.

mod engine;
mod policies;
mod process;
mod verdict;
pub mod worker;

use std::fmt;

pub use engine::Failure;
pub use policies::{Loaded, NotRead, Policies, Text};
pub use process::Program;
pub use verdict::Classified;

/// What a policy is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// May a plan run by itself?
    Approval,
    /// May an action run at all?
    Safety,
    /// What kind of trouble is it, and how urgent?
    Classification,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Approval, Kind::Safety, Kind::Classification];

    /// The kind of that name, as it stands in the label `kubernaut.io/policy`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// As it stands in the label `kubernaut.io/policy`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Safety => "safety",
            Self::Classification => "classification",
        }
    }

    /// The package whose rules are the answer.
    pub fn package(self) -> &'static str {
        match self {
            Self::Approval => "kubernaut.approval",
            Self::Safety => "kubernaut.safety",
            Self::Classification => "kubernaut.classification",
        }
    }

    /// The embedded policy.
    pub fn default_text(self) -> &'static str {
        match self {
            Self::Approval => include_str!("../defaults/approval.rego"),
            Self::Safety => include_str!("../defaults/safety.rego"),
            Self::Classification => include_str!("../defaults/classification.rego"),
        }
    }

    /// An input as it is in a running system: a policy is tried on it before it comes into force.
    pub fn example(self) -> &'static str {
        match self {
            Self::Approval => include_str!("../defaults/approval.json"),
            Self::Safety => include_str!("../defaults/safety.json"),
            Self::Classification => include_str!("../defaults/classification.json"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
