//! Health for machines that probe: `GET /healthz` over plain HTTP/1.1 answers one word, `unsealed`, `sealed` or
//! `vacant`, and nothing else. It says nothing that a closed port would not.
//!
//! Hand-written on purpose: one request line is read, bounded, and no parser is exposed. Metrics need a credential
//! and are served elsewhere. The asking half is here too, for probes where there is no other program, as in an image
//! that holds nothing but the binary.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The state of a process, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It serves.
    Unsealed,
    /// It runs and holds no key.
    Sealed,
    /// It belongs to no cluster yet.
    Vacant,
    /// It runs, but something keeps it from serving.
    Failing,
}

/// Why a process did not say how it is.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nothing listens there, or the connection broke.
    #[error("nothing answers at {address}")]
    Silent {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection stands and nothing comes.
    #[error("no answer from {address} within {limit_ms} ms")]
    Slow {
        /// Where.
        address: SocketAddr,
        /// How long was waited.
        limit_ms: u64,
    },
    /// Something else listens there.
    #[error("what {address} answers is no state of a node")]
    Foreign {
        /// Where.
        address: SocketAddr,
    },
}

impl Health {
    const ALL: [Self; 4] = [Self::Unsealed, Self::Sealed, Self::Vacant, Self::Failing];

    /// The state as `/healthz` says it.
    pub fn word(self) -> &'static str {
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
/// How long one may take, on either side.
const PROBE_MS_MAX: u64 = 2_000;
/// Bytes of a request that are read.
const REQUEST_BYTES_MAX: usize = 1_024;
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 1_024;
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

/// Asks the process whose health port this is.
pub async fn ask(address: SocketAddr) -> Result<Health, ProbeError> {
    let asked = tokio::time::timeout(Duration::from_millis(PROBE_MS_MAX), exchange(address)).await;
    let answer = asked
        .map_err(|_| ProbeError::Slow { address, limit_ms: PROBE_MS_MAX })?
        .map_err(|source| ProbeError::Silent { address, source })?;
    let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
    let known = Health::ALL.into_iter().find(|health| health.word() == body);
    known.filter(|_| answer.starts_with("HTTP/1.1 ")).ok_or(ProbeError::Foreign { address })
}

async fn exchange(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(request: &[u8]) -> String {
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
        let answer = told(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nsealed"), "{answer}");
    }

    #[tokio::test]
    async fn anything_else_is_not_found() {
        for request in
            [&b"GET /metrics HTTP/1.1\r\n\r\n"[..], b"POST /healthz HTTP/1.1\r\n\r\n", b"\0\xff", b""]
        {
            assert!(told(request).await.starts_with("HTTP/1.1 404 "));
        }
    }

    #[tokio::test]
    async fn a_probe_is_told_each_state_and_takes_nothing_else_for_one() {
        for health in Health::ALL {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = tokio::spawn(serve(listener, move || health));
            assert_eq!(ask(address).await.unwrap(), health);
            serving.abort();
            let _ = serving.await;
            // Its listener is gone.
            assert!(matches!(ask(address).await, Err(ProbeError::Silent { .. })));
        }
        for foreign in ["SSH-2.0-sealed\r\n\r\nsealed", "HTTP/1.1 200 OK\r\n\r\nsealed!", ""] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let other = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 16];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(foreign.as_bytes()).await;
            });
            let told = ask(address).await;
            assert!(matches!(told, Err(ProbeError::Foreign { .. } | ProbeError::Silent { .. })), "{told:?}");
            other.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stands_still_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let told = ask(listener.local_addr().unwrap()).await;
        assert!(matches!(told, Err(ProbeError::Slow { .. })), "{told:?}");
    }

    #[tokio::test]
    async fn a_long_request_is_cut_and_not_kept() {
        let _ = told(&[b'x'; 100_000]).await;
    }
}
