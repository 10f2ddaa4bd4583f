//! Shares: only to a compared key, only encrypted, and for what they were given.

use keyclave_client::seal::{GivenShare, ShareError, ShareOutcome, ShareTerms};
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::hpke;
use keyclave_crypto::labels::SHARE_TO_NODE;
use keyclave_crypto::secret::Secret;
use keyclave_crypto::shamir;
use keyclave_proto::share_terms::{self, SubmitTerms, Vouched};
use keyclave_types::ids::{CeremonyId, NodeId};
use keyclave_types::seal::Threshold;

use crate::scripted::{CEREMONY, Memory, Node, client};

fn share_text() -> String {
    let root = Secret::from_fn("root", |bytes| bytes.fill(7));
    let mut entropy = Entropy::from_seed([9; 32]);
    let shares = shamir::split(&root, Threshold::new(2, 3).unwrap(), &mut entropy);
    shares[0].to_text().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_share_arrives_readable_only_for_the_process_whose_code_was_compared() {
    let (node, other) = (Node::new(1), Node::new(2));
    let client = client(Memory::of([("a", &node)]), &["a"]);
    let key = client.seal_status().await.unwrap().this_node.boot_key.unwrap();
    let read_on_the_machine = hpke::code(&node.boot_key().public());
    let compared = key.compare(&read_on_the_machine).unwrap();

    let share = GivenShare::parse(&share_text()).unwrap();
    let vouched = (NodeId::new(3).unwrap(), read_on_the_machine);
    let terms = ShareTerms { vouch_for: Some(vouched.clone()), admit_all_members: false };
    let answer = client.submit_share(&share, &compared, terms).await.unwrap();
    assert_eq!((answer.outcome, answer.share_number), (ShareOutcome::Taken, 1));

    let sent = node.shares().remove(0);
    assert_eq!((sent.node, sent.admit_all_members), (3, false));
    let open = |key: &hpke::BootKey, terms: share_terms::ShareTerms| {
        key.open(SHARE_TO_NODE, &terms.to_bytes(), &sent.encrypted_share)
    };
    let vouch_for = Some(Vouched { node: vouched.0, code: vouched.1 });
    let terms = SubmitTerms { ceremony: CEREMONY, vouch_for, admit_all_members: false };
    let submit = share_terms::ShareTerms::Submit;
    let opened = open(node.boot_key(), submit(terms.clone())).unwrap();
    assert_eq!(opened.as_slice(), share_text().as_bytes());
    assert!(open(other.boot_key(), submit(terms.clone())).is_err());
    // Nobody on the way can change what it was given for, nor give it to another ceremony.
    let later = CeremonyId::from_bytes([1; 16]);
    assert!(open(node.boot_key(), submit(SubmitTerms { admit_all_members: true, ..terms.clone() })).is_err());
    assert!(open(node.boot_key(), submit(SubmitTerms { vouch_for: None, ..terms.clone() })).is_err());
    assert!(open(node.boot_key(), submit(SubmitTerms { ceremony: later, ..terms })).is_err());
    assert!(open(node.boot_key(), share_terms::ShareTerms::Reset(CEREMONY)).is_err());
}

#[tokio::test(start_paused = true)]
async fn when_the_code_differs_nothing_is_sent() {
    let (node, thief) = (Node::new(1), Node::new(2));
    let client = client(Memory::of([("a", &thief)]), &["a"]);
    let key = client.seal_status().await.unwrap().this_node.boot_key.unwrap();
    let read_on_the_machine = hpke::code(&node.boot_key().public());
    let differs = key.compare(&read_on_the_machine).unwrap_err();
    assert_eq!(differs.shown, hpke::code(&thief.boot_key().public()));
    assert_eq!(thief.methods(), ["GetSealStatus"]);
}

#[tokio::test(start_paused = true)]
async fn the_machines_own_socket_needs_no_comparison() {
    let node = Node::new(1);
    let client = client(Memory::of([("a", &node)]), &["a"]);
    let (code, key) = client.local_code().await.unwrap();
    assert_eq!(code, hpke::code(&node.boot_key().public()));
    let share = GivenShare::parse(&share_text()).unwrap();
    client.submit_share(&share, &key, ShareTerms::default()).await.unwrap();
    assert_eq!(node.shares().len(), 1);
}

#[test]
fn a_mistyped_share_is_named_before_anything_is_sent_and_never_quoted() {
    let text = share_text();
    for wrong in [&text[..text.len() - 1], "", "kcsh1-", &text.replacen('-', "x", 1), &format!("{text}a")] {
        let Err(error @ ShareError::Text(_)) = GivenShare::parse(wrong) else { panic!("{wrong}") };
        assert!(wrong.len() < 10 || !format!("{error} {error:?}").contains(&wrong[8..]));
    }
}
