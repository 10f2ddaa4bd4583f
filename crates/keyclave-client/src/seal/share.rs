//! One share on its way to one process.

use std::sync::PoisonError;

use keyclave_crypto::hpke;
use keyclave_crypto::labels::SHARE_TO_NODE;
use keyclave_crypto::share::Share;
use keyclave_proto::reason::Reason;
use keyclave_proto::request::{Cause, Invalid};
use keyclave_proto::share_terms::{self, SubmitTerms, Vouched};
use keyclave_proto::v1;
use keyclave_types::ids::{CeremonyId, NodeId};
use keyclave_types::request::NodeCode;

use super::Ceremony;
use crate::client::Client;
use crate::error::ReadError;
use crate::wire;

/// A boot key as the network shows it: nobody has compared its code yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootKey {
    node: Option<NodeId>,
    public: [u8; 32],
    /// What a share for it must name; none while it needs no share.
    ceremony: Option<CeremonyId>,
}

/// A boot key whose code was compared with what its machine shows. Only to such a one is a share encrypted.
#[derive(Clone, Debug)]
pub struct ComparedKey(BootKey);

/// The code is another one: the process was restarted, or somebody stands in between.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the node shows {shown}, not the code that was given: nothing was sent")]
pub struct CodeDiffers {
    /// The code of the key that the network shows.
    pub shown: NodeCode,
}

impl BootKey {
    pub(crate) fn new(node: Option<NodeId>, public: [u8; 32], ceremony: Option<CeremonyId>) -> Self {
        Self { node, public, ceremony }
    }

    /// The node that it is said to belong to.
    pub fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// Its code, for a person to compare with what the machine itself shows.
    pub fn code(&self) -> NodeCode {
        hpke::code(&self.public)
    }

    /// Compares it with the code that was read on the machine.
    pub fn compare(&self, read_there: &NodeCode) -> Result<ComparedKey, CodeDiffers> {
        let shown = self.code();
        if shown == *read_there { Ok(ComparedKey(self.clone())) } else { Err(CodeDiffers { shown }) }
    }

    /// A person has seen [`BootKey::code`] and the machine's own, and says that they are the same.
    pub fn confirmed(self) -> ComparedKey {
        ComparedKey(self)
    }
}

/// A share that was read without an error: typing mistakes show before anything is sent.
pub struct GivenShare(Share);

/// What a share is given for, beside opening the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShareTerms {
    /// The process on whose machine it is given, or whose code was named as that of the node to vouch for.
    pub vouch_for: Option<(NodeId, NodeCode)>,
    /// Once unsealed, let every current member in for ten minutes.
    pub admit_all_members: bool,
}

/// What became of a share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShareAnswer {
    /// What it did.
    pub outcome: ShareOutcome,
    /// Its number.
    pub share_number: u32,
    /// The ceremony afterwards.
    pub ceremony: Option<Ceremony>,
    /// Nodes that still need an admission.
    pub nodes_to_admit: Vec<NodeId>,
}

/// What a share did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShareOutcome {
    /// It counts; more are needed.
    Taken,
    /// It was there already.
    Repeated,
    /// It completed the threshold; the node is unsealed.
    Completed,
    /// It vouched for the node, which fetches the root from a peer.
    Vouched,
    /// The node was unsealed already.
    NotNeeded,
}

/// Why a share was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The text is no share; says what is wrong without quoting it.
    #[error("the share cannot be read: {0}")]
    Text(#[from] keyclave_crypto::share::ShareError),
    /// The boot key is no key.
    #[error("the node's boot key cannot be used")]
    BootKey(#[from] hpke::BadPublicKey),
    /// The node did not take it.
    #[error(transparent)]
    Call(#[from] ReadError),
}

impl ShareError {
    /// What to do next; empty where the text says all there is.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Text(_) => "check the share for typing errors",
            Self::BootKey(_) => "compare the code again; if it differs, somebody stands in between",
            Self::Call(error) => error.advice(),
        }
    }
}

impl GivenShare {
    /// Reads a share that somebody typed.
    pub fn parse(text: &str) -> Result<Self, ShareError> {
        Ok(Self(Share::from_text(text)?))
    }

    /// The share set that it belongs to.
    pub fn set(&self) -> [u8; 8] {
        self.0.set()
    }

