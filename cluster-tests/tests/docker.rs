//! The image in a real engine: `docker/compose.yaml` and `docker/setup.sh` make a cluster of three containers, one of
//! which is killed, one disconnected, and all restarted at other addresses. And the binary alone in an empty root.
//!
//! Needs `docker/build.sh layout` (which links the static binary), and root with dockerd or a running engine; what is
//! missing is said and skipped.

mod docker {
    pub(crate) mod engine;
}

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cluster_tests::live::{LiveError, Place, free, say, until};
use docker::engine::Engine;
use keyclave_client::Client;
use keyclave_client::cluster::AdmissionPolicy;
use keyclave_client::crypto::DecryptWith;
use keyclave_client::seal::{GivenShare, SealState, ShareTerms};
use keyclave_types::ids::NodeId;
use keyclave_types::key::{Algorithm, KeyRules};
use keyclave_types::name::KeyName;
use keyclave_types::seal::Threshold;

/// How long nodes may take to find each other, be unsealed, or be well again.
const SETTLE: Duration = Duration::from_secs(60);
const SOCKET: &str = "/var/lib/keyclave/keyclave.sock";
const MESSAGE: &[u8] = b"what containers keep";

#[tokio::test(flavor = "multi_thread")]
async fn three_containers_are_a_cluster_that_outlives_kills_cuts_and_other_addresses() -> Result<(), LiveError>
{
    if !laid_out() {
        return Ok(());
    }
    let place = Place::fresh()?;
    let engine = match Engine::start(&place.root().join("engine")).await {
        Ok(engine) => engine,
        Err(error) => {
            say(format_args!("containers SKIPPED, no engine: {error}"));
            return Ok(());
        }
    };
    let mut containers = Containers::up(engine, place.root()).await?;
    let tested = test(&mut containers).await;
    if tested.is_err() {
        let logs = containers.engine.compose(&["-f", &containers.file, "logs", "--tail", "20"]).await;
        say(format_args!("{}", logs.unwrap_or_default()));
    }
    let down = containers.engine.compose(&["-f", &containers.file, "down", "-v", "--timeout", "5"]).await;
    let removed = containers.engine.docker(&["image", "rm", &containers.image]).await;
    containers.engine.end().await?;
    tested.and(down).and(removed).map(drop)
}

async fn test(containers: &mut Containers) -> Result<String, LiveError> {
    let script = repository().join("docker/setup.sh").display().to_string();
    containers.engine.run(&script, &[&containers.shown.display().to_string()]).await?;
    let user =
        containers.engine.docker(&["inspect", "-f", "{{.Config.User}}", &containers.id(1).await?]).await?;
    must(user == "65532:65532", || format!("it runs as {user}"))?;
    let kept = containers.encrypt(1, "containers/first").await?;
    containers.decrypts(2, &kept).await?;
    say(format_args!("compose up and setup.sh: encrypted at node1, decrypted at node2"));
    kill_one(containers, &kept).await?;
    stop_and_disconnect(containers).await?;
    restart_elsewhere(containers, &kept).await?;
    Ok(String::new())
}

/// SIGKILL of one: its tmpfs is emptied, so it comes back sealed, which is healthy, and is admitted.
async fn kill_one(containers: &Containers, kept: &Kept) -> Result<(), LiveError> {
    let id = containers.id(2).await?;
    containers.engine.docker(&["kill", &id]).await?;
    let meanwhile = containers.encrypt(1, "containers/killed").await?;
    containers.decrypts(3, &meanwhile).await?;
    containers.engine.docker(&["start", &id]).await?;
    containers.health_is(2, "sealed").await?;
    until("a sealed container that is healthy", SETTLE, async || {
        let asked = containers.engine.docker(&["inspect", "-f", "{{json .State.Health}}", &id]).await;
        let health = asked.map_err(|error| error.to_string())?;
        if health.contains("\"healthy\"") && health.contains("sealed") { Ok(()) } else { Err(health) }
    })
    .await?;
    containers.admit(2).await?;
    containers.decrypts(2, kept).await?;
    containers.decrypts(2, &meanwhile).await?;
    say(format_args!("node2 killed: back sealed and healthy, admitted by its code, decrypts"));
    Ok(())
}

