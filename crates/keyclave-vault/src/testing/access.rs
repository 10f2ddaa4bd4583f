//! Tokens and the access head: who is let in, and what withdraws it.

use keyclave_crypto::token::{Token, TokenKind};
use keyclave_types::access::{GroupName, PolicyName};
use keyclave_types::request::{Decrypt, Read, TokenId, WriteKind};

use keyclave_types::ids::PlainKind;
use keyclave_types::key::KeyRules;

use super::*;
use crate::authenticate::{Shown, authenticate};
use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::access::PolicyRecord;
use crate::view::head_of;

fn who(ledger: &Ledger, bearer: &str) -> Result<Principal, Refusal> {
    authenticate(&ledger.view, &Shown { bearer: Some(bearer), ..Shown::default() }, ledger.now)
        .map(|found| found.principal)
        .map_err(|refused| refused.refusal)
}

fn lasting(lifetime_ms: Option<u64>) -> TokenTerms {
    TokenTerms { lifetime_ms, ..TokenTerms::default() }
}

#[test]
fn tokens_speak_for_whom_they_were_made() {
    let (mut ledger, shown) = Ledger::founded_showing();
    assert_eq!(who(&ledger, &shown.founded.token), Ok(ledger.root.clone()));
    let (service, text) = ledger.service("billing");
    assert_eq!(who(&ledger, &text), Ok(service));
}

#[test]
fn every_wrong_token_gets_the_same_refusal() {
    let (mut ledger, shown) = Ledger::founded_showing();
    let (principal, text) = ledger.service("billing");
    let id = principal.token().unwrap();
    let mut foreign = Token::new(TokenKind::Service, &mut Entropy::from_seed([9; 32]));
    let unknown = foreign.to_text();
    foreign.id = id;
    let wrong_secret = foreign.to_text();
    let mut other_kind = Token::parse(&text).unwrap();
    other_kind.kind = TokenKind::Operator;
    let (join, join_text) = token_of(ledger.write(WriteKind::CreateJoinToken).unwrap());
    let shown_id = join.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let cut = &shown.founded.token[..70];
    for wrong in
        ["", "kcls_", cut, &unknown, &wrong_secret, &other_kind.to_text(), &join_text, &shown_id, "ü"]
    {
        assert_eq!(who(&ledger, wrong), Err(Refusal::Unauthenticated));
    }
}

#[test]
fn a_token_ends_when_it_expires_and_not_while_the_clock_is_in_doubt() {
    let mut ledger = Ledger::founded();
    let create =
        |lifetime_ms| WriteKind::CreateToken { subject: user("root"), terms: lasting(Some(lifetime_ms)) };
    assert_eq!(ledger.write(create(999)).unwrap_err(), Refusal::Lifetime);
    let (_, text) = token_of(ledger.write(create(5_000)).unwrap());
    ledger.at(4_999);
    assert!(who(&ledger, &text).is_ok());
    ledger.at(5_000);
    assert_eq!(who(&ledger, &text), Err(Refusal::Unauthenticated));
    ledger.now = Now::Doubtful(START);
    assert_eq!(who(&ledger, &text), Err(Refusal::ClockDoubtful));
    let (_, endless) = ledger.service("t");
    assert!(who(&ledger, &endless).is_ok());
}

#[test]
fn a_revoked_token_is_refused_everywhere() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let (service, text) = ledger.service("billing");
    let read = Read::GetKey { name: name("a") };
    let before = ledger.read_as(&service, &read);
    let write = ledger.request(WriteKind::RotateKey { name: name("a") });
    let Ok(Decision::Propose(decided)) = ledger.decide_as(&service, &write) else { panic!("refused") };
    let id = service.token().unwrap();
    ledger.write(WriteKind::RevokeToken { id }).unwrap();
    assert!(!ledger.view.holds(&before.reads));
    assert!(matches!(ledger.apply(&decided.transaction), TransactionOutcome::Conflict(_)));
    assert_eq!(who(&ledger, &text), Err(Refusal::Unauthenticated));
    let refused = ledger.read_as(&service, &read).outcome;
    assert!(matches!(refused, Outcome::Refused(Refusal::Unauthenticated)));
    assert_eq!(ledger.write_as(&service, &write).unwrap_err(), Refusal::Unauthenticated);
    assert_eq!(ledger.write(WriteKind::RevokeToken { id }).unwrap_err(), Refusal::TokenUnknown);
}

