//! The handle that everyone records through, and the one task behind it.
//!
//! [`Trail`] is cheap to clone. [`TrailTask`] is driven by whoever opened the trail, on their runtime; it gathers
//! what waits into groups and gives each to [`crate::append`]. A call that is not recorded within
//! [`RECORD_DEADLINE`] is answered so, whatever the disk does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::append::{AlarmChange, Appender, GroupError};
pub use crate::append::{DiskFault, FREE_SEGMENTS_MIN, SEGMENT_BYTES, SEGMENT_MS, StopCause};
use crate::files::{SegmentNumber, TrailFiles};
use crate::record::{Head, Receipt, RecordDraft};
use crate::segment_key::{SegmentKey, SegmentKeyId};
use crate::tree::{TrailTree, TreeHead};
use keyclave_types::threads::Threads;

/// How long a caller waits for its record.
pub const RECORD_DEADLINE: Duration = Duration::from_secs(2);
/// Records that wait to be gathered; more wait at their callers, for no longer than the deadline.
pub const QUEUE_RECORDS_MAX: usize = 4096;
/// Records in one group.
pub const GROUP_RECORDS_MAX: usize = 1024;
/// How often the files and the room for more are looked at.
pub const IDLE_CHECK: Duration = Duration::from_millis(500);

/// Why something is not on record. Whatever it was about must not be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrailError {
    /// The disk did not answer in time. The record may yet appear.
    #[error("the audit record was not durable within {} s", RECORD_DEADLINE.as_secs())]
    Deadline,
    /// The disk is full. The record is not in the trail.
    #[error("the disk of the audit trail is full")]
    Full,
    /// Nothing is recorded any more.
    #[error(transparent)]
    Stop(#[from] StopCause),
}

/// A handle to the trail of this node.
#[derive(Clone, Debug)]
pub struct Trail {
    queue: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

/// Where the trail stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// The last durable record: what a probe brings to the leader.
    pub head: Head,
    /// The tree over the records up to that one; none before the first segment that has one.
    pub tree: Option<TreeHead>,
    /// The open segment.
    pub segment: SegmentNumber,
    /// The key that its header names. Bring this one, if the ledger still has it, and bodies are sealed again
    /// without a new segment.
    pub segment_key: Option<SegmentKeyId>,
    /// Whether bodies are sealed.
    pub sealing: bool,
    /// Whether a key for the next segment is at hand.
    pub spare: bool,
    /// Whether someone has tampered with the trail and nobody has acknowledged it: records go on, service does not.
    pub alarm: bool,
    /// Whether there is room for fewer than [`FREE_SEGMENTS_MIN`] segments more: only operators are to be served.
    pub low: bool,
    /// Why nothing is recorded any more.
    pub stopped: Option<StopCause>,
}

#[derive(Debug)]
enum Command {
    Record(Box<Waiting>),
    Key(SegmentKey),
    ForgetKeys(oneshot::Sender<()>),
    Aside(Aside, oneshot::Sender<Result<(), StopCause>>),
}

/// What is done between two groups.
#[derive(Debug)]
enum Aside {
    /// The alarm changes.
    Alarm(AlarmChange),
    /// The segments before this one go.
    DropBefore(SegmentNumber),
}

#[derive(Debug)]
struct Waiting {
    draft: RecordDraft,
    answer: oneshot::Sender<Result<Receipt, TrailError>>,
}

impl Trail {
    /// Puts `draft` on record. Resolves to a receipt once the record is durable.
    pub async fn record(&self, draft: RecordDraft) -> Result<Receipt, TrailError> {
        let deadline = Instant::now() + RECORD_DEADLINE;
        let (answer, answered) = oneshot::channel();
        let waiting = Box::new(Waiting { draft, answer });
        let recorded = async {
            self.queue.send(Command::Record(waiting)).await.map_err(|_| self.stop_cause())?;
            answered.await.map_err(|_| self.stop_cause())?
        };
        timeout_at(deadline, recorded).await.unwrap_or(Err(TrailError::Deadline))
    }

    /// Gives the trail a segment key. Bodies recorded after this are sealed: under the open segment's key if this
    /// is it, otherwise in a segment that begins with it at once, or, if bodies are sealed already, when the open
    /// one ends.
    pub async fn give_key(&self, key: SegmentKey) -> Result<(), TrailError> {
        self.queue.send(Command::Key(key)).await.map_err(|_| TrailError::Stop(self.stop_cause()))
    }

