//! Health for machines that probe: `GET /healthz` over plain HTTP/1.1 answers one word, `unsealed`, `sealed` or
//! `vacant`, and nothing else. It says nothing that a closed port would not.
//!
//! Hand-written on purpose: one request line is read, bounded, and no parser is exposed. Metrics need a credential
//! and are served elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The state of a process, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    /// It serves.
    Unsealed,
    /// It runs and holds no key.
    Sealed,
    /// It belongs to no cluster yet.
    Vacant,
    /// It runs, but something keeps it from serving.
    Failing,
}

impl Health {
    fn word(self) -> &'static str {
        match self {
            Self::Unsealed => "unsealed",
            Self::Sealed => "sealed",
            Self::Vacant => "vacant",
            Self::Failing => "failing",
        }
    }

    /// 200 while it serves; 503 with the word otherwise, so that a probe tells sealed from dead.
    fn status(self) -> &'static str {
        match self {
            Self::Unsealed => "200 OK",
            Self::Sealed | Self::Vacant | Self::Failing => "503 Service Unavailable",
        }
    }
}

/// Probes at a time.
const PROBES_MAX: usize = 64;
/// How long one may take.
const PROBE_MS_MAX: u64 = 2_000;
/// Bytes of a request that are read.
const REQUEST_BYTES_MAX: usize = 1_024;
/// Rest after the listener failed.
const LISTENER_REST_MS: u64 = 10;

/// Answers probes until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, health: impl Fn() -> Health + Send + Sync + 'static) {
    let health = Arc::new(health);
    let places = Arc::new(Semaphore::new(PROBES_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the health listener failed");
                tokio::time::sleep(Duration::from_millis(LISTENER_REST_MS)).await;
                continue;
            }
        };
        // Too many: the connection is closed unanswered, as a dead process would.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let health = health.clone();
        tokio::spawn(async move {
            let _place = place;
            let _ = tokio::time::timeout(Duration::from_millis(PROBE_MS_MAX), answer(stream, &*health)).await;
        });
    }
}

async fn answer(mut stream: TcpStream, health: &(impl Fn() -> Health + Sync)) -> std::io::Result<()> {
    let mut request = Vec::with_capacity(REQUEST_BYTES_MAX);
    let mut limited = (&mut stream).take(REQUEST_BYTES_MAX as u64);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if limited.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let (status, body) = match request.split(|b| *b == b' ').collect::<Vec<_>>().as_slice() {
        [b"GET", b"/healthz", ..] => {
            let health = health();
            (health.status(), health.word())
        }
        _ => ("404 Not Found", ""),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(request: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, || Health::Sealed));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        // A request over the limit is cut with unread bytes left, which the kernel answers with a reset.
        let _ = stream.read_to_end(&mut answer).await;
        serving.abort();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn one_word_tells_sealed_from_dead() {
        let answer = ask(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nsealed"), "{answer}");
    }

    #[tokio::test]
    async fn anything_else_is_not_found() {
        for request in
            [&b"GET /metrics HTTP/1.1\r\n\r\n"[..], b"POST /healthz HTTP/1.1\r\n\r\n", b"\0\xff", b""]
        {
            assert!(ask(request).await.starts_with("HTTP/1.1 404 "));
        }
    }

    #[tokio::test]
    async fn a_long_request_is_cut_and_not_kept() {
        let _ = ask(&[b'x'; 100_000]).await;
    }
}