/// What puts a subject with these roles.
fn put(subject: &Subject, granted: &[&str]) -> WriteKind {
    WriteKind::PutSubject { subject: subject.clone(), groups: BTreeSet::new(), roles: roles(granted) }
}

/// Somebody beside root with a lasting token and these roles.
fn another(ledger: &mut Ledger, who: &str, granted: &[&str]) -> Principal {
    let subject = user(who);
    ledger.write(put(&subject, granted)).unwrap();
    let made = ledger
        .write(WriteKind::CreateToken { subject: subject.clone(), terms: TokenTerms::default() })
        .unwrap();
    Principal::Subject { subject, credential: Credential::Token(token_of(made).0), came: Came::default() }
}

#[test]
fn the_last_administrator_cannot_be_undone_in_any_way() {
    let mut ledger = Ledger::founded();
    let (root, id) = (user("root"), ledger.root.token().unwrap());
    let forbid = |what: &str| WriteKind::PutPolicy { name: "p".parse().unwrap(), text: what.to_owned() };
    // One whose credentials end by themselves does not count, and one without any does not either.
    ledger.write(put(&user("b"), &["administrator"])).unwrap();
    ledger.write(WriteKind::CreateToken { subject: user("b"), terms: lasting(Some(60_000)) }).unwrap();
    another(&mut ledger, "c", &["operator"]);
    for change in [
        WriteKind::RevokeToken { id },
        WriteKind::RevokeCredentials { subject: root.clone() },
        WriteKind::RemoveSubject { subject: root.clone() },
        put(&root, &["operator", "auditor"]),
        forbid("forbid(principal, action in Action::\"operate\", resource);"),
        forbid("forbid(principal == User::\"root\", action == Action::\"policies\", resource);"),
        forbid("forbid(principal in Role::\"administrator\", action, resource) unless { context.mtls };"),
        forbid("forbid(principal, action, resource) when { context has time && context.time > 1 };"),
        forbid(
            "forbid(principal, action, resource) when { context has source && context.source.isLoopback() };",
        ),
        forbid("permit(principal == User::\"root\", action, resource) when { context.batch * 2 > 1 };"),
    ] {
        assert_eq!(ledger.write(change.clone()).unwrap_err(), Refusal::LastAdministrator, "{change:?}");
    }
    another(&mut ledger, "d", &["administrator"]);
    ledger.write(WriteKind::RevokeToken { id }).unwrap();
}

#[test]
fn conditions_may_limit_administrators_while_one_is_beyond_them() {
    let mut ledger = Ledger::founded();
    another(&mut ledger, "b", &["administrator"]);
    let text = "forbid(principal == User::\"b\", action, resource) unless { context has source };".to_owned();
    ledger.write(WriteKind::PutPolicy { name: "p".parse().unwrap(), text }).unwrap();
    let refused = ledger.write(WriteKind::RemoveSubject { subject: user("root") }).unwrap_err();
    assert_eq!(refused, Refusal::LastAdministrator);
}

#[test]
fn of_two_administrators_that_remove_each_other_one_stays() {
    let mut ledger = Ledger::founded();
    let other = another(&mut ledger, "b", &["administrator"]);
    let one = ledger.propose(WriteKind::RemoveSubject { subject: user("b") });
    let write = ledger.request(WriteKind::RemoveSubject { subject: user("root") });
    let Ok(Decision::Propose(two)) = ledger.decide_as(&other, &write) else { panic!("refused") };
    assert_eq!(ledger.apply(&one.transaction), TransactionOutcome::Committed);
    assert!(matches!(ledger.apply(&two.transaction), TransactionOutcome::Conflict(_)));
    assert!(matches!(ledger.write_as(&other, &write).unwrap_err(), Refusal::Denied(_)));
}

