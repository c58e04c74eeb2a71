//! Rules against the real kernel, each test in a process and a network namespace of its own.
//!
//! Needs root, or a host that lets ordinary users make user namespaces; fails where neither is given. Run with
//! `cargo xtask test kernel`.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use netfilter::{Chain, Expression, Family, Hook, Is, Kind, Pick, Point, Prefix, Protocol, State, Table};

const INSIDE: &str = "NETFILTER_TEST_INSIDE";

/// Runs `test` (the body of the test of this name) in a fresh network namespace whose loopback is up.
fn in_fresh_namespace(name: &str, test: impl FnOnce()) {
    #[expect(
        clippy::disallowed_methods,
        reason = "how the child knows that it is the child"
    )]
    if std::env::var(INSIDE).is_ok() {
        bring_loopback_up();
        return test();
    }
    let status = unshared(Command::new("/proc/self/exe").args(["--exact", name, "--nocapture"]).env(INSIDE, "1"))
        .status()
        .expect("network namespaces need root or unprivileged user namespaces (kernel.unprivileged_userns_clone, user.max_user_namespaces)");
    assert!(status.success(), "{name} failed inside its namespace");
}

#[allow(
    unsafe_code,
    reason = "the namespace must be left between fork and exec, by the child alone"
)]
fn unshared(command: &mut Command) -> &mut Command {
    use nix::sched::{CloneFlags, unshare};
    use std::os::unix::process::CommandExt;
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let is_root = user.is_root();
    // Without a mapping to root, exec would take the new capabilities away again.
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ];
    let enter = move || {
        if is_root {
            return Ok(unshare(CloneFlags::CLONE_NEWNET)?);
        }
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUSER)?;
        maps.iter().try_for_each(|(file, map)| std::fs::write(file, map))
    };
    // SAFETY: between fork and exec the closure only makes system calls; its strings were made before, and the
    // standard library copies paths as short as these to the stack.
    unsafe { command.pre_exec(enter) }
}

fn bring_loopback_up() {
    use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
    const NEW_LINK: u16 = 16;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 5;
    let mut message = Vec::new();
    message.extend(32u32.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    message.extend([0; 8]);
    // ifinfomsg: index 1 is always loopback; flag 1 is IFF_UP, and only it changes.
    message.extend([0; 4]);
    for word in [1u32, 1, 1] {
        message.extend(word.to_ne_bytes());
    }
    let socket = Socket::new(NETLINK_ROUTE).expect("a routing socket");
    socket.send_to(&message, &SocketAddr::new(0, 0), 0).expect("send");
    let (answer, _) = socket.recv_from_full().expect("an answer");
    assert_eq!(answer[16..20], [0; 4], "loopback did not come up");
}

/// Listens on a free port of loopback and answers each connection with `name`.
fn server(name: &'static str) -> SocketAddrV4 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let SocketAddr::V4(address) = listener.local_addr().expect("address") else {
        panic!("bound to IPv4");
    };
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let _ = connection.expect("accept").write_all(name.as_bytes());
        }
    });
    address
}

fn call(address: &str) -> std::io::Result<String> {
    let address = address.parse().expect("an address");
    let mut connection = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    connection.read_to_string(&mut text)?;
    Ok(text)
}

fn output(rules: Vec<netfilter::Rule>) -> Table {
    let mut chain = Chain::at("output", Hook::NAT_OUTPUT);
    chain.rules = rules;
    Table::new(Family::Ipv4, "test").chain(chain)
}

fn to_port(port: u16) -> [Expression; 2] {
    [
        Expression::destination(Ipv4Addr::new(127, 9, 9, 9)),
        Expression::destination_port(Protocol::Tcp, port),
    ]
}

