//! Renders the table of all settings from the schema, so that the documentation cannot lag the code.

use std::fmt::Write;

use schemars::schema_for;
use serde_json::Value;
use serde_yaml_ng::Value as Yaml;

use super::Config;

/// A Markdown document: the table of every setting with its path, type, default and meaning, in the
/// order of the file.
pub fn reference() -> String {
    let schema = schema_for!(Config).to_value();
    // The defaults come as YAML because its mappings keep the order of the fields.
    let defaults = serde_yaml_ng::to_value(Config::default()).unwrap_or_default();
    let mut table = "# Configuration\n\n\
        Generated from the code by `make generate`. Every setting is optional. A wrong or unknown one stops the \
        program at its start with the setting's path.\nWith Helm, the settings stand under `config:` in the values.\n\n\
        | Setting | Type | Default | Meaning |\n|---|---|---|---|\n"
        .to_owned();
    rows(&mut table, &schema, &schema, &defaults, "");
    table
}

fn rows(table: &mut String, root: &Value, schema: &Value, defaults: &Yaml, prefix: &str) {
    let Yaml::Mapping(fields) = defaults else { return };
    for (name, default) in fields {
        let name = name.as_str().unwrap_or_default();
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let field = &schema["properties"][name];
        let resolved = resolve(root, field);
        if default.is_mapping() {
            rows(table, root, resolved, default, &path);
        } else {
            // Writing to a String does not fail.
            let _ =
                writeln!(table, "| `{path}` | {} | {} | {} |", kind(root, resolved), shown(default), meaning(field));
        }
    }
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    schema["$ref"].as_str().and_then(|reference| root.pointer(reference.trim_start_matches('#'))).unwrap_or(schema)
}

fn kind(root: &Value, schema: &Value) -> String {
    if let Some(choices) = schema["oneOf"].as_array().or(schema["enum"].as_array()) {
        let choices: Vec<_> = choices
            .iter()
            .filter_map(|choice| choice["const"].as_str().or(choice.as_str()))
            .map(|choice| format!("`{choice}`"))
            .collect();
        return choices.join(", ");
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("array"), _) => format!("list of {}", kind(root, resolve(root, &schema["items"]))),
        (Some("string"), Some("duration")) => "duration".to_owned(),
        (Some(kind), _) => kind.to_owned(),
        (None, _) => "any".to_owned(),
    }
}

fn shown(default: &Yaml) -> String {
    match default {
        Yaml::String(text) if text.is_empty() => "empty".to_owned(),
        Yaml::Sequence(items) if items.is_empty() => "empty".to_owned(),
        Yaml::Sequence(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => format!("`{}`", serde_yaml_ng::to_string(other).unwrap_or_default().trim().trim_matches('\'')),
    }
}

fn meaning(field: &Value) -> String {
    field["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_row_for_each_kind_of_setting() {
        let table = reference();
        for row in [
            "| `dryRun` | boolean | `false` | Make every request a dry run, also those made by hand: nothing is changed, status says what would have been done. |",
            "| `scope` | `labelled`, `all` | `labelled` | Which workloads may be remediated: ",
            "| `roles` | list of `gateway`, `controllers`, `relay` | `gateway`, `controllers`, `relay` | What this process runs. |",
            "| `gateway.listen` | string | `0.0.0.0:8080` | Address and port to listen on. |",
            "| `timeouts.request` | duration | `1h` | The whole remediation, from signal to outcome. |",
            "| `approval.rejectBelow` | number | `0.7` | A plan with a confidence below this is refused; between the two a person is asked. |",
            "| `gateway.authentication.mode` | `token`, `none` | `token` | How senders prove who they are; ",
        ] {
            assert!(table.contains(row), "{row}\nis not in\n{table}");
        }
    }

    #[test]
    fn every_row_has_a_type_a_default_and_a_meaning_and_the_order_is_the_files() {
        let table = reference();
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
        assert!(rows[0].starts_with("| `cluster`"));
        assert!(rows.last().unwrap().starts_with("| `kubernetes.requestTimeout`"));
        for row in rows {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 4, "{row}");
            assert!(cells.iter().all(|cell| !cell.is_empty() && *cell != "any" && *cell != "``"), "{row}");
        }
    }
}
