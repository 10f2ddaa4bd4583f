//! The one place where request, credential, permit, view, confirmation and audit record meet.
//!
//! Reads: view -> credential -> permit -> work, while the confirmation travels and the record becomes durable; then
//! the answer leaves if nothing that it rests on has changed, and is made again otherwise.
//! Writes: a durable intent, then the leader's decision and transaction, then a durable outcome.

mod answering;

use std::sync::Arc;
use std::time::Duration;

use keyclave_audit::record::Who;
use keyclave_crypto::entropy::Entropy;
use keyclave_node::failure::Failure;
use keyclave_node::host::Host;
use keyclave_node::member::Member;
use keyclave_node::node::Node;
use keyclave_node::serving::Serving;
use keyclave_node::world::{Clock, EntropySource};
use keyclave_policy::{Action, Circumstances, Class, Permit, Principal, Target};
use keyclave_proto::reason::Reason;
use keyclave_proto::request::{Asked, Invalid};
use keyclave_proto::status::status;
use keyclave_types::ids::RequestId;
use keyclave_types::position::Position;
use keyclave_types::request::Read;
use keyclave_vault::authenticate::authenticate;
use keyclave_vault::compute::{Computed, Outcome, ReadAnswer, compute};
use keyclave_vault::permission;
use keyclave_vault::reads::ReadSet;
use keyclave_vault::refusal::{Refusal, Refused};
use keyclave_vault::view::View;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;
use tonic::Status;

pub(crate) use answering::Found;

use crate::budget::Party;
use crate::caller::Caller;
use crate::failures::Failures;
use crate::receipt::Recorded;
use crate::recording::Recording;
use crate::refusals::{COUNTED_MS, Place, Refusals};

/// What the services call. Cheap clones share the node.
pub struct Pipeline<H: Host> {
    node: Node<H>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn EntropySource>,
    refusals: Arc<Refusals>,
    failures: Arc<Failures>,
    records_missing: Counter,
}

impl<H: Host> Clone for Pipeline<H> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            refusals: self.refusals.clone(),
            failures: self.failures.clone(),
            records_missing: self.records_missing.clone(),
        }
    }
}

/// Somebody who may do what was asked for.
pub(crate) struct Permitted<H: Host> {
    /// The member that is asked.
    pub(crate) member: Arc<Member<H>>,
    /// The yes.
    pub(crate) permit: Permit,
    /// What it was said over.
    pub(crate) view: Arc<View>,
    /// The call, not yet on record.
    pub(crate) recording: Recording,
    /// Where the ledger stood.
    pub(crate) position: Position,
}

/// What a caller asks for, as far as the policy looks at it.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// What is to be done.
    pub(crate) action: Action,
    /// With what.
    pub(crate) target: Target<'a>,
    /// How the caller came, and what they ask besides.
    pub(crate) circumstances: &'a Circumstances,
    /// The oldest state that may answer.
    pub(crate) floor: Option<Position>,
}

impl<'a> Asking<'a> {
    /// Something about the cluster itself.
    pub(crate) fn cluster(action: Action, circumstances: &'a Circumstances) -> Self {
        Self { action, target: Target::Cluster, circumstances, floor: None }
    }
}

impl<H: Host> Pipeline<H> {
    /// The pipeline of one node.
    pub fn new(node: Node<H>, clock: Arc<dyn Clock>, entropy: Arc<dyn EntropySource>) -> Self {
        let refusals = Arc::new(Refusals::new(Instant::now()));
        let failures = Arc::default();
        Self { node, clock, entropy, refusals, failures, records_missing: Counter::default() }
    }

    /// How many records were not durable in time.
    pub(crate) fn records_missing(&self) -> Counter {
        self.records_missing.clone()
    }

    /// The node.
    pub(crate) fn node(&self) -> &Node<H> {
        &self.node
    }

    /// Whom the caller's credential speaks for, as far as this node's view knows. None is no answer yet: the view may be
    /// late.
    pub(crate) fn party(&self, caller: &Caller) -> Option<Party> {
        let member = self.node.member().filter(|_| caller.has_credential())?;
        let serving = member.serving().ok()?;
        let view = serving.view().ok()?;
        Party::of(&authenticate(&view, &caller.shown(), serving.now(&view)).ok()?.principal)
    }

    /// Refuses at once what comes from where too many wrong credentials came from.
    pub(crate) fn room_for_failure(&self, caller: &Caller) -> Result<(), Status> {
        if self.failures.has_room(caller.source(), Instant::now()) {
            return Ok(());
        }
        let text = "too many wrong credentials came from this address; a right one is taken";
        Err(status(Reason::TooManyFailures, text, Default::default()))
    }

