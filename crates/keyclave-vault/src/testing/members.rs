//! Nodes: join, admit, restart keys, seal marks, removal, addresses, anchors, time.

use keyclave_types::ids::PlainKind;
use keyclave_types::limits::{JOIN_TOKEN_MS, MEMBERS_MAX, REMOVED_NODES_MAX};
use keyclave_types::member::{Removed, RemovedNode};
use keyclave_types::request::{NodeCode, WriteKind};

use super::*;
use crate::join::{Join, decide_join};
use crate::reader::Reader;

fn code(letter: char) -> NodeCode {
    letter.to_string().repeat(25).parse().unwrap()
}

fn join_of(token: &str, fill: u8) -> Join<'_> {
    Join {
        token,
        incarnation: Incarnation::from_bytes([fill; 16]),
        key: NodePublicKey([fill; 32]),
        addresses: addresses(&format!("n{fill}")),
        code: code('A'),
    }
}

fn try_join(ledger: &mut Ledger, join: &Join<'_>) -> Result<Decision<NodeId>, Refusal> {
    let permit = permit(&Principal::Unauthenticated, Action::Join, None);
    decide_join(&ledger.view, &permit, join, &ledger.occasion(), &mut ledger.entropy)
        .map_err(|refused| refused.refusal)
}

fn join(ledger: &mut Ledger, join: &Join<'_>) -> Result<NodeId, Refusal> {
    let decision = try_join(ledger, join)?;
    Ok(ledger.commit(decision))
}

fn join_token(ledger: &mut Ledger) -> Zeroizing<String> {
    token_of(ledger.write(WriteKind::CreateJoinToken).unwrap()).1
}

fn restart_key(number: u64, fill: u8) -> Upkeep {
    Upkeep::PutRestartKey {
        node: node(number),
        incarnation: Incarnation::from_bytes([fill; 16]),
        public: [fill; 32],
    }
}

#[test]
fn a_join_token_admits_one_directory_and_repeats_for_it_only() {
    let mut ledger = Ledger::founded();
    let token = join_token(&mut ledger);
    assert_eq!(join(&mut ledger, &join_of(&token, 2)), Ok(node(2)));
    assert_eq!(ledger.view.admission(node(2)).unwrap().code, code('A'));
    assert_eq!(ledger.view.addresses(node(2)), Some(addresses("n2")));
    let restarted = Join { code: code('B'), ..join_of(&token, 2) };
    assert_eq!(join(&mut ledger, &restarted), Ok(node(2)));
    assert_eq!(ledger.view.admission(node(2)).unwrap().code, code('B'));
    assert_eq!(join(&mut ledger, &join_of(&token, 3)), Err(Refusal::Unauthenticated));
    // Once let in, a repetition vouches for nobody.
    let use_it = |letter| Upkeep::UseAdmission { node: node(2), code: code(letter) };
    assert_eq!(ledger.upkeep(&use_it('A')), Err(Refusal::NotAdmitted));
    assert_eq!(ledger.upkeep(&use_it('B')), Ok(UpkeepAnswer::Done));
    assert_eq!(ledger.upkeep(&use_it('B')), Err(Refusal::NotAdmitted));
    assert_eq!(join(&mut ledger, &join_of(&token, 2)), Ok(node(2)));
    assert!(ledger.view.admission(node(2)).is_none());
}

#[test]
fn one_join_token_used_twice_at_once_admits_one() {
    let mut ledger = Ledger::founded();
    let token = join_token(&mut ledger);
    let one = try_join(&mut ledger, &join_of(&token, 2)).unwrap();
    let two = try_join(&mut ledger, &join_of(&token, 3)).unwrap();
    let (Decision::Propose(one), Decision::Propose(two)) = (one, two) else { panic!("nothing to propose") };
    assert_eq!(ledger.apply(&one.transaction), TransactionOutcome::Committed);
    assert!(matches!(ledger.apply(&two.transaction), TransactionOutcome::Conflict(_)));
}

