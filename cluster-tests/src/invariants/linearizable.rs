//! A checker for linearizability after Wing and Gong, with Lowe's cache of states already tried: is there an order
//! of the operations, each between its call and its return, that a sequential object could have gone through?
//!
//! Called by the models beside it. It gives up after a number of steps instead of a time, so that its verdict is
//! the same on every machine; giving up is unknown, not passed.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;

use super::Verdict;
use crate::history::{Answer, Event, Key, Recorded};

/// Steps of the search per key before it gives up; a run needs some thousands.
const STEPS_MAX: u64 = 20_000_000;

/// What was done with one key.
pub type Operations<M> = Vec<Operation<<M as Model>::Input, <M as Model>::Output>>;

/// Judges every key by its own operations, which linearizability allows: `subject` is what a key is a key of.
pub fn judge<M: Model>(model: &M, keys: &BTreeMap<Key, Operations<M>>, subject: &str) -> Verdict {
    let (mut judged, mut breaches, mut gave_up) = (0, Vec::new(), false);
    for (key, operations) in keys {
        judged += operations.iter().filter(|operation| operation.returned.is_some()).count();
        match check(model, operations, STEPS_MAX) {
            Found::Order => {}
            Found::NoOrder => breaches.push(format!("no order explains the answers about {subject} {key}")),
            Found::GaveUp => gave_up = true,
        }
    }
    match Verdict::of(judged, breaches) {
        Verdict::Held if gave_up => Verdict::Unknown("the search for an order was given up"),
        verdict => verdict,
    }
}

/// Every answer with its moment, by the act that it answers.
pub fn answers(history: &[Recorded]) -> BTreeMap<u64, (usize, &Answer)> {
    let answered = history.iter().enumerate().filter_map(|(moment, recorded)| match &recorded.event {
        Event::Answered { operation, answer } => Some((*operation, (moment, answer))),
        _ => None,
    });
    answered.collect()
}

/// A sequential object.
pub trait Model {
    /// What it remembers.
    type State: Clone + Eq + Hash;
    /// What is asked of it.
    type Input;
    /// What it answers.
    type Output;

    /// Before anything was asked.
    fn initial(&self) -> Self::State;

    /// The state afterwards if the object could have answered so; `None` if it could not. Without an output the
    /// caller never learned the answer: the state afterwards if it took effect, `None` if it could not have.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;
}

/// One operation: its call, and its return if there was one. Moments are places in one total order.
#[derive(Clone, Debug)]
pub struct Operation<I, O> {
    /// Moment of the call.
    pub called: usize,
    /// Moment of the return and what was answered.
    pub returned: Option<(usize, O)>,
    /// What was asked.
    pub input: I,
}

/// What the search found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// An order exists.
    Order,
    /// None exists.
    NoOrder,
    /// The steps were used up.
    GaveUp,
}

/// Searches for an order within `steps_max` steps.
pub fn check<M: Model>(model: &M, operations: &[Operation<M::Input, M::Output>], steps_max: u64) -> Found {
    let mut events = Events::of(operations);
    let mut done = vec![0_u64; operations.len().div_ceil(64)];
    let mut state = model.initial();
    let mut tried: HashSet<(Vec<u64>, M::State)> = HashSet::new();
    let mut path: Vec<(usize, M::State)> = Vec::new();
    let mut at = events.first();
    for _ in 0..steps_max {
        if events.returns_left == 0 {
            return Found::Order;
        }
        let next = at.and_then(|event| events.call_of(event));
        match next {
            Some(operation) => {
                let after = operations.get(operation).and_then(|op| {
                    model.step(&state, &op.input, op.returned.as_ref().map(|(_, output)| output))
                });
                let fresh = after.filter(|after| {
                    flip(&mut done, operation);
                    let fresh = tried.insert((done.clone(), after.clone()));
                    if !fresh {
                        flip(&mut done, operation);
                    }
                    fresh
                });
                if let Some(after) = fresh {
                    path.push((operation, std::mem::replace(&mut state, after)));
                    events.lift(operation);
                    at = events.first();
                } else {
                    at = at.and_then(|event| events.after(event));
                }
            }
            // A return that no order has reached, or the end: take the last choice back and try the next one.
            None => {
                let Some((operation, before)) = path.pop() else { return Found::NoOrder };
                state = before;
                flip(&mut done, operation);
                events.put_back(operation);
                at = events.after(events.call_event(operation));
            }
        }
    }
    Found::GaveUp
}

