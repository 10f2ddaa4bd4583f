//! Writes: sent as often as needed under one request id, and never said to be undone when they may have been done.

use std::time::Duration;

use keyclave_client::error::{OnceError, WriteError};
use keyclave_proto::reason::Reason;
use keyclave_types::ids::RequestId;
use keyclave_types::name::KeyName;
use keyclave_types::seal::Threshold;
use tokio::time::Instant;

use crate::scripted::{Memory, Node, Reply, client};

fn name() -> KeyName {
    "app/key".parse().unwrap()
}

fn request_ids(node: &Node) -> Vec<Vec<u8>> {
    let rotations = node.calls().into_iter().filter(|call| call.method == "RotateKey");
    rotations.map(|call| call.request_id).collect()
}

#[tokio::test(start_paused = true)]
async fn a_repeated_write_carries_the_same_request_id_everywhere() {
    let (a, b) = (Node::new(1), Node::new(2));
    a.will([Reply::Answer, Reply::Break]);
    b.will([Reply::Refuse(Reason::OutcomeUnknown)]);
    let client = client(Memory::of([("a", &a), ("b", &b)]), &["a", "b"]);
    client.rotate_key(&name()).await.unwrap();
    let mut ids = request_ids(&a);
    ids.extend(request_ids(&b));
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0] && id.len() == 16));
}

#[tokio::test(start_paused = true)]
async fn two_writes_never_share_an_id_and_begin_with_the_position_seen() {
    let node = Node::new(1);
    node.stand_at(1, 258);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    client.rotate_key(&name()).await.unwrap();
    client.rotate_key(&name()).await.unwrap();
    assert_eq!(node.methods(), ["GetSealStatus", "RotateKey", "RotateKey"]);
    let ids = request_ids(&node);
    assert_ne!(ids[0], ids[1]);
    for id in ids {
        assert_eq!(RequestId::from_bytes(id.try_into().unwrap()).index(), 258);
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_too_old_is_renewed_once_when_nothing_was_done_under_it() {
    let node = Node::new(1);
    node.will([Reply::Answer, Reply::Refuse(Reason::RequestIdOld)]);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    client.get_key(&name()).await.unwrap();
    node.stand_at(1, 900);
    client.rotate_key(&name()).await.unwrap();
    let ids = request_ids(&node);
    let index = |id: &Vec<u8>| RequestId::from_bytes(id.as_slice().try_into().unwrap()).index();
    assert_eq!(ids.iter().map(index).collect::<Vec<_>>(), [1, 900]);
}

#[tokio::test(start_paused = true)]
async fn an_id_too_old_is_not_renewed_when_something_may_have_been_done_under_it() {
    let node = Node::new(1);
    node.will([Reply::Answer, Reply::Break, Reply::Refuse(Reason::RequestIdOld)]);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    let Err(WriteError::OutcomeUnknown { request_id, .. }) = client.rotate_key(&name()).await else {
        panic!()
    };
    let ids = request_ids(&node);
    assert_eq!(ids.len(), 2);
    assert!(ids.iter().all(|id| id == request_id.as_bytes()));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_names_the_id_to_repeat_it_under() {
    let node = Node::new(1);
    node.will([Reply::Answer]);
    node.will([Reply::Hang; 10]);
    let client = client(Memory::of([("a", &node)]), &["a"]).with_deadline(Duration::from_secs(2));
    let began = Instant::now();
    let Err(WriteError::OutcomeUnknown { request_id, .. }) = client.rotate_key(&name()).await else {
        panic!()
    };
    assert!(began.elapsed() < Duration::from_millis(2_100));
    node.will([]);
    let repeated = Node::new(2);
    let again = crate::scripted::client(Memory::of([("b", &repeated)]), &["b"]);
    again.with_request_id(request_id).rotate_key(&name()).await.unwrap();
    assert_eq!(request_ids(&repeated), [request_id.as_bytes().to_vec()]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_no_node_took_is_said_to_be_undone() {
    let node = Node::new(1);
    node.will([Reply::Answer]);
    node.will([Reply::Refuse(Reason::NoLeader); 1000]);
    let client = client(Memory::of([("a", &node)]), &["a", "down"]).with_deadline(Duration::from_secs(2));
    assert!(matches!(client.rotate_key(&name()).await, Err(WriteError::NotDone(_))));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_also_after_an_attempt_of_unknown_outcome_unless_it_came_before_the_id() {
    for (reason, refused) in [(Reason::KeyExists, true), (Reason::Unauthenticated, false)] {
        let node = Node::new(1);
        node.will([Reply::Answer, Reply::Break, Reply::Refuse(reason)]);
        let client = client(Memory::of([("a", &node)]), &["a"]);
        let error = client.rotate_key(&name()).await.unwrap_err();
        assert_eq!(matches!(error, WriteError::Refused(_)), refused, "{error:?}");
        assert_eq!(matches!(error, WriteError::OutcomeUnknown { .. }), !refused, "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_no_request_id_is_not_sent_twice_once_it_may_have_been_done() {
    let node = Node::new(1);
    node.will([Reply::Break]);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    let threshold = Threshold::new(3, 5).unwrap();
    let error = client.init(threshold, Default::default()).await.err().unwrap();
    assert!(matches!(error, OnceError::OutcomeUnknown(_)), "{error:?}");
    assert_eq!(node.methods(), ["Init"]);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_request_id_is_sent_again_when_it_was_not_taken() {
    let (a, b) = (Node::new(1), Node::new(2));
    a.will([Reply::Refuse(Reason::NodeSealed)]);
    let client = client(Memory::of([("a", &a), ("b", &b)]), &["down", "a", "b"]);
    // The scripted node names no leader: the answer is refused, but the call went through.
    assert!(matches!(client.step_down(None).await, Err(OnceError::Answer(_))));
    assert_eq!((a.methods(), b.methods()), (vec!["StepDown"], vec!["StepDown"]));
}