#[test]
fn wrong_expired_and_other_tokens_do_not_join() {
    let (mut ledger, shown) = Ledger::founded_showing();
    let token = join_token(&mut ledger);
    let (_, service) = ledger.service("billing");
    for wrong in ["", &token[..70], &service, &shown.founded.token] {
        assert_eq!(join(&mut ledger, &join_of(wrong, 2)), Err(Refusal::Unauthenticated));
    }
    ledger.at(JOIN_TOKEN_MS);
    assert_eq!(join(&mut ledger, &join_of(&token, 2)), Err(Refusal::Unauthenticated));
    let revoked = join_token(&mut ledger);
    let id = keyclave_crypto::token::Token::parse(&revoked).unwrap().id;
    ledger.write(WriteKind::RevokeToken { id }).unwrap();
    assert_eq!(join(&mut ledger, &join_of(&revoked, 2)), Err(Refusal::Unauthenticated));
}

#[test]
fn a_node_number_is_never_given_twice_and_members_are_limited() {
    let mut ledger = Ledger::founded();
    for fill in 2..=7 {
        let token = join_token(&mut ledger);
        assert_eq!(join(&mut ledger, &join_of(&token, fill)), Ok(node(fill.into())));
    }
    let token = join_token(&mut ledger);
    let full = Err(Refusal::MembersMax { limit: MEMBERS_MAX });
    assert_eq!(join(&mut ledger, &join_of(&token, 8)), full);
    ledger.write(WriteKind::RemoveMember { node: node(7) }).unwrap();
    assert_eq!(join(&mut ledger, &join_of(&token, 8)), Ok(node(8)));
}

#[test]
fn removal_takes_everything_and_the_last_member_stays() {
    let mut ledger = Ledger::founded();
    let only = WriteKind::RemoveMember { node: node(1) };
    assert_eq!(ledger.write(only.clone()).unwrap_err(), Refusal::LastMember);
    let token = join_token(&mut ledger);
    join(&mut ledger, &join_of(&token, 2)).unwrap();
    ledger.upkeep_of(2, &restart_key(2, 2)).unwrap();
    let two = ledger.propose(WriteKind::RemoveMember { node: node(2) });
    let one = ledger.propose(only.clone());
    assert_eq!(ledger.apply(&two.transaction), TransactionOutcome::Committed);
    // Two removals at once must not empty the cluster.
    assert!(matches!(ledger.apply(&one.transaction), TransactionOutcome::Conflict(_)));
    assert_eq!(ledger.write(only).unwrap_err(), Refusal::LastMember);
    let view = &ledger.view;
    assert!(view.node(node(2)).is_none() && view.restart_key(node(2)).is_none());
    assert!(view.admission(node(2)).is_none() && view.addresses(node(2)).is_none());
    let removed: Removed = Reader::new(view).plain(PlainKind::Removed, 0).unwrap();
    assert_eq!(removed.nodes, [RemovedNode { node: node(2), key: join_of(&token, 2).key }]);
    let unknown = Refusal::NodeUnknown { node: node(2) };
    assert_eq!(ledger.upkeep_of(2, &restart_key(2, 2)), Err(unknown));
    assert_eq!(ledger.write(WriteKind::Admit { node: node(2), code: code('A') }).unwrap_err(), unknown);
    assert_eq!(join(&mut ledger, &join_of(&token, 2)), Err(Refusal::Unauthenticated));
}

#[test]
fn whoever_was_removed_is_remembered_and_no_more_than_so_many() {
    let mut ledger = Ledger::founded();
    let rounds = REMOVED_NODES_MAX as u64 + 2;
    for number in 2..2 + rounds {
        let token = join_token(&mut ledger);
        assert_eq!(join(&mut ledger, &join_of(&token, u8::try_from(number).unwrap())), Ok(node(number)));
        ledger.write(WriteKind::RemoveMember { node: node(number) }).unwrap();
    }
    let removed: Removed = Reader::new(&ledger.view).plain(PlainKind::Removed, 0).unwrap();
    let numbers: Vec<u64> = removed.nodes.iter().map(|removed| removed.node.get()).collect();
    assert_eq!(numbers, (4..2 + rounds).collect::<Vec<_>>());
}

