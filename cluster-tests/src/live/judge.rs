//! A live run's end: what every node says of every key goes to the history, the history to the invariants.

use std::collections::BTreeMap;

use keyclave_audit::directory::Directory;
use keyclave_audit::segment_key::NoKeys;
use keyclave_audit::verify::{Expectation, verify};

use super::{Cluster, Journal, LiveError, Tally, say};
use crate::history::{Act, Answer, Event, Held, Key, KeyAct, KeyAnswer, Recorded};
use crate::invariants::{Invariant, Verdict, acknowledged_writes, keys, revisions_grow};

/// Answers under load below which a run shows nothing.
const ANSWERED_MIN: u32 = 50;

/// Asks each of `nodes` for each of `keys`, and judges everything: every answer linearizable, every acknowledged
/// version there at every node, versions strictly growing. The number of events judged.
pub async fn verdict(
    cluster: &Cluster,
    journal: &Journal,
    nodes: &[usize],
    asked: &[Key],
) -> Result<usize, LiveError> {
    let mut ends = Vec::new();
    for number in nodes {
        let caller = journal.caller(cluster.client(*number)?, *number);
        let mut records = BTreeMap::new();
        for key in asked {
            match caller.ask(*key, KeyAct::Describe).await {
                Some(KeyAnswer::Is { primary, .. }) => {
                    records.insert(*key, held(primary));
                }
                Some(KeyAnswer::Absent) => {}
                said => {
                    let what = format!("node {number} said {said:?} of key {key} at the end");
                    return Err(LiveError::Broken { invariant: "healed", what });
                }
            }
        }
        ends.push(Recorded { at_ms: 0, event: Event::Records { node: *number as u64, records } });
    }
    let history = journal.history();
    judge(&history, ends)?;
    Ok(history.len())
}

/// [`verdict`] over the first three nodes, said together with what was asked under load; too little of that is no
/// verdict.
pub async fn verdict_under_load(
    cluster: &Cluster,
    journal: &Journal,
    keys: &[Key],
    tally: Tally,
) -> Result<(), LiveError> {
    let events = verdict(cluster, journal, &[1, 2, 3], keys).await?;
    say(format_args!("{tally:?}, {} keys, {events} events judged", keys.len()));
    if tally.answered <= ANSWERED_MIN {
        let what = format!("too little load to judge: {tally:?}");
        return Err(LiveError::Broken { invariant: "load", what });
    }
    Ok(())
}

/// The invariants over what callers were told and what each node has of every key at the end.
fn judge(history: &[Recorded], ends: Vec<Recorded>) -> Result<(), LiveError> {
    for recorded in history {
        if let Event::Broken { why } = &recorded.event {
            return Err(LiveError::Broken { invariant: "answers", what: why.clone() });
        }
    }
    let mut writes = versions(history);
    must_hold("versions_grow", revisions_grow::check, &writes)?;
    writes.extend(ends);
    must_hold("acknowledged_writes", acknowledged_writes::check, &writes)?;
    must_hold("keys_linearizable", keys::check, history)
}

/// Verifies the trails of all nodes on disk.
pub fn untouched_trails(cluster: &Cluster) -> Result<u64, LiveError> {
    let mut records = 0;
    for number in 1..=cluster.count() {
        let directory = Directory::at(&cluster.node(number)?.data.join("audit"));
        let found = verify(&directory, &NoKeys, &Expectation::default());
        let wrong = |what: String| LiveError::Broken { invariant: "trail", what };
        let report = found.map_err(|error| wrong(format!("node {number}: {error}")))?;
        if let Some(finding) = report.findings.first() {
            return Err(wrong(format!("node {number}: {finding}")));
        }
        records += report.records;
    }
    Ok(records)
}

fn must_hold(invariant: &'static str, check: Invariant, history: &[Recorded]) -> Result<(), LiveError> {
    match check(history) {
        Verdict::Held => Ok(()),
        Verdict::Violated(breaches) => Err(LiveError::Broken { invariant, what: breaches.join("; ") }),
        Verdict::Unknown(why) => Err(LiveError::Broken { invariant, what: format!("unknown: {why}") }),
    }
}

/// Each acknowledged version as a write of its key's record, at an index of its own: a version that was given to two
/// callers is one index with one revision twice. (Positions will not do: a repeated write is answered with a later one.)
fn versions(history: &[Recorded]) -> Vec<Recorded> {
    let mut asked = BTreeMap::new();
    let mut writes = Vec::new();
    for recorded in history {
        match &recorded.event {
            Event::Invoked {
                operation, act: Act::Key { key, act: KeyAct::Create | KeyAct::Rotate }, ..
            } => {
                asked.insert(*operation, *key);
            }
            Event::Answered { operation, answer: Answer::Key(KeyAnswer::Is { primary, .. }) } => {
                let Some(key) = asked.get(operation) else { continue };
                let changes = BTreeMap::from([(*key, Some(held(*primary)))]);
                let act = Act::Transact { expects: BTreeMap::new(), changes };
                let answer = Answer::Committed { index: u64::from(*primary) };
                for event in [
                    Event::Invoked { operation: *operation, node: 0, act },
                    Event::Answered { operation: *operation, answer },
                ] {
                    writes.push(Recorded { at_ms: recorded.at_ms, event });
                }
            }
            _ => {}
        }
    }
    writes
}

fn held(primary: u32) -> Held {
    Held { revision: u64::from(primary), value: u64::from(primary) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(acts: &[(KeyAct, KeyAnswer)]) -> Vec<Recorded> {
        let calls = acts.iter().zip(0..).flat_map(|((act, said), operation)| {
            let act = Act::Key { key: 7, act: *act };
            let answer = Answer::Key(*said);
            [Event::Invoked { operation, node: 0, act }, Event::Answered { operation, answer }]
        });
        calls.map(|event| Recorded { at_ms: 0, event }).collect()
    }

    const fn is(primary: u32) -> KeyAnswer {
        KeyAnswer::Is { primary, enabled: true }
    }

    fn broken(acts: &[(KeyAct, KeyAnswer)], end: Option<u32>) -> Option<&'static str> {
        let records = end.map(|primary| (7, held(primary))).into_iter().collect();
        let end = Recorded { at_ms: 9, event: Event::Records { node: 2, records } };
        match judge(&told(acts), vec![end]) {
            Ok(()) => None,
            Err(LiveError::Broken { invariant, .. }) => Some(invariant),
            Err(error) => panic!("{error}"),
        }
    }

    const MADE: [(KeyAct, KeyAnswer); 2] = [(KeyAct::Create, is(1)), (KeyAct::Rotate, is(2))];

    #[test]
    fn what_a_node_lost_a_version_given_twice_and_a_stale_answer_are_found() {
        assert_eq!(broken(&MADE, Some(2)), None);
        assert_eq!(broken(&MADE, Some(1)), Some("acknowledged_writes"));
        assert_eq!(broken(&MADE, None), Some("acknowledged_writes"));
        let twice = [&MADE[..], &[(KeyAct::Rotate, is(2))]].concat();
        assert_eq!(broken(&twice, Some(2)), Some("versions_grow"));
        let stale = [&MADE[..], &[(KeyAct::Encrypt, KeyAnswer::Used(1))]].concat();
        assert_eq!(broken(&stale, Some(2)), Some("keys_linearizable"));
    }
}
