//! Frames there and back, the dictionary against other programs, and nonsense.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::{any, proptest};

use super::dictionary::{ADLER32, DICTIONARY};
use super::headers::Inflater;
use super::{Broken, Decoder, Encoder, Frame, Headers};

fn headers(pairs: &[(&str, &str)]) -> Headers {
    let own = |text: &str| text.to_owned();
    pairs
        .iter()
        .map(|(name, value)| (own(name), own(value)))
        .collect()
}

fn frames() -> Vec<Frame> {
    let (stream, fin) = (1, false);
    vec![
        Frame::SynStream {
            stream,
            fin,
            headers: headers(&[("streamtype", "stdin"), (":host", "a")]),
        },
        Frame::SynReply {
            stream,
            fin,
            headers: Headers::new(),
        },
        Frame::Data {
            stream,
            fin,
            bytes: Bytes::from_static(b"hello"),
        },
        Frame::Headers {
            stream,
            fin: true,
            headers: headers(&[("streamtype", "stdin")]),
        },
        Frame::Settings {
            initial_window: Some(100_000),
        },
        Frame::Settings { initial_window: None },
        Frame::Ping(7),
        Frame::WindowUpdate { stream, more: 5 },
        Frame::Reset { stream, why: 3 },
        Frame::Data {
            stream,
            fin: true,
            bytes: Bytes::new(),
        },
        Frame::GoAway { last: 1 },
    ]
}

fn encoded(frames: &[Frame]) -> BytesMut {
    let (mut encoder, mut bytes) = (Encoder::default(), BytesMut::new());
    for frame in frames {
        encoder.write(frame, &mut bytes);
    }
    bytes
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn every_frame_survives_its_bytes() {
    let (mut bytes, mut decoder) = (encoded(&frames()), Decoder::default());
    for frame in frames() {
        assert_eq!(decoder.next(&mut bytes), Ok(Some(frame)));
    }
    assert_eq!(decoder.next(&mut bytes), Ok(None));
    assert!(bytes.is_empty());
}

#[test]
fn frames_are_read_from_single_bytes_and_data_comes_in_pieces() {
    let (mut decoder, mut buffer, mut found) = (Decoder::default(), BytesMut::new(), Vec::new());
    for byte in encoded(&frames()) {
        buffer.put_u8(byte);
        while let Some(frame) = decoder.next(&mut buffer).unwrap() {
            found.push(frame);
        }
    }
    let pieces: Vec<_> = found
        .iter()
        .filter_map(|frame| match frame {
            Frame::Data { bytes, .. } if !bytes.is_empty() => Some(&bytes[..]),
            _ => None,
        })
        .collect();
    assert_eq!(pieces, [b"h", b"e", b"l", b"l", b"o"]);
    let whole = |frame: &&Frame| !matches!(frame, Frame::Data { bytes, .. } if !bytes.is_empty());
    let expected = frames();
    assert!(found.iter().filter(whole).eq(expected.iter().filter(whole)));
}

/// Blocks made with Python's zlib and the dictionary that is inside of kubectl.
#[test]
fn header_blocks_of_other_programs_are_read() {
    let first = "78bbe3c6a7c202e50e703a2b294a4dcc851625acc525c03c81544c70a7562482825b2fbf281d000000ffff";
    let second = "027219317400d3784a7e6909000000ffff";
    let mut inflater = Inflater::default();
    assert_eq!(
        inflater.block(&unhex(first)),
        Ok(headers(&[("streamtype", "stdin"), ("host", "example.org")]))
    );
    // One stream of compression for all: the second block refers to the first.
    assert_eq!(
        inflater.block(&unhex(second)),
        Ok(headers(&[("streamtype", "stdout")]))
    );
    assert_eq!(
        Inflater::default().block(&unhex(second)),
        Err(Broken::Compression)
    );
}

#[test]
fn the_dictionary_has_the_checksum_of_the_draft() {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in DICTIONARY.iter() {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    assert_eq!((b << 16 | a, DICTIONARY.len()), (ADLER32, 1423));
    // Our own blocks name it.
    let block = &encoded(&frames())[18..];
    assert_eq!(block[2..6], ADLER32.to_be_bytes());
}

#[test]
fn headers_that_would_fill_the_memory_are_refused() {
    let long = "x".repeat(1 << 20);
    let huge = encoded(&[Frame::SynStream {
        stream: 1,
        fin: false,
        headers: headers(&[("a", &long)]),
    }]);
    assert!(huge.len() < 16 << 10, "it compresses well");
    assert_eq!(Decoder::default().next(&mut huge.clone()), Err(Broken::TooLarge));
    let mut endless = BytesMut::from(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff][..]);
    assert_eq!(Decoder::default().next(&mut endless), Err(Broken::TooLarge));
    let mut other = BytesMut::from(&b"GET / HTTP/1.1\r\n"[..]);
    assert_eq!(
        Decoder::default().next(&mut other).map(|frame| frame.is_some()),
        Ok(true)
    );
    let mut version = BytesMut::from(&[0x80, 2, 0, 1, 0, 0, 0, 0][..]);
    assert_eq!(Decoder::default().next(&mut version), Err(Broken::Version));
}

fn exhaust(mut bytes: BytesMut) {
    let mut decoder = Decoder::default();
    while let Ok(Some(_)) = decoder.next(&mut bytes) {}
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        exhaust(BytesMut::from(&bytes[..]));
    }

    #[test]
    fn control_frames_with_random_content_never_panic(kind in 0_u8..12, content: Vec<u8>) {
        let mut bytes = BytesMut::from(&[0x80, 3, 0, kind, 0, 0, 0][..]);
        bytes.put_u8(u8::try_from(content.len()).unwrap_or(u8::MAX));
        bytes.put_slice(&content);
        exhaust(bytes);
    }

    #[test]
    fn damaged_frames_never_panic(at in any::<proptest::sample::Index>(), byte: u8) {
        let mut bytes = encoded(&frames());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        exhaust(bytes);
    }
}
