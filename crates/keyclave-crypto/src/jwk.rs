//! JSON Web Key sets (RFC 7517, RFC 7518 section 6, RFC 8037): the public keys that an issuer signs with.
//!
//! Read when an issuer is configured, and whenever its record is opened. Keys that are for something else (encryption,
//! a type that is not verified here) are left out as the standard says; what is wrong or secret makes the whole set wrong.
//! Deliberately absent: fetching a set from anywhere, and certificates in it.

use data_encoding::BASE64URL_NOPAD;
use keyclave_types::identity::JwtAlgorithm;

use crate::json::{self, Json, Members};

/// Keys in one set.
pub const KEYS_MAX: usize = 16;
/// Bytes of one set.
pub const SET_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a key's id.
const KEY_ID_BYTES_MAX: usize = 256;
/// Bits of an RSA modulus.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The least exponent of an RSA key: smaller ones are past every recommendation.
const EXPONENT_MIN: u64 = 65_537;

/// The keys of one issuer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySet(Vec<Key>);

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    id: Option<String>,
    algorithm: Option<JwtAlgorithm>,
    pub(crate) material: Material,
}

/// Public key material, as ring takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Material {
    /// Modulus and exponent, big-endian without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// An uncompressed point of P-256.
    P256([u8; 65]),
    /// An uncompressed point of P-384.
    P384([u8; 97]),
    /// An Ed25519 public key.
    Ed25519([u8; 32]),
}

/// Why a text is no set of public keys to verify with. `key` counts from 1.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum KeySetError {
    /// Too long.
    #[error("a key set has at most {SET_BYTES_MAX} bytes and {KEYS_MAX} keys")]
    Size,
    /// Not the shape.
    #[error("expected a JSON object with an array of keys in \"keys\", and no member twice")]
    Shape,
    /// Nothing to verify with.
    #[error("no key of the set can verify a signature (RSA, EC P-256 or P-384, OKP Ed25519)")]
    Empty,
    /// Somebody's secret.
    #[error("key {key} holds a private or symmetric key, which must not leave its issuer")]
    Secret {
        /// Which.
        key: usize,
    },
    /// A member is missing, malformed, or contradicts another.
    #[error("\"{member}\" of key {key} is missing or wrong")]
    Member {
        /// Which.
        key: usize,
        /// Of what.
        member: &'static str,
    },
    /// One key of several without a name, or two with the same.
    #[error("each of several keys needs a \"kid\" of its own, and key {key} has none")]
    Id {
        /// Which.
        key: usize,
    },
}

impl KeySet {
    /// Reads a set.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        if text.len() > SET_BYTES_MAX {
            return Err(KeySetError::Size);
        }
        let members = json::object(text).ok_or(KeySetError::Shape)?;
        let listed = members.get("keys").and_then(Json::list).ok_or(KeySetError::Shape)?;
        if listed.len() > KEYS_MAX {
            return Err(KeySetError::Size);
        }
        let mut keys = Vec::new();
        for (at, listed) in listed.iter().enumerate() {
            let Json::Object(members) = listed else { return Err(KeySetError::Shape) };
            keys.extend(Key::read(members, at + 1)?.map(|key| (at + 1, key)));
        }
        for (at, key) in keys.iter().filter(|_| keys.len() > 1) {
            let same = keys.iter().filter(|(_, other)| other.id == key.id).count();
            if key.id.is_none() || same > 1 {
                return Err(KeySetError::Id { key: *at });
            }
        }
        if keys.is_empty() {
            Err(KeySetError::Empty)
        } else {
            Ok(Self(keys.into_iter().map(|(_, key)| key).collect()))
        }
    }

    /// The key that a JWT names; without a name only the single one there is.
    pub(crate) fn find(&self, id: Option<&str>) -> Option<&Key> {
        match (id, self.0.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
        }
    }
}

