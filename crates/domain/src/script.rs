//! Registered scripts: which text may run, in what, as whom, with which parameters (R6.3). See `docs/scripts.md`.
//!
//! A registration is a ConfigMap of the operator's namespace, where only administrators write. The text is named by
//! its digest, so that what was approved is what runs, and is copied into the Job. Values reach it through the
//! environment and are never part of its text. Whatever does not fit as a whole is refused: nothing is matched by a
//! prefix, and unknown names count as mistakes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kubernaut_api::ResourceExt;
use kubernaut_api::execution::{ActionResult, Effect};
use kubernaut_api::k8s_openapi::api::core::v1::ConfigMap;
use kubernaut_api::labels::SCRIPT;
use regex::RegexBuilder;
use sha2::{Digest, Sha256};

use crate::catalogue::{RunScript, Values, is_argument, is_digest};
use crate::settings::ScriptSettings;

/// Name of the action that runs registered scripts.
pub const RUN_SCRIPT: &str = "run_script";
/// Key of the ConfigMap that holds the text.
pub const TEXT: &str = "script";
/// On the ConfigMap: the image to run it in.
pub const IMAGE: &str = "kubernaut.io/script-image";
/// On the ConfigMap: the ServiceAccount to run it as.
pub const SERVICE_ACCOUNT: &str = "kubernaut.io/script-service-account";
/// On the ConfigMap: a JSON object of the names of parameters to the regular expressions that their values must fit.
pub const PARAMETERS: &str = "kubernaut.io/script-parameters";
/// On the ConfigMap, and copied to the Job: the registered script that undoes this one, as `name@sha256:…`.
pub const INVERSE: &str = "kubernaut.io/script-inverse";
/// Longest text, in bytes: it is handed over as one environment variable.
const MAX_TEXT: usize = 64 * 1024;
/// Largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 64 * 1024;

/// A script that may run, snapshotted whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Name of its ConfigMap.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Image to run it in.
    pub image: String,
    /// ServiceAccount to run it as.
    pub service_account: String,
    /// Values by the names of their parameters.
    pub arguments: BTreeMap<String, String>,
    /// The script that undoes it, as `name@sha256:…`.
    pub inverse: Option<String>,
}

/// Why a script may not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// CamelCase word.
    pub error: &'static str,
    /// In words.
    pub message: String,
}

fn refused<T>(error: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { error, message: message.into() })
}

