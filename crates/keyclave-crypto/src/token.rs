//! Tokens: `kcl` + kind + `_` + base62(id, 17) + base62(secret, 43) + base62(CRC-32, 6), 71 characters in all.
//!
//! Called by the vault (make, look up), the server's authentication (parse), and the command line. Only the
//! canonical spelling is accepted. Deliberately absent: deciding what a token may do.

use std::fmt;

use keyclave_types::request::TokenId;
use zeroize::Zeroizing;

use crate::entropy::Entropy;
use crate::mac::hmac_sha256;
use crate::secret::Secret;
use crate::{base62, labels};

/// Characters of a token.
pub const TEXT_LETTERS: usize = PREFIX_LETTERS + ID_LETTERS + SECRET_LETTERS + CHECK_LETTERS;

const PREFIX_LETTERS: usize = 5;
const ID_LETTERS: usize = 17;
const SECRET_LETTERS: usize = base62::LETTERS_OF_32_BYTES;
const CHECK_LETTERS: usize = 6;

/// Whose token it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TokenKind {
    /// A service's.
    Service,
    /// An operator's.
    Operator,
    /// A node's that joins.
    Join,
    /// Of a threshold of share holders.
    Recovery,
}

impl TokenKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Service, Self::Operator, Self::Join, Self::Recovery];

    /// What a token of this kind begins with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Service => "kcls_",
            Self::Operator => "kclo_",
            Self::Join => "kclj_",
            Self::Recovery => "kclr_",
        }
    }
}

/// A token as its holder has it.
pub struct Token {
    /// Whose.
    pub kind: TokenKind,
    /// The part that may be shown and is looked up.
    pub id: TokenId,
    /// The part that proves it.
    pub secret: Secret<32>,
}

/// Why a text is not a token. For whoever made a typing error at a prompt; a server answers all of them alike.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Something else altogether.
    #[error("a token begins with kcls_, kclo_, kclj_ or kclr_")]
    Prefix,
    /// Cut, or with something behind it.
    #[error("a token has {TEXT_LETTERS} characters, and this one has {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Not the canonical spelling of anything.
    #[error("a token consists of 0-9, A-Z and a-z, and this one does not, or spells too large a number")]
    Spelling,
    /// A character was mistyped.
    #[error("the token's check sum does not fit: a character is wrong")]
    Check,
}

impl Token {
    /// Another token of this kind.
    pub fn new(kind: TokenKind, entropy: &mut Entropy) -> Self {
        Self { kind, id: TokenId(entropy.array()), secret: entropy.secret("token") }
    }

    /// Reads [`Token::to_text`] back.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let (prefix, rest) = text.split_at_checked(PREFIX_LETTERS).ok_or(TokenError::Prefix)?;
        let kind =
            TokenKind::ALL.into_iter().find(|kind| kind.prefix() == prefix).ok_or(TokenError::Prefix)?;
        if text.len() != TEXT_LETTERS {
            return Err(TokenError::Length { found: text.len() });
        }
        let (checked, check) =
            text.split_at_checked(TEXT_LETTERS - CHECK_LETTERS).ok_or(TokenError::Spelling)?;
        let (id, rest) = rest.split_at_checked(ID_LETTERS).ok_or(TokenError::Spelling)?;
        let (secret, _) = rest.split_at_checked(SECRET_LETTERS).ok_or(TokenError::Spelling)?;
        let id = base62::decode(id).ok_or(TokenError::Spelling)?;
        let secret = Zeroizing::new(base62::decode::<32>(secret).ok_or(TokenError::Spelling)?);
        let check = base62::decode(check).ok_or(TokenError::Spelling)?;
        if crc32(checked.as_bytes()).to_be_bytes() != check {
            return Err(TokenError::Check);
        }
        Ok(Self { kind, id: TokenId(id), secret: Secret::from_fn("token", |to| *to = *secret) })
    }

    /// The text that its holder keeps.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_LETTERS));
        text.push_str(self.kind.prefix());
        base62::encode_into(&self.id.0, ID_LETTERS, &mut text);
        base62::encode_into(self.secret.expose(), SECRET_LETTERS, &mut text);
        let check = crc32(text.as_bytes());
        base62::encode_into(&check.to_be_bytes(), CHECK_LETTERS, &mut text);
        text
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?}, {:?})", self.kind, self.id)
    }
}

