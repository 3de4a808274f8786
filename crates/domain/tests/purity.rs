//! The decisions stay pure because their crate cannot reach a client, a runtime or a clock of its own.

use std::process::Command;

#[test]
fn no_client_and_no_runtime_is_among_what_the_decisions_depend_on() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--package",
            "kubernaut-domain",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.contains("kubernaut-api "), "the tree lists dependencies: {tree}");
    for impure in ["kube-client ", "kube-runtime ", "tokio ", "hyper ", "reqwest ", "sqlx ", "rand "] {
        assert!(!tree.lines().any(|line| line.starts_with(impure)), "kubernaut-domain depends on {impure}");
    }
}
