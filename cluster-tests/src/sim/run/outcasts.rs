//! Members that must not stay: one whose disk was put back to what it held earlier, one whose place a liar took. They
//! are given some time to do harm, are then ended for good, and the operator removes them, after a fresh node has
//! joined in their place.
//!
//! Such a member is one that is lost, and what it had acknowledged may be on one other node alone. So it begins when all
//! members are up, and until it has been ended nobody else is lost: what a liar can do beside a second loss, SECURITY.md
//! says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Driver;
use crate::history::Event;
use crate::sim::disk::Image;
use crate::sim::forged::Log;
use crate::sim::schedule::Planned;
use crate::sim::whole::operator::Errand;
use crate::sim::world::{Command, NodeState, Phase};

/// How often a disk is copied, and how many copies are kept.
const COPY_MS: u64 = 4_000;
const COPIES_MAX: usize = 3;
/// How often the operator is sent to remove who is still a member.
const REMOVE_AGAIN_MS: u64 = 2_500;
/// The moment at which the operator is sent for one that still does harm: never.
const HARMFUL_MS: u64 = u64::MAX;
/// Members that may be cast out in one run.
const OUTCASTS_MAX: usize = 2;
/// How long a machine takes to come back with another disk or another process.
const BACK_MS: u64 = 100;

/// What the driver remembers of disks and of who is out.
#[derive(Default)]
pub(super) struct Outcasts {
    /// Who was cast out, or is about to be.
    all: BTreeSet<u64>,
    /// Who is still a member, and when the operator is sent next.
    members: BTreeMap<u64, u64>,
    /// Faults of this kind that wait until all members are up; meanwhile nobody else is lost.
    pub(super) waiting: VecDeque<Planned>,
    copies: BTreeMap<u64, VecDeque<Copied>>,
    next_copy_ms: u64,
}

/// A disk as it was.
struct Copied {
    image: Image,
    led_by: Option<(u64, u64)>,
}

impl Outcasts {
    /// Whether a member may be lost besides: none does harm or is about to.
    pub(super) fn may_lose_more(&self) -> bool {
        self.waiting.is_empty() && !self.members.values().any(|at| *at == HARMFUL_MS)
    }

    /// Whether every one is a member no more.
    pub(super) fn nobody_is_on_the_way(&self) -> bool {
        self.members.is_empty()
    }
}

impl Driver {
    /// Copies disks, and sends the operator, when it is time.
    pub(super) fn tend_outcasts(&mut self, now: u64) {
        // A disk of before the cluster was made is an empty directory, which is another matter.
        if self.world.phase() == Phase::Faults && now >= self.outcasts.next_copy_ms {
            self.outcasts.next_copy_ms = now + COPY_MS;
            let led_by = self.leadership();
            for node in self.world.nodes().iter().filter(|node| node.applied() > 0) {
                let copies = self.outcasts.copies.entry(node.number).or_default();
                copies.truncate(COPIES_MAX - 1);
                copies.push_front(Copied { image: node.disk.image(), led_by });
            }
        }
        let members: BTreeSet<u64> = self.world.members().iter().map(|node| node.number).collect();
        let due: Vec<u64> =
            self.outcasts.members.iter().filter(|(_, at)| **at <= now).map(|(node, _)| *node).collect();
        for node in due {
            if !members.is_empty() && !members.contains(&node) {
                self.outcasts.members.remove(&node);
                continue;
            }
            self.outcasts.members.insert(node, now + REMOVE_AGAIN_MS);
            let id = self.world.node(node).map_or(node, NodeState::id);
            self.operate(Errand::Remove(id), Command::Remove(id));
        }
    }

    /// Whether a member may be spared: a fresh node can take its place, and nobody else is on the way out.
    pub(super) fn can_be_cast_out(&self, node: u64) -> bool {
        let enough = self.outcasts.all.len() < OUTCASTS_MAX && self.world.spare().is_some();
        enough && self.outcasts.members.is_empty() && !self.outcasts.all.contains(&node)
    }

    /// Whether a node has been cast out: it never comes back.
    pub(super) fn is_out(&self, node: u64) -> bool {
        self.outcasts.all.contains(&node) && !self.world.node(node).is_some_and(NodeState::lies)
    }

    /// The node's disk is put back to what it held some seconds ago; whether it lacks anything now.
    pub(super) fn roll_back(&mut self, node: u64) -> bool {
        let led_by = self.leadership();
        let Some(copied) = self.outcasts.copies.get(&node).and_then(VecDeque::back) else { return false };
        let seen_by = copied.led_by.filter(|leader| Some(*leader) == led_by).map(|(leader, _)| leader);
        let image = copied.image.clone();
        let back = self.now_ms() + BACK_MS;
        self.end_process(node, back, true);
        let Some(state) = self.world.node(node) else { return false };
        let from = Log::read(&state.disk).last();
        state.disk.restore(image);
        let to = Log::read(&state.disk).last();
        if to < from {
            let seen_by = seen_by.filter(|leader| *leader != node);
            self.record(Event::RolledBack { node, from, to, seen_by });
            self.outcasts.all.insert(node);
            self.outcasts.members.insert(node, HARMFUL_MS);
        }
        to < from
    }

    /// A liar takes the node's place.
    pub(super) fn replace_by_liar(&mut self, node: u64) {
        self.outcasts.all.insert(node);
        self.outcasts.members.insert(node, HARMFUL_MS);
        self.end_process(node, self.now_ms() + BACK_MS, true);
        self.with_node(node, |node| node.set_lies(true));
    }

    /// Its time is over: it is ended for good, and somebody else takes its place.
    pub(super) fn cast_out(&mut self, node: u64) {
        self.with_node(node, |node| node.set_lies(false));
        self.end_process(node, u64::MAX, true);
        self.record(Event::CastOut { node });
        self.outcasts.members.insert(node, self.now_ms() + REMOVE_AGAIN_MS);
        if let Some(spare) = self.world.spare().map(|spare| spare.number) {
            self.grow(spare);
        }
    }

    fn leadership(&self) -> Option<(u64, u64)> {
        self.world.leader().and_then(|leader| Some((leader.number, leader.leading()?)))
    }
}
