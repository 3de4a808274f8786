//! Why a reconciliation could not be finished. Every variant is transient: what a person must mend
//! is a reason in status, decided in `kubernaut-domain`.

/// Why a reconciliation could not be finished; tried again with backoff.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a call or could not be reached.
    #[error("{call}: {source}")]
    Api {
        /// What was called, such as `get AIAnalysis aia-rr-1`.
        call: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("{call}: no answer within {seconds} s")]
    Timeout {
        /// What was called.
        call: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Somebody else wrote the object first: look again and decide anew.
    #[error("{call}: the object has changed meanwhile")]
    Conflict {
        /// What was called.
        call: String,
    },
    /// An object of an earlier owner of the same name is still being deleted.
    #[error("{object} of an earlier owner is still there")]
    Leftover {
        /// Kind and name.
        object: String,
    },
    /// What a target is like could not be read under its action's account.
    #[error("{what}: {message}")]
    Unread {
        /// What was looked at.
        what: String,
        /// Why it could not be read.
        message: String,
    },
    /// A provider could not answer.
    #[error("provider {provider}: {message}")]
    Provider {
        /// Name of the provider.
        provider: String,
        /// What went wrong.
        message: String,
    },
    /// It is not known yet which policies there are.
    #[error(transparent)]
    Policies(#[from] kubernaut_policy::NotRead),
    /// An object that the schema of this version does not describe.
    #[error("{object} is not as its schema says: {message}")]
    Malformed {
        /// Kind and name.
        object: String,
        /// What is wrong.
        message: String,
    },
}

impl Error {
    /// Name of the variant: the metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api { .. } => "Api",
            Self::Timeout { .. } => "Timeout",
            Self::Conflict { .. } => "Conflict",
            Self::Leftover { .. } => "Leftover",
            Self::Unread { .. } => "Unread",
            Self::Provider { .. } => "Provider",
            Self::Policies(_) => "Policies",
            Self::Malformed { .. } => "Malformed",
        }
    }
}
