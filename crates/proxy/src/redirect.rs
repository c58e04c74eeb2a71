//! Packet capture: which connections of a pod the proxy sees, as data, and putting it in force.
//!
//! The order is Istio's, because users and policies depend on it: 127.0.0.6 is the *source* of the inbound
//! proxy's connections to its workload; a workload's call to its own Service that lands on its own pod comes back
//! through the inbound proxy; calls to the own address or to 127.0.0.1 stay direct. `amime redirect` runs this
//! before anything of the pod starts. Options are those of Istio's init container (`-p -z -u -m -i -b -d -x -q -o`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail};
use netfilter::{Chain, Expression, Family, Hook, Is, Prefix, Protocol, Table};

/// The name of the table.
pub const TABLE: &str = "istio";
/// Istio's user of the proxy, and the mark where users cannot tell.
pub const PROXY: u32 = 1337;

const HBONE: u16 = 15008;
/// Ports of the proxy itself that are reached from outside.
const OWN_INBOUND: [u16; 3] = [15020, 15021, 15090];
/// Source of the inbound proxy's connections to its workload.
pub(crate) const INBOUND_SOURCE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(127, 0, 0, 6), Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6));

/// How the proxy's own connections are told from others. Never both: a second exemption is a way around the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// Sockets of this user.
    User(u32),
    /// Sockets with this `SO_MARK`.
    Mark(u32),
}

/// Everything, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which<T> {
    /// `*`.
    All,
    /// These; none when empty.
    Only(Vec<T>),
}

/// What is captured. `Default` is Istio's: everything, with the proxy exempt by its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Port for captured outbound connections.
    pub outbound_port: u16,
    /// Port for captured inbound connections.
    pub inbound_port: u16,
    /// Who is not captured.
    pub exemption: Exemption,
    /// `traffic.sidecar.istio.io/includeInboundPorts`.
    pub include_inbound_ports: Which<u16>,
    /// `traffic.sidecar.istio.io/excludeInboundPorts`.
    pub exclude_inbound_ports: Vec<u16>,
    /// `traffic.sidecar.istio.io/includeOutboundIPRanges`.
    pub include_outbound_ranges: Which<Prefix>,
    /// `traffic.sidecar.istio.io/excludeOutboundIPRanges`.
    pub exclude_outbound_ranges: Vec<Prefix>,
    /// `traffic.sidecar.istio.io/includeOutboundPorts`: captured whatever the range.
    pub include_outbound_ports: Vec<u16>,
    /// `traffic.sidecar.istio.io/excludeOutboundPorts`.
    pub exclude_outbound_ports: Vec<u16>,
    /// `traffic.sidecar.istio.io/excludeInterfaces`.
    pub exclude_interfaces: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            outbound_port: 15001,
            inbound_port: 15006,
            exemption: Exemption::User(PROXY),
            include_inbound_ports: Which::All,
            exclude_inbound_ports: Vec::new(),
            include_outbound_ranges: Which::All,
            exclude_outbound_ranges: Vec::new(),
            include_outbound_ports: Vec::new(),
            exclude_outbound_ports: Vec::new(),
            exclude_interfaces: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads the arguments of Istio's init container, as injection writes them.
    ///
    /// # Errors
    /// An argument that is not known or cannot be understood, by name.
    pub fn from_arguments<A: AsRef<str>>(arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        let mut settings = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(flag) = arguments.next() {
            let flag = flag.as_ref();
            let value = arguments
                .next()
                .with_context(|| format!("{flag} needs a value"))?;
            settings
                .take(flag, value.as_ref())
                .with_context(|| format!("{flag} {:?}", value.as_ref()))?;
        }
        Ok(settings)
    }

    fn take(&mut self, flag: &str, value: &str) -> Result<()> {
        let only = |which| match which {
            Which::Only(list) => Ok(list),
            Which::All => bail!("a list is needed here"),
        };
        match flag {
            "-p" => self.outbound_port = value.parse().context("not a port")?,
            "-z" => self.inbound_port = value.parse().context("not a port")?,
            "-u" => self.exemption = Exemption::User(value.parse().context("not a user id")?),
            "--exempt-mark" => self.exemption = Exemption::Mark(value.parse().context("not a mark")?),
            // The exemption is by user; Istio gives the group as well.
            "-g" => {}
            "-m" if value == "REDIRECT" => {}
            "-m" => bail!("only REDIRECT is supported"),
            "-i" => self.include_outbound_ranges = parse_ranges(value)?,
            "-x" => self.exclude_outbound_ranges = ranges(value)?,
            "-b" => self.include_inbound_ports = parse_ports(value)?,
            "-d" => self.exclude_inbound_ports = only(parse_ports(value)?)?,
            "-q" => self.include_outbound_ports = only(parse_ports(value)?)?,
            "-o" => self.exclude_outbound_ports = only(parse_ports(value)?)?,
            "-c" => self.exclude_interfaces = items(value).map(str::to_owned).collect(),
            _ => bail!("unknown argument"),
        }
        Ok(())
    }
}

