//! Callers of whole nodes: they make, rotate, disable, destroy, encrypt and decrypt through the product's own client,
//! over the simulated network, at nodes that run the product's own pipeline; and record what they asked and were told.
//!
//! Each host of callers has a client per node, whose questions go to that node alone, and one that goes to whichever
//! node answers, for writes, which are repeated under one request id until somebody does.

use std::time::Duration;

use keyclave_client::crypto::DecryptWith;
use keyclave_client::error::{ReadError, WriteError};
use keyclave_client::refusal::Refusal;
use keyclave_client::{Answer as Answered, Client};
use keyclave_proto::reason::Reason;
use keyclave_types::key::{Algorithm, KeyDescription, KeyRules, KeyState, Version, VersionOrigin};
use keyclave_types::name::KeyName;
use keyclave_types::position::Position;
use turmoil::since_epoch;

use super::dial::client_of;
use crate::history::{Act, Answer, Event, Key, KeyAct, KeyAnswer};
use crate::sim::dice::Dice;
use crate::sim::world::{Phase, World};

/// Hosts of callers, and callers on each.
pub const HOSTS: u64 = 3;
const CALLERS: u64 = 2;
/// Keys that all callers fight over.
const CONTESTED: u32 = 3;
/// The key that rotates by itself.
pub const AUTOMATIC: u32 = 9;
/// Its period.
const AUTOMATIC_EVERY_MS: u64 = 60_000;
/// How long a write may take, all attempts together.
const WRITE_MS_MAX: u64 = 12_000;
/// How long one question may take.
const READ_MS_MAX: u64 = 3_000;
/// Longest rest between two acts, and the rest of who has nothing to do.
const REST_MS_MAX: u64 = 150;
/// What is encrypted, to be looked for where it must not be.
pub const PLAINTEXT: &[u8] = b"a canary in every message, looked for wherever it must not be";

/// The name of a host of callers in the simulated network.
pub fn name(host: u64) -> String {
    format!("callers{host}")
}

/// Runs the callers of one host for as long as the simulation lasts.
pub async fn run(world: World, host: u64) -> turmoil::Result {
    let token = loop {
        match world.secrets.root_token() {
            Some(token) => break token,
            None => tokio::time::sleep(Duration::from_millis(REST_MS_MAX)).await,
        }
    };
    let numbers: Vec<u64> = world.nodes().iter().map(|node| node.number).collect();
    for number in 0..CALLERS {
        let mut dice = Dice::new(world.setup.seed, &format!("caller {number} of host {host}"));
        let one = |node: &u64| client_of([*node], Some(&token), READ_MS_MAX, dice.clone().bits() ^ node);
        let each = numbers.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        // Everybody begins with another node.
        let turn = usize::try_from(host + number).unwrap_or(0) % numbers.len().max(1);
        let turned = numbers.iter().cycle().skip(turn).take(numbers.len()).copied();
        let any = client_of(turned, Some(&token), WRITE_MS_MAX, dice.bits())?;
        tokio::spawn(Caller { world: world.clone(), each, any, dice }.run());
    }
    std::future::pending().await
}

/// One caller.
struct Caller {
    world: World,
    /// A client of each node, in the order of their numbers.
    each: Vec<Client>,
    /// A client of all of them.
    any: Client,
    dice: Dice,
}

impl Caller {
    async fn run(mut self) {
        loop {
            let rest = self.dice.between(1, REST_MS_MAX);
            tokio::time::sleep(Duration::from_millis(rest)).await;
            match self.world.phase() {
                Phase::Making => {}
                Phase::Faults | Phase::Healing => self.act().await,
                Phase::Quiet if self.world.describes_automatic() => self.describe_automatic(true).await,
                Phase::Quiet => {}
            }
        }
    }

