//! The catalogue as text, for `kubernaut act --list` and `--explain ACTION`.

use std::fmt::Write;

use kubernaut_domain::catalogue::{self, ActionSpec};

/// Every action with its risk, its targets and one sentence: a line each.
pub fn list() -> String {
    let rows: Vec<Vec<String>> = catalogue::ALL
        .iter()
        .map(|spec| {
            vec![spec.name.into(), format!("{:?}", spec.risk), spec.target_kinds.join(","), spec.summary.into()]
        })
        .collect();
    table(&["ACTION", "RISK", "TARGETS", "WHAT IT DOES"], &rows, "")
}

/// Everything about one action; `None` when the catalogue has no such action.
pub fn explain(action: &str) -> Option<String> {
    let spec = catalogue::find(action)?;
    let mut text = format!("{}\n  {}\n\n", spec.name, spec.summary);
    for (title, value) in [
        ("Risk", format!("{:?}", spec.risk)),
        ("Targets", spec.target_kinds.join(", ")),
        ("Requires", spec.precondition.into()),
        ("Effect", spec.effect.into()),
        ("Verified", spec.verification.into()),
        ("Undone by", spec.inverse.unwrap_or("nothing: it cannot be undone").into()),
    ] {
        let _ = writeln!(text, "{:<11}{value}", format!("{title}:"));
    }
    let schema = serde_json::to_string_pretty(&spec.schema()).unwrap_or_default();
    let (parameters, permissions) = (parameters(spec), permissions(spec));
    let _ =
        write!(text, "\nParameters:\n{parameters}\nPermissions:\n{permissions}\nSchema of the parameters:\n{schema}\n");
    Some(text)
}

fn parameters(spec: &ActionSpec) -> String {
    if spec.parameters.is_empty() {
        return "  none\n".into();
    }
    let rows: Vec<Vec<String>> = spec
        .parameters
        .iter()
        .map(|parameter| {
            let required = if parameter.required { "yes" } else { "no" };
            vec![parameter.name.into(), required.into(), parameter.holds.expectation(), parameter.description.into()]
        })
        .collect();
    table(&["NAME", "REQUIRED", "VALUE", "MEANING"], &rows, "  ")
}

fn permissions(spec: &ActionSpec) -> String {
    if spec.rules.is_empty() {
        return "  those of the ServiceAccount that the registration of the script names\n".into();
    }
    let rows: Vec<Vec<String>> = spec
        .rules
        .iter()
        .map(|rule| {
            let groups: Vec<&str> =
                rule.api_groups.iter().map(|group| if group.is_empty() { "core" } else { group }).collect();
            vec![groups.join(","), rule.resources.join(","), rule.verbs.join(",")]
        })
        .collect();
    table(&["API GROUP", "RESOURCES", "VERBS"], &rows, "  ")
}

/// Columns as wide as their widest cell, the last one unpadded.
fn table(head: &[&str], rows: &[Vec<String>], indent: &str) -> String {
    let head: Vec<String> = head.iter().map(|&title| title.to_owned()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for row in [&head].into_iter().chain(rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{indent}{}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_a_line_for_each_action() {
        let text = list();
        assert_eq!(text.lines().count(), catalogue::ALL.len() + 1);
        assert!(text.contains("rollback_deployment  Medium"), "{text}");
    }

    #[test]
    fn an_explanation_tells_parameters_risk_inverse_and_permissions() {
        let text = explain("update_resources").unwrap();
        for part in [
            "memoryLimit",
            "Medium",
            "Undone by:",
            "deployments,statefulsets,daemonsets",
            "get,patch",
            "\"additionalProperties\": false",
        ] {
            assert!(text.contains(part), "{part} in:\n{text}");
        }
        assert_eq!(explain("rm_rf"), None);
    }
}
