//! The Merkle tree over a trail's records (RFC 6962 section 2.1): its root, and proofs that a record is in it or that
//! one tree continues another.
//!
//! A leaf is a record's line without its newline. Kept is what it takes to go on: the roots of the complete subtrees
//! so far, at most 64 of them. Deliberately absent: the leaves, which are the trail's lines, and signatures, which are
//! [`crate::note`]'s.

use std::ops::Range;

use keyclave_crypto::hash::sha256;

use crate::files::SegmentNumber;

/// A hash in a tree.
pub type Hash = [u8; 32];

/// SHA-256(0x00 ‖ line): the hash of a leaf.
pub fn leaf(line: &[u8]) -> Hash {
    sha256(&[&[0], line])
}

/// SHA-256(0x01 ‖ left ‖ right): the hash of two subtrees.
fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// A tree as far as it has grown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree {
    leaves: u64,
    /// The roots of its complete subtrees, the largest and first one first: one for each bit of `leaves`.
    subtrees: Vec<Hash>,
}

impl Tree {
    /// A tree of so many leaves that has these subtrees; none if there is no such tree.
    pub fn from_parts(leaves: u64, subtrees: Vec<Hash>) -> Option<Self> {
        (subtrees.len() == leaves.count_ones() as usize).then_some(Self { leaves, subtrees })
    }

    /// How many leaves it has.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The roots of its complete subtrees.
    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }

    /// Takes the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.leaves.trailing_ones() {
            let Some(left) = self.subtrees.pop() else { break };
            hash = node(&left, &hash);
        }
        self.subtrees.push(hash);
        self.leaves += 1;
    }

    /// The root: SHA-256 of nothing for a tree without leaves.
    pub fn root(&self) -> Hash {
        let joined = self.subtrees.iter().rev().copied().reduce(|right, left| node(&left, &right));
        joined.unwrap_or_else(|| sha256(&[]))
    }

    /// The part of this tree over `range`, to be grown on to the end of `range`; none if it cannot be told from the
    /// subtrees alone.
    fn part(&self, range: &Range<u64>) -> Option<Self> {
        let within = |at: u64| range.start <= at && at < range.end;
        let (mut at, mut part) = (0, Self::default());
        for (bit, hash) in (0..64).rev().filter(|bit| self.leaves >> bit & 1 == 1).zip(&self.subtrees) {
            let end = at + (1 << bit);
            match (within(at), end <= range.end) {
                (true, true) => {
                    part.leaves += 1 << bit;
                    part.subtrees.push(*hash);
                }
                (true, false) => return None,
                (false, _) => {}
            }
            at = end;
        }
        (part.leaves == self.leaves.min(range.end).saturating_sub(range.start)).then_some(part)
    }
}

/// The tree of a trail, as far as it has grown. Segments continue one tree; one that cannot tell how the tree before
/// it ended, because it was tampered with, begins another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TrailTree {
    /// The segment that it began with.
    pub(crate) begins: SegmentNumber,
    pub(crate) tree: Tree,
}

impl TrailTree {
    /// A tree that begins with this segment.
    pub(crate) fn beginning(segment: SegmentNumber) -> Self {
        Self { begins: segment, tree: Tree::default() }
    }

    pub(crate) fn head(&self) -> TreeHead {
        TreeHead { begins: self.begins, leaves: self.tree.leaves(), root: self.tree.root() }
    }
}

/// What stands for a tree as it was at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeHead {
    /// The segment that it began with.
    pub begins: SegmentNumber,
    /// How many records it holds.
    pub leaves: u64,
    /// Its root.
    pub root: Hash,
}

/// Makes one proof while the leaves pass by.
#[derive(Debug)]
pub struct Prover {
    at: u64,
    size: u64,
    /// What the proof's hashes are over, in the order of the proof.
    parts: Vec<(Range<u64>, Tree)>,
}

impl Prover {
    /// A proof that leaf `index` is in the tree of `size` leaves, to be made of the leaves from the end of `before` on.
    /// None if there is no such leaf, or it takes leaves before that.
    pub fn inclusion(index: u64, size: u64, before: &Tree) -> Option<Self> {
        let ranges = (index < size).then(|| inclusion_ranges(index, size))?;
        (index >= before.leaves).then(|| Self::new(ranges, size, before))?
    }

    /// A proof that the tree of `size` leaves continues the one of `old` leaves.
    pub fn consistency(old: u64, size: u64, before: &Tree) -> Option<Self> {
        let ranges = (0 < old && old <= size).then(|| consistency_ranges(old, size))?;
        Self::new(ranges, size, before)
    }

    fn new(ranges: Vec<Range<u64>>, size: u64, before: &Tree) -> Option<Self> {
        let part = |range: Range<u64>| before.part(&range).map(|part| (range, part));
        Some(Self { at: before.leaves, size, parts: ranges.into_iter().map(part).collect::<Option<_>>()? })
    }