    async fn act(&mut self) {
        let key = u32::try_from(self.dice.between(0, u64::from(CONTESTED))).unwrap_or(0);
        let kept = |caller: &mut Self| {
            let versions = caller.world.secrets.kept(key);
            caller.dice.pick(&versions).copied()
        };
        let act = match self.dice.between(0, 20) {
            0..2 => KeyAct::Create,
            2..4 => KeyAct::Rotate,
            4..6 => KeyAct::SetEnabled(false),
            6..9 => KeyAct::SetEnabled(true),
            9 => kept(self).map_or(KeyAct::Create, KeyAct::Destroy),
            10..13 => kept(self).map_or(KeyAct::Encrypt, KeyAct::Decrypt),
            13..17 => KeyAct::Encrypt,
            _ => KeyAct::Describe,
        };
        if self.dice.one_in(40) {
            self.make_automatic().await;
        }
        if self.dice.one_in(20) {
            self.describe_automatic(false).await;
        }
        let asked = self.asked(act);
        let operation = self.world.next_operation();
        let node = asked.unwrap_or(0);
        self.world.record(Event::Invoked { operation, node, act: Act::Key { key, act } });
        let answer = match act {
            KeyAct::Create | KeyAct::Rotate | KeyAct::SetEnabled(_) | KeyAct::Destroy(_) => {
                self.write(key, act).await
            }
            KeyAct::Encrypt | KeyAct::Decrypt(_) | KeyAct::Describe => Some(self.read(asked, key, act).await),
        };
        if let Some(answer) = answer {
            self.world.record(Event::Answered { operation, answer });
        }
    }

    /// The node to be asked, if one in particular: a question goes to any member, up or down.
    fn asked(&mut self, act: KeyAct) -> Option<u64> {
        let active = self.world.active();
        match act {
            KeyAct::Encrypt | KeyAct::Decrypt(_) | KeyAct::Describe if !self.dice.one_in(4) => {
                self.dice.pick(&active).copied()
            }
            _ => None,
        }
    }

    /// Nothing, if its fate is not known.
    async fn write(&self, key: Key, act: KeyAct) -> Option<Answer> {
        let name = key_name(key)?;
        let written = match act {
            KeyAct::Create => self.any.create_key(&name, Algorithm::Xaes256Gcm, KeyRules::default()).await,
            KeyAct::Rotate => self.any.rotate_key(&name).await,
            KeyAct::SetEnabled(true) => self.any.enable_key(&name, None).await,
            KeyAct::SetEnabled(false) => self.any.disable_key(&name, None).await,
            KeyAct::Destroy(version) => self.any.destroy_key_version(&name, Version::new(version)?).await,
            KeyAct::Encrypt | KeyAct::Decrypt(_) | KeyAct::Describe => return None,
        };
        match written {
            Ok(Answered { value, position }) => {
                self.seen(position);
                Some(Answer::Key(described_as(&value)))
            }
            Err(WriteError::Refused(refusal)) => Some(refused(&refusal).map_or(Answer::Refused, Answer::Key)),
            Err(WriteError::Sealed | WriteError::NotDone(_)) => Some(Answer::Refused),
            Err(WriteError::OutcomeUnknown { .. }) => None,
            Err(error @ (WriteError::OtherGeneration(_) | WriteError::Answer(_))) => {
                self.world.record(Event::Broken { why: error.to_string() });
                None
            }
        }
    }

    async fn read(&self, asked: Option<u64>, key: Key, act: KeyAct) -> Answer {
        match self.told(asked, key, act).await {
            Ok(Some(answer)) => Answer::Key(answer),
            Ok(None) => Answer::Refused,
            Err(ReadError::Refused(refusal)) => refused(&refusal).map_or(Answer::Refused, Answer::Key),
            Err(ReadError::Sealed | ReadError::NoAnswer(_)) => Answer::Refused,
            Err(error @ (ReadError::OtherGeneration(_) | ReadError::Answer(_))) => {
                self.world.record(Event::Broken { why: error.to_string() });
                Answer::Refused
            }
        }
    }

