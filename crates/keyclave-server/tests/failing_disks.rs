//! Disks that are full, fail or do not answer, under a server's own pipeline: nothing is answered that is not on record,
//! in time, and nothing is lost that was acknowledged.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::time::{Duration, Instant};

use keyclave_audit::trail::RECORD_DEADLINE;
use keyclave_client::Client;
use keyclave_client::audit::AuditQuery;
use keyclave_client::cluster::NewCluster;
use keyclave_client::error::ReadError;
use keyclave_client::seal::SealState;
use keyclave_proto::reason::Reason;
use keyclave_proto::status::Details;
use keyclave_proto::v1;
use keyclave_types::key::Algorithm;
use keyclave_types::name::KeyName;
use prost::Message;
use support::disks::{Disks, Does};
use support::raw::{call, channel};
use support::{Server, found, within};
use tonic::transport::Channel;
use tonic::{Code, Status};

const ENCRYPT: &str = "/keyclave.v1.CryptoService/Encrypt";
const CREATE_KEY: &str = "/keyclave.v1.KeyService/CreateKey";
const GET_KEY: &str = "/keyclave.v1.KeyService/GetKey";
/// What a busy machine may take beyond the trail's own deadline.
const BUSY: Duration = Duration::from_secs(5);
/// What a process may grow by while its disk does not answer.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A node of its own on disks that do what they are told, unsealed, with a key `app/k`.
struct Bench {
    server: Server,
    disks: Disks,
    founded: NewCluster,
    admin: Client,
    channel: Channel,
    _root: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let disks = Disks::default();
        let server = Server::on(root.path().join("1"), &disks);
        let founded = found(&server).await;
        let admin = server.client(&founded, Some(&founded.root_token));
        admin.create_key(&key(), Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
        let channel = channel(&format!("https://{}", server.clients), &founded.ca_pem).await;
        Self { server, disks, founded, admin, channel, _root: root }
    }

    /// One call as it is, not repeated; how it was refused, and after how long.
    async fn refused(&self, path: &'static str, message: Vec<u8>) -> (Status, Duration) {
        let begun = Instant::now();
        let answer = call(self.channel.clone(), path, Some(&self.founded.root_token), message).await;
        (answer.expect_err("something was answered"), begun.elapsed())
    }

    /// Everything that was asked is refused in time, for want of a record.
    async fn refuses_everything(&self) {
        for (path, message) in
            [(ENCRYPT, encrypt()), (GET_KEY, get_key()), (CREATE_KEY, create_key("app/never"))]
        {
            let (status, took) = self.refused(path, message).await;
            assert_eq!(status.code(), Code::Unavailable, "{path}: {status:?}");
            assert_eq!(
                Details::of(&status).known_reason(),
                Some(Reason::AuditUnavailable),
                "{path}: {status:?}"
            );
            assert!(took < RECORD_DEADLINE + BUSY, "{path} took {took:?}");
        }
        // A no is an answer too.
        let nobody = call(self.channel.clone(), GET_KEY, None, get_key()).await.unwrap_err();
        assert_eq!(nobody.code(), Code::Unavailable, "{nobody:?}");
    }

    /// It serves, and nothing came of what was refused.
    async fn has_recovered(&self) {
        self.admin.encrypt(&key(), None, b"x", b"").await.unwrap();
        let never = self.admin.get_key(&"app/never".parse().unwrap()).await.unwrap_err();
        assert!(matches!(&never, ReadError::Refused(no) if no.reason == "KEY_NOT_FOUND"), "{never:?}");
    }

    async fn recorded(&self, operation: &str, outcome: &str) -> usize {
        let query = AuditQuery { operation: Some(operation.to_owned()), ..Default::default() };
        let found = self.admin.search_audit(query).await.unwrap().value.records;
        found.iter().filter(|record| record.outcome == outcome).count()
    }

    /// Ends by itself; why.
    async fn ends(&mut self) -> String {
        let ended = within(Duration::from_secs(30), self.server.wait()).await;
        let error = ended.expect_err("it must not end as if it had been told to");
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(found) = cause {
            text.push_str(": ");
            text.push_str(&found.to_string());
            cause = found.source();
        }
        text
    }

