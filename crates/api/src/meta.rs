//! What all kinds share: targets, transitions, phases.

use std::fmt::{Debug, Display};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::core::NamespaceResourceScope;
use kube::{KubeSchema, Resource};
use serde::{Deserialize, Serialize};

/// One object of the cluster that a remediation is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// API version of the object, such as `apps/v1`.
    #[schemars(length(max = 253))]
    pub api_version: String,
    /// Kind of the object, such as `Deployment`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Namespace of the object; absent for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Uid of the object when it was looked up: an object made anew under the same name is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub uid: Option<String>,
}

impl Display for TargetRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.kind, self.name),
            None => write!(f, "{}/{}", self.kind, self.name),
        }
    }
}

/// One recorded change of phase: the source of exactly one completion event.
///
/// It is written in the same request as the phase itself. The event's id is
/// UUIDv5(uid of the object, `seq`) and its time is `at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// Number of the transition within its object, from 1, without gaps.
    #[schemars(range(min = 1), extend("format" = "int64"))]
    pub seq: u32,
    /// Phase before; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub from: Option<String>,
    /// Phase after.
    #[schemars(length(max = 32))]
    pub to: String,
    /// When it was decided.
    pub at: MicroTime,
    /// Why, as a CamelCase word.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// A phase of one of the five kinds.
pub trait Phase: Copy + Debug + Display + PartialEq + Send + Sync + 'static {
    /// True when nothing follows: the object will not change its phase again.
    fn is_terminal(self) -> bool;
}

/// A kind of the pipeline: it has phases and records every transition.
pub trait Staged: Resource<DynamicType = (), Scope = NamespaceResourceScope> {
    /// The kind's phases.
    type Phase: Phase;

    /// Noun of the kind in event types: `remediation`, `processing`, `analysis`, `workflow` or `action`.
    const NOUN: &'static str;

    /// The current phase; `None` before the controller has seen the object.
    fn phase(&self) -> Option<Self::Phase>;

    /// Everything that has happened so far, oldest first.
    fn transitions(&self) -> &[Transition];

    /// What the remediation is about, where it is known.
    fn target(&self) -> Option<&TargetRef>;

    /// Name of the request that this object serves: the correlation of all events of one remediation.
    fn request_name(&self) -> String;

    /// The conditions of the status.
    fn conditions(&self) -> &[Condition];
}

/// Declares a phase enum: Kubernetes spelling, terminal phases, `Display`.
macro_rules! phases {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident),+ $(,)? } terminal { $($terminal:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// Every phase, in the order in which they normally follow.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $($name::$variant => stringify!($variant)),+ })
            }
        }

        impl crate::meta::Phase for $name {
            fn is_terminal(self) -> bool {
                matches!(self, $($name::$terminal)|+)
            }
        }
    };
}
pub(crate) use phases;

/// Implements [`Staged`] for a kind whose status has `phase`, `transitions` and `conditions`.
macro_rules! staged {
    ($kind:ty, $phase:ty, $noun:literal, $target:expr, $request:expr) => {
        impl crate::meta::Staged for $kind {
            type Phase = $phase;
            const NOUN: &'static str = $noun;

            fn phase(&self) -> Option<$phase> {
                self.status.as_ref().and_then(|status| status.phase)
            }

            fn transitions(&self) -> &[crate::meta::Transition] {
                self.status.as_ref().map_or(&[], |status| &status.transitions)
            }

            fn target(&self) -> Option<&crate::meta::TargetRef> {
                let target: fn(&$kind) -> Option<&crate::meta::TargetRef> = $target;
                target(self)
            }

            fn request_name(&self) -> String {
                let request: fn(&$kind) -> String = $request;
                request(self)
            }

            fn conditions(&self) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
                self.status.as_ref().map_or(&[], |status| &status.conditions)
            }
        }
    };
}
pub(crate) use staged;
