//! What every [`Disk`] does, checked against a sorted map. Called by the tests of each one.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::disk::{Area, Batch, Disk, Pair};

const AREAS: [Area; 4] = [Area::Meta, Area::Log, Area::RecordsEven, Area::RecordsOdd];

type Model = BTreeMap<(Area, Vec<u8>), Vec<u8>>;
type Step = Vec<(usize, u8, Option<(u8, usize)>)>;

/// Runs random batches against fresh disks and compares everything that can be asked with a sorted map.
pub(crate) fn holds<D: Disk>(cases: u32, mut fresh: impl FnMut() -> D) {
    let value = prop::option::weighted(0.8, (any::<u8>(), sizes()));
    let batch = prop::collection::vec((0..AREAS.len(), 0_u8..12, value), 0..6);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let run = |steps: Vec<Step>| {
        let (disk, mut model) = (fresh(), Model::new());
        for step in &steps {
            write(&disk, &mut model, step);
            compare(&disk, &model)?;
        }
        disk.sync().unwrap();
        compare(&disk, &model)
    };
    let run = std::cell::RefCell::new(run);
    runner.run(&prop::collection::vec(batch, 0..12), |steps| run.borrow_mut()(steps)).unwrap();
}

/// Around the bounds between which a value is kept whole or in parts, empty and large ones included.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0_usize..40, 2 => 955_usize..965, 1 => 1915_usize..1925, 1 => Just(61_000)]
}

/// Keys as this room makes them: of one length in each area but [`Area::Meta`], where one may begin another.
fn key(area: Area, n: u8) -> Vec<u8> {
    match area {
        Area::Meta => b"slot/aaaaaaaaaaaa".iter().copied().take(5 + usize::from(n)).collect(),
        Area::Log => u64::from(n).to_be_bytes().to_vec(),
        Area::RecordsEven | Area::RecordsOdd => vec![n.wrapping_mul(0x2B); 16],
    }
}

fn write(disk: &impl Disk, model: &mut Model, step: &Step) {
    let mut batch = Batch::default();
    for (area, n, value) in step {
        let (area, key) = (AREAS[*area], key(AREAS[*area], *n));
        match value {
            Some((byte, size)) => {
                batch.put(area, &key, vec![*byte; *size]);
                model.insert((area, key), vec![*byte; *size]);
            }
            None => {
                batch.delete(area, &key);
                model.remove(&(area, key));
            }
        }
    }
    disk.write(batch).unwrap();
}

fn compare(disk: &impl Disk, model: &Model) -> Result<(), TestCaseError> {
    for area in AREAS {
        let stands: Vec<Pair> = model
            .iter()
            .filter(|((at, _), _)| *at == area)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        prop_assert_eq!(&disk.range(area, &[], usize::MAX).unwrap(), &stands);
        prop_assert_eq!(disk.last(area).unwrap(), stands.last().cloned());
        for n in 0..12 {
            let key = key(area, n);
            prop_assert_eq!(disk.read(area, &key).unwrap(), model.get(&(area, key.clone())).cloned());
            let after = [key.as_slice(), &[0]].concat();
            for (from, limit) in [(&key, 2), (&after, 2), (&after, 100)] {
                let expected: Vec<Pair> =
                    stands.iter().filter(|(key, _)| key >= from).take(limit).cloned().collect();
                prop_assert_eq!(disk.range(area, from, limit).unwrap(), expected);
            }
        }
    }
    Ok(())
}
