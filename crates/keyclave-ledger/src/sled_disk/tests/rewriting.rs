//! A rewriting: nothing is lost, nothing stays, and a crash at any step leaves the old store or the new one, whole.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tempfile::TempDir;

use super::super::rewrite::{AREAS, RESERVE_BYTES, Step};
use super::super::{OpenDiskError, SledDisk, current};
use crate::disk::{Area, Batch, Disk, DiskError, Pair, RewriteError};

const SECRET: &[u8] = b"the sealed blob of a version that was destroyed";

fn open(directory: &Path) -> SledDisk {
    SledDisk::open(directory).unwrap()
}

fn put(disk: &SledDisk, area: Area, key: &[u8], value: Vec<u8>) {
    let mut batch = Batch::default();
    batch.put(area, key, value);
    disk.write(batch).unwrap();
}

fn delete(disk: &SledDisk, area: Area, key: &[u8]) {
    let mut batch = Batch::default();
    batch.delete(area, key);
    disk.write(batch).unwrap();
}

fn contents(disk: &SledDisk) -> Vec<Vec<Pair>> {
    AREAS.iter().map(|area| disk.range(*area, &[], usize::MAX).unwrap()).collect()
}

/// A disk that has held the secret in three areas and holds it no more.
fn used(directory: &Path) -> SledDisk {
    let disk = open(directory);
    for n in 0..300_u64 {
        put(&disk, Area::Log, &n.to_be_bytes(), vec![n as u8; n as usize * 40]);
        put(&disk, Area::RecordsEven, &[n as u8; 16], vec![n as u8; 200]);
    }
    put(&disk, Area::Log, &300_u64.to_be_bytes(), [&[9; 3000], SECRET].concat());
    put(&disk, Area::RecordsEven, &[0xEE; 16], SECRET.to_vec());
    put(&disk, Area::Meta, b"log/vote", b"vote".to_vec());
    put(&disk, Area::Meta, b"slot/x", SECRET.to_vec());
    disk.sync().unwrap();
    delete(&disk, Area::Log, &300_u64.to_be_bytes());
    delete(&disk, Area::RecordsEven, &[0xEE; 16]);
    put(&disk, Area::Meta, b"slot/x", b"other".to_vec());
    disk.sync().unwrap();
    disk
}

fn holds(directory: &Path, needle: &[u8]) -> bool {
    fs::read_dir(directory).unwrap().any(|found| {
        let path = found.unwrap().path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle)
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for found in fs::read_dir(from).unwrap() {
        let found = found.unwrap();
        let target = to.join(found.file_name());
        if found.path().is_dir() {
            copy(&found.path(), &target);
        } else {
            fs::copy(found.path(), target).unwrap();
        }
    }
}

#[test]
fn what_was_removed_or_replaced_is_in_no_file_afterwards_and_everything_else_is_there() {
    let directory = TempDir::new().unwrap();
    let disk = used(directory.path());
    assert!(holds(directory.path(), SECRET), "or the search proves nothing");
    let before = contents(&disk);
    disk.rewrite().unwrap();
    assert!(!holds(directory.path(), SECRET));
    assert_eq!(contents(&disk), before);
    put(&disk, Area::Meta, b"log/vote", b"later".to_vec());
    disk.sync().unwrap();
    disk.rewrite().unwrap();
    drop(disk);
    let disk = open(directory.path());
    assert_eq!(disk.read(Area::Meta, b"log/vote").unwrap(), Some(b"later".to_vec()));
    assert_eq!(contents(&disk)[1..], before[1..]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "lock, current, and one store");
}

#[test]
fn a_crash_at_any_step_leaves_everything_that_was_acknowledged() {
    let directory = TempDir::new().unwrap();
    let disk = used(directory.path());
    let mut left = Vec::new();
    disk.rewrite_noting(RESERVE_BYTES, &mut |step| {
        // Acknowledged in the middle of it, where anybody may write.
        if !matches!(step, Step::Named | Step::Removed) {
            put(&disk, Area::Log, &1_000_u64.to_be_bytes(), format!("{step:?}").into_bytes());
            delete(&disk, Area::RecordsEven, &[left.len() as u8; 16]);
            disk.sync().unwrap();
        }
        let crashed = TempDir::new().unwrap();
        copy(directory.path(), crashed.path());
        left.push((step, crashed, contents(&disk)));
    })
    .unwrap();
    let steps: Vec<_> = left.iter().map(|(step, ..)| *step).collect();
    assert_eq!(steps, [Step::Made, Step::Copied, Step::CaughtUp, Step::Named, Step::Removed]);
    for (step, crashed, expected) in left {
        let again = open(crashed.path());
        assert!(contents(&again) == expected, "after {step:?}");
        assert_eq!(fs::read_dir(crashed.path()).unwrap().count(), 3, "after {step:?}");
        assert_eq!(holds(crashed.path(), SECRET), !matches!(step, Step::Named | Step::Removed), "{step:?}");
        again.rewrite().unwrap();
        assert!(contents(&again) == expected, "after {step:?}");
        assert!(!holds(crashed.path(), SECRET), "after {step:?}");
    }
}

#[test]
fn writing_and_reading_go_on_and_nothing_of_it_is_lost() {
    let directory = TempDir::new().unwrap();
    let disk = used(directory.path());
    let done = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut n = 0_u64;
            while !done.load(Ordering::Acquire) || n < 100 {
                n += 1;
                put(&disk, Area::Log, &(n % 500).to_be_bytes(), n.to_be_bytes().repeat(400));
                delete(&disk, Area::RecordsEven, &[(n % 300) as u8; 16]);
                disk.sync().unwrap();
                let stands = disk.read(Area::Log, &(n % 500).to_be_bytes()).unwrap();
                assert_eq!(stands, Some(n.to_be_bytes().repeat(400)));
            }
            contents(&disk)
        });
        for _ in 0..3 {
            disk.rewrite().unwrap();
        }
        done.store(true, Ordering::Release);
        writing.join().unwrap()
    });
    assert!(contents(&disk) == written);
    drop(disk);
    assert!(contents(&open(directory.path())) == written);
}

