use std::collections::{BTreeMap, BTreeSet};

use keyclave_types::access::{GroupName, Subject};
use keyclave_types::ids::NodeId;
use keyclave_types::request::TokenId;

use super::*;
use crate::principal::{Came, Credential};
use crate::question::Circumstances;
use crate::rules::Membership;
use crate::source::Policy;

const NO_FLOOR: Floor = Floor { approvals_min: 0 };

/// Rules as a test writes them: who has which roles and groups, which groups have which roles, which policies.
fn rules(subjects: &[(&str, &str)], groups: &[(&str, &str)], policies: &[(&str, &str)]) -> Rules {
    let mut members: BTreeMap<Subject, Membership> = BTreeMap::new();
    for (subject, what) in subjects {
        let membership = members.entry(subject.parse().unwrap()).or_default();
        match what.strip_prefix("in ") {
            Some(group) => drop(membership.groups.insert(group.parse().unwrap())),
            None if what.is_empty() => {}
            None => drop(membership.roles.insert(what.parse().unwrap())),
        }
    }
    let mut granted: BTreeMap<GroupName, BTreeSet<_>> = BTreeMap::new();
    for (group, role) in groups {
        granted.entry(group.parse().unwrap()).or_default().insert(role.parse().unwrap());
    }
    let policies = policies.iter().map(|(name, text)| Policy::check(&name.parse().unwrap(), text).unwrap());
    Rules::new(members, granted, policies)
}

fn as_subject(subject: &str) -> Principal {
    let credential = Credential::Token(TokenId([1; 12]));
    Principal::Subject { subject: subject.parse().unwrap(), credential, came: Came::default() }
}

/// Asks about a key of that name, without circumstances.
fn ask(rules: &Rules, subject: &str, action: Action, key: &str) -> Result<Permit, No> {
    ask_so(rules, subject, action, key, &Circumstances::default())
}

fn ask_so(
    rules: &Rules,
    subject: &str,
    action: Action,
    key: &str,
    circumstances: &Circumstances,
) -> Result<Permit, No> {
    let (name, facts) = (key.parse().unwrap(), KeyFacts::absent());
    let resource = Resource::Key { name: &name, facts: &facts };
    decide(rules, NO_FLOOR, &as_subject(subject), &Question { action, resource, circumstances })
}

#[test]
fn without_a_rule_nothing_is_permitted() {
    let rules = rules(&[("user:a", "")], &[], &[]);
    let denied = ask(&rules, "user:a", Action::Encrypt, "k").unwrap_err();
    assert_eq!(denied.denied.missing, Missing::Permission);
    let unknown = ask(&rules, "user:b", Action::Encrypt, "k").unwrap_err();
    assert_eq!(unknown.denied.missing, Missing::Permission);
}

/// One row per action of callers: administrator, operator, auditor, key-owner, application, reader.
const TABLE: [(Action, [bool; 6]); 32] = {
    const ADMINISTRATOR: [bool; 6] = [true, false, false, false, false, false];
    const OPERATOR: [bool; 6] = [true, true, false, false, false, false];
    const READ: [bool; 6] = [true, false, true, false, false, false];
    const STATUS: [bool; 6] = [true, true, true, false, false, false];
    const OWNER: [bool; 6] = [true, false, false, true, false, false];
    const USE: [bool; 6] = [true, false, false, false, true, false];
    const DESCRIBE: [bool; 6] = [true, false, true, true, false, true];
    [
        (Action::Encrypt, USE),
        (Action::Decrypt, USE),
        (Action::CreateKey, OWNER),
        (Action::UpdateKey, OWNER),
        (Action::RotateKey, OWNER),
        (Action::DisableKey, OWNER),
        (Action::EnableKey, OWNER),
        (Action::DestroyKeyVersion, OWNER),
        (Action::GetKey, DESCRIBE),
        (Action::ListKeys, DESCRIBE),
        (Action::CreateToken, ADMINISTRATOR),
        (Action::RevokeToken, ADMINISTRATOR),
        (Action::ListTokens, READ),
        (Action::ChangeIdentities, ADMINISTRATOR),
        (Action::ChangePolicies, ADMINISTRATOR),
        (Action::Approve, ADMINISTRATOR),
        (Action::ReadAccess, READ),
        (Action::SealNode, OPERATOR),
        (Action::SealCluster, OPERATOR),
        (Action::Admit, OPERATOR),
        (Action::CreateJoinToken, OPERATOR),
        (Action::ClusterStatus, STATUS),
        (Action::ListMembers, STATUS),
        (Action::PromoteMember, OPERATOR),
        (Action::RemoveMember, OPERATOR),
        (Action::ChangeAddress, OPERATOR),
        (Action::StepDown, OPERATOR),
        (Action::AcceptTime, OPERATOR),
        (Action::Diagnose, STATUS),
        (Action::ReadAudit, READ),
        (Action::KeepTrail, ADMINISTRATOR),
        (Action::AcknowledgeTrail, ADMINISTRATOR),
    ]
};