    /// The process starts again on its disks, which work.
    async fn start_again(&mut self) {
        self.disks.ledger_does.turn_to(Does::Work);
        self.disks.trail.does.turn_to(Does::Work);
        self.server.begin_on(&self.disks);
        let operator = self.server.operator().await;
        let state = within(Duration::from_secs(30), async {
            loop {
                match operator.seal_status().await {
                    Ok(status) => break status.this_node.state,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        if state.await != SealState::Unsealed {
            support::give_shares(&self.server, &self.founded, 2).await;
        }
        self.server.until_unsealed().await;
    }
}

fn key() -> KeyName {
    "app/k".parse().unwrap()
}

fn encrypt() -> Vec<u8> {
    let plaintext = vec![7; 32 * 1024];
    v1::EncryptRequest { key_name: "app/k".to_owned(), plaintext, ..Default::default() }.encode_to_vec()
}

fn get_key() -> Vec<u8> {
    v1::GetKeyRequest { name: "app/k".to_owned(), ..Default::default() }.encode_to_vec()
}

fn create_key(name: &str) -> Vec<u8> {
    // An id of this name alone, from before anything was written.
    let mut request_id = vec![0; 16];
    request_id.splice(10..16, name.bytes().rev().take(6));
    v1::CreateKeyRequest { name: name.to_owned(), request_id, ..Default::default() }.encode_to_vec()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_trail_s_disk_is_full_nothing_is_answered_and_with_room_it_goes_on() {
    let mut bench = Bench::new().await;
    bench.disks.trail.does.turn_to(Does::Full);
    bench.refuses_everything().await;
    bench.disks.trail.does.turn_to(Does::Work);
    bench.has_recovered().await;
    assert_eq!(bench.recorded("CreateKey", "OK").await, 1, "the key that was made before");
    within(Duration::from_secs(20), bench.server.end()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_trail_s_disk_does_not_answer_callers_are_refused_in_time_and_memory_is_bounded() {
    let mut bench = Bench::new().await;
    let before = resident_bytes();
    bench.disks.trail.does.turn_to(Does::Block);
    let mut calls = Vec::new();
    for _ in 0..3 {
        let channel = channel(&format!("https://{}", bench.server.clients), &bench.founded.ca_pem).await;
        calls.extend((0..100).map(|_| {
            let (channel, token) = (channel.clone(), bench.founded.root_token.to_string());
            tokio::spawn(async move { call(channel, ENCRYPT, Some(&token), encrypt()).await })
        }));
    }
    bench.refuses_everything().await;
    for call in calls {
        let status = call.await.unwrap().expect_err("a ciphertext left without its record");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    let growth = resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes were held");
    bench.disks.trail.does.turn_to(Does::Work);
    bench.has_recovered().await;
    within(Duration::from_secs(20), bench.server.end()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trail_that_cannot_be_synced_ends_the_process_which_says_why_and_answers_nothing_more() {
    let mut bench = Bench::new().await;
    bench.disks.trail.does.turn_to(Does::FailSync);
    let (status, _) = bench.refused(ENCRYPT, encrypt()).await;
    assert_ne!(status.code(), Code::Ok);
    let why = bench.ends().await;
    assert!(why.contains("the audit trail could not be made durable: Input/output error"), "{why}");
    let (_, _) = bench.refused(GET_KEY, get_key()).await;
    bench.disks.trail.files.cut_power();
    bench.start_again().await;
    bench.has_recovered().await;
    within(Duration::from_secs(20), bench.server.end()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_is_full_or_cannot_be_synced_ends_the_process_which_says_why_and_acknowledges_nothing()
{
    for (does, said) in [(Does::Full, "No space left on device"), (Does::FailSync, "Input/output error")] {
        let mut bench = Bench::new().await;
        bench.disks.ledger_does.turn_to(does);
        let (status, _) = bench.refused(CREATE_KEY, create_key("app/never")).await;
        assert_ne!(status.code(), Code::Ok);
        let why = bench.ends().await;
        assert!(why.contains(said), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_ledger_s_disk_does_not_answer_no_write_is_acknowledged_and_callers_have_their_answer_in_time()
 {
    let mut bench = Bench::new().await;
    let impatient = bench.admin.with_deadline(Duration::from_secs(1));
    bench.disks.ledger_does.turn_to(Does::Block);
    let name = "app/waits".parse().unwrap();
    for _ in 0..3 {
        let begun = Instant::now();
        let refused = impatient.create_key(&name, Algorithm::Xaes256Gcm, Default::default()).await;
        assert!(refused.is_err(), "a write was acknowledged that no disk holds");
        assert!(begun.elapsed() < Duration::from_secs(1) + BUSY, "it took {:?}", begun.elapsed());
    }
    bench.disks.ledger_does.turn_to(Does::Work);
    // What was not acknowledged may have been done all the same, once.
    within(Duration::from_secs(30), async {
        while bench.admin.get_key(&name).await.is_err() {
            let _ = bench.admin.create_key(&name, Algorithm::Xaes256Gcm, Default::default()).await;
        }
    })
    .await;
    assert_eq!(bench.admin.get_key(&name).await.unwrap().value.versions.len(), 1);
    bench.admin.encrypt(&key(), None, b"x", b"").await.unwrap();
    within(Duration::from_secs(20), bench.server.end()).await.unwrap();
}
