//! The order of the demo's steps, and those of its first half: a cluster, a key, a file.

use std::path::PathBuf;

use keyclave_client::crypto::{DecryptWith, Encrypted};
use keyclave_types::key::{Algorithm, KeyRules};
use keyclave_types::name::KeyName;
use zeroize::Zeroizing;

use super::steps::Steps;
use super::{failover, outage, search};
use crate::failure::Failure;
use crate::local::cluster::{Cluster, NODES};
use crate::local::told::Told;

/// Bytes of the file that is encrypted.
const FILE_BYTES: usize = 200 * 1024;
/// What a ciphertext is bound to.
const ASSOCIATED_DATA: &[u8] = b"demo";

/// What the story is about.
pub(super) struct Matter {
    pub(super) key: KeyName,
    pub(super) plaintext: Zeroizing<Vec<u8>>,
    file: PathBuf,
}

/// All steps, each building on the one before.
pub(super) async fn tell(cluster: &mut Cluster, steps: &mut Steps, keep: bool) -> Result<(), Failure> {
    let matter = Matter::new(cluster)?;
    steps.step("start", "start three servers", cluster.start()).await?;
    steps.step("init", "make a cluster of node 1", cluster.init()).await?;
    steps.step("unseal", "unseal node 1 with three shares", cluster.unseal_first()).await?;
    steps.step("join-2", "node 2 joins by token", cluster.join(2)).await?;
    steps.step("join-3", "node 3 joins by token", cluster.join(3)).await?;
    steps.step("create-key", "create a key at node 1", create(cluster, &matter)).await?;
    let first = steps.step("encrypt", "encrypt a file at node 2", encrypt(cluster, &matter, 2)).await?;
    steps.step("decrypt", "decrypt it at node 3 and compare", decrypt(cluster, &matter, &first, 3)).await?;
    let second =
        steps.step("rotate", "rotate; the new version encrypts", rotate(cluster, &matter, &first)).await?;
    steps
        .step("decrypt-old", "the old ciphertext still decrypts", decrypt(cluster, &matter, &first, 1))
        .await?;
    failover::tell(cluster, steps).await?;
    outage::tell(cluster, steps).await?;
    for (name, title, ciphertext, number) in [
        ("decrypt-after-outage-old", "both ciphertexts still decrypt: the first", &first, 2),
        ("decrypt-after-outage-new", "and the second", &second, 3),
    ] {
        steps.step(name, title, decrypt(cluster, &matter, ciphertext, number)).await?;
    }
    let title = "no directory holds key name, token or plaintext";
    steps.step("search", title, search::search(cluster, &matter)).await?;
    steps.step("verify-trail", "every node's trail is untouched", search::verify_trails(cluster)).await?;
    if !keep {
        steps.step("stop", "stop all three", outage::stop(cluster)).await?;
    }
    Ok(())
}

impl Matter {
    /// A file of text, written to disk as anybody's would be.
    fn new(cluster: &Cluster) -> Result<Self, Failure> {
        let file = cluster.place.root().join("orders.csv");
        let lines =
            (0..).map(|order| format!("order {order:08}, customer Ada Quillfeather, 3 kestrels, paid\n"));
        let mut text: String = lines.take(FILE_BYTES / 50).collect();
        text.truncate(FILE_BYTES);
        std::fs::write(&file, &text).map_err(|error| unreadable(&file, &error))?;
        let key = "demo/kestrel-orders".parse().expect("two segments of small letters and a dash");
        Ok(Self { key, plaintext: Zeroizing::new(text.into_bytes()), file })
    }
}

async fn create(cluster: &Cluster, matter: &Matter) -> Result<Told<()>, Failure> {
    let client = cluster.client(1)?;
    let made = client.create_key(&matter.key, Algorithm::Xaes256Gcm, KeyRules::default()).await?.value;
    Ok(Told { value: (), detail: format!("{}, {}", made.name, made.algorithm) })
}

async fn encrypt(cluster: &Cluster, matter: &Matter, number: usize) -> Result<Told<Encrypted>, Failure> {
    let file = std::fs::read(&matter.file).map_err(|error| unreadable(&matter.file, &error))?;
    let client = cluster.client(number)?;
    let encrypted = client.encrypt(&matter.key, None, &file, ASSOCIATED_DATA).await?.value;
    let path = matter.file.with_extension(format!("v{}.kc", encrypted.version));
    std::fs::write(&path, &encrypted.ciphertext).map_err(|error| unreadable(&path, &error))?;
    let detail = format!("{} KiB under version {}", file.len() / 1024, encrypted.version);
    Ok(Told { value: encrypted, detail })
}

async fn decrypt(
    cluster: &Cluster,
    matter: &Matter,
    encrypted: &Encrypted,
    number: usize,
) -> Result<Told<()>, Failure> {
    let client = cluster.client(number)?;
    let with = DecryptWith::Key(&matter.key);
    let decrypted = client.decrypt(with, &encrypted.ciphertext, ASSOCIATED_DATA).await?.value;
    if decrypted.plaintext != matter.plaintext || decrypted.version != encrypted.version {
        return Err(Failure::failed("DEMO", format!("node {number} decrypted something else")));
    }
    let detail = format!("{} bytes, equal, version {}", decrypted.plaintext.len(), decrypted.version);
    Ok(Told { value: (), detail })
}

async fn rotate(cluster: &Cluster, matter: &Matter, first: &Encrypted) -> Result<Told<Encrypted>, Failure> {
    let rotated = cluster.client(NODES)?.rotate_key(&matter.key).await?;
    let client = cluster.client(1)?;
    // The floor makes node 1 answer from after the rotation, which node 3 acknowledged.
    client.see(rotated.position).map_err(|error| Failure::from_error("OTHER_GENERATION", &error))?;
    let second = client.encrypt(&matter.key, None, &matter.plaintext, ASSOCIATED_DATA).await?.value;
    if second.version != rotated.value.primary || second.version == first.version {
        let found = second.version;
        return Err(Failure::failed("DEMO", format!("version {found} encrypts after the rotation")));
    }
    let detail = format!("version {} after {}", second.version, first.version);
    Ok(Told { value: second, detail })
}

fn unreadable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::failed("FILE", format!("{}: {error}", path.display()))
}