impl Key {
    /// Whether it may verify what claims to be signed with `algorithm`.
    pub(crate) fn fits(&self, algorithm: JwtAlgorithm) -> bool {
        self.material.fits(algorithm) && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// A key; none if it is for something else than verifying.
    fn read(members: &Members, key: usize) -> Result<Option<Self>, KeySetError> {
        let wrong = |member| KeySetError::Member { key, member };
        let text = |member| match members.get(member) {
            None => Ok(None),
            Some(value) => value.text().map(Some).ok_or(wrong(member)),
        };
        const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
        let kind = text("kty")?.ok_or(wrong("kty"))?;
        if kind == "oct" || PRIVATE.iter().any(|member| members.contains_key(*member)) {
            return Err(KeySetError::Secret { key });
        }
        if text("use")?.is_some_and(|used| used != "sig") {
            return Ok(None);
        }
        if let Some(operations) = members.get("key_ops") {
            let operations = operations.list().ok_or(wrong("key_ops"))?;
            if !operations.iter().any(|operation| operation.text() == Some("verify")) {
                return Ok(None);
            }
        }
        let Some(material) = Material::read(kind, &text, &wrong)? else { return Ok(None) };
        let algorithm = match text("alg")?.map(str::parse) {
            None => None,
            Some(Ok(algorithm)) => Some(algorithm),
            // One that nothing here verifies, as RSA-OAEP or ES512.
            Some(Err(_)) => return Ok(None),
        };
        if algorithm.is_some_and(|algorithm| !material.fits(algorithm)) {
            return Err(wrong("alg"));
        }
        let id = text("kid")?;
        if id.is_some_and(|id| id.is_empty() || id.len() > KEY_ID_BYTES_MAX) {
            return Err(wrong("kid"));
        }
        Ok(Some(Self { id: id.map(str::to_owned), algorithm, material }))
    }
}

impl Material {
    fn fits(&self, algorithm: JwtAlgorithm) -> bool {
        match algorithm {
            JwtAlgorithm::Rs256
            | JwtAlgorithm::Rs384
            | JwtAlgorithm::Rs512
            | JwtAlgorithm::Ps256
            | JwtAlgorithm::Ps384
            | JwtAlgorithm::Ps512 => matches!(self, Self::Rsa { .. }),
            JwtAlgorithm::Es256 => matches!(self, Self::P256(_)),
            JwtAlgorithm::Es384 => matches!(self, Self::P384(_)),
            JwtAlgorithm::EdDsa => matches!(self, Self::Ed25519(_)),
        }
    }

