//! One run from its seed: makes a cluster, makes faults, ends them, waits until the cluster has healed, and reads
//! what every node has at the end. The nodes themselves are in [`super::host`].

mod outcasts;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use turmoil::{Builder, Sim};

use super::dice::Dice;
use super::host;
use super::identity::name;
use super::links::{LinkAct, LinkFault, Links};
use super::schedule::{self, FAULTS_MS, Fault, JUMP_MS_MAX, Planned, WHOLE_FAULTS_MS, Whom};
use super::whole::operator::Errand;
use super::whole::{callers, operator, process, search};
use super::world::{Command, NodeState, Phase, Setup, World};
use crate::history::{Event, Recorded, Recorder};

/// When simulated time begins, in seconds since 1970: left to turmoil it would be the time of the real run.
const EPOCH_S: u64 = 1_800_000_000;
/// How long the cluster may take to be made.
const MAKING_MS_MAX: u64 = 60_000;
/// How long it may take to heal, after which the run has failed.
const HEALING_MS_MAX: u64 = 40_000;
/// How long clients go on after it has healed.
const AFTERWARDS_MS: u64 = 2_000;
/// How long the nodes may take to come to one state when nobody writes.
const LEVEL_MS_MAX: u64 = 20_000;
/// How many members always remain.
const MEMBERS_MIN: usize = 3;
/// How long a process that had to stop stays away.
const RESTART_MS: u64 = 500;
/// How long a leader that is to be removed may take to hand over.
const HAND_OVER_MS: u64 = 2_000;

/// Runs a seed, writes its history as it happens, and gives it.
pub fn run(setup: Setup, recorder: Recorder) -> Vec<Recorded> {
    let world = World::new(setup, recorder);
    let mut driver = Driver::new(world.clone());
    driver.make();
    if world.phase() == Phase::Faults {
        driver.faults();
        driver.heal();
        driver.level();
    }
    driver.close();
    world.recorder.history()
}

struct Driver {
    world: World,
    sim: Sim<'static>,
    links: Links,
    /// Nodes without a process, and when they come back.
    down: BTreeMap<u64, u64>,
    /// What ends later than it begins, apart from links and crashes.
    undo: Vec<(u64, Undo)>,
    outcasts: outcasts::Outcasts,
    dice: Dice,
}

#[derive(Clone, Copy)]
enum Undo {
    Full(u64),
    Seal(u64),
    Clock(u64),
    CastOut(u64),
    Swap(u64, u64),
    /// Not undone, but done when who leads has had time to hand over.
    Remove(u64),
}

