//! Parameters as a table: the one source of the JSON Schema, the check and the printed help.

use serde_json::{Map, Value, json};

use super::{Problem, Quantity, Values};

/// One parameter of an action.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Name, in camelCase.
    pub name: &'static str,
    /// What it may hold.
    pub holds: ParameterType,
    /// Whether it must be given.
    pub required: bool,
    /// What it means.
    pub description: &'static str,
}

/// What a parameter may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterType {
    /// A whole number within bounds.
    Integer {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// Name of an object (RFC 1123 subdomain, at most 253 characters).
    Name,
    /// Name of a container (RFC 1123 label, at most 63 characters).
    Label,
    /// Uid of an object.
    Uid,
    /// A Kubernetes quantity above zero, such as `256Mi` or `500m`.
    Quantity,
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Key of a label or taint: a name of at most 63 characters, with an optional DNS prefix and `/`.
    LabelKey,
    /// Value of a label or taint: empty, or at most 63 characters.
    LabelValue,
    /// Keys of a ConfigMap to texts, or null: an object with at least one.
    Settings,
    /// SHA-256 of a text, as `sha256:` and 64 hex digits.
    Digest,
    /// Names in capitals to short texts.
    Arguments,
}

impl ParameterType {
    /// What is expected, as the end of a sentence that begins with the field's name.
    pub fn expectation(self) -> String {
        match self {
            Self::Integer { min, max: i64::MAX } => format!("must be an integer ≥ {min}"),
            Self::Integer { min, max } => format!("must be an integer from {min} to {max}"),
            Self::Name => "must be the name of an object".into(),
            Self::Label => "must be a name of at most 63 lower-case letters, digits and '-'".into(),
            Self::Uid => "must be a uid".into(),
            Self::Quantity => "must be a quantity above zero, such as 256Mi or 500m".into(),
            Self::Boolean => "must be true or false".into(),
            Self::OneOf(words) => format!("must be {}", words.join(" or ")),
            Self::LabelKey => "must be a key such as example.com/name".into(),
            Self::LabelValue => "must be at most 63 letters, digits, '-', '_' and '.', or empty".into(),
            Self::Settings => "must be an object of keys (letters, digits, '-', '_', '.') to strings or null".into(),
            Self::Digest => "must be sha256: and 64 hex digits in lower case".into(),
            Self::Arguments => {
                "must be an object of names (capitals, digits, '_') to strings of at most 1,024 characters".into()
            }
        }
    }

    /// Whether a value is what it may hold.
    pub(crate) fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Integer { min, max } => value.as_i64().is_some_and(|number| (min..=max).contains(&number)),
            Self::Name => value.as_str().is_some_and(is_name),
            Self::Label => value.as_str().is_some_and(|name| name.len() <= 63 && is_label(name)),
            Self::Uid => value.as_str().is_some_and(is_uid),
            Self::Quantity => {
                value.as_str().and_then(|text| Quantity::parse(text).ok()).is_some_and(Quantity::is_positive)
            }
            Self::Boolean => value.is_boolean(),
            Self::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::LabelKey => value.as_str().is_some_and(|key| match key.split_once('/') {
                Some((prefix, name)) => is_name(prefix) && is_qualified(name),
                None => is_qualified(key),
            }),
            Self::LabelValue => value.as_str().is_some_and(|text| text.is_empty() || is_qualified(text)),
            Self::Settings => value.as_object().is_some_and(|settings| {
                !settings.is_empty()
                    && settings.iter().all(|(key, value)| is_config_key(key) && (value.is_string() || value.is_null()))
            }),
            Self::Digest => value.as_str().is_some_and(is_digest),
            Self::Arguments => value.as_object().is_some_and(|arguments| {
                arguments.len() <= 32
                    && arguments.iter().all(|(name, value)| {
                        is_argument(name) && value.as_str().is_some_and(|text| text.chars().count() <= 1024)
                    })
            }),
        }
    }

    fn schema(self) -> Value {
        match self {
            Self::Integer { min, max: i64::MAX } => json!({"type": "integer", "minimum": min}),
            Self::Integer { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Self::Name => json!({
                "type": "string",
                "maxLength": 253,
                "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
            }),
            Self::Label => json!({"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}),
            Self::Uid => json!({"type": "string", "maxLength": 128, "pattern": "^[-a-zA-Z0-9]+$"}),
            Self::Quantity => json!({
                "type": "string",
                "maxLength": 32,
                "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
            }),
            Self::Boolean => json!({"type": "boolean"}),
            Self::OneOf(words) => json!({"type": "string", "enum": words}),
            Self::LabelKey => json!({
                "type": "string",
                "maxLength": 317,
                "pattern": r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
            }),
            Self::LabelValue => json!({
                "type": "string",
                "maxLength": 63,
                "pattern": r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
            }),
            Self::Settings => json!({
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"maxLength": 253, "pattern": "^[-._a-zA-Z0-9]+$"},
                "additionalProperties": {"type": ["string", "null"]},
            }),
            Self::Digest => json!({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}),
            Self::Arguments => json!({
                "type": "object",
                "maxProperties": 32,
                "propertyNames": {"pattern": "^[A-Z][A-Z0-9_]{0,62}$"},
                "additionalProperties": {"type": "string", "maxLength": 1024},
            }),
        }
    }
}

/// The JSON Schema of a table of parameters.
pub fn schema(table: &[Parameter]) -> Value {
    let properties: Map<String, Value> = table
        .iter()
        .map(|parameter| {
            let mut property = parameter.holds.schema();
            property["description"] = parameter.description.into();
            (parameter.name.to_owned(), property)
        })
        .collect();
    let required: Vec<&str> =
        table.iter().filter(|parameter| parameter.required).map(|parameter| parameter.name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// What is missing, unknown or does not fit, field by field.
pub fn problems(table: &[Parameter], values: &Values) -> Vec<Problem> {
    let known = table.iter().filter_map(|parameter| {
        let field = format!("parameters.{}", parameter.name);
        match values.get(parameter.name) {
            None if parameter.required => {
                Some(Problem::new(field, format!("is required; {}", parameter.holds.expectation())))
            }
            Some(value) if !parameter.holds.accepts(value) => Some(Problem::new(field, parameter.holds.expectation())),
            _ => None,
        }
    });
    let unknown = values
        .keys()
        .filter(|name| !table.iter().any(|parameter| parameter.name == name.as_str()))
        .map(|name| Problem::new(format!("parameters.{name}"), "is not a parameter of this action"));
    known.chain(unknown).collect()
}

fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// The part of a label's key behind the prefix, and its value.
fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_config_key(text: &str) -> bool {
    (1..=253).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// As it is written into parameters and registrations: `sha256:` and 64 hex digits.
pub(crate) fn is_digest(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && digits.bytes().all(hex))
}

/// Name of an argument of a script: it becomes part of the name of an environment variable.
pub(crate) fn is_argument(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_uppercase)
        && bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
}

fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

fn is_uid(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
