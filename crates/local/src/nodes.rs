//! The simulated nodes: how many there are, and where they claim to be.
//!
//! One machine and one process serve them all; each has a name, an address, a range for its pods, a zone and a region,
//! so that scheduling and locality can be tried.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// What `amime up --nodes 3 --zones a,b,c` asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub count: u8,
    /// Given to the nodes in turn; without any the nodes are in no zone.
    pub zones: Vec<String>,
    /// Likewise.
    pub regions: Vec<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    /// The first is `local`, the others `local-2`, `local-3` and so on.
    pub name: String,
    pub address: Ipv4Addr,
    /// First and last address of its pods.
    pub pods: (Ipv4Addr, Ipv4Addr),
    /// The same range as `spec.podCIDR` has it.
    pub range: String,
    pub zone: Option<String>,
    pub region: Option<String>,
}

/// Each has a sixteenth of the pod network.
pub const MOST: u8 = 16;
const NAME: &str = "local";
/// Where nodes are that have a zone but no region: a zone is always part of one.
const REGION: &str = "local";

impl Default for Layout {
    fn default() -> Self {
        Self {
            count: 1,
            zones: Vec::new(),
            regions: Vec::new(),
        }
    }
}

impl Layout {
    /// What is wrong with it, and what to do.
    ///
    /// # Errors
    /// One line.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=MOST).contains(&self.count) {
            return Err(format!("--nodes must be between 1 and {MOST}"));
        }
        for (flag, names) in [("--zones", &self.zones), ("--regions", &self.regions)] {
            if names.len() > usize::from(self.count) {
                let (named, count) = (names.len(), self.count);
                return Err(format!(
                    "{flag} names {named} for {count} nodes; add --nodes {named}"
                ));
            }
            if let Some(bad) = names.iter().find(|name| !is_label_value(name)) {
                return Err(format!("{flag}: {bad:?} cannot be the value of a label"));
            }
        }
        Ok(())
    }

    /// The nodes, the first of which is the one that is always there.
    pub fn nodes(&self) -> Vec<Simulated> {
        let in_turn = |names: &[String], index: usize| names.get(index % names.len().max(1)).cloned();
        (0..self.count)
            .map(|number| {
                let index = usize::from(number);
                let zone = in_turn(&self.zones, index);
                let region = in_turn(&self.regions, index);
                let of_zone = zone.as_ref().map(|_| REGION.to_owned());
                let ((third, last), range) = match self.count {
                    1 => ((0, 255), "10.244.0.0/16".to_owned()),
                    _ => (
                        (number * 16, number * 16 + 15),
                        format!("10.244.{}.0/20", number * 16),
                    ),
                };
                Simulated {
                    name: match number {
                        0 => NAME.to_owned(),
                        _ => format!("{NAME}-{}", number + 1),
                    },
                    address: Ipv4Addr::new(10, 244, third, 1),
                    pods: (
                        Ipv4Addr::new(10, 244, third, 2),
                        Ipv4Addr::new(10, 244, last, 254),
                    ),
                    range,
                    zone,
                    region: region.or(of_zone),
                }
            })
            .collect()
    }
}

fn is_label_value(text: &str) -> bool {
    let good = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let at_edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(good) && at_edge(text.chars().next()) && at_edge(text.chars().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn one_node_has_the_whole_pod_network_and_no_zone() {
        let nodes = Layout::default().nodes();
        assert_eq!(nodes.len(), 1);
        assert_eq!(
            (nodes[0].name.as_str(), nodes[0].range.as_str()),
            ("local", "10.244.0.0/16")
        );
        assert_eq!((&nodes[0].zone, &nodes[0].region), (&None, &None));
    }

    #[test]
    fn several_share_it_and_zones_are_given_in_turn() {
        let layout = Layout {
            count: 3,
            zones: words(&["a", "b"]),
            regions: Vec::new(),
        };
        assert_eq!(layout.check(), Ok(()));
        let nodes = layout.nodes();
        assert_eq!(nodes[2].name, "local-3");
        assert_eq!(nodes[2].address, Ipv4Addr::new(10, 244, 32, 1));
        assert_eq!(nodes[1].range, "10.244.16.0/20");
        assert_eq!(nodes[1].pods.1, Ipv4Addr::new(10, 244, 31, 254));
        let zones: Vec<&str> = nodes.iter().filter_map(|node| node.zone.as_deref()).collect();
        assert_eq!(zones, ["a", "b", "a"]);
        assert_eq!(nodes[0].region.as_deref(), Some("local"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let layout = |count, zones: &[&str]| Layout {
            count,
            zones: words(zones),
            regions: Vec::new(),
        };
        assert!(layout(0, &[]).check().is_err());
        assert!(layout(17, &[]).check().is_err());
        assert!(layout(1, &["a", "b"]).check().unwrap_err().contains("--nodes 2"));
        assert!(layout(1, &["a b"]).check().is_err());
    }
}
