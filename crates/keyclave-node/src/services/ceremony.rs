//! What a node tells any peer of its seal, and shares that come to it through others.

use std::sync::Weak;

use keyclave_audit::record::OK;
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::ceremony_service_server::CeremonyService;
use keyclave_proto::reason::Reason;
use keyclave_proto::request::submit_terms;
use keyclave_vault::ceremony::ShareRefusal;
use tonic::{Request, Response, Status};

use crate::ceremony::{CeremonyProgress, ShareFailure};
use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;
use crate::noting::Act;
use crate::services::forward::{ending, sender};
use crate::unsealing::{GiveError, ShareTaken};

/// The service at the peer port.
pub(crate) struct CeremonyDoor<H: Host> {
    pub(crate) member: Weak<Member<H>>,
}

#[tonic::async_trait]
impl<H: Host> CeremonyService for CeremonyDoor<H> {
    async fn get_seal_status(
        &self,
        _request: Request<wire::GetSealStatusRequest>,
    ) -> Result<Response<wire::GetSealStatusResponse>, Status> {
        let member = self.member.upgrade().ok_or_else(ending)?;
        Ok(Response::new(wire::GetSealStatusResponse {
            sealed: !member.is_unsealed(),
            boot_public_key: member.boot.public().to_vec(),
            ceremony: member.ceremony().map(progress),
            share_set_id: member.seal_record().map(|seal| seal.current.id.to_vec()).unwrap_or_default(),
        }))
    }

    async fn relay_share(
        &self,
        request: Request<wire::RelayShareRequest>,
    ) -> Result<Response<wire::RelayShareResponse>, Status> {
        let member = self.member.upgrade().ok_or_else(ending)?;
        let from = sender(&request)?;
        let request = request.into_inner();
        if !is_submission(&request.terms) || request.kind() != wire::CeremonyKind::Unseal {
            return Err(Status::invalid_argument("a share for nothing that this version knows"));
        }
        let given = member.give_share(&request.terms, &request.sealed_share).await;
        let outcome = outcome(&given);
        let act = Act::new("RelayShare").asked_by(from);
        let act = match &outcome {
            Ok((outcome, _)) => act.ended(word(*outcome)),
            Err(_) => act.ended("NOT_CONFIRMED"),
        };
        member.record(act).await.map_err(|error| Failure::from(error).into_status())?;
        let (outcome, x) = outcome?;
        let ceremony = member.ceremony().map(progress);
        Ok(Response::new(wire::RelayShareResponse { outcome: outcome.into(), x, ceremony }))
    }
}

/// Whether a share was given to be counted, and not, say, to end a ceremony: what it was given for is under its
/// encryption, and no relay may turn one into the other.
fn is_submission(terms: &[u8]) -> bool {
    [false, true]
        .into_iter()
        .any(|vouch| [false, true].into_iter().any(|all| terms == submit_terms(vouch, all)))
}

/// The stable word for the trail.
fn word(outcome: wire::ShareOutcome) -> &'static str {
    use wire::ShareOutcome;
    match outcome {
        ShareOutcome::Taken | ShareOutcome::Repeated | ShareOutcome::Completed => OK,
        ShareOutcome::NotNeeded => Reason::AlreadyInitialized.as_str(),
        ShareOutcome::Wrong => Reason::ShareWrong.as_str(),
        ShareOutcome::OtherSet => Reason::ShareOtherSet.as_str(),
        ShareOutcome::OtherBootKey => Reason::BootKeyChanged.as_str(),
        ShareOutcome::BackOff => Reason::BackOff.as_str(),
        ShareOutcome::Unspecified => Reason::Internal.as_str(),
    }
}

fn outcome(given: &Result<ShareTaken, GiveError>) -> Result<(wire::ShareOutcome, u32), Status> {
    use wire::ShareOutcome::{BackOff, Completed, NotNeeded, OtherBootKey, OtherSet, Repeated, Taken, Wrong};
    Ok(match given {
        Ok(ShareTaken::Progress { x, repeated: false, .. }) => (Taken, u32::from(*x)),
        Ok(ShareTaken::Progress { x, repeated: true, .. }) => (Repeated, u32::from(*x)),
        Ok(ShareTaken::Unsealed { x }) => (Completed, u32::from(*x)),
        Err(GiveError::NotNeeded) => (NotNeeded, 0),
        Err(GiveError::BackOff) => (BackOff, 0),
        Err(GiveError::Share(ShareFailure::BootKey)) => (OtherBootKey, 0),
        Err(GiveError::Share(ShareFailure::Refused(ShareRefusal::Foreign { x }))) => {
            (OtherSet, u32::from(x.get()))
        }
        Err(GiveError::Share(ShareFailure::Refused(
            ShareRefusal::Wrong { x } | ShareRefusal::Number { x, .. },
        ))) => (Wrong, u32::from(x.get())),
        Err(GiveError::Share(ShareFailure::Malformed(_) | ShareFailure::Unknown)) => (Wrong, 0),
        Err(error @ (GiveError::Unseal(_) | GiveError::NotConfirmed)) => {
            return Err(Status::unavailable(error.to_string()));
        }
    })
}

fn progress(progress: CeremonyProgress) -> wire::CeremonyProgress {
    wire::CeremonyProgress {
        ceremony_id: progress.id.as_bytes().to_vec(),
        kind: wire::CeremonyKind::Unseal.into(),
        needed: u32::from(progress.threshold.needed()),
        given: progress.given.iter().map(|x| u32::from(x.get())).collect(),
        begun_unix_ms: progress.opened_at.0,
    }
}
