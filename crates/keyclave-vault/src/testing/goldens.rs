//! The bytes of every stored body. A test here that breaks means a new format byte, not a new golden.

use data_encoding::HEXLOWER;
use keyclave_types::envelope::{Stored, decode, encode};
use keyclave_types::identity::{CertificateNames, TokenBinding};
use keyclave_types::key::{Algorithm, KeyRules, KeyState, VersionOrigin, VersionState};
use keyclave_types::member::{Removed, RemovedNode};

use super::*;
use crate::records::RecordName;
use crate::records::access::*;
use crate::records::cluster::*;
use crate::records::foreign::*;
use crate::records::key::*;
use crate::records::plain::*;
use crate::records::request::{Horizon, Outcome as Kept, RequestOutcome};

fn golden<T: Stored>(body: &T, hex: &str) {
    let bytes = encode(body);
    assert_eq!(HEXLOWER.encode(&bytes), hex, "{}", std::any::type_name::<T>());
    assert_eq!(encode(&decode::<T>(&bytes).unwrap()), bytes);
}

#[test]
fn golden_bytes_of_keys_stay() {
    let meta = KeyMeta {
        name: name("a/b"),
        id: KeyId::from_bytes([0xaa; 16]),
        algorithm: Algorithm::Aes256Gcm,
        state: KeyState::Disabled,
        created_at: UnixMillis(1),
        rules: KeyRules { rotate_every_ms: Some(60_000), ..KeyRules::default() },
        rotates_at: Some(UnixMillis(2)),
        oldest: version(3),
        newest: version(4),
        newest_created_at: UnixMillis(5),
        staleness_before_ms: 6,
    };
    golden(&meta, "0203612f62aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01010101fbea60000000010203040506");
    let entry = VersionMeta {
        state: VersionState::Destroyed,
        created_at: UnixMillis(1),
        origin: VersionOrigin::Scheduled { due: UnixMillis(2) },
        destroyed_at: Some(UnixMillis(3)),
        destroyed_after: Some(4),
    };
    let page = VersionPage { key: KeyId::from_bytes([0xaa; 16]), page: 1, versions: vec![entry] };
    golden(&page, "02aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01010201020201030104");
    let usage = Usage { key: KeyId::from_bytes([0xaa; 16]), version: version(2), reserved: 1 << 20 };
    golden(&usage, "01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa02fc00100000");
}

#[test]
fn golden_bytes_of_access_stay() {
    let token = TokenRecord {
        id: TokenId([0xab; 12]),
        subject: user("root"),
        credential_epoch: 3,
        mac: [0xcd; 32],
        mac_key: 1,
        created_at: UnixMillis(1),
        expires_at: None,
        renewal: Some(Renewal { lifetime_ms: 2, until: UnixMillis(3) }),
        binding: TokenBinding::Identity("root:r:a.example".parse().unwrap()),
        sources: ["10.0.0.0/8".parse().unwrap()].into(),
        by_login: None,
    };
    golden(
        &token,
        "03abababababababababababab0004726f6f7403cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd010100010203020001720109612e6578616d706c65010a31302e302e302e302f3800",
    );
    let subject = SubjectRecord {
        subject: service("s"),
        groups: ["g".parse().unwrap()].into(),
        roles: roles(&["reader@a/"]),
        credential_epoch: 3,
        created_at: UnixMillis(1),
    };
    golden(&subject, "01010173010167010972656164657240612f0301");
    golden(&GroupRecord { name: "g".parse().unwrap(), roles: roles(&["reader"]) }, "0101670106726561646572");
    let policy = PolicyRecord { name: "p".parse().unwrap(), text: "x".to_owned(), put_at: UnixMillis(1) };
    golden(&policy, "010170017801");
    golden(&AccessFloor { approvals_min: 2 }, "0102");
    golden(
        &AccessHead { count: 1, digest: [0xcd; 32] },
        "0101cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
    );
    let join = JoinToken {
        id: TokenId([0xab; 12]),
        mac: [0xcd; 32],
        mac_key: 1,
        created_at: UnixMillis(1),
        expires_at: UnixMillis(2),
        joined: Some(Joined {
            incarnation: Incarnation::from_bytes([0xee; 16]),
            key: NodePublicKey([0xff; 32]),
            node: node(2),
        }),
    };
    golden(
        &join,
        "01ababababababababababababcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd01010201eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff02",
    );
}

#[test]
fn golden_bytes_of_identities_stay() {
    let root = ClientRootRecord {
        name: "r".parse().unwrap(),
        names: CertificateNames::Dns,
        certificates: vec![vec![1, 2]],
    };
    golden(&root, "0101720101020102");
    let issuer = IssuerRecord {
        name: "i".parse().unwrap(),
        issuer: "x".to_owned(),
        audience: "y".to_owned(),
        algorithms: ["EdDSA".parse().unwrap()].into(),
        keys: "z".to_owned(),
    };
    golden(&issuer, "010169017801790108017a");
    let identity = IdentityRecord {
        identity: "issuer:i:s".parse().unwrap(),
        subject: service("s"),
        credential_epoch: 3,
    };
    golden(&identity, "01010169017301017303");
}

