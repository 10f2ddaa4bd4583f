//! What the driver and the simulated nodes share: disks, the history, what a node is told to do and what it says of
//! itself. Everything runs in one thread; the locks only satisfy the types.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use keyclave_node::world::RuntimeMemory;

use super::dice::Dice;
use super::disk::MemoryDisk;
use super::ear::Ear;
use super::identity::name;
use super::planted::Planted;
use super::whole::machine::Shelf;
use super::whole::secrets::Secrets;
use crate::history::{Event, Recorder};

/// Nodes that can join in the course of a run, and in the course of a rough one.
const SPARES: u64 = 3;
const ROUGH_SPARES: u64 = 6;

/// What decides a run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Everything random follows from it.
    pub seed: u64,
    /// How many nodes it begins with.
    pub nodes: u64,
    /// A bug that is built in.
    pub planted: Option<Planted>,
    /// Whether the nodes are whole, or the cluster half alone.
    pub whole: bool,
    /// Whether it also has the faults that change a cluster for good.
    pub rough: bool,
}

impl Setup {
    /// How many machines there are, those that may join included.
    pub fn machines(&self) -> u64 {
        self.nodes + if self.rough { ROUGH_SPARES } else { SPARES }
    }
}

/// Something that a node is told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Forget the keys, or have them again.
    Seal(bool),
    /// Hand leadership over.
    HandOver,
    /// Take a checkpoint, a snapshot, and drop what it covers from the log.
    Checkpoint,
    /// Make this node a member and then a voter.
    Add(u64),
    /// Make this node no member any more.
    Remove(u64),
}

/// What a run goes through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// The cluster is made.
    Making,
    /// Faults happen.
    Faults,
    /// No faults; clients go on; the cluster must heal.
    Healing,
    /// Clients have stopped, so that all nodes come to one state.
    Quiet,
}

/// One run. Clones share it.
#[derive(Clone)]
pub struct World {
    /// What decides it.
    pub setup: Setup,
    /// Its history.
    pub recorder: Recorder,
    /// What the people of the cluster hold.
    pub secrets: Secrets,
    /// What whole nodes say to each other.
    pub ear: Ear,
    nodes: Arc<Vec<NodeState>>,
    phase: Arc<Mutex<Phase>>,
    operations: Arc<AtomicU64>,
    healed_index: Arc<AtomicU64>,
    described: Arc<AtomicBool>,
}

/// One node as the driver sees it.
pub struct NodeState {
    /// From 1: its name in the network. The cluster gives it a number of its own, see [`NodeState::id`].
    pub number: u64,
    /// Outlives its processes.
    pub disk: MemoryDisk,
    /// So does this, which only whole nodes use.
    pub shelf: Shelf,
    id: AtomicU64,
    commands: Mutex<VecDeque<Command>>,
    leading: AtomicU64,
    applied: AtomicU64,
    members: Mutex<BTreeSet<u64>>,
    active: AtomicBool,
    sealed: AtomicBool,
    lies: AtomicBool,
    stopped: AtomicBool,
    processes: AtomicU64,
}

impl World {
    /// A world with empty disks.
    pub fn new(setup: Setup, recorder: Recorder) -> Self {
        let lies = setup.planted == Some(Planted::DiskWithoutSync);
        let nodes: Vec<NodeState> =
            (1..=setup.machines()).map(|number| NodeState::new(number, MemoryDisk::new(lies))).collect();
        nodes.iter().filter(|node| node.number <= setup.nodes).for_each(NodeState::activate);
        Self {
            setup,
            recorder,
            secrets: Secrets::default(),
            ear: Ear::hearing(),
            nodes: Arc::new(nodes),
            phase: Arc::new(Mutex::new(Phase::Making)),
            operations: Arc::default(),
            healed_index: Arc::default(),
            described: Arc::default(),
        }
    }

