//! Which policy is in force for each question, and asking it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use kubernaut_api::PolicyRecord;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Kind;
use crate::engine::{Compiled, Failure};
use crate::process::{Process, Program};
use crate::verdict::{self, Classified};

/// Most text of one policy, in bytes.
const MAX_TEXT: usize = 256 * 1024;

/// A policy that an administrator has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Where it came from, such as `ConfigMap rules`.
    pub source: String,
    /// Its files, by name.
    pub files: BTreeMap<String, String>,
}

/// What is in force after [`Policies::load`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// What was in force before.
    Unchanged,
    /// The embedded default.
    Default,
    /// The text that was given; its hash.
    InForce(String),
    /// Nothing: the question is denied until this is mended.
    Broken(String),
}

/// It is not known yet which policies there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policies have not been read yet")]
pub struct NotRead;

/// The three policies. Cheap to share; evaluations wait for nothing but their own policy.
pub struct Policies {
    program: Program,
    current: [RwLock<Option<Arc<Current>>>; 3],
}

struct Current {
    source: String,
    hash: String,
    rules: Rules,
}

enum Rules {
    Embedded,
    Own(Box<Process>),
    Broken(Failure),
}

/// The embedded policies, compiled when they are first asked.
static EMBEDDED: [LazyLock<Result<Compiled, Failure>>; 3] = [
    LazyLock::new(|| embedded(Kind::Approval)),
    LazyLock::new(|| embedded(Kind::Safety)),
    LazyLock::new(|| embedded(Kind::Classification)),
];

fn embedded(kind: Kind) -> Result<Compiled, Failure> {
    Compiled::new(kind.package(), &embedded_files(kind))
}

fn embedded_files(kind: Kind) -> BTreeMap<String, String> {
    [(format!("{kind}.rego"), kind.default_text().to_owned())].into()
}

impl Policies {
    /// Policies that are not known yet: every question is [`NotRead`] until [`Policies::load`].
    pub fn new(program: Program) -> Self {
        Self { program, current: Default::default() }
    }

    /// Puts in force what was found for one question: nothing is the embedded default, and two are one too many.
    /// The same text again costs nothing.
    pub async fn load(&self, kind: Kind, found: &[Text]) -> Loaded {
        let next = match found {
            [] => Current { source: "default".into(), hash: hash(&embedded_files(kind)), rules: Rules::Embedded },
            [text] => Current { source: text.source.clone(), hash: hash(&text.files), rules: self.own(kind, text) },
            several => {
                let sources: Vec<_> = several.iter().map(|text| text.source.as_str()).collect();
                let why = format!("there are several, and it is not known which counts: {}", sources.join(", "));
                Current { source: sources.join(", "), hash: String::new(), rules: Rules::Broken(Failure::Broken(why)) }
            }
        };
        let same = |now: &Arc<Current>| (&now.source, &now.hash) == (&next.source, &next.hash);
        if self.current(kind).as_ref().is_some_and(same) {
            return Loaded::Unchanged;
        }
        let (next, failure) = self.tried(kind, next).await;
        let loaded = match (&next.rules, failure) {
            (Rules::Broken(failure), _) => Loaded::Broken(failure.to_string()),
            (_, Some(failure)) => Loaded::Broken(failure.to_string()),
            (Rules::Embedded, None) => Loaded::Default,
            (Rules::Own(_), None) => Loaded::InForce(next.hash.clone()),
        };
        *self.place(kind).write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(next));
        loaded
    }

    fn own(&self, kind: Kind, text: &Text) -> Rules {
        let size: usize = text.files.values().map(String::len).sum();
        if text.files.is_empty() {
            Rules::Broken(Failure::Broken("it has no key that ends in .rego".into()))
        } else if size > MAX_TEXT {
            Rules::Broken(Failure::Broken(format!("it is longer than {MAX_TEXT} bytes")))
        } else {
            Rules::Own(Box::new(Process::new(self.program.clone(), kind.package(), &text.files)))
        }
    }

    /// Tries a policy on an example, so that what is broken shows now and not at three in the morning. What
    /// lacked only time or a process is asked all the same when it counts: by then it may have them.
    async fn tried(&self, kind: Kind, mut next: Current) -> (Current, Option<Failure>) {
        let Rules::Own(process) = &next.rules else { return (next, None) };
        let example = serde_json::from_str(kind.example()).unwrap_or_default();
        let answer = Box::pin(process.evaluate(&example)).await;
        let sound = match kind {
            Kind::Classification => answer.and_then(|answer| verdict::classification(&answer).map(|_| ())),
            Kind::Approval | Kind::Safety => answer.and_then(|answer| verdict::read(kind, &answer).map(|_| ())),
        };
        match sound {
            Ok(()) => (next, None),
            Err(failure @ (Failure::NoProcess(_) | Failure::Slow)) => (next, Some(failure)),
            Err(failure) => {
                next.rules = Rules::Broken(failure);
                (next, None)
            }
        }
    }

    /// What the approval policy says of a plan; without an answer, that a person is asked.
    pub async fn approval(&self, input: Value) -> Result<PolicyRecord, NotRead> {
        self.record(Kind::Approval, input).await
    }

    /// What the safety policy says of an action; without an answer, that it is not done.
    pub async fn safety(&self, input: Value) -> Result<PolicyRecord, NotRead> {
        self.record(Kind::Safety, input).await
    }

    /// What the classification policy says of a signal; without an answer, why there is none.
    pub async fn classification(&self, input: Value) -> Result<Result<Classified, String>, NotRead> {
        let current = self.current(Kind::Classification).ok_or(NotRead)?;
        let answer = Box::pin(evaluate(Kind::Classification, &current, input)).await;
        let classified = answer.and_then(|answer| verdict::classification(&answer));
        Ok(classified
            .map(|class| (class, current.hash.clone()))
            .map_err(|failure| format!("the classification policy ({}) gives no answer: {failure}", current.source)))
    }

    async fn record(&self, kind: Kind, input: Value) -> Result<PolicyRecord, NotRead> {
        let current = self.current(kind).ok_or(NotRead)?;
        let answer = Box::pin(evaluate(kind, &current, input)).await;
        if let Err(failure) = &answer {
            tracing::warn!(policy = %kind, source = current.source, %failure, "a policy gave no answer, so it denies");
        }
        Ok(verdict::record(kind, &current.hash, &current.source, answer))
    }

    fn place(&self, kind: Kind) -> &RwLock<Option<Arc<Current>>> {
        &self.current[kind as usize]
    }

    fn current(&self, kind: Kind) -> Option<Arc<Current>> {
        self.place(kind).read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn evaluate(kind: Kind, current: &Current, input: Value) -> Result<Value, Failure> {
    match &current.rules {
        Rules::Broken(failure) => Err(failure.clone()),
        Rules::Own(process) => process.evaluate(&input).await,
        Rules::Embedded => {
            let mut compiled = EMBEDDED[kind as usize].clone()?;
            let evaluation = tokio::task::spawn_blocking(move || compiled.evaluate(&input));
            evaluation.await.map_err(|error| Failure::Failed(error.to_string()))?
        }
    }
}

/// SHA-256 over names and texts, in 64 hex digits.
fn hash(files: &BTreeMap<String, String>) -> String {
    let json = serde_json::to_vec(files).unwrap_or_default();
    Sha256::digest(json).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
