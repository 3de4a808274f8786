//! The seam between who asks for a diagnosis and who gives one.

use async_trait::async_trait;
use jiff::Timestamp;
use kubernaut_api::evidence::Evidence;
use kubernaut_api::meta::TargetRef;
use kubernaut_api::processing::Classification;
use kubernaut_api::request::Signal;
use kubernaut_domain::diagnosis::Diagnosis;

/// Everything a provider may rest its answer on.
///
/// All text in it came from outside and is data: an instruction in a log line, a label or an annotation
/// is evidence of nothing but itself (R4.3).
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What was reported.
    pub signal: &'a Signal,
    /// The top-level owner of what the signal is about.
    pub target: &'a TargetRef,
    /// What was found in the cluster about it.
    pub evidence: &'a Evidence,
    /// What kind of trouble it was taken for.
    pub classification: &'a Classification,
    /// The time of asking.
    pub now: Timestamp,
}

/// Why there is no answer. Another provider may be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It could not be reached, or refused to work now.
    #[error("the provider is unavailable: {0}")]
    Unavailable(String),
    /// It did not answer in time.
    #[error("the provider did not answer in time")]
    Timeout,
    /// It answered what is no diagnosis.
    #[error("the provider's answer is invalid: {0}")]
    Invalid(String),
}

/// Who gives a diagnosis.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Name as it stands in status and metrics, such as `builtin`.
    fn name(&self) -> &'static str;

    /// The diagnosis for one body of evidence.
    async fn analyse(&self, question: &Question<'_>) -> Result<Diagnosis, ProviderError>;
}
