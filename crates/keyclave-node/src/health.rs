//! Ends the process when its log or its trail has stopped, and seals it when its records differ from the leader's.

use std::sync::Weak;

use keyclave_audit::trail::{Status, StopCause};
use keyclave_cluster::cluster::{Alarm, Fatal};
use tokio::sync::watch;

use crate::host::Host;
use crate::member::Member;
use crate::node::Ending;

/// Runs until there is a reason to stop, or the member is gone.
pub(crate) async fn watch<H: Host>(member: Weak<Member<H>>) {
    let watched = member.upgrade().map(|member| Watched {
        log: member.cluster.watch_fatal(),
        alarm: member.cluster.watch_alarm(),
        trail: member.trail.watch(),
    });
    let Some(watched) = watched else { return };
    let ending = watched.ending().await;
    if let (Some(member), Some(ending)) = (member.upgrade(), ending) {
        tracing::error!(%ending, "this node must stop");
        if matches!(ending, Ending::Alarm(_)) {
            // Its records are wrong: a fresh process of it must not come back by itself.
            member.withdraw();
        }
        member.end(ending);
    }
}

struct Watched {
    log: watch::Receiver<Option<Fatal>>,
    alarm: watch::Receiver<Option<Alarm>>,
    trail: watch::Receiver<Status>,
}

impl Watched {
    /// The reason to stop; `None` if the log was told to, or is gone.
    async fn ending(mut self) -> Option<Ending> {
        tokio::select! {
            // The log first: whoever raises alarms goes with it, and what it left must be read before.
            biased;
            fatal = self.log.wait_for(Option::is_some) => {
                let fatal = fatal.ok()?.clone();
                fatal.filter(|fatal| *fatal != Fatal::Stopped).map(Ending::Log)
            }
            Ok(alarm) = self.alarm.wait_for(Option::is_some) => alarm.map(Ending::Alarm),
            stopped = self.trail.wait_for(|status| status.stopped.is_some()) => match stopped {
                Ok(status) => status.stopped.map(Ending::Trail),
                // Its task is gone without a word.
                Err(_) => Some(Ending::Trail(StopCause::Lost)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use keyclave_audit::files::SegmentNumber;
    use keyclave_audit::record::Head;

    use super::*;

    type Senders = (watch::Sender<Option<Fatal>>, watch::Sender<Option<Alarm>>, watch::Sender<Status>);

    fn watched() -> (Senders, Watched) {
        let trail = Status {
            head: Head { sequence: 0, hash: [0; 32] },
            segment: SegmentNumber(1),
            segment_key: None,
            tree: None,
            alarm: false,
            low: false,
            sealing: false,
            spare: false,
            stopped: None,
        };
        let (log, alarm, trail) =
            (watch::Sender::new(None), watch::Sender::new(None), watch::Sender::new(trail));
        let watched = Watched { log: log.subscribe(), alarm: alarm.subscribe(), trail: trail.subscribe() };
        ((log, alarm, trail), watched)
    }

    #[test]
    fn a_log_that_stops_ends_the_process_although_who_raises_alarms_goes_with_it() {
        // Often, since a choice between the two might fall well by chance.
        for _ in 0..100 {
            let ((log, alarm, _trail), watched) = watched();
            log.send_replace(Some(Fatal::Panicked));
            drop(alarm);
            let ending = watched.ending().now_or_never();
            assert!(matches!(ending, Some(Some(Ending::Log(Fatal::Panicked)))), "{ending:?}");
        }
    }

    #[test]
    fn a_log_that_was_told_to_stop_is_no_failure() {
        let ((log, _alarm, _trail), watched) = watched();
        log.send_replace(Some(Fatal::Stopped));
        assert!(matches!(watched.ending().now_or_never(), Some(None)));
    }

    #[test]
    fn a_trail_that_is_gone_ends_the_process() {
        let ((_log, _alarm, trail), watched) = watched();
        drop(trail);
        let ending = watched.ending().now_or_never();
        assert!(matches!(ending, Some(Some(Ending::Trail(StopCause::Lost)))), "{ending:?}");
    }
}
