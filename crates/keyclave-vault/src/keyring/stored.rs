//! The keyring's stored form, before it is wrapped, written by hand because secrets have no `Serialize`:
//!
//! `0x01 ‖ epochs ‖ index key (32) ‖ token keys ‖ writer seed (32) ‖ peer keys`, where each of the three sets is
//! `active number (4) ‖ count (2) ‖ (number (4) ‖ key (32))…`, numbers big-endian and rising.

use std::collections::BTreeMap;

use keyclave_crypto::secret::{Secret, SecretVec};
use keyclave_crypto::sign::SigningKey;

use crate::keyring::{Keyring, SealingKey, UnwrapError, Versioned};

const FORMAT: u8 = 0x01;
const SET_HEAD_BYTES: usize = 4 + 2;
const SET_KEY_BYTES: usize = 4 + 32;

pub(super) fn encode(keyring: &Keyring) -> SecretVec {
    let sets = [keyring.epochs.len(), keyring.token_keys.keys.len(), keyring.peer_keys.keys.len()];
    let length = 1 + 2 * 32 + sets.iter().map(|keys| SET_HEAD_BYTES + keys * SET_KEY_BYTES).sum::<usize>();
    SecretVec::from_fn("keyring", length, |bytes| {
        let mut rest = bytes;
        put(&mut rest, &[FORMAT]);
        let epochs = keyring.epochs.iter().map(|(number, key)| (*number, &key.secret));
        put_set(&mut rest, keyring.active_epoch, epochs);
        put(&mut rest, keyring.index_key.expose());
        put_versioned(&mut rest, &keyring.token_keys);
        put(&mut rest, keyring.writer.seed().expose());
        put_versioned(&mut rest, &keyring.peer_keys);
    })
}

/// Writes at the front of what is left. The length was summed up from the same parts, so it always fits.
fn put(rest: &mut &mut [u8], part: &[u8]) {
    if let Some((front, back)) = std::mem::take(rest).split_at_mut_checked(part.len()) {
        front.copy_from_slice(part);
        *rest = back;
    }
}

fn put_versioned(rest: &mut &mut [u8], keys: &Versioned) {
    put_set(rest, keys.active, keys.keys.iter().map(|(number, key)| (*number, key)));
}

fn put_set<'a>(
    rest: &mut &mut [u8],
    active: u32,
    keys: impl ExactSizeIterator<Item = (u32, &'a Secret<32>)>,
) {
    put(rest, &active.to_be_bytes());
    put(rest, &u16::try_from(keys.len()).unwrap_or(u16::MAX).to_be_bytes());
    for (number, key) in keys {
        put(rest, &number.to_be_bytes());
        put(rest, key.expose());
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Keyring, UnwrapError> {
    let format = bytes.first().copied().unwrap_or(0);
    let wrong = UnwrapError::Format { format, length: bytes.len() };
    match bytes.split_first() {
        Some((&FORMAT, body)) => parse(body).ok_or(wrong),
        _ => Err(wrong),
    }
}

fn parse(mut rest: &[u8]) -> Option<Keyring> {
    let epochs = take_set(&mut rest, "epoch key")?;
    let index_key = take_key(&mut rest, "index key")?;
    let token_keys = take_set(&mut rest, "token key")?;
    let writer = SigningKey::from_seed(take_key(&mut rest, "writer key")?);
    let peer_keys = take_set(&mut rest, "peer key")?;
    rest.is_empty().then_some(())?;
    Some(Keyring {
        active_epoch: epochs.active,
        epochs: epochs.keys.into_iter().map(|(number, key)| (number, SealingKey::new(number, key))).collect(),
        index_key,
        token_keys,
        writer,
        peer_keys,
    })
}

fn take_set(rest: &mut &[u8], name: &'static str) -> Option<Versioned> {
    let active = take_number(rest)?;
    let (count, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    let mut keys = BTreeMap::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let number = take_number(rest)?;
        let rises = keys.last_key_value().is_none_or(|(last, _)| *last < number);
        rises.then_some(())?;
        keys.insert(number, take_key(rest, name)?);
    }
    keys.contains_key(&active).then_some(Versioned { keys, active })
}

fn take_number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_be_bytes(*number))
}

fn take_key(rest: &mut &[u8], name: &'static str) -> Option<Secret<32>> {
    let (key, after) = rest.split_first_chunk::<32>()?;
    *rest = after;
    Secret::from_slice(name, key)
}

#[cfg(test)]
mod tests {
    use keyclave_crypto::entropy::Entropy;

    use super::*;

    /// Sets of one key each, every key filled with its own byte.
    fn golden() -> Vec<u8> {
        let set = |number: u32, fill: u8| {
            [number.to_be_bytes().as_slice(), &[0, 1], &number.to_be_bytes(), &[fill; 32]].concat()
        };
        [&[1][..], &set(3, 0xaa), &[0xbb; 32], &set(1, 0xcc), &[0xdd; 32], &set(2, 0xee)].concat()
    }

    #[test]
    fn golden_bytes_stay() {
        let keyring = decode(&golden()).unwrap();
        assert_eq!(keyring.active_epoch, 3);
        assert_eq!(keyring.index_key.expose(), &[0xbb; 32]);
        assert_eq!(keyring.peer_keys.active().0, 2);
        assert_eq!(keyring.writer.seed().expose(), &[0xdd; 32]);
        assert_eq!(encode(&keyring).expose(), golden());
    }

    #[test]
    fn a_created_keyring_reads_back() {
        let keyring = Keyring::create(&mut Entropy::from_seed([5; 32]));
        let bytes = encode(&keyring);
        assert_eq!(encode(&decode(bytes.expose()).unwrap()).expose(), bytes.expose());
    }

    #[test]
    fn cut_long_unordered_or_newer_bytes_are_refused() {
        let golden = golden();
        for length in 0..golden.len() {
            assert!(decode(&golden[..length]).is_err(), "{length}");
        }
        assert!(decode(&[golden.as_slice(), &[0]].concat()).is_err());
        let mut newer = golden.clone();
        newer[0] = 2;
        assert!(matches!(decode(&newer), Err(UnwrapError::Format { format: 2, .. })));
        let mut inactive = golden;
        inactive[4] = 9;
        assert!(decode(&inactive).is_err());
    }
}
