//! Protobuf's own framing: numbered values, each a varint, a fixed width, or bytes with a length.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

/// Why bytes are no message of the expected shape. The texts are for the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("unexpected end of the message")]
    Truncated,
    #[error("an integer is longer than 64 bits")]
    Overflow,
    #[error("illegal tag {0}")]
    Tag(u64),
    #[error("field {0} has the wrong wire type")]
    WireType(&'static str),
    #[error("field {0} holds invalid UTF-8")]
    Utf8(&'static str),
    #[error("field {0} holds a time that no calendar has")]
    Time(&'static str),
    #[error("field {0} holds invalid JSON")]
    Json(&'static str),
}

/// A value as it stands on the wire, before its meaning is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of fixed width; Kubernetes has none in what clients send.
    Fixed,
}

/// The fields of a message, in their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Raw<'a>), Malformed> {
        let tag = varint(&mut self.0)?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| *number != 0)
            .ok_or(Malformed::Tag(tag))?;
        let raw = match tag & 7 {
            0 => Raw::Number(varint(&mut self.0)?),
            1 => self.take(8).map(|_| Raw::Fixed)?,
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).map_err(|_| Malformed::Truncated)?;
                Raw::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Raw::Fixed)?,
            _ => return Err(Malformed::Tag(tag)),
        };
        Ok((number, raw))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Raw<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            // What follows a broken field has no meaning.
            self.0 = &[];
        }
        Some(field)
    }
}

/// Takes a varint from the front.
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed::Truncated)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Malformed::Overflow);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_with_their_numbers() {
        let fields: Vec<_> = Fields(&[0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 2, 3, 4]).collect();
        assert_eq!(
            fields,
            [
                Ok((1, Raw::Number(150))),
                Ok((2, Raw::Bytes(b"hi"))),
                Ok((3, Raw::Fixed))
            ]
        );
    }

    #[test]
    fn a_broken_field_ends_the_message() {
        for (bytes, why) in [
            (&[0x12, 0x05, b'h'][..], Malformed::Truncated),
            (&[0x08], Malformed::Truncated),
            (&[0x0b], Malformed::Tag(11)),
            (&[0x00, 0x00], Malformed::Tag(0)),
            (
                &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
                Malformed::Overflow,
            ),
            (
                &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
                Malformed::Overflow,
            ),
        ] {
            assert_eq!(Fields(bytes).collect::<Vec<_>>(), [Err(why)], "{bytes:?}");
        }
    }
}
