//! A cluster in memory: an API server with optimistic concurrency, the operator's five controllers over
//! it (observe as the real ones do, the real `decide`, apply effect by effect), and everybody else.
//!
//! Faults: a crash after any numbered effect, a decision on an older version of its object, a frozen
//! watch. Deliberately absent: garbage collection and the relay, which decide nothing.

mod operator;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use kubernaut_api::approval::Decision;
use kubernaut_api::execution::{ActionResult, Effect, JobRef};
use kubernaut_api::k8s_openapi::api::batch::v1::Job;
use kubernaut_api::meta::Phase;
use kubernaut_api::request::Deduplication;
use kubernaut_api::workflow::Step;
use kubernaut_api::{
    AIAnalysis, KubernetesExecution, MicroTime, RemediationApproval, RemediationApprovalStatus, RemediationProcessing,
    RemediationRequest, Resource, ResourceExt, Staged, TargetRef, WorkflowExecution, labels,
};
use kubernaut_domain::budget::Entry;
use kubernaut_domain::execution::JobSeen;
use kubernaut_domain::health::Health;
use kubernaut_domain::request::{is_given_up, is_over};
use kubernaut_domain::settings::Settings;

use crate::given::{Kind, at, changed, settings};

/// What is remedied, and how people and alerts behave.
#[derive(Clone)]
pub struct Story {
    /// Steps of the plan.
    pub steps: Vec<Step>,
    /// Confidence in hundredths.
    pub confidence: u32,
    /// Seconds after which the alert is resolved, counted from the last effect.
    pub resolves_after: Option<i64>,
    /// What the Jobs report.
    pub result: ActionResult,
    /// The step whose Job refuses to act.
    pub refuses: Option<&'static str>,
    /// The execution whose Job never runs.
    pub never_runs: Option<&'static str>,
    /// The second in which a person cancels the first request.
    pub cancelled_at: Option<i64>,
    /// What further requests are about, made at the same time, whose analysis has the same result.
    pub also: Vec<TargetRef>,
}

/// What goes wrong in the operator.
#[derive(Clone, Default, Debug)]
pub struct Faults {
    /// Crash after these effects, counted from 1.
    pub crash_after: BTreeSet<usize>,
    /// Decide upon the version before the newest in this reconciliation.
    pub stale: Option<usize>,
    /// Seconds in which the watch of a kind shows nothing new.
    pub frozen: Option<(&'static str, Range<i64>)>,
}

/// Why a reconciliation was given up.
enum Lost {
    Crash,
    Conflict,
}

/// A Job and how far it is.
#[derive(Clone)]
struct Running {
    job: Job,
    rounds: u32,
    released: bool,
}

/// Every version of every object of a kind, the newest last, each with the second it was written in.
type Store<K> = BTreeMap<String, Vec<(i64, K)>>;

/// Everything that there is.
pub struct World {
    story: Story,
    faults: Faults,
    settings: Settings,
    second: i64,
    version: u64,
    requests: Store<RemediationRequest>,
    processings: Store<RemediationProcessing>,
    analyses: Store<AIAnalysis>,
    approvals: Store<RemediationApproval>,
    workflows: Store<WorkflowExecution>,
    executions: Store<KubernetesExecution>,
    jobs: BTreeMap<String, Running>,
    last_effect: Option<i64>,
    /// What the operator did, one line an effect.
    pub effects: Vec<String>,
    /// What the target saw.
    pub seen_by_target: Vec<String>,
    /// How often each object was made.
    pub creates: BTreeMap<String, usize>,
    /// How many decisions were made.
    pub reconciles: usize,
    /// How many status writes were refused.
    pub conflicts: usize,
}

/// A kind that the world keeps.
trait Kept: Resource<DynamicType = ()> + Clone {
    fn store(world: &mut World) -> &mut Store<Self>;
}

macro_rules! kept {
    ($($kind:ty, $field:ident;)+) => {$(
        impl Kept for $kind {
            fn store(world: &mut World) -> &mut Store<Self> {
                &mut world.$field
            }
        }
    )+};
}
kept! {
    RemediationRequest, requests;
    RemediationProcessing, processings;
    AIAnalysis, analyses;
    RemediationApproval, approvals;
    WorkflowExecution, workflows;
    KubernetesExecution, executions;
}

impl World {
    /// A world in which a request was just made.
    pub fn new(story: Story, faults: Faults) -> Self {
        let mut settings = settings();
        settings.stabilization = std::time::Duration::from_secs(10);
        let mut world = Self {
            story,
            faults,
            settings,
            second: 0,
            version: 1,
            requests: Store::new(),
            processings: Store::new(),
            analyses: Store::new(),
            approvals: Store::new(),
            workflows: Store::new(),
            executions: Store::new(),
            jobs: BTreeMap::new(),
            last_effect: None,
            effects: vec![],
            seen_by_target: vec![],
            creates: BTreeMap::new(),
            reconciles: 0,
            conflicts: 0,
        };
        let mut request = crate::given::request();
        request.metadata.resource_version = Some("1".into());
        for (number, target) in (2..).zip(world.story.also.clone()) {
            let mut other = request.clone();
            other.metadata.name = Some(format!("rr-0123456789ab-{number}"));
            other.metadata.uid = Some(format!("uid-rr-0123456789ab-{number}"));
            other.spec.signal.fingerprint = number.to_string().repeat(64);
            other.spec.target = Some(target);
            world.requests.insert(other.name_any(), vec![(0, other)]);
        }
        world.requests.insert(request.name_any(), vec![(0, request)]);
        world
    }