#[test]
fn every_role_may_do_exactly_what_the_table_says() {
    let roles = ["administrator", "operator", "auditor", "key-owner", "application", "reader"];
    let rules = rules(
        &roles.map(|role| (Box::leak(format!("user:{role}").into_boxed_str()) as &str, role)),
        &[],
        &[],
    );
    let name = "app/x".parse().unwrap();
    let prefix = "app/".parse().unwrap();
    let facts = KeyFacts::absent();
    for (action, row) in TABLE {
        let resource = match action {
            Action::ListKeys => Resource::Prefix(&prefix),
            _ if matches!(action.class(), Class::Use | Class::Manage | Class::Danger)
                || action == Action::GetKey =>
            {
                Resource::Key { name: &name, facts: &facts }
            }
            _ => Resource::Cluster,
        };
        for (role, allowed) in roles.iter().zip(row) {
            let question = Question { action, resource, circumstances: &Circumstances::default() };
            let decided = decide(&rules, NO_FLOOR, &as_subject(&format!("user:{role}")), &question);
            assert_eq!(decided.is_ok(), allowed, "{role} {action:?}");
        }
    }
    let listed: BTreeSet<_> = TABLE.iter().map(|(action, _)| *action).collect();
    let by_rules = Action::ALL.into_iter().filter(|action| action.word().is_some()).collect();
    assert_eq!(listed, by_rules);
}

#[test]
fn what_is_nobodys_to_grant_is_decided_without_rules() {
    let rules = rules(&[("user:a", "administrator")], &[], &[]);
    let member = Principal::Member(NodeId::new(1).unwrap());
    for action in Action::ALL {
        let question =
            Question { action, resource: Resource::Cluster, circumstances: &Circumstances::default() };
        let may = |who: &Principal| decide(&rules, NO_FLOOR, who, &question).is_ok();
        assert_eq!(may(&Principal::Unauthenticated), action.class() == Class::Open, "{action:?}");
        assert_eq!(may(&member), action.class() == Class::Cluster, "{action:?}");
        if matches!(action.class(), Class::Machine | Class::Cluster) {
            assert!(!may(&as_subject("user:a")), "{action:?}");
        }
        let on_socket = [
            Action::Init,
            Action::Health,
            Action::SealStatus,
            Action::ClusterStatus,
            Action::ShowCode,
            Action::SubmitShare,
            Action::SealThisNode,
        ];
        assert_eq!(may(&Principal::LocalSocket), on_socket.contains(&action), "{action:?}");
    }
}

#[test]
fn a_role_under_a_prefix_ends_at_the_slash() {
    let rules = rules(&[("service:s", "application@app/"), ("service:n", "application@app/prod/")], &[], &[]);
    for (subject, key, allowed) in [
        ("service:s", "app/x", true),
        ("service:s", "app/prod/x", true),
        ("service:s", "app", false),
        ("service:s", "app2/x", false),
        ("service:s", "x/app/y", false),
        ("service:n", "app/prod/x", true),
        ("service:n", "app/x", false),
        ("user:s", "app/x", false),
    ] {
        assert_eq!(ask(&rules, subject, Action::Encrypt, key).is_ok(), allowed, "{subject} {key}");
    }
    let list = |prefix: &str| {
        let prefix = prefix.parse().unwrap();
        let rules = tests::rules(&[("user:r", "reader@app/")], &[], &[]);
        let question = Question {
            action: Action::ListKeys,
            resource: Resource::Prefix(&prefix),
            circumstances: &Circumstances::default(),
        };
        decide(&rules, NO_FLOOR, &as_subject("user:r"), &question).is_ok()
    };
    assert_eq!(
        ["app/", "app/x/", "app/x", "app", "", "app2/", "ap"].map(list),
        [true, true, true, false, false, false, false]
    );
}

