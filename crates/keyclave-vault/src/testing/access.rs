//! Tokens and the access head: who is let in, and what withdraws it.

use keyclave_crypto::token::{Token, TokenKind};
use keyclave_types::request::{Read, TokenId, WriteKind};

use keyclave_types::ids::PlainKind;
use keyclave_types::key::KeyRules;

use super::*;
use crate::authenticate::authenticate;
use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::access::TokenRecord;
use crate::view::head_of;

fn who(ledger: &Ledger, bearer: &str) -> Result<Principal, Refusal> {
    authenticate(&ledger.view, bearer, ledger.now)
        .map(|found| found.principal)
        .map_err(|refused| refused.refusal)
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
    let create = |lifetime_ms| WriteKind::CreateToken { subject: name("s"), lifetime_ms: Some(lifetime_ms) };
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

#[test]
fn the_last_root_token_stays() {
    let mut ledger = Ledger::founded();
    let id = ledger.root.token().unwrap();
    assert_eq!(ledger.write(WriteKind::RevokeToken { id }).unwrap_err(), Refusal::LastRoot);
}

#[test]
fn of_two_root_tokens_that_end_at_once_one_stays() {
    let mut ledger = Ledger::founded();
    let first = ledger.root.token().unwrap();
    let second = TokenId([7; 12]);
    let occasion = ledger.occasion();
    let found = ledger.view.body::<TokenRecord>(&RecordName::Token(first)).unwrap().clone();
    let decision = Draft::decide(&ledger.view, &occasion, &mut ledger.entropy, |draft| {
        let (id, revision) = draft.put(&TokenRecord { id: second, ..found });
        let mut access = draft.reader.view().indexes().access().clone();
        access.insert(id, revision);
        draft.put(&head_of(access.into_iter()));
        Ok(())
    });
    ledger.commit(decision.unwrap());
    let one = ledger.propose(WriteKind::RevokeToken { id: first });
    let two = ledger.propose(WriteKind::RevokeToken { id: second });
    assert_eq!(ledger.apply(&one.transaction), TransactionOutcome::Committed);
    assert!(matches!(ledger.apply(&two.transaction), TransactionOutcome::Conflict(_)));
    ledger.root = Principal::Root { token: second };
    let last = WriteKind::RevokeToken { id: second };
    assert_eq!(ledger.write(last).unwrap_err(), Refusal::LastRoot);
}

#[test]
fn every_write_expects_seal_record_access_head_and_token() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let (service, _) = ledger.service("billing");
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
        WriteKind::CreateToken { subject: name("s"), lifetime_ms: None },
        WriteKind::RevokeToken { id: service.token().unwrap() },
        WriteKind::CreateJoinToken,
        WriteKind::Admit { node: node(1), code },
        WriteKind::SealNode { node: node(1) },
        WriteKind::SealCluster,
        WriteKind::ChangeAddress { node: node(1), addresses: addresses("other") },
        WriteKind::AcceptTime { time: START.after(1) },
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
    let forged = Principal::Root { token: service.token().unwrap() };
    let write = ledger.request(WriteKind::CreateJoinToken);
    assert_eq!(ledger.write_as(&forged, &write).unwrap_err(), Refusal::Unauthenticated);
}

#[test]
fn a_view_whose_head_does_not_match_denies_everything() {
    let (mut ledger, shown) = Ledger::founded_showing();
    ledger.create_plain("a");
    let (service, text) = ledger.service("billing");
    let token = ledger.view.id_of(&RecordName::Token(ledger.root.token().unwrap()));
    let head = ledger.view.id_of(&RecordName::AccessHead);
    let whole = ledger.view.clone();
    for lost in [token, head] {
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
fn tokens_are_listed_without_secrets_and_a_fresh_one_breaks_the_list() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    ledger.service("billing");
    let listed = ledger.read_as(&root, &Read::ListTokens);
    let Outcome::Answer(ReadAnswer::Tokens(tokens)) = listed.outcome else { panic!("refused") };
    assert_eq!(tokens.iter().filter(|token| token.root).count(), 1);
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
