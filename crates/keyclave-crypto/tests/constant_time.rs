//! No branch and no address depends on a secret: valgrind runs our own code with the secret's bytes marked as never
//! written, and reports whatever decides or looks up by them (Langley's ctgrind).
//!
//! Each subject runs in a process of its own. Two planted ones, a table and a comparison that stops early, must be
//! reported, or the measure measures nothing. What ring and the other cipher crates do inside is theirs, except where
//! our code cannot run without it. Needs valgrind on x86-64 Linux and an
//! optimised build, which is what ships: `cargo test --release -p keyclave-crypto --test constant_time`. Without
//! them the test says so and is skipped.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code, reason = "valgrind is spoken to by an instruction sequence")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says why")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

use std::process::Command;

use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::secret::Secret;
use keyclave_crypto::share::Share;
use keyclave_crypto::token::{Token, TokenKind};
use keyclave_crypto::{mac, shamir};
use keyclave_types::seal::Threshold;

/// Valgrind's exit code for a run with reports.
const REPORTED: i32 = 99;

/// A check and, for what a planted subject must not be, its opposite.
const SUBJECTS: [(&str, fn(), bool); 8] = [
    ("splitting", splitting, true),
    ("combining", combining, true),
    ("share_text", share_text, true),
    ("token_text", token_text, true),
    ("token_comparison", token_comparison, true),
    ("xaes_derivation", xaes_derivation, true),
    ("planted_table", planted_table, false),
    ("planted_early_stop", planted_early_stop, false),
];

#[test]
fn no_branch_or_address_depends_on_a_secret_and_planted_ones_are_found() {
    if cfg!(debug_assertions) {
        eprintln!(
            "skipped: an unoptimised build checks its arithmetic; cargo test --release measures what ships"
        );
        return;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("skipped: valgrind is not installed");
        return;
    }
    for (name, _, clean) in SUBJECTS {
        let report = under_valgrind(name);
        assert_eq!(report.is_none(), clean, "{name}: {}", report.unwrap_or("no report".into()));
    }
}

/// Valgrind's report about one subject, if it has one.
fn under_valgrind(subject: &str) -> Option<String> {
    let output = Command::new("valgrind")
        .args(["--quiet", "--error-exitcode=99", "--expensive-definedness-checks=yes", "--num-callers=8"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "one_subject", "--ignored", "--nocapture", "--test-threads=1"])
        .env("SUBJECT", subject)
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => None,
        Some(REPORTED) => Some(report),
        other => panic!("{subject} ended with {other:?}: {report}"),
    }
}

/// Run by the test above, in a process under valgrind.
#[test]
#[ignore = "one subject of the test above, which runs it under valgrind"]
fn one_subject() {
    let Ok(name) = std::env::var("SUBJECT") else { return };
    assert_eq!(request([RUNNING_ON_VALGRIND, 0, 0]), 1, "this is no run under valgrind");
    let (_, subject, _) = SUBJECTS.into_iter().find(|(subject, _, _)| *subject == name).unwrap();
    subject();
}

fn splitting() {
    let seed = [2; 32];
    mark(&seed, MAKE_UNDEFINED);
    let shares = shamir::split(&secret(1), threshold(), &mut Entropy::from_seed(seed));
    assert_eq!(shares.len(), 5);
}

fn combining() {
    let root = shamir::combine(&shares(), threshold()).unwrap();
    mark(root.expose(), MAKE_DEFINED);
    assert_eq!(root.expose(), &[1; 32]);
}

/// A share's letters are made without a look at them. Read, they are its holder's input: whether a letter is one,
/// and whether the check sum fits, is said and may be seen.
fn share_text() {
    let text = shares()[0].to_text();
    mark(text.as_bytes(), MAKE_DEFINED);
    assert!(Share::from_text(&text).is_ok());
}

fn token_text() {
    let token =
        Token { kind: TokenKind::Service, id: keyclave_types::request::TokenId([1; 12]), secret: secret(3) };
    let text = token.to_text();
    mark(text.as_bytes(), MAKE_DEFINED);
    assert!(Token::parse(&text).is_ok());
}

fn token_comparison() {
    let (key, token) = (secret(1), secret(2));
    let tag = mac::hmac_sha256(&key, &[token.expose()]);
    let other = mac::hmac_sha256(&key, &[secret(3).expose()]);
    // The verdict is public.
    let equal = [u8::from(mac::equal(&tag, &other))];
    mark(&equal, MAKE_DEFINED);
    assert_eq!(equal, [0]);
}

fn xaes_derivation() {
    let key = keyclave_crypto::aead::XaesKey::new(&secret(1));
    let sealed = key.seal(&mut Entropy::from_seed([1; 32]), &[b"aad"], b"plaintext");
    assert_eq!(sealed.len(), 24 + 9 + 16);
}

fn planted_table() {
    let table: [u8; 256] = std::array::from_fn(|at| at as u8 ^ 0x5a);
    let looked_up = std::hint::black_box(table)[usize::from(secret(1).expose()[0])];
    std::hint::black_box(looked_up);
}

fn planted_early_stop() {
    let (one, other) = (secret(1), secret(2));
    let same = one.expose().iter().zip(other.expose()).all(|(one, other)| one == other);
    std::hint::black_box(same);
}

fn threshold() -> Threshold {
    Threshold::new(3, 5).unwrap()
}

/// Shares whose set and places are public and whose points are secret, as a ceremony has them.
fn shares() -> Vec<Share> {
    shamir::split(&secret(1), threshold(), &mut Entropy::from_seed([2; 32]))
}

/// Bytes that valgrind takes for secret.
fn secret(byte: u8) -> Secret<32> {
    let secret = Secret::from_fn("secret", |bytes| bytes.fill(byte));
    mark(secret.expose(), MAKE_UNDEFINED);
    secret
}

fn mark(bytes: &[u8], request_code: usize) {
    request([request_code, bytes.as_ptr() as usize, bytes.len()]);
}

// Codes of valgrind.h and memcheck.h (VG_USERREQ__…).
const RUNNING_ON_VALGRIND: usize = 0x1001;
const MAKE_UNDEFINED: usize = 0x4d43_0001;
const MAKE_DEFINED: usize = 0x4d43_0002;

/// One client request: rotations that change nothing, which valgrind recognises and answers (valgrind.h, amd64).
/// Anywhere else the answer is 0.
fn request([code, one, other]: [usize; 3]) -> usize {
    let arguments = [code, one, other, 0, 0, 0];
    let mut answer = 0_usize;
    // SAFETY: outside valgrind the sequence is rotations by 128 bits in sum and an exchange of a register with
    // itself; inside it, rdx alone is written, and memory keeps its values.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") arguments.as_ptr(), inout("rdx") answer,
        );
    }
    answer
}
