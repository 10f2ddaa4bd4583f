//! JSON Web Tokens (RFC 7519, RFC 8725): who an issuer says that somebody is, for whom, and until when.
//!
//! Called at login. Time comes in as a value. Deliberately absent: claims beyond the registered ones that decide
//! something, and any token that does not end.

use std::collections::BTreeSet;

use keyclave_types::identity::JwtAlgorithm;
use keyclave_types::time::UnixMillis;

use crate::json::{self, Json, Members};
use crate::jwk::KeySet;
use crate::jws::{JwsError, Unverified};

/// How far the issuer's clock and ours may be apart.
pub const SKEW_MS: u64 = 30_000;
/// Bytes of a subject.
pub const SUBJECT_BYTES_MAX: usize = 255;

/// A token that nobody has verified.
pub struct UnverifiedToken<'a> {
    jws: Unverified<'a>,
    issuer: Option<String>,
}

/// What the issuer must be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Its keys.
    pub keys: &'a KeySet,
    /// What it may sign with.
    pub algorithms: &'a BTreeSet<JwtAlgorithm>,
    /// Exactly what stands in `iss`.
    pub issuer: &'a str,
    /// Exactly one of those in `aud`.
    pub audience: &'a str,
}

/// What a verified token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// `sub`.
    pub subject: String,
    /// `exp`, with the skew: until when it may be believed by our clock.
    pub believed_until: UnixMillis,
}

/// Why a token is not believed. For tests and a log: callers of the network are told one text.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum JwtError {
    /// Not signed as it should be.
    #[error("it is not signed by the issuer")]
    Signature(#[source] JwsError),
    /// The payload is no JSON object, or repeats a member.
    #[error("its claims cannot be read")]
    Claims,
    /// Another issuer's.
    #[error("its issuer is another")]
    Issuer,
    /// Made for somebody else, or for nobody in particular.
    #[error("its audience is another")]
    Audience,
    /// No subject, or one too long.
    #[error("it has no usable subject")]
    Subject,
    /// Without an end, or over.
    #[error("it has no end, or has ended")]
    Ended,
    /// Not valid yet, or made in the future.
    #[error("its time has not come")]
    Early,
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart.
    pub fn parse(text: &'a str) -> Result<Self, JwtError> {
        let jws = Unverified::parse(text).map_err(JwtError::Signature)?;
        let claims = json::object(jws.claimed()).ok_or(JwtError::Claims)?;
        let issuer = claims.get("iss").and_then(Json::text).map(str::to_owned);
        Ok(Self { jws, issuer })
    }

    /// Whose it claims to be: to find the issuer that it must prove to be of, and for nothing else.
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// What it says, if it is the issuer's, meant for us, and good at `now`.
    pub fn verify(&self, expected: &Expected<'_>, now: UnixMillis) -> Result<Claims, JwtError> {
        let payload = self.jws.verify(expected.keys, expected.algorithms).map_err(JwtError::Signature)?;
        let claims = json::object(payload).ok_or(JwtError::Claims)?;
        if claims.get("iss").and_then(Json::text) != Some(expected.issuer) {
            return Err(JwtError::Issuer);
        }
        if !is_for(claims.get("aud"), expected.audience) {
            return Err(JwtError::Audience);
        }
        let subject = claims.get("sub").and_then(Json::text).ok_or(JwtError::Subject)?;
        if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX {
            return Err(JwtError::Subject);
        }
        let believed_until = moment(&claims, "exp").ok().flatten().ok_or(JwtError::Ended)?.after(SKEW_MS);
        if now >= believed_until {
            return Err(JwtError::Ended);
        }
        for begins in ["nbf", "iat"] {
            let from = moment(&claims, begins).map_err(|()| JwtError::Early)?;
            if from.is_some_and(|from| from > now.after(SKEW_MS)) {
                return Err(JwtError::Early);
            }
        }
        Ok(Claims { subject: subject.to_owned(), believed_until })
    }
}

/// `aud` is a string or an array of them (RFC 7519 section 4.1.3).
fn is_for(audience: Option<&Json>, expected: &str) -> bool {
    let Some(audience) = audience else { return false };
    match audience.list() {
        Some(several) => several.iter().any(|one| one.text() == Some(expected)),
        None => audience.text() == Some(expected),
    }
}