/// Puts the rules in force in the network namespace of the calling thread, at once and as a whole. Repeatable.
///
/// # Errors
/// What the kernel says, with the rule it refused.
pub fn apply(settings: &Settings) -> Result<()> {
    netfilter::apply(&table(settings)).context("cannot set up traffic capture")
}

/// The rules of [`apply`].
pub fn table(settings: &Settings) -> Table {
    Table::new(Family::Inet, TABLE)
        .chain(inbound(settings))
        .chain(outbound(settings))
}

fn inbound(settings: &Settings) -> Chain {
    let mut chain = Chain::at("prerouting", Hook::NAT_PREROUTING)
        .rule([Expression::input_interface("lo"), Expression::leave()]);
    for interface in &settings.exclude_interfaces {
        chain = chain.rule([Expression::input_interface(interface), Expression::leave()]);
    }
    let own = [settings.inbound_port, HBONE].into_iter().chain(OWN_INBOUND);
    chain = chain.rule([
        Expression::destination_ports(Protocol::Tcp, own),
        Expression::leave(),
    ]);
    // An exclusion counts only beside `*`, as in Istio: a list of ports is already exact.
    if let Which::All = settings.include_inbound_ports {
        chain = leave_ports(chain, &settings.exclude_inbound_ports);
    }
    let target = Expression::Redirect(settings.inbound_port);
    match &settings.include_inbound_ports {
        Which::All => chain.rule([Expression::protocol(Protocol::Tcp), target]),
        Which::Only(ports) if ports.is_empty() => chain,
        Which::Only(ports) => chain.rule([
            Expression::destination_ports(Protocol::Tcp, ports.iter().copied()),
            target,
        ]),
    }
}

fn outbound(settings: &Settings) -> Chain {
    let (ours, others) = match settings.exemption {
        Exemption::User(id) => (Expression::User(Is::Equal(id)), Expression::User(Is::Not(id))),
        Exemption::Mark(mark) => (Expression::Mark(Is::Equal(mark)), Expression::Mark(Is::Not(mark))),
    };
    let lo = || Expression::output_interface("lo");
    let tcp = || Expression::protocol(Protocol::Tcp);
    let mut chain = Chain::at("output", Hook::NAT_OUTPUT);
    for interface in &settings.exclude_interfaces {
        chain = chain.rule([Expression::output_interface(interface), Expression::leave()]);
    }
    chain = leave_ports(chain, &settings.exclude_outbound_ports)
        .rule([lo(), Expression::source(INBOUND_SOURCE.0), Expression::leave()])
        .rule([lo(), Expression::source(INBOUND_SOURCE.1), Expression::leave()]);
    // A prefix test implies its family, so "not 127.0.0.1" is said once for each.
    for loopback in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        chain = chain.rule([
            lo(),
            Expression::not_destination(loopback),
            Expression::DestinationPort(Protocol::Tcp, Is::Not(HBONE)),
            ours.clone(),
            Expression::Redirect(settings.inbound_port),
        ]);
    }
    chain = chain
        .rule([lo(), others, Expression::leave()])
        .rule([ours, Expression::leave()])
        .rule([
            Expression::destination(Prefix::new(Ipv4Addr::new(127, 0, 0, 0), 8)),
            Expression::leave(),
        ])
        .rule([Expression::destination(Ipv6Addr::LOCALHOST), Expression::leave()]);
    for range in &settings.exclude_outbound_ranges {
        chain = chain.rule([Expression::destination(*range), Expression::leave()]);
    }
    let target = || Expression::Redirect(settings.outbound_port);
    if !settings.include_outbound_ports.is_empty() {
        let ports = settings.include_outbound_ports.iter().copied();
        chain = chain.rule([Expression::destination_ports(Protocol::Tcp, ports), target()]);
    }
    match &settings.include_outbound_ranges {
        Which::All => chain.rule([tcp(), target()]),
        Which::Only(ranges) => ranges.iter().fold(chain, |chain, range| {
            chain.rule([Expression::destination(*range), tcp(), target()])
        }),
    }
}

fn leave_ports(chain: Chain, ports: &[u16]) -> Chain {
    if ports.is_empty() {
        return chain;
    }
    chain.rule([
        Expression::destination_ports(Protocol::Tcp, ports.iter().copied()),
        Expression::leave(),
    ])
}

/// A list of ports as annotations give it: `*`, or `80,443`.
///
/// # Errors
/// The item that is no port.
pub fn parse_ports(text: &str) -> Result<Which<u16>> {
    if text.trim() == "*" {
        return Ok(Which::All);
    }
    let port = |item: &str| item.parse().with_context(|| format!("{item:?} is not a port"));
    items(text).map(port).collect::<Result<_>>().map(Which::Only)
}

