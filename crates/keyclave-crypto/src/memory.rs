//! The place where secrets lie: pages that are locked, left out of core dumps, and wiped slot by slot.
//!
//! Called by `secret`, and by every type that holds an expanded key. The system limits how much one process may
//! lock (`RLIMIT_MEMLOCK`, often 64 KiB or 8 MiB), so small secrets share pages: each size class has a list of free
//! slots, filled one region at a time. A refused lock is counted and tolerated, because a service that stops for it
//! would be less safe than one that says so.
//!
//! Deliberately absent: guard pages and canaries (safe code cannot run over a slot's end), and returning pooled
//! regions to the system (what was needed once is needed again after the next unseal).

#![allow(
    unsafe_code,
    reason = "locking, wiping and placing values in pages of our own needs raw memory; each block says why it is sound"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use std::sync::{Mutex, PoisonError};

use rustix::mm::{Advice, madvise, mlock, munlock};

/// Sizes of slots: 32-byte keys, AES key schedules, generator states, AES-GCM keys with their tables.
const SLOT_BYTES: [usize; 4] = [64, 256, 512, 1024];
/// Every slot begins at a multiple of this.
const SLOT_ALIGN: usize = 64;
/// Pages that a size class grows by.
const REGION_PAGES: usize = 4;

static POOL: Mutex<Pool> = Mutex::new(Pool { free: [const { Vec::new() }; SLOT_BYTES.len()] });
static REFUSED_BYTES: AtomicU64 = AtomicU64::new(0);

/// Bytes for secrets that the system has refused to lock and that are in use.
pub(crate) fn refused_bytes() -> u64 {
    REFUSED_BYTES.load(Ordering::Relaxed)
}

/// A value in a slot of its own, wiped after it is dropped.
pub(crate) struct Locked<T> {
    slot: Slot,
    value: PhantomData<T>,
}

