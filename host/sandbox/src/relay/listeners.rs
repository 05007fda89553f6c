//! Where a relay listens, and what each address means.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
};

use nexus_model::TcpDestination;

/// Where the proxy is, for the server.
pub(crate) const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 3128);

/// The listeners of one relay: the proxy is the first, and each destination has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listeners {
    hosts: BTreeMap<String, Ipv4Addr>,
    destinations: Vec<TcpDestination>,
}

impl Listeners {
    /// Each name gets an address of its own in 127.0.0.0/8, from 127.0.0.2 on. There are at most 250 names.
    pub(crate) fn new(tcp: &[TcpDestination]) -> Self {
        let destinations: BTreeSet<&TcpDestination> = tcp.iter().collect();
        let names: BTreeSet<&str> = destinations.iter().map(|one| one.name()).collect();
        let hosts = (2..).zip(names).map(|(last, name)| (name.to_owned(), Ipv4Addr::new(127, 0, 0, last))).collect();
        Self { hosts, destinations: destinations.into_iter().cloned().collect() }
    }

    /// The addresses that names of destinations have in the server.
    pub(crate) fn hosts(&self) -> &BTreeMap<String, Ipv4Addr> {
        &self.hosts
    }

    /// Where the relay is to listen, in the order by which it numbers connections.
    pub(crate) fn addresses(&self) -> Vec<SocketAddrV4> {
        let address = |one: &TcpDestination| Some(SocketAddrV4::new(*self.hosts.get(one.name())?, one.port()));
        std::iter::once(PROXY).chain(self.destinations.iter().filter_map(address)).collect()
    }

    /// What a connection with this number is for.
    pub(super) fn meaning(&self, number: u16) -> Option<Meaning> {
        match usize::from(number).checked_sub(1) {
            None => Some(Meaning::Proxy),
            Some(place) => self.destinations.get(place).cloned().map(Meaning::Tcp),
        }
    }
}

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    Proxy,
    Tcp(TcpDestination),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_address_and_each_destination_one_number() {
        let tcp = ["db.x:5432", "db.x:80", "a.x:80", "db.x:80"].map(|text| text.parse().unwrap());
        let listeners = Listeners::new(&tcp);
        let addresses: Vec<String> = listeners.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["127.0.0.1:3128", "127.0.0.2:80", "127.0.0.3:80", "127.0.0.3:5432"]);
        let hosts: Vec<String> = listeners.hosts().iter().map(|(name, at)| format!("{name} {at}")).collect();
        assert_eq!(hosts, ["a.x 127.0.0.2", "db.x 127.0.0.3"]);
        assert_eq!(listeners.meaning(0), Some(Meaning::Proxy));
        for (number, text) in [(1, "a.x:80"), (2, "db.x:80"), (3, "db.x:5432")] {
            assert_eq!(listeners.meaning(number), Some(Meaning::Tcp(text.parse().unwrap())));
        }
        assert_eq!((listeners.meaning(4), listeners.meaning(u16::MAX)), (None, None));
    }

    #[test]
    fn without_destinations_there_is_the_proxy() {
        assert_eq!(Listeners::new(&[]).addresses(), [PROXY]);
    }
}
