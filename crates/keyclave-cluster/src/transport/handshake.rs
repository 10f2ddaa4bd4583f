//! The first bytes of a peer connection, before HTTP/2: what kind it is, and on a keyed one the proofs.
//!
//! ```text
//! dialler:  0x01                        plain
//!           0x02 ‖ tag (32)             keyed
//! acceptor: 0x00                        plain is fine
//!           0x00 ‖ tag (32)             keyed: the proof is right, and here is mine
//!           0x01                        I am sealed
//!           0x02                        the proof is wrong
//!           0x03 ‖ signature (64)       you were removed
//! ```
//!
//! The dialler proves first, so nobody learns a proof by connecting. It waits for the answer byte on a plain
//! connection too: in TLS 1.3 a dialler's handshake succeeds before its key is judged. Lengths are fixed, so
//! there is nothing to parse. Knows no TLS; the time limit is the caller's ([`super::connection`],
//! [`super::incoming`]).

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::proof::{PeerKeys, Removal, Side, transcript};
use super::refused::Refused;
use super::wire::Exporter;

/// For name, TCP, TLS and proof together.
pub const HANDSHAKE_MS_MAX: u64 = 2_000;

/// What a connection has proven.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// The other end is a member by its key; nothing more.
    Plain,
    /// Both ends hold the keyring's peer key.
    Keyed,
}

const PLAIN: u8 = 0x01;
const KEYED: u8 = 0x02;
const ACCEPTED: u8 = 0x00;
const SEALED: u8 = 0x01;
const WRONG: u8 = 0x02;
const REMOVED: u8 = 0x03;

/// The dialler's side.
pub(crate) async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    kind: Kind,
    exporter: &Exporter,
    keys: &dyn PeerKeys,
) -> Result<(), Refused> {
    match kind {
        Kind::Plain => {
            send(stream, &[PLAIN]).await?;
            match receive(stream).await? {
                [ACCEPTED] => Ok(()),
                [REMOVED] => Err(told_removed(stream, exporter, keys).await),
                [found] => Err(Refused::UnknownByte { expected: "an answer to a plain connection", found }),
            }
        }
        Kind::Keyed => {
            let proof = keys.tag(&transcript(Side::Dialler, exporter)).ok_or(Refused::WeAreSealed)?;
            send(stream, &with_proof(KEYED, proof)).await?;
            match receive(stream).await? {
                [ACCEPTED] => judge(keys, Side::Acceptor, exporter, &receive(stream).await?),
                [SEALED] => Err(Refused::PeerSealed),
                [WRONG] => Err(Refused::WrongProof),
                [REMOVED] => Err(told_removed(stream, exporter, keys).await),
                [found] => Err(Refused::UnknownByte { expected: "an answer to a proof", found }),
            }
        }
    }
}

/// The acceptor's side.
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    exporter: &Exporter,
    keys: &dyn PeerKeys,
) -> Result<Kind, Refused> {
    match receive(stream).await? {
        [PLAIN] => {
            send(stream, &[ACCEPTED]).await?;
            Ok(Kind::Plain)
        }
        [KEYED] => {
            let proof = receive(stream).await?;
            if let Err(refused) = judge(keys, Side::Dialler, exporter, &proof) {
                return turn_away(stream, refused).await;
            }
            let Some(answer) = keys.tag(&transcript(Side::Acceptor, exporter)) else {
                return turn_away(stream, Refused::WeAreSealed).await;
            };
            send(stream, &with_proof(ACCEPTED, answer)).await?;
            Ok(Kind::Keyed)
        }
        [found] => Err(Refused::UnknownByte { expected: "a connection's kind", found }),
    }
}

/// The acceptor's side towards a node that was removed: whatever it wants, it learns this and nothing else.
pub(crate) async fn turn_out<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    removal: Removal,
) -> Result<(), Refused> {
    match receive(stream).await? {
        [PLAIN] => {}
        [KEYED] => {
            let _nobody_judges_it: [u8; 32] = receive(stream).await?;
        }
        [found] => return Err(Refused::UnknownByte { expected: "a connection's kind", found }),
    }
    let mut bytes = [REMOVED; 65];
    let (_, tail) = bytes.split_at_mut(1);
    tail.copy_from_slice(&removal);
    send(stream, &bytes).await?;
    // The answer is out; how the stream ends changes nothing any more.
    let _ = stream.shutdown().await;
    Ok(())
}

