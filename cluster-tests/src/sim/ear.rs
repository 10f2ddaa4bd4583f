//! An ear on the peer network: keeps what whole nodes say to each other, so that it can be searched at the end for what
//! must never be said on a connection that is not keyed.
//!
//! [`super::wire`] lends it every connection. Each end keeps what it says itself; what kind of connection it is, the
//! first byte tells, which is the dialler's.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::windows::Windows;

/// The dialler's first byte on a connection that is to be keyed.
const KEYED: u8 = 0x02;

/// Keeps what is said; a deaf one, which is the default, keeps nothing. Clones keep it together.
#[derive(Clone, Default)]
pub struct Ear {
    said: Option<Arc<Mutex<Vec<Said>>>>,
}

/// What one end of a connection said.
struct Said {
    /// Which node.
    node: u64,
    /// The first byte that passed, from whichever end.
    first: Option<u8>,
    bytes: Vec<u8>,
}

/// What was found in what was said.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Found {
    /// Bytes that were said on connections that are not keyed.
    pub plain_bytes: u64,
    /// Who said something secret there.
    pub speakers: BTreeSet<u64>,
    /// Places in what was said on keyed connections that hold something secret.
    pub keyed_hits: u64,
}

impl Ear {
    /// One that hears.
    pub fn hearing() -> Self {
        Self { said: Some(Arc::default()) }
    }

    /// `stream`, one end of a connection, as `node` uses it, heard from here on.
    pub fn lend<S>(&self, node: u64, stream: S) -> Heard<S> {
        let mut place = 0;
        if let Some(mut said) = self.said() {
            place = said.len();
            said.push(Said { node, first: None, bytes: Vec::new() });
        }
        Heard { stream, place, ear: self.clone() }
    }

    /// Searches everything that was said.
    pub fn search(&self, windows: &Windows) -> Found {
        let mut found = Found::default();
        let Some(said) = self.said() else { return found };
        for Said { node, first, bytes } in said.iter() {
            let hits = windows.found_in(bytes);
            if *first == Some(KEYED) {
                found.keyed_hits += u64::try_from(hits).unwrap_or(u64::MAX);
                continue;
            }
            found.plain_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if hits > 0 {
                found.speakers.insert(*node);
            }
        }
        found
    }

    fn hear(&self, place: usize, passed: &[u8], said: bool) {
        let Some(mut all) = self.said() else { return };
        let Some(end) = all.get_mut(place) else { return };
        end.first = end.first.or(passed.first().copied());
        if said {
            end.bytes.extend_from_slice(passed);
        }
    }

    fn said(&self) -> Option<MutexGuard<'_, Vec<Said>>> {
        // Every change under the lock is whole before anything can panic.
        Some(self.said.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One end of a connection that is heard.
pub struct Heard<S> {
    stream: S,
    place: usize,
    ear: Ear,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(task, buffer);
        self.ear.hear(self.place, buffer.filled().get(before..).unwrap_or_default(), false);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(task, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            self.ear.hear(self.place, bytes.get(..*written).unwrap_or_default(), true);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SECRET: &[u8] = b"what nobody may say in the open";

    /// What is found after a dialler began with `first` and both ends said something.
    async fn found(first: u8, dialler: &[u8], acceptor: &[u8]) -> Found {
        let ear = Ear::hearing();
        let (one, other) = duplex(256);
        let (mut one, mut other) = (ear.lend(1, one), ear.lend(2, other));
        one.write_all(&[first]).await.unwrap();
        one.write_all(dialler).await.unwrap();
        other.read_exact(&mut vec![0; 1 + dialler.len()]).await.unwrap();
        other.write_all(acceptor).await.unwrap();
        let mut windows = Windows::default();
        windows.add(SECRET);
        ear.search(&windows)
    }

    #[tokio::test]
    async fn a_secret_on_a_plain_connection_is_found_whoever_says_it() {
        assert_eq!(found(1, SECRET, b"yes").await.speakers, BTreeSet::from([1]));
        assert_eq!(found(1, b"hello", SECRET).await.speakers, BTreeSet::from([2]));
        let silent = found(1, b"hello", b"yes").await;
        assert_eq!((silent.plain_bytes, silent.speakers.len(), silent.keyed_hits), (9, 0, 0));
    }

    #[tokio::test]
    async fn a_secret_on_a_keyed_connection_shows_that_the_search_finds() {
        let keyed = found(KEYED, SECRET, SECRET).await;
        assert_eq!((keyed.plain_bytes, keyed.speakers.len()), (0, 0));
        assert!(keyed.keyed_hits > 0);
    }
}