impl<T> Locked<T> {
    /// Moves a value into a slot. What the compiler left of it on the stack is not wiped: build large keys here
    /// and secrets with [`Locked::deref_mut`] in place.
    pub(crate) fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= SLOT_ALIGN) };
        let slot = Slot::take(size_of::<T>());
        // SAFETY: the slot has at least the value's size and alignment, and nobody else has its address.
        unsafe { slot.at.cast::<T>().write(value) };
        Self { slot, value: PhantomData }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` wrote a value here, only `drop` ends it, and the borrow of `self` guards it.
        unsafe { self.slot.at.cast::<T>().as_ref() }
    }
}

impl<T> DerefMut for Locked<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { self.slot.at.cast::<T>().as_mut() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // SAFETY: the value is there, and after this nobody reads it; the slot wipes itself when it is dropped next.
        unsafe { ptr::drop_in_place(self.slot.at.cast::<T>().as_ptr()) };
    }
}

/// Bytes in a slot of their own, all zero at first, wiped when dropped.
pub(crate) struct LockedBytes {
    slot: Slot,
    length: usize,
}

impl LockedBytes {
    /// So many zero bytes.
    pub(crate) fn new(length: usize) -> Self {
        Self { slot: Slot::take(length), length }
    }
}

impl Deref for LockedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a slot's bytes are initialised (zeroed when allocated and when wiped), `length` of them are ours.
        unsafe { std::slice::from_raw_parts(self.slot.at.as_ptr(), self.length) }
    }
}

impl DerefMut for LockedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.slot.at.as_ptr(), self.length) }
    }
}

/// A short-lived value on the stack whose bytes are wiped after it is dropped. For keys of crates that do not wipe
/// their own. Copies that the compiler makes while it moves one are not found; that is why sealing re-executes the
/// process.
pub(crate) struct Wiped<T>(ManuallyDrop<T>);

impl<T> Wiped<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        // SAFETY: the value is dropped exactly once, here; its bytes belong to `self` and are not read again.
        unsafe {
            ManuallyDrop::drop(&mut self.0);
            zeroize::zeroize_flat_type(ptr::from_mut(&mut self.0));
        }
    }
}

/// Memory for one secret.
struct Slot {
    at: NonNull<u8>,
    home: Home,
}

/// Where a slot goes when its secret is gone.
#[derive(Clone, Copy)]
enum Home {
    /// To the free list of this size class.
    Pool { class: usize },
    /// Back to the allocator: whole pages for one large secret.
    Pages { layout: Layout, locked: bool },
}

// SAFETY: a slot is the only owner of its memory, wherever it is sent.
unsafe impl Send for Slot {}
// SAFETY: a shared slot gives no access by itself; `Locked` and `LockedBytes` hand out references by Rust's rules.
unsafe impl Sync for Slot {}

impl Slot {
    fn take(bytes: usize) -> Self {
        match SLOT_BYTES.iter().position(|size| bytes <= *size) {
            Some(class) => {
                let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
                Self { at: pool.take(class).0, home: Home::Pool { class } }
            }
            None => {
                let (at, layout, locked) = pages(bytes.div_ceil(rustix::param::page_size()));
                Self { at, home: Home::Pages { layout, locked } }
            }
        }
    }

    fn bytes(&self) -> usize {
        match self.home {
            Home::Pool { class } => SLOT_BYTES.get(class).copied().unwrap_or(0),
            Home::Pages { layout, .. } => layout.size(),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let bytes = self.bytes();
        // SAFETY: the slot owns these bytes, aligned to `SLOT_ALIGN` and a multiple of it long, and nobody reads them again.
        unsafe { wipe(self.at, bytes) };
        match self.home {
            Home::Pool { class } => {
                POOL.lock().unwrap_or_else(PoisonError::into_inner).give(class, Address(self.at));
            }
            // SAFETY: `pages` allocated exactly this with this layout, and the slot is its only owner.
            Home::Pages { layout, locked } => unsafe { release(self.at, layout, locked) },
        }
    }
}

/// The address of a free slot.
struct Address(NonNull<u8>);

// SAFETY: nobody but the pool knows a free slot's address, so it may move between threads.
unsafe impl Send for Address {}

struct Pool {
    free: [Vec<Address>; SLOT_BYTES.len()],
}

impl Pool {
    fn take(&mut self, class: usize) -> Address {
        let (Some(free), Some(size)) = (self.free.get_mut(class), SLOT_BYTES.get(class)) else {
            unreachable!("classes are positions in SLOT_BYTES");
        };
        if let Some(address) = free.pop() {
            return address;
        }
        let (region, layout, _) = pages(REGION_PAGES);
        for offset in (0..layout.size()).step_by(*size).rev() {
            // SAFETY: the offset lies inside the region, which holds a whole number of slots.
            free.push(Address(unsafe { region.add(offset) }));
        }
        free.pop().unwrap_or_else(|| unreachable!("a region holds at least one slot"))
    }

    fn give(&mut self, class: usize, address: Address) {
        if let Some(free) = self.free.get_mut(class) {
            free.push(address);
        }
    }
}

/// So many zeroed pages, kept out of core dumps and locked if the system allows.
fn pages(count: usize) -> (NonNull<u8>, Layout, bool) {
    let page = rustix::param::page_size();
    let layout = count
        .max(1)
        .checked_mul(page)
        .and_then(|bytes| Layout::from_size_align(bytes, page).ok())
        .expect("a secret that exists in memory has a size that fits it");
    // SAFETY: the layout's size is at least one page.
    let Some(at) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
    // SAFETY: whole pages that were just allocated and that nobody else uses; neither call changes their contents.
    let locked = unsafe {
        // A kernel without this advice still wipes and locks; core dumps are also switched off for the process.
        let _ = madvise(at.as_ptr().cast(), layout.size(), Advice::LinuxDontDump);
        mlock(at.as_ptr().cast(), layout.size()).is_ok()
    };
    if !locked {
        REFUSED_BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
    }
    (at, layout, locked)
}

/// Gives whole pages back as they came.
///
/// # Safety
/// `at` came from [`pages`] with this layout and is not used again.
unsafe fn release(at: NonNull<u8>, layout: Layout, locked: bool) {
    // SAFETY: the caller's promise; the pages are wiped, and become ordinary memory again before they are freed.
    unsafe {
        if locked {
            let _ = munlock(at.as_ptr().cast(), layout.size());
        } else {
            REFUSED_BYTES.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        }
        let _ = madvise(at.as_ptr().cast(), layout.size(), Advice::LinuxDoDump);
        dealloc(at.as_ptr(), layout);
    }
}

/// Overwrites memory with zeros in a way that the compiler may not drop.
///
/// # Safety
/// `at` is aligned to 8, owned by the caller, and `bytes`, a multiple of 8, of them may be written.
unsafe fn wipe(at: NonNull<u8>, bytes: usize) {
    for offset in (0..bytes).step_by(8) {
        // SAFETY: the caller's promise.
        unsafe { at.add(offset).cast::<u64>().as_ptr().write_volatile(0) };
    }
    compiler_fence(Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_wiped_before_it_is_used_again() {
        for _ in 0..16 {
            let mut used = LockedBytes::new(1000);
            assert!(used.iter().all(|byte| *byte == 0));
            used.fill(0xa5);
            drop(used);
            // The list gives the last slot first, so one of these is the one that was used.
            let next: Vec<LockedBytes> = (0..8).map(|_| LockedBytes::new(1000)).collect();
            assert!(next.iter().all(|bytes| bytes.iter().all(|byte| *byte == 0)));
        }
    }

    #[test]
    fn secrets_are_left_out_of_core_dumps_and_locked_where_the_limit_allows() {
        for bytes in [LockedBytes::new(32), LockedBytes::new(100_000)] {
            let flags = mapping_flags(bytes.slot.at.addr().get());
            assert!(flags.contains(" dd"), "{flags}");
            assert!(flags.contains(" lo") || refused_bytes() > 0, "{flags}");
        }
    }

    /// What the kernel says of the mapping around an address.
    fn mapping_flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let parse = |hex: &str| usize::from_str_radix(hex, 16).ok();
            if let Some((Some(from), Some(to))) = range.map(|(from, to)| (parse(from), parse(to))) {
                inside = (from..to).contains(&address);
            }
            if inside && line.starts_with("VmFlags:") {
                return line.to_owned();
            }
        }
        panic!("no mapping holds the address")
    }

    #[test]
    fn slots_are_aligned_and_apart() {
        let many: Vec<Locked<[u8; 32]>> = (0..=255).map(|byte| Locked::new([byte; 32])).collect();
        for (byte, locked) in many.iter().enumerate() {
            assert!(locked.slot.at.addr().get().is_multiple_of(SLOT_ALIGN));
            assert!(locked.iter().all(|b| usize::from(*b) == byte));
        }
    }

    #[test]
    fn large_secrets_get_pages_of_their_own() {
        let mut large = LockedBytes::new(100_000);
        large.fill(1);
        assert_eq!(large.len(), 100_000);
        assert!(matches!(large.slot.home, Home::Pages { .. }));
        assert!(LockedBytes::new(0).is_empty());
    }

    #[test]
    fn a_value_is_dropped_once() {
        struct Counted<'a>(&'a AtomicU64);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let drops = AtomicU64::new(0);
        drop(Locked::new(Counted(&drops)));
        drop(Wiped::new(Counted(&drops)));
        assert_eq!(drops.into_inner(), 2);
    }
}
