//! GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (0x11b, FIPS 197), without a table and without a branch on a value.
//!
//! Called by `shamir` only. Addition is `^`.

/// The product of two elements: Russian peasant, eight rounds whatever the values.
pub(crate) fn multiply(one: u8, other: u8) -> u8 {
    let (mut shifted, mut bits, mut product) = (one, other, 0);
    for _ in 0..8 {
        product ^= shifted & (bits & 1).wrapping_neg();
        let reduction = 0x1b & (shifted >> 7).wrapping_neg();
        shifted = (shifted << 1) ^ reduction;
        bits >>= 1;
    }
    product
}

/// The inverse: value^254, by a fixed chain. 0 gives 0.
pub(crate) fn invert(value: u8) -> u8 {
    let square = |x: u8| multiply(x, x);
    let x2 = square(value);
    let x3 = multiply(x2, value);
    let x12 = square(square(x3));
    let x15 = multiply(x12, x3);
    let x240 = square(square(square(square(x15))));
    multiply(multiply(x240, x12), x2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fips_197_products_hold() {
        // FIPS 197 section 4.2: {57}·{83} = {c1}, {57}·{13} = {fe}; section 4.2.1's xtime chain.
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert_eq!(multiply(0x57, 0x13), 0xfe);
        assert_eq!([2, 4, 8, 16].map(|x| multiply(0x57, x)), [0xae, 0x47, 0x8e, 0x07]);
        assert_eq!(invert(0x53), 0xca);
    }

    #[test]
    fn it_is_a_field() {
        // 3 generates all 255 non-zero elements, and products of powers add exponents.
        let mut powers = vec![1_u8];
        while powers.len() < 255 {
            powers.push(multiply(powers[powers.len() - 1], 3));
        }
        let mut seen = powers.clone();
        seen.sort_unstable();
        assert_eq!(seen, (1..=255).collect::<Vec<u8>>());
        for (i, one) in powers.iter().enumerate() {
            assert_eq!(multiply(*one, invert(*one)), 1);
            assert_eq!(multiply(*one, 0), 0);
            for (j, other) in powers.iter().enumerate() {
                assert_eq!(multiply(*one, *other), powers[(i + j) % 255]);
            }
        }
        assert_eq!(invert(0), 0);
    }
}
