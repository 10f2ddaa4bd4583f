//! Which node is asked, for how long, and when the client gives up.

use std::sync::Arc;
use std::time::Duration;

use keyclave_client::Client;
use keyclave_client::dial::{Dial, DialError, Dialling};
use keyclave_client::endpoint::Endpoint;
use keyclave_client::error::{ReadError, Silence};
use keyclave_crypto::entropy::Entropy;
use keyclave_proto::reason::Reason;
use keyclave_types::name::KeyName;
use tokio::time::Instant;

use crate::scripted::{Memory, Node, Reply, client};

fn name() -> KeyName {
    "app/key".parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_reached_is_passed_over() {
    let up = Node::new(1);
    let client = client(Memory::of([("up", &up)]), &["down", "up"]);
    assert_eq!(client.get_key(&name()).await.unwrap().value.name, name());
    assert_eq!(up.methods(), ["GetKey"]);
    assert_eq!(up.calls()[0].authorization.as_deref(), Some("Bearer kcls_canary"));
}

#[tokio::test(start_paused = true)]
async fn a_sealed_node_sends_the_call_to_the_next_and_is_asked_last_afterwards() {
    let (sealed, open) = (Node::new(1), Node::new(2));
    sealed.will([Reply::Refuse(Reason::NodeSealed)]);
    let client = client(Memory::of([("a", &sealed), ("b", &open)]), &["a", "b"]);
    for _ in 0..3 {
        client.get_key(&name()).await.unwrap();
    }
    assert_eq!((sealed.calls().len(), open.calls().len()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_sealed_cluster_is_said_to_be_sealed_at_once() {
    let (a, b) = (Node::new(1), Node::new(2));
    for node in [&a, &b] {
        node.will([Reply::Refuse(Reason::NodeSealed)]);
    }
    let client = client(Memory::of([("a", &a), ("b", &b)]), &["a", "b"]);
    let began = Instant::now();
    assert!(matches!(client.get_key(&name()).await, Err(ReadError::Sealed)));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_cluster_is_passed_over_and_alone_it_is_not_waited_for() {
    let (fresh, up) = (Node::new(1), Node::new(2));
    fresh.will([Reply::Refuse(Reason::NotInitialized); 2]);
    client(Memory::of([("a", &fresh), ("b", &up)]), &["a", "b"]).get_key(&name()).await.unwrap();
    let began = Instant::now();
    let error = client(Memory::of([("a", &fresh)]), &["a"]).get_key(&name()).await.unwrap_err();
    assert!(matches!(error, ReadError::NoAnswer(_)), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_to_be_trusted_is_said_at_once() {
    struct Untrusted;
    impl Dial for Untrusted {
        fn dial(&self, _: &Endpoint) -> Dialling {
            Box::pin(async { Err(DialError::Certificate(rustls::CertificateError::UnknownIssuer.into())) })
        }
    }
    let client = Client::builder()
        .endpoint_list("https://a:1,https://b:1")
        .unwrap()
        .dial(Arc::new(Untrusted))
        .entropy(Entropy::from_seed([1; 32]))
        .build()
        .unwrap();
    let began = Instant::now();
    let error = client.get_key(&name()).await.unwrap_err();
    assert!(error.advice().contains("KEYCLAVE_CACERT"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn many_tasks_may_ask_at_once() {
    let node = Node::new(1);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get_key(&name()).await.is_ok() })
        })
        .collect();
    for answered in asked {
        assert!(answered.await.unwrap());
    }
    assert_eq!(node.calls().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_costs_one_attempt_and_not_the_call() {
    let (mute, up) = (Node::new(1), Node::new(2));
    mute.will([Reply::Hang]);
    let client = client(Memory::of([("a", &mute), ("b", &up)]), &["a", "b"]);
    let began = Instant::now();
    client.get_key(&name()).await.unwrap();
    assert!(began.elapsed() <= Duration::from_millis(4_100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_made_anew() {
    let node = Node::new(1);
    node.will([Reply::Answer, Reply::Break]);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    for _ in 0..2 {
        client.get_key(&name()).await.unwrap();
    }
    assert_eq!(node.calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_by_its_deadline_and_names_what_was_tried() {
    let mute = Node::new(1);
    mute.will([Reply::Hang; 100]);
    let client = client(Memory::of([("a", &mute)]), &["a", "nobody"]);
    let client = client.with_deadline(Duration::from_secs(10));
    let began = Instant::now();
    let Err(error @ ReadError::NoAnswer(_)) = client.get_key(&name()).await else { panic!() };
    assert!(began.elapsed() >= Duration::from_secs(10) && began.elapsed() < Duration::from_millis(10_100));
    let ReadError::NoAnswer(no_answer) = &error else { panic!() };
    assert!(no_answer.tried.iter().any(|(_, silence)| matches!(silence, Silence::Slow { .. })));
    assert!(no_answer.tried.iter().any(|(_, silence)| matches!(silence, Silence::Dial(_))));
    let text = error.to_string();
    assert!(text.contains("https://a:7420: no answer within"), "{text}");
    assert!(text.contains("https://nobody:7420: cannot connect"), "{text}");
    assert!(!error.advice().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_between_leaders_is_waited_for() {
    let (a, b) = (Node::new(1), Node::new(2));
    for node in [&a, &b] {
        node.will([Reply::Refuse(Reason::NoLeader); 4]);
    }
    let client = client(Memory::of([("a", &a), ("b", &b)]), &["a", "b"]);
    client.get_key(&name()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_every_node_would_refuse_is_asked_once() {
    let (a, b) = (Node::new(1), Node::new(2));
    a.will([Reply::Refuse(Reason::KeyNotFound)]);
    let client = client(Memory::of([("a", &a), ("b", &b)]), &["a", "b"]);
    let Err(error @ ReadError::Refused(_)) = client.get_key(&name()).await else { panic!() };
    assert!(error.advice().contains("key list"));
    let ReadError::Refused(refusal) = error else { panic!() };
    assert_eq!((refusal.reason.as_str(), refusal.code.as_str()), ("KEY_NOT_FOUND", "NotFound"));
    assert_eq!(refusal.position.unwrap().to_string(), "1.1");
    assert_eq!((a.calls().len(), b.calls().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_makes_no_sense_is_an_error() {
    let node = Node::new(1);
    node.will([Reply::Nonsense]);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    assert!(matches!(client.get_key(&name()).await, Err(ReadError::Answer(_))));
}

#[tokio::test(start_paused = true)]
async fn no_error_text_holds_the_token() {
    let node = Node::new(1);
    node.will([Reply::Refuse(Reason::Unauthenticated), Reply::Hang]);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    for _ in 0..2 {
        let error = client.get_key(&name()).await.unwrap_err();
        assert!(!format!("{error} {error:?} {}", error.advice()).contains("canary"));
    }
}
