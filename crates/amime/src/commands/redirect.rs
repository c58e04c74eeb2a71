//! `amime redirect`: sets up traffic capture in this network namespace, before anything of the pod starts.
//!
//! Flags are those of Istio's init container, judged by the proxy's own parser: a list that the rules leave out is
//! a way around the mesh, so an unknown flag is an error.
//! <https://istio.io/latest/docs/reference/commands/pilot-agent/#pilot-agent-istio-iptables>

use std::process::ExitCode;

use anyhow::Result;
use proxy::redirect::{self, Settings};

/// Set up traffic capture in this network namespace
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Istio's flags: -p -z ports that receive, -u or --exempt-mark who is exempt, -i -x outbound ranges,
    /// -q -o outbound ports, -b -d inbound ports, -c interfaces, -m REDIRECT
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let settings = Settings::from_arguments(&arguments.flags)?;
    redirect::apply(&settings)?;
    // What was done is the log of the init container, as with Istio.
    println!("{}", redirect::table(&settings));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proxy::redirect::Exemption;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn the_flags_of_injected_pods_reach_the_settings() {
        let words = "redirect -p 15001 -z 15006 --exempt-mark 1337 -i * -x -b * -d 15090,15021,15020 -c eth1";
        // The empty list of `-x` is a word of its own.
        let words = words
            .split(' ')
            .flat_map(|word| if word == "-x" { vec!["-x", ""] } else { vec![word] });
        let line = Line::try_parse_from(words).unwrap();
        let settings = Settings::from_arguments(&line.arguments.flags).unwrap();
        let expected = Settings {
            exemption: Exemption::Mark(1337),
            exclude_inbound_ports: vec![15090, 15021, 15020],
            exclude_interfaces: vec!["eth1".to_owned()],
            ..Settings::default()
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_flag_that_is_not_known_is_named() {
        let line = Line::try_parse_from(["redirect", "--capture-all-dns", "true"]).unwrap();
        let error = Settings::from_arguments(&line.arguments.flags).unwrap_err();
        assert!(format!("{error:#}").contains("--capture-all-dns"), "{error:#}");
    }
}