/// A process that stands still is not taken for a sealed one; a container without its network rejoins by its name.
async fn stop_and_disconnect(containers: &Containers) -> Result<(), LiveError> {
    let id = containers.id(3).await?;
    containers.engine.docker(&["kill", "--signal", "STOP", &id]).await?;
    let still = containers.engine.docker(&["exec", &id, "/keyclave", "operator", "health"]).await;
    let failed = matches!(&still, Err(LiveError::Tool { said, .. }) if said.contains("no answer"));
    must(failed, || format!("the health check of a stopped process said {still:?}"))?;

    containers.engine.docker(&["kill", "--signal", "CONT", &id]).await?;
    let network = format!("{}_default", containers.project);
    containers.engine.docker(&["network", "disconnect", &network, &id]).await?;
    let meanwhile = containers.encrypt(1, "containers/disconnected").await?;
    let cut_off = containers.client(3)?.with_deadline(Duration::from_secs(2)).get_key(&meanwhile.key).await;
    must(cut_off.is_err(), || format!("a disconnected container answered {cut_off:?}"))?;
    containers.engine.docker(&["network", "connect", "--alias", "node3", &network, &id]).await?;
    containers.decrypts(3, &meanwhile).await?;
    say(format_args!(
        "node3 stopped: its health check failed; disconnected and back: decrypts what was made meanwhile"
    ));
    Ok(())
}

/// All stopped and started in another order, so that each gets another's address; found again by name.
async fn restart_elsewhere(containers: &Containers, kept: &Kept) -> Result<(), LiveError> {
    let before = containers.addresses().await?;
    containers.engine.compose(&["-f", &containers.file, "stop", "--timeout", "20"]).await?;
    // The engine gives the lowest address that is free: the second lowest first, the lowest last.
    let mut order: Vec<(Ipv4Addr, usize)> = (1..).zip(&before).map(|(number, at)| (*at, number)).collect();
    order.sort_unstable();
    order.rotate_left(1);
    for (_, number) in order {
        containers.engine.docker(&["start", &containers.id(number).await?]).await?;
    }
    let after = containers.addresses().await?;
    let moved = before.iter().zip(&after).all(|(before, after)| before != after);
    must(moved, || format!("of the addresses {before:?} one stayed: {after:?}"))?;
    for number in 1..=3 {
        containers.health_is(number, "sealed").await?;
    }
    for number in 1..=3 {
        let share = containers.shown.join(format!("share-{number}"));
        let command = format!(
            "docker exec -i {} /keyclave operator unseal --socket {SOCKET} < {}",
            containers.id(1).await?,
            share.display()
        );
        containers.engine.run("sh", &["-c", &command]).await?;
    }
    containers.health_is(1, "unsealed").await?;
    for number in [2, 3] {
        containers.admit(number).await?;
    }
    for number in 1..=3 {
        containers.decrypts(number, kept).await?;
    }
    let written = containers.encrypt(2, "containers/elsewhere").await?;
    containers.decrypts(3, &written).await?;
    say(format_args!(
        "all restarted, addresses {before:?} became {after:?}: unsealed by shares, found by name"
    ));
    Ok(())
}

/// An error and no panic, so that the containers are taken down all the same.
fn must(held: bool, otherwise: impl FnOnce() -> String) -> Result<(), LiveError> {
    if held { Ok(()) } else { Err(LiveError::Broken { invariant: "containers", what: otherwise() }) }
}

/// A ciphertext and its key.
struct Kept {
    key: KeyName,
    ciphertext: Vec<u8>,
}

struct Containers {
    engine: Engine,
    file: String,
    project: String,
    image: String,
    shown: PathBuf,
    ports: Vec<u16>,
}

impl Containers {
    /// The image built from the layout, and the three containers of the compose file.
    async fn up(mut engine: Engine, root: &Path) -> Result<Self, LiveError> {
        let project = format!("kclive{}", std::process::id());
        let image = format!("keyclave:{project}");
        let ports: Vec<u16> = free(3)?.iter().map(std::net::SocketAddr::port).collect();
        engine.set("COMPOSE_PROJECT_NAME", project.clone());
        engine.set("KEYCLAVE_IMAGE", image.clone());
        for (name, port) in ["KEYCLAVE_PORT_1", "KEYCLAVE_PORT_2", "KEYCLAVE_PORT_3"].into_iter().zip(&ports)
        {
            engine.set(name, port.to_string());
        }
        engine.run(&repository().join("docker/build.sh").display().to_string(), &["image"]).await?;
        let file = repository().join("docker/compose.yaml").display().to_string();
        engine.compose(&["-f", &file, "up", "-d", "--no-build"]).await?;
        Ok(Self { engine, file, project, image, shown: root.join("shown-once"), ports })
    }

