//! Frames: eight bytes of head, then what the kind demands.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Broken;
use super::headers::{Deflater, Headers, Inflater};

const HEAD: usize = 8;
/// Of a control frame; data frames are passed on in pieces and need no limit.
const LARGEST: usize = 16 << 10;
const CONTROL: u16 = 0x8000;
const VERSION: u16 = 3;
const STREAM: u32 = 0x7fff_ffff;
const FIN: u8 = 1;
/// The setting that tells the initial window.
const INITIAL_WINDOW: u32 = 7;
/// Every piece of a data frame is at most so long when written.
const PIECE: usize = 1 << 20;

/// What a peer sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    SynStream {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    SynReply {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    Headers {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    /// A piece of a data frame; `fin` comes with the last.
    Data {
        stream: u32,
        fin: bool,
        bytes: Bytes,
    },
    Reset {
        stream: u32,
        why: u32,
    },
    /// Of all settings only the initial window matters here.
    Settings {
        initial_window: Option<u32>,
    },
    Ping(u32),
    GoAway {
        last: u32,
    },
    WindowUpdate {
        stream: u32,
        more: u32,
    },
}

/// Reads frames.
#[derive(Default)]
pub(crate) struct Decoder {
    inflater: Inflater,
    data: Option<DataLeft>,
}

/// The rest of a data frame whose head was read.
#[derive(Clone, Copy)]
struct DataLeft {
    stream: u32,
    fin: bool,
    length: usize,
}

impl Decoder {
    /// The next frame, taken from the front of `buffer`; `None`: more bytes are needed.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Broken> {
        loop {
            if let Some(left) = self.data {
                return Ok(self.piece(left, buffer));
            }
            let Some(&[first, second, third, fourth, flags, a, b, c]) = buffer.first_chunk::<HEAD>() else {
                return Ok(None);
            };
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            let begin = u16::from_be_bytes([first, second]);
            if begin & CONTROL == 0 {
                buffer.advance(HEAD);
                self.data = Some(DataLeft {
                    stream: u32::from_be_bytes([first, second, third, fourth]),
                    fin: flags & FIN != 0,
                    length,
                });
                continue;
            }
            if begin != CONTROL | VERSION {
                return Err(Broken::Version);
            }
            if length > LARGEST {
                return Err(Broken::TooLarge);
            }
            if buffer.len() < HEAD + length {
                return Ok(None);
            }
            buffer.advance(HEAD);
            let payload = buffer.split_to(length);
            let kind = u16::from_be_bytes([third, fourth]);
            if let Some(frame) = self.control(kind, flags & FIN != 0, &payload)? {
                return Ok(Some(frame));
            }
        }
    }

    fn piece(&mut self, left: DataLeft, buffer: &mut BytesMut) -> Option<Frame> {
        if buffer.is_empty() && left.length > 0 {
            return None;
        }
        let bytes = buffer.split_to(left.length.min(buffer.len())).freeze();
        let length = left.length - bytes.len();
        self.data = (length > 0).then_some(DataLeft { length, ..left });
        Some(Frame::Data {
            stream: left.stream,
            fin: left.fin && length == 0,
            bytes,
        })
    }

    /// `None`: a kind that may be ignored.
    fn control(&mut self, kind: u16, fin: bool, mut payload: &[u8]) -> Result<Option<Frame>, Broken> {
        let mut number = || payload.try_get_u32().map_err(|_| Broken::Short);
        let frame = match kind {
            1 => {
                let stream = number()? & STREAM;
                // The stream that it belongs to, its priority, and its slot for credentials.
                let _ = (number()?, payload.try_get_u16().map_err(|_| Broken::Short)?);
                let headers = self.inflater.block(payload)?;
                Frame::SynStream { stream, fin, headers }
            }
            2 => {
                let stream = number()? & STREAM;
                let headers = self.inflater.block(payload)?;
                Frame::SynReply { stream, fin, headers }
            }
            3 => Frame::Reset {
                stream: number()? & STREAM,
                why: number()?,
            },
            4 => settings(payload)?,
            6 => Frame::Ping(number()?),
            7 => Frame::GoAway {
                last: number()? & STREAM,
            },
            8 => {
                let stream = number()? & STREAM;
                let headers = self.inflater.block(payload)?;
                Frame::Headers { stream, fin, headers }
            }
            9 => Frame::WindowUpdate {
                stream: number()? & STREAM,
                more: number()? & STREAM,
            },
            _ => return Ok(None),
        };
        Ok(Some(frame))
    }
}

fn settings(mut payload: &[u8]) -> Result<Frame, Broken> {
    let mut number = || payload.try_get_u32().map_err(|_| Broken::Short);
    let mut initial_window = None;
    for _ in 0..number()? {
        let (name, value) = (number()? & 0x00ff_ffff, number()?);
        if name == INITIAL_WINDOW {
            initial_window = Some(value & STREAM);
        }
    }
    Ok(Frame::Settings { initial_window })
}

/// Writes frames.
#[derive(Default)]
pub(crate) struct Encoder {
    deflater: Deflater,
}

impl Encoder {
    pub(crate) fn write(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame {
            Frame::SynStream { stream, fin, headers } => {
                let block = self.block(headers);
                control(out, 1, *fin, 10 + block.len());
                out.put_u32(*stream);
                out.put_bytes(0, 6);
                out.put_slice(&block);
            }
            Frame::SynReply { stream, fin, headers } => self.reply(2, (*stream, *fin), headers, out),
            Frame::Headers { stream, fin, headers } => self.reply(8, (*stream, *fin), headers, out),
            Frame::Data { stream, fin, bytes } => data(*stream, *fin, bytes, out),
            Frame::Reset { stream, why } => numbers(out, 3, &[*stream, *why]),
            Frame::Settings { initial_window: None } => numbers(out, 4, &[0]),
            Frame::Settings {
                initial_window: Some(window),
            } => numbers(out, 4, &[1, INITIAL_WINDOW, *window]),
            Frame::Ping(id) => numbers(out, 6, &[*id]),
            Frame::GoAway { last } => numbers(out, 7, &[*last, 0]),
            Frame::WindowUpdate { stream, more } => numbers(out, 9, &[*stream, *more]),
        }
    }

    fn reply(&mut self, kind: u16, (stream, fin): (u32, bool), headers: &Headers, out: &mut BytesMut) {
        let block = self.block(headers);
        control(out, kind, fin, 4 + block.len());
        out.put_u32(stream);
        out.put_slice(&block);
    }

    fn block(&mut self, headers: &Headers) -> Vec<u8> {
        let pairs: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        self.deflater.block(&pairs)
    }
}

fn data(stream: u32, fin: bool, bytes: &[u8], out: &mut BytesMut) {
    let (now, later) = bytes.split_at(bytes.len().min(PIECE));
    out.put_u32(stream);
    out.put_u8(u8::from(fin && later.is_empty()));
    out.put_uint(now.len() as u64, 3);
    out.put_slice(now);
    if !later.is_empty() {
        data(stream, fin, later, out);
    }
}

fn control(out: &mut BytesMut, kind: u16, fin: bool, length: usize) {
    out.put_u16(CONTROL | VERSION);
    out.put_u16(kind);
    out.put_u8(u8::from(fin));
    out.put_uint(length as u64, 3);
}

fn numbers(out: &mut BytesMut, kind: u16, numbers: &[u32]) {
    control(out, kind, false, 4 * numbers.len());
    numbers.iter().for_each(|number| out.put_u32(*number));
}
