//! Conditions of steps: CEL over what the steps before have done, and nothing else.
//!
//! `steps.<name>` has `phase` (`Completed`, `Failed`, `Cancelled` or `Skipped`), `effect` (`Changed`, `Unchanged`,
//! `None`, `Unknown`) and `reason`, all strings. Which steps an expression names is known without running it: a
//! name stands behind `steps.`, or as a text in `steps['...']`. Deliberately absent: macros that go over lists,
//! regular expressions, and whatever else could run long or see more than those words.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::{Context, Program, Value};
use kubernaut_api::workflow::StepStatus;

/// Longest expression, in characters.
const MAX_LENGTH: usize = 512;
/// Deepest nesting of brackets.
const MAX_DEPTH: usize = 16;

/// Operators and functions that an expression may use.
const ALLOWED: &[&str] = &[
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::ADD,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::IN,
    "size",
    "contains",
    "startsWith",
    "endsWith",
];

/// A sound expression.
#[derive(Debug)]
pub(super) struct Condition {
    program: Program,
    /// The steps that it names.
    pub steps: BTreeSet<String>,
}

impl Condition {
    /// Reads an expression; what is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.chars().count() > MAX_LENGTH {
            return Err(format!("may have at most {MAX_LENGTH} characters"));
        }
        if depth(text) > MAX_DEPTH {
            return Err(format!("may be nested {MAX_DEPTH} deep at most"));
        }
        // The parser is somebody else's, and the text comes from outside.
        let program = catch_unwind(AssertUnwindSafe(|| Program::compile(text)))
            .map_err(|_| "is no CEL expression".to_owned())?
            .map_err(|error| {
                let words: Vec<_> = error.to_string().split_whitespace().map(str::to_owned).collect();
                format!("is no CEL expression: {}", words.join(" "))
            })?;
        let mut steps = BTreeSet::new();
        walk(program.expression(), &mut steps)?;
        Ok(Self { program, steps })
    }

    /// Whether it holds of these steps; an error when it does not give a truth value.
    pub fn holds<'a>(&self, steps: impl IntoIterator<Item = &'a StepStatus>) -> Result<bool, String> {
        let seen: HashMap<String, HashMap<String, String>> =
            steps.into_iter().map(|step| (step.name.clone(), facts(step))).collect();
        let mut context = Context::default();
        context.add_variable_from_value("steps", seen);
        match catch_unwind(AssertUnwindSafe(|| self.program.execute(&context))) {
            Ok(Ok(Value::Bool(holds))) => Ok(holds),
            Ok(Ok(_)) => Err("gives no truth value".into()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("cannot be evaluated".into()),
        }
    }
}

fn facts(step: &StepStatus) -> HashMap<String, String> {
    let phase = match (step.skipped, step.phase) {
        (true, _) => "Skipped".to_owned(),
        (false, phase) => phase.map(|phase| phase.to_string()).unwrap_or_default(),
    };
    let effect = step.effect.map(|effect| format!("{effect:?}")).unwrap_or_default();
    let reason = step.reason.clone().unwrap_or_default();
    [("phase", phase), ("effect", effect), ("reason", reason)].map(|(name, value)| (name.to_owned(), value)).into()
}

/// How deep brackets, and what else the parser recurses on, are nested; those within texts count too.
fn depth(text: &str) -> usize {
    let (mut open, mut deepest, mut signs) = (0usize, 0, 0);
    for character in text.chars() {
        match character {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        signs = match character {
            '!' | '-' | '?' => signs + 1,
            ' ' => signs,
            _ => 0,
        };
        deepest = deepest.max(open + signs);
    }
    deepest
}

/// Takes the steps that an expression names, and refuses what it may not use.
fn walk(node: &IdedExpr, steps: &mut BTreeSet<String>) -> Result<(), String> {
    if let Some(name) = named(node) {
        steps.insert(name);
        return Ok(());
    }
    match &node.expr {
        Expr::Literal(_) => Ok(()),
        Expr::Select(select) => walk(&select.operand, steps),
        Expr::List(list) => list.elements.iter().try_for_each(|element| walk(element, steps)),
        Expr::Call(call) if call.func_name == operators::INDEX || ALLOWED.contains(&call.func_name.as_str()) => {
            call.target.iter().try_for_each(|target| walk(target, steps))?;
            call.args.iter().try_for_each(|argument| walk(argument, steps))
        }
        Expr::Call(call) => Err(format!("may not use {}", call.func_name.trim_matches(['_', '@']))),
        Expr::Ident(name) if name == "steps" => Err("must name a step behind steps, as in steps.probe.effect".into()),
        Expr::Ident(name) => Err(format!("knows steps only, not {name}")),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => walk(&entry.key, steps).and_then(|()| walk(&entry.value, steps)),
            EntryExpr::StructField(_) => Err("may not make objects".into()),
        }),
        Expr::Comprehension(_) => Err("may not go over lists".into()),
        Expr::Struct(_) | Expr::Unspecified => Err("may not make objects".into()),
    }
}

