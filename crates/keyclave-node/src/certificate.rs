//! The certificate that this node shows to clients: issued by itself once it is unsealed, with the authority's key out
//! of the ledger, kept beside its identity so that a sealed node can be reached, and renewed in time.

use std::sync::Arc;

use keyclave_policy::{Action, Principal};
use keyclave_types::time::UnixMillis;
use keyclave_vault::refusal::Refusal;
use keyclave_vault::upkeep::Upkeep;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::authority::{AuthorityKeys, CERTIFICATE_MS, Issued};
use crate::failure::Failure;
use crate::home::ServingCertificate;
use crate::host::Host;
use crate::member::Member;

impl<H: Host> Member<H> {
    /// Follows the certificate to serve; none until there is one.
    pub fn watch_certificate(&self) -> watch::Receiver<Option<Arc<ServingCertificate>>> {
        self.certificate.subscribe()
    }

    /// Sees to it that there is a certificate for where this node is reached, with a third of its life ahead.
    pub(crate) async fn keep_certificate(&self, deadline: Instant) -> Result<(), Failure> {
        let Some(addresses) = self.directory.addresses(self.local.node) else { return Err(Failure::Behind) };
        let serves = |certificate: &ServingCertificate| {
            certificate.address == addresses.client && !is_due(certificate, self.clock())
        };
        if self.certificate.borrow().as_deref().is_some_and(serves) {
            return Ok(());
        }
        let authority = self.authority()?;
        let now = self.clock();
        let issued = self.world.authority.issue(&authority, std::slice::from_ref(&addresses.client), now);
        let Issued { key_pkcs8, certificate, expires_at } = issued.map_err(|_| Refusal::RecordLost)?;
        let chain = vec![certificate, authority.certificate];
        let upkeep = Upkeep::PutCertificate { node: self.local.node, chain: chain.clone() };
        self.maintain(upkeep, deadline).await?;
        let certificate =
            ServingCertificate { chain, key: key_pkcs8.to_vec(), address: addresses.client, expires_at };
        if let Err(error) = self.home.save_certificate(&certificate) {
            tracing::warn!(%error, "the certificate for clients could not be kept");
        }
        tracing::info!(until = %expires_at, "a certificate for clients was issued");
        self.certificate.send_replace(Some(Arc::new(certificate)));
        Ok(())
    }

    /// The authority's public key, which join tokens pin.
    pub fn authority_public_key(&self) -> Result<Vec<u8>, Failure> {
        self.world.authority.public_key(&self.authority()?).map_err(|_| Refusal::RecordLost.into())
    }

    fn authority(&self) -> Result<AuthorityKeys, Failure> {
        let view = self.unsealed()?.keeper.latest()?;
        let permit = keyclave_policy::built_in(&Principal::Member(self.local.node), Action::Housekeep, None)
            .map_err(Refusal::from)?;
        let key = view.ca_key(&permit).ok_or(Refusal::RecordLost)?;
        let certificate = view.ca_certificate().ok_or(Refusal::RecordLost)?.to_vec();
        Ok(AuthorityKeys { key_pkcs8: key.expose().to_vec().into(), certificate })
    }
}

fn is_due(certificate: &ServingCertificate, now: UnixMillis) -> bool {
    certificate.expires_at.since(now) < CERTIFICATE_MS / 3
}
