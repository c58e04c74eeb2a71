//! A route table in the form that answers requests: hashed domains, compiled conditions.
//!
//! `explain` and the data path both ask this form, so they cannot disagree. It keeps the table that it was made
//! from and answers with positions in it; the proxy hangs what it resolved (clusters, budgets) on the same positions.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::matcher::Conditions;
use super::rewrite::CompiledRewrite;
use super::{Action, PathRewrite, RedirectPath, RequestView, Route, RouteTable, VirtualHost, Weighted};
use crate::cors::CompiledOrigins;

type Domains = foldhash::HashMap<Box<[u8]>, usize>;

/// A route table, compiled.
#[derive(Clone, Debug)]
pub struct CompiledTable {
    table: Arc<RouteTable>,
    exact: Domains,
    /// By the text after `*`, longest first.
    suffixes: Vec<(usize, Domains)>,
    /// By the text before `*`, longest first.
    prefixes: Vec<(usize, Domains)>,
    any: Option<usize>,
    /// In the order of hosts and routes; `None` where something could not be compiled: never matches.
    routes: Vec<Vec<Option<CompiledRoute>>>,
}

/// What of a route has to be compiled.
#[derive(Clone, Debug)]
struct CompiledRoute {
    conditions: Conditions,
    rewrite: Option<CompiledRewrite>,
    origins: Option<CompiledOrigins>,
}

impl CompiledRoute {
    fn new(route: &Route) -> Result<Self, String> {
        let rewrite = path_rewrite(&route.action);
        Ok(Self {
            conditions: Conditions::new(&route.matches)?,
            rewrite: rewrite
                .map(|rewrite| CompiledRewrite::new(rewrite, route.matches.path.as_ref()))
                .transpose()?,
            origins: route
                .cors
                .as_ref()
                .map(|cors| CompiledOrigins::new(&cors.allow_origins))
                .transpose()?,
        })
    }
}

/// Whether everything in a route can be compiled. One where that is not so never matches.
pub fn can_compile(route: &Route) -> bool {
    CompiledRoute::new(route).is_ok()
}

fn path_rewrite(action: &Action) -> Option<&PathRewrite> {
    match action {
        Action::Forward(forward) => forward.path_rewrite.as_ref(),
        Action::Redirect(redirect) => match &redirect.path {
            Some(RedirectPath::Rewrite(rewrite)) => Some(rewrite),
            Some(RedirectPath::Replace(_)) | None => None,
        },
        Action::Respond(_) => None,
    }
}

/// The route of a request.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Position of the host in [`RouteTable::hosts`].
    pub host_position: usize,
    /// Position of the route in [`VirtualHost::routes`].
    pub route_position: usize,
    /// The host.
    pub host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
    compiled: Option<&'a CompiledRoute>,
}

impl Found<'_> {
    /// The path that the route makes of this one, query included.
    pub fn rewrite<'p>(&self, path_and_query: &'p str) -> Cow<'p, str> {
        match self.compiled.and_then(|route| route.rewrite.as_ref()) {
            Some(rewrite) => rewrite.rewrite(path_and_query),
            None => Cow::Borrowed(path_and_query),
        }
    }

    /// Whether the route has a rule for paths, even if it leaves this one as it is.
    pub fn rewrites(&self) -> bool {
        self.compiled.is_some_and(|route| route.rewrite.is_some())
    }

    /// Whether scripts of that origin may call the route, as its [`crate::Cors`] says; without one nobody may.
    pub fn allows_origin(&self, origin: &[u8]) -> bool {
        let origins = self.compiled.and_then(|route| route.origins.as_ref());
        origins.is_some_and(|origins| origins.allow(origin))
    }
}

/// A part of a table that cannot work; the rest of the table does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteProblem {
    /// The table.
    pub table: String,
    /// The virtual host.
    pub host: String,
    /// Position of the route in its host; `None` when the host itself is at fault.
    pub route: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for RouteProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "route table {}, host {}", self.table, self.host)?;
        if let Some(route) = self.route {
            write!(out, ", route {route}")?;
        }
        write!(out, ": {}", self.reason)
    }
}

