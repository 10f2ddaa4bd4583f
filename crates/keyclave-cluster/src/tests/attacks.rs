//! A member without the keyring: what it sends is refused, and what it can still do costs an election.
//!
//! Each forgery here worked against openraft alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyclave_types::envelope;
use keyclave_types::ids::NodeId;
use openraft::entry::{FromAppData, RaftEntry};
use openraft::{CommittedLeaderId, LogIdOptionExt};

use super::keys::{member, sign_as};
use super::lab::{Lab, TestCluster, create, in_ms, node, sleep_ms};
use crate::entry::{Entry, Proposal};
use crate::guard::{Refused, TERMS_AHEAD_MAX};
use crate::message::{Append, AppendAnswer, VoteAsk};
use crate::raft::{AppendRequest, LogId, MemberNode, Membership, Vote};

/// A lab of three in which one member lost its keyring and its honesty, and nobody else can prove anything: the
/// keyed quorum rule does not help.
struct Attack {
    lab: Lab,
    rogue: u64,
    victim: u64,
    leader: u64,
}

impl Attack {
    async fn begin() -> Self {
        let lab = Lab::of(3).await;
        for number in 0..10 {
            lab.write(&format!("key {number}")).await;
        }
        lab.agree().await;
        let leader = lab.leading().await;
        let others: Vec<u64> = (1..=3).filter(|number| *number != leader).collect();
        let attack = Self { lab, rogue: others[0], victim: others[1], leader };
        attack.lab.cut(attack.rogue);
        // Between unproven connections the guard stands alone.
        attack.lab.seal(attack.victim, true);
        attack
    }

    fn victim(&self) -> &TestCluster {
        self.lab.node(self.victim)
    }

    fn last(&self) -> LogId {
        self.victim().inner.ground.last().unwrap()
    }

    fn far_term(&self) -> u64 {
        self.victim().inner.ground.vote().unwrap().leader_id.term + 1_000
    }

    /// The rogue's own log id right after the victim's last.
    fn next(&self) -> LogId {
        LogId::new(CommittedLeaderId::new(self.far_term(), self.rogue), self.last().index + 1)
    }

    fn own_vote(&self) -> Vote {
        Vote::new_committed(self.far_term(), self.rogue)
    }

    fn signed(&self, mut entry: Entry) -> Entry {
        let message = self.victim().inner.guard.line.entry_message(&entry);
        entry.signature = Some(sign_as(node(self.rogue), &message));
        entry
    }

    async fn append(
        &self,
        vote: Vote,
        prev: Option<LogId>,
        entries: Vec<Entry>,
    ) -> Result<AppendAnswer, Refused> {
        let leader_commit = Some(self.next());
        let request = AppendRequest { vote, prev_log_id: prev, entries, leader_commit };
        let append = Append { request, commit_signature: None, sealed: false };
        let sender = node(self.rogue);
        let answer = self.victim().handle_append(sender, false, &append.to_bytes()).await?;
        Ok(envelope::decode(&answer).unwrap())
    }

    async fn forge(&self, entry: Entry) -> Result<AppendAnswer, Refused> {
        self.append(self.own_vote(), Some(self.last()), vec![entry]).await
    }

    /// Whatever was tried, the honest nodes agree, and write on.
    async fn end(self) {
        self.lab.seal(self.victim, false);
        self.lab.write("afterwards").await;
        self.lab.heal(self.rogue);
        self.lab.agree().await;
        for number in 0..10 {
            assert!(self.lab.has(self.victim, &format!("key {number}")));
        }
    }
}

fn at(id: LogId, mut entry: Entry) -> Entry {
    openraft::RaftLogId::set_log_id(&mut entry, &id);
    entry
}

fn only(node_number: u64) -> Membership {
    let member = MemberNode(member(node(node_number)));
    Membership::new(vec![BTreeSet::from([node_number])], BTreeMap::from([(node_number, member)]))
}