#[test]
fn an_administrator_through_a_group_counts_until_the_group_loses_its_role() {
    let mut ledger = Ledger::founded();
    let group: GroupName = "admins".parse().unwrap();
    let put_group = |granted: &[&str]| WriteKind::PutGroup { name: group.clone(), roles: roles(granted) };
    ledger.write(put_group(&["administrator"])).unwrap();
    let subject = user("b");
    let groups = BTreeSet::from([group.clone()]);
    ledger.write(WriteKind::PutSubject { subject: subject.clone(), groups, roles: BTreeSet::new() }).unwrap();
    let made = ledger
        .write(WriteKind::CreateToken { subject: subject.clone(), terms: TokenTerms::default() })
        .unwrap();
    let b = Principal::Subject {
        subject,
        credential: Credential::Token(token_of(made).0),
        came: Came::default(),
    };
    let remove_root = ledger.request(WriteKind::RemoveSubject { subject: user("root") });
    ledger.write_as(&b, &remove_root).unwrap();
    for change in [put_group(&["operator"]), WriteKind::RemoveGroup { name: group.clone() }] {
        let write = ledger.request(change);
        let refusal = ledger.write_as(&b, &write).unwrap_err();
        assert!(matches!(refusal, Refusal::LastAdministrator | Refusal::GroupInUse), "{refusal:?}");
    }
}

#[test]
fn ending_credentials_ends_all_and_a_subject_of_the_same_name_does_not_revive_them() {
    let mut ledger = Ledger::founded();
    let (_, text) = ledger.service("billing");
    let subject = service("billing");
    ledger.write(WriteKind::RevokeCredentials { subject: subject.clone() }).unwrap();
    assert_eq!(who(&ledger, &text), Err(Refusal::Unauthenticated));
    let (_, text) = ledger.service("billing");
    assert!(who(&ledger, &text).is_ok());
    ledger.write(WriteKind::RemoveSubject { subject: subject.clone() }).unwrap();
    assert_eq!(who(&ledger, &text), Err(Refusal::Unauthenticated));
    ledger.write(put(&subject, &["application"])).unwrap();
    assert_eq!(who(&ledger, &text), Err(Refusal::Unauthenticated));
}

#[test]
fn a_withdrawn_right_holds_for_what_was_decided_before_and_not_yet_committed() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("app/a");
    let (billing, _) = ledger.service("billing");
    let read = Read::Encrypt(encryption("app/a", None, b"x"));
    let computed = ledger.read_as(&billing, &read);
    let write = ledger.request(WriteKind::RotateKey { name: name("app/a") });
    let Ok(Decision::Propose(decided)) = ledger.decide_as(&billing, &write) else { panic!("refused") };
    let text = "forbid(principal == Service::\"billing\", action, resource in Prefix::\"app/\");".to_owned();
    ledger.write(WriteKind::PutPolicy { name: "stop".parse().unwrap(), text }).unwrap();
    assert!(!ledger.view.holds(&computed.reads));
    assert!(matches!(ledger.apply(&decided.transaction), TransactionOutcome::Conflict(_)));
    let denied = |outcome| matches!(outcome, Outcome::Refused(Refusal::Denied(_)));
    assert!(denied(ledger.read_as(&billing, &read).outcome));
    ledger.write(WriteKind::RemovePolicy { name: "stop".parse().unwrap() }).unwrap();
    assert!(!denied(ledger.read_as(&billing, &read).outcome));
}

