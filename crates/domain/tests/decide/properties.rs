//! What holds of any graph of steps and of any sequence of observed states.

use std::collections::BTreeSet;

use kubernaut_api::execution::{Effect, TargetMark};
use kubernaut_api::meta::Phase;
use kubernaut_api::request::Deduplication;
use kubernaut_api::workflow::{OnFailure, Step, StepStatus};
use kubernaut_api::{
    AnalysisPhase, ExecutionPhase, Outcome, ProcessingPhase, RequestPhase, ResourceExt, Staged, WorkflowPhase,
};
use kubernaut_domain::budget::{Entry, State};
use kubernaut_domain::execution::{JobPlan, JobSeen, Trace};
use kubernaut_domain::health::Health;
use kubernaut_domain::request::{Child, Neighbours, Working};
use kubernaut_domain::suppression::Past;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::given::{Kind, analysed, at, executed, job_ref, later, made, processed, step, worked};

/// A graph without circles of at most 12 steps, in any order in the list.
fn graphs() -> impl Strategy<Value = Vec<Step>> {
    (1..=12usize)
        .prop_flat_map(|size| {
            let links = prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.25), size), size);
            (links, prop::collection::vec(any::<bool>(), size))
        })
        .prop_map(|(links, may_fail)| {
            let name = |number: usize| format!("s{number}");
            let steps = links.iter().zip(may_fail).enumerate().map(|(number, (before, may_fail))| Step {
                depends_on: (0..number).filter(|other| before[*other]).map(name).collect(),
                on_failure: if may_fail { OnFailure::Continue } else { OnFailure::Fail },
                ..step(&name(number), &[])
            });
            steps.collect::<Vec<_>>()
        })
        .prop_shuffle()
}

/// Runs a graph; each time one of the running steps, picked by `ends`, completes or fails.
fn run(steps: &[Step], parallelism: u8, ends: &[(Index, bool)]) -> Result<(), TestCaseError> {
    let mut seen = crate::workflow::begun(steps.to_vec());
    seen.workflow.spec.parallelism = parallelism;
    let (mut done, mut failed, mut running) = (BTreeSet::new(), BTreeSet::new(), Vec::<String>::new());
    let mut doomed = false;
    // Each step ends once; one more look finds that nothing is left.
    for (which, completes) in ends.iter().take(steps.len() + 1) {
        let (plan, _) = crate::workflow::advance(&mut seen);
        for child in &plan.children {
            let step = steps.iter().find(|step| step.name == child.spec.step).expect("a step of the plan");
            prop_assert!(step.depends_on.iter().all(|name| done.contains(name)), "{} came too early", step.name);
            prop_assert!(!doomed, "{} started after the failure of a step that must not fail", step.name);
            running.push(step.name.clone());
        }
        prop_assert!(running.len() <= usize::from(parallelism));
        if seen.workflow.phase().is_some_and(Phase::is_terminal) {
            break;
        }
        prop_assert!(!running.is_empty(), "nothing runs and it has not ended");
        let name = running.remove(which.index(running.len()));
        crate::workflow::end(
            &mut seen,
            &name,
            if *completes { ExecutionPhase::Completed } else { ExecutionPhase::Failed },
        );
        if *completes {
            done.insert(name);
        } else {
            doomed |= steps.iter().any(|step| step.name == name && step.on_failure == OnFailure::Fail);
            failed.insert(name);
        }
    }
    let phase = seen.workflow.phase();
    prop_assert!(phase.is_some_and(Phase::is_terminal), "it ends, and not in {phase:?}");
    prop_assert!(running.is_empty(), "it ends when nothing runs any more");
    prop_assert_eq!(phase == Some(WorkflowPhase::Completed), done.len() == steps.len());
    prop_assert_eq!(phase == Some(WorkflowPhase::Failed), !failed.is_empty());
    if !doomed {
        let stuck = |step: &Step| step.depends_on.iter().any(|name| !done.contains(name));
        let left = steps.iter().filter(|step| !done.contains(&step.name) && !failed.contains(&step.name));
        prop_assert!(left.into_iter().all(stuck), "all that could run did");
    }
    Ok(())
}

