//! How an answer leaves: made over one frozen view after another, confirmed and put on record at the same time, let out if
//! it stands and made again otherwise. Refusals go the same way.

use std::sync::Arc;

use keyclave_node::confirmer::Confirming;
use keyclave_node::failure::Failure;
use keyclave_node::host::{Host, Leaving};
use keyclave_node::member::Member;
use keyclave_node::serving::Serving;
use keyclave_policy::Permit;
use keyclave_types::position::Position;
use keyclave_vault::compute::NeedBlock;
use keyclave_vault::reads::ReadSet;
use keyclave_vault::refusal::{Refusal, Refused};
use keyclave_vault::view::View;
use tokio::time::Instant;
use tonic::Status;

use super::{Asking, Pipeline};
use crate::caller::Caller;
use crate::recording::Recording;

/// How often one read is done again because what it rests on changed, before it is given up.
const READS_MAX: usize = 16;

/// What was found to answer, before it may leave.
pub(crate) enum Found<A> {
    /// The answer, which goes on record as done.
    Answer(A),
    /// A no.
    Refused(Refusal),
    /// Either, about keys whose owners let it rest on a confirmation that began at most so long ago.
    Within {
        /// The answer or the no.
        answer: Result<A, Refusal>,
        /// How long ago.
        staleness_max_ms: u64,
    },
    /// A no that is about the request itself.
    Invalid(Status),
    /// A block of uses is missing.
    Need(NeedBlock),
    /// The caller may; what is done, and its record, follow.
    Permitted {
        /// What to go on with.
        answer: A,
        /// Whether that must be confirmed here, because nobody decides it anew.
        confirm: bool,
    },
}

/// Why there is no answer.
enum Unanswered {
    /// The trail says so.
    OnRecord(Status),
    /// It must be put on record before it leaves.
    OffRecord(Status),
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::OffRecord(failure.into_status())
    }
}

/// What was made over one view, and what it takes for it to leave.
struct Made<A> {
    outcome: Result<A, Failure>,
    reads: ReadSet,
    confirming: Confirming,
    /// How old a confirmation it may rest on.
    staleness_max_ms: u64,
}

impl<H: Host> Pipeline<H> {
    /// Asks `question` of one frozen view after another until its answer stands; every no is on record.
    pub(crate) async fn confirmed<A>(
        &self,
        caller: &Caller,
        recording: &mut Recording,
        asked: &Asking<'_>,
        question: impl FnMut(&Serving<H>, &View, &Permit) -> (Found<A>, ReadSet),
    ) -> Result<(A, Position), Status> {
        let member = self.member_for(caller, recording).await?;
        let answered = self.answered(&member, caller, recording, asked, question).await;
        match answered {
            Ok(answered) => Ok(answered),
            Err(Unanswered::OnRecord(status)) => Err(status),
            Err(Unanswered::OffRecord(status)) => {
                self.record_refusal(&member, recording, &status).await?;
                Err(status)
            }
        }
    }