fn flip(bits: &mut [u64], place: usize) {
    if let Some(word) = bits.get_mut(place / 64) {
        *word ^= 1 << (place % 64);
    }
}

/// Calls and returns in order, as a list from which an operation can be lifted and put back. Place 0 is its head.
struct Events {
    /// The operation that an event calls, or none for a return and the head.
    calls: Vec<Option<usize>>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Per operation: the events of its call and its return.
    places: Vec<(usize, Option<usize>)>,
    returns_left: usize,
}

impl Events {
    fn of<I, O>(operations: &[Operation<I, O>]) -> Self {
        let mut moments: Vec<(usize, usize, bool)> = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            moments.push((operation.called, number, true));
            moments.extend(operation.returned.as_ref().map(|(moment, _)| (*moment, number, false)));
        }
        moments.sort_unstable();
        let mut places = vec![(0, None); operations.len()];
        let mut calls = vec![None];
        for (place, (_, number, is_call)) in (1..).zip(&moments) {
            calls.push(is_call.then_some(*number));
            if let Some(slot) = places.get_mut(*number) {
                if *is_call { slot.0 = place } else { slot.1 = Some(place) }
            }
        }
        let count = calls.len();
        let next = (1..=count).map(|place| place % count).collect();
        let previous = (0..count).map(|place| (place + count - 1) % count).collect();
        let returns_left = moments.iter().filter(|(_, _, is_call)| !is_call).count();
        Self { calls, next, previous, places, returns_left }
    }

    fn first(&self) -> Option<usize> {
        self.after(0)
    }

    /// The event behind this one; none at the end, since the list closes at its head.
    fn after(&self, event: usize) -> Option<usize> {
        self.next.get(event).copied().filter(|event| *event != 0)
    }

    fn call_of(&self, event: usize) -> Option<usize> {
        self.calls.get(event).copied().flatten()
    }

    fn call_event(&self, operation: usize) -> usize {
        self.places.get(operation).map_or(0, |(call, _)| *call)
    }

    fn lift(&mut self, operation: usize) {
        let Some((call, returned)) = self.places.get(operation).copied() else { return };
        for event in [Some(call), returned].into_iter().flatten() {
            let (before, behind) = (self.neighbour(&self.previous, event), self.neighbour(&self.next, event));
            self.join(before, behind);
        }
        self.returns_left -= usize::from(returned.is_some());
    }

    /// Undoes the last `lift` that was not undone; the events still know their neighbours.
    fn put_back(&mut self, operation: usize) {
        let Some((call, returned)) = self.places.get(operation).copied() else { return };
        for event in [returned, Some(call)].into_iter().flatten() {
            let (before, behind) = (self.neighbour(&self.previous, event), self.neighbour(&self.next, event));
            self.join(before, event);
            self.join(event, behind);
        }
        self.returns_left += usize::from(returned.is_some());
    }

    fn neighbour(&self, side: &[usize], event: usize) -> usize {
        side.get(event).copied().unwrap_or(0)
    }

    fn join(&mut self, before: usize, behind: usize) {
        if let Some(slot) = self.next.get_mut(before) {
            *slot = behind;
        }
        if let Some(slot) = self.previous.get_mut(behind) {
            *slot = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register that is written without an answer and read.
    struct Cell;
    #[derive(Clone, Debug)]
    enum Ask {
        Write(u8),
        Read,
    }
    impl Model for Cell {
        type State = u8;
        type Input = Ask;
        type Output = u8;
        fn initial(&self) -> u8 {
            0
        }
        fn step(&self, state: &u8, input: &Ask, output: Option<&u8>) -> Option<u8> {
            match input {
                Ask::Write(value) => Some(*value),
                Ask::Read => output.is_none_or(|found| found == state).then_some(*state),
            }
        }
    }

    fn write(called: usize, returned: Option<usize>, value: u8) -> Operation<Ask, u8> {
        Operation { called, returned: returned.map(|moment| (moment, 0)), input: Ask::Write(value) }
    }

    fn read(called: usize, returned: usize, value: u8) -> Operation<Ask, u8> {
        Operation { called, returned: Some((returned, value)), input: Ask::Read }
    }

    fn found(operations: &[Operation<Ask, u8>]) -> Found {
        check(&Cell, operations, 1_000_000)
    }

    #[test]
    fn what_happened_one_after_another_has_its_order() {
        assert_eq!(found(&[]), Found::Order);
        assert_eq!(found(&[write(0, Some(1), 7), read(2, 3, 7)]), Found::Order);
        assert_eq!(found(&[write(0, Some(1), 7), read(2, 3, 0)]), Found::NoOrder);
    }

    #[test]
    fn a_read_beside_a_write_may_find_either_value_but_not_fall_back() {
        assert_eq!(found(&[write(0, Some(9), 7), read(1, 2, 0), read(3, 4, 7)]), Found::Order);
        assert_eq!(found(&[write(0, Some(9), 7), read(1, 2, 7), read(3, 4, 0)]), Found::NoOrder);
    }

    #[test]
    fn a_write_without_an_answer_may_happen_late_or_never_but_only_once() {
        assert_eq!(found(&[write(0, None, 7), read(1, 2, 0), read(3, 4, 7)]), Found::Order);
        assert_eq!(found(&[write(0, None, 7), read(1, 2, 0)]), Found::Order);
        assert_eq!(
            found(&[write(0, None, 7), read(1, 2, 7), write(3, Some(4), 8), read(5, 6, 8), read(7, 8, 7)]),
            Found::NoOrder
        );
    }

    #[test]
    fn a_write_cannot_be_seen_before_it_is_called() {
        assert_eq!(found(&[read(0, 1, 7), write(2, None, 7)]), Found::NoOrder);
    }

    #[test]
    fn running_out_of_steps_is_neither_verdict() {
        let many: Vec<_> = (0..12).map(|n| write(n, Some(100 + n), 1 + u8::try_from(n).unwrap())).collect();
        let mut operations = many;
        operations.push(read(200, 201, 99));
        assert_eq!(check(&Cell, &operations, 50), Found::GaveUp);
    }

    /// Every order of a few operations, tried one by one.
    fn by_force(operations: &[Operation<Ask, u8>], done: &mut Vec<usize>, state: u8) -> bool {
        let left = |n: &usize| !done.contains(n);
        if (0..operations.len()).filter(left).all(|n| operations[n].returned.is_none()) {
            return true;
        }
        let first_return = (0..operations.len())
            .filter(left)
            .filter_map(|n| operations[n].returned.as_ref().map(|(moment, _)| *moment))
            .min()
            .unwrap_or(usize::MAX);
        for n in 0..operations.len() {
            let op = &operations[n];
            if done.contains(&n) || op.called > first_return {
                continue;
            }
            if let Some(after) = Cell.step(&state, &op.input, op.returned.as_ref().map(|(_, o)| o)) {
                done.push(n);
                if by_force(operations, done, after) {
                    return true;
                }
                done.pop();
            }
        }
        false
    }

    #[test]
    fn it_agrees_with_trying_every_order() {
        let mut seed = 1_u64;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut verdicts = [0, 0];
        for _ in 0..3000 {
            let count = 2 + draw(5);
            let mut moments: Vec<u64> = (0..2 * count).collect();
            for place in (1..moments.len()).rev() {
                moments.swap(place, usize::try_from(draw(place as u64 + 1)).unwrap());
            }
            let operations: Vec<_> = moments
                .chunks(2)
                .map(|pair| {
                    let called = usize::try_from(pair[0].min(pair[1])).unwrap();
                    let returned = usize::try_from(pair[0].max(pair[1])).unwrap();
                    let value = u8::try_from(draw(3)).unwrap();
                    match draw(5) {
                        0 | 1 => write(called, Some(returned), value),
                        2 => write(called, None, value),
                        _ => read(called, returned, value),
                    }
                })
                .collect();
            let forced = by_force(&operations, &mut Vec::new(), 0);
            let expected = if forced { Found::Order } else { Found::NoOrder };
            assert_eq!(found(&operations), expected, "{operations:?}");
            verdicts[usize::from(forced)] += 1;
        }
        assert!(verdicts.iter().all(|count| *count > 300), "both verdicts must occur: {verdicts:?}");
    }
}
