//! The steps of the demo as they happen: named, timed, printed, and listed at the end.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::arguments::Output;
use crate::failure::Failure;
use crate::local::told::Told;
use crate::output::{self, Shown};
use crate::progress::{announced, watched};

/// Columns for a step's title.
const TITLE_WIDTH: usize = 58;

/// One step that has ended.
#[derive(Serialize, Clone)]
pub(super) struct Step {
    name: &'static str,
    ok: bool,
    ms: u64,
}

/// All steps so far.
pub(super) struct Steps {
    ended: Vec<Step>,
    begun: Instant,
    output: Output,
}

/// The whole demo for programs.
#[derive(Serialize)]
struct Finished<'a> {
    ok: bool,
    steps: &'a [Step],
}

impl Steps {
    pub(super) fn new(output: Output) -> Self {
        Self { ended: Vec::new(), begun: Instant::now(), output }
    }

    /// Does one step: prints its line when it ends, well or not.
    pub(super) async fn step<T>(
        &mut self,
        name: &'static str,
        title: &str,
        work: impl Future<Output = Result<Told<T>, Failure>>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let told = match self.output {
            Output::Text => watched(title, work).await,
            // Whoever reads standard error here may not be at a terminal, and is told all the same.
            Output::Json => announced(title, work).await,
        };
        let took = begun.elapsed();
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.ended.push(Step { name, ok: told.is_ok(), ms });
        let detail = told.as_ref().map(|told| told.detail.as_str()).unwrap_or_default();
        self.say(&line(told.is_ok(), title, took, detail));
        told.map(|told| told.value)
    }

    /// A line for people: on standard error where standard output is for one JSON object.
    pub(super) fn say(&self, text: &str) {
        match self.output {
            // The demo goes on even if nobody reads.
            Output::Text => drop(output::bytes(format!("{text}\n").as_bytes())),
            Output::Json => output::note(text),
        }
    }

    pub(super) fn ended(&self) -> &[Step] {
        &self.ended
    }

    /// All went well.
    pub(super) fn finished(&self) -> Shown {
        let text =
            format!("\nAll {} steps in {:.1} s.", self.ended.len(), self.begun.elapsed().as_secs_f64());
        Shown::new(text, &Finished { ok: true, steps: &self.ended })
    }

    /// The last one did not; the failure itself was told.
    pub(super) fn failed(&self) -> Shown {
        Shown::new(String::new(), &Finished { ok: false, steps: &self.ended }).with_status(1)
    }
}

fn line(ok: bool, title: &str, took: Duration, detail: &str) -> String {
    let mark = if ok { "ok  " } else { "FAIL" };
    let line = format!("  {mark} {title:<TITLE_WIDTH$} {:>6.2} s  {detail}", took.as_secs_f64());
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_step_is_listed_as_such_and_ends_with_one() {
        let mut steps = Steps::new(Output::Json);
        steps.step("good", "a good one", async { Ok(Told::quietly(())) }).await.unwrap();
        let work = async { Err::<Told<()>, _>(Failure::failed("X", "no")) };
        assert!(steps.step("bad", "a bad one", work).await.is_err());
        let shown = steps.failed();
        assert_eq!(shown.status(), 1);
        let object: serde_json::Value = serde_json::from_str(&shown.render(Output::Json)).unwrap();
        assert_eq!(object["ok"], false);
        assert_eq!(object["steps"][0]["name"], "good");
        assert_eq!(object["steps"][1]["ok"], false);
        assert!(object["steps"][1]["ms"].is_u64());
    }
}
