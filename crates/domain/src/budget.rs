//! Safety budgets: how much may be executed at once and within an hour, and where never (R5.6).
//!
//! The KubernetesExecutions themselves are the ledger, so nothing is lost with the operator. Pure: who
//! asks has to see to it that nobody else starts between the question and what is written after it.
//!
//! Two that wait cannot wait for each other: who waits holds nothing. None starves: what those that
//! have waited longer may start now is taken by them first.

use std::cmp::Ordering;
use std::time::Duration;

use kubernaut_api::{
    BlockReason, ExecutionPhase, KubernetesExecution, MicroTime, Phase, ResourceExt, Staged, TargetRef,
};

use crate::settings::{Budgets, Settings};
use crate::stage::after;

/// One execution, as far as budgets care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Option<MicroTime>,
    /// Its uid: decides between two of the same second.
    pub uid: String,
    /// What it does.
    pub action: String,
    /// What it changes.
    pub target: TargetRef,
    /// Where it stands.
    pub state: State,
    /// When its Job was first to be made.
    pub started: Option<MicroTime>,
    /// True when it undoes another: only a target that is being worked on holds it back.
    pub undoes: bool,
}

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not yet looked at.
    New,
    /// Held back by a budget.
    Waiting,
    /// Its Job may be there, or its target is being watched or put back.
    Active,
    /// Over.
    Over,
}

/// Why an execution may not start, and when that is looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// ResourceBusy or Budget.
    pub reason: BlockReason,
    /// When it is looked at again, at the latest; later than now.
    pub until: MicroTime,
    /// Why, in words, and what frees it.
    pub message: String,
}

/// The time in which executions of one action are counted.
const HOUR: Duration = Duration::from_hours(1);

impl Entry {
    /// What counts of an execution; `None` for a dry run, which changes nothing.
    pub fn of(execution: &KubernetesExecution) -> Option<Self> {
        if execution.spec.dry_run {
            return None;
        }
        let held = execution.status.as_ref().is_some_and(|status| status.block_reason.is_some());
        let executing = ExecutionPhase::Executing.to_string();
        Some(Self {
            name: execution.name_any(),
            created: execution.metadata.creation_timestamp.as_ref().map(|time| MicroTime(time.0)),
            uid: execution.uid().unwrap_or_default(),
            action: execution.spec.action.clone(),
            target: execution.spec.target.clone(),
            state: match execution.phase() {
                Some(phase) if phase.is_terminal() => State::Over,
                Some(ExecutionPhase::Executing | ExecutionPhase::Verifying | ExecutionPhase::RollingBack) => {
                    State::Active
                }
                _ if held => State::Waiting,
                _ => State::New,
            },
            started: execution.transitions().iter().find(|one| one.to == executing).map(|one| one.at.clone()),
            undoes: execution.spec.undoes.is_some(),
        })
    }

    /// Who came first.
    fn order(&self, other: &Self) -> Ordering {
        (&self.created, &self.uid, &self.name).cmp(&(&other.created, &other.uid, &other.name))
    }
}

/// What is used up, and by whom.
struct Used<'a> {
    active: Vec<&'a Entry>,
    /// Action and time of every start within the hour.
    starts: Vec<(&'a str, MicroTime)>,
}

/// Decides whether an execution may start now, given all executions that there are.
pub fn decide(wanted: &Entry, ledger: &[Entry], settings: &Settings, now: &MicroTime) -> Option<Held> {
    let others = || ledger.iter().filter(|entry| entry.name != wanted.name);
    let recent = |entry: &&Entry| entry.started.as_ref().is_some_and(|started| after(started, HOUR) > *now);
    let mut used = Used {
        active: others().filter(|entry| entry.state == State::Active).collect(),
        starts: others()
            .filter(recent)
            .filter_map(|entry| Some((entry.action.as_str(), entry.started.clone()?)))
            .collect(),
    };
    let mut before: Vec<_> =
        others().filter(|entry| entry.state == State::Waiting && entry.order(wanted) == Ordering::Less).collect();
    before.sort_by(|one, other| one.order(other));
    for waiting in before {
        if used.exceeded_by(waiting, settings, now).is_none() {
            used.active.push(waiting);
            used.starts.push((&waiting.action, now.clone()));
        }
    }
    used.exceeded_by(wanted, settings, now)
}