    /// Runs until nothing has changed for twenty seconds; panics when that does not come.
    pub fn run(mut self) -> Self {
        let mut quiet = 0;
        while quiet < 20 {
            let before = (self.version, self.jobs.values().map(|running| running.rounds).sum::<u32>());
            self.operator();
            self.assert_one_at_a_time();
            self.others();
            self.second += 1;
            assert!(self.second < 1000, "no end in sight: {:?}", self.effects);
            let after = (self.version, self.jobs.values().map(|running| running.rounds).sum::<u32>());
            let over = self.requests.values().all(|versions| {
                versions.last().and_then(|(_, request)| request.phase()).is_some_and(Phase::is_terminal)
            });
            quiet = if before == after && over { quiet + 1 } else { 0 };
        }
        self
    }

    /// The request as it is now.
    pub fn request(&self) -> &RemediationRequest {
        self.requests.values().next().and_then(|versions| versions.last()).map(|(_, request)| request).expect("one")
    }

    /// The requests as they are now, by name.
    pub fn all_requests(&self) -> impl Iterator<Item = &RemediationRequest> {
        self.requests.values().filter_map(|versions| versions.last()).map(|(_, request)| request)
    }

    /// That nobody acts on a target while another execution has not ended there.
    fn assert_one_at_a_time(&self) {
        use kubernaut_api::ExecutionPhase::{Executing, RollingBack, Verifying};
        let executions = self.executions.values().filter_map(|versions| versions.last()).map(|(_, one)| one);
        let active = executions.filter(|one| matches!(one.phase(), Some(Executing | RollingBack | Verifying)));
        let mut targets = BTreeSet::new();
        for execution in active {
            assert!(targets.insert(execution.spec.target.clone()), "two at once on {}", execution.spec.target);
        }
    }

    /// Every object as it is now, with times and versions masked.
    pub fn end_state(&self) -> BTreeMap<String, serde_json::Value> {
        fn add<K: Kind>(state: &mut BTreeMap<String, serde_json::Value>, store: &Store<K>) {
            for (name, versions) in store {
                let (_, object) = versions.last().expect("a version");
                state.insert(name.clone(), masked(serde_json::to_value(object).expect("JSON")));
            }
        }
        let mut state = BTreeMap::new();
        add(&mut state, &self.requests);
        add(&mut state, &self.processings);
        add(&mut state, &self.analyses);
        add(&mut state, &self.workflows);
        add(&mut state, &self.executions);
        for (name, running) in &self.jobs {
            state.insert(format!("Job {name}"), serde_json::json!({"released": running.released}));
        }
        for (name, versions) in &self.approvals {
            let (_, approval) = versions.last().expect("a version");
            state.insert(name.clone(), masked(serde_json::to_value(approval).expect("JSON")));
        }
        state
    }

    /// That no object ever went a phase back, in any version that was ever stored.
    pub fn assert_forward(&self) {
        fn check<K: Kind>(store: &Store<K>) {
            for versions in store.values() {
                for pair in versions.windows(2) {
                    let (before, after) = (&pair[0].1, &pair[1].1);
                    // What is held back goes on from where it was.
                    let held = before.phase().is_some_and(|phase| phase.to_string() == "Blocked");
                    assert!(held || after.phase().map(K::rank) >= before.phase().map(K::rank));
                    assert!(after.transitions().starts_with(before.transitions()), "what is recorded stays");
                }
            }
        }
        check(&self.requests);
        check(&self.processings);
        check(&self.analyses);
        check(&self.workflows);
        check(&self.executions);
    }

