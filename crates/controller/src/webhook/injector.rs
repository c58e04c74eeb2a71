//! `/inject`: a pod that is about to be created gets capture and sidecar.

use daemon::clock;
use daemon::metrics::{Counter, Histogram, Registry};

use super::LiveSettings;
use super::review::{Answer, Review};
use crate::inject::{self, NotInjected};

pub(crate) struct Injector {
    settings: LiveSettings,
    requests: Counter,
    injected: Counter,
    skipped: Counter,
    failed: Counter,
    seconds: Histogram,
}

impl Injector {
    pub(crate) fn new(settings: LiveSettings, metrics: &Registry) -> Self {
        let count = |name, help| metrics.counters(name, help, &[]).with(&[]);
        let bounds = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];
        let seconds = metrics.histograms(
            "sidecar_injection_time_seconds",
            "Time per injection.",
            &[],
            bounds,
        );
        Self {
            settings,
            requests: count("sidecar_injection_requests_total", "Pods that were asked about."),
            injected: count("sidecar_injection_success_total", "Pods that got a sidecar."),
            skipped: count("sidecar_injection_skip_total", "Pods that wanted none."),
            failed: count(
                "sidecar_injection_failure_total",
                "Pods whose wishes could not be understood.",
            ),
            seconds: seconds.with(&[]),
        }
    }

    pub(crate) fn judge(&self, review: &Review) -> Answer {
        self.requests.increment();
        let begin = clock::now();
        let answer = self.decide(review);
        self.seconds.observe(begin.elapsed().as_secs_f64());
        answer
    }

    fn decide(&self, review: &Review) -> Answer {
        let (pod, settings) = (&review.object, self.settings.load());
        // The object of a review may lack the namespace; the request has it.
        let namespace = review.namespace.as_str();
        let metadata = &pod["metadata"];
        let name = metadata["name"]
            .as_str()
            .or(metadata["generateName"].as_str())
            .unwrap_or_default();
        match injected(pod, namespace, &settings) {
            Ok(injected) => {
                self.injected.increment();
                tracing::info!(scope = "injection", namespace, pod = name, "sidecar injected");
                for warning in &injected.warnings {
                    tracing::warn!(scope = "injection", namespace, pod = name, "{warning}");
                }
                let patch = inject::patch(pod, &injected);
                Answer::Allowed {
                    patch: Some(patch),
                    warnings: injected.warnings,
                }
            }
            Err(NotInjected::Skipped(reason)) => {
                self.skipped.increment();
                tracing::info!(scope = "injection", namespace, pod = name, "no sidecar: {reason}");
                Answer::unchanged()
            }
            Err(NotInjected::Invalid(reason)) => {
                self.failed.increment();
                tracing::warn!(
                    scope = "injection",
                    namespace,
                    pod = name,
                    "pod refused: {reason}"
                );
                Answer::Denied {
                    message: format!("injection failed: {reason}"),
                    warnings: Vec::new(),
                }
            }
        }
    }
}

/// What a sidecar is told must be what the mesh is: before that is known, no pod gets one.
fn injected(
    pod: &serde_json::Value,
    namespace: &str,
    settings: &inject::Settings,
) -> Result<inject::Injected, NotInjected> {
    let injected = inject::inject(pod, namespace, settings)?;
    match settings.trust_domain {
        Some(_) => Ok(injected),
        None => Err(NotInjected::Invalid(
            "the settings of the mesh are not read yet".to_owned(),
        )),
    }
}