    /// Wipes all keys, after what was asked for before is recorded. What follows is plain.
    pub async fn forget_keys(&self) -> Result<(), TrailError> {
        let (done, is_done) = oneshot::channel();
        self.queue.send(Command::ForgetKeys(done)).await.map_err(|_| self.stop_cause())?;
        is_done.await.map_err(|_| TrailError::Stop(self.stop_cause()))
    }

    /// Says durably that someone has tampered with this trail, and how that shows. It is said until it is acknowledged,
    /// also by processes that come after this one.
    pub async fn raise_alarm(&self, how: String) -> Result<(), TrailError> {
        self.aside(Aside::Alarm(AlarmChange::Raise(how))).await
    }

    /// Forgets the alarm: a person has acknowledged it, and that is on record.
    pub async fn acknowledge(&self) -> Result<(), TrailError> {
        self.aside(Aside::Alarm(AlarmChange::Clear)).await
    }

    /// Removes the segments before this one: the ledger says that the trail begins with it.
    pub async fn drop_before(&self, first: SegmentNumber) -> Result<(), TrailError> {
        self.aside(Aside::DropBefore(first)).await
    }

    async fn aside(&self, what: Aside) -> Result<(), TrailError> {
        let (done, is_done) = oneshot::channel();
        self.queue.send(Command::Aside(what, done)).await.map_err(|_| self.stop_cause())?;
        is_done.await.map_err(|_| self.stop_cause())?.map_err(TrailError::Stop)
    }

    /// Where the trail stands.
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Where the trail stands, with a way to wait for changes.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    fn stop_cause(&self) -> StopCause {
        self.status.borrow().stopped.unwrap_or(StopCause::Lost)
    }
}

/// What stands behind every [`Trail`] of one node.
pub struct TrailTask<F: TrailFiles> {
    appender: Appender<F>,
    queue: mpsc::Receiver<Command>,
    waiting: VecDeque<Box<Waiting>>,
    forgetting: Option<oneshot::Sender<()>>,
    aside: Option<(Aside, oneshot::Sender<Result<(), StopCause>>)>,
    status: watch::Sender<Status>,
    threads: Arc<dyn Threads>,
    looked: Instant,
}

/// A handle and its task for an open trail.
pub(crate) fn start<F: TrailFiles>(
    appender: Appender<F>,
    threads: Arc<dyn Threads>,
) -> (Trail, TrailTask<F>) {
    let (sender, queue) = mpsc::channel(QUEUE_RECORDS_MAX);
    let (status, watched) = watch::channel(Status::of(&appender));
    let trail = Trail { queue: sender, status: watched };
    let waiting = VecDeque::new();
    (
        trail,
        TrailTask {
            appender,
            queue,
            waiting,
            forgetting: None,
            aside: None,
            status,
            threads,
            looked: Instant::now(),
        },
    )
}

impl Status {
    fn of<F: TrailFiles>(appender: &Appender<F>) -> Self {
        Self {
            head: appender.head,
            tree: appender.tree.as_ref().map(TrailTree::head),
            segment: appender.segment.header.segment,
            segment_key: appender.segment.header.key,
            sealing: appender.keys.current.is_some() || appender.keys.spare.is_some(),
            spare: appender.keys.current.is_some() && appender.keys.spare.is_some(),
            alarm: appender.alarm,
            low: appender.low,
            stopped: None,
        }
    }
}

impl<F: TrailFiles> TrailTask<F> {
    /// Runs until every handle is gone and everything is recorded, or until the trail has to stop.
    pub async fn run(mut self) -> Result<(), StopCause> {
        loop {
            let more = self.gather().await;
            let step = if self.waiting.is_empty() && self.aside.is_none() && !more {
                Step::Close
            } else {
                Step::Group
            };
            let (taken, outcome) = match on_threads(self, step).await {
                Ok(both) => both,
                Err(lost) => return Err(lost),
            };
            self = taken;
            match outcome {
                Ok(()) if step == Step::Close => return Ok(()),
                Ok(()) => self.forget_if_asked(),
                Err(cause) => {
                    self.stop(cause);
                    return Err(cause);
                }
            }
        }
    }

