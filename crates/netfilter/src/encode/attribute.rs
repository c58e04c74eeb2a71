//! Netlink messages and attributes as bytes: lengths in host order, nf_tables' numbers in network order, everything
//! padded to four bytes.

/// A growing buffer of netlink messages.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

const NESTED: u16 = 0x8000;

impl Writer {
    /// One attribute with raw content.
    pub(crate) fn raw(&mut self, kind: u16, content: &[u8]) {
        let length =
            u16::try_from(content.len() + 4).expect("attributes are kept below 64 KiB by their callers");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(content);
        self.pad();
    }

    /// A NUL-terminated string.
    pub(crate) fn string(&mut self, kind: u16, text: &str) {
        let mut content = text.as_bytes().to_vec();
        content.push(0);
        self.raw(kind, &content);
    }

    pub(crate) fn u32(&mut self, kind: u16, number: u32) {
        self.raw(kind, &number.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, kind: u16, number: i32) {
        self.raw(kind, &number.to_be_bytes());
    }

    /// An attribute that holds attributes.
    pub(crate) fn nested(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        content(self);
        let length = u16::try_from(self.bytes.len() - start)
            .expect("nested attributes are kept below 64 KiB by their callers");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// One message of nf_tables' subsystem (or of the batch's brackets).
    pub(crate) fn message(&mut self, head: Head, content: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(head.kind.to_ne_bytes());
        self.bytes.extend(head.flags.to_ne_bytes());
        self.bytes.extend(head.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([head.family, 0]);
        self.bytes.extend(head.resource.to_be_bytes());
        content(self);
        let length = u32::try_from(self.bytes.len() - start).expect("messages are far below 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Netlink header and the `nfgenmsg` behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) family: u8,
    pub(crate) resource: u16,
}

/// The attributes in `bytes`, as kind (without its nesting bit) and content; ends at the first malformed one.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (bytes.get(..2)?, bytes.get(2..4)?);
        let length = usize::from(u16::from_ne_bytes(length.try_into().ok()?));
        let kind = u16::from_ne_bytes(kind.try_into().ok()?) & !NESTED;
        let content = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, content))
    })
}