/// A removal counts only from whoever holds the keyring: a thief of one member's TLS key must not seal the others.
async fn told_removed<S: AsyncRead + Unpin>(
    stream: &mut S,
    exporter: &Exporter,
    keys: &dyn PeerKeys,
) -> Refused {
    match receive(stream).await {
        Ok(removal) if keys.believes_removed(exporter, &removal) => Refused::Removed,
        Ok(_) => Refused::Unproven,
        Err(broken) => broken,
    }
}

fn judge(keys: &dyn PeerKeys, prover: Side, exporter: &Exporter, proof: &[u8; 32]) -> Result<(), Refused> {
    match keys.verify(&transcript(prover, exporter), proof) {
        Some(true) => Ok(()),
        Some(false) => Err(Refused::Unproven),
        None => Err(Refused::WeAreSealed),
    }
}

/// Tells the dialler why, as far as that is its business, and ends the stream.
async fn turn_away<S: AsyncWrite + Unpin>(stream: &mut S, refused: Refused) -> Result<Kind, Refused> {
    let answer = if matches!(refused, Refused::WeAreSealed) { SEALED } else { WRONG };
    send(stream, &[answer]).await?;
    // The answer is out; how the stream ends changes nothing any more.
    let _ = stream.shutdown().await;
    Err(refused)
}

fn with_proof(first: u8, proof: [u8; 32]) -> [u8; 33] {
    let mut bytes = [first; 33];
    let (_, tail) = bytes.split_at_mut(1);
    tail.copy_from_slice(&proof);
    bytes
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), Refused> {
    stream.write_all(bytes).await.map_err(Refused::broken)?;
    // A TLS stream keeps what was written until it is flushed.
    stream.flush().await.map_err(Refused::broken)
}

