//! What Istio's webhook says about a PeerAuthentication by itself.

use super::PeerAuthentication;
use crate::istio::report::Report;
use crate::{Key, Kind, Problem};

impl PeerAuthentication {
    /// What is wrong with the object by itself.
    pub fn validate(&self) -> Vec<Problem> {
        let (meta, spec) = (&self.metadata, &self.spec);
        let mut report = Report::new(Key::new(Kind::PeerAuthentication, &meta.namespace, &meta.name));
        if let Some(ports) = &spec.port_level_mtls {
            let field = "spec.portLevelMtls";
            if spec.selector().is_none() && !ports.is_empty() {
                report.error(
                    field,
                    "mesh/namespace peer authentication cannot have port level mTLS",
                );
            }
            if ports.is_empty() {
                report.error(
                    field,
                    "port level mTLS, if defined, must have at least one element",
                );
            }
            for port in ports.keys() {
                if !port.parse::<u16>().is_ok_and(|port| port > 0) {
                    report.error(&format!("{field}[{port:?}]"), "port must be in range 1..65535");
                }
            }
        }
        report.selector("spec.selector", spec.selector.as_ref());
        report.into_problems()
    }
}
