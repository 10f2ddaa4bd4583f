//! The making of faults: whether a drawn one can happen at this moment, and what it does to hosts, disks, clocks, links and
//! members. What ends later than it begins is left with the driver, which undoes it.

use super::{Driver, HAND_OVER_MS, MEMBERS_MIN, RESTART_MS, Undo};
use crate::history::Event;
use crate::sim::links::LinkFault;
use crate::sim::schedule::{Fault, JUMP_MS_MAX, Planned, Whom};
use crate::sim::whole::operator::Errand;
use crate::sim::world::{Command, NodeState};

impl Driver {
    /// Makes a planned fault, if it can happen at this moment.
    pub(super) fn begin(&mut self, planned: &Planned) {
        let until = self.now_ms() + planned.for_ms;
        let whom = match planned.fault {
            Fault::Grow => self.world.leader().and(self.world.spare()).map(|node| node.number),
            Fault::Shrink { whom } => self.resolve(whom).filter(|_| self.can_shrink()),
            Fault::Forge { whom } | Fault::RollBack { whom } => {
                self.resolve(whom).filter(|node| self.can_be_cast_out(*node))
            }
            Fault::Swap { one, other } => self
                .resolve(Whom::Node(one))
                .filter(|one| self.can_swap(*one, self.resolve(Whom::Node(other)))),
            Fault::OperatorSeal { whom: Some(whom) } => self.resolve(whom),
            Fault::OperatorSeal { whom: None } => Some(0),
            Fault::CutOff { whom }
            | Fault::CutOneWay { whom, .. }
            | Fault::Crash { whom }
            | Fault::LongOutage { whom }
            | Fault::SyncError { whom }
            | Fault::DiskFull { whom }
            | Fault::Seal { whom }
            | Fault::ClockJump { whom, .. }
            | Fault::ClockLeap { whom, .. } => self.resolve(whom),
            Fault::CutPair { one, .. } | Fault::Hold { one, .. } | Fault::Overlap { bridge: one } => {
                Some(one)
            }
            Fault::HandOver | Fault::Checkpoint => self.resolve(Whom::Leader),
            Fault::PowerLoss => Some(0),
        };
        // A fault of somebody who is not there does not happen, and is not counted.
        let Some(node) = whom.filter(|node| !self.down.contains_key(node)) else { return };
        if !self.clock_may_go_wrong(&planned.fault, node) {
            return;
        }
        if matches!(planned.fault, Fault::RollBack { .. }) && !self.roll_back(node) {
            return;
        }
        self.record(Event::Fault { class: planned.fault.class().to_owned(), node });
        self.make_fault(&planned.fault, node, until);
    }

    fn make_fault(&mut self, fault: &Fault, node: u64, until: u64) {
        match *fault {
            Fault::CutOff { .. } => self.cut_off(node, until, true, true),
            Fault::CutOneWay { mute, .. } => self.cut_off(node, until, mute, !mute),
            Fault::CutPair { other, .. } => {
                if let Some(other) = self.resolve(Whom::Node(other)) {
                    self.cut_pair(node, other, until);
                }
            }
            Fault::Hold { other, .. } => {
                if let Some(other) = self.resolve(Whom::Node(other)) {
                    self.links.add(until, LinkFault::Hold { one: node, other });
                }
            }
            Fault::Overlap { .. } => self.overlap(node, until),
            Fault::Grow => self.grow(node),
            Fault::Shrink { .. } => {
                let id = self.world.node(node).map_or(node, NodeState::id);
                let leads = self.world.leader().is_some_and(|leader| leader.number == node);
                if leads && !self.world.setup.whole {
                    // What a whole leader does by itself before it goes.
                    self.tell_leader(Command::HandOver);
                    self.undo.push((self.now_ms() + HAND_OVER_MS, Undo::Remove(id)));
                } else {
                    self.operate(Errand::Remove(id), Command::Remove(id));
                }
            }
            Fault::Forge { .. } => {
                self.replace_by_liar(node);
                self.undo.push((until, Undo::CastOut(node)));
            }
            Fault::RollBack { .. } => self.undo.push((until, Undo::CastOut(node))),
            Fault::Swap { other, .. } => {
                if let Some(other) = self.resolve(Whom::Node(other)) {
                    self.swap(node, other);
                    self.undo.push((until, Undo::Swap(node, other)));
                }
            }
            Fault::OperatorSeal { whom } => self.operator_seal(whom.map(|_| node), until),
            Fault::Crash { .. } => self.end_process(node, until, self.world.setup.seed.is_multiple_of(2)),
            Fault::PowerLoss => {
                for number in self.world.active() {
                    self.end_process(number, until, true);
                }
            }
            Fault::LongOutage { .. } => {
                self.end_process(node, until, true);
                self.tell_leader(Command::Checkpoint);
            }
            Fault::SyncError { .. } => self.with_node(node, |node| node.disk.fail_next_sync()),
            Fault::DiskFull { .. } => {
                self.with_node(node, |node| node.disk.set_full(true));
                self.undo.push((until, Undo::Full(node)));
            }
            Fault::Seal { .. } => {
                self.with_node(node, |node| {
                    node.set_sealed(true);
                    node.tell(Command::Seal(true));
                });
                self.undo.push((until, Undo::Seal(node)));
            }
            Fault::ClockJump { by_ms, .. } | Fault::ClockLeap { by_ms, .. } => {
                self.with_node(node, |node| node.shelf.clock.jump(by_ms));
                self.undo.push((until, Undo::Clock(node)));
            }
            Fault::HandOver => self.operate(Errand::StepDown, Command::HandOver),
            Fault::Checkpoint => self.tell_leader(Command::Checkpoint),
        }
    }

