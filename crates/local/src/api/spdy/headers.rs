//! Header blocks: names and values, compressed with one zlib stream per direction that lasts as long as the connection.
//!
//! A block that cannot be read ruins the stream, hence the connection. Sizes are bounded before anything is stored.

use bytes::{Buf, BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Broken;
use super::dictionary::DICTIONARY;

/// Of one block, when read.
const LARGEST: usize = 32 << 10;
const MOST: u32 = 128;

/// Names are in lower case; several values of one name are separated by zero bytes.
pub(crate) type Headers = Vec<(String, String)>;

/// Writes header blocks.
pub(super) struct Deflater(Compress);

/// Reads header blocks.
pub(super) struct Inflater(Decompress);

impl Default for Deflater {
    fn default() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        compress
            .set_dictionary(&DICTIONARY)
            .expect("a fresh stream takes a dictionary");
        Self(compress)
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Deflater {
    pub(super) fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = BytesMut::new();
        let length = |text: &str| u32::try_from(text.len()).expect("our own headers are short");
        plain.put_u32(u32::try_from(headers.len()).expect("our own headers are few"));
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(length(text));
            plain.put_slice(text.as_bytes());
        }
        let mut packed = Vec::new();
        let mut taken = 0;
        loop {
            packed.reserve(plain.len() / 2 + 64);
            let before = self.0.total_in();
            self.0
                .compress_vec(&plain[taken..], &mut packed, FlushCompress::Sync)
                .expect("deflate takes any input");
            taken += usize::try_from(self.0.total_in() - before).expect("no more than was given");
            // Room that is left over says that the flush is complete.
            if taken == plain.len() && packed.len() < packed.capacity() {
                return packed;
            }
        }
    }
}

impl Inflater {
    pub(super) fn block(&mut self, packed: &[u8]) -> Result<Headers, Broken> {
        parse(&self.inflate(packed)?)
    }

    fn inflate(&mut self, packed: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut plain = Vec::with_capacity(1024);
        let mut taken = 0;
        loop {
            let (before, had) = (self.0.total_in(), plain.len());
            let outcome = self
                .0
                .decompress_vec(&packed[taken..], &mut plain, FlushDecompress::Sync);
            let read = usize::try_from(self.0.total_in() - before).map_err(|_| Broken::Compression)?;
            taken += read;
            match outcome {
                Ok(Status::Ok | Status::BufError) => {}
                Ok(Status::StreamEnd) => return Err(Broken::Compression),
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0
                        .set_dictionary(&DICTIONARY)
                        .map_err(|_| Broken::Compression)?;
                    continue;
                }
                Err(_) => return Err(Broken::Compression),
            }
            if plain.len() > LARGEST {
                return Err(Broken::TooLarge);
            }
            if plain.len() == plain.capacity() {
                plain.reserve(plain.len());
            } else if taken == packed.len() {
                return Ok(plain);
            } else if read == 0 && plain.len() == had {
                return Err(Broken::Compression);
            }
        }
    }
}

fn parse(mut block: &[u8]) -> Result<Headers, Broken> {
    let count = block.try_get_u32().map_err(|_| Broken::Headers)?;
    if count > MOST {
        return Err(Broken::TooLarge);
    }
    let mut text = || -> Result<String, Broken> {
        let length = block.try_get_u32().map_err(|_| Broken::Headers)?;
        let length = usize::try_from(length).map_err(|_| Broken::Headers)?;
        let (bytes, rest) = block.split_at_checked(length).ok_or(Broken::Headers)?;
        block = rest;
        String::from_utf8(bytes.to_vec()).map_err(|_| Broken::Headers)
    };
    (0..count).map(|_| Ok((text()?, text()?))).collect()
}