    /// Takes the next leaf. Leaves beyond the tree are passed over.
    pub fn push(&mut self, leaf: Hash) {
        for (range, part) in &mut self.parts {
            if range.contains(&self.at) {
                part.push(leaf);
            }
        }
        self.at = self.at.saturating_add(1);
    }

    /// The proof, once every leaf of the tree has passed.
    pub fn finish(self) -> Option<Vec<Hash>> {
        (self.at >= self.size).then(|| self.parts.iter().map(|(_, part)| part.root()).collect())
    }
}

/// What the hashes of PATH(index, D[size]) are over (RFC 6962 section 2.1.1).
fn inclusion_ranges(index: u64, size: u64) -> Vec<Range<u64>> {
    let (mut ranges, mut whole) = (Vec::new(), 0..size);
    while whole.end - whole.start > 1 {
        let middle = whole.start + left_leaves(whole.end - whole.start);
        if index < middle {
            ranges.push(middle..whole.end);
            whole.end = middle;
        } else {
            ranges.push(whole.start..middle);
            whole.start = middle;
        }
    }
    ranges.reverse();
    ranges
}

/// What the hashes of PROOF(old, D[size]) are over (RFC 6962 section 2.1.2).
fn consistency_ranges(old: u64, size: u64) -> Vec<Range<u64>> {
    let (mut ranges, mut whole) = (Vec::new(), 0..size);
    while whole.end != old {
        let middle = whole.start + left_leaves(whole.end - whole.start);
        if old <= middle {
            ranges.push(middle..whole.end);
            whole.end = middle;
        } else {
            ranges.push(whole.start..middle);
            whole.start = middle;
        }
    }
    // The old tree's own root is known to whoever checks.
    if whole.start > 0 {
        ranges.push(whole);
    }
    ranges.reverse();
    ranges
}

