//! A jump of the clock that an operator accepts. The cluster's time never goes back.

use keyclave_types::request::WriteAnswer;
use keyclave_types::time::UnixMillis;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::cluster::ClusterTime;
use crate::refusal::Refusal;

pub(super) fn accept_time(draft: &mut Draft<'_>, time: UnixMillis) -> Result<WriteAnswer, Refusal> {
    match draft.reader.get::<ClusterTime>(&RecordName::ClusterTime).map(|found| found.at) {
        Some(recorded) if recorded > time => Err(Refusal::TimeBackwards { recorded, found: time }),
        Some(recorded) if recorded == time => Ok(WriteAnswer::Done),
        Some(_) | None => {
            draft.put(&ClusterTime { at: time });
            Ok(WriteAnswer::Done)
        }
    }
}
