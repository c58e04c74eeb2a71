//! The conversation with the kernel. It answers before `send` returns, so nothing here waits.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

use crate::encode::{self, Batch, Head, Part, Writer, attributes};
use crate::error::errno;
use crate::{Error, Family, Table};

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Makes `table` the only one of its family and name, in one transaction.
///
/// # Errors
/// What the kernel refused and why; the old table is then still in force.
pub fn apply(table: &Table) -> Result<(), Error> {
    transact(&table.name, Batch::replace(table))
}

/// Removes a table; one that does not exist is fine.
///
/// # Errors
/// What the kernel refused and why.
pub fn remove(family: Family, name: &str) -> Result<(), Error> {
    transact(name, Batch::removal(family, name))
}

/// Whether there is such a table.
///
/// # Errors
/// When the kernel does not answer.
pub fn exists(family: Family, name: &str) -> Result<bool, Error> {
    Ok(list()?
        .iter()
        .any(|table| table.family == family && table.name == name))
}

/// Which table is meant: names are unique within a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    pub family: Family,
    pub name: String,
}

/// All tables of this network namespace in the families that we know.
///
/// # Errors
/// When the kernel does not answer.
pub fn list() -> Result<Vec<TableName>, Error> {
    let socket = open()?;
    let head = Head {
        kind: (encode::SUBSYSTEM << 8) | encode::GET_TABLE,
        flags: encode::REQUEST | encode::DUMP,
        sequence: 0,
        family: 0,
        resource: 0,
    };
    let mut request = Writer::default();
    request.message(head, |_| {});
    socket.send(&request.bytes, 0).map_err(Error::Socket)?;
    let mut tables = Vec::new();
    // A dump goes on with every read until the kernel says that it is done.
    while let Some(datagram) = receive(&socket)? {
        for message in messages(&datagram) {
            match message.kind {
                DONE => return Ok(tables),
                ERROR => check(&message, &[])?,
                _ => tables.extend(table_name(&message)),
            }
        }
    }
    Ok(tables)
}

fn transact(table: &str, batch: Batch) -> Result<(), Error> {
    let socket = open()?;
    let (bytes, parts) = batch.finish();
    socket
        .send(&bytes, 0)
        .map_err(|error| match error.raw_os_error() {
            Some(errno::EMSGSIZE) => Error::TooLarge {
                table: table.to_owned(),
                bytes: bytes.len(),
            },
            _ => Error::Socket(error),
        })?;
    let mut acknowledged = false;
    while let Some(datagram) = receive(&socket)? {
        for message in messages(&datagram).filter(|message| message.kind == ERROR) {
            check(&message, &parts)?;
            acknowledged = true;
        }
    }
    match acknowledged {
        true => Ok(()),
        false => Err(Error::Socket(io::ErrorKind::UnexpectedEof.into())),
    }
}

fn open() -> Result<Socket, Error> {
    let mut socket = Socket::new(NETLINK_NETFILTER).map_err(Error::Socket)?;
    let prepare = |socket: &mut Socket| {
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        // Refusals come with the kernel's own words where it has some, and without a copy of what we sent.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        enlarge(socket)
    };
    prepare(&mut socket).map_err(Error::Socket)?;
    Ok(socket)
}

/// A batch must fit the socket's buffer. The host's root may have any size; others get what `net.core.wmem_max` allows,
/// which by default is enough for some hundred services.
fn enlarge(socket: &Socket) -> io::Result<()> {
    const SEND_BUFFER: usize = 16 << 20;
    if setsockopt(socket, sockopt::SndBufForce, &SEND_BUFFER).is_err() {
        setsockopt(socket, sockopt::SndBuf, &SEND_BUFFER)?;
    }
    Ok(())
}

/// The next datagram, or `None` when the kernel has said everything.
fn receive(socket: &Socket) -> Result<Option<Vec<u8>>, Error> {
    match socket.recv_from_full() {
        Ok((datagram, _)) => Ok(Some(datagram)),
        Err(error) if error.raw_os_error() == Some(errno::EAGAIN) => Ok(None),
        Err(error) => Err(Error::Socket(error)),
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let length = word(0)? as usize;
        let message = Message {
            kind: half(4)?,
            flags: half(6)?,
            sequence: word(8)?,
            body: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// An acknowledgement is an error of zero.
fn check(message: &Message<'_>, parts: &[Part]) -> Result<(), Error> {
    let number = message.body.get(..4).and_then(|bytes| bytes.try_into().ok());
    let number = number.map_or(0, i32::from_ne_bytes);
    if number == 0 {
        return Ok(());
    }
    let part = parts.get(message.sequence as usize);
    let name = part.map_or_else(|| "the list of tables".to_owned(), |part| part.name.clone());
    Err(Error::refused(
        name,
        -number,
        words(message),
        part.and_then(|part| part.module),
    ))
}

/// The kernel's explanation, which follows the (capped) header of the refused message.
fn words(message: &Message<'_>) -> Option<String> {
    const HAS_ATTRIBUTES: u16 = 0x200;
    let bytes = message.body.get(4 + HEADER..)?;
    (message.flags & HAS_ATTRIBUTES != 0).then_some(())?;
    let (_, text) = attributes(bytes).find(|(kind, _)| *kind == 1)?;
    Some(text_of(text))
}

fn table_name(message: &Message<'_>) -> Option<TableName> {
    let family = encode::family_of_number(*message.body.first()?)?;
    let (_, name) = attributes(message.body.get(4..)?).find(|(kind, _)| *kind == 1)?;
    Some(TableName {
        family,
        name: text_of(name),
    })
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}
