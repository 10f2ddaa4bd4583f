//! RFC 4648 base32 in lower case without padding, without a table and without a branch on a value, because what it
//! spells is a share. Called by `share` and for node codes.

use subtle::{ConditionallySelectable, ConstantTimeGreater};

/// The text of `bytes`, five bits a letter, the last filled with zero bits.
pub(crate) fn encode_into(bytes: &[u8], text: &mut String) {
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(letter(((bits >> held) & 31) as u8));
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        text.push(letter(((bits << (5 - held)) & 31) as u8));
    }
}

fn letter(value: u8) -> char {
    // Chosen, not computed from a comparison: an optimiser makes a branch of that. The mask says that it is ASCII, so
    // that what makes a string of it needs not look at the letter; unhidden it could be left out as superfluous.
    let digit = value.wrapping_add(b'2' - 26);
    let letter = u8::conditional_select(&b'a'.wrapping_add(value), &digit, value.ct_gt(&25));
    char::from(letter & std::hint::black_box(0x7f))
}

/// The value of one letter of either case, or None if it is no letter of the alphabet.
pub(crate) fn value(character: u8) -> Option<u8> {
    let within = |low: u8, high: u8| {
        let outside = (character.wrapping_sub(low) | high.wrapping_sub(character)) >> 7;
        (outside ^ 1).wrapping_neg()
    };
    let (lower, upper, digit) = (within(b'a', b'z'), within(b'A', b'Z'), within(b'2', b'7'));
    let value = (lower & character.wrapping_sub(b'a'))
        | (upper & character.wrapping_sub(b'A'))
        | (digit & character.wrapping_sub(b'2').wrapping_add(26));
    (lower | upper | digit != 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE32_NOPAD, Specification};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_is_a_letter_or_none_as_in_the_rfc() {
        for character in 0..=255_u8 {
            let upper = character.to_ascii_uppercase();
            let expected = BASE32_NOPAD.specification().symbols.bytes().position(|symbol| symbol == upper);
            assert_eq!(value(character).map(usize::from), expected, "{character}");
        }
    }

    proptest! {
        #[test]
        fn it_spells_as_an_independent_implementation(bytes: Vec<u8>) {
            let mut independent = Specification::new();
            independent.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
            let mut text = String::new();
            encode_into(&bytes, &mut text);
            prop_assert_eq!(text, independent.encoding().unwrap().encode(&bytes));
        }
    }
}
