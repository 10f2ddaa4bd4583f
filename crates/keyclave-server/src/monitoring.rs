//! The monitoring port, over TLS like every other: `GET /healthz` answers one word to anyone and says nothing that a
//! closed port would not; `GET /metrics` needs a credential, and its answer is on record first.
//!
//! Hand-written on purpose: one request of bounded size is read per connection, in bounded time, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use keyclave_node::host::Host;
use keyclave_policy::Action;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Status};

use crate::admission::Budgets;
use crate::caller::Caller;
use crate::connections::{Connections, Limits, Place, Source};
use crate::health::{Health, Healths};
use crate::metrics::{Metrics, Standing};
use crate::origin::Origin;
use crate::pipeline::Pipeline;

/// Connections at a time; each is gone after one answer, whoever asked.
pub(crate) const LIMITS: Limits =
    Limits { connections_max: 64, per_source_max: 32, strangers_max: 64, strangers_per_source_max: 32 };
/// How long one may take, its handshake included.
const ANSWER_MS_MAX: u64 = 5_000;
/// Bytes of a request that are read: a credential and what probes say of themselves.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Rest after the listener failed.
const LISTENER_REST_MS: u64 = 10;

/// What there is to be seen.
pub(crate) struct Monitored<H: Host> {
    /// Whose credentials count, and the trail.
    pub(crate) pipeline: Pipeline<H>,
    /// What was counted.
    pub(crate) metrics: Arc<Metrics>,
    /// What calls hold.
    pub(crate) budgets: Budgets,
    /// Of clients, on the operator's socket, and here.
    pub(crate) connections: [Connections; 3],
    /// How the process stands.
    pub(crate) healths: Healths,
}

/// Answers until the task is dropped.
pub(crate) async fn serve<H: Host>(listener: TcpListener, acceptor: TlsAcceptor, monitored: Monitored<H>) {
    let monitored = Arc::new(monitored);
    let [.., connections] = monitored.connections.clone();
    loop {
        let (tcp, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the monitoring listener failed");
                tokio::time::sleep(Duration::from_millis(LISTENER_REST_MS)).await;
                continue;
            }
        };
        // Too many: the connection is closed unanswered, as a dead process would.
        let Some(place) = connections.take(Source::from(from)) else { continue };
        let (acceptor, monitored) = (acceptor.clone(), monitored.clone());
        let answering = async move {
            let tls = acceptor.accept(tcp).await?;
            answer(tls, &*monitored, from).await
        };
        tokio::spawn(in_its_place(place, answering));
    }
}

async fn in_its_place(mut place: Place, answering: impl Future<Output = std::io::Result<()>>) {
    tokio::select! {
        // Whoever asks sees by himself that he got no answer.
        _ = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), answering) => {}
        () = std::future::poll_fn(|task| place.poll_ended(task)) => {}
    }
}

/// What is asked here.
trait Answers {
    fn health(&self) -> Health;
    fn metrics(&self, caller: &Caller) -> impl Future<Output = Result<String, Status>> + Send;
}

impl<H: Host> Answers for Monitored<H> {
    fn health(&self) -> Health {
        self.healths.now()
    }

    async fn metrics(&self, caller: &Caller) -> Result<String, Status> {
        self.pipeline.ask(caller, Action::ReadMetrics, "ReadMetrics", |_, _| ()).await?;
        Ok(self.metrics.render(&self.standing()))
    }
}

