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
