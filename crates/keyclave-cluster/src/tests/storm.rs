//! Faults at random, then a quiet time: nothing acknowledged is lost, digests agree, and writes go on.
//!
//! A few seeds run always; `STORMS` and `STORM_FROM` ask for more of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use keyclave_types::transaction::TransactionOutcome;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::lab::{Lab, create, in_ms, node, sleep_ms};

const STEPS: u64 = 60;

type Acknowledged = Arc<Mutex<BTreeSet<String>>>;

#[tokio::test(start_paused = true)]
async fn three_nodes_survive_any_storm() {
    for seed in seeds(0, 6) {
        storm(3, seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn five_nodes_survive_any_storm() {
    for seed in seeds(100, 3) {
        storm(5, seed).await;
    }
}

fn seeds(from: u64, count: u64) -> std::ops::Range<u64> {
    let read = |name: &str| std::env::var(name).ok().and_then(|c| c.parse().ok());
    let from = from + read("STORM_FROM").unwrap_or(0);
    from..from + read("STORMS").unwrap_or(count)
}

async fn storm(nodes: u64, seed: u64) {
    eprintln!("storm {seed}");
    let mut lab = Lab::of(nodes).await;
    let mut dice = SmallRng::seed_from_u64(seed);
    let acknowledged = Acknowledged::default();
    for step in 0..STEPS {
        write_somewhere(&lab, step, &acknowledged);
        let number = dice.gen_range(1..=nodes);
        match dice.gen_range(0..10) {
            0 | 1 => lab.cut(number),
            2 | 3 => lab.heal(number),
            4 => lab.cut_way(number, dice.gen_range(1..=nodes)),
            5 => lab.heal_ways(),
            6 => {
                let sealed = lab.sealed(number);
                restart(&mut lab, number, dice.gen_bool(0.5), sealed).await;
            }
            7 if lab.sealed(number) => lab.seal(number, false),
            // Sealing executes the binary anew.
            7 => restart(&mut lab, number, false, true).await,
            8 => compact(&lab, number).await,
            _ => hand_over(&lab, number),
        }
        write_somewhere(&lab, STEPS + step, &acknowledged);
        sleep_ms(dice.gen_range(0..1_500)).await;
    }
    for number in 1..=nodes {
        lab.heal(number);
        lab.seal(number, false);
    }
    lab.heal_ways();
    lab.write(&format!("after storm {seed}")).await;
    lab.agree().await;
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() >= 5, "storm {seed} let only {} writes through", acknowledged.len());
    for name in acknowledged {
        assert!((1..=nodes).all(|number| lab.has(number, &name)), "{name} was lost in storm {seed}");
    }
}

/// Five writes through whoever may decide at this moment, not waited for.
fn write_somewhere(lab: &Lab, step: u64, acknowledged: &Acknowledged) {
    for number in lab.numbers() {
        let Some(mine) = lab.node(number).leadership().mine else { continue };
        for which in 0..5 {
            let name = format!("step {step} at {number} {which}");
            let (cluster, acknowledged) = (lab.node(number).clone(), acknowledged.clone());
            let transaction = create(mine, &name);
            tokio::spawn(async move {
                let proposed = cluster.propose(transaction, in_ms(3_000)).await;
                if proposed.is_ok_and(|proposed| proposed.outcome == TransactionOutcome::Committed) {
                    acknowledged.lock().unwrap().insert(name);
                }
            });
        }
    }
}

async fn restart(lab: &mut Lab, number: u64, power: bool, sealed: bool) {
    let disk = lab.crash(number, power).await;
    lab.start(number, disk, sealed).await;
}

async fn compact(lab: &Lab, number: u64) {
    let cluster = lab.node(number).clone();
    let checkpoint = tokio::spawn(async move { cluster.checkpoint().await });
    sleep_ms(300).await;
    drop(checkpoint);
    for number in lab.numbers() {
        lab.node(number).purge().await;
    }
}

fn hand_over(lab: &Lab, to: u64) {
    for number in lab.numbers() {
        let cluster = lab.node(number).clone();
        tokio::spawn(async move { cluster.hand_over(Some(node(to)), in_ms(4_000)).await });
    }
}
