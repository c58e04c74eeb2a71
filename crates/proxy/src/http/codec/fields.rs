//! Header fields of one message: names and values back to back in one piece of memory.
//!
//! Proxying reads a few fields, adds a few, and writes the rest as they came. So a head is copied once, names in
//! lower case, and a field is three offsets: no map is built, and nothing is shared by reference count.
//! Invariant: names are lower-case tokens and values hold no CR, LF or NUL; whoever adds fields keeps it.

use http::{HeaderMap, HeaderName, HeaderValue};

/// What removed fields may leave behind before anybody looks.
const SLACK: usize = 16 * 1024;

/// Header fields in order of arrival.
#[derive(Clone, Default)]
pub(crate) struct Fields {
    text: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    value: u32,
    end: u32,
}

impl Fields {
    /// No fields, with room for a head of `bytes` bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        // Room for what the proxy adds itself.
        Self {
            text: Vec::with_capacity(bytes + 256),
            spans: Vec::with_capacity(24),
        }
    }

    /// Adds a field after the others. The name may be in any case.
    pub(crate) fn push(&mut self, name: &str, value: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(name.as_bytes());
        self.text[start..].make_ascii_lowercase();
        let middle = self.text.len();
        self.text.extend_from_slice(value);
        self.spans.push(Span {
            start: offset(start),
            value: offset(middle),
            end: offset(self.text.len()),
        });
    }

    /// Replaces all fields of that name with one.
    pub(crate) fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.push(name, value);
    }

    /// Removes all fields of that name. Whether there was one.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let before = self.spans.len();
        let text = &self.text;
        self.spans.retain(|span| span.name(text) != name.as_bytes());
        let removed = self.spans.len() != before;
        if removed && self.text.len() > SLACK {
            self.reclaim();
        }
        removed
    }

    /// Gives back what removed fields have left behind, once that is the most of it: however often a field is replaced,
    /// a head takes no more than twice its size.
    fn reclaim(&mut self) {
        let live = usize::try_from(self.size()).unwrap_or(usize::MAX);
        if self.text.len() - live <= live.max(SLACK) {
            return;
        }
        let mut kept = Self::with_capacity(live);
        for (name, value) in self.iter() {
            kept.push(name, value);
        }
        *self = kept;
    }

    /// The first value of that name (lower case).
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self
            .spans
            .iter()
            .find(|span| span.name(&self.text) == name.as_bytes());
        found.map(|span| span.value(&self.text))
    }

    /// The first value of that name as text; `None` as well when it is not UTF-8.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether there is such a field.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All values of that name (lower case).
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.spans
            .iter()
            .filter(move |span| span.name(&self.text) == name.as_bytes())
            .map(|span| span.value(&self.text))
    }

    /// All fields in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.spans
            .iter()
            .map(|span| (as_text(span.name(&self.text)), span.value(&self.text)))
    }

    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Size of names and values, for `istio_request_bytes`.
    pub(crate) fn size(&self) -> u64 {
        self.spans
            .iter()
            .map(|span| u64::from(span.end - span.start))
            .sum()
    }

    /// Copies what the HTTP/2 library received.
    pub(crate) fn from_map(map: &HeaderMap) -> Self {
        let bytes = map
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        let mut fields = Self::with_capacity(bytes);
        for (name, value) in map {
            fields.push(name.as_str(), value.as_bytes());
        }
        fields
    }

    /// Copies to what the HTTP/2 library sends. A field that HTTP/2 cannot carry is left out.
    pub(crate) fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.len());
        for (name, value) in self.iter() {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_bytes(value),
            ) {
                map.append(name, value);
            }
        }
        map
    }
}

impl Span {
    fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start as usize..self.value as usize]
    }

    fn value<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.value as usize..self.end as usize]
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_map()
            .entries(
                self.iter()
                    .map(|(name, value)| (name, String::from_utf8_lossy(value))),
            )
            .finish()
    }
}

fn offset(position: usize) -> u32 {
    u32::try_from(position).expect("heads are limited to 60 KiB, and the proxy adds little")
}

fn as_text(name: &[u8]) -> &str {
    std::str::from_utf8(name).expect("names are pushed as str")
}

/// The members of a comma-separated field, trimmed, empty ones left out.
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lowered_and_order_is_kept() {
        let mut fields = Fields::default();
        fields.push("X-One", b"1");
        fields.push("x-two", b"2");
        fields.push("X-ONE", b"3");
        assert_eq!(fields.all("x-one").collect::<Vec<_>>(), [b"1", b"3"]);
        fields.set("x-one", b"4");
        let all: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .collect();
        assert_eq!(
            all,
            [
                ("x-two".to_owned(), b"2".to_vec()),
                ("x-one".to_owned(), b"4".to_vec())
            ]
        );
        assert_eq!(fields.size(), 12);
    }

    #[test]
    fn fields_that_are_replaced_for_ever_take_no_more_room() {
        let mut fields = Fields::default();
        fields.push("first", b"1");
        for round in 0..1000 {
            fields.set("a", &[b'a'; 1000]);
            fields.set("b", &[b'b'; 1000]);
            assert!(fields.text.len() <= 3 * SLACK, "{round}: {}", fields.text.len());
        }
        let names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["first", "a", "b"]);
        assert_eq!(fields.get("a"), Some(&[b'a'; 1000][..]));
        assert_eq!(fields.size(), 2008);
    }

    #[test]
    fn a_round_trip_through_a_header_map_keeps_every_field() {
        let mut fields = Fields::default();
        fields.push("set-cookie", b"a=1");
        fields.push("set-cookie", b"b=2");
        let back = Fields::from_map(&fields.to_map());
        assert_eq!(back.all("set-cookie").count(), 2);
    }
}
