//! What docs/policies.md shows is what the system asks, and its examples decide as they say.

use kubernaut_policy::{Kind, Loaded, Policies, Program, Text};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/policies.md");

/// The code after each mark `<!-- example: KIND WHAT -->`.
fn examples() -> Vec<(Kind, &'static str, &'static str)> {
    let marked = DOCUMENT.split("<!-- example: ").skip(1);
    let read = |text: &'static str| {
        let (mark, rest) = text.split_once(" -->").expect("a mark");
        let (kind, what) = mark.split_once(' ').expect("kind and what");
        let code = rest.split("```").nth(1).and_then(|code| code.split_once('\n')).expect("code").1;
        (Kind::named(kind).expect("a kind"), what, code)
    };
    marked.map(read).collect()
}

#[test]
fn the_inputs_shown_are_those_that_policies_are_tried_on() {
    for kind in Kind::ALL {
        let shown: Vec<_> = examples().into_iter().filter(|(of, what, _)| *of == kind && *what == "input").collect();
        assert_eq!(shown.len(), 1, "{kind}");
        let value = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(value(shown[0].2), value(kind.example()), "{kind}");
    }
}

#[tokio::test]
async fn each_policy_shown_decides_as_it_says() {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    let mut shown = 0;
    for (kind, expect, rego) in examples().into_iter().filter(|(_, what, _)| *what != "input") {
        let policies = Policies::new(Program { path: folder.join("examples/worker"), arguments: vec![] });
        let shown_text = Text { source: "docs".into(), files: [("shown.rego".to_owned(), rego.to_owned())].into() };
        let loaded = policies.load(kind, &[shown_text]).await;
        assert!(matches!(loaded, Loaded::InForce(_)), "{kind}: {loaded:?}");
        let input = serde_json::from_str(kind.example()).unwrap();
        let decided = match kind {
            Kind::Approval => format!("{:?}", policies.approval(input).await.unwrap().decision).to_lowercase(),
            Kind::Safety => format!("{:?}", policies.safety(input).await.unwrap().decision).to_lowercase(),
            Kind::Classification => policies.classification(input).await.unwrap().unwrap().0.priority,
        };
        assert_eq!(decided, expect, "{kind}");
        shown += 1;
    }
    assert_eq!(shown, 3);
}
