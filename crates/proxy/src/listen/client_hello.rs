//! Reads what a TLS ClientHello says before any handshake: the server name and the protocols that it offers
//! (RFC 8446, 4.1.2; RFC 6066, 3; RFC 7301, 3.1), as Envoy's TLS inspector does.
//!
//! A pure function over the bytes that have arrived so far: the same bytes give the same answer, and more bytes never
//! change an answer other than [`Begun::Unfinished`].

/// Most bytes of a ClientHello (Envoy: 64 KiB).
pub(crate) const LONGEST: usize = 64 * 1024;
/// Most bytes of one record's content.
const RECORD: usize = 16 * 1024;

/// Most records of one: others have a handful, and each is read anew with every piece that arrives.
const RECORDS: usize = 256;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const APPLICATION_PROTOCOLS: u16 = 16;
const HOST_NAME: u8 = 0;
const LONGEST_NAME: usize = 255;

/// What a connection begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// More bytes are needed.
    Unfinished,
    /// Not with a ClientHello.
    Other,
    /// With one that is longer than anybody's.
    TooLong,
    Tls(ClientHello),
}

/// What a ClientHello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientHello {
    /// In lower case; empty when no name is asked for.
    pub(crate) server_name: String,
    /// By preference of the client.
    pub(crate) application_protocols: Vec<String>,
}

/// What these first bytes begin.
pub(crate) fn read(bytes: &[u8]) -> Begun {
    let mut message = Vec::new();
    let mut left = bytes;
    for _ in 0..=RECORDS {
        match wanted(&message) {
            Some(Err(NotHello)) => return Begun::Other,
            Some(Ok(length)) if length > LONGEST => return Begun::TooLong,
            Some(Ok(length)) if message.len() >= length => {
                return parse(&message[4..length]).map_or(Begun::Other, Begun::Tls);
            }
            Some(Ok(_)) | None => {}
        }
        match record(left) {
            Ok(Some((content, rest))) => {
                message.extend_from_slice(content);
                left = rest;
            }
            Ok(None) if bytes.len() > 2 * LONGEST => return Begun::TooLong,
            Ok(None) => return Begun::Unfinished,
            Err(NotHello) => return Begun::Other,
        }
    }
    Begun::TooLong
}

/// Something else than a ClientHello.
struct NotHello;

/// Length of the handshake message with its header, once it is known.
fn wanted(message: &[u8]) -> Option<Result<usize, NotHello>> {
    if *message.first()? != CLIENT_HELLO {
        return Some(Err(NotHello));
    }
    let &[_, high, middle, low] = message.get(..4)? else {
        return None;
    };
    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    Some(Ok(length + 4))
}

/// What belongs to something, and the rest.
type Split<'b> = (&'b [u8], &'b [u8]);

/// The content of the first record, and what follows it. What cannot be a record of a handshake is known by its
/// first byte already.
fn record(bytes: &[u8]) -> Result<Option<Split<'_>>, NotHello> {
    let could_be = |at: usize, fits: fn(u8) -> bool| bytes.get(at).is_none_or(|byte| fits(*byte));
    if !(could_be(0, |byte| byte == HANDSHAKE) && could_be(1, |byte| byte == 3)) {
        return Err(NotHello);
    }
    let Some(header) = bytes.get(..5) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if length == 0 || length > RECORD {
        return Err(NotHello);
    }
    Ok(bytes[5..].split_at_checked(length))
}

/// The body of a ClientHello; `None` when it is malformed.
fn parse(body: &[u8]) -> Option<ClientHello> {
    let mut body = Cursor(body);
    body.take(2 + 32)?; // version, random
    body.vector8()?; // session
    let ciphers = body.vector16()?;
    if ciphers.0.is_empty() || ciphers.0.len() % 2 != 0 {
        return None;
    }
    body.vector8()?; // compression
    let mut hello = ClientHello::default();
    if body.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = body.vector16()?;
    if !body.0.is_empty() {
        return None;
    }
    while !extensions.0.is_empty() {
        let kind = extensions.number16()?;
        let content = extensions.vector16()?;
        match kind {
            SERVER_NAME => hello.server_name = server_name(content)?,
            APPLICATION_PROTOCOLS => hello.application_protocols = application_protocols(content)?,
            // Reserved values that clients throw in to keep servers tolerant (GREASE) land here too.
            _ => {}
        }
    }
    Some(hello)
}

fn server_name(mut content: Cursor<'_>) -> Option<String> {
    let mut names = content.vector16()?;
    let kind = names.take(1)?[0];
    let name = names.vector16()?.0;
    let good = kind == HOST_NAME
        && names.0.is_empty()
        && content.0.is_empty()
        && (1..=LONGEST_NAME).contains(&name.len())
        && !name.contains(&0);
    let name = std::str::from_utf8(name).ok().filter(|_| good)?;
    Some(name.to_ascii_lowercase())
}

