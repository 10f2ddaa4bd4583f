//! What a key's rules may be, and when they make its next version due.

use keyclave_types::key::KeyRules;
use keyclave_types::limits::{ROTATE_EVERY_MS_MAX, ROTATE_EVERY_MS_MIN, STALENESS_MS_MAX};
use keyclave_types::time::UnixMillis;

use crate::refusal::Refusal;

/// The rules, if they keep within their limits.
pub(crate) fn within_limits(rules: KeyRules) -> Result<KeyRules, Refusal> {
    if let Some(every_ms) = rules.rotate_every_ms
        && !(ROTATE_EVERY_MS_MIN..=ROTATE_EVERY_MS_MAX).contains(&every_ms)
    {
        return Err(Refusal::RotateEvery {
            min_ms: ROTATE_EVERY_MS_MIN,
            max_ms: ROTATE_EVERY_MS_MAX,
            found_ms: every_ms,
        });
    }
    if rules.staleness_max_ms > STALENESS_MS_MAX {
        return Err(Refusal::Staleness { max_ms: STALENESS_MS_MAX, found_ms: rules.staleness_max_ms });
    }
    Ok(rules)
}

/// When the version after one made at `made_at` falls due.
pub(crate) fn due_after(rules: &KeyRules, made_at: UnixMillis) -> Option<UnixMillis> {
    rules.rotate_every_ms.map(|every_ms| made_at.after(every_ms))
}

/// When the next version falls due after a rotation that was due at `due` is done at `now`: the next beat of the
/// same rhythm that lies ahead, so that a cluster that was down catches up once.
pub(crate) fn due_after_beat(rules: &KeyRules, due: UnixMillis, now: UnixMillis) -> Option<UnixMillis> {
    let every_ms = rules.rotate_every_ms?;
    let beats = now.since(due).checked_div(every_ms)?.saturating_add(1);
    Some(due.after(beats.saturating_mul(every_ms)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_outside_their_limits_are_refused() {
        let every = |ms| KeyRules { rotate_every_ms: Some(ms), ..KeyRules::default() };
        assert!(within_limits(every(ROTATE_EVERY_MS_MIN)).is_ok());
        assert!(within_limits(every(ROTATE_EVERY_MS_MAX)).is_ok());
        for wrong in [0, ROTATE_EVERY_MS_MIN - 1, ROTATE_EVERY_MS_MAX + 1, u64::MAX] {
            let refusal = within_limits(every(wrong)).unwrap_err();
            assert!(matches!(refusal, Refusal::RotateEvery { found_ms, .. } if found_ms == wrong));
        }
        let stale = |ms| KeyRules { staleness_max_ms: ms, ..KeyRules::default() };
        assert!(within_limits(stale(STALENESS_MS_MAX)).is_ok());
        assert!(within_limits(stale(STALENESS_MS_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn the_next_beat_lies_ahead_by_at_most_one_period(
            due in 0_u64..1 << 45, late in 0_u64..1 << 45, every in ROTATE_EVERY_MS_MIN..=ROTATE_EVERY_MS_MAX,
        ) {
            let rules = KeyRules { rotate_every_ms: Some(every), ..KeyRules::default() };
            let now = UnixMillis(due + late);
            let next = due_after_beat(&rules, UnixMillis(due), now).unwrap();
            prop_assert!(next > now && next.since(now) <= every);
            prop_assert_eq!((next.0 - due) % every, 0);
        }
    }
}