#[test]
fn a_sealed_node_has_nothing_to_come_back_by_until_it_is_admitted() {
    let mut ledger = Ledger::founded();
    ledger.upkeep(&restart_key(1, 1)).unwrap();
    assert_eq!(ledger.view.restart_key(node(1)).unwrap().public, [1; 32]);
    ledger.write(WriteKind::SealNode { node: node(1) }).unwrap();
    assert!(ledger.view.restart_key(node(1)).is_none());
    assert!(ledger.view.node_mark(node(1)).is_some());
    assert_eq!(ledger.upkeep(&restart_key(1, 1)), Err(Refusal::SealMarked));
    let vouch = Upkeep::Vouch { node: node(1), code: code('A') };
    assert_eq!(ledger.upkeep(&vouch), Err(Refusal::SealMarked));
    ledger.write(WriteKind::Admit { node: node(1), code: code('A') }).unwrap();
    assert!(ledger.view.node_mark(node(1)).is_none());
    ledger.upkeep(&Upkeep::UseAdmission { node: node(1), code: code('A') }).unwrap();
    assert_eq!(ledger.upkeep(&restart_key(1, 1)), Ok(UpkeepAnswer::Done));
}

#[test]
fn a_cluster_seal_misses_no_node_that_comes_meanwhile() {
    let mut ledger = Ledger::founded();
    let token = join_token(&mut ledger);
    join(&mut ledger, &join_of(&token, 2)).unwrap();
    let seal = ledger.propose(WriteKind::SealCluster);
    let Ok(Decision::Propose(key)) = ledger.decide_upkeep(2, &restart_key(2, 2)) else { panic!("refused") };
    // Whichever comes first, the other is decided anew.
    let (view, records) = (ledger.view.clone(), ledger.records.clone());
    assert_eq!(ledger.apply(&key.transaction), TransactionOutcome::Committed);
    assert!(matches!(ledger.apply(&seal.transaction), TransactionOutcome::Conflict(_)));
    (ledger.view, ledger.records) = (view, records);
    assert_eq!(ledger.apply(&seal.transaction), TransactionOutcome::Committed);
    assert!(matches!(ledger.apply(&key.transaction), TransactionOutcome::Conflict(_)));
    assert_eq!(ledger.upkeep_of(2, &restart_key(2, 2)), Err(Refusal::SealMarked));
    assert!(ledger.view.cluster_mark().is_some() && ledger.view.admission(node(2)).is_none());
    let lift = Upkeep::LiftMarks { nodes: vec![node(1), node(2)], cluster: true };
    ledger.upkeep(&lift).unwrap();
    assert!(ledger.view.cluster_mark().is_none());
    assert_eq!(ledger.upkeep_of(2, &restart_key(2, 2)), Ok(UpkeepAnswer::Done));
}

#[test]
fn only_what_the_policy_names_vouches() {
    let mut ledger = Ledger::founded();
    let open = Upkeep::OpenToMembers { until: START.after(600_000) };
    assert_eq!(ledger.upkeep(&open), Err(Refusal::RejoinOff));
    ledger.set_rejoin(RejoinPolicy::Members);
    ledger.upkeep(&open).unwrap();
    assert_eq!(ledger.view.rejoin_rules().unwrap().members_until, Some(START.after(600_000)));
    assert_eq!(ledger.upkeep(&restart_key(1, 1)), Ok(UpkeepAnswer::Done));
    ledger.set_rejoin(RejoinPolicy::Off);
    assert_eq!(ledger.upkeep(&restart_key(1, 1)), Err(Refusal::RejoinOff));
    ledger.write(WriteKind::Admit { node: node(1), code: code('A') }).unwrap();
    let use_it = Upkeep::UseAdmission { node: node(1), code: code('A') };
    assert_eq!(ledger.upkeep(&use_it), Err(Refusal::RejoinOff));
}

#[test]
fn a_record_taken_away_and_made_again_never_repeats_a_revision() {
    let mut ledger = Ledger::founded();
    let id = ledger.view.id_of(&crate::records::RecordName::RestartKey(node(1)));
    let mut last = None;
    for _ in 0..5 {
        ledger.upkeep(&restart_key(1, 1)).unwrap();
        let old = ledger.records[&id].clone();
        assert!(Some(old.revision) > last);
        last = Some(old.revision);
        ledger.upkeep(&Upkeep::DeleteRestartKey { node: node(1) }).unwrap();
        ledger.upkeep(&restart_key(1, 1)).unwrap();
        // The old blob does not open as the record's present state.
        let revived = Record { revision: ledger.records[&id].revision, blob: old.blob };
        assert!(ledger.view.fold(ledger.view.index(), [(id, Some(revived))]).is_err());
        last = last.max(Some(ledger.records[&id].revision));
        ledger.upkeep(&Upkeep::DeleteRestartKey { node: node(1) }).unwrap();
    }
}