    async fn id(&self, number: usize) -> Result<String, LiveError> {
        self.engine.compose(&["-f", &self.file, "ps", "-q", &format!("node{number}")]).await
    }

    /// A command of the binary in a container.
    async fn keyclave(&self, number: usize, arguments: &[&str]) -> Result<String, LiveError> {
        let id = self.id(number).await?;
        self.engine.docker(&[&["exec", &id, "/keyclave"], arguments].concat()).await
    }

    async fn health_is(&self, number: usize, wanted: &str) -> Result<(), LiveError> {
        until("a container's health", SETTLE, async || {
            match self.keyclave(number, &["operator", "health"]).await {
                Ok(word) if word == wanted => Ok(()),
                other => Err(format!("node{number} is {other:?} and not {wanted}")),
            }
        })
        .await
    }

    /// Vouches for a container's process by its code.
    async fn admit(&self, number: usize) -> Result<(), LiveError> {
        let code = self.keyclave(number, &["operator", "code", "--socket", SOCKET]).await?;
        let code = code.parse().map_err(|_| LiveError::Node(number))?;
        let node = NodeId::new(number as u64).ok_or(LiveError::Node(number))?;
        let client = self.client(1)?;
        until("an admission", SETTLE, async || {
            client.admit(node, &code).await.map_err(|error| error.to_string())
        })
        .await?;
        self.health_is(number, "unsealed").await
    }

    async fn addresses(&self) -> Result<Vec<Ipv4Addr>, LiveError> {
        let mut addresses = Vec::new();
        for number in 1..=3 {
            let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
            let address = self.engine.docker(&["inspect", "-f", format, &self.id(number).await?]).await?;
            addresses.push(address.parse().map_err(|_| LiveError::Node(number))?);
        }
        Ok(addresses)
    }

    /// A client of one container, through its published port.
    fn client(&self, number: usize) -> Result<Client, LiveError> {
        let port = number.checked_sub(1).and_then(|at| self.ports.get(at)).ok_or(LiveError::Node(number))?;
        let shown = |name| {
            std::fs::read_to_string(self.shown.join(name)).map_err(LiveError::system("reading secrets"))
        };
        let endpoint = format!("https://127.0.0.1:{port}").parse().map_err(|_| LiveError::Node(number))?;
        let builder = Client::builder().endpoints([endpoint]).ca_pem(shown("ca.pem")?.as_bytes());
        Ok(builder.token(shown("root.token")?.trim()).deadline(Duration::from_secs(10)).build()?)
    }

