//! A network of the test's own: one namespace and one TUN device per node, one device for the callers, and a switch
//! between them that loses, delays and cuts.

mod switch;

mod tun;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;

use cluster_tests::live::LiveError;

use switch::Switch;
pub(crate) use switch::{Counted, Weather};

/// The port at which the test itself sits.
pub(crate) const CALLERS: u8 = 254;
/// Kept for measurements by RFC 2544, so no machine's own network.
const NET: [u8; 3] = [198, 18, 77];
const MTU: &str = "1400";

/// Namespaces and devices; gone with this value.
pub(crate) struct Network {
    switch: Arc<Switch>,
    ports: Vec<u8>,
}

impl Network {
    /// A namespace per port of a node, and a device for the callers.
    pub(crate) fn make(ports: &[u8]) -> Result<Self, LiveError> {
        let mut network = Self { switch: Arc::default(), ports: Vec::new() };
        for port in ports {
            ip(&["netns", "add", &namespace(*port)])?;
            network.ports.push(*port);
            let device = device(*port);
            network.attach(*port, &device)?;
            let of = namespace(*port);
            ip(&["link", "set", &device, "netns", &of])?;
            for words in [
                &["addr", "add", &whole_net(*port), "dev", &device] as &[&str],
                &["link", "set", &device, "mtu", MTU, "up"],
                &["link", "set", "lo", "up"],
            ] {
                ip(&[&["-n", &of], words].concat())?;
            }
        }
        let device = device(CALLERS);
        network.attach(CALLERS, &device)?;
        ip(&["addr", "add", &whole_net(CALLERS), "dev", &device])?;
        ip(&["link", "set", &device, "mtu", MTU, "up"])?;
        network.switch.run();
        Ok(network)
    }

    fn attach(&self, port: u8, device: &str) -> Result<(), LiveError> {
        let tun = tun::open(device).map_err(LiveError::system("making a TUN device"))?;
        self.switch.attach(port, tun).map_err(LiveError::system("attaching a TUN device"))
    }

    /// Where the node at a port is.
    pub(crate) fn address(port: u8) -> IpAddr {
        let [a, b, c] = NET;
        Ipv4Addr::new(a, b, c, port).into()
    }

    /// What runs a command at a port.
    pub(crate) fn within(&self, port: u8) -> Vec<OsString> {
        ["ip", "netns", "exec", &namespace(port)].map(OsString::from).into()
    }

    /// From here on all packets between nodes meet this.
    pub(crate) fn becomes(&self, weather: Weather) {
        self.switch.becomes(weather);
    }

    /// Nothing passes between these two, either way.
    pub(crate) fn cut(&self, one: u8, other: u8) {
        self.switch.cut(one, other);
    }

    /// Nothing passes from one to the other; the way back stays open.
    pub(crate) fn cut_one_way(&self, from: u8, to: u8) {
        self.switch.cut_one_way(from, to);
    }

    /// Everything passes again.
    pub(crate) fn mend(&self) {
        self.switch.mend();
    }

    /// What the switch has done so far.
    pub(crate) fn counted(&self) -> Counted {
        self.switch.counted()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &device(CALLERS)]);
        for port in &self.ports {
            let _ = ip(&["netns", "del", &namespace(*port)]);
        }
    }
}

fn namespace(port: u8) -> String {
    format!("kclive-{}-{port}", std::process::id())
}

/// At most fifteen bytes, and no process id has more than seven digits.
fn device(port: u8) -> String {
    format!("kcl{}-{port}", std::process::id())
}

fn whole_net(port: u8) -> String {
    format!("{}/24", Network::address(port))
}

fn ip(arguments: &[&str]) -> Result<(), LiveError> {
    let failed = |said: String| LiveError::Tool { command: format!("ip {}", arguments.join(" ")), said };
    let output = Command::new("ip").args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
