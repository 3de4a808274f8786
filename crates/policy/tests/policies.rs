//! Policies as administrators write them, evaluated in a process of their own (R5.2: missing, failing,
//! undefined and slow deny), and the embedded ones.

use std::time::{Duration, Instant};

use kubernaut_api::{PolicyDecision, PolicyRecord};
use kubernaut_policy::{Kind, Loaded, NotRead, Policies, Program, Text};
use serde_json::{Value, json};

/// The example `worker`, which Cargo builds beside the tests.
fn program() -> Program {
    let test = std::env::current_exe().expect("a test is a program");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("it is in deps");
    Program { path: folder.join("examples/worker"), arguments: vec![] }
}

fn text(rego: &str) -> Text {
    Text { source: "ConfigMap rules".into(), files: [("rules.rego".to_owned(), rego.to_owned())].into() }
}

fn example(kind: Kind) -> Value {
    serde_json::from_str(kind.example()).expect("JSON")
}

/// Policies with this one in place of the default.
async fn with(kind: Kind, rego: &str) -> (Policies, Loaded) {
    let policies = Policies::new(program());
    let loaded = policies.load(kind, &[text(rego)]).await;
    (policies, loaded)
}

async fn ask(policies: &Policies, kind: Kind, input: Value) -> PolicyRecord {
    match kind {
        Kind::Approval => policies.approval(input).await,
        _ => policies.safety(input).await,
    }
    .expect("it is known")
}

/// A policy that gives no answer: a plan is asked about, an action is not done, and the record says why.
async fn check_denies(rego: &str, why: &str) {
    for (kind, decision) in [(Kind::Approval, PolicyDecision::Ask), (Kind::Safety, PolicyDecision::Deny)] {
        let rego = rego.replace("PACKAGE", kind.package());
        let (policies, loaded) = with(kind, &rego).await;
        assert!(matches!(&loaded, Loaded::Broken(told) if told.contains(why)), "{rego}: {loaded:?} names {why:?}");
        for _ in 0..2 {
            let record = ask(&policies, kind, example(kind)).await;
            assert_eq!(record.decision, decision, "{rego}");
            assert!(record.messages[0].contains(why), "{:?} names {why:?}", record.messages);
        }
    }
}

#[tokio::test]
async fn a_policy_decides_with_its_own_words_and_its_hash() {
    let rego = r#"package kubernaut.safety
        default decision := "allow"
        decision := "deny" if input.action == "scale_deployment"
        messages := ["not on fridays"] if decision == "deny""#;
    let (policies, loaded) = with(Kind::Safety, rego).await;
    let record = policies.safety(example(Kind::Safety)).await.unwrap();
    assert_eq!(loaded, Loaded::InForce(record.hash.clone()));
    assert_eq!((record.decision, record.hash.len()), (PolicyDecision::Deny, 64));
    assert_eq!(record.messages, ["not on fridays"]);
    assert_eq!(record.source, "ConfigMap rules");
    let other = policies.safety(json!({"action": "restart_pod"})).await.unwrap();
    assert_eq!((other.decision, other.messages), (PolicyDecision::Allow, vec![]));
}

#[tokio::test]
async fn a_policy_that_says_nothing_denies() {
    check_denies("package PACKAGE\nreason := 1", "decision is undefined").await;
    check_denies("package PACKAGE\ndecision := \"allow\" if input.never", "decision is undefined").await;
}

#[tokio::test]
async fn a_policy_that_says_something_else_denies() {
    for (rego, why) in [
        ("decision := \"yes\"", "decision is \"yes\""),
        ("decision := \"Allow\"", "decision is \"Allow\""),
        ("decision := true", "decision is no string"),
        ("decision := \"allow\"\nmessages := 3", "messages is neither"),
        ("decision := \"allow\"\napprovers := 3", "approvers is neither 1 nor 2"),
        ("decision := \"allow\"\napprovers := 0", "approvers is neither 1 nor 2"),
        ("allow := true", "decision is undefined"),
    ] {
        check_denies(&format!("package PACKAGE\n{rego}"), why).await;
    }
}

#[tokio::test]
async fn safety_has_nobody_to_ask() {
    let (policies, _) = with(Kind::Safety, "package kubernaut.safety\ndecision := \"ask\"").await;
    assert_eq!(policies.safety(example(Kind::Safety)).await.unwrap().decision, PolicyDecision::Deny);
}

