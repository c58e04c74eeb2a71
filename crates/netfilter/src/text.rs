//! Tables in the words of `nft list ruleset`, for logs, error messages and readable tests.

use std::fmt::{self, Display, Formatter};

use crate::{
    Chain, Expression, Family, Hook, Is, Kind, Pick, Point, Policy, Prefix, Protocol, Rule, State, Table,
    Verdict,
};

impl Display for Table {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "table {} {} {{", self.family, self.name)?;
        for chain in &self.chains {
            write!(out, "{chain}")?;
        }
        writeln!(out, "}}")
    }
}

impl Display for Chain {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "  chain {} {{", self.name)?;
        if let Some(hook) = self.hook {
            writeln!(out, "    {hook}")?;
        }
        for rule in &self.rules {
            write!(out, "    {rule}")?;
            match &rule.comment {
                Some(comment) => writeln!(out, " comment \"{comment}\"")?,
                None => writeln!(out)?,
            }
        }
        writeln!(out, "  }}")
    }
}

impl Display for Hook {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Filter => "filter",
            Kind::Nat => "nat",
        };
        let point = match self.point {
            Point::Prerouting => "prerouting",
            Point::Input => "input",
            Point::Forward => "forward",
            Point::Output => "output",
            Point::Postrouting => "postrouting",
        };
        let policy = match self.policy {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        };
        write!(
            out,
            "type {kind} hook {point} priority {}; policy {policy};",
            self.priority
        )
    }
}

impl Display for Rule {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        list(out, &self.expressions, " ")
    }
}

impl Display for Expression {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputInterface(is) => write!(out, "iifname {is}"),
            Self::OutputInterface(is) => write!(out, "oifname {is}"),
            Self::Protocol(is) => write!(out, "meta l4proto {is}"),
            Self::Source(is) => write!(out, "{} saddr {is}", network(is)),
            Self::Destination(is) => write!(out, "{} daddr {is}", network(is)),
            Self::Pair(pairs) => {
                let pairs: Vec<String> = pairs.iter().map(|(from, to)| format!("{from} . {to}")).collect();
                write!(out, "ip saddr . ip daddr {{ {} }}", pairs.join(", "))
            }
            Self::SourcePort(protocol, is) => write!(out, "{protocol} sport {is}"),
            Self::DestinationPort(protocol, is) => write!(out, "{protocol} dport {is}"),
            Self::User(is) => write!(out, "meta skuid {is}"),
            Self::Group(is) => write!(out, "meta skgid {is}"),
            Self::Mark(is) => write!(out, "meta mark {is}"),
            Self::ConnectionState(states) => {
                out.write_str("ct state ")?;
                list(out, states, ",")
            }
            Self::DestinationTranslated => out.write_str("ct status dnat"),
            Self::Counter => out.write_str("counter"),
            Self::Redirect(port) => write!(out, "redirect to :{port}"),
            Self::Dnat(targets, pick) => match targets.as_slice() {
                [target] => write!(out, "dnat to {target}"),
                _ => write!(out, "{}", Choice(targets, *pick)),
            },
            Self::Masquerade => out.write_str("masquerade"),
            Self::Reject(Protocol::Tcp) => out.write_str("reject with tcp reset"),
            Self::Reject(Protocol::Udp) => out.write_str("meta l4proto udp reject with port-unreachable"),
            Self::Verdict(Verdict::Accept) => out.write_str("accept"),
            Self::Verdict(Verdict::Drop) => out.write_str("drop"),
            Self::Verdict(Verdict::Return) => out.write_str("return"),
            Self::Verdict(Verdict::Jump(chain)) => write!(out, "jump {chain}"),
        }
    }
}

struct Choice<'a>(&'a [std::net::SocketAddrV4], Pick);

impl Display for Choice<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let number = match self.1 {
            Pick::Random => "numgen random",
            Pick::BySource => "jhash ip saddr",
        };
        write!(
            out,
            "dnat ip addr . port to {number} mod {} map {{ ",
            self.0.len()
        )?;
        for (index, target) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(out, "{comma}{index} : {} . {}", target.ip(), target.port())?;
        }
        out.write_str(" }")
    }
}

impl<T: Display> Display for Is<T> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(value) => value.fmt(out),
            Self::Not(value) => write!(out, "!= {value}"),
            Self::In(values) => {
                out.write_str("{ ")?;
                list(out, values, ", ")?;
                out.write_str(" }")
            }
        }
    }
}

impl Display for Prefix {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.is_host() {
            true => self.address.fmt(out),
            false => write!(out, "{}/{}", self.address, self.length),
        }
    }
}

impl Display for Family {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Inet => "inet",
            Self::Ipv4 => "ip",
            Self::Ipv6 => "ip6",
        })
    }
}

impl Display for Protocol {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl Display for State {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Invalid => "invalid",
            Self::Established => "established",
            Self::Related => "related",
            Self::New => "new",
        })
    }
}

fn network(is: &Is<Prefix>) -> &'static str {
    let first = match is {
        Is::Equal(prefix) | Is::Not(prefix) => Some(prefix),
        Is::In(prefixes) => prefixes.first(),
    };
    match first {
        Some(prefix) if prefix.address.is_ipv6() => "ip6",
        _ => "ip",
    }
}

fn list<T: Display>(out: &mut Formatter<'_>, items: &[T], between: &str) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.write_str(between)?;
        }
        item.fmt(out)?;
    }
    Ok(())
}
