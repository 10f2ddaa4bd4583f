//! A jump of the clock that an operator accepts. The cluster's time never goes back.

use keyclave_types::request::WriteAnswer;
use keyclave_types::time::UnixMillis;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::cluster::ClusterTime;
use crate::refusal::Refusal;

pub(super) fn accept_time(draft: &mut Draft<'_>, time: UnixMillis) -> Result<WriteAnswer, Refusal> {
    let found = draft.reader.get::<ClusterTime>(&RecordName::ClusterTime);
    if found.is_none_or(|found| found.at < time) {
        draft.put(&ClusterTime { at: time });
    }
    Ok(WriteAnswer::Done)
}
