//! Attacks on the wire itself, over real TLS on loopback: strangers, thieves of a TLS key, relays.

use std::io;
use std::sync::Arc;

use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;

use super::*;
use crate::transport::call::CallError;
use crate::transport::directory::LocalNode;
use crate::transport::gate::GateReason;
use crate::transport::handshake::{self, Kind};
use crate::transport::proof::{PeerKeys, Side, transcript};
use crate::transport::testing::station::Station;
use crate::transport::testing::{TestDirectory, TestKeys, local, node};

/// What one member's handshake came to.
type Dialled = Result<Kind, Refused>;

#[test]
fn members_reach_each_other_over_tls() {
    block(async {
        let cluster = TwoMembers::new();
        let (a, _b) = cluster.stations().await;
        assert!(!a.append(2).await.unwrap());
        assert_eq!(a.forward(2, Kind::Keyed).await.unwrap(), b"request");
        assert!(matches!(a.forward(2, Kind::Plain).await, Err(CallError::Gate(GateReason::NeedsKeyed))));
    });
}

#[test]
fn a_key_that_membership_does_not_record_gets_nowhere() {
    block(async {
        let cluster = TwoMembers::new();
        let (_, b) = cluster.stations().await;
        let stranger = cluster.tls(3);
        let dialled = cluster.open(&stranger, 2, Kind::Plain, &TestKeys::sealed()).await;
        // The dialler's TLS may well succeed first: what tells it is the answer byte that never comes.
        assert!(matches!(dialled, Err(Refused::Broken(_))), "{dialled:?}");
        assert_eq!(b.refused(), ["the connection was cut or its handshake failed"]);
    });
}

#[test]
fn a_removed_members_key_gets_through_tls_to_be_told_so() {
    block(async {
        let cluster = TwoMembers::new();
        let (a, b) = cluster.stations().await;
        cluster.directory.remember_removed(1);
        let stranger = cluster.open(&cluster.tls(1), 2, Kind::Keyed, &TestKeys::one(42)).await;
        assert!(matches!(stranger, Err(Refused::Removed)), "{stranger:?}");
        assert!(b.refused().iter().all(|refused| refused == "the other end is not a current member"));
        drop(a);
    });
}

#[test]
fn a_dialler_accepts_only_the_key_it_wants() {
    block(async {
        let cluster = TwoMembers::new();
        let (a, _b) = cluster.stations().await;
        cluster.directory.add(3, public(3));
        cluster.directory.locate(3, &cluster.address(2));
        let refused = a.append(3).await;
        assert!(matches!(refused, Err(CallError::Refused(Refused::Broken(_)))), "{refused:?}");
    });
}

#[test]
fn a_members_public_key_alone_is_no_identity() {
    block(async {
        let cluster = TwoMembers::new();
        let (_, b) = cluster.stations().await;
        let other = Tls::new(local(1).cluster, public(1), &private(3), cluster.directory.clone());
        assert!(matches!(other, Err(TlsKeyError::OtherKey { .. })));
        // Past that check, as an attacker would be: the signature does not fit.
        let mut thief = cluster.tls(1);
        let own = cluster.tls(3).certified.key.clone();
        thief.certified = Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki(&public(1)))], own));
        let dialled = cluster.open(&thief, 2, Kind::Plain, &TestKeys::sealed()).await;
        assert!(dialled.is_err());
        assert_eq!(b.refused().len(), 1);
    });
}

#[test]
fn a_private_key_that_is_none_is_named_so() {
    let directory = TestDirectory::of(&[]);
    let unreadable = Tls::new(local(1).cluster, public(1), b"no key", directory);
    assert!(matches!(unreadable, Err(TlsKeyError::Unreadable(_))));
}

#[test]
fn a_node_that_reaches_itself_refuses_itself() {
    block(async {
        let cluster = TwoMembers::new();
        let (a, _b) = cluster.stations().await;
        let dialled = cluster.open(&cluster.tls(1), 1, Kind::Plain, &TestKeys::sealed()).await;
        assert!(matches!(dialled, Err(Refused::Itself | Refused::Broken(_))), "{dialled:?}");
        assert_eq!(a.connections.count(node(1), Kind::Plain), 0);
    });
}