#[test]
fn a_ciphertext_that_chooses_a_forbidden_key_is_answered_like_one_of_no_key() {
    let mut ledger = Ledger::founded();
    for key in ["app/a", "other/b"] {
        ledger.create_plain(key);
    }
    let subject = service("s");
    ledger.write(put(&subject, &["application@app/"])).unwrap();
    let made = ledger
        .write(WriteKind::CreateToken { subject: subject.clone(), terms: TokenTerms::default() })
        .unwrap();
    let s = Principal::Subject {
        subject,
        credential: Credential::Token(token_of(made).0),
        came: Came::default(),
    };
    let items = |ledger: &mut Ledger, ciphertext: &[u8]| {
        let read = Read::Decrypt(decryption(None, ciphertext));
        match ledger.read_as(&s, &read).outcome {
            Outcome::Answer(ReadAnswer::Decrypted(items)) => items.into_iter().next().unwrap().map(|_| ()),
            _ => panic!("refused as a whole"),
        }
    };
    let (own, foreign) = (ledger.encrypt("app/a", b"x").unwrap(), ledger.encrypt("other/b", b"x").unwrap());
    assert_eq!(items(&mut ledger, &own), Ok(()));
    assert_eq!(items(&mut ledger, &foreign), Err(Refusal::Undecryptable));
    let mut unknown = foreign.clone();
    unknown[5] ^= 1;
    assert_eq!(items(&mut ledger, &unknown), Err(Refusal::Undecryptable));
    // Among others, each is answered for itself.
    let item = |ciphertext: &[u8]| decryption(None, ciphertext).items.remove(0);
    let batch = Decrypt { name: None, items: vec![item(&own), item(&foreign), item(&unknown), item(&own)] };
    let Outcome::Answer(ReadAnswer::Decrypted(items)) = ledger.read_as(&s, &Read::Decrypt(batch)).outcome
    else {
        panic!("refused as a whole")
    };
    let opened: Vec<_> = items.into_iter().map(|item| item.map(|_| ())).collect();
    let no = Err(Refusal::Undecryptable);
    assert_eq!(opened, [Ok(()), no, no, Ok(())]);
}

#[test]
fn every_write_expects_seal_record_access_head_and_token() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let (service, _) = ledger.service("billing");
    let subject = super::service;
    ledger.write(WriteKind::PutGroup { name: "old".parse().unwrap(), roles: roles(&[]) }).unwrap();
    let (key, code) = (name("a"), "A".repeat(25).parse().unwrap());
    let always = [
        RecordId::plain(PlainKind::Seal, 0),
        ledger.view.id_of(&RecordName::AccessHead),
        ledger.view.id_of(&RecordName::Token(ledger.root.token().unwrap())),
        ledger.view.id_of(&RecordName::Horizon),
    ];
    for change in [
        WriteKind::CreateKey {
            name: name("b"),
            algorithm: Algorithm::Xaes256Gcm,
            rules: KeyRules::default(),
        },
        WriteKind::UpdateKey {
            name: key.clone(),
            rules: KeyRules { staleness_max_ms: 1, ..KeyRules::default() },
        },
        WriteKind::RotateKey { name: key.clone() },
        WriteKind::SetEnabled { name: key.clone(), version: None, enabled: false },
        WriteKind::SetEnabled { name: key.clone(), version: Some(Version::FIRST), enabled: false },
        WriteKind::DestroyVersion { name: key, version: Version::FIRST },
        WriteKind::CreateToken { subject: user("root"), terms: TokenTerms::default() },
        WriteKind::RevokeToken { id: service.token().unwrap() },
        WriteKind::CreateJoinToken,
        WriteKind::Admit { node: node(1), code },
        WriteKind::SealNode { node: node(1) },
        WriteKind::SealCluster,
        WriteKind::ChangeAddress { node: node(1), addresses: addresses("other") },
        WriteKind::AcceptTime { time: START.after(1) },
        WriteKind::HoldTrail { reason: "a trial".to_owned() },
        WriteKind::RetainTrail { keep_ms: Some(1) },
        put(&user("b"), &["reader"]),
        put(&subject("billing"), &[]),
        WriteKind::RevokeCredentials { subject: subject("billing") },
        WriteKind::RemoveSubject { subject: subject("billing") },
        WriteKind::PutGroup { name: "g".parse().unwrap(), roles: roles(&["reader"]) },
        WriteKind::RemoveGroup { name: "old".parse().unwrap() },
        WriteKind::PutPolicy {
            name: "p".parse().unwrap(),
            text: "forbid(principal == User::\"b\", action, resource);".to_owned(),
        },
    ] {
        let transaction = ledger.propose(change.clone()).transaction;
        for id in always {
            assert!(transaction.expects.contains_key(&id), "{change:?}");
        }
        for id in transaction.changes.keys() {
            assert!(transaction.expects.contains_key(id), "{change:?}");
        }
    }
}

