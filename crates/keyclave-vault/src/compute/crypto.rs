//! Encrypt and decrypt, each item with an outcome of its own.

use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::message;
use keyclave_policy::{Action, Target};
use keyclave_types::ciphertext::Header;
use keyclave_types::key::KeyState;
use keyclave_types::limits::{
    ASSOCIATED_DATA_BYTES_MAX, BATCH_ITEMS_MAX, BATCH_REQUEST_BYTES_MAX, PLAINTEXT_BYTES_MAX,
};
use keyclave_types::request::{Decrypt, DecryptItem, Encrypt, EncryptItem};

use crate::compute::{Answering, Decrypted, Encrypted, NeedBlock, Outcome, ReadAnswer, Uses};
use crate::occasion::Now;
use crate::permission;
use crate::reads::SetRead;
use crate::records::RecordName;
use crate::records::key::KeyMeta;
use crate::refusal::Refusal;

/// What a ciphertext may have beyond its plaintext: header, nonce, tag.
const OVERHEAD_BYTES_MAX: usize = keyclave_types::ciphertext::HEADER_BYTES + 24 + 16;

impl Answering<'_> {
    pub(super) fn encrypt(
        &mut self,
        encrypt: &Encrypt,
        uses: &dyn Uses,
        entropy: &mut Entropy,
    ) -> Result<Outcome, Refusal> {
        let sizes = encrypt.items.iter().map(|item| (item.plaintext.len(), item.associated_data.len()));
        batch_within_limits(sizes)?;
        let name = &encrypt.name;
        let meta = self.reader.get::<KeyMeta>(&RecordName::Key(name)).ok_or(Refusal::NotFound)?;
        self.allows(meta.rules.staleness_max_ms);
        not_expired(meta, self.now)?;
        let version = encrypt.version.unwrap_or(meta.newest);
        let key = self.reader.message_key(meta, version)?;
        let possible = encrypt.items.iter().filter(|item| item_within_limits(item).is_ok()).count();
        let counted = meta.algorithm.messages_max().is_some();
        if counted && !uses.take(meta.id, version, possible as u64) {
            return Ok(Outcome::NeedBlock(NeedBlock { name: name.clone(), key: meta.id, version }));
        }
        let header = Header { key: meta.id, version };
        let seal = |item: &EncryptItem| {
            item_within_limits(item)?;
            let ciphertext = message::encrypt(&key, header, &item.associated_data, &item.plaintext, entropy);
            Ok(Encrypted { ciphertext, version })
        };
        Ok(Outcome::Answer(ReadAnswer::Encrypted(encrypt.items.iter().map(seal).collect())))
    }

    /// The whole batch is refused if its key does not exist or is disabled; otherwise each item by itself.
    pub(super) fn decrypt(&mut self, decrypt: &Decrypt) -> Result<ReadAnswer, Refusal> {
        let sizes = decrypt.items.iter().map(|item| (item.ciphertext.len(), item.associated_data.len()));
        batch_within_limits(sizes)?;
        let named = match &decrypt.name {
            None => None,
            Some(name) => {
                let meta = self.reader.get::<KeyMeta>(&RecordName::Key(name)).ok_or(Refusal::NotFound)?;
                self.allows(meta.rules.staleness_max_ms);
                if meta.state == KeyState::Disabled {
                    return Err(Refusal::Disabled);
                }
                Some(meta)
            }
        };
        let items = decrypt.items.iter().map(|item| self.decrypt_item(named, item)).collect();
        Ok(ReadAnswer::Decrypted(items))
    }

    /// Cut, changed, of a version that never was, with other associated data: one answer. Only what everyone can
    /// read in the header, or learn by describing the key, is told apart.
    fn decrypt_item(&mut self, named: Option<&KeyMeta>, item: &DecryptItem) -> Result<Decrypted, Refusal> {
        associated_within_limits(&item.associated_data)?;
        let limit = PLAINTEXT_BYTES_MAX + OVERHEAD_BYTES_MAX;
        if item.ciphertext.len() > limit {
            return Err(Refusal::PlaintextMax { limit, found: item.ciphertext.len() });
        }
        let (header, body) = Header::parse(&item.ciphertext).map_err(|_| Refusal::Undecryptable)?;
        let meta = match named {
            Some(meta) if meta.id == header.key => meta,
            Some(_) => return Err(Refusal::WrongKey),
            None => self.chosen(header)?,
        };
        let key = self.reader.message_key(meta, header.version).map_err(|refusal| match refusal {
            Refusal::VersionUnknown { .. } => Refusal::Undecryptable,
            other => other,
        })?;
        let plaintext = message::decrypt(&key, header, body, &item.associated_data)
            .map_err(|_| Refusal::Undecryptable)?;
        Ok(Decrypted { plaintext, version: header.version })
    }
}

impl<'a> Answering<'a> {
    /// The key that a header names. That there is none is confirmed too: this view may lag behind its creation.
    fn chosen(&mut self, header: Header) -> Result<&'a KeyMeta, Refusal> {
        let found = self.reader.view().indexes().key_by_id(header.key);
        if found.is_none() {
            self.reader.note_set(SetRead::NoKey { id: header.key });
        }
        let meta = found.and_then(|id| self.reader.key_at(id)).ok_or(Refusal::Undecryptable);
        self.allows(meta.map_or(0, |meta| meta.rules.staleness_max_ms));
        let meta = meta?;
        // A key that the caller may not use is answered like one that does not exist.
        let (principal, target) = (self.permit.principal(), Target::Key(&meta.name));
        let asked = permission::ask(
            &mut self.reader,
            principal,
            Action::Decrypt,
            target,
            self.circumstances,
            self.now,
        );
        asked.map(|_| meta).map_err(|_| Refusal::Undecryptable)
    }
}

fn not_expired(meta: &KeyMeta, now: Now) -> Result<(), Refusal> {
    match (meta.rules.encrypt_until, now.relied()) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Refusal::ClockDoubtful),
        (Some(end), Some(now)) if now < end => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::Expired),
    }
}

fn batch_within_limits(sizes: impl ExactSizeIterator<Item = (usize, usize)>) -> Result<(), Refusal> {
    if sizes.len() > BATCH_ITEMS_MAX {
        return Err(Refusal::ItemsMax { limit: BATCH_ITEMS_MAX, found: sizes.len() });
    }
    let items = sizes.len();
    let found = sizes.map(|(message, associated)| message.saturating_add(associated)).sum();
    let limit = BATCH_REQUEST_BYTES_MAX + items * OVERHEAD_BYTES_MAX;
    if found > limit { Err(Refusal::RequestMax { limit, found }) } else { Ok(()) }
}

fn item_within_limits(item: &EncryptItem) -> Result<(), Refusal> {
    associated_within_limits(&item.associated_data)?;
    let found = item.plaintext.len();
    if found > PLAINTEXT_BYTES_MAX {
        return Err(Refusal::PlaintextMax { limit: PLAINTEXT_BYTES_MAX, found });
    }
    Ok(())
}

fn associated_within_limits(associated_data: &[u8]) -> Result<(), Refusal> {
    let found = associated_data.len();
    if found > ASSOCIATED_DATA_BYTES_MAX {
        return Err(Refusal::AssociatedMax { limit: ASSOCIATED_DATA_BYTES_MAX, found });
    }
    Ok(())
}
