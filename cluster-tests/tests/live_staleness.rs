//! Keys whose owners allow answers from an older confirmation, among real processes: they are served by a node that is
//! cut off, for as long as that was allowed and no longer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use cluster_tests::live::{Cluster, LiveError, until};
use keyclave_client::Client;
use keyclave_client::error::ReadError;
use keyclave_types::key::{Algorithm, KeyRules};
use keyclave_types::name::KeyName;
use tokio::time::{Instant, sleep_until};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(20);
/// The same at a node that is cut off, which gives a question to the leader up after 5 s.
const CUT_OFF_CALL: Duration = Duration::from_secs(6);

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

fn allowing(bound: Duration) -> KeyRules {
    KeyRules { staleness_max_ms: u64::try_from(bound.as_millis()).unwrap(), ..KeyRules::default() }
}

async fn create(client: &Client, key: &str, bound: Duration) {
    client.create_key(&name(key), Algorithm::Xaes256Gcm, allowing(bound)).await.unwrap();
}

async fn use_key(client: &Client, key: &str) -> Result<(), ReadError> {
    client.encrypt(&name(key), None, b"message", b"").await.map(drop)
}

/// The reason of a no.
fn reason(refused: Result<(), ReadError>) -> String {
    match refused {
        Err(ReadError::Refused(refusal)) => refusal.reason,
        other => panic!("not a no: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_serves_what_may_be_stale_within_the_bound_and_nothing_else()
-> Result<(), LiveError> {
    let bound = Duration::from_secs(8);
    let mut cluster = Cluster::founded(3).await?;
    let follower = cluster.leader().await? % 3 + 1;
    let here = cluster.client(follower)?.with_deadline(CUT_OFF_CALL);
    create(&here, "stale", bound).await;
    create(&here, "fresh", Duration::ZERO).await;
    for key in ["stale", "fresh"] {
        use_key(&here, key).await.unwrap();
    }
    for other in (1..=3).filter(|number| *number != follower) {
        cluster.server(other)?.stop()?;
    }
    let cut_off = Instant::now();
    use_key(&here, "stale").await.unwrap();
    assert!(cut_off.elapsed() < bound, "the machine was too slow for this to say anything");
    // Never from what was confirmed before, while the other still is.
    let (fresh, stale) = tokio::join!(use_key(&here, "fresh"), use_key(&here, "stale"));
    stale.unwrap();
    assert!(fresh.is_err(), "a key that allows no staleness was used without a confirmation");
    sleep_until(cut_off + bound).await;
    assert!(use_key(&here, "stale").await.is_err(), "used beyond what its owner allows");
    // And again once the others are back.
    for other in (1..=3).filter(|number| *number != follower) {
        cluster.server(other)?.go_on()?;
    }
    until("both keys in use again", CALL, async || {
        for key in ["stale", "fresh"] {
            use_key(&here, key).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_bound_has_passed_after_a_disable_nobody_acts_on_the_old_state() -> Result<(), LiveError> {
    let bound = Duration::from_secs(4);
    let mut cluster = Cluster::founded(3).await?;
    let follower = cluster.leader().await? % 3 + 1;
    let here = cluster.client(follower)?.with_deadline(CALL);
    let elsewhere = cluster.client_preferring(follower % 3 + 1)?.with_deadline(CALL);
    create(&here, "disabled", bound).await;
    create(&here, "kept", bound).await;
    use_key(&here, "disabled").await.unwrap();
    // What it confirmed last stands still with it, and its age goes on.
    cluster.server(follower)?.stop()?;
    elsewhere.disable_key(&name("disabled"), None).await.unwrap();
    let acknowledged = Instant::now();
    sleep_until(acknowledged + bound).await;
    cluster.server(follower)?.go_on()?;
    assert_eq!(reason(use_key(&here, "disabled").await), "KEY_DISABLED");
    use_key(&here, "kept").await.unwrap();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lowering_is_acknowledged_to_nobody_before_the_old_bound_has_passed() -> Result<(), LiveError> {
    // Longer than one attempt of a node at the leader.
    let bound = Duration::from_secs(7);
    let cluster = Cluster::founded(3).await?;
    let leader = cluster.leader().await?;
    let [first, second] = [leader % 3 + 1, (leader + 1) % 3 + 1];
    let first = cluster.client(first)?.with_deadline(CALL);
    let second = cluster.client(second)?.with_deadline(CALL);
    create(&first, "key", bound).await;
    let lowered = allowing(Duration::ZERO);

    // Through a follower; somebody else asks for the same meanwhile, through another.
    let begun = Instant::now();
    let name = name("key");
    let repeated = async {
        until("the lowered bound", CALL, async || {
            let key = second.get_key(&name).await.map_err(|error| error.to_string())?.value;
            if key.rules == lowered { Ok(()) } else { Err("still the old one".to_owned()) }
        })
        .await?;
        second.update_key(&name, lowered).await.unwrap();
        Ok::<_, LiveError>(begun.elapsed())
    };
    let lowering = async {
        first.update_key(&name, lowered).await.unwrap();
        begun.elapsed()
    };
    let (lowering, repeated) = tokio::join!(lowering, repeated);
    assert!(lowering >= bound && repeated? >= bound);

    // Another leader has not known it for so long, and waits.
    cluster.client(leader)?.with_deadline(CALL).step_down(None).await.unwrap();
    let begun = Instant::now();
    second.update_key(&name, lowered).await.unwrap();
    assert!(begun.elapsed() >= bound);
    Ok(())
}
