//! What every peer call carries beside its message: which cluster, which line of its ledger, and which data
//! directory speaks to which.
//!
//! Written by [`super::peers`], compared by [`super::gate`]. Text, so that HTTP/2 compresses the repeats:
//! `1.<cluster>.<generation>.<sender's incarnation>.<receiver's incarnation>`.

use http::HeaderValue;
use keyclave_types::ids::{ClusterId, Incarnation};
use keyclave_types::position::Generation;

/// The metadata key.
pub(crate) const NAME: &str = "keyclave-peer";

const FORMAT: &str = "1";

/// A call's sender and receiver, as the sender sees them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CallHeader {
    pub(crate) cluster: ClusterId,
    pub(crate) generation: Generation,
    pub(crate) sender: Incarnation,
    pub(crate) receiver: Incarnation,
}

impl CallHeader {
    pub(crate) fn to_value(self) -> HeaderValue {
        let Self { cluster, generation: Generation(generation), sender, receiver } = self;
        HeaderValue::try_from(format!("{FORMAT}.{cluster}.{generation}.{sender}.{receiver}"))
            .expect("hex, digits and dots are all visible ASCII")
    }

    pub(crate) fn parse(value: &HeaderValue) -> Option<Self> {
        let mut fields = value.to_str().ok()?.split('.');
        let format = fields.next()?;
        let cluster = fields.next()?.parse().ok()?;
        let generation = number(fields.next()?)?;
        let sender = fields.next()?.parse().ok()?;
        let receiver = fields.next()?.parse().ok()?;
        (format == FORMAT && fields.next().is_none()).then_some(Self {
            cluster,
            generation: Generation(generation),
            sender,
            receiver,
        })
    }
}

/// Digits only: the standard parser would take a sign.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> CallHeader {
        CallHeader {
            cluster: ClusterId::from_bytes([0xcc; 16]),
            generation: Generation(7),
            sender: Incarnation::from_bytes([0x0a; 16]),
            receiver: Incarnation::from_bytes([0x0b; 16]),
        }
    }

    #[test]
    fn golden_header_stays() {
        let golden = "1.cccccccccccccccccccccccccccccccc.7.0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a.0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b";
        assert_eq!(sample().to_value(), golden);
        assert_eq!(CallHeader::parse(&HeaderValue::from_static(golden)), Some(sample()));
    }

    #[test]
    fn nothing_else_is_a_header() {
        let right = sample().to_value().to_str().unwrap().to_owned();
        for wrong in [
            String::new(),
            "1".into(),
            format!("{right}."),
            format!("{right}.1"),
            right.replacen('1', "2", 1),
            right.replacen(".7.", ".+7.", 1),
            right.replacen(".7.", "..", 1),
            right.replacen(".7.", ".18446744073709551616.", 1),
            right.replacen("cc", "CC", 1),
            right.get(..right.len() - 1).unwrap().to_owned(),
        ] {
            assert_eq!(CallHeader::parse(&HeaderValue::try_from(&wrong).unwrap()), None, "{wrong}");
        }
        assert_eq!(CallHeader::parse(&HeaderValue::from_bytes(&[0xff; 40]).unwrap()), None);
    }
}
