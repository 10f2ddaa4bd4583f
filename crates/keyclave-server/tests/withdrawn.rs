//! Three servers: whatever is withdrawn holds at each of them for every operation that starts after its
//! acknowledgement, while callers go on all the time; and of two administrators that remove each other one stays.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keyclave_client::Client;
use keyclave_client::error::WriteError;
use keyclave_types::access::{GroupName, PolicyName, Subject};
use keyclave_types::key::Algorithm;
use keyclave_types::name::KeyName;
use keyclave_types::request::{GroupDescription, SubjectDescription};
use support::{cluster, subject};

/// What is taken from the service, one after another, and given back.
const WITHDRAWALS: [&str; 6] = [
    "a forbid",
    "a policy that permits",
    "a group's role",
    "a subject's role",
    "a subject's group",
    "credentials",
];

fn described(subject: &Subject, roles: &[&str], groups: &[&str]) -> SubjectDescription {
    let roles = roles.iter().map(|role| role.parse().unwrap()).collect();
    let groups = groups.iter().map(|group| group.parse().unwrap()).collect();
    SubjectDescription { subject: subject.clone(), roles, groups }
}

fn group(name: &str, roles: &[&str]) -> GroupDescription {
    let roles: BTreeSet<_> = roles.iter().map(|role| role.parse().unwrap()).collect();
    let name: GroupName = name.parse().unwrap();
    GroupDescription { name, roles }
}

/// Makes the service able by what is to be withdrawn.
async fn grant(admin: &Client, app: &Subject, what: &str) {
    let policy: PolicyName = "app".parse().unwrap();
    match what {
        "a forbid" | "a subject's role" | "credentials" => {
            admin.put_subject(&described(app, &["application@app/"], &[])).await.unwrap();
        }
        "a policy that permits" => {
            let text = r#"permit(principal == Service::"app", action in Action::"use", resource in Prefix::"app/");"#;
            admin.put_policy(&policy, text).await.unwrap();
        }
        _ => {
            admin.put_group(&group("apps", &["application@app/"])).await.unwrap();
            admin.put_subject(&described(app, &[], &["apps"])).await.unwrap();
        }
    }
}

async fn withdraw(admin: &Client, app: &Subject, what: &str) {
    let policy: PolicyName = "app".parse().unwrap();
    match what {
        "a forbid" => {
            let text = r#"forbid(principal == Service::"app", action in Action::"use", resource);"#;
            admin.put_policy(&policy, text).await.unwrap();
        }
        "a policy that permits" => drop(admin.remove_policy(&policy).await.unwrap()),
        "a group's role" => drop(admin.put_group(&group("apps", &["reader"])).await.unwrap()),
        "credentials" => drop(admin.revoke_credentials(app).await.unwrap()),
        _ => drop(admin.put_subject(&described(app, &["reader"], &[])).await.unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_withdrawn_holds_at_every_node_once_it_is_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 2).await;
    let admins: Vec<_> = servers.iter().map(|s| s.client(&founded, Some(&founded.root_token))).collect();
    let key: KeyName = "app/k".parse().unwrap();
    admins[0].create_key(&key, Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
    for (round, what) in WITHDRAWALS.into_iter().enumerate() {
        // Asked of another node each time; two of three forward to the leader.
        let admin = &admins[round % admins.len()];
        let app = subject(admin, "service:app", &[]).await;
        grant(admin, &app, what).await;
        let token = admin.create_token(&app, None).await.unwrap().value.text;
        let over = Arc::new(AtomicBool::new(false));
        let (before, after) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let callers: Vec<_> = servers
            .iter()
            .map(|server| {
                let client = server.client(&founded, Some(&token));
                let (over, before, after, key) = (over.clone(), before.clone(), after.clone(), key.clone());
                tokio::spawn(async move {
                    while after.load(Ordering::SeqCst) < 30 {
                        let begun_after = over.load(Ordering::SeqCst);
                        let done = client.encrypt(&key, None, b"x", b"").await.is_ok();
                        assert!(
                            !(begun_after && done),
                            "{what} was acknowledged, and then an operation began"
                        );
                        if begun_after {
                            after.fetch_add(1, Ordering::SeqCst);
                        } else if done {
                            before.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        while before.load(Ordering::SeqCst) < 30 {
            tokio::task::yield_now().await;
        }
        withdraw(admin, &app, what).await;
        over.store(true, Ordering::SeqCst);
        for caller in callers {
            caller.await.unwrap();
        }
        if what == "a forbid" {
            admin.remove_policy(&"app".parse().unwrap()).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_administrators_that_remove_each_other_at_two_nodes_one_stays() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 2).await;
    let mut one = ("user:root".to_owned(), founded.root_token.to_string());
    for round in 0..5 {
        let admin = servers[0].client(&founded, Some(&one.1));
        let other = subject(&admin, &format!("user:other-{round}"), &["administrator"]).await;
        let token = admin.create_token(&other, None).await.unwrap().value.text;
        let there = servers[1 + round % 2].client(&founded, Some(&token));
        let first: Subject = one.0.parse().unwrap();
        let (of_other, of_first) = tokio::join!(admin.remove_subject(&other), there.remove_subject(&first));
        assert!(of_other.is_ok() != of_first.is_ok(), "{of_other:?} {of_first:?}");
        let refused = of_other.and(of_first).unwrap_err();
        let WriteError::Refused(refusal) = refused else { unreachable!("{refused:?}") };
        assert!(["UNAUTHENTICATED", "LAST_ADMINISTRATOR"].contains(&&*refusal.reason), "{refusal:?}");
        if servers[0].client(&founded, Some(&token)).list_members().await.is_ok() {
            one = (other.to_string(), token.to_string());
        }
        // Whoever stays can still change who may do what.
        let admin = servers[0].client(&founded, Some(&one.1));
        subject(&admin, "user:anybody", &["reader"]).await;
    }
}
