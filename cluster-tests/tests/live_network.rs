//! Packets lost, delayed and reordered between nodes in network namespaces, the leader cut off from its peers but not
//! from its callers, ways that are open in one direction only, and cuts that come and go. Needs root, `ip` and /dev/net/tun.
//!
//! The network is a switch of the test's own between TUN devices ([`network`]) and not netem: many kernels come without
//! netem, and the switch counts what it really dropped.

mod network;

use std::net::SocketAddr;
use std::time::Duration;

use cluster_tests::history::{Event, Key, KeyAct, KeyAnswer};
use cluster_tests::live::{Cluster, Journal, LiveError, Load, Place, say, verdict_under_load};
use tokio::time::{Instant, sleep};

use network::{CALLERS, Network, Weather};

/// How long each weather lasts.
const SPELL: Duration = Duration::from_millis(2_500);
/// How long the leader is cut off.
const CUT: Duration = Duration::from_secs(5);
/// How long a cut lasts, and how long its end, where nodes are cut off in turn: less than an election.
const FLAP: Duration = Duration::from_millis(200);
/// How long nodes may take to be well again.
const HEAL_MAX: Duration = Duration::from_secs(20);
/// Keys of this test's own have numbers from here on.
const OWN: Key = 500;

#[tokio::test(flavor = "multi_thread")]
async fn loss_delay_and_a_leader_in_a_minority_break_no_promise() -> Result<(), LiveError> {
    let Some((mut cluster, network)) = in_namespaces()? else { return Ok(()) };
    cluster.found().await?;
    let journal = Journal::begin();
    let load = Load::begin(&cluster, &journal).await?;
    for (percent, delay_ms) in [(1, 5), (10, 20), (30, 5)] {
        let before = network.counted();
        network.becomes(Weather { loss_percent: percent, delay_ms });
        journal.record(Event::Fault { class: format!("{percent} % lost"), node: 0 });
        sleep(SPELL).await;
        let dropped = network.counted().dropped - before.dropped;
        say(format_args!(
            "{percent} % loss, {delay_ms} ms delay and as much jitter: {dropped} packets dropped"
        ));
        assert!(dropped > 0, "the loss never happened");
    }
    network.becomes(Weather::default());
    cut_off_the_leader(&cluster, &journal, &network).await?;
    let mut keys = load.keys();
    let tally = load.end().await;
    keys.push(OWN);
    heal(&cluster, &journal).await?;
    keys.push(OWN + 1);
    verdict_under_load(&cluster, &journal, &keys, tally).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_way_cuts_and_flapping_break_no_promise() -> Result<(), LiveError> {
    let Some((mut cluster, network)) = in_namespaces()? else { return Ok(()) };
    cluster.found().await?;
    let journal = Journal::begin();
    let load = Load::begin(&cluster, &journal).await?;
    let leader = port(cluster.leader().await?)?;
    let (one, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    // Each way alone: the leader is heard and hears nobody, hears and is not heard; then a ring in which each node
    // hears one of the others and is heard by the other.
    let ways: [(&str, &[(u8, u8)]); 3] = [
        ("to the leader", &[(one, leader), (other, leader)]),
        ("from the leader", &[(leader, one), (leader, other)]),
        ("around a ring", &[(1, 2), (2, 3), (3, 1)]),
    ];
    for (name, pairs) in ways {
        let before = network.counted();
        pairs.iter().for_each(|(from, to)| network.cut_one_way(*from, *to));
        journal.record(Event::Fault { class: format!("one way cut {name}"), node: u64::from(leader) });
        sleep(SPELL).await;
        network.mend();
        let dropped = network.counted().dropped - before.dropped;
        say(format_args!("one way cut {name}: {dropped} packets dropped"));
        assert!(dropped > 0, "the cut never happened");
        sleep(SPELL / 2).await;
    }
    let before = network.counted();
    let begun = Instant::now();
    // Each node in turn, faster than an election.
    for turn in 0.. {
        if begun.elapsed() > CUT {
            break;
        }
        let node = turn % 3 + 1;
        (1..=3).filter(|peer| *peer != node).for_each(|peer| network.cut(node, peer));
        sleep(FLAP).await;
        network.mend();
        sleep(FLAP).await;
    }
    journal.record(Event::Fault { class: "flapping".to_owned(), node: 0 });
    let dropped = network.counted().dropped - before.dropped;
    say(format_args!("each node cut off in turn every {FLAP:?}: {dropped} packets dropped"));
    assert!(dropped > 0, "the flapping never happened");
    let mut keys = load.keys();
    let tally = load.end().await;
    journal.caller(cluster.client_of_all()?, 0).ask(OWN, KeyAct::Create).await;
    heal(&cluster, &journal).await?;
    keys.extend([OWN, OWN + 1]);
    verdict_under_load(&cluster, &journal, &keys, tally).await
}

/// Three nodes that do not run yet, each in a namespace of its own; none, with the reason said, where there can be none.
fn in_namespaces() -> Result<Option<(Cluster, Network)>, LiveError> {
    let place = Place::fresh()?;
    let mut nodes = Cluster::plan(&place, 3)?;
    let network = match Network::make(&[1, 2, 3]) {
        Ok(network) => network,
        Err(error) => {
            say(format_args!("faults of the network SKIPPED: {error}"));
            return Ok(None);
        }
    };
    let first = nodes.first().map(|node| SocketAddr::new(Network::address(1), node.clients.port()));
    for node in &mut nodes {
        let port = port(node.number)?;
        for address in [&mut node.clients, &mut node.peers, &mut node.health] {
            address.set_ip(Network::address(port));
        }
        if let (Some((address, _)), Some(first)) = (&mut node.join, first) {
            *address = first;
        }
        node.within = network.within(port);
    }
    Ok(Some((Cluster::of(place, nodes), network)))
}

fn port(number: usize) -> Result<u8, LiveError> {
    u8::try_from(number).map_err(|_| LiveError::Node(number))
}

/// The leader hears its callers but no peer; what the majority acknowledges meanwhile it must not contradict.
async fn cut_off_the_leader(
    cluster: &Cluster,
    journal: &Journal,
    network: &Network,
) -> Result<(), LiveError> {
    let leader = cluster.leader().await?;
    let port = port(leader)?;
    let at_leader = journal.caller(cluster.client(leader)?.with_deadline(CUT / 2), leader);
    let elsewhere = journal.caller(cluster.client_preferring(leader % 3 + 1)?, 0);
    elsewhere.ask(OWN, KeyAct::Create).await;
    assert_eq!(at_leader.ask(OWN, KeyAct::Encrypt).await, Some(KeyAnswer::Used(1)));
    for peer in (1..=3).filter(|peer| *peer != port && *peer != CALLERS) {
        network.cut(port, peer);
    }
    journal.record(Event::Fault { class: "leader in a minority".to_owned(), node: leader as u64 });
    let begun = Instant::now();
    let disabled = elsewhere.ask(OWN, KeyAct::SetEnabled(false)).await;
    assert_eq!(disabled, Some(KeyAnswer::Is { primary: 1, enabled: false }));
    let acknowledged = begun.elapsed();
    let stale = at_leader.ask(OWN, KeyAct::Encrypt).await;
    assert_ne!(stale, Some(KeyAnswer::Used(1)), "a deposed leader encrypted with a disabled key");
    network.mend();
    say(format_args!(
        "leader {leader} cut off from its peers: a disable acknowledged elsewhere after {acknowledged:.2?}, \
         asked then the old leader said {stale:?}"
    ));
    Ok(())
}

/// A write, and an answer from every node.
async fn heal(cluster: &Cluster, journal: &Journal) -> Result<(), LiveError> {
    let begun = Instant::now();
    let caller = journal.caller(cluster.client_of_all()?, 0);
    let said = caller.ask(OWN + 1, KeyAct::Create).await;
    assert_eq!(said, Some(KeyAnswer::Is { primary: 1, enabled: true }));
    for number in 1..=3 {
        let there = journal.caller(cluster.client(number)?, number);
        assert_eq!(there.ask(OWN + 1, KeyAct::Encrypt).await, Some(KeyAnswer::Used(1)));
    }
    assert!(begun.elapsed() < HEAL_MAX, "healing took {:.2?}", begun.elapsed());
    Ok(())
}
