//! The differences that are known and meant: read from the document that gives their reasons, so that the suite and
//! the document cannot disagree.

use std::path::Path;

use serde::Deserialize;

/// One listed difference.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Difference {
    /// `FEATURE: case`, or the beginning of that.
    pub(crate) r#where: Vec<String>,
    /// Names of values that differ; a name stands for those below it too.
    pub(crate) differs: Vec<String>,
}

/// Every block of YAML in `docs/reference/differences.md`.
pub(crate) fn read() -> Vec<Difference> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/differences.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let blocks = text
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    blocks
        .map(|block| {
            serde_saphyr::from_str(block)
                .unwrap_or_else(|error| panic!("{}: {error}\n{block}", path.display()))
        })
        .collect()
}

impl Difference {
    /// Whether it explains that these values differ in this case.
    pub(crate) fn explains(&self, place: &str, fields: &[&str]) -> bool {
        let named = |field: &str| {
            self.differs.iter().any(|name| {
                field == name
                    || field
                        .strip_prefix(name.as_str())
                        .is_some_and(|rest| rest.starts_with('.'))
            })
        };
        self.concerns(place) && fields.iter().all(|field| named(field))
    }

    /// Whether it is one of suite `policy`, whose places begin with that word.
    pub(crate) fn is_of_policies(&self) -> bool {
        self.r#where.iter().all(|begin| begin.starts_with("policy "))
    }

    pub(crate) fn concerns(&self, place: &str) -> bool {
        self.r#where.iter().any(|begin| place.starts_with(begin.as_str()))
    }
}