#[test]
fn groups_carry_roles_and_policies_and_the_permit_names_what_decided() {
    let policy =
        r#"permit(principal in Group::"ops", action == Action::"rotate", resource in Prefix::"app/");"#;
    let rules = rules(&[("user:a", "in ops")], &[("ops", "reader@app/")], &[("rotators", policy)]);
    let by = |action| ask(&rules, "user:a", action, "app/x").unwrap().by()[0].to_string();
    assert_eq!(by(Action::GetKey), "role reader@app/ through group ops");
    assert_eq!(by(Action::RotateKey), "policy rotators");
    assert!(ask(&rules, "user:a", Action::Encrypt, "app/x").is_err());
}

#[test]
fn forbid_wins_over_permit_and_is_named() {
    let forbid = r#"forbid(principal in Role::"administrator", action in Action::"danger", resource in Prefix::"app/");"#;
    let rules = rules(&[("user:a", "administrator")], &[], &[("no-destroy", forbid)]);
    let denied = ask(&rules, "user:a", Action::DestroyKeyVersion, "app/x").unwrap_err();
    assert_eq!(denied.denied.missing, Missing::Forbidden);
    assert_eq!(denied.by, [Deciding::Policy("no-destroy".parse().unwrap())]);
    assert!(ask(&rules, "user:a", Action::DestroyKeyVersion, "other/x").is_ok());
    assert!(ask(&rules, "user:a", Action::RotateKey, "app/x").is_ok());
}

#[test]
fn a_forbid_that_cannot_be_evaluated_denies() {
    // Written past the checks, as a later version's schema might: here the attribute does not exist.
    let erring = Policy::read(
        &"erring".parse().unwrap(),
        r#"forbid(principal, action, resource) when { resource.nothing == 1 };"#,
    );
    let subject: Subject = "user:a".parse().unwrap();
    let mut membership = Membership::default();
    membership.roles.insert("administrator".parse().unwrap());
    let rules = Rules::new(BTreeMap::from([(subject, membership)]), BTreeMap::new(), [erring.unwrap()]);
    let denied = ask(&rules, "user:a", Action::Encrypt, "k").unwrap_err();
    assert_eq!(denied.denied.missing, Missing::Evaluation);
    assert_eq!(denied.by, [Deciding::Policy("erring".parse().unwrap())]);
}

#[test]
fn a_stored_policy_that_overflows_denies_whatever_it_would_have_said() {
    // The checker has nothing against it: what overflows depends on the request.
    let sum = "context.batch + 9223372036854775807 > 0";
    for effect in ["permit", "forbid"] {
        let text = format!(
            r#"{effect}(principal, action == Action::"encrypt", resource in Prefix::"app/") when {{ {sum} }};"#
        );
        let rules = rules(&[("user:a", "administrator")], &[], &[("sum", &text)]);
        let with = |batch_items| Circumstances { batch_items, ..Circumstances::default() };
        for _ in 0..2 {
            let denied = ask_so(&rules, "user:a", Action::Encrypt, "app/k", &with(1)).unwrap_err();
            assert_eq!(denied.denied.missing, Missing::Evaluation);
            assert_eq!(denied.by, [Deciding::Policy("sum".parse().unwrap())]);
            // Without the overflow it says what it says, and it says nothing of anything else.
            let fits = ask_so(&rules, "user:a", Action::Encrypt, "app/k", &with(0));
            assert_eq!(fits.is_ok(), effect == "permit");
            assert!(ask_so(&rules, "user:a", Action::Encrypt, "app2/k", &with(1)).is_ok());
            assert!(ask_so(&rules, "user:a", Action::Decrypt, "app/k", &with(1)).is_ok());
        }
    }
}