impl Used<'_> {
    /// The first budget that one more execution would exceed.
    fn exceeded_by(&self, wanted: &Entry, settings: &Settings, now: &MicroTime) -> Option<Held> {
        let budgets = &settings.budgets;
        let target = &wanted.target;
        let held = |reason, what: String| Held { reason, until: settings.patience(now), message: what };
        let on_target = self.those(|entry| same(&entry.target, target));
        if reached(on_target.len(), budgets.per_target) {
            let what = format!("{} works on {target} already; this goes on when it ends", names(&on_target));
            return Some(held(BlockReason::ResourceBusy, what));
        }
        if wanted.undoes {
            return None;
        }
        let in_namespace = self.those(|entry| target.namespace.is_some() && entry.target.namespace == target.namespace);
        let on_nodes = self.those(|entry| is_node(target) && is_node(&entry.target));
        let all = self.those(|_| true);
        let namespace = target.namespace.as_deref().unwrap_or_default();
        for (found, limit, what) in [
            (in_namespace, budgets.per_namespace, format!("in namespace {namespace} (budgets.perNamespace)")),
            (on_nodes, budgets.nodes, "of nodes (budgets.nodes)".to_owned()),
            (all, budgets.per_cluster, "in the cluster (budgets.perCluster)".to_owned()),
        ] {
            if reached(found.len(), limit) {
                let who = names(&found);
                let what = format!("as many executions as may be at once {what}: {who}; this goes on when one ends");
                return Some(held(BlockReason::Budget, what));
            }
        }
        self.worn_out(wanted, budgets)
    }

    /// Too many starts of one action within the hour.
    fn worn_out(&self, wanted: &Entry, budgets: &Budgets) -> Option<Held> {
        let mut starts: Vec<_> =
            self.starts.iter().filter(|(action, _)| *action == wanted.action).map(|(_, at)| at).collect();
        starts.sort_unstable();
        let limit = usize::try_from(budgets.actions_per_hour).unwrap_or(usize::MAX);
        // The one after whose hour there is room again.
        let frees = starts.get(starts.len().checked_sub(limit)?)?;
        let until = after(frees, HOUR);
        let message = format!(
            "{} ran {} times within an hour (budgets.actionsPerHour); this goes on at {}",
            wanted.action,
            starts.len(),
            until.0
        );
        Some(Held { reason: BlockReason::Budget, until, message })
    }

    fn those(&self, is: impl Fn(&Entry) -> bool) -> Vec<&Entry> {
        self.active.iter().copied().filter(|entry| is(entry)).collect()
    }
}

fn reached(count: usize, limit: u32) -> bool {
    count >= usize::try_from(limit).unwrap_or(usize::MAX)
}

fn is_node(target: &TargetRef) -> bool {
    target.kind == "Node"
}

/// The same object, whichever incarnation.
pub fn same(one: &TargetRef, other: &TargetRef) -> bool {
    one.kind == other.kind && one.namespace == other.namespace && one.name == other.name
}

/// The first few by name.
fn names(entries: &[&Entry]) -> String {
    let shown: Vec<_> = entries.iter().take(3).map(|entry| entry.name.as_str()).collect();
    match entries.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Why a target may never be changed, if that is so. `own` is the operator's namespace.
pub fn protected(target: &TargetRef, own: Option<&str>, budgets: &Budgets) -> Option<String> {
    let namespace = match target.kind.as_str() {
        "Namespace" => Some(target.name.as_str()),
        _ => target.namespace.as_deref(),
    }?;
    if Some(namespace) == own {
        return Some(format!("{target} is in the namespace of Kubernaut itself, in which nothing is changed"));
    }
    let listed = budgets.protected_namespaces.iter().any(|name| name == namespace);
    listed.then(|| {
        format!("{target}: nothing is changed in namespace {namespace} (budgets.protectedNamespaces); do it by hand")
    })
}