/// A moment in whole seconds; an error for one that is there and is none.
fn moment(claims: &Members, claim: &str) -> Result<Option<UnixMillis>, ()> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => value.number().map(|s| Some(UnixMillis(s.saturating_mul(1000)))).ok_or(()),
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    const NOW_S: u64 = 1_795_516_756;
    const NOW: UnixMillis = UnixMillis(NOW_S * 1000);

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    fn signed(claims: &str) -> String {
        let header = BASE64URL_NOPAD.encode(br#"{"alg":"EdDSA"}"#);
        let signed = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.as_bytes()));
        let signature = BASE64URL_NOPAD.encode(pair().sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }

    fn verify(claims: &str, now: UnixMillis) -> Result<Claims, JwtError> {
        let x = BASE64URL_NOPAD.encode(pair().public_key().as_ref());
        let keys = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}]}}"#);
        let expected = Expected {
            keys: &KeySet::parse(keys.as_bytes()).unwrap(),
            algorithms: &BTreeSet::from([JwtAlgorithm::EdDsa]),
            issuer: "https://issuer.example",
            audience: "keyclave",
        };
        UnverifiedToken::parse(&signed(claims))?.verify(&expected, now)
    }

    /// Good claims, in which one is replaced; by nothing if `to` is empty.
    fn with(claim: &str, to: &str) -> String {
        let mut claims = vec![
            ("iss", r#""https://issuer.example""#.to_owned()),
            ("aud", r#""keyclave""#.to_owned()),
            ("sub", r#""billing""#.to_owned()),
            ("exp", (NOW_S + 600).to_string()),
        ];
        claims.retain(|(name, _)| *name != claim);
        if !to.is_empty() {
            claims.push((claim, to.to_owned()));
        }
        let members: Vec<String> = claims.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    }

    #[test]
    fn a_good_token_says_who_and_until_when() {
        let good = Claims { subject: "billing".to_owned(), believed_until: UnixMillis((NOW_S + 630) * 1000) };
        assert_eq!(verify(&with("", ""), NOW), Ok(good.clone()));
        assert_eq!(verify(&with("aud", r#"["other","keyclave"]"#), NOW), Ok(good));
        let text = signed(&with("", ""));
        assert_eq!(UnverifiedToken::parse(&text).unwrap().claimed_issuer(), Some("https://issuer.example"));
    }

    #[test]
    fn issuer_and_audience_are_exact() {
        for wrong in [
            "",
            r#""https://issuer.example/""#,
            r#""HTTPS://issuer.example""#,
            "1",
            r#"["https://issuer.example"]"#,
        ] {
            assert_eq!(verify(&with("iss", wrong), NOW), Err(JwtError::Issuer), "{wrong}");
        }
        for wrong in [
            "",
            r#""keyclave2""#,
            r#""Keyclave""#,
            r#""""#,
            "[]",
            "null",
            r#"["key","clave"]"#,
            r#"[["keyclave"]]"#,
            r#"{"keyclave":1}"#,
        ] {
            assert_eq!(verify(&with("aud", wrong), NOW), Err(JwtError::Audience), "{wrong}");
        }
        for wrong in ["", r#""""#, "1", &format!("\"{}\"", "a".repeat(256))] {
            assert_eq!(verify(&with("sub", wrong), NOW), Err(JwtError::Subject), "{wrong}");
        }
    }

    #[test]
    fn a_token_ends_and_begins_within_the_skew() {
        let exp = |at: u64| verify(&with("exp", &at.to_string()), NOW);
        assert!(exp(NOW_S - 29).is_ok());
        assert_eq!(exp(NOW_S - 30), Err(JwtError::Ended));
        for wrong in ["", "null", "\"1795516800\"", "1795517000.5", "-1", "1e12"] {
            assert_eq!(verify(&with("exp", wrong), NOW), Err(JwtError::Ended), "{wrong}");
        }
        assert!(exp(u64::MAX).is_ok(), "the end of time does not overflow");
        for claim in ["nbf", "iat"] {
            let from = |at: &str| verify(&with(claim, at), NOW);
            assert!(from(&(NOW_S + 30).to_string()).is_ok());
            assert_eq!(from(&(NOW_S + 31).to_string()), Err(JwtError::Early));
            assert_eq!(from("\"0\""), Err(JwtError::Early));
            assert_eq!(from(&u64::MAX.to_string()), Err(JwtError::Early));
        }
    }

    #[test]
    fn a_repeated_claim_makes_the_token_unreadable() {
        let twice = with("", "").replace("{", "{\"sub\":\"root\",");
        assert_eq!(verify(&twice, NOW), Err(JwtError::Claims));
        assert_eq!(verify("[]", NOW), Err(JwtError::Claims));
    }
}