    /// Waits for something to do, and takes what else waits. False once all handles are gone.
    async fn gather(&mut self) -> bool {
        let mut more = true;
        if self.waiting.is_empty() && self.forgetting.is_none() && self.aside.is_none() {
            match timeout(IDLE_CHECK, self.queue.recv()).await {
                Ok(Some(command)) => self.take(command),
                Ok(None) => more = false,
                Err(_) => {}
            }
        }
        // Nothing is taken after a wish to forget the keys, so that it holds for what was asked for after it.
        while self.forgetting.is_none() && self.aside.is_none() && self.waiting.len() < GROUP_RECORDS_MAX {
            match self.queue.try_recv() {
                Ok(command) => self.take(command),
                Err(_) => break,
            }
        }
        more
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Record(waiting) => self.waiting.push_back(waiting),
            Command::Key(key) => {
                self.appender.take_key(key);
                self.publish(None);
            }
            Command::ForgetKeys(done) => self.forgetting = Some(done),
            Command::Aside(what, done) => self.aside = Some((what, done)),
        }
    }

    fn forget_if_asked(&mut self) {
        if self.waiting.is_empty()
            && let Some(done) = self.forgetting.take()
        {
            self.appender.forget_keys();
            self.publish(None);
            // Whoever asked may have gone; the keys are gone either way.
            let _ = done.send(());
        }
    }

    /// One blocking step: records a group and answers it, or looks after the file.
    fn step(&mut self, step: Step) -> Result<(), StopCause> {
        match step {
            Step::Close => self.appender.close(),
            Step::Group if self.aside.is_some() => self.do_aside(),
            Step::Group if self.waiting.is_empty() => self.look(),
            Step::Group => {
                self.record_group()?;
                if self.looked.elapsed() < IDLE_CHECK { Ok(()) } else { self.look() }
            }
        }
    }

    fn look(&mut self) -> Result<(), StopCause> {
        self.looked = Instant::now();
        let low = self.appender.low;
        self.appender.look()?;
        if self.appender.low != low {
            self.publish(None);
        }
        Ok(())
    }

    fn do_aside(&mut self) -> Result<(), StopCause> {
        let Some((what, done)) = self.aside.take() else { return Ok(()) };
        let changed = match &what {
            Aside::Alarm(change) => self.appender.set_alarm(change),
            Aside::DropBefore(first) => self.appender.drop_before(*first),
        };
        let changed = changed.map_err(|error| StopCause::Write(DiskFault::from(&error)));
        self.publish(None);
        // Whoever asked may have gone; what is on disk is what counts.
        let _ = done.send(changed);
        changed
    }

    fn record_group(&mut self) -> Result<(), StopCause> {
        match self.appender.append(self.waiting.iter().map(|waiting| &waiting.draft)) {
            Ok(receipts) => {
                self.publish(None);
                for receipt in receipts {
                    self.answer_first(Ok(receipt));
                }
                Ok(())
            }
            Err(GroupError::Full) => {
                while !self.waiting.is_empty() {
                    self.answer_first(Err(TrailError::Full));
                }
                Ok(())
            }
            Err(GroupError::Stop(cause)) => Err(cause),
        }
    }

    fn answer_first(&mut self, result: Result<Receipt, TrailError>) {
        if let Some(waiting) = self.waiting.pop_front() {
            // A caller that has gone needs no answer; its record stays.
            let _ = waiting.answer.send(result);
        }
    }

    fn stop(&mut self, cause: StopCause) {
        self.publish(Some(cause));
        self.queue.close();
        while !self.waiting.is_empty() {
            self.answer_first(Err(TrailError::Stop(cause)));
        }
        while let Ok(command) = self.queue.try_recv() {
            if let Command::Record(waiting) = command {
                let _ = waiting.answer.send(Err(TrailError::Stop(cause)));
            }
        }
    }

    fn publish(&self, stopped: Option<StopCause>) {
        self.status.send_replace(Status { stopped, ..Status::of(&self.appender) });
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Group,
    Close,
}

/// Lends the task to a thread for one step.
async fn on_threads<F: TrailFiles>(
    mut task: TrailTask<F>,
    step: Step,
) -> Result<(TrailTask<F>, Result<(), StopCause>), StopCause> {
    let (done, is_done) = oneshot::channel();
    let threads = Arc::clone(&task.threads);
    threads.run(Box::new(move || {
        let outcome = task.step(step);
        // The task is dropped with its queue if nobody waits any more, which every caller sees.
        let _ = done.send((task, outcome));
    }));
    is_done.await.map_err(|_| StopCause::Lost)
}