    fn now(&self) -> MicroTime {
        at(self.second)
    }

    /// Counts an effect that has just happened; the operator may die of it.
    fn effect(&mut self, what: String) -> Result<(), Lost> {
        self.effects.push(what);
        if self.faults.crash_after.contains(&self.effects.len()) { Err(Lost::Crash) } else { Ok(()) }
    }

    fn get<K: Kept>(&mut self, name: &str) -> Option<K> {
        K::store(self).get(name)?.last().map(|(_, object)| object.clone())
    }

    /// The object that a reconciliation works with: what the watch shows, which may be old.
    fn watched<K: Kept>(&mut self, name: &str) -> Option<K> {
        self.reconciles += 1;
        let stale = self.faults.stale == Some(self.reconciles);
        let until = match &self.faults.frozen {
            Some((kind, seconds)) if *kind == K::kind(&()) && seconds.contains(&self.second) => seconds.start,
            _ => i64::MAX,
        };
        let versions = K::store(self).get(name)?;
        let shown: Vec<_> = versions.iter().filter(|(written, _)| *written < until).collect();
        let back = if stale { 2.min(shown.len()) } else { 1 };
        shown.get(shown.len().checked_sub(back)?).map(|(_, object)| object.clone())
    }

    fn create<K: Kept>(&mut self, object: &K) -> Result<(), Lost> {
        let name = object.name_any();
        if K::store(self).contains_key(&name) {
            return Ok(());
        }
        self.version += 1;
        let version = self.version.to_string();
        let second = self.second;
        let count = self.creates.entry(name.clone()).or_default();
        *count += 1;
        let uid = format!("uid-{name}-{count}");
        let mut object = object.clone();
        let meta = object.meta_mut();
        (meta.uid, meta.generation, meta.resource_version) = (Some(uid), Some(1), Some(version));
        K::store(self).insert(name.clone(), vec![(second, object)]);
        self.effect(format!("create {name}"))
    }

    /// Stores another version, unless somebody else was first.
    fn replace<K: Kept>(&mut self, mut object: K) -> Result<(), Lost> {
        let name = object.name_any();
        let stored = self.get::<K>(&name).and_then(|stored| stored.meta().resource_version.clone());
        if stored != object.meta().resource_version {
            self.conflicts += 1;
            return Err(Lost::Conflict);
        }
        self.version += 1;
        object.meta_mut().resource_version = Some(self.version.to_string());
        let second = self.second;
        K::store(self).entry(name).or_default().push((second, object));
        Ok(())
    }

    /// As the controllers do it: an equal status is not written.
    fn write_status<K: Kept + Kind>(&mut self, object: &K, status: K::Status) -> Result<(), Lost> {
        if object.status() == Some(&status) {
            return Ok(());
        }
        let mut changed = object.clone();
        changed.set_status(status);
        let phase = changed.phase().map_or_else(String::new, |phase| phase.to_string());
        self.replace(changed)?;
        self.effect(format!("status {} {phase}", object.name_any()))
    }

    /// Every controller looks at every object of its kind once. A crash ends the round for all.
    fn operator(&mut self) {
        fn keys<K>(store: &Store<K>) -> Vec<String> {
            store.keys().cloned().collect()
        }
        type Reconcile = fn(&mut World, &str) -> Result<(), Lost>;
        type Names = fn(&World) -> Vec<String>;
        let work: [(Reconcile, Names); 5] = [
            (operator::reconcile_request, |world| keys(&world.requests)),
            (operator::reconcile_processing, |world| keys(&world.processings)),
            (operator::reconcile_analysis, |world| keys(&world.analyses)),
            (operator::reconcile_workflow, |world| keys(&world.workflows)),
            (operator::reconcile_execution, |world| keys(&world.executions)),
        ];
        for (reconcile, names) in work {
            for name in names(self) {
                if let Err(Lost::Crash) = reconcile(self, &name) {
                    return;
                }
            }
        }
    }

