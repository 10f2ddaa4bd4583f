//! Base62 of fixed width: 0-9A-Za-z, big-endian, zero-padded, without a table and without a branch on a value,
//! because what it spells is mostly a secret.
//!
//! Called by `token`, and by joining for the CA's fingerprint. Each number has one spelling of each width.

use subtle::{ConditionallySelectable, ConstantTimeGreater};
use zeroize::Zeroize;

/// Letters of 256 bits.
pub const LETTERS_OF_32_BYTES: usize = 43;

/// Appends `number` in as many letters as fill `width`.
pub fn encode_into<const BYTES: usize>(number: &[u8; BYTES], width: usize, text: &mut String) {
    let mut number = *number;
    let mut letters = [0_u8; LETTERS_OF_32_BYTES];
    for to in letters.iter_mut().take(width).rev() {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let dividend = remainder << 8 | u32::from(*byte);
            *byte = (dividend / 62) as u8;
            remainder = dividend % 62;
        }
        *to = letter(remainder as u8);
    }
    // Whole, because appending one character after another looks at each.
    let spelt = letters.get(..width).and_then(|letters| std::str::from_utf8(letters).ok());
    text.push_str(spelt.expect("letters are ASCII, and no width is above 43"));
    number.zeroize();
    letters.zeroize();
}

/// The number that `text` spells, or None if a letter is foreign or the number needs more than `BYTES`.
pub fn decode<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let mut number = [0_u8; BYTES];
    let mut wrong = 0;
    // Four letters at a time: a byte times 62^4 and what is carried fit 64 bits by far.
    for letters in text.as_bytes().chunks(4) {
        let (mut factor, mut carry) = (1, 0);
        for letter in letters {
            let (value, foreign) = value(*letter);
            (factor, carry) = (factor * 62, carry * 62 + u64::from(value));
            wrong |= u64::from(foreign);
        }
        for byte in number.iter_mut().rev() {
            let sum = u64::from(*byte) * factor + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        wrong |= carry;
    }
    if wrong == 0 {
        Some(number)
    } else {
        number.zeroize();
        None
    }
}

fn letter(value: u8) -> u8 {
    // Chosen, not computed from a comparison: an optimiser makes a branch of that. The mask says that it is ASCII, so
    // that what makes a string of it needs not look at the letter; unhidden it would be left out as superfluous.
    let upper = u8::conditional_select(&b'0', &(b'A' - 10), value.ct_gt(&9));
    let first = u8::conditional_select(&upper, &(b'a' - 36), value.ct_gt(&35));
    first.wrapping_add(value) & std::hint::black_box(0x7f)
}

/// The value of a letter, and non-zero if it is none.
fn value(character: u8) -> (u8, u8) {
    let within = |low: u8, high: u8| {
        let outside = (character.wrapping_sub(low) | high.wrapping_sub(character)) >> 7;
        (outside ^ 1).wrapping_neg()
    };
    let (digit, upper, lower) = (within(b'0', b'9'), within(b'A', b'Z'), within(b'a', b'z'));
    let value = (digit & character.wrapping_sub(b'0'))
        | (upper & character.wrapping_sub(b'A').wrapping_add(10))
        | (lower & character.wrapping_sub(b'a').wrapping_add(36));
    (value, !(digit | upper | lower))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    #[test]
    fn every_letter_has_its_value_and_nothing_else_has_one() {
        for character in 0..=255 {
            let expected = LETTERS.iter().position(|letter| *letter == character);
            let (found, foreign) = value(character);
            assert_eq!((foreign == 0).then_some(usize::from(found)), expected, "{character}");
        }
        assert!((0..62).all(|at| letter(at) == LETTERS[usize::from(at)]));
    }

    #[test]
    fn a_number_too_large_is_refused() {
        assert_eq!(decode::<32>(&"z".repeat(43)), None);
        let mut text = String::new();
        encode_into(&[255; 32], LETTERS_OF_32_BYTES, &mut text);
        assert_eq!(decode::<32>(&text), Some([255; 32]));
        // The next number: its spelling differs in the last letter, which is not z.
        let last = text.pop().unwrap();
        text.push(char::from(LETTERS[LETTERS.iter().position(|l| char::from(*l) == last).unwrap() + 1]));
        assert_eq!(decode::<32>(&text), None);
        assert_eq!(decode::<4>("00000é"), None);
        assert_eq!(decode::<4>(""), Some([0; 4]));
    }

    proptest! {
        #[test]
        fn it_spells_as_arithmetic_on_numbers_does(number: u128) {
            let mut text = String::new();
            encode_into(&number.to_be_bytes(), 22, &mut text);
            let (mut rest, mut expected) = (number, vec![]);
            for _ in 0..22 {
                expected.insert(0, LETTERS[(rest % 62) as usize]);
                rest /= 62;
            }
            prop_assert_eq!(text.as_bytes(), expected);
            prop_assert_eq!(decode(&text), Some(number.to_be_bytes()));
        }
    }
}
