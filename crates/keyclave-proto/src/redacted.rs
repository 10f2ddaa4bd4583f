//! `Debug` for messages that hold a plaintext, a credential or a share: their name and nothing else, so that no log
//! line can hold what they carry. `build.rs` lists the same messages and takes the generated `Debug` away from them;
//! one that is missing here has none at all.

use std::fmt;

use crate::peer::v1 as peer;
use crate::v1;

macro_rules! redacted {
    ($($message:path),+ $(,)?) => {
        $(impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($message), " { .. }"))
            }
        })+
    };
}

redacted!(
    v1::EncryptRequest,
    v1::EncryptItem,
    v1::DecryptResponse,
    v1::DecryptedItem,
    v1::SubmitShareRequest,
    v1::ResetCeremonyRequest,
    v1::AdmitRequest,
    v1::CreateTokenResponse,
    v1::LoginRequest,
    v1::LoginResponse,
    v1::InitResponse,
    v1::JoinRequest,
    v1::CreateJoinTokenResponse,
    peer::ForwardRequest,
    peer::ForwardResponse,
    peer::forward_response::Outcome,
    peer::RejoinRequest,
    peer::RelayShareRequest,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_text_holds_a_plaintext_a_credential_or_a_share() {
        let (bytes, text) = (b"canary".to_vec(), "canary".to_owned());
        let encrypted = v1::EncryptItem { plaintext: bytes.clone(), associated_data: bytes.clone() };
        let decrypted = v1::DecryptedItem { plaintext: bytes.clone(), version: 1 };
        let outcome = v1::decrypt_outcome::Outcome::Decrypted(decrypted);
        for debug in [
            format!("{:?}", v1::EncryptRequest { plaintext: bytes.clone(), ..Default::default() }),
            format!("{:?}", v1::BatchEncryptRequest { items: vec![encrypted], ..Default::default() }),
            format!("{:?}", v1::DecryptResponse { plaintext: bytes.clone(), ..Default::default() }),
            format!("{:?}", v1::DecryptOutcome { outcome: Some(outcome) }),
            format!("{:?}", v1::SubmitShareRequest { encrypted_share: bytes.clone(), ..Default::default() }),
            format!(
                "{:?}",
                v1::ResetCeremonyRequest { encrypted_share: bytes.clone(), ..Default::default() }
            ),
            format!("{:?}", v1::AdmitRequest { code: text.clone(), ..Default::default() }),
            format!("{:?}", v1::CreateTokenResponse { token: text.clone(), ..Default::default() }),
            format!("{:?}", v1::LoginRequest { jwt: text.clone() }),
            format!("{:?}", v1::LoginResponse { token: text.clone(), ..Default::default() }),
            format!("{:?}", v1::InitResponse { shares: vec![text.clone()], ..Default::default() }),
            format!("{:?}", v1::InitResponse { root_token: text.clone(), ..Default::default() }),
            format!("{:?}", v1::JoinRequest { join_token: text.clone(), ..Default::default() }),
            format!("{:?}", v1::CreateJoinTokenResponse { join_token: text.clone(), ..Default::default() }),
            format!("{:?}", peer::ForwardRequest { credential: text, ..Default::default() }),
            format!("{:?}", peer::forward_response::Outcome::Response(bytes.clone())),
            format!("{:?}", peer::RejoinRequest { sealed_share: bytes.clone(), ..Default::default() }),
            format!("{:?}", peer::RelayShareRequest { sealed_share: bytes, ..Default::default() }),
        ] {
            assert!(!debug.contains("canary") && !debug.contains("99, 97, 110"), "{debug}");
        }
    }
}