impl CompiledTable {
    /// Compiles a table. A route that cannot be compiled never matches; of two hosts with one domain the first
    /// keeps it. Both are reported.
    pub fn new(table: Arc<RouteTable>) -> (Self, Vec<RouteProblem>) {
        let mut problems = Vec::new();
        let mut compiled = Self {
            exact: Domains::default(),
            suffixes: Vec::new(),
            prefixes: Vec::new(),
            any: None,
            routes: Vec::with_capacity(table.hosts.len()),
            table,
        };
        let table = compiled.table.clone();
        for (position, host) in table.hosts.iter().enumerate() {
            let problem = |route, reason| RouteProblem {
                table: table.name.to_string(),
                host: host.name.clone(),
                route,
                reason,
            };
            for domain in &host.domains {
                if !compiled.add_domain(domain, position) {
                    problems.push(problem(
                        None,
                        format!("domain {domain:?} belongs to an earlier host"),
                    ));
                }
            }
            let mut routes = Vec::with_capacity(host.routes.len());
            for (position, route) in host.routes.iter().enumerate() {
                let compiled = CompiledRoute::new(route);
                routes.push(
                    compiled
                        .map_err(|reason| problems.push(problem(Some(position), reason)))
                        .ok(),
                );
            }
            compiled.routes.push(routes);
        }
        compiled
            .suffixes
            .sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        compiled
            .prefixes
            .sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        (compiled, problems)
    }

    /// The table that this was made from.
    pub fn table(&self) -> &Arc<RouteTable> {
        &self.table
    }

    /// Whether the domain was free.
    fn add_domain(&mut self, domain: &str, host: usize) -> bool {
        let domain = domain.to_ascii_lowercase();
        let (domains, key) = if domain == "*" {
            let free = self.any.is_none();
            self.any.get_or_insert(host);
            return free;
        } else if let Some(suffix) = domain.strip_prefix('*') {
            (of_length(&mut self.suffixes, suffix.len()), suffix)
        } else if let Some(prefix) = domain.strip_suffix('*') {
            (of_length(&mut self.prefixes, prefix.len()), prefix)
        } else {
            (&mut self.exact, domain.as_str())
        };
        let free = !domains.contains_key(key.as_bytes());
        domains.entry(key.as_bytes().into()).or_insert(host);
        free
    }

    /// Position of the host that serves an authority; its port and the case of its letters do not matter.
    /// Allocates only for an authority with capital letters.
    pub fn find_host(&self, authority: &str) -> Option<usize> {
        let host = match self.table.match_ports {
            true => authority,
            false => host_without_port(authority),
        };
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        let host = host.as_bytes();
        // The star stands for at least one character, hence `<`.
        let shorter = |length: usize| length < host.len();
        let by_suffix = || {
            self.suffixes
                .iter()
                .filter(|(length, _)| shorter(*length))
                .find_map(|(length, domains)| domains.get(&host[host.len() - length..]))
        };
        let by_prefix = || {
            self.prefixes
                .iter()
                .filter(|(length, _)| shorter(*length))
                .find_map(|(length, domains)| domains.get(&host[..*length]))
        };
        self.exact
            .get(host)
            .or_else(by_suffix)
            .or_else(by_prefix)
            .copied()
            .or(self.any)
    }

    /// Position of the first route of a host that takes the request.
    pub fn find_route(&self, host: usize, request: &impl RequestView) -> Option<usize> {
        let takes = |route: &CompiledRoute| route.conditions.match_request(request);
        let mut routes = self.routes.get(host)?.iter();
        routes.position(|route| route.as_ref().is_some_and(takes))
    }

    /// The route of a request; `None` is a 404.
    pub fn find(&self, request: &impl RequestView) -> Option<Found<'_>> {
        let host_position = self.find_host(request.authority())?;
        let route_position = self.find_route(host_position, request)?;
        let host = &self.table.hosts[host_position];
        Some(Found {
            host_position,
            route_position,
            host,
            route: &host.routes[route_position],
            compiled: self.routes[host_position][route_position].as_ref(),
        })
    }
}

fn of_length(groups: &mut Vec<(usize, Domains)>, length: usize) -> &mut Domains {
    let position = groups
        .iter()
        .position(|(known, _)| *known == length)
        .unwrap_or_else(|| {
            groups.push((length, Domains::default()));
            groups.len() - 1
        });
    &mut groups[position].1
}

/// An authority without its port: `backend:9090` → `backend`, `[::1]:80` → `[::1]`.
pub fn host_without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if authority.rfind(']').is_none_or(|bracket| bracket < colon) => &authority[..colon],
        _ => authority,
    }
}

/// Chooses one target by weight. `random` is any number, every value equally likely; `None` when all weights
/// are 0.
pub fn pick(targets: &[Weighted], random: u64) -> Option<&Weighted> {
    let total: u64 = targets.iter().map(|target| u64::from(target.weight)).sum();
    let mut left = random.checked_rem(total)?;
    targets.iter().find(|target| {
        let weight = u64::from(target.weight);
        let chosen = left < weight;
        left = left.saturating_sub(weight);
        chosen
    })
}