#[tokio::test(start_paused = true)]
async fn entries_that_no_writer_signed_for_this_place_are_refused() {
    let attack = Attack::begin().await;
    let before = attack.victim().inner.ledger.digest_at(attack.victim().inner.ledger.applied().index);
    let next = attack.next();
    let honest_next = LogId::new(attack.last().leader_id, next.index);
    let old = attack.victim().inner.log.entries(0, u64::MAX).unwrap();
    let old = old.into_iter().rev().find(|entry| !openraft::entry::RaftPayload::is_blank(entry)).unwrap();
    let decided_under =
        keyclave_types::transaction::LeaderId { term: next.leader_id.term, node: attack.rogue };
    let batch = Entry::from_app_data(Proposal::batch(vec![create(decided_under, "forged")]));
    let tries = [
        ("a batch signed with its node key", attack.signed(at(next, batch.clone()))),
        ("a batch without a signature", at(next, batch)),
        ("itself as only voter", attack.signed(Entry::new_membership(next, only(attack.rogue)))),
        ("a checkpoint", attack.signed(at(next, Entry::from_app_data(Proposal::checkpoint())))),
        ("an old entry under its own term", at(next, old.clone())),
        ("an old entry at the honest leader's next place", at(honest_next, old)),
        ("a blank in the honest leader's name", attack.signed(Entry::new_blank(honest_next))),
    ];
    for (what, entry) in tries {
        let refused = attack.forge(entry).await;
        assert!(matches!(refused, Err(Refused::Signature { .. })), "{what}: {refused:?}");
    }
    let first = Entry::new_membership(LogId::default(), only(attack.rogue));
    let refused = attack.append(attack.own_vote(), None, vec![first]).await;
    assert!(matches!(refused, Err(Refused::Contradiction { .. } | Refused::FirstEntry)), "{refused:?}");
    assert_eq!(attack.victim().inner.ledger.digest_at(attack.victim().inner.ledger.applied().index), before);
    attack.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_fresh_node_takes_no_other_beginning_than_the_pinned_one() {
    let mut lab = Lab::default();
    lab.start(2, Arc::default(), true).await;
    let first = Entry::new_membership(LogId::default(), only(3));
    let request = AppendRequest {
        vote: Vote::new_committed(1, 3),
        prev_log_id: None,
        entries: vec![first],
        leader_commit: None,
    };
    let append = Append { request, commit_signature: None, sealed: false }.to_bytes();
    let refused = lab.node(2).handle_append(node(3), false, &append).await;
    assert!(matches!(refused, Err(Refused::FirstEntry)), "{refused:?}");
    assert!(lab.node(2).members().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_vote_names_its_sender_and_is_within_reach() {
    let attack = Attack::begin().await;
    let term = attack.far_term();
    let last = Some(attack.last());
    let (victim, leader) = (attack.victim, attack.leader);
    for vote in [Vote::new_committed(term, victim), Vote::new_committed(term, leader)] {
        let refused = attack.append(vote, last, vec![]).await;
        assert!(matches!(refused, Err(Refused::Vote { .. })), "{refused:?}");
    }
    for term in [u64::MAX, term + TERMS_AHEAD_MAX] {
        let refused = attack.append(Vote::new_committed(term, attack.rogue), last, vec![]).await;
        assert!(matches!(refused, Err(Refused::Term { .. })), "{refused:?}");
        let ask = VoteAsk { vote: Vote::new(term, attack.rogue).into(), last: None };
        let refused = attack.victim().handle_vote(node(attack.rogue), false, &envelope::encode(&ask)).await;
        assert!(matches!(refused, Err(Refused::Term { .. })), "{refused:?}");
    }
    let refused = attack.append(Vote::new(term, attack.rogue), last, vec![]).await;
    assert!(matches!(refused, Err(Refused::VoteKind)), "{refused:?}");
    assert_ne!(attack.victim().leadership().leader, Some(node(victim)));
    attack.end().await;
}

#[tokio::test(start_paused = true)]
async fn entries_out_of_order_or_newer_than_their_vote_are_refused() {
    let attack = Attack::begin().await;
    let next = attack.next();
    let skipped = LogId::new(next.leader_id, next.index + 1);
    let newer = LogId::new(CommittedLeaderId::new(attack.far_term() + 1, attack.rogue), next.index);
    for id in [skipped, newer] {
        let refused = attack.forge(attack.signed(Entry::new_blank(id))).await;
        assert!(matches!(refused, Err(Refused::Order { .. })), "{refused:?}");
    }
    attack.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_append_that_contradicts_what_was_applied_is_refused_with_an_alarm() {
    let attack = Attack::begin().await;
    let applied = attack.victim().inner.ground.applied().unwrap();
    let own = CommittedLeaderId::new(attack.far_term(), attack.rogue);
    let log_end = attack.last().index;
    let refused = attack.append(attack.own_vote(), Some(LogId::new(own, applied.index - 3)), vec![]).await;
    assert!(matches!(refused, Err(Refused::Contradiction { .. })), "{refused:?}");
    let place = LogId::new(own, applied.index);
    let before = attack.victim().inner.log.entries(applied.index - 1, applied.index).unwrap()[0].log_id;
    let blank = attack.signed(Entry::new_blank(place));
    let refused = attack.append(attack.own_vote(), Some(before), vec![blank]).await;
    assert!(matches!(refused, Err(Refused::Contradiction { .. })), "{refused:?}");
    assert_eq!(attack.victim().refusals().0, 2);
    assert_eq!(attack.last().index, log_end, "nothing was cut");
    attack.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_index_that_nobody_vouches_for_commits_nothing() {
    let lab = Lab::of(3).await;
    let old = lab.leading().await;
    let others: Vec<u64> = (1..=3).filter(|number| *number != old).collect();
    let stale = lab.node(old).clone();
    lab.cut(old);
    let pending = {
        let (stale, mine) = (stale.clone(), stale.leadership().mine.unwrap());
        tokio::spawn(async move { stale.propose(create(mine, "never"), in_ms(3_000)).await })
    };
    sleep_ms(50).await;
    lab.seal(old, true);
    let last = stale.inner.ground.last();
    let applied = stale.inner.ground.applied();
    let term = stale.inner.ground.vote().unwrap().leader_id.term;
    let request = AppendRequest {
        vote: Vote::new_committed(term + 5, others[0]),
        prev_log_id: last,
        entries: vec![],
        leader_commit: last,
    };
    let forged = Append { request, commit_signature: Some([9; 64]), sealed: false }.to_bytes();
    stale.handle_append(node(others[0]), false, &forged).await.unwrap();
    sleep_ms(50).await;
    assert_eq!(stale.inner.ground.applied(), applied, "the false commit index was not believed");
    assert!(pending.await.unwrap().is_err(), "and the waiting client was not told ok");
    lab.seal(old, false);
    lab.write("others").await;
    lab.heal(old);
    lab.write("together").await;
    lab.agree().await;
    assert!((1..=3).all(|number| !lab.has(number, "never")));
}

#[tokio::test(start_paused = true)]
async fn a_writers_signature_over_the_commit_index_is_believed_on_any_connection() {
    let lab = Lab::of(3).await;
    let follower = lab.follower().await;
    lab.seal(follower, true);
    for number in 0..5 {
        lab.write(&format!("key {number}")).await;
    }
    lab.agree().await;
    assert!(lab.has(follower, "key 4"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_never_makes_its_receiver_a_leader() {
    let lab = Lab::of(3).await;
    let old = lab.leading().await;
    lab.cut(old);
    let others: Vec<u64> = (1..=3).filter(|number| *number != old).collect();
    while !others.iter().any(|number| lab.node(*number).leadership().mine.is_some()) {
        sleep_ms(20).await;
    }
    lab.write("acknowledged").await;
    let honest = lab.leading().await;
    let rogue = others.into_iter().find(|number| *number != honest).unwrap();
    let forged = AppendAnswer::HigherVote(Vote::new_committed(5_000, old).into());
    lab.cut(honest);
    lab.web.forge(node(rogue), Some(envelope::encode(&forged)));
    lab.heal(old);
    sleep_ms(1_500).await;
    assert!(lab.node(old).inner.ground.vote().unwrap().leader_id.term < 5_000);
    lab.web.forge(node(rogue), None);
    lab.heal(honest);
    lab.write("later").await;
    lab.agree().await;
    assert!((1..=3).all(|number| lab.has(number, "acknowledged")));
}

#[tokio::test(start_paused = true)]
async fn a_higher_vote_in_an_answer_costs_one_election_and_no_more() {
    let lab = Lab::of(3).await;
    let (leader, rogue) = (lab.leading().await, lab.follower().await);
    let term = lab.node(leader).leadership().term;
    let forged = AppendAnswer::HigherVote(Vote::new_committed(term + 10, rogue).into());
    lab.seal(rogue, true);
    lab.web.forge(node(rogue), Some(envelope::encode(&forged)));
    sleep_ms(5_000).await;
    lab.write("under attack").await;
    let after = lab.node(lab.leading().await).leadership().term;
    sleep_ms(20_000).await;
    assert_eq!(
        lab.node(lab.leading().await).leadership().term,
        after,
        "the next one costs nothing for a minute"
    );
}

#[tokio::test(start_paused = true)]
async fn while_a_quorum_holds_the_keyring_nobody_else_is_heard() {
    let lab = Lab::of(3).await;
    lab.write("key").await;
    let (leader, victim) = (lab.leading().await, lab.follower().await);
    let rogue = (1..=3).find(|number| *number != leader && *number != victim).unwrap();
    lab.seal(rogue, true);
    let target = lab.node(victim);
    let last = target.inner.ground.last();
    let request = AppendRequest {
        vote: Vote::new_committed(50, rogue),
        prev_log_id: last,
        entries: vec![],
        leader_commit: None,
    };
    let append = Append { request, commit_signature: None, sealed: true }.to_bytes();
    let refused = target.handle_append(node(rogue), false, &append).await;
    assert!(matches!(refused, Err(Refused::NotKeyed)), "{refused:?}");
    let ask = VoteAsk { vote: Vote::new(50, rogue).into(), last: last.map(Into::into) };
    let refused = target.handle_vote(node(rogue), false, &envelope::encode(&ask)).await;
    assert!(matches!(refused, Err(Refused::NotKeyed)), "{refused:?}");
    let term = target.leadership().term;
    lab.write("undisturbed").await;
    assert_eq!(lab.node(victim).leadership().term, term);
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn its_own_blank_on_the_true_tail_stalls_writes_for_an_election_only() {
    let attack = Attack::begin().await;
    let blank = attack.signed(Entry::new_blank(attack.next()));
    assert_eq!(attack.forge(blank).await.unwrap(), AppendAnswer::Success);
    attack.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_was_rolled_back_is_noticed() {
    let mut lab = Lab::of(3).await;
    lab.write("early").await;
    let (leader, back) = (lab.leading().await, lab.follower().await);
    lab.agree().await;
    let old = Arc::new(lab.disk(back).durable());
    for number in 0..20 {
        lab.write(&format!("key {number}")).await;
    }
    lab.agree().await;
    let had = lab.node(back).inner.ground.last();
    lab.crash(back, false).await;
    lab.start(back, old, false).await;
    sleep_ms(4_000).await;
    assert!(lab.node(back).inner.ground.last() < had);
    assert_eq!(lab.leading().await, leader, "it takes part in nothing");
    let ask = VoteAsk {
        vote: Vote::new(lab.node(leader).leadership().term + 1, back).into(),
        last: lab.node(back).inner.ground.last().map(Into::into),
    };
    let asked: NodeId = node(back);
    let refused = lab.node(leader).handle_vote(asked, true, &envelope::encode(&ask)).await;
    assert!(matches!(refused, Err(Refused::RolledBack { .. })), "{refused:?}");
    assert!(had.index().is_some());
}