/// The largest power of two below `leaves`, which are two at least.
fn left_leaves(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// Whether `proof` shows that `leaf` is number `index` of the tree of `size` leaves with this root (RFC 9162 section
/// 2.1.3.2).
pub fn is_included(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            // At the right edge, levels without a sibling are passed over.
            let levels = if at & 1 == 1 { 0 } else { at.trailing_zeros().min(63) };
            (at, last) = (at >> levels, last >> levels);
        } else {
            hash = node(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `size` leaves with `root` continues the one of `old` leaves with `old_root`
/// (RFC 9162 section 2.1.4.2).
pub fn is_consistent(old: u64, old_root: &Hash, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if old == 0 || old > size {
        return false;
    }
    if old == size {
        return proof.is_empty() && old_root == root;
    }
    let whole = old.is_power_of_two().then_some(old_root);
    let mut hashes = whole.into_iter().chain(proof);
    let Some(first) = hashes.next() else { return false };
    let levels = (old - 1).trailing_ones();
    let (mut at, mut last) = ((old - 1) >> levels, (size - 1) >> levels);
    let (mut old_hash, mut hash) = (*first, *first);
    for sibling in hashes {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = node(sibling, &old_hash);
            hash = node(sibling, &hash);
            let levels = if at & 1 == 1 { 0 } else { at.trailing_zeros().min(63) };
            (at, last) = (at >> levels, last >> levels);
        } else {
            hash = node(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old_hash == *old_root && hash == *root
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// The leaves of the reference tests of Certificate Transparency.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    /// The roots of the trees over the first one, two, … of them.
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const A: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
    const B: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    const C: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
    const D: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    const E: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
    const F: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";

    fn hash(text: &str) -> Hash {
        HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
    }

    fn hashes(texts: &[&str]) -> Vec<Hash> {
        texts.iter().map(|text| hash(text)).collect()
    }

    fn reference_leaves() -> Vec<Hash> {
        LEAVES.iter().map(|text| leaf(&HEXLOWER.decode(text.as_bytes()).unwrap())).collect()
    }

    fn some_leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|number| leaf(&number.to_be_bytes())).collect()
    }

    fn grown(leaves: &[Hash]) -> Tree {
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree
    }

    fn proven(prover: Option<Prover>, leaves: &[Hash]) -> Option<Vec<Hash>> {
        let mut prover = prover?;
        leaves.iter().for_each(|leaf| prover.push(*leaf));
        prover.finish()
    }

    #[test]
    fn certificate_transparencys_reference_roots_hold() {
        assert_eq!(Tree::default().root(), hash(EMPTY));
        let mut tree = Tree::default();
        for (leaf, root) in reference_leaves().into_iter().zip(ROOTS) {
            tree.push(leaf);
            assert_eq!(tree.root(), hash(root), "{} leaves", tree.leaves());
        }
    }

    #[test]
    fn certificate_transparencys_reference_proofs_of_inclusion_hold() {
        let leaves = reference_leaves();
        for (index, size, proof) in [
            (0, 1, vec![]),
            (0, 8, vec![A, B, C]),
            (5, 8, vec![D, E, ROOTS[3]]),
            (2, 3, vec![ROOTS[1]]),
            (1, 5, vec![ROOTS[0], B, D_OF_FIVE]),
        ] {
            let (root, proof) = (hash(ROOTS[size - 1]), hashes(&proof));
            let (index, size) = (index as u64, size as u64);
            let made = proven(Prover::inclusion(index, size, &Tree::default()), &leaves);
            assert_eq!(made.as_ref(), Some(&proof), "{index} of {size}");
            assert!(is_included(leaves[index as usize], index, size, &proof, &root));
        }
    }

    /// The fifth leaf's own hash.
    const D_OF_FIVE: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";

    #[test]
    fn certificate_transparencys_reference_proofs_of_consistency_hold() {
        let leaves = reference_leaves();
        for (old, size, proof) in
            [(1, 1, vec![]), (1, 8, vec![A, B, C]), (6, 8, vec![F, E, ROOTS[3]]), (2, 5, vec![B, D_OF_FIVE])]
        {
            let (old_root, root, proof) = (hash(ROOTS[old - 1]), hash(ROOTS[size - 1]), hashes(&proof));
            let (old, size) = (old as u64, size as u64);
            let made = proven(Prover::consistency(old, size, &Tree::default()), &leaves);
            assert_eq!(made.as_ref(), Some(&proof), "{old} to {size}");
            assert!(is_consistent(old, &old_root, size, &root, &proof));
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_also_without_the_leaves_before_it() {
        let leaves = some_leaves(40);
        for size in 1..=40_u64 {
            let root = grown(&leaves[..size as usize]).root();
            for index in 0..size {
                for known in 0..=index {
                    let (gone, left) = leaves.split_at(known as usize);
                    let prover = Prover::inclusion(index, size, &grown(gone));
                    let proof = proven(prover, left).unwrap();
                    assert!(is_included(leaves[index as usize], index, size, &proof, &root));
                }
            }
            assert!(Prover::inclusion(size, size, &Tree::default()).is_none());
        }
        assert!(Prover::inclusion(3, 40, &grown(&leaves[..4])).is_none());
    }

    #[test]
    fn every_small_tree_is_proven_to_continue_those_before_it() {
        let leaves = some_leaves(40);
        for size in 1..=40_u64 {
            let root = grown(&leaves[..size as usize]).root();
            for old in 1..=size {
                let old_root = grown(&leaves[..old as usize]).root();
                for known in 0..=old {
                    let (gone, left) = leaves.split_at(known as usize);
                    let prover = Prover::consistency(old, size, &grown(gone));
                    let proof = proven(prover, left).unwrap();
                    assert!(is_consistent(old, &old_root, size, &root, &proof), "{known} {old} {size}");
                }
            }
        }
    }

    #[test]
    fn nothing_else_is_proven() {
        let leaves = some_leaves(21);
        let (root, old_root) = (grown(&leaves).root(), grown(&leaves[..13]).root());
        let inclusion = proven(Prover::inclusion(6, 21, &Tree::default()), &leaves).unwrap();
        let consistency = proven(Prover::consistency(13, 21, &Tree::default()), &leaves).unwrap();
        let included = |index, size, proof: &[Hash]| is_included(leaves[6], index, size, proof, &root);
        assert!(included(6, 21, &inclusion));
        assert!((0..40).filter(|index| *index != 6).all(|index| !included(index, 21, &inclusion)));
        assert!((0..13).all(|size| !included(6, size, &inclusion)));
        assert!(!is_included(leaves[7], 6, 21, &inclusion, &root));
        let consistent = |old, size, proof: &[Hash]| is_consistent(old, &old_root, size, &root, proof);
        assert!(consistent(13, 21, &consistency));
        for old in (0..40).filter(|old| *old != 13) {
            assert!(!consistent(old, 21, &consistency), "{old}");
        }
        for proof in [inclusion, consistency] {
            for at in 0..proof.len() {
                let mut changed = proof.clone();
                changed[at][0] ^= 1;
                let (shorter, doubled) = (&proof[..at], [&proof[..=at], &proof[at..]].concat());
                for wrong in [&changed, shorter, &doubled] {
                    assert!(!included(6, 21, wrong) && !consistent(13, 21, wrong));
                }
            }
        }
    }

    #[test]
    fn a_tree_has_one_subtree_for_each_bit_of_its_leaves() {
        let tree = grown(&some_leaves(11));
        let parts = (tree.leaves(), tree.subtrees().to_vec());
        assert_eq!(Tree::from_parts(parts.0, parts.1.clone()), Some(tree));
        assert_eq!(Tree::from_parts(12, parts.1), None);
    }
}
