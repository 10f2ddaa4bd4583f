//! One run from its seed: makes a cluster, makes faults, ends them, waits until the cluster has healed, and reads
//! what every node has at the end. The nodes themselves are in [`super::host`].

mod faults;
mod outcasts;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use turmoil::{Builder, Sim};

use super::dice::Dice;
use super::host;
use super::identity::name;
use super::links::{LinkAct, Links};
use super::schedule::{self, FAULTS_MS, WHOLE_FAULTS_MS, Whom};
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

    /// Whether every member is up, unsealed and heard by all others.
    fn is_quiet(&self) -> bool {
        let harmless = |undo: &Undo| matches!(undo, Undo::Clock(_) | Undo::Remove(_));
        let undone = self.undo.iter().all(|(_, undo)| harmless(undo));
        let all_up = self.down.keys().all(|node| self.is_out(*node));
        self.links.is_clear() && undone && all_up && self.world.leader().is_some()
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

    fn apply(&mut self, act: LinkAct) {
        match act {
            LinkAct::Cut(from, to) => self.sim.partition_oneway(name(from), name(to)),
            LinkAct::Mend(from, to) => self.sim.repair_oneway(name(from), name(to)),
            LinkAct::Hold(one, other) => self.sim.hold(name(one), name(other)),
            LinkAct::Release(one, other) => self.sim.release(name(one), name(other)),
        }
    }
}
