//! Transports: a sink is a client plus a classification of what it was told.
//!
//! Deliberately absent: retry, order, concurrency, acknowledgement, which the driver owns once for all.

pub mod http;

use std::time::Duration;

use async_trait::async_trait;

use crate::Event;

/// Sends single events.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Name of the transport, a metric label.
    fn transport(&self) -> &'static str;

    /// Sends one event once and says how it ended. The driver limits the time.
    async fn send(&self, event: &Event) -> Outcome;
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sink has it.
    Done,
    /// It may work later, not before `after` where the sink said so.
    Retry {
        /// What the sink asked for.
        after: Option<Duration>,
        /// What went wrong.
        why: String,
    },
    /// It will never work for this event.
    Drop {
        /// What the sink objects to.
        why: String,
    },
    /// It will never work for any event.
    Gone {
        /// What the sink said.
        why: String,
    },
}

impl Outcome {
    /// Value of the metric label `status`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Done => "delivered",
            Self::Retry { .. } => "failed",
            Self::Drop { .. } => "rejected",
            Self::Gone { .. } => "gone",
        }
    }
}