#[test]
fn a_copy_that_cannot_be_made_leaves_the_old_store_and_may_be_tried_again() {
    let directory = TempDir::new().unwrap();
    let disk = used(directory.path());
    let before = contents(&disk);
    let full = disk.rewrite_noting(u64::MAX, &mut |_| ());
    assert!(matches!(full, Err(RewriteError::Room { .. })));
    // A file where the copy's directory should be.
    let blocked = current::path(directory.path(), 2);
    fs::write(&blocked, b"").unwrap();
    assert!(matches!(disk.rewrite(), Err(RewriteError::Remains(_))));
    fs::remove_file(&blocked).unwrap();
    assert!(contents(&disk) == before);
    put(&disk, Area::Meta, b"log/vote", b"later".to_vec());
    disk.sync().unwrap();
    disk.rewrite().unwrap();
    assert_eq!(disk.read(Area::Meta, b"log/vote").unwrap(), Some(b"later".to_vec()));
}

#[test]
fn a_copy_that_fails_to_be_named_fails_the_disk_and_the_next_start_finds_one_whole() {
    let directory = TempDir::new().unwrap();
    let disk = used(directory.path());
    let before = contents(&disk);
    let next = directory.path().join("current.next");
    fs::create_dir(&next).unwrap();
    assert!(matches!(disk.rewrite(), Err(RewriteError::Disk(DiskError::Sync { .. }))));
    assert!(disk.sync().is_err());
    drop(disk);
    fs::remove_dir(&next).unwrap();
    assert!(contents(&open(directory.path())) == before);
}

#[test]
fn a_directory_that_does_not_say_which_store_is_current_is_refused() {
    let directory = TempDir::new().unwrap();
    let disk = used(directory.path());
    disk.rewrite().unwrap();
    drop(disk);
    let current = directory.path().join("current");
    for wrong in [&b"3\n"[..], b"2", b"", b"x\n", b"-2\n"] {
        fs::write(&current, wrong).unwrap();
        assert!(matches!(SledDisk::open(directory.path()), Err(OpenDiskError::Current { .. })), "{wrong:?}");
    }
    fs::remove_file(&current).unwrap();
    assert!(matches!(SledDisk::open(directory.path()), Err(OpenDiskError::Current { .. })));
    fs::write(&current, b"2\n").unwrap();
    assert_eq!(open(directory.path()).read(Area::Meta, b"log/vote").unwrap(), Some(b"vote".to_vec()));
}