    /// The kubelet, the target's own controller, the person on call and the gateway.
    fn others(&mut self) {
        for (name, running) in &mut self.jobs {
            let runs = !self.story.never_runs.is_some_and(|short| is_short_for(short, name));
            if running.rounds == 1 && runs {
                self.seen_by_target.push(name.clone());
                self.last_effect = Some(self.second);
            }
            running.rounds = (running.rounds + 1).min(3);
        }
        for name in self.approvals.keys().cloned().collect::<Vec<_>>() {
            let mut approval: RemediationApproval = self.get(&name).expect("it is there");
            if approval.status.is_none() && self.second > 40 {
                approval.status = Some(RemediationApprovalStatus {
                    decision: Some(Decision::Approved),
                    decided_by: Some("ada".into()),
                    ..RemediationApprovalStatus::default()
                });
                let _ = self.replace(approval);
            }
        }
        let mut request = self.request().clone();
        if self.story.cancelled_at.is_some_and(|second| self.second >= second) && !request.spec.cancelled {
            request.spec.cancelled = true;
            let _ = self.replace(request);
        }
        let resolved = self.story.resolves_after.zip(self.last_effect).map(|(after, effect)| effect + after);
        for mut request in self.all_requests().cloned().collect::<Vec<_>>() {
            let status = request.status.get_or_insert_default();
            if resolved.is_some_and(|second| self.second >= second) && status.deduplication.is_none() {
                status.deduplication = Some(Deduplication {
                    occurrences: 1,
                    first_seen: at(0),
                    last_seen: at(0),
                    resolved_at: Some(self.now()),
                });
                let _ = self.replace(request);
            }
        }
    }

    /// All executions, for the budgets.
    fn ledger(&self) -> Vec<Entry> {
        self.executions.values().filter_map(|versions| versions.last()).filter_map(|(_, one)| Entry::of(one)).collect()
    }

    fn health(&self) -> Health {
        match self.last_effect {
            Some(effect) if self.second >= effect + 3 => Health::Healthy,
            _ => Health::Unhealthy("0 of 1 replicas are available".into()),
        }
    }

    fn request_is_given_up(&mut self, name: &str) -> bool {
        self.get::<RemediationRequest>(name).is_none_or(|request| is_given_up(&request))
    }

    fn request_is_over(&mut self, name: &str) -> bool {
        self.get::<RemediationRequest>(name).is_none_or(|request| is_over(&request))
    }

    fn job_seen(&self, execution: &KubernetesExecution) -> JobSeen {
        let name = execution.name_any();
        let Some(running) = self.jobs.get(&name) else { return JobSeen::Absent };
        let owners = running.job.owner_references();
        let own = owners.iter().any(|owner| Some(&owner.uid) == execution.metadata.uid.as_ref());
        let same = running.job.annotations().get(labels::PLAN_HASH) == Some(&execution.spec.plan_hash);
        if !own || !same {
            return JobSeen::Foreign;
        }
        let job = JobRef { name, uid: running.job.uid().unwrap_or_default() };
        if running.rounds < 3 {
            return JobSeen::Running(job);
        }
        let ran = !self.story.never_runs.is_some_and(|short| is_short_for(short, &job.name));
        let refuses = self.story.refuses == Some(execution.spec.step.as_str());
        let refusal = ActionResult { effect: Effect::None, error: Some("Paused".into()), ..changed() };
        let result = if refuses { refusal } else { self.story.result.clone() };
        let result = ran.then_some(result);
        JobSeen::Ended { job, result, message: "ended".into(), ran, died_at: None, held: !running.released }
    }
}

fn masked(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => "a time".into(),
        Value::Array(values) => values.into_iter().map(masked).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| name != "resourceVersion")
            .map(|(name, value)| (name, masked(value)))
            .collect(),
        other => other,
    }
}

/// A plan of one step that runs by itself, after which the alert is resolved.
pub fn simple() -> Story {
    Story {
        steps: vec![crate::given::step("rollback", &[])],
        confidence: 95,
        resolves_after: Some(5),
        result: ActionResult { effect: Effect::Changed, ..changed() },
        cancelled_at: None,
        refuses: None,
        never_runs: None,
        also: vec![],
    }
}

/// True when a name is that of `<prefix>-<step>`, whatever the request.
fn is_short_for(short: &str, name: &str) -> bool {
    short.split_once('-').is_some_and(|(prefix, step)| name.starts_with(prefix) && name.ends_with(step))
}