fn application_protocols(mut content: Cursor<'_>) -> Option<Vec<String>> {
    let mut list = content.vector16()?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let name = list.vector8().filter(|name| !name.0.is_empty())?;
        protocols.push(String::from_utf8_lossy(name.0).into_owned());
    }
    (!protocols.is_empty() && content.0.is_empty()).then_some(protocols)
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Bytes behind their length in one byte.
    fn vector8(&mut self) -> Option<Self> {
        let length = self.take(1)?[0];
        self.take(length.into()).map(Cursor)
    }

    /// Bytes behind their length in two bytes.
    fn vector16(&mut self) -> Option<Self> {
        let length = self.number16()?;
        self.take(length.into()).map(Cursor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector8(content: &[u8]) -> Vec<u8> {
        [&[u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn vector16(content: &[u8]) -> Vec<u8> {
        [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [kind.to_be_bytes().to_vec(), vector16(content)].concat()
    }

    fn name(name: &[u8]) -> Vec<u8> {
        extension(0, &vector16(&[vec![0], vector16(name)].concat()))
    }

    fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
        let body = [
            vec![3, 3],
            vec![7; 32],
            vector8(&[9; 32]),
            vector16(&[0x1a, 0x1a, 0x13, 0x01]),
            vector8(&[0]),
            vector16(&extensions.concat()),
        ]
        .concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1], &length[1..], &body].concat()
    }

    /// In records of at most so many bytes.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |content: &[u8]| [vec![22, 3, 1], vector16(content)].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn hello(server_name: &str, protocols: &[&str]) -> Begun {
        Begun::Tls(ClientHello {
            server_name: server_name.into(),
            application_protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    fn usual() -> Vec<u8> {
        let offered = [vector8(b"h2"), vector8(b"http/1.1")].concat();
        message(&[
            extension(0x5a5a, b""),
            name(b"Backend.Shop.example"),
            extension(16, &vector16(&offered)),
            extension(0x9a9a, b"\0"),
        ])
    }

    #[test]
    fn name_and_protocols_are_read_however_the_message_is_cut_into_records() {
        let expected = hello("backend.shop.example", &["h2", "http/1.1"]);
        for size in [1, 3, 50, 16 * 1024] {
            let bytes = records(&usual(), size);
            assert_eq!(read(&bytes), expected, "{size}");
            assert_eq!(read(&[&bytes[..], b"rest"].concat()), expected);
            for length in 0..bytes.len() {
                assert_eq!(read(&bytes[..length]), Begun::Unfinished, "{length} of {size}");
            }
        }
    }

    #[test]
    fn a_message_in_very_many_records_is_given_up() {
        let mut long = usual();
        long.resize(long.len() + 2 * RECORDS, 0);
        let length = u32::try_from(long.len() - 4).unwrap().to_be_bytes();
        long[1..4].copy_from_slice(&length[1..]);
        let bytes = records(&long, 1);
        assert_eq!(read(&bytes), Begun::TooLong);
        let given_up = (0..bytes.len()).find(|length| read(&bytes[..*length]) == Begun::TooLong);
        assert_eq!(given_up, Some(6 * (RECORDS + 1)));
    }

    #[test]
    fn a_hello_may_name_nobody() {
        assert_eq!(read(&records(&message(&[]), 100)), hello("", &[]));
        let mut without_extensions = message(&[]);
        without_extensions.truncate(without_extensions.len() - 2);
        without_extensions[3] -= 2;
        assert_eq!(read(&records(&without_extensions, 100)), hello("", &[]));
    }

    #[test]
    fn what_is_no_hello_is_known_as_soon_as_possible() {
        for bytes in [
            &b"G"[..],
            b"\x16\x02",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\xff\xff",
            b"\x16\x03\x01\x00\x01\x02",
            b"\x15\x03\x01\x00\x02\x01\x00",
        ] {
            assert_eq!(read(bytes), Begun::Other, "{bytes:?}");
        }
        for broken in [
            name(b""),
            name(b"a\0b"),
            name(&[b'a'; 256]),
            extension(0, &vector16(&[vec![1], vector16(b"a")].concat())),
            extension(16, &vector16(&vector8(b""))),
            vec![0, 0, 0, 9],
        ] {
            assert_eq!(read(&records(&message(&[broken]), 100)), Begun::Other);
        }
        assert_eq!(read(b"\x16\x03\x01\x00\x04\x01\x01\x00\x00"), Begun::TooLong);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_and_more_of_them_change_nothing(
            cut in 0..300usize, at in 0..300usize, byte: u8, size in 1..300usize
        ) {
            let mut bytes = records(&usual(), size);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let early = read(&bytes[..cut.min(bytes.len())]);
            prop_assert!(early == Begun::Unfinished || early == read(&bytes));
        }
    }
}
