//! Requests of `CryptoService`. A single message is a batch of one: whoever computes sees one shape.

use keyclave_types::ciphertext::HEADER_BYTES;
use keyclave_types::limits::{
    ASSOCIATED_DATA_BYTES_MAX, BATCH_ITEMS_MAX, BATCH_REQUEST_BYTES_MAX, PLAINTEXT_BYTES_MAX,
};
use keyclave_types::name::KeyName;
use keyclave_types::position::Position;
use keyclave_types::request::{Decrypt, DecryptItem, Encrypt, EncryptItem, Plaintext, Read};

use super::field::{self, At};
use super::{Asked, Cause, Invalid};
use crate::v1;

/// Bytes by which a ciphertext may exceed its plaintext: header, nonce and tag, with room for other formats.
const OVERHEAD_BYTES_MAX: usize = HEADER_BYTES + 107;

impl TryFrom<v1::EncryptRequest> for Asked<Read> {
    type Error = Invalid;

    fn try_from(request: v1::EncryptRequest) -> Result<Self, Invalid> {
        let item = v1::EncryptItem { plaintext: request.plaintext, associated_data: request.associated_data };
        let items = vec![encrypt_item(item, "")?];
        let name = field::key_name(&request.key_name, "key_name")?;
        let version = field::optional_version(request.version)?;
        let read = Read::Encrypt(Encrypt { name, version, items });
        Ok(Self { request: read, floor: request.floor.map(Position::from) })
    }
}

impl TryFrom<v1::BatchEncryptRequest> for Asked<Read> {
    type Error = Invalid;

    fn try_from(request: v1::BatchEncryptRequest) -> Result<Self, Invalid> {
        let bytes = request.items.iter().map(|item| item.plaintext.len() + item.associated_data.len());
        batch(request.items.len(), bytes.sum()).at("items")?;
        let items = request
            .items
            .into_iter()
            .enumerate()
            .map(|(at, item)| encrypt_item(item, &format!("items[{at}].")))
            .collect::<Result<_, _>>()?;
        let name = field::key_name(&request.key_name, "key_name")?;
        let version = field::optional_version(request.version)?;
        let read = Read::Encrypt(Encrypt { name, version, items });
        Ok(Self { request: read, floor: request.floor.map(Position::from) })
    }
}

impl TryFrom<v1::DecryptRequest> for Asked<Read> {
    type Error = Invalid;

    fn try_from(request: v1::DecryptRequest) -> Result<Self, Invalid> {
        let name = named_or_any(&request.key_name, request.any_key)?;
        let item =
            v1::DecryptItem { ciphertext: request.ciphertext, associated_data: request.associated_data };
        let items = vec![decrypt_item(item, "")?];
        let read = Read::Decrypt(Decrypt { name, items });
        Ok(Self { request: read, floor: request.floor.map(Position::from) })
    }
}

impl TryFrom<v1::BatchDecryptRequest> for Asked<Read> {
    type Error = Invalid;

    fn try_from(request: v1::BatchDecryptRequest) -> Result<Self, Invalid> {
        let name = named_or_any(&request.key_name, request.any_key)?;
        let bytes = request.items.iter().map(|item| item.ciphertext.len() + item.associated_data.len());
        let overhead = request.items.len().saturating_mul(OVERHEAD_BYTES_MAX);
        batch(request.items.len(), bytes.sum::<usize>().saturating_sub(overhead)).at("items")?;
        let items = request
            .items
            .into_iter()
            .enumerate()
            .map(|(at, item)| decrypt_item(item, &format!("items[{at}].")))
            .collect::<Result<_, _>>()?;
        let read = Read::Decrypt(Decrypt { name, items });
        Ok(Self { request: read, floor: request.floor.map(Position::from) })
    }
}

fn encrypt_item(item: v1::EncryptItem, path: &str) -> Result<EncryptItem, Invalid> {
    // Wrapped first, so that a refused one is wiped as well.
    let plaintext = Plaintext::new(item.plaintext);
    field::short(plaintext.len(), PLAINTEXT_BYTES_MAX).at(&format!("{path}plaintext"))?;
    associated_data(&item.associated_data, path)?;
    Ok(EncryptItem { plaintext, associated_data: item.associated_data })
}

