//! Addresses of key sets: `http` or `https`, a host, and what to ask it for.

use super::FetchError;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) https: bool,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// With query; begins with a slash.
    pub(super) path: String,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, FetchError> {
        let bad = || FetchError::Address(translate::without_secrets(text));
        let uri: http::Uri = text.parse().map_err(|_| bad())?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(bad());
        }
        Ok(Self {
            https,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned()),
        })
    }

    /// Where a redirect leads from here. Never from `https` to `http`: whoever is on the way could answer then.
    pub(super) fn join(&self, location: &str) -> Result<Self, FetchError> {
        let scheme = if self.https { "https" } else { "http" };
        let next = if is_absolute(location) {
            Self::parse(location)?
        } else if let Some(rest) = location.strip_prefix("//") {
            Self::parse(&format!("{scheme}://{rest}"))?
        } else if location.starts_with('/') {
            self.with_path(location)?
        } else {
            let path = self.path.split('?').next().unwrap_or_default();
            let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
            self.with_path(&format!("{folder}{location}"))?
        };
        if self.https && !next.https {
            return Err(FetchError::Downgrade);
        }
        Ok(next)
    }

    fn with_path(&self, path: &str) -> Result<Self, FetchError> {
        Self::parse(&format!(
            "{}://{}{path}",
            if self.https { "https" } else { "http" },
            self.authority()
        ))
    }

    /// Host and port as a request names them.
    pub(super) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Whether it names a scheme. Addresses in its path or query are those of others.
fn is_absolute(location: &str) -> bool {
    let end = location.find(['/', '?', '#']).unwrap_or(location.len());
    let (scheme, rest) = location.split_at(end);
    scheme.ends_with(':') && rest.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers_are_read_and_others_are_not() {
        let url = Url::parse("https://keys.example/a?b=c").unwrap();
        assert_eq!(
            (url.https, url.host.as_str(), url.port, url.path.as_str()),
            (true, "keys.example", 443, "/a?b=c")
        );
        let url = Url::parse("http://[::1]:8080").unwrap();
        assert_eq!(
            (url.host.as_str(), url.authority().as_str()),
            ("::1", "[::1]:8080")
        );
        for bad in [
            "",
            "keys.example",
            "/a",
            "ftp://a",
            "file:///etc/passwd",
            "http://",
            "http://user@a/",
            "http:///a",
            "https://a b/",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_tells_no_secret_of_an_address() {
        for bad in [
            "ftp://a/keys?key=secret",
            "http://user:secret@a/keys",
            "http://a b?secret",
        ] {
            let error = Url::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn redirects_lead_on_but_not_out_of_tls() {
        let from = Url::parse("https://a.example:444/x/y?z").unwrap();
        let to = |location| {
            from.join(location)
                .map(|url| format!("{}{}", url.authority(), url.path))
        };
        assert_eq!(to("/k").unwrap(), "a.example:444/k");
        assert_eq!(to("k").unwrap(), "a.example:444/x/k");
        assert_eq!(to("//b.example/k").unwrap(), "b.example/k");
        assert_eq!(to("https://b.example").unwrap(), "b.example/");
        assert!(matches!(to("http://b.example/"), Err(FetchError::Downgrade)));
        assert!(to("ftp://b.example/").is_err());
    }

    #[test]
    fn a_redirect_may_have_an_address_in_its_query() {
        let from = Url::parse("https://a.example/x/y").unwrap();
        let to = |location| from.join(location).map(|url| url.path);
        assert_eq!(to("/k?src=http://x/y").unwrap(), "/k?src=http://x/y");
        assert_eq!(to("k?src=http://x").unwrap(), "/x/k?src=http://x");
        assert_eq!(to("https://b.example/k?src=http://x").unwrap(), "/k?src=http://x");
    }
}
