//! `Debug` for messages that hold a plaintext, a credential or a share: their name and nothing else, so that no log
//! line can hold what they carry. `build.rs` lists the same messages; one that is missing here does not compile
//! wherever another message holds it, and the test walks the rest.

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
    v1::InitResponse,
    v1::JoinRequest,
    v1::CreateJoinTokenResponse,
    peer::ForwardRequest,
    peer::ForwardResponse,
    peer::forward_response::Outcome,
    peer::RejoinRequest,
    peer::RelayShareRequest,
);