/// The ciphertext's header is not read here: one that names nothing is that item's own failure.
fn decrypt_item(item: v1::DecryptItem, path: &str) -> Result<DecryptItem, Invalid> {
    let most = PLAINTEXT_BYTES_MAX + OVERHEAD_BYTES_MAX;
    field::short(item.ciphertext.len(), most).at(&format!("{path}ciphertext"))?;
    associated_data(&item.associated_data, path)?;
    Ok(DecryptItem { ciphertext: item.ciphertext, associated_data: item.associated_data })
}

fn associated_data(bytes: &[u8], path: &str) -> Result<(), Invalid> {
    field::short(bytes.len(), ASSOCIATED_DATA_BYTES_MAX).at(&format!("{path}associated_data"))
}

fn batch(items: usize, bytes: usize) -> Result<(), Cause> {
    if items == 0 || items > BATCH_ITEMS_MAX {
        return Err(Cause::Items { most: BATCH_ITEMS_MAX, found: items });
    }
    field::short(bytes, BATCH_REQUEST_BYTES_MAX)
}

fn named_or_any(key_name: &str, any_key: bool) -> Result<Option<KeyName>, Invalid> {
    match (key_name.is_empty(), any_key) {
        (true, true) => Ok(None),
        (false, true) => Err(Cause::Excluded { other: "any_key" }).at("key_name"),
        (_, false) => field::key_name(key_name, "key_name").map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypt(bytes: usize, associated: usize) -> Result<Asked<Read>, Invalid> {
        v1::EncryptRequest {
            key_name: "a".to_owned(),
            plaintext: vec![1; bytes],
            associated_data: vec![2; associated],
            ..Default::default()
        }
        .try_into()
    }

    fn batch_of(items: usize, bytes: usize) -> Result<Asked<Read>, Invalid> {
        let item = v1::EncryptItem { plaintext: vec![1; bytes], associated_data: vec![] };
        v1::BatchEncryptRequest { key_name: "a".to_owned(), items: vec![item; items], ..Default::default() }
            .try_into()
    }

    #[test]
    fn a_message_may_be_empty_or_a_mebibyte_and_not_more() {
        assert!(encrypt(0, 0).is_ok());
        assert!(encrypt(1 << 20, 64 << 10).is_ok());
        assert_eq!(encrypt((1 << 20) + 1, 0).unwrap_err().field, "plaintext");
        assert_eq!(encrypt(0, (64 << 10) + 1).unwrap_err().field, "associated_data");
    }

    #[test]
    fn a_batch_has_limits_over_items_and_bytes() {
        assert_eq!(batch_of(0, 0).unwrap_err().field, "items");
        assert!(batch_of(1000, 1).is_ok());
        assert_eq!(batch_of(1001, 1).unwrap_err().field, "items");
        assert!(batch_of(4, 1 << 20).is_ok());
        assert_eq!(batch_of(5, 1 << 20).unwrap_err().field, "items");
        assert_eq!(batch_of(2, (1 << 20) + 1).unwrap_err().field, "items[0].plaintext");
    }

    #[test]
    fn the_largest_plaintext_comes_back_from_its_ciphertext() {
        let largest = v1::DecryptRequest {
            key_name: "a".to_owned(),
            ciphertext: vec![1; HEADER_BYTES + 24 + (1 << 20) + 16],
            ..Default::default()
        };
        assert!(Asked::<Read>::try_from(largest.clone()).is_ok());
        let over = v1::DecryptRequest { ciphertext: vec![1; (1 << 20) + 200], ..largest };
        assert_eq!(Asked::<Read>::try_from(over).unwrap_err().field, "ciphertext");
    }

    #[test]
    fn a_decryption_names_its_key_or_says_that_any_will_do() {
        let decrypt = |key_name: &str, any_key| {
            let key_name = key_name.to_owned();
            Asked::<Read>::try_from(v1::DecryptRequest { key_name, any_key, ..Default::default() }).map(
                |asked| match asked.request {
                    Read::Decrypt(decrypt) => decrypt.name,
                    _ => panic!(),
                },
            )
        };
        assert_eq!(decrypt("", false).unwrap_err().cause, Cause::Missing);
        assert_eq!(decrypt("a", true).unwrap_err().field, "key_name");
        assert_eq!(decrypt("", true).unwrap(), None);
        assert_eq!(decrypt("a", false).unwrap().unwrap().as_str(), "a");
    }
}
