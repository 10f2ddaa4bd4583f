//! What a client is made of.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyclave_crypto::entropy::{self, Entropy, SystemEntropyError};
use zeroize::Zeroizing;

use crate::client::{Client, Settings, Shared};
use crate::dial::{Anchor, AnchorError, ClientCertificateError, Dial, LocalSocket, Tls};
use crate::endpoint::{Endpoint, EndpointError};
use crate::fleet::Fleet;
use crate::seen::Seen;

/// How long a call may take unless the caller says otherwise.
const DEADLINE: Duration = Duration::from_secs(15);
/// Endpoints of one cluster.
const ENDPOINTS_MAX: usize = 64;
/// Characters of a token.
const TOKEN_BYTES_MAX: usize = 4_096;

/// Gathers what a client needs.
pub struct Builder {
    endpoints: Vec<Endpoint>,
    token: Option<Zeroizing<String>>,
    trust: Option<Trust>,
    certificate: Option<Pair>,
    entropy: Option<Entropy>,
    deadline: Duration,
}

/// A certificate and its key, PEM.
struct Pair {
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

enum Trust {
    Pem(Vec<u8>),
    Fingerprint([u8; 32]),
    Dial(Arc<dyn Dial>),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No endpoint.
    #[error("no endpoint is named; set KEYCLAVE_ENDPOINTS to https://host:port, several with commas")]
    NoEndpoint,
    /// Too many.
    #[error("{found} endpoints are more than {ENDPOINTS_MAX}")]
    Endpoints {
        /// How many there are.
        found: usize,
    },
    /// No CA.
    #[error("no CA is given; set KEYCLAVE_CACERT to the path of the cluster's CA certificate")]
    NoAnchor,
    /// A CA that cannot be used.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// A certificate that cannot be shown.
    #[error(transparent)]
    ClientCertificate(#[from] ClientCertificateError),
    /// A token with characters that none has.
    #[error("the token is not one: it must be at most {TOKEN_BYTES_MAX} visible ASCII characters")]
    Token,
    /// The operating system gave no entropy.
    #[error(transparent)]
    Entropy(#[from] SystemEntropyError),
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            endpoints: Vec::new(),
            token: None,
            trust: None,
            certificate: None,
            entropy: None,
            deadline: DEADLINE,
        }
    }

    /// Where nodes are reached. They are asked in this order until one answers; that one is asked first from then
    /// on.
    pub fn endpoints(mut self, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        self.endpoints.extend(endpoints);
        self
    }

    /// The same from a text with commas, as in `KEYCLAVE_ENDPOINTS`.
    pub fn endpoint_list(self, text: &str) -> Result<Self, EndpointError> {
        let parts = text.split(',').map(str::trim_ascii).filter(|part| !part.is_empty());
        let endpoints = parts.map(str::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(self.endpoints(endpoints))
    }

    /// The credential that every call carries. White space around it is a file's.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(Zeroizing::new(token.trim_ascii().to_owned()));
        self
    }

    /// The certificate that this client shows, its own first, and the private key that it proves to hold: both PEM.
    pub fn client_certificate(mut self, chain_pem: &[u8], key_pem: &[u8]) -> Self {
        let key = Zeroizing::new(key_pem.to_owned());
        self.certificate = Some(Pair { chain: chain_pem.to_owned(), key });
        self
    }

    /// The CA that servers must have their certificate from, PEM.
    pub fn ca_pem(mut self, pem: &[u8]) -> Self {
        self.trust = Some(Trust::Pem(pem.to_owned()));
        self
    }

    /// The CA, known only by the SHA-256 of its public key, as a join token carries it.
    pub fn ca_fingerprint(mut self, fingerprint: [u8; 32]) -> Self {
        self.trust = Some(Trust::Fingerprint(fingerprint));
        self
    }

    /// Another way to make connections; it alone decides whom to believe.
    pub fn dial(mut self, dial: Arc<dyn Dial>) -> Self {
        self.trust = Some(Trust::Dial(dial));
        self
    }

    /// Where request ids and ephemeral keys come from; the operating system unless said otherwise.
    pub fn entropy(mut self, entropy: Entropy) -> Self {
        self.entropy = Some(entropy);
        self
    }

    /// How long each call may take, all attempts together. Fifteen seconds unless said otherwise.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The client. Connections are made by the first calls, which need a tokio runtime.
    pub fn build(self) -> Result<Client, BuildError> {
        match self.endpoints.len() {
            0 => return Err(BuildError::NoEndpoint),
            found if found > ENDPOINTS_MAX => return Err(BuildError::Endpoints { found }),
            _ => {}
        }
        let dial: Arc<dyn Dial> = match self.trust {
            Some(Trust::Pem(pem)) => Arc::new(tls(&Anchor::from_pem(&pem)?, self.certificate)?),
            Some(Trust::Fingerprint(fingerprint)) => {
                Arc::new(tls(&Anchor::from_fingerprint(fingerprint), self.certificate)?)
            }
            Some(Trust::Dial(dial)) => dial,
            None => return Err(BuildError::NoAnchor),
        };
        let token = self.token.map(checked).transpose()?.map(Arc::new);
        let entropy = self.entropy.map_or_else(entropy::system, Ok)?;
        let fleet = Fleet::new(self.endpoints, dial);
        let shared = Shared { fleet, seen: Seen::default(), entropy: Mutex::new(entropy) };
        let settings = Settings { token, deadline: self.deadline, request_id: None, receipts: None };
        Ok(Client { shared: Arc::new(shared), settings })
    }
}

impl Client {
    /// A client of the node on this machine, over its operator's socket.
    pub fn local(socket: &Path) -> Builder {
        Builder::new().endpoints([Endpoint::socket(socket)]).dial(Arc::new(LocalSocket))
    }
}

fn tls(anchor: &Anchor, certificate: Option<Pair>) -> Result<Tls, ClientCertificateError> {
    match certificate {
        None => Ok(Tls::new(anchor)),
        Some(Pair { chain, key }) => Tls::presenting(anchor, &chain, &key),
    }
}

/// A token that can stand in a header. What it is worth is the server's to say.
fn checked(token: Zeroizing<String>) -> Result<Zeroizing<String>, BuildError> {
    let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && (1..=TOKEN_BYTES_MAX).contains(&token.len()) { Ok(token) } else { Err(BuildError::Token) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> Builder {
        Client::builder().dial(Arc::new(LocalSocket)).entropy(Entropy::from_seed([1; 32]))
    }

    #[test]
    fn a_list_of_endpoints_is_read_whole_or_not_at_all() {
        let built = builder().endpoint_list("https://a:1, https://b:2,").unwrap();
        assert_eq!(built.endpoints.len(), 2);
        assert!(builder().endpoint_list("https://a:1,b:2").is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(matches!(builder().build(), Err(BuildError::NoEndpoint)));
        let trusting_nobody = Client::builder().endpoint_list("https://a:1").unwrap();
        assert!(matches!(trusting_nobody.build(), Err(BuildError::NoAnchor)));
        let one = || builder().endpoint_list("https://a:1").unwrap();
        assert!(one().build().is_ok());
        assert!(one().token(" kcls_x\n").build().is_ok());
        for wrong in ["", "a b", "a\u{7f}", "ä", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(matches!(one().token(wrong).build(), Err(BuildError::Token)), "{wrong:?}");
        }
        let many = (0..65).map(|port| format!("https://a:{}", port + 1)).collect::<Vec<_>>().join(",");
        let many = builder().endpoint_list(&many).unwrap().build();
        assert!(matches!(many, Err(BuildError::Endpoints { found: 65 })));
    }
}
