//! The pure matchers: the view of a request that they read.

/// What a matcher may know of one request.
pub trait RequestView {
    /// `:method`.
    fn method(&self) -> &str;
    /// `:path` with query.
    fn path_and_query(&self) -> &str;
    /// `:authority` (or `Host`), port included if sent.
    fn authority(&self) -> &str;
    /// `:scheme`.
    fn scheme(&self) -> &str;
    /// Calls `each` with every value of that header, in order.
    fn header(&self, name: &str, each: &mut dyn FnMut(&str));
}

/// A header of a request, name in lower case.
pub type HeaderView<'a> = (&'a str, &'a str);
