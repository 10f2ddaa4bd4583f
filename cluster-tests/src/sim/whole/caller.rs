//! A caller at a whole node: makes, rotates, disables, destroys, encrypts and decrypts, and records what it asked and
//! was told. Reads go the way of the server's pipeline (view, permit, work, confirmation); writes are carried to the
//! leader as the pipeline carries them, and repeated under one request id until somebody answers.

use std::time::Duration;

use keyclave_node::member::Member;
use keyclave_node::services::forward::ForwardedCalls;
use keyclave_node::serving::Serving;
use keyclave_policy::Action;
use keyclave_proto::message::WireMessage;
use keyclave_proto::peer::v1 as peer;
use keyclave_proto::reason::Reason;
use keyclave_proto::status::{Details, decode_status};
use keyclave_proto::v1;
use keyclave_server::pipeline::Pipeline;
use keyclave_types::ids::RequestId;
use keyclave_types::key::{KeyDescription, KeyState, VersionOrigin};
use keyclave_types::name::KeyName;
use keyclave_types::request::{Decrypt, DecryptItem, Encrypt, EncryptItem, Read};
use keyclave_vault::authenticate::authenticate;
use keyclave_vault::compute::{Outcome, ReadAnswer, compute};
use keyclave_vault::refusal::{Refusal, Refused};
use keyclave_vault::view::View;
use tokio::time::Instant;

use super::machine::SimMachine;
use crate::history::{Act, Answer, Event, Key, KeyAct, KeyAnswer};
use crate::sim::dice::Dice;
use crate::sim::planted::Planted;
use crate::sim::world::{Phase, World};

/// Keys that all callers fight over.
const CONTESTED: u32 = 3;
/// The key that rotates by itself.
pub const AUTOMATIC: u32 = 9;
/// Its period.
const AUTOMATIC_EVERY_MS: u64 = 60_000;
/// How long one attempt of a write may take, and all of them together.
const ATTEMPT_MS: u64 = 2_500;
const WRITE_MS_MAX: u64 = 12_000;
/// How long one read may take.
const READ_MS_MAX: u64 = 5_000;
/// Rest between two attempts, and longest rest between two acts.
const AGAIN_MS: u64 = 60;
const REST_MS_MAX: u64 = 150;
/// How often one read is done again because what it rests on changed.
const READS_MAX: usize = 8;

/// One caller.
pub struct Caller {
    /// The run.
    pub world: World,
    /// At which node.
    pub node: u64,
    /// The node.
    pub member: std::sync::Arc<Member<SimMachine>>,
    /// What the node answers forwarded calls with.
    pub pipeline: Pipeline<SimMachine>,
    /// Its random numbers.
    pub dice: Dice,
}

/// How an attempt of a write ended.
enum Attempt {
    Answered(KeyAnswer, u64),
    /// It surely did nothing.
    Nothing,
    /// It may have been done.
    Unknown,
}

impl Caller {
    /// Acts until the process ends.
    pub async fn run(mut self) {
        loop {
            let rest = self.dice.between(1, REST_MS_MAX);
            tokio::time::sleep(Duration::from_millis(rest)).await;
            match self.world.phase() {
                Phase::Making => {}
                Phase::Faults | Phase::Healing => self.act().await,
                Phase::Quiet => self.describe_automatic().await,
            }
        }
    }

    async fn act(&mut self) {
        if !self.member.is_unsealed() {
            return;
        }
        let key = u32::try_from(self.dice.between(0, u64::from(CONTESTED))).unwrap_or(0);
        let act = match self.dice.between(0, 20) {
            0..2 => KeyAct::Create,
            2..4 => KeyAct::Rotate,
            4..6 => KeyAct::SetEnabled(false),
            6..9 => KeyAct::SetEnabled(true),
            9 => match self.dice.pick(&self.world.secrets.kept(key)) {
                Some(version) => KeyAct::Destroy(*version),
                None => KeyAct::Create,
            },
            10..13 => match self.dice.pick(&self.world.secrets.kept(key)) {
                Some(version) => KeyAct::Decrypt(*version),
                None => KeyAct::Encrypt,
            },
            13..17 => KeyAct::Encrypt,
            _ => KeyAct::Describe,
        };
        if self.dice.one_in(40) {
            self.make_automatic().await;
        }
        let operation = self.world.next_operation();
        self.world.record(Event::Invoked { operation, node: self.node, act: Act::Key { key, act } });
        let answer = match act {
            KeyAct::Create | KeyAct::Rotate | KeyAct::SetEnabled(_) | KeyAct::Destroy(_) => {
                self.write(operation, key, act).await
            }
            KeyAct::Encrypt | KeyAct::Decrypt(_) | KeyAct::Describe => Some(self.read(key, act).await),
        };
        if let Some(answer) = answer {
            self.world.record(Event::Answered { operation, answer });
        }
    }