impl<H: Host> Monitored<H> {
    fn standing(&self) -> Standing {
        let [clients, socket, monitoring] = &self.connections;
        let member = self.pipeline.node().member();
        let member = member.as_ref();
        Standing {
            callers: self.budgets.standing(),
            connections: [
                ("clients", clients.count()),
                ("socket", socket.count()),
                ("monitoring", monitoring.count()),
            ],
            member: member.is_some(),
            unsealed: self.healths.now() == Health::Unsealed,
            leading: member.is_some_and(|member| member.leader().0 == Some(member.node())),
            applied_index: member.map_or(0, |member| member.position().index),
            audit_sequence: member.map_or(0, |member| member.trail().status().head.sequence),
        }
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answers: &impl Answers,
    from: SocketAddr,
) -> std::io::Result<()> {
    let mut request = Vec::with_capacity(1_024);
    let mut limited = (&mut stream).take(REQUEST_BYTES_MAX as u64);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if limited.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let text = match Asked::parse(&request) {
        Some(Asked::Health) => {
            let health = answers.health();
            response(health.status(), "text/plain", health.word())
        }
        Some(Asked::Metrics(headers)) => {
            match answers.metrics(&Caller::from(Origin::Network(from), &headers)).await {
                Ok(text) => {
                    response("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", &text)
                }
                Err(status) => refused(&status),
            }
        }
        None => response("404 Not Found", "text/plain", ""),
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

enum Asked {
    Health,
    Metrics(HeaderMap),
}

impl Asked {
    /// None for whatever is not asked here, a request that is not whole among it.
    fn parse(request: &[u8]) -> Option<Self> {
        let head = std::str::from_utf8(request).ok()?.split_once("\r\n\r\n")?.0;
        let mut lines = head.split("\r\n");
        match lines.next()?.split(' ').collect::<Vec<_>>().as_slice() {
            ["GET", "/healthz", "HTTP/1.1" | "HTTP/1.0"] => Some(Self::Health),
            ["GET", "/metrics", "HTTP/1.1" | "HTTP/1.0"] => {
                let mut headers = HeaderMap::new();
                for line in lines {
                    let (name, value) = line.split_once(':')?;
                    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                    headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
                }
                Some(Self::Metrics(headers))
            }
            _ => None,
        }
    }
}

/// The reason why not, without a body: what a scraper needs is the code.
fn refused(status: &Status) -> String {
    let line = match status.code() {
        Code::Unauthenticated => "401 Unauthorized\r\nwww-authenticate: Bearer",
        Code::PermissionDenied => "403 Forbidden",
        Code::ResourceExhausted => "429 Too Many Requests",
        Code::Internal | Code::Unknown | Code::DataLoss => "500 Internal Server Error",
        _ => "503 Service Unavailable",
    };
    response(line, "text/plain", "")
}

fn response(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Answers for Fixed {
        fn health(&self) -> Health {
            Health::Sealed
        }

        async fn metrics(&self, caller: &Caller) -> Result<String, Status> {
            match caller.bearer.as_deref().map(String::as_str) {
                Some("right") => Ok("keyclave_unsealed 1\n".to_owned()),
                Some("sealed") => Err(Status::unavailable("")),
                Some("poor") => Err(Status::permission_denied("")),
                _ => Err(Status::unauthenticated("")),
            }
        }
    }

    async fn ask(request: &[u8]) -> String {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let answering =
            tokio::spawn(async move { answer(far, &Fixed, "127.0.0.1:1".parse().unwrap()).await });
        // What is over the limit is not taken.
        let _ = near.write_all(request).await;
        let _ = near.shutdown().await;
        let mut text = Vec::new();
        near.read_to_end(&mut text).await.unwrap();
        answering.await.unwrap().unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn one_word_tells_sealed_from_dead() {
        let answer = ask(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nsealed"), "{answer}");
    }

    #[tokio::test]
    async fn metrics_are_for_who_may_read_them() {
        let with = async |credential: &str| {
            ask(format!("GET /metrics HTTP/1.1\r\nhost: x\r\n{credential}\r\n\r\n").as_bytes()).await
        };
        assert!(with("authorization: Bearer right").await.ends_with("\r\n\r\nkeyclave_unsealed 1\n"));
        assert!(with("Authorization:Bearer right").await.starts_with("HTTP/1.1 200 "));
        for (credential, line) in [
            ("x: y", "HTTP/1.1 401 "),
            ("authorization: Bearer wrong", "HTTP/1.1 401 "),
            ("authorization: Basic right", "HTTP/1.1 401 "),
            ("authorization: Bearer right\r\nauthorization: Bearer right", "HTTP/1.1 401 "),
            ("authorization: Bearer poor", "HTTP/1.1 403 "),
            ("authorization: Bearer sealed", "HTTP/1.1 503 "),
            ("no header", "HTTP/1.1 404 "),
        ] {
            let answer = with(credential).await;
            assert!(answer.starts_with(line), "{credential}: {answer}");
            assert!(!answer.contains("keyclave_unsealed"));
        }
    }

    #[tokio::test]
    async fn anything_else_is_not_found() {
        let long = [&b"GET /healthz HTTP/1.1\r\nx: "[..], &vec![b'y'; REQUEST_BYTES_MAX]].concat();
        for request in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"POST /healthz HTTP/1.1\r\n\r\n",
            b"GET /healthz/ HTTP/1.1\r\n\r\n",
            b"GET /metrics?x HTTP/1.1\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n",
            b"GET /metrics\r\n\r\n",
            b"\0\xff\r\n\r\n",
            b"",
            &long,
        ] {
            assert!(ask(request).await.starts_with("HTTP/1.1 404 "));
        }
    }
}
