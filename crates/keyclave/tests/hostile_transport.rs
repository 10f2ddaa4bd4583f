//! A real server process under attacks on its transport, while an honest client goes on: each of
//! its calls is answered, the process lives, and its memory stays within its bound.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

#[path = "hostile/attacks.rs"]
mod attacks;
#[path = "hostile/frames.rs"]
mod frames;
#[path = "hostile/target.rs"]
mod target;

use target::{Honest, Target, key};

/// What an attack may cost at most.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Panics if the server has grown too much since `before`, or answers an honest client no more.
async fn stands(honest: &Honest, target: &Target, before: u64, attack: &str) {
    honest.answered(20).await;
    let growth = honest.peak().max(target.resident()).saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{attack} costs {growth} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_client_is_answered_and_memory_is_bounded_under_each_attack() {
    // The attacker has as many descriptors as the server.
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = files.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, files).unwrap();
    let target = Target::start().await;
    let honest = target.honest();
    honest.answered(300).await;
    honest.peak();
    let before = target.resident();

    let unread = attacks::unread_answers(&target).await;
    let mute = attacks::mute_connections(&target, 3_000).await;
    assert!(mute.len() > 2_000, "only {} connections were open", mute.len());
    for _ in 0..10 {
        // A new connection gets through as well, not only one that was there before.
        target.client().encrypt(&key(), None, b"x", b"").await.unwrap();
    }
    stands(&honest, &target, before, "mute connections").await;
    drop(mute);

    let noise: Vec<u8> = (0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for _ in 0..10 {
        attacks::not_http2(&target, &noise).await;
        attacks::not_http2(&target, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        attacks::not_http2(&target, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff")
            .await;
    }
    stands(&honest, &target, before, "what is not HTTP/2").await;

    attacks::bodies_of_strangers(&target, None).await;
    attacks::bodies_of_strangers(&target, Some("x")).await;
    stands(&honest, &target, before, "bodies of strangers").await;
    attacks::bodies_to_the_open_door(&target).await;
    stands(&honest, &target, before, "bodies to the open door").await;

    attacks::gzip_bombs(&target).await;
    stands(&honest, &target, before, "compressed bodies").await;
    drop(attacks::unread_refusals(&target, 200, 250).await);
    stands(&honest, &target, before, "refusals that nobody reads").await;
    drop(attacks::unread_refusals(&target, 1_024, 8).await);
    stands(&honest, &target, before, "as many connections as one address may have").await;

    attacks::rapid_reset(&target).await;
    stands(&honest, &target, before, "rapid reset").await;
    attacks::continuation_flood(&target).await;
    stands(&honest, &target, before, "headers without end").await;
    attacks::header_bomb(&target).await;
    stands(&honest, &target, before, "one header named many times").await;
    attacks::empty_data(&target).await;
    stands(&honest, &target, before, "empty frames").await;
    attacks::ping_flood(&target).await;
    stands(&honest, &target, before, "pings").await;
    attacks::settings_flood(&target).await;
    stands(&honest, &target, before, "settings").await;
    attacks::wrong_windows(&target).await;
    stands(&honest, &target, before, "wrong windows").await;
    attacks::is_ended(unread).await;
    honest.end().await;
    assert!(target.log_holds("started"), "the log is somewhere else");
    assert!(!target.log_holds("panicked"), "the server panicked");
}