#[test]
fn whoever_does_not_name_our_protocol_is_refused() {
    block(async {
        let cluster = TwoMembers::new();
        let (_, b) = cluster.stations().await;
        for protocols in [vec![], vec![b"h2".to_vec()]] {
            let mut client = cluster.tls(1).client(&public(2)).unwrap();
            client.alpn_protocols = protocols;
            assert_eq!(cluster.say_plain(client).await, None);
        }
        assert_eq!(b.refused().len(), 2);
        assert!(b.refused().contains(&Refused::Protocol.to_string()));
    });
}

#[test]
fn a_dialler_without_a_key_is_refused() {
    block(async {
        let cluster = TwoMembers::new();
        let (_, b) = cluster.stations().await;
        let verifier = Verifier { accepted: Accepted::Exactly(public(2)), provider: provider() };
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        client.alpn_protocols = vec![ALPN.to_vec()];
        assert_eq!(cluster.say_plain(client).await, None);
        assert_eq!(b.refused().len(), 1);
    });
}

#[test]
fn http2_without_tls_is_not_answered() {
    block(async {
        let cluster = TwoMembers::new();
        let (_, _b) = cluster.stations().await;
        let mut naked = TcpStream::connect(cluster.address(2)).await.unwrap();
        naked.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = naked.read_to_end(&mut answer).await;
        assert!(answer.len() <= 7, "at most a TLS alert: {answer:02x?}");
        assert!(answer.first().is_none_or(|kind| *kind == 0x15), "{answer:02x?}");
    });
}

#[test]
fn no_session_is_resumed_so_a_removed_member_stays_out() {
    block(async {
        let cluster = TwoMembers::new();
        let (_, b) = cluster.stations().await;
        // The attacker would resume if it could.
        let mut client = cluster.tls(1).client(&public(2)).unwrap();
        client.resumption = Resumption::in_memory_sessions(64);
        for _ in 0..3 {
            assert_eq!(cluster.say_plain(client.clone()).await, Some(HandshakeKind::Full));
        }
        cluster.directory.remove(1);
        assert_eq!(cluster.say_plain(client).await, None);
        assert_eq!(b.refused().len(), 1);
    });
}

#[test]
fn both_ends_of_a_connection_export_the_same_and_no_two_connections_do() {
    block(async {
        let cluster = TwoMembers::new();
        let (mine, theirs) = cluster.bound().await;
        let (others, _) = cluster.bound().await;
        assert_eq!(mine.exporter, theirs.exporter);
        assert_ne!(mine.exporter, others.exporter);
        assert_eq!((mine.peer, theirs.peer), (public(2), public(1)));
    });
}

#[test]
fn another_clusters_exporter_differs() {
    block(async {
        let cluster = TwoMembers::new();
        let mut other = cluster.tls(1);
        other.cluster = ClusterId::from_bytes([0xdd; 16]);
        let (mine, theirs) = cluster.bound_with(other).await;
        assert_ne!(mine.exporter, theirs.exporter);
    });
}

#[test]
fn a_proof_shown_to_a_rogue_is_worth_nothing_elsewhere() {
    block(async {
        let cluster = TwoMembers::new();
        let (a, b) = cluster.stations().await;
        // A thief of b's TLS key lets a prove itself to it, and keeps the proof.
        let rogue = Rogue::of(&cluster, 2).await;
        let keys = TestKeys::one(42);
        let tls = cluster.tls(1);
        let (dialled, hello) =
            tokio::join!(cluster.open_at(&tls, &rogue.address, 2, Kind::Keyed, &keys), async {
                let mut bound = rogue.accept().await;
                let mut hello = [0; 33];
                bound.stream.read_exact(&mut hello).await.unwrap();
                hello
            });
        assert!(matches!(dialled, Err(Refused::Broken(_))), "{dialled:?}");
        // Reflected to a itself, and replayed to b by a thief of a's TLS key too.
        for (thief, target) in [(2, 1), (1, 2)] {
            let answer = cluster.answer_to(&hello, thief, target).await;
            assert_eq!(answer, [0x02], "wrong");
        }
        for station in [a, b] {
            assert_eq!(station.refused(), ["the peer's proof is wrong"]);
            assert!(station.connections.keyed().is_empty());
        }
    });
}

