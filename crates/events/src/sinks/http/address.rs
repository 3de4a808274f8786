//! Which addresses events are never sent to, checked at registration and at connect time.
//!
//! Literals are checked apart from names: the HTTP client asks no resolver for them. Deliberately
//! absent: an allow-list for internal hosts; private networks are where sinks live.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Limit of one look-up.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Metadata services that are not link-local: AWS by IPv6, Alibaba Cloud, Oracle Cloud.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// The rules of one process.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Whether `127.0.0.0/8` and `::1` are legal; for tests and demonstrations.
    pub loopback: Loopback,
    /// Further refused addresses, such as the API server's.
    pub refused: Vec<IpAddr>,
}

/// Whether loopback addresses are legal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loopback {
    /// They are refused.
    #[default]
    Refused,
    /// They are legal.
    Allowed,
}

/// A refused address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{host}` is {address}, {why}, to which events are never sent; use an address of the sink itself")]
pub struct Refused {
    host: String,
    address: IpAddr,
    why: &'static str,
}

impl Guard {
    /// Checks a URL: a literal address itself, a name by every address it resolves to now. A name
    /// that cannot be resolved is not refused, it may exist later and is checked again then.
    pub async fn check(&self, url: &Url) -> Result<(), Refused> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.accept(&address.to_string(), IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => self.accept(&address.to_string(), IpAddr::V6(address)),
            Some(Host::Domain(name)) => match look_up(name).await {
                Ok(addresses) => addresses.iter().try_for_each(|address| self.accept(name, address.ip())),
                Err(_) => Ok(()),
            },
            None => Ok(()),
        }
    }

    fn accept(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        match self.objection(address) {
            None => Ok(()),
            Some(why) => Err(Refused { host: host.to_owned(), address, why }),
        }
    }

    /// Why an address is refused.
    fn objection(&self, address: IpAddr) -> Option<&'static str> {
        let address = embedded(address);
        if self.refused.iter().any(|refused| embedded(*refused) == address) {
            return Some("an address of the cluster's own");
        }
        if METADATA.contains(&address) {
            return Some("a metadata service");
        }
        if address.is_loopback() && self.loopback == Loopback::Refused {
            return Some("a loopback address");
        }
        if address.is_unspecified() {
            return Some("no address of a host");
        }
        if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Some("an address of many hosts");
        }
        let link_local = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        link_local.then_some("a link-local address")
    }
}

/// The IPv4 address that an IPv6 address stands for (mapped, compatible, 6to4, NAT64), or the address itself.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            v4(high, low)
        }
        _ => address,
    }
}

async fn look_up(name: &str) -> std::io::Result<Vec<SocketAddr>> {
    match tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((name, 0))).await {
        Ok(found) => Ok(found?.collect()),
        Err(_) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("looking up {name} took too long"))),
    }
}

/// The HTTP client's resolver: a name that resolves to a refused address does not resolve.
pub(super) struct Resolver(pub Arc<Guard>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = look_up(name.as_str()).await?;
            for address in &addresses {
                guard.accept(name.as_str(), address.ip())?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(guard: &Guard, url: &str, expect: Option<&str>) {
        let url = Url::parse(url).expect("a URL");
        let why = guard.check(&url).await.err().map(|refused| refused.why);
        assert_eq!(why, expect, "{url}");
    }

    #[tokio::test]
    async fn addresses_that_reach_inside_are_refused_however_they_are_written() {
        let guard = Guard { loopback: Loopback::Refused, refused: vec![IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1))] };
        for (url, expect) in [
            ("http://127.0.0.1/", Some("a loopback address")),
            ("http://0x7f000001/", Some("a loopback address")),
            ("http://2130706433/", Some("a loopback address")),
            ("http://[::1]/", Some("a loopback address")),
            ("http://[::ffff:127.0.0.1]/", Some("a loopback address")),
            ("http://[64:ff9b::7f00:1]/", Some("a loopback address")),
            ("http://localhost/", Some("a loopback address")),
            ("http://0.0.0.0/", Some("no address of a host")),
            ("http://169.254.169.254/latest/meta-data", Some("a link-local address")),
            ("http://[::ffff:169.254.169.254]/", Some("a link-local address")),
            ("http://[2002:a9fe:a9fe::]/", Some("a link-local address")),
            ("http://[fe80::1]/", Some("a link-local address")),
            ("http://[fd00:ec2::254]/", Some("a metadata service")),
            ("http://100.100.100.200/", Some("a metadata service")),
            ("http://255.255.255.255/", Some("an address of many hosts")),
            ("https://10.96.0.1/", Some("an address of the cluster's own")),
            ("http://10.0.0.7/", None),
            ("http://192.168.1.1:8080/", None),
            ("http://[2001:db8::1]/", None),
        ] {
            check(&guard, url, expect).await;
        }
    }

    #[tokio::test]
    async fn loopback_can_be_allowed_and_nothing_else_with_it() {
        let guard = Guard { loopback: Loopback::Allowed, refused: Vec::new() };
        check(&guard, "http://127.0.0.1/", None).await;
        check(&guard, "http://localhost/", None).await;
        check(&guard, "http://169.254.169.254/", Some("a link-local address")).await;
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_refused_address_does_not_resolve() {
        let resolver = Resolver(Arc::new(Guard::default()));
        let name: Name = "localhost".parse().expect("a name");
        let Err(error) = resolver.resolve(name).await else { panic!("it resolved") };
        assert!(error.to_string().contains("loopback"), "{error}");
    }
}
