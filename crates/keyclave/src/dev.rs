//! `keyclave dev`: one unsealed node for developers, as a server process of its own, until Ctrl-C.
//!
//! With `--data-dir` its shares and token are kept beside it, so that it can be unsealed the next time. That is for
//! development only: whoever has the directory has everything.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyclave_client::cluster::AdmissionPolicy;
use keyclave_client::seal::{GivenShare, SealState, ShareTerms};
use keyclave_types::seal::Threshold;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::arguments::Output;
use crate::arguments::serving::DevArguments;
use crate::failure::Failure;
use crate::local::place::Place;
use crate::local::ports::{self, is_free};
use crate::local::process::{Node, Process};
use crate::local::wait::until;
use crate::output::{self, Shown};
use crate::secret_output::write_secret;

/// The ports that a server has by itself.
const USUAL_PORTS: [u16; 3] = [7420, 7421, 7422];
const SHARES: u8 = 3;
const SHARES_NEEDED: u8 = 2;
/// How long init and unseal may take, each.
const ACT: Duration = Duration::from_secs(20);
/// Between two looks whether the server still runs.
const LOOK: Duration = Duration::from_millis(200);

/// What a developer needs, for programs.
#[derive(Serialize)]
struct Ready<'a> {
    endpoint: String,
    token: &'a str,
    cacert: String,
    socket: String,
    dir: String,
    log: String,
    pid: u32,
}

/// Where the node keeps what unseals it.
struct Kept {
    shares: PathBuf,
    token: PathBuf,
    cacert: PathBuf,
}

/// Starts, prints, serves until told to stop.
pub(crate) async fn run(arguments: DevArguments, output: Output) -> Result<Shown, Failure> {
    let place = match &arguments.data_dir {
        Some(directory) => Place::at(directory)?,
        None => Place::fresh()?,
    };
    let kept = Kept::at(place.root());
    let of = |kind| signal(kind).map_err(|error| Failure::from_error("SIGNAL", &error));
    let (mut interrupt, mut terminate) = (of(SignalKind::interrupt())?, of(SignalKind::terminate())?);
    let node = node(&place)?;
    let mut process = node.start()?;
    let working = async {
        let token = prepare(&node, &mut process, &kept).await?;
        output::show(&ready(&node, &process, &place, &kept, &token), output)?;
        loop {
            if let Some(status) = process.ended() {
                return Err(Failure::failed("SERVER", format!("the server ended by itself: {status}"))
                    .next(format!("read its log, {}", node.place.log.display())));
            }
            sleep(LOOK).await;
        }
    };
    let ended: Result<(), Failure> = tokio::select! {
        ended = working => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    if ended.is_ok() {
        process.ask_to_end();
        process.end().await?;
    }
    ended.map(|()| Shown::nothing())
}

fn node(place: &Place) -> Result<Node, Failure> {
    let usual = USUAL_PORTS.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let ports = if usual.iter().all(|address| is_free(*address)) { usual.to_vec() } else { ports::free(3)? };
    let [clients, peers, health] = ports[..] else {
        return Err(Failure::failed("PORTS", "three ports are needed"));
    };
    Ok(Node { number: 1, place: place.node(1), clients, peers, health, join: None })
}

impl Kept {
    fn at(root: &Path) -> Self {
        Self { shares: root.join("shares"), token: root.join("token"), cacert: root.join("ca.pem") }
    }
}

/// Init if it is fresh, unseal if it is sealed; the root token.
async fn prepare(node: &Node, process: &mut Process, kept: &Kept) -> Result<Zeroizing<String>, Failure> {
    let status = node.answers(process).await?;
    if status.this_node.state == SealState::Uninitialized {
        init(node, kept).await?;
    }
    unseal(node, kept).await?;
    let token = std::fs::read_to_string(&kept.token).map_err(|error| unreadable(&kept.token, &error))?;
    Ok(Zeroizing::new(token.trim().to_owned()))
}

async fn init(node: &Node, kept: &Kept) -> Result<(), Failure> {
    let threshold = Threshold::new(SHARES_NEEDED, SHARES).expect("2 of 3 is a threshold");
    let client = node.over_socket()?.with_deadline(ACT);
    let cluster = client.init(threshold, AdmissionPolicy::Strict).await?.value;
    let shares: Vec<&str> = cluster.shares.iter().map(|share| share.as_str()).collect();
    write_secret(&kept.shares, &Zeroizing::new(shares.join("\n")))?;
    write_secret(&kept.token, &cluster.root_token)?;
    std::fs::write(&kept.cacert, &cluster.ca_pem).map_err(|error| unreadable(&kept.cacert, &error))
}

async fn unseal(node: &Node, kept: &Kept) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&kept.shares).map(Zeroizing::new);
    let text = text.map_err(|error| {
        unreadable(&kept.shares, &error)
            .next("this directory was not made by `keyclave dev`; name another one")
    })?;
    let client = node.over_socket()?.with_deadline(ACT);
    let (_, key) = client.local_code().await?;
    for share in text.lines().take(usize::from(SHARES_NEEDED)) {
        let share = GivenShare::parse(share)?;
        client.submit_share(&share, &key, ShareTerms::default()).await?;
    }
    until("unsealing", ACT, || async {
        match client.seal_status().await {
            Ok(status) if status.this_node.state == SealState::Unsealed => Ok(()),
            Ok(_) => Err("the node is still sealed".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed("FILE", format!("{}: {error}", path.display()))
}

fn ready(node: &Node, process: &Process, place: &Place, kept: &Kept, token: &str) -> Shown {
    let (endpoint, cacert) = (node.endpoint(), kept.cacert.display().to_string());
    let text = format!(
        "One unsealed node, for development only. Ctrl-C ends it.\n\n\
         \u{20} export KEYCLAVE_ENDPOINTS={endpoint}\n\
         \u{20} export KEYCLAVE_CACERT={cacert}\n\
         \u{20} export KEYCLAVE_TOKEN={token}\n\n\
         \u{20} keyclave key create hello\n\
         \u{20} echo hello | keyclave encrypt --key hello | keyclave decrypt\n\n\
         log: {}\n",
        node.place.log.display()
    );
    let ready = Ready {
        endpoint,
        token,
        cacert,
        socket: node.place.socket().display().to_string(),
        dir: place.root().display().to_string(),
        log: node.place.log.display().to_string(),
        pid: process.pid(),
    };
    Shown::new(text, &ready)
}