#[test]
fn the_kernel_accepts_every_expression_in_every_family_that_has_it() {
    in_fresh_namespace(
        "the_kernel_accepts_every_expression_in_every_family_that_has_it",
        || {
            for family in [Family::Ipv4, Family::Inet] {
                netfilter::apply(&everything(family)).unwrap_or_else(|error| panic!("{family}: {error}"));
                assert!(netfilter::exists(family, "everything").unwrap());
            }
            let six = Prefix::new("fd00::1".parse::<std::net::IpAddr>().unwrap(), 61);
            let table = Table::new(Family::Ipv6, "six").chain(
                Chain::at("output", Hook::NAT_OUTPUT)
                    .rule([Expression::source(six), Expression::Redirect(1)])
                    .rule([
                        Expression::not_destination(std::net::Ipv6Addr::LOCALHOST),
                        Expression::leave(),
                    ]),
            );
            netfilter::apply(&table).unwrap();
            assert_eq!(netfilter::list().unwrap().len(), 3);
        },
    );
}

fn everything(family: Family) -> Table {
    let some = vec![
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1),
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2),
    ];
    let ten = Prefix::new(Ipv4Addr::new(10, 0, 0, 0), 9);
    let hosts = vec![Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 6).into()];
    Table::new(family, "everything")
        .chain(
            Chain::at("prerouting", Hook::NAT_PREROUTING)
                .rule([Expression::input_interface("lo"), Expression::leave()])
                .rule([
                    Expression::InputInterface(Is::In(vec!["a".into(), "b".into()])),
                    Expression::accept(),
                ])
                .rule([
                    Expression::destination_ports(Protocol::Tcp, [1, 2, 2]),
                    Expression::Redirect(15006),
                ])
                .rule([Expression::Dnat(some.clone(), Pick::Random)])
                .rule([Expression::Dnat(some.clone(), Pick::BySource)])
                .rule([Expression::jump("called")]),
        )
        .chain(
            Chain::at("output", Hook::NAT_OUTPUT)
                .rule([
                    Expression::output_interface("lo"),
                    Expression::user(1337),
                    Expression::mark(1337),
                ])
                .rule([
                    Expression::Group(Is::Not(3)),
                    Expression::Protocol(Is::Not(Protocol::Tcp)),
                ])
                .rule([Expression::source(ten), Expression::not_destination(ten)])
                .rule([
                    Expression::Source(Is::In(hosts)),
                    Expression::Destination(Is::In(Vec::new())),
                ])
                .rule([
                    Expression::SourcePort(Protocol::Udp, Is::Equal(53)),
                    Expression::Counter,
                ])
                .rule([Expression::Dnat(some[..1].to_vec(), Pick::Random)]),
        )
        .chain(
            Chain::at("postrouting", Hook::NAT_POSTROUTING)
                .rule([Expression::DestinationTranslated, Expression::Masquerade])
                .rule([
                    Expression::Pair(vec![(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST)]),
                    Expression::Masquerade,
                ]),
        )
        .chain(
            Chain::at("filter", Hook::accepting(Kind::Filter, Point::Output, 0))
                .rule([
                    Expression::ConnectionState(vec![State::New, State::Related]),
                    Expression::Counter,
                ])
                .rule([Expression::Reject(Protocol::Tcp)])
                .rule([Expression::Reject(Protocol::Udp)]),
        )
        .chain(Chain::called("called").rule([Expression::drop()]))
}

#[test]
fn a_call_to_a_service_address_reaches_each_of_its_targets() {
    in_fresh_namespace("a_call_to_a_service_address_reaches_each_of_its_targets", || {
        let mut rule = to_port(80).to_vec();
        rule.push(Expression::Dnat(
            vec![server("a"), server("b"), server("c")],
            Pick::Random,
        ));
        netfilter::apply(&output(vec![netfilter::Rule::new(rule).comment("web")])).unwrap();
        // The chance that 200 fair draws leave one of three out is below 1e-34.
        let answers: BTreeSet<String> = (0..200).map(|_| call("127.9.9.9:80").unwrap()).collect();
        assert_eq!(answers.into_iter().collect::<String>(), "abc");
    });
}