    /// Notes that a credential did not count.
    pub(crate) fn note_failure(&self, caller: &Caller) {
        self.failures.note(caller.source(), Instant::now());
    }

    /// Refuses a call whose credential nobody knows, as any refusal is: over a confirmed view, and on record as a call
    /// that asks for `action`.
    pub(crate) async fn confirm_known(
        &self,
        caller: &Caller,
        action: Action,
        operation: &'static str,
    ) -> Result<(), Status> {
        let mut recording = Recording::new(caller, self.request_id(), action, operation);
        let known = |_: &Serving<H>, _: &View, _: &Permit| {
            (Found::Permitted { answer: (), confirm: false }, ReadSet::default())
        };
        // Whoever has any credential passes: what it allows is for the operation itself.
        let circumstances = caller.circumstances();
        let any = Asking::cluster(Action::Reflect, &circumstances);
        self.confirmed(caller, &mut recording, &any, known).await.map(|_| ())
    }

    /// A question about keys, answered here and confirmed by the leader. What cannot be parsed is said only to who
    /// may do `action`.
    pub(crate) async fn read<M>(
        &self,
        caller: &Caller,
        operation: &'static str,
        action: Action,
        message: M,
    ) -> Result<(ReadAnswer, Position), Status>
    where
        Asked<Read>: TryFrom<M, Error = Invalid>,
    {
        let asked: Asked<Read> = match message.try_into() {
            Ok(asked) => asked,
            Err(invalid) => return self.invalid(caller, operation, action, &invalid).await,
        };
        let read = &asked.request;
        let (action, target) = Action::of_read(read);
        let sizes = Sizes::of(read);
        let mut recording = Recording::new(caller, self.request_id(), action, operation);
        recording.body.key = target.key().cloned();
        recording.body.items = sizes.items;
        recording.body.bytes_in = sizes.bytes_in;
        let circumstances = of_read(caller.circumstances(), read);
        let mut entropy = self.entropy();
        let question = |serving: &Serving<H>, view: &View, permit: &Permit| {
            let now = serving.now(view);
            let Computed { outcome, reads, staleness_max_ms } =
                compute(view, permit, &circumstances, read, now, serving.uses(), &mut entropy);
            let found = match outcome {
                Outcome::Answer(answer) => Found::Within { answer: Ok(answer), staleness_max_ms },
                Outcome::Refused(refusal) => Found::Within { answer: Err(refusal), staleness_max_ms },
                Outcome::NeedBlock(need) => Found::Need(need),
            };
            (found, reads)
        };
        let asked = Asking { action, target, circumstances: &circumstances, floor: asked.floor };
        self.confirmed(caller, &mut recording, &asked, question).await
    }

    /// Says what is wrong with a request to whoever has a valid credential: which key it would have been about is
    /// not known.
    pub(crate) async fn invalid<A>(
        &self,
        caller: &Caller,
        operation: &'static str,
        action: Action,
        invalid: &Invalid,
    ) -> Result<(A, Position), Status> {
        self.unread(caller, operation, action, &Status::from(invalid)).await
    }

    /// As [`Self::invalid`] for a call that did not reach its operation. What answers anyone has been asked by nobody
    /// yet, whose refusals are on record as far as their budget goes.
    pub(crate) async fn not_taken(
        &self,
        caller: &Caller,
        operation: &'static str,
        action: Action,
        said: Status,
    ) -> Status {
        let refused = match (action.class(), self.node.member()) {
            (Class::Open | Class::Machine, Some(member)) => {
                let recording = Recording::new(caller, self.request_id(), action, operation);
                self.record_refusal(&member, &recording, &said).await.map(|_| ())
            }
            (Class::Open | Class::Machine, None) => Ok(()),
            (
                Class::Known
                | Class::Use
                | Class::Manage
                | Class::Danger
                | Class::Read
                | Class::Operate
                | Class::Cluster,
                _,
            ) => self.unread::<()>(caller, operation, action, &said).await.map(|_| ()),
        };
        refused.err().unwrap_or(said)
    }

    async fn unread<A>(
        &self,
        caller: &Caller,
        operation: &'static str,
        action: Action,
        status: &Status,
    ) -> Result<(A, Position), Status> {
        let circumstances = caller.circumstances();
        let asked = Asking { action, target: Target::Chosen, circumstances: &circumstances, floor: None };
        self.say(caller, operation, &asked, status).await
    }

    /// Says `status` to who may do `action` with the cluster.
    pub(crate) async fn said<A>(
        &self,
        caller: &Caller,
        operation: &'static str,
        action: Action,
        status: &Status,
    ) -> Result<(A, Position), Status> {
        let circumstances = caller.circumstances();
        self.say(caller, operation, &Asking::cluster(action, &circumstances), status).await
    }

