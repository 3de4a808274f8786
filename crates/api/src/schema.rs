//! Pieces of schema that the derive cannot say.

use schemars::{Schema, SchemaGenerator, json_schema};

/// An object of any content, at most 64 fields, that the API server keeps as it is.
pub fn free_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 64, "x-kubernetes-preserve-unknown-fields": true})
}

/// Labels or annotations: at most 64 entries of at most 1,024 characters.
pub fn bounded_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 1024},
    })
}

/// A Go duration such as `90s`, `5m` or `1h30m`, as `metav1.Duration` writes it.
pub fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$",
    })
}

/// As [`duration`], and may be absent.
pub fn optional_duration(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = duration(generator);
    schema.insert("nullable".into(), true.into());
    schema
}

/// Any JSON value, kept as it is.
pub fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// CEL: these fields of the spec do not change. Required ones are always there, optional ones perhaps.
pub fn unchanged(required: &[&str], optional: &[&str]) -> String {
    let required = required.iter().map(|field| format!("self.spec.{field} == oldSelf.spec.{field}"));
    let optional = optional.iter().map(|field| {
        let (new, old) = (format!("self.spec.{field}"), format!("oldSelf.spec.{field}"));
        format!("has({new}) == has({old}) && (!has({new}) || {new} == {old})")
    });
    required.chain(optional).collect::<Vec<_>>().join(" && ")
}