async fn receive<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N], Refused> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(Refused::broken)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::transport::testing::{TestKeys, block, node};

    const EXPORTER: Exporter = Exporter([0xe5; 32]);

    fn both(
        dialler: &TestKeys,
        acceptor: &TestKeys,
        kind: Kind,
    ) -> (Result<(), Refused>, Result<Kind, Refused>) {
        let (mut near, mut far) = duplex(64);
        block(async {
            tokio::join!(dial(&mut near, kind, &EXPORTER, dialler), accept(&mut far, &EXPORTER, acceptor))
        })
    }

    /// What the acceptor answers to `bytes`, until it ends the stream or has no more to say.
    fn answer_to(bytes: &[u8], keys: &TestKeys) -> (Vec<u8>, Result<Kind, Refused>) {
        let (mut near, mut far) = duplex(64);
        block(async {
            near.write_all(bytes).await.unwrap();
            let outcome = accept(&mut far, &EXPORTER, keys).await;
            drop(far);
            (rest(&mut near).await, outcome)
        })
    }

    async fn rest(stream: &mut DuplexStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    #[test]
    fn two_holders_of_one_key_make_a_keyed_connection() {
        let (dialled, accepted) = both(&TestKeys::one(42), &TestKeys::one(42), Kind::Keyed);
        assert!(dialled.is_ok());
        assert_eq!(accepted.unwrap(), Kind::Keyed);
    }

    #[test]
    fn a_plain_connection_asks_no_key_of_either_side() {
        let (dialled, accepted) = both(&TestKeys::sealed(), &TestKeys::sealed(), Kind::Plain);
        assert!(dialled.is_ok());
        assert_eq!(accepted.unwrap(), Kind::Plain);
    }

    #[test]
    fn each_side_learns_why_a_keyed_connection_failed() {
        let (dialled, accepted) = both(&TestKeys::one(42), &TestKeys::sealed(), Kind::Keyed);
        assert!(matches!(dialled, Err(Refused::PeerSealed)));
        assert!(matches!(accepted, Err(Refused::WeAreSealed)));
        let (dialled, accepted) = both(&TestKeys::one(42), &TestKeys::one(1), Kind::Keyed);
        assert!(matches!(dialled, Err(Refused::WrongProof)));
        assert!(matches!(accepted, Err(Refused::Unproven)));
        let (mut near, _far) = duplex(64);
        let dialled = block(dial(&mut near, Kind::Keyed, &EXPORTER, &TestKeys::sealed()));
        assert!(matches!(dialled, Err(Refused::WeAreSealed)));
    }

    #[test]
    fn a_later_peer_key_is_accepted_before_anyone_proves_with_it() {
        let accepts_both = TestKeys::versions(1, &[1, 2]);
        let proves_with_later = TestKeys::versions(2, &[1, 2]);
        assert!(both(&proves_with_later, &accepts_both, Kind::Keyed).0.is_ok());
        assert!(both(&accepts_both, &proves_with_later, Kind::Keyed).0.is_ok());
        assert!(both(&proves_with_later, &TestKeys::one(1), Kind::Keyed).0.is_err());
    }

    #[test]
    fn golden_bytes_stay() {
        let keys = TestKeys::one(42);
        let proof = keys.tag(&transcript(Side::Dialler, &EXPORTER)).unwrap();
        let answer = keys.tag(&transcript(Side::Acceptor, &EXPORTER)).unwrap();
        let (bytes, kind) = answer_to(&[&[0x02], proof.as_slice()].concat(), &keys);
        assert_eq!(bytes, [&[0x00], answer.as_slice()].concat());
        assert_eq!(kind.unwrap(), Kind::Keyed);
        assert_eq!(answer_to(&[0x01], &keys).0, [0x00]);
        assert_eq!(answer_to(&[&[0x02], proof.as_slice()].concat(), &TestKeys::sealed()).0, [0x01]);
        assert_eq!(answer_to(&[[0x02].as_slice(), &[0; 32]].concat(), &keys).0, [0x02]);
        let removal = keys.tell_removed(node(1), &EXPORTER).unwrap();
        for asked in [vec![0x01], vec![0x02; 33]] {
            let (mut near, mut far) = duplex(128);
            let told = block(async {
                near.write_all(&asked).await.unwrap();
                turn_out(&mut far, removal).await.unwrap();
                drop(far);
                rest(&mut near).await
            });
            assert_eq!(told, [&[0x03], removal.as_slice()].concat());
        }
    }

    #[test]
    fn without_the_key_no_bytes_make_a_connection_keyed() {
        let keys = TestKeys::one(42);
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let own_answer = keys.tag(&transcript(Side::Acceptor, &EXPORTER)).unwrap();
        let other_connection = keys.tag(&transcript(Side::Dialler, &Exporter([1; 32]))).unwrap();
        for attempt in [
            vec![0; 33],
            vec![0x09; 40],
            preface.to_vec(),
            [[0x02].as_slice(), &[0; 32]].concat(),
            [[0x02].as_slice(), preface, &[b'.'; 8]].concat(),
            [[0x02].as_slice(), &own_answer].concat(),
            [[0x02].as_slice(), &other_connection].concat(),
        ] {
            let (answer, kind) = answer_to(&attempt, &keys);
            assert!(kind.is_err(), "{attempt:02x?}");
            assert!(answer.is_empty() || answer == [WRONG], "{attempt:02x?}");
        }
    }

    #[test]
    fn an_acceptor_without_the_key_cannot_answer_a_proof() {
        let keys = TestKeys::one(42);
        // It may reflect the proof it was shown, make one up, or answer with a byte of its own.
        for forge in [
            |proof: &[u8]| [[ACCEPTED].as_slice(), proof].concat(),
            |_: &[u8]| vec![ACCEPTED; 33],
            |_: &[u8]| vec![0x07; 33],
        ] {
            let (mut near, mut far) = duplex(64);
            let dialled = block(async {
                let rogue = async {
                    let [_, proof @ ..]: [u8; 33] = receive(&mut far).await.unwrap();
                    far.write_all(&forge(&proof)).await.unwrap();
                };
                tokio::join!(dial(&mut near, Kind::Keyed, &EXPORTER, &keys), rogue).0
            });
            assert!(matches!(dialled, Err(Refused::Unproven | Refused::UnknownByte { .. })), "{dialled:?}");
        }
    }

    #[test]
    fn a_dialler_that_is_sealed_meanwhile_takes_nobodys_word() {
        let keys = TestKeys::one(42);
        let (mut near, mut far) = duplex(64);
        let dialled = block(async {
            let rogue = async {
                receive::<33, _>(&mut far).await.unwrap();
                keys.become_like(TestKeys::sealed());
                far.write_all(&[ACCEPTED; 33]).await.unwrap();
            };
            tokio::join!(dial(&mut near, Kind::Keyed, &EXPORTER, &keys), rogue).0
        });
        assert!(matches!(dialled, Err(Refused::WeAreSealed)), "{dialled:?}");
    }

    #[test]
    fn a_stream_cut_at_any_byte_is_refused() {
        let keys = TestKeys::one(42);
        let proof = keys.tag(&transcript(Side::Dialler, &EXPORTER)).unwrap();
        let whole = [&[0x02], proof.as_slice()].concat();
        for length in 0..whole.len() {
            let (mut near, mut far) = duplex(64);
            let outcome = block(async {
                near.write_all(&whole[..length]).await.unwrap();
                drop(near);
                accept(&mut far, &EXPORTER, &keys).await
            });
            assert!(matches!(outcome, Err(Refused::Broken(_))), "{length}");
        }
    }
}
