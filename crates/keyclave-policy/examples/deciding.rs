//! How long a decision takes with 10,000 policies: `cargo run --release -p keyclave-policy --example deciding`.
//!
//! Prints the mean over many decisions of one subject: found before, and made anew for a key not asked before.

#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Instant;

use keyclave_policy::{
    Action, Came, Circumstances, Credential, Floor, KeyFacts, Membership, Policy, Principal, Question,
};
use keyclave_policy::{Resource, Rules, decide};
use keyclave_types::access::Subject;
use keyclave_types::name::KeyName;
use keyclave_types::request::TokenId;

const POLICIES: usize = 10_000;
const ROUNDS: usize = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let rules = rules()?;
    println!("{POLICIES} policies read in {} ms", begun.elapsed().as_millis());
    let subject: Subject = "service:s7".parse()?;
    let principal = Principal::Subject {
        subject,
        credential: Credential::Token(TokenId([1; 12])),
        came: Came::default(),
    };
    let facts = KeyFacts::absent();
    let circumstances = Circumstances::default();
    let names: Vec<KeyName> =
        (0..ROUNDS).map(|at| format!("app7/k{at}").parse()).collect::<Result<_, _>>()?;
    let ask = |name: &KeyName| {
        let resource = Resource::Key { name, facts: &facts };
        let question = Question { action: Action::Encrypt, resource, circumstances: &circumstances };
        decide(&rules, Floor { approvals_min: 1 }, &principal, &question).is_ok()
    };
    let one: KeyName = "app7/x".parse()?;
    assert!(ask(&one), "the subject of the measurement may");
    let begun = Instant::now();
    for name in &names {
        black_box(ask(name));
    }
    println!("made anew:    {:>8.3} µs", micros(begun));
    ask(&one);
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        black_box(ask(&one));
    }
    println!("found before: {:>8.3} µs", micros(begun));
    Ok(())
}

fn micros(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6 / ROUNDS as f64
}

/// A thousand services with nine policies each on their own keys, and a thousand that concern everyone there.
fn rules() -> Result<Rules, Box<dyn std::error::Error>> {
    let services = POLICIES / 10;
    let mut subjects = BTreeMap::new();
    let mut policies = Vec::new();
    for at in 0..services {
        let roles = BTreeSet::from([format!("application@app{at}/").parse()?]);
        subjects.insert(format!("service:s{at}").parse()?, Membership { roles, ..Membership::default() });
        for which in 0..9 {
            let text = format!(
                "permit(principal == Service::\"s{at}\", action in Action::\"use\", resource in Prefix::\"p{which}/\");"
            );
            policies.push(Policy::check(&format!("own-{at}-{which}").parse()?, &text)?);
        }
        let text = format!(
            "forbid(principal, action == Action::\"destroy\", resource in Prefix::\"app{at}/\") unless {{ context.mtls }};"
        );
        policies.push(Policy::check(&format!("all-{at}").parse()?, &text)?);
    }
    Ok(Rules::new(subjects, BTreeMap::new(), policies))
}