#[test]
fn a_member_speaks_for_itself_and_for_its_directory_only() {
    let mut ledger = Ledger::founded();
    assert_eq!(ledger.upkeep_of(2, &restart_key(1, 1)), Err(Refusal::PermitForeign));
    let other = Err(Refusal::Incarnation { node: node(1) });
    assert_eq!(ledger.upkeep(&restart_key(1, 9)), other);
}

#[test]
fn an_audit_head_never_goes_back_or_says_something_else() {
    let mut ledger = Ledger::founded();
    let incarnation = Incarnation::from_bytes([1; 16]);
    let anchor = |sequence, fill| Upkeep::PutAnchor {
        node: node(1),
        incarnation,
        sequence,
        hash: [fill; 32],
        tree: None,
    };
    ledger.upkeep(&anchor(5, 5)).unwrap();
    ledger.upkeep(&anchor(5, 5)).unwrap();
    let back = |found| Err(Refusal::AnchorBackwards { node: node(1), recorded: 5, found });
    assert_eq!(ledger.upkeep(&anchor(4, 4)), back(4));
    assert_eq!(ledger.upkeep(&anchor(5, 6)), back(5));
    ledger.upkeep(&anchor(6, 6)).unwrap();
    assert_eq!(ledger.view.anchor(node(1)).unwrap().sequence, 6);
}

#[test]
fn one_key_signs_how_trails_stand_and_only_who_may_read_them_gets_it() {
    let mut ledger = Ledger::founded();
    assert!(!ledger.view.has_trail_key());
    ledger.upkeep(&Upkeep::CreateTrailKey).unwrap();
    let read = ledger.permit(&ledger.root, Action::ReadAudit, Target::Cluster).unwrap();
    let public = ledger.view.trail_key(&read).unwrap().public();
    ledger.upkeep(&Upkeep::CreateTrailKey).unwrap();
    assert_eq!(ledger.view.trail_key(&read).unwrap().public(), public);
    let wrong = ledger.permit(&ledger.root, Action::CreateJoinToken, Target::Cluster).unwrap();
    assert!(ledger.view.trail_key(&wrong).is_none() && ledger.view.has_trail_key());
}

#[test]
fn the_clusters_time_never_goes_back() {
    let mut ledger = Ledger::founded();
    for (at, expected) in [(10, 10), (5, 10), (20, 20)] {
        ledger.upkeep(&Upkeep::RecordTime { at: START.after(at) }).unwrap();
        assert_eq!(ledger.view.cluster_time(), Some(START.after(expected)));
    }
    ledger.now = Now::Doubtful(START);
    ledger.write(WriteKind::AcceptTime { time: START.after(30) }).unwrap();
    assert_eq!(ledger.view.cluster_time(), Some(START.after(30)));
    let back = Refusal::TimeBackwards { recorded: START.after(30), found: START.after(29) };
    assert_eq!(ledger.write(WriteKind::AcceptTime { time: START.after(29) }).unwrap_err(), back);
}

#[test]
fn an_address_changes_for_members_only() {
    let mut ledger = Ledger::founded();
    let change = |number| WriteKind::ChangeAddress { node: node(number), addresses: addresses("moved") };
    ledger.write(change(1)).unwrap();
    assert_eq!(ledger.view.addresses(node(1)), Some(addresses("moved")));
    assert_eq!(ledger.write(change(2)).unwrap_err(), Refusal::NodeUnknown { node: node(2) });
}

#[test]
fn a_segment_key_is_made_once_and_read_with_a_permit() {
    let mut ledger = Ledger::founded();
    let create = Upkeep::CreateSegmentKey { segment: [6; 16] };
    ledger.upkeep(&create).unwrap();
    assert_eq!(ledger.upkeep(&create), Err(Refusal::RecordExists));
    let house = permit(&Principal::Member(node(1)), Action::Housekeep, None);
    assert!(ledger.view.segment_key(&house, [6; 16]).is_some());
    assert!(ledger.view.segment_key(&house, [7; 16]).is_none());
    let wrong = ledger.permit(&ledger.root, Action::CreateJoinToken, Target::Cluster).unwrap();
    assert!(ledger.view.segment_key(&wrong, [6; 16]).is_none());
}