impl Driver {
    fn new(world: World) -> Self {
        let setup = world.setup;
        let mut sim = Builder::new()
            .rng_seed(setup.seed)
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_S))
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_micros(200))
            .max_message_latency(Duration::from_millis(Dice::new(setup.seed, "latency").between(2, 30)))
            .tcp_capacity(4096)
            .simulation_duration(Duration::from_secs(3600))
            .enable_random_order()
            .build();
        for node in world.nodes() {
            let (world, number) = (world.clone(), node.number);
            if setup.whole {
                sim.host(node.name(), move || process::run(world.clone(), number));
            } else {
                sim.host(node.name(), move || host::run(world.clone(), number));
            }
        }
        if setup.whole {
            for host in 0..callers::HOSTS {
                let world = world.clone();
                sim.host(callers::name(host), move || callers::run(world.clone(), host));
            }
            let world = world.clone();
            sim.host(operator::NAME, move || operator::run(world.clone()));
        }
        let dice = Dice::new(setup.seed, "driver");
        let outcasts = outcasts::Outcasts::default();
        Self { world, sim, links: Links::default(), down: BTreeMap::new(), undo: Vec::new(), outcasts, dice }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn record(&self, event: Event) {
        self.world.recorder.record(self.now_ms(), event);
    }

    /// One millisecond; whether the simulation can go on.
    fn step(&mut self) -> bool {
        let now = self.now_ms();
        for act in self.links.step(now) {
            self.apply(act);
        }
        let back: Vec<u64> = self.down.iter().filter(|(_, at)| **at <= now).map(|(node, _)| *node).collect();
        for node in back {
            self.down.remove(&node);
            self.sim.bounce(name(node));
        }
        let (over, open): (Vec<_>, Vec<_>) = self.undo.drain(..).partition(|(at, _)| *at <= now);
        self.undo = open;
        for (_, undo) in over {
            self.undo(undo);
        }
        self.tend_outcasts(now);
        let stopped: Vec<u64> =
            self.world.nodes().iter().filter(|node| node.has_stopped()).map(|node| node.number).collect();
        for node in stopped {
            self.end_process(node, now + RESTART_MS, false);
        }
        match self.sim.step() {
            Ok(_) => true,
            Err(error) => {
                self.record(Event::Broken { why: error.to_string() });
                false
            }
        }
    }

    /// Steps until the condition holds; whether it did within the time.
    fn until(&mut self, limit_ms: u64, holds: impl Fn(&World) -> bool) -> bool {
        let end = self.now_ms() + limit_ms;
        while self.now_ms() < end {
            if holds(&self.world) {
                return true;
            }
            if !self.step() {
                return false;
            }
        }
        holds(&self.world)
    }

    /// The hosts make the cluster among themselves and enter the next phase.
    fn make(&mut self) {
        if !self.until(MAKING_MS_MAX, |world| world.phase() > Phase::Making) {
            self.record(Event::Broken { why: "the cluster was not made".to_owned() });
        }
    }

    fn faults(&mut self) {
        let begun = self.now_ms();
        let mut planned = schedule::draw(self.world.setup).into_iter().peekable();
        let length_ms = if self.world.setup.whole { WHOLE_FAULTS_MS } else { FAULTS_MS };
        while self.now_ms() < begun + length_ms {
            while let Some(fault) = planned.next_if(|planned| begun + planned.at_ms <= self.now_ms()) {
                if fault.fault.casts_out() {
                    self.outcasts.waiting.push_back(fault);
                } else if fault.fault.spares_quorum() || self.outcasts.may_lose_more() {
                    self.begin(&fault);
                }
            }
            if self.is_quiet()
                && self.outcasts.nobody_is_on_the_way()
                && let Some(fault) = self.outcasts.waiting.pop_front()
            {
                self.begin(&fault);
            }
            if !self.step() {
                return;
            }
        }
    }

    fn heal(&mut self) {
        self.links.clear();
        for (_, undo) in std::mem::take(&mut self.undo) {
            self.undo(undo);
        }
        let now = self.now_ms();
        let out: Vec<u64> = self.down.keys().copied().filter(|node| self.is_out(*node)).collect();
        for (_, at) in self.down.iter_mut().filter(|(node, _)| !out.contains(node)) {
            *at = (*at).min(now);
        }
        // What is purged and rewritten later can be compared only here.
        for node in self.world.nodes().iter().filter(|node| node.is_active()) {
            self.record(host::log_of(node));
        }
        self.record(Event::FaultsEnded);
        self.world.enter(Phase::Healing);
        if self.until(HEALING_MS_MAX, World::is_healed) {
            self.record(Event::Healed);
            self.until(AFTERWARDS_MS, |_| false);
        }
    }

    fn level(&mut self) {
        self.world.enter(Phase::Quiet);
        // Acts that are under way end first.
        self.until(AFTERWARDS_MS, |_| false);
        if !self.until(LEVEL_MS_MAX, World::is_level) {
            self.record(Event::Broken { why: "the nodes did not come to one state".to_owned() });
        }
    }

    /// What every node has on its disk, and what was said in the open.
    fn close(&mut self) {
        let now = self.now_ms();
        if self.world.setup.whole {
            for event in search::everywhere(&self.world) {
                self.world.recorder.record(now, event);
            }
        }
        for node in self.world.members() {
            for event in host::last_words(node) {
                self.world.recorder.record(now, event);
            }
        }
    }

    fn begin(&mut self, planned: &Planned) {
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

    /// Whether every member is up, unsealed and heard by all others.
    fn is_quiet(&self) -> bool {
        let harmless = |undo: &Undo| matches!(undo, Undo::Clock(_) | Undo::Remove(_));
        let undone = self.undo.iter().all(|(_, undo)| harmless(undo));
        let all_up = self.down.keys().all(|node| self.is_out(*node));
        self.links.is_clear() && undone && all_up && self.world.leader().is_some()
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

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Full(node) => self.with_node(node, |node| node.disk.set_full(false)),
            Undo::Clock(node) => self.with_node(node, |node| node.shelf.clock.set_right()),
            Undo::CastOut(node) => self.cast_out(node),
            Undo::Swap(one, other) => self.swap(one, other),
            Undo::Remove(id) => self.operate(Errand::Remove(id), Command::Remove(id)),
            Undo::Seal(node) => self.with_node(node, |node| {
                node.set_sealed(false);
                node.tell(Command::Seal(false));
            }),
        }
    }

    fn resolve(&self, whom: Whom) -> Option<u64> {
        match whom {
            Whom::Node(place) => {
                let members = self.world.members();
                let count = u64::try_from(members.len()).unwrap_or(u64::MAX).max(1);
                members.get(usize::try_from(place % count).unwrap_or(0)).map(|node| node.number)
            }
            Whom::Leader => self.world.leader().map(|node| node.number),
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
    fn swap(&mut self, one: u64, other: u64) {
        let back = self.now_ms() + RESTART_MS;
        for node in [one, other] {
            self.end_process(node, back, true);
        }
        if let (Some(one), Some(other)) = (self.world.node(one), self.world.node(other)) {
            one.swap_disks(other);
        }
    }

    /// A fresh node takes part.
    fn grow(&self, node: u64) {
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

    fn with_node(&self, number: u64, act: impl FnOnce(&NodeState)) {
        if let Some(node) = self.world.node(number) {
            act(node);
        }
    }

    fn tell_leader(&self, command: Command) {
        if let Some(leader) = self.world.leader() {
            leader.tell(command);
        }
    }

    /// Sends the operator where there is one; otherwise tells the leader itself.
    fn operate(&self, errand: Errand, command: Command) {
        if self.world.setup.whole {
            self.world.secrets.send(errand);
        } else {
            self.tell_leader(command);
        }
    }

    /// Ends a node's process at once; the disk forgets. Ending it again only prolongs its absence.
    fn end_process(&mut self, node: u64, until: u64, power: bool) {
        let known = self.down.get(&node).copied();
        self.down.insert(node, until.max(known.unwrap_or(0)));
        if known.is_none() {
            self.sim.crash(name(node));
            let dice = &mut self.dice;
            if let Some(node) = self.world.node(node) {
                node.crash(dice, power);
            }
        }
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

    fn apply(&mut self, act: LinkAct) {
        match act {
            LinkAct::Cut(from, to) => self.sim.partition_oneway(name(from), name(to)),
            LinkAct::Mend(from, to) => self.sim.repair_oneway(name(from), name(to)),
            LinkAct::Hold(one, other) => self.sim.hold(name(one), name(other)),
            LinkAct::Release(one, other) => self.sim.release(name(one), name(other)),
        }
    }
}