    async fn answered<A>(
        &self,
        member: &Arc<Member<H>>,
        caller: &Caller,
        recording: &mut Recording,
        asked: &Asking<'_>,
        mut question: impl FnMut(&Serving<H>, &View, &Permit) -> (Found<A>, ReadSet),
    ) -> Result<(A, Position), Unanswered> {
        let serving = member.serving()?;
        let mut unreached = asked.floor;
        for _ in 0..READS_MAX {
            if Instant::now() >= caller.deadline {
                return Err(Failure::Deadline.into());
            }
            // Begun before the view is taken: whatever was acknowledged before this moment must be seen.
            let confirming = serving.begin_confirmation();
            let view = serving.view()?;
            let at = view.position();
            recording.body.view = Some(at);
            let (found, reads) = match self.permit(caller, &serving, &view, asked, recording) {
                Ok((permit, mut reads)) => {
                    // Nothing of this is on record: the trail is what is wrong.
                    serving
                        .trail_allows(asked.action)
                        .map_err(|failure| Unanswered::OnRecord(failure.into_status()))?;
                    let below =
                        |floor: &Position| floor.generation != at.generation || floor.index > at.index;
                    // Only who may ask is waited for.
                    if let Some(floor) = unreached.take().filter(below) {
                        in_time(caller, serving.reach(Some(floor))).await?;
                        continue;
                    }
                    let (found, read) = question(&serving, &view, &permit);
                    reads.extend(read);
                    (found, reads)
                }
                Err(Refused { refusal, reads }) => (Found::Refused(refusal), reads),
            };
            let mut staleness_max_ms = 0;
            let outcome = match found {
                Found::Need(need) => {
                    in_time(caller, serving.reserve(need, caller.deadline)).await?;
                    continue;
                }
                Found::Permitted { answer, confirm: false } => return Ok((answer, at)),
                Found::Permitted { answer, confirm: true } => {
                    match in_time(caller, serving.stands(&reads, confirming, Leaving::Answer)).await? {
                        Some(position) => return Ok((answer, position)),
                        None => continue,
                    }
                }
                Found::Answer(answer) => Ok(answer),
                Found::Refused(refusal) => Err(Failure::Refused(refusal)),
                Found::Within { answer, staleness_max_ms: allowed } => {
                    staleness_max_ms = allowed;
                    answer.map_err(Failure::Refused)
                }
                Found::Invalid(status) => Err(Failure::Elsewhere(status)),
            };
            let made = Made { outcome, reads, confirming, staleness_max_ms };
            if let Some(answered) = self.leave(member, caller, &serving, recording, made).await? {
                return Ok(answered);
            }
        }
        Err(Failure::Contended.into())
    }

    /// Puts what was made on record while it is confirmed, and lets it out if it stands; none if it is to be made again.
    async fn leave<A>(
        &self,
        member: &Member<H>,
        caller: &Caller,
        serving: &Serving<H>,
        recording: &Recording,
        made: Made<A>,
    ) -> Result<Option<(A, Position)>, Unanswered> {
        let Made { outcome, reads, confirming, staleness_max_ms } = made;
        let leaving = if outcome.is_ok() { Leaving::Answer } else { Leaving::Refusal };
        let still = serving.stands_still(&reads, staleness_max_ms)?;
        let stands = async {
            match still {
                Some(position) => Ok(Some(position)),
                None => in_time(caller, serving.stands(&reads, confirming, leaving)).await,
            }
        };
        let (mut stands, recorded) =
            tokio::join!(stands, self.record_outcome(member, recording, outcome.as_ref().err()));
        let recorded = recorded.map_err(Unanswered::OnRecord)?;
        if still.is_some() {
            // The disk may have taken its time: what leaves is no older than its owner allows.
            stands = serving.stands_still(&reads, staleness_max_ms);
        }
        if let Ok(Some(position)) = stands {
            return match outcome {
                Ok(answer) => Ok(Some((answer, position))),
                Err(no) => Err(Unanswered::OnRecord(no.to_status(Some(position)))),
            };
        }
        if recorded {
            let withheld = self.record(member, recording.withheld(self.now())).await;
            withheld.map_err(Unanswered::OnRecord)?;
        }
        stands.map(|_| None).map_err(|failure| Unanswered::OnRecord(failure.into_status()))
    }

    /// Puts an answer or a no on record; whether it is there, and not only counted.
    async fn record_outcome(
        &self,
        member: &Member<H>,
        recording: &Recording,
        no: Option<&Failure>,
    ) -> Result<bool, Status> {
        match no {
            None => self.record(member, recording.done(self.now())).await.map(|()| true),
            Some(no) => self.record_refusal(member, recording, &no.to_status(None)).await,
        }
    }
}

/// What takes longer than the caller waits has failed.
async fn in_time<T>(caller: &Caller, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout_at(caller.deadline, work).await.unwrap_or(Err(Failure::Deadline))
}