    /// Repeats the write under one id until it is answered; nothing if its fate stays unknown.
    async fn write(&self, operation: u64, key: Key, act: KeyAct) -> Option<Answer> {
        let id = RequestId::at(self.member.position().index, operation.to_be_bytes());
        let (method, message) = message(key, act, id)?;
        let end = Instant::now() + Duration::from_millis(WRITE_MS_MAX);
        let mut perhaps = false;
        while Instant::now() < end {
            match self.attempt(method, message.clone(), act).await {
                Attempt::Answered(answer, index) => {
                    if self.world.phase() == Phase::Healing {
                        self.world.set_healed_index(index);
                    }
                    return Some(Answer::Key(answer));
                }
                Attempt::Nothing => {}
                Attempt::Unknown => perhaps = true,
            }
            tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
        }
        (!perhaps).then_some(Answer::Refused)
    }

    async fn attempt(&self, method: &str, message: Vec<u8>, act: KeyAct) -> Attempt {
        let (Ok(serving), Some(root)) = (self.member.serving(), self.world.secrets.root_token()) else {
            return Attempt::Nothing;
        };
        let request = peer::ForwardRequest {
            method: method.to_owned(),
            request: message,
            credential: root,
            request_id: vec![0; 16],
            remaining_ms: ATTEMPT_MS,
            local_socket: false,
        };
        let answered = match serving.leader_elsewhere() {
            Some(leader) => {
                let limit = Duration::from_millis(ATTEMPT_MS);
                serving.member().forward(leader, request, limit).await.ok()
            }
            None if serving.leads() => Some(self.pipeline.answer(self.member.node(), request).await),
            None => return Attempt::Nothing,
        };
        let Some(answered) = answered else { return Attempt::Unknown };
        let index = answered.position.map_or(0, |position| position.index);
        match answered.outcome {
            Some(peer::forward_response::Outcome::Response(bytes)) => match written(act, &bytes) {
                Some(answer) => Attempt::Answered(answer, index),
                None => Attempt::Unknown,
            },
            Some(peer::forward_response::Outcome::Refusal(bytes)) => {
                match Details::of(&decode_status(&bytes)).known_reason() {
                    Some(reason) => refused(reason, index),
                    None => Attempt::Unknown,
                }
            }
            None => Attempt::Unknown,
        }
    }

    async fn read(&self, key: Key, act: KeyAct) -> Answer {
        let Some(read) = self.question(key, act) else { return Answer::Refused };
        match tokio::time::timeout(Duration::from_millis(READ_MS_MAX), self.confirmed(&read)).await {
            Ok(Some(Ok(answer))) => match self.told(key, act, answer) {
                Some(answer) => Answer::Key(answer),
                None => Answer::Refused,
            },
            Ok(Some(Err(refusal))) => refusal_of(refusal).map_or(Answer::Refused, Answer::Key),
            Ok(None) | Err(_) => Answer::Refused,
        }
    }

    /// The answer or refusal, once it is confirmed; nothing if it is not.
    async fn confirmed(&self, read: &Read) -> Option<Result<ReadAnswer, Refusal>> {
        let serving = self.member.serving().ok()?;
        for _ in 0..READS_MAX {
            let confirming = serving.begin_confirmation();
            let view = serving.view().ok()?;
            let (outcome, reads) = self.outcome(&serving, &view, read)?;
            let skips = match (&outcome, self.world.setup.planted) {
                (_, Some(Planted::ReadWithoutConfirmation))
                | (Err(_), Some(Planted::RefusalWithoutConfirmation)) => true,
                (Ok(_) | Err(_), Some(_) | None) => false,
            };
            if skips || serving.stands(&reads, confirming).await.ok()?.is_some() {
                return Some(outcome);
            }
        }
        None
    }