#[tokio::test]
async fn a_policy_that_is_broken_denies_and_names_the_line() {
    check_denies("package PACKAGE\n\ndecision := {", "rules.rego:3:").await;
    check_denies("package PACKAGE\n\ndecision := \"allow\" if {\n  no_such_function(1)\n}", "rules.rego:4:").await;
    check_denies("package somewhere.else\ndecision := \"allow\"", "no `package kubernaut.").await;
    check_denies("", "rules.rego").await;
}

#[tokio::test]
async fn a_policy_that_fails_denies() {
    check_denies("package PACKAGE\ndecision := \"allow\"\nx := 1 / 0", "divide by zero").await;
    check_denies("package PACKAGE\ndecision := \"allow\"\ndecision := \"deny\"", "conflict").await;
    // Nothing of the outside world is there to be asked.
    check_denies(
        "package PACKAGE\ndecision := http.send({\"url\": \"http://10.0.0.1\"}).body",
        "could not find function",
    )
    .await;
    check_denies("package PACKAGE\ndecision := opa.runtime().env.TOKEN", "could not find function").await;
}

#[tokio::test]
async fn a_policy_that_is_slow_denies_in_time() {
    for rego in [
        "x := count([1 | some i in numbers.range(1, 9000); some j in numbers.range(1, 9000); i == j])",
        // One built-in function that no timer interrupts: the process is ended by force.
        "x := count(sprintf(\"%0100000000d\", [1]))",
    ] {
        let (policies, loaded) =
            with(Kind::Safety, &format!("package kubernaut.safety\ndecision := \"allow\"\n{rego}")).await;
        assert!(matches!(loaded, Loaded::Broken(_)), "{loaded:?}");
        let begun = Instant::now();
        let record = policies.safety(example(Kind::Safety)).await.unwrap();
        assert_eq!(record.decision, PolicyDecision::Deny, "{rego}: {:?}", record.messages);
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_policy_that_would_end_a_process_ends_its_own_only() {
    for rego in [
        "f(x) := f(x + 1)\ndecision := f(0)",
        "decision := \"allow\"\nx := count(numbers.range(1, 1000000000))",
        &format!("decision := \"allow\"\nx := {}1", "-".repeat(900)),
    ] {
        let (policies, loaded) = with(Kind::Approval, &format!("package kubernaut.approval\n{rego}")).await;
        assert!(matches!(loaded, Loaded::Broken(_)), "{rego}: {loaded:?}");
        assert_eq!(policies.approval(example(Kind::Approval)).await.unwrap().decision, PolicyDecision::Ask);
    }
}

#[tokio::test]
async fn a_policy_whose_process_was_killed_is_asked_in_a_new_one() {
    // Ends its process on one input only.
    let rego = "package kubernaut.safety\ndefault decision := \"allow\"\nf(x) := f(x + 1)\ndecision := f(0) if input.step == \"deadly\"";
    let (policies, loaded) = with(Kind::Safety, rego).await;
    assert!(matches!(loaded, Loaded::InForce(_)), "{loaded:?}");
    for _ in 0..2 {
        let dead = policies.safety(json!({"step": "deadly"})).await.unwrap();
        assert_eq!(dead.decision, PolicyDecision::Deny);
        assert!(dead.messages[0].contains("its process ended"), "{:?}", dead.messages);
        assert_eq!(policies.safety(json!({"step": "fine"})).await.unwrap().decision, PolicyDecision::Allow);
    }
}

#[tokio::test]
async fn without_a_process_to_evaluate_it_a_policy_denies() {
    let policies = Policies::new(Program { path: "/nowhere/kubernaut".into(), arguments: vec![] });
    let loaded = policies.load(Kind::Safety, &[text("package kubernaut.safety\ndecision := \"allow\"")]).await;
    assert!(matches!(&loaded, Loaded::Broken(why) if why.contains("cannot be evaluated")), "{loaded:?}");
    assert_eq!(policies.safety(example(Kind::Safety)).await.unwrap().decision, PolicyDecision::Deny);
}

#[tokio::test]
async fn before_the_policies_are_known_nothing_is_decided() {
    let policies = Policies::new(program());
    assert_eq!(policies.safety(json!({})).await, Err(NotRead));
    assert_eq!(policies.approval(json!({})).await, Err(NotRead));
    assert_eq!(policies.classification(json!({})).await, Err(NotRead));
}

#[tokio::test]
async fn a_policy_is_replaced_while_running_and_its_default_comes_back() {
    let policies = Policies::new(program());
    let allow = json!({"action": "restart_pod", "namespace": {"name": "shop", "labels": {}}});
    assert_eq!(policies.load(Kind::Safety, &[]).await, Loaded::Default);
    let default = policies.safety(allow.clone()).await.unwrap();
    assert_eq!((default.decision, default.source.as_str()), (PolicyDecision::Allow, "default"));

    let own = text("package kubernaut.safety\ndecision := \"deny\"");
    assert!(matches!(policies.load(Kind::Safety, std::slice::from_ref(&own)).await, Loaded::InForce(_)));
    assert_eq!(policies.load(Kind::Safety, std::slice::from_ref(&own)).await, Loaded::Unchanged);
    assert_eq!(policies.safety(allow.clone()).await.unwrap().decision, PolicyDecision::Deny);

    // What is broken does not leave the one before it in force.
    let loose = text("package kubernaut.safety\ndecision := \"allow\"");
    policies.load(Kind::Safety, std::slice::from_ref(&loose)).await;
    assert_eq!(policies.safety(allow.clone()).await.unwrap().decision, PolicyDecision::Allow);
    policies.load(Kind::Safety, &[text("package kubernaut.safety\ndecision := ")]).await;
    assert_eq!(policies.safety(allow.clone()).await.unwrap().decision, PolicyDecision::Deny);

    // Nobody can say which of two counts.
    let second = Text { source: "ConfigMap others".into(), ..loose.clone() };
    assert!(
        matches!(policies.load(Kind::Safety, &[loose, second]).await, Loaded::Broken(why) if why.contains("others"))
    );
    assert_eq!(policies.safety(allow.clone()).await.unwrap().decision, PolicyDecision::Deny);

    assert_eq!(policies.load(Kind::Safety, &[]).await, Loaded::Default);
    assert_eq!(policies.safety(allow).await.unwrap(), default);
}

#[tokio::test]
async fn a_policy_without_text_or_with_too_much_denies() {
    let policies = Policies::new(program());
    let none = Text { source: "ConfigMap rules".into(), files: [].into() };
    assert!(matches!(policies.load(Kind::Safety, &[none]).await, Loaded::Broken(why) if why.contains(".rego")));
    assert_eq!(policies.safety(json!({})).await.unwrap().decision, PolicyDecision::Deny);
    let long = format!("package kubernaut.safety\ndecision := \"allow\"\n{}", "# long\n".repeat(40_000));
    assert!(matches!(policies.load(Kind::Safety, &[text(&long)]).await, Loaded::Broken(why) if why.contains("longer")));
}

#[tokio::test]
async fn what_a_policy_says_at_length_is_cut() {
    let rego = "package kubernaut.safety\ndecision := \"deny\"\nmessages := [sprintf(\"%02000d\", [i]) | some i in numbers.range(1, 50)]";
    let record = with(Kind::Safety, rego).await.0.safety(json!({})).await.unwrap();
    assert_eq!(record.messages.len(), 16);
    assert!(record.messages.iter().all(|message| message.chars().count() == 512));
}

async fn defaults() -> Policies {
    let policies = Policies::new(program());
    for kind in Kind::ALL {
        assert_eq!(policies.load(kind, &[]).await, Loaded::Default);
    }
    policies
}

#[tokio::test]
async fn the_default_asks_about_production_and_high_risk() {
    let policies = defaults().await;
    let labelled = |labels: Value| {
        let mut input = example(Kind::Approval);
        input["steps"][0]["namespace"]["labels"] = labels;
        input
    };
    for (labels, decision) in [
        (json!({}), PolicyDecision::Allow),
        (json!({"environment": "staging"}), PolicyDecision::Allow),
        (json!({"environment": "production"}), PolicyDecision::Ask),
        (json!({"environment": "Prod"}), PolicyDecision::Ask),
        (json!({"kubernaut.io/environment": "production"}), PolicyDecision::Ask),
        (json!({"team": "production"}), PolicyDecision::Allow),
        (json!(null), PolicyDecision::Ask),
    ] {
        let record = policies.approval(labelled(labels.clone())).await.unwrap();
        assert_eq!(record.decision, decision, "{labels}: {:?}", record.messages);
    }
    let mut risky = labelled(json!({}));
    risky["risk"] = json!("High");
    let record = policies.approval(risky).await.unwrap();
    assert_eq!(record.messages, ["the plan is of high risk"]);
    let mut node = labelled(json!({}));
    node["steps"][0]["namespace"] = Value::Null;
    assert_eq!(policies.approval(node).await.unwrap().decision, PolicyDecision::Allow);
}

#[tokio::test]
async fn any_step_in_production_counts() {
    let mut input = example(Kind::Approval);
    let mut second = input["steps"][0].clone();
    input["steps"][0]["namespace"]["labels"] = json!({});
    second["namespace"]["name"] = json!("other");
    input["steps"].as_array_mut().unwrap().push(second);
    let record = defaults().await.approval(input).await.unwrap();
    assert_eq!(record.messages, ["namespace other is labelled as production"]);
}

#[tokio::test]
async fn the_default_keeps_out_of_protected_namespaces_and_does_not_empty_production() {
    let policies = defaults().await;
    let with = |change: fn(&mut Value)| {
        let mut input = example(Kind::Safety);
        change(&mut input);
        input
    };
    for (input, decision) in [
        (with(|_| ()), PolicyDecision::Deny),
        (with(|input| input["parameters"]["replicas"] = json!(1)), PolicyDecision::Allow),
        (with(|input| input["environment"] = json!("unknown")), PolicyDecision::Allow),
        (with(|input| input["namespace"]["labels"] = Value::Null), PolicyDecision::Deny),
        (with(|input| input["namespace"] = Value::Null), PolicyDecision::Deny),
    ] {
        assert_eq!(policies.safety(input.clone()).await.unwrap().decision, decision, "{input}");
    }
    let protected = with(|input| {
        input["action"] = json!("restart_pod");
        input["namespace"]["labels"] = json!({"kubernaut.io/protected": "true"});
    });
    let record = policies.safety(protected).await.unwrap();
    assert_eq!(record.decision, PolicyDecision::Deny);
    assert_eq!(record.messages, ["namespace shop is labelled kubernaut.io/protected"]);
}

#[tokio::test]
async fn text_from_outside_is_data_to_the_default() {
    let policies = defaults().await;
    let mut input = example(Kind::Approval);
    for text in ["\"} decision := \"allow\"", "allow", "{{ decision }}", "ignore all rules; decision is allow\n"] {
        for place in ["namespace", "decision", "alertname"] {
            input["signal"]["labels"][place] = json!(text);
        }
        input["cause"] = json!(text);
        input["steps"][0]["parameters"]["note"] = json!(text);
        assert_eq!(policies.approval(input.clone()).await.unwrap().decision, PolicyDecision::Ask, "{text}");
    }
}

#[tokio::test]
async fn a_classification_of_ones_own_changes_what_it_names() {
    let rego = r#"package kubernaut.classification
        severity := input.builtin.severity
        priority := "P3" if input.signal.labels.team == "checkout"
        environment := input.builtin.environment
        signal_type := input.builtin.signalType
        resource_type := input.builtin.resourceType"#;
    let (policies, loaded) = with(Kind::Classification, rego).await;
    let (class, hash) = policies.classification(example(Kind::Classification)).await.unwrap().unwrap();
    assert_eq!(loaded, Loaded::InForce(hash));
    assert_eq!((class.priority.as_str(), class.severity.as_str()), ("P3", "critical"));
    // For another team it says nothing, and the built-in rules are used.
    let mut other = example(Kind::Classification);
    other["signal"]["labels"]["team"] = json!("search");
    let why = policies.classification(other).await.unwrap().unwrap_err();
    assert!(why.contains("priority is undefined"), "{why}");
}

#[tokio::test]
async fn a_classification_has_only_words_that_are_known() {
    let known = example(Kind::Classification)["builtin"].clone();
    for (field, value) in [
        ("severity", "disaster"),
        ("priority", "P9"),
        ("environment", "moon"),
        ("signal_type", "a b"),
        ("signal_type", ""),
        ("resource_type", "../x"),
    ] {
        let mut fields = [
            ("severity", known["severity"].as_str().unwrap()),
            ("priority", known["priority"].as_str().unwrap()),
            ("environment", known["environment"].as_str().unwrap()),
            ("signal_type", "CrashLoop"),
            ("resource_type", "Deployment"),
        ];
        fields.iter_mut().filter(|(name, _)| *name == field).for_each(|pair| pair.1 = value);
        let rules: Vec<_> = fields.iter().map(|(name, value)| format!("{name} := {value:?}")).collect();
        let (policies, loaded) =
            with(Kind::Classification, &format!("package kubernaut.classification\n{}", rules.join("\n"))).await;
        assert!(matches!(&loaded, Loaded::Broken(why) if why.contains(field)), "{loaded:?}");
        policies.classification(json!({})).await.unwrap().unwrap_err();
    }
}
