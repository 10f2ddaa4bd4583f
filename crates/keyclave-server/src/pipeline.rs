//! The one place where request, credential, permit, view, confirmation and audit record meet.
//!
//! Reads: view -> credential -> permit -> work, while the confirmation travels and the record becomes durable; then
//! the answer leaves if nothing that it rests on has changed, and is made again otherwise.
//! Writes: a durable intent, then the leader's decision and transaction, then a durable outcome.

use std::sync::Arc;

use keyclave_audit::record::RecordDraft;
use keyclave_crypto::entropy::Entropy;
use keyclave_node::failure::Failure;
use keyclave_node::host::Host;
use keyclave_node::member::Member;
use keyclave_node::node::Node;
use keyclave_node::serving::Serving;
use keyclave_node::world::{Clock, EntropySource};
use keyclave_policy::{Action, Permit, Principal};
use keyclave_proto::reason::Reason;
use keyclave_types::ids::RequestId;
use keyclave_types::position::Position;
use keyclave_types::request::Read;
use keyclave_vault::authenticate::authenticate;
use keyclave_vault::compute::{Computed, NeedBlock, Outcome, ReadAnswer, compute};
use keyclave_vault::reads::ReadSet;
use keyclave_vault::refusal::{Refusal, Refused};
use keyclave_vault::view::View;
use tonic::Status;

use crate::caller::Caller;
use crate::recording::Recording;

/// How often one read is done again because what it rests on changed, before it is given up.
const READS_MAX: usize = 16;

/// What the services call. Cheap clones share the node.
pub struct Pipeline<H: Host> {
    node: Node<H>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn EntropySource>,
}

impl<H: Host> Clone for Pipeline<H> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), clock: self.clock.clone(), entropy: self.entropy.clone() }
    }
}

/// What was found to answer, before it may leave.
enum Found<A> {
    Answer(A),
    Refused(Refusal),
    Need(NeedBlock),
}

impl<H: Host> Pipeline<H> {
    /// The pipeline of one node.
    pub fn new(node: Node<H>, clock: Arc<dyn Clock>, entropy: Arc<dyn EntropySource>) -> Self {
        Self { node, clock, entropy }
    }

    /// The node.
    pub(crate) fn node(&self) -> &Node<H> {
        &self.node
    }

    /// A question about keys, answered here and confirmed by the leader.
    pub(crate) async fn read(
        &self,
        caller: &Caller,
        operation: &'static str,
        read: &Read,
        floor: Option<Position>,
        sizes: Sizes,
    ) -> Result<(ReadAnswer, Position), Status> {
        let (action, key) = Action::of_read(read);
        let mut recording = Recording::new(caller, self.request_id(), action, operation);
        recording.body.key = key.cloned();
        recording.body.items = sizes.items;
        recording.body.bytes_in = sizes.bytes_in;
        let mut entropy = self.entropy();
        let question = |serving: &Serving<H>, view: &View, permit: &Permit| {
            let now = serving.now(view);
            let Computed { outcome, reads, .. } =
                compute(view, permit, read, now, serving.uses(), &mut entropy);
            let found = match outcome {
                Outcome::Answer(answer) => Found::Answer(answer),
                Outcome::Refused(refusal) => Found::Refused(refusal),
                Outcome::NeedBlock(need) => Found::Need(need),
            };
            (found, reads)
        };
        self.confirmed(caller, recording, action, key, floor, question).await
    }

    /// Answers a question of whoever may do `action`, over one frozen view, once it is confirmed and on record.
    pub(crate) async fn ask<A>(
        &self,
        caller: &Caller,
        action: Action,
        operation: &'static str,
        mut answer: impl FnMut(&View, &Permit) -> A,
    ) -> Result<(A, Position), Status> {
        let recording = Recording::new(caller, self.request_id(), action, operation);
        let question = |_: &Serving<H>, view: &View, permit: &Permit| {
            (Found::Answer(answer(view, permit)), ReadSet::default())
        };
        self.confirmed(caller, recording, action, None, None, question).await
    }