    /// Makes a key at a container and encrypts with it there.
    async fn encrypt(&self, number: usize, name: &str) -> Result<Kept, LiveError> {
        let key: KeyName = name.parse().map_err(|_| LiveError::Node(number))?;
        let client = self.client(number)?;
        until("making a key", SETTLE, async || {
            match client.create_key(&key, Algorithm::Xaes256Gcm, KeyRules::default()).await {
                Ok(_) => Ok(()),
                Err(error) if error.to_string().contains("exists") => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        let ciphertext = client.encrypt(&key, None, MESSAGE, b"").await?.value.ciphertext;
        Ok(Kept { key, ciphertext })
    }

    async fn decrypts(&self, number: usize, kept: &Kept) -> Result<(), LiveError> {
        let client = self.client(number)?;
        let answer = until("a decryption", SETTLE, async || {
            let asked = client.decrypt(DecryptWith::Key(&kept.key), &kept.ciphertext, b"").await;
            asked.map_err(|error| format!("node{number}: {error}"))
        })
        .await?;
        must(*answer.value.plaintext == MESSAGE, || format!("node{number} decrypted something else"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_static_binary_serves_from_an_empty_root() -> Result<(), LiveError> {
    if !laid_out() {
        return Ok(());
    }
    let place = Place::fresh()?;
    let root = place.root().join("root");
    if let Err(error) = empty_root(&root) {
        say(format_args!("empty root SKIPPED: {error}"));
        return Ok(());
    }
    let port = free(3)?.iter().map(|at| at.to_string()).collect::<Vec<_>>();
    let [clients, peers, health] = port.as_slice() else { return Err(LiveError::Unfounded) };
    let within = || {
        let mut command = Command::new("chroot");
        command.args(["--userspec=65532:65532"]).arg(&root).arg("/keyclave").stdin(Stdio::null());
        command
    };
    let mut server = within()
        .args(["server", "--data-dir", "/data", "--listen", clients, "--peer-listen", peers])
        .args(["--health-listen", health])
        .stderr(std::fs::File::create(place.root().join("log")).map_err(LiveError::system("making a log"))?)
        .spawn()
        .map_err(LiveError::system("starting a server"))?;
    let served = serve_alone(&root.join("data/keyclave.sock")).await;
    let word = within().args(["operator", "health", "--address", health]).output();
    let _ = server.kill();
    let _ = server.wait();
    served?;
    let word = word.map_err(LiveError::system("asking for the health"))?;
    assert_eq!(String::from_utf8_lossy(&word.stdout), "unsealed\n");
    say(format_args!("the static binary in an empty root, as another user: unsealed, encrypted, decrypted"));
    Ok(())
}

/// A directory with the binary, a directory for its data, the system's entropy as every container has it, and nothing
/// else.
fn empty_root(root: &Path) -> Result<(), LiveError> {
    let wrong = LiveError::system;
    std::fs::create_dir_all(root.join("data")).map_err(wrong("making a directory"))?;
    std::fs::copy(layout(), root.join("keyclave")).map_err(wrong("copying the binary"))?;
    std::fs::create_dir(root.join("dev")).map_err(wrong("making a directory"))?;
    for (name, minor) in [("random", "8"), ("urandom", "9")] {
        let mut mknod = Command::new("mknod");
        let made =
            mknod.args(["-m", "444"]).arg(root.join("dev").join(name)).args(["c", "1", minor]).status();
        if !made.map_err(wrong("running mknod"))?.success() {
            return Err(LiveError::Tool {
                command: format!("{mknod:?}"),
                said: "no device was made".to_owned(),
            });
        }
    }
    // The directory of the test is its owner's alone.
    for open in [root, root.parent().unwrap_or(root)] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(open, mode).map_err(wrong("opening a directory"))?;
    }
    std::os::unix::fs::chown(root.join("data"), Some(65_532), Some(65_532))
        .map_err(wrong("giving a directory away"))
}

/// Founds and unseals a cluster of one over its socket, and uses it there.
async fn serve_alone(socket: &Path) -> Result<(), LiveError> {
    let client = Client::local(socket).deadline(Duration::from_secs(10)).build()?;
    until("the start in an empty root", SETTLE, async || {
        client.seal_status().await.map_err(|error| error.to_string())
    })
    .await?;
    let threshold = Threshold::new(2, 3).expect("2 of 3 is a threshold");
    let made = client.init(threshold, AdmissionPolicy::Strict).await?.value;
    let (_, key) = client.local_code().await?;
    for text in made.shares.iter().take(2) {
        client.submit_share(&GivenShare::parse(text)?, &key, ShareTerms::default()).await?;
    }
    until("unsealing in an empty root", SETTLE, async || {
        let status = client.seal_status().await.map_err(|error| error.to_string())?;
        if status.this_node.state == SealState::Unsealed { Ok(()) } else { Err("it is sealed".to_owned()) }
    })
    .await?;
    let client = Client::local(socket).token(&made.root_token).deadline(Duration::from_secs(10)).build()?;
    let name: KeyName = "empty/root".parse().expect("two segments of small letters");
    client.create_key(&name, Algorithm::Xaes256Gcm, KeyRules::default()).await?;
    let ciphertext = client.encrypt(&name, None, MESSAGE, b"").await?.value.ciphertext;
    let opened = client.decrypt(DecryptWith::Key(&name), &ciphertext, b"").await?.value.plaintext;
    assert_eq!(*opened, MESSAGE);
    Ok(())
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn layout() -> PathBuf {
    repository().join("target/image/keyclave")
}

fn laid_out() -> bool {
    let there = layout().is_file();
    if !there {
        say(format_args!("containers and empty root SKIPPED: run `docker/build.sh layout` first"));
    }
    there
}