/// HMAC-SHA-256(token key, label ‖ kind's letter (1) ‖ id (12) ‖ secret (32)): all that the ledger keeps of a
/// secret. Compare with [`crate::mac::equal`].
pub fn mac(token_key: &Secret<32>, token: &Token) -> [u8; 32] {
    let kind = match token.kind {
        TokenKind::Service => b"s",
        TokenKind::Operator => b"o",
        TokenKind::Join => b"j",
        TokenKind::Recovery => b"r",
    };
    hmac_sha256(token_key, &[labels::TOKEN.bytes(), kind, &token.id.0, token.secret.expose()])
}

/// A join token with what its holder believes the cluster by: the token, a dot, and base62(SHA-256 of the CA's
/// public key, 43 letters).
#[derive(Debug)]
pub struct JoinTicket {
    /// The token, of kind [`TokenKind::Join`].
    pub token: Token,
    /// SHA-256 of the CA's public key.
    pub anchor: [u8; 32],
}

/// Why a text is not a join ticket.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum JoinTicketError {
    /// No dot between two parts.
    #[error("a join token is a kclj_ token, a dot, and the fingerprint of the cluster's CA")]
    Shape,
    /// The first part is no token.
    #[error("the part before the dot is no token")]
    Token(#[source] TokenError),
    /// A token of another kind.
    #[error("a join token begins with kclj_, and this is a token of another kind")]
    Kind,
    /// The second part is no fingerprint.
    #[error("the part after the dot is not a CA's fingerprint of {LETTERS} characters", LETTERS = base62::LETTERS_OF_32_BYTES)]
    Anchor,
}

impl JoinTicket {
    /// Reads [`JoinTicket::to_text`] back; surrounding white space is a file's.
    pub fn parse(text: &str) -> Result<Self, JoinTicketError> {
        let (token, anchor) = text.trim_ascii().split_once('.').ok_or(JoinTicketError::Shape)?;
        let token = Token::parse(token).map_err(JoinTicketError::Token)?;
        if token.kind != TokenKind::Join {
            return Err(JoinTicketError::Kind);
        }
        if anchor.len() != base62::LETTERS_OF_32_BYTES {
            return Err(JoinTicketError::Anchor);
        }
        Ok(Self { token, anchor: base62::decode(anchor).ok_or(JoinTicketError::Anchor)? })
    }

    /// The text that a joining node is given.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_LETTERS + 1 + base62::LETTERS_OF_32_BYTES));
        text.push_str(&self.token.to_text());
        text.push('.');
        base62::encode_into(&self.anchor, base62::LETTERS_OF_32_BYTES, &mut text);
        text
    }
}

