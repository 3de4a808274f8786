//! What the answers to a question come to (R4.5): of one plan, in time, by as many people as it needs, and not by
//! whoever asked for it. Admission checks most of that too; it holds here without it.

use kubernaut_api::approval::Decision;
use kubernaut_api::{MicroTime, RemediationApproval, ResourceExt, labels};

/// What the answers come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing that counts yet.
    Missing,
    /// One of the two people who are needed has approved.
    Half,
    /// It may be done; by whom, in words.
    Approved(String),
    /// It may not be done; by whom, in words.
    Rejected(String),
}

/// The answers that were given to the question about the plan with this hash.
pub fn answer(
    approval: Option<&RemediationApproval>,
    plan_hash: Option<&str>,
    requested_by: Option<&str>,
    now: &MicroTime,
) -> Answer {
    let asked = approval.filter(|approval| Some(approval.spec.plan_hash.as_str()) == plan_hash);
    let Some(approval) = asked.filter(|approval| in_time(approval, now)) else { return Answer::Missing };
    let Some(status) = &approval.status else { return Answer::Missing };
    let Some(decision) = status.decision else { return Answer::Missing };
    let by = status.decided_by.as_deref().unwrap_or_default();
    // A person may always say no, also to what they asked for themselves.
    let may_approve = |who: &str| {
        let asked_for_it = [requested_by, approval.spec.requested_by.as_deref()].contains(&Some(who));
        !who.is_empty() && !asked_for_it
    };
    let said = |who: &str, comment: Option<&str>| {
        comment.map_or_else(|| who.to_owned(), |comment| format!("{who}: {comment}"))
    };
    let first = said(if by.is_empty() { "someone" } else { by }, status.comment.as_deref());
    if decision == Decision::Rejected {
        return Answer::Rejected(format!("rejected by {first}"));
    }
    if let Some(second) = status.second.as_ref().filter(|second| second.decision == Decision::Rejected) {
        return Answer::Rejected(format!("rejected by {}", said(&second.decided_by, second.comment.as_deref())));
    }
    if !may_approve(by) {
        return Answer::Missing;
    }
    if approval.spec.approvers < 2 {
        return Answer::Approved(format!("approved by {first}"));
    }
    match &status.second {
        Some(second) if second.decided_by != by && may_approve(&second.decided_by) => {
            let second = said(&second.decided_by, second.comment.as_deref());
            Answer::Approved(format!("approved by {first}, and by {second}"))
        }
        _ => Answer::Half,
    }
}

/// An answer counts when the API server took it before the question lapsed, even when it is read later. Where
/// there is no record of when that was, it counts while the question stands.
fn in_time(approval: &RemediationApproval, now: &MicroTime) -> bool {
    let expires = &approval.spec.expires_at;
    let writes = approval.metadata.managed_fields.iter().flatten();
    let taken = writes.filter(|write| write.subresource.as_deref() == Some("status"));
    match taken.filter_map(|write| write.time.as_ref()).max() {
        Some(taken) => taken.0 <= expires.0,
        None => now < expires,
    }
}

/// Why a question lapsed.
pub fn lapsed(answer: &Answer) -> &'static str {
    if *answer == Answer::Half { "only one of two people approved in time" } else { "nobody answered in time" }
}

/// Who made this object by hand, where it says so. Admission checks it against who sent it.
pub fn requested_by<K: ResourceExt>(object: &K) -> Option<String> {
    object.annotations().get(labels::REQUESTED_BY).filter(|who| (1..=253).contains(&who.chars().count())).cloned()
}
