//! Positions: what was seen is the floor of what is asked next.

use keyclave_client::error::ReadError;
use keyclave_types::name::KeyName;
use keyclave_types::position::{Generation, Position};

use crate::scripted::{Memory, Node, client};

fn name() -> KeyName {
    "app/key".parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_read_is_asked_no_older_than_the_one_before() {
    let node = Node::new(1);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    for index in [9, 4, 12] {
        node.stand_at(1, index);
        client.get_key(&name()).await.unwrap();
    }
    client.clone().get_key(&name()).await.unwrap();
    let floors: Vec<_> = node.calls().iter().map(|call| call.floor).collect();
    assert_eq!(floors, [None, Some((1, 9)), Some((1, 9)), Some((1, 12))]);
    assert_eq!(client.position().unwrap().to_string(), "1.12");
}

#[tokio::test(start_paused = true)]
async fn a_position_from_elsewhere_is_a_floor_too() {
    let node = Node::new(1);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    client.see(Position { generation: Generation(1), index: 40 }).unwrap();
    client.get_key(&name()).await.unwrap();
    assert_eq!(node.calls()[0].floor, Some((1, 40)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_restored_cluster_is_no_answer_until_that_is_accepted() {
    let node = Node::new(1);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    client.get_key(&name()).await.unwrap();
    node.stand_at(2, 100);
    assert!(matches!(client.get_key(&name()).await, Err(ReadError::OtherGeneration(_))));
    client.forget_position();
    assert_eq!(client.get_key(&name()).await.unwrap().position.to_string(), "2.100");
}
