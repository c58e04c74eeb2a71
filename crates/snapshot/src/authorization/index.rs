//! Which policies can hold at all for a subject: a policy that asks for one of a few identities, paths, hosts, headers
//! or ports is looked at only when one of them is there.
//!
//! What a policy asks for is a list of *keys*, of which each subject that it holds for has at least one. Of the lists
//! that a policy offers the one is taken whose keys the fewest other policies have.

use foldhash::HashMap;

use super::Subject;
use super::compiled::{Header, Leaf, Node, Test};
use super::text::{NAMESPACE, Text};

/// Numbers of policies, ascending.
type List = Vec<u32>;
type Exact = HashMap<Box<str>, List>;
/// Takes lists of policies.
pub(super) type Each<'e> = dyn FnMut(&[u32]) + 'e;

/// Longest authority that is looked up; none that DNS knows is longer.
const LONGEST_HOST: usize = 320;

/// Policies by what they ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    identities: Exact,
    namespaces: Exact,
    identity_prefixes: Prefixes,
    paths: Exact,
    path_prefixes: Prefixes,
    /// In lower case.
    hosts: Exact,
    headers: Vec<(Box<str>, Exact)>,
    ports: HashMap<u16, List>,
    /// Those that may hold whatever is asked.
    others: List,
}