#[test]
fn a_kept_verdict_answers_only_its_own_question() {
    let mtls = r#"permit(principal == user::"a", action in Action::"use", resource) when { context.mtls };"#;
    let timed = r#"permit(principal == User::"t", action in Action::"use", resource)
        when { context has time && context.time < 100 };"#;
    let tagged = r#"permit(principal == User::"g", action in Action::"use", resource) when { resource.tags.contains("x") };"#;
    let mtls = mtls.replace("user::", "User::");
    let rules = rules(
        &[("user:a", ""), ("user:t", ""), ("user:g", "")],
        &[],
        &[("mtls", &mtls), ("timed", timed), ("tagged", tagged)],
    );
    let with = |mtls, time: u64| Circumstances {
        mtls,
        time: Some(keyclave_types::time::UnixMillis(time)),
        ..Circumstances::default()
    };
    for _ in 0..2 {
        for (mtls, allowed) in [(true, true), (false, false)] {
            assert_eq!(ask_so(&rules, "user:a", Action::Encrypt, "k", &with(mtls, 1)).is_ok(), allowed);
        }
        for (time, allowed) in [(99, true), (100, false), (101, false), (5, true)] {
            assert_eq!(ask_so(&rules, "user:t", Action::Encrypt, "k", &with(false, time)).is_ok(), allowed);
        }
        for (tags, allowed) in [(vec!["x"], true), (vec![], false), (vec!["y", "x"], true)] {
            let tags = Arc::new(tags.into_iter().map(str::to_owned).collect());
            let (name, facts) = ("k".parse().unwrap(), KeyFacts { tags, ..KeyFacts::absent() });
            let resource = Resource::Key { name: &name, facts: &facts };
            let question =
                Question { action: Action::Decrypt, resource, circumstances: &Circumstances::default() };
            assert_eq!(decide(&rules, NO_FLOOR, &as_subject("user:g"), &question).is_ok(), allowed);
        }
    }
}

#[test]
fn the_floor_holds_under_the_most_generous_rules() {
    let rules = rules(&[("user:a", "administrator")], &[], &[]);
    let name = "k".parse().unwrap();
    let facts = KeyFacts { bound_callers_only: true, ..KeyFacts::absent() };
    let asked = |action, circumstances: Circumstances| {
        let resource = Resource::Key { name: &name, facts: &facts };
        let question = Question { action, resource, circumstances: &circumstances };
        decide(&rules, Floor { approvals_min: 2 }, &as_subject("user:a"), &question)
            .map_err(|denied| denied.denied.missing)
    };
    let so = Circumstances::default;
    let one = asked(Action::DestroyKeyVersion, Circumstances { approvals: 1, ..so() }).unwrap_err();
    assert_eq!(one, Missing::Approvals { needed: 2, found: 1 });
    assert!(asked(Action::DestroyKeyVersion, Circumstances { approvals: 2, ..so() }).is_ok());
    for (mtls, bound, allowed) in
        [(false, false, false), (true, false, false), (false, true, false), (true, true, true)]
    {
        assert_eq!(asked(Action::Decrypt, Circumstances { mtls, bound, ..so() }).is_ok(), allowed);
    }
    assert!(asked(Action::GetKey, so()).is_ok());
}

#[test]
fn a_permit_is_for_one_action_on_one_key() {
    let rules = rules(&[("service:s", "application")], &[], &[]);
    let app = "app".parse().unwrap();
    let app2 = "app2".parse().unwrap();
    let permit = ask(&rules, "service:s", Action::Decrypt, "app").unwrap();
    assert!(permit.covers(Action::Decrypt, Some(&app)));
    assert!(!permit.covers(Action::Decrypt, Some(&app2)));
    assert!(!permit.covers(Action::Decrypt, None));
    assert!(!permit.covers(Action::Encrypt, Some(&app)));
}

#[test]
fn what_is_missing_is_named_as_narrowly_as_it_can_be() {
    let (name, facts) = ("app/x".parse().unwrap(), KeyFacts::absent());
    let resource = Resource::Key { name: &name, facts: &facts };
    let question = Question { action: Action::Encrypt, resource, circumstances: &Circumstances::default() };
    let roles: Vec<_> = roles_that_would_do(&question).iter().map(ToString::to_string).collect();
    assert_eq!(roles, ["administrator", "application@app/"]);
    let rules =
        rules(&[("user:a", "administrator"), ("service:s", "application@app/"), ("user:b", "")], &[], &[]);
    let who: Vec<_> = rules.who_can(NO_FLOOR, &question).map(|(who, _)| who.to_string()).collect();
    assert_eq!(who, ["user:a", "service:s"]);
}

#[test]
fn a_policy_that_is_called_like_a_role_or_a_grant_still_holds() {
    let forbid = r#"forbid(principal, action == Action::"encrypt", resource);"#;
    for name in ["administrator", "application", "policy", "reader"] {
        let rules = rules(&[("user:a", "administrator")], &[], &[(name, forbid)]);
        let denied = ask(&rules, "user:a", Action::Encrypt, "k").unwrap_err();
        assert_eq!(denied.by, [Deciding::Policy(name.parse().unwrap())]);
        assert!(ask(&rules, "user:a", Action::Decrypt, "k").is_ok());
    }
}
