//! Which links are cut or held at a moment, when several faults overlap: a link is whole only when no fault needs it
//! otherwise. A pure core; [`super::run`] carries out what it says.

use std::collections::BTreeMap;

/// A fault of the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkFault {
    /// Nothing passes from the one to the other.
    Cut {
        /// Sender.
        from: u64,
        /// Receiver.
        to: u64,
    },
    /// Everything between the two waits, and arrives late when it is let go.
    Hold {
        /// The smaller node.
        one: u64,
        /// The larger node.
        other: u64,
    },
}

/// What is to be done to a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkAct {
    /// Cut one direction.
    Cut(u64, u64),
    /// Mend one direction.
    Mend(u64, u64),
    /// Hold both directions.
    Hold(u64, u64),
    /// Let go what is held.
    Release(u64, u64),
}

/// How one pair of nodes is linked: both cuts, or held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct State {
    cut_up: bool,
    cut_down: bool,
    held: bool,
}

/// All faults that are under way.
#[derive(Debug, Default)]
pub struct Links {
    faults: Vec<(u64, LinkFault)>,
    states: BTreeMap<(u64, u64), State>,
}

impl Links {
    /// Begins a fault that ends at `until_ms`.
    pub fn add(&mut self, until_ms: u64, fault: LinkFault) {
        self.faults.push((until_ms, fault));
    }

    /// Whether there is none.
    pub fn is_clear(&self) -> bool {
        self.faults.is_empty()
    }

    /// Ends all faults.
    pub fn clear(&mut self) {
        self.faults.clear();
    }

    /// Ends what is over and says what changes.
    pub fn step(&mut self, now_ms: u64) -> Vec<LinkAct> {
        self.faults.retain(|(until_ms, _)| *until_ms > now_ms);
        let mut wanted: BTreeMap<(u64, u64), State> = BTreeMap::new();
        for (_, fault) in &self.faults {
            match *fault {
                LinkFault::Cut { from, to } if from < to => {
                    wanted.entry((from, to)).or_default().cut_up = true
                }
                LinkFault::Cut { from, to } => wanted.entry((to, from)).or_default().cut_down = true,
                LinkFault::Hold { one, other } => {
                    wanted.entry((one.min(other), one.max(other))).or_default().held = true;
                }
            }
        }
        // What is cut cannot be held at the same time.
        for state in wanted.values_mut().filter(|state| state.cut_up || state.cut_down) {
            state.held = false;
        }
        let pairs: Vec<(u64, u64)> = wanted.keys().chain(self.states.keys()).copied().collect();
        let mut acts = Vec::new();
        for pair in pairs {
            let new = wanted.get(&pair).copied().unwrap_or_default();
            let old = self.states.insert(pair, new).unwrap_or_default();
            acts.extend(change(pair, old, new));
        }
        acts
    }
}

fn change((low, high): (u64, u64), old: State, new: State) -> Vec<LinkAct> {
    let mut acts = Vec::new();
    if old.held && !new.held {
        acts.push(LinkAct::Release(low, high));
    }
    for (before, after, from, to) in
        [(old.cut_up, new.cut_up, low, high), (old.cut_down, new.cut_down, high, low)]
    {
        match (before, after) {
            (false, true) => acts.push(LinkAct::Cut(from, to)),
            (true, false) => acts.push(LinkAct::Mend(from, to)),
            (true, true) | (false, false) => {}
        }
    }
    if new.held && !old.held {
        acts.push(LinkAct::Hold(low, high));
    }
    acts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_mended_only_when_the_last_fault_on_it_ends() {
        let mut links = Links::default();
        links.add(10, LinkFault::Cut { from: 2, to: 1 });
        links.add(20, LinkFault::Cut { from: 2, to: 1 });
        assert_eq!(links.step(0), [LinkAct::Cut(2, 1)]);
        assert_eq!(links.step(10), []);
        assert_eq!(links.step(20), [LinkAct::Mend(2, 1)]);
        assert_eq!(links.step(21), []);
    }

    #[test]
    fn a_cut_takes_precedence_over_a_hold_and_gives_it_back() {
        let mut links = Links::default();
        links.add(30, LinkFault::Hold { one: 2, other: 1 });
        assert_eq!(links.step(0), [LinkAct::Hold(1, 2)]);
        links.add(20, LinkFault::Cut { from: 1, to: 2 });
        assert_eq!(links.step(1), [LinkAct::Release(1, 2), LinkAct::Cut(1, 2)]);
        assert_eq!(links.step(20), [LinkAct::Mend(1, 2), LinkAct::Hold(1, 2)]);
        assert_eq!(links.step(30), [LinkAct::Release(1, 2)]);
    }

    #[test]
    fn clearing_mends_everything() {
        let mut links = Links::default();
        links.add(99, LinkFault::Cut { from: 1, to: 2 });
        links.add(99, LinkFault::Hold { one: 1, other: 3 });
        links.step(0);
        links.clear();
        assert_eq!(links.step(1), [LinkAct::Mend(1, 2), LinkAct::Release(1, 3)]);
    }
}
