//! Reasons of the Kubernetes Events that Kubernaut publishes: a name that alert rules and people may rely on.
//!
//! What goes as it should is silent but for its beginning and its end: an Event is a write to the API server.
//! Everything else stands in `status.transitions`.

/// Declares the reasons: stage, name, and what it tells the person who reads it.
macro_rules! event_reasons {
    ($($stage:literal { $($name:ident: $meaning:literal,)+ })+) => {
        /// Why a Kubernetes Event was published.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventReason { $($(#[doc = $meaning] $name,)+)+ }

        impl EventReason {
            /// Every reason, by stage.
            pub const ALL: &'static [EventReason] = &[$($(EventReason::$name,)+)+];

            /// As it stands in the Event.
            pub fn as_str(self) -> &'static str {
                match self { $($(Self::$name => stringify!($name),)+)+ }
            }

            /// Noun of the kind that it is about, as in [`crate::Staged::NOUN`].
            pub fn stage(self) -> &'static str {
                match self { $($(Self::$name)|+ => $stage,)+ }
            }

            /// What it tells.
            pub fn meaning(self) -> &'static str {
                match self { $($(Self::$name => $meaning,)+)+ }
            }
        }
    };
}

event_reasons! {
    "remediation" {
        Executing: "The plan is being executed.",
        AwaitingApproval: "A person is asked.",
        Blocked: "It is held back; the note says why and until when.",
        Completed: "It is over; the note has the outcome.",
        Failed: "It could not be done.",
        TimedOut: "A deadline passed; the note names the phase.",
        Cancelled: "It was cancelled, or the alert was resolved before anything was done.",
    }
    "processing" {
        EvidenceDegraded: "Something could not be read; the note says what, and which permission is missing.",
        TargetNotFound: "The target does not exist any more.",
        UrgentSignal: "The signal is of the highest priority, P0.",
        ProcessingTimedOut: "The evidence could not be collected in time.",
        ProcessingCancelled: "The request ended before the evidence was collected.",
        ProcessingFailed: "The evidence could not be collected; the note says why.",
    }
    "analysis" {
        ApprovalRequired: "A RemediationApproval waits for a person.",
        ApprovalExpiring: "Nobody has answered, and two thirds of the time are over.",
        ApprovalExpired: "Nobody answered in time.",
        PolicyRejected: "The approval policy refuses the plan.",
        PlanApproved: "A person approved the plan.",
        PlanRejected: "A person rejected the plan.",
        LowConfidence: "The cause is too uncertain to act upon.",
        NoCauseFound: "No provider found a cause: a person has to look.",
        NoActionFits: "The cause is known and no action of the catalogue mends it: a person has to look.",
        InvalidPlan: "What the provider answered does not hold against evidence and catalogue.",
        AnalysisTimedOut: "No provider answered in time.",
        AnalysisCancelled: "The request ended before the analysis did.",
        AnalysisFailed: "The analysis could not be done; the note says why.",
    }
    "workflow" {
        WorkflowRefused: "The plan is not sound; nothing was run.",
        StepFailed: "A step failed; the note names it.",
        UndoStarted: "Finished steps are being undone.",
        WorkflowUndone: "Everything that had been done was undone.",
        UndoIncomplete: "Something that had been done could not be undone; the note names it.",
        WorkflowTimedOut: "The workflow did not end in time.",
        WorkflowCancelled: "The request ended, or the workflow was cancelled.",
        WorkflowFailed: "The workflow failed; the note says why.",
    }
    "action" {
        PolicyDenied: "The safety policy forbids the action, or could not be evaluated; nothing was changed.",
        RehearsalRefused: "The rehearsal with dryRun=All was refused; nothing was changed.",
        ActionHeld: "Its Job may not be made yet; the note says why and when that is looked at again.",
        BlastRadiusExceeded: "The action would reach further than execution.blastRadius allows; nothing was changed.",
        JobNotStarted: "The Job never ran; nothing was changed.",
        JobDied: "The Job ended without a result, and the target is as it was; nothing was changed.",
        OutcomeUnknown: "Whether the target was changed is not known: a person has to look at it.",
        TargetDrifted: "Somebody else changed the target after the action: it is not undone over their change.",
        NotHealthy: "The target did not become healthy after the action, which is being undone where it can be.",
        ActionUndone: "The action did not help and was undone.",
        UndoFailed: "The action did not help and could not be undone.",
        ActionTimedOut: "The action did not end in time.",
        ActionCancelled: "The request ended before the action did.",
        ActionFailed: "The action failed; the note says why.",
    }
    "policy" {
        PolicyLoaded: "The policy of this ConfigMap is in force.",
        PolicyBroken: "The policy of this ConfigMap cannot be used, so it denies; the note names the line.",
    }
}

impl std::fmt::Display for EventReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_as_many_reasons_as_the_contract_asks() {
        // R3.4, R4.8, R5.7, R6.7
        for (stage, least) in [("processing", 6), ("analysis", 7), ("workflow", 8), ("action", 7)] {
            let count = EventReason::ALL.iter().filter(|reason| reason.stage() == stage).count();
            assert!(count >= least, "{stage}: {count}");
        }
    }

    #[test]
    fn a_reason_is_as_long_as_the_api_server_takes() {
        assert!(EventReason::ALL.iter().all(|reason| reason.as_str().len() <= 128));
    }
}