    fn read<'a>(
        kind: &str,
        text: &impl Fn(&'static str) -> Result<Option<&'a str>, KeySetError>,
        wrong: &impl Fn(&'static str) -> KeySetError,
    ) -> Result<Option<Self>, KeySetError> {
        let bytes = |member| {
            let coded = text(member)?.ok_or(wrong(member))?;
            BASE64URL_NOPAD.decode(coded.as_bytes()).map_err(|_| wrong(member))
        };
        match kind {
            "RSA" => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
                if n.first() == Some(&0) || !MODULUS_BITS.contains(&bits) {
                    return Err(wrong("n"));
                }
                let exponent = e.iter().fold(0_u64, |sum, byte| sum.wrapping_shl(8) | u64::from(*byte));
                // RSA_PKCS1_2048_8192 and its like take exponents of 33 bits.
                if e.len() > 5 || e.first() == Some(&0) || exponent < EXPONENT_MIN || exponent % 2 == 0 {
                    return Err(wrong("e"));
                }
                Ok(Some(Self::Rsa { n, e }))
            }
            "EC" => match text("crv")? {
                Some("P-256") => Ok(Some(Self::P256(point(&bytes("x")?, &bytes("y")?).ok_or(wrong("x"))?))),
                Some("P-384") => Ok(Some(Self::P384(point(&bytes("x")?, &bytes("y")?).ok_or(wrong("x"))?))),
                Some(_) => Ok(None),
                None => Err(wrong("crv")),
            },
            "OKP" => match text("crv")? {
                Some("Ed25519") => Ok(Some(Self::Ed25519(bytes("x")?.try_into().map_err(|_| wrong("x"))?))),
                Some(_) => Ok(None),
                None => Err(wrong("crv")),
            },
            _ => Ok(None),
        }
    }
}

/// 0x04 ‖ x ‖ y (SEC 1 section 2.3.3); none if a coordinate has another length than the curve's.
fn point<const N: usize>(x: &[u8], y: &[u8]) -> Option<[u8; N]> {
    (x.len() == y.len()).then(|| [&[4], x, y].concat().try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC_7517_A1: &[u8] = include_bytes!("../testdata/jwk-set-rfc7517.json");
    const ED25519: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn set(keys: &[String]) -> Result<KeySet, KeySetError> {
        KeySet::parse(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes())
    }

    fn ed25519(more: &str) -> String {
        ED25519.replace("\"kty\"", &format!("{more}\"kty\""))
    }

    #[test]
    fn the_public_set_of_rfc_7517_is_read_but_for_its_encryption_key() {
        let keys = KeySet::parse(RFC_7517_A1).unwrap();
        assert!(keys.find(Some("1")).is_none(), "its use is enc");
        let key = keys.find(Some("2011-04-29")).unwrap();
        assert!(key.fits(JwtAlgorithm::Rs256) && !key.fits(JwtAlgorithm::Ps256), "its alg is RS256");
        assert!(!key.fits(JwtAlgorithm::Es256) && !key.fits(JwtAlgorithm::EdDsa));
        assert_eq!(keys.find(None), Some(key), "the single one");
    }

    #[test]
    fn a_key_for_something_else_is_left_out_and_a_wrong_one_is_refused() {
        let good = ed25519("\"kid\":\"a\",");
        for other in [
            ed25519("\"kid\":\"b\",\"use\":\"enc\","),
            ed25519("\"kid\":\"b\",\"key_ops\":[\"sign\"],"),
            ed25519("\"kid\":\"b\",\"alg\":\"HS256\","),
            r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#.to_owned(),
            r#"{"kty":"AKP"}"#.to_owned(),
        ] {
            assert_eq!(set(&[good.clone(), other.clone()]).unwrap().0.len(), 1, "{other}");
            assert_eq!(set(&[other]), Err(KeySetError::Empty));
        }
        let member = |member| Err(KeySetError::Member { key: 1, member });
        for (wrong, error) in [
            (ed25519("\"alg\":\"ES256\","), member("alg")),
            (ed25519("\"alg\":1,"), member("alg")),
            (ed25519("\"kid\":\"\","), member("kid")),
            (ED25519.replace("URo", "URp"), member("x")),
            (ED25519.replace("11qY", ""), member("x")),
            (ED25519.replace("\"OKP\"", "null"), member("kty")),
            (ED25519.replace("\"crv\":\"Ed25519\",", ""), member("crv")),
            (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#.to_owned(), member("x")),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(), member("n")),
            (ed25519("\"d\":\"AA\","), Err(KeySetError::Secret { key: 1 })),
            (r#"{"kty":"oct","k":"AA"}"#.to_owned(), Err(KeySetError::Secret { key: 1 })),
            (ed25519("\"x\":\"AA\","), Err(KeySetError::Shape)),
        ] {
            assert_eq!(set(std::slice::from_ref(&wrong)), error, "{wrong}");
        }
    }

    #[test]
    fn weak_rsa_keys_are_refused() {
        let rsa = |n: Vec<u8>, e: &[u8]| {
            let (n, e) = (BASE64URL_NOPAD.encode(&n), BASE64URL_NOPAD.encode(e));
            set(&[format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#)])
        };
        let good: &[u8] = &[1, 0, 1];
        assert!(rsa(vec![0xff; 256], good).is_ok() && rsa(vec![0xff; 1024], good).is_ok());
        for n in [vec![0xff; 255], vec![0x7f; 256], vec![0xff; 1025], [vec![0], vec![0xff; 256]].concat()] {
            assert_eq!(rsa(n, good), Err(KeySetError::Member { key: 1, member: "n" }));
        }
        for e in [&[3][..], &[1, 0, 0], &[0, 1, 0, 1], &[1; 9], &[]] {
            assert_eq!(rsa(vec![0xff; 256], e), Err(KeySetError::Member { key: 1, member: "e" }));
        }
    }

    #[test]
    fn several_keys_need_names_of_their_own() {
        let (a, b) = (ed25519("\"kid\":\"a\","), ed25519("\"kid\":\"b\","));
        let keys = set(&[a.clone(), b]).unwrap();
        assert!(
            keys.find(Some("a")).is_some() && keys.find(Some("c")).is_none() && keys.find(None).is_none()
        );
        assert_eq!(set(&[a.clone(), a.clone()]), Err(KeySetError::Id { key: 1 }));
        assert_eq!(set(&[a, ED25519.to_owned()]), Err(KeySetError::Id { key: 2 }));
        let alone = set(&[ED25519.to_owned()]).unwrap();
        assert!(alone.find(None).is_some() && alone.find(Some("a")).is_none(), "a name that is not there");
    }

    #[test]
    fn a_set_is_bounded() {
        assert_eq!(KeySet::parse(&vec![b' '; SET_BYTES_MAX + 1]), Err(KeySetError::Size));
        let many: Vec<String> = (0..=KEYS_MAX).map(|at| ed25519(&format!("\"kid\":\"{at}\","))).collect();
        assert_eq!(set(&many), Err(KeySetError::Size));
        for wrong in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[1]}"] {
            assert_eq!(KeySet::parse(wrong.as_bytes()), Err(KeySetError::Shape), "{wrong}");
        }
    }
}