#[test]
fn golden_bytes_of_the_cluster_stay() {
    let incarnation = Incarnation::from_bytes([0xee; 16]);
    golden(&NodeCounter { last: node(3) }, "0103");
    let record =
        NodeRecord { node: node(3), incarnation, key: NodePublicKey([0xff; 32]), joined_at: UnixMillis(1) };
    golden(
        &record,
        "0103eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff01",
    );
    let restart = RestartKey { node: node(3), incarnation, public: [0xff; 32], since: UnixMillis(1) };
    golden(
        &restart,
        "0103eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff01",
    );
    let code = "ABCDEFGHIJKLMNOPQRSTUVWXY".parse().unwrap();
    golden(
        &Admission { node: node(3), code, since: UnixMillis(1) },
        "01031d41424344452d464748494a2d4b4c4d4e4f2d50515253542d555657585901",
    );
    golden(&ClusterTime { at: UnixMillis(300) }, "01fb012c");
    let rules = RejoinRules { policy: RejoinPolicy::Members, members_until: Some(UnixMillis(1)) };
    golden(&rules, "01010101");
    golden(&CaRecord { certificate: vec![1, 2] }, "01020102");
    golden(&RewritingOrder { number: 2, at: UnixMillis(1) }, "010201");
    let rewritten = Rewritten { node: node(3), incarnation, number: 2, index: 300, at: UnixMillis(1) };
    golden(&rewritten, "0103eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee02fb012c01");
    let anchor = AuditAnchor {
        node: node(3),
        incarnation,
        sequence: 4,
        hash: [0xff; 32],
        tree: None,
        at: UnixMillis(1),
    };
    golden(
        &anchor,
        "0203eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee04ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff0001",
    );
    let hold = TrailHold { by: user("ada"), reason: "a".to_owned(), since: UnixMillis(1) };
    golden(&TrailRules { keep_ms: Some(300), hold: Some(hold) }, "0101fb012c010003616461016101");
    golden(&TrailRules::default(), "010000");
    let kept = KeptTrail {
        node: node(3),
        incarnation,
        segment: 2,
        sequence: 4,
        hash: [0xff; 32],
        at: UnixMillis(1),
    };
    golden(
        &kept,
        "0103eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee0204ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff01",
    );
    let tree = AnchoredTree { begins: 2, leaves: 3, root: [0xdd; 32] };
    golden(
        &AuditAnchor { tree: Some(tree), ..anchor },
        "0203eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee04ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
         010203dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd01",
    );
}

#[test]
fn golden_bytes_of_plain_and_request_records_stay() {
    golden(
        &WriterKey { public: [0xff; 32] },
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    );
    golden(
        &Formats { cluster: CLUSTER, generation: Generation(1), version_min: 1 },
        "01c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c10101",
    );
    golden(&SealMark { since: UnixMillis(1) }, "0101");
    let gone = RemovedNode { node: node(3), key: NodePublicKey([0xee; 32]) };
    golden(
        &Removed { nodes: vec![gone] },
        "010103eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
    );
    golden(&Certificate { chain: vec![vec![1], vec![2, 3]] }, "01020101020203");
    golden(&Horizon { index: 300 }, "01fb012c");
    let outcome = RequestOutcome {
        request: RequestId::at(1, [2; 8]),
        digest: [0xcd; 32],
        arrived_at: node(3),
        at: UnixMillis(1),
        outcome: Kept::TokenMade(TokenId([0xab; 12])),
    };
    golden(
        &outcome,
        "0100000000000000010202020202020202cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd030101abababababababababababab",
    );
    let upkeep = Upkeep::ReserveUses { name: name("a"), version: version(2) };
    golden(&upkeep, "020b016102");
}

#[test]
fn every_kind_has_a_number_of_its_own_and_is_tried() {
    use crate::records::RecordKind;
    let mut numbers: Vec<u8> = RecordKind::LIKELY_FIRST.iter().map(|kind| kind.number()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=26).chain(30..=34).collect::<Vec<_>>());
}

#[test]
fn the_bytes_of_names_stay() {
    let key = KeyId::from_bytes([0xaa; 16]);
    let (root, claim) = ("r".parse().unwrap(), "issuer:i:s".parse().unwrap());
    for (record, number, expected) in [
        (RecordName::ClientRoot(&root), 24, "72".to_owned()),
        (RecordName::Issuer(&root), 25, "72".to_owned()),
        (RecordName::Identity(&claim), 26, HEXLOWER.encode(b"issuer:i:s")),
        (RecordName::Key(&name("a/b")), 1, "612f62".to_owned()),
        (RecordName::VersionPage(key, 2), 2, format!("{}00000002", "aa".repeat(16))),
        (RecordName::VersionMaterial(key, version(3)), 3, format!("{}00000003", "aa".repeat(16))),
        (RecordName::Usage(key, version(3)), 4, format!("{}00000003", "aa".repeat(16))),
        (RecordName::Token(TokenId([0xab; 12])), 5, "ab".repeat(12)),
        (RecordName::AccessHead, 6, String::new()),
        (RecordName::JoinToken(TokenId([0xab; 12])), 7, "ab".repeat(12)),
        (RecordName::RestartKey(node(3)), 10, "0000000000000003".to_owned()),
        (RecordName::RequestOutcome(RequestId::at(1, [2; 8])), 12, format!("{:016x}{}", 1, "02".repeat(8))),
        (RecordName::AuditSegmentKey([0xcd; 16]), 17, "cd".repeat(16)),
    ] {
        assert_eq!((record.kind().number(), HEXLOWER.encode(&record.bytes())), (number, expected));
    }
}