    /// Its number in that set.
    pub fn number(&self) -> u8 {
        self.0.x().get()
    }
}

impl Client {
    /// Gives one share to the process whose code was compared. Giving it twice changes nothing.
    pub async fn submit_share(
        &self,
        share: &GivenShare,
        to: &ComparedKey,
        terms: ShareTerms,
    ) -> Result<ShareAnswer, ShareError> {
        let Some(ceremony) = to.0.ceremony else { return Ok(ShareAnswer::not_needed(share)) };
        let ShareTerms { vouch_for, admit_all_members } = terms;
        let vouch_for = vouch_for.map(|(node, code)| Vouched { node, code });
        let bound = share_terms::ShareTerms::Submit(SubmitTerms {
            ceremony,
            vouch_for: vouch_for.clone(),
            admit_all_members,
        });
        let request = v1::SubmitShareRequest {
            node: to.0.node.map_or(0, NodeId::get),
            encrypted_share: self.encrypted(share, to, &bound.to_bytes())?,
            boot_public_key: to.0.public.to_vec(),
            admit_all_members,
            vouch_for: vouch_for
                .map(|vouched| v1::Vouched { node: vouched.node.get(), code: vouched.code.to_string() }),
            ceremony_id: ceremony.as_bytes().to_vec(),
        };
        let send = |channel, request| async move { wire::seal(channel).submit_share(request).await };
        match self.read(request, send).await {
            Ok(response) => Ok(ShareAnswer::try_from(response).map_err(ReadError::Answer)?),
            // Others were faster, or the answer to the share that completed the ceremony was lost.
            Err(ReadError::Refused(refusal)) if refusal.known_reason() == Some(Reason::AlreadyUnsealed) => {
                Ok(ShareAnswer::not_needed(share))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends a ceremony at a sealed node; any share of the current set allows it.
    pub async fn reset_ceremony_with_share(
        &self,
        ceremony: CeremonyId,
        share: &GivenShare,
        to: &ComparedKey,
    ) -> Result<(), ShareError> {
        let bound = share_terms::ShareTerms::Reset(ceremony).to_bytes();
        let request = v1::ResetCeremonyRequest {
            ceremony_id: ceremony.as_bytes().to_vec(),
            encrypted_share: self.encrypted(share, to, &bound)?,
            boot_public_key: to.0.public.to_vec(),
            node: to.0.node.map_or(0, NodeId::get),
        };
        let send = |channel, request| async move { wire::seal(channel).reset_ceremony(request).await };
        self.read(request, send).await?;
        Ok(())
    }

    fn encrypted(&self, share: &GivenShare, to: &ComparedKey, bound: &[u8]) -> Result<Vec<u8>, ShareError> {
        let text = share.0.to_text();
        let mut entropy = self.shared.entropy.lock().unwrap_or_else(PoisonError::into_inner).split();
        Ok(hpke::seal_to(&to.0.public, SHARE_TO_NODE, bound, text.as_bytes(), &mut entropy)?)
    }
}

impl ShareAnswer {
    fn not_needed(share: &GivenShare) -> Self {
        Self {
            outcome: ShareOutcome::NotNeeded,
            share_number: u32::from(share.number()),
            ceremony: None,
            nodes_to_admit: Vec::new(),
        }
    }
}

impl TryFrom<v1::SubmitShareResponse> for ShareAnswer {
    type Error = Invalid;

    fn try_from(response: v1::SubmitShareResponse) -> Result<Self, Invalid> {
        let outcome = match response.outcome() {
            v1::ShareOutcome::Taken => ShareOutcome::Taken,
            v1::ShareOutcome::Repeated => ShareOutcome::Repeated,
            v1::ShareOutcome::Completed => ShareOutcome::Completed,
            v1::ShareOutcome::Vouched => ShareOutcome::Vouched,
            v1::ShareOutcome::Unspecified => {
                return Err(Invalid { field: "outcome".to_owned(), cause: Cause::Missing });
            }
        };
        let nodes = response.nodes_to_admit.iter().map(|number| wire::node(*number, "nodes_to_admit"));
        Ok(Self {
            outcome,
            share_number: response.share_number,
            nodes_to_admit: nodes.collect::<Result<_, _>>()?,
            ceremony: response.ceremony.map(TryInto::try_into).transpose()?,
        })
    }
}
