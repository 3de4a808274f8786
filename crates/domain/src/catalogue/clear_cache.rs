//! clear_cache: one call to an endpoint that the Service itself declares.

use kubernaut_api::analysis::Risk;

use super::{ActionSpec, PolicyRule, called, nothing_more};

/// On a Service: how its cache is cleared, as `METHOD /path`, such as `POST /admin/cache/clear`. By this annotation
/// the owner of the Service says that the call may be made, and made twice.
pub const CLEAR_CACHE: &str = "kubernaut.io/clear-cache";
/// On a Service: name or number of the port that takes the call; needed when it has more than one TCP port.
pub const CLEAR_CACHE_PORT: &str = "kubernaut.io/clear-cache-port";

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "clear_cache",
    summary: "Calls the endpoint that a Service declares for clearing its cache (annotation kubernaut.io/clear-cache).",
    risk: Risk::Medium,
    target_kinds: &["Service"],
    // What is called is the Service's to say, never the plan's.
    parameters: &[],
    precondition: "The Service has the annotation kubernaut.io/clear-cache with `POST`, `PUT` or `DELETE` and a path, \
                   selects pods and has a cluster address; with several TCP ports, kubernaut.io/clear-cache-port \
                   names one.",
    effect: "Sends one HTTP request, without body or credentials, to the Service's cluster address; one of its pods \
             answers. No redirect is followed. A rehearsal sends nothing.",
    verification: "The endpoint answered 2xx, and the Service's endpoints are ready.",
    inverse: None,
    rules: &[PolicyRule { api_groups: &[""], resources: &["services"], verbs: &["get"] }],
    sentence: |target, _| format!("Clear the cache behind {}", called(target)),
    check: nothing_more,
    undo: |_| None,
};