#[test]
fn a_client_stays_with_its_target_when_the_source_decides() {
    in_fresh_namespace("a_client_stays_with_its_target_when_the_source_decides", || {
        let mut rule = to_port(80).to_vec();
        rule.push(Expression::Dnat(
            vec![server("a"), server("b"), server("c")],
            Pick::BySource,
        ));
        netfilter::apply(&output(vec![netfilter::Rule::new(rule)])).unwrap();
        let answers: BTreeSet<String> = (0..50).map(|_| call("127.9.9.9:80").unwrap()).collect();
        assert_eq!(answers.len(), 1, "{answers:?}");
    });
}

#[test]
fn redirection_leaves_out_what_stands_before_it() {
    in_fresh_namespace("redirection_leaves_out_what_stands_before_it", || {
        let (proxy, direct) = (server("proxy"), server("direct"));
        let table = Table::new(Family::Inet, "test").chain(
            Chain::at("output", Hook::NAT_OUTPUT)
                .rule([
                    Expression::destination_port(Protocol::Tcp, direct.port()),
                    Expression::leave(),
                ])
                .rule([
                    Expression::protocol(Protocol::Tcp),
                    Expression::Redirect(proxy.port()),
                ]),
        );
        netfilter::apply(&table).unwrap();
        assert_eq!(call(&direct.to_string()).unwrap(), "direct");
        assert_eq!(call("127.9.9.9:4711").unwrap(), "proxy");
    });
}

#[test]
fn a_rejected_call_fails_at_once_and_works_after_the_table_is_gone() {
    in_fresh_namespace(
        "a_rejected_call_fails_at_once_and_works_after_the_table_is_gone",
        || {
            let address = server("a");
            let table = Table::new(Family::Ipv4, "test").chain(
                Chain::at("output", Hook::accepting(Kind::Filter, Point::Output, 0)).rule([
                    Expression::destination_port(Protocol::Tcp, address.port()),
                    Expression::Reject(Protocol::Tcp),
                ]),
            );
            netfilter::apply(&table).unwrap();
            let refused = call(&address.to_string()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            netfilter::remove(Family::Ipv4, "test").unwrap();
            netfilter::remove(Family::Ipv4, "test").unwrap();
            assert!(!netfilter::exists(Family::Ipv4, "test").unwrap());
            assert_eq!(call(&address.to_string()).unwrap(), "a");
        },
    );
}

#[test]
fn a_refused_table_leaves_the_old_one_in_force_and_names_the_rule() {
    in_fresh_namespace(
        "a_refused_table_leaves_the_old_one_in_force_and_names_the_rule",
        || {
            let address = server("a");
            let mut rule = to_port(80).to_vec();
            rule.push(Expression::Dnat(vec![address], Pick::Random));
            let good = netfilter::Rule::new(rule);
            netfilter::apply(&output(vec![good.clone()])).unwrap();
            let bad = netfilter::Rule::new([Expression::jump("nowhere")]);
            let error = netfilter::apply(&output(vec![good, bad])).unwrap_err();
            assert_eq!(error.errno(), Some(2), "{error}");
            assert!(
                error
                    .to_string()
                    .starts_with("table test, chain output, rule 2 (jump nowhere): "),
                "{error}"
            );
            assert_eq!(call("127.9.9.9:80").unwrap(), "a");
        },
    );
}

#[test]
fn a_thousand_services_fit_one_transaction() {
    in_fresh_namespace("a_thousand_services_fit_one_transaction", || {
        let target = server("last");
        let mut targets: Vec<_> = (1..=9)
            .map(|port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
            .collect();
        let rules = (1..=1000).map(|port| {
            targets[0] = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            let chosen = if port == 1000 {
                vec![target]
            } else {
                targets.clone()
            };
            let mut rule = to_port(port).to_vec();
            rule.push(Expression::Dnat(chosen, Pick::Random));
            netfilter::Rule::new(rule)
        });
        netfilter::apply(&output(rules.collect())).unwrap();
        assert_eq!(call("127.9.9.9:1000").unwrap(), "last");
    });
}
