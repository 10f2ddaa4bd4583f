//! Who calls, as far as the wire says: where from, with which credential, and how long they will wait. Nothing here is
//! believed; the view decides who the credential speaks for.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use keyclave_policy::Circumstances;
use keyclave_vault::authenticate::Shown;
use keyclave_vault::presented::Presented;
use tokio::time::Instant;
use tonic::Request;
use zeroize::Zeroizing;

use crate::connections::Source;
use crate::origin::{Arrival, Origin};
use crate::receipt::ReceiptPlace;

/// How long a call may take when the caller does not say.
const CALL_MS_DEFAULT: u64 = 10_000;
/// How long a call may take, whatever the caller says.
pub(crate) const CALL_MS_MAX: u64 = 75_000;
/// Bytes of a credential that are looked at.
const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;

/// One call's caller.
pub(crate) struct Caller {
    /// Where from.
    pub(crate) origin: Origin,
    /// What followed `Bearer `, if anything did.
    pub(crate) bearer: Option<Zeroizing<String>>,
    /// The certificate whose key its connection has proved.
    pub(crate) presented: Option<Arc<Presented>>,
    /// When the call arrived.
    pub(crate) arrived: Instant,
    /// When its time is over.
    pub(crate) deadline: Instant,
    /// Where the receipt for its record goes.
    pub(crate) receipt: ReceiptPlace,
}

impl Caller {
    /// The caller of a request. A request without an origin did not come through a listener of ours.
    pub(crate) fn of<T>(request: &Request<T>) -> Option<Self> {
        let receipt = request.extensions().get::<ReceiptPlace>().cloned().unwrap_or_default();
        let arrival = request.extensions().get::<Arrival>()?;
        Some(Self { receipt, ..Self::arrived(arrival, request.metadata().as_ref()) })
    }

    /// The caller of a call that came so and has these headers.
    pub(crate) fn arrived(arrival: &Arrival, headers: &HeaderMap) -> Self {
        Self { presented: arrival.presented.clone(), ..Self::from(arrival.origin, headers) }
    }

    /// The caller from `origin` whose call has these headers.
    pub(crate) fn from(origin: Origin, headers: &HeaderMap) -> Self {
        let arrived = Instant::now();
        let deadline = arrived + time_given(headers);
        let receipt = ReceiptPlace::default();
        Self { origin, bearer: bearer(headers), presented: None, arrived, deadline, receipt }
    }

    /// What it has shown.
    pub(crate) fn shown(&self) -> Shown<'_> {
        Shown {
            bearer: self.bearer.as_ref().map(|bearer| bearer.as_str()),
            certificate: self.presented.as_deref(),
            source: self.circumstances().source,
        }
    }

    /// Whether that is anything.
    pub(crate) fn has_credential(&self) -> bool {
        self.bearer.is_some() || self.presented.is_some()
    }

    /// How it came, as far as policies may look at it.
    pub(crate) fn circumstances(&self) -> Circumstances {
        let source = match self.origin {
            Origin::Network(address) => Some(address.ip().to_canonical()),
            Origin::LocalSocket => None,
        };
        Circumstances { source, ..Circumstances::default() }
    }

    /// Where it comes from, as far as failures are counted.
    pub(crate) fn source(&self) -> Source {
        match self.origin {
            Origin::Network(address) => address.into(),
            Origin::LocalSocket => Source::LocalSocket,
        }
    }

    /// Whether it came over the operator's socket.
    pub(crate) fn is_local(&self) -> bool {
        self.origin == Origin::LocalSocket
    }
}

fn bearer(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let mut values = headers.get_all("authorization").iter();
    let (first, second) = (values.next()?, values.next());
    let text = first.to_str().ok()?;
    let credential = text.strip_prefix("Bearer ")?;
    // Two credentials are none: nobody shall choose which one counts.
    let right = second.is_none() && !credential.is_empty() && credential.len() <= CREDENTIAL_BYTES_MAX;
    right.then(|| Zeroizing::new(credential.to_owned()))
}

/// gRPC's own header: up to eight digits and a unit.
fn time_given(headers: &HeaderMap) -> Duration {
    let given = headers.get("grpc-timeout").and_then(|value| parse_timeout(value.to_str().ok()?));
    given.unwrap_or(Duration::from_millis(CALL_MS_DEFAULT)).min(Duration::from_millis(CALL_MS_MAX))
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn bearer_of(pairs: &[(&'static str, &str)]) -> Option<String> {
        Caller::from(Origin::LocalSocket, &headers(pairs)).bearer.map(|b| b.to_string())
    }

    #[test]
    fn only_one_bearer_credential_counts() {
        assert_eq!(bearer_of(&[("authorization", "Bearer abc")]).as_deref(), Some("abc"));
        for wrong in ["", "Bearer ", "bearer abc", "Basic abc", "Bearerabc"] {
            assert_eq!(bearer_of(&[("authorization", wrong)]), None, "{wrong:?}");
        }
        assert_eq!(bearer_of(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]), None);
        let long = format!("Bearer {}", "x".repeat(CREDENTIAL_BYTES_MAX + 1));
        assert_eq!(bearer_of(&[("authorization", &long)]), None);
    }

    #[test]
    fn the_time_given_is_bounded() {
        let given = |text: &str| time_given(&headers(&[("grpc-timeout", text)]));
        assert_eq!(given("250m"), Duration::from_millis(250));
        assert_eq!(given("2S"), Duration::from_secs(2));
        assert_eq!(given("99999999H"), Duration::from_millis(CALL_MS_MAX));
        for wrong in ["", "S", "1", "-1S", "1x", "999999999S", "1.5S"] {
            assert_eq!(given(wrong), Duration::from_millis(CALL_MS_DEFAULT), "{wrong:?}");
        }
    }

    #[test]
    fn what_did_not_come_through_a_listener_has_no_caller() {
        assert!(Caller::of(&Request::new(())).is_none());
    }
}
