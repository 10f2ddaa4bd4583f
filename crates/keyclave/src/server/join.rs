//! One attempt to join, made with the SDK: the join token names the CA to believe.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use keyclave_client::cluster::{JoinNode, JoinTicket, Joined};
use keyclave_client::dial::DialError;
use keyclave_client::error::{ReadError, Silence};
use keyclave_client::{Answer, Client};
use keyclave_server::joiner::{JoinFailure, JoinReply};
use keyclave_types::member::HostPort;
use zeroize::Zeroizing;

/// How long one attempt may take.
const ATTEMPT_MS_MAX: u64 = 10_000;
/// Refusals that another attempt with the same token does not get past.
const LASTING: [&str; 7] = [
    "JOIN_REFUSED",
    "UNAUTHENTICATED",
    "OTHER_INCARNATION",
    "MEMBERS_MAX",
    "NODES_EXHAUSTED",
    "INVALID_FIELD",
    "NOT_INITIALIZED",
];

/// The call, as keyclave-server wants it.
pub(super) fn call(
    address: HostPort,
    token: Zeroizing<String>,
    node: JoinNode,
) -> Pin<Box<dyn Future<Output = Result<JoinReply, JoinFailure>> + Send>> {
    Box::pin(async move {
        let ticket = JoinTicket::parse(&token).map_err(refused)?;
        let client = Client::builder()
            .endpoints([address.into()])
            .ca_fingerprint(ticket.fingerprint())
            .deadline(Duration::from_millis(ATTEMPT_MS_MAX))
            .build()
            .map_err(refused)?;
        client.join(&ticket, &node).await.map(reply).map_err(judged)
    })
}

fn reply(answer: Answer<Joined>) -> JoinReply {
    let Answer { value: joined, position } = answer;
    let known = joined.members.into_iter();
    JoinReply {
        position,
        cluster: joined.cluster,
        node: joined.node,
        members: known.filter_map(|m| Some((m.node, m.identity, m.addresses?))).collect(),
        writer: joined.writer_public_key,
        first_entry: joined.first_entry,
    }
}

fn refused(error: impl Error + Send + Sync + 'static) -> JoinFailure {
    JoinFailure::Refused(Box::new(error))
}

fn judged(error: ReadError) -> JoinFailure {
    let lasting = match &error {
        ReadError::Refused(refusal) => LASTING.contains(&refusal.reason.as_str()),
        // A server without the CA that the token names never gets it.
        ReadError::NoAnswer(none) => {
            none.tried.iter().any(|(_, silence)| matches!(silence, Silence::Dial(DialError::Certificate(_))))
        }
        ReadError::OtherGeneration(_) | ReadError::Answer(_) => true,
        ReadError::Sealed => false,
    };
    if lasting { refused(error) } else { JoinFailure::Later(Box::new(error)) }
}

#[cfg(test)]
mod tests {
    use keyclave_client::refusal::Refusal;

    use super::*;

    fn refusal(reason: &str) -> ReadError {
        ReadError::Refused(Box::new(Refusal {
            reason: reason.to_owned(),
            code: String::new(),
            message: String::new(),
            violations: vec![],
            position: None,
            endpoint: "https://a:1".parse().unwrap(),
        }))
    }

    #[test]
    fn a_spent_token_ends_the_attempts_and_a_sealed_cluster_does_not() {
        assert!(matches!(judged(refusal("JOIN_REFUSED")), JoinFailure::Refused(_)));
        assert!(matches!(judged(refusal("NO_LEADER")), JoinFailure::Later(_)));
        assert!(matches!(judged(ReadError::Sealed), JoinFailure::Later(_)));
    }
}