#[test]
fn a_relay_with_both_tls_keys_cannot_make_a_keyed_connection() {
    block(async {
        let cluster = TwoMembers::new();
        let (_, b) = cluster.stations().await;
        let keys = TestKeys::one(42);
        for (kind, expected) in [(Kind::Plain, true), (Kind::Keyed, false)] {
            let rogue = Rogue::of(&cluster, 2).await;
            let tls = cluster.tls(1);
            let dial = cluster.open_at(&tls, &rogue.address, 2, kind, &keys);
            let relay = async {
                let mut left = rogue.accept().await;
                let onwards = cluster.address(2).parse().unwrap();
                let mut right = cluster.tls(1).dial(&onwards, &public(2)).await.unwrap();
                assert_ne!(left.exporter, right.exporter);
                copy_bidirectional(&mut left.stream, &mut right.stream).await
            };
            let dialled = tokio::select! {
                dialled = dial => dialled,
                ended = relay => panic!("the relay ended first: {ended:?}"),
            };
            // TLS keys alone do not stop a relay; that is what the proof is for.
            assert_eq!(dialled.is_ok(), expected, "{dialled:?}");
        }
        assert!(b.connections.keyed().is_empty());
    });
}

#[test]
fn a_reflected_proof_does_not_pass_as_the_acceptors() {
    block(async {
        let cluster = TwoMembers::new();
        let rogue = Rogue::of(&cluster, 2).await;
        let keys = TestKeys::one(42);
        let tls = cluster.tls(1);
        let (dialled, ()) =
            tokio::join!(cluster.open_at(&tls, &rogue.address, 2, Kind::Keyed, &keys), async {
                let mut bound = rogue.accept().await;
                let mut hello = [0; 33];
                bound.stream.read_exact(&mut hello).await.unwrap();
                hello[0] = 0;
                bound.stream.write_all(&hello).await.unwrap();
                bound.stream.flush().await.unwrap();
            });
        assert!(matches!(dialled, Err(Refused::Unproven)), "{dialled:?}");
    });
}

#[test]
fn a_proof_fits_its_own_connection() {
    block(async {
        let cluster = TwoMembers::new();
        let (mine, theirs) = cluster.bound().await;
        let keys = TestKeys::one(42);
        let proof = keys.tag(&transcript(Side::Dialler, &mine.exporter)).unwrap();
        assert_eq!(keys.verify(&transcript(Side::Dialler, &theirs.exporter), &proof), Some(true));
        assert_eq!(keys.verify(&transcript(Side::Acceptor, &theirs.exporter), &proof), Some(false));
    });
}

#[test]
fn no_process_wide_provider_is_ever_installed() {
    block(async {
        let cluster = TwoMembers::new();
        cluster.bound().await;
        assert!(CryptoProvider::get_default().is_none());
    });
}

/// Runs `work` to its end in real time: loopback does not stand still with the clock.
fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn seed(number: u64) -> [u8; 32] {
    [u8::try_from(number).unwrap(); 32]
}

fn public(number: u64) -> NodePublicKey {
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed(number)).unwrap();
    NodePublicKey(pair.public_key().as_ref().try_into().unwrap())
}

/// PKCS #8 of an Ed25519 seed (RFC 8410 §7).
fn private(number: u64) -> Vec<u8> {
    let prefix =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    [prefix.as_slice(), &seed(number)].concat()
}

/// Members 1 and 2; keys 3 and up are strangers'.
struct TwoMembers {
    directory: Arc<TestDirectory>,
}

