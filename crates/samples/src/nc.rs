//! Enough of nc (as busybox has it, in curl's image) for tutorials: `nc [-vz] [-w SECONDS] HOST PORT`.
//!
//! What comes in goes out, both ways; the end of the input is passed on, and the other side's end ends the program.

use std::io::{ErrorKind, copy};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

const USAGE: &str = "usage: nc [-vz] [-w SECONDS] HOST PORT";
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Default, PartialEq)]
struct Options {
    host: String,
    port: u16,
    /// Only connect.
    scan: bool,
    verbose: bool,
    limit: Option<Duration>,
}

pub(crate) fn run(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let options = parse(&arguments)?;
    talk(&options)?;
    // The thread that still reads standard input goes with the process.
    Ok(ExitCode::SUCCESS)
}

fn parse(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options::default();
    let mut places = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            places.push(argument.as_str());
            continue;
        };
        for letter in letters.chars() {
            match letter {
                'z' => options.scan = true,
                'v' => options.verbose = true,
                'n' | 'N' | '4' => {}
                'w' => {
                    let seconds = rest.next().context(USAGE)?;
                    let seconds = seconds
                        .parse()
                        .with_context(|| format!("{seconds:?} is no number of seconds"))?;
                    options.limit = Some(Duration::from_secs(seconds)).filter(|limit| !limit.is_zero());
                }
                other => bail!("-{other} is not known to this stand-in\n{USAGE}"),
            }
        }
    }
    let [host, port] = places.as_slice() else {
        bail!(USAGE);
    };
    options.host = (*host).to_owned();
    options.port = port.parse().with_context(|| format!("{port:?} is not a port"))?;
    Ok(options)
}

fn talk(options: &Options) -> anyhow::Result<()> {
    let place = format!("{}:{}", options.host, options.port);
    let stream = connect(options).with_context(|| place.clone())?;
    if options.verbose {
        eprintln!("{} ({}) open", options.host, stream.peer_addr()?);
    }
    if options.scan {
        return Ok(());
    }
    stream.set_read_timeout(options.limit)?;
    let mut upwards = stream.try_clone()?;
    std::thread::spawn(move || {
        // An error is the other side's: it went away, and then nothing more comes down either.
        let _ = copy(&mut std::io::stdin(), &mut upwards);
        let _ = upwards.shutdown(Shutdown::Write);
    });
    let mut stream = stream;
    copy(&mut stream, &mut std::io::stdout()).with_context(|| place)?;
    Ok(())
}

/// To the first address that takes the connection.
fn connect(options: &Options) -> std::io::Result<TcpStream> {
    let limit = options.limit.unwrap_or(CONNECT_LIMIT);
    let mut last = ErrorKind::NotFound.into();
    for address in (options.host.as_str(), options.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> anyhow::Result<Options> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_and_places_are_told_apart() {
        let options = parsed("-vzw 3 tcp-echo 9000").unwrap();
        assert_eq!((options.host.as_str(), options.port), ("tcp-echo", 9000));
        assert_eq!(
            (options.scan, options.verbose, options.limit),
            (true, true, Some(Duration::from_secs(3)))
        );
        for line in ["tcp-echo", "a 1 2", "a x", "a 70000", "-l 1", "-w"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