    async fn say<A>(
        &self,
        caller: &Caller,
        operation: &'static str,
        asked: &Asking<'_>,
        status: &Status,
    ) -> Result<(A, Position), Status> {
        let mut recording = Recording::new(caller, self.request_id(), asked.action, operation);
        let question =
            |_: &Serving<H>, _: &View, _: &Permit| (Found::Invalid(status.clone()), ReadSet::default());
        self.confirmed(caller, &mut recording, asked, question).await
    }

    /// Answers a question of whoever may do `action`, over one frozen view, once it is confirmed and on record.
    pub(crate) async fn ask<A>(
        &self,
        caller: &Caller,
        action: Action,
        operation: &'static str,
        mut answer: impl FnMut(&View, &Permit) -> A,
    ) -> Result<(A, Position), Status> {
        let mut recording = Recording::new(caller, self.request_id(), action, operation);
        let question = |_: &Serving<H>, view: &View, permit: &Permit| {
            (Found::Answer(answer(view, permit)), ReadSet::default())
        };
        let circumstances = caller.circumstances();
        self.confirmed(caller, &mut recording, &Asking::cluster(action, &circumstances), question).await
    }

    /// Whoever may do `action`, over a confirmed view, for work that takes longer than an answer over a view. Its
    /// record is the caller's to make.
    pub(crate) async fn permitted(
        &self,
        caller: &Caller,
        action: Action,
        operation: &'static str,
    ) -> Result<Permitted<H>, Status> {
        let mut recording = Recording::new(caller, self.request_id(), action, operation);
        let may = |_: &Serving<H>, _: &View, _: &Permit| {
            (Found::Permitted { answer: (), confirm: true }, ReadSet::default())
        };
        let circumstances = caller.circumstances();
        let asked = Asking::cluster(action, &circumstances);
        let ((), position) = self.confirmed(caller, &mut recording, &asked, may).await?;
        let member = self.member_for(caller, &recording).await?;
        match self.permit_over_latest(caller, &member, action, &mut recording) {
            Ok((permit, view)) => Ok(Permitted { member, permit, view, recording, position }),
            Err(failure) => {
                let status = failure.to_status(Some(position));
                self.record_refusal(&member, &recording, &status).await?;
                Err(status)
            }
        }
    }

    fn permit_over_latest(
        &self,
        caller: &Caller,
        member: &Arc<Member<H>>,
        action: Action,
        recording: &mut Recording,
    ) -> Result<(Permit, Arc<View>), Failure> {
        let serving = member.serving()?;
        let view = serving.view()?;
        let circumstances = caller.circumstances();
        let permit =
            self.permit(caller, &serving, &view, &Asking::cluster(action, &circumstances), recording);
        let (permit, _) = permit.map_err(|refused| Failure::Refused(refused.refusal))?;
        Ok((permit, view))
    }

    /// Whom the credential speaks for, and whether they may.
    fn permit(
        &self,
        caller: &Caller,
        serving: &Serving<H>,
        view: &View,
        asked: &Asking<'_>,
        recording: &mut Recording,
    ) -> Result<(Permit, ReadSet), Refused> {
        let (principal, mut reads) = if caller.has_credential() {
            let found = authenticate(view, &caller.shown(), serving.now(view))
                .inspect_err(|_| recording.by(&Principal::Unauthenticated))?;
            (found.principal, found.reads)
        } else if caller.is_local() {
            (Principal::LocalSocket, ReadSet::default())
        } else {
            (Principal::Unauthenticated, ReadSet::default())
        };
        recording.by(&principal);
        let Asking { action, target, circumstances, .. } = *asked;
        let decided = permission::permit(view, &principal, action, target, circumstances, serving.now(view));
        match decided {
            Ok(permitted) => {
                recording.decided_by(permitted.permit.by());
                reads.extend(permitted.reads);
                Ok((permitted.permit, reads))
            }
            Err(no) => {
                recording.decided_by(&no.by);
                reads.extend(no.refused.reads);
                let nobody = principal == Principal::Unauthenticated;
                let refusal = if nobody { Refusal::Unauthenticated } else { no.refused.refusal };
                Err(Refused { refusal, reads })
            }
        }
    }

    /// The member that this node is; without a credential nobody learns that it is none.
    pub(crate) async fn member_for(
        &self,
        caller: &Caller,
        recording: &Recording,
    ) -> Result<Arc<Member<H>>, Status> {
        let member = self.node.member();
        if !caller.has_credential() && !caller.is_local() {
            let status = Failure::Refused(Refusal::Unauthenticated).into_status();
            if let Some(member) = &member {
                self.record_refusal(member, recording, &status).await?;
            }
            return Err(status);
        }
        member.ok_or_else(|| Failure::Vacant.into_status())
    }