    /// What the node that is asked says; nothing if there is nothing to be asked.
    async fn told(&self, asked: Option<u64>, key: Key, act: KeyAct) -> Result<Option<KeyAnswer>, ReadError> {
        let of = |node: u64| usize::try_from(node).ok().and_then(|node| self.each.get(node.checked_sub(1)?));
        let client = asked.and_then(of).unwrap_or(&self.any);
        let Some(name) = key_name(key) else { return Ok(None) };
        Ok(match act {
            KeyAct::Encrypt => {
                let encrypted = client.encrypt(&name, None, PLAINTEXT, b"").await?.value;
                let version = encrypted.version.get();
                self.world.secrets.keep(key, version, encrypted.ciphertext);
                Some(KeyAnswer::Used(version))
            }
            KeyAct::Decrypt(version) => {
                let Some(ciphertext) = self.world.secrets.ciphertext(key, version) else { return Ok(None) };
                let opened = client.decrypt(DecryptWith::Key(&name), &ciphertext, b"").await?.value;
                if *opened.plaintext != PLAINTEXT || opened.version.get() != version {
                    let why = format!("version {version} of key {key} decrypted to something else");
                    self.world.record(Event::Broken { why });
                }
                Some(KeyAnswer::Used(opened.version.get()))
            }
            KeyAct::Describe => Some(described_as(&client.get_key(&name).await?.value)),
            KeyAct::Create | KeyAct::Rotate | KeyAct::SetEnabled(_) | KeyAct::Destroy(_) => None,
        })
    }

    fn seen(&self, position: Position) {
        if self.world.phase() == Phase::Healing {
            self.world.set_healed_index(position.index);
        }
    }

    /// Makes the key that rotates by itself; refused if there is one already.
    async fn make_automatic(&self) {
        let Some(name) = key_name(AUTOMATIC) else { return };
        let rules = KeyRules { rotate_every_ms: Some(AUTOMATIC_EVERY_MS), ..KeyRules::default() };
        // Whatever becomes of it, the key is described at the end.
        let _ = self.any.create_key(&name, Algorithm::Xaes256Gcm, rules).await;
    }

    /// Says what the key that rotates by itself has gone through; at the end once.
    async fn describe_automatic(&self, at_rest: bool) {
        let Some(name) = key_name(AUTOMATIC) else { return };
        let Ok(Answered { value: described, .. }) = self.any.get_key(&name).await else { return };
        if at_rest && !self.world.has_described_automatic() {
            return;
        }
        let due = |version: &keyclave_types::key::VersionDescription| match version.origin {
            VersionOrigin::Scheduled { due } => Some(due.0),
            VersionOrigin::Created | VersionOrigin::Requested => None,
        };
        let now = since_epoch().unwrap_or_default().as_millis();
        self.world.record(Event::Scheduled {
            key: AUTOMATIC,
            every_ms: AUTOMATIC_EVERY_MS,
            due_ms: described.versions.iter().filter_map(due).collect(),
            made_ms: described.created_at.0,
            now_ms: u64::try_from(now).unwrap_or(u64::MAX),
            at_rest,
        });
    }
}

/// A key's name, long enough to be looked for where it must not be.
pub fn key_name(key: Key) -> Option<KeyName> {
    format!("canary-of-key-names/key-{key}").parse().ok()
}

/// What a refusal says of a key; nothing if it says nothing of it.
fn refused(refusal: &Refusal) -> Option<KeyAnswer> {
    match refusal.reason.parse().ok()? {
        Reason::KeyNotFound => Some(KeyAnswer::Absent),
        Reason::KeyExists => Some(KeyAnswer::Exists),
        Reason::KeyDisabled => Some(KeyAnswer::Disabled),
        Reason::VersionDestroyed => Some(KeyAnswer::Destroyed),
        _ => None,
    }
}

fn described_as(key: &KeyDescription) -> KeyAnswer {
    KeyAnswer::Is { primary: key.primary.get(), enabled: key.state == KeyState::Enabled }
}