/// The step that `steps.<name>` or `steps['<name>']` names.
fn named(node: &IdedExpr) -> Option<String> {
    let is_steps = |node: &IdedExpr| matches!(&node.expr, Expr::Ident(name) if name == "steps");
    match &node.expr {
        Expr::Select(select) if is_steps(&select.operand) => Some(select.field.clone()),
        Expr::Call(CallExpr { func_name, args, target: None }) if func_name == operators::INDEX => match &args[..] {
            [map, key] if is_steps(map) => match &key.expr {
                Expr::Literal(LiteralValue::String(name)) => Some(name.inner().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kubernaut_api::ExecutionPhase;
    use kubernaut_api::execution::Effect;
    use proptest::prelude::*;

    use super::*;

    fn steps() -> Vec<StepStatus> {
        let step = |name: &str, phase: Option<ExecutionPhase>, effect: Option<Effect>| StepStatus {
            name: name.into(),
            phase,
            effect,
            reason: Some("TargetHealthy".into()),
            ..StepStatus::default()
        };
        vec![
            step("probe", Some(ExecutionPhase::Completed), Some(Effect::Unchanged)),
            step("two-words", Some(ExecutionPhase::Failed), Some(Effect::Unknown)),
            StepStatus { skipped: true, ..step("left-out", None, None) },
        ]
    }

    #[test]
    fn a_condition_is_about_what_the_steps_before_have_done() {
        for (text, expect) in [
            ("steps.probe.effect == 'Unchanged'", true),
            ("steps.probe.effect != 'Unchanged'", false),
            ("steps['two-words'].phase == 'Failed' && steps.probe.phase == 'Completed'", true),
            ("steps['left-out'].phase == 'Skipped'", true),
            ("steps.probe.phase in ['Failed', 'Cancelled']", false),
            ("!(steps.probe.reason.startsWith('Target'))", false),
            ("size(steps.probe.reason) > 3 ? true : false", true),
            ("has(steps.probe.effect)", true),
            ("true", true),
        ] {
            let condition = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(condition.holds(&steps()), Ok(expect), "{text}");
        }
    }

    #[test]
    fn the_steps_that_it_names_are_known_without_running_it() {
        let condition = Condition::parse("false && steps.a.phase == 'x' || steps['b-c'].effect == ''").unwrap();
        assert_eq!(condition.steps.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b-c"]);
    }

    #[test]
    fn what_could_run_long_or_see_more_is_refused() {
        for (text, why) in [
            ("", "is no CEL expression"),
            ("steps.probe.effect ==", "is no CEL expression"),
            ("steps", "must name a step"),
            ("size(steps) > 0", "must name a step"),
            ("steps[steps.probe.effect].phase == ''", "must name a step"),
            ("request.name == 'x'", "not request"),
            ("[1, 2].all(x, x > 0)", "may not go over lists"),
            ("steps.probe.reason.matches('(a+)+$')", "may not use matches"),
            ("timestamp('2020-01-01T00:00:00Z') < timestamp('2030-01-01T00:00:00Z')", "may not use timestamp"),
            ("Foo{a: 1} == Foo{a: 1}", "may not make objects"),
            ("((((((((((((((((((true))))))))))))))))))", "nested"),
            ("!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!true", "nested"),
        ] {
            let refused = Condition::parse(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(refused.contains(why), "{text}: {refused}");
        }
        assert!(Condition::parse(&"a".repeat(513)).is_err_and(|error| error.contains("512")));
    }

    #[test]
    fn what_gives_no_truth_value_does_not_hold() {
        for text in ["1", "'true'", "steps.probe.colour == 'red'", "steps.gone.phase == ''", "steps.probe.phase > 1"] {
            let condition = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(condition.holds(&steps()).is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_is_too_odd_to_be_judged(
            text in prop_oneof![
                "\\PC{0,80}",
                "[\\[\\](){}!?:.,'\"a-c0-9 =&|<>+*/%-]{0,120}",
                "(steps|has|in|true|null|\\.|\\[|'|\\(|\\)|a|==|&&|\\?|:| ){0,60}",
            ],
        ) {
            if let Ok(condition) = Condition::parse(&text) {
                let _ = condition.holds(&steps());
            }
        }
    }
}
