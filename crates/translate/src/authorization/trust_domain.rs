//! Trust domains of one mesh: identities of all of them count as its own. A policy that names one of them means each,
//! and `cluster.local` means the mesh's, whatever that is called.

use crate::DOMAIN;
use crate::mesh::settings::MeshSettings;

/// The trust domain of the mesh, and those that count as it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TrustDomains(Vec<String>);

impl TrustDomains {
    pub(super) fn of(settings: &MeshSettings) -> Self {
        Self(settings.mtls.domains().into_iter().map(str::to_owned).collect())
    }

    /// `td/ns/shop/sa/web`, for every trust domain that it means.
    pub(super) fn principals(&self, stated: &[String]) -> Vec<String> {
        let mut all = Vec::new();
        for principal in stated {
            let parts: Vec<&str> = principal.split('/').collect();
            match parts.as_slice() {
                // Any trust domain will do.
                ["*", _, _, _, _] => all.push(principal.clone()),
                [domain, rest @ ..] if rest.len() == 4 && self.are_meant(domain) => {
                    all.extend(self.replaced(principal, domain, &rest.join("/")));
                }
                _ => all.push(principal.clone()),
            }
        }
        all
    }

    /// Trust domains, with those that count as them.
    pub(super) fn expanded(&self, stated: &[String]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let each = |domain: &String| match self.0.contains(domain) {
            true => self.0.clone(),
            false => vec![domain.clone()],
        };
        for domain in stated.iter().flat_map(each) {
            if !all.contains(&domain) {
                all.push(domain);
            }
        }
        all
    }

    fn are_meant(&self, domain: &str) -> bool {
        domain == DOMAIN || self.0.iter().any(|own| matches(own, domain))
    }

    /// One that begins with a star stays as it is for what it stands for.
    fn replaced(&self, principal: &str, domain: &str, rest: &str) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for own in &self.0 {
            let stands_for_own = domain.strip_prefix('*').is_some_and(|end| own.ends_with(end));
            let name = match stands_for_own {
                true => principal.to_owned(),
                false => format!("{own}/{rest}"),
            };
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }
}

/// A name, or one with a star at its beginning or end.
fn matches(name: &str, pattern: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(all: &[&str]) -> TrustDomains {
        TrustDomains(all.iter().map(|domain| (*domain).to_owned()).collect())
    }

    fn principals(all: &[&str], principal: &str) -> Vec<String> {
        domains(all).principals(&[principal.to_owned()])
    }

    #[test]
    fn a_principal_of_the_mesh_means_each_of_its_trust_domains() {
        let both = ["td1/ns/foo/sa/a", "td2/ns/foo/sa/a"];
        assert_eq!(principals(&["td1", "td2"], "td1/ns/foo/sa/a"), both);
        assert_eq!(principals(&["td1", "td2"], "td2/ns/foo/sa/a"), both);
        assert_eq!(principals(&["td1", "td2"], "cluster.local/ns/foo/sa/a"), both);
        assert_eq!(principals(&["td1"], "other/ns/foo/sa/a"), ["other/ns/foo/sa/a"]);
    }

    #[test]
    fn what_names_no_trust_domain_stays() {
        for principal in ["*", "*/ns/foo/sa/a", "sa/a", "cluster.local/*", "*/sa/a"] {
            assert_eq!(principals(&["td1", "td2"], principal), [principal]);
        }
    }

    #[test]
    fn a_star_stays_for_what_it_stands_for() {
        let found = principals(&["new-td", "old-td", "far"], "*-td/ns/foo/sa/a");
        assert_eq!(found, ["*-td/ns/foo/sa/a", "far/ns/foo/sa/a"]);
    }

    #[test]
    fn a_trust_domain_means_those_that_count_as_it() {
        let of = |stated: &[&str]| {
            let stated: Vec<String> = stated.iter().map(|domain| (*domain).to_owned()).collect();
            domains(&["td1", "td2"]).expanded(&stated)
        };
        assert_eq!(of(&["td2", "far", "td1"]), ["td1", "td2", "far"]);
        assert_eq!(of(&["*"]), ["*"]);
    }
}