    fn outcome(
        &self,
        serving: &Serving<SimMachine>,
        view: &View,
        read: &Read,
    ) -> Option<(Result<ReadAnswer, Refusal>, keyclave_vault::reads::ReadSet)> {
        let now = serving.now(view);
        let found = match authenticate(view, &self.world.secrets.root_token()?, now) {
            Ok(found) => found,
            Err(Refused { refusal, reads }) => return Some((Err(refusal), reads)),
        };
        let (action, key) = Action::of_read(read);
        let permit = keyclave_policy::decide(&found.principal, action, key).ok()?;
        let computed = compute(view, &permit, read, now, serving.uses(), &mut serving.entropy());
        let mut reads = found.reads;
        reads.extend(computed.reads);
        match computed.outcome {
            Outcome::Answer(answer) => Some((Ok(answer), reads)),
            Outcome::Refused(refusal) => Some((Err(refusal), reads)),
            Outcome::NeedBlock(_) => None,
        }
    }

    fn question(&self, key: Key, act: KeyAct) -> Option<Read> {
        let name = key_name(key)?;
        Some(match act {
            KeyAct::Encrypt => Read::Encrypt(Encrypt {
                name,
                version: None,
                items: vec![EncryptItem {
                    plaintext: b"a canary in every message".to_vec().into(),
                    associated_data: Vec::new(),
                }],
            }),
            KeyAct::Decrypt(version) => Read::Decrypt(Decrypt {
                name: Some(name),
                items: vec![DecryptItem {
                    ciphertext: self.world.secrets.ciphertext(key, version)?,
                    associated_data: Vec::new(),
                }],
            }),
            _ => Read::GetKey { name },
        })
    }

    fn told(&self, key: Key, act: KeyAct, answer: ReadAnswer) -> Option<KeyAnswer> {
        match answer {
            ReadAnswer::Key(described) => Some(described_as(&described)),
            ReadAnswer::Encrypted(items) => match items.into_iter().next()? {
                Ok(encrypted) => {
                    let version = encrypted.version.get();
                    self.world.secrets.keep(key, version, encrypted.ciphertext);
                    Some(KeyAnswer::Used(version))
                }
                Err(refusal) => refusal_of(refusal),
            },
            ReadAnswer::Decrypted(items) => match (items.into_iter().next()?, act) {
                (Ok(opened), KeyAct::Decrypt(version)) if opened.version.get() == version => {
                    Some(KeyAnswer::Used(version))
                }
                (Ok(_), _) => None,
                (Err(refusal), _) => refusal_of(refusal),
            },
            ReadAnswer::Keys { .. } | ReadAnswer::Tokens(_) => None,
        }
    }

    /// Makes the key that rotates by itself; refused if there is one already.
    async fn make_automatic(&self) {
        let operation = self.world.next_operation();
        let id = RequestId::at(self.member.position().index, operation.to_be_bytes());
        let Some(name) = key_name(AUTOMATIC) else { return };
        let rules = v1::KeyRules { rotate_every_ms: Some(AUTOMATIC_EVERY_MS), ..Default::default() };
        let message = v1::CreateKeyRequest {
            name: name.to_string(),
            rules: Some(rules),
            request_id: id.as_bytes().to_vec(),
            ..Default::default()
        };
        self.attempt("/keyclave.v1.KeyService/CreateKey", message.to_wire(), KeyAct::Create).await;
    }

    /// At the end, says once what the key that rotates by itself has gone through.
    async fn describe_automatic(&self) {
        if !self.world.describes_automatic() {
            return;
        }
        let Some(name) = key_name(AUTOMATIC) else { return };
        if let Some(Ok(ReadAnswer::Key(described))) = self.confirmed(&Read::GetKey { name }).await
            && let Ok(serving) = self.member.serving()
            && let Ok(view) = serving.view()
            && self.world.has_described_automatic()
        {
            let due = |version: &keyclave_types::key::VersionDescription| match version.origin {
                VersionOrigin::Scheduled { due } => Some(due.0),
                VersionOrigin::Created | VersionOrigin::Requested => None,
            };
            self.world.record(Event::Scheduled {
                key: AUTOMATIC,
                every_ms: AUTOMATIC_EVERY_MS,
                due_ms: described.versions.iter().filter_map(due).collect(),
                made_ms: described.created_at.0,
                now_ms: serving.now(&view).noted().0,
            });
        }
    }
}

