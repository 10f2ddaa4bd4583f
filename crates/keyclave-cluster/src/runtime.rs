//! The runtime that openraft runs on: tokio, with random numbers from a seed that comes in as a value.
//!
//! openraft asks for random numbers through a function without arguments, so each node's generator travels with
//! its tasks: [`seeded`] gives a task one, and whatever openraft spawns from it inherits it. Two nodes in one
//! process never share a generator, and one seed gives one history.
//!
//! Deliberately absent: any source of entropy, and any time but tokio's, which a simulator can stop.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::impls::TokioRuntime;
use openraft::{AsyncRuntime, OptionalSend};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::task::JoinHandle;

tokio::task_local! {
    static DICE: Dice;
}

/// One node's random numbers: election timers, nothing secret. Clones share the sequence.
#[derive(Clone)]
pub(crate) struct Dice(Arc<Mutex<SmallRng>>);

impl Dice {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))))
    }

    /// A time from `from_ms` up to, and without, `to_ms`.
    pub(crate) fn between_ms(&self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.clone().gen_range(from_ms..to_ms))
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        // The generator is whole after every draw, so a panic elsewhere does not spoil it.
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dice")
    }
}

impl RngCore for Dice {
    fn next_u32(&mut self) -> u32 {
        self.draw(RngCore::next_u32)
    }

    fn next_u64(&mut self) -> u64 {
        self.draw(RngCore::next_u64)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.draw(|dice| dice.fill_bytes(bytes));
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

/// Runs `task` with `dice` as its own random numbers and those of everything that openraft spawns from it.
pub(crate) fn seeded<F: Future>(dice: Dice, task: F) -> impl Future<Output = F::Output> {
    DICE.scope(dice, task)
}

/// What openraft calls tokio by.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(crate) struct SeededTokio;

impl AsyncRuntime for SeededTokio {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = tokio::time::Instant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = Dice;
    type OneshotSender<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiver<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotReceiver<T>;
    type OneshotReceiverError = <TokioRuntime as AsyncRuntime>::OneshotReceiverError;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        tokio::spawn(seeded(Self::thread_rng(), future))
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        tokio::time::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        join_error.is_panic()
    }

    /// The task's own generator. Only openraft's store suite runs without one, and draws nothing.
    fn thread_rng() -> Dice {
        DICE.try_with(Dice::clone).unwrap_or_else(|_| Dice::new(0))
    }

    fn oneshot<T: OptionalSend>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>) {
        TokioRuntime::oneshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn drawn(seed: u64) -> Vec<u64> {
        let task = async {
            let inherited = SeededTokio::spawn(async { SeededTokio::thread_rng().next_u64() }).await.unwrap();
            vec![inherited, SeededTokio::thread_rng().next_u64()]
        };
        seeded(Dice::new(seed), task).await
    }

    #[tokio::test]
    async fn one_seed_gives_one_sequence_through_every_task_it_spawns() {
        assert_eq!(drawn(7).await, drawn(7).await);
        assert_ne!(drawn(7).await, drawn(8).await);
        let numbers = drawn(7).await;
        assert_ne!(numbers[0], numbers[1], "a spawned task continues the sequence and does not repeat it");
    }
}