/// Runs a graph in which everything goes well but for one step, which undoes all; gives the order in which steps ended,
/// and that in which they were undone.
fn undo(
    steps: &[Step],
    parallelism: u8,
    fails: &str,
    picks: &[Index],
) -> Result<(Vec<String>, Vec<String>), TestCaseError> {
    let (mut done, mut undone) = (vec![], vec![]);
    let mut seen = crate::workflow::begun(steps.to_vec());
    seen.workflow.spec.parallelism = parallelism;
    let mut running = Vec::<String>::new();
    for pick in picks {
        let (plan, _) = crate::workflow::advance(&mut seen);
        running.extend(plan.children.iter().map(ResourceExt::name_any));
        prop_assert!(running.len() <= usize::from(parallelism));
        if seen.workflow.phase().is_some_and(Phase::is_terminal) {
            break;
        }
        let name = running.remove(pick.index(running.len()));
        let execution = seen.executions.get_mut(&name).expect("it was started");
        let step = execution.spec.step.clone();
        let undoing = execution.spec.undoes.is_some();
        let phase = if step == fails && !undoing { ExecutionPhase::Failed } else { ExecutionPhase::Completed };
        *execution = executed(execution.clone(), phase, "ended");
        let status = execution.status.get_or_insert_default();
        status.result =
            Some(crate::workflow::result(if phase == ExecutionPhase::Failed { Effect::None } else { Effect::Changed }));
        match (undoing, phase) {
            (true, _) => undone.push(step),
            (false, ExecutionPhase::Completed) => done.push(step),
            _ => {}
        }
    }
    prop_assert!(seen.workflow.phase().is_some_and(Phase::is_terminal) && running.is_empty(), "it ends");
    Ok((done, undone))
}

/// That a phase follows the one before: not back, unless out of being held back.
fn assert_forward<K: Kind>(before: &K, after: &K) {
    let rank = |object: &K| object.phase().map(K::rank);
    let held = before.phase().is_some_and(|phase| phase.to_string() == "Blocked");
    assert!(held || rank(after) >= rank(before), "{:?} came after {:?}", after.phase(), before.phase());
}

/// Sometimes, one of some.
fn maybe<T: Clone + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.7, select(values))
}

fn health() -> impl Strategy<Value = Option<Health>> {
    prop::option::weighted(
        0.8,
        prop_oneof![
            Just(Health::Healthy),
            Just(Health::Unhealthy("no".into())),
            Just(Health::NotApplicable),
            Just(Health::Gone),
        ],
    )
}

/// Sometimes an earlier request that ended a moment ago, something unmanaged, something that was awaited
/// and is mended, and an execution on the target; and another request about it.
fn neighbours(holds: &[bool], other: Option<RequestPhase>, now: &kubernaut_api::MicroTime) -> Neighbours {
    let one = |name: &str, phase: RequestPhase| Working {
        name: name.into(),
        created: Some(later(now, -9000)),
        uid: name.into(),
        phase,
        outcome: Some(Outcome::Remediated),
        touches: vec![crate::given::target()],
    };
    let past = Past {
        name: "rr-x-0".into(),
        began: later(now, -100),
        ended: later(now, -60),
        phase: RequestPhase::Completed,
        outcome: Some(Outcome::Remediated),
        executed: true,
        tried: true,
    };
    let execution = Entry {
        name: "ke-x".into(),
        created: None,
        uid: String::new(),
        action: "restart_pod".into(),
        target: crate::given::target(),
        state: State::Active,
        started: None,
        undoes: false,
    };
    Neighbours {
        past: holds[0].then_some(past).into_iter().collect(),
        unmanaged: holds[1].then(|| "namespace shop is not labelled".to_owned()).into_iter().collect(),
        awaited: holds[2].then(|| one("rr-other-1", RequestPhase::Completed)),
        executions: holds[3].then_some(execution).into_iter().collect(),
        working: other.map(|phase| one("rr-other-1", phase)).into_iter().collect(),
    }
}

/// Seconds until the next look: often soon, sometimes past a deadline.
fn gaps() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..60i64, 1 => 60..4000i64]
}

fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.05)
}

/// What an execution may look like: its phase, what it reports, and why.
type Sight = Option<(ExecutionPhase, Option<Effect>, &'static str)>;

fn sight() -> impl Strategy<Value = Sight> {
    let effects = maybe(&[Effect::Changed, Effect::Unchanged, Effect::None, Effect::Unknown]);
    let reasons = select(&["TargetHealthy", "JobNotStarted", "RolledBack", "OutcomeUnknown", "ValidatingTimedOut"]);
    prop::option::weighted(0.8, (select(ExecutionPhase::ALL), effects, reasons))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_graph_is_run_in_a_legal_order_and_ends(
        steps in graphs(),
        parallelism in 1..=5u8,
        ends in prop::collection::vec((any::<Index>(), prop::bool::weighted(0.85)), 13),
    ) {
        run(&steps, parallelism, &ends)?;
    }

    #[test]
    fn what_is_undone_is_undone_in_the_reverse_of_a_legal_order_and_all_of_it(
        steps in graphs(),
        parallelism in 1..=5u8,
        fails in any::<Index>(),
        picks in prop::collection::vec(any::<Index>(), 30),
    ) {
        let fails = fails.get(&steps).name.clone();
        let mut steps = steps;
        for step in steps.iter_mut().filter(|step| step.name == fails) {
            step.on_failure = OnFailure::Rollback;
        }
        let (done, undone) = undo(&steps, parallelism, &fails, &picks)?;
        let sorted = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        prop_assert_eq!(sorted(&done), sorted(&undone), "all that was done, and nothing else");
        prop_assert_eq!(done.len(), undone.len(), "each once");
        let place = |name: &String| undone.iter().rev().position(|undone| undone == name);
        for step in &steps {
            for before in &step.depends_on {
                if let (Some(step), Some(before)) = (place(&step.name), place(before)) {
                    prop_assert!(before < step, "what came before is undone after");
                }
            }
        }
    }

    #[test]
    fn any_graph_whose_steps_all_succeed_is_completed(
        steps in graphs(),
        order in prop::collection::vec(any::<Index>(), 13),
    ) {
        let ends: Vec<_> = order.into_iter().map(|which| (which, true)).collect();
        run(&steps, 3, &ends)?;
    }

    #[test]
    fn a_request_only_moves_forward_whatever_is_seen(
        looks in prop::collection::vec((
            (maybe(ProcessingPhase::ALL), maybe(AnalysisPhase::ALL), maybe(WorkflowPhase::ALL), any::<bool>()),
            (health(), rarely(), rarely(), rarely(), rarely()),
            (prop::collection::vec(rarely(), 4), maybe(RequestPhase::ALL)),
            gaps(),
        ), 1..20),
    ) {
        let mut seen = crate::request::begun();
        let (mut processing, mut analysis, mut workflow) = (None, None, None);
        for ((processed_as, analysed_as, worked_as, with_plan), (health, resolved, heard, cancelled, collides), (holds, other), gap) in looks {
            let steps = if with_plan { vec![step("rollback", &[])] } else { vec![] };
            seen.processing = processing.clone().zip(processed_as).map(|(child, phase)| {
                let mut child = processed(child);
                child.status.get_or_insert_default().phase = Some(phase);
                child
            });
            seen.now = later(&seen.now, gap);
            let lapses = later(&seen.now, 900);
            seen.analysis = analysis.clone().zip(analysed_as).map(|(child, phase)| {
                let mut child = analysed(child, phase, &steps);
                child.status.get_or_insert_default().phase_deadline = Some(lapses.clone());
                child
            });
            seen.workflow = workflow.clone().zip(worked_as).map(|(child, phase)| worked(child, phase));
            seen.health = health;
            seen.neighbours = neighbours(&holds, other, &seen.now);
            seen.collision = collides.then(|| "rp-x".into());
            seen.request.spec.cancelled |= cancelled;
            if resolved || heard {
                seen.request.status.get_or_insert_default().deduplication = Some(Deduplication {
                    occurrences: 2,
                    first_seen: seen.now.clone(),
                    last_seen: seen.now.clone(),
                    resolved_at: resolved.then(|| seen.now.clone()),
                });
            }
            let before = seen.request.clone();
            let (plan, _) = crate::request::advance(&mut seen);
            assert_forward(&before, &seen.request);
            let blocked = seen.request.phase() == Some(RequestPhase::Blocked);
            prop_assert_eq!(blocked, plan.status.block_reason.is_some());
            prop_assert_eq!(blocked, plan.status.next_attempt_at.is_some());
            // But an analysis that somebody has deleted meanwhile: without its plan there is nothing to wait with.
            let anew = seen.analysis.is_none() && matches!(plan.child, Some(Child::Analysis(_)));
            prop_assert!(!blocked || anew || plan.child.is_none(), "what is held back makes nothing");
            let works = matches!(other, Some(RequestPhase::Executing | RequestPhase::Verifying));
            let begins = before.phase() != seen.request.phase() && seen.request.phase() == Some(RequestPhase::Executing);
            prop_assert!(!(works && begins), "another one works on the target");
            let over = seen.request.phase().is_some_and(Phase::is_terminal);
            prop_assert!(!over || plan.child.is_none(), "what is over makes nothing");
            prop_assert_eq!(over, plan.status.completed_at.is_some());
            match plan.child {
                Some(Child::Processing(child)) => processing = Some(made(*child)),
                Some(Child::Analysis(child)) => analysis = Some(made(*child)),
                Some(Child::Workflow(child)) => workflow = Some(made(*child)),
                None => {}
            }
        }
    }

    #[test]
    fn a_processing_only_moves_forward_whatever_is_seen(
        looks in prop::collection::vec((prop::option::of(any::<bool>()), rarely(), gaps()), 1..12),
    ) {
        let mut seen = crate::processing::begun();
        for (target_found, over, gap) in looks {
            seen.found = target_found
                .map(|target_found| kubernaut_domain::processing::Found { target_found, ..crate::processing::found() });
            seen.request_over |= over;
            seen.now = later(&seen.now, gap);
            let before = seen.processing.clone();
            crate::processing::advance(&mut seen);
            assert_forward(&before, &seen.processing);
        }
    }

    #[test]
    fn an_analysis_only_moves_forward_whatever_is_seen(
        looks in prop::collection::vec(
            (prop::option::of(0..=100u32), any::<bool>(), maybe(&[true, false]), rarely(), gaps()), 1..12),
    ) {
        let mut seen = crate::analysis::begun(None);
        let mut asked = None;
        for (hundredths, answered, decision, over, gap) in looks {
            seen.answer = hundredths
                .map(crate::analysis::found)
                .map(|diagnosis| ("builtin".to_owned(), diagnosis));
            seen.approval.clone_from(&asked);
            if let (Some(approval), Some(decision), true) = (&mut seen.approval, decision, answered) {
                use kubernaut_api::approval::Decision;
                let decision = Some(if decision { Decision::Approved } else { Decision::Rejected });
                approval.status.get_or_insert_default().decision = decision;
            }
            seen.request_over |= over;
            seen.now = later(&seen.now, gap);
            let before = seen.analysis.clone();
            let (plan, _) = crate::analysis::advance(&mut seen);
            assert_forward(&before, &seen.analysis);
            if seen.analysis.phase() == Some(AnalysisPhase::Completed) {
                let status = &plan.status;
                let sure = status.confidence > Some(0.9);
                prop_assert!(sure || status.reason.as_deref() == Some("Approved"), "neither sure nor approved");
            }
            if let Some(child) = plan.child {
                let child = made(*child);
                prop_assert!(asked.as_ref().is_none_or(|asked| *asked == child), "one question");
                asked = Some(child);
            }
        }
    }

    #[test]
    fn a_workflow_only_moves_forward_whatever_is_seen(
        looks in prop::collection::vec((prop::collection::vec(sight(), 8), rarely(), gaps()), 1..20),
    ) {
        let undone = Step { on_failure: OnFailure::Rollback, retries: 2, ..step("b", &["a"]) };
        let picky = Step { condition: Some("steps.a.effect == 'Changed'".into()), ..step("d", &["a"]) };
        let mut seen = crate::workflow::begun(vec![step("a", &[]), undone, step("c", &[]), picky]);
        let mut existing = std::collections::BTreeMap::new();
        for (sights, over, gap) in looks {
            seen.executions = std::collections::BTreeMap::new();
            for ((name, child), sight) in existing.iter().zip(sights) {
                let child: &kubernaut_api::KubernetesExecution = child;
                if let Some((phase, effect, reason)) = sight {
                    let mut child = executed(child.clone(), phase, "seen");
                    let status = child.status.get_or_insert_default();
                    status.reason = Some(reason.into());
                    status.result = effect.map(crate::workflow::result);
                    seen.executions.insert(String::clone(name), child);
                }
            }
            seen.request_over |= over;
            seen.now = later(&seen.now, gap);
            let before = seen.workflow.clone();
            let (plan, _) = crate::workflow::advance(&mut seen);
            assert_forward(&before, &seen.workflow);
            let running = |state: &&StepStatus| state.phase.is_some_and(|phase| !phase.is_terminal());
            prop_assert!(plan.status.steps.iter().filter(running).count() <= 5);
            for child in plan.children {
                let undoing = child.spec.undoes.is_some();
                let again = existing.contains_key(&child.name_any());
                prop_assert!(undoing || again || !seen.request_over, "nothing new starts");
                prop_assert_eq!(undoing, seen.workflow.phase() == Some(WorkflowPhase::RollingBack));
                let child = made(child);
                let same = existing.insert(child.name_any(), child.clone()).is_none_or(|earlier| earlier == child);
                prop_assert!(same, "what is made again is the same");
            }
        }
    }

    #[test]
    fn an_execution_only_moves_forward_and_makes_no_job_once_one_was_recorded(
        looks in prop::collection::vec((
            (0..8u8, 0..5u8, any::<bool>(), any::<bool>()),
            maybe(&[Effect::Changed, Effect::Unchanged, Effect::None, Effect::Unknown]),
            health(), rarely(), gaps(),
        ), 1..15),
    ) {
        let mut seen = crate::execution::begun();
        for ((job, trace, ran, held), effect, health, over, gap) in looks {
            let result = effect.map(|effect| crate::execution::result(effect, None));
            seen.rehearsal.clone_from(&result);
            seen.job = match job {
                0 => JobSeen::Foreign,
                1 | 2 => JobSeen::Absent,
                3 => JobSeen::Running(job_ref()),
                4 => JobSeen::Waiting { job: job_ref(), why: "no node".into(), start_before: Some(at(120)) },
                5 => JobSeen::Ended {
                    job: job_ref(),
                    result,
                    message: "ended".into(),
                    ran,
                    died_at: Some(seen.now.clone()),
                    held,
                },
                _ => JobSeen::Ended { job: job_ref(), result, message: "ended".into(), ran, died_at: None, held },
            };
            seen.trace = match trace {
                0 => None,
                1 => Some(Trace::Done(crate::given::changed())),
                2 => Some(Trace::Untouched),
                3 => Some(Trace::Unmarked(TargetMark::default())),
                _ => Some(Trace::Unclear("no".into())),
            };
            seen.health = health;
            seen.request_over |= over;
            seen.now = later(&seen.now, gap);
            let before = seen.execution.clone();
            let (plan, _) = crate::execution::advance(&mut seen);
            assert_forward(&before, &seen.execution);
            let recorded = before.status.as_ref().is_some_and(|status| status.job.is_some());
            if matches!(plan.job, JobPlan::Create(_)) {
                prop_assert!(!recorded && !seen.request_over && seen.execution.phase() == Some(ExecutionPhase::Executing));
            }
            if plan.job == JobPlan::Release {
                let status = &plan.status;
                prop_assert!(status.job.is_some() || before.phase().is_some_and(Phase::is_terminal));
            }
            if recorded {
                prop_assert_eq!(plan.status.job.as_ref(), before.status.as_ref().and_then(|status| status.job.as_ref()));
            }
        }
    }
}
