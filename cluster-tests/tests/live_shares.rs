//! Shares that vouch, shares that were captured, and shares that are wrong, given to real processes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::live::{Cluster, LiveError, SHARES_NEEDED, until};
use keyclave_client::Client;
use keyclave_client::audit::AuditQuery;
use keyclave_client::dial::{Anchor, Dial, Tls};
use keyclave_client::endpoint::Endpoint;
use keyclave_client::error::ReadError;
use keyclave_client::seal::{ComparedKey, GivenShare, SealTarget, ShareError, ShareOutcome, ShareTerms};
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::hash::sha256;
use keyclave_crypto::hpke;
use keyclave_crypto::labels::{SHARE_CHECK, SHARE_TO_NODE};
use keyclave_crypto::share::Share;
use keyclave_ledger::disk::{Area, Batch, Disk};
use keyclave_ledger::sled_disk::SledDisk;
use keyclave_node::guesses::Guesses;
use keyclave_proto::share_terms::{ShareTerms as Terms, SubmitTerms};
use keyclave_proto::status::Details;
use keyclave_proto::v1;
use keyclave_proto::v1::seal_service_client::SealServiceClient;
use keyclave_types::ids::{CeremonyId, NodeId};
use keyclave_types::request::NodeCode;
use keyclave_types::time::UnixMillis;
use tonic::transport::Channel;
use tonic::{Code, Status};

const SETTLE: Duration = Duration::from_secs(30);

/// What the machine of a node shows whoever stands there.
struct Here {
    operator: Client,
    node: NodeId,
    code: NodeCode,
    key: ComparedKey,
}

async fn at(cluster: &Cluster, number: usize) -> Result<Here, LiveError> {
    let operator = cluster.node(number)?.over_socket()?.with_deadline(SETTLE);
    let (code, key) = operator.local_code().await?;
    Ok(Here { operator, node: cluster.id_of(number).await?, code, key })
}

impl Here {
    fn vouching(&self) -> ShareTerms {
        ShareTerms { vouch_for: Some((self.node, self.code.clone())), admit_all_members: false }
    }
}

fn share(cluster: &Cluster, at: usize) -> GivenShare {
    GivenShare::parse(&cluster.shares().unwrap()[at]).unwrap()
}