    async fn confirmed<A>(
        &self,
        caller: &Caller,
        mut recording: Recording,
        action: Action,
        key: Option<&keyclave_types::name::KeyName>,
        floor: Option<Position>,
        mut question: impl FnMut(&Serving<H>, &View, &Permit) -> (Found<A>, ReadSet),
    ) -> Result<(A, Position), Status> {
        let member = self.member_for(caller, &recording).await?;
        let serving = self.serving_for(caller, &member, &recording).await?;
        serving.reach(floor).await.map_err(Failure::into_status)?;
        for _ in 0..READS_MAX {
            if tokio::time::Instant::now() >= caller.deadline {
                return Err(Failure::Deadline.into_status());
            }
            // Begun before the view is taken: whatever was acknowledged before this moment must be seen.
            let confirming = serving.begin_confirmation();
            let view = serving.view().map_err(Failure::into_status)?;
            recording.body.view = Some(view.position());
            let (found, reads) = match self.permit(caller, &serving, &view, action, key) {
                Ok((permit, mut reads)) => {
                    recording.by(permit.principal());
                    let (found, read) = question(&serving, &view, &permit);
                    reads.extend(read);
                    (found, reads)
                }
                Err(Refused { refusal, reads }) => (Found::Refused(refusal), reads),
            };
            let outcome = match found {
                Found::Need(need) => {
                    serving.reserve(need, caller.deadline).await.map_err(Failure::into_status)?;
                    continue;
                }
                Found::Answer(answer) => Ok(answer),
                Found::Refused(refusal) => Err(Failure::Refused(refusal).into_status()),
            };
            let now = self.clock.now();
            let draft = match &outcome {
                Ok(_) => recording.done(now),
                Err(status) => recording.refused(now, status),
            };
            let (stands, recorded) =
                tokio::join!(serving.stands(&reads, confirming), self.record(&member, draft));
            recorded?;
            match stands {
                Ok(Some(position)) => return outcome.map(|answer| (answer, position)),
                Ok(None) => self.record(&member, recording.withheld(self.clock.now())).await?,
                Err(failure) => {
                    self.record(&member, recording.withheld(self.clock.now())).await?;
                    return Err(failure.into_status());
                }
            }
        }
        Err(Failure::Contended.into_status())
    }

    /// Whom the credential speaks for, and whether they may.
    fn permit(
        &self,
        caller: &Caller,
        serving: &Serving<H>,
        view: &View,
        action: Action,
        key: Option<&keyclave_types::name::KeyName>,
    ) -> Result<(Permit, ReadSet), Refused> {
        let (principal, reads) = match &caller.bearer {
            Some(bearer) => {
                let found = authenticate(view, bearer, serving.now(view))?;
                (found.principal, found.reads)
            }
            None if caller.is_local() => (Principal::LocalSocket, ReadSet::default()),
            None => (Principal::Unauthenticated, ReadSet::default()),
        };
        match keyclave_policy::decide(&principal, action, key) {
            Ok(permit) => Ok((permit, reads)),
            Err(_) if principal == Principal::Unauthenticated => {
                Err(Refused { refusal: Refusal::Unauthenticated, reads })
            }
            Err(denied) => Err(Refused { refusal: denied.into(), reads }),
        }
    }

    /// The member that this node is; without a credential nobody learns that it is none.
    pub(crate) async fn member_for(
        &self,
        caller: &Caller,
        recording: &Recording,
    ) -> Result<Arc<Member<H>>, Status> {
        let member = self.node.member();
        if caller.bearer.is_none() && !caller.is_local() {
            let status = Failure::Refused(Refusal::Unauthenticated).into_status();
            if let Some(member) = &member {
                self.record_refusal(member, recording, &status).await?;
            }
            return Err(status);
        }
        member.ok_or_else(|| Failure::Vacant.into_status())
    }

    /// The member as it serves, or the refusal, on record.
    pub(crate) async fn serving_for(
        &self,
        _caller: &Caller,
        member: &Arc<Member<H>>,
        recording: &Recording,
    ) -> Result<Serving<H>, Status> {
        match member.serving() {
            Ok(serving) => Ok(serving),
            Err(failure) => {
                let status = failure.into_status();
                self.record_refusal(member, recording, &status).await?;
                Err(status)
            }
        }
    }

    pub(crate) async fn record_refusal(
        &self,
        member: &Member<H>,
        recording: &Recording,
        status: &Status,
    ) -> Result<(), Status> {
        self.record(member, recording.refused(self.clock.now(), status)).await
    }

    /// Puts a draft on record; nothing may be answered if that fails.
    pub(crate) async fn record(&self, member: &Member<H>, draft: RecordDraft) -> Result<(), Status> {
        let recorded = member.trail().record(draft).await;
        recorded.map(|_| ()).map_err(|error| Failure::Trail(error).into_status())
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

/// How large a request is, for its record.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sizes {
    pub(crate) items: u32,
    pub(crate) bytes_in: u64,
}

/// A fault of the server's own: the caller learns nothing but that.
pub(crate) fn internal(what: &str) -> Status {
    tracing::error!(what, "a fault of the server's own");
    keyclave_proto::status::status(
        Reason::Internal,
        "a fault of the server's own; its log says more",
        Default::default(),
    )
}