/// The digest of a text, as parameters and registrations name it.
pub fn digest(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::from("sha256:"), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Checks what is wanted against what is registered and allowed.
///
/// # Errors
/// The first thing that does not fit.
pub fn prepare(
    registered: Option<&ConfigMap>,
    wanted: &RunScript,
    settings: &ScriptSettings,
) -> Result<Script, Refusal> {
    let name = &wanted.script;
    let Some(map) = registered.filter(|map| map.labels().get(SCRIPT).map(String::as_str) == Some("true")) else {
        return refused("ScriptNotRegistered", format!("no ConfigMap {name} is labelled {SCRIPT}: \"true\""));
    };
    let Some(text) = map.data.as_ref().and_then(|data| data.get(TEXT)).filter(|text| !text.trim().is_empty()) else {
        return refused("ScriptNotRegistered", format!("ConfigMap {name} has no text under the key {TEXT}"));
    };
    if text.len() > MAX_TEXT || text.contains('\0') {
        return refused("ScriptInvalid", format!("the text of {name} is longer than 64 KiB or has a zero byte"));
    }
    let found = digest(text);
    if found != wanted.digest {
        let message = format!("the text of {name} has the digest {found}, the plan was made on {}", wanted.digest);
        return refused("ScriptChanged", message);
    }
    let annotation = |key: &str| map.annotations().get(key).map(String::as_str).unwrap_or_default();
    let (image, service_account) = (annotation(IMAGE), annotation(SERVICE_ACCOUNT));
    // Whole and nothing but whole: a prefix would let other registries and accounts through.
    if !settings.images.iter().any(|allowed| allowed == image && !image.is_empty()) {
        return refused("ScriptImageRefused", format!("image `{image}` of {name} is not in execution.scripts.images"));
    }
    if !settings.service_accounts.iter().any(|allowed| allowed == service_account && !service_account.is_empty()) {
        let message =
            format!("ServiceAccount `{service_account}` of {name} is not in execution.scripts.serviceAccounts");
        return refused("ScriptAccountRefused", message);
    }
    check_arguments(name, annotation(PARAMETERS), &wanted.arguments)?;
    let inverse = annotation(INVERSE);
    if !inverse.is_empty() && parse_inverse(inverse).is_none() {
        return refused("ScriptInvalid", format!("annotation {INVERSE} of {name} is not `name@sha256:…`"));
    }
    Ok(Script {
        name: name.clone(),
        text: text.clone(),
        image: image.to_owned(),
        service_account: service_account.to_owned(),
        arguments: wanted.arguments.clone(),
        inverse: (!inverse.is_empty()).then(|| inverse.to_owned()),
    })
}

fn check_arguments(script: &str, declared: &str, given: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let declared: BTreeMap<String, String> = match declared {
        "" => BTreeMap::new(),
        json => match serde_json::from_str(json) {
            Ok(declared) => declared,
            Err(error) => {
                return refused("ScriptInvalid", format!("annotation {PARAMETERS} of {script}: {error}"));
            }
        },
    };
    if let Some(unknown) = given.keys().find(|name| !declared.contains_key(*name)) {
        return refused("Invalid", format!("parameters.arguments.{unknown}: is not a parameter of script {script}"));
    }
    for (name, pattern) in &declared {
        if !is_argument(name) {
            return refused("ScriptInvalid", format!("{script} declares a parameter `{name}`: capitals, digits and _"));
        }
        // By itself first: `a)|(b` is no pattern, and would not be anchored by the brackets around it.
        let alone = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
        let whole = RegexBuilder::new(&format!(r"\A(?:{pattern})\z")).size_limit(MAX_PATTERN).build();
        let (Ok(_), Ok(whole)) = (alone, whole) else {
            return refused("ScriptInvalid", format!("the pattern of parameter {name} of {script} is not valid"));
        };
        let Some(value) = given.get(name) else {
            return refused("Invalid", format!("parameters.arguments.{name}: is required by script {script}"));
        };
        if value.contains('\0') || !whole.is_match(value) {
            return refused("Invalid", format!("parameters.arguments.{name}: must fit {pattern} as a whole"));
        }
    }
    Ok(())
}

/// Name and digest of an inverse.
fn parse_inverse(text: &str) -> Option<(&str, &str)> {
    text.split_once('@').filter(|(name, digest)| !name.is_empty() && is_digest(digest))
}

/// What is known before a script runs; it cannot be rehearsed.
pub fn rehearse(script: &Result<Script, Refusal>) -> ActionResult {
    let (effect, message, error) = match script {
        Ok(script) => (
            Effect::Changed,
            format!(
                "a script cannot be rehearsed: the digest and {} arguments of {} are as registered",
                script.arguments.len(),
                script.name
            ),
            None,
        ),
        Err(refusal) => (Effect::None, refusal.message.clone(), Some(refusal.error.to_owned())),
    };
    ActionResult { effect, message, error, before: Values::new(), target: None }
}

/// What the end of its container means: only exit code 0 is success, and anything else leaves open what was done.
///
/// `line` is the last line that it wrote; `inverse` stands on its Job.
pub fn result(exit_code: i32, line: &str, inverse: Option<&str>, wanted: &RunScript) -> ActionResult {
    let name = &wanted.script;
    let line = crate::redact::bounded(&crate::redact::redact(line.trim()), 512);
    let said = if line.is_empty() { String::new() } else { format!(": {line}") };
    if exit_code != 0 {
        return ActionResult {
            effect: Effect::Unknown,
            message: format!("script {name} ended with exit code {exit_code}{said}"),
            error: Some("ScriptFailed".into()),
            before: Values::new(),
            target: None,
        };
    }
    let mut before = Values::new();
    if let Some((inverse, digest)) = inverse.and_then(parse_inverse) {
        before.insert("script".into(), inverse.into());
        before.insert("digest".into(), digest.into());
        if !wanted.arguments.is_empty() {
            let arguments = wanted.arguments.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
            before.insert("arguments".into(), serde_json::Value::Object(arguments.collect()));
        }
    }
    ActionResult {
        effect: Effect::Changed,
        message: format!("ran script {name}{said}"),
        error: None,
        before,
        target: None,
    }
}