    /// All nodes in the order of their numbers.
    pub fn nodes(&self) -> &[NodeState] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, number: u64) -> Option<&NodeState> {
        self.nodes.iter().find(|node| node.number == number)
    }

    /// Who leads in the highest term, as far as the nodes know.
    pub fn leader(&self) -> Option<&NodeState> {
        self.nodes.iter().filter(|node| node.leading().is_some()).max_by_key(|node| node.leading())
    }

    /// Where the run is.
    pub fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next phase has begun.
    pub fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// A number for one act, different from all others.
    pub fn next_operation(&self) -> u64 {
        self.operations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A write of the healing phase was acknowledged at this index.
    pub fn set_healed_index(&self, index: u64) {
        self.healed_index.fetch_max(index, Ordering::Relaxed);
    }

    /// The members, as the node knows that has applied most.
    pub fn members(&self) -> Vec<&NodeState> {
        let members = self.nodes.iter().max_by_key(|node| node.applied()).map(NodeState::members);
        let members = members.unwrap_or_default();
        self.nodes.iter().filter(|node| node.is_active() && members.contains(&node.id())).collect()
    }

    /// The numbers of those that take part.
    pub fn active(&self) -> Vec<u64> {
        self.nodes.iter().filter(|node| node.is_active()).map(|node| node.number).collect()
    }

    /// A node that was never a member.
    pub fn spare(&self) -> Option<&NodeState> {
        self.nodes.iter().find(|node| !node.is_active())
    }

    /// Whether nobody has described the key that rotates by itself.
    pub fn describes_automatic(&self) -> bool {
        !self.described.load(Ordering::Relaxed)
    }

    /// Whether the one who asks is the first to have described it.
    pub fn has_described_automatic(&self) -> bool {
        !self.described.swap(true, Ordering::Relaxed)
    }

    /// Whether such a write exists and every member has applied it.
    pub fn is_healed(&self) -> bool {
        let index = self.healed_index.load(Ordering::Relaxed);
        index > 0 && self.members().iter().all(|node| node.applied() >= index)
    }

    /// Whether every member has applied as much as every other.
    pub fn is_level(&self) -> bool {
        let members = self.members();
        let first = members.first().map(|node| node.applied());
        members.iter().all(|node| Some(node.applied()) == first)
    }

    /// Adds an event of a node's own at its present moment.
    pub fn record(&self, event: Event) {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        self.recorder.record(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), event);
    }
}

impl NodeState {
    fn new(number: u64, disk: MemoryDisk) -> Self {
        Self {
            number,
            disk,
            shelf: Shelf::default(),
            id: AtomicU64::new(number),
            commands: Mutex::default(),
            leading: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            members: Mutex::default(),
            active: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            lies: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            processes: AtomicU64::new(0),
        }
    }

    /// Its name in the simulated network.
    pub fn name(&self) -> String {
        name(self.number)
    }

    /// Its number in the cluster; its own until the cluster gives it another.
    pub fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    /// The number that the cluster gave it.
    pub fn set_id(&self, id: u64) {
        self.id.store(id, Ordering::Relaxed);
    }

    /// Tells it something; it looks every few milliseconds.
    pub fn tell(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
    }

    /// The next thing that it was told.
    pub fn told(&self) -> Option<Command> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The term in which it sees itself lead.
    pub fn leading(&self) -> Option<u64> {
        Some(self.leading.load(Ordering::Relaxed)).filter(|term| *term > 0)
    }

    /// It leads in this term, or does not.
    pub fn set_leading(&self, term: Option<u64>) {
        self.leading.store(term.unwrap_or(0), Ordering::Relaxed);
    }

    /// How far it has applied.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// It has applied up to this index.
    pub fn set_applied(&self, index: u64) {
        self.applied.store(index, Ordering::Relaxed);
    }

    /// Who belongs to the cluster as far as it has applied; nobody while it has no process.
    pub fn members(&self) -> BTreeSet<u64> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These belong to the cluster.
    pub fn set_members(&self, members: BTreeSet<u64>) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    /// Whether it takes part; a spare node does nothing until then.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// From here on it takes part.
    pub fn activate(&self) {
        self.active.store(true, Ordering::Relaxed);
    }

    /// Whether it holds no keys; outlives its processes here, since the driver decides it.
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Relaxed)
    }

    /// It loses or gets its keys.
    pub fn set_sealed(&self, sealed: bool) {
        self.sealed.store(sealed, Ordering::Relaxed);
    }

    /// Whether a thief who has its disk runs in its place.
    pub fn lies(&self) -> bool {
        self.lies.load(Ordering::Relaxed)
    }

    /// Its next process is a thief's, or its own again.
    pub fn set_lies(&self, lies: bool) {
        self.lies.store(lies, Ordering::Relaxed);
    }

    /// Its process cannot go on and asks to be ended.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it has asked to be ended since the last question.
    pub fn has_stopped(&self) -> bool {
        self.stopped.swap(false, Ordering::Relaxed)
    }

    /// Counts a process that starts, from 1.
    pub fn start(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// This machine gets the other's disk, and the other this one's. To be done while neither has a process.
    pub fn swap_disks(&self, other: &Self) {
        let (mine, theirs) = (self.disk.image(), other.disk.image());
        self.disk.restore(theirs);
        other.disk.restore(mine);
        self.shelf.trail.swap(&other.shelf.trail);
    }

    /// Its process has ended, and with it whatever was not synced; with the power, its memory too.
    pub fn crash(&self, dice: &mut Dice, power: bool) {
        self.disk.crash(dice);
        self.shelf.trail.cut_power_keeping(|_, _| dice.one_in(2));
        if power {
            self.shelf.runtime.wipe();
        }
        self.forget_process();
    }

    /// Its process is gone, and what it said of itself with it.
    fn forget_process(&self) {
        self.set_leading(None);
        self.set_applied(0);
        self.set_members(BTreeSet::new());
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.stopped.store(false, Ordering::Relaxed);
    }
}
