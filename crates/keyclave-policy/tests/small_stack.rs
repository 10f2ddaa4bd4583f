//! What is checked runs on a stack of its own, however little its caller has left.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use keyclave_policy::{POLICY_NESTING_MAX, Policy};

#[test]
fn the_worst_within_the_limits_needs_no_large_stack_of_its_callers() {
    let inside = POLICY_NESTING_MAX - 1;
    let when = |condition: String| format!(r#"forbid(principal, action, resource) when {{ {condition} }};"#);
    let worst = [
        when(format!("{}context.mtls{}", "(".repeat(inside), ")".repeat(inside))),
        when(format!("{}context.mtls{}", "!(".repeat(inside), ")".repeat(inside))),
        when(format!("{}context.mtls", "if context.bound then true else ".repeat(30))),
        when(vec!["context.mtls"; 30].join(" && ")),
    ];
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    let checked = small
        .spawn(move || {
            worst.iter().map(|text| Policy::check(&"p".parse().unwrap(), text).is_ok()).collect::<Vec<_>>()
        })
        .unwrap();
    assert_eq!(checked.join().unwrap(), [true; 4]);
}
