//! What became of one alert, as the sender is told, and what that makes of the whole answer.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use crate::call::CallError;

/// What became of one alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// What became of it.
    pub status: Status,
    /// Its fingerprint, where it got that far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The request that was made or that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Until when it is held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why, as a CamelCase word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// A request was made for it.
    Created,
    /// It was counted on the open request.
    Duplicate,
    /// A request for the same ended a moment ago.
    HeldBack,
    /// It is over; the open request, if any, knows.
    Resolved,
    /// It is not taken, and will not be when it is sent again.
    Refused,
    /// It could not be judged; it has to be sent again.
    Unjudged,
}

impl Status {
    /// As in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Duplicate => "duplicate",
            Self::HeldBack => "heldBack",
            Self::Resolved => "resolved",
            Self::Refused => "refused",
            Self::Unjudged => "unjudged",
        }
    }
}

/// Why an alert was not taken, or was taken otherwise than one might expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// It is no alert.
    Malformed,
    /// Nothing that it names is labelled as managed.
    OutOfScope,
    /// The API server does not accept the request made from it.
    Rejected,
    /// Requests of this name exist and are about something else.
    NameCollision,
    /// The API server could not be asked.
    Unavailable,
    /// A request for the same ended a moment ago.
    Cooldown,
    /// Nothing that it names exists.
    TargetNotFound,
    /// What it names is gone; its controller was found.
    TargetGone,
    /// Another alert about the same target still fires.
    StillFiring,
    /// No request is open.
    NoOpenRequest,
}

impl Reason {
    /// As in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "Malformed",
            Self::OutOfScope => "OutOfScope",
            Self::Rejected => "Rejected",
            Self::NameCollision => "NameCollision",
            Self::Unavailable => "Unavailable",
            Self::Cooldown => "Cooldown",
            Self::TargetNotFound => "TargetNotFound",
            Self::TargetGone => "TargetGone",
            Self::StillFiring => "StillFiring",
            Self::NoOpenRequest => "NoOpenRequest",
        }
    }
}

impl Verdict {
    /// A verdict with nothing but a status.
    pub fn new(status: Status) -> Self {
        Self { status, fingerprint: None, request: None, until: None, reason: None, detail: None }
    }

    /// A verdict with a reason.
    pub fn because(status: Status, reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason: Some(reason), detail: Some(detail.into()), ..Self::new(status) }
    }

    /// The verdict on what could not be judged because a call failed.
    pub fn unjudged(error: &CallError) -> Self {
        tracing::debug!(%error, "a call failed");
        Self::because(Status::Unjudged, Reason::Unavailable, error.public())
    }
}

/// The code of the whole answer (R2.2, R2.3).
///
/// One alert that could not be judged makes it 503 although the others are done: Alertmanager repeats
/// the whole batch, and what was made is then a duplicate. Only malformed alerts make it 400; a
/// refusal is no error of the sender, who would count it as a failed notification.
pub fn code(verdicts: &[Verdict]) -> StatusCode {
    let any = |status| verdicts.iter().any(|verdict| verdict.status == status);
    let all = |status| !verdicts.is_empty() && verdicts.iter().all(|verdict| verdict.status == status);
    if any(Status::Unjudged) {
        StatusCode::SERVICE_UNAVAILABLE
    } else if !verdicts.is_empty() && verdicts.iter().all(|verdict| verdict.reason == Some(Reason::Malformed)) {
        StatusCode::BAD_REQUEST
    } else if all(Status::Created) {
        StatusCode::CREATED
    } else if any(Status::Created) || any(Status::Refused) {
        StatusCode::MULTI_STATUS
    } else {
        StatusCode::ACCEPTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_sums_up_the_batch() {
        use Status::{Created, Duplicate, HeldBack, Refused, Resolved, Unjudged};
        let check = |statuses: &[Status], expect: u16| {
            let verdicts: Vec<_> = statuses.iter().copied().map(Verdict::new).collect();
            assert_eq!(code(&verdicts).as_u16(), expect, "{statuses:?}");
        };
        check(&[], 202);
        check(&[Created], 201);
        check(&[Created, Created], 201);
        check(&[Duplicate, HeldBack, Resolved], 202);
        check(&[Created, Duplicate], 207);
        check(&[Created, Resolved], 207);
        check(&[Refused], 207);
        check(&[Duplicate, Refused], 207);
        check(&[Created, Duplicate, Refused, Unjudged], 503);
        let malformed = Verdict::because(Refused, Reason::Malformed, "no");
        assert_eq!(code(&[malformed.clone(), malformed.clone()]).as_u16(), 400);
        assert_eq!(code(&[malformed, Verdict::new(Created)]).as_u16(), 207);
    }

    #[test]
    fn statuses_are_spelled_alike_in_answers_and_metrics() {
        for status in [Status::Created, Status::HeldBack, Status::Unjudged] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}