impl TwoMembers {
    fn new() -> Self {
        let directory = TestDirectory::of(&[]);
        directory.add(1, public(1));
        directory.add(2, public(2));
        Self { directory }
    }

    fn tls(&self, number: u64) -> Tls {
        Tls::new(local(1).cluster, public(number), &private(number), self.directory.clone()).unwrap()
    }

    /// Both members, unsealed and listening.
    async fn stations(&self) -> (Station<Tls>, Station<Tls>) {
        (self.station(1).await, self.station(2).await)
    }

    async fn station(&self, number: u64) -> Station<Tls> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.directory.locate(number, &listener.local_addr().unwrap().to_string());
        let local = LocalNode { key: public(number), ..local(number) };
        let station = Station::new(local, self.tls(number), self.directory.clone(), TestKeys::one(42));
        station.serve(TcpListenerStream::new(listener));
        station
    }

    fn address(&self, number: u64) -> String {
        self.directory.address(node(number)).unwrap().to_string()
    }

    async fn open(&self, tls: &Tls, to: u64, kind: Kind, keys: &TestKeys) -> Dialled {
        self.open_at(tls, &self.address(to), to, kind, keys).await
    }

    async fn open_at(&self, tls: &Tls, address: &str, to: u64, kind: Kind, keys: &TestKeys) -> Dialled {
        let mut bound = tls.dial(&address.parse().unwrap(), &public(to)).await?;
        handshake::dial(&mut bound.stream, kind, &bound.exporter, keys).await?;
        Ok(kind)
    }

    /// What node `target` answers to `hello` from whoever holds node `thief`'s TLS key.
    async fn answer_to(&self, hello: &[u8], thief: u64, target: u64) -> Vec<u8> {
        let address = self.address(target).parse().unwrap();
        let mut bound = self.tls(thief).dial(&address, &public(target)).await.unwrap();
        bound.stream.write_all(hello).await.unwrap();
        bound.stream.flush().await.unwrap();
        let mut answer = Vec::new();
        let _ = bound.stream.read_to_end(&mut answer).await;
        answer
    }

    /// Asks node 2 for a plain connection with any client; how its handshake went, if it was answered.
    async fn say_plain(&self, client: ClientConfig) -> Option<HandshakeKind> {
        let said: io::Result<_> = async {
            let tcp = TcpStream::connect(self.address(2)).await?;
            let mut stream = TlsConnector::from(Arc::new(client)).connect(unnamed(), tcp).await?;
            stream.write_all(&[0x01]).await?;
            stream.flush().await?;
            assert_eq!(stream.read_u8().await?, 0x00);
            Ok(stream.get_ref().1.handshake_kind())
        }
        .await;
        said.ok().flatten()
    }

    /// Both ends of one connection from 1 to 2, before any handshake of ours.
    async fn bound(&self) -> (Bound<TlsStream<TcpStream>>, Bound<TlsStream<TcpStream>>) {
        self.bound_with(self.tls(1)).await
    }

    async fn bound_with(&self, dialler: Tls) -> (Bound<TlsStream<TcpStream>>, Bound<TlsStream<TcpStream>>) {
        let rogue = Rogue::of(self, 2).await;
        let address = rogue.address.parse().unwrap();
        let expected = public(2);
        let (mine, theirs) = tokio::join!(dialler.dial(&address, &expected), rogue.accept());
        (mine.unwrap(), theirs)
    }
}

/// A listener with a member's TLS key and no will to keep to the handshake.
struct Rogue {
    address: String,
    listener: TcpListener,
    tls: Tls,
}

impl Rogue {
    async fn of(cluster: &TwoMembers, number: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { address, listener, tls: cluster.tls(number) }
    }

    async fn accept(&self) -> Bound<TlsStream<TcpStream>> {
        let (tcp, _) = self.listener.accept().await.unwrap();
        self.tls.accept(tcp).await.unwrap()
    }
}
