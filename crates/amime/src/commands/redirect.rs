//! `amime redirect`: sets up traffic capture in this network namespace, before anything of the pod starts.
//!
//! Flags and their short forms are those of Istio's init container, so that its annotations and scripts fit.
//! <https://istio.io/latest/docs/reference/commands/pilot-agent/#pilot-agent-istio-iptables>

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use proxy::redirect::{self, Exemption, Settings, Which};

/// Set up traffic capture in this network namespace
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Port that receives captured outbound connections
    #[arg(short = 'p', long = "envoy-port", value_name = "PORT", default_value_t = 15001)]
    outbound_port: u16,
    /// Port that receives captured inbound connections
    #[arg(short = 'z', long = "inbound-capture-port", value_name = "PORT", default_value_t = 15006)]
    inbound_port: u16,
    /// User whose connections are not captured
    #[arg(short = 'u', long = "proxy-uid", value_name = "UID")]
    user: Option<u32>,
    /// Mark of connections that are not captured, instead of a user
    #[arg(long, value_name = "MARK", conflicts_with = "user")]
    exempt_mark: Option<u32>,
    /// How connections are captured; REDIRECT is the only way
    #[arg(short = 'm', long = "istio-inbound-interception-mode", value_name = "MODE", default_value = "REDIRECT")]
    mode: String,
    /// Outbound ranges to capture; * is all
    #[arg(short = 'i', long = "istio-service-cidr", value_name = "RANGES", default_value = "*")]
    include_ranges: String,
    /// Outbound ranges to leave alone
    #[arg(short = 'x', long = "istio-service-exclude-cidr", value_name = "RANGES", default_value = "")]
    exclude_ranges: String,
    /// Inbound ports to capture; * is all
    #[arg(short = 'b', long = "istio-inbound-ports", value_name = "PORTS", default_value = "*")]
    include_inbound: String,
    /// Inbound ports to leave alone, beside *
    #[arg(short = 'd', long = "istio-local-exclude-ports", value_name = "PORTS", default_value = "")]
    exclude_inbound: String,
    /// Outbound ports to capture whatever their range
    #[arg(short = 'q', long = "istio-outbound-ports", value_name = "PORTS", default_value = "")]
    include_outbound: String,
    /// Outbound ports to leave alone
    #[arg(short = 'o', long = "istio-local-outbound-ports-exclude", value_name = "PORTS", default_value = "")]
    exclude_outbound: String,
    /// Network interfaces to leave alone
    #[arg(short = 'c', long = "istio-exclude-interfaces", value_name = "NAMES", default_value = "")]
    exclude_interfaces: String,
    /// What the log shows, as in default:info
    #[arg(long = "log_output_level", value_name = "LEVELS", default_value = "default:info")]
    log_level: String,
    /// Show the rules and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let settings = arguments.settings()?;
    print!("{}", redirect::table(&settings));
    if !arguments.dry_run {
        redirect::apply(&settings)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn settings(&self) -> Result<Settings> {
        if self.mode != "REDIRECT" {
            bail!("interception mode {} is not supported\nTry: REDIRECT", self.mode);
        }
        let exemption = match self.exempt_mark {
            Some(mark) => Exemption::Mark(mark),
            None => Exemption::User(self.user.unwrap_or(redirect::PROXY)),
        };
        let ports = |flag: &str, text: &str| redirect::parse_ports(text).with_context(|| flag.to_owned());
        let ranges = |flag: &str, text: &str| redirect::parse_ranges(text).with_context(|| flag.to_owned());
        let interfaces = self.exclude_interfaces.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(Settings {
            outbound_port: self.outbound_port,
            inbound_port: self.inbound_port,
            exemption,
            include_inbound_ports: ports("-b", &self.include_inbound)?,
            exclude_inbound_ports: only("-d", ports("-d", &self.exclude_inbound)?)?,
            include_outbound_ranges: ranges("-i", &self.include_ranges)?,
            exclude_outbound_ranges: only("-x", ranges("-x", &self.exclude_ranges)?)?,
            include_outbound_ports: only("-q", ports("-q", &self.include_outbound)?)?,
            exclude_outbound_ports: only("-o", ports("-o", &self.exclude_outbound)?)?,
            exclude_interfaces: interfaces.map(str::to_owned).collect(),
        })
    }
}

/// A list where `*` would make no sense.
fn only<T>(flag: &str, which: Which<T>) -> Result<Vec<T>> {
    match which {
        Which::Only(list) => Ok(list),
        Which::All => bail!("{flag} takes a list, not *"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn settings(words: &str) -> Result<Settings> {
        let words = words.split(' ').map(|word| word.trim_matches('\''));
        Line::try_parse_from(std::iter::once("redirect").chain(words))?.arguments.settings()
    }

    #[test]
    fn the_flags_of_injected_pods_are_understood() {
        let settings = settings("-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x '' -b * -d 15090,15021,15020").unwrap();
        let expected = Settings { exclude_inbound_ports: vec![15090, 15021, 15020], ..Settings::default() };
        assert_eq!(settings, expected);
    }

    #[test]
    fn annotations_narrow_the_capture() {
        let settings = settings("--exempt-mark 1337 -i 10.0.0.0/8 -b 80,443 -q 5432 -o 25 -c eth1,eth2").unwrap();
        assert_eq!(settings.exemption, Exemption::Mark(1337));
        assert_eq!(settings.include_inbound_ports, Which::Only(vec![80, 443]));
        assert_eq!((settings.include_outbound_ports, settings.exclude_outbound_ports), (vec![5432], vec![25]));
        assert_eq!(settings.exclude_interfaces, ["eth1", "eth2"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        assert!(settings("-m TPROXY").unwrap_err().to_string().contains("TPROXY"));
        assert_eq!(settings("-d *").unwrap_err().to_string(), "-d takes a list, not *");
        assert!(format!("{:#}", settings("-o http").unwrap_err()).starts_with("-o: \"http\" is not a port"));
        assert!(settings("-u 1337 --exempt-mark 1337").is_err(), "two exemptions would be a way around the mesh");
    }
}