/// IEEE CRC-32, bit by bit: a table would be read at places that tell the secret.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Id 00..0b, secret 20..3f: the format's published vector.
    const VECTOR: &str = "kcls_00065eoDiDgza8qaZ7cMxemzhJjkW31yzTx5H07wJF2A2uBEOEec26ubYMsJ1y4z10";

    fn token(kind: TokenKind) -> Token {
        let id = std::array::from_fn(|at| at as u8);
        let secret = Secret::from_fn("token", |bytes| *bytes = std::array::from_fn(|at| 0x20 + at as u8));
        Token { kind, id: TokenId(id), secret }
    }

    #[test]
    fn golden_text_stays() {
        assert_eq!(token(TokenKind::Service).to_text().as_str(), VECTOR);
        let read = Token::parse(VECTOR).unwrap();
        assert_eq!((read.kind, read.id), (TokenKind::Service, token(TokenKind::Service).id));
        assert_eq!(read.secret.expose(), token(TokenKind::Service).secret.expose());
        assert!(!format!("{read:?}").contains("32, 33"));
    }

    #[test]
    fn crc_is_that_of_ieee() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn every_kind_reads_back() {
        for kind in TokenKind::ALL {
            assert_eq!(Token::parse(&token(kind).to_text()).unwrap().kind, kind);
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_is_quoted() {
        for (wrong, error) in [
            (String::new(), TokenError::Prefix),
            (VECTOR.replace("kcls", "kclx"), TokenError::Prefix),
            (VECTOR.replace("kcls", "KCLS"), TokenError::Prefix),
            (VECTOR[..70].to_owned(), TokenError::Length { found: 70 }),
            (format!("{VECTOR}\n"), TokenError::Length { found: 72 }),
            (VECTOR.replace('J', "-"), TokenError::Spelling),
            (format!("{}é{}", &VECTOR[..21], &VECTOR[23..]), TokenError::Spelling),
            (VECTOR.replace("z10", "z11"), TokenError::Check),
            (VECTOR.replace("kcls", "kclo"), TokenError::Check),
        ] {
            assert_eq!(Token::parse(&wrong).err(), Some(error), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_character_anywhere_is_refused() {
        for at in 0..VECTOR.len() {
            for character in (b'0'..=b'z').filter(|character| *character != VECTOR.as_bytes()[at]) {
                let mut wrong = VECTOR.as_bytes().to_vec();
                wrong[at] = character;
                assert!(Token::parse(std::str::from_utf8(&wrong).unwrap()).is_err());
            }
        }
    }

    #[test]
    fn the_mac_covers_key_kind_id_and_secret() {
        let key = |byte| Secret::from_fn("token key", |bytes: &mut [u8; 32]| bytes.fill(byte));
        let good = mac(&key(1), &token(TokenKind::Service));
        assert_eq!(
            data_encoding::HEXLOWER.encode(&good),
            include_str!("../testdata/token-mac.hex").trim_end()
        );
        assert_ne!(good, mac(&key(2), &token(TokenKind::Service)));
        assert_ne!(good, mac(&key(1), &token(TokenKind::Operator)));
        let other_id = Token { id: TokenId([0; 12]), ..token(TokenKind::Service) };
        assert_ne!(good, mac(&key(1), &other_id));
        let other_secret = Token { secret: key(3), ..token(TokenKind::Service) };
        assert_ne!(good, mac(&key(1), &other_secret));
    }

    #[test]
    fn a_join_ticket_reads_back_and_says_what_is_wrong() {
        let ticket = JoinTicket { token: token(TokenKind::Join), anchor: [0xee; 32] };
        let text = ticket.to_text();
        let read = JoinTicket::parse(&format!("{}\n", text.as_str())).unwrap();
        assert_eq!((read.token.id, read.anchor), (ticket.token.id, ticket.anchor));
        for (wrong, error) in [
            (text.replace('.', ""), JoinTicketError::Shape),
            (text.replace("kclj", "kclx"), JoinTicketError::Token(TokenError::Prefix)),
            (format!("{VECTOR}{}", &text[71..]), JoinTicketError::Kind),
            (text[..text.len() - 1].to_owned(), JoinTicketError::Anchor),
            (format!("{}.{}", &text[..71], "z".repeat(43)), JoinTicketError::Anchor),
        ] {
            assert_eq!(JoinTicket::parse(&wrong).err(), Some(error));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            prop_assert!(Token::parse(&text).is_err());
            prop_assert!(Token::parse(&("kcls_".to_owned() + &text)).is_err());
        }

        #[test]
        fn a_token_has_71_characters_and_reads_back(seed: [u8; 32]) {
            let token = Token::new(TokenKind::Operator, &mut Entropy::from_seed(seed));
            let text = token.to_text();
            prop_assert_eq!(text.len(), TEXT_LETTERS);
            prop_assert_eq!(*Token::parse(&text).unwrap().secret.expose(), *token.secret.expose());
        }
    }
}
