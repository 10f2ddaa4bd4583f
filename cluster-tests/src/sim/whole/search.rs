//! The search, at the end of a run with whole nodes, for everything secret where it must not be: in what was said on
//! connections that are not keyed, on every disk, and in every trail.

use std::io::Read;
use std::sync::Arc;

use keyclave_audit::files::TrailFiles;
use keyclave_audit::memory::MemoryFiles;
use keyclave_crypto::share::Share;
use keyclave_crypto::{shamir, wrap};
use keyclave_ledger::ledger::Ledger;
use keyclave_ledger::log_store::LogStore;
use keyclave_node::home::Home;
use keyclave_types::ids::{PlainKind, RecordId};
use keyclave_types::seal::SealRecord;

use super::callers::{PLAINTEXT, key_name};
use crate::history::Event;
use crate::sim::ear::Found;
use crate::sim::world::{NodeState, World};
use crate::windows::Windows;

/// Where in a share's bytes its secret lies: set and number before it stand in the clear in the seal record.
const SHARE_SECRET: std::ops::Range<usize> = 10..42;
/// Where in a share's text the letters begin that depend on its secret alone.
const SHARE_TEXT_FROM: usize = 24;

/// What was found.
pub fn everywhere(world: &World) -> Vec<Event> {
    let Some(windows) = windows(world) else {
        return vec![Event::Broken { why: "nobody knows what the cluster's secrets are".to_owned() }];
    };
    let Found { plain_bytes, speakers, keyed_hits } = world.ear.search(&windows);
    let mut events = vec![Event::Overheard { plain_heard: plain_bytes > 0, speakers, keyed_hits }];
    events.extend(world.nodes().iter().filter(|node| node.is_active()).map(|node| {
        let (disk, on_disk) = node.disk.search(&windows);
        let (trail, in_trail) = in_trail(&node.shelf.trail, &windows);
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Event::Searched { node: node.number, bytes: count(disk + trail), hits: count(on_disk + in_trail) }
    }));
    events
}

fn in_trail(trail: &MemoryFiles, windows: &Windows) -> (usize, usize) {
    let segments = trail.segments().unwrap_or_default();
    segments.into_iter().fold((0, 0), |(bytes, hits), segment| {
        let mut contents = Vec::new();
        // In memory, where reading does not fail.
        let _ = trail.read(segment).and_then(|mut reader| reader.read_to_end(&mut contents));
        (bytes + contents.len(), hits + windows.found_in(&contents))
    })
}

/// Everything that must not be found.
fn windows(world: &World) -> Option<Windows> {
    let mut windows = Windows::default();
    windows.add(PLAINTEXT);
    windows.add(key_name(0)?.to_string().as_bytes());
    windows.add(world.secrets.root_token()?.as_bytes());
    for ticket in world.secrets.tickets() {
        // What follows is a hash of the authority's public key.
        windows.add(ticket.split('.').next()?.as_bytes());
    }
    let shares: Vec<Share> =
        world.secrets.shares().iter().map(|text| Share::from_text(text)).collect::<Result<_, _>>().ok()?;
    for (share, text) in shares.iter().zip(world.secrets.shares()) {
        windows.add(share.to_bytes().get(SHARE_SECRET)?);
        windows.add_form(text.as_bytes().get(SHARE_TEXT_FROM..)?);
    }
    let keyring = world.nodes().iter().find_map(|node| add_keyring(&mut windows, node, &shares));
    keyring.map(|()| windows)
}

/// Adds root and keyring, if this node has the seal record.
fn add_keyring(windows: &mut Windows, node: &NodeState, shares: &[Share]) -> Option<()> {
    let disk = Arc::new(node.disk.clone());
    let cluster = Home::new(LogStore::new(Arc::clone(&disk))).membership().ok()??.cluster;
    let record = Ledger::open(disk).ok()?.read(&RecordId::plain(PlainKind::Seal, 0)).ok()??;
    let set = keyclave_types::envelope::decode::<SealRecord>(&record.blob).ok()?.current;
    let enough = shares.get(..usize::from(set.threshold.needed()))?;
    let root = shamir::combine(enough, set.threshold).ok()?;
    let bound = [cluster.as_bytes().as_slice(), &set.id].concat();
    let keyring = wrap::unwrap(&root, &bound, &set.wrapped_keyring).ok()?;
    windows.add(root.expose());
    windows.add(keyring.expose());
    Some(())
}
