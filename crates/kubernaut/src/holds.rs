//! From the configuration to the settings of what holds a remediation back.

use kubernaut_domain::settings::{Budgets, Cooldowns, Scope, Suppression};
use kubernaut_platform::config::{self, BudgetsConfig, SuppressionConfig};

pub(crate) fn scope(scope: config::Scope) -> Scope {
    match scope {
        config::Scope::Labelled => Scope::Labelled,
        config::Scope::All => Scope::All,
    }
}

pub(crate) fn suppression(config: &SuppressionConfig) -> Suppression {
    let cooldown = &config.cooldown;
    Suppression {
        cooldown: Cooldowns {
            remediated: cooldown.remediated.std(),
            no_action_required: cooldown.no_action_required.std(),
            manual_review_required: cooldown.manual_review_required.std(),
            inconclusive: cooldown.inconclusive.std(),
            rolled_back: cooldown.rolled_back.std(),
            dry_run: cooldown.dry_run.std(),
            failed: cooldown.failed.std(),
            timed_out: cooldown.timed_out.std(),
            cancelled: cooldown.cancelled.std(),
        },
        failures: config.failures,
        failure_hold: config.failure_hold.std(),
        ineffective: config.ineffective,
        ineffective_window: config.ineffective_window.std(),
        ineffective_hold: config.ineffective_hold.std(),
        look_again: config.look_again.std(),
    }
}

pub(crate) fn budgets(config: &BudgetsConfig) -> Budgets {
    Budgets {
        per_target: config.per_target,
        per_namespace: config.per_namespace,
        per_cluster: config.per_cluster,
        nodes: config.nodes,
        actions_per_hour: config.actions_per_hour,
        protected_namespaces: config.protected_namespaces.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_leaves_out_is_what_the_decisions_take_for_the_default() {
        assert_eq!(suppression(&SuppressionConfig::default()), Suppression::default());
        assert_eq!(budgets(&BudgetsConfig::default()), Budgets::default());
    }
}