#[test]
fn a_service_is_not_root_by_saying_so() {
    let mut ledger = Ledger::founded();
    let (service, _) = ledger.service("billing");
    let credential = Credential::Token(service.token().unwrap());
    let forged = Principal::Subject { subject: user("root"), credential, came: Came::default() };
    let write = ledger.request(WriteKind::CreateJoinToken);
    assert_eq!(ledger.write_as(&forged, &write).unwrap_err(), Refusal::Unauthenticated);
}

#[test]
fn a_view_whose_access_records_do_not_match_their_head_denies_everything() {
    let (mut ledger, shown) = Ledger::founded_showing();
    ledger.create_plain("a");
    let (service, text) = ledger.service("billing");
    let policy: PolicyName = "stop".parse().unwrap();
    let put = "forbid(principal == User::\"b\", action, resource);".to_owned();
    ledger.write(WriteKind::PutPolicy { name: policy.clone(), text: put }).unwrap();
    let whole = ledger.view.clone();
    for lost in [
        RecordName::AccessHead,
        RecordName::Policy(&policy),
        RecordName::Subject(&user("root")),
        RecordName::AccessFloor,
    ] {
        let lost = whole.id_of(&lost);
        ledger.view = whole.fold(whole.index(), [(lost, None)]).unwrap();
        assert_eq!(who(&ledger, &text), Err(Refusal::AccessHead));
        assert_eq!(who(&ledger, &shown.founded.token), Err(Refusal::AccessHead));
        let read = ledger.read_as(&service, &Read::GetKey { name: name("a") });
        assert!(matches!(read.outcome, Outcome::Refused(Refusal::AccessHead)));
        let write = ledger.request(WriteKind::RotateKey { name: name("a") });
        assert_eq!(ledger.write_as(&service, &write).unwrap_err(), Refusal::AccessHead);
        assert_eq!(ledger.upkeep(&Upkeep::ForgetRequests), Err(Refusal::AccessHead));
    }
}

#[test]
fn a_policy_record_that_does_not_read_denies_everything() {
    let (mut ledger, shown) = Ledger::founded_showing();
    let occasion = ledger.occasion();
    let decision = Draft::decide(&ledger.view, &occasion, &mut ledger.entropy, |draft| {
        let (name, put_at) = ("later".parse().unwrap(), START);
        draft.put(&PolicyRecord { name, text: "forbid in a later syntax".to_owned(), put_at });
        let head = head_of(draft.access_after().into_iter());
        draft.put(&head);
        Ok(())
    });
    ledger.commit(decision.unwrap());
    assert_eq!(who(&ledger, &shown.founded.token), Err(Refusal::AccessHead));
}

#[test]
fn tokens_are_listed_without_secrets_and_a_fresh_one_breaks_the_list() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    ledger.service("billing");
    let listed = ledger.read_as(&root, &Read::ListTokens);
    let Outcome::Answer(ReadAnswer::Tokens(tokens)) = listed.outcome else { panic!("refused") };
    assert_eq!(tokens.iter().filter(|token| token.subject == user("root")).count(), 1);
    assert_eq!(tokens.len(), 2);
    assert!(ledger.view.holds(&listed.reads));
    ledger.service("other");
    assert!(!ledger.view.holds(&listed.reads));
}

#[test]
fn no_record_shows_a_token_or_a_name_in_the_clear() {
    let (mut ledger, shown) = Ledger::founded_showing();
    ledger.create_plain("canary-name");
    let (_, text) = ledger.service("canary-subject");
    for needle in ["canary-name", "canary-subject", &text, &shown.founded.token] {
        for record in ledger.records.values() {
            assert!(!record.blob.windows(needle.len()).any(|window| window == needle.as_bytes()));
        }
    }
    let id = TokenId(Token::parse(&text).unwrap().id.0);
    assert!(ledger.view.held(ledger.view.id_of(&RecordName::Token(id))).is_some());
}
