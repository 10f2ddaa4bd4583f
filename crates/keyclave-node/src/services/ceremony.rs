//! What a node tells any peer of its seal, and shares that come to it through others.

use std::sync::Weak;

use keyclave_audit::record::OK;
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::ceremony_service_server::CeremonyService;
use keyclave_proto::reason::Reason;
use keyclave_proto::share_terms::ShareTerms;
use keyclave_vault::ceremony::ShareRefusal;
use tonic::{Request, Response, Status};

use crate::ceremony::{CeremonyProgress, ShareFailure};
use crate::failure::Failure;
use crate::giving::{GiveError, ShareTaken};
use crate::host::Host;
use crate::member::Member;
use crate::members::restart_key_word;
use crate::noting::Act;
use crate::services::forward::{ending, sender};

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
        let guesses = member.guesses();
        Ok(Response::new(wire::GetSealStatusResponse {
            sealed: !member.is_unsealed(),
            boot_public_key: member.boot.public().to_vec(),
            ceremony: member.ceremony().map(progress),
            share_set_id: member.seal_record().map(|seal| seal.current.id.to_vec()).unwrap_or_default(),
            ceremony_id: member.ceremony_id().map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
            wrong_shares: guesses.wrong,
            last_wrong_share_unix_ms: guesses.last_at.0,
            comes_back: member.comes_back(),
            restart_key: restart_key_word(member.restart_key_usable()),
        }))
    }

    async fn relay_share(
        &self,
        request: Request<wire::RelayShareRequest>,
    ) -> Result<Response<wire::RelayShareResponse>, Status> {
        let member = self.member.upgrade().ok_or_else(ending)?;
        let from = sender(&request)?;
        let request = request.into_inner();
        // What a share is for is under its encryption: no relay may turn one thing into another.
        let terms = ShareTerms::from_bytes(&request.terms)
            .filter(|_| request.kind() == wire::CeremonyKind::Unseal)
            .ok_or_else(|| Status::invalid_argument("a share for nothing that this version knows"))?;
        let given = match &terms {
            ShareTerms::Submit(terms) => member.give_share(terms, &request.sealed_share).await,
            ShareTerms::Reset(id) => {
                let reset = member.reset_ceremony(*id, &request.sealed_share).await;
                reset.map(|()| ShareTaken::Progress { x: 0, repeated: false, progress: None })
            }
        };
        let mut outcome = outcome(&given);
        if let (ShareTerms::Reset(_), Ok((word, _))) = (&terms, &mut outcome)
            && *word == wire::ShareOutcome::Taken
        {
            *word = wire::ShareOutcome::Reset;
        }
        let act = Act::new("RelayShare").asked_by(from);
        let act = match &outcome {
            Ok((outcome, _)) => act.ended(word(*outcome)),
            Err(_) => act.ended("NOT_CONFIRMED"),
        };
        member.record(act).await.map_err(|error| Failure::from(error).into_status())?;
        let (outcome, x) = outcome?;
        let ceremony = member.ceremony().map(progress);
        let wrong_shares = member.guesses().wrong;
        Ok(Response::new(wire::RelayShareResponse { outcome: outcome.into(), x, ceremony, wrong_shares }))
    }
}

/// The stable word for the trail.
fn word(outcome: wire::ShareOutcome) -> &'static str {
    use wire::ShareOutcome;
    match outcome {
        ShareOutcome::Taken
        | ShareOutcome::Repeated
        | ShareOutcome::Completed
        | ShareOutcome::Vouched
        | ShareOutcome::Reset => OK,
        ShareOutcome::NotNeeded => Reason::AlreadyUnsealed.as_str(),
        ShareOutcome::Ended => Reason::CeremonyNotFound.as_str(),
        ShareOutcome::OtherCode => Reason::CodeUnknown.as_str(),
        ShareOutcome::Wrong => Reason::ShareWrong.as_str(),
        ShareOutcome::OtherSet => Reason::ShareOtherSet.as_str(),
        ShareOutcome::OtherBootKey => Reason::BootKeyChanged.as_str(),
        ShareOutcome::BackOff => Reason::BackOff.as_str(),
        ShareOutcome::Unspecified => Reason::Internal.as_str(),
    }
}

fn outcome(given: &Result<ShareTaken, GiveError>) -> Result<(wire::ShareOutcome, u32), Status> {
    use wire::ShareOutcome::{
        BackOff, Completed, Ended, NotNeeded, OtherBootKey, OtherCode, OtherSet, Repeated, Taken, Vouched,
        Wrong,
    };
    Ok(match given {
        Ok(ShareTaken::Progress { x, repeated: false, .. }) => (Taken, u32::from(*x)),
        Ok(ShareTaken::Progress { x, repeated: true, .. }) => (Repeated, u32::from(*x)),
        Ok(ShareTaken::Unsealed { x }) => (Completed, u32::from(*x)),
        Ok(ShareTaken::Vouched { x }) => (Vouched, u32::from(*x)),
        Err(GiveError::NotNeeded) => (NotNeeded, 0),
        Err(GiveError::BackOff) => (BackOff, 0),
        Err(GiveError::Share(ShareFailure::BootKey)) => (OtherBootKey, 0),
        Err(GiveError::Share(ShareFailure::Refused(ShareRefusal::Foreign { x }))) => {
            (OtherSet, u32::from(x.get()))
        }
        Err(GiveError::Share(ShareFailure::Refused(
            ShareRefusal::Wrong { x } | ShareRefusal::Number { x, .. },
        ))) => (Wrong, u32::from(x.get())),
        Err(GiveError::Share(ShareFailure::Malformed(_))) => (Wrong, 0),
        Err(GiveError::Share(ShareFailure::Ended)) => (Ended, 0),
        Err(GiveError::OtherCode) => (OtherCode, 0),
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