/// A list of ranges as annotations give it: `*`, or `10.0.0.0/8,192.168.1.1`.
///
/// # Errors
/// The item that is no range.
pub fn parse_ranges(text: &str) -> Result<Which<Prefix>> {
    if text.trim() == "*" {
        return Ok(Which::All);
    }
    items(text).map(range).collect::<Result<_>>().map(Which::Only)
}

fn ranges(text: &str) -> Result<Vec<Prefix>> {
    match parse_ranges(text)? {
        Which::Only(ranges) => Ok(ranges),
        Which::All => bail!("a list is needed here"),
    }
}

fn range(item: &str) -> Result<Prefix> {
    let (address, length) = item.split_once('/').unwrap_or((item, ""));
    let parsed: IpAddr = address
        .parse()
        .with_context(|| format!("{item:?} is not an address range"))?;
    let bits: u8 = if parsed.is_ipv4() { 32 } else { 128 };
    let length = if length.is_empty() {
        Some(bits)
    } else {
        length.parse().ok()
    };
    match length {
        Some(length) if length <= bits => Ok(Prefix::new(parsed, length)),
        _ => bail!("{item:?} is not an address range"),
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_rules_are_istios_in_istios_order() {
        let expected = "\
oifname lo ip saddr 127.0.0.6 return
oifname lo ip6 saddr ::6 return
oifname lo ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 redirect to :15006
oifname lo ip6 daddr != ::1 tcp dport != 15008 meta skuid 1337 redirect to :15006
oifname lo meta skuid != 1337 return
meta skuid 1337 return
ip daddr 127.0.0.0/8 return
ip6 daddr ::1 return
meta l4proto tcp redirect to :15001";
        assert_eq!(rules(&table(&Settings::default()), 1), expected);
        let expected = "\
iifname lo return
tcp dport { 15006, 15008, 15020, 15021, 15090 } return
meta l4proto tcp redirect to :15006";
        assert_eq!(rules(&table(&Settings::default()), 0), expected);
    }

    #[test]
    fn annotations_narrow_what_is_captured() {
        let settings = Settings {
            exemption: Exemption::Mark(PROXY),
            include_inbound_ports: parse_ports("80, 8080").unwrap(),
            include_outbound_ranges: parse_ranges("10.0.0.0/8").unwrap(),
            exclude_outbound_ranges: match parse_ranges("10.1.0.0/16").unwrap() {
                Which::Only(ranges) => ranges,
                Which::All => Vec::new(),
            },
            exclude_outbound_ports: vec![3306],
            ..Settings::default()
        };
        let output = rules(&table(&settings), 1);
        assert!(
            output.starts_with("tcp dport 3306 return\n")
                || output.starts_with("tcp dport { 3306 } return\n"),
            "{output}"
        );
        assert!(
            output.contains("meta mark 1337 return") || output.contains("meta mark 0x00000539 return"),
            "{output}"
        );
        assert!(
            !output.contains("skuid"),
            "two exemptions would be a way around the mesh: {output}"
        );
        let end = "ip daddr 10.1.0.0/16 return\nip daddr 10.0.0.0/8 meta l4proto tcp redirect to :15001";
        assert!(output.ends_with(end), "{output}");
        assert!(rules(&table(&settings), 0).ends_with("tcp dport { 80, 8080 } redirect to :15006"));
    }

    #[test]
    fn the_arguments_of_the_init_container_are_read() {
        let text = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -b * -d 15090,15021,15020 -o 3306";
        let settings = Settings::from_arguments(text.split(' ')).unwrap();
        let expected = Settings {
            exclude_inbound_ports: vec![15090, 15021, 15020],
            exclude_outbound_ports: vec![3306],
            ..Settings::default()
        };
        assert_eq!(settings, expected);
        assert_eq!(Settings::from_arguments(["-x", ""]).unwrap(), Settings::default());
        let error = Settings::from_arguments(["-p", "many"]).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "-p \"many\": not a port: invalid digit found in string"
        );
        assert!(Settings::from_arguments(["-m", "TPROXY"]).is_err());
    }

    #[test]
    fn what_is_no_port_or_range_is_named() {
        assert_eq!(
            parse_ports("80,http").unwrap_err().to_string(),
            "\"http\" is not a port"
        );
        assert_eq!(
            parse_ranges("10.0.0.0/33").unwrap_err().to_string(),
            "\"10.0.0.0/33\" is not an address range"
        );
        assert_eq!(parse_ports("").unwrap(), Which::Only(Vec::new()));
    }

    fn rules(table: &Table, chain: usize) -> String {
        let lines: Vec<_> = table.chains[chain]
            .rules
            .iter()
            .map(ToString::to_string)
            .collect();
        lines.join("\n")
    }
}
