//! Waiting for something that another process does.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failure::Failure;

/// Between two looks.
const REST: Duration = Duration::from_millis(50);

/// Looks until there is something; after `limit` fails with what was missing at the last look.
pub(crate) async fn until<T, Look, Looking>(what: &str, limit: Duration, mut look: Look) -> Result<T, Failure>
where
    Look: FnMut() -> Looking,
    Looking: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + limit;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(missing) if Instant::now() >= end => {
                let what = format!("{what} took longer than {} s: {missing}", limit.as_secs());
                return Err(Failure::failed("TIMEOUT", what));
            }
            Err(_) => sleep(REST).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Output;

    #[tokio::test]
    async fn what_was_missing_last_is_told() {
        let mut looks = 0;
        let found = until("counting", Duration::from_secs(5), || {
            looks += 1;
            std::future::ready(if looks < 3 { Err("more".to_owned()) } else { Ok(looks) })
        });
        assert_eq!(found.await.unwrap(), 3);
        let never = until("this", Duration::ZERO, || std::future::ready(Err::<(), _>("the one".to_owned())));
        let failure = never.await.unwrap_err().render(Output::Text);
        assert!(failure.contains("the one"), "{failure}");
    }
}