/// Something that a subject has or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    Identity(&'a str),
    Namespace(&'a str),
    IdentityPrefix(&'a str),
    Path(&'a str),
    PathPrefix(&'a str),
    /// In any case.
    Host(&'a str),
    Header(&'a str, &'a str),
    Port(u16),
}

/// How many policies have a key.
type Frequencies<'a> = HashMap<Key<'a>, usize>;

impl Index {
    pub(super) fn new(policies: &[Node]) -> Self {
        let mut frequencies = Frequencies::default();
        for policy in policies {
            count(policy, &mut frequencies);
        }
        let mut index = Self::default();
        for (number, policy) in policies.iter().enumerate() {
            let number = u32::try_from(number).expect("a message has less than 2^32 policies");
            match keys(policy, &frequencies) {
                Some(keys) => keys.into_iter().for_each(|key| index.add(key, number)),
                None => index.others.push(number),
            }
        }
        index.path_prefixes.finish();
        index.identity_prefixes.finish();
        index
    }

    fn add(&mut self, key: Key<'_>, number: u32) {
        let list = match key {
            Key::Identity(text) => self.identities.entry(text.into()).or_default(),
            Key::Namespace(text) => self.namespaces.entry(text.into()).or_default(),
            Key::Path(text) => self.paths.entry(text.into()).or_default(),
            Key::Host(text) => self.hosts.entry(text.to_ascii_lowercase().into()).or_default(),
            Key::Port(port) => self.ports.entry(port).or_default(),
            Key::IdentityPrefix(text) => self.identity_prefixes.list(text),
            Key::PathPrefix(text) => self.path_prefixes.list(text),
            Key::Header(name, text) => {
                let known = self.headers.iter().position(|(known, _)| **known == *name);
                let at = known.unwrap_or_else(|| {
                    self.headers.push((name.into(), Exact::default()));
                    self.headers.len() - 1
                });
                self.headers[at].1.entry(text.into()).or_default()
            }
        };
        if list.last() != Some(&number) {
            list.push(number);
        }
    }

    /// Calls `each` with lists of policies; one that is in none of them does not hold.
    pub(super) fn candidates(&self, subject: &Subject<'_>, each: &mut Each<'_>) {
        each(&self.others);
        if !self.ports.is_empty()
            && let Some(list) = self.ports.get(&subject.destination.port())
        {
            each(list);
        }
        if let Some(identity) = subject.identity {
            self.of_identity(identity, each);
        }
        let Some(request) = subject.request else { return };
        look_up(&self.paths, request.path(), each);
        self.path_prefixes.of(request.path(), each);
        self.of_host(request.authority(), each);
        for (name, values) in &self.headers {
            request.header(name, &mut |value| look_up(values, value, each));
        }
    }

    fn of_identity(&self, identity: &str, each: &mut Each<'_>) {
        look_up(&self.identities, identity, each);
        self.identity_prefixes.of(identity, each);
        if self.namespaces.is_empty() {
            return;
        }
        let mut rest = identity;
        while let Some(at) = rest.find(NAMESPACE) {
            // A slash that ends one thing may begin the next: `/ns/ns/sa/` is in the namespaces `ns` and `sa`.
            rest = &rest[at + NAMESPACE.len() - 1..];
            let Some((namespace, _)) = rest[1..].split_once('/') else {
                return;
            };
            look_up(&self.namespaces, namespace, each);
        }
    }

    fn of_host(&self, authority: &str, each: &mut Each<'_>) {
        if self.hosts.is_empty() || authority.len() > LONGEST_HOST {
            return;
        }
        let mut space = [0; LONGEST_HOST];
        let lower = &mut space[..authority.len()];
        lower.copy_from_slice(authority.as_bytes());
        lower.make_ascii_lowercase();
        // Lower case changes ASCII only, so that text stays text.
        if let Ok(lower) = std::str::from_utf8(lower) {
            look_up(&self.hosts, lower, each);
        }
    }
}

fn look_up(exact: &Exact, text: &str, each: &mut Each<'_>) {
    if !exact.is_empty()
        && let Some(list) = exact.get(text)
    {
        each(list);
    }
}

/// Lists by prefix; each knows the longest other one that it begins with.
#[derive(Clone, Debug, Default)]
struct Prefixes {
    building: HashMap<Box<str>, List>,
    /// Sorted by their text.
    sorted: Vec<Prefix>,
}

#[derive(Clone, Debug)]
struct Prefix {
    text: Box<str>,
    shorter: Option<usize>,
    list: List,
}

impl Prefixes {
    fn list(&mut self, text: &str) -> &mut List {
        self.building.entry(text.into()).or_default()
    }

    /// After the last one was added.
    fn finish(&mut self) {
        let mut all: Vec<_> = std::mem::take(&mut self.building).into_iter().collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (text, list) in all {
            let before = self.sorted.len().checked_sub(1);
            let shorter = self.longest(before, &text);
            self.sorted.push(Prefix { text, shorter, list });
        }
    }

    /// The longest prefix of a text. In the order of texts all that begins with a prefix follows it directly, so that
    /// the one just before a text begins with every prefix that the text begins with.
    fn longest(&self, mut before: Option<usize>, text: &str) -> Option<usize> {
        while let Some(at) = before {
            if text.starts_with(&*self.sorted[at].text) {
                return Some(at);
            }
            before = self.sorted[at].shorter;
        }
        None
    }

    fn of(&self, text: &str, each: &mut Each<'_>) {
        let after = self.sorted.partition_point(|prefix| *prefix.text <= *text);
        let mut found = self.longest(after.checked_sub(1), text);
        while let Some(at) = found {
            each(&self.sorted[at].list);
            found = self.sorted[at].shorter;
        }
    }
}

/// Counts every key that a policy might be found by.
fn count<'a>(node: &'a Node, frequencies: &mut Frequencies<'a>) {
    match node {
        Node::All(nodes) | Node::OneOf(nodes) => nodes.iter().for_each(|node| count(node, frequencies)),
        Node::Not(_) => {}
        Node::Is(leaf) => {
            if let Some(key) = key(leaf) {
                *frequencies.entry(key).or_default() += 1;
            }
        }
    }
}

/// Keys of which a subject has at least one, if the condition holds; `None` where there are no such keys.
fn keys<'a>(node: &'a Node, frequencies: &Frequencies<'a>) -> Option<Vec<Key<'a>>> {
    match node {
        Node::All(nodes) => {
            let common = |keys: &Vec<Key<'_>>| {
                let of = |key| frequencies.get(key).copied().unwrap_or_default();
                keys.iter().map(of).max().unwrap_or_default()
            };
            nodes
                .iter()
                .filter_map(|node| keys(node, frequencies))
                .min_by_key(common)
        }
        Node::OneOf(nodes) => {
            let each = nodes.iter().map(|node| keys(node, frequencies));
            each.collect::<Option<Vec<_>>>().map(|all| all.concat())
        }
        Node::Not(_) => None,
        Node::Is(leaf) => key(leaf).map(|key| vec![key]),
    }
}

fn key(leaf: &Leaf) -> Option<Key<'_>> {
    match leaf {
        Leaf::Identity(Text::Exact(text)) => Some(Key::Identity(text)),
        Leaf::Identity(text) => match (text.namespace(), text) {
            (Some(namespace), _) => Some(Key::Namespace(namespace)),
            (None, Text::Prefix(text)) => Some(Key::IdentityPrefix(text)),
            (None, _) => None,
        },
        Leaf::Path(Text::Exact(text)) => Some(Key::Path(text)),
        Leaf::Path(Text::Prefix(text)) | Leaf::Template(text, _) => Some(Key::PathPrefix(text)),
        Leaf::DestinationPort(port, end) if port + 1 == *end => u16::try_from(*port).ok().map(Key::Port),
        Leaf::Header(header) => header_key(header),
        _ => None,
    }
}

fn header_key(header: &Header) -> Option<Key<'_>> {
    let authority = matches!(&*header.name, ":authority" | "host");
    match &header.test {
        _ if header.invert => None,
        Test::Text(Text::Exact(text) | Text::ExactOfAnyCase(text)) if authority => {
            (text.len() <= LONGEST_HOST).then_some(Key::Host(text))
        }
        // One that is not there may be compared as an empty one.
        Test::Text(Text::Exact(text)) if !text.is_empty() => Some(Key::Header(&header.name, text)),
        _ => None,
    }
}