    /// Puts a no on record, or, for callers without a valid credential and beyond their common budget, counts it.
    /// Whether it is on record.
    pub(crate) async fn record_refusal(
        &self,
        member: &Member<H>,
        recording: &Recording,
        status: &Status,
    ) -> Result<bool, Status> {
        if recording.body.who == Who::Nobody
            && let Place::Counted { first } = self.refusals.take(Instant::now())
        {
            if first {
                tokio::spawn(self.clone().record_counted());
            }
            return Ok(false);
        }
        self.record(member, recording.refused(self.clock.now(), status)).await.map(|()| true)
    }

    /// A while later, puts on record how many refusals were only counted.
    async fn record_counted(self) {
        tokio::time::sleep(Duration::from_millis(COUNTED_MS)).await;
        let Some(member) = self.node.member() else { return };
        let draft = crate::recording::counted(self.request_id(), self.clock.now(), self.refusals.counted());
        if let Err(status) = self.record(&member, draft).await {
            tracing::error!(%status, "the number of refusals that were not recorded is not on record");
        }
    }

    /// Puts a draft on record; nothing may be answered if that fails.
    pub(crate) async fn record(
        &self,
        member: &Member<H>,
        recorded: impl Into<Recorded>,
    ) -> Result<(), Status> {
        let Recorded { draft, receipt: place } = recorded.into();
        match member.trail().record(draft).await {
            Ok(receipt) => {
                place.iter().for_each(|place| place.put(receipt));
                Ok(())
            }
            Err(error) => {
                self.records_missing.inc();
                Err(Failure::Trail(error).into_status())
            }
        }
    }

    pub(crate) fn now(&self) -> keyclave_types::time::UnixMillis {
        self.clock.now()
    }

    pub(crate) fn entropy(&self) -> Entropy {
        Entropy::from_seed(self.entropy.seed())
    }

    /// A name for one call in the trail.
    pub(crate) fn request_id(&self) -> RequestId {
        RequestId::from_bytes(self.entropy().array())
    }
}

/// What a question tells about itself.
fn of_read(caller: Circumstances, read: &Read) -> Circumstances {
    let count = |items: usize| u32::try_from(items).unwrap_or(u32::MAX);
    match read {
        Read::Encrypt(encrypt) => Circumstances {
            version: encrypt.version,
            associated_data: encrypt.items.iter().any(|item| !item.associated_data.is_empty()),
            batch_items: count(encrypt.items.len()),
            ..caller
        },
        Read::Decrypt(decrypt) => Circumstances {
            associated_data: decrypt.items.iter().any(|item| !item.associated_data.is_empty()),
            batch_items: count(decrypt.items.len()),
            ..caller
        },
        Read::GetKey { .. }
        | Read::ListKeys { .. }
        | Read::ListTokens
        | Read::ListSubjects { .. }
        | Read::ListGroups { .. }
        | Read::ListPolicies { .. }
        | Read::ListClientRoots { .. }
        | Read::ListIssuers { .. }
        | Read::ListIdentities { .. }
        | Read::GetPolicy { .. }
        | Read::Explain { .. }
        | Read::WhoCan { .. } => caller,
    }
}

/// How large a request is, for its record.
struct Sizes {
    items: u32,
    bytes_in: u64,
}

impl Sizes {
    fn of(read: &Read) -> Self {
        let (items, bytes) = match read {
            Read::Encrypt(encrypt) => {
                (encrypt.items.len(), encrypt.items.iter().map(|item| item.plaintext.len()).sum::<usize>())
            }
            Read::Decrypt(decrypt) => {
                (decrypt.items.len(), decrypt.items.iter().map(|item| item.ciphertext.len()).sum())
            }
            Read::GetKey { .. }
            | Read::ListKeys { .. }
            | Read::ListTokens
            | Read::ListSubjects { .. }
            | Read::ListGroups { .. }
            | Read::ListPolicies { .. }
            | Read::ListClientRoots { .. }
            | Read::ListIssuers { .. }
            | Read::ListIdentities { .. }
            | Read::GetPolicy { .. }
            | Read::Explain { .. }
            | Read::WhoCan { .. } => (0, 0),
        };
        Self { items: u32::try_from(items).unwrap_or(u32::MAX), bytes_in: bytes as u64 }
    }
}

/// A fault of the server's own: the caller learns nothing but that.
pub(crate) fn internal(what: &str) -> Status {
    tracing::error!(what, "a fault of the server's own");
    status(Reason::Internal, "a fault of the server's own; its log says more", Default::default())
}