    /// Whether a clock may be set so: only one leaps at a time, since a majority of clocks that are wrong alike is
    /// believed, and jumps do not add up to more than is believed.
    fn clock_may_go_wrong(&self, fault: &Fault, node: u64) -> bool {
        let off_ms = |node: &NodeState| node.shelf.clock.off_ms().unsigned_abs();
        match fault {
            Fault::ClockLeap { .. } => self.world.nodes().iter().all(|node| off_ms(node) <= JUMP_MS_MAX),
            Fault::ClockJump { .. } => self.world.node(node).is_some_and(|node| off_ms(node) == 0),
            _ => true,
        }
    }

    /// Whether a member may be removed: enough remain.
    fn can_shrink(&self) -> bool {
        self.world.leader().is_some() && self.world.members().len() > MEMBERS_MIN
    }

    /// Whether two nodes may change disks: both are up, and neither is on its way out.
    fn can_swap(&self, one: u64, other: Option<u64>) -> bool {
        let free = |node: u64| !self.down.contains_key(&node) && !self.is_out(node);
        other.is_some_and(|other| one != other && free(one) && free(other))
            && !self.undo.iter().any(|(_, undo)| matches!(undo, Undo::Swap(..)))
    }

    /// Two machines are restarted with each other's disks: each data directory is at another address then.
    pub(super) fn swap(&mut self, one: u64, other: u64) {
        let back = self.now_ms() + RESTART_MS;
        for node in [one, other] {
            self.end_process(node, back, true);
        }
        if let (Some(one), Some(other)) = (self.world.node(one), self.world.node(other)) {
            one.swap_disks(other);
        }
    }

    /// A fresh node takes part.
    pub(super) fn grow(&self, node: u64) {
        self.with_node(node, NodeState::activate);
        // A whole node asks by itself.
        self.tell_leader(Command::Add(node));
    }

    /// The operator seals one node, or all; people bring their shares when the time is over.
    fn operator_seal(&mut self, node: Option<u64>, until: u64) {
        let sealed: Vec<u64> = node.map_or_else(|| self.world.active(), |node| vec![node]);
        for number in sealed {
            self.with_node(number, |node| node.set_sealed(true));
            self.undo.push((until, Undo::Seal(number)));
        }
        let id = node.and_then(|node| self.world.node(node)).map(NodeState::id);
        self.world.secrets.send(Errand::Seal(id));
    }

    fn cut_off(&mut self, node: u64, until: u64, out: bool, inward: bool) {
        for other in self.world.active().into_iter().filter(|other| *other != node) {
            if out {
                self.links.add(until, LinkFault::Cut { from: node, to: other });
            }
            if inward {
                self.links.add(until, LinkFault::Cut { from: other, to: node });
            }
        }
    }

    fn cut_pair(&mut self, one: u64, other: u64, until: u64) {
        self.links.add(until, LinkFault::Cut { from: one, to: other });
        self.links.add(until, LinkFault::Cut { from: other, to: one });
    }

    /// Two halves that do not hear each other, both heard by the bridge.
    fn overlap(&mut self, bridge: u64, until: u64) {
        let mut rest = self.world.active();
        rest.retain(|node| *node != bridge);
        let (left, right) = rest.split_at(rest.len() / 2);
        for one in left {
            for other in right {
                self.cut_pair(*one, *other, until);
            }
        }
    }
}
