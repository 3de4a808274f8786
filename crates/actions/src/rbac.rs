//! The permissions of the actions as manifests: one ServiceAccount, role and binding each (R6.1).

use kubernaut_api::names;
use kubernaut_domain::catalogue::{self, PolicyRule};
use serde_json::{Value, json};

/// ServiceAccount, ClusterRole and ClusterRoleBinding of every action, named by
/// [`names::service_account`]; the accounts live in `namespace`, where the Jobs run.
pub fn rbac(service_account_prefix: &str, namespace: &str) -> Vec<Value> {
    catalogue::ALL
        .iter()
        // A script's account is the administrator's own.
        .filter(|spec| !spec.rules.is_empty())
        .flat_map(|spec| {
            let name = names::service_account(service_account_prefix, spec.name);
            let rules: Vec<Value> = spec.rules.iter().map(PolicyRule::manifest).collect();
            let labels = json!({"app.kubernetes.io/name": "kubernaut", "app.kubernetes.io/component": "action"});
            [
                json!({
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {"name": name, "namespace": namespace, "labels": labels},
                }),
                json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRole",
                    "metadata": {"name": name, "labels": labels},
                    "rules": rules,
                }),
                json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRoleBinding",
                    "metadata": {"name": name, "labels": labels},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
                    "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
                }),
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_has_an_account_of_its_own() {
        let manifests = rbac("kubernaut-", "kubernaut-system");
        assert_eq!(manifests.len(), 3 * (catalogue::ALL.len() - 1), "all but run_script");
        let role = manifests
            .iter()
            .find(|manifest| {
                manifest["kind"] == "ClusterRole" && manifest["metadata"]["name"] == "kubernaut-rollback-deployment"
            })
            .unwrap();
        assert_eq!(
            role["rules"][0],
            json!({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]})
        );
    }
}
