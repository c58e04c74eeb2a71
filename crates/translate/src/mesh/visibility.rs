//! `exportTo`: which namespaces may see an object.

use std::collections::BTreeSet;

/// Which namespaces may see an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Visibility {
    /// All of them (`*`, or nothing said).
    #[default]
    Public,
    /// These; empty is nobody (`~`).
    Namespaces(BTreeSet<String>),
}

impl Visibility {
    /// Reads `exportTo` of an object in `namespace`.
    pub fn of<'a>(export_to: impl IntoIterator<Item = &'a str>, namespace: &str) -> Self {
        let mut said = false;
        let mut namespaces = BTreeSet::new();
        for target in export_to
            .into_iter()
            .map(str::trim)
            .filter(|target| !target.is_empty())
        {
            said = true;
            match target {
                "*" => return Self::Public,
                "~" => {}
                "." => drop(namespaces.insert(namespace.to_owned())),
                other => drop(namespaces.insert(other.to_owned())),
            }
        }
        if said {
            Self::Namespaces(namespaces)
        } else {
            Self::Public
        }
    }

    /// Whether that namespace may see the object.
    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::Public => true,
            Self::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }

    /// Whether that namespace and no other may see the object.
    pub fn is_only(&self, namespace: &str) -> bool {
        matches!(self, Self::Namespaces(namespaces) if namespaces.iter().eq([namespace]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_is_public_and_a_dot_is_the_own_namespace() {
        let sees = |export_to: &[&str], namespace| {
            Visibility::of(export_to.iter().copied(), "shop").includes(namespace)
        };
        assert!(sees(&[], "other"));
        assert!(sees(&["*"], "other"));
        assert!(sees(&["."], "shop") && !sees(&["."], "other"));
        assert!(sees(&[".", "other"], "other"));
        assert!(!sees(&["~"], "shop"));
    }
}
