//! The sled disk: the contract of every disk, and what only this one can get wrong.

mod rewriting;

use tempfile::TempDir;

use super::store::{PART_BYTES, PARTS_MAX, SEGMENT_BYTES, part_key};
use super::*;

fn open(directory: &TempDir) -> SledDisk {
    SledDisk::open(directory.path()).unwrap()
}

fn put(disk: &SledDisk, area: Area, key: &[u8], value: Vec<u8>) -> Result<(), DiskError> {
    let mut batch = Batch::default();
    batch.put(area, key, value);
    disk.write(batch)
}

#[test]
fn it_is_a_disk() {
    let mut directories = Vec::new();
    crate::conformance::holds(24, || {
        directories.push(TempDir::new().unwrap());
        open(directories.last().unwrap())
    });
}

#[test]
fn everything_is_there_after_opening_again() {
    let directory = TempDir::new().unwrap();
    let disk = open(&directory);
    for n in 0..200_u64 {
        put(&disk, Area::Log, &n.to_be_bytes(), vec![n as u8; n as usize * 300]).unwrap();
    }
    disk.sync().unwrap();
    drop(disk);
    let pairs = open(&directory).range(Area::Log, &[], usize::MAX).unwrap();
    assert_eq!(pairs.len(), 200);
    for (n, (key, value)) in pairs.iter().enumerate() {
        assert_eq!((key.as_slice(), value), (&(n as u64).to_be_bytes()[..], &vec![n as u8; n * 300]));
    }
}

#[test]
fn no_page_leaves_the_file_that_a_sync_covers() {
    let directory = TempDir::new().unwrap();
    let disk = open(&directory);
    for n in 0..300_u64 {
        put(&disk, Area::Log, &n.to_be_bytes(), vec![7; 61_000]).unwrap();
        put(&disk, Area::RecordsEven, &[n as u8; 16], vec![7; 40_000]).unwrap();
        if n >= 40 {
            let mut batch = Batch::default();
            batch.delete(Area::Log, &(n - 40).to_be_bytes());
            batch.delete(Area::RecordsEven, &[(n - 40) as u8 ^ 0x55; 16]);
            disk.write(batch).unwrap();
        }
    }
    disk.sync().unwrap();
    assert_eq!(fs::read_dir(directory.path().join("store-1/blobs")).unwrap().count(), 0);
}

#[test]
fn a_page_that_left_the_file_all_the_same_is_synced_once() {
    let directory = TempDir::new().unwrap();
    let disk = open(&directory);
    // As sled would do it: one value of more than a quarter of a segment.
    let large = disk.store.read().unwrap().database.open_tree("large").unwrap();
    large.insert("k", vec![7; SEGMENT_BYTES]).unwrap();
    disk.sync().unwrap();
    let synced = disk.store.read().unwrap().pages.synced.lock().unwrap().clone();
    assert_eq!(synced.len(), 1);
    disk.sync().unwrap();
    assert_eq!(*disk.store.read().unwrap().pages.synced.lock().unwrap(), synced);
}

#[test]
fn one_process_holds_a_directory_and_another_is_told_so() {
    let directory = TempDir::new().unwrap();
    let disk = open(&directory);
    assert!(matches!(SledDisk::open(directory.path()), Err(OpenDiskError::InUse { .. })));
    drop(disk);
    open(&directory);
}

#[test]
fn a_store_that_cannot_be_synced_is_kept_so_that_sled_does_not_panic() {
    let directory = TempDir::new().unwrap();
    let mut disk = open(&directory);
    let store = Arc::get_mut(disk.store.get_mut().unwrap()).unwrap();
    store.file = File::open("/dev/null").unwrap();
    let path = current::path(directory.path(), *disk.rewriting.get_mut().unwrap());
    drop(disk);
    // Sled still holds its own lock: it was not dropped, and did not sync.
    assert!(matches!(Store::open(&path), Err(OpenDiskError::Open { .. })));
}

#[test]
fn after_a_failed_sync_nothing_is_written_or_synced_any_more() {
    let directory = TempDir::new().unwrap();
    let mut disk = open(&directory);
    put(&disk, Area::Meta, b"k", b"v".to_vec()).unwrap();
    // A device that cannot be synced, in the place of the file.
    let store = Arc::get_mut(disk.store.get_mut().unwrap()).unwrap();
    let file = std::mem::replace(&mut store.file, File::open("/dev/null").unwrap());
    assert!(matches!(disk.sync(), Err(DiskError::Sync { source: Some(_) })));
    let store = Arc::get_mut(disk.store.get_mut().unwrap()).unwrap();
    store.file = file;
    assert!(matches!(disk.sync(), Err(DiskError::Sync { source: None })));
    assert!(matches!(put(&disk, Area::Meta, b"k", b"w".to_vec()), Err(DiskError::Sync { source: None })));
    assert_eq!(disk.read(Area::Meta, b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn a_value_beyond_every_limit_is_refused_and_the_disk_goes_on() {
    let directory = TempDir::new().unwrap();
    let disk = open(&directory);
    put(&disk, Area::Meta, b"k", vec![1; PARTS_MAX * PART_BYTES]).unwrap();
    assert!(put(&disk, Area::Meta, b"k", vec![2; PARTS_MAX * PART_BYTES + 1]).is_err());
    assert_eq!(disk.read(Area::Meta, b"k").unwrap(), Some(vec![1; PARTS_MAX * PART_BYTES]));
}

#[test]
fn a_lost_or_misplaced_part_is_damage_and_not_a_shorter_value() {
    let directory = TempDir::new().unwrap();
    let disk = open(&directory);
    put(&disk, Area::Meta, b"k", vec![1; 3 * PART_BYTES]).unwrap();
    disk.store.read().unwrap().tree.remove(part_key(Area::Meta, b"k", 1)).unwrap();
    assert!(matches!(disk.read(Area::Meta, b"k"), Err(DiskError::Damaged { .. })));
    assert!(matches!(disk.range(Area::Meta, b"", 9), Err(DiskError::Damaged { .. })));
    disk.store.read().unwrap().tree.remove(part_key(Area::Meta, b"k", 0)).unwrap();
    assert!(matches!(disk.range(Area::Meta, b"", 9), Err(DiskError::Damaged { .. })));
    assert!(matches!(disk.last(Area::Meta), Err(DiskError::Damaged { .. })));
}

#[test]
fn golden_keys_and_values_stay() {
    let directory = TempDir::new().unwrap();
    let disk = open(&directory);
    let value: Vec<u8> = [vec![1; PART_BYTES], vec![2]].concat();
    put(&disk, Area::Log, &258_u64.to_be_bytes(), value).unwrap();
    put(&disk, Area::Meta, b"m", vec![]).unwrap();
    let stored: Vec<_> = disk.store.read().unwrap().tree.iter().map(|pair| pair.unwrap()).collect();
    let stored: Vec<(&[u8], &[u8])> = stored.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    let first = [vec![2], vec![1; PART_BYTES]].concat();
    let expected: [(&[u8], &[u8]); 3] = [
        (&[1, b'm', 0, 0], &[1]),
        (&[2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0], &first),
        (&[2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 1], &[2]),
    ];
    assert_eq!(stored, expected);
}
