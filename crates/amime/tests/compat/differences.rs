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
fn read() -> Vec<Difference> {
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

/// Those of suite `policy`, or of the table.
pub(crate) fn of_suite(policies: bool) -> Vec<Difference> {
    let all = read().into_iter();
    all.filter_map(|difference| difference.of_suite(policies))
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

    /// As far as suite `policy` is concerned, whose places begin with that word, or the table; `None` if it is not.
    fn of_suite(mut self, policies: bool) -> Option<Self> {
        self.r#where
            .retain(|begin| begin.starts_with("policy ") == policies);
        (!self.r#where.is_empty()).then_some(self)
    }

    pub(crate) fn concerns(&self, place: &str) -> bool {
        self.r#where.iter().any(|begin| place.starts_with(begin.as_str()))
    }
}