fn reason(error: ShareError) -> String {
    match error {
        ShareError::Call(ReadError::Refused(refusal)) => refusal.reason,
        other => format!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_share_given_on_the_machine_vouches_while_a_peer_is_unsealed_and_a_relayed_one_does_not()
-> Result<(), LiveError> {
    let mut cluster = Cluster::founded(3).await?;
    cluster.restart_bare(3).await?;
    let third = at(&cluster, 3).await?;
    let first = cluster.client(1)?;

    // Everybody sees who waits, from any node.
    until("a node that waits", SETTLE, async || {
        let seals = first.seal_status().await.map_err(|error| error.to_string())?.nodes;
        let waits = seals.iter().any(|seal| seal.node == Some(third.node) && seal.needs_admission);
        if waits { Ok(()) } else { Err(format!("{seals:?}")) }
    })
    .await?;

    // Relayed by a peer and vouching for nobody: it opens a ceremony, and the node stays sealed.
    let answer = first.submit_share(&share(&cluster, 0), &third.key, ShareTerms::default()).await.unwrap();
    assert_eq!(answer.outcome, ShareOutcome::Taken);
    let ceremony = first.seal_status().await?.ceremony.unwrap();
    assert_eq!((ceremony.node, ceremony.given), (Some(third.node), 1));
    first.reset_ceremony_with_share(ceremony.id, &share(&cluster, 1), &third.key).await.unwrap();

    // One that vouches for a process which is not there is refused, whoever gives it.
    let third = at(&cluster, 3).await?;
    let gone = Some((third.node, hpke::code(&[9; 32])));
    let wrong = ShareTerms { vouch_for: gone, admit_all_members: false };
    let refused = third.operator.submit_share(&share(&cluster, 0), &third.key, wrong).await.unwrap_err();
    assert_eq!(reason(refused), "CODE_UNKNOWN");

    // Over its own socket: one share, no ceremony.
    let given = third.operator.submit_share(&share(&cluster, 0), &third.key, third.vouching()).await.unwrap();
    assert_eq!(given.outcome, ShareOutcome::Vouched);
    assert!(given.nodes_to_admit.is_empty());
    cluster.unsealed(&[3]).await?;
    assert_eq!(first.seal_status().await?.ceremony, None);

    // Naming its code, through a peer.
    cluster.restart_bare(3).await?;
    let third = at(&cluster, 3).await?;
    let given = first.submit_share(&share(&cluster, 2), &third.key, third.vouching()).await.unwrap();
    assert_eq!(given.outcome, ShareOutcome::Vouched);
    cluster.unsealed(&[3]).await?;

    let mut recorded = 0;
    for number in [1, 2] {
        let query = AuditQuery { operation: Some("VouchByShare".to_owned()), ..Default::default() };
        let records = cluster.client(number)?.search_audit(query).await?.value.records;
        recorded += records.iter().filter(|record| record.outcome == "OK").count();
    }
    assert_eq!(recorded, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_seal_mark_a_share_vouches_for_nobody_and_a_threshold_lifts_the_mark() -> Result<(), LiveError>
{
    let cluster = Cluster::founded(3).await?;
    let unsealed = at(&cluster, 3).await?;
    cluster.client(1)?.seal(SealTarget::Node(unsealed.node)).await.unwrap();
    let third = until("the seal of a node", SETTLE, async || {
        // What seals runs anew: shares are for the process that comes, which has another code.
        let here = at(&cluster, 3).await.map_err(|error| error.to_string())?;
        let status = here.operator.seal_status().await.map_err(|error| error.to_string())?.this_node;
        let waits = here.code != unsealed.code && status.seal_mark && status.needs_admission;
        if waits { Ok(here) } else { Err(format!("{status:?}")) }
    })
    .await?;
    for number in 1..=SHARES_NEEDED {
        let given = share(&cluster, usize::from(number) - 1);
        let answer = third.operator.submit_share(&given, &third.key, third.vouching()).await.unwrap();
        let last = number == SHARES_NEEDED;
        assert_eq!(answer.outcome, if last { ShareOutcome::Completed } else { ShareOutcome::Taken });
    }
    cluster.unsealed(&[3]).await?;
    let status = until("the lifted mark", SETTLE, async || {
        let status = cluster.node(1).unwrap().over_socket().unwrap().seal_status().await;
        let seals = status.map_err(|error| error.to_string())?.nodes;
        if seals.iter().any(|seal| seal.seal_mark) { Err(format!("{seals:?}")) } else { Ok(seals) }
    });
    status.await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_shares_vouch_for_in_a_ceremony_is_let_in_once_it_is_complete() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(3).await?;
    cluster.kill_all();
    for number in 1..=3 {
        cluster.forget_restart_key(number)?;
    }
    cluster.start_all().await?;
    // The ceremony is at node 1; each share is given at another machine.
    let key = at(&cluster, 1).await?.key;
    for number in [2, 3, 1] {
        let here = at(&cluster, number).await?;
        let given =
            here.operator.submit_share(&share(&cluster, number), &key, here.vouching()).await.unwrap();
        let last = number == 1;
        assert_eq!(given.outcome, if last { ShareOutcome::Completed } else { ShareOutcome::Taken });
    }
    cluster.unsealed(&[1, 2, 3]).await
}

async fn channel(cluster: &Cluster, number: usize) -> Channel {
    let dial = Arc::new(Tls::new(&Anchor::from_pem(cluster.ca_pem().unwrap().as_bytes()).unwrap()));
    let endpoint = Endpoint::from(cluster.node(number).unwrap().client_address());
    let connect = tower::service_fn(move |_: http::Uri| {
        let dialling = dial.dial(&endpoint);
        async move { dialling.await.map(hyper_util::rt::TokioIo::new) }
    });
    tonic::transport::Endpoint::from_static("http://keyclave").connect_with_connector(connect).await.unwrap()
}

/// Calls as whoever stands in between sees them, to be sent again byte by byte.
struct Wire {
    service: SealServiceClient<Channel>,
    entropy: Entropy,
}

impl Wire {
    async fn to(cluster: &Cluster, number: usize) -> Self {
        let service = SealServiceClient::new(channel(cluster, number).await);
        Self { service, entropy: Entropy::from_seed([3; 32]) }
    }

    async fn seal(&mut self) -> v1::NodeSeal {
        let status = self.service.get_seal_status(v1::GetSealStatusRequest {}).await.unwrap().into_inner();
        status.this_node.unwrap()
    }

    fn sealed(&mut self, seal: &v1::NodeSeal, terms: &Terms, share: &str) -> Vec<u8> {
        let public = seal.boot_public_key.as_slice().try_into().unwrap();
        let bound = terms.to_bytes();
        hpke::seal_to(&public, SHARE_TO_NODE, &bound, share.as_bytes(), &mut self.entropy).unwrap()
    }

    async fn submission(&mut self, share: &str) -> v1::SubmitShareRequest {
        let seal = self.seal().await;
        let ceremony = CeremonyId::from_bytes(seal.ceremony_id.as_slice().try_into().unwrap());
        let terms = SubmitTerms { ceremony, vouch_for: None, admit_all_members: false };
        v1::SubmitShareRequest {
            encrypted_share: self.sealed(&seal, &Terms::Submit(terms), share),
            boot_public_key: seal.boot_public_key,
            ceremony_id: seal.ceremony_id,
            ..Default::default()
        }
    }

    async fn reset(&mut self, share: &str) -> v1::ResetCeremonyRequest {
        let seal = self.seal().await;
        let ceremony = CeremonyId::from_bytes(seal.ceremony_id.as_slice().try_into().unwrap());
        v1::ResetCeremonyRequest {
            encrypted_share: self.sealed(&seal, &Terms::Reset(ceremony), share),
            boot_public_key: seal.boot_public_key,
            ceremony_id: seal.ceremony_id,
            node: 0,
        }
    }

    async fn submit(&mut self, request: &v1::SubmitShareRequest) -> Result<v1::ShareOutcome, Status> {
        self.service.submit_share(request.clone()).await.map(|answer| answer.into_inner().outcome())
    }
}

fn refused(status: Status) -> (Code, String) {
    (status.code(), Details::of(&status).reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_call_counts_no_more_once_its_ceremony_has_ended() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(1).await?;
    cluster.restart_bare(1).await?;
    let mut wire = Wire::to(&cluster, 1).await;
    let shares: Vec<String> = cluster.shares()?.iter().map(|share| share.to_string()).collect();

    let captured = wire.submission(&shares[0]).await;
    assert_eq!(wire.submit(&captured).await.unwrap(), v1::ShareOutcome::Taken);
    assert_eq!(wire.submit(&captured).await.unwrap(), v1::ShareOutcome::Repeated);
    let reset = wire.reset(&shares[1]).await;
    // A share that is to be counted is no leave to reset.
    let twisted =
        v1::ResetCeremonyRequest { encrypted_share: captured.encrypted_share.clone(), ..reset.clone() };
    let status = wire.service.reset_ceremony(twisted).await.unwrap_err();
    assert_eq!(refused(status), (Code::FailedPrecondition, "BOOT_KEY_CHANGED".to_owned()));

    // A reset and a submission race: whichever comes first, nothing of the old ceremony counts afterwards.
    let racing = wire.submission(&shares[2]).await;
    let (mut one, mut other) = (wire.service.clone(), wire.service.clone());
    let (submitted, was_reset) =
        tokio::join!(one.submit_share(racing.clone()), other.reset_ceremony(reset.clone()));
    was_reset.unwrap();
    let gone = (Code::NotFound, "CEREMONY_NOT_FOUND".to_owned());
    match submitted {
        Ok(answer) => assert_eq!(answer.into_inner().outcome(), v1::ShareOutcome::Taken),
        Err(status) => assert_eq!(refused(status), gone),
    }
    for captured in [&captured, &racing] {
        assert_eq!(refused(wire.submit(captured).await.unwrap_err()), gone);
    }
    assert_eq!(refused(wire.service.reset_ceremony(reset).await.unwrap_err()), gone);
    // Naming the ceremony that follows does not help: the share itself names the old one.
    let ceremony_id = wire.seal().await.ceremony_id;
    let renamed = v1::SubmitShareRequest { ceremony_id, ..captured.clone() };
    assert_eq!(refused(wire.submit(&renamed).await.unwrap_err()).1, "BOOT_KEY_CHANGED");
    let status = cluster.node(1)?.over_socket()?.seal_status().await?;
    assert_eq!(status.ceremony, None, "a captured share opened a ceremony");

    cluster.give_shares(1, SHARES_NEEDED).await?;
    let unneeded = (Code::FailedPrecondition, "ALREADY_UNSEALED".to_owned());
    assert_eq!(refused(wire.submit(&captured).await.unwrap_err()), unneeded);
    // The SDK takes that for what it is: nothing to do.
    let here = at(&cluster, 1).await?;
    let given = here.operator.submit_share(&share(&cluster, 0), &here.key, ShareTerms::default()).await;
    assert_eq!(given.unwrap().outcome, ShareOutcome::NotNeeded);
    Ok(())
}

/// The value of one share under the number of another, with a check sum that fits.
fn twisted(value: &str, number: &str) -> String {
    let value = Share::from_text(value).unwrap().to_bytes();
    let mut bytes = *Share::from_text(number).unwrap().to_bytes();
    bytes[10..42].copy_from_slice(&value[10..42]);
    let check = sha256(&[SHARE_CHECK.bytes(), &bytes[..42]]);
    bytes[42..].copy_from_slice(&check[..4]);
    Share::from_bytes(&bytes).unwrap().to_text().to_string()
}

/// A share of a cluster that this one has never heard of.
fn foreign() -> String {
    let mut entropy = Entropy::from_seed([5; 32]);
    let root = entropy.secret("another root");
    let threshold = keyclave_types::seal::Threshold::new(3, 5).unwrap();
    keyclave_crypto::shamir::split(&root, threshold, &mut entropy).remove(0).to_text().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_shares_are_named_counted_across_restarts_and_keep_no_right_one_waiting()
-> Result<(), LiveError> {
    let mut cluster = Cluster::founded(1).await?;
    cluster.restart_bare(1).await?;
    let shares: Vec<String> = cluster.shares()?.iter().map(|share| share.to_string()).collect();
    let mut wire = Wire::to(&cluster, 1).await;

    let unauthenticated = |reason: &str| (Code::Unauthenticated, reason.to_owned());
    let wrong = wire.submission(&twisted(&shares[0], &shares[1])).await;
    assert_eq!(refused(wire.submit(&wrong).await.unwrap_err()), unauthenticated("SHARE_WRONG"));
    let strange = wire.submission(&foreign()).await;
    assert_eq!(refused(wire.submit(&strange).await.unwrap_err()), unauthenticated("SHARE_OTHER_SET"));
    let nonsense = wire.submission("kcsh1-nonsense").await;
    let malformed = (Code::InvalidArgument, "SHARE_MALFORMED".to_owned());
    assert_eq!(refused(wire.submit(&nonsense).await.unwrap_err()), malformed);
    let seal = wire.seal().await;
    assert_eq!(seal.wrong_shares, 2);
    assert!(seal.last_wrong_share_unix_ms > 0);

    // After many of them, and a restart, a wrong one is not even looked at; a right one is taken at once.
    cluster.kill(1)?;
    {
        let disk = SledDisk::open(&cluster.node(1)?.data.join("ledger")).unwrap();
        let stored = disk.read(Area::Meta, b"slot/node/share-guesses").unwrap().unwrap();
        let expected = Guesses { wrong: 2, last_at: UnixMillis(seal.last_wrong_share_unix_ms) };
        assert_eq!(stored.as_slice(), keyclave_types::envelope::encode(&expected));
        let guesses = Guesses { wrong: 30, ..expected };
        let mut batch = Batch::default();
        batch.put(Area::Meta, b"slot/node/share-guesses", keyclave_types::envelope::encode(&guesses));
        disk.write(batch).unwrap();
        disk.sync().unwrap();
    }
    cluster.forget_restart_key(1)?;
    cluster.start(1).await?;
    let mut wire = Wire::to(&cluster, 1).await;
    let wrong = wire.submission(&twisted(&shares[0], &shares[1])).await;
    let resting = (Code::ResourceExhausted, "BACK_OFF".to_owned());
    assert_eq!(refused(wire.submit(&wrong).await.unwrap_err()), resting);
    let right = wire.submission(&shares[4]).await;
    assert_eq!(wire.submit(&right).await.unwrap(), v1::ShareOutcome::Taken);
    assert_eq!(wire.seal().await.wrong_shares, 30);

    // Every one of them is on record, and a completed ceremony begins the count anew.
    cluster.give_shares(1, SHARES_NEEDED).await?;
    cluster.unsealed(&[1]).await?;
    assert_eq!(wire.seal().await.wrong_shares, 0);
    let query = AuditQuery { operation: Some("SubmitShare".to_owned()), ..Default::default() };
    let records = cluster.client(1)?.search_audit(query).await?.value.records;
    for outcome in ["SHARE_WRONG", "SHARE_OTHER_SET", "BACK_OFF"] {
        assert!(records.iter().any(|record| record.outcome == outcome), "{outcome}: {records:?}");
    }
    Ok(())
}