fn key_name(key: Key) -> Option<KeyName> {
    format!("app/k{key}").parse().ok()
}

/// A write as its method and message.
fn message(key: Key, act: KeyAct, id: RequestId) -> Option<(&'static str, Vec<u8>)> {
    let (name, request_id) = (key_name(key)?.to_string(), id.as_bytes().to_vec());
    Some(match act {
        KeyAct::Create => (
            "/keyclave.v1.KeyService/CreateKey",
            v1::CreateKeyRequest { name, request_id, ..Default::default() }.to_wire(),
        ),
        KeyAct::Rotate => (
            "/keyclave.v1.KeyService/RotateKey",
            v1::RotateKeyRequest { name, request_id, ..Default::default() }.to_wire(),
        ),
        KeyAct::SetEnabled(true) => (
            "/keyclave.v1.KeyService/EnableKey",
            v1::EnableKeyRequest { name, request_id, ..Default::default() }.to_wire(),
        ),
        KeyAct::SetEnabled(false) => (
            "/keyclave.v1.KeyService/DisableKey",
            v1::DisableKeyRequest { name, request_id, ..Default::default() }.to_wire(),
        ),
        KeyAct::Destroy(version) => (
            "/keyclave.v1.KeyService/DestroyKeyVersion",
            v1::DestroyKeyVersionRequest { name, version, request_id, ..Default::default() }.to_wire(),
        ),
        KeyAct::Encrypt | KeyAct::Decrypt(_) | KeyAct::Describe => return None,
    })
}

/// The key as the answer to a write shows it.
fn written(act: KeyAct, bytes: &[u8]) -> Option<KeyAnswer> {
    let key = match act {
        KeyAct::Create => v1::CreateKeyResponse::from_wire(bytes).ok()?.key,
        KeyAct::Rotate => v1::RotateKeyResponse::from_wire(bytes).ok()?.key,
        KeyAct::SetEnabled(true) => v1::EnableKeyResponse::from_wire(bytes).ok()?.key,
        KeyAct::SetEnabled(false) => v1::DisableKeyResponse::from_wire(bytes).ok()?.key,
        KeyAct::Destroy(_) => v1::DestroyKeyVersionResponse::from_wire(bytes).ok()?.key,
        KeyAct::Encrypt | KeyAct::Decrypt(_) | KeyAct::Describe => None,
    }?;
    let enabled = key.state == i32::from(v1::KeyState::Enabled);
    Some(KeyAnswer::Is { primary: key.primary_version, enabled })
}

/// What a refused write says.
fn refused(reason: Reason, index: u64) -> Attempt {
    match reason {
        Reason::KeyNotFound => Attempt::Answered(KeyAnswer::Absent, index),
        Reason::KeyExists => Attempt::Answered(KeyAnswer::Exists, index),
        Reason::KeyDisabled => Attempt::Answered(KeyAnswer::Disabled, index),
        Reason::VersionDestroyed => Attempt::Answered(KeyAnswer::Destroyed, index),
        Reason::NodeSealed
        | Reason::NoLeader
        | Reason::NotConfirmed
        | Reason::Conflict
        | Reason::Overloaded
        | Reason::CatchingUp => Attempt::Nothing,
        _ => Attempt::Unknown,
    }
}

fn refusal_of(refusal: Refusal) -> Option<KeyAnswer> {
    match refusal {
        Refusal::NotFound => Some(KeyAnswer::Absent),
        Refusal::Disabled => Some(KeyAnswer::Disabled),
        Refusal::Destroyed { .. } => Some(KeyAnswer::Destroyed),
        _ => None,
    }
}

fn described_as(key: &KeyDescription) -> KeyAnswer {
    KeyAnswer::Is { primary: key.primary.get(), enabled: key.state == KeyState::Enabled }
}
