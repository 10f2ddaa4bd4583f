//! `keyclave operator health`: one word of the process on this machine, and an exit status that tells sealed from dead.
//!
//! For probes where there is nothing but the binary. Asks the health port, so it needs neither credential nor socket.

use std::net::SocketAddr;

use keyclave_server::health::Health;
use keyclave_server::probe::ask;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Shown;

/// It does not do its part.
const FAILING: u8 = 1;
/// It was to be unsealed and is not.
const NOT_UNSEALED: u8 = 2;

/// Asks.
pub(super) async fn run(address: SocketAddr, unsealed: bool) -> Result<Shown, Failure> {
    match ask(address).await {
        Ok(health) => Ok(shown(health, unsealed)),
        Err(error) => Err(Failure::from_error("NO_ANSWER", &error)
            .next("look whether the process runs, and name its --health-listen address with --address")),
    }
}

fn shown(health: Health, unsealed: bool) -> Shown {
    let status = match health {
        Health::Unsealed => 0,
        // Starting it again would only empty its runtime directory: what it waits for is people.
        Health::Sealed | Health::Vacant if !unsealed => 0,
        Health::Sealed | Health::Vacant => NOT_UNSEALED,
        Health::Failing => FAILING,
    };
    Shown::new(health.word(), &json!({ "state": health.word() })).with_status(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Output;

    #[test]
    fn sealed_is_alive_but_not_unsealed() {
        let status = |health, unsealed| shown(health, unsealed).status();
        assert_eq!((status(Health::Unsealed, false), status(Health::Unsealed, true)), (0, 0));
        assert_eq!((status(Health::Sealed, false), status(Health::Sealed, true)), (0, NOT_UNSEALED));
        assert_eq!((status(Health::Vacant, false), status(Health::Vacant, true)), (0, NOT_UNSEALED));
        assert_eq!((status(Health::Failing, false), status(Health::Failing, true)), (FAILING, FAILING));
        assert_eq!(shown(Health::Sealed, false).render(Output::Text).as_str(), "sealed\n");
    }
}
